"""What a person may have done before the next click: nothing, a box, or a mask that is wrong as masks are.

The third channel of the guide is the previous mask. A box enters as a filled box without a click.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from segdemo.core.clicks import Click, disks, extent, next_click
from segdemo.core.labels import VOID

# Shares of crops that begin without a mask, and with a wrong one; the rest with a box
NOTHING, WRONG = 0.55, 0.37
# Share of clicks that are anywhere in the inner half of an error, rather than in its middle
BESIDE_THE_MIDDLE = 0.6
OFF_SHARE, OFF = 0.3, (0.004, 0.02)  # share of clicks that are off, and by how much, in sides of the crop


class Start(NamedTuple):
    """What a crop begins with.

    Attributes:
        mask: bool (S, S).
        clicks: in pixels of the crop.
    """

    mask: np.ndarray
    clicks: list[Click]


def start(
    rng: np.random.Generator, mask: np.ndarray, others: np.ndarray, predicted: np.ndarray | None = None
) -> Start:
    """Something to begin with.

    Args:
        rng: of the draw.
        mask: uint8 (S, S) of 1 inside, 0 outside, 255 for what does not count.
        others: bool (S, S), what else may be taken for it.
        predicted: bool (S, S), a mask to correct, or None.
    """
    truth, counts = mask == 1, mask != VOID
    if predicted is not None:
        return Start(predicted, clicked(rng, truth, predicted, counts, []))
    kind = rng.random()
    before = np.zeros(truth.shape, bool)
    if NOTHING <= kind < NOTHING + WRONG:
        before = wrong(rng, truth, others)
    elif kind >= NOTHING + WRONG:
        before = _box(rng, truth)
        if rng.random() < 0.7:
            return Start(before, [])
    return Start(before, clicked(rng, truth, before, counts, []))


def clicked(
    rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray, counts: np.ndarray, clicks: list[Click]
) -> list[Click]:
    """The clicks and one more, where a person would make it. Arguments as for ``core.clicks.next_click``."""
    off = rng if rng.random() < BESIDE_THE_MIDDLE else None
    click = next_click(truth, mask, counts, clicks, off)
    if click is not None and rng.random() < OFF_SHARE:
        x, y = rng.normal((click.x, click.y), rng.uniform(*OFF) * len(truth)).round()
        last = len(truth) - 1
        click = click._replace(x=int(np.clip(x, 0, last)), y=int(np.clip(y, 0, last)))
    return clicks if click is None else [*clicks, click]


def wrong(rng: np.random.Generator, truth: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A mask that is wrong in one to three ways: bool (S, S), see the ways below."""
    ways = [_thinner_or_thicker, _shifted, _cut, _coarse, _blob]
    if others.any():
        ways += [_merged, _merged]
    mask = truth
    for n in rng.permutation(len(ways))[: rng.integers(1, 4)]:
        mask = ways[n](rng, mask, others)
    return mask


def guide(start: Start) -> np.ndarray:
    """Clicks and mask as the network takes them: uint8 (S, S, 3)."""
    mask = np.where(start.mask, np.uint8(255), np.uint8(0))
    return np.concatenate([disks(start.clicks, start.mask.shape), mask[..., None]], -1)


def _thinner_or_thicker(rng, mask, others):
    reach = rng.uniform(1, 0.06 * mask.shape[0])
    if rng.random() < 0.5:
        return ndimage.distance_transform_edt(mask) > reach if mask.any() else mask
    return ndimage.distance_transform_edt(~mask) <= reach if mask.any() else mask


def _shifted(rng, mask, others):
    reach = 0.1 * mask.shape[0]
    return ndimage.shift(mask.astype(np.uint8), rng.uniform(-reach, reach, 2).astype(int), order=0) > 0


def _cut(rng, mask, others):
    """One side of a straight line goes."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return mask
    angle = rng.uniform(0, 2 * math.pi)
    along = rows * math.sin(angle) + columns * math.cos(angle)
    gone = along > np.quantile(along, rng.uniform(0.3, 0.9))
    mask = mask.copy()
    mask[rows[gone], columns[gone]] = False
    return mask


def _coarse(rng, mask, others):
    """As of a network that sees less: outlines that are round and off."""
    side = int(rng.integers(10, 40))
    size = mask.shape[::-1]
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((side, side), Image.Resampling.BOX)
    values = np.asarray(small, np.float32) + rng.normal(0, 45, (side, side))
    small = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC)) > 127


def _blob(rng, mask, others):
    """An ellipse too much or too little."""
    size = mask.shape[0]
    y, x = rng.integers(0, size, 2)
    b, a = rng.uniform(0.04, 0.2, 2) * size
    rows, columns = np.ogrid[:size, : mask.shape[1]]
    blob = ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 <= 1
    return mask | blob if rng.random() < 0.5 else mask & ~blob


def _merged(rng, mask, others):
    """With a neighbour."""
    numbers, count = ndimage.label(others)
    return mask | (numbers == rng.integers(1, count + 1)) if count else mask


def _box(rng, truth):
    x0, y0, x1, y1 = extent(truth)
    box = np.zeros(truth.shape, bool)
    top, bottom = np.clip(rng.normal((y0, y1), 0.06 * (y1 - y0)), 0, truth.shape[0])
    left, right = np.clip(rng.normal((x0, x1), 0.06 * (x1 - x0)), 0, truth.shape[1])
    box[int(top) : max(int(top) + 2, round(bottom)), int(left) : max(int(left) + 2, round(right))] = True
    return box
