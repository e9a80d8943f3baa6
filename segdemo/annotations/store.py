"""The collections of annotated photos on disk: made, found, put into the trash and taken out again."""

import math
import os
import re
import secrets
import time
from contextlib import AbstractContextManager
from pathlib import Path

from segdemo.annotations.collection import Collection
from segdemo.annotations.records import About, Photo
from segdemo.core import settings
from segdemo.core.conventions import TRASH_DAYS, clean_title, now, number_of, slug
from segdemo.core.documents import log_once
from segdemo.core.files import (
    NotFoundError,
    StoreError,
    disk_errors,
    disk_usage,
    hidden_build,
    locked,
    sweep,
    write_json,
)
from segdemo.core.labels import LabelSet

KEEP_REVISIONS = 50  # of each photo, and those of ``records.retained``
USAGE_SECONDS = 60  # how long a measurement of the disk holds


class AnnotationStore:
    """Collections of annotated photos, each a folder that ``open_dataset("annotations", ...)`` reads.

    Args:
        root: the folder of the collections; by default ``annotations`` in the state root.
        keep_revisions: how many masks of each photo are kept, besides the first one.
    """

    def __init__(self, root: Path | str | None = None, keep_revisions: int = KEEP_REVISIONS) -> None:
        self.root = Path(root) if root is not None else settings.home() / "annotations"
        self.keep_revisions = max(1, keep_revisions)
        self._usage = (-math.inf, 0)  # when it was measured; bytes of all collections
        # Side-car path -> ((inode, mtime, size), Photo); a replaced file has a new inode
        self.cache: dict[str, tuple[tuple[int, int, int], Photo]] = {}

    def collections(self) -> list[Collection]:
        """Every Collection, by title; one whose title or classes cannot be read is left out, with a line in the log."""
        found: list[tuple[str, Collection]] = []
        for path in self.root.glob("[!.]*/collection.json"):
            collection = Collection(self, path.parent)
            try:
                if collection.label_set:
                    found.append((collection.title.lower(), collection))
            except StoreError as error:
                log_once(str(error))
        return [collection for _, collection in sorted(found, key=lambda pair: pair[0])]

    def create(self, title: str, label_set: LabelSet) -> Collection:
        """A new, empty Collection.

        Args:
            title: what a person calls it; its folder is named after it.
            label_set: the ``LabelSet`` of its masks.

        Raises:
            StoreError: no title, or too many or too large collections. DiskError.
        """
        title = clean_title(title)
        with self.lock(".store"):
            self.require_place()
            self.require_room()
            name = wanted = slug(title, "collection")
            taken = {path.name for path in self.root.iterdir()}
            number = 1
            while name in taken:
                number += 1
                name = f"{wanted}-{number}"
            with hidden_build(self.root / name) as build:
                for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
                    (build / folder).mkdir(parents=True)
                write_json(build / "labels.json", label_set.to_json())
                write_json(build / "collection.json", About(title=title, created=now()).to_json())
        return Collection(self, self.root / name)

    def require_place(self, others: int = 0) -> None:
        """Raise StoreError if there may not be one more collection, after ``others`` that are about to come."""
        most = settings.read("SEGDEMO_MAX_COLLECTIONS")
        if most and len(list(self.root.glob("[!.]*/collection.json"))) + others >= most:
            raise StoreError(
                f"There may be {number_of(int(most), 'collection')} here: delete one that nobody needs first."
            )

    def require_room(self, size: int = 0, photos: int | None = None) -> None:
        """Raise StoreError if the collections fill the disk they may have; ``size`` bytes are about to be added.

        So many ``photos`` are among them; None says one, if there are any bytes. Here there may be any number.
        """
        most = settings.read("SEGDEMO_MAX_COLLECTIONS_GB")
        if not most:
            return
        measured, usage = self._usage
        if time.monotonic() - measured > USAGE_SECONDS:
            measured, usage = time.monotonic(), disk_usage(self.root)
        self._usage = measured, usage + size
        if usage + size > most * 1e9:
            raise StoreError(
                f"The collections fill the {most:g} GB they may have: delete photos or collections and wait until the "
                "trash is emptied, or ask for more."
            )

    def require_room_for_mask(self, size: int) -> None:
        """As ``require_room`` for a mask of ``size`` bytes; here masks are always kept."""

    def require_room_for_photos(self, number: int) -> None:
        """As ``require_room`` for photos that come out of the trash, whose bytes count already; here all may."""

    def open(self, name: str) -> Collection:
        """The Collection whose folder is called ``name``. Raises NotFoundError."""
        collection = Collection(self, self._folder(name))
        collection.recover()
        return collection

    def _folder(self, name: str) -> Path:
        # Names come from pages, so they may be anything.
        if isinstance(name, str) and slug(name, "") == name != "":
            folder = self.root / name
            if (folder / "collection.json").is_file():
                return folder
        known = ", ".join(c.name for c in self.collections())
        todo = f"choose one of these ({known})" if known else "make one first"
        raise NotFoundError(f"There is no collection {name!r}: {todo}.")

    def delete(self, name: str) -> str:
        """Put a collection into the trash; returns the key that ``undelete`` takes. Raises NotFoundError."""
        with self.lock(".store"), self.lock(name):
            folder = self._folder(name)
            key = f"{name}.{int(time.time())}-{secrets.token_hex(3)}"
            target = self.root / ".trash" / key
            with disk_errors(folder):
                target.parent.mkdir(exist_ok=True)
                folder.rename(target)
                os.utime(target)  # the trash is emptied by age
        return key

    def undelete(self, key: str) -> Collection:
        """Take a collection out of the trash again.

        Returns:
            The Collection, under its old name or, if that is taken, a new one.

        Raises:
            NotFoundError: it is not in the trash (any more). StoreError: there is no room for it.
        """
        with self.lock(".store"):
            source = self.root / ".trash" / key
            wanted = key.partition(".")[0]
            if not re.fullmatch(r"[a-z0-9-]+\.[0-9]+-[0-9a-f]{6}", key) or not source.is_dir():
                raise NotFoundError(f"{wanted!r} is not in the trash any more.")
            self.require_place()
            self.require_room_for_photos(count_photos(source))
            name, number = wanted, 1
            while (self.root / name).exists():
                number += 1
                name = f"{wanted}-{number}"
            with disk_errors(self.root / name):
                source.rename(self.root / name)
        return self.open(name)

    def tidy(self, days: float = TRASH_DAYS) -> None:
        """Delete what has lain in the trash for ``days``, and what killed processes left behind."""
        sweep(self.root, days)
        sweep(self.root / ".trash", days)
        for collection in self.collections():
            collection.recover()
            collection.purge(days)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """The lock of a collection, kept outside it so that the folder holds data only."""
        return locked(self.root / ".locks" / f"{name}.lock")


def count_photos(folder: Path) -> int:
    """How many photos the folder of a collection holds, without those in its trash."""
    try:
        return sum(1 for path in (folder / "JPEGImages").iterdir() if path.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):  # or it has just been moved or deleted
        return 0
