"""What every format needs when it is read: files, photos, classes, subsets, and the account of what became of them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np

from segdemo.core import label_maps, names
from segdemo.core.labels import LabelSet
from segdemo.core.photos import IntakeError, Limits, photo_orientation, read_photo, turn_upright
from segdemo.data.formats import sidecars
from segdemo.data.formats.account import Account
from segdemo.data.formats.annotation import FORBIDDEN, SUBSETS, Annotation, ExchangeError
from segdemo.data.formats.archives import Source
from segdemo.data.formats.classes import Classes
from segdemo.data.formats.photos import Photos
from segdemo.data.formats.shapes import Shape, paint

_MOST_BYTES = 2_500_000_000  # of memory that plain data may take
_HELD_OUT = ("test", "val", "train")  # a photo said to be in several subsets goes into the first of these
Parts = list[tuple[str, str]]  # (file, what) of annotations
Loaded = tuple[np.ndarray | None, Parts]
Load = Callable[[int, int], Loaded]
Entries = Callable[[], list[tuple[str, Any]]]


@dataclass
class Item:
    """A photo of the archive with all that one format says of it.

    Attributes:
        stem: what its files are called, without folders and ending.
        where: the file that messages name.
        photo: name of the photo's file, or None.
        parts: function to (file, what) of every annotation, should none of them be used.
        load: function from the photo's (height, width) to (label map or None, parts that were painted).
        subset: ``"train"``, ``"val"``, ``"test"`` or None.
        title: what a document that speaks of several photos calls this one, else "".
        why_not: if there is no photo: why.
        data: function to the photo's bytes, where they are not a file of their own.
    """

    stem: str
    where: str
    photo: str | None
    parts: Callable[[], Parts]
    load: Load
    subset: str | None = None
    title: str = ""
    why_not: str = ""
    data: Callable[[], bytes] | None = None


@dataclass
class Found:
    """What a format found in an archive: its photos, and the title of a label set that is made of its classes."""

    items: list[Item]
    title: str = "Imported"


class Reader:
    """An archive that is being read.

    Args:
        source: ``archives.ZipSource`` or ``archives.FolderSource``.
        formats: the ``Format``s that there are.
        label_set: the ``LabelSet`` to read into; None takes the archive's own, if it has one.
        limits: for photos and masks.
        class_names: names of the archive's classes, in the order of their ids, with their colours, as
            ``classes.parse_names`` gives them; None takes those of its files.

    Attributes:
        names: of all files, sorted.
        account: the ``Account``, which grows.
        classes: the ``Classes``.
        label_set: the ``LabelSet`` that is read into, once the formats are found.
        photos: the ``Photos``.
        unpaired: names of masks that are called like no photo.
        turned, doubtful: photos that are stored turned: with labels of the stored pixels; with labels of which nothing
            tells whether they are.
        bare: photos that a document lists without any annotation, so that they are background all over.
        own: what the names of SegDemo's own exports begin with, to their label sets.
    """

    def __init__(self, source: Source, formats, label_set: LabelSet | None, limits: Limits, class_names=None):
        self.source, self.limits, self.class_names = source, limits, class_names
        self._keys = {key for format in formats for key in format.keys}
        self._folders = {folder for format in formats if format.writer for folder in format.writer.folders}
        self.account = Account(archive=source.title)
        self.unpaired: list[str] = []
        self.turned: list[str] = []
        self.doubtful: list[str] = []
        self.bare: list[str] = []
        self._used: set[str] = set()
        self._unreadable: dict[str, str] = {}
        self._ids: dict[str, int] = {}
        self._costs: dict[str, int] = {}
        self.names = sorted(source.sizes)
        for name, why in source.odd:
            self.account.leave_out(name, "file", why)
        self.classes = Classes(label_set)
        self.photos = Photos(self.names, self._same)
        self.own = sidecars.find_label_sets(self)
        self.use(*(f"{root}{sidecars.LABEL_SET}" for root in self.own))

    @property
    def label_set(self) -> LabelSet:
        return self.classes.label_set

    # --- files ---

    def use(self, *used: str) -> None:
        """Files that are understood, so that they are not among the ignored."""
        self._used.update(used)

    def is_used(self, name: str) -> bool:
        """Whether a file is understood already."""
        return name in self._used

    def ignored(self) -> list[str]:
        """Files nobody asked for, less what a SegDemo export holds besides; also links and what systems leave."""
        known = tuple(f"{root}{folder}/" for root in self.own for folder in (*self._folders, sidecars.FOLDER))
        photos = tuple(f"{root}JPEGImages/" for root in self.own)
        stems = {*map(names.stem, self._used)}  # a photo is there for each format
        rest = [name for name in self.names if name not in self._used and not f"{name}/".startswith(known)]
        rest = [name for name in rest if not (name.startswith(photos) and names.stem(name) in stems)]
        return sorted([*self.source.skipped, *rest])

    def own_root(self, name: str) -> str | None:
        """What the names of the SegDemo export begin with that a file is part of, or None."""
        return max((root for root in self.own if name.startswith(root)), key=len, default=None)

    def text(self, name: str) -> str:
        """A file as text. Raises ExchangeError: damaged, too large, or not UTF-8."""
        try:
            return names.text(self.source.read(name, self.source.limits.max_json_bytes))
        except UnicodeDecodeError as error:
            raise ExchangeError(f"{name} is not UTF-8 text.") from error

    def lines(self, name: str) -> list[str]:
        """The lines of a list, which is understood with that; if it cannot be read it is left out, and [] comes."""
        self.use(name)
        try:
            return names.lines(self.text(name))
        except ExchangeError as error:
            self.leave_out_file(name, "the list", error)
            return []

    def json(self, name: str) -> Any:
        """A file as plain data. Raises ExchangeError: as ``text``, not JSON, or too much of it to be held."""
        text = self.text(name)
        cost = _cost(text)
        if cost > _MOST_BYTES:
            raise ExchangeError(f"{name} holds too many values to be read at once: split it.")
        self._costs[name] = cost
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ExchangeError(f"{name} is nested too deeply to be read.") from error
        except ValueError as error:
            cut = text.strip()[:1] in ("{", "[") and text.strip()[-1:] not in ("}", "]")
            why = "it is cut short" if cut else error
            if "int_max_str_digits" in str(error):
                why = "it holds a number of thousands of digits"
            raise ExchangeError(f"{name} is not JSON: {why}.") from error

    @cached_property
    def by_name(self) -> names.Index:
        """The names of all files by themselves, case aside."""
        return names.Index((name, name) for name in self.names)

    @cached_property
    def documents(self) -> dict[str, Any]:
        """Plain data of the JSON files that may be annotations, by name, less those of SegDemo's own.

        All are looked at once, since a format is known by what is in a document. Photos inside are let go of.
        """
        known = tuple(f"{root}{sidecars.FOLDER}/" for root in self.own)
        found, held = {}, 0
        for name in self.names:
            if not name.lower().endswith(".json") or name.startswith(known) or name in self._used:
                continue
            try:
                data = self.json(name)
            except ExchangeError as error:
                self._note_unreadable(name, error)
                continue
            if isinstance(data, dict) and data.get("imageData"):
                data["imageData"] = True  # read again when it is needed
            if isinstance(data, dict) and not data.keys() & self._keys and not _has_regions(data):
                continue
            if isinstance(data, (list, dict)) and held + self._costs[name] <= _MOST_BYTES:
                held += self._costs[name]
                found[name] = data
            elif isinstance(data, (list, dict)):
                why = "comes after more annotations than can be held at once: import the archive in parts"
                self.account.leave_out(name, "document", why)
                self.use(name)
        return found

    def documents_like(self, recognises: Callable[[Any], bool]) -> dict[str, Any]:
        """Those of ``documents`` that are of a format, which are understood with that."""
        found = {name: data for name, data in self.documents.items() if recognises(data)}
        self.use(*found)
        return found

    def leave_out_file(self, name: str, what: str, error: ExchangeError) -> None:
        """A file that cannot be read, or not understood, is left out."""
        self.account.leave_out(name, what, str(error).removeprefix(f"{name} "))

    def _note_unreadable(self, name, error):
        """A JSON file that cannot be read is worth a word if it looks like annotations."""
        why = str(error).removeprefix(f"{name} ").rstrip(".")
        self._unreadable[name] = why
        try:
            start = self.source.read(name, self.source.limits.max_json_bytes)[:100_000]
        except ExchangeError:
            start = b"annotations"  # damaged or too large to look into: then it has to be said
        if any(word in start for word in (b'"images"', b"annotations", b'"shapes"', b'"categories"')):
            self.account.leave_out(name, "document", why)
            self.use(name)

    def unreadable(self) -> list[str]:
        """Why JSON files could not be read, as sentences."""
        return [f"{name} {why}." for name, why in self._unreadable.items()]

    def _same(self, one, other):
        if self.source.sizes[one] != self.source.sizes[other]:
            return False
        most = self.limits.max_bytes
        try:
            return self.source.read(one, most) == self.source.read(other, most)
        except ExchangeError:
            return False

    # --- subsets ---

    def say_split(self, source: str) -> None:
        """How subsets were found; every way is said once."""
        said = self.account.splits_source
        if source not in said.split("; "):
            self.account.splits_source = f"{said}; {source}" if said else source

    def one_subset(self, told: Iterable[str | None], photo: str, file: str) -> str | None:
        """The subset of a photo of which documents or lists tell several: the held-out one, and it is said."""
        told = {subset for subset in told if subset}
        if not told:
            return None
        chosen = next(subset for subset in _HELD_OUT if subset in told)
        if len(told) > 1:
            both = " and ".join(subset for subset in SUBSETS if subset in told)
            self.account.add_duplicate(photo, photo, f"is listed in {both} ({file}): it goes into {chosen}")
        return chosen

    def subset_of(self, document: str = "", photo: str | None = None) -> str | None:
        """The subset that the name of a document, or the folders of a photo, tell; None if neither does."""
        found = names.subset_of_document(document) if document else None
        found = found or (names.subset_of_folders(photo) if photo else None)
        if found:
            self.say_split("the names of documents and folders")
        return found

    # --- annotations ---

    def add_classes(
        self, document: str, found: Iterable[str], source: str, colors: dict | None = None
    ) -> None:
        """Names of classes that a document uses; in a SegDemo export its label set has them, with their ids."""
        root = self.own_root(document)
        if root is None:
            self.classes.add(found, source, colors)
            return
        own = self.own[root]
        self.classes.take(own, f"{root}{sidecars.LABEL_SET}")
        if new := [name for name in found if names.class_id(name, own.classes) is None]:
            self.classes.add(new, source, colors)

    def note_merged(self, document: str, found: Iterable[str]) -> None:
        """Say which classes of a document are one here: those called alike, case aside."""
        alike: dict[str, list[str]] = {}
        for name in map(names.clean_class, found):
            alike.setdefault(names.key(name), []).append(name)
        for called in alike.values():
            if len(called) > 1:
                shown = " and ".join(map(repr, called))
                self.account.notes.append(
                    f"{document} has {len(called)} classes {shown}, which are one here."
                )

    def item(
        self, where: str, photo: str | None, why: str, parts: Callable[[], Parts], load: Load, **more: Any
    ) -> Item:
        """An ``Item``; its photo is understood with that.

        Args:
            where, parts, load: as an ``Item`` has them.
            photo, why: as ``Photos.find`` gives them.
            more: what else an ``Item`` has, and ``called``, the name that its files are called like, if it is neither
                the photo's nor the title; ``by_photo``, whether the folders of the photo tell a subset that nothing
                else does.
        """
        if photo:
            self.use(photo)
        called = more.pop("called", "") or photo or names.tidy(more.get("title", ""))
        if more.pop("by_photo", True) and not more.get("subset"):
            more["subset"] = self.subset_of("", photo)
        return Item(names.stem(called), where, photo, parts, load, why_not="" if photo else why, **more)

    def item_of_shapes(
        self, where: str, photo: str | None, why: str, entries: Entries, read: Callable[..., tuple], **more
    ) -> Item:
        """An ``Item`` whose annotations are shapes in a document, later ones on top.

        Args:
            where, photo, why: as for ``item``.
            entries: function to [(what to call it, entry)] of the annotations.
            read: function from an entry and the photo's (height, width) to (class id, form, and, where there are
                layers, the number of its layer). Raises ExchangeError: it is nothing that can be painted, and why.
            more: as for ``item``, and ``check``, function of (height, width) that raises ExchangeError if they are not
                what the document says; ``full_name``, function from what to call an annotation, and its entry, to
                what to call it once it is read; ``annotated``, whether the photo has others, which are left out.
        """
        title, annotated = more.get("title", ""), more.pop("annotated", False)
        check, full_name = more.pop("check", None), more.pop("full_name", lambda what, entry: what)

        def load(height, width):
            if check:
                check((height, width))
            layered, listed = [], entries()
            for what, entry in listed:
                what = full_name(what, entry)
                try:
                    value, form, *layer = read(entry, (height, width))
                    layered.append((layer, Shape(what, where, value, (form,))))
                except ExchangeError as error:
                    self.account.leave_out(where, what, str(error), title)
            shapes = [shape for _, shape in sorted(layered, key=itemgetter(0))]
            return self.painted(shapes, title, height, width, annotated or bool(listed), False)

        return self.item(where, photo, why, lambda: [(where, what) for what, _ in entries()], load, **more)

    def annotation(self, item: Item) -> Annotation | None:
        """The ``Annotation`` of an ``Item``; its label map is None if nothing could be painted.

        What goes wrong is in the account. None without a photo.
        """
        where, title = item.where, item.title
        try:
            if item.data:
                photo = item.data()
            elif item.photo:
                photo = self.source.read(item.photo, self.limits.max_bytes)
            else:
                raise ExchangeError(item.why_not)
            try:
                height, width, _ = read_photo(photo, self.limits).shape
            except IntakeError as error:
                shown = item.photo or f"in {where}"
                raise ExchangeError(f"the photo {shown} cannot be used: {error}") from error
        except ExchangeError as error:
            self._refuse(item, error)
            return None
        root = self.own_root(item.photo) if item.photo else None
        try:
            meta = sidecars.read(self, root, item.stem) if root is not None else None
            label_map, parts = self._load(item, photo, height, width)
        except (ExchangeError, label_maps.MaskError) as error:
            self._refuse(item, error)
            label_map, parts, meta = None, [], None
        if label_map is not None and not parts and root is None:
            self.bare.append(item.photo or where)
        if meta is None:
            meta = {"subset": item.subset} if item.subset else {}
        elif meta.get("subset") in SUBSETS:
            self.say_split("SegDemo's side-cars")
        file = item.photo or where
        name = names.base(names.tidy(item.photo or title or item.stem))
        id_ = self._id(item.stem)
        return Annotation(id_, photo, label_map, self.label_set, meta, name=name, file=file, parts=parts)

    def _load(self, item, photo, height, width):
        """What ``item.load`` gives, also of labels that were drawn on the pixels as they are stored.

        Some tools turn a photo as its orientation says, and others do not. Where the sizes differ, they tell.
        """
        orientation = photo_orientation(photo, self.limits)
        if orientation < 5 or height == width:
            label_map, parts = item.load(height, width)
            if parts and orientation != 1:
                self.doubtful.append(item.photo or item.where)
            return label_map, parts
        (stored, stored_parts), why_not = self._try(item, width, height)
        left_out = len(self.account.left_out)
        (upright, parts), error = self._try(item, height, width, keep=True)
        if stored is not None and len(stored_parts) > len(parts):
            del self.account.left_out[left_out:]
            item.load(width, height)  # once more, for what it says of parts that are left out
            self.turned.append(item.photo or item.where)
            return turn_upright(stored, orientation), stored_parts
        if error is not None:
            raise error
        if parts and why_not is None and len(stored_parts) == len(parts):
            self.doubtful.append(item.photo or item.where)
        return upright, parts

    def _try(self, item, height, width, keep=False):
        """(What ``item.load`` gives, the error or None); what it says is forgotten unless it is to be kept."""
        left_out = len(self.account.left_out)
        try:
            return item.load(height, width), None
        except (ExchangeError, label_maps.MaskError) as error:
            return (None, []), error
        finally:
            if not keep:
                del self.account.left_out[left_out:]

    def look(self, item: Item, height: int, width: int) -> np.ndarray | None:
        """The label map of an ``Item`` whose photo has this size, uint8; None without. The account hears nothing."""
        return self._try(item, height, width)[0][0]

    def note(self) -> None:
        """Say how photos were read that can be read in several ways: those stored turned, those without annotations."""
        looked = "delete such masks where nobody has looked for anything"
        for found, what, why in (
            (
                self.turned,
                "stored turned",
                "its labels were drawn on the stored pixels, and are turned with them",
            ),
            (
                self.doubtful,
                "stored turned",
                "its labels are taken to be drawn on the upright photo, since nothing tells",
            ),
            (self.bare, "listed without annotations", f"it is background all over; {looked}"),
        ):
            if found:
                more = f" (and {len(found) - 1} more like it)" if len(found) > 1 else ""
                self.account.notes.append(f"{found[0]} is {what}{more}: {why}.")

    def _refuse(self, item, error):
        for file, what in item.parts() or [(item.where, "photo")]:
            self.account.leave_out(file, what, str(error), item.title, whole=True)

    def painted(
        self, shapes: list[Shape], title: str, height: int, width: int, annotated: bool, smallest_on_top=True
    ) -> Loaded:
        """Paint ``Shape``s; (label map or None, parts painted). Those that fail are in the account.

        Args:
            shapes, height, width, smallest_on_top: as for ``paint``.
            title: what their document calls the photo.
            annotated: whether the photo has annotations. If none of them is painted there is no label map: one of
                background alone would be a label that nobody gave.
        """
        label_map, painted, failed = paint(self.label_set, shapes, height, width, smallest_on_top)
        for shape, why in failed:
            self.account.leave_out(shape.file, shape.what, why, title)
        parts = [(shape.file, shape.what) for shape in painted]
        return (None if annotated and not parts else label_map), parts

    def class_value(self, name: str) -> int:
        """Class id of a name. Raises ExchangeError: the label set has no such class."""
        found = self.classes.id_of(name)
        if found is None:
            raise ExchangeError(f"has no place: there is no class {name!r} in {self.label_set.title}")
        return found

    def _id(self, stem):
        base = (FORBIDDEN.sub("_", stem).lstrip(".") or "photo")[:140]
        id_, number = base, self._ids.get(base.casefold(), 1)
        while id_.casefold() in self._ids:
            number += 1
            id_ = f"{base}-{number}"
        self._ids[id_.casefold()] = 1
        self._ids[base.casefold()] = number  # where the next one of that name goes on
        return id_


def _cost(text):
    """Bytes of memory that the values of a JSON text take, roughly; texts, such as photos inside, aside."""
    return 64 * text.count("[") + 240 * text.count("{") + 32 * text.count(",")


def _has_regions(data):
    """Whether plain data has a photo with regions for each of its keys, as VIA writes it."""
    first = next(iter(data.values()), None)
    return isinstance(first, dict) and "filename" in first and "regions" in first
