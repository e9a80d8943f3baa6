"""labelme: a JSON for each photo, its regions as polygons or small masks in pixels, later ones on top.

    labelme/SUBSET/STEM.json    regions of every class but the background; ``imagePath`` leads to JPEGImages
    labelme/labels.txt          the names, for ``labelme --labels`` and ``labelme2voc.py``

``labelme JPEGImages --output labelme/train --labels labelme/labels.txt --nodata`` opens one subset of an export.

Nothing is lost: a region without holes is a polygon, one with holes a shape of type ``mask`` (a PNG of its bounding
box; labelme 5.2 and later). Void is called ``__ignore__`` and the background ``_background_``, as in labelme's own
examples, where ``labelme2voc.py`` turns them into 255 and 0.

Corners of polygons lie a quarter of a pixel inside the outline. So two rules give the same pixels: labelme's own,
which rounds corners down and paints the outline along with what is inside, and that of pixel centres, which most
other tools keep to. Where labelme's would not, the region is a mask.

Of others' documents polygons, rectangles, circles and masks cover pixels and are painted; lines and points are named
and left out. The photo is the file ``imagePath`` names, else the one called like the JSON, else the one inside it,
``imageData``.

Format: https://github.com/wkentaro/labelme, ``labelme/label_file.py``, ``labelme/utils/shape.py`` and
``examples/semantic_segmentation``
"""

import base64
import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from segdemo.core import names
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.shapes import fill
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.archives import to_json
from segdemo.data.formats.format import File, Writer
from segdemo.data.formats.outgoing import Outgoing, png
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import Patch, box, ellipse, outlined_classes, ring
from segdemo.data.formats.values import check_size, small_mask

VERSION = "5.5.0"  # of labelme, which the files are made for
BACKGROUND_LABEL, VOID_LABEL = "_background_", "__ignore__"
INSET = 0.25  # pixels


class LabelmeWriter(Writer):
    """Writes a JSON for each photo, and the list of names: void, background, and the others, one a line.

    Raises:
        ExchangeError: a class is called like void or background.
    """

    folders = ("labelme",)

    def __init__(self, label_set: LabelSet):
        super().__init__(label_set)
        self._names = {i: label_set.classes[i] for i in outlined_classes(label_set)}
        for name in self._names.values():
            if name.strip().casefold() in (VOID_LABEL, BACKGROUND_LABEL):
                why = "cannot be exported for labelme, where that means void or background: rename it"
                raise ExchangeError(f"The class {name!r} {why}.")

    def add(self, item: Outgoing) -> Iterable[File]:
        height, width = item.label_map.shape
        labels = {**self._names, VOID: VOID_LABEL}
        document = {
            "version": VERSION,
            "flags": {},
            "shapes": [_shape(label, region) for i, label in labels.items() for region in item.regions(i)],
            "imagePath": f"../../{item.FOLDER}/{item.file_name}",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        yield f"labelme/{item.subset}/{item.stem}.json", to_json(document, indent=None)

    def finish(self) -> Iterable[File]:
        listed = [VOID_LABEL, BACKGROUND_LABEL, *self._names.values()]
        text = "".join(f"{' '.join(name.splitlines()).strip()}\n" for name in listed)
        yield "labelme/labels.txt", text.encode("utf-8", "replace")


def _shape(label, region):
    """One region, as ``shapes.polygons`` gives it, as a shape."""
    ring = inset(region[0])
    left, top = region[0].min(0)
    right, bottom = region[0].max(0)  # the corner after the last pixel
    mask = None
    if len(region) > 1 or len(ring) > 4:  # a rectangle is always painted right
        inside = fill(region, bottom, right)[2]
        exact = len(region) == 1 and np.array_equal(_painted(ring - (left, top), inside.shape), inside)
        mask = None if exact else inside
    points = ring if mask is None else np.array([[left, top], [right - 1, bottom - 1]])
    return {
        "label": label,
        "points": points.tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon" if mask is None else "mask",
        "flags": {},
        "mask": None if mask is None else base64.b64encode(png(mask)).decode("ascii"),
    }


def inset(ring: np.ndarray) -> np.ndarray:
    """An outline along pixel edges, moved ``INSET`` inwards.

    Args:
        ring: int64 (N, 2) of (x, y), clockwise on screen, as the outside that ``shapes.polygons`` gives.

    Returns:
        float64 (N, 2).
    """
    along = np.sign(np.roll(ring, -1, axis=0) - ring)  # from each corner to the next
    inwards = np.stack([-along[:, 1], along[:, 0]], axis=1)  # to the right of that
    return ring + INSET * (inwards + np.roll(inwards, 1, axis=0))


def _painted(ring, shape):
    """The pixels labelme paints for a polygon: bool of ``shape`` (height, width)."""
    image = Image.new("1", shape[::-1])
    ImageDraw.Draw(image).polygon([tuple(point) for point in ring.tolist()], fill=1, outline=1)
    return np.array(image)


def find(reader: Reader) -> Found | None:
    """The labelme documents of an archive, or None."""
    documents = reader.documents_like(is_labelme)
    if not documents:
        return None
    labels = [_label(entry) for data in documents.values() for entry in data["shapes"]]
    labels = [label for label in labels if label not in ("", VOID_LABEL) and not names.is_background(label)]
    source = "the labels of labelme's shapes"
    reader.add_classes(next(iter(documents)), sorted(dict.fromkeys(labels), key=names.key), source)
    return Found([_item(reader, name, data) for name, data in documents.items()], "Imported from labelme")


def is_labelme(data: Any) -> bool:
    """Whether plain data is a labelme document."""
    return isinstance(data, dict) and isinstance(data.get("shapes"), list) and "imagePath" in data


def _label(entry):
    return names.clean_class(entry.get("label") or "") if isinstance(entry, dict) else ""


def _entries(data):
    """(what, entry) of each shape of a document."""
    for number, entry in enumerate(data["shapes"], 1):
        label = entry.get("label") if isinstance(entry, dict) else None
        yield f"shape {number} ({names.clean_class(label)})" if label else f"shape {number}", entry


def _item(reader, name, data):
    path = data.get("imagePath")
    photo, why = None, "the photo is missing, add it"
    if isinstance(path, str) and path.strip():
        photo, why = reader.photos.find(path, name, reader.subset_of(name))
    if photo is None and "missing" in why:
        photo, _ = reader.photos.find_stem(names.stem(name), names.folder(name))
    inside = photo is None and bool(data.get("imageData"))

    def read(entry, size):
        label = _label(entry)
        if not label:
            raise ExchangeError("has no label")
        form = _form(entry, reader.limits.max_pixels)
        return VOID if label == VOID_LABEL else reader.class_value(label), form

    check = partial(check_size, data.get("imageWidth"), data.get("imageHeight"))
    options = {"check": check, "called": photo or name, "subset": reader.subset_of(name)}
    if inside:
        why, options["data"] = "", partial(_image_data, reader, name)
    return reader.item_of_shapes(name, photo, why, lambda: list(_entries(data)), read, **options)


def _image_data(reader, name):
    data = reader.json(name).get("imageData")
    with refusing("the photo inside it, imageData, cannot be read"):
        if not isinstance(data, str) or len(data) > 2 * reader.limits.max_bytes:
            raise ValueError
        return base64.b64decode(data, validate=False)


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
    if kind in ("rectangle", "oriented_rectangle", "rotation") and len(points) == 4:
        return ring(points)
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return ellipse(x, y, radius, radius)
    if kind == "mask" and points:
        inside = small_mask(lambda: base64.b64decode(entry.get("mask")), max_pixels)
        return Patch(round(points[0][0]), round(points[0][1]), inside)
    raise ExchangeError(f"is a {kind} of {len(points)} points, which cannot be read")


def _points(points):
    with refusing("has points that are not pairs x, y"):
        pairs = np.array(points, np.float64).reshape(-1, 2)
        if not np.isfinite(pairs).all() or (abs(pairs) > 1e7).any():
            raise ValueError
        return pairs.tolist()
