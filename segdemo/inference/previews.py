"""Small pictures of the first photos of a batch, with their masks over them, by however many who work on it."""

import contextlib
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.files import DiskError, disk_errors, write_atomic
from segdemo.core.labels import LabelSet
from segdemo.core.photos import encode_jpeg

MOST = 24  # photos
SIDE = 240  # pixels of their longer side


class Previews:
    """What ``Batch`` calls ``look``; in several processes too, which share the folder.

    Args:
        folder: of JPEGs, numbered in the order in which photos were done.
        label_set: of the label maps.
    """

    def __init__(self, folder: Path, label_set: LabelSet) -> None:
        self._folder, self._label_set = folder, label_set
        self._next = 0  # numbers below are somebody's

    def __call__(self, photo: UInt8, label_map: UInt8) -> None:
        """Keep a small picture of a photo uint8 (H, W, 3) under its label map uint8 (H, W), if more are wanted."""
        with contextlib.suppress(DiskError):  # the results say so, too
            if (number := self._number()) is None:
                return
            scale = min(1, SIDE / max(label_map.shape))
            size = tuple(max(1, round(side * scale)) for side in label_map.shape[::-1])
            small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
            mask = np.asarray(Image.fromarray(label_map).resize(size, Image.Resampling.NEAREST))
            shown = encode_jpeg(label_maps.overlay(small, mask, self._label_set), 80)
            write_atomic(self._folder / f"{number:03}.jpg", shown, durable=False)

    def _number(self) -> int | None:
        """A number that nobody else has, or None."""
        while self._next < MOST:
            number, self._next = self._next, self._next + 1
            with disk_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    (self._folder / f".{number:03}").touch(exist_ok=False)
                    return number
        return None
