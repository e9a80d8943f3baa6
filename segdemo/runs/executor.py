"""Who executes a run: the seam between those who look after runs and the processes that work on them.

``Here`` starts each trainer as a process of this machine; ``cluster.jobs`` hands it to a cluster.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from segdemo.core.conventions import now
from segdemo.runs import processes
from segdemo.runs.bench import Bench, ThisMachine
from segdemo.runs.record import Launch, Run

LAUNCHED = "=== trainer started"  # begins a line of the log


@dataclass(frozen=True)
class Signs:
    """What can be seen of a trainer from outside.

    Attributes:
        rss: bytes of memory; 0 if not known.
        cpu_seconds: of processor time so far; None if nobody can tell.
        since: when it began, in seconds since 1970; None if it has not or nobody can tell.
    """

    rss: int = 0
    cpu_seconds: float | None = None
    since: float | None = None


class Executor(Protocol):
    """What ``Supervisor`` asks for. Whoever changes a run through it holds the lock of the runs.

    Attributes:
        several: whether several runs may work at once, and somewhere else than here.
        bench: where it is measured how long a run would take.
    """

    several: bool
    bench: Bench

    def look(self, runs: Sequence[Run]) -> None:
        """Find out how trainers are doing, for the answers below. Needs no lock; takes seconds at most."""

    def alive(self, run: Run) -> bool:
        """Whether a trainer works on a run, or is about to."""

    def waits(self, run: Run) -> bool:
        """Whether it is about to, for want of room: the next run need not be tried."""

    def unplaced(self, run: Run) -> str:
        """Why it got no room and is to be put back into the queue, one sentence; else ""."""

    def start(self, run: Run, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Start a trainer and note it in the run.

        Args:
            run: to be worked on.
            command: all of it.
            environment: all of its variables.

        Returns:
            False if somebody works on it already, or if it has to wait until it is tried again.

        Raises:
            DiskError. OSError: it cannot be started.
        """

    def signs(self, run: Run) -> Signs:
        """What can be seen of its trainer."""

    def kill(self, run: Run) -> None:
        """End its trainer at once."""

    def cause(self, run: Run) -> str:
        """What ended its trainer from outside, and what to do, one sentence; "" if it ended by itself."""


class Here:
    """An ``Executor`` of processes of this machine, one at a time. They outlive the server that started them."""

    several = False
    bench: Bench = ThisMachine()

    def look(self, runs: Sequence[Run]) -> None:
        """Nothing: everything is seen when it is asked for."""

    def alive(self, run: Run) -> bool:
        return run.alive()

    def waits(self, run: Run) -> bool:
        """Never."""
        return False

    def unplaced(self, run: Run) -> str:
        """Never."""
        return ""

    def start(self, run: Run, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        handle = processes.hold(run.folder / "alive")
        if handle is None:
            return False
        try:
            begin(run, "Starting.")
            with (run.folder / "train.log").open("ab") as log:
                pid = processes.start(
                    command, out=log, log=subprocess.STDOUT, environment=environment, lock=handle
                )
        finally:
            os.close(handle)
        at = max(time.time(), run.record.queued)  # also if the clock was set back since
        launch = Launch(pid=pid, started=processes.started(pid), time=at)
        run.note(launches=[*run.record.launches, launch])
        return True

    def signs(self, run: Run) -> Signs:
        pid, launches = run.trainer_pid(), run.record.launches
        cpu_seconds = None if pid is None else processes.cpu_seconds(pid)
        since = launches[-1].time if launches else None
        if since is not None and pid is not None and (age := processes.age(pid)) is not None:
            since = time.time() - age  # whatever the clock was set to meanwhile
        return Signs(processes.rss(pid), cpu_seconds, since)

    def kill(self, run: Run) -> None:
        """As ``Executor``; a process of which nothing but its number tells that it is the trainer is asked to stop."""
        if pid := run.proven_pid():
            processes.kill(pid)
        elif run.trainer_pid() is not None:
            with contextlib.suppress(OSError):
                (run.folder / "cancel").touch()
        elif run.record.launches and processes.started(run.record.launches[-1].pid) is None:
            processes.kill(run.record.launches[-1].pid)  # it has ended, but something it started holds on

    def cause(self, run: Run) -> str:
        code = next((processes.exit_code(launch.pid) for launch in run.record.launches[-1:]), 0)
        return died(code)


def begin(run: Run, message: str) -> None:
    """Write down that a trainer is being started. Raises DiskError."""
    (run.folder / "cancel").unlink(missing_ok=True)
    run.tell(state="running", message=message, pid=None, heartbeat=time.time())
    with contextlib.suppress(OSError), (run.folder / "train.log").open("ab") as log:
        log.write(f"{LAUNCHED} {now()}\n".encode())


def died(code: int | None) -> str:
    """What an exit code of a trainer, as ``subprocess`` gives it, says of what ended it: see ``Executor.cause``."""
    cause = processes.killed_by(code)
    return f"{cause}: resume it, or start again with a smaller batch or crop." if cause else ""
