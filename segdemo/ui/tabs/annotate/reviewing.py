"""A review of a collection's masks: where they are probably wrong, photos that are there twice, the balance of classes.

What a person decided to keep stays in ``.review.json`` of the collection, so that nobody is asked again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from PIL import Image

from segdemo.annotations.collection import Collection, ConflictError
from segdemo.annotations.records import Photo
from segdemo.annotations.store import AnnotationStore
from segdemo.core.arrays import Bools, UInt8
from segdemo.core.documents import DamagedError, Document, log_once
from segdemo.core.files import NotFoundError, StoreError, write_json
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.photos import IntakeError
from segdemo.data.formats import SUBSETS
from segdemo.inference import review, teach
from segdemo.inference.features import CELL, Features
from segdemo.inference.refine import refine

FILE = ".review.json"  # of a collection
MOST_PHOTOS = 300  # that are reviewed, those changed last
MOST_REPORTS = 100  # remembered
LONGEST = 768  # pixels of the longer side of a mask that is judged
SAME = 0.5  # intersection over union of boxes from which two regions are the same one


@dataclass(frozen=True)
class Finding:
    """A region in which a mask is probably wrong.

    Attributes:
        number: of this finding; they are never used twice.
        photo: its id. revision: of the mask that was judged.
        box: left, top, right, bottom, pixels of the photo.
        saved: class id in the mask. suggested: what the model says.
        score: how much speaks for the model.
        cells: bool (h, w), the cells of features in it.
    """

    number: int
    photo: str
    revision: int
    box: tuple[int, int, int, int]
    saved: int
    suggested: int
    score: float
    cells: Bools

    def to_json(self) -> dict[str, Any]:
        """What is kept of it, as plain data."""
        return {"photo": self.photo, "box": list(self.box), "saved": self.saved, "suggested": self.suggested}


@dataclass(frozen=True)
class Report:
    """What a review found.

    Attributes:
        findings: regions, worst first.
        duplicates: pairs of photos that look nearly the same, by their ids.
        said: why there are no findings, in a sentence, or "".
        reviewed: how many masks were judged.
    """

    findings: tuple[Finding, ...] = ()
    duplicates: tuple[review.Duplicate, ...] = ()
    said: str = ""
    reviewed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Kept(Document):
    """``.review.json``: regions whose mask a person kept: {photo, box, saved, suggested}."""

    kept: list[Any] = field(default_factory=list)


class Reviewing:
    """One for each process; safe to call from several threads.

    Args:
        stores: gives the collections of whoever is being answered.
    """

    def __init__(self, stores: Callable[[], AnnotationStore]) -> None:
        self._stores = stores
        # The last one of each collection, by its ``made``.
        self._reports: LRUCache[tuple[Path, str], Report] = LRUCache(MOST_REPORTS)
        self._number = 0
        self._turn = threading.Semaphore()
        self._lock = threading.Lock()

    @cached_property
    def _features(self) -> Features:
        return Features()

    def report(self, name: str) -> Report | None:
        """The last report on a collection since the server began, less what was decided since; or None."""
        try:
            collection = self._stores().open(name)
        except NotFoundError:
            return None
        return self._report(collection)

    def _report(self, collection: Collection) -> Report | None:
        with self._lock:
            return self._reports.get(collection.made)

    def _change(self, collection: Collection, change: Callable[[Report], Report]) -> None:
        """Put another report in the place of the one that there is."""
        with self._lock:
            if (report := self._reports.get(collection.made)) is not None:
                self._reports[collection.made] = change(report)

    def look(self, name: str, progress: Callable[[int, int], object] | None = None) -> Report:
        """Judge the masks of a collection by what the others of them teach.

        Args:
            name: the collection.
            progress: called with how many photos of how many are read.

        Raises:
            StoreError: a review is going on. NotFoundError: no such collection. DamagedModelError: no features.
        """
        collection = self._stores().open(name)
        if not self._turn.acquire(blocking=False):
            raise StoreError("Another review is going on: wait until that is done.")
        try:
            photos, reviewed = self._read(collection, progress)
            report = Report(reviewed=len(reviewed))
            try:
                regions = review.disagreements(reviewed, self._features.steps)
                report = replace(report, findings=self._findings(collection, photos, regions))
            except teach.TeachError as error:
                report = replace(report, said=str(error))
            duplicates = tuple(review.duplicates(reviewed, self._features.steps))
            report = replace(report, duplicates=duplicates)
            with self._lock:
                self._reports[collection.made] = report
            return report
        finally:
            self._turn.release()

    def _read(
        self, collection: Collection, progress: Callable[[int, int], object] | None
    ) -> tuple[dict[str, Photo], list[review.Reviewed]]:
        listed = collection.photos(annotated=True, per_page=MOST_PHOTOS).photos
        photos, reviewed = {}, []
        for done, photo in enumerate(listed, 1):
            try:
                label_map = collection.load(photo.id)
                features = self._features.of(collection.image(photo.id), photo.sha256)
            except (IntakeError, MaskError, StoreError) as error:  # a damaged photo must not end the review
                log_once(str(error))
                continue
            if label_map is not None:
                photos[photo.id] = photo
                reviewed.append(review.Reviewed(photo.id, features, _small(label_map), photo.split))
            if progress:
                progress(done, len(listed))
        return photos, reviewed

    def _findings(
        self, collection: Collection, photos: Mapping[str, Photo], regions: Sequence[review.Region]
    ) -> tuple[Finding, ...]:
        kept, found = _kept(collection), []
        for region in regions:
            photo = photos[region.key]
            width, height = _small_size(photo.width, photo.height)
            scales = np.array([photo.width / width, photo.height / height] * 2)
            left, top, right, bottom = np.rint(np.array(region.box) * scales).astype(int).tolist()
            with self._lock:
                self._number += 1
            finding = Finding(
                self._number,
                photo.id,
                photo.revision,
                (left, top, right, bottom),
                region.saved,
                region.suggested,
                region.score,
                region.cells,
            )
            if not any(_same(finding.to_json(), other) for other in kept):
                found.append(finding)
        return tuple(found)

    def finding(self, name: str, number: object) -> Finding:
        """A finding that is still open. Raises StoreError: there is none of that number."""
        report = self.report(name)
        found = [f for f in report.findings if f.number == number] if report else []
        if not found:
            raise StoreError("This region was decided already: look for mistakes again.")
        return found[0]

    def keep(self, name: str, number: object) -> None:
        """The mask is right: this region is not asked about again. Raises StoreError, DiskError."""
        collection, finding = self._stores().open(name), self.finding(name, number)
        with collection.changing(finding.photo):
            write_json(collection.folder / FILE, {"kept": [*_kept(collection), finding.to_json()]})
        self._close(collection, finding)

    def take(self, name: str, number: object, author: str = "") -> int:
        """The model is right: the region gets its class, as a new revision of the mask.

        Returns:
            The number of the revision.

        Raises:
            StoreError: the mask was changed since it was judged. DiskError.
        """
        collection, finding = self._stores().open(name), self.finding(name, number)
        mask = self.suggestion(name, finding)
        try:
            revision = collection.save(finding.photo, mask, finding.revision, {"review": "taken"}, author)
        except ConflictError:
            raise StoreError("The mask was changed meanwhile: look for mistakes again.") from None
        self._close(collection, finding)

        def renewed(report: Report) -> Report:  # further regions of this photo are of the new revision
            findings = (
                replace(f, revision=revision) if f.photo == finding.photo else f for f in report.findings
            )
            return replace(report, findings=tuple(findings))

        self._change(collection, renewed)
        return revision

    def suggestion(self, name: str, finding: Finding) -> UInt8:
        """The mask, uint8 (H, W), with the region's class as the model says.

        Raises:
            StoreError: the mask was changed since it was judged.
        """
        collection = self._stores().open(name)
        mask = collection.load(finding.photo)
        if mask is None or collection.photo(finding.photo).revision != finding.revision:
            raise StoreError("The mask was changed meanwhile: look for mistakes again.")
        mask[pixels_of(finding.cells, collection.image(finding.photo)) & (mask == finding.saved)] = (
            finding.suggested
        )
        return mask

    def repair(self, name: str) -> dict[str, str]:
        """Put photos that look nearly the same into one subset; {id of each that was moved: its subset}.

        Raises:
            StoreError: there is no report.
        """
        collection = self._stores().open(name)
        report = self._report(collection)
        if report is None:
            raise StoreError("Look for mistakes first.")
        photos = collection.photos(annotated=True, per_page=1_000_000).photos
        moved = repaired(report.duplicates, {photo.id: photo.split for photo in photos})
        for id_, split in moved.items():
            collection.set_split(id_, split)
        pairs = tuple(replace(pair, across=False) for pair in report.duplicates)
        self._change(collection, lambda report: replace(report, duplicates=pairs))
        return moved

    def _close(self, collection: Collection, finding: Finding) -> None:
        def without(report: Report) -> Report:
            return replace(report, findings=tuple(f for f in report.findings if f.number != finding.number))

        self._change(collection, without)


def repaired(duplicates: Sequence[review.Duplicate], splits: Mapping[str, str]) -> dict[str, str]:
    """Where to put photos so that none that look nearly the same are in two subsets.

    All that are linked by pairs go where most of them are (train before val before test, if that is as many); but not
    so that a subset would be left without any photo.

    Args:
        duplicates: pairs of ids.
        splits: subset of each photo.

    Returns:
        The new subset of each photo that has to move.
    """
    groups = {id_: {id_} for id_ in splits}
    for pair in duplicates:
        first, second = groups.get(pair.first), groups.get(pair.second)
        if first is not None and second is not None and first is not second:
            first |= second
            groups.update(dict.fromkeys(second, first))
    now, moved = dict(splits), {}
    done: set[str] = set()
    for id_ in sorted(groups):
        group = groups[id_]
        if id_ in done or len({now[one] for one in group}) < 2:
            continue
        done |= group
        there = Counter(now[one] for one in group)
        others = {split for one, split in now.items() if one not in group}
        needed = [split for split in SUBSETS if split in there and split not in others]
        if len(needed) > 1:
            continue  # they are all there is of two subsets
        target = needed[0] if needed else max(SUBSETS, key=lambda split: there[split])
        for one in sorted(group):
            if now[one] != target:
                moved[one] = now[one] = target
    return moved


@dataclass(frozen=True)
class Amount:
    """Of a class: in how many ``photos`` it is, and its ``share`` of all labelled pixels, 0..1."""

    name: str
    photos: int
    share: float


def balance(photos: Sequence[Photo], label_set: LabelSet) -> tuple[list[Amount], list[Photo]]:
    """How much there is of each class in the masks of photos, and the photos that show none but the background."""
    counts = [photo.classes for photo in photos if photo.revision]
    total = max(1, sum(n for one in counts for id_, n in one.items() if id_ != VOID))
    amounts = [
        Amount(name, sum(i in one for one in counts), sum(one.get(i, 0) for one in counts) / total)
        for i, name in enumerate(label_set.classes)
    ]
    nothing = {label_set.background, VOID}
    return amounts, [photo for photo in photos if photo.revision and not set(photo.classes) - nothing]


def pixels_of(cells: Bools, image: UInt8) -> Bools:
    """The pixels of a region of cells, with outlines where the photo has them.

    Args:
        cells: bool (h, w). image: the photo, uint8 (H, W, 3).

    Returns:
        bool (H, W).
    """
    inside = cells.astype(np.float32)
    size = cells.shape[0] * CELL, cells.shape[1] * CELL
    found: Bools = refine(np.stack([1 - inside, inside], -1), image, size, teach.RADIUS, teach.EPSILON) == 1
    return found


def _small_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1, LONGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _small(label_map: UInt8) -> UInt8:
    size = _small_size(label_map.shape[1], label_map.shape[0])
    return np.asarray(Image.fromarray(label_map).resize(size, Image.Resampling.NEAREST))


def _kept(collection: Collection) -> list[dict[str, Any]]:
    """What a person kept in a collection; what cannot be read is asked about again."""
    try:
        kept = _Kept.read(collection.folder / FILE).kept
    except FileNotFoundError:
        return []
    except (DamagedError, OSError) as error:
        log_once(str(error))
        return []
    return [one for one in kept if isinstance(one, dict) and _is_box(one.get("box"))]


def _is_box(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int) for edge in box)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if any(one[key] != other.get(key) for key in ("photo", "saved", "suggested")):
        return False
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one["box"], other["box"]
    common = max(0, min(a1, c1) - max(a0, c0)) * max(0, min(b1, d1) - max(b0, d0))
    both = (a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - common
    return bool(common > SAME * both)
