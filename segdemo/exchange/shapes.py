"""Classes as shapes, as COCO and YOLO have them, and label maps painted from shapes.

Neither format's polygons have holes: a region with holes is one ring with bridges of no width
(``masks.keyhole``). Polygons run exactly along pixel edges, so reading them back is lossless too.
"""

from dataclasses import dataclass

import numpy as np

from segdemo import masks
from segdemo.exchange.annotation import ExchangeError
from segdemo.labels import VOID


def outlined_classes(label_set):
    """Ids that COCO and YOLO outline: all but the background, which is wherever nothing else is."""
    return [i for i in range(len(label_set)) if i != label_set.background]


@dataclass(frozen=True)
class Shape:
    """Something to paint: what to call it, class id, area in pixels, and a ring (N, 2) or run lengths."""

    what: str
    value: int
    area: float
    form: np.ndarray | dict


def polygon(what, value, numbers, scale=(1, 1)):
    """Flat x, y, x, y, ... as a ``Shape``.

    Args:
        what: what to call it in messages.
        value: its class id.
        numbers: the coordinates, three pairs or more.
        scale: (width, height) to multiply them by, to get pixels.

    Raises:
        ExchangeError: not such numbers.
    """
    try:
        points = np.array(numbers, np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ExchangeError(f"{what} has a polygon that is not at least three pairs x, y.") from error
    ring = points.reshape(-1, 2) * scale
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return Shape(what, value, float(area), ring)


def paint(label_set, shapes, height, width):
    """Label map of shapes on the background; where they overlap, the smaller one is seen.

    Args:
        label_set: the ``LabelSet``; without a background the rest is void.
        shapes: ``Shape``s, in any order.
        height, width: of the label map.

    Returns:
        uint8 (height, width).

    Raises:
        ExchangeError: a shape that cannot be painted: which, and why.
    """
    base = VOID if label_set.background is None else label_set.background
    label_map = np.full((height, width), base, np.uint8)
    for shape in sorted(shapes, key=lambda shape: -shape.area):
        try:
            if isinstance(shape.form, dict):
                label_map[masks.rle_decode(shape.form)] = shape.value
            else:
                rows, columns, inside = masks.fill([shape.form], height, width)
                label_map[rows, columns][inside] = shape.value
        except masks.MaskError as error:
            raise ExchangeError(f"{shape.what}: {error}") from error
    return label_map
