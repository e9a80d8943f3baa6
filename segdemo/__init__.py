"""SegDemo: semantic segmentation and mask annotation in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segdemo.inference.segmenter import Segmenter

__version__ = "0.1.0"


def load(model: str = "deeplabv3", *, threads: int | None = None) -> Segmenter:
    """A trained model, ready to segment photos: ``segdemo.load("deeplabv3")("photo.jpg").label_map``.

    Args:
        model: name of a served model, or a finished run: its folder or name.
        threads: of one prediction; None for the setting ``SEGDEMO_THREADS``.

    Returns:
        A ``Segmenter``, which takes a path, a Pillow image or uint8 (H, W, 3) and may be called from several threads.

    Raises:
        zoo.UnknownModelError: there is none. predict.DamagedModelError: its file is not what it should be.
    """
    # By name: this module is below all folders, which ask it for the version, and is quick to import.
    from importlib import import_module

    segmenter: Segmenter = import_module("segdemo.inference.segmenter").Segmenter(model, threads)
    return segmenter
