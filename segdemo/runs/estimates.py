"""How long a run would take on this machine, measured by a few of its steps in a process of their own.

The page asks; nobody waits. One measurement goes on at a time, and none while a run does: a run that starts ends
it. Results are kept, since the same settings take the same time.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from segdemo.core.files import StoreError, read_json, sweep, write_json
from segdemo.runs import processes
from segdemo.runs.record import last_words, log_tail

SECONDS = 300  # one measurement may take
KEPT_SECONDS = 7 * 86400
FAILED_SECONDS = 20  # until something that failed may be tried again
# A step takes as long with any of these.
FREE = {
    *("epochs", "steps_per_epoch", "learning_rate", "weight_decay", "warmup_steps", "schedule"),
    *("early_stopping", "reduce_lr", "seed", "recipe"),
}


@dataclass(frozen=True)
class Estimate:
    """What is known by now.

    Attributes:
        state: ``"measuring"``, ``"waiting"`` (for another measurement or a run to end), ``"done"`` or ``"failed"``.
        measured: what ``train.estimate`` returned, once done.
        message: one sentence, unless done.
    """

    state: str
    measured: dict | None = None
    message: str = ""

    def seconds(self, epochs, steps=0):
        """How long a run of so many epochs would take in all; ``steps`` of an epoch, 0 for those measured."""
        measured = self.measured
        epoch = (steps or measured["steps"]) * measured["seconds_per_step"] + measured[
            "seconds_per_validation"
        ]
        return measured["seconds_to_start"] + epochs * epoch + measured["seconds_to_finish"]

    def sentence(self, epochs, steps=0):
        """One sentence for people."""
        if self.state != "done":
            return self.message
        measured = self.measured
        return (
            f"About {duration(self.seconds(epochs, steps))} on this machine: {epochs} x "
            f"{steps or measured['steps']} steps of {measured['seconds_per_step']:.2g} s, "
            f"{measured['images_per_second']:.1f} photos a second, {measured['rss_mb'] / 1000:.1f} GB of memory."
        )


def duration(seconds):
    """A time span in words, as exact as is of use: ``"50 s"``, ``"12 min"``, ``"3 h 20 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes // 10 * 10} min" if hours < 10 and minutes >= 10 else f"{hours} h"


class Estimates:
    """The measurements of one installation, in a folder that any number of servers share.

    Args:
        folder: where results are kept.
        command: what to execute, followed by ``--model M --dataset D --data DIR --set NAME=VALUE... --estimate
            --json``.
    """

    def __init__(self, folder, command):
        self.folder = Path(folder)
        self._command = command

    def ask(self, settings, environment, reason=None):
        """An Estimate for settings of a run; a measurement is begun if none is known. Hold the runs' lock.

        Args:
            settings: fields of ``config.TrainConfig``.
            environment: of the process.
            reason: why no measurement may begin now, one sentence; None if it may.
        """
        text = json.dumps({k: v for k, v in settings.items() if k not in FREE}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        path = self.folder / f"{key}.json"
        if processes.is_held(self.folder / "alive"):
            if self._current().get("key") == key:
                return Estimate("measuring", message="Timing a few steps on this machine…")
            if not path.is_file():
                return Estimate("waiting", message="Another measurement goes on; this one is next.")
        else:
            self._collect()
        if (found := self._kept(path)) is not None:
            return found
        if reason is not None:
            return Estimate("waiting", message=reason)
        return self._start(key, settings, environment)

    def stop(self):
        """End the measurement in progress: a run needs the machine. Hold the runs' lock."""
        if processes.is_held(self.folder / "alive") and (pid := self._pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            (self.folder / "current.json").unlink(missing_ok=True)

    def look_after(self, memory_bytes):
        """End a measurement that takes too long or more than ``memory_bytes``."""
        if not self.folder.is_dir() or (pid := self._pid()) is None:
            return
        started = self._current()["time"]
        too_large = 0 < memory_bytes < processes.rss(pid)
        if too_large or time.time() - started > SECONDS:
            why = (
                "These settings need more memory than a run may have: choose a smaller batch or crop."
                if too_large
                else f"A few steps took more than {SECONDS // 60} minutes: choose a smaller batch, crop or model."
            )
            key = self._current()["key"]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            write_json(self.folder / f"{key}.json", {"time": time.time(), "error": why})

    def tidy(self):
        """Delete old results."""
        sweep(self.folder, days=0)
        for path in self.folder.glob("*.json"):
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink(missing_ok=True)

    def _start(self, key, settings, environment):
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = processes.hold(self.folder / "alive", patience=0.1)
        if handle is None:
            return Estimate("waiting", message="Another measurement goes on; this one is next.")
        options = [f"--{name}={settings[name]}" for name in ("model", "dataset", "data")]
        for name, value in settings.items():
            if name not in ("model", "dataset", "data"):
                options += ["--set", f"{name}={json.dumps(value)}"]
        try:
            with (self.folder / "out").open("wb") as out, (self.folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    [*self._command, *options, "--estimate", "--json"],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    pass_fds=(handle,),
                )
        except OSError as error:
            return Estimate("failed", message=f"The measurement cannot be started ({error.strerror}).")
        finally:
            os.close(handle)
        processes.children[process.pid] = process
        processes.step_back(process.pid)
        current = {"key": key, "pid": process.pid, "started": processes.start_ticks(process.pid)}
        write_json(self.folder / "current.json", {**current, "time": time.time()})
        return Estimate("measuring", message="Timing a few steps on this machine…")

    def _collect(self):
        """Keep what a process that has ended said, if there is one nobody has asked since."""
        if "key" not in (current := self._current()):
            return
        processes.fetch_exit_codes()
        path = self.folder / f"{current['key']}.json"
        if not path.is_file() or path.stat().st_mtime < current["time"]:
            try:
                result = {"measured": read_json(self.folder / "out")}
            except (OSError, ValueError):
                result = {"error": self._why(current)}
            write_json(path, {"time": time.time(), **result})
        (self.folder / "current.json").unlink(missing_ok=True)

    def _why(self, current):
        # A measurement that ended without a result, in one sentence.
        if said := last_words(log_tail(self.folder / "log")):
            return said
        if cause := processes.killed_by(processes.exit_codes.get(current["pid"])):
            return f"Timing a few steps failed. {cause}: choose a smaller batch or crop."
        return "This could not be measured here: start it and see."

    def _kept(self, path):
        try:
            data = read_json(path)
            age = time.time() - data["time"]
            if not isinstance(data.get("measured", {}), dict) or (
                "measured" not in data and "error" not in data
            ):
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if "measured" in data:
            return Estimate("done", data["measured"]) if age < KEPT_SECONDS else None
        return Estimate("failed", message=data["error"]) if age < FAILED_SECONDS else None

    def _current(self):
        try:
            current = read_json(self.folder / "current.json")
        except (OSError, ValueError, StoreError):
            return {}
        return current if isinstance(current, dict) and {"pid", "started"} <= current.keys() else {}

    def _pid(self):
        current = self._current()
        alive = current and processes.start_ticks(current["pid"]) == current["started"] is not None
        return current["pid"] if alive else None
