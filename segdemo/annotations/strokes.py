"""Strokes that classes are taught with, kept with a collection: a palettized PNG for each photo that is painted on."""

import hashlib
from pathlib import Path

from segdemo.annotations.collection import Collection
from segdemo.annotations.records import STROKES
from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.files import StoreError, write_atomic
from segdemo.core.labels import VOID


class StaleStrokesError(StoreError):
    """Strokes were saved on top of a version that is no longer the newest."""


def painted(collection: Collection) -> list[str]:
    """Ids of the photos that have strokes, in order; those in the trash are left out."""
    there = {photo.id for photo in collection.photos(per_page=1_000_000).photos}
    return sorted(there & {path.stem for path in (collection.folder / STROKES).glob("*.png")})


def when(collection: Collection, id_: str) -> float:
    """When the strokes on a photo were saved last, in seconds since 1970; 0 without any."""
    try:
        return _path(collection, id_).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def png(collection: Collection, id_: str) -> bytes | None:
    """The strokes on a photo as the bytes of a PNG, or None. Raises NotFoundError: no such photo."""
    try:
        return _path(collection, collection.photo(id_).id).read_bytes()
    except FileNotFoundError:
        return None


def load(collection: Collection, id_: str) -> UInt8 | None:
    """The strokes on a photo: uint8 (H, W) of its size, class ids, 255 where nothing is painted; None without any.

    Classes that the collection no longer has count as not painted.

    Raises:
        NotFoundError: no such photo. MaskError: the file is damaged.
    """
    data = png(collection, id_)
    if data is None:
        return None
    photo = collection.photo(id_)
    found = label_maps.decode_png(data, size=(photo.height, photo.width))
    found[found >= len(collection.label_set)] = VOID
    return found


def version(data: bytes | None) -> str:
    """What tells strokes, as ``png`` gives them, from others; "" where there are none."""
    return hashlib.sha256(data).hexdigest()[:32] if data else ""


def save(collection: Collection, id_: str, strokes: UInt8, base: str) -> str:
    """Keep the strokes on a photo in place of those it had; where nothing is painted, none are kept.

    Args:
        collection, id_: the collection and the photo.
        strokes: uint8 (H, W) of the photo's size, ids of the label set, 255 not painted.
        base: ``version`` of the strokes that these were made from.

    Returns:
        The ``version`` that is kept now.

    Raises:
        StaleStrokesError: somebody else saved others meanwhile, which stay. NotFoundError, DiskError.
        MaskError: ids that the label set lacks. StoreError: another size, no room, or the photo is in the trash.
    """
    data = label_maps.encode_png(strokes, collection.label_set) if (strokes != VOID).any() else None
    with collection.changing(id_) as photo:
        if strokes.shape != (photo.height, photo.width):
            raise StoreError(f"Strokes have the size of their photo, {photo.width} x {photo.height} pixels.")
        now = png(collection, id_)
        if version(now) not in (base, version(data)):
            raise StaleStrokesError(f"Strokes on {photo.source} were saved elsewhere in the meantime.")
        path = _path(collection, id_)
        if data is None:
            path.unlink(missing_ok=True)
        elif data != now:
            collection.store.require_room(len(data), photos=0)
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, data)
    return version(data)


def _path(collection: Collection, id_: str) -> Path:
    return collection.folder / STROKES / f"{id_}.png"
