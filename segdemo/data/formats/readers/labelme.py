"""labelme: a JSON for each photo, with shapes in pixels, later ones on top.

Polygons, rectangles, circles and masks cover pixels and are painted; lines and points are named and left out. The
photo is the file ``imagePath`` names, else the one called like the JSON, else the one inside it, ``imageData``.
``__ignore__`` is void, as in labelme's own converters.

Format: https://github.com/wkentaro/labelme, ``labelme/label_file.py`` and ``labelme/utils/shape.py``
"""

import base64
import binascii
import io
import math
from functools import partial

import numpy as np
from PIL import Image

from segdemo.core import names
from segdemo.core.labels import VOID
from segdemo.core.photos import quiet_pillow
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.shapes import Patch, Shape, box, ellipse, ring

_IGNORED = "__ignore__"


def find(reader):
    """The labelme documents of an archive, or None."""
    documents = {name: data for name, data in reader.documents.items() if is_labelme(data)}
    if not documents:
        return None
    classes = {}
    for data in documents.values():
        for entry in data["shapes"]:
            label = names.clean_class(entry.get("label") or "") if isinstance(entry, dict) else ""
            if label and label != _IGNORED and not (names.is_background(label)):
                classes.setdefault(names.key(label), label)
    reader.use(*documents)
    source = "the labels of labelme's shapes"
    reader.add_classes(next(iter(documents)), sorted(classes.values(), key=names.key), source)
    return Found([_item(reader, name, data) for name, data in documents.items()], "Imported from labelme")


def is_labelme(data):
    """Whether plain data is a labelme document."""
    return isinstance(data, dict) and isinstance(data.get("shapes"), list) and "imagePath" in data


def _item(reader, name, data):
    path = data.get("imagePath")
    photo, why = None, "the photo is missing, add it"
    if isinstance(path, str) and path.strip():
        photo, why = reader.photos.find(path, name, reader.subset_of(name))
    if photo is None and "missing" in why:
        photo, _ = reader.photos.find_stem(names.base(names.without_ending(name)), names.folder(name))
    inside = photo is None and bool(data.get("imageData"))
    if photo:
        reader.use(photo)
    return Item(
        stem=names.base(names.without_ending(photo or name)),
        where=name,
        photo=photo,
        parts=lambda: [(name, _what(entry, number)) for number, entry in enumerate(data["shapes"], 1)],
        load=partial(_load, reader, name, data),
        subset=reader.subset_of(name) or (reader.subset_of("", photo) if photo else None),
        why_not="" if photo or inside else why,
        data=partial(_image_data, reader, name) if inside else None,
    )


def _image_data(reader, name):
    data = reader.json(name).get("imageData")
    try:
        if not isinstance(data, str) or len(data) > 2 * reader.limits.max_bytes:
            raise ValueError
        return base64.b64decode(data, validate=False)
    except (ValueError, binascii.Error) as error:
        raise ExchangeError("the photo inside it, imageData, cannot be read") from error


def _what(entry, number):
    label = entry.get("label") if isinstance(entry, dict) else None
    return f"shape {number} ({names.clean_class(label)})" if label else f"shape {number}"


def _load(reader, name, data, height, width):
    for key, real in (("imageHeight", height), ("imageWidth", width)):
        stated = data.get(key)
        if stated not in (None, "") and str(stated).strip() not in (str(real), f"{real}.0"):
            stated = f"{data.get('imageWidth')}x{data.get('imageHeight')}"
            raise ExchangeError(f"the file says {stated} pixels, but the photo measures {width}x{height}")
    shapes = []
    for number, entry in enumerate(data["shapes"], 1):
        what = _what(entry, number)
        try:
            if not isinstance(entry, dict) or not names.clean_class(entry.get("label") or ""):
                raise ExchangeError("has no label")
            label = names.clean_class(entry["label"])
            form = _form(entry, reader.limits.max_pixels)
            value = VOID if label == _IGNORED else reader.class_value(label)
        except ExchangeError as error:
            reader.account.leave_out(name, what, str(error))
            continue
        shapes.append(Shape(what, name, value, (form,)))
    label_map, parts = reader.painted(shapes, "", height, width, smallest_on_top=False)
    if data["shapes"] and not parts:
        return None, []  # all background would be a label that nobody gave
    return label_map, parts


def _form(entry, max_pixels):
    kind = entry.get("shape_type") or "polygon"
    if kind in ("point", "points", "line", "linestrip"):
        raise ExchangeError(f"is a {kind}, which covers no pixels")
    points = _points(entry.get("points"))
    if kind == "polygon":
        return ring(points)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    if kind in ("rectangle", "oriented_rectangle") and len(points) == 4:
        return ring(points)
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return ellipse(x, y, radius, radius)
    if kind == "mask" and points:
        return Patch(round(points[0][0]), round(points[0][1]), _mask(entry.get("mask"), max_pixels))
    raise ExchangeError(f"is a {kind} of {len(points)} points, which cannot be read")


def _points(points):
    try:
        pairs = np.array(points, np.float64).reshape(-1, 2)
        if not np.isfinite(pairs).all() or (abs(pairs) > 1e7).any():
            raise ValueError
        return pairs.tolist()
    except (TypeError, ValueError, OverflowError) as error:
        raise ExchangeError("has points that are not pairs x, y") from error


def _mask(text, max_pixels):
    """The PNG inside a shape: bool (h, w)."""
    with quiet_pillow:
        try:
            image = Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG",))
            if image.width * image.height > max_pixels:
                raise ExchangeError("has a mask that is too large")
            return np.asarray(image.convert("L")) > 0
        except ExchangeError:
            raise
        except Exception as error:  # hostile bytes make the parser raise anything
            raise ExchangeError("has a mask that cannot be read") from error
