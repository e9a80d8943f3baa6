"""Annotations of one's own: VOC's layout plus ``labels.json``, the label set as ``LabelSet.to_json`` writes it."""

from pathlib import Path

from segdemo.core import names
from segdemo.core.files import read_json
from segdemo.core.labels import LabelSet
from segdemo.data import folders
from segdemo.data.datasets import Dataset, DatasetError
from segdemo.data.splits import place, subset_of

KIND = "annotations"
OWNED = ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets")  # folders in its root


def recognises(folder: Path) -> bool:
    """Whether a folder is the root of such a dataset."""
    return names.child(folder, "labels.json").is_file() and names.child(folder, "SegmentationClass").is_dir()


def find(root: Path) -> Path | None:
    """The folder itself, if it is one: annotations are not looked for elsewhere."""
    return root if recognises(root) else None


def open_in(root: Path) -> Dataset:
    """The dataset in a folder; see ``sources.open_dataset`` for its subsets. Raises DatasetError."""
    for name in ("JPEGImages", "SegmentationClass", "labels.json"):
        if not names.child(root, name).exists():
            raise DatasetError(
                f"There is no {name} in {root}: give a folder of annotations saved by SegDemo."
            )
    try:
        label_set = LabelSet.from_json(read_json(names.child(root, "labels.json")))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"The label set in {root / 'labels.json'} cannot be read ({error}): restore it."
        ) from None
    photos = folders.photos(names.child(root, "JPEGImages"))
    masks = folders.masks(names.child(root, "SegmentationClass"))
    labelled = photos.keys() & masks.keys()
    lists = folders.read_lists(root, photos, masks)
    listed = {id_ for name in ("train", "val", "test") for id_ in lists.get(name, ())}
    splits = _splits(sorted(labelled | listed), lists)
    splits["all"] = tuple(sorted(labelled | listed))
    splits["unlabelled"] = tuple(sorted(photos.keys() - labelled))
    paths = {}
    for id_ in [*splits["all"], *splits["unlabelled"]]:
        bare = id_ in photos and id_ not in labelled and id_ not in listed
        mask = None if bare else masks.get(id_, root / "SegmentationClass" / f"{id_}.png")
        paths[id_] = (photos.get(id_, root / "JPEGImages" / f"{id_}.jpg"), mask)
    return Dataset("annotations", root, label_set, splits, paths)


def _splits(ids: list[str], lists: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Train, val and test of annotated ids.

    The lists in ImageSets count if there are both a train and a val. Any id they leave out is placed by a
    hash of its name, 70 to 15 to 15 of a hundred, so that a photo stays where it is while others come and
    go. When that leaves train, val (from two photos on) or test (from three on) empty, it gets one of the
    largest part: a run needs something to learn from and to be measured on.
    """
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    if lists.get("train") and lists.get("val"):
        splits = {name: list(lists.get(name, ())) for name in splits}
    listed = {id_ for part in splits.values() for id_ in part}
    for id_ in ids:
        if id_ not in listed:
            splits[subset_of(id_)].append(id_)
    if not listed:
        needed = list(splits)[: len(ids)]
        for name in needed:
            if not splits[name]:
                spare = [part for other, part in splits.items() if part and other not in needed]
                donor = max(spare or splits.values(), key=len)
                donor.sort(key=place)
                splits[name].append(donor.pop())
    return {name: tuple(sorted(part)) for name, part in splits.items()}
