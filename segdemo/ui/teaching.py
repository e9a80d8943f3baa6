"""Features of the page's photos, for classes that are taught by painting: once a photo, one photo at a time.

What a browser makes of them is ``components/canvas/teach_learner.js``; ``docs/teach.md`` says what they are.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from segdemo.core.documents import DamagedError
from segdemo.core.line import Line
from segdemo.errors import UserError
from segdemo.ui.events import answering
from segdemo.ui.photos import PhotoCache
from segdemo.zoo.features import served_features

if TYPE_CHECKING:
    from segdemo.inference.features import Features

WAIT_SECONDS = 20  # for one's turn; the page asks once a photo
MOST_WAITING = 40  # a photo of 12 megapixels takes a third of a second at most


class Teaching:
    """One for each process; safe to call from several threads.

    Args:
        photos: where decoded photos come from.
    """

    def __init__(self, photos: PhotoCache) -> None:
        self._photos = photos
        self._line = Line(MOST_WAITING)

    @property
    def at_hand(self) -> bool:
        """Whether there is a graph that makes features."""
        try:
            return served_features().path.is_file()
        except (DamagedError, OSError):
            return False

    @cached_property
    def _features(self) -> Features:
        from segdemo.inference.features import Features

        return Features()

    def answering(self, photo_of: Callable[[str], Path]) -> Callable[[Any], dict[str, Any]] | None:
        """``on_features`` of a mask canvas, see there; None where no graph makes features.

        Args:
            photo_of: the file of the photo that a key of the canvas stands for. Keys come from a browser, so it raises
                UserError for whatever is none.
        """
        return answering(partial(self._answer, photo_of)) if self.at_hand else None

    def _answer(self, photo_of: Callable[[str], Path], data: Any) -> dict[str, Any]:
        if not isinstance(data, dict) or not isinstance(data.get("key"), str):
            raise UserError("The question arrived damaged: choose the photo again.")
        path = photo_of(data["key"])
        with self._line.turn(WAIT_SECONDS):
            photo = self._photos.read(path)
            features = self._features.of(photo)
        rows, columns, channels = features.shape
        # The colours that outlines follow, as ``inference.refine`` sees them.
        guide = Image.fromarray(photo).resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return {
            "rows": rows,
            "columns": columns,
            "channels": channels,
            "data": packed(features.tobytes()),
            "guide": packed(np.asarray(guide).tobytes()),
            "steps": self._features.steps.tolist(),
            "features": self._features.entry.onnx_sha256,
        }


def packed(data: bytes) -> str:
    """Base64 of bytes in the format of zlib, which a browser's ``DecompressionStream("deflate")`` reads."""
    return base64.b64encode(zlib.compress(data, 1)).decode("ascii")
