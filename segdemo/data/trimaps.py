"""Trimaps in the style of Oxford-IIIT Pet from VOC's cats and dogs, to pre-train on."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo.core.arrays import UInt8
from segdemo.core.labels import VOC, VOID
from segdemo.data.datasets import Sample, read_label_map

PETS = tuple(VOC.classes.index(name) for name in ("cat", "dog"))
FOREGROUND, BACKGROUND, BORDER = 1, 2, 3
SMALLEST = 0.05  # of a photo that its animals cover
RADIUS = 5  # pixels; the median Pets trimap at 384 pixels has a band of ten to twelve


def trimap(label_map: UInt8, radius: int = RADIUS) -> UInt8:
    """Animal, background and a band along the outline.

    Args:
        label_map: uint8 (H, W) in VOC's classes.
        radius: half the width of the band, pixels.

    Returns:
        uint8 (H, W) of 1 foreground, 2 background, 3 border. Void next to an animal becomes border.
    """
    from scipy.ndimage import distance_transform_edt

    animal = np.isin(label_map, PETS)
    if animal.all() or not animal.any():  # there is no outline, and so no distance to it
        return np.where(animal, FOREGROUND, BACKGROUND).astype(np.uint8)
    inside, outside = distance_transform_edt(animal), distance_transform_edt(~animal)
    border = (np.maximum(inside, outside) <= radius) | ((label_map == VOID) & (outside <= 2 * radius))
    return np.where(border, BORDER, np.where(animal, FOREGROUND, BACKGROUND)).astype(np.uint8)


def possible_names(sample: Sample) -> list[str]:
    """The names of which the trimap of a VOC sample gets one, whichever animal it shows."""
    return [f"{name}_{_number(sample)}.png" for name in ("cat", "dog")]


def _number(sample: Sample) -> str:
    return sample.id.replace("_", "")


def write_pets_folder(
    samples: Iterable[Sample],
    out: Path | str,
    progress: Callable[[Iterable[Sample]], Iterable[Sample]] = lambda items: items,
) -> int:
    """Write the photos that show enough of a cat or a dog as a dataset in the layout of Oxford-IIIT Pet.

    Args:
        samples: ``datasets.Sample`` objects of VOC.
        out: the folder to write.

    Returns:
        How many photos were written.
    """
    images, trimaps = Path(out) / "images", Path(out) / "annotations" / "trimaps"
    images.mkdir(parents=True, exist_ok=True)
    trimaps.mkdir(parents=True, exist_ok=True)
    written = 0
    for sample in progress(samples):
        label_map = read_label_map(sample)
        animal = np.isin(label_map, PETS)
        if animal.mean() < SMALLEST:
            continue
        name = "cat" if np.isin(label_map, PETS[:1]).sum() * 2 > animal.sum() else "dog"
        number = _number(sample)
        shutil.copyfile(sample.image_path, images / f"{name}_{number}{sample.image_path.suffix}")
        Image.fromarray(trimap(label_map)).save(trimaps / f"{name}_{number}.png")
        written += 1
    return written


def add_pets(samples: Sequence[Sample], out: Path | str) -> int:
    """Copy photos and trimaps of a Pets dataset, such as its training subset, to those of ``write_pets_folder``.

    Args:
        samples: ``datasets.Sample`` objects of Pets, with masks.
        out: the folder ``write_pets_folder`` wrote.

    Returns:
        How many photos were copied.
    """
    out = Path(out)
    for sample in samples:
        shutil.copyfile(sample.image_path, out / "images" / sample.image_path.name)
        if sample.mask_path is not None:
            shutil.copyfile(sample.mask_path, out / "annotations" / "trimaps" / sample.mask_path.name)
    return len(samples)
