"""Binary masks, 0 and 255, as a dataset of two classes: a copy, so that the masks there are stay as they are."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.files import hidden_build, write_atomic, write_json
from segdemo.core.labels import VOID, LabelSet, voc_color
from segdemo.data.datasets import Dataset, DatasetError, Sample
from segdemo.data.outputs import OutputError

BACKGROUND, OBJECT = 0, 1


def label_set(name: str = "object") -> LabelSet:
    """The classes of such a dataset; ``name`` is what the object is called. Raises ValueError for a bad name."""
    return LabelSet("binary", f"Background and {name}", ("background", name), (voc_color(0), voc_color(1)))


def label_map(path: Path) -> UInt8:
    """A binary mask's label map: uint8 (H, W) of ``BACKGROUND`` and ``OBJECT``.

    Black is background and white the object, in 8 bits, 1 bit or as a colour picture.

    Raises:
        DatasetError: it cannot be read, or holds anything but black and white.
    """
    try:
        with Image.open(path) as picture:
            values = np.array(picture if picture.mode == "P" else picture.convert("L"))
            if picture.mode == "P" and not _is_binary(values):
                values = np.array(picture.convert("L"))
    except Exception as error:  # decoders of damaged files raise anything
        raise DatasetError(
            f"The mask {path} cannot be read as a picture: restore it from its source."
        ) from error
    if not _is_binary(values):
        other = int(values[(values != 0) & (values != VOID)][0])
        raise DatasetError(
            f"The mask {path} holds {other} beside 0 and 255, so it is no binary mask: leave it out."
        )
    return np.where(values == VOID, OBJECT, BACKGROUND).astype(np.uint8)


def write_copy(
    dataset: Dataset,
    out: Path | str,
    name: str = "object",
    wrap: Callable[[list[Sample]], Iterable[Sample]] = iter,
) -> int:
    """Copy a dataset of binary masks as a folder of annotations, in which 255 has become a class.

    Photos are copied as they are. The subsets train, val and test stay what they were.

    Args:
        dataset: a ``datasets.Dataset``. out: the folder to make; it appears complete at the end.
        name: what the object is called.
        wrap: wraps the samples, such as in a progress bar.

    Returns:
        How many masks were written.

    Raises:
        OutputError: ``out`` is there and not empty. DatasetError: a photo is missing, or as ``label_map``.
    """
    out, classes = Path(out), label_set(name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there already: choose another --out, or an empty folder.")
    written = 0
    with hidden_build(out) as build:
        for folder in ("JPEGImages", "SegmentationClass"):
            (build / folder).mkdir(parents=True)
        for sample in wrap([dataset.sample(id_) for id_ in dataset.ids]):
            if not sample.image_path.is_file():
                raise DatasetError(
                    f"The photo {sample.image_path} is missing: restore it or take its id off the list."
                )
            shutil.copyfile(
                sample.image_path, build / "JPEGImages" / f"{sample.id}{sample.image_path.suffix}"
            )
            if sample.mask_path is not None:
                data = label_maps.encode_png(label_map(sample.mask_path), classes)
                write_atomic(build / "SegmentationClass" / f"{sample.id}.png", data, durable=False)
                written += 1
        write_json(build / "labels.json", classes.to_json())
        for subset, listed in _subsets(dataset).items():
            text = "".join(f"{id_}\n" for id_ in listed)
            write_atomic(build / "ImageSets" / "Segmentation" / f"{subset}.txt", text.encode())
    return written


def _subsets(dataset: Dataset) -> dict[str, Sequence[str]]:
    """Subset to ids, each id in one of them."""
    splits = dataset.splits
    val, test = splits.get("val", ()), splits.get("test", ())
    held_back = {*val, *test}
    train = [id_ for id_ in splits.get(dataset.learning_subset, ()) if id_ not in held_back]
    return {"train": train, "val": val or test, "test": test if val else ()}


def _is_binary(values: UInt8) -> bool:
    return bool(np.isin(values, (0, VOID)).all())
