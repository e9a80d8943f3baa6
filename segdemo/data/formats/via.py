"""VIA, the VGG Image Annotator: regions by photo, exported as JSON or CSV, or a saved project, later ones on top.

Polygons, rectangles, circles and ellipses cover pixels and are painted; points and lines are named and left out. The
class of a region is the value of its attribute: the one that most regions of the document have, if there are several.
makesense.ai writes the same JSON. The CSV has a line for each region, with the same values as JSON in its cells.
Version 3 has its own form of projects, which is read as if it were one of version 2.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/docs/face_track_annotation.html and ``via.js``, versions 1 to 3
"""

import contextlib
import csv
import io
import json
import math
from collections import Counter
from typing import Any

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import box, ellipse, ring

UNNAMED = "object"  # the class of regions in a document that has no attributes at all


def find(reader: Reader) -> Found | None:
    """The VIA documents of an archive, or None."""
    items: list[Any] = []
    documents = {name: _entries(data) for name, data in reader.documents_like(_entries).items()}
    documents |= _tables(reader)
    for name, entries in documents.items():
        attribute, others = _attribute(entries)
        regions = [region for entry in entries for _, region in _regions(entry)]
        labels = dict.fromkeys(_label(region, attribute) for region in regions)
        told = f"the attribute {attribute!r} of" if attribute else "none in"
        told += f" {name}" if attribute else f" {name}: all are {UNNAMED!r}"
        if others:
            told += f", not {' or '.join(map(repr, others))}"
        reader.add_classes(name, sorted(filter(None, labels), key=names.key), told)
        items += [_item(reader, name, entry, attribute) for entry in entries]
    return Found(items, "Imported from VIA") if documents else None


def _entries(data):
    """The photos of a document; [] if it is none of VIA's."""
    if isinstance(data, dict) and all(
        isinstance(data.get(key), dict) for key in ("metadata", "view", "file")
    ):
        return _of_version_3(data)
    if isinstance(data, dict) and isinstance(data.get("_via_img_metadata"), dict):
        data = data["_via_img_metadata"]
    if not isinstance(data, dict) or not data:
        return []
    entries = [value for value in data.values() if isinstance(value, dict)]
    fits = all(isinstance(e.get("filename"), str) for e in entries)
    fits = fits and all(isinstance(e.get("regions"), (list, dict)) for e in entries)
    return entries if fits and len(entries) == len(data) else []


# What the first number of "xy" is in version 3, and what those behind it are in the others.
_SHAPES = {
    1: ("point", ("cx", "cy")),
    2: ("rect", ("x", "y", "width", "height")),
    3: ("circle", ("cx", "cy", "r")),
    4: ("ellipse", ("cx", "cy", "rx", "ry")),
    5: ("line", ()),
    6: ("polyline", ()),
    7: ("polygon", ()),
}


def _of_version_3(data):
    """The photos of a project of version 3, as the others have them."""
    by_view = {}
    for view, about in data["view"].items():
        files = about.get("fid_list") if isinstance(about, dict) else None
        file = data["file"].get(str(files[0])) if isinstance(files, list) and files else None
        if isinstance(file, dict) and isinstance(file.get("fname"), str):
            by_view[view] = {"filename": file["fname"], "regions": {}}
    attributes = data.get("attribute")
    attributes = attributes if isinstance(attributes, dict) else {}
    for key, about in data["metadata"].items():
        if isinstance(about, dict) and about.get("xy"):  # without, it is of the photo as a whole
            view = str(about.get("vid"))
            entry = by_view.setdefault(view, {"filename": f"view {view}", "regions": {}})
            entry["regions"][key] = _region_of_version_3(about, attributes)
    return list(by_view.values())


def _region_of_version_3(about, attributes):
    found = {}
    for id_, value in about["av"].items() if isinstance(about.get("av"), dict) else ():
        attribute = attributes.get(id_)
        if isinstance(attribute, dict):
            options = attribute.get("options")
            named = isinstance(options, dict) and isinstance(value, str)
            found[str(attribute.get("aname"))] = options.get(value, value) if named else value
    kind, *numbers = about["xy"] if isinstance(about["xy"], list) else [None]
    name, keys = _SHAPES.get(kind if isinstance(kind, int) else 0, ("shape of an unknown kind", ()))
    shape = {"name": name, **dict(zip(keys, numbers, strict=False))}
    if name == "polygon":
        shape |= {"all_points_x": numbers[::2], "all_points_y": numbers[1::2]}
    if about.get("z"):
        shape = {"name": "part of a video"}
    return {"shape_attributes": shape, "region_attributes": found}


def _tables(reader):
    """The photos of VIA's CSVs, as its JSON has them, by the names of these."""
    found = {}
    for name in reader.names:
        if not name.lower().endswith(".csv") or reader.is_used(name):
            continue
        with contextlib.suppress(ExchangeError):
            if (
                b"region_shape_attributes"
                not in reader.source.read(name, reader.source.limits.max_json_bytes)[:4096]
            ):
                continue
            reader.use(name)
            try:
                if entries := _of_table(reader.text(name)):
                    found[name] = entries
            except (ExchangeError, csv.Error) as error:
                why = str(error).removeprefix(f"{name} ")
                reader.account.leave_out(name, "table", f"cannot be read, export it as JSON: {why}")
    return found


def _of_table(text):
    photos = {}
    for row in csv.DictReader(io.StringIO(text.lstrip("#"))):
        entry = photos.setdefault(
            row.get("filename") or "", {"filename": row.get("filename") or "", "regions": []}
        )
        if row.get("region_count") == "0":
            continue
        region = {}
        for column in ("region_shape_attributes", "region_attributes"):
            with contextlib.suppress(ValueError, RecursionError):
                region[column.replace("region_shape", "shape")] = json.loads(row.get(column) or "")
        entry["regions"].append(region)
    return list(photos.values())


def _regions(entry):
    """(what, region) of each region of a photo."""
    regions = entry["regions"]
    listed = regions.items() if isinstance(regions, dict) else enumerate(regions, 1)
    return [(f"region {key}", region) for key, region in listed]


def _attributes(region):
    found = region.get("region_attributes") if isinstance(region, dict) else None
    return found if isinstance(found, dict) else {}


def _attribute(entries):
    """(the attribute that tells the class or None, the others)."""
    counts = Counter()
    for entry in entries:
        for _, region in _regions(entry):
            counts.update(key for key, value in _attributes(region).items() if _text(value))
    ranked = [key for key, _ in sorted(counts.items(), key=lambda pair: -pair[1])]
    usual = ("class", "label", "category", "name", "type", "object")
    best = [key for key in ranked if counts[key] == counts[ranked[0]] and names.key(key) in usual]
    chosen = next(iter(best or ranked), None)
    return chosen, [key for key in ranked if key != chosen]


def _text(value):
    """An attribute's value as the name of a class; checked boxes count if one is."""
    if isinstance(value, dict):
        checked = [key for key, on in value.items() if on is True]
        value = checked[0] if len(checked) == 1 else ""
    named = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return names.clean_class(value) if named else ""


def _label(region, attribute):
    return UNNAMED if attribute is None else _text(_attributes(region).get(attribute))


def _item(reader, document, entry, attribute):
    subset = reader.subset_of(document)
    photo, why = reader.photos.find(entry["filename"], document, subset)

    def full_name(what, region):
        label = _label(region, attribute)
        return f"{what} ({label})" if label else what

    def read(region, size):
        label = _label(region, attribute)
        if not label:
            raise ExchangeError(f"has no {attribute}, which tells the class")
        value = reader.class_value(label)
        return value, _form(region)

    options = {"full_name": full_name, "title": entry["filename"], "subset": subset}
    return reader.item_of_shapes(document, photo, why, lambda: _regions(entry), read, **options)


def _form(region):
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    kind = shape.get("name") if isinstance(shape, dict) else None
    with refusing(f"has no {kind} that can be read"):
        if kind == "polygon":
            return ring(list(zip(shape["all_points_x"], shape["all_points_y"], strict=True)))
        if kind == "rect":
            left, top, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
            return box(left, top, left + width, top + height)
        if kind == "circle":
            x, y, radius = (float(shape[key]) for key in ("cx", "cy", "r"))
            return ellipse(x, y, radius, radius)
        if kind == "ellipse":
            numbers = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
            return ellipse(*numbers, math.degrees(float(shape.get("theta") or 0)))
    raise ExchangeError(f"is a {kind}, which covers no pixels" if kind else "is no region")
