"""Files that are never half written, locks between processes, and folders that are gone at once.

Whatever happens, a full disk or a kill -9 included, a file is either the old one or the new one, never half of
each: bytes go to a hidden file next to it, which is then renamed.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

from filelock import FileLock, Timeout

from segdemo.errors import UserError

T = TypeVar("T")
LOCK_SECONDS = 30
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreError(UserError):
    """Something cannot be kept or found. The message is one sentence meant for the person who asked."""


class NotFoundError(StoreError):
    """No such collection, photo, revision, model or run."""


class DiskError(StoreError, OSError):
    """The disk is full or cannot be written; ``errno`` says which. What was there before is still there."""


def write_atomic(path: Path | str, data: bytes, durable: bool = True) -> None:
    """Replace a file, or make it, so that whoever looks sees all of the old bytes or all of the new ones.

    Args:
        path: the file; missing folders above it are made.
        data: bytes.
        durable: whether to wait until the disk has them, so that they survive a power cut too; a cache need not.

    Raises:
        DiskError: the disk is full or the file may not be written. The old file is then still there.
    """
    path = Path(path)
    # In the same folder, because only there a rename is atomic; hidden, because readers of folders skip it.
    part = _beside(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error


@contextlib.contextmanager
def written_atomic(path: Path | str) -> Iterator[TextIO]:
    """As ``write_atomic``, for UTF-8 text of any length that is written piece by piece: the open file.

    Raises:
        DiskError: in place of an OSError. The old file is then still there, as after any other error within.
    """
    path = Path(path)
    part = _beside(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_atomic(path: Path | str) -> Iterator[Path]:
    """As ``write_atomic``, for a file that others write by its path: a hidden path beside it, which takes its place.

    Raises:
        DiskError: in place of an OSError. The old file is then still there, as after any other error within.
    """
    path, part = Path(path), _beside(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise error if isinstance(error, DiskError) else disk_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _beside(path: Path, ending: str) -> Path:
    """A hidden path that is nobody's, in the folder of another path, which may be that of a folder such as ``.``."""
    path = path.absolute()
    return path.parent / f".{path.name}.{secrets.token_hex(6)}.{ending}"


def write_json(path: Path | str, data: Any, default: Callable[[Any], Any] | None = None) -> None:
    """``write_atomic`` of plain data as UTF-8 JSON; ``default`` as for ``json.dumps``."""
    text = json.dumps(data, indent=1, ensure_ascii=False, default=default)
    write_atomic(path, text.encode("utf-8", "backslashreplace"))  # a stray surrogate becomes its JSON escape


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, on systems where a folder can be synchronised."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def disk_error(error: OSError, path: Path) -> DiskError:
    """The DiskError that tells people of the OSError met while writing ``path``."""
    if error.errno in DISK_FULL:
        text = f"The disk is full, so {path.name} was not saved: free some space and try again."
    else:
        reason = error.strerror or type(error).__name__
        text = f"{path} cannot be written ({reason}): check the folder and its permissions."
    found = DiskError(text)
    found.errno = error.errno
    return found


@contextlib.contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """What the disk refuses within is a DiskError about ``path``, one sentence for people."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise disk_error(error, Path(path)) from error


@contextlib.contextmanager
def locked(path: Path | str, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold a lock file against every other thread and process on this machine, for a short while.

    Args:
        path: the lock file; it is made, and stays.
        timeout: seconds to wait for it.

    Raises:
        StoreError: it was not free in time. DiskError: it cannot be made.
    """
    path = Path(path)
    lock = FileLock(path, timeout=timeout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise StoreError(f"{path.stem} has been busy for {timeout} seconds: try again in a moment.") from None
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        yield
    finally:
        lock.release()


def read_json(path: Path) -> Any:
    """The plain data of a UTF-8 JSON file. Raises FileNotFoundError, ValueError if it is damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except RecursionError:
        raise ValueError(f"{path.name} holds lists in lists without end.") from None


class FileCache(Generic[T]):
    """What a function makes of a file, made again only once the file is another one.

    Args:
        make: from a path; what it raises is not kept.
    """

    def __init__(self, make: Callable[[Path], T]) -> None:
        self._make = make
        self._known: dict[Path, tuple[tuple[int, int, int], T]] = {}

    def __call__(self, path: Path) -> T:
        """The result for the file as it is now. Raises FileNotFoundError, and as ``make``."""
        status = path.stat()
        stamp = status.st_ino, status.st_mtime_ns, status.st_size  # a replaced file has a new inode
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            known = self._known[path] = stamp, self._make(path)
        return known[1]


@contextlib.contextmanager
def hidden_build(target: Path) -> Iterator[Path]:
    """A new, hidden folder to fill, which becomes ``target`` in one step at the end; it is gone if anything fails.

    Args:
        target: the folder to be; there is none, or an empty one, in which nobody works.

    Raises:
        StoreError: it is the current folder. DiskError: in place of an OSError.
    """
    build = _beside(target, "new")
    try:
        if target.is_dir() and target.samefile("."):  # whoever is in it would be nowhere
            raise StoreError(
                f"{target.absolute()} is the current folder: give another one, which will be made."
            )
        build.mkdir(parents=True)
        yield build
        if target.is_dir():
            target.rmdir()  # Windows does not replace it
        build.rename(target)
    except OSError as error:
        raise error if isinstance(error, DiskError) else disk_error(error, target) from error
    finally:
        shutil.rmtree(build, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Have a file elsewhere too, without copying it where the disk can do that. Raises OSError."""
    try:
        os.link(source, target)
    except OSError:  # on another disk, or one that has no links
        shutil.copyfile(source, target)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that it is gone at once under its name, however long the deleting takes."""
    doomed = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.gone")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk_error(error, folder) from error
    shutil.rmtree(doomed, ignore_errors=True)


def trim(folder: Path, limit: float, keep: Iterable[Path | str] = ()) -> None:
    """Delete the files of a cache that were written longest ago, until the others take ``limit`` bytes or less.

    Args:
        folder: of the files, without folders in it.
        limit: bytes.
        keep: paths that neither count nor go.
    """
    keep = {Path(path) for path in keep}
    left = []
    for path in folder.iterdir():
        if path not in keep:
            with contextlib.suppress(FileNotFoundError):  # somebody else trims it, too
                stat = path.stat()
                left.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in left)
    for _, size, path in sorted(left):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def sweep(folder: Path, days: float) -> None:
    """Delete what has lain in a trash folder for ``days``, and what an interrupted process left half done."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in paths:
        left_over = path.name.startswith(".") and path.suffix in (".part", ".gone", ".new")
        try:
            age = time.time() - path.lstat().st_mtime
        except FileNotFoundError:  # somebody else deletes or renames it
            continue
        if (left_over and age > 3600) or (folder.name == ".trash" and age > days * 86400):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_usage(folder: Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - walks many files
    return total
