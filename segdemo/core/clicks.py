"""Clicks on a photo: where they are, how a network is shown them, and where a person would click next.

A click is positive ("this belongs to it") or negative ("this does not"). The order in which clicks were made counts.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from segdemo.errors import UserError

RADIUS = 5  # pixels of the network's input: the disk that stands for a click
IGNORED = 128  # in masks of 0 and 255: pixels that do not count

MOST_TEXT = 1_000_000  # characters of clicks or of a box as JSON
FAR = 1e9  # pixels; no photo is as large

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, the last two exclusive


class ClickError(UserError):
    """Clicks, mask or box that cannot be used; the message is one sentence that says what to do."""


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
    from scipy.ndimage import distance_transform_edt  # loaded only where clicks are simulated

    wrong = truth != mask
    if counts is not None:
        wrong &= counts
    if (box := extent(wrong)) is None:
        return None
    left, top, right, bottom = box
    part = np.s_[top:bottom, left:right]
    depths = []
    for error in (wrong[part] & truth[part], wrong[part] & mask[part]):
        depth = distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1] if error.any() else np.zeros(error.shape)
        for click in before:
            row, column = int(click.y) - top, int(click.x) - left
            if 0 <= row < depth.shape[0] and 0 <= column < depth.shape[1]:
                depth[row, column] = 0
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
    return Click(int(x + left), int(y + top), positive)


def extent(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The smallest box around what is True in a mask, bool (H, W), or None if nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def read_clicks(data: Any) -> list[Click]:
    """Clicks as a browser or a script sends them.

    Args:
        data: a list of [x, y, 1 or 0], the same as JSON text, or None for none.

    Raises:
        ClickError: anything else. Whether they are inside the photo is not looked at.
    """
    form = (
        "Give the clicks as [[120, 80, 1], [30, 40, 0]]: x and y in pixels of the photo, "
        "then 1 for what belongs to the thing or 0 for what does not."
    )
    rows = _plain(data, form)
    rows = [] if rows is None else rows
    if not isinstance(rows, list) or not all(_are_numbers(row, 3) and row[2] in (0, 1) for row in rows):
        raise ClickError(form)
    return [Click(x, y, bool(positive)) for x, y, positive in rows]


def read_box(data: Any) -> Box | None:
    """A box as a browser or a script sends it: [x0, y0, x1, y1], the same as JSON text, or None. Raises ClickError."""
    form = "Give the box as [20, 30, 180, 220]: left, top, right and bottom in pixels of the photo."
    sides = _plain(data, form)
    if sides is None:
        return None
    if not _are_numbers(sides, 4):
        raise ClickError(form)
    x0, y0, x1, y1 = sides
    return x0, y0, x1, y1


def _plain(data: Any, form: str) -> Any:
    if not isinstance(data, str):
        return data
    if len(data) > MOST_TEXT:
        raise ClickError(form)
    try:
        return json.loads(data) if data.strip() else None
    except (ValueError, RecursionError) as error:
        raise ClickError(form) from error


def _are_numbers(values: Any, count: int) -> bool:
    """Whether it is a list of so many numbers, none of which is NaN or beyond all photos."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(v, int | float) and -FAR < v < FAR for v in values)
    )
