"""A collection of annotated photos: adding and finding photos, masks and all their revisions."""

import contextlib
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segdemo.annotations.records import DRAFTS, CollectionFiles, Photo, Revision, in_palette
from segdemo.core import faithful, label_maps, names
from segdemo.core.arrays import UInt8, digest_of
from segdemo.core.conventions import TRASH_DAYS, clean_title, now, one_line, slug
from segdemo.core.files import StoreError, sweep, write_atomic, write_json
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.photos import Limits, Source, encode_jpeg, encode_png, read_bytes, read_photo
from segdemo.core.quiet import quiet_pillow
from segdemo.data.datasets import Dataset
from segdemo.data.formats import SUBSETS, Annotation
from segdemo.data.sources import open_dataset

THUMBNAIL_SIDE = 256  # pixels, long side
HISTORY = ("created", "updated", "revision")  # of a photo: goes out with it, and is kept with what comes in


class ConflictError(StoreError):
    """A mask was saved on top of a revision that is no longer the newest.

    Attributes:
        current: the revision that is the photo's mask now.
        kept: the revision under which the refused mask can be opened.
    """

    def __init__(self, message: str, current: int, kept: int) -> None:
        super().__init__(message)
        self.current = current
        self.kept = kept


@dataclass(frozen=True)
class Taken:
    """What became of an annotation that was taken in.

    Attributes:
        id: the photo's.
        photo: ``"new"``, ``"there"`` if it was in the collection already, ``"trash"`` if it was taken out of it.
        mask: ``"new"``, ``"same"`` if the photo had it already, ``"beside"`` if the photo had another one, which
            stays, or "" without a mask.
        revision: number of the revision that holds the mask; 0 without one.
    """

    id: str
    photo: str
    mask: str = ""
    revision: int = 0


@dataclass(frozen=True)
class Page:
    """Some of ``total`` photos that were found: those of page ``page`` of ``pages``, counted from 1."""

    photos: tuple[Photo, ...]
    total: int
    page: int
    pages: int


class Collection(CollectionFiles):
    """One dataset of photos and masks with one label set; made by ``AnnotationStore``.

    Methods that take a photo's id raise NotFoundError if there is none, and all that write raise DiskError.
    """

    # --- the collection itself ---

    def rename(self, title: str) -> None:
        """Call it something else; its folder keeps its name, so that nobody loses it. Raises StoreError."""
        title = clean_title(title)
        with self._writing():
            write_json(self.folder / "collection.json", replace(self._about(), title=title).to_json())

    def change_label_set(self, label_set: LabelSet, of: LabelSet | None = None) -> None:
        """Rename, recolour or add classes. Ids stay: what was class 3 is class 3, whatever it is called.

        Where there are fewer classes, drafts go, since they may hold one that is gone; they can be made again.

        Args:
            label_set: the new one.
            of: the one that it was made of.

        Raises:
            StoreError: a mask, even an old revision, has a class that would be gone; or the collection has another
                label set by now than ``of``.
        """
        with self._writing():
            if of not in (None, self.label_set):
                raise StoreError("The classes were changed meanwhile: open the collection again.")
            fewer = len(label_set) < len(self.label_set)
            photos = self._records()
            for photo in photos:
                used = max((i for r in photo.revisions for i in r.classes if i < VOID), default=0)
                if used >= len(label_set):
                    name = self.label_set.classes[used]
                    raise StoreError(
                        f"The class {name!r} is used in {photo.source}, so it cannot be taken away."
                    )
            for photo in photos:
                self._mark(photo.id)
            write_json(self.folder / "labels.json", label_set.to_json())
            self._settle([photo.id for photo in photos])
            for path in [*(self.folder / DRAFTS).glob("*")] if fewer else []:
                path.unlink(missing_ok=True)

    def dataset(self) -> Dataset:
        """The collection as a ``datasets.Dataset``."""
        self.recover()
        return open_dataset("annotations", self.folder)

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all that training sees: label set, photos, masks and their subsets."""
        digest = hashlib.sha256(json.dumps(self.label_set.to_json(), sort_keys=True).encode())
        for photo in self._records():
            if photo.current and not photo.deleted:
                digest.update(f"{photo.id} {photo.sha256} {photo.current.sha256} {photo.split}\n".encode())
        return digest.hexdigest()

    @contextlib.contextmanager
    def changing(self, id_: str) -> Iterator[Photo]:
        """The Photo, while what is kept beside its masks is changed: nobody else changes the collection meanwhile.

        Raises:
            NotFoundError: no such photo, or the collection was deleted. StoreError: the photo is in the trash.
        """
        with self._writing():
            yield self._living(id_)

    # --- photos ---

    def add_photo(self, source: Source | UInt8, name: str, limits: Limits | None = None) -> str:
        """Take a photo into the collection.

        JPEG and PNG files that every program shows alike, upright and opaque, are kept byte for byte;
        anything else is kept as PNG, without loss. A photo that is there already is not added twice, and one
        that is in the trash is taken out.

        Args:
            source: bytes, a path, an open binary file, or uint8 RGB (H, W, 3).
            name: what it is called, such as its file name.
            limits: ``photos.Limits``; None reads them from the environment.

        Returns:
            Its id.

        Raises:
            intake.IntakeError: not a photo that can be read. StoreError: not such an array.
        """
        return self.admit(source, name, limits).id

    def admit(
        self, source: Source | UInt8, name: str, limits: Limits | None = None, when: str | None = None
    ) -> Taken:
        """As ``add_photo``, and tells whether the photo was there already.

        ``when`` is the time it is kept with, as ``conventions.now`` gives it: that of all photos that came together.
        """
        name = one_line(name)[:200] or "photo"
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
                raise StoreError(f"A photo is uint8 (H, W, 3), not {source.dtype} {source.shape}.")
            pixels, data, suffix = source, b"", None
        else:
            limits = limits or Limits.from_env()
            _, data = read_bytes(source, limits, name)
            pixels = read_photo(data, limits, name=name)
            suffix = _faithful_suffix(data, pixels)
        digest = digest_of(pixels)
        height, width = pixels.shape[:2]
        if suffix is None:
            data, suffix = encode_png(pixels), ".png"
        with self._writing():
            known = next((photo for photo in self._records() if photo.sha256 == digest), None)
            if known is not None:
                if known.deleted:
                    self.store.require_room_for_photos(1)
                    self._commit(replace(known, deleted="", split=known.split and self._free_split(known.id)))
                return Taken(known.id, "trash" if known.deleted else "there")
            self.store.require_room(len(data))
            id_ = f"{slug(Path(name).stem, 'photo')}-{digest[:12]}"
            time_ = when or now()
            self._mark(id_)
            write_atomic(self.folder / "JPEGImages" / f"{id_}{suffix}", data)
            file, label_set = f"{id_}{suffix}", self.label_set.name
            self._commit(Photo(id_, name, file, width, height, digest, time_, time_, label_set))
        return Taken(id_, "new")

    def image_path(self, id_: str) -> Path:
        """Path of the photo's file."""
        photo = self.photo(id_)
        return self.folder / (".trash" if photo.deleted else "JPEGImages") / photo.file

    def image(self, id_: str) -> UInt8:
        """The photo as uint8 RGB (H, W, 3)."""
        return read_photo(self.image_path(id_))

    def photos(
        self,
        search: str = "",
        class_id: int | None = None,
        since: str = "",
        until: str = "",
        annotated: bool | None = None,
        deleted: bool = False,
        sort: str = "updated",
        page: int = 1,
        per_page: int = 50,
        among: Container[str] | None = None,
        ranks: Mapping[str, float] | None = None,
    ) -> Page:
        """Find photos.

        Args:
            search: part of the name they came with, in any case.
            class_id: only those whose mask shows this class.
            since, until: only those last changed in this time, both ends included; ISO 8601, UTC, as short as
                ``"2025"`` or as long as the times in the side-cars.
            annotated: True for those with a mask, False for those without, None for both.
            deleted: those in the trash instead of the others.
            sort: ``"updated"`` or ``"created"``, newest first, or ``"source"``, by name; those of one time are by name.
            page, per_page: which part of the result; a page beyond the last gives the last.
            among: only those with these ids; None for all.
            ranks: number of photos, by id: those come first, the highest in front, before the others in their order.

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
            and (among is None or photo.id in among)
        ]
        if sort not in ("updated", "created", "source"):
            raise StoreError(f"Sort by updated, created or source, not by {sort!r}.")
        found.sort(key=lambda photo: names.counted(photo.source))
        if sort != "source":
            found.sort(key=lambda photo: getattr(photo, sort), reverse=True)
        if ranks is not None:
            found.sort(key=lambda photo: -ranks.get(photo.id, -math.inf))
        pages = max(1, -(-len(found) // per_page))
        page = min(max(1, page), pages)
        return Page(tuple(found[(page - 1) * per_page : page * per_page]), len(found), page, pages)

    def set_split(self, id_: str, split: str) -> None:
        """Put an annotated photo into ``"train"``, ``"val"`` or ``"test"``. Raises StoreError."""
        if split not in SUBSETS:
            raise StoreError(f"A photo goes to one of {', '.join(SUBSETS)}, not to {split!r}.")
        with self._writing():
            photo = self._living(id_)
            if not photo.revision:
                raise StoreError(f"{photo.source} has no mask yet: annotate it first.")
            self._commit(replace(photo, split=split))

    def delete(self, id_: str) -> None:
        """Put a photo and its masks into the trash, from where ``undelete`` takes them for some weeks."""
        with self._writing():
            self._commit(replace(self._living(id_), deleted=now()))

    def undelete(self, id_: str) -> None:
        """Take a photo and its masks out of the trash. Raises StoreError: there is no room for it."""
        with self._writing():
            photo = self.photo(id_)
            if photo.deleted:
                self.store.require_room_for_photos(1)
                self._commit(replace(photo, deleted=""))

    def purge(self, days: float = TRASH_DAYS) -> int:
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
        kept = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations", ".thumbnails")
        for name in (".", *kept):
            sweep(self.folder / name, days)
        return len(doomed)

    # --- masks ---

    def save(
        self,
        id_: str,
        label_map: UInt8,
        base_revision: int,
        meta: dict[str, Any] | None = None,
        author: str = "",
        sitting: str = "",
        auto: bool = False,
    ) -> int:
        """Keep a new mask of a photo. The old ones are kept too, but for those that a page saved by itself.

        Saving what is already the photo's mask changes nothing, so a save may safely be sent again. A page that saves
        by itself every few seconds says so: then each of its saves takes the place of the one before it, unless that
        was exported or marked meanwhile. It is never in conflict with itself, should an answer have been lost.

        Args:
            id_: the photo.
            label_map: uint8 (H, W) of the photo's size, ids of the label set or 255.
            base_revision: the revision the mask was made from; 0 if the photo had none.
            meta: plain data about it: ``"model"`` is the model it was started from.
            author: who saves, as short text that tells people apart.
            sitting: short text for the time in which a page has the photo open; "" for saves that stand alone.
            auto: whether the page saves by itself; what is saved otherwise stays.

        Returns:
            The number of the revision that is now the photo's mask.

        Raises:
            ConflictError: ``base_revision`` is not the current one; the mask is kept as a side revision.
            masks.MaskError: not a label map of the label set. StoreError: not the photo's size, or deleted.
        """
        if isinstance(base_revision, bool) or not isinstance(base_revision, int):
            raise StoreError(f"The revision a mask was made from is a number, not {base_revision!r}.")
        author, sitting, auto = str(author)[:80], str(sitting)[:40], auto is True and bool(sitting)
        meta = _plain(meta)
        label_set = self.label_set
        data = label_maps.encode_png(label_map, label_set)
        digest = digest_of(label_map)
        with self._writing():
            photo = self._fitting(id_, label_map)
            current = photo.current
            if current is not None and current.sha256 == digest:
                if current.auto and not auto:  # now it was made on purpose
                    self._commit(_with_current(photo, replace(current, auto=False)))
                return photo.revision
            pixels = label_maps.pixel_counts(label_map)
            fresh = Revision(photo.last + 1, now(), "saved", base_revision, digest, pixels, meta)
            fresh = replace(fresh, author=author, sitting=sitting, auto=auto)
            own = current if current is not None and current.is_of(sitting, author) else None
            if own is not None and own.auto and not own.kept:
                fresh = replace(fresh, base=own.base, meta={**own.meta, **meta})
                return self._add_revision(photo, fresh, data, instead=own)
            if base_revision == photo.revision or own is not None:
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

    def propose(
        self, id_: str, label_map: UInt8, author: str = "", meta: dict[str, Any] | None = None
    ) -> int:
        """Keep a mask beside the photo's own, as a draft: it counts once a person restores it.

        Args:
            id_: the photo.
            label_map: uint8 (H, W) of the photo's size, ids of the label set or 255.
            author: who proposes it, as short text.
            meta: plain data about it.

        Returns:
            The number of the revision it is kept as; of the one there is, if that is the same.

        Raises:
            masks.MaskError: not a label map of the label set. StoreError: not the photo's size, or deleted.
        """
        meta = {**_plain(meta), "proposed": True}
        data, digest = label_maps.encode_png(label_map, self.label_set), digest_of(label_map)
        with self._writing():
            photo = self._fitting(id_, label_map)
            known = next((r for r in photo.revisions if r.sha256 == digest), None)
            if known is None:
                pixels, base = label_maps.pixel_counts(label_map), photo.revision
                known = Revision(
                    photo.last + 1, now(), "refused", base, digest, pixels, meta, str(author)[:80]
                )
                self._add_revision(photo, known, data)
            return known.number

    def _fitting(self, id_: str, label_map: UInt8) -> Photo:
        """The photo, not in the trash, that a label map is one of. Raises StoreError, MaskError."""
        photo = self._living(id_)
        if label_map.shape != (photo.height, photo.width):
            height, width = label_map.shape
            raise StoreError(
                f"The mask is {width} x {height} pixels and the photo {photo.width} x {photo.height}: "
                "they must be the same."
            )
        label_maps.check_label_map(label_map, self.label_set)  # it may have changed since
        return photo

    def keep(self, why: str, ids: Iterable[str] | None = None) -> None:
        """Mark the present masks of photos, so that they are never cleared away.

        Args:
            why: a word, such as ``"exported"``.
            ids: of the photos; None for all.
        """
        with self._writing():
            for photo in self._records() if ids is None else [self.photo(id_) for id_ in ids]:
                current = photo.current
                if current is not None and not current.kept:
                    self._commit(_with_current(photo, replace(current, kept=why)))

    def annotations(self, ids: Iterable[str] | None = None) -> Iterator[Annotation]:
        """Photos with their masks, one at a time, as ``formats.export_zip`` takes them.

        Args:
            ids: which; None for all, oldest first, so that photos of equal names are numbered the same in the
                next export. Those without a mask, or in the trash, are left out.

        Returns:
            An iterator of ``formats.Annotation``; ``meta`` has source, subset, dates, revision, model and
            ``photo_sha256``, by which ``take`` knows the photo again. Exports call its files as ``source`` says.
        """
        label_set = self.label_set
        if ids is None:
            photos = sorted(self._records(), key=lambda photo: (photo.created, photo.id))
        else:
            photos = [self.photo(id_) for id_ in ids]
        for photo in photos:
            label_map = self.load(photo.id) if not photo.deleted else None
            if label_map is not None:
                told = ("source", *HISTORY, "model")
                meta = {**{key: getattr(photo, key) for key in told}, "subset": photo.split}
                meta["photo_sha256"] = photo.sha256
                path = self.image_path(photo.id)
                yield Annotation(photo.id, path, label_map, label_set, meta)

    def take(self, annotation: Annotation, limits: Limits | None = None) -> Taken:
        """Add a photo with its mask, as imports give it. No mask that the photo has is replaced.

        If the photo has another mask already, that stays, with its subset, and the new one is kept beside it, as
        ``save`` keeps a refused one; unless the photo was in the trash: then the new mask counts, and the old one
        is an older revision.

        What an export said of its history is kept with the revision's ``meta``, as ``"exported"``.

        Args:
            annotation: an ``formats.Annotation`` whose label set has the collection's classes; without a label map
                (None) only the photo is added.
            limits: ``photos.Limits``; None reads them from the environment.

        Returns:
            A ``Taken``.

        Raises:
            StoreError: other classes, or a mask that is not the photo's size. MaskError, IntakeError.
        """
        if annotation.label_set.classes != self.label_set.classes:
            raise StoreError(
                f"The classes of {annotation.label_set.title} are not those of {self.title}: import them "
                "into a collection of their own."
            )
        meta = annotation.meta
        name = str(meta.get("source") or annotation.name or annotation.id)
        taken = self._exported(annotation) or self.admit(annotation.image, name, limits)
        if annotation.label_map is None:
            return taken
        note: dict[str, Any] = {"imported": annotation.id}
        if meta.get("model"):
            note["model"] = str(meta["model"])
        if history := {key: meta[key] for key in HISTORY if _is_short(meta.get(key))}:
            note["exported"] = history
        before = self.photo(taken.id)
        base = before.revision if taken.photo == "trash" else 0
        try:
            revision = self.save(taken.id, annotation.label_map, base, note)
        except ConflictError as error:
            return replace(taken, mask="beside", revision=error.kept)
        if revision == before.revision:
            return replace(taken, mask="same", revision=revision)
        if meta.get("subset") in SUBSETS:
            self.set_split(taken.id, meta["subset"])
        return replace(taken, mask="new", revision=revision)

    def _exported(self, annotation: Annotation) -> Taken | None:
        """The ``Taken`` of a photo that left this collection in an export, which may have encoded it anew; or None."""
        digest, label_map = annotation.meta.get("photo_sha256"), annotation.label_map
        if not digest or label_map is None:
            return None
        known = next((p for p in self._records() if p.sha256 == digest and not p.deleted), None)
        if known is None or label_map.shape != (known.height, known.width):
            return None
        return Taken(known.id, "there")

    def revisions(self, id_: str) -> tuple[Revision, ...]:
        """The Revisions of a photo that are kept, newest first."""
        return self.photo(id_).revisions[::-1]

    def restore(self, id_: str, revision: int) -> int:
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
            data = self._revision_bytes(id_, old.number)
            fresh = replace(
                old, number=photo.last + 1, time=now(), kind="restored", base=old.number, author="", kept=""
            )
            fresh = replace(fresh, sitting="", auto=False)
            return self._add_revision(photo, fresh, data)

    def mask_png(self, id_: str, revision: int | None = None) -> bytes | None:
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
        return in_palette(self._revision_bytes(id_, chosen.number), self.label_set)

    def load(self, id_: str, revision: int | None = None) -> UInt8 | None:
        """As ``mask_png``, but the label map: uint8 (H, W)."""
        data = self.mask_png(id_, revision)
        return None if data is None else label_maps.decode_png(data)

    def thumbnail(
        self, id_: str, side: int = THUMBNAIL_SIDE, draft: tuple[str, Callable[[], UInt8]] | None = None
    ) -> Path:
        """Path of a small JPEG of the photo with its mask laid over it; made when first asked for.

        Args:
            id_: the photo.
            side: length of its longer side in pixels; smaller photos are not enlarged.
            draft: what is laid over a photo without a mask: letters and digits that tell it from others, and what
                gives it, uint8 (H, W).
        """
        photo = self.photo(id_)
        label_set = self.label_set
        draft = None if photo.revision else draft
        colors = hashlib.sha256(bytes(label_set.palette())).hexdigest()[:6] + (
            f"-{draft[0]}" if draft else ""
        )
        path = self.folder / ".thumbnails" / f"{id_}.r{photo.revision}-{side}-{colors}.jpg"
        if path.is_file():
            return path
        scale = min(1, side / max(photo.width, photo.height))
        size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
        image = read_photo(self.image_path(id_), draft_size=size[::-1])
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
        if (label_map := draft[1]() if draft else self.load(id_)) is not None:
            small = np.asarray(Image.fromarray(label_map).resize(size, Image.Resampling.NEAREST))
            image = label_maps.overlay(image, small, label_set)
        for old in path.parent.glob(f"{id_}.r*-{side}-*.jpg"):
            old.unlink(missing_ok=True)
        write_atomic(path, encode_jpeg(image, 85))
        return path


def _with_current(photo: Photo, revision: Revision) -> Photo:
    """The photo with another record of the revision that is its mask."""
    return replace(
        photo, revisions=tuple(revision if r.number == revision.number else r for r in photo.revisions)
    )


def _faithful_suffix(data: bytes, pixels: UInt8) -> str | None:
    """The ending of a file that any program shows as ``pixels``; None if it must be written anew."""
    if not faithful.shown_alike(data):
        return None
    try:
        with quiet_pillow, Image.open(io.BytesIO(data)) as image:
            suffix = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}.get(image.format or "")
            upright = suffix is not None and faithful.orientation(image) == 1
            return suffix if upright and np.array_equal(np.asarray(image.convert("RGB")), pixels) else None
    except Exception:  # what intake reads Pillow alone may not, such as a PNG with a long text
        return None


def _is_short(value: Any) -> bool:
    """Whether it is a whole number or a text as short as a time is."""
    return (isinstance(value, str) and len(value) <= 40) or (isinstance(value, int) and abs(value) < 2**53)


def _plain(meta: dict[str, Any] | None) -> dict[str, Any]:
    """``meta`` if it is plain data of at most 4 KB. Raises StoreError."""
    try:
        text = json.dumps(meta or {}, allow_nan=False)
        if isinstance(meta or {}, dict) and len(text) <= 4096:
            return json.loads(text)
    except (TypeError, ValueError):
        pass
    raise StoreError("What is kept with a mask is a small dictionary of texts and numbers.")
