"""Supervisely: ``ann/PHOTO.json`` for each ``img/PHOTO``, and ``meta.json`` with the classes, later objects on top.

Polygons (with holes), bitmaps and rectangles cover pixels and are painted; points, lines and others are named and left
out, and so are the tags of a photo.

Format: https://docs.supervisely.com/customization-and-integration/00_ann_format_navi
"""

import base64
import binascii
import io
import zlib
from functools import partial

import numpy as np
from PIL import Image

from segdemo.core import label_maps, names
from segdemo.core.photos import quiet_pillow
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.shapes import Patch, Shape, box, ring


def find(reader):
    """The Supervisely documents of an archive, or None."""
    documents = {name: data for name, data in reader.documents.items() if is_supervisely(data)}
    if not documents:
        return None
    meta, classes = _meta(reader)
    labels = {names.key(name): name for name in classes}
    for data in documents.values():
        for _, entry in _objects(data):
            if label := _title(entry):
                labels.setdefault(names.key(label), label)
    reader.use(*documents, *([meta] if meta else []))
    reader.add_classes(
        next(iter(documents)), labels.values(), meta or "the classes of Supervisely's objects", classes
    )
    return Found([_item(reader, name, data) for name, data in documents.items()], "Imported from Supervisely")


def is_supervisely(data) -> bool:
    """Whether plain data is what Supervisely says of one photo."""
    return (
        isinstance(data, dict)
        and isinstance(data.get("objects"), list)
        and isinstance(data.get("size"), dict)
    )


def _meta(reader):
    """(name of the ``meta.json`` or None, class names to their colours or None)."""
    for name in reader.names:
        if names.key(names.base(name)) != "meta.json":
            continue
        try:
            entries = reader.json(name).get("classes")
            return name, {names.clean_class(entry["title"]): _color(entry.get("color")) for entry in entries}
        except (ExchangeError, AttributeError, KeyError, TypeError) as error:
            why = (
                str(error).removeprefix(f"{name} ")
                if isinstance(error, ExchangeError)
                else "names no classes"
            )
            reader.account.leave_out(name, "the list of classes", why)
    return None, {}


def _color(text):
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))
        return red, green, blue
    except (AttributeError, ValueError):
        return None


def _objects(data):
    """(what, object) of each object of a photo."""
    return [(_what(entry, number), entry) for number, entry in enumerate(data["objects"], 1)]


def _what(entry, number):
    title = _title(entry)
    return f"object {number} ({title})" if title else f"object {number}"


def _title(entry):
    title = entry.get("classTitle") if isinstance(entry, dict) else None
    return names.clean_class(title) if isinstance(title, (str, int, float)) else ""


def _item(reader, document, data):
    wanted = names.base(names.without_ending(document))  # a.jpg.json
    near = names.folder(names.folder(document).rstrip("/"))
    photo, why = reader.photos.find(f"img/{wanted}", f"{near}x")
    if photo is None and "missing" in why:
        photo, why = reader.photos.find(wanted, document)
    if photo:
        reader.use(photo)
    return Item(
        stem=names.base(names.without_ending(photo or wanted)),
        where=document,
        photo=photo,
        parts=lambda: [(document, what) for what, _ in _objects(data)],
        load=partial(_load, reader, document, data),
        subset=reader.subset_of("", document),
        why_not="" if photo else why,
    )


def _load(reader, document, data, height, width):
    stated = [data["size"].get(side) for side in ("height", "width")]
    if None not in stated and stated != [height, width]:
        raise ExchangeError(
            f"the file says {stated[1]}x{stated[0]} pixels, but the photo measures {width}x{height}"
        )
    shapes, objects = [], _objects(data)
    for what, entry in objects:
        try:
            label = _title(entry)
            if not label:
                raise ExchangeError("has no class")
            form = _form(entry, height, width, reader.limits.max_pixels)
            shapes.append(Shape(what, document, reader.class_value(label), (form,)))
        except ExchangeError as error:
            reader.account.leave_out(document, what, str(error))
    label_map, parts = reader.painted(shapes, "", height, width, smallest_on_top=False)
    if objects and not parts:
        return None, []  # all background would be a label that nobody gave
    return label_map, parts


def _form(entry, height, width, max_pixels):
    kind = entry.get("geometryType")
    if kind == "bitmap":
        return _bitmap(entry.get("bitmap"), max_pixels)
    if kind not in ("polygon", "rectangle"):
        raise ExchangeError(f"is a {kind}, which covers no pixels that can be read")
    points = entry.get("points")
    outline = points.get("exterior") if isinstance(points, dict) else None
    if kind == "rectangle":
        try:
            (x0, y0), (x1, y1) = np.array(outline, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ExchangeError("has no rectangle that can be read") from error
        # Both corners are pixels inside.
        return box(min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1)
    holes = points.get("interior") if isinstance(points, dict) else None
    outline = ring(outline)
    if not holes:
        return outline
    holes = [ring(hole) for hole in holes] if isinstance(holes, list) else []

    def filled(rings):
        rows, columns, inside = label_maps.fill(rings, height, width)
        full = np.zeros((height, width), bool)
        full[rows, columns] = inside
        return full

    inside = filled([outline])
    for hole in holes:
        inside &= ~filled([hole])
    return Patch(0, 0, inside)


def _bitmap(bitmap, max_pixels):
    """Text of a PNG, packed with zlib, and where its first pixel is."""
    with quiet_pillow:
        try:
            left, top = (int(value) for value in bitmap["origin"])
            packed = zlib.decompressobj()
            data = packed.decompress(base64.b64decode(bitmap["data"]), 4 * max_pixels)
            if packed.unconsumed_tail:
                raise ExchangeError("has a mask that is too large")
            image = Image.open(io.BytesIO(data), formats=("PNG",))
            if image.width * image.height > max_pixels:
                raise ExchangeError("has a mask that is too large")
            channel = image.getchannel("A") if image.mode in ("RGBA", "LA") else image.convert("L")
            return Patch(left, top, np.asarray(channel) > 0)
        except ExchangeError:
            raise
        except (
            binascii.Error,
            zlib.error,
            Exception,
        ) as error:  # hostile bytes make the parser raise anything
            raise ExchangeError("has a mask that cannot be read") from error
