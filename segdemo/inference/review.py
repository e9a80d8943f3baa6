"""Where saved masks are probably wrong, photos that are there twice, and how much there is of each class.

Masks are judged by classifiers of ``teach`` that learned from the masks of other photos only (cross-fitting, as in
Northcutt, Jiang and Chuang, "Confident Learning", arXiv:1911.00068, section 3), on the features of ``features``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segdemo.core.arrays import Floats, UInt8
from segdemo.core.labels import VOID
from segdemo.inference import teach
from segdemo.inference.predict import softmax

FOLDS = 5
LEAST_CELLS = 6  # of a region that is worth a look
TILES = 4  # along each axis, in which a photo is described to find it again
ALIKE = 0.9  # cosine from which two photos are called near-duplicates


@dataclass(frozen=True)
class Reviewed:
    """A photo with its mask.

    Attributes:
        key: what it is called.
        features: bytes uint8 (h, w, C) of the photo.
        label_map: its saved mask, uint8 (H, W).
        subset: ``"train"``, ``"val"``, ``"test"`` or "".
    """

    key: str
    features: UInt8
    label_map: UInt8
    subset: str = ""


@dataclass(frozen=True)
class Region:
    """Part of a photo where the saved mask and the model disagree.

    Attributes:
        key: of the photo.
        box: left, top, right, bottom, pixels of the photo.
        saved: class id in the mask. suggested: what the model says.
        score: how much speaks for the model; the worst regions have the highest.
        cells: bool (h, w), the cells of it.
    """

    key: str
    box: tuple[int, int, int, int]
    saved: int
    suggested: int
    score: float
    cells: np.ndarray


@dataclass(frozen=True)
class Duplicate:
    """Two photos that look nearly the same. ``similarity`` is a cosine; ``across`` says they are in two subsets."""

    first: str
    second: str
    similarity: float
    across: bool


def disagreements(photos: Sequence[Reviewed], steps: Floats, most: int = 100) -> list[Region]:
    """The regions where saved masks and cross-fitted models disagree most, worst first.

    Args:
        photos: with masks, at least two of them.
        steps: what a byte of each channel of their features is worth.
        most: how many regions.

    Raises:
        TeachError: fewer than two photos, or fewer than two classes in the others of any photo.
    """
    if len(photos) < 2:
        raise teach.TeachError("One mask cannot be judged by others: label at least two photos.")
    order = sorted(range(len(photos)), key=lambda i: photos[i].key)
    folds = min(FOLDS, len(photos))
    samples = [teach.inside(photo.features, photo.label_map) for photo in photos]
    judges = []
    for fold in range(folds):
        judged = order[fold::folds]
        others = sorted(set(order) - set(judged))
        classes = sorted({class_id for i in others for class_id in samples[i]})
        if len(classes) < 2:
            raise teach.TeachError("Masks of one class cannot judge each other: label a second class.")
        taught = _learn([samples[i] for i in others], classes, steps)
        judges += [(photos[i], samples[i], taught) for i in judged]
    usual = _usual(judges, steps)
    found = [region for photo, _, taught in judges for region in _regions(photo, taught, steps, usual)]
    return sorted(found, key=lambda region: -region.score)[:most]


def _learn(samples: Sequence[dict[int, UInt8]], classes: Sequence[int], steps: Floats) -> teach.Taught:
    weights = teach.regression(*teach.examples_inside(samples, classes, steps))
    return teach.Taught(tuple(classes), weights.astype(np.float32), "")


def _usual(
    judges: Sequence[tuple[Reviewed, dict[int, UInt8], teach.Taught]], steps: Floats
) -> dict[int, float]:
    """How probable a class usually is where a mask has it, by class id: some are known worse than others."""
    seen: dict[int, list[float]] = {}
    for _, samples, taught in judges:
        for class_id, cells in samples.items():
            if class_id in taught.classes:
                x = teach.values(cells, steps)
                likely = softmax(x @ taught.weights[:-1] + taught.weights[-1])
                seen.setdefault(class_id, []).append(float(likely[:, taught.classes.index(class_id)].mean()))
    return {class_id: max(float(np.mean(means)), 0.05) for class_id, means in seen.items()}


def _regions(
    photo: Reviewed, taught: teach.Taught, steps: Floats, usual: dict[int, float]
) -> Iterator[Region]:
    likely = teach.probabilities(taught, photo.features, steps)
    likely = np.minimum(likely / np.array([usual.get(i, 1.0) for i in taught.classes]), 1)
    height, width = likely.shape[:2]
    shares = teach.votes(photo.label_map, height, width, range(VOID))
    saved = np.where(shares.max(-1) > 0.5, shares.argmax(-1), VOID)
    number = np.searchsorted(taught.classes, saved).clip(0, len(taught.classes) - 1)
    known = (saved != VOID) & (np.asarray(taught.classes)[number] == saved)  # others cannot be judged
    best = likely.argmax(-1)
    doubted = known & (best != number)
    lead = likely.max(-1) - np.take_along_axis(likely, number[..., None], -1)[..., 0]
    scale = photo.label_map.shape[0] / height, photo.label_map.shape[1] / width
    pairs = number * len(taught.classes) + best
    for pair in np.unique(pairs[doubted]).tolist():
        parts, _ = ndimage.label(doubted & (pairs == pair))
        for part, box in enumerate(ndimage.find_objects(parts), 1):
            cells = parts == part
            size = int(cells[box].sum())
            if size < LEAST_CELLS:
                continue
            rows, columns = box
            left, right = (round(edge * scale[1]) for edge in (columns.start, columns.stop))
            top, bottom = (round(edge * scale[0]) for edge in (rows.start, rows.stop))
            mine, theirs = divmod(pair, len(taught.classes))
            score = float(lead[cells].mean() ** 4 * np.sqrt(size))  # sure before large
            names = taught.classes[mine], taught.classes[theirs]
            yield Region(photo.key, (left, top, right, bottom), *names, score, cells)


def duplicates(photos: Sequence[Reviewed], steps: Floats) -> list[Duplicate]:
    """Pairs of photos that look nearly the same, those in two subsets first, then the most alike.

    A photo is described by the mean features of ``TILES`` x ``TILES`` parts, less the mean of all photos.

    Args:
        photos: at least three, since what all share tells nothing.
        steps: what a byte of each channel is worth.
    """
    if len(photos) < 3:
        return []
    described = np.stack([_description(photo.features, steps) for photo in photos])
    described -= described.mean(0)
    described /= np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-12)
    cosines = described @ described.T
    found = []
    for i, j in zip(*np.nonzero(np.triu(cosines >= ALIKE, 1)), strict=True):
        subsets = photos[i].subset, photos[j].subset
        across = all(subsets) and subsets[0] != subsets[1]
        found.append(Duplicate(photos[i].key, photos[j].key, float(cosines[i, j]), across))
    return sorted(found, key=lambda pair: (not pair.across, -pair.similarity))


def _description(features: UInt8, steps: Floats) -> Floats:
    x = teach.values(features, steps)
    tiles = [
        part.mean((0, 1)) for rows in np.array_split(x, TILES) for part in np.array_split(rows, TILES, 1)
    ]
    found: Floats = np.concatenate(tiles)
    return found
