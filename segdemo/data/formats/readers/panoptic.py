"""COCO panoptic: JSON with the segments of each photo, and a coloured PNG for each that says where they are.

A pixel's colour is the id of its segment, R + 256 G + 65536 B; 0 belongs to none, and is void. Segments of one class
become one region. A PNG lies in the folder called like its document, or beside it, or is the only one of its name.

Format: https://cocodataset.org/#format-data
"""

from functools import partial

import numpy as np

from segdemo.core import names
from segdemo.core.labels import VOID
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.readers import pictures
from segdemo.data.formats.readers.coco import as_id


def find(reader):
    """The panoptic documents of an archive, or None."""
    documents = {name: data for name, data in reader.documents.items() if is_panoptic(data)}
    if not documents:
        return None
    pngs = names.Index()
    for name in reader.names:
        if name.lower().endswith(".png"):
            pngs.add(names.base(name), name)
    items = []
    for name, data in documents.items():
        reader.use(name)
        categories = _categories(data)
        reader.add_classes(
            name, [found for found in categories.values() if found], f"the categories of {name}"
        )
        items += _items(reader, name, data, categories, pngs)
    return Found(items, "Imported from COCO panoptic")


def is_panoptic(data) -> bool:
    """Whether plain data is a COCO panoptic document."""
    return (
        isinstance(data, dict)
        and all(isinstance(data.get(key), list) for key in ("images", "annotations", "categories"))
        and any(_segments(entry) for entry in data["annotations"])
    )


def _segments(entry):
    found = entry.get("segments_info") if isinstance(entry, dict) else None
    return found if isinstance(found, list) else []


def _categories(data):
    """Id as text to name, by id; "" for an id that two have."""
    found = {}
    entries = [entry for entry in data["categories"] if isinstance(entry, dict)]
    for entry in sorted(entries, key=lambda entry: entry["id"] if isinstance(entry.get("id"), int) else -1):
        id_, name = as_id(entry.get("id")), names.clean_class(entry.get("name") or "")
        if id_ is not None and name:
            found[id_] = name if found.get(id_, name) == name else ""
    return found


def _items(reader, document, data, categories, pngs):
    images = {}
    for entry in data["images"]:
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
            images.setdefault(as_id(entry.get("id")), []).append(entry["file_name"])
    items, subset = [], reader.subset_of(document)
    for number, entry in enumerate(data["annotations"], 1):
        what = f"annotation number {number}"
        if not _segments(entry):
            reader.account.leave_out(document, what, "has no segments")
            continue
        image_id = as_id(entry.get("image_id"))
        meant = list(dict.fromkeys(images.get(image_id, [])))
        if len(meant) != 1:
            why = f"belongs to the image {image_id}, which the document does not have"
            if meant:
                why = f"belongs to the image id {image_id}, which {' and '.join(meant)} share: give each its own"
            reader.account.leave_out(document, what, why)
            continue
        items.append(_item(reader, document, meant[0], entry, categories, pngs, subset))
    return items


def _item(reader, document, file_name, entry, categories, pngs, subset):
    photo, why = reader.photos.find(file_name, document, subset)
    png = _png(document, entry.get("file_name"), pngs, photo)
    if photo:
        reader.use(photo)
    if png:
        reader.use(png)
    elif photo:
        photo, why = None, f"its PNG {entry.get('file_name')} is missing, add it"
    segments = entry["segments_info"]
    return Item(
        stem=names.base(names.without_ending(photo or names.tidy(file_name))),
        where=document,
        photo=photo,
        parts=lambda: [(document, _what(segment, number)) for number, segment in enumerate(segments, 1)],
        load=partial(_load, reader, document, file_name, png, segments, categories),
        subset=subset or (reader.subset_of("", photo) if photo else None),
        title=file_name,
        why_not="" if photo else why,
    )


def _png(document, called, pngs, photo):
    """Name of the PNG of an annotation, or None: there is none, or it is not clear which."""
    if not isinstance(called, str) or not called.strip():
        return None
    called = names.tidy(called)
    found = [name for name in pngs.all(names.base(called)) if name != photo]
    stem = names.without_ending(document)
    for place in (f"{stem}/{called}", f"{names.folder(document)}{called}"):
        at = [name for name in found if names.key(name) == names.key(place)]
        if len(at) == 1:
            return at[0]
    for word in (names.key(names.base(stem)), "panoptic"):
        inside = [n for n in found if any(names.key(part).startswith(word) for part in n.split("/")[:-1])]
        if len(inside) == 1:
            return inside[0]
    return found[0] if len(found) == 1 else None


def _what(segment, number):
    id_ = as_id(segment.get("id")) if isinstance(segment, dict) else None
    return f"segment {id_}" if id_ is not None else f"segment number {number}"


def _load(reader, document, title, png, segments, categories, height, width):
    ids = _ids(pictures.picture(reader, png, (height, width)))
    present, places = np.unique(ids, return_inverse=True)
    values, told = np.full(len(present), VOID, np.uint8), {0}
    parts, wrong = [], []
    for number, segment in enumerate(segments, 1):
        what = _what(segment, number)
        try:
            id_, value = _segment(reader, segment, categories)
        except ExchangeError as error:
            wrong.append((what, str(error)))
            continue
        at = int(np.searchsorted(present, id_))
        if id_ in told or at == len(present) or present[at] != id_:
            why = (
                "has an id that another has, or that is void's"
                if id_ in told
                else "covers no pixel of its PNG"
            )
            wrong.append((what, why))
            continue
        told.add(id_)
        values[at] = value
        parts.append((document, what))
    named = {as_id(segment.get("id")) for segment in segments if isinstance(segment, dict)}
    strange = [int(id_) for id_ in present if int(id_) not in told and str(id_) not in named]
    for id_ in strange[:1000]:
        wrong.append((f"segment {id_}", f"is in {png}, but the document does not say what it is"))
    for what, why in wrong:
        reader.account.leave_out(document, what, why, title)
    return (values[places.reshape(height, width)], parts) if parts else (None, [])


def _segment(reader, segment, categories):
    """(id, class id). Raises ExchangeError."""
    id_ = as_id(segment.get("id")) if isinstance(segment, dict) else None
    if id_ is None or not id_.isdecimal() or len(id_) > 8:
        raise ExchangeError("has no id that a colour can be")
    category = as_id(segment.get("category_id"))
    if category not in categories:
        raise ExchangeError(f"has the category {category}, which the document does not have")
    if not categories[category]:
        raise ExchangeError(f"has the category {category}, which two categories share")
    return int(id_), reader.class_value(categories[category])


def _ids(picture):
    """Ids of the segments: uint32 (H, W)."""
    rgb = np.asarray(picture.convert("RGB")).astype(np.uint32)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
