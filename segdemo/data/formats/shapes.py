"""Classes as shapes, as most formats have them, and label maps painted from shapes.

COCO's and YOLO's polygons have no holes: a region with holes is one ring with bridges of no width
(``shapes.keyhole``). Polygons run exactly along pixel edges, so reading them back is lossless too.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from segdemo.core import label_maps
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.shapes import fill, rle_decode
from segdemo.data.formats.annotation import ExchangeError, refusing

# Pixels from the photo: what lies farther is damage, and squares of it lose their last digits.
_FARTHEST = 1e7
_KEPT_BYTES = 64_000_000  # windows that are kept between measuring and painting; the others are made again
_ELLIPSE_CORNERS = 128


def outlined_classes(label_set: LabelSet) -> list[int]:
    """Ids that COCO and YOLO outline: all but the background, which is wherever nothing else is."""
    return [i for i in range(len(label_set)) if i != label_set.background]


def ground_of(label_set: LabelSet) -> int:
    """What pixels are that nothing covers: the background, or void in a label set without one."""
    return VOID if label_set.background is None else label_set.background


@dataclass(frozen=True)
class Patch:
    """Pixels of a shape: bool (h, w), whose first one is at column ``left`` and row ``top`` of the photo."""

    left: int
    top: int
    inside: np.ndarray


Form = np.ndarray | dict | Patch


@dataclass(frozen=True)
class Shape:
    """Something to paint: what to call it, its file, class id, and what it covers.

    ``forms`` are rings (N, 2) of (x, y), run lengths as COCO has them, or ``Patch``es; all of them together.
    """

    what: str
    file: str
    value: int
    forms: tuple[Form, ...]


def ring(numbers: Any, scale: tuple[float, float] = (1, 1)) -> np.ndarray:
    """An outline as float64 (N, 2) of (x, y) in pixels.

    Args:
        numbers: x, y, x, y, ... or pairs; numbers, or texts that are some.
        scale: (width, height) to multiply them by, to get pixels.

    Raises:
        ExchangeError: not at least three pairs of numbers; the message goes behind what the shape is called.
    """
    with refusing("has a polygon that is not at least three pairs x, y"):
        points = np.array(numbers, np.float64)
        if points.ndim == 2 and points.shape[1] == 2:
            points = points.ravel()
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError
    points = points.reshape(-1, 2) * scale
    if (abs(points) > _FARTHEST).any():
        raise ExchangeError("has a polygon that lies far outside of its photo")
    return points


def box(left: float, top: float, right: float, bottom: float, degrees: float = 0, around=None) -> np.ndarray:
    """A rectangle as a ring, turned clockwise on screen by ``degrees`` around a point, by default its centre."""
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    return ring(_turned(corners, degrees, around or ((left + right) / 2, (top + bottom) / 2)))


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0) -> np.ndarray:
    """An ellipse around (x, y) as a ring, turned clockwise on screen. Raises ExchangeError: a number that is none."""
    if not all(map(math.isfinite, (x, y, radius_x, radius_y))):
        raise ExchangeError("has an ellipse with a number that is none")
    angles = np.linspace(0, 2 * math.pi, _ELLIPSE_CORNERS, endpoint=False)
    points = np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], 1)
    return ring(_turned(points, degrees, (x, y)))


def _turned(points, degrees, around):
    if not degrees:
        return points
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    (x, y), centre = (points - around).T, np.array(around, np.float64)
    return centre + np.stack([x * cosine - y * sine, x * sine + y * cosine], 1)


def paint(
    label_set: LabelSet, shapes: Iterable[Shape], height: int, width: int, smallest_on_top=True
) -> tuple[np.ndarray, list[Shape], list[tuple[Shape, str]]]:
    """Label map of shapes on the background.

    Args:
        label_set: the ``LabelSet``; without a background the rest is void.
        shapes: ``Shape``s.
        height, width: of the label map.
        smallest_on_top: where shapes overlap, the one of fewer pixels is seen; else the later one.

    Returns:
        (label map, painted, failed): uint8 (height, width), the shapes that are to be seen in it, and (shape, why) of
        the others, which are damaged, cover no pixel, or lie wholly under shapes of other classes.
    """
    label_map = np.full((height, width), ground_of(label_set), np.uint8)
    ready, failed, kept = [], [], 0
    for shape in shapes:
        try:
            windows = _windows(shape, height, width)
        except label_maps.MaskError as error:
            failed.append((shape, str(error)))
            continue
        pixels = sum(int(inside.sum()) for _, _, inside in windows)
        if not pixels:
            failed.append((shape, "covers no pixel of its photo"))
            continue
        kept += sum(inside.size for _, _, inside in windows)
        ready.append((pixels, shape, windows if kept <= _KEPT_BYTES else None))
    if smallest_on_top:
        ready.sort(key=lambda entry: -entry[0])
    owners = np.zeros((height, width), np.int32) if len(ready) > 1 else None
    for number, (_, shape, windows) in enumerate(ready):
        for rows, columns, inside in windows or _windows(shape, height, width):
            label_map[rows, columns][inside] = shape.value
            if owners is not None:
                owners[rows, columns][inside] = number + 1
    painted = []
    seen = _seen(owners, len(ready)) if owners is not None else [True] * len(ready)
    for (_, shape, windows), visible in zip(ready, seen, strict=True):
        if visible or any(
            (label_map[rows, columns][inside] == shape.value).any()
            for rows, columns, inside in windows or _windows(shape, height, width)
        ):
            painted.append(shape)
        else:
            failed.append((shape, "lies wholly under other shapes, so nothing of it is seen"))
    return label_map, painted, failed


def _seen(owners, count):
    """Which of the shapes 1..count own a pixel."""
    seen = np.zeros(count + 1, bool)
    for row in owners:  # row by row, as an index of all at once would take eight bytes a pixel
        seen[row] = True
    return seen[1:].tolist()


def _windows(shape, height, width):
    """(row slice, column slice, bool array) of each form of a shape. Raises MaskError."""
    windows = []
    for form in shape.forms:
        if isinstance(form, Patch):
            windows.append(_clipped(form, height, width))
        elif isinstance(form, dict):
            windows.append((slice(0, height), slice(0, width), rle_decode(form)))
        else:
            windows.append(fill([form], height, width))
    return windows


def _clipped(patch, height, width):
    rows, columns = patch.inside.shape
    top, left = max(0, patch.top), max(0, patch.left)
    bottom = max(top, min(height, patch.top + rows))
    right = max(left, min(width, patch.left + columns))
    inside = patch.inside[top - patch.top : bottom - patch.top, left - patch.left : right - patch.left]
    if not inside.size:
        return slice(0, 0), slice(0, 0), np.zeros((0, 0), bool)
    return slice(top, bottom), slice(left, right), inside
