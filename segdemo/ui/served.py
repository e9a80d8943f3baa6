"""Files as the page gets them: from Gradio's cache, wherever on the machine they are."""

import contextlib
import hashlib
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from cachetools import LRUCache
from gradio.data_classes import FileData
from gradio.processing_utils import hash_seed, save_file_to_cache
from gradio.utils import get_upload_folder

from segdemo.core.files import link_or_copy, write_atomic
from segdemo.core.workspace import current

MOST_COPIES = 2000  # remembered
# (path, time of change) -> its copy that Gradio serves
_copies: LRUCache[tuple[str, int], Path] = LRUCache(MOST_COPIES)
_lock = threading.Lock()


def served(path: str | Path) -> dict[str, Any]:
    """A file as a component's value shows it: the dictionary of a ``FileData``.

    Gradio serves files of the working directory and of its cache only; packages, datasets and the state root may be
    elsewhere, so the file is copied there, once.

    Args:
        path: the file. Raises FileNotFoundError if there is none.
    """
    path = Path(path)
    stamp = (str(path), path.stat().st_mtime_ns)
    copy = _known(stamp) or _keep(stamp, Path(save_file_to_cache(path, get_upload_folder())))
    return _file_data(copy, path.name)


def served_bytes(data: bytes, name: str) -> dict[str, Any]:
    """The same of a file that is not on disk: ``data``, bytes, under ``name``."""
    copy = Path(cached(data, name))
    return _file_data(copy, copy.name)


def linked(path: Path, name: str) -> Path:
    """A file as one of Gradio's cache, called ``name``, in a folder that nobody guesses; a link to it where it can be.

    Args:
        path: the file. It is served anew if it is another one by then. Raises OSError.
        name: of the copy.
    """
    stamp = (f"{path} {name}", path.stat().st_mtime_ns)
    copy = _known(stamp)
    if copy is None:
        copy = Path(get_upload_folder()).resolve() / secrets.token_hex(16) / name
        copy.parent.mkdir(parents=True)
        link_or_copy(path, copy)
        _keep(stamp, copy)
    return copy


def _known(stamp: tuple[str, int]) -> Path | None:
    """The copy of a file, which counts as used then: `delete_cache` and ``temporary.trim`` go by that."""
    with _lock:
        copy = _copies.get(stamp)
    if copy is None or not copy.is_file():
        return None
    with contextlib.suppress(OSError):
        # The time of its last writing stays: a copy may be a link to the file, whose stamp would be another one.
        os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
    return copy


def _keep(stamp: tuple[str, int], copy: Path) -> Path:
    with _lock:
        _copies[stamp] = copy
    return copy


def cached(data: bytes, name: str) -> str:
    """Path, in Gradio's cache, of ``data`` under ``name``. Raises ``files.DiskError``.

    Equal files are one; Gradio's own function writes that anew while others read it, who then get half of it.
    """
    workspace = current()
    # Where each visitor has a workspace, nobody finds a file by what is in it.
    salt = f"{workspace.id} ".encode() + hash_seed if workspace else b""
    path = Path(get_upload_folder()).resolve() / hashlib.sha256(salt + data).hexdigest() / name
    try:
        os.utime(path)  # it is in use: `delete_cache` goes by the time of change
    except OSError:  # it is not there yet
        write_atomic(path, data, durable=False)
    return str(path)


def _file_data(copy: Path, name: str) -> dict[str, Any]:
    # Gradio finds FileData anywhere inside a value, registers the file for `delete_cache`, and adds a URL that
    # respects a root path.
    return FileData(path=str(copy), orig_name=name).model_dump()
