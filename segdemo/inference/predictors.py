"""Whatever segments photos, loaded: networks, and classifiers that were taught by painting."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from cachetools import LRUCache
from PIL import Image

from segdemo import zoo
from segdemo.core.arrays import Floats, UInt8
from segdemo.core.files import sha256
from segdemo.inference import teach
from segdemo.inference.features import Features
from segdemo.inference.predict import DamagedModelError, Prediction, Predictor
from segdemo.zoo import ModelEntry
from segdemo.zoo.taught import ARCHITECTURE


class Segmenter(Protocol):
    """What ``Predictor`` and ``TaughtPredictor`` have in common: see there."""

    entry: ModelEntry
    passes: list[tuple[float, bool]]

    def seeing(self, scales: Sequence[float] = (1.0,), flip: bool = False) -> Self:
        """The same loaded model with other passes."""

    def __call__(self, image: UInt8) -> Prediction:
        """Segment a photo uint8 (H, W, 3)."""

    def glance(self, image: UInt8, picture: Image.Image | None = None, scale: float = 1.0) -> Floats:
        """Probabilities float32 (h, w, K) of one look at a photo, at a multiple of the model's own size."""

    def label_map(self, probabilities: Floats, image: UInt8, picture: Image.Image | None = None) -> UInt8:
        """The label map uint8 (H, W) of such probabilities."""


class TaughtPredictor:
    """A classifier that was taught by painting, as a model: it sees photos once, whatever passes are asked for.

    Args:
        entry: its ``zoo.ModelEntry``.

    Raises:
        DamagedModelError: the file is missing or another one. TeachError: it is for other features. DamagedError.
    """

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.passes = [(1.0, False)]
        if not entry.path.is_file() or sha256(entry.path) != entry.onnx_sha256:
            raise DamagedModelError(f"{entry.title} has changed or is gone: choose it again.")
        self.taught = teach.Taught.read(entry.path)
        self._features = Features()
        if self.taught.features != self._features.entry.onnx_sha256:
            raise teach.TeachError(f"{entry.title} knows other features: teach it again.")

    def seeing(self, scales: Sequence[float] = (1.0,), flip: bool = False) -> Self:
        """Itself."""
        return self

    def __call__(self, image: UInt8) -> Prediction:
        """Segment a photo.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            A ``Prediction``: probabilities (h, w, K) of all K classes of the label set, 0 of those not taught.
        """
        return self.on(image)

    def on(self, image: UInt8, painted: UInt8 | None = None) -> Prediction:
        """As a call, where ``painted`` are strokes on the photo, uint8 (H, W), 255 not painted: they hold."""
        start = time.perf_counter()
        probabilities = self._probabilities(image, painted)
        label_map = self.label_map(probabilities, image)
        return Prediction(label_map, probabilities, (time.perf_counter() - start) * 1000)

    def glance(self, image: UInt8, picture: Image.Image | None = None, scale: float = 1.0) -> Floats:
        """The probabilities of a call; ``picture`` is not needed, and there is one scale."""
        return self._probabilities(image, None)

    def label_map(self, probabilities: Floats, image: UInt8, picture: Image.Image | None = None) -> UInt8:
        """The label map uint8 (H, W) of probabilities float32 (h, w, K) of a photo; ``picture`` is not needed."""
        return teach.label_map(self.taught, probabilities[..., list(self.taught.classes)], image)

    def _probabilities(self, image: UInt8, painted: UInt8 | None) -> Floats:
        seen = self._features.of(image)
        likely = teach.probabilities(self.taught, seen, self._features.steps, painted)
        probabilities = np.zeros((*likely.shape[:2], len(self.entry.label_set)), np.float32)
        probabilities[..., list(self.taught.classes)] = likely
        return probabilities


def open_predictor(
    entry: ModelEntry, scales: Sequence[float] = (1.0,), flip: bool = False, threads: int | None = None
) -> Segmenter:
    """The loaded model of an entry; see ``Predictor``, which says what is raised, and ``TaughtPredictor``."""
    if entry.architecture == ARCHITECTURE:
        return TaughtPredictor(entry)
    return Predictor(entry, scales, flip, threads)


class PredictorCache:
    """Loads each model once, when first asked for; safe to call from several threads.

    One name may stand for another model in each visitor's workspace, so models go by their files. Those asked for
    longest ago are forgotten.
    """

    MOST = 32  # models in memory

    def __init__(self) -> None:
        self._predictors: LRUCache[Path, Segmenter] = LRUCache(self.MOST)
        self._lock = threading.Lock()

    def get(self, name: str) -> Segmenter:
        """The loaded model of a name. Raises ``zoo.UnknownModelError``."""
        entry = zoo.served_model(name)
        with self._lock:
            loaded = self._predictors.get(entry.path)
            if loaded is None or _made_of(loaded.entry) != _made_of(entry):
                loaded = self._predictors[entry.path] = open_predictor(entry)
            return loaded


def _made_of(entry: ModelEntry) -> tuple[str, int]:
    return entry.onnx_sha256, len(entry.label_set)
