"""A collection with its drafts, as a folder of annotations to learn from: drafts are in train, and nowhere else."""

import hashlib
from pathlib import Path

from segdemo.annotations import drafts
from segdemo.annotations.collection import Collection
from segdemo.core.files import StoreError, hidden_build, link_or_copy, remove_folder, write_atomic, write_json
from segdemo.data.datasets import Dataset
from segdemo.data.formats.annotation import SUBSETS
from segdemo.data.sources import open_dataset

FOLDER = ".with-drafts"  # of a collection
KEPT = 5  # such folders: a run may be resumed


def dataset(collection: Collection) -> Dataset:
    """The collection and its drafts, as they are now; a run that learns from it is not disturbed by what comes after.

    Raises:
        StoreError: a subset has no mask yet that a person made, or there is no draft. DiskError.
    """
    collection.recover()
    made = drafts.found(collection)
    masks = collection.photos(annotated=True, sort="source", per_page=1_000_000).photos
    if not made:
        raise StoreError(f"{collection.title} has no drafts: label the rest first, or learn without them.")
    if len({photo.split for photo in masks}) < len(SUBSETS):
        raise StoreError(
            "Label at least one photo for each of train, val and test first: drafts are not measured on."
        )
    digest = hashlib.sha256(collection.fingerprint().encode())
    for id_, draft in sorted(made.items()):
        digest.update(f"{id_} {draft.png}\n".encode())
    target = collection.folder / FOLDER / digest.hexdigest()[:16]
    with collection.store.lock(f"{collection.name}-with-drafts"):
        if not target.is_dir():
            _build(collection, made, target)
    return open_dataset("annotations", target)


def _build(collection: Collection, made: dict[str, drafts.Draft], target: Path) -> None:
    with hidden_build(target) as build:
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (build / folder).mkdir(parents=True)
        write_json(build / "labels.json", collection.label_set.to_json())
        lists: dict[str, list[str]] = {split: [] for split in SUBSETS}
        for photo in collection.photos(sort="source", per_page=1_000_000).photos:
            mask = build / "SegmentationClass" / f"{photo.id}.png"
            if photo.revision:
                data = collection.mask_png(photo.id)
                lists[photo.split].append(photo.id)
            elif photo.id in made:
                data = drafts.png(collection, photo.id, made[photo.id])
                lists["train"].append(photo.id)
            else:
                continue
            write_atomic(mask, data or b"", durable=False)
            link_or_copy(collection.image_path(photo.id), build / "JPEGImages" / photo.file)
        for split, ids in lists.items():
            text = "".join(f"{id_}\n" for id_ in sorted(ids))
            write_atomic(build / "ImageSets" / "Segmentation" / f"{split}.txt", text.encode())
    others = sorted(target.parent.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
    for old in others[:-KEPT]:
        remove_folder(old)
