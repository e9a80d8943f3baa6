"""Work for a cluster, given to it by a process of its own.

Where the head, or the node beneath, is lost, Ray ends the process that uses it without a word. So it is another process
that uses Ray, and that this one outlives. What the work yields comes back as JSON.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from segdemo.cluster.connection import EndedError
from segdemo.errors import UserError

SECONDS = 20.0  # that the other process may take to end


def driven(work: Callable[[], Iterable[Any]], what: str, then: str) -> Iterator[Any]:
    """What some work yields that is done in a process which may use Ray; it ends with the iterator.

    Args:
        work: what Python can hand to a new process; what it yields has to be plain data.
        what: is done in it, for the error. then: what to do where the cluster is lost, a clause.

    Raises:
        UserError: the work raised one. EndedError: it raised that, or the cluster was lost. RuntimeError: the work
            raised something else, which is its text.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(work, theirs))
    process.start()
    theirs.close()
    lost = {"ended": f"The cluster was lost in the middle of the {what}: see ray status, then {then}."}
    told: dict[str, Any] = lost
    try:
        with contextlib.suppress(EOFError, OSError):  # it was ended in the middle
            while "is" in (told := json.loads(ours.recv_bytes())):
                yield told["is"]
                told = lost
        process.join(SECONDS)
    finally:
        process.kill()
        process.join()
        ours.close()
    if "ended" in told:
        raise EndedError(told["ended"])
    if "refused" in told:
        raise UserError(told["refused"])
    if "unknown" in told:
        raise RuntimeError(told["unknown"])


def _serve(work: Callable[[], Iterable[Any]], theirs: Connection) -> None:
    """Do some work, tell of it, and end with whoever asked for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the one who asked
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # Ray writes there, below Python, too
        os.dup2(nowhere, number)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(what: dict[str, Any]) -> None:
        theirs.send_bytes(json.dumps(what).encode())

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
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
