"""COCO: one JSON for all photos, once with run lengths and once with polygons.

    coco/instances_rle.json             one run-length mask per class and photo; lossless
    coco/instances_polygons.json        the same as polygons

Annotations are whole classes, not objects: a label map does not know where one cat ends and the next begins. The
background has no annotation; void is a category of its own with ``iscrowd`` 1, which COCO's evaluation ignores.
Category ids are class ids, plus one where class 0 is not the background, so none is 0.

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
    documents = {}
    for name in sorted(candidates, key=lambda n: ("polygon" in n.lower(), n)):
        own = name.startswith(f"{reader.root}{sidecars.FOLDER}/")
        if own or PurePosixPath(name).name == sidecars.LABEL_SET:
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
