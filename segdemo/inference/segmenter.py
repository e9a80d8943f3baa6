"""A trained model for programs: photos of any kind in, all that is asked about them out. See ``segdemo.load``."""

from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.arrays import Floats, UInt8
from segdemo.core.files import write_atomic
from segdemo.core.labels import LabelSet
from segdemo.core.photos import IntakeError, Limits, of_picture, read_photo
from segdemo.core.resample import resize_bilinear
from segdemo.inference.predict import Prediction
from segdemo.inference.predictors import open_predictor
from segdemo.zoo import ModelEntry, model_at

Photo = str | PathLike[str] | bytes | Image.Image | UInt8


def predict(photo: Photo, model: str = "deeplabv3") -> "Segmented":
    """Segment one photo. For several, ``segdemo.load`` the model once.

    Args:
        photo: path of a file, its bytes, a Pillow image of any mode, or uint8 (H, W, 3) RGB.
        model: name of a served model, or a finished run: its folder or name.

    Returns:
        A ``Segmented``: ``label_map``, ``classes``, ``overlay``, ``probabilities`` and ``save``.

    Raises:
        UnknownModelError, DamagedModelError: as ``segdemo.load``. IntakeError: it is no photo that can be used.
    """
    return Segmenter(model)(photo)


class Segmented:
    """A photo and what a model sees in it.

    Attributes:
        photo: uint8 (H, W, 3), RGB, upright.
        label_set: what the class ids mean.
        prediction: the ``predict.Prediction``, with confidence and uncertainty as the network's grid has them.
    """

    def __init__(self, photo: UInt8, prediction: Prediction, label_set: LabelSet) -> None:
        self.photo, self.prediction, self.label_set = photo, prediction, label_set

    @property
    def label_map(self) -> UInt8:
        """uint8 (H, W): class ids, the photo's own size."""
        return self.prediction.label_map

    @cached_property
    def classes(self) -> list[dict[str, Any]]:
        """``{"id", "name", "color": [r, g, b], "pixels", "share"}`` of each class present, by id."""
        return label_maps.class_table(self.label_map, self.label_set)

    @cached_property
    def overlay(self) -> UInt8:
        """uint8 (H, W, 3): the photo with every class but the background painted over it."""
        return label_maps.overlay(self.photo, self.label_map, self.label_set)

    @property
    def probabilities(self) -> Floats:
        """float32 (H, W, K), of each class at each pixel: made anew each time, four bytes a class and pixel.

        Their argmax may differ from ``label_map`` along outlines, which that has where the photo has them.
        """
        return resize_bilinear(self.prediction.probabilities, *self.label_map.shape)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the label map as a palettized PNG, whatever the ending. Raises DiskError."""
        write_atomic(Path(path), label_maps.encode_png(self.label_map, self.label_set))


class Segmenter:
    """A trained model, loaded; see ``segdemo.load``, which makes it.

    Attributes:
        entry: the model's ``zoo.ModelEntry``.
    """

    def __init__(self, model: str, threads: int | None = None) -> None:
        self.entry: ModelEntry = model_at(model)
        self._predictor = open_predictor(self.entry, threads=threads)
        self._limits = Limits.from_env()

    def __call__(self, photo: Photo) -> Segmented:
        """Segment a photo.

        Args:
            photo: path of a file, its bytes, a Pillow image of any mode, or uint8 (H, W, 3) RGB.

        Returns:
            A ``Segmented``.

        Raises:
            IntakeError: it is no photo that can be used; the message says why.
        """
        pixels = self._pixels(photo)
        return Segmented(pixels, self._predictor(pixels), self.entry.label_set)

    def _pixels(self, photo: Photo) -> UInt8:
        if isinstance(photo, Image.Image):
            return of_picture(photo, self._limits)
        if not isinstance(photo, np.ndarray):
            return read_photo(photo, self._limits)
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise IntakeError(
                f"A photo is uint8 (height, width, 3), RGB, not {photo.dtype} {photo.shape}: convert it first."
            )
        return photo
