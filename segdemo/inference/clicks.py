"""Click a thing, get its mask: the click model on ONNX Runtime.

The network sees a crop around the mask so far and the clicks (the "target crop" of FocalClick, Chen et al.,
arXiv:2204.02574, section 3.2). Where there is no mask yet, it looks at the whole photo first and then closer. Of a mask
that is corrected, only what hangs together with a click that is not obeyed yet changes ("progressive merge", section
3.4): a click never spoils what was right elsewhere.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from scipy import ndimage

from segdemo.core.arrays import Bools, Floats, Ints, UInt8
from segdemo.core.clicks import Box, Click, ClickError, disks, extent
from segdemo.core.files import sha256
from segdemo.core.settings import threads
from segdemo.inference.predict import DamagedModelError, input_size
from segdemo.inference.sessions import open_session
from segdemo.zoo.clicks import ClickModel

MOST_CLICKS = 100
ENLARGED = 1.4  # sides of the crop, in sides of the box around mask and clicks
SMALLEST = 64  # pixels of a crop's side
CLOSER = 0.7  # a crop of less than this share of the photo's sides is worth a second look
MUCH_CLOSER = 0.8  # likewise what a correction changes, in sides of the crop that it was found in
BEYOND = 0.02  # a thing may reach so far out of the box that was drawn around it, in the box's longer sides

Window = tuple[int, int, int, int]  # a part of a photo: x0, y0, x1, y1 in pixels, the last two exclusive
Answer = tuple[Window, UInt8, Bools]  # as the first three fields of ``Selection``


class Levels:
    """A photo and its halves: a crop of it is scaled from the one that is next larger.

    Args:
        image: uint8 (H, W, 3), RGB.
        most: bytes it may take; the largest halves of a photo that takes more are left out.
    """

    def __init__(self, image: UInt8, most: float = math.inf) -> None:
        self.height, self.width = image.shape[:2]
        self._levels = [Image.fromarray(image)]
        while max(self._levels[-1].size) > 1024:
            self._levels.append(self._levels[-1].reduce(2))
        self._left_out = 0
        while len(self._levels) > 1 and self.bytes > most:
            del self._levels[0]
            self._left_out += 1

    @property
    def bytes(self) -> int:
        """What it takes; Pillow keeps four bytes a pixel."""
        return sum(4 * level.width * level.height for level in self._levels)

    def crop(self, box: Box, width: int, height: int) -> UInt8:
        """The part of the photo in ``box``, scaled: uint8 (height, width, 3)."""
        x0, y0, x1, y1 = box
        shrink = min((x1 - x0) / width, (y1 - y0) / height)
        n = min(max(int(np.log2(max(shrink, 1))) - self._left_out, 0), len(self._levels) - 1)
        level = self._levels[n]
        across, down = level.width / self.width, level.height / self.height
        window = (
            max(0.0, x0 * across),
            max(0.0, y0 * down),
            min(level.width, x1 * across),
            min(level.height, y1 * down),
        )
        return np.asarray(level.resize((width, height), Image.Resampling.BILINEAR, window, 2.0))


@dataclass(frozen=True)
class Selection:
    """What the clicks select.

    Attributes:
        box: the part of the photo that may have changed: x0, y0, x1, y1 in pixels, the last two exclusive.
        probabilities: uint8 (h, w), 0..255, spanning ``box``: above 127 is inside.
        changed: bool (h, w): where the mask is that of the probabilities; elsewhere it stays as it was.
        before: bool (H, W) or None, the mask before; of another size if it was given in less detail.
        shape: (H, W) of the photo.
        milliseconds: what it took.
    """

    box: tuple[int, int, int, int]
    probabilities: UInt8
    changed: Bools
    before: Bools | None
    shape: tuple[int, int]
    milliseconds: float

    @cached_property
    def mask(self) -> Bools:
        """bool (H, W): the whole mask."""
        mask = np.zeros(self.shape, bool) if self.before is None else self.before.copy()
        x0, y0, x1, y1 = self.box
        size = (x1 - x0, y1 - y0)
        inside = np.asarray(Image.fromarray(self.probabilities).resize(size, Image.Resampling.BILINEAR)) > 127
        changed = np.asarray(Image.fromarray(self.changed).resize(size, Image.Resampling.NEAREST))
        part = mask[y0:y1, x0:x1]
        part[changed] = inside[changed]
        return mask


class Clicker:
    """A click model, loaded; safe to call from several threads.

    Args:
        model: which. Its checksum is verified.

    Raises:
        DamagedModelError: there is no such file, its checksum differs, or it is no graph.
    """

    def __init__(self, model: ClickModel) -> None:
        self.model = model
        if not model.path.is_file() or sha256(model.path) != model.onnx_sha256:
            raise DamagedModelError(f"{model.onnx} is missing or damaged: fetch it again.")
        try:
            self.session = open_session(model.path, threads())
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise DamagedModelError(f"{model.onnx} is no graph that ONNX Runtime can open.") from error

    def select(
        self,
        photo: UInt8 | Levels,
        clicks: Sequence[Click],
        mask: Bools | None = None,
        box: Box | None = None,
    ) -> Selection:
        """The mask of the thing that is clicked on.

        Args:
            photo: uint8 (H, W, 3), RGB; ``Levels`` of it, if it is asked about more than once.
            clicks: in the order made, in pixels of the photo.
            mask: bool (H, W), a mask to correct, or (h, w) spanning the same photo in less detail; then the result has
                no ``mask``. None or an empty one: there is none yet.
            box: around the thing, where there is no mask.

        Raises:
            ClickError: no click and no box, too many clicks, a click outside the photo, a mask of another size.
        """
        start = time.perf_counter()
        levels = photo if isinstance(photo, Levels) else Levels(photo)
        shape = (levels.height, levels.width)
        _check(clicks, mask, box, shape)
        before = mask if mask is not None and mask.any() else None
        if before is not None:
            answer = self._correct(levels, clicks, before)
        elif box is not None:
            answer = self._look_into(levels, clicks, box)
        else:
            answer = self._find(levels, clicks)
        window, probabilities, changed = answer
        milliseconds = (time.perf_counter() - start) * 1000
        return Selection(window, probabilities, changed, before, shape, milliseconds)

    def _find(self, levels: Levels, clicks: Sequence[Click]) -> Answer:
        """A thing that there is no mask of: once on the whole photo, and again on what was found there."""
        shape = (levels.height, levels.width)
        whole = (0, 0, levels.width, levels.height)
        window, probabilities, changed = self._look(levels, clicks, whole, None)
        inside = probabilities > 127
        numbers, _ = ndimage.label(inside)
        hit = {
            int(numbers[cell])
            for c in clicks
            if c.positive and numbers[cell := _cell(c, window, inside.shape)]
        }
        thing = np.isin(numbers, list(hit)) if hit else inside
        closer = _enlarged(_around(thing, window, clicks), shape)
        if (closer[2] - closer[0]) > CLOSER * levels.width and (
            closer[3] - closer[1]
        ) > CLOSER * levels.height:
            return window, probabilities, changed
        return self._look(levels, clicks, closer, _part(inside, window, closer))

    def _look_into(self, levels: Levels, clicks: Sequence[Click], box: Box) -> Answer:
        """The thing in a box: what the network says of the box as a mask, without what is outside of box and clicks."""
        window = _enlarged(box, (levels.height, levels.width))
        window, probabilities, changed = self._look(levels, clicks, window, _within(box, window))
        reach = BEYOND * max(box[2] - box[0], box[3] - box[1])
        points = [(c.x, c.y) for c in clicks if c.positive]
        (x0, y0), (x1, y1) = np.min([box[:2], *points], 0) - reach, np.max([box[2:], *points], 0) + reach
        inside = _resized(_within((x0, y0, x1, y1), window), probabilities.shape)
        return window, np.where(inside, probabilities, np.uint8(0)), changed

    def _correct(self, levels: Levels, clicks: Sequence[Click], mask: Bools) -> Answer:
        """A mask that there is already: the crop holds all of it and the clicks, and then what was changed, closer."""
        shape, whole = (levels.height, levels.width), (0, 0, levels.width, levels.height)
        window = _enlarged(_around(_shrunk(mask), whole, clicks), shape)
        old = _part(mask, whole, window)
        answer = self._changed(levels, clicks, window, old, old)
        _, probabilities, changed = answer
        disobeyed = [c for c in clicks if mask[_cell(c, whole, mask.shape)] != c.positive]
        if not changed.any() or not disobeyed:
            return answer
        closer = _enlarged(_around(changed, window, disobeyed), shape)
        if _side(closer) >= MUCH_CLOSER * _side(window):
            return answer
        old = _part(mask, whole, closer)
        inside, there = (_looked_up(m, window, closer, old.shape) for m in (probabilities > 127, changed))
        inside_it = [c for c in clicks if closer[0] <= c.x < closer[2] and closer[1] <= c.y < closer[3]]
        return self._changed(levels, inside_it, closer, old, np.where(there, inside, old))

    def _changed(
        self, levels: Levels, clicks: Sequence[Click], window: Window, old: Bools, shown: Bools
    ) -> Answer:
        """What clicks that the mask ``old`` of a window does not obey change in it; the network is shown ``shown``."""
        window, probabilities, _ = self._look(levels, clicks, window, shown)
        old = _resized(old, probabilities.shape)
        changed = np.zeros(old.shape, bool)
        different = (probabilities > 127) != old
        for positive in (True, False):
            numbers, _ = ndimage.label(different & (old != positive))
            for click in clicks:
                cell = _cell(click, window, old.shape)
                if click.positive == positive and old[cell] != positive:
                    number = _number_near(numbers, cell)
                    if number:
                        changed |= numbers == number
                    else:  # the network does not obey: at least what is next to the click does
                        near = disks([click], old.shape, window, 3)[..., 0 if positive else 1] > 0
                        probabilities = np.where(near, np.uint8(255 if positive else 0), probabilities)
                        changed |= near
        changed = ndimage.binary_dilation(changed, iterations=2) & (~different | changed)
        return window, probabilities, changed

    def _look(self, levels: Levels, clicks: Sequence[Click], window: Window, before: Bools | None) -> Answer:
        """The network's answer for one window: (window, uint8 (h, w), bool (h, w), all true).

        It is asked once, and then with its own answer as the mask so far, also about the mirror image. That takes a
        fifth off the clicks that things of VOC need.
        """
        x0, y0, x1, y1 = window
        height, width = input_size(y1 - y0, x1 - x0, self.model.long_side)
        inputs = np.zeros((1, height, width, 6), np.uint8)
        inputs[0, ..., :3] = levels.crop(window, width, height)
        inputs[0, ..., 3:5] = disks(clicks, (height, width), window)
        if before is not None:
            inputs[0, ..., 5] = _shown(before, (height, width))
        again = inputs.copy()
        again[0, ..., 5] = _shown(self._inside(inputs) > 0.5, (height, width))
        mirrored = np.ascontiguousarray(again[:, :, ::-1])
        inside = (self._inside(again) + self._inside(mirrored)[:, ::-1]) / 2
        return window, np.rint(255 * inside).astype(np.uint8), np.ones(inside.shape, bool)

    def _inside(self, inputs: UInt8) -> Floats:
        """How probably each cell is inside, as the network says: float32 (h, w)."""
        (logits,) = self.session.run(None, {"image": inputs})
        probabilities: Floats = 1 / (1 + np.exp(-logits[0, ..., 0]))
        return probabilities


def _check(clicks: Sequence[Click], mask: Bools | None, box: Box | None, shape: tuple[int, int]) -> None:
    height, width = shape
    if not clicks and box is None:
        raise ClickError("Click on the thing, or draw a box around it: there is neither a click nor a box.")
    if len(clicks) > MOST_CLICKS:
        raise ClickError(
            f"There are {len(clicks)} clicks: {MOST_CLICKS} are the most. Accept the mask and go on with it."
        )
    if (
        mask is not None
        and mask.shape != shape
        and abs(mask.shape[0] * width - mask.shape[1] * height) > max(shape)
    ):
        raise ClickError(
            f"The mask is {mask.shape[1]} x {mask.shape[0]} pixels and the photo {width} x {height}: make them equal."
        )
    for x, y, _ in clicks:
        if not (0 <= x < width and 0 <= y < height):
            raise ClickError(
                f"The click at ({x:g}, {y:g}) is outside the photo of {width} x {height} pixels: click inside it."
            )
    if box is not None:
        x0, y0, x1, y1 = box
        if not (x1 - x0 >= 1 and y1 - y0 >= 1 and x0 < width and y0 < height and x1 > 0 and y1 > 0):
            raise ClickError(
                "The box is [x0, y0, x1, y1] in pixels of the photo, with x0 < x1 and y0 < y1: draw it in the photo."
            )


def _enlarged(box: Box, shape: tuple[int, int]) -> Window:
    """A box with room around it, in whole pixels and inside the photo."""
    x0, y0, x1, y1 = box
    sides = []
    for start, end, limit in ((x0, x1, shape[1]), (y0, y1, shape[0])):
        length = min(limit, max(ENLARGED * (end - start), SMALLEST, ENLARGED * 0.5 * max(x1 - x0, y1 - y0)))
        first = min(max(0, (start + end - length) / 2), limit - length)
        sides.append((int(first), min(limit, int(np.ceil(first + length)))))
    (x0, x1), (y0, y1) = sides
    return x0, y0, x1, y1


def _around(inside: Bools, window: Window, clicks: Sequence[Click]) -> Box:
    """The box of cells and positive clicks, in pixels of the photo."""
    x0, y0, x1, y1 = window
    across, down = (x1 - x0) / inside.shape[1], (y1 - y0) / inside.shape[0]
    boxes = [(c.x, c.y, c.x + 1, c.y + 1) for c in clicks]
    if found := extent(inside):
        left, top, right, bottom = found
        boxes.append((x0 + left * across, y0 + top * down, x0 + right * across, y0 + bottom * down))
    first, last = np.min(boxes, 0), np.max(boxes, 0)
    return float(first[0]), float(first[1]), float(last[2]), float(last[3])


def _shrunk(mask: Bools) -> Bools:
    """A mask in less detail: bool (h, w), no longer than 1,024."""
    shrink = max(1, max(mask.shape) // 512)
    return mask[::shrink, ::shrink]


def _side(window: Window) -> int:
    """The longer side of a window in pixels."""
    return max(window[2] - window[0], window[3] - window[1])


def _within(box: Box, window: Window) -> Bools:
    """Which pixels of a window are in a box: bool (h, w)."""
    x0, y0, x1, y1 = window
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    left, top, right, bottom = (round(v) for v in box)
    mask[max(0, top - y0) : max(0, bottom - y0), max(0, left - x0) : max(0, right - x0)] = True
    return mask


def _part(mask: Bools, window: Window, part: Window) -> Bools:
    """What of a mask that spans one window another shows: bool, no longer than 512."""
    x0, y0, x1, y1 = window
    across, down = mask.shape[1] / (x1 - x0), mask.shape[0] / (y1 - y0)
    left, top = (part[0] - x0) * across, (part[1] - y0) * down
    right, bottom = (part[2] - x0) * across, (part[3] - y0) * down
    rows = np.s_[int(top) : max(int(top) + 1, round(bottom))]
    columns = np.s_[int(left) : max(int(left) + 1, round(right))]
    cut = mask[rows, columns]
    shrink = min(1, 512 / max(cut.shape))
    return _resized(cut, [max(1, round(side * shrink)) for side in cut.shape])


def _looked_up(mask: Bools, window: Window, part: Window, shape: Sequence[int]) -> Bools:
    """As ``_part`` in a grid of ``shape``, cell by cell; false where ``part`` is outside the window."""
    places = []
    for axis, count, size in ((1, shape[0], mask.shape[0]), (0, shape[1], mask.shape[1])):
        centres = part[axis] + (np.arange(count) + 0.5) * (part[axis + 2] - part[axis]) / count
        cells = np.floor((centres - window[axis]) * size / (window[axis + 2] - window[axis])).astype(int)
        places.append(cells.clip(-1, size) + 1)
    return np.pad(mask, 1)[np.ix_(*places)]


def _shown(mask: Bools, shape: Sequence[int]) -> UInt8:
    """A mask as the network is shown it: uint8 of ``shape``, 0 and 255."""
    return np.where(_resized(mask, shape), np.uint8(255), np.uint8(0))


def _resized(mask: Bools, shape: Sequence[int]) -> Bools:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) > 127


def _cell(click: Click, window: Window, shape: Sequence[int]) -> tuple[int, int]:
    """The cell of a grid spanning a window that a click is in: (row, column)."""
    x0, y0, x1, y1 = window
    row = int((click.y + 0.5 - y0) * shape[0] / (y1 - y0))
    column = int((click.x + 0.5 - x0) * shape[1] / (x1 - x0))
    return min(max(row, 0), shape[0] - 1), min(max(column, 0), shape[1] - 1)


def _number_near(numbers: Ints, cell: tuple[int, int], reach: int = 3) -> int:
    """The number at a cell, or the one next to it that is nearest, or 0."""
    if numbers[cell]:
        return int(numbers[cell])
    top, left = max(0, cell[0] - reach), max(0, cell[1] - reach)
    part = numbers[top : cell[0] + reach + 1, left : cell[1] + reach + 1]
    rows, columns = np.nonzero(part)
    if not len(rows):
        return 0
    nearest = np.argmin((rows + top - cell[0]) ** 2 + (columns + left - cell[1]) ** 2)
    return int(part[rows[nearest], columns[nearest]])
