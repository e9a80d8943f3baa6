"""ONNX Runtime predictor: an RGB photo in, a label map of the photo's own size out."""

import threading
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnxruntime
from PIL import Image

from segdemo import zoo
from segdemo.settings import threads

MULTIPLE = 32  # both sides of the network's input are multiples of it


class DamagedModelError(ValueError):
    """A model file is missing or does not have the checksum its manifest promises."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of a photo.

    Attributes:
        label_map: uint8 (H, W), class ids, the photo's own size.
        probabilities: float32 (h, w, K), softmax at the resolution the network answered in.
        milliseconds: from the photo as an array to the label map.
    """

    label_map: np.ndarray
    probabilities: np.ndarray
    milliseconds: float

    @cached_property
    def confidence(self):
        """uint8 (h, w): probability of the likeliest class, 0..255 for 0..1."""
        return np.rint(self.probabilities.max(-1) * 255).astype(np.uint8)

    @cached_property
    def uncertainty(self):
        """uint8 (h, w): entropy over its maximum log K, 0..255 for 0..1."""
        p = self.probabilities
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(-1) / np.log(max(p.shape[-1], 2))
        return np.rint(np.clip(entropy, 0, 1) * 255).astype(np.uint8)


class Predictor:
    """A served model, loaded.

    Args:
        entry: its ``zoo.ModelEntry``. The file's checksum is verified first.

    Raises:
        DamagedModelError: there is no such file, or its checksum differs.
    """

    def __init__(self, entry):
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
        self.session = onnxruntime.InferenceSession(entry.path, options, providers=["CPUExecutionProvider"])

    def network_input(self, image):
        """A photo uint8 (H, W, 3) scaled to the model's own size, aspect ratio kept: uint8 (1, h, w, 3)."""
        height, width = image.shape[:2]
        scale = self.entry.long_side / max(height, width)
        size = [max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (width, height)]
        resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(resized)[None]

    def logits(self, image):
        """Run the network on a photo uint8 (H, W, 3): float32 (h, w, K), divided by the temperature."""
        (logits,) = self.session.run(None, {"image": self.network_input(image)})
        return logits[0] / np.float32(self.entry.temperature)

    def __call__(self, image):
        """Segment a photo.

        Args:
            image: uint8 (H, W, 3), RGB, any size from 1x1.

        Returns:
            A ``Prediction``.
        """
        start = time.perf_counter()
        logits = self.logits(image)
        label_map = argmax_at(logits, *image.shape[:2])
        return Prediction(label_map, softmax(logits), (time.perf_counter() - start) * 1000)


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
