"""Outlines of other tools: each as the tool writes it, and what of it covers no pixels."""

import base64
import json

import numpy as np
import pytest
from archive_files import HEIGHT, SQUARE, WIDTH, encoded, picture, read, same, square

PAIRS = [SQUARE[i : i + 2] for i in range(0, 8, 2)]
POINTS = [{"x": x, "y": y} for x, y in PAIRS]
HOLE = [[3, 2], [5, 2], [5, 4], [3, 4]]
FLAT_HOLE = [value for pair in HOLE for value in pair]
SIZE = {"width": WIDTH, "height": HEIGHT}


def holed(value=1):
    label_map = square(value)
    label_map[2:4, 3:5] = 0
    return label_map


def corners(pairs):
    return [{"x": x, "y": y} for x, y in pairs]


def darwin(*annotations, path="/"):
    slot = {"slot_name": "0", "type": "image", "source_files": [{"file_name": "a.png"}], **SIZE}
    item = {"name": "a.png", "path": path, "slots": [slot]}
    return {"version": "2.0", "item": item, "annotations": list(annotations)}


def old_darwin(*annotations):
    image = {"filename": "a.png", "original_filename": "a.png", "path": "/", **SIZE}
    return {"dataset": "d", "image": image, "annotations": list(annotations)}


def superannotate(*instances):
    return {"metadata": {"name": "a.png", **SIZE}, "instances": list(instances)}


def dataloop(*annotations):
    return {"filename": "/a.png", "annotations": list(annotations), "metadata": {"system": SIZE}}


def isat(*objects):
    return {"info": {"description": "ISAT", "name": "a.png", **SIZE}, "objects": list(objects)}


def hasty(*labels):
    image = {"image_name": "a.png", "dataset_name": "set", "labels": list(labels), **SIZE}
    return {"label_classes": [{"class_name": "cat"}], "images": [image]}


def labelbox(*objects, more=()):
    labels = [{"annotations": {"objects": list(found)}} for found in (*more, objects)]
    row = {"id": "x", "external_id": "a.png"}
    return {"data_row": row, "media_attributes": SIZE, "projects": {"p": {"labels": labels}}}


DENSE = [0, 10, 1, 4, 0, 4, 1, 4, 0, 4, 1, 4, 0, 4, 1, 4, 0, 10]  # the square, row by row
RASTER = {"dense_rle": DENSE, "mask_annotation_ids_mapping": {"m": 1}, "total_pixels": WIDTH * HEIGHT}


def png_url(inside):
    rgba = np.zeros((*inside.shape, 4), np.uint8)
    rgba[..., 3] = np.where(inside, 255, 0)
    return f"data:image/png;base64,{base64.b64encode(encoded(rgba)).decode()}"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (darwin({"name": "cat", "polygon": {"paths": [POINTS]}, "slot_names": ["0"]}), square()),
        (darwin({"name": "cat", "polygon": {"paths": [POINTS, corners(HOLE)]}}), holed()),
        (old_darwin({"name": "cat", "polygon": {"path": POINTS}}), square()),
        (old_darwin({"name": "cat", "complex_polygon": {"path": [POINTS, corners(HOLE)]}}), holed()),
        (darwin({"id": "m", "name": "cat", "mask": {}}, {"id": "r", "raster_layer": RASTER}), square()),
        (superannotate({"type": "polygon", "className": "cat", "points": SQUARE}), square()),
        (
            superannotate({"type": "polygon", "className": "cat", "points": SQUARE, "exclude": [FLAT_HOLE]}),
            holed(),
        ),
        (dataloop({"type": "segment", "label": "cat", "coordinates": [POINTS]}), square()),
        (dataloop({"type": "segment", "label": "cat", "coordinates": [POINTS, corners(HOLE)]}), holed()),
        (dataloop({"type": "binary", "label": "cat", "coordinates": png_url(square() > 0)}), square()),
        (isat({"category": "cat", "segmentation": PAIRS, "layer": 1.0}), square()),
        (
            isat(
                {"category": "__background__", "segmentation": HOLE, "layer": 2.0},
                {"category": "cat", "segmentation": PAIRS, "layer": 1.0},
            ),
            holed(),
        ),
        (hasty({"class_name": "cat", "polygon": PAIRS, "mask": None}), square()),
        (labelbox({"name": "cat", "annotation_kind": "ImagePolygon", "polygon": POINTS}), square()),
    ],
)
def test_each_tool_is_read(tmp_path, document, expected):
    name = "export.ndjson" if "data_row" in document else "ann/a.json"
    photos, imported = read(tmp_path, {name: json.dumps(document), "set/a.png": picture()})
    assert imported.formats == ["outlines"] and imported.label_set.classes == ("background", "cat")
    assert same(photos["set/a.png"], expected) and imported.account.left_out == []
    assert imported.account.ignored == []


def test_later_objects_lie_on_top(tmp_path):
    small = {"name": "dog", "polygon": {"paths": [corners(HOLE)]}}
    large = {"name": "cat", "polygon": {"paths": [POINTS]}}
    covered = square()
    covered[2:4, 3:5] = 2
    for order, expected in (([large, small], covered), ([small, large], square())):
        photos, _ = read(tmp_path, {"a.json": json.dumps(darwin(*order)), "a.png": picture()})
        assert same(photos["a.png"], expected)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (darwin({"name": "cat", "bounding_box": {"x": 1}}), "is a bounding box, which is no outline"),
        (darwin({"name": "cat", "tag": {}}), "is a tag"),
        (darwin({"name": "cat", "polygon": {"paths": [[{"x": 1}]]}}), "cannot be read"),
        (darwin({"name": "cat", "frames": {"0": {}}}), "is of a video"),
        (darwin({"name": "cat", "polygon": {"paths": [POINTS]}, "slot_names": ["1"]}), "is in the slot 1"),
        (
            darwin({"id": "n", "name": "cat", "mask": {}}, {"raster_layer": RASTER}),
            "no place in the raster layer",
        ),
        (
            darwin({"id": "m", "name": "cat", "mask": {}}, {"raster_layer": {**RASTER, "dense_rle": [1, 9]}}),
            "size",
        ),
        (darwin({"polygon": {"paths": [POINTS]}}), "has no class"),
        (superannotate({"type": "bbox", "className": "cat", "points": {"x1": 1}}), "is a bbox"),
        (superannotate({"className": "cat", "parts": [{"color": "#fff"}]}), "pixel project"),
        (dataloop({"type": "box", "label": "cat", "coordinates": [{"x": 1, "y": 1}]}), "is a box"),
        (
            dataloop({"type": "binary", "label": "cat", "coordinates": png_url(np.ones((2, 2)))}),
            "another size",
        ),
        (dataloop({"type": "binary", "label": "cat", "coordinates": None}), "cannot be read"),
        (isat({"category": "cat", "segmentation": [[1, 1]]}), "at least three pairs"),
        (hasty({"class_name": "cat", "polygon": None, "mask": [1, 2]}), "export it as COCO"),
        (labelbox({"name": "cat", "mask": {"url": "https://x"}}), "lies on Labelbox's server"),
        (labelbox({"name": "cat", "annotation_kind": "ImageBoundingBox"}), "is a BoundingBox"),
        (labelbox(more=[[{"name": "cat", "polygon": POINTS}]]), "is of another label of the same photo"),
    ],
)
def test_what_covers_nothing_is_left_out_and_named(tmp_path, document, words):
    name = "export.ndjson" if "data_row" in document else "a.json"
    photos, imported = read(tmp_path, {name: json.dumps(document), "a.png": picture()})
    assert same(photos["a.png"], None)
    [entry] = imported.account.left_out
    assert entry.file == name and words in entry.why


def test_a_line_that_is_damaged_or_names_no_photo_costs_that_line(tmp_path):
    good = json.dumps(labelbox({"name": "cat", "polygon": POINTS}))
    lines = "\n".join([good, good[:-9], json.dumps({"data_row": {}})])
    photos, imported = read(tmp_path, {"x.ndjson": lines, "a.png": picture()})
    assert same(photos["a.png"], square())
    assert [entry.what for entry in imported.account.left_out] == ["line 2", "line 3"]


def test_another_size_is_refused(tmp_path):
    document = darwin({"name": "cat", "polygon": {"paths": [POINTS]}})
    document["item"]["slots"][0]["width"] = 99
    photos, imported = read(tmp_path, {"a.json": json.dumps(document), "a.png": picture()})
    assert same(photos["a.png"], None) and "says 99x6 pixels" in imported.refused[0]
