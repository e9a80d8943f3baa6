"""Whose things are meant: the workspace of the visitor who is being answered, where each visitor has one.

Whoever answers a visitor enters a workspace first. Outside one, as in a thread of one's own, there is none, and what
belongs to somebody cannot be reached; so what was forgotten fails, and shows nobody the things of another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from segdemo.errors import UserError


class WorkspaceError(UserError):
    """Nobody knows whose things are meant, or they are somebody else's. The message is one sentence for people."""


@dataclass(frozen=True)
class Workspace:
    """The place of one visitor.

    Attributes:
        id: a-z, 0-9 and '-'; it tells a page nothing.
        folder: of all that is theirs; it need not exist yet.
    """

    id: str
    folder: Path

    @property
    def models(self) -> Path:
        """Where the models they trained are kept."""
        return self.folder / "models"


_current: ContextVar[Workspace | None] = ContextVar("workspace", default=None)


@contextmanager
def entered(workspace: Workspace | None) -> Iterator[None]:
    """For a ``with`` statement: in it ``current`` is this workspace, or none, whatever it was before."""
    token = _current.set(workspace)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Workspace | None:
    """The workspace that was entered, or None."""
    return _current.get()


def required() -> Workspace:
    """The workspace that was entered. Raises WorkspaceError."""
    workspace = _current.get()
    if workspace is None:
        raise WorkspaceError(
            "Nobody knows whose things these are: open the page again, with cookies allowed."
        )
    return workspace
