"""COCO: JSON documents with images, categories and annotations, as run lengths or as polygons.

    coco/instances_rle.json                 one run-length mask per class and photo; lossless
    coco/instances_polygons.json            the same as polygons
    coco/annotations/instances_SUBSET.json  the same polygons of the photos in one subset, where photos are in any:
                                            what CVAT, Datumaro and most trainers look for

Annotations of exports are whole classes, not objects: a label map does not know where one cat ends and the next begins.
The background has no annotation; void is a category of its own with ``iscrowd`` 1, which COCO's evaluation ignores.
Category ids are class ids, plus one where class 0 is not the background, so none is 0. Ids of photos and annotations
are the same in all documents; all but the first name in ``info.repeats`` the one that says it all.

An archive may hold as many documents as it likes, over the same photos or not. A document is known by what is in it,
whatever it is called. Ids are compared as text, since tools write them as numbers and as text. One bad entry costs that
entry: it is named in the account.

Format: https://cocodataset.org/#format-data
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from segdemo.core import names
from segdemo.core.labels import MAX_CLASSES, VOID, LabelSet
from segdemo.core.shapes import keyhole, rle_encode
from segdemo.data.formats.annotation import SUBSETS, ExchangeError
from segdemo.data.formats.archives import to_json
from segdemo.data.formats.format import File, Writer
from segdemo.data.formats.outgoing import Outgoing
from segdemo.data.formats.photos import MISSING, likeness
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import Shape, outlined_classes, ring
from segdemo.data.formats.values import as_id, as_number, check_size, run_lengths

LOSSLESS = "coco/instances_rle.json"
_REPEATED = object()  # an id that two different things have


class CocoWriter(Writer):
    """Writes the documents, all of them at the end."""

    folders = ("coco",)
    late = True

    def __init__(self, label_set: LabelSet):
        super().__init__(label_set)
        self._documents = {kind: frame(label_set, categories(label_set)) for kind in ("rle", "polygons")}
        self._documents["polygons"]["info"]["repeats"] = LOSSLESS
        self._numbers: dict[str, set[int]] = {subset: set() for subset in SUBSETS}
        self._is_split = False

    def add(self, item: Outgoing) -> Iterable[File]:
        self._numbers[item.subset].add(item.number)
        self._is_split = self._is_split or item.annotation.meta.get("subset") in SUBSETS
        for document in self._documents.values():
            document["images"].append(image_entry(item))
        for i, entry in class_entries(item.label_map, self.label_set):
            number = len(self._documents["rle"]["annotations"]) + 1
            entry = {"id": number, "image_id": item.number, **entry}
            self._documents["rle"]["annotations"].append(entry)
            if i != VOID:  # COCO wants run lengths, not polygons, wherever iscrowd is 1
                outlines = [keyhole(region).ravel().tolist() for region in item.regions(i)]
                entry = {**entry, "segmentation": outlines}
            self._documents["polygons"]["annotations"].append(entry)
        return ()

    def finish(self) -> Iterable[File]:
        for kind, document in self._documents.items():
            yield f"coco/instances_{kind}.json", to_json(document, indent=None)
        whole = self._documents["polygons"]
        for subset, numbers in self._numbers.items():
            if numbers and self._is_split:
                images = [image for image in whole["images"] if image["id"] in numbers]
                entries = [entry for entry in whole["annotations"] if entry["image_id"] in numbers]
                part = {**whole, "images": images, "annotations": entries}
                yield f"coco/annotations/instances_{subset}.json", to_json(part, indent=None)


def image_entry(item: Outgoing) -> dict:
    """What COCO's documents say of a photo."""
    height, width = item.label_map.shape
    entry = {"id": item.number, "file_name": item.file_name, "width": width, "height": height}
    return {**entry, "original_file_name": item.original_name} if item.original_name else entry


def categories(label_set: LabelSet) -> list[dict]:
    """Those of a label set: its classes but the background, and void."""
    offset = category_offset(label_set)
    named = [(i, label_set.classes[i], "class") for i in outlined_classes(label_set)] + [
        (VOID, "void", "void")
    ]
    return [{"id": i + offset, "name": name, "supercategory": above} for i, name, above in named]


def class_entries(label_map: np.ndarray, label_set: LabelSet) -> Iterator[tuple[int, dict]]:
    """(class id, annotation without ids) of each class but the background in a label map uint8 (H, W)."""
    present = set(np.unique(label_map).tolist())
    for i in (*outlined_classes(label_set), VOID):
        if i in present:
            mask = label_map == i
            entry = {"category_id": i + category_offset(label_set), "iscrowd": int(i == VOID)}
            yield i, {**entry, **extent(mask), "segmentation": rle_encode(mask)}


def extent(mask: np.ndarray) -> dict:
    """The area and ``bbox`` ([x, y, width, height]) in pixels of a bool (H, W) that is not empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x, y = int(columns[0]), int(rows[0])
    return {"area": int(mask.sum()), "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]}


def category_offset(label_set: LabelSet) -> int:
    """What is added to class ids to get category ids: nothing, or 1 where class 0 is not the background."""
    return 0 if label_set.background == 0 else 1


def frame(label_set: LabelSet, categories: list[dict]) -> dict:
    """A document without photos."""
    info = {"description": f"{label_set.title}, exported by SegDemo", "version": "1.0"}
    return {"info": info, "licenses": [], "images": [], "categories": categories, "annotations": []}


@dataclass
class _Image:
    """An image of a document: its id as text, its photo's name there, stated (width, height), annotations."""

    id: str
    file_name: str
    stated: tuple
    entries: list = field(default_factory=list)


class _Document:
    """A COCO document as it is read; what cannot be used of it is in the account.

    Attributes:
        name: of its file.
        categories: id as text to name; None for SegDemo's void.
        images: list of ``_Image``.
        orphans: whether annotations belong to no image, so that images without any cannot be trusted to be empty.
    """

    def __init__(self, reader, name, data):
        self.name, self._reader, self.orphans = name, reader, False
        self.subset = reader.subset_of(name)
        self._groups = {}  # category id to what it is grouped under
        categories = data.get("categories")
        self.categories = self._categories(categories if isinstance(categories, list) else [])
        self.images = self._images(data["images"])
        self._annotations(data["annotations"])

    def _categories(self, entries):
        found = {}
        for original in _sorted(entries):
            entry = original if isinstance(original, dict) else {}
            name, id_ = entry.get("name"), as_id(entry.get("id"))
            clean = names.clean_class(name) if isinstance(name, (str, int, float)) else ""
            if not clean or id_ is None:
                shown = names.clean_class(name) if name else str(original)[:80]
                self._leave_out(f"category {shown}", "has no id or no name")
                continue
            above = entry.get("supercategory")
            self._groups[id_] = names.clean_class(above) if isinstance(above, str) else ""
            clean = None if _is_void(entry) else clean
            if id_ in found and found[id_] != clean:
                why = f"has the id {id_} of another category: give each its own"
                self._leave_out(f"category {clean}", why)
                found[id_] = _REPEATED
            else:
                found[id_] = clean
        return found

    def _images(self, entries):
        by_id = {}
        for number, entry in enumerate(entries, 1):
            entry = entry if isinstance(entry, dict) else {}
            id_, file_name = as_id(entry.get("id")), entry.get("file_name") or entry.get("coco_url")  # LVIS
            if id_ is None or not isinstance(file_name, (str, int)) or not str(file_name).strip():
                self._leave_out(f"image {id_ or f'number {number}'}", "has no id or no file_name")
                continue
            stated = as_number(entry.get("width")), as_number(entry.get("height"))
            image = _Image(id_, str(file_name).strip(), stated)
            alike = by_id.setdefault(id_, [])
            if image.file_name not in [other.file_name for other in alike]:
                alike.append(image)
        self._repeated = {id_: images for id_, images in by_id.items() if len(images) > 1}
        return [image for images in by_id.values() for image in images]

    def _annotations(self, entries):
        by_id = {image.id: image for image in self.images if image.id not in self._repeated}
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict):
                self._leave_out(f"annotation number {number}", "is no annotation")
                self.orphans = True
                continue
            id_ = as_id(entry.get("id"))
            what = f"annotation {id_}" if id_ is not None else f"annotation number {number}"
            image_id = as_id(entry.get("image_id"))
            if image_id in self._repeated:
                shared = " and ".join(image.file_name for image in self._repeated[image_id])
                why = f"belongs to the image id {image_id}, which {shared} share: give each its own"
                self._leave_out(what, why)
            elif image_id not in by_id:
                self._leave_out(what, f"belongs to the image {image_id}, which the document does not have")
                self.orphans = True
            else:
                by_id[image_id].entries.append((what, entry))

    def group(self):
        """The category that Roboflow writes first, with id 0, to group the others; None if it is not there."""
        name = self.categories.get("0")
        others = [above for id_, above in self._groups.items() if id_ != "0"]
        grouped = isinstance(name, str) and others and all(above == name for above in others)
        used = any(as_id(entry.get("category_id")) == "0" for i in self.images for _, entry in i.entries)
        return name if grouped and self._groups.get("0") in ("none", "") and not used else None

    def doubtful(self, image):
        """Whether an image without annotations may have some that were not understood."""
        return not image.entries and (self.orphans or image.id in self._repeated)

    def shapes(self, image, height, width):
        """The ``Shape``s of an image; those that are none are in the account. Raises ExchangeError: wrong size."""
        reader = self._reader
        check_size(*image.stated, (height, width))
        shapes = []
        for what, entry in image.entries:

            def leave_out(why, what=what):
                reader.account.leave_out(self.name, what, why, image.file_name)

            try:
                value = self._value(entry)
                forms = _forms(entry.get("segmentation"), height, width, leave_out)
            except ExchangeError as error:
                leave_out(str(error))
                continue
            if forms:
                shapes.append(Shape(what, self.name, value, tuple(forms)))
        return shapes

    def _value(self, entry):
        id_ = as_id(entry.get("category_id"))
        if id_ not in self.categories:
            raise ExchangeError(f"has the category {id_}, which the document does not have")
        name = self.categories[id_]
        if name is _REPEATED:
            raise ExchangeError(f"has the category {id_}, which two categories share")
        return VOID if name is None else self._reader.class_value(name)

    def _leave_out(self, what, why):
        self._reader.account.leave_out(self.name, what, why)


def find(reader: Reader) -> Found | None:
    """The COCO documents of an archive, or None."""
    found = reader.documents_like(is_coco)
    if not found:
        return None
    documents: list[_Document] = []
    told: dict[str, str] = {}
    for name in sorted(found):
        if (
            _repeated_by(name, found) in found
        ):  # the same once more, as SegDemo exports it, but for the subset
            _tell_subset(reader, name, found[name]["images"], told)
            continue
        documents.append(_Document(reader, name, found[name]))
    _add_classes(reader, documents)
    return Found(_items(reader, documents, told), "Imported from COCO")


def _tell_subset(reader, name, images, told):
    """Note the subset that the name of a document tells of its images, by their file names."""
    if subset := reader.subset_of(name):
        for entry in images:
            if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
                told[names.key(names.tidy(entry["file_name"]))] = subset


def _repeated_by(name, found):
    """Name of the document that says all that a document of SegDemo's does, as far as one can tell; else None."""
    if name.endswith("instances_polygons.json"):  # exports before ``info.repeats``
        return name.replace("instances_polygons.json", "instances_rle.json")
    info = found[name].get("info")
    other = info.get("repeats") if isinstance(info, dict) else None
    if not isinstance(other, str) or not other:
        return None
    root = name[: len(name) - len(name.split("/coco/")[-1])].removesuffix("coco/") if "coco/" in name else ""
    return root + other


def is_coco(data: Any) -> bool:
    """Whether plain data is a COCO document with instances: neither panoptic nor captions only."""
    lists = isinstance(data, dict) and [data.get("images"), data.get("annotations")]
    if not lists or not all(isinstance(entries, list) for entries in lists):
        return False
    entries = [entry for entry in data["annotations"] if isinstance(entry, dict)]
    if any("segments_info" in entry for entry in entries):
        return False
    return isinstance(data.get("categories"), list) or any("segmentation" in entry for entry in entries)


def _add_classes(reader, documents):
    named = [(d.name, name) for d in documents for name in d.categories.values() if isinstance(name, str)]
    if (
        len({names.key(name) for _, name in named}) >= MAX_CLASSES
    ):  # more than a label map holds: those in use
        entries = [(d, entry) for d in documents for image in d.images for _, entry in image.entries]
        used = {(d.name, d.categories.get(as_id(entry.get("category_id")))) for d, entry in entries}
        named = [pair for pair in named if pair in used]
    for document in documents:
        own = [name for file, name in named if file == document.name]
        said = f"the categories of {document.name}"
        if (group := document.group()) in own:
            own.remove(group)
            said += f", less {group!r}, which only groups the others"
        reader.add_classes(document.name, own, said)
        reader.note_merged(document.name, own)


def _items(reader, documents, subsets):
    """One for each photo, with what all documents say of it."""
    placed, jobs, unplaced = {}, {}, []
    for document in documents:
        for image in document.images:
            photo, why = reader.photos.find(image.file_name, document.name, document.subset)
            if photo is None:
                unplaced.append((document, image, why))
            else:
                placed.setdefault(photo, []).append((document, image))
    for photo, entries in placed.items():
        alike = [likeness(photo, image.file_name, document.name) for document, image in entries]
        meant = {}  # by the name of the document
        for (document, image), measure in zip(entries, alike, strict=True):
            if measure == max(alike):
                meant.setdefault(document.name, set()).add(names.key(names.tidy(image.file_name)))
        for (document, image), measure in zip(entries, alike, strict=True):
            if measure < max(alike):
                unplaced.append((document, image, MISSING))
            elif len(meant[document.name]) > 1:
                why = f"several entries of the document fit the photo {photo}"
                unplaced.append((document, image, why))
            else:
                jobs.setdefault(photo, []).append((document, image))
    items = [_item(reader, [(document, image)], None, None, why) for document, image, why in unplaced]
    for photo, entries in jobs.items():
        told = {document.subset or subsets.get(names.key(names.tidy(i.file_name))) for document, i in entries}
        files = " and ".join(dict.fromkeys(document.name for document, _ in entries))
        subset = reader.one_subset(told, photo, files)
        items.append(_item(reader, entries, photo, subset, ""))
    return sorted(items, key=lambda item: (item.where, item.title))


def _item(reader, entries, photo, subset, why):
    document, image = entries[0]

    def parts():
        return [(document.name, what) for document, image in entries for what, _ in image.entries]

    load = partial(_load, reader, entries)
    return reader.item(document.name, photo, why, parts, load, title=image.file_name, subset=subset)


def _load(reader, entries, height, width):
    shapes = [shape for document, image in entries for shape in document.shapes(image, height, width)]
    annotated = any(image.entries or document.doubtful(image) for document, image in entries)
    return reader.painted(shapes, entries[0][1].file_name, height, width, annotated)


def _forms(segmentation, height, width, leave_out):
    """What a segmentation covers. Raises ExchangeError: nothing that can be painted."""
    if isinstance(segmentation, dict):
        return [run_lengths(segmentation, (height, width))]
    if not isinstance(segmentation, list) or not segmentation:
        raise ExchangeError("has no segmentation: it is a box or a point")
    if (height, width) != (1, 1) and _are_fractions(segmentation):
        raise ExchangeError("has coordinates in fractions of the photo, where COCO has pixels")
    flat = all(as_number(value) is not None for value in segmentation)
    if flat or (len(segmentation) > 2 and all(isinstance(p, list) and len(p) == 2 for p in segmentation)):
        segmentation = [segmentation]  # one polygon, of numbers or pairs, not in a list of its own
    forms, reasons = [], []
    for numbers in segmentation:
        try:
            forms.append(
                run_lengths(numbers, (height, width)) if isinstance(numbers, dict) else ring(numbers)
            )
        except ExchangeError as error:
            reasons.append(str(error))
    if not forms:
        raise ExchangeError(reasons[0])
    for why in reasons:
        leave_out(f"{why}; its other polygons are kept")
    return forms


def _are_fractions(segmentation):
    """Whether coordinates are all within 0..1 and not whole, as Azure's are: in pixels that is nothing to be seen."""
    numbers = [v for part in segmentation for v in (part if isinstance(part, list) else [part])]
    numbers = [as_number(v) for pair in numbers for v in (pair if isinstance(pair, list) else [pair])]
    inside = all(v is not None and 0 <= v <= 1 for v in numbers)
    return inside and any(isinstance(v, float) for v in numbers)


def _sorted(categories):
    """Categories by id, numbers first, as far as they have one."""

    def key(entry):
        id_ = as_id(entry.get("id")) if isinstance(entry, dict) else None
        number = as_number(id_) if id_ is not None else None
        return (number is None, number if number is not None else 0, str(id_))

    return sorted(categories, key=key)


def _is_void(category):
    return category.get("supercategory") == "void" and str(category["name"]).lower() == "void"
