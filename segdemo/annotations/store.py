"""The collections of annotated photos on disk: made, found, put into the trash and taken out again."""

import logging
import os
import re
import secrets
import shutil
import time
from pathlib import Path

from segdemo.annotations.collection import Collection
from segdemo.core import settings
from segdemo.core.conventions import TRASH_DAYS, clean_title, now, slug
from segdemo.core.files import DiskError, NotFoundError, StoreError, disk_error, locked, sweep, write_json

_log = logging.getLogger(__name__)
KEEP_REVISIONS = 50  # of each photo, and the first one


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
        """Every Collection, by title. Damaged ones are left out, with a warning in the log."""
        if not self.root.is_dir():
            return []
        found = {}
        for path in self.root.glob("*/collection.json"):
            collection = Collection(self, path.parent)
            try:
                if not collection.name.startswith(".") and collection.label_set:
                    found[collection] = collection.title.lower()
            except StoreError as error:  # one that is damaged must not take the others along
                _log.warning("Left out: %s", error)
        return sorted(found, key=found.get)

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
