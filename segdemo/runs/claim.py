"""One trainer in a run: whoever trains holds ``alive``, the lock of the run's folder, of which ``supervisor`` tells."""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from segdemo.core.files import disk_errors
from segdemo.runs import processes
from segdemo.runs.config import TrainingError

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of some file systems
_claimed: ContextVar[frozenset[Path]] = ContextVar("claimed", default=frozenset())


@contextlib.contextmanager
def claimed(folder: Path | str) -> Iterator[None]:
    """Hold the lock of a run within, so that no other trainer works on it; within another such statement it is held.

    A trainer that the page or a cluster started was given the lock. Whoever takes it for itself meets no request to
    stop that an earlier trainer, which was killed, has left.

    Args:
        folder: of the run; it is made.

    Raises:
        TrainingError: another trainer works on it. DiskError.
    """
    lock = Path(folder).resolve() / "alive"
    if not processes.CAN_LOCK or lock in _claimed.get():
        yield
        return
    with disk_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = None if processes.was_given(lock) else _take(lock)
    token = _claimed.set(_claimed.get() | {lock})
    try:
        if handle is not None:
            _forget_old_request(lock.with_name("cancel"))
        yield
    finally:
        _claimed.reset(token)
        if handle is not None:
            processes.let_go(handle)


def _take(lock: Path) -> int | None:
    """The handle of the lock, or None where the disk has none. Raises TrainingError, OSError."""
    try:
        handle = processes.hold(lock)
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return None
        raise
    if handle is None:
        raise TrainingError("Another trainer works on this run: wait until it has ended.")
    return handle


def _forget_old_request(cancel: Path) -> None:
    """Remove a request to stop that is older than this process."""
    since = processes.started(os.getpid())
    with contextlib.suppress(FileNotFoundError):
        if since is not None and cancel.stat().st_mtime < since:
            cancel.unlink()
