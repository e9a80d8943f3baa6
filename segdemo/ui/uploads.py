"""Uploads that leave nothing behind unless they came whole, fields of forms that stay small, and data URLs.

Gradio writes what comes into files of its cache as it comes. It deletes those of a form that breaks its rules, but
neither those of a visitor who closed the page in the middle of a clip, nor those of fields that nobody asked for; and
it holds what is no file in memory, however much it is. Photos that come as data URLs it writes before anybody looks how
large they are, and never deletes.
"""

import base64
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils, route_utils, routes
from gradio_client.utils import strip_invalid_filename_characters  # type: ignore[import-untyped]
from starlette.formparsers import MultiPartException

from segdemo.core.photos import IntakeError, Limits
from segdemo.ui.served import cached
from segdemo.ui.temporary import NO_ROOM, room

MOST_FIELD = 2**20  # bytes of a field that is no file
ASKED_FOR = "files"  # the field whose files Gradio takes from an upload
_AS_FILES = "Field exceeds the maximum allowed size: send files as files."


class TidyParser(route_utils.GradioMultiPartParser):
    """Gradio's parser of forms, see the module."""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """As Gradio's. Raises MultiPartException: too much for a field."""
        part = self._current_part
        if part.file is None and len(part.data) + end - start > MOST_FIELD:
            raise MultiPartException(_AS_FILES)
        super().on_part_data(data, start, end)

    async def parse(self) -> Any:
        """As Gradio's. Whatever ends it early, and be it that the visitor has gone, no file of it stays."""
        try:
            form = await super().parse()
            if self.upload_dir is not None:
                self._keep_asked_for(form.getlist(ASKED_FOR))
        except BaseException:
            self._remove(lambda name: True)
            raise
        return form

    def _keep_asked_for(self, files: list[Any]) -> None:
        if any(isinstance(file, str) for file in files):
            raise MultiPartException(_AS_FILES)
        names = {file.file.name for file in files}
        self._remove(lambda name: name not in names)
        for file in files:  # of names that Gradio would stumble over
            if strip_invalid_filename_characters(Path(file.filename or "").name) in ("", ".", ".."):
                file.filename = "file"

    def _remove(self, unwanted: Callable[[str], bool]) -> None:
        for file in self._files_to_close_on_error:
            if unwanted(file.name):
                file.close()
                Path(file.name).unlink(missing_ok=True)


def kept_data_url(url: str, demo: gr.Blocks | None) -> str:
    """Path, in Gradio's cache, of the photo that a data URL holds; it is deleted as uploads are.

    Args:
        url: ``data:`` and so on, base64.
        demo: the Blocks that it was sent to; None where there are none to look after the file.

    Raises:
        IntakeError: it is larger than a photo may be, damaged, or the disk is nearly full. ``files.DiskError``.
    """
    kind, comma, encoded = url.partition(",")
    size, most = len(encoded) * 3 // 4, Limits.from_env().max_bytes
    if size > most:
        raise IntakeError(
            f"The photo has {size / 1e6:.1f} MB where {most / 1e6:g} MB are allowed: send a smaller file."
        )
    if size > room():
        raise IntakeError(NO_ROOM)
    try:
        data = base64.b64decode(encoded)
    except ValueError:
        data = b""
    if not comma or not data:
        raise IntakeError("This photo came damaged: choose it again.")
    ending = mimetypes.guess_extension(kind.removeprefix("data:").partition(";")[0])
    path = cached(data, f"file{ending or ''}")
    if demo is not None:
        demo.upload_file_set.add(path)
    return path


def keep_tidy(demo: gr.Blocks) -> None:
    """Have Gradio read forms with ``TidyParser`` and data URLs with ``kept_data_url`` from now on. Twice does no harm.

    Args:
        demo: the Blocks that looks after files which agents send, for whom Gradio does not say where.
    """
    route_utils.GradioMultiPartParser = routes.GradioMultiPartParser = TidyParser  # type: ignore[misc]
    # The folder and the name that Gradio asks for are those that `cached` takes.
    processing_utils.save_base64_to_cache = lambda encoding, *_: kept_data_url(encoding, demo)
