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

from pathlib import PurePosixPath

import numpy as np

from segdemo import masks
from segdemo.exchange import sidecars
from segdemo.exchange.annotation import ExchangeError
from segdemo.exchange.archives import add_file, to_json
from segdemo.exchange.shapes import Shape, outlined_classes, paint, polygon
from segdemo.labels import VOID

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
            segmentation = masks.rle_encode(mask)
        else:
            segmentation = [masks.keyhole(region).ravel().tolist() for region in item.regions(i)]
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


def find(reader, member):
    """Iterator of the ``Annotation``s of the COCO documents in an archive, or None without one.

    Args:
        reader: the ``Reader`` of the archive.
        member: name of the one document to read; None reads all.

    Raises:
        ExchangeError: no such member, or incomplete COCO.
    """
    if member is not None and member not in reader.source.sizes:
        raise ExchangeError(f"There is no {member} in {reader.source.title}.")
    candidates = [member] if member else [n for n in reader.names if n.lower().endswith(".json")]
    documents, others = {}, ()
    if not member and f"{reader.root}{sidecars.LABEL_SET}" in reader.source.sizes:
        # Files of SegDemo's own that are no COCO, or the same once more.
        others = tuple(f"{reader.root}{folder}/" for folder in OTHER_FOLDERS)
    for name in sorted(candidates, key=lambda n: ("polygon" in n.lower(), n)):
        if name.startswith(others) or PurePosixPath(name).name == sidecars.LABEL_SET:
            continue
        try:
            data = reader.json(name)
        except ExchangeError:
            if member:
                raise
            continue  # some other tool's file: it stays among the skipped
        keys = ("images", "annotations", "categories")
        if isinstance(data, dict) and all(isinstance(data.get(key), list) for key in keys):
            documents[name] = _Document(name, data)
            reader.use(name)
    if not documents:
        return None
    names = {}
    for document in documents.values():
        for category in document.categories.values():
            if category is not None:
                names.setdefault(category.lower(), category)
    reader.named_label_set(list(names.values()), "Imported from COCO")
    jobs = {}
    for document in documents.values():
        for image in document.images:
            if photo := _photo_of(reader, image["file_name"]):
                reader.use(photo)
            jobs.setdefault(photo or image["file_name"], (document, image, photo))
    return _read(reader, jobs.values())


class _Document:
    """A COCO document as it is read: names of its categories (None for void), images, and annotations by image.

    An annotation is (what to call it, category name or None, segmentation, area).
    """

    def __init__(self, name, data):
        self.name = name
        try:
            ordered = sorted(data["categories"], key=lambda c: c["id"])
            self.categories = {c["id"]: None if _is_void(c) else str(c["name"]).strip() for c in ordered}
            self.images = [{**image, "file_name": str(image["file_name"])} for image in data["images"]]
            self.annotations = {image["id"]: [] for image in self.images}
            for entry in data["annotations"]:
                area = entry.get("area")
                self.annotations.setdefault(entry["image_id"], []).append(
                    (
                        f"annotation {entry.get('id')}",
                        self.categories[entry["category_id"]],
                        entry.get("segmentation"),
                        area if isinstance(area, (int, float)) else 0,
                    )
                )
        except (KeyError, TypeError, AttributeError) as error:
            raise ExchangeError(f"{name} is not complete COCO: {error!r} is missing or wrong.") from error


def _is_void(category):
    return category.get("supercategory") == "void" and str(category["name"]).lower() == "void"


def _photo_of(reader, file_name):
    """The file that a COCO file_name means: the longest agreement, then the shortest path."""
    candidates = reader.photos.get(PurePosixPath(file_name).name, ())
    return min(
        candidates, key=lambda n: (not f"/{n}".endswith(f"/{file_name}"), n.count("/"), n), default=None
    )


def _read(reader, jobs):
    for document, image, photo in jobs:
        where = f"{document.name}, {image['file_name']}"
        if photo is None:
            reader.refused.append(f"{where}: the photo is missing, add it.")
            continue
        entries = document.annotations[image["id"]]

        def label_map(height, width, image=image, entries=entries):
            return _label_map(reader, image, entries, height, width)

        stem = PurePosixPath(image["file_name"]).stem
        if annotation := reader.annotation(stem, where, photo, None, label_map):
            yield annotation


def _label_map(reader, image, entries, height, width):
    stated = (image.get("height", height), image.get("width", width))
    if stated != (height, width):
        raise ExchangeError(
            f"the file says {stated[1]}x{stated[0]} pixels, but the photo measures {width}x{height}."
        )
    class_ids = reader.class_ids()
    shapes = []
    for what, name, segmentation, area in entries:
        if name is not None and name.lower() not in class_ids:
            raise ExchangeError(f"there is no class {name!r} in {reader.label_set.title}.")
        value = VOID if name is None else class_ids[name.lower()]
        if isinstance(segmentation, dict):
            size = segmentation.get("size")
            if size != [height, width]:  # before anything of that size is made
                raise ExchangeError(
                    f"{what} has a mask of {size}, its photo {[height, width]} (height, width)."
                )
            shapes.append(Shape(what, value, area, segmentation))
        elif isinstance(segmentation, list) and segmentation:
            # COCO's polygons add up; they cut no holes.
            shapes += [polygon(what, value, numbers) for numbers in segmentation]
        else:
            raise ExchangeError(f"{what} has no segmentation.")
    return paint(reader.label_set, shapes, height, width)
