"""How long a run would take where runs work, measured by a few of its steps in a process of their own.

The page asks; nobody waits. One measurement goes on at a time, and none while a run does: a run that starts ends
it. Results are kept, since the same settings take the same time.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo.core.documents import Document
from segdemo.core.files import sweep, write_json
from segdemo.runs import processes
from segdemo.runs.bench import Bench, Current, ThisMachine
from segdemo.runs.record import last_words, log_tail

CURRENT = "current.json"
SECONDS = 300  # one measurement may take
KEPT_SECONDS = 7 * 86400
FAILED_SECONDS = 20  # until something that failed may be tried again
# A step takes as long with any of these.
FREE = {
    *("epochs", "steps_per_epoch", "learning_rate", "weight_decay", "warmup_steps", "schedule", "ema"),
    *("early_stopping", "reduce_lr", "seed", "recipe"),
}


@dataclass(frozen=True, kw_only=True)
class Measured(Document):
    """What a few steps took; ``steps`` is how many an epoch has."""

    steps: int
    seconds_per_step: float
    seconds_per_validation: float
    seconds_to_start: float
    seconds_to_finish: float
    images_per_second: float
    rss_mb: float


@dataclass(frozen=True, kw_only=True)
class Result(Document):
    """What is kept of a measurement: when it ended, and what was measured, or else why it was not."""

    time: float
    measured: Measured | None = None
    error: str = ""


@dataclass(frozen=True)
class Estimate:
    """What is known by now.

    Attributes:
        state: ``"measuring"``, ``"waiting"`` (for another measurement or a run to end), ``"done"`` or ``"failed"``.
        measured: what ``trainer.estimate`` returned, once done.
        message: one sentence, unless done.
        place: where, such as "on this machine".
    """

    state: str
    measured: Measured | None = None
    message: str = ""
    place: str = ThisMachine.place

    def seconds(self, epochs: int, steps: int = 0) -> float:
        """How long a run of so many epochs would take in all; ``steps`` of an epoch, 0 for those measured."""
        measured = self.measured
        if measured is None:
            return 0.0
        epoch = (steps or measured.steps) * measured.seconds_per_step + measured.seconds_per_validation
        return measured.seconds_to_start + epochs * epoch + measured.seconds_to_finish

    def sentence(self, epochs: int, steps: int = 0) -> str:
        """One sentence for people."""
        measured = self.measured
        if measured is None:
            return self.message
        steps = steps or measured.steps
        return (
            f"About {duration(self.seconds(epochs, steps))} {self.place}: {epochs} x {steps} steps of "
            f"{measured.seconds_per_step:.2g} s, "
            f"{measured.images_per_second:.1f} photos a second, {measured.rss_mb / 1000:.1f} GB of memory."
        )


def duration(seconds: float) -> str:
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
        bench: where; by default this machine.
    """

    def __init__(self, folder: Path, command: Sequence[str], bench: Bench | None = None) -> None:
        self.folder = Path(folder)
        self._command = command
        self._bench: Bench = bench or ThisMachine()

    def ask(
        self,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        reason: str | None = None,
        photos: Sequence[int] = (),
    ) -> Estimate:
        """An Estimate for settings of a run; a measurement is begun if none is known. Hold the runs' lock.

        Args:
            settings: fields of ``config.TrainConfig``.
            environment: of the process.
            reason: why no measurement may begin now, one sentence; None if it may.
            photos: how many there are in each subset now; with others an epoch has other steps.
        """
        text = json.dumps({k: v for k, v in settings.items() if k not in FREE}, sort_keys=True)
        if photos:
            text += json.dumps(photos)
        if self._bench.place != ThisMachine.place:
            text += self._bench.place
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        path = self.folder / f"{key}.json"
        current = self._current()
        if self._bench.busy(self.folder, current):
            if current is not None and current.key == key:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self.folder / CURRENT)  # somebody wants to know
                return Estimate("measuring", message=self._bench.doing(current))
            if not path.is_file():
                return Estimate("waiting", message="Another measurement goes on; this one is next.")
        else:
            self._collect()
        if (found := self._kept(path)) is not None:
            return found
        if reason is not None:
            return Estimate("waiting", message=reason)
        return self._start(key, settings, environment)

    def stop(self) -> None:
        """End the measurement in progress: a run needs the machine. Hold the runs' lock."""
        if (current := self._working()) is not None:
            self._bench.kill(current)
            self._forget()

    def look(self) -> None:
        """Find out how the measurement in progress is doing. Needs no lock; takes seconds at most."""
        if (current := self._current()) is not None:
            self._bench.look(current)

    def look_after(self, memory_bytes: float) -> None:
        """End a measurement that takes too long or more than ``memory_bytes``, or one nobody asks for any more."""
        if (current := self._working()) is None:
            return
        too_large = 0 < memory_bytes < self._bench.rss(current)
        if 0 < self._bench.patience < time.time() - self._asked():
            self._bench.kill(current)
            self._forget()
        elif too_large or self._bench.seconds(current) > SECONDS:
            why = (
                "These settings need more memory than a run may have: choose a smaller batch or crop."
                if too_large
                else f"A few steps took more than {SECONDS // 60} minutes: choose a smaller batch, crop or model."
            )
            self._bench.kill(current)
            self._keep(current.key, error=why)

    def tidy(self) -> None:
        """Delete old results."""
        sweep(self.folder, days=0)
        for path in self.folder.glob("*.json"):
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink(missing_ok=True)

    def _start(self, key: str, settings: Mapping[str, Any], environment: Mapping[str, str]) -> Estimate:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = [f"--{name}={settings[name]}" for name in ("model", "dataset", "data")]
        for name, value in settings.items():
            if name not in ("model", "dataset", "data"):
                options += ["--set", f"{name}={json.dumps(value)}"]
        command = [*self._command, *options, "--estimate", "--json"]
        try:
            current = self._bench.start(self.folder, key, command, environment)
        except OSError as error:
            return Estimate("failed", message=f"The measurement cannot be started ({error.strerror}).")
        if isinstance(current, str):
            return Estimate("waiting", message=current)
        write_json(self.folder / CURRENT, current.to_json())
        return Estimate("measuring", message=self._bench.doing(current))

    def _collect(self) -> None:
        """Keep what a process that has ended said, if there is one nobody has asked since."""
        if (current := self._current()) is None:
            return
        processes.fetch_exit_codes()
        path = self.folder / f"{current.key}.json"
        if not path.is_file() or path.stat().st_mtime < current.time:
            try:
                self._keep(current.key, measured=Measured.read(self.folder / "out"))
            except (OSError, ValueError):
                self._keep(current.key, error=self._why(current))
        self._forget()

    def _why(self, current: Current) -> str:
        # A measurement that ended without a result, in one sentence.
        if said := last_words(log_tail(self.folder / "log")):
            return said
        return self._bench.cause(current) or "This could not be measured here: start it and see."

    def _keep(self, key: str, **what: Any) -> None:
        write_json(self.folder / f"{key}.json", Result(time=time.time(), **what).to_json())

    def _kept(self, path: Path) -> Estimate | None:
        try:
            result = Result.read(path)
        except (OSError, ValueError):
            return None
        age = time.time() - result.time
        if result.measured is not None:
            return Estimate("done", result.measured, place=self._bench.place) if age < KEPT_SECONDS else None
        return Estimate("failed", message=result.error) if age < FAILED_SECONDS else None

    def _current(self) -> Current | None:
        try:
            return Current.read(self.folder / CURRENT)
        except (OSError, ValueError):
            return None

    def _working(self) -> Current | None:
        current = self._current()
        return current if current is not None and self._bench.busy(self.folder, current) else None

    def _asked(self) -> float:
        """When somebody last asked for what is being measured, in seconds since 1970."""
        try:
            return (self.folder / CURRENT).stat().st_mtime
        except FileNotFoundError:
            return time.time()

    def _forget(self) -> None:
        (self.folder / CURRENT).unlink(missing_ok=True)
