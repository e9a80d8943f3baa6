"""Supervisely: ``ann/PHOTO.json`` for each ``img/PHOTO``, and ``meta.json`` with the classes, later objects on top.

Polygons (with holes), bitmaps and rectangles cover pixels and are painted; points, lines and others are named and left
out, and so are the tags of a photo.

Format: https://docs.supervisely.com/customization-and-integration/00_ann_format_navi
"""

import base64
import zlib
from functools import partial
from typing import Any

import numpy as np

from segdemo.core import names
from segdemo.core.shapes import fill
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import Patch, box, ring
from segdemo.data.formats.values import as_color, check_size, small_mask


def find(reader: Reader) -> Found | None:
    """The Supervisely documents of an archive, or None."""
    documents = reader.documents_like(is_supervisely)
    if not documents:
        return None
    meta, classes = _meta(reader)
    labels = [_title(entry) for data in documents.values() for entry in data["objects"]]
    source = meta or "the classes of Supervisely's objects"
    named = dict.fromkeys([*classes, *filter(None, labels)])
    reader.add_classes(next(iter(documents)), named, source, classes)
    return Found([_item(reader, name, data) for name, data in documents.items()], "Imported from Supervisely")


def is_supervisely(data: Any) -> bool:
    """Whether plain data is what Supervisely says of one photo."""
    kinds = {"objects": list, "size": dict}
    return isinstance(data, dict) and all(isinstance(data.get(key), kind) for key, kind in kinds.items())


def _meta(reader):
    """(name of the ``meta.json`` or None, class names to their colours or None)."""
    for name in reader.names:
        if names.key(names.base(name)) != "meta.json":
            continue
        try:
            entries = reader.json(name).get("classes")
            classes = {names.clean_class(entry["title"]): as_color(entry.get("color")) for entry in entries}
            reader.use(name)
            return name, classes
        except ExchangeError as error:
            reader.leave_out_file(name, "the list of classes", error)
        except (AttributeError, KeyError, TypeError):
            reader.account.leave_out(name, "the list of classes", "names no classes")
    return None, {}


def _title(entry):
    title = entry.get("classTitle") if isinstance(entry, dict) else None
    return names.clean_class(title) if isinstance(title, (str, int, float)) else ""


def _item(reader, document, data):
    wanted = names.stem(document)  # a.jpg.json
    near = names.above(names.folder(document))
    photo, why = reader.photos.find(f"img/{wanted}", f"{near}x")
    if photo is None and "missing" in why:
        photo, why = reader.photos.find(wanted, document)

    def entries():
        titled = [(number, _title(entry), entry) for number, entry in enumerate(data["objects"], 1)]
        return [(f"object {n} ({title})" if title else f"object {n}", entry) for n, title, entry in titled]

    def read(entry, size):
        label = _title(entry)
        if not label:
            raise ExchangeError("has no class")
        form = _form(entry, *size, reader.limits.max_pixels)
        return reader.class_value(label), form

    check = partial(check_size, data["size"].get("width"), data["size"].get("height"))
    options = {"called": photo or wanted, "subset": reader.subset_of("", document), "by_photo": False}
    return reader.item_of_shapes(document, photo, why, entries, read, check=check, **options)


def _form(entry, height, width, max_pixels):
    kind = entry.get("geometryType")
    if kind == "bitmap":
        return _bitmap(entry.get("bitmap"), max_pixels)
    if kind not in ("polygon", "rectangle"):
        raise ExchangeError(f"is a {kind}, which covers no pixels that can be read")
    points = entry.get("points")
    outline = points.get("exterior") if isinstance(points, dict) else None
    if kind == "rectangle":
        with refusing("has no rectangle that can be read"):
            (x0, y0), (x1, y1) = np.array(outline, np.float64)
        # Both corners are pixels inside.
        return box(min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1)
    holes = points.get("interior") if isinstance(points, dict) else None
    outline = ring(outline)
    if not holes:
        return outline
    holes = [ring(hole) for hole in holes] if isinstance(holes, list) else []

    def filled(rings):
        rows, columns, inside = fill(rings, height, width)
        full = np.zeros((height, width), bool)
        full[rows, columns] = inside
        return full

    inside = filled([outline])
    for hole in holes:
        inside &= ~filled([hole])
    return Patch(0, 0, inside)


def _bitmap(bitmap, max_pixels):
    """Text of a PNG, packed with zlib, and where its first pixel is."""

    def data():
        packed = zlib.decompressobj()
        unpacked = packed.decompress(base64.b64decode(bitmap["data"]), 4 * max_pixels)
        if packed.unconsumed_tail:
            raise ExchangeError("has a mask that is too large")
        return unpacked

    with refusing("has a mask that cannot be read"):
        left, top = (int(value) for value in bitmap["origin"])
    return Patch(left, top, small_mask(data, max_pixels, alpha=True))
