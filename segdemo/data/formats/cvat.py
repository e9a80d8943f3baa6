"""CVAT for images 1.1: one XML with the shapes of all photos, in pixels, by their ``z_order``.

Polygons, boxes, ellipses and masks cover pixels and are painted; points, lines, cuboids, skeletons, tags and tracks
are named and left out.

Format: https://docs.cvat.ai/docs/dataset_management/formats/xml_format/
"""

from dataclasses import dataclass, field
from functools import partial
from xml.parsers import expat

import numpy as np

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import Patch, box, ellipse, ring
from segdemo.data.formats.values import as_color, check_size

_PAINTED = ("polygon", "box", "ellipse", "mask")
_SHAPES = (*_PAINTED, "polyline", "points", "cuboid", "skeleton", "tag")


@dataclass
class _Image:
    """An ``image`` element: its attributes, and (kind, attributes) of what is in it."""

    attributes: dict
    shapes: list = field(default_factory=list)


class _Document:
    """A CVAT document: labels with their colours, images, and how many tracks it has, which are of videos."""

    def __init__(self, data):
        self.labels, self.images, self.tracks = {}, [], []
        self._path, self._text, self._name = [], "", ""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse  # and with it all entities
        parser.Parse(data, True)

    def _refuse(self, *_):
        raise ExchangeError("has a document type declaration, which is not read")

    def _start(self, tag, attributes):
        self._path.append(tag)
        self._text = ""
        if len(self._path) == 1 and tag != "annotations":
            raise ExchangeError("is no CVAT document")
        if self._path == ["annotations", "image"]:
            self.images.append(_Image(attributes))
        elif self._path[:-1] == ["annotations", "image"] and tag in _SHAPES:
            self.images[-1].shapes.append((tag, attributes))
        elif self._path == ["annotations", "track"]:
            self.tracks.append(attributes)

    def _characters(self, text):
        if len(self._text) < 10_000:
            self._text += text

    def _end(self, tag):
        if self._path[-3:] == ["labels", "label", "name"]:
            self._name = names.clean_class(self._text)
            self.labels.setdefault(self._name, None)
        elif self._path[-3:] == ["labels", "label", "color"] and self._name:
            self.labels[self._name] = as_color(self._text)
        elif self._path[-3:] == ["labels", "label", "parent"] and self._text.strip():
            self.labels.pop(self._name, None)  # a point of a skeleton
        self._path.pop()


def find(reader: Reader) -> Found | None:
    """The CVAT documents of an archive, or None."""
    documents = {}
    for name in reader.names:
        if not name.lower().endswith(".xml"):
            continue
        try:
            data = reader.source.read(name, reader.source.limits.max_json_bytes)
            if b"<annotations" not in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
                continue
            documents[name] = _Document(data)
        except ExchangeError as error:
            if "no CVAT" not in str(error):
                reader.leave_out_file(name, "document", error)
        except (expat.ExpatError, ValueError, LookupError) as error:  # an encoding may be unknown
            reader.account.leave_out(name, "document", f"is not XML, or cut short: {error}")
    documents = {name: document for name, document in documents.items() if document.images or document.tracks}
    if not documents:
        return None
    items = []
    for name, document in documents.items():
        reader.use(name)
        labels = dict(document.labels)
        for image in document.images:
            for kind, attributes in image.shapes:
                if kind in _PAINTED:
                    labels.setdefault(_label(attributes), None)
        labels.pop("", None)
        reader.add_classes(name, labels, f"the labels of {name}", {k: v for k, v in labels.items() if v})
        for track in document.tracks:
            what = f"track {track.get('id', '')} ({track.get('label', '')})"
            reader.account.leave_out(name, what, "is of a video: export it as CVAT for images")
        items += [_item(reader, name, image) for image in document.images]
    return Found(items, "Imported from CVAT")


def _label(attributes):
    return names.clean_class(attributes.get("label", ""))


def _item(reader, document, image):
    file_name = image.attributes.get("name", "")
    subset = names.subset(image.attributes.get("subset", ""))
    if subset:
        reader.say_split(f"the subsets in {document}")
    else:
        subset = reader.subset_of(document)
    photo, why = reader.photos.find(file_name, document, subset)

    def entries():
        shapes = enumerate(image.shapes, 1)
        return [(f"{shape[0]} {number} ({_label(shape[1])})", shape) for number, shape in shapes]

    def read(shape, size):
        kind, attributes = shape
        with refusing("holds something that is no number"):
            form = _form(kind, attributes, reader.limits.max_pixels)
            return reader.class_value(_label(attributes)), form, float(attributes.get("z_order") or 0)

    check = partial(check_size, image.attributes.get("width"), image.attributes.get("height"))
    options = {"check": check, "title": file_name, "subset": subset}
    return reader.item_of_shapes(document, photo, why, entries, read, **options)


def _form(kind, attributes, max_pixels):
    def number(name):
        if name not in attributes:
            raise ExchangeError(f"has no {name}")
        return float(attributes[name])

    degrees = float(attributes.get("rotation") or 0)
    if kind == "polygon":
        pairs = [pair.split(",") for pair in attributes.get("points", "").split(";") if pair.strip()]
        return ring([value for pair in pairs for value in pair])
    if kind == "box":
        return box(number("xtl"), number("ytl"), number("xbr"), number("ybr"), degrees)
    if kind == "ellipse":
        return ellipse(number("cx"), number("cy"), number("rx"), number("ry"), degrees)
    if kind == "mask":
        shape = int(number("height")), int(number("width"))
        if min(shape) < 1 or shape[0] * shape[1] > max_pixels:
            raise ExchangeError("has a mask of an impossible size")
        counts = np.array([int(text) for text in attributes.get("rle", "").split(",")], np.int64)
        if (counts < 0).any() or (counts > shape[0] * shape[1]).any() or counts.sum() != shape[0] * shape[1]:
            raise ExchangeError("has run lengths that do not fill its mask")
        inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(shape)  # row by row
        return Patch(int(number("left")), int(number("top")), inside)
    why = "marks the photo as a whole" if kind == "tag" else f"is a {kind}, which covers no pixels"
    raise ExchangeError(why)
