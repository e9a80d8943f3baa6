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
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.shapes import Patch, Shape, box, ellipse, ring

_SHAPES = ("polygon", "box", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton", "tag")


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
            self.labels[self._name] = _color(self._text)
        self._path.pop()


def find(reader):
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
                reader.account.leave_out(name, "document", str(error).removeprefix(f"{name} "))
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
            for _, attributes in image.shapes:
                labels.setdefault(names.clean_class(attributes.get("label", "")), None)
        labels.pop("", None)
        reader.add_classes(name, labels, f"the labels of {name}", {k: v for k, v in labels.items() if v})
        for track in document.tracks:
            what = f"track {track.get('id', '')} ({track.get('label', '')})"
            reader.account.leave_out(name, what, "is of a video: export it as CVAT for images")
        items += [_item(reader, name, image) for image in document.images]
    return Found(items, "Imported from CVAT")


def _color(text):
    try:
        red, green, blue = bytes.fromhex(text.strip().removeprefix("#"))
        return red, green, blue
    except ValueError:
        return None


def _item(reader, document, image):
    file_name = image.attributes.get("name", "")
    subset = names.subset(image.attributes.get("subset", ""))
    if subset:
        reader.say_split(f"the subsets in {document}")
    else:
        subset = reader.subset_of(document)
    photo, why = reader.photos.find(file_name, document, subset)
    if photo:
        reader.use(photo)
    return Item(
        stem=names.base(names.without_ending(photo or names.tidy(file_name))),
        where=document,
        photo=photo,
        parts=lambda: [(document, what) for what, _, _ in _numbered(image)],
        load=partial(_load, reader, document, image),
        subset=subset or (reader.subset_of("", photo) if photo else None),
        title=file_name,
        why_not="" if photo else why,
    )


def _numbered(image):
    """(what to call it, kind, attributes) of each shape of an image."""
    return [
        (f"{kind} {number} ({names.clean_class(attributes.get('label', ''))})", kind, attributes)
        for number, (kind, attributes) in enumerate(image.shapes, 1)
    ]


def _load(reader, document, image, height, width):
    title = image.attributes.get("name", "")
    stated = [image.attributes.get(side) for side in ("width", "height")]
    if None not in stated and [text.strip() for text in stated] != [str(width), str(height)]:
        raise ExchangeError(
            f"the file says {stated[0]}x{stated[1]} pixels, but the photo measures {width}x{height}"
        )
    layered = []
    for what, kind, attributes in _numbered(image):
        try:
            form = _form(kind, attributes, reader.limits.max_pixels)
            value = reader.class_value(names.clean_class(attributes.get("label", "")))
            layer = float(attributes.get("z_order") or 0)
        except ExchangeError as error:
            reader.account.leave_out(document, what, str(error), title)
        except (ValueError, OverflowError):
            reader.account.leave_out(document, what, "holds something that is no number", title)
        else:
            layered.append((layer, Shape(what, document, value, (form,))))
    shapes = [shape for _, shape in sorted(layered, key=lambda entry: entry[0])]
    label_map, parts = reader.painted(shapes, title, height, width, smallest_on_top=False)
    if image.shapes and not parts:
        return None, []  # all background would be a label that nobody gave
    return label_map, parts


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
    raise ExchangeError(
        f"is a {kind}, which covers no pixels" if kind != "tag" else "marks the photo as a whole"
    )
