"""Clicks on photos of the page: one click model, the photos that were clicked on last, and a line to it.

One click is answered at a time, with all threads, first come first served. A preview, which the next move of the
pointer makes worthless, does not wait.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache

from segdemo.core import settings
from segdemo.core.arrays import Bools, UInt8
from segdemo.core.clicks import Box, Click, ClickError, read_box, read_clicks
from segdemo.core.label_maps import decode_mask
from segdemo.core.line import BusyError, Line
from segdemo.core.photos import Limits, encode_png
from segdemo.ui.events import answering
from segdemo.ui.photos import PhotoCache
from segdemo.zoo.clicks import DEFAULT, click_model, click_models

if TYPE_CHECKING:  # it loads SciPy, and the page starts without
    from segdemo.inference.clicks import Clicker, Levels, Selection

WAIT_SECONDS = 8  # for one's turn; a click that is answered later helps nobody
MOST_WAITING = 15  # for the model, and as many for a photo; Gradio has forty threads for all canvases
MASK_SIDE = 1024  # pixels: what a browser sends of a mask is no longer
MASK_BYTES = 1_500_000  # of its PNG: more than its pixels have
_DAMAGED = "The click arrived damaged: click again."


class Clicks:
    """One for each process; safe to call from several threads.

    Args:
        photos: where decoded photos come from.
        limits: of photos, on which those of masks are based.
        capacity: bytes of photos that are kept; None for the setting ``SEGDEMO_CLICK_CACHE_MB``.
    """

    def __init__(self, photos: PhotoCache, limits: Limits, capacity: float | None = None) -> None:
        self._photos = photos
        self._mask_limits = replace(limits, max_bytes=MASK_BYTES, max_pixels=MASK_SIDE**2)
        most = settings.read("SEGDEMO_CLICK_CACHE_MB") * 1e6 if capacity is None else capacity
        self._capacity = max(1.0, most)  # what takes nothing would be kept for ever
        # One that takes more than there is room for is kept alone.
        self._kept: LRUCache[tuple[str, int], Levels] = LRUCache(
            self._capacity, lambda levels: max(1.0, min(levels.bytes, self._capacity))
        )
        self._keeping = Lock()
        self._line, self._loading = Line(MOST_WAITING), Line(MOST_WAITING)
        self._clicker: Clicker | None = None

    @property
    def at_hand(self) -> bool:
        """Whether there is a model."""
        entry = click_models().get(DEFAULT)
        return entry is not None and entry.path.is_file()

    def levels(self, path: str | Path, wait: float = WAIT_SECONDS) -> Levels:
        """A photo for ``Clicker.select``; one at a time is decoded.

        Args:
            path: of the photo.
            wait: seconds, for one's turn.

        Raises:
            BusyError: it takes longer. IntakeError: no photo.
        """
        path = Path(path)
        key = (str(path), path.stat().st_mtime_ns if path.is_file() else 0)
        if (kept := self._known(key)) is not None:
            return kept
        from segdemo.inference.clicks import Levels

        with self._loading.turn(wait):  # ten who click on the same photo at once need it once
            if (kept := self._known(key)) is not None:
                return kept
            levels = Levels(self._photos.read(path), self._capacity)
            with self._keeping:
                self._kept[key] = levels
            return levels

    def _known(self, key: tuple[str, int]) -> Levels | None:
        with self._keeping:
            return self._kept.get(key)

    def select(
        self,
        path: str | Path,
        clicks: Sequence[Click],
        mask: Bools | None = None,
        box: Box | None = None,
        wait: float = WAIT_SECONDS,
    ) -> Selection:
        """What clicks on a photo select.

        Args:
            path: of the photo.
            clicks, mask, box: as for ``Clicker.select``.
            wait: seconds, for one's turn.

        Raises:
            BusyError: it takes longer. IntakeError: no photo. UnknownModelError, DamagedModelError: no model.
            ClickError: as ``Clicker.select``.
        """
        levels = self.levels(path, wait)
        with self._line.turn(wait):
            return self._model().select(levels, clicks, mask, box)

    def _model(self) -> Clicker:
        """The model, loaded; for whose turn it is."""
        from segdemo.inference.clicks import Clicker

        entry = click_model()
        if self._clicker is None or self._clicker.model != entry:
            self._clicker = Clicker(entry)
        return self._clicker

    def answering(self, photo_of: Callable[[str], Path]) -> Callable[[Any], dict[str, Any]] | None:
        """``on_select`` of a mask canvas, see there; None where there is no model.

        Args:
            photo_of: the file of the photo that a key of the canvas stands for. Keys come from a browser, so it raises
                UserError for whatever is none.
        """
        return answering(partial(self._answer, photo_of)) if self.at_hand else None

    def _answer(self, photo_of: Callable[[str], Path], data: Any) -> dict[str, Any]:
        start = time.perf_counter()
        if not isinstance(data, dict) or not isinstance(data.get("key"), str):
            raise ClickError(_DAMAGED)
        path = photo_of(data["key"])
        if data.get("prepare") is True:
            self.levels(path)
            with self._line.turn(WAIT_SECONDS):
                self._model()
            return {"ready": True}
        asked = read_clicks(data.get("clicks")), self._mask(data.get("mask")), read_box(data.get("box"))
        preview = data.get("preview") is True
        try:
            selection = self.select(path, *asked, wait=0 if preview else WAIT_SECONDS)
        except BusyError:
            if preview:
                return {"busy": True}
            raise
        return {
            "box": list(selection.box),
            "probabilities": _text(selection.probabilities),
            "changed": _text(np.where(selection.changed, np.uint8(255), np.uint8(0))),
            "milliseconds": round((time.perf_counter() - start) * 1000, 1),
        }

    def _mask(self, text: Any) -> Bools | None:
        if text is None:
            return None
        if not isinstance(text, str) or len(text) > MASK_BYTES * 4 // 3 + 4:
            raise ClickError(_DAMAGED)
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ClickError(_DAMAGED) from error
        return decode_mask(data, limits=self._mask_limits)


def _text(grey: UInt8) -> str:
    return base64.b64encode(encode_png(grey)).decode("ascii")
