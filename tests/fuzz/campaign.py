"""Campaigns: case after case, each watched from outside, and what they found."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
SEEDS = Path(__file__).with_name("seeds")
HANG_SECONDS = 10
MAKE_SECONDS = 120


@dataclass
class Campaign:
    """What became of the cases of a kind.

    Attributes:
        tried: how many. refused: of how many at least something was refused.
        faults: (what is wrong, case) of each find, where a case is a number or the path of a seed.
        slowest, largest: (seconds or megabytes, case).
        seconds: of all.
    """

    kind: str
    tried: int = 0
    refused: int = 0
    seconds: float = 0.0
    faults: list = field(default_factory=list)
    slowest: tuple = (0.0, None)
    largest: tuple = (0.0, None)

    def add(self, case, answer):
        self.tried += 1
        self.refused += bool(answer["refusals"])
        self.seconds += answer["seconds"]
        self.slowest = max(self.slowest, (answer["seconds"], str(case)), key=lambda pair: pair[0])
        self.largest = max(self.largest, (answer["megabytes"], str(case)), key=lambda pair: pair[0])
        if answer["fault"]:
            self.faults.append((answer["fault"], case))

    def lines(self):
        """The account."""
        mean = 1000 * self.seconds / max(1, self.tried)
        yield (
            f"{self.kind}: {self.tried} cases, {self.refused} refused or in part, {len(self.faults)} faults; "
            f"{mean:.1f} ms each, slowest {self.slowest[0]:.1f} s ({self.slowest[1]}), "
            f"largest {self.largest[0]:.0f} MB ({self.largest[1]})"
        )
        for what, count in Counter(what for what, _ in self.faults).most_common(20):
            cases = [str(case) for fault, case in self.faults if fault == what][:3]
            yield f"  {count} x {what} ({', '.join(cases)})"


class Worker:
    """A process that reads cases; it is started again when it hangs or dies. Use it as a context manager."""

    def __init__(self):
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._end()

    def run(self, kind, case):
        """What became of a case: see ``worker``."""
        if self._process is None:
            self._start()
        name = {"file": str(case)} if isinstance(case, Path) else {"seed": case}
        try:
            self._process.stdin.write(json.dumps({"kind": kind, **name}) + "\n")
            self._process.stdin.flush()
            limit = MAKE_SECONDS
            if not self._lines.get(timeout=limit):  # a fault of the fuzzer
                raise RuntimeError(f"{kind} {case} cannot be made: {self._errors.read_text()[-2000:]}")
            limit = HANG_SECONDS
            if not (line := self._lines.get(timeout=limit)):
                raise OSError
            return json.loads(line)
        except queue.Empty:
            fault = f"more than {limit} seconds"
        except OSError:
            fault = f"the process died with {self._process.wait(10)}"
        self._end()
        return {"fault": fault, "seconds": 0.0, "megabytes": 0.0, "refusals": 0}

    def _start(self):
        self._folder = tempfile.TemporaryDirectory(prefix="segdemo-fuzz-")
        self._errors = Path(self._folder.name, "errors")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER), self._folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._lines = queue.Queue()
        threading.Thread(target=_pass_on, args=(self._process.stdout, self._lines), daemon=True).start()

    def _end(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process = None
            self._folder.cleanup()


def _pass_on(stream, lines):
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")


def run(kind, cases, worker):
    """A ``Campaign`` of cases of a kind: numbers, or paths of seeds."""
    campaign = Campaign(kind)
    for case in cases:
        campaign.add(case, worker.run(kind, case))
        if campaign.tried % 500 == 0:
            print(
                f"{kind}: {campaign.tried} cases, {len(campaign.faults)} faults", file=sys.stderr, flush=True
            )
    return campaign


def seeds(kind):
    """Cases of a kind that were finds once."""
    return sorted((SEEDS / kind).glob("*.zip"))
