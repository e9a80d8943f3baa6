"""COCO panoptic: JSON with the segments of each photo, and a coloured PNG for each that says where they are.

    panoptic/panoptic_SUBSET.json           photos, categories, and the segments of each photo
    panoptic/panoptic_SUBSET/STEM.png       RGB; R + 256 G + 65536 B is a segment's id, 0 is void

A label map does not tell objects of one class apart, so each class in a photo is one segment and every category
is "stuff" (``isthing`` 0). The background is a category too, since what belongs to no segment is void. A segment's
id is its class's colour, as panopticapi gives ids to stuff: the PNGs look like coloured masks. A black class,
whose id would be void's, gets the darkest red that is free. Category ids are those of the COCO documents (``coco``),
which have no background; where that would be 0 it gets the first id after the others.

Of others' documents segments of one class become one region. A PNG lies in the folder called like its document, or
beside it, or is the only one of its name.

Format: https://cocodataset.org/#format-data and https://github.com/cocodataset/panopticapi
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from segdemo.core import names
from segdemo.core.labels import VOID, LabelSet
from segdemo.data.formats import coco, pictures
from segdemo.data.formats.annotation import SUBSETS, ExchangeError
from segdemo.data.formats.archives import to_json
from segdemo.data.formats.format import File, Writer
from segdemo.data.formats.outgoing import Outgoing, png
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.values import as_id


class PanopticWriter(Writer):
    """Writes PNGs of segments, and a document for each subset that has photos."""

    folders = ("panoptic",)
    late = True

    def __init__(self, label_set: LabelSet):
        super().__init__(label_set)
        offset, self._colors = coco.category_offset(label_set), segment_colors(label_set)
        self._categories: list[dict[str, Any]] = [
            {
                "id": i + offset or len(label_set),
                "name": name,
                "supercategory": "background" if i == label_set.background else "class",
                "isthing": 0,
                "color": list(color),
            }
            for i, (name, color) in enumerate(zip(label_set.classes, self._colors, strict=True))
        ]
        self._documents = {subset: coco.frame(label_set, self._categories) for subset in SUBSETS}

    def add(self, item: Outgoing) -> Iterable[File]:
        document, segments = self._documents[item.subset], []
        document["images"].append(coco.image_entry(item))
        for i, category in enumerate(self._categories):
            mask = item.label_map == i
            if mask.any():
                red, green, blue = category["color"]
                segment = {"id": red + 256 * green + 65536 * blue, "category_id": category["id"]}
                segments.append({**segment, **coco.extent(mask), "iscrowd": 0})
        entry = {"image_id": item.number, "file_name": f"{item.stem}.png", "segments_info": segments}
        document["annotations"].append(entry)
        table = np.zeros((256, 3), np.uint8)
        table[: len(self._colors)] = self._colors
        pixels = np.take(table, item.label_map, axis=0)
        yield f"panoptic/panoptic_{item.subset}/{item.stem}.png", png(pixels, compress_level=1)

    def finish(self) -> Iterable[File]:
        for subset, document in self._documents.items():
            if document["images"]:
                yield f"panoptic/panoptic_{subset}.json", to_json(document, indent=None)


def segment_colors(label_set: LabelSet) -> list[tuple[int, int, int]]:
    """The colour of each class in the PNGs: its own, and never black, which is void."""
    taken = {*map(tuple, label_set.colors), (0, 0, 0)}
    # Where a class is black, fewer than 255 others can have one of these.
    spare = next(((red, 0, 0) for red in range(1, 256) if (red, 0, 0) not in taken), (0, 0, 0))
    return [color if any(color) else spare for color in label_set.colors]


def find(reader: Reader) -> Found | None:
    """The panoptic documents of an archive, or None."""
    documents = reader.documents_like(is_panoptic)
    if not documents:
        return None
    pngs = names.Index((names.base(name), name) for name in reader.names if name.lower().endswith(".png"))
    items = []
    for name, data in documents.items():
        categories = _categories(data)
        reader.add_classes(name, filter(None, categories.values()), f"the categories of {name}")
        items += _items(reader, name, data, categories, pngs)
    return Found(items, "Imported from COCO panoptic")


def is_panoptic(data: Any) -> bool:
    """Whether plain data is a COCO panoptic document."""
    keys = ("images", "annotations", "categories")
    lists = isinstance(data, dict) and all(isinstance(data.get(key), list) for key in keys)
    return lists and any(_segments(entry) for entry in data["annotations"])


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
    reader.use(*(file for file in (photo, png) if file))
    if photo and not png:
        photo, why = None, f"its PNG {entry.get('file_name')} is missing, add it"
    segments = entry["segments_info"]

    def parts():
        return [(document, _what(segment, number)) for number, segment in enumerate(segments, 1)]

    load = partial(_load, reader, document, file_name, png, segments, categories)
    return reader.item(document, photo, why, parts, load, title=file_name, subset=subset)


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
            again = "has an id that another has, or that is void's"
            wrong.append((what, again if id_ in told else "covers no pixel of its PNG"))
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
