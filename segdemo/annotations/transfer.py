"""Annotations into collections, with an account of what became of each."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segdemo.annotations import drafts
from segdemo.annotations.collection import Collection
from segdemo.annotations.store import AnnotationStore
from segdemo.core import names
from segdemo.core.files import DiskError, StoreError
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.photos import IntakeError, Limits
from segdemo.data import formats
from segdemo.data.formats import SUBSETS, Account, Annotation, ExchangeError, Imported
from segdemo.data.formats.classes import make_label_set, parse_names
from segdemo.data.formats.sidecars import parse_label_set

_NAMED = 3  # reasons in the sentence on an import of which nothing can be used
_MAX_LIST_BYTES = 1_000_000
DRAWN = "drawn by SegDemo for those of which the archive tells none"


def _sure_of_draft(annotation: Annotation) -> float | None:
    """How sure the model was of an annotation that is a draft, 0..1; None for a mask that counts."""
    sure = annotation.meta.get("draft")
    return (
        min(1.0, max(0.0, float(sure)))
        if isinstance(sure, int | float) and not isinstance(sure, bool)
        else None
    )


def find_collection(store: AnnotationStore, called: str) -> Collection | None:
    """The collection of that name, or, if only one is, of that title, case aside; None without."""
    every = store.collections()
    found = [c for c in every if c.name == called] or [
        c for c in every if names.key(c.title) == names.key(called)
    ]
    return found[0] if len(found) == 1 else None


def read_classes(path: Path) -> tuple[LabelSet, tuple[list[str], dict[str, Any]]]:
    """The classes in a file: a ``labels.json``, a JSON list of names, or a text with one a line.

    A line is a name, or ``name: r,g,b``, as in CVAT's ``labelmap.txt``.

    Returns:
        (label set, (names, colours)): the first has a background, the second is as the file says.

    Raises:
        StoreError: it does not name classes.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise StoreError(f"{path} is too large for a list of classes: give a text with one name a line.")
        text = names.text(path.read_bytes())
        if text.lstrip()[:1] in ("{", "["):
            data = json.loads(text)
            if isinstance(data, dict):
                label_set = parse_label_set(data)
                colors = {names.key(n): c for n, c in zip(label_set.classes, label_set.colors, strict=True)}
                return label_set, (list(label_set.classes), colors)
            text = "\n".join(str(name) for name in data)
        found, colors = parse_names(text)
        return make_label_set(found, path.name, colors), (found, colors)
    except FileNotFoundError as error:
        raise StoreError(f"There is no file {path}: check the name of the list of classes.") from error
    except (UnicodeDecodeError, ExchangeError, ValueError, OSError, RecursionError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} does not name classes, one a line ({str(error).rstrip('.')}).") from error


def import_annotations(
    store: AnnotationStore,
    path: Path,
    into: str | None = None,
    classes: Path | None = None,
    limits: Limits | None = None,
    progress: Callable[[int], object] | None = None,
) -> Account:
    """Take the annotations of a ZIP or a folder into a collection.

    Args:
        store: of the collections.
        path: of the ZIP or folder.
        into: name or title of the collection; it is made if there is none. None makes one called like the archive.
            The archive's classes go into those of a collection that exists by their names.
        classes: a file that names the archive's classes, see ``read_classes``.
        limits: ``photos.Limits``; None reads them from the environment.
        progress: called with the number of photos read so far.

    Returns:
        The ``Account``.

    Raises:
        StoreError: nothing in it can be used, or the collection has none of its classes; then nothing is changed.
        ExchangeError: no archive, or one without annotations. DiskError.
    """
    path = Path(path)
    collection = find_collection(store, into) if into is not None else None
    label_set, class_names = read_classes(classes) if classes is not None else (None, None)
    if collection is not None:
        label_set = collection.label_set
    read = formats.import_folder if path.is_dir() else formats.import_zip
    imported = read(path, label_set, limits=limits, class_names=class_names)
    if not imported.fits:
        imported.close()
        where = collection.title if collection is not None else imported.label_set.title
        lacking = ", ".join(imported.missing[:5]) + (" and more" if len(imported.missing) > 5 else "")
        raise StoreError(
            f"{where} lacks classes of the archive ({lacking}): add them, or import it into a new collection."
        )
    title = into if into is not None else path.resolve().stem.replace("_", " ")
    return _Taking(store, collection, title, imported, limits).run(progress)


class _Taking:
    """One import into one collection, which is made when the first photo comes."""

    def __init__(
        self,
        store: AnnotationStore,
        collection: Collection | None,
        title: str,
        imported: Imported,
        limits: Limits | None,
    ) -> None:
        self.store, self.collection, self.title = store, collection, title
        self.imported, self.account, self.limits = imported, imported.account, limits
        self.seen: dict[str, Annotation] = {}  # photo id -> the annotation it came with first
        self.drafts = 0  # masks that nobody had looked at there, and are drafts here

    def run(self, progress: Callable[[int], object] | None) -> Account:
        """Take everything in; the account."""
        for number, annotation in enumerate(self.imported.photos, 1):
            try:
                self._take(annotation)
            except DiskError:
                self.imported.close()
                raise
            except (StoreError, MaskError, IntakeError) as error:
                self.account.unpaint(annotation, str(error))
            if progress:
                progress(number)
        if self.collection is None or not self.seen:
            reasons = " ".join(self.account.sentences()[:_NAMED])
            raise StoreError(f"Nothing in the archive could be used: {reasons or 'it holds no photo.'}")
        self._count(self.collection)
        return self.account

    def _take(self, annotation: Annotation) -> None:
        if self.collection is None:
            self.collection = self.store.create(self.title, self.imported.label_set)
        sure = _sure_of_draft(annotation)
        counting = annotation if sure is None else replace(annotation, label_map=None)
        taken = self.collection.take(counting, self.limits)
        if sure is not None and annotation.label_map is not None:
            model = str(annotation.meta.get("model") or "")
            self.drafts += drafts.put(
                self.collection, taken.id, annotation.label_map, model, "", sure, 1 - sure
            )
        first = self.seen.get(taken.id)
        came, of, why = annotation.file or annotation.id, "", ""
        if first is not None:
            of, why = first.file or first.id, "is the same photo"
        elif taken.photo == "there":
            of, why = self.collection.photo(taken.id).source, "was in the collection already"
        elif taken.photo == "trash":
            of, why = self.collection.photo(taken.id).source, "was in the trash and is taken out"
        if taken.mask == "beside":
            kept = (
                f"its mask differs: that one stays, this one is kept beside it as revision {taken.revision}"
            )
            self.account.unpaint(annotation, f"its photo {why} ({of}); {kept}")
            why = f"{why}; {kept}"
        elif taken.mask == "same" and why:
            why = f"{why}, with the same mask"
        elif taken.mask == "new" and why:
            why = f"{why}, {'with another mask' if taken.photo == 'trash' else 'without a mask'}: it has this one now"
        wanted, split = annotation.meta.get("subset"), self.collection.photo(taken.id).split
        if why and wanted in SUBSETS and split and wanted != split:
            why = f"{why}; it stays in {split} and does not go into {wanted}"
        if why:
            self.account.add_duplicate(came, of, why)
        self.seen.setdefault(taken.id, annotation)

    def _count(self, collection: Collection) -> None:
        """What is in the collection now, of what came."""
        account = self.account
        photos = [collection.photo(id_) for id_ in self.seen]
        labelled = [photo for photo in photos if photo.revision]
        account.collection = collection.name
        account.photos, account.labelled = len(photos), len(labelled)
        account.splits = {name: sum(photo.split == name for photo in labelled) for name in SUBSETS}
        told = [self.seen[photo.id].meta.get("subset") for photo in labelled]
        if not all(subset in SUBSETS for subset in told):
            account.splits_source = f"{account.splits_source}; {DRAWN}" if account.splits_source else DRAWN
        if self.drafts:
            account.notes.append(
                f"{self.drafts} of the masks {'is a draft' if self.drafts == 1 else 'are drafts'} "
                "that nobody has looked at yet, as in the collection they come from."
            )
        ground = collection.label_set.background
        if not any(set(photo.classes) - {ground, VOID} for photo in labelled):
            account.notes.append(
                "There is nothing to learn from in it: no mask shows a class besides the background."
                if labelled
                else "There is nothing to learn from in it: none of its photos has a mask."
            )
