"""ONNX Runtime predictor: an RGB photo in, a label map of the photo's own size out."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Self, TypedDict

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image

from segdemo.core.arrays import Floats, UInt8
from segdemo.core.files import sha256
from segdemo.core.resample import argmax_at, resize_bilinear
from segdemo.core.settings import threads
from segdemo.errors import UserError
from segdemo.inference.refine import refine
from segdemo.inference.sessions import open_session
from segdemo.zoo import ModelEntry


class Passes(TypedDict):
    """Arguments of ``Predictor.seeing``."""

    scales: tuple[float, ...]
    flip: bool


# What a person may choose between, and what ``Predictor.seeing`` makes of it.
PASSES: dict[str, Passes] = {
    "once": {"scales": (1.0,), "flip": False},
    "mirrored": {"scales": (1.0,), "flip": True},
    "scales": {"scales": (0.75, 1.0, 1.25), "flip": True},
}
MULTIPLE = 32  # both sides of the network's input are multiples of it


class DamagedModelError(UserError):
    """A model file is missing or does not have the checksum its manifest promises."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of a photo.

    Attributes:
        label_map: uint8 (H, W), class ids, the photo's own size.
        probabilities: float32 (h, w, K), softmax at the resolution the network answered in; their mean if it
            was asked several times.
        milliseconds: from the photo as an array to the label map.
        variance: float32 (h, w), of a stochastic network's softmax over its passes, averaged over the classes
            (Kendall et al., arXiv:1511.02680, section 3), 0..1/4; None for the others.
        out_of_domain: whether the photo probably shows nothing the model knows, see ``evidence``; None if the
            model has no measured threshold.
    """

    label_map: UInt8
    probabilities: Floats
    milliseconds: float
    variance: Floats | None = None
    out_of_domain: bool | None = None

    @cached_property
    def confidence(self) -> UInt8:
        """uint8 (h, w): probability of the likeliest class, 0..255 for 0..1."""
        return _bytes(self.probabilities.max(-1))

    @cached_property
    def uncertainty(self) -> UInt8:
        """uint8 (h, w), 0..255 for 0..1: twice the standard deviation over the passes of a stochastic network,
        else the entropy over its maximum log K."""
        if self.variance is not None:
            return _bytes(2 * np.sqrt(self.variance))
        p = self.probabilities
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(-1) / np.log(max(p.shape[-1], 2))
        return _bytes(np.clip(entropy, 0, 1))


def input_size(height: int, width: int, long_side: float) -> tuple[int, int]:
    """Height and width, multiples of ``MULTIPLE``, at which a network sees height x width pixels.

    ``long_side`` is that of what it sees, about.
    """
    scale = long_side / max(height, width)
    height, width = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (height, width))
    return height, width


def open_graph(path: Path, digest: str, otherwise: str, most_threads: int | None = None) -> InferenceSession:
    """A session of a graph that is what its manifest says.

    Args:
        path: of the graph. digest: its SHA-256.
        otherwise: what to do about one that cannot be opened.
        most_threads: of one prediction; None for the setting ``SEGDEMO_THREADS``.

    Raises:
        DamagedModelError: there is no such file, its checksum differs, or it is no graph.
    """
    if not path.is_file():
        raise DamagedModelError(f"{path.name} is missing: fetch it again.")
    if sha256(path) != digest:
        raise DamagedModelError(
            f"{path.name} is damaged: its checksum is not the one in the manifest. Fetch it again."
        )
    try:
        return open_session(path, most_threads or threads())
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise DamagedModelError(
            f"{path.name} is no graph that ONNX Runtime can open: {otherwise}."
        ) from error


class Predictor:
    """A served model, loaded.

    Args:
        entry: its ``zoo.ModelEntry``. The file's checksum is verified first.
        scales: the photo is seen at each of these multiples of the model's own size,
        flip: and each time mirrored too. The label map is the argmax of the mean of the softmaxes, as DeepLab's
            multi-scale inference (arXiv:1706.05587, section 4.1). Costs a pass for each.
        threads: of one prediction; None for the setting ``SEGDEMO_THREADS``.

    Raises:
        DamagedModelError: there is no such file, or its checksum differs. ValueError: no scale, or one outside
            1/4..4.
    """

    def __init__(
        self,
        entry: ModelEntry,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        threads: int | None = None,
    ) -> None:
        self.entry = entry
        # See ``calibrate.fit_adjustment``.
        self._offsets = np.asarray(entry.adjustment.offsets if entry.adjustment else 0, np.float32)
        self.session = open_graph(entry.path, entry.onnx_sha256, "export the model again", threads)
        self._set_passes(scales, flip)

    def _set_passes(self, scales: Sequence[float], flip: bool) -> None:
        if not scales or not all(0.25 <= scale <= 4 for scale in scales):
            raise UserError("Give one scale or more, each between 0.25 and 4.")
        # A stochastic network is asked several times: its entry says how often.
        self.passes = list(product(scales, (False, True) if flip else (False,))) * self.entry.samples

    def seeing(self, scales: Sequence[float] = (1.0,), flip: bool = False) -> Self:
        """The same loaded model with other passes, see the class. Raises ValueError."""
        other = copy.copy(self)
        other._set_passes(scales, flip)
        return other

    def network_input(self, image: UInt8, scale: float = 1.0, picture: Image.Image | None = None) -> UInt8:
        """A photo uint8 (H, W, 3) scaled to the model's own size, aspect ratio kept: uint8 (1, h, w, 3).

        ``picture`` is the same as a Pillow image, if there is one: to make it takes as long as to scale it.
        """
        height, width = self.input_size(image, scale)
        picture = picture or Image.fromarray(image)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))[None]

    def input_size(self, image: UInt8, scale: float = 1.0) -> tuple[int, int]:
        """Height and width of ``network_input``."""
        height, width = image.shape[:2]
        return input_size(height, width, scale * self.entry.long_side)

    def logits(
        self, image: UInt8, scale: float = 1.0, mirrored: bool = False, picture: Image.Image | None = None
    ) -> Floats:
        """Run the network once on a photo uint8 (H, W, 3): float32 (h, w, K), adjusted and divided by the temperature.

        Args:
            image: the photo.
            scale: of the model's own size.
            mirrored: show it the mirror image, and mirror the answer back.
            picture: see ``network_input``.
        """
        pixels = self.network_input(image, scale, picture)
        seen = np.ascontiguousarray(pixels[:, :, ::-1]) if mirrored else pixels
        try:
            (logits,) = self.session.run(None, {"image": seen})
        except Exception as error:  # as when it is loaded
            raise DamagedModelError(f"{self.entry.path.name} cannot be run: export it again.") from error
        adjusted: Floats = logits[0] - self._offsets
        adjusted /= np.float32(self.entry.temperature)
        return adjusted[:, ::-1] if mirrored else adjusted

    def __call__(self, image: UInt8) -> Prediction:
        """Segment a photo.

        Args:
            image: uint8 (H, W, 3), RGB, any size from 1x1.

        Returns:
            A ``Prediction``.
        """
        start = time.perf_counter()
        variance, picture = None, Image.fromarray(image)
        if len(self.passes) == 1:
            scores = self.logits(image, *self.passes[0], picture)
            probabilities = softmax(scores)
        else:
            probabilities, variance = self._average(image, picture)
            scores = probabilities
        label_map = self.label_map(probabilities if self.entry.refinement else scores, image, picture)
        milliseconds = (time.perf_counter() - start) * 1000
        return Prediction(
            label_map,
            probabilities,
            milliseconds,
            variance if self.entry.samples > 1 else None,
            self._out_of_domain(probabilities),
        )

    def glance(self, image: UInt8, picture: Image.Image | None = None, scale: float = 1.0) -> Floats:
        """The softmax float32 (h, w, K) of one look at a photo uint8 (H, W, 3); as for ``network_input``."""
        return softmax(self.logits(image, scale, picture=picture))

    def label_map(self, probabilities: Floats, image: UInt8, picture: Image.Image | None = None) -> UInt8:
        """The label map uint8 (H, W) of probabilities (h, w, K) of a photo, with outlines where the model has them.

        Of a model without a refinement, logits do as well.
        """
        if filter_ := self.entry.refinement:  # see ``calibrate.fit_refinement``
            size = self.input_size(image)
            return refine(probabilities, image, size, filter_.radius, filter_.epsilon, picture)
        return argmax_at(probabilities, *image.shape[:2])

    def _average(self, image: UInt8, picture: Image.Image) -> tuple[Floats, Floats]:
        """Mean float32 (h, w, K) of the softmax over all passes, and its variance (h, w) averaged over classes."""
        total = squares = np.zeros((0, 0, 0))
        for scale, mirrored in sorted(self.passes, reverse=True):  # the finest grid first: it is kept
            probabilities = softmax(self.logits(image, scale, mirrored, picture))
            if not total.size:
                total, squares = np.zeros(probabilities.shape), np.zeros(probabilities.shape)
            height, width = total.shape[:2]
            probabilities = resize_bilinear(probabilities, height, width)
            total += probabilities
            squares += np.square(probabilities, dtype=np.float64)
        mean = total / len(self.passes)
        variance = np.maximum(squares / len(self.passes) - mean**2, 0).mean(-1)
        return mean.astype(np.float32), np.asarray(variance, np.float32)

    def _out_of_domain(self, probabilities: Floats) -> bool | None:
        domain, background = self.entry.domain, self.entry.label_set.background
        if domain is None or background is None:
            return None
        return evidence(probabilities, background) < domain.threshold


def _bytes(values: Floats) -> UInt8:
    """0..1 as uint8 0..255."""
    return np.asarray(np.rint(values * 255), np.uint8)


def evidence(probabilities: Floats, background: int) -> float:
    """How surely some part of a photo is not background: the mean of 1 - P(background) over its surest hundredth.

    Args:
        probabilities: float32 (h, w, K).
        background: the class id.

    Returns:
        A float in 0..1.
    """
    foreground = np.sort(1 - probabilities[..., background], axis=None)
    return float(foreground[-max(1, foreground.size // 100) :].mean())


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis: float32 (..., K) to float32 (..., K).

    A class after the other, and so they lie in memory: the last axis is short, and NumPy slow along it.
    """
    powers = np.array(np.moveaxis(logits, -1, 0), order="C")  # (K, ...)
    powers -= powers.max(0)
    np.exp(powers, out=powers)
    powers /= powers.sum(0)
    return np.moveaxis(powers, 0, -1)
