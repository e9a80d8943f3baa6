"""Classes taught by painting: a classifier of cells, learned from strokes, and label maps that it makes of photos.

On the features of ``inference.features``, a multinomial logistic regression with a penalty on its weights, by the
fixed bound on its curvature of Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of
Statistical Mathematics 44, 1992. On a photo, its probabilities are spread among cells that look alike, and strokes
hold them: random walks with a prior (Grady, "Multilabel random walker image segmentation using prior models", CVPR
2005). Both are minima of strictly convex functions, so that whoever finds them finds the same; ``docs/teach.md``
states them for the page.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from segdemo.core.arrays import Floats, UInt8
from segdemo.core.documents import Document, damage
from segdemo.core.files import write_json
from segdemo.core.labels import VOID, LabelSet, voc_color
from segdemo.errors import UserError
from segdemo.inference.features import CELL
from segdemo.inference.predict import softmax
from segdemo.inference.refine import refine

PENALTY = 10.0  # on weights, in painted cells
BIAS_PENALTY = 0.01  # on biases, so that there is one minimum
OTHERS = 0.1  # what strokes on other photos count, on a photo with strokes of its own
MOST_CELLS = 2000  # of a photo that are learned from
MASK_CELLS = 60  # of each class of a finished mask that are learned from
INSIDE = 0.9  # of a cell's pixels that have its class, where it is learned from a mask
ROUNDS = 100  # of the regression, at most; it ends when no weight changes by more than CHANGE
CHANGE = 1e-4
LIKENESS = 3.75  # how fast neighbours part with the squared distance of their features
PRIOR = 0.03  # weight of the classifier's probability where there is no stroke
HOLD = 10.0  # weight of a wholly painted cell
STEPS = 25  # of conjugate gradients
RADIUS, EPSILON = 8.0, 1e-3  # of the guided filter, see ``refine``
FORMAT = "segdemo-taught"
MOST_CLASSES, MOST_CHANNELS = 255, 1024  # of a file that is read


class TeachError(UserError):
    """Nothing can be learned from these strokes, or a classifier does not fit; one sentence says what to do."""


@dataclass(frozen=True)
class Strokes:
    """What somebody painted on a photo.

    Attributes:
        features: bytes uint8 (h, w, C) of the photo.
        painted: uint8 (H, W) of the photo's size, class ids, 255 where nothing is painted.
        key: the photo's, see ``arrays.digest_of``.
    """

    features: UInt8
    painted: UInt8
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class TaughtFile(Document):
    """A taught classifier as it is kept: ``weights`` are float32 (C + 1, K), little-endian, row by row, in base64."""

    format: str
    version: int
    features: str
    classes: tuple[int, ...]
    channels: int
    weights: str


@dataclass(frozen=True)
class Taught:
    """A taught classifier.

    Attributes:
        classes: the K class ids it tells apart, in order.
        weights: float32 (C + 1, K) for the values of the C channels and, last, 1.
        features: ``onnx_sha256`` of the graph whose features it knows.
    """

    classes: tuple[int, ...]
    weights: Floats
    features: str

    def save(self, path: Path) -> None:
        """Write it as JSON. Raises DiskError."""
        data = base64.b64encode(self.weights.astype("<f4").tobytes()).decode()
        channels = len(self.weights) - 1
        document = TaughtFile.of(
            format=FORMAT,
            version=1,
            features=self.features,
            classes=self.classes,
            channels=channels,
            weights=data,
        )
        write_json(path, document.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """The classifier in a file. Raises FileNotFoundError, OSError, DamagedError."""
        file = TaughtFile.read(path)
        with damage(path):
            if (file.format, file.version) != (FORMAT, 1):
                raise ValueError("it is no taught classifier of version 1")
            ids, size = file.classes, (file.channels + 1) * len(file.classes)
            if not 2 <= len(ids) <= MOST_CLASSES or not 1 <= file.channels <= MOST_CHANNELS:
                raise ValueError("its number of classes or channels")
            if sorted(set(ids)) != list(ids) or not 0 <= ids[0] <= ids[-1] < VOID:
                raise ValueError("its class ids")
            if len(file.weights) != 4 * -(-4 * size // 3):
                raise ValueError("its number of weights")
            weights = np.frombuffer(base64.b64decode(file.weights, validate=True), "<f4")
            if not np.isfinite(weights).all():
                raise ValueError("its weights are no numbers")
        return cls(ids, weights.reshape(file.channels + 1, len(ids)).astype(np.float32), file.features)


def values(features: UInt8, steps: Floats) -> Floats:
    """Features as numbers: bytes uint8 (..., C) and what one is worth (C,) to float64 (..., C)."""
    found: Floats = (features.astype(np.float64) - 128) * steps
    return found


def votes(painted: UInt8, height: int, width: int, classes: Sequence[int]) -> Floats:
    """Share of each cell that is painted with each class: uint8 (H, W) to float64 (height, width, K), 0..1.

    The pixel (y, x) lies in the cell ``(y * height // H, x * width // W)``.
    """
    rows, columns = (
        np.arange(size) * cells // size for size, cells in zip(painted.shape, (height, width), strict=True)
    )
    y, x = np.nonzero(painted != VOID)
    number = np.searchsorted(classes, painted[y, x])
    cell = (rows[y] * width + columns[x]) * len(classes) + number
    counts = np.bincount(cell, minlength=height * width * len(classes)).reshape(height, width, -1)
    pixels = np.outer(np.bincount(rows, minlength=height), np.bincount(columns, minlength=width))
    shares: Floats = counts / np.maximum(pixels, 1)[..., None]
    return shares


def painted_classes(strokes: Sequence[Strokes]) -> tuple[int, ...]:
    """The class ids that are painted anywhere, in order."""
    found = {int(i) for one in strokes for i in np.unique(one.painted)}
    return tuple(sorted(found - {VOID}))


def label_set(classes: Sequence[int]) -> LabelSet:
    """Names and colours, VOC's, of class ids up to the highest of ``classes``: strokes have neither."""
    ids = range(max(classes) + 1)
    return LabelSet("taught", "Taught classes", tuple(f"class {i}" for i in ids), tuple(map(voc_color, ids)))


def learn(strokes: Sequence[Strokes], steps: Floats, features: str = "", here: str = "") -> Taught:
    """Learn from strokes.

    Args:
        strokes: on one photo or more.
        steps: what a byte of each channel is worth.
        features: ``onnx_sha256`` of the graph.
        here: key of the photo that the classifier is for: if it has strokes, those on others count ``OTHERS``.

    Returns:
        A ``Taught`` for all classes that are painted.

    Raises:
        TeachError: fewer than two classes are painted.
    """
    classes = painted_classes(strokes)
    require_two(classes)
    own = any(one.key == here and (one.painted != VOID).any() for one in strokes) if here else False
    inputs, targets = [], []
    for one in strokes:
        x, shares = examples(one, classes, steps)
        inputs.append(x)
        targets.append(shares * (OTHERS if own and one.key != here else 1.0))
    weights = regression(np.concatenate(inputs), np.concatenate(targets))
    return Taught(classes, weights.astype(np.float32), features)


def require_two(classes: Sequence[int]) -> None:
    """Raise TeachError unless at least two class ids are painted."""
    if len(classes) < 2:
        what = f"Only class {classes[0]} is painted" if classes else "Nothing is painted"
        raise TeachError(f"{what}: paint at least two classes, such as an object and what is around it.")


def examples(one: Strokes, classes: Sequence[int], steps: Floats) -> tuple[Floats, Floats]:
    """What is learned from the strokes on a photo.

    Args:
        one: the strokes. classes: the K class ids that are painted anywhere, in order.
        steps: what a byte of each channel is worth.

    Returns:
        Inputs float64 (n, C + 1) of the painted cells, at most ``MOST_CELLS``, and the share of each that is painted
        with each class, float64 (n, K).
    """
    height, width = one.features.shape[:2]
    shares = votes(one.painted, height, width, classes).reshape(-1, len(classes))
    cells = np.flatnonzero(shares.any(1))
    if len(cells) > MOST_CELLS:
        cells = cells[np.arange(MOST_CELLS) * len(cells) // MOST_CELLS]
    x = values(one.features.reshape(-1, one.features.shape[-1])[cells], steps)
    return np.concatenate([x, np.ones((len(x), 1))], 1), shares[cells]


def inside(features: UInt8, label_map: UInt8) -> dict[int, UInt8]:
    """Cells inside each class of a finished mask, which need not be looked at for what is at their border.

    Args:
        features: bytes uint8 (h, w, C) of the photo. label_map: its mask, uint8 (H, W).

    Returns:
        Class id to the features (n, C) of up to ``MASK_CELLS`` of its cells, evenly over the photo. Void has none.
    """
    height, width = features.shape[:2]
    step = max(
        1, max(label_map.shape) // (CELL * max(height, width))
    )  # more pixels than are needed cost memory
    label_map = label_map[::step, ::step]
    classes = [int(i) for i in np.unique(label_map) if i != VOID]
    shares = votes(label_map, height, width, classes)
    found = {}
    for number, class_id in enumerate(classes):
        cells = np.flatnonzero(shares[..., number] >= INSIDE)
        if len(cells):
            count = min(MASK_CELLS, len(cells))
            some = cells[np.arange(count) * len(cells) // count]
            found[class_id] = features.reshape(-1, features.shape[-1])[some]
    return found


def examples_inside(
    found: Sequence[dict[int, UInt8]], classes: Sequence[int], steps: Floats
) -> tuple[Floats, Floats]:
    """What is learned from finished masks: inputs and targets as of ``examples``.

    Args:
        found: of ``inside``, of one mask or more that hold something together.
        classes: the K class ids there are, in order. steps: what a byte of each channel is worth.
    """
    cells = [(class_id, some) for one in found for class_id, some in one.items()]
    x = values(np.concatenate([some for _, some in cells]), steps)
    number = [classes.index(class_id) for class_id, some in cells for _ in some]
    return np.concatenate([x, np.ones((len(x), 1))], 1), np.eye(len(classes))[number]


def regression(inputs: Floats, targets: Floats) -> Floats:
    """Multinomial logistic regression: the weights at the minimum of

    ``sum_n sum_k t_nk (log sum_j exp(x_n w_j) - x_n w_k) + sum_d p_d |w_d|^2 / 2``,

    where p is ``PENALTY``, of the last input, which is 1, ``BIAS_PENALTY``. The curvature is nowhere above
    ``X' diag(sum_k t) X / 2 + diag(p)``, whose steps never overshoot; they are accelerated (Nesterov 1983), and begin
    anew where they turn back (O'Donoghue and Candes, arXiv:1204.3982).

    Args:
        inputs: float64 (n, D). targets: float64 (n, K), 0 or more.

    Returns:
        float64 (D, K).
    """
    size, classes = inputs.shape[1], targets.shape[1]
    penalty = np.full((size, 1), PENALTY)
    penalty[-1] = BIAS_PENALTY
    total = targets.sum(1, keepdims=True)
    bound = (inputs * total / 2).T @ inputs + np.diag(penalty[:, 0])
    inverse = np.linalg.inv(bound)
    weights = ahead = np.zeros((size, classes))
    momentum = 1.0
    for _ in range(ROUNDS):
        gradient = inputs.T @ (total * softmax(inputs @ ahead) - targets) + penalty * ahead
        step = ahead - inverse @ gradient
        change = step - weights
        if np.sum((ahead - step) * change) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = step + (momentum - 1) / following * change
        weights, momentum = step, following
        if np.abs(change).max() < CHANGE:
            break
    return weights


def probabilities(taught: Taught, features: UInt8, steps: Floats, painted: UInt8 | None = None) -> Floats:
    """How likely each class is in each cell of a photo.

    Args:
        taught: the classifier.
        features: of the photo, bytes uint8 (h, w, C).
        steps: what a byte of each channel is worth.
        painted: strokes on the photo, uint8 (H, W), 255 not painted, or None; classes that ``taught`` lacks are
            passed over.

    Returns:
        float32 (h, w, K), 0..1, of sum 1, in the order of ``taught.classes``.

    Raises:
        TeachError: the classifier is for other features.
    """
    if len(taught.weights) != features.shape[-1] + 1:
        raise TeachError("The taught classifier is for other features: teach it again.")
    x = values(features, steps)
    likely = softmax(x @ taught.weights[:-1].astype(np.float64) + taught.weights[-1])
    shares: Floats = np.zeros(likely.shape)
    if painted is not None:
        known = np.where(np.isin(painted, taught.classes), painted, np.uint8(VOID))
        shares = votes(known, features.shape[0], features.shape[1], taught.classes)
    spread_ = spread(likely, x, shares).clip(0, 1)
    found: Floats = (spread_ / spread_.sum(-1, keepdims=True)).astype(np.float32)
    return found


def spread(likely: Floats, x: Floats, shares: Floats) -> Floats:
    """Spread probabilities among neighbours that look alike: for each class, the minimum u of

    ``sum_ij a_ij (u_i - u_j)^2 + sum_i (PRIOR (u_i - p_i)^2 + HOLD sum_k s_ik (u_i - y_ik)^2)``,

    over the eight neighbours of each cell, once each, with ``a_ij = exp(-LIKENESS |x_i - x_j|^2) / distance``, p the
    probability, s the painted shares, y 1 for the class itself and else 0. By conjugate gradients with the diagonal as
    preconditioner, ``STEPS`` steps from p.

    Args:
        likely: p, float64 (h, w, K). x: ``values`` (h, w, C). shares: s, float64 (h, w, K).

    Returns:
        u, float64 (h, w, K); nearly within 0..1 and of sum 1.
    """
    edges = []
    diagonal = PRIOR + HOLD * shares.sum(-1)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = slice(0, len(x) - down), slice(max(0, -right), x.shape[1] - max(0, right))
        there = slice(down, len(x)), slice(max(0, right), x.shape[1] + min(0, right))
        alike = np.exp(-LIKENESS * np.square(x[here] - x[there]).sum(-1)) / np.hypot(down, right)
        diagonal[here] += alike
        diagonal[there] += alike
        edges.append((here, there, alike[..., None]))

    def times(u: Floats) -> Floats:
        product: Floats = diagonal[..., None] * u
        for here, there, alike in edges:
            product[here] -= alike * u[there]
            product[there] -= alike * u[here]
        return product

    u = likely
    residual = PRIOR * likely + HOLD * shares - times(u)
    direction = conditioned = residual / diagonal[..., None]
    size = np.sum(residual * conditioned, (0, 1))
    for _ in range(STEPS):
        product = times(direction)
        length = size / np.maximum(np.sum(direction * product, (0, 1)), 1e-30)
        u = u + length * direction
        residual = residual - length * product
        conditioned = residual / diagonal[..., None]
        before, size = size, np.sum(residual * conditioned, (0, 1))
        direction = conditioned + size / np.maximum(before, 1e-30) * direction
    return u


def label_map(taught: Taught, likely: Floats, image: UInt8) -> UInt8:
    """The label map of a photo, with outlines where the photo has them.

    Args:
        taught: the classifier. likely: of ``probabilities``, float32 (h, w, K). image: the photo, uint8 (H, W, 3).

    Returns:
        uint8 (H, W), ids of ``taught.classes``.
    """
    size = likely.shape[0] * CELL, likely.shape[1] * CELL
    ids = np.asarray(taught.classes, np.uint8)
    return ids[refine(likely, image, size, RADIUS, EPSILON)]
