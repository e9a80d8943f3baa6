"""The files of one collection of annotated photos, and how they are changed.

Two promises hold whatever happens, a full disk or a kill -9 included. A file is either the old one or the new
one, never half of each (``files.write_atomic``). And a change that takes several files has one whose
replacement is the change: the photo's side-car. The other files follow from it; should the process die before
they do, a marker left behind says whose files are to be put in order, and the next one to open the collection
does that.
"""

import contextlib
import io
import logging
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo.core import label_maps, plain
from segdemo.core.files import (
    DiskError,
    NotFoundError,
    StoreError,
    disk_error,
    read_json,
    sync_folder,
    write_atomic,
    write_json,
)
from segdemo.core.labels import LabelSet
from segdemo.core.quiet import quiet_pillow
from segdemo.data.formats.annotation import SUBSETS
from segdemo.data.splits import subset_of

_log = logging.getLogger(__name__)


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
        """The photo ``to_json`` described. Raises ValueError, KeyError, TypeError, AttributeError if it is none."""
        plain.require(data, {"revisions": list, **_TEXTS, **_COUNTS})
        for revision in data["revisions"]:
            plain.require(revision, {"number": int, "time": str, "kind": str, "base": int, "sha256": str})
            plain.require(revision, {"classes": dict, "meta": dict})
        numbers = {revision["number"] for revision in data["revisions"]}
        if data["revision"] and data["revision"] not in numbers:
            raise ValueError("its mask is missing")
        if Path(data["file"]).name != data["file"] or data["split"] not in ("", *SUBSETS):
            raise ValueError("its file or subset has no such name")
        if min(data["width"], data["height"]) < 1:
            raise ValueError("it has no pixels")
        revisions = (
            Revision(**{**r, "classes": {int(k): v for k, v in r["classes"].items()}})
            for r in data["revisions"]
        )
        return cls(**{**data, "revisions": tuple(revisions)})


_TEXTS = dict.fromkeys(
    ("id", "source", "file", "sha256", "created", "updated", "label_set", "model", "split", "deleted"), str
)
_COUNTS = dict.fromkeys(("width", "height", "revision", "last"), int)


class CollectionFiles:
    """What ``Collection`` rests on: its folder, the side-cars in it, and changes made whole or not at all.

    ``folder`` holds ``JPEGImages``, ``SegmentationClass`` (palettized PNG), ``ImageSets/Segmentation``,
    ``labels.json`` and ``Annotations``, the side-cars; hidden folders hold revisions, trash and thumbnails.
    A change is made within ``_writing``: first ``_mark`` what it touches, then write new files, then ``_commit``.

    Args:
        store: the ``AnnotationStore``, which has the lock.
        folder: of the collection.
    """

    def __init__(self, store, folder):
        self.store = store
        self.folder = Path(folder)
        self.name = self.folder.name

    @property
    def title(self):
        """What a person calls it."""
        title = self._file("collection.json").get("title")
        if not isinstance(title, str):
            raise StoreError(f"{self.folder / 'collection.json'} is damaged: restore it from a copy.")
        return title

    @property
    def label_set(self):
        """The LabelSet of its masks."""
        try:
            return LabelSet.from_json(self._file("labels.json"))
        except StoreError:
            raise
        except ValueError as error:
            raise StoreError(
                f"{self.folder / 'labels.json'} is damaged: restore it from a copy ({error})"
            ) from None

    def photo(self, id_):
        """The Photo called ``id_``, deleted or not. Raises NotFoundError."""
        record = self._record(id_)
        if record is None:
            raise NotFoundError(f"There is no photo {id_!r} in {self.title}: look it up in the list.")
        return record

    def recover(self):
        """Put in order what a killed process left half done. Does nothing if all is in order."""
        if self._pending():
            with contextlib.suppress(StoreError), self.store.lock(self.name):
                self._settle_pending()

    # --- changing ---

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
        # Apart, so that a stale page that keeps on saving cannot push out the others.
        for refused in (True, False):
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
            data = self._revision_bytes(id_, photo.revision)
            write_atomic(mask, in_palette(data, self.label_set))
        kept = {f"{r.number:06d}.png" for r in photo.revisions} if photo else ()
        for path in (self.folder / ".revisions" / id_).glob("*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _write_lists(self):
        photos = [p for p in self._records() if p.revision and not p.deleted]
        for split in SUBSETS:
            text = "".join(f"{p.id}\n" for p in photos if p.split == split).encode()
            path = self.folder / "ImageSets" / "Segmentation" / f"{split}.txt"
            if not path.is_file() or path.read_bytes() != text:
                write_atomic(path, text)

    def _free_split(self, id_):
        """Where a photo goes with its first mask, to stay there.

        The first three fill train, val and test; the others go by ``splits.subset_of``.
        """
        taken = {p.split for p in self._records() if p.revision and not p.deleted and p.id != id_}
        for split in SUBSETS:
            if split not in taken:
                return split
        return subset_of(id_)

    # --- reading ---

    def _file(self, name):
        try:
            data = read_json(self.folder / name)
            if not isinstance(data, dict):
                raise ValueError("it is not an object")
            return data
        except FileNotFoundError:
            raise NotFoundError(f"The collection {self.name!r} is gone: look in the trash.") from None
        except ValueError:
            raise StoreError(f"{self.folder / name} is damaged: restore it from a copy.") from None

    def _sidecar(self, id_):
        return self.folder / "Annotations" / f"{id_}.json"

    def _revision_path(self, id_, number):
        return self.folder / ".revisions" / id_ / f"{number:06d}.png"

    def _revision_bytes(self, id_, number):
        try:
            return self._revision_path(id_, number).read_bytes()
        except FileNotFoundError:
            raise StoreError(f"The mask {number} of {id_} is gone: restore another one.") from None

    def _record(self, id_):
        """The Photo called ``id_``, or None. Ids come from pages, so they may be anything."""
        if not isinstance(id_, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,79}", id_):
            return None
        path = self._sidecar(id_)
        try:
            return self._cached(os.fspath(path), path.stat())
        except FileNotFoundError:
            self.store.cache.pop(os.fspath(path), None)
            return None

    def _cached(self, path, status):
        """The Photo in the side-car at ``path``, read again only if its ``status`` says that it has changed."""
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self.store.cache.get(path)
        if known is None or known[0] != stamp:
            try:
                known = stamp, Photo.from_json(read_json(Path(path)))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                raise StoreError(f"{path} is damaged: restore it from a copy.") from None
            self.store.cache[path] = known
        return known[1]

    def _records(self):
        """Every Photo, deleted ones too, by id. Damaged side-cars are left out, with a warning in the log.

        Imports come here for every photo, so that nothing is done for a side-car that has not changed but to ask
        the folder for its status.
        """
        found = []
        folder = os.fspath(self.folder / "Annotations")
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name[:-5]):
            if not entry.name.endswith(".json"):
                continue
            try:
                if entry.path in self.store.cache:  # then its name is that of a photo
                    found.append(self._cached(entry.path, entry.stat()))
                elif (photo := self._record(entry.name[:-5])) is not None:
                    found.append(photo)
            except FileNotFoundError:
                self.store.cache.pop(entry.path, None)
            except StoreError as error:
                _log.warning("%s", error)
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


def in_palette(data, label_set):
    """A mask's PNG in the colours of ``label_set``: the same bytes unless these were changed since.

    Raises:
        StoreError: it is damaged. MaskError: it does not fit the label set.
    """
    palette = label_set.palette()
    try:
        with quiet_pillow, Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode == "P" and (image.getpalette() or [])[: len(palette)] == palette:
                return data
            ids = np.array(image)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise StoreError("A mask of this photo is damaged: restore an older one.") from error
    return label_maps.encode_png(ids, label_set)
