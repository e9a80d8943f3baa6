"""A black and white mask for each class of a photo, in a folder that is called like the class, or with it in its name.

    images/ID.jpg       masks/cat/ID.png, masks/dog/ID.png
    images/ID.jpg       masks/ID_cat.png, masks/ID_dog_1.png, masks/ID_dog_2.png

Which folders are classes is told by the photos that have several masks; the others beside them are read alike. Names
are told by what follows that of the photo, if there are two of them or two photos. Where masks of a photo overlap, the
smaller one lies on top.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np

from segdemo.core import names
from segdemo.data.formats import pictures
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.photos import kind_of
from segdemo.data.formats.reader import Item, Loaded, Reader
from segdemo.data.formats.shapes import ground_of

Called = dict[str, str]  # masks of a photo to the names of their classes


def take(reader: Reader, pairs: dict[str, list[str]]) -> list[Item]:
    """Items of the photos whose masks are one a class; these photos are taken out of ``pairs``, photo to its masks."""
    items: list[Item] = []
    free = {photo: found for photo, found in pairs.items() if not reader.is_used(photo)}
    for place in sorted({place for found in free.values() if (place := _place(found))}):
        taken = {p: called for p, found in free.items() if p in pairs and (called := _called(found, place))}
        if ready := _put_together(reader, taken, place, f"the folders in {place}"):
            items += ready
            for photo in taken:
                del pairs[photo]
    return items


def take_named(reader: Reader, named: dict[str, Called]) -> list[Item]:
    """Items of photos whose masks are one a class, as the names of the masks tell; none if they are something else."""
    free = {photo: called for photo, called in named.items() if not reader.is_used(photo)}
    if len(free) < 2 and len({name for called in free.values() for name in called.values()}) < 2:
        return []
    first = next(iter(next(iter(free.values()))))
    return _put_together(reader, free, names.folder(first), "the names of the masks")


def _put_together(reader, taken, place, source):
    # Items of photos with their masks, if these are black and white.
    masks = [mask for called in taken.values() for mask in called]
    if not pictures.look(reader, masks, lambda look: True).black_and_white:
        return []
    classes = {name for called in taken.values() for name in called.values()}
    reader.add_classes(place, sorted(classes, key=names.key), source)
    return [_item(reader, photo, called) for photo, called in taken.items()]


def _place(found: list[str]) -> str:
    """The folder whose folders tell the masks of a photo apart, with its slash; "" if nothing or more does."""
    rows = [mask.split("/")[:-1] for mask in found]
    if len(rows) < 2 or len({*map(len, rows)}) > 1:
        return ""
    differ = [at for at, parts in enumerate(zip(*rows, strict=True)) if len({*map(names.key, parts)}) > 1]
    if len(differ) != 1 or len({names.key(row[differ[0]]) for row in rows}) < len(rows):
        return ""
    above, classes = rows[0][: differ[0]], [row[differ[0]] for row in rows]
    plain = not any(kind_of(name) or names.subset(name) for name in classes)
    return "/".join([*above, ""]) if plain and any(kind_of(part) == "masks" for part in above) else ""


def _called(found: Iterable[str], place: str) -> Called:
    """The masks of a photo by their classes, if all lie in folders of a place; else none."""
    called = {mask: names.clean_class(mask[len(place) :].partition("/")[0]) for mask in found}
    inside = all(mask.startswith(place) and "/" in mask[len(place) :] for mask in called)
    return called if inside and len({*called.values()}) == len(called) else {}


def _item(reader: Reader, photo: str, called: Called) -> Item:
    reader.use(*called)
    first, subset = (
        next(iter(called)),
        reader.subset_of("", next(iter(called))) or reader.subset_of("", photo),
    )
    parts = [(mask, "mask") for mask in called]
    return reader.item(
        first, photo, "", lambda: parts, partial(_load, reader, called), called=photo, subset=subset
    )


def _load(reader: Reader, called: Called, height: int, width: int) -> Loaded:
    label_map = np.full((height, width), ground_of(reader.label_set), np.uint8)
    found = []
    for mask, name in called.items():
        try:
            value = reader.class_value(name)
            white = pictures.read_white(reader, mask, (height, width))
        except ExchangeError as error:
            reader.account.leave_out(mask, "mask", str(error))
            continue
        found.append((int(white.sum()), mask, value, white))
    for _, _, value, white in sorted(found, key=lambda entry: -entry[0]):
        label_map[white] = value
    parts = [(mask, "mask") for _, mask, _, _ in found]
    return (label_map, parts) if parts else (None, [])
