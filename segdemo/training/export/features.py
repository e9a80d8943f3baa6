"""The graph of features that classes are taught with: a trained DeepLabv3's, frozen and projected.

    python -m segdemo.training.export.features --data VOC_DIR [--model deeplabv3] [--out weights]

Feature maps of several stages are brought to cells of 4 pixels: the coarsest by the model's own guided upsampling,
which serves any class, the others bilinearly. One linear projection of all of them together keeps the directions in
which the segments of a photo, and the classes over all photos, differ most for what they vary within (discriminants:
Fukunaga, "Introduction to Statistical Pattern Recognition", 1990, section 10.2). A direction is as wide as its
discriminant's root, so that a classifier with a penalty on its weights prefers the best ones. Projecting and
upsampling can change places, so that every stage is projected where it is small. Beside them are the cell's colour
(CIE Lab) and how much its brightness varies. Bytes go out: half a megabyte for a photo of 512 pixels.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import scipy.linalg
from keras import ops

from segdemo import zoo
from segdemo.core.arrays import Floats, UInt8
from segdemo.core.files import read_json, sha256, write_json
from segdemo.core.labels import VOID
from segdemo.core.photos import read_photo
from segdemo.data.datasets import Dataset, read_pair
from segdemo.data.sources import open_dataset
from segdemo.errors import UserError
from segdemo.inference.agreement import at_size
from segdemo.inference.features import CELL
from segdemo.inference.predict import Predictor
from segdemo.training.architectures import build
from segdemo.training.architectures.upsampling import Reassemble
from segdemo.training.export.exporter import graph_of
from segdemo.training.export.quantize import quantise
from segdemo.training.layers import ResizeLike, Tensor

CHANNELS = 36  # of the projection; the colour takes four more
CELLS = 64  # of each segment of a photo that are looked at
RIDGE = 0.02  # of a channel's variance, added to the scatter within: stages repeat each other
SPREAD = 5.0  # standard deviations of a channel that its bytes reach to each side
CALIBRATION_PHOTOS = 64
FLOAT_CONVOLUTIONS = 3  # as of the shipped ``deeplabv3``
STAGES = ("coarse", "middle", "fine")
# Of L, a, b and the brightness's deviation in the cell: what is 0, and what is 1.
COLOURS = ((50.0, 25.0), (0.0, 20.0), (0.0, 20.0), (0.05, 0.08))
COLOUR_STEPS = (1 / 60, 1 / 30, 1 / 30, 1 / 20)


def stages(model: keras.Model) -> dict[str, Tensor]:
    """The feature maps of a DeepLabv3 with guided upsampling, which the projection is of.

    Returns:
        ``"coarse"`` at the output stride of 16, ``"middle"`` at stride 8 and ``"fine"`` at stride 4, (B, h, w, C) each.

    Raises:
        UserError: it has no guided upsampling.
    """
    names = {layer.name for layer in model.layers}
    if "guided_wide_relu" not in names:
        raise UserError(f"{model.name} has no guided upsampling: give a DeepLabv3 that has.")
    c2, c3 = (model.get_layer(f"guided_{tap}_conv").input for tap in ("c2", "c3"))
    near = model.get_layer("guided_wide_relu").output
    fine = keras.layers.Concatenate(name="features_fine")([c2, near])
    return {"coarse": model.get_layer("logits").input, "middle": c3, "fine": fine}


def _at_cells(model: keras.Model, maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Feature maps ``maps`` of ``stages``, brought to cells of 4 pixels."""
    guided = model.get_layer("fine_logits")
    reassemble = Reassemble(name="features_reassembled")
    coarse = reassemble([maps["coarse"], *guided.input[1:]])
    reassemble.set_weights(guided.get_weights())
    middle = ResizeLike(name="features_resize")(maps["middle"], maps["fine"])
    return {"coarse": coarse, "middle": middle, "fine": maps["fine"]}


def stacked(model: keras.Model) -> keras.Model:
    """From photos (B, H, W, 3) to all of ``stages`` at cells of 4 pixels, (B, H/4, W/4, D)."""
    maps = _at_cells(model, stages(model))
    return keras.Model(model.input, keras.layers.Concatenate(name="stacked")([maps[name] for name in STAGES]))


@dataclass
class Moments:
    """Sums over cells of photos, from which the projection is made; ``add`` is called for each photo.

    Each segment, the cells of one class in one photo, counts alike.
    """

    count: int = 0
    total: Floats = field(default_factory=lambda: np.zeros(0))
    squares: Floats = field(default_factory=lambda: np.zeros((0, 0)))  # sum of x x', (D, D)
    segments: Floats = field(default_factory=lambda: np.zeros((0, 0)))  # the same of each segment's mean
    photos: Floats = field(default_factory=lambda: np.zeros((0, 0)))  # and of each photo's
    # Id to number of cells and their sum
    classes: dict[int, tuple[int, Floats]] = field(default_factory=dict)

    def add(self, values: Floats, label_map: UInt8, rng: np.random.Generator) -> None:
        """Take in a photo: features float (h, w, D) and the class of each cell uint8 (h, w), 255 for none."""
        size = values.shape[-1]
        if not self.count:
            self.total, self.squares = np.zeros(size), np.zeros((size, size))
            self.segments, self.photos = np.zeros((size, size)), np.zeros((size, size))
        cells, labels = values.reshape(-1, size), label_map.ravel()
        means = []
        for class_id in np.unique(labels[labels != VOID]).tolist():
            found = np.flatnonzero(labels == class_id)
            if len(found) < CELLS // 8:
                continue
            some = cells[rng.choice(found, CELLS)].astype(np.float64)
            mean = some.mean(0)
            means.append(mean)
            self.squares += some.T @ some
            self.segments += CELLS * np.outer(mean, mean)
            known, total = self.classes.get(class_id, (0, np.zeros(size)))
            self.classes[class_id] = known + CELLS, total + CELLS * mean
        if means:
            number, mean = CELLS * len(means), np.mean(means, 0)
            self.count += number
            self.total += number * mean
            self.photos += number * np.outer(mean, mean)

    def projection(self, channels: int) -> tuple[Floats, Floats]:
        """The best directions: weights float64 (D, channels) and the mean of what they make, float64 (channels,)."""
        mean = self.total / self.count
        whole = np.outer(mean, mean)
        squares, segments, photos = (m / self.count for m in (self.squares, self.segments, self.photos))
        classes = np.sum([np.outer(total, total) / n for n, total in self.classes.values()], 0) / self.count
        unit = 1 / np.sqrt(np.diag(squares - whole) + 1e-9)
        between = (segments - photos) + (classes - whole)
        within = (squares - segments) + (squares - classes)
        between, within = (unit[:, None] * m * unit for m in (between, within))
        within += RIDGE * np.eye(len(unit))
        best = [len(unit) - channels, len(unit) - 1]
        found, directions = scipy.linalg.eigh(between, within, subset_by_index=best)
        weights = unit[:, None] * directions[:, ::-1] * np.sqrt(np.maximum(found[::-1], 0))
        widest = np.sqrt(np.einsum("dc,de,ec->c", weights, squares - whole, weights)).max()
        weights *= 2 / widest
        return weights, mean @ weights

    def deviations(self, weights: Floats) -> Floats:
        """Standard deviation of each channel that weights (D, C) make, float64 (C,)."""
        mean = self.total / self.count
        variance = self.squares / self.count - np.outer(mean, mean)
        found: Floats = np.sqrt(np.einsum("dc,de,ec->c", weights, variance, weights))
        return found


class CellColours(keras.layers.Layer):
    """Colour of cells of 4 x 4 pixels: RGB 0..255 (B, H, W, 3) to (B, H/4, W/4, 4), in units of ``COLOURS``.

    CIE L, a and b (D65) of the mean colour, and the standard deviation of the pixels' luma.
    """

    def call(self, images: Tensor) -> Tensor:
        images = ops.cast(images, "float32") / 255.0
        mean = ops.average_pool(images, CELL)
        linear = ops.where(mean > 0.04045, ((mean + 0.055) / 1.055) ** 2.4, mean / 12.92)
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        white = np.array([[0.9505], [1.0], [1.089]])
        xyz = ops.matmul(linear, (to_xyz / white).T.astype(np.float32))
        root = ops.where(xyz > 0.008856, ops.maximum(xyz, 1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
        x, y, z = root[..., :1], root[..., 1:2], root[..., 2:]
        luma = ops.matmul(images, np.array([[0.299], [0.587], [0.114]], np.float32))
        variance = ops.average_pool(luma * luma, CELL) - ops.average_pool(luma, CELL) ** 2
        deviation = ops.sqrt(ops.maximum(variance, 0.0))
        colours = ops.concatenate([116 * y - 16, 500 * (x - y), 200 * (y - z), deviation], -1)
        middle, unit = np.array(COLOURS, np.float32).T
        return (colours - middle) / unit

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], *(side and side // CELL for side in shape[1:3]), 4)


class ToBytes(keras.layers.Layer):
    """Numbers as bytes: ``clip(round(x / step) + 128)`` for each channel. (B, h, w, C) to uint8 (B, h, w, C)."""

    def __init__(self, steps: Iterable[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.steps = np.array(list(steps), np.float32)

    def call(self, features: Tensor) -> Tensor:
        return ops.cast(ops.clip(ops.round(features / self.steps) + 128.0, 0.0, 255.0), "uint8")

    def compute_output_spec(self, features: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(features.shape, "uint8")


def features_model(model: keras.Model, weights: Floats, mean: Floats, steps: Iterable[float]) -> keras.Model:
    """The network that is exported.

    Args:
        model: as ``stages`` takes it.
        weights, mean: of ``Moments.projection``.
        steps: what a byte of each channel is worth, those of the colour last.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3), sides multiples of 32, to uint8 (B, H/4, W/4, C + 4).
    """
    maps, projected, start = stages(model), {}, 0
    for name in STAGES:
        size = maps[name].shape[-1]
        bias = -mean if name == "fine" else np.zeros(weights.shape[1])
        layer = keras.layers.Conv2D(weights.shape[1], 1, name=f"features_{name}_projection")
        projected[name] = layer(maps[name])
        layer.set_weights(
            [weights[start : start + size].astype(np.float32)[None, None], bias.astype(np.float32)]
        )
        start += size
    brought = _at_cells(model, projected)
    x = keras.layers.Add(name="features_sum")([brought[name] for name in STAGES])
    x = keras.layers.Concatenate(name="features_all")([x, CellColours(name="features_colours")(model.input)])
    return keras.Model(model.input, ToBytes(steps, name="features_bytes")(x), name="features")


def make(model_name: str, dataset: Dataset, out: Path, photos: int, seed: int = 0) -> dict[str, Any]:
    """Write ``features.onnx`` and its key of ``manifest.json`` into a folder.

    Args:
        model_name: a served model whose weights are at hand.
        dataset: labelled photos, of whose learning subset the projection is made.
        out: the folder. photos: how many, at most. seed: chooses them and their cells.

    Returns:
        The entry, plain data of ``zoo.features.FeaturesEntry``.

    Raises:
        UserError: no such model, no weights, or one without guided upsampling.
    """
    entry = zoo.served_model(model_name)
    if not entry.weights:
        raise UserError(
            f"{model_name} has no weights beside its graph: choose a model that was trained here."
        )
    model = build(entry.architecture, len(entry.label_set), None, **entry.options)
    model.load_weights(entry.folder / entry.weights)
    rng, predictor = np.random.default_rng(seed), Predictor(entry)
    samples = dataset.samples("train")
    chosen = [samples[i] for i in rng.permutation(len(samples))[:photos]]
    network, moments = stacked(model), Moments()
    for sample in chosen:
        image, truth = read_pair(sample, dataset.label_set)
        values = network.predict_on_batch(predictor.network_input(image))[0]
        moments.add(values, at_size(truth, *values.shape[:2]), rng)
    weights, mean = moments.projection(CHANNELS)
    steps = [*(SPREAD * moments.deviations(weights) / 127).tolist(), *COLOUR_STEPS]
    steps = [float(f"{step:.5g}") for step in steps]
    graph = out / "features.onnx"
    seen = [predictor.network_input(read_photo(s.image_path)) for s in chosen[:CALIBRATION_PHOTOS]]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float.onnx"
        graph_of(features_model(model, weights, mean, steps), whole, "features")
        quantise(whole, graph, seen, FLOAT_CONVOLUTIONS)
    described = {
        "onnx": graph.name,
        "onnx_sha256": sha256(graph),
        "long_side": entry.long_side,
        "steps": steps,
        "encoder": model_name,
    }
    manifest = out / "manifest.json"
    kept = read_json(manifest) if manifest.is_file() else {"models": {}}
    write_json(manifest, {**kept, "features": described})
    return described


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, help="a VOC tree")
    parser.add_argument("--model", default="deeplabv3", help="whose encoder it is")
    parser.add_argument("--photos", type=int, default=1464, help="that the projection is made of, at most")
    parser.add_argument("--out", type=Path, default=zoo.WEIGHTS)
    options = parser.parse_args()
    dataset = open_dataset("voc", options.data)
    print(json.dumps(make(options.model, dataset, options.out, options.photos)))


if __name__ == "__main__":
    main()
