"""The page's temporary files: uploads and what it serves, kept below a number of bytes.

``delete_cache`` of Gradio deletes what is old; at a hundred photos of 12 megapixels a minute that would come too late.
"""

import contextlib
import logging
import threading
import time
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

LOOK_SECONDS = 10
PART_SECONDS = 3600  # an upload that has brought nothing for so long is over
YOUNG_SECONDS = 60  # what was written or used since then stays: somebody may just be reading it

_log = logging.getLogger(__name__)


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


def look_after(demo: gr.Blocks, limit: float) -> threading.Thread:
    """``trim`` and ``sweep_parts`` every few seconds, in a thread, as long as the process lives; 0 is no limit."""

    def loop() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                trim(demo, limit)
                sweep_parts(Path(get_upload_folder()))
            except Exception:  # files go on coming
                _log.exception("The temporary files could not be looked after.")

    thread = threading.Thread(target=loop, name="temporary", daemon=True)
    if limit:
        thread.start()
    return thread
