"""The page's temporary files: uploads and what it serves, kept below a number of bytes.

``delete_cache`` of Gradio deletes what is old; at a hundred photos of 12 megapixels a minute that would come too late.
Both go by lists of files, and Gradio makes none where it has made a component anew for a page, which it does for every
update (see ``overriding``): so they are made here.
"""

import contextlib
import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from segdemo.ui import clips

LOOK_SECONDS = 10
PART_SECONDS = 3600  # an upload that has brought nothing for so long is over
SPARE = 500_000_000  # bytes of disk that uploads leave to everything else
NO_ROOM = "The disk of this page is nearly full: try again in a minute, or with less."
YOUNG_SECONDS = 60  # what was written or used since then stays: somebody may just be reading it

_log = logging.getLogger(__name__)


def room() -> float:
    """Bytes of disk that uploads may still take."""
    folder = Path(get_upload_folder())
    try:
        while not folder.is_dir():
            folder = folder.parent
        return shutil.disk_usage(folder).free - SPARE
    except OSError:
        return math.inf  # whoever writes there says so


def note_answers(demo: gr.Blocks) -> None:
    """Have files that answers of these Blocks name deleted in their time, whichever component shows them."""
    process: Callable[..., Any] = demo.process_api

    async def noting(*args: Any, **named: Any) -> Any:
        answer = await process(*args, **named)
        given = Path(get_upload_folder()).absolute()
        folders = (f"{given}{os.sep}", f"{given.resolve()}{os.sep}")
        demo.upload_file_set.update(path for path in paths_in(answer) if path.startswith(folders))
        return answer

    demo.process_api = noting  # type: ignore[method-assign]


def paths_in(value: Any) -> Iterator[str]:
    """The path of every file that an answer of Gradio's names."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and path:
            yield path
        for one in value.values():
            yield from paths_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from paths_in(one)


def trim(demo: gr.Blocks, limit: float) -> int:
    """Delete the files that were used longest ago, until the others take ``limit`` bytes or less.

    Only files that this process has taken note of count, since the folder may be that of other programs too.

    Args:
        demo: the Blocks whose files they are.
        limit: bytes.

    Returns:
        Bytes that were freed.
    """
    kept = set().union(*(getattr(block, "keep_in_cache", ()) for block in list(demo.blocks.values())))
    found, gone = [], set()
    for file in set().union(*(set(files) for files in list(demo.temp_file_sets))) - kept:
        try:
            status = Path(file).stat()
        except OSError:
            gone.add(file)
            continue
        found.append((max(status.st_ctime, status.st_atime), status.st_size, file))
    total, freed = sum(size for _, size, _ in found), 0
    for used, size, file in sorted(found):
        if total - freed <= limit or used > time.time() - YOUNG_SECONDS:
            break
        with contextlib.suppress(OSError):
            Path(file).unlink()
            Path(file).parent.rmdir()  # Gradio makes one for each file; if others are in it, it stays
        gone.add(file)
        freed += size
    for files in demo.temp_file_sets:
        files -= gone
    return freed


def sweep_parts(folder: Path) -> None:
    """Delete what came only in part, before the server was ended: files of uploads that nobody writes to any more."""
    for path in folder.glob("tmp*"):
        with contextlib.suppress(OSError):
            if not path.suffix and path.is_file() and path.stat().st_mtime < time.time() - PART_SECONDS:
                path.unlink()


def sweep_clips(demo: gr.Blocks, folder: Path) -> None:
    """Delete folders of clips that nobody was given, and those whose files are gone."""
    known = {str(Path(file).parent) for files in list(demo.temp_file_sets) for file in set(files)}
    for place in folder.glob(f"{clips.FOLDER}*"):
        with contextlib.suppress(OSError):
            written = max(path.stat().st_mtime for path in (place, *place.iterdir()))
            if written < time.time() - PART_SECONDS and (str(place) not in known or not any(place.iterdir())):
                shutil.rmtree(place)


def look_after(demo: gr.Blocks, limit: float) -> threading.Thread:
    """``trim`` and the sweeps every few seconds, in a thread, as long as the process lives; 0 is no limit."""

    def loop() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                trim(demo, limit)
                sweep_parts(folder := Path(get_upload_folder()).resolve())
                sweep_clips(demo, folder)
            except Exception:  # files go on coming
                _log.exception("The temporary files could not be looked after.")

    thread = threading.Thread(target=loop, name="temporary", daemon=True)
    if limit:
        thread.start()
    return thread
