"""COCO: one JSON for all photos, once with run lengths and once with polygons.

    coco/instances_rle.json             one run-length mask per class and photo; lossless
    coco/instances_polygons.json        the same as polygons

Annotations are whole classes, not objects: a label map does not know where one cat ends and the next begins. The
background has no annotation; void is a category of its own with ``iscrowd`` 1, which COCO's evaluation ignores.
Category ids are class ids, plus one where class 0 is not the background, so none is 0.

Format: https://cocodataset.org/#format-data
"""

import numpy as np

from segdemo import masks
from segdemo.exchange.archives import add_file, to_json
from segdemo.exchange.shapes import outlined_classes
from segdemo.labels import VOID


def start(label_set):
    """Documents without photos, by kind: ``"rle"`` and ``"polygons"``."""
    return {kind: _frame(label_set) for kind in ("rle", "polygons")}


def add(documents, number, annotation):
    """Put an annotation into each of the documents; ``number`` becomes the photo's id in them."""
    for kind, document in documents.items():
        _add(document, kind, number, annotation)


def write(archive, documents):
    """Put the documents into an open ``ZipFile``."""
    for kind, document in documents.items():
        add_file(archive, f"coco/instances_{kind}.json", to_json(document, indent=None))


def _frame(label_set):
    offset = _offset(label_set)
    categories = [
        {"id": i + offset, "name": label_set.classes[i], "supercategory": "class"}
        for i in outlined_classes(label_set)
    ]
    categories.append({"id": VOID + offset, "name": "void", "supercategory": "void"})
    return {
        "info": {"description": f"{label_set.title}, exported by SegDemo", "version": "1.0"},
        "licenses": [],
        "images": [],
        "categories": categories,
        "annotations": [],
    }


def _add(document, kind, number, annotation):
    label_map, label_set = annotation.label_map, annotation.label_set
    height, width = label_map.shape
    document["images"].append(
        {"id": number, "file_name": f"{annotation.id}.jpg", "width": width, "height": height}
    )
    present = set(np.unique(label_map).tolist())
    for i in [*outlined_classes(label_set), VOID]:
        if i not in present:
            continue
        mask = label_map == i
        # COCO wants run lengths, not polygons, wherever iscrowd is 1.
        if kind == "rle" or i == VOID:
            segmentation = masks.rle_encode(mask)
        else:
            segmentation = [masks.keyhole(region).ravel().tolist() for region in masks.polygons(mask)]
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        x, y = int(columns[0]), int(rows[0])
        document["annotations"].append(
            {
                "id": len(document["annotations"]) + 1,
                "image_id": number,
                "category_id": i + _offset(label_set),
                "iscrowd": int(i == VOID),
                "area": int(mask.sum()),
                "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                "segmentation": segmentation,
            }
        )


def _offset(label_set):
    return 0 if label_set.background == 0 else 1
