"""Crops of photos, each with one thing in it that a person may mean.

Class masks tell which pixels are of a class, not which are of one thing: a thing is a connected component of a class,
now and then all the components of it, or a thing that was cut out of another photo and put on top of this one, which
teaches outlines between things alike. Void does not count.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from segdemo.core.labels import VOID
from segdemo.core.settings import cores
from segdemo.data.datasets import Dataset, Sample, read_image, read_label_map

SMALLEST = 300  # pixels of a thing
ALL_OF_A_CLASS = 0.08  # share of crops that mean every component of the class
PASTED = 0.25  # share of crops with a thing of another photo on top
PASTED_MEANT = 0.65  # how often that is the one that is meant
PREDICTED = 0.3  # share of crops that begin with what a semantic model says of the class, where it is at hand
WHOLE_PHOTO = 0.4  # share of crops that show most of the photo
ENLARGED = (1.1, 2.4)  # else: side of the crop, in sides of the thing's box
INSIDE, OUTSIDE = 1, 0  # in masks, beside VOID


@dataclass(frozen=True)
class Thing:
    """A connected component of a class.

    Attributes:
        sample: its photo and mask.
        class_id: its class.
        pixel: (row, column) of one of its pixels.
        box: x0, y0, x1, y1, the last two exclusive.
    """

    sample: Sample
    class_id: int
    pixel: tuple[int, int]
    box: tuple[int, int, int, int]


def things_of(dataset: Dataset, subset: str, classes: Sequence[int] | None = None) -> list[list[Thing]]:
    """The things of each photo of a subset that has any.

    Args:
        dataset, subset: what is looked through.
        classes: the classes whose components are things; by default all but the background.
    """
    background = dataset.label_set.background
    wanted = classes or [c for c in range(len(dataset.label_set)) if c != background]

    def found(sample):
        label_map = read_label_map(sample)
        return [
            thing for c in wanted if (label_map == c).any() for thing in _components(sample, label_map, c)
        ]

    with ThreadPoolExecutor(cores()) as pool:
        return [things for things in pool.map(found, dataset.samples(subset)) if things]


def _components(sample, label_map, class_id):
    numbers, count = ndimage.label(label_map == class_id)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    for number, place in enumerate(ndimage.find_objects(numbers), 1):
        if sizes[number] >= SMALLEST:
            rows, columns = place
            row = rows.start
            column = columns.start + int(np.argmax(numbers[row, columns] == number))
            yield Thing(sample, class_id, (row, column), (columns.start, rows.start, columns.stop, rows.stop))


@dataclass(frozen=True)
class Crop:
    """A part of a photo with a thing in it.

    Attributes:
        image: uint8 (S, S, 3).
        mask: uint8 (S, S): 1 inside the thing, 0 outside, 255 for what does not count.
        others: bool (S, S): what else is there that may be taken for it.
        predicted: bool (S, S), what a semantic model takes for it, or None.
    """

    image: np.ndarray
    mask: np.ndarray
    others: np.ndarray
    predicted: np.ndarray | None = None


def crops(
    photos: Sequence[Sequence[Sequence[Thing]]],
    shares: Sequence[float],
    size: int,
    seed: int,
    predictions: Path | None = None,
) -> Iterator[Crop]:
    """Crops without end.

    Args:
        photos: lists of ``things_of``.
        shares: how often a crop comes from each of those lists.
        size: side of the crops in pixels.
        seed: the same one gives the same crops.
        predictions: a folder of label maps as ``segdemo predict`` writes them of VOC's photos. A share of the crops of
            photos that it has begins with them, and means all of the class: so it is when a mask is corrected.
    """
    rng = np.random.default_rng(seed)
    shares = np.asarray(shares, np.float64) / np.sum(shares)

    def drawn():
        things = photos[rng.choice(len(shares), p=shares)]
        return _any(rng, _any(rng, things))

    while True:
        thing = drawn()
        said = _predicted(predictions, thing) if rng.random() < PREDICTED else None
        crop = _cut(rng, thing, said, size)
        if said is None and rng.random() < PASTED:
            crop = _paste(rng, drawn(), crop)
        if (crop.mask == INSIDE).sum() < SMALLEST / 4:
            continue
        if rng.random() < 0.5:
            crop = _mirrored(crop)
        yield replace(crop, image=_coloured(rng, crop.image))


def _mirrored(crop):
    image, mask, others = (
        np.ascontiguousarray(part[:, ::-1]) for part in (crop.image, crop.mask, crop.others)
    )
    predicted = None if crop.predicted is None else np.ascontiguousarray(crop.predicted[:, ::-1])
    return Crop(image, mask, others, predicted)


def _predicted(folder, thing):
    """What a semantic model says of the class of a thing in its photo: bool (H, W), or None."""
    if folder is None or thing.sample.dataset != "voc":
        return None
    path = folder / f"{thing.sample.id}.png"
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        return np.asarray(picture) == thing.class_id


def _any(rng, items):
    return items[rng.integers(len(items))]


def _inside(thing, label_map):
    """The pixels of a thing: bool (H, W)."""
    numbers, _ = ndimage.label(label_map == thing.class_id)
    return numbers == numbers[thing.pixel]


def _cut(rng, thing, said, size):
    image, label_map = read_image(thing.sample), read_label_map(thing.sample)
    height, width = label_map.shape
    x0, y0, x1, y1 = thing.box
    if rng.random() < WHOLE_PHOTO:
        across, down = width * rng.uniform(0.7, 1), height * rng.uniform(0.7, 1)
        across, down = max(across, x1 - x0), max(down, y1 - y0)
    else:
        side = max(x1 - x0, y1 - y0, 48) * math.exp(rng.uniform(*np.log(ENLARGED)))
        aspect = math.exp(rng.uniform(-0.25, 0.25))
        across, down = min(width, side * aspect), min(height, side / aspect)
    # The window holds the box where it can, anywhere in it.
    left = _place(rng, x0, x1, across, width)
    top = _place(rng, y0, y1, down, height)
    window = (left, top, left + across, top + down)
    everywhere = said is not None or rng.random() < ALL_OF_A_CLASS
    whole = label_map == thing.class_id if everywhere else _inside(thing, label_map)
    ids = np.where(whole, np.uint8(INSIDE), np.where(label_map == VOID, np.uint8(VOID), np.uint8(OUTSIDE)))
    if thing.sample.dataset == "pets":
        ids[label_map == 2] = VOID  # the band along the outline
        others = np.zeros_like(whole)
    else:
        others = (label_map != 0) & (label_map != VOID) & ~whole
    ids[others] = 2
    photo = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, window, 2.0)
    small = _nearest(ids, size, window)
    others = small == 2
    predicted = None if said is None else _nearest(said.astype(np.uint8), size, window) > 0
    return Crop(np.asarray(photo), np.where(others, np.uint8(OUTSIDE), small), others, predicted)


def _nearest(ids, size, window):
    return np.asarray(Image.fromarray(ids).resize((size, size), Image.Resampling.NEAREST, window))


def _place(rng, start, end, length, limit):
    low, high = sorted((end - length, start))
    slack = 0.15 * length  # a part of the thing may lie outside
    return float(np.clip(rng.uniform(low - slack, high + slack), 0, limit - length))


def _paste(rng, other, crop):
    """A thing of another photo on top of a crop."""
    image, mask, others = crop.image, crop.mask, crop.others
    size = mask.shape[0]
    label_map = read_label_map(other.sample)
    x0, y0, x1, y1 = other.box
    cut = np.asarray(Image.fromarray(read_image(other.sample)).crop(other.box))
    alpha = np.where(_inside(other, label_map), np.uint8(255), np.uint8(0))[y0:y1, x0:x1]
    scale = size * rng.uniform(0.2, 0.8) / max(alpha.shape)
    shape = [max(8, round(s * scale * math.exp(rng.uniform(-0.1, 0.1)))) for s in alpha.shape[::-1]]
    cut = np.asarray(Image.fromarray(cut).resize(shape, Image.Resampling.BILINEAR))
    alpha = np.asarray(Image.fromarray(alpha).resize(shape, Image.Resampling.BILINEAR))
    if rng.random() < 0.5:
        cut, alpha = cut[:, ::-1], alpha[:, ::-1]
    centre = rng.integers(0, size, 2)
    top, left = (int(c) - s // 2 for c, s in zip(centre, alpha.shape, strict=True))
    rows = np.s_[max(0, top) : min(size, top + alpha.shape[0])]
    columns = np.s_[max(0, left) : min(size, left + alpha.shape[1])]
    inside = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    cut, alpha = cut[inside], alpha[inside]
    if (alpha > 127).sum() < SMALLEST / 2:
        return crop
    image, mask, others = image.copy(), mask.copy(), others.copy()
    share = ndimage.uniform_filter(alpha, 3)[..., None].astype(np.float32) / 255
    image[rows, columns] = (cut * share + image[rows, columns] * (1 - share)).round().astype(np.uint8)
    pasted = np.zeros(mask.shape, bool)
    pasted[rows, columns] = alpha > 127
    if rng.random() < PASTED_MEANT:
        return Crop(image, pasted.astype(np.uint8), (others | (mask == INSIDE)) & ~pasted)
    mask[pasted] = OUTSIDE
    return Crop(image, mask, others | pasted)


def _coloured(rng, image):
    """Light, contrast and colour changed a little, or much; float32 on the way, uint8 in the end."""
    if rng.random() < 0.25:
        return image
    x = image.astype(np.float32)
    grey = x @ np.float32([0.299, 0.587, 0.114])
    x = grey[..., None] + (x - grey[..., None]) * rng.uniform(0.4, 1.4)
    x = (x - 128) * rng.uniform(0.7, 1.3) + 128 + rng.uniform(-30, 30)
    x *= rng.uniform(0.92, 1.08, 3).astype(np.float32)
    return np.clip(x, 0, 255).astype(np.uint8)
