"""VIA, the VGG Image Annotator: a JSON of regions by photo, exported or a saved project, later ones on top.

Polygons, rectangles, circles and ellipses cover pixels and are painted; points and lines are named and left out. The
class of a region is the value of its attribute: the one that most regions of the document have, if there are several.
makesense.ai writes the same. VIA's CSV holds the same regions and is not read.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/docs/face_track_annotation.html and ``via.js``, versions 1 to 3
"""

from collections import Counter
from functools import partial

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.shapes import Shape, box, ellipse, ring

UNNAMED = "object"  # the class of regions in a document that has no attributes at all


def find(reader):
    """The VIA documents of an archive, or None."""
    items, used = [], []
    for name, data in reader.documents.items():
        entries = _entries(data)
        if not entries:
            continue
        used.append(name)
        attribute, others = _attribute(entries)
        labels = {}
        for entry in entries:
            for _, region in _regions(entry):
                label = _label(region, attribute)
                if label:
                    labels.setdefault(names.key(label), label)
        told = (
            f"the attribute {attribute!r} of {name}" if attribute else f"none in {name}: all are {UNNAMED!r}"
        )
        if others:
            told += f", not {' or '.join(map(repr, others))}"
        reader.add_classes(name, sorted(labels.values(), key=names.key), told)
        items += [_item(reader, name, entry, attribute) for entry in entries]
    if not used:
        return None
    reader.use(*used)
    return Found(items, "Imported from VIA")


def _entries(data):
    """The photos of a document; [] if it is none of VIA's."""
    if isinstance(data, dict) and isinstance(data.get("_via_img_metadata"), dict):
        data = data["_via_img_metadata"]
    if not isinstance(data, dict) or not data:
        return []
    entries = [value for value in data.values() if isinstance(value, dict)]
    fits = [
        e
        for e in entries
        if isinstance(e.get("filename"), str) and isinstance(e.get("regions"), (list, dict))
    ]
    return fits if len(fits) == len(data) else []


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
    usual = [
        key for key in ranked if names.key(key) in ("class", "label", "category", "name", "type", "object")
    ]
    best = [key for key in ranked if counts[key] == counts[ranked[0]]]
    chosen = next((key for key in usual if key in best), ranked[0] if ranked else None)
    return chosen, [key for key in ranked if key != chosen]


def _text(value):
    """An attribute's value as the name of a class; checked boxes count if one is."""
    if isinstance(value, dict):
        checked = [key for key, on in value.items() if on is True]
        value = checked[0] if len(checked) == 1 else ""
    return (
        names.clean_class(value)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
        else ""
    )


def _label(region, attribute):
    return UNNAMED if attribute is None else _text(_attributes(region).get(attribute))


def _item(reader, document, entry, attribute):
    file_name = entry["filename"]
    subset = reader.subset_of(document)
    photo, why = reader.photos.find(file_name, document, subset)
    if photo:
        reader.use(photo)
    return Item(
        stem=names.base(names.without_ending(photo or names.tidy(file_name))),
        where=document,
        photo=photo,
        parts=lambda: [(document, what) for what, _ in _regions(entry)],
        load=partial(_load, reader, document, entry, attribute),
        subset=subset or (reader.subset_of("", photo) if photo else None),
        title=file_name,
        why_not="" if photo else why,
    )


def _load(reader, document, entry, attribute, height, width):
    shapes, regions = [], _regions(entry)
    for what, region in regions:
        label = _label(region, attribute)
        if label:
            what = f"{what} ({label})"
        try:
            if not label:
                raise ExchangeError(f"has no {attribute}, which tells the class")
            shapes.append(Shape(what, document, reader.class_value(label), (_form(region),)))
        except ExchangeError as error:
            reader.account.leave_out(document, what, str(error), entry["filename"])
    label_map, parts = reader.painted(shapes, entry["filename"], height, width, smallest_on_top=False)
    if regions and not parts:
        return None, []  # all background would be a label that nobody gave
    return label_map, parts


def _form(region):
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    kind = shape.get("name") if isinstance(shape, dict) else None
    try:
        if kind == "polygon":
            return ring(list(zip(shape["all_points_x"], shape["all_points_y"], strict=True)))
        if kind == "rect":
            left, top, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
            return box(left, top, left + width, top + height)
        if kind == "circle":
            x, y, radius = (float(shape[key]) for key in ("cx", "cy", "r"))
            return ellipse(x, y, radius, radius)
        if kind == "ellipse":
            x, y, radius_x, radius_y = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
            turned = float(shape.get("theta") or 0) * 57.29577951308232  # VIA's is in radians
            return ellipse(x, y, radius_x, radius_y, turned)
    except ExchangeError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ExchangeError(f"has no {kind} that can be read") from error
    raise ExchangeError(f"is a {kind}, which covers no pixels" if kind else "is no region")
