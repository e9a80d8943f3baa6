"""Where a few steps are timed: the seam between ``estimates`` and whatever executes the process that times them.

The folder of a measurement holds ``out``, what that process printed, ``log``, its errors, and ``current.json``.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from segdemo.core.documents import Document
from segdemo.runs import processes


@dataclass(frozen=True, kw_only=True)
class Current(Document):
    """The measurement in progress: of which settings, by which process, since when.

    One on a cluster has no process of this machine but is a ``job``.
    """

    key: str
    pid: int = 0
    started: float | None = None
    time: float
    job: str = ""


class Bench(Protocol):
    """What ``Estimates`` asks for.

    Attributes:
        place: as a sentence on how long something takes names it.
        patience: seconds after which a measurement is ended that nobody asks for any more; 0 to let it go on.
    """

    place: str
    patience: float

    def look(self, current: Current) -> None:
        """Find out how a measurement is doing, for the answers below. Takes seconds at most."""

    def busy(self, folder: Path, current: Current | None) -> bool:
        """Whether a measurement is in progress."""

    def start(
        self, folder: Path, key: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> Current | str:
        """Begin a measurement; or say why it has to wait, one sentence. Raises OSError: it cannot be started."""

    def doing(self, current: Current) -> str:
        """What a measurement is doing, one sentence."""

    def seconds(self, current: Current) -> float:
        """How long a measurement has worked."""

    def rss(self, current: Current) -> int:
        """Bytes of memory that it takes; 0 if nobody can tell."""

    def kill(self, current: Current) -> None:
        """End a measurement at once, unless it has ended."""

    def cause(self, current: Current) -> str:
        """What ended it without a word of its own, one sentence; "" if nobody can tell."""


class ThisMachine:
    """A ``Bench`` of processes of this machine, which hold a lock as long as they live."""

    place = "on this machine"
    patience = 0.0

    def look(self, current: Current) -> None:
        """Nothing: everything is seen when it is asked for."""

    def busy(self, folder: Path, current: Current | None) -> bool:
        return processes.is_held(folder / "alive")

    def start(
        self, folder: Path, key: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> Current | str:
        handle = processes.hold(folder / "alive", patience=0.1)
        if handle is None:
            return "Another measurement goes on; this one is next."
        try:
            with (folder / "out").open("wb") as out, (folder / "log").open("wb") as log:
                pid = processes.start(command, out=out, log=log, environment=environment, lock=handle)
        finally:
            os.close(handle)
        return Current(key=key, pid=pid, started=processes.started(pid), time=time.time())

    def doing(self, current: Current) -> str:
        return f"Timing a few steps {self.place}…"

    def seconds(self, current: Current) -> float:
        return time.time() - current.time

    def rss(self, current: Current) -> int:
        return processes.rss(current.pid) if self._lives(current) else 0

    def kill(self, current: Current) -> None:
        if self._lives(current):
            processes.kill(current.pid)

    def cause(self, current: Current) -> str:
        cause = processes.killed_by(processes.exit_code(current.pid))
        return f"Timing a few steps failed. {cause}: choose a smaller batch or crop." if cause else ""

    def _lives(self, current: Current) -> bool:
        return processes.lives(current.pid, current.started)
