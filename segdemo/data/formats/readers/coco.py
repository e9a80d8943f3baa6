"""COCO: documents with images, categories and annotations; as many as an archive holds, over the same photos or not.

A document is known by what is in it, whatever it is called. Ids are compared as text, since tools write them as
numbers and as text. One bad entry costs that entry: it is named in the account.

Format: https://cocodataset.org/#format-data
"""

from dataclasses import dataclass, field
from functools import partial

from segdemo.core import names
from segdemo.core.labels import MAX_CLASSES, VOID
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.shapes import Shape, ring

_REPEATED = object()  # an id that two different things have


@dataclass
class _Image:
    """An image of a document: its id as text, its photo's name there, stated (height, width), annotations."""

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
        for entry in _sorted(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            if (
                not isinstance(name, (str, int, float))
                or not names.clean_class(name)
                or as_id(entry.get("id")) is None
            ):
                shown = names.clean_class(name) if name else str(entry)[:80]
                self._leave_out(f"category {shown}", "has no id or no name")
                continue
            above = entry.get("supercategory")
            self._groups[as_id(entry["id"])] = names.clean_class(above) if isinstance(above, str) else ""
            clean, id_ = None if _is_void(entry) else names.clean_class(name), as_id(entry["id"])
            if id_ in found and found[id_] != clean:
                self._leave_out(
                    f"category {clean}", f"has the id {id_} of another category: give each its own"
                )
                found[id_] = _REPEATED
            else:
                found[id_] = clean
        return found

    def _images(self, entries):
        by_id = {}
        for number, entry in enumerate(entries, 1):
            id_ = as_id(entry.get("id")) if isinstance(entry, dict) else None
            file_name = entry.get("file_name") if isinstance(entry, dict) else None
            if id_ is None or not isinstance(file_name, (str, int)) or not str(file_name).strip():
                self._leave_out(f"image {id_ or f'number {number}'}", "has no id or no file_name")
                continue
            stated = tuple(as_number(entry.get(side)) for side in ("height", "width"))
            image = _Image(id_, str(file_name).strip(), stated)
            same = [other for other in by_id.get(id_, []) if other.file_name == image.file_name]
            if not same:
                by_id.setdefault(id_, []).append(image)
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
                self._leave_out(
                    what, f"belongs to the image id {image_id}, which {shared} share: give each its own"
                )
            elif image_id not in by_id:
                self._leave_out(what, f"belongs to the image {image_id}, which the document does not have")
                self.orphans = True
            else:
                by_id[image_id].entries.append((what, entry))

    def group(self):
        """The category that Roboflow writes first, with id 0, to group the others; None if it is not there."""
        entries = self._groups
        name = self.categories.get("0")
        used = any(
            as_id(entry.get("category_id")) == "0" for image in self.images for _, entry in image.entries
        )
        others = [above for id_, above in entries.items() if id_ != "0"]
        grouped = isinstance(name, str) and others and all(above == name for above in others)
        return name if grouped and entries.get("0") in ("none", "") and not used else None

    def doubtful(self, image):
        """Whether an image without annotations may have some that were not understood."""
        return not image.entries and (self.orphans or image.id in self._repeated)

    def shapes(self, image, height, width):
        """The ``Shape``s of an image; those that are none are in the account. Raises ExchangeError: wrong size."""
        reader = self._reader
        for stated, real in zip(image.stated, (height, width), strict=True):
            if stated is not None and stated != real:
                shown = " pixels, but the photo measures ".join(
                    f"{w if w is not None else '?'}x{h if h is not None else '?'}"
                    for h, w in (image.stated, (height, width))
                )
                raise ExchangeError(f"the file says {shown}")
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

    def parts(self, image):
        """(file, what) of the annotations of an image."""
        return [(self.name, what) for what, _ in image.entries]

    def _leave_out(self, what, why):
        self._reader.account.leave_out(self.name, what, why)


def find(reader, member=None):
    """The COCO documents of an archive.

    Args:
        reader: the ``Reader`` of the archive.
        member: name of the one document to read; None reads all.

    Raises:
        ExchangeError: no such member, or one that is no COCO.
    """
    if member is not None and member not in reader.source.sizes:
        raise ExchangeError(f"There is no {member} in {reader.source.title}.")
    found = {member: reader.json(member)} if member else reader.documents
    found = {name: data for name, data in found.items() if is_coco(data)}
    if not found:
        if member:
            raise ExchangeError(
                f"{member} is not complete COCO: it needs images, annotations and categories."
            )
        return None
    documents, told = [], {}
    for name in sorted(found):
        reader.use(name)
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


def is_coco(data):
    """Whether plain data is a COCO document with instances: neither panoptic nor captions only."""
    if not isinstance(data, dict) or not all(
        isinstance(data.get(k), list) for k in ("images", "annotations")
    ):
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
        used = {
            (d.name, d.categories.get(as_id(entry.get("category_id"))))
            for d in documents
            for image in d.images
            for _, entry in image.entries
        }
        named = [pair for pair in named if pair in used]
    for document in documents:
        own = [name for file, name in named if file == document.name]
        said = f"the categories of {document.name}"
        if (group := document.group()) in own:
            own.remove(group)
            said += f", less {group!r}, which only groups the others"
        reader.add_classes(document.name, own, said)


def _items(reader, documents, subsets):
    """One for each photo, with what all documents say of it."""
    jobs, unplaced = {}, []
    for document in documents:
        placed = {}
        for image in document.images:
            photo, why = reader.photos.find(image.file_name, document.name, document.subset)
            if photo is None:
                unplaced.append((document, image, why))
            else:
                placed.setdefault(photo, []).append(image)
        for photo, images in placed.items():
            agreements = [names.agreement(photo, image.file_name) for image in images]
            best = max(agreements)
            meant = {
                names.key(names.tidy(image.file_name))
                for image, agreement in zip(images, agreements, strict=True)
                if agreement == best
            }
            for image, agreement in zip(images, agreements, strict=True):
                if agreement < best:
                    unplaced.append((document, image, "the photo is missing, add it"))
                elif len(meant) > 1:
                    why = f"several entries of the document fit the photo {photo}"
                    unplaced.append((document, image, why))
                else:
                    jobs.setdefault(photo, []).append((document, image))
    items = [_item(reader, [(document, image)], None, None, why) for document, image, why in unplaced]
    for photo, entries in jobs.items():
        reader.use(photo)
        told = {document.subset or subsets.get(names.key(names.tidy(i.file_name))) for document, i in entries}
        files = " and ".join(dict.fromkeys(document.name for document, _ in entries))
        subset = reader.one_subset(told, photo, files) or reader.subset_of("", photo)
        items.append(_item(reader, entries, photo, subset, ""))
    return sorted(items, key=lambda item: (item.where, item.title))


def _item(reader, entries, photo, subset, why):
    document, image = entries[0]
    return Item(
        stem=names.base(names.without_ending(photo or names.tidy(image.file_name))),
        where=document.name,
        photo=photo,
        parts=lambda: [part for document, image in entries for part in document.parts(image)],
        load=partial(_load, reader, entries),
        subset=subset,
        title=image.file_name,
        why_not=why,
    )


def _load(reader, entries, height, width):
    shapes = [shape for document, image in entries for shape in document.shapes(image, height, width)]
    label_map, parts = reader.painted(shapes, entries[0][1].file_name, height, width)
    annotated = any(image.entries for _, image in entries)
    doubtful = any(document.doubtful(image) for document, image in entries)
    if not parts and (annotated or doubtful):
        return None, []  # all background would be a label that nobody gave
    return label_map, parts


def _forms(segmentation, height, width, leave_out):
    """What a segmentation covers. Raises ExchangeError: nothing that can be painted."""
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        numbers = [as_number(v) for v in size] if isinstance(size, (list, tuple)) else None
        if numbers != [height, width]:  # before anything of that size is made
            raise ExchangeError(f"has a mask of {size}, its photo {[height, width]} (height, width)")
        counts = segmentation.get("counts")
        if not isinstance(counts, (list, str)):
            raise ExchangeError("has a mask without run lengths")
        return [{"size": numbers, "counts": counts}]
    if not isinstance(segmentation, list) or not segmentation:
        raise ExchangeError("has no segmentation: it is a box or a point")
    if all(as_number(value) is not None for value in segmentation):
        segmentation = [segmentation]  # one polygon, not in a list of its own
    elif len(segmentation) > 2 and all(isinstance(pair, list) and len(pair) == 2 for pair in segmentation):
        segmentation = [segmentation]  # one polygon of pairs
    forms, reasons = [], []
    for numbers in segmentation:
        try:
            forms.append(ring(numbers))
        except ExchangeError as error:
            reasons.append(str(error))
    if not forms:
        raise ExchangeError(reasons[0])
    for why in reasons:
        leave_out(f"{why}; its other polygons are kept")
    return forms


def as_id(value):
    """An id as text: 1, 1.0 and "1" are the same; None for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return str(value).strip() or None


def as_number(value):
    """A number, also one that is written as text; None for what is none."""
    try:
        if isinstance(value, bool):
            return None
        number = float(value)
        return int(number) if number.is_integer() else number
    except (TypeError, ValueError, OverflowError):
        return None


def _sorted(categories):
    """Categories by id, numbers first, as far as they have one."""

    def key(entry):
        id_ = as_id(entry.get("id")) if isinstance(entry, dict) else None
        number = as_number(id_) if id_ is not None else None
        return (number is None, number if number is not None else 0, str(id_))

    return sorted(categories, key=key)


def _is_void(category):
    return category.get("supercategory") == "void" and str(category["name"]).lower() == "void"
