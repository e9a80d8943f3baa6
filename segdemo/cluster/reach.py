"""Whether a folder is the same one on a node as here: told within seconds, by a word left in it.

What is not shared fails late or not at all: a node would work for hours on a copy that nobody looks at.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segdemo.core.files import write_atomic
from segdemo.errors import UserError

SECONDS = (
    30.0  # until a network's file system, or what keeps folders the same, shows a node what was just written
)


class UnreachableError(UserError):
    """A node has no such folder, or another one; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Place:
    """A folder that each node of a job has to have.

    Attributes:
        folder: its path, not relative.
        job: the word that is left in it, another one for each job.
        setting: that names the folder, or one above it.
        name: of the file with the word.
    """

    folder: Path
    job: str
    setting: str = "SEGDEMO_HOME"
    name: str = ".handed"

    def leave(self) -> None:
        """Leave word that the job is to work in it. Raises DiskError."""
        write_atomic(self.folder / self.name, self.job.encode())

    @contextlib.contextmanager
    def left(self) -> Iterator[None]:
        """``leave``, and in the end take the word away."""
        self.leave()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (self.folder / self.name).unlink()

    def require(self) -> None:
        """Find the word, on a node. Raises UnreachableError."""
        end = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError):
                next(self.folder.iterdir(), None)  # which has some file systems look anew
                if (self.folder / self.name).read_bytes() == self.job.encode():
                    return
            if time.monotonic() > end:
                break
            time.sleep(0.2)
        raise UnreachableError(
            f"The node {socket.gethostname()} does not share {self.folder} with the others: let {self.setting} name "
            "one folder that all of them have at the same path."
        )
