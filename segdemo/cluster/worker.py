"""What a node of a cluster executes for a run: the trainer, and beside it what can be seen of it from outside.

    python -m segdemo.cluster.worker JOB RUN_DIR COMMAND...

``worker.json`` in the run directory says how the trainer is doing, and at last its exit code; ``alive`` is locked, as
by a trainer of this machine, where the file system knows locks. The trainer stays in the process group of the job,
so that whatever ends the job ends it, too; it also ends when the one who started this here is gone, or this itself.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segdemo.cluster.reach import Place, UnreachableError
from segdemo.core.documents import Document
from segdemo.core.files import DiskError, write_json
from segdemo.runs import processes

SECONDS = 2.0  # between two looks at the trainer
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


@dataclass(frozen=True, kw_only=True)
class Seen(Document):
    """``worker.json``: of which job, where, since when, and when this was written, by the node's clock."""

    job: str
    host: str
    since: float
    time: float
    rss: int = 0
    cpu_seconds: float = 0
    exit_code: int | None = None


def work(folder: Path, command: Sequence[str], job: str) -> int:
    """Execute the trainer of a run to its end.

    Args:
        folder: the run directory.
        command: of the trainer; its output goes to ``train.log``.
        job: id of the job.

    Returns:
        Its exit code, as ``subprocess`` gives it.
    """
    with (folder / "train.log").open("ab") as log:
        handle = processes.hold(folder / "alive", patience=10)
        if handle is None:
            log.write(
                b"segdemo: Another trainer works on this run: wait until it has ended, then resume it.\n"
            )
            return 2
        since = time.time()
        trainer = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(handle,),
            preexec_fn=_ending_with_parent(),
        )
        os.close(handle)
        signal.signal(signal.SIGTERM, lambda *_: trainer.terminate())
        parent = os.getppid()
        while True:
            if os.getppid() != parent:  # whoever is to end it is gone
                trainer.terminate()
            code = trainer.poll()
            seen = Seen(
                job=job,
                host=socket.gethostname(),
                since=since,
                time=time.time(),
                rss=processes.rss(trainer.pid),
                cpu_seconds=processes.cpu_seconds(trainer.pid),
                exit_code=code,
            )
            with contextlib.suppress(DiskError):  # the trainer says so itself, and ends
                write_json(folder / "worker.json", seen.to_json())
            if code is not None:
                return code
            with contextlib.suppress(subprocess.TimeoutExpired):
                trainer.wait(SECONDS)


def _ending_with_parent() -> Callable[[], object] | None:
    """What a child calls first so that Linux kills it as soon as this process has ended, however it did."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, int(signal.SIGKILL))


def main(job: str, folder: Path, command: Sequence[str]) -> int:
    """Execute the trainer of a run, if this node has the folder; the exit code as a shell has it."""
    try:
        Place(folder, job).require()
    except UnreachableError as error:
        print(f"segdemo: {error}", file=sys.stderr)
        return 2
    code = work(folder, command, job)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
