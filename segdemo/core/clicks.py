"""Clicks on a photo: where they are, how a network is shown them, and where a person would click next.

A click is positive ("this belongs to it") or negative ("this does not"). The order in which clicks were made counts.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt

RADIUS = 5  # pixels of the network's input: the disk that stands for a click
IGNORED = 128  # in masks of 0 and 255: pixels that do not count

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, the last two exclusive


class Click(NamedTuple):
    """A click in pixels of its photo, whose top left corner is (0, 0)."""

    x: float
    y: float
    positive: bool = True


def disks(
    clicks: Iterable[Click], shape: tuple[int, int], box: Box | None = None, radius: float = RADIUS
) -> np.ndarray:
    """Clicks as a network sees them.

    Args:
        clicks: in pixels of a photo.
        shape: (h, w) of the result.
        box: the part of the photo that the result shows; by default a photo of the result's size.
        radius: of the disks, in pixels of the result.

    Returns:
        uint8 (h, w, 2): 255 in the disks of positive clicks, and in those of negative ones.
    """
    height, width = shape
    x0, y0, x1, y1 = box or (0, 0, width, height)
    result = np.zeros((height, width, 2), np.uint8)
    for x, y, positive in clicks:
        column = (x + 0.5 - x0) * width / (x1 - x0) - 0.5
        row = (y + 0.5 - y0) * height / (y1 - y0) - 0.5
        top, left = max(0, int(np.ceil(row - radius))), max(0, int(np.ceil(column - radius)))
        bottom, right = int(row + radius) + 1, int(column + radius) + 1
        if bottom <= 0 or right <= 0:
            continue
        part = result[top:bottom, left:right, 0 if positive else 1]
        rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        part[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = 255
    return result


def next_click(
    truth: np.ndarray,
    mask: np.ndarray,
    counts: np.ndarray | None = None,
    before: Sequence[Click] = (),
    rng: np.random.Generator | None = None,
) -> Click | None:
    """Where a person would click next: in the middle of the largest error.

    The largest error is the one that holds the largest circle, as in the usual protocol (RITM, arXiv:2102.06583,
    section 4; its public code).

    Args:
        truth: bool (H, W), what is meant. mask: bool (H, W), what there is.
        counts: bool (H, W), pixels that count as errors; by default all do.
        before: clicks that were made: nobody clicks the same pixel twice.
        rng: click where it says, anywhere in the inner half of that error, rather than in its middle.

    Returns:
        The click, or None if there is no error.
    """
    wrong = truth != mask
    if counts is not None:
        wrong &= counts
    rows, columns = np.flatnonzero(wrong.any(1)), np.flatnonzero(wrong.any(0))
    if not len(rows):
        return None
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    depths = []
    for error in (wrong[part] & truth[part], wrong[part] & mask[part]):
        depth = distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1] if error.any() else np.zeros(error.shape)
        for click in before:
            y, x = int(click.y) - rows[0], int(click.x) - columns[0]
            if 0 <= y < depth.shape[0] and 0 <= x < depth.shape[1]:
                depth[y, x] = 0
        depths.append(depth)
    positive = bool(depths[0].max() > depths[1].max())
    depth = depths[0 if positive else 1]
    if not depth.any():
        return None
    if rng is None:
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    else:
        inner = np.flatnonzero(depth > depth.max() / 2)
        y, x = np.unravel_index(int(rng.choice(inner)), depth.shape)
    return Click(int(x + columns[0]), int(y + rows[0]), positive)
