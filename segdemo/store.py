"""Annotations on disk, with all their revisions.

Two promises hold whatever happens, a full disk or a kill -9 included. A file is either the old one or the new
one, never half of each (``files.write_atomic``). And a change that takes several files has one whose
replacement is the change: the photo's side-car. The other files follow from it; should the process die before
they do, a marker left behind says whose files are to be put in order, and the next one to open the collection
does that.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import secrets
import shutil
import time
import unicodedata
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo import intake, masks, settings
from segdemo.datasets import open_dataset
from segdemo.exchange import Annotation
from segdemo.files import (
    DiskError,
    NotFoundError,
    StoreError,
    disk_error,
    locked,
    read_json,
    sweep,
    sync_folder,
    write_atomic,
    write_json,
)
from segdemo.labels import LabelSet

KEEP_REVISIONS = 50  # of each photo, and the first one
TRASH_DAYS = 30
THUMBNAIL_SIDE = 256  # pixels, long side
SPLITS = ("train", "val", "test")

_log = logging.getLogger(__name__)


class ConflictError(StoreError):
    """A mask was saved on top of a revision that is no longer the newest.

    Attributes:
        current: the revision that is the photo's mask now.
        kept: the revision under which the refused mask can be opened.
    """

    def __init__(self, message, current, kept):
        super().__init__(message)
        self.current = current
        self.kept = kept


def now():
    """The time as kept in files: ISO 8601, UTC, milliseconds; such texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def slug(text, fallback):
    """``text`` as a name for files: at most 40 of a-z, 0-9 and '-'; ``fallback`` if nothing of it is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:40].strip("-") or fallback


def clean_title(text):
    """A title somebody typed. Raises StoreError if there is nothing in it."""
    text = " ".join(str(text).split())
    if not text:
        raise StoreError("Give it a name first.")
    return text[:100]


# ------------------------------------------------------------------------------------------- annotations


@dataclass(frozen=True)
class Revision:
    """One mask a photo has had.

    Attributes:
        number: 1 is the first one; numbers are never used twice.
        time: when it was saved.
        kind: ``"saved"``, ``"restored"`` (a copy of an older one) or ``"refused"`` (kept beside the others).
        base: the revision it was made from; 0 if from none.
        sha256: of size and class ids.
        classes: class id to pixels, void (255) included.
        meta: what the saver said about it, such as ``{"model": "unet"}``.
    """

    number: int
    time: str
    kind: str
    base: int
    sha256: str
    classes: dict
    meta: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Photo:
    """A photo's side-car.

    Attributes:
        id: unique in its collection; the stem of its files.
        source: the name it came with.
        file: its file name in ``JPEGImages``.
        width, height: pixels.
        sha256: of size and pixels.
        created, updated: when it was added, and when its mask last changed.
        revision: number of the revision that is its mask; 0 without a mask.
        last: the highest number given to a revision.
        label_set: name of the collection's label set.
        model: the model its mask was started from, or "".
        split: ``"train"``, ``"val"`` or ``"test"``; "" without a mask.
        deleted: when it was put into the trash, or "".
        revisions: those that are kept, oldest first.
    """

    id: str
    source: str
    file: str
    width: int
    height: int
    sha256: str
    created: str
    updated: str
    label_set: str
    revision: int = 0
    last: int = 0
    model: str = ""
    split: str = ""
    deleted: str = ""
    revisions: tuple[Revision, ...] = ()

    @property
    def current(self):
        """The Revision that is its mask, or None."""
        return next((r for r in self.revisions if r.number == self.revision), None)

    @property
    def classes(self):
        """Class id to pixels of its mask; empty without one."""
        return self.current.classes if self.current else {}

    def to_json(self):
        """Plain data that ``from_json`` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data):
        """The photo ``to_json`` described."""
        revisions = (
            Revision(**{**r, "classes": {int(k): v for k, v in r["classes"].items()}})
            for r in data["revisions"]
        )
        return cls(**{**data, "revisions": tuple(revisions)})


@dataclass(frozen=True)
class Page:
    """Some of ``total`` photos that were found: those of page ``page`` of ``pages``, counted from 1."""

    photos: tuple[Photo, ...]
    total: int
    page: int
    pages: int


class AnnotationStore:
    """Collections of annotated photos, each a folder that ``open_dataset("annotations", ...)`` reads.

    Args:
        root: the folder of the collections; by default ``annotations`` in the state root.
        keep_revisions: how many masks of each photo are kept, besides the first one.
    """

    def __init__(self, root=None, keep_revisions=KEEP_REVISIONS):
        self.root = Path(root) if root is not None else settings.home() / "annotations"
        self.keep_revisions = max(1, keep_revisions)
        self.cache = {}  # side-car path -> ((inode, mtime, size), Photo); a replaced file has a new inode

    def collections(self):
        """Every Collection, by title."""
        if not self.root.is_dir():
            return []
        found = [Collection(self, f.parent) for f in self.root.glob("*/collection.json")]
        return sorted((c for c in found if not c.name.startswith(".")), key=lambda c: c.title.lower())

    def create(self, title, label_set):
        """A new, empty Collection.

        Args:
            title: what a person calls it; its folder is named after it.
            label_set: the ``LabelSet`` of its masks.

        Raises:
            StoreError: no title. DiskError.
        """
        title = clean_title(title)
        with self.lock(".store"):
            name = wanted = slug(title, "collection")
            taken = {path.name for path in self.root.iterdir()}
            number = 1
            while name in taken:
                number += 1
                name = f"{wanted}-{number}"
            build = self.root / f".{name}.{secrets.token_hex(4)}.new"
            try:
                for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
                    (build / folder).mkdir(parents=True)
                write_json(build / "labels.json", label_set.to_json())
                write_json(build / "collection.json", {"title": title, "created": now()})
                build.rename(self.root / name)
            except OSError as error:
                shutil.rmtree(build, ignore_errors=True)
                raise error if isinstance(error, DiskError) else disk_error(error, build) from error
        return Collection(self, self.root / name)

    def open(self, name):
        """The Collection whose folder is called ``name``. Raises NotFoundError."""
        collection = Collection(self, self._folder(name))
        collection.recover()
        return collection

    def _folder(self, name):
        # Names come from pages, so they may be anything.
        if isinstance(name, str) and slug(name, "") == name != "":
            folder = self.root / name
            if (folder / "collection.json").is_file():
                return folder
        known = ", ".join(c.name for c in self.collections()) or "there is none yet"
        raise NotFoundError(f"There is no collection {name!r}: choose one of these ({known}).")

    def delete(self, name):
        """Put a collection into the trash; returns the key that ``undelete`` takes. Raises NotFoundError."""
        with self.lock(".store"), self.lock(name):
            folder = self._folder(name)
            key = f"{name}.{int(time.time())}-{secrets.token_hex(3)}"
            target = self.root / ".trash" / key
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
            os.utime(target)  # the trash is emptied by age
        return key

    def undelete(self, key):
        """Take a collection out of the trash again.

        Returns:
            The Collection, under its old name or, if that is taken, a new one.

        Raises:
            NotFoundError: it is not in the trash (any more).
        """
        with self.lock(".store"):
            source = self.root / ".trash" / key
            wanted = key.partition(".")[0]
            if not re.fullmatch(r"[a-z0-9-]+\.[0-9]+-[0-9a-f]{6}", key) or not source.is_dir():
                raise NotFoundError(f"{wanted!r} is not in the trash any more.")
            name, number = wanted, 1
            while (self.root / name).exists():
                number += 1
                name = f"{wanted}-{number}"
            source.rename(self.root / name)
        return self.open(name)

    def trash(self):
        """Keys of the collections in the trash, oldest first."""
        folder = self.root / ".trash"
        found = folder.iterdir() if folder.is_dir() else ()
        return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime)]

    def tidy(self, days=TRASH_DAYS):
        """Delete what has lain in the trash for ``days``, and what killed processes left behind."""
        sweep(self.root, days)
        sweep(self.root / ".trash", days)
        for collection in self.collections():
            collection.recover()
            collection.purge(days)

    def lock(self, name):
        """The lock of a collection, kept outside it so that the folder holds data only."""
        return locked(self.root / ".locks" / f"{name}.lock")


class Collection:
    """One dataset of photos and masks with one label set; made by ``AnnotationStore``.

    ``folder`` holds ``JPEGImages``, ``SegmentationClass`` (palettized PNG), ``ImageSets/Segmentation``,
    ``labels.json`` and ``Annotations``, the side-cars; hidden folders hold revisions, trash and thumbnails.
    Methods that take a photo's id raise NotFoundError if there is none, and all that write raise DiskError.
    """

    def __init__(self, store, folder):
        self.store = store
        self.folder = Path(folder)
        self.name = self.folder.name

    # --- the collection itself ---

    @property
    def title(self):
        """What a person calls it."""
        return self._file("collection.json")["title"]

    @property
    def label_set(self):
        """The LabelSet of its masks."""
        return LabelSet.from_json(self._file("labels.json"))

    def rename(self, title):
        """Call it something else; its folder keeps its name, so that nobody loses it. Raises StoreError."""
        title = clean_title(title)
        with self._writing():
            write_json(self.folder / "collection.json", {**self._file("collection.json"), "title": title})

    def change_label_set(self, label_set):
        """Rename, recolour or add classes.

        Raises:
            StoreError: a mask, even an old revision, has a class that would be gone.
        """
        with self._writing():
            photos = self._records()
            for photo in photos:
                used = max((i for r in photo.revisions for i in r.classes if i < masks.VOID), default=0)
                if used >= len(label_set):
                    name = self.label_set.classes[used]
                    raise StoreError(
                        f"The class {name!r} is used in {photo.source}, so it cannot be taken away."
                    )
            for photo in photos:
                self._mark(photo.id)
            write_json(self.folder / "labels.json", label_set.to_json())
            self._settle([photo.id for photo in photos])

    def dataset(self):
        """The collection as a ``datasets.Dataset``."""
        self.recover()
        return open_dataset("annotations", self.folder)

    def fingerprint(self):
        """Hexadecimal SHA-256 of all that training sees: label set, photos, masks and their subsets."""
        digest = hashlib.sha256(json.dumps(self.label_set.to_json(), sort_keys=True).encode())
        for photo in self._records():
            if photo.revision and not photo.deleted:
                digest.update(f"{photo.id} {photo.sha256} {photo.current.sha256} {photo.split}\n".encode())
        return digest.hexdigest()

    # --- photos ---

    def add_photo(self, source, name, limits=None):
        """Take a photo into the collection.

        JPEG and PNG files that every program shows alike, upright and opaque, are kept byte for byte;
        anything else is kept as PNG, without loss. A photo that is there already is not added twice, and one
        that is in the trash is taken out.

        Args:
            source: bytes, a path, an open binary file, or uint8 RGB (H, W, 3).
            name: what it is called, such as its file name.
            limits: ``intake.Limits``; None reads them from the environment.

        Returns:
            Its id.

        Raises:
            intake.IntakeError: not a photo that can be read. StoreError: not such an array.
        """
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
                raise StoreError(f"A photo is uint8 (H, W, 3), not {source.dtype} {source.shape}.")
            pixels, data = source, None
        else:
            limits = limits or intake.Limits.from_env()
            _, data = intake.read_bytes(source, limits)
            pixels = intake.read_photo(data, limits)
        digest = _digest(pixels)
        height, width = pixels.shape[:2]
        suffix = _faithful_suffix(data, pixels) if data is not None else None
        if suffix is None:
            data, suffix = _lossless(pixels), ".png"
        name = " ".join(str(name).split())[:200] or "photo"
        with self._writing():
            known = next((photo for photo in self._records() if photo.sha256 == digest), None)
            if known is not None:
                if known.deleted:
                    self._commit(replace(known, deleted="", split=known.split and self._free_split(known.id)))
                return known.id
            id_ = f"{slug(Path(name).stem, 'photo')}-{digest[:12]}"
            time_ = now()
            self._mark(id_)
            write_atomic(self.folder / "JPEGImages" / f"{id_}{suffix}", data)
            file, label_set = f"{id_}{suffix}", self.label_set.name
            self._commit(Photo(id_, name, file, width, height, digest, time_, time_, label_set))
        return id_

    def photo(self, id_):
        """The Photo called ``id_``, deleted or not."""
        record = self._record(id_)
        if record is None:
            raise NotFoundError(f"There is no photo {id_!r} in {self.title}: look it up in the list.")
        return record

    def image_path(self, id_):
        """Path of the photo's file."""
        photo = self.photo(id_)
        return self.folder / (".trash" if photo.deleted else "JPEGImages") / photo.file

    def image(self, id_):
        """The photo as uint8 RGB (H, W, 3)."""
        return intake.read_photo(self.image_path(id_))

    def photos(
        self,
        search="",
        class_id=None,
        since="",
        until="",
        annotated=None,
        deleted=False,
        sort="updated",
        page=1,
        per_page=50,
    ):
        """Find photos.

        Args:
            search: part of the name they came with, in any case.
            class_id: only those whose mask shows this class.
            since, until: only those last changed in this time, both ends included; ISO 8601, UTC, as short as
                ``"2025"`` or as long as the times in the side-cars.
            annotated: True for those with a mask, False for those without, None for both.
            deleted: those in the trash instead of the others.
            sort: ``"updated"`` or ``"created"``, newest first, or ``"source"``.
            page, per_page: which part of the result; a page beyond the last gives the last.

        Returns:
            A Page.
        """
        wanted = search.strip().casefold()
        found = [
            photo
            for photo in self._records()
            if bool(photo.deleted) == deleted
            and wanted in photo.source.casefold()
            and (class_id is None or class_id in photo.classes)
            and photo.updated >= since
            and (not until or photo.updated[: len(until)] <= until)
            and (annotated is None or bool(photo.revision) == annotated)
        ]
        if sort not in ("updated", "created", "source"):
            raise StoreError(f"Sort by updated, created or source, not by {sort!r}.")
        key = (lambda p: p.source.casefold()) if sort == "source" else (lambda p: getattr(p, sort))
        found.sort(key=key, reverse=sort != "source")
        pages = max(1, -(-len(found) // per_page))
        page = min(max(1, page), pages)
        return Page(tuple(found[(page - 1) * per_page : page * per_page]), len(found), page, pages)

    def set_split(self, id_, split):
        """Put an annotated photo into ``"train"``, ``"val"`` or ``"test"``. Raises StoreError."""
        if split not in SPLITS:
            raise StoreError(f"A photo goes to one of {', '.join(SPLITS)}, not to {split!r}.")
        with self._writing():
            photo = self._living(id_)
            if not photo.revision:
                raise StoreError(f"{photo.source} has no mask yet: annotate it first.")
            self._commit(replace(photo, split=split))

    def delete(self, id_):
        """Put a photo and its masks into the trash, from where ``undelete`` takes them for some weeks."""
        with self._writing():
            self._commit(replace(self._living(id_), deleted=now()))

    def undelete(self, id_):
        """Take a photo and its masks out of the trash."""
        with self._writing():
            photo = self.photo(id_)
            if photo.deleted:
                self._commit(replace(photo, deleted=""))

    def purge(self, days=TRASH_DAYS):
        """Delete for good the photos that have been in the trash for ``days``; returns how many."""
        limit = datetime.fromtimestamp(time.time() - days * 86400, UTC).isoformat()
        doomed = [photo for photo in self._records() if photo.deleted and photo.deleted < limit]
        if doomed:
            with self._writing():
                doomed = [p for p in map(self._record, (p.id for p in doomed)) if p is not None and p.deleted]
                for photo in doomed:
                    self._mark(photo.id)
                    self._sidecar(photo.id).unlink(missing_ok=True)
                self._settle([photo.id for photo in doomed])
        for name in (
            ".",
            "JPEGImages",
            "SegmentationClass",
            "ImageSets/Segmentation",
            "Annotations",
            ".thumbnails",
        ):
            sweep(self.folder / name, days)
        return len(doomed)

    # --- masks ---

    def save(self, id_, label_map, base_revision, meta=None):
        """Keep a new mask of a photo. The old ones are kept too.

        Saving what is already the photo's mask changes nothing, so a save may safely be sent again.

        Args:
            id_: the photo.
            label_map: uint8 (H, W) of the photo's size, ids of the label set or 255.
            base_revision: the revision the mask was made from; 0 if the photo had none.
            meta: plain data about it: ``"model"`` is the model it was started from.

        Returns:
            The number of the revision that is now the photo's mask.

        Raises:
            ConflictError: ``base_revision`` is not the current one; the mask is kept as a side revision.
            masks.MaskError: not a label map of the label set. StoreError: not the photo's size, or deleted.
        """
        if isinstance(base_revision, bool) or not isinstance(base_revision, int):
            raise StoreError(f"The revision a mask was made from is a number, not {base_revision!r}.")
        meta = _plain(meta)
        label_set = self.label_set
        data = masks.encode_png(label_map, label_set)
        digest = _digest(label_map)
        with self._writing():
            photo = self._living(id_)
            if label_map.shape != (photo.height, photo.width):
                height, width = label_map.shape
                raise StoreError(
                    f"The mask is {width} x {height} pixels and the photo {photo.width} x {photo.height}: "
                    "they must be the same."
                )
            masks.check_label_map(label_map, self.label_set)  # it may have changed since
            if photo.current is not None and photo.current.sha256 == digest:
                return photo.revision
            fresh = Revision(photo.last + 1, now(), "saved", base_revision, digest, _pixels(label_map), meta)
            if base_revision == photo.revision:
                return self._add_revision(photo, fresh, data)
            kept = next((r for r in photo.revisions if r.kind == "refused" and r.sha256 == digest), None)
            if kept is None:
                kept = replace(fresh, kind="refused")
                self._add_revision(photo, kept, data)
            raise ConflictError(
                f"{photo.source} was saved elsewhere in the meantime (revision {photo.revision}, yours began "
                f"at {base_revision}): your mask is kept as revision {kept.number}, compare or restore it.",
                photo.revision,
                kept.number,
            )

    def annotations(self, ids=None):
        """Photos with their masks, one at a time, as ``exchange.export_zip`` takes them.

        Args:
            ids: which; None for all. Those without a mask, or in the trash, are left out.

        Returns:
            An iterator of ``exchange.Annotation``; ``meta`` has source, subset, dates, revision, model.
        """
        label_set = self.label_set
        photos = self._records() if ids is None else [self.photo(id_) for id_ in ids]
        for photo in photos:
            if photo.revision and not photo.deleted:
                told = ("source", "created", "updated", "revision", "model")
                meta = {**{key: getattr(photo, key) for key in told}, "subset": photo.split}
                path = self.image_path(photo.id)
                yield Annotation(photo.id, path, self.load(photo.id), label_set, meta)

    def take(self, annotation):
        """Add a photo with its mask, as imports give it; a mask the photo had stays as an older revision.

        Args:
            annotation: an ``exchange.Annotation`` whose label set has the collection's classes.

        Returns:
            The photo's id.

        Raises:
            StoreError: other classes, or a mask that is not the photo's size. MaskError, IntakeError.
        """
        if annotation.label_set.classes != self.label_set.classes:
            raise StoreError(
                f"The classes of {annotation.label_set.title} are not those of {self.title}: import them "
                "into a collection of their own."
            )
        meta = annotation.meta
        id_ = self.add_photo(annotation.image, str(meta.get("source") or annotation.id))
        note = {"imported": annotation.id}
        if meta.get("model"):
            note["model"] = str(meta["model"])
        self.save(id_, annotation.label_map, self.photo(id_).revision, note)
        if meta.get("subset") in SPLITS:
            self.set_split(id_, meta["subset"])
        return id_

    def revisions(self, id_):
        """The Revisions of a photo that are kept, newest first."""
        return self.photo(id_).revisions[::-1]

    def restore(self, id_, revision):
        """Make an older, or a refused, revision the photo's mask again, as a new revision.

        Returns:
            The number of the revision that is now the photo's mask.

        Raises:
            NotFoundError: no such revision.
        """
        with self._writing():
            photo = self._living(id_)
            old = self._revision(photo, revision)
            if photo.current is not None and photo.current.sha256 == old.sha256:
                return photo.revision
            data = self._revision_path(id_, old.number).read_bytes()
            fresh = replace(old, number=photo.last + 1, time=now(), kind="restored", base=old.number)
            return self._add_revision(photo, fresh, data)

    def mask_png(self, id_, revision=None):
        """A photo's mask as the bytes of a palettized PNG, or None if it has none.

        Args:
            id_: the photo.
            revision: its number; None for the current one.

        Raises:
            NotFoundError: no such revision.
        """
        photo = self.photo(id_)
        if revision is None and not photo.revision:
            return None
        chosen = self._revision(photo, photo.revision if revision is None else revision)
        return _in_palette(self._revision_path(id_, chosen.number).read_bytes(), self.label_set)

    def load(self, id_, revision=None):
        """As ``mask_png``, but the label map: uint8 (H, W)."""
        data = self.mask_png(id_, revision)
        return None if data is None else masks.decode_png(data)

    def thumbnail(self, id_, side=THUMBNAIL_SIDE):
        """Path of a small JPEG of the photo with its mask laid over it; made when first asked for.

        Args:
            id_: the photo.
            side: length of its longer side in pixels; smaller photos are not enlarged.
        """
        photo = self.photo(id_)
        label_set = self.label_set
        colors = hashlib.sha256(bytes(label_set.palette())).hexdigest()[:6]
        path = self.folder / ".thumbnails" / f"{id_}.r{photo.revision}-{side}-{colors}.jpg"
        if path.is_file():
            return path
        scale = min(1, side / max(photo.width, photo.height))
        size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
        image = intake.read_photo(self.image_path(id_), draft_size=size[::-1])
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
        if (label_map := self.load(id_)) is not None:
            small = np.asarray(Image.fromarray(label_map).resize(size, Image.Resampling.NEAREST))
            image = masks.overlay(image, small, label_set)
        out = io.BytesIO()
        Image.fromarray(image).save(out, "JPEG", quality=85)
        for old in path.parent.glob(f"{id_}.r*-{side}-*.jpg"):
            old.unlink(missing_ok=True)
        write_atomic(path, out.getvalue())
        return path

    # --- how changes are made ---

    def recover(self):
        """Put in order what a killed process left half done. Does nothing if all is in order."""
        if self._pending():
            with contextlib.suppress(StoreError), self.store.lock(self.name):
                self._settle_pending()

    @contextlib.contextmanager
    def _writing(self):
        with self.store.lock(self.name):
            if not (self.folder / "collection.json").is_file():
                raise NotFoundError(
                    f"The collection {self.name!r} was deleted: take it out of the trash first."
                )
            self._settle_pending()
            try:
                yield
            except OSError as error:
                self._settle_pending()
                if isinstance(error, DiskError):
                    raise
                raise disk_error(error, Path(error.filename or self.folder)) from error
            except BaseException:
                self._settle_pending()
                raise

    def _add_revision(self, photo, revision, data):
        """Write a revision and commit it; returns the number of the photo's mask."""
        self._mark(photo.id)
        write_atomic(self._revision_path(photo.id, revision.number), data)
        revisions = (*photo.revisions, revision)
        changed = replace(photo, last=revision.number)
        if revision.kind != "refused":
            changed = replace(
                changed,
                revision=revision.number,
                updated=revision.time,
                model=str(revision.meta.get("model") or photo.model),
                split=photo.split or self._free_split(photo.id),
            )
        keep = {revisions[0].number}
        for refused in (
            True,
            False,
        ):  # apart, so that a stale page that keeps on saving cannot push out the others
            some = [r.number for r in revisions if (r.kind == "refused") == refused]
            keep.update(some[-self.store.keep_revisions :])
        self._commit(replace(changed, revisions=tuple(r for r in revisions if r.number in keep)))
        return changed.revision

    def _commit(self, photo):
        """Make ``photo`` the truth, then bring its files in line with it."""
        self._mark(photo.id)
        write_json(self._sidecar(photo.id), photo.to_json())
        self._settle([photo.id])

    def _mark(self, id_):
        try:
            (self.folder / ".pending").mkdir(exist_ok=True)
            (self.folder / ".pending" / id_).touch()
        except OSError as error:
            raise disk_error(error, self.folder / ".pending" / id_) from error
        sync_folder(self.folder / ".pending")

    def _pending(self):
        folder = self.folder / ".pending"
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def _settle_pending(self):
        if pending := self._pending():
            self._settle(pending)

    def _settle(self, ids):
        """Bring the files of marked photos in line with their side-cars; the lock is held.

        What cannot be done now, on a full disk for instance, stays marked: nothing is lost by it.
        """
        settled = []
        try:
            for id_ in ids:
                try:
                    self._arrange(id_)
                    settled.append(id_)
                except (OSError, StoreError) as error:
                    _log.warning("%s: %s", id_, error)
            self._write_lists()
            for id_ in settled:
                (self.folder / ".pending" / id_).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s: %s", self.folder, error)

    def _arrange(self, id_):
        photo = self._record(id_)
        mask = self.folder / "SegmentationClass" / f"{id_}.png"
        if photo is None:
            for folder in ("JPEGImages", ".trash"):
                for path in (self.folder / folder).glob(f"{id_}.*"):
                    path.unlink(missing_ok=True)
        else:
            here, there = self.folder / "JPEGImages" / photo.file, self.folder / ".trash" / photo.file
            if photo.deleted:
                here, there = there, here
            if not here.is_file() and there.is_file():
                here.parent.mkdir(exist_ok=True)
                there.replace(here)
        if photo is None or photo.deleted:
            mask.unlink(missing_ok=True)
            for path in (self.folder / ".thumbnails").glob(f"{id_}.*"):
                path.unlink(missing_ok=True)
        elif photo.revision:
            data = self._revision_path(id_, photo.revision).read_bytes()
            write_atomic(mask, _in_palette(data, self.label_set))
        kept = {f"{r.number:06d}.png" for r in photo.revisions} if photo else ()
        for path in (self.folder / ".revisions" / id_).glob("*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _write_lists(self):
        photos = [p for p in self._records() if p.revision and not p.deleted]
        for split in SPLITS:
            text = "".join(f"{p.id}\n" for p in photos if p.split == split).encode()
            path = self.folder / "ImageSets" / "Segmentation" / f"{split}.txt"
            if not path.is_file() or path.read_bytes() != text:
                write_atomic(path, text)

    def _free_split(self, id_):
        """Where a photo goes with its first mask, to stay there.

        The first three fill train, val and test; the others go by a hash of their name, 70 to 15 to 15.
        """
        taken = {p.split for p in self._records() if p.revision and not p.deleted and p.id != id_}
        for split in SPLITS:
            if split not in taken:
                return split
        place = int(hashlib.sha256(id_.encode()).hexdigest()[:8], 16) / 2**32
        return "train" if place < 0.7 else "val" if place < 0.85 else "test"

    # --- reading ---

    def _file(self, name):
        try:
            return read_json(self.folder / name)
        except FileNotFoundError:
            raise NotFoundError(f"The collection {self.name!r} is gone: look in the trash.") from None
        except ValueError:
            raise StoreError(f"{self.folder / name} is damaged: restore it from a copy.") from None

    def _sidecar(self, id_):
        return self.folder / "Annotations" / f"{id_}.json"

    def _revision_path(self, id_, number):
        return self.folder / ".revisions" / id_ / f"{number:06d}.png"

    def _record(self, id_):
        """The Photo called ``id_``, or None. Ids come from pages, so they may be anything."""
        if not isinstance(id_, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,79}", id_):
            return None
        path = self._sidecar(id_)
        try:
            status = path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self.store.cache.get(path)
            if known is None or known[0] != stamp:
                known = stamp, Photo.from_json(read_json(path))
                self.store.cache[path] = known
        except FileNotFoundError:
            self.store.cache.pop(path, None)
            return None
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{path} is damaged: restore it from a copy.") from None
        return known[1]

    def _records(self):
        """Every Photo, deleted ones too, by id. Damaged side-cars are left out, with a warning in the log."""
        names = (e.name[:-5] for e in os.scandir(self.folder / "Annotations") if e.name.endswith(".json"))
        found = []
        for id_ in sorted(names):
            try:
                photo = self._record(id_)
            except StoreError as error:
                _log.warning("%s", error)
                continue
            if photo is not None:
                found.append(photo)
        return found

    def _living(self, id_):
        photo = self.photo(id_)
        if photo.deleted:
            raise StoreError(f"{photo.source} is in the trash: take it out first.")
        return photo

    def _revision(self, photo, number):
        found = next((r for r in photo.revisions if r.number == number), None)
        if found is None:
            raise NotFoundError(f"{photo.source} has no revision {number!r}: choose one from its list.")
        return found


def _digest(array):
    """Hexadecimal SHA-256 of the shape and values of a uint8 array."""
    digest = hashlib.sha256(repr(array.shape).encode())
    digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _pixels(label_map):
    """Class id to pixels, for the ids that occur. Pillow's histogram is the fastest there is for uint8."""
    counts = Image.fromarray(np.ascontiguousarray(label_map)).histogram()
    return {i: count for i, count in enumerate(counts) if count}


def _faithful_suffix(data, pixels):
    """The ending of a file that any program shows as ``pixels``; None if it must be written anew."""
    with intake.quiet_pillow, Image.open(io.BytesIO(data)) as image:
        suffix = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}.get(image.format)
        if suffix is None or image.mode not in ("RGB", "L") or image.getexif().get(0x0112, 1) != 1:
            return None
        if image.has_transparency_data or not np.array_equal(np.asarray(image.convert("RGB")), pixels):
            return None
    return suffix


def _lossless(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)  # higher levels cost seconds on large photos
    return out.getvalue()


def _in_palette(data, label_set):
    """A mask's PNG in the colours of ``label_set``: the same bytes unless these were changed since."""
    with Image.open(io.BytesIO(data)) as image:
        palette = label_set.palette()
        if image.mode == "P" and (image.getpalette() or [])[: len(palette)] == palette:
            return data
        ids = np.array(image)
    return masks.encode_png(ids, label_set)


def _plain(meta):
    """``meta`` if it is plain data of at most 4 KB. Raises StoreError."""
    try:
        text = json.dumps(meta or {}, allow_nan=False)
        if isinstance(meta or {}, dict) and len(text) <= 4096:
            return json.loads(text)
    except (TypeError, ValueError):
        pass
    raise StoreError("What is kept with a mask is a small dictionary of texts and numbers.")
