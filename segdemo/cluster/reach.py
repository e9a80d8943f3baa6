"""Whether a folder is the same one on a node as on the page: told within seconds, by a word left in it.

What is not shared fails late or not at all: a node would work for hours on a copy that nobody looks at.
"""

import contextlib
import socket
import time
from pathlib import Path

from segdemo.core.files import write_atomic
from segdemo.errors import UserError

SECONDS = 10.0  # until a network's file system shows a node what was just written
_NAME = "handed"  # of the file


class UnreachableError(UserError):
    """A node has no such folder, or another one; the message is one sentence that says what to do."""


def leave(folder: Path, job: str) -> None:
    """Leave word in a folder that a job is to work on it. Raises DiskError."""
    write_atomic(folder / _NAME, job.encode())


def require(folder: Path, job: str) -> None:
    """Find the word that was left for a job in a folder. Raises UnreachableError."""
    end = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError):
            next(folder.iterdir(), None)  # which has some file systems look anew
            if (folder / _NAME).read_bytes() == job.encode():
                return
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    raise UnreachableError(
        f"The node {socket.gethostname()} does not have {folder} as the page has it: let SEGDEMO_HOME name one "
        "folder that all of them share, at the same path."
    )
