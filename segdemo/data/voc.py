"""PASCAL VOC 2012: Everingham et al., "The PASCAL Visual Object Classes Challenge".

``JPEGImages``, ``SegmentationClass`` (palettized PNG, 255 = boundary) and ``ImageSets/Segmentation``; if there is a
``SegmentationClassAug`` it holds the masks of Hariharan et al., "Semantic Contours from Inverse Detectors" (ICCV 2011),
which ``train_aug`` uses where VOC itself has none.
"""

import random
from pathlib import Path

from segdemo.core import names
from segdemo.core.labels import VOC
from segdemo.data import folders
from segdemo.data.datasets import Dataset, DatasetError
from segdemo.data.splits import SPLIT_SEED

KIND = "voc"
OWNED = ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets")  # folders in its root


def recognises(folder: Path) -> bool:
    """Whether a folder is the root of a VOC tree."""
    return all(
        path.is_dir()
        for path in (
            *(names.child(folder, n) for n in ("JPEGImages", "SegmentationClass")),
            folders.lists_folder(folder),
        )
    )


def find(root: Path) -> Path | None:
    """The VOC tree in or near a folder, or None."""
    candidates = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    return next((folder for folder in candidates if recognises(folder)), None)


def open_in(root: Path) -> Dataset:
    """The VOC tree in or near a folder; see ``sources.open_dataset`` for its subsets. Raises DatasetError."""
    folder = find(root)
    if folder is None:
        raise DatasetError(
            f"There is no VOC 2012 in {root}: give the VOCdevkit folder, its parent, or VOC2012 itself, "
            "with JPEGImages, SegmentationClass and ImageSets/Segmentation in it."
        )
    photos = folders.photos(names.child(folder, "JPEGImages"))
    official, augmented = (
        folders.masks(names.child(folder, name)) for name in ("SegmentationClass", "SegmentationClassAug")
    )
    lists = folders.read_lists(folder, photos, official, augmented)
    splits = {name: ids for name, ids in lists.items() if name != "val"}
    if "trainaug" in splits:  # what some distributions call it
        splits.setdefault("train_aug", splits.pop("trainaug"))
    whole = lists.get("val", ())
    if whole:
        shuffled = list(whole)
        random.Random(SPLIT_SEED).shuffle(shuffled)
        half = len(shuffled) // 2
        splits |= {"val": tuple(shuffled[:half]), "test": tuple(shuffled[half:]), "all": whole}
    masks = {**augmented, **official}
    paths: dict[str, tuple[Path, Path | None]] = {}
    for id_ in dict.fromkeys(id_ for ids in splits.values() for id_ in ids):
        mask = masks.get(id_, folder / "SegmentationClass" / f"{id_}.png")
        paths[id_] = (photos.get(id_, folder / "JPEGImages" / f"{id_}.jpg"), mask)
    return Dataset("voc", folder, VOC, splits, paths)
