"""Drafts: label maps that a model made of photos without a mask, kept apart from masks until a person takes them over.

A photo's draft is a palettized PNG and a record that says what made it and how sure it was. It is gone as soon as the
photo has a mask.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segdemo.annotations.collection import Collection
from segdemo.annotations.records import DRAFTS, in_palette
from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.conventions import now
from segdemo.core.documents import DamagedError, Document, log_once
from segdemo.core.files import FileCache, NotFoundError, write_atomic, write_json
from segdemo.data.formats import Annotation


@dataclass(frozen=True, kw_only=True)
class Draft(Document):
    """The record of a photo's draft.

    Attributes:
        model: name of the model that made it.
        made_by: checksum of that model's file.
        png: SHA-256 of the PNG, so that a record never speaks of another one.
        sure: mean probability of the likeliest class, 0..1.
        unsure: mean entropy over its maximum, 0..1.
        time: when it was made.
        classes: ids of the classes in it, void included.
    """

    model: str
    made_by: str
    png: str
    sure: float
    unsure: float = 0.0
    time: str = ""
    classes: list[int] = field(default_factory=list)


_read = FileCache(Draft.read)


def put(
    collection: Collection, id_: str, label_map: UInt8, model: str, made_by: str, sure: float, unsure: float
) -> bool:
    """Keep a draft of a photo, in place of one that it has.

    Args:
        collection, id_: the collection and the photo.
        label_map: uint8 (H, W) of the photo's size, ids of the label set or 255.
        model, made_by, sure, unsure: see ``Draft``.

    Returns:
        Whether it is kept: not if the photo has a mask by now.

    Raises:
        NotFoundError, DiskError. MaskError: ids that the label set lacks. StoreError: the photo is in the trash, or
        there is no room.
    """
    data = label_maps.encode_png(label_map, collection.label_set)
    with collection.changing(id_) as photo:
        if photo.revision:
            return False
        if label_map.shape != (photo.height, photo.width):
            raise label_maps.MaskError(
                f"A draft has its photo's size, {photo.width} x {photo.height} pixels."
            )
        collection.store.require_room(len(data), photos=0)
        folder = collection.folder / DRAFTS
        folder.mkdir(exist_ok=True)
        write_atomic(folder / f"{id_}.png", data, durable=False)  # it can be made again
        record = Draft.of(
            model=model,
            made_by=made_by,
            png=hashlib.sha256(data).hexdigest(),
            sure=round(sure, 4),
            unsure=round(unsure, 4),
            time=now(),
            classes=np.unique(label_map).tolist(),
        )
        write_json(folder / f"{id_}.json", record.to_json())
    return True


def found(collection: Collection) -> dict[str, Draft]:
    """The drafts of a collection by their photo's id; damaged ones are left out, with a line in the log."""
    drafts: dict[str, Draft] = {}
    folder = collection.folder / DRAFTS
    if not folder.is_dir():
        return drafts
    records = {path.stem for path in folder.glob("*.json")}
    for photo in collection.photos(annotated=False, per_page=1_000_000).photos:
        if photo.id in records and (draft := _draft(folder / f"{photo.id}.json")):
            drafts[photo.id] = draft
    return drafts


def find(collection: Collection, id_: str) -> Draft | None:
    """The draft of a photo, or None: it has none, it has a mask, or it is in the trash. Raises NotFoundError."""
    photo = collection.photo(id_)
    return (
        None if photo.revision or photo.deleted else _draft(collection.folder / DRAFTS / f"{photo.id}.json")
    )


def png(collection: Collection, id_: str, draft: Draft) -> bytes:
    """A draft in the collection's colours, as the bytes of a palettized PNG. Raises NotFoundError: it is gone."""
    try:
        data = (collection.folder / DRAFTS / f"{collection.photo(id_).id}.png").read_bytes()
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != draft.png:
        raise NotFoundError("This draft is gone or was made anew: open the photo again.")
    return in_palette(data, collection.label_set)


def load(collection: Collection, id_: str, draft: Draft) -> UInt8:
    """As ``png``, but the label map: uint8 (H, W)."""
    return label_maps.decode_png(png(collection, id_, draft))


def take_over(collection: Collection, id_: str, draft: Draft, author: str = "") -> int:
    """Make a draft the mask of its photo; the revision says which model it is from.

    Returns:
        The number of the revision.

    Raises:
        ConflictError: the photo has another mask by now, which stays. NotFoundError: the draft is gone. As
        ``Collection.save``.
    """
    meta = {"model": draft.model, "draft": draft.sure}
    return collection.save(id_, load(collection, id_, draft), 0, meta, author)


def annotations(collection: Collection) -> Iterator[Annotation]:
    """Photos with their drafts, as ``Collection.annotations`` gives those with masks; ``meta`` says that it is a draft.

    They belong to the subset that is learned from, never to those that are measured on.
    """
    label_set = collection.label_set
    for id_, draft in found(collection).items():
        photo = collection.photo(id_)
        meta = {
            "source": photo.source,
            "created": photo.created,
            "model": draft.model,
            "draft": draft.sure,
            "subset": "train",
            "photo_sha256": photo.sha256,
        }
        yield Annotation(id_, collection.image_path(id_), load(collection, id_, draft), label_set, meta)


def discard(collection: Collection, ids: Iterable[str]) -> None:
    """Delete the drafts of photos. Raises NotFoundError: no such photo."""
    for id_ in ids:
        with collection.changing(id_):
            for suffix in ("json", "png"):
                (collection.folder / DRAFTS / f"{id_}.{suffix}").unlink(missing_ok=True)


def _draft(record: Path) -> Draft | None:
    try:
        return _read(record)
    except FileNotFoundError:
        return None
    except (DamagedError, OSError) as error:
        log_once(str(error))
        return None
