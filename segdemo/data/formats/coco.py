"""COCO: JSON for many photos, with run lengths or with polygons.

    coco/instances_rle.json                 one run-length mask per class and photo; lossless
    coco/instances_polygons.json            the same as polygons
    coco/annotations/instances_SUBSET.json  the same polygons of the photos in one subset, where photos are in any:
                                            what CVAT, Datumaro and most trainers look for

Annotations are whole classes, not objects: a label map does not know where one cat ends and the next begins. The
background has no annotation; void is a category of its own with ``iscrowd`` 1, which COCO's evaluation ignores.
Category ids are class ids, plus one where class 0 is not the background, so none is 0. Ids of photos and
annotations are the same in all documents; all but the first name in ``info.repeats`` the one that says it all.

Format: https://cocodataset.org/#format-data
"""

import numpy as np

from segdemo.core import label_maps
from segdemo.core.labels import VOID
from segdemo.data.formats import sidecars
from segdemo.data.formats.archives import add_file, to_json
from segdemo.data.formats.shapes import outlined_classes

LOSSLESS = "coco/instances_rle.json"
OTHER_FOLDERS = (sidecars.FOLDER, "panoptic", "labelme", "coco/annotations")


def start(label_set):
    """Documents without photos, by kind: ``"rle"`` and ``"polygons"``."""
    return {kind: _frame(label_set, kind) for kind in ("rle", "polygons")}


def add(documents, item):
    """Put an ``Outgoing`` into each of the documents."""
    for kind, document in documents.items():
        _add(document, kind, item)


def write(archive, documents, subsets):
    """Put the documents into an open ``ZipFile``.

    Args:
        archive: the open ``ZipFile``.
        documents: what ``start`` made.
        subsets: subset to the numbers of the photos in it; empty if no photo is in any.
    """
    for kind, document in documents.items():
        add_file(archive, f"coco/instances_{kind}.json", to_json(document, indent=None))
    for subset, numbers in subsets.items():
        if numbers:
            part = _part(documents["polygons"], frozenset(numbers))
            add_file(archive, f"coco/annotations/instances_{subset}.json", to_json(part, indent=None))


def image_entry(item):
    """What COCO's documents say of the photo of an ``Outgoing``."""
    height, width = item.label_map.shape
    entry = {"id": item.number, "file_name": item.file_name, "width": width, "height": height}
    return {**entry, "original_file_name": item.original_name} if item.original_name else entry


def bounding_box(mask):
    """[x, y, width, height] in pixels of a bool (H, W) that is not empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def category_offset(label_set):
    """What is added to class ids to get category ids: nothing, or 1 where class 0 is not the background."""
    return 0 if label_set.background == 0 else 1


def frame(label_set, categories):
    """A document without photos."""
    return {
        "info": {"description": f"{label_set.title}, exported by SegDemo", "version": "1.0"},
        "licenses": [],
        "images": [],
        "categories": categories,
        "annotations": [],
    }


def _frame(label_set, kind):
    offset = category_offset(label_set)
    categories = [
        {"id": i + offset, "name": label_set.classes[i], "supercategory": "class"}
        for i in outlined_classes(label_set)
    ]
    categories.append({"id": VOID + offset, "name": "void", "supercategory": "void"})
    document = frame(label_set, categories)
    if kind != "rle":
        document["info"]["repeats"] = LOSSLESS
    return document


def _part(document, numbers):
    """A document with only the photos of these numbers."""
    return {
        **document,
        "images": [image for image in document["images"] if image["id"] in numbers],
        "annotations": [entry for entry in document["annotations"] if entry["image_id"] in numbers],
    }


def _add(document, kind, item):
    document["images"].append(image_entry(item))
    present = set(np.unique(item.label_map).tolist())
    for i in [*outlined_classes(item.label_set), VOID]:
        if i not in present:
            continue
        mask = item.label_map == i
        # COCO wants run lengths, not polygons, wherever iscrowd is 1.
        if kind == "rle" or i == VOID:
            segmentation = label_maps.rle_encode(mask)
        else:
            segmentation = [label_maps.keyhole(region).ravel().tolist() for region in item.regions(i)]
        document["annotations"].append(
            {
                "id": len(document["annotations"]) + 1,
                "image_id": item.number,
                "category_id": i + category_offset(item.label_set),
                "iscrowd": int(i == VOID),
                "area": int(mask.sum()),
                "bbox": bounding_box(mask),
                "segmentation": segmentation,
            }
        )
