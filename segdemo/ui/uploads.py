"""Uploads that leave nothing behind unless they came whole, and fields of forms that stay small.

Gradio writes what comes into files of its cache as it comes. It deletes those of a form that breaks its rules, but
neither those of a visitor who closed the page in the middle of a clip, nor those of fields that nobody asked for; and
it holds what is no file in memory, however much it is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio import route_utils, routes
from gradio_client.utils import strip_invalid_filename_characters  # type: ignore[import-untyped]
from starlette.formparsers import MultiPartException

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


def keep_tidy() -> None:
    """Have Gradio read forms with ``TidyParser`` from now on. Twice does no harm."""
    route_utils.GradioMultiPartParser = routes.GradioMultiPartParser = TidyParser  # type: ignore[misc]
