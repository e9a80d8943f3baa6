"""Outlines as other tools write them: JSON with the corners of each object, for one photo or for several.

    Darwin (V7), 1.0 and 2.0    polygons with holes, masks in raster layers; one document a photo
    SuperAnnotate               polygons with holes; one document a photo
    Dataloop                    segments with holes, masks as PNGs; one document a photo
    ISAT                        polygons by their layer; one document a photo
    Hasty                       polygons; one document
    Labelbox                    polygons; a line a photo (NDJSON)

Boxes, points, lines, tags, and masks that lie on a tool's own server, are named and left out. Objects lie as they are
listed, later ones on top.

Formats: https://docs.v7labs.com/reference/darwin-json, https://doc.superannotate.com/docs/annotation-format-json,
https://developers.dataloop.ai, https://github.com/yatengLG/ISAT_with_segment_anything,
https://docs.hasty.ai, https://docs.labelbox.com/reference/label-export
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from segdemo.core import names
from segdemo.core.label_maps import MaskError
from segdemo.core.shapes import fill
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import Form, Patch, ring
from segdemo.data.formats.values import as_number, check_size, data_url_mask

NO_OUTLINE = "is {}, which is no outline"


@dataclass(frozen=True)
class _Object:
    """An object: what it is there, its class, what it covers in a photo of (height, width), its layer, and whether it
    covers anything at all."""

    kind: str
    label: Any
    form: Callable[[int, int, int], Form]
    layer: float = 0
    covers: bool = True


@dataclass(frozen=True)
class _Photo:
    """What a document says of a photo: its name there, its stated (width, height), and its objects."""

    name: str
    size: tuple[Any, Any]
    objects: list[_Object]


def find(reader: Reader) -> Found | None:
    """The outlines of an archive, or None."""
    told: dict[str, list[_Photo]] = {}
    for name, data in reader.documents.items():
        if not reader.is_used(name) and (photos := _photos(data)):
            told[name] = photos
    for name in reader.names:
        if name.lower().endswith(".ndjson") and (photos := _labelbox_lines(reader, name)):
            told[name] = photos
    reader.use(*told)
    for name, photos in told.items():
        labels = {_label(thing): None for photo in photos for thing in photo.objects if thing.covers}
        found = [label for label in labels if label and not names.is_background(label)]
        reader.add_classes(name, sorted(found, key=names.key), f"the labels of {name}")
    items = [_item(reader, name, photo) for name, photos in told.items() for photo in photos]
    return Found(items, "Imported outlines") if items else None


def _item(reader, document, told):
    subset = reader.subset_of(document)
    photo, why = reader.photos.find(told.name, document, subset)

    def entries():
        numbered = enumerate(told.objects, 1)
        return [
            (f"{t.kind} {number}{f' ({label})' if (label := _label(t)) else ''}", t) for number, t in numbered
        ]

    def read(thing, size):
        if not _label(thing):
            raise ExchangeError("has no class")
        with refusing(
            "has an outline that cannot be read", KeyError, TypeError, ValueError, OverflowError, MaskError
        ):
            form = thing.form(*size, reader.limits.max_pixels)
        return reader.class_value(_label(thing)), form, thing.layer

    options = {"check": partial(check_size, *told.size), "title": told.name, "subset": subset}
    return reader.item_of_shapes(document, photo, why, entries, read, **options)


def _label(thing):
    return names.clean_class(thing.label) if isinstance(thing.label, (str, int)) else ""


# --- what objects cover -----------------------------------------------------------------------------------


def _filled(rings: Iterable[Any], height: int, width: int, max_pixels: int) -> Form:
    """What outlines enclose together, by the even-odd rule: those within another are its holes."""
    outlines = [ring(_pairs(points)) for points in rings]
    if not outlines:
        raise ExchangeError("has no outline")
    if len(outlines) == 1:
        return outlines[0]
    rows, columns, inside = fill(outlines, height, width)
    return Patch(columns.start, rows.start, inside)


def _pairs(points):
    """Corners as ``ring`` takes them, also of [{"x", "y"}, ...]."""
    return (
        [[p["x"], p["y"]] if isinstance(p, dict) else p for p in points]
        if isinstance(points, list)
        else points
    )


def _outline(kind: str, label: Any, rings: Any, layer: float = 0) -> _Object:
    return _Object(kind, label, partial(_filled, rings if isinstance(rings, list) else []), layer)


def _refused(kind: str, label: Any, why: str = "") -> _Object:
    """An object that cannot be painted."""

    def refuse(*_):
        raise ExchangeError(why or NO_OUTLINE.format(f"a {kind}"))

    return _Object(kind, label, refuse, covers=False)


# --- the tools --------------------------------------------------------------------------------------------


def _photos(data: Any) -> list[_Photo]:
    """The photos of a document of one of the tools; [] if it is of none."""
    if not isinstance(data, dict):
        return []
    return next((photos for tool in _TOOLS if (photos := tool(data)) is not None), [])


def _darwin(data):
    """A document of Darwin, of either version."""
    item, image = _dict(data.get("item")), _dict(data.get("image"))
    annotations = data.get("annotations")
    if not isinstance(annotations, list) or not (
        item.get("slots") or ("dataset" in data and image.get("filename"))
    ):
        return None
    slots = item.get("slots") if isinstance(item.get("slots"), list) else []
    slot = _dict(slots[0]) if slots else image
    of_slot = slot.get("slot_name")
    layer = next((_dict(a["raster_layer"]) for a in _dicts(annotations) if "raster_layer" in a), {})
    folder = item.get("path") or image.get("path") or ""
    called = item.get("name") or image.get("original_filename") or image.get("filename")
    objects = []
    for entry in _dicts(annotations):
        if "raster_layer" in entry:
            continue
        label, others = entry.get("name"), entry.get("slot_names")
        polygon = _dict(entry.get("polygon") or entry.get("complex_polygon"))
        paths = polygon.get("paths") or polygon.get("path")
        if "frames" in entry:
            objects.append(_refused("annotation", label, "is of a video: export its frames as images"))
        elif isinstance(others, list) and others and of_slot not in (None, *others):
            objects.append(
                _refused("annotation", label, f"is in the slot {others[0]}, and the first one is read")
            )
        elif isinstance(paths, list) and paths:
            objects.append(_outline("polygon", label, paths if isinstance(paths[0], list) else [paths]))
        elif "mask" in entry:
            objects.append(_Object("mask", label, partial(_rastered, layer, entry.get("id"))))
        else:
            kinds = ("bounding_box", "tag", "keypoint", "line", "ellipse", "skeleton", "cuboid")
            kind = next((kind for kind in kinds if kind in entry), "annotation")
            objects.append(_refused(kind.replace("_", " "), label))
    return [_Photo(f"{folder}/{called}", (slot.get("width"), slot.get("height")), objects)]


def _rastered(layer, id_, height, width, max_pixels):
    """A mask of Darwin's: where its raster layer, pairs of a value and a length, row by row, has its number."""
    number = _dict(layer.get("mask_annotation_ids_mapping")).get(id_)
    runs = np.array(layer.get("dense_rle"), np.int64)
    if number is None or runs.ndim != 1 or runs.size % 2:
        raise ExchangeError("has no place in the raster layer of its photo")
    values, lengths = runs.reshape(-1, 2).T
    if (lengths < 0).any() or (lengths > height * width).any() or lengths.sum() != height * width:
        raise ExchangeError("has a raster layer of another size than its photo")
    return Patch(0, 0, np.repeat(values == number, lengths).reshape(height, width))


def _superannotate(data):
    meta = data.get("metadata")
    if not isinstance(data.get("instances"), list) or not isinstance(meta, dict) or "name" not in meta:
        return None
    objects = []
    for entry in _dicts(data["instances"]):
        kind, label = str(entry.get("type") or "pixels"), entry.get("className")
        if kind == "polygon":
            holes = entry.get("exclude")
            objects.append(
                _outline(kind, label, [entry.get("points"), *(holes if isinstance(holes, list) else [])])
            )
        else:
            objects.append(_refused(kind, label, "" if "parts" not in entry else _OF_PIXELS))
    return [_Photo(str(meta["name"]), (meta.get("width"), meta.get("height")), objects)]


_OF_PIXELS = "is of a pixel project: export it from SuperAnnotate as COCO"


def _dataloop(data):
    if not isinstance(data.get("annotations"), list) or not isinstance(data.get("filename"), str):
        return None
    size = _dict(_dict(data.get("metadata")).get("system"))
    objects = []
    for entry in _dicts(data["annotations"]):
        kind, label, told = str(entry.get("type")), entry.get("label"), entry.get("coordinates")
        if kind == "segment" and isinstance(told, list) and told:
            objects.append(_outline(kind, label, told if isinstance(told[0], list) else [told]))
        elif kind == "binary":
            objects.append(_Object("mask", label, partial(_inside, told)))
        else:
            objects.append(_refused(kind, label))
    return [_Photo(data["filename"], (size.get("width"), size.get("height")), objects)]


def _inside(told, height, width, max_pixels):
    """A mask as a PNG of the whole photo, in a data URL."""
    data = told.get("data") if isinstance(told, dict) else told
    inside = data_url_mask(data, max_pixels)
    if inside.shape != (height, width):
        raise ExchangeError("has a mask of another size than its photo")
    return Patch(0, 0, inside)


def _isat(data):
    info, objects = data.get("info"), data.get("objects")
    if not isinstance(objects, list) or not isinstance(info, dict) or "name" not in info:
        return None
    told = []
    for entry in _dicts(objects):
        label, layer = entry.get("category"), as_number(entry.get("layer")) or 0
        label = "background" if label == "__background__" else label
        told.append(_outline("object", label, [entry.get("segmentation")], layer))
    return [_Photo(str(info["name"]), (info.get("width"), info.get("height")), told)]


def _hasty(data):
    if not isinstance(data.get("images"), list) or not isinstance(data.get("label_classes"), list):
        return None
    photos = []
    for image in _dicts(data["images"]):
        objects = []
        for entry in _dicts(image.get("labels")):
            label, polygon = entry.get("class_name"), entry.get("polygon")
            if polygon:
                objects.append(_outline("polygon", label, [polygon]))
            else:
                why = (
                    "is a mask in run lengths of Hasty's own: export it as COCO" if entry.get("mask") else ""
                )
                objects.append(_refused("mask" if why else "box", label, why))
        folder = image.get("dataset_name") or ""
        name, size = f"{folder}/{image.get('image_name')}", (image.get("width"), image.get("height"))
        photos.append(_Photo(name, size, objects))
    return photos


_TOOLS = (_darwin, _superannotate, _isat, _hasty, _dataloop)


def _labelbox_lines(reader, name):
    """The photos of Labelbox's NDJSON; [] if it is none."""
    photos = []
    try:
        lines = names.lines(reader.text(name))
    except ExchangeError as error:
        reader.leave_out_file(name, "document", error)
        return []
    for number, line in enumerate(lines, 1):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            reader.account.leave_out(name, f"line {number}", "is not JSON, or cut short")
            continue
        if isinstance(data, dict) and isinstance(data.get("data_row"), dict):
            row = data["data_row"]
            if called := next(
                (row[k] for k in ("external_id", "global_key", "id") if isinstance(row.get(k), str)), ""
            ):
                photos.append(_labelbox(data, called))
            else:
                reader.account.leave_out(name, f"line {number}", "names no photo")
    return photos


def _labelbox(data, called):
    media = _dict(data.get("media_attributes"))
    objects = []
    for project in _dicts(list(_dict(data.get("projects")).values())):
        for entry, newest in _labelled(project):
            label, polygon = entry.get("name"), entry.get("polygon")
            if not newest:
                why = "is of another label of the same photo: the last one is read"
                objects.append(_refused("object", label, why))
            elif polygon:
                objects.append(_outline("polygon", label, [polygon]))
            elif entry.get("mask"):
                why = "is a mask that lies on Labelbox's server: convert it to COCO with Labelbox's library"
                objects.append(_refused("mask", label, why))
            else:
                kind = str(entry.get("annotation_kind") or "object").removeprefix("Image")
                objects.append(_refused(kind.lower(), label, NO_OUTLINE.format(f"a {kind}")))
    return _Photo(called, (media.get("width"), media.get("height")), objects)


def _labelled(project):
    """(object, whether it is of the label to read) of all labels of one of Labelbox's projects."""
    labels = _dicts(project.get("labels"))
    for label in labels:
        for entry in _dicts(_dict(label.get("annotations")).get("objects")):
            yield entry, label is labels[-1]


def _dict(value):
    return value if isinstance(value, dict) else {}


def _dicts(value):
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
