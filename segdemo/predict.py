"""ONNX Runtime predictor: an RGB photo in, a label map of the photo's own size out."""

import copy
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import onnxruntime
from PIL import Image

from segdemo import zoo
from segdemo.settings import threads

# What a person may choose between, and what ``Predictor.seeing`` makes of it.
PASSES = {
    "once": {"scales": (1.0,), "flip": False},
    "mirrored": {"scales": (1.0,), "flip": True},
    "scales": {"scales": (0.75, 1.0, 1.25), "flip": True},
}
MULTIPLE = 32  # both sides of the network's input are multiples of it


class DamagedModelError(ValueError):
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

    label_map: np.ndarray
    probabilities: np.ndarray
    milliseconds: float
    variance: np.ndarray | None = None
    out_of_domain: bool | None = None

    @cached_property
    def confidence(self):
        """uint8 (h, w): probability of the likeliest class, 0..255 for 0..1."""
        return np.rint(self.probabilities.max(-1) * 255).astype(np.uint8)

    @cached_property
    def uncertainty(self):
        """uint8 (h, w), 0..255 for 0..1: twice the standard deviation over the passes of a stochastic network,
        else the entropy over its maximum log K."""
        if self.variance is not None:
            return np.rint(2 * np.sqrt(self.variance) * 255).astype(np.uint8)
        p = self.probabilities
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(-1) / np.log(max(p.shape[-1], 2))
        return np.rint(np.clip(entropy, 0, 1) * 255).astype(np.uint8)


class Predictor:
    """A served model, loaded.

    Args:
        entry: its ``zoo.ModelEntry``. The file's checksum is verified first.
        scales: the photo is seen at each of these multiples of the model's own size,
        flip: and each time mirrored too. The label map is the argmax of the mean of the softmaxes, as DeepLab's
            multi-scale inference (arXiv:1706.05587, section 4.1). Costs a pass for each.

    Raises:
        DamagedModelError: there is no such file, or its checksum differs. ValueError: no scale, or one outside
            1/4..4.
    """

    def __init__(self, entry, scales=(1.0,), flip=False):
        if not entry.path.is_file():
            raise DamagedModelError(f"{entry.path.name} is missing: fetch it again.")
        if zoo.sha256(entry.path) != entry.onnx_sha256:
            raise DamagedModelError(
                f"{entry.path.name} is damaged: its checksum is not the one in the manifest. Fetch it again."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.entry = entry
        adjustment = entry.data.get("adjustment")  # see ``calibrate.fit_adjustment``
        self._offsets = np.float32(adjustment["offsets"] if adjustment else 0)
        self.session = onnxruntime.InferenceSession(entry.path, options, providers=["CPUExecutionProvider"])
        self._set_passes(scales, flip)

    def _set_passes(self, scales, flip):
        if not scales or not all(0.25 <= scale <= 4 for scale in scales):
            raise ValueError("Give one scale or more, each between 0.25 and 4.")
        # A stochastic network is asked several times: its entry says how often.
        self.passes = list(product(scales, (False, True) if flip else (False,))) * self.entry.samples

    def seeing(self, scales=(1.0,), flip=False):
        """The same loaded model with other passes, see the class. Raises ValueError."""
        other = copy.copy(self)
        other._set_passes(scales, flip)
        return other

    def network_input(self, image, scale=1.0):
        """A photo uint8 (H, W, 3) scaled to the model's own size, aspect ratio kept: uint8 (1, h, w, 3)."""
        height, width = image.shape[:2]
        scale = scale * self.entry.long_side / max(height, width)
        size = [max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (width, height)]
        resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(resized)[None]

    def logits(self, image, scale=1.0, mirrored=False):
        """Run the network once on a photo uint8 (H, W, 3): float32 (h, w, K), adjusted and divided by the temperature.

        Args:
            image: the photo.
            scale: of the model's own size.
            mirrored: show it the mirror image, and mirror the answer back.
        """
        pixels = self.network_input(image, scale)
        (logits,) = self.session.run(
            None, {"image": np.ascontiguousarray(pixels[:, :, ::-1]) if mirrored else pixels}
        )
        logits = (logits[0] - self._offsets) / np.float32(self.entry.temperature)
        return logits[:, ::-1] if mirrored else logits

    def __call__(self, image):
        """Segment a photo.

        Args:
            image: uint8 (H, W, 3), RGB, any size from 1x1.

        Returns:
            A ``Prediction``.
        """
        start = time.perf_counter()
        variance = None
        if len(self.passes) == 1:
            logits = self.logits(image, *self.passes[0])
            label_map, probabilities = argmax_at(logits, *image.shape[:2]), softmax(logits)
        else:
            probabilities, variance = self._average(image)
            label_map = argmax_at(probabilities, *image.shape[:2])
        milliseconds = (time.perf_counter() - start) * 1000
        return Prediction(
            label_map,
            probabilities,
            milliseconds,
            variance if self.entry.samples > 1 else None,
            self._out_of_domain(probabilities),
        )

    def _average(self, image):
        """Mean float32 (h, w, K) of the softmax over all passes, and its variance (h, w) averaged over classes."""
        total = squares = None
        for scale, mirrored in sorted(self.passes, reverse=True):  # the finest grid first: it is kept
            probabilities = softmax(self.logits(image, scale, mirrored))
            if total is None:
                total = np.zeros(probabilities.shape, np.float64)
                squares = np.zeros(probabilities.shape, np.float64)
            probabilities = resize_bilinear(probabilities, *total.shape[:2])
            total += probabilities
            squares += np.square(probabilities, dtype=np.float64)
        mean = total / len(self.passes)
        variance = np.maximum(squares / len(self.passes) - mean**2, 0).mean(-1)
        return mean.astype(np.float32), variance.astype(np.float32)

    def _out_of_domain(self, probabilities):
        domain, background = self.entry.data.get("domain"), self.entry.label_set.background
        if domain is None or background is None:
            return None
        return evidence(probabilities, background) < domain["threshold"]


def evidence(probabilities, background):
    """How surely some part of a photo is not background: the mean of 1 - P(background) over its surest hundredth.

    Args:
        probabilities: float32 (h, w, K).
        background: the class id.

    Returns:
        A float in 0..1.
    """
    foreground = np.sort(1 - probabilities[..., background], axis=None)
    return float(foreground[-max(1, foreground.size // 100) :].mean())


def softmax(logits):
    """Softmax over the last axis: float32 (..., K) to float32 (..., K)."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def argmax_at(logits, height, width):
    """Argmax of logits resized bilinearly (half-pixel centres), without ever holding the resized logits.

    Between two rows of logits the interpolation is linear, so a class that wins at both ends of a column
    wins all the way: only columns whose two winners differ are evaluated pixel by pixel. The result is that
    of resizing everything; a 12-megapixel map takes a fraction of the memory and the time.

    Args:
        logits: float32 (h, w, K).
        height, width: of the label map.

    Returns:
        uint8 (height, width).
    """
    left, right, weight = _lerp(logits.shape[1], width)
    columns = logits[:, left] * (1 - weight)[:, None] + logits[:, right] * weight[:, None]  # (h, width, K)
    winner = columns.argmax(-1).astype(np.uint8)  # (h, width)
    above, below, weight = _lerp(logits.shape[0], height)
    label_map = winner[above]
    for start, stop in _runs(above):
        top, bottom = above[start], below[start]
        open_columns = np.flatnonzero(winner[top] != winner[bottom])
        if open_columns.size:
            w = weight[start:stop, None, None]
            between = columns[top, open_columns] * (1 - w) + columns[bottom, open_columns] * w
            label_map[start:stop, open_columns] = between.argmax(-1)
    return label_map


def resize_bilinear(values, height, width):
    """Resize a grid float32 (h, w, K) with half-pixel centres: float32 (height, width, K)."""
    if values.shape[:2] == (height, width):
        return values
    left, right, weight = _lerp(values.shape[1], width)
    values = values[:, left] * (1 - weight)[:, None] + values[:, right] * weight[:, None]
    above, below, weight = _lerp(values.shape[0], height)
    return values[above] * (1 - weight)[:, None, None] + values[below] * weight[:, None, None]


def _lerp(size, new_size):
    """Indices before and after each of ``new_size`` sample points on an axis of ``size``, and the second's weight."""
    points = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    before = points.astype(np.intp)
    return before, np.minimum(before + 1, size - 1), (points - before).astype(np.float32)


def _runs(values):
    """(start, stop) of each run of equal neighbours in a sorted array."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return zip([0, *edges], [*edges, len(values)], strict=True)


class PredictorCache:
    """Loads each model once, when first asked for; safe to call from several threads."""

    def __init__(self):
        self._predictors = {}
        self._lock = threading.Lock()

    def get(self, name):
        """The Predictor of a served model. Raises ``zoo.UnknownModelError``."""
        entry = zoo.served_model(name)
        with self._lock:
            loaded = self._predictors.get(name)
            if loaded is None or loaded.entry.onnx_sha256 != entry.onnx_sha256:
                loaded = self._predictors[name] = Predictor(entry)
            return loaded
