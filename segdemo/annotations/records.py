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
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.documents import Document, log_once
from segdemo.core.files import (
    DiskError,
    FileCache,
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

T = TypeVar("T")
_log = logging.getLogger(__name__)
MOST_REVISIONS = 1000  # of one photo
# Folders of what goes for good with a photo: see ``strokes`` and ``drafts``
STROKES, DRAFTS = ".strokes", ".drafts"


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
        author: who saved it, as the page tells people apart; "" if nobody was told.
        kept: why it is never cleared away, such as ``"exported"``, or "".
        sitting: what its page calls the time in which it had the photo open, or "" if it did not say.
        auto: whether the page saved by itself: the next save of the same sitting takes its place.
    """

    number: int
    time: str
    kind: str
    base: int
    sha256: str
    classes: dict[int, int]
    meta: dict[str, Any] = field(default_factory=dict)
    author: str = ""
    kept: str = ""
    sitting: str = ""
    auto: bool = False

    def is_of(self, sitting: str, author: str) -> bool:
        """Whether somebody saved it in a sitting that is still going on."""
        return bool(sitting) and (self.sitting, self.author) == (sitting, author)


def retained(revisions: tuple[Revision, ...], newest: int) -> set[int]:
    """Numbers of the revisions that stay when a mask is saved, so that nobody's saves push out what others need.

    These are the first, those marked to be kept, the newest of each day and of each author, and the ``newest`` of all.
    Refused masks are counted apart, so that a stale page that keeps on saving cannot push out the others.
    """
    keep = {revisions[0].number} | {r.number for r in revisions if r.kept}
    for refused in (True, False):
        some = [r for r in revisions if (r.kind == "refused") == refused]
        keep.update(r.number for r in some[-newest:])
        keep.update({r.time[:10]: r.number for r in some}.values())
        keep.update({r.author: r.number for r in some}.values())
    return keep


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
    def current(self) -> Revision | None:
        """The Revision that is its mask, or None."""
        return next((r for r in self.revisions if r.number == self.revision), None)

    @property
    def classes(self) -> dict[int, int]:
        """Class id to pixels of its mask; empty without one."""
        return self.current.classes if self.current else {}

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The photo ``to_json`` described."""
        revisions = (
            Revision(**{**r, "classes": {int(k): v for k, v in r["classes"].items()}})
            for r in data["revisions"]
        )
        photo = cls(**{**data, "revisions": tuple(revisions)})
        if not all(isinstance(getattr(photo, f.name), f.type) for f in fields(cls) if f.type in (str, int)):
            raise ValueError("a number or a text is something else")
        if photo.revision and photo.current is None:
            raise ValueError("its mask is missing")
        if Path(photo.file).name != photo.file or photo.split not in ("", *SUBSETS):
            raise ValueError("its file or subset has no such name")
        if min(photo.width, photo.height) < 1:
            raise ValueError("it has no pixels")
        return photo


@dataclass(frozen=True, kw_only=True)
class About(Document):
    """``collection.json``: what a person calls the collection, and when it was made."""

    title: str
    created: str = ""


_about = FileCache(About.read)


@FileCache
def _label_set(path: Path) -> LabelSet:
    return LabelSet.from_json(read_json(path))


class Store(Protocol):
    """What a collection needs of the ``AnnotationStore`` that it is in."""

    keep_revisions: int
    cache: dict[str, tuple[tuple[int, int, int], Photo]]

    def lock(self, name: str) -> AbstractContextManager[None]:
        """The lock of a collection."""

    def require_room(self, size: int = 0, photos: int | None = None) -> None:
        """Raise StoreError if there is no room for ``size`` bytes more."""

    def require_room_for_mask(self, size: int) -> None:
        """The same before a mask is kept."""

    def require_room_for_photos(self, number: int) -> None:
        """The same before photos come out of the trash."""


class CollectionFiles:
    """What ``Collection`` rests on: its folder, the side-cars in it, and changes made whole or not at all.

    ``folder`` holds ``JPEGImages``, ``SegmentationClass`` (palettized PNG), ``ImageSets/Segmentation``,
    ``labels.json`` and ``Annotations``, the side-cars; hidden folders hold revisions, trash and thumbnails.
    A change is made within ``_writing``: first ``_mark`` what it touches, then write new files, then ``_commit``.

    Args:
        store: the ``AnnotationStore``, which has the lock.
        folder: of the collection.
    """

    def __init__(self, store: Store, folder: Path | str) -> None:
        self.store = store
        self.folder = Path(folder)
        self.name = self.folder.name

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self._about().title

    @property
    def made(self) -> tuple[Path, str]:
        """Which collection it is: its folder, and when it was made, since another may be called alike by then."""
        return self.folder, self._about().created

    @property
    def label_set(self) -> LabelSet:
        """The LabelSet of its masks."""
        return self._file("labels.json", _label_set)

    def photo(self, id_: str) -> Photo:
        """The Photo called ``id_``, deleted or not. Raises NotFoundError."""
        record = self._record(id_)
        if record is None:
            raise NotFoundError(f"There is no photo {id_!r} in {self.title}: look it up in the list.")
        return record

    def recover(self) -> None:
        """Put in order what a killed process left half done. Does nothing if all is in order."""
        if self._pending():
            with contextlib.suppress(StoreError), self.store.lock(self.name):
                self._settle_pending()

    # --- changing ---

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
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

    def _add_revision(
        self, photo: Photo, revision: Revision, data: bytes, instead: Revision | None = None
    ) -> int:
        """Write a revision and commit it, in place of another one if that is given; returns the photo's mask's number.

        Raises StoreError if it is one too many: rather that than to push out the masks of others.
        """
        others = tuple(r for r in photo.revisions if r is not instead)
        if len(retained((*others, revision), self.store.keep_revisions)) > MOST_REVISIONS:
            raise StoreError(
                f"{MOST_REVISIONS} masks by different people are kept of {photo.source}, and no more can be: save it "
                "in a collection of your own."
            )
        self.store.require_room_for_mask(len(data))
        self._mark(photo.id)
        write_atomic(self._revision_path(photo.id, revision.number), data)
        revisions = (*others, revision)
        changed = replace(photo, last=revision.number)
        if revision.kind != "refused":
            changed = replace(
                changed,
                revision=revision.number,
                updated=revision.time,
                model=str(revision.meta.get("model") or photo.model),
                split=photo.split or self._free_split(photo.id),
            )
        keep = retained(revisions, self.store.keep_revisions)
        self._commit(replace(changed, revisions=tuple(r for r in revisions if r.number in keep)))
        return changed.revision

    def _commit(self, photo: Photo) -> None:
        """Make ``photo`` the truth, then bring its files in line with it."""
        self._mark(photo.id)
        write_json(self._sidecar(photo.id), photo.to_json())
        self._settle([photo.id])

    def _mark(self, id_: str) -> None:
        try:
            (self.folder / ".pending").mkdir(exist_ok=True)
            (self.folder / ".pending" / id_).touch()
        except OSError as error:
            raise disk_error(error, self.folder / ".pending" / id_) from error
        sync_folder(self.folder / ".pending")

    def _pending(self) -> list[str]:
        folder = self.folder / ".pending"
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def _settle_pending(self) -> None:
        if pending := self._pending():
            self._settle(pending)

    def _settle(self, ids: Iterable[str]) -> None:
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

    def _arrange(self, id_: str) -> None:
        photo = self._record(id_)
        mask = self.folder / "SegmentationClass" / f"{id_}.png"
        if photo is None:
            for folder in ("JPEGImages", ".trash", STROKES, DRAFTS):
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
            for path in (self.folder / DRAFTS).glob(f"{id_}.*"):
                path.unlink(missing_ok=True)  # a person's mask counts
            data = self._revision_bytes(id_, photo.revision)
            write_atomic(mask, in_palette(data, self.label_set))
        kept = {f"{r.number:06d}.png" for r in photo.revisions} if photo else ()
        for path in (self.folder / ".revisions" / id_).glob("*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _write_lists(self) -> None:
        photos = [p for p in self._records() if p.revision and not p.deleted]
        for split in SUBSETS:
            text = "".join(f"{p.id}\n" for p in photos if p.split == split).encode()
            path = self.folder / "ImageSets" / "Segmentation" / f"{split}.txt"
            if not path.is_file() or path.read_bytes() != text:
                write_atomic(path, text)

    def _free_split(self, id_: str) -> str:
        """Where a photo goes with its first mask, to stay there.

        The first three fill train, val and test; the others go by ``splits.subset_of``.
        """
        taken = {p.split for p in self._records() if p.revision and not p.deleted and p.id != id_}
        for split in SUBSETS:
            if split not in taken:
                return split
        return subset_of(id_)

    # --- reading ---

    def _about(self) -> About:
        return self._file("collection.json", _about)

    def _file(self, name: str, read: Callable[[Path], T]) -> T:
        try:
            return read(self.folder / name)
        except FileNotFoundError:
            raise NotFoundError(f"The collection {self.name!r} is gone: look in the trash.") from None
        except ValueError:
            raise StoreError(f"{self.folder / name} is damaged: restore it from a copy.") from None

    def _sidecar(self, id_: str) -> Path:
        return self.folder / "Annotations" / f"{id_}.json"

    def _revision_path(self, id_: str, number: int) -> Path:
        return self.folder / ".revisions" / id_ / f"{number:06d}.png"

    def _revision_bytes(self, id_: str, number: int) -> bytes:
        try:
            return self._revision_path(id_, number).read_bytes()
        except FileNotFoundError:
            raise StoreError(f"The mask {number} of {id_} is gone: restore another one.") from None

    def _record(self, id_: str) -> Photo | None:
        """The Photo called ``id_``, or None. Ids come from pages, so they may be anything."""
        if not isinstance(id_, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,79}", id_):
            return None
        path = self._sidecar(id_)
        try:
            return self._cached(os.fspath(path), path.stat())
        except FileNotFoundError:
            self.store.cache.pop(os.fspath(path), None)
            return None

    def _cached(self, path: str, status: os.stat_result) -> Photo:
        """The Photo in the side-car at ``path``, read again only if its ``status`` says that it has changed."""
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self.store.cache.get(path)
        if known is None or known[0] != stamp:
            try:
                known = stamp, Photo.from_json(read_json(Path(path)))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise StoreError(f"{path} is damaged: restore it from a copy.") from None
            self.store.cache[path] = known
        return known[1]

    def _records(self) -> list[Photo]:
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
                log_once(str(error))
        return found

    def _living(self, id_: str) -> Photo:
        photo = self.photo(id_)
        if photo.deleted:
            raise StoreError(f"{photo.source} is in the trash: take it out first.")
        return photo

    def _revision(self, photo: Photo, number: int) -> Revision:
        found = next((r for r in photo.revisions if r.number == number), None)
        if found is None:
            raise NotFoundError(f"{photo.source} has no revision {number!r}: choose one from its list.")
        return found


def in_palette(data: bytes, label_set: LabelSet) -> bytes:
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
