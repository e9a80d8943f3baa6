"""Work for a cluster, given to it by a process of its own.

Where the head, or the node beneath, is lost, Ray ends the process that uses it without a word, or lets it wait for
ever. So it is another process that uses Ray, and that this one outlives. What the work yields comes back as JSON.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from segdemo.cluster.connection import EndedError
from segdemo.core import settings
from segdemo.errors import UserError

SECONDS = 20.0  # that the other process may take to end
_START = "import sys; sys.path.insert(0, {!r}); from segdemo.cluster import driver; driver.serve()"


def driven(work: Callable[[], Iterable[Any]], what: str, then: str) -> Iterator[Any]:
    """What some work yields that is done in a process which may use Ray; it ends with the iterator.

    Args:
        work: picklable; what it yields has to be plain data.
        what: is done in it, for the error. then: what to do where the cluster is lost, a clause.

    Raises:
        UserError: the work raised one. EndedError: it raised that, or the cluster was lost. RuntimeError: the work
            raised something else, which is its text.
    """
    command = [sys.executable, "-c", _START.format(str(settings.PACKAGE.parent))]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    lost = {"ended": f"The cluster was lost in the middle of the {what}: see ray status, then {then}."}
    data = pickle.dumps(work)
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere) as process:
        assert process.stdin and process.stdout
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended, which is seen below
                process.stdin.write(len(data).to_bytes(8, "big") + data)
                process.stdin.flush()
            told: dict[str, Any] = lost
            for line in process.stdout:
                told = json.loads(line) if line.endswith(b"\n") else lost
                if "is" not in told:
                    break
                yield told["is"]
                told = lost
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
    if "ended" in told:
        raise EndedError(told["ended"])
    if "refused" in told:
        raise UserError(told["refused"])
    if "unknown" in told:
        raise RuntimeError(told["unknown"])


def serve() -> None:
    """Do the work that stdin describes, tell of it on stdout, and end with whoever asked for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the one who asked
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Ray writes there

    def tell(what: dict[str, Any]) -> None:
        out.write(f"{json.dumps(what)}\n")
        out.flush()

    length = int.from_bytes(sys.stdin.buffer.read(8), "big")
    work = pickle.loads(sys.stdin.buffer.read(length))  # of our own parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for found in work():
            tell({"is": found})
        tell({"done": True})
    except EndedError as error:
        tell({"ended": str(error)})
    except UserError as error:
        tell({"refused": str(error)})
    except BaseException:
        tell({"unknown": traceback.format_exc()})
    os._exit(0)


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)
