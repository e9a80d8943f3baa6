"""The photos of a batch that somebody left here, wherever they are: in files, or in ZIP files."""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo.core import names, settings
from segdemo.core.photos import Limits
from segdemo.data.formats import ArchiveLimits
from segdemo.data.formats.archives import ZipSource
from segdemo.data.formats.naming import Names, split_name
from segdemo.inference.batch import BatchError, Item
from segdemo.inference.batch_formats import FORMATS

MOST_ENTRIES = 100_000  # files in one ZIP, whatever they are
_FOLDERS = {name: name + "s" for name in ("label_map", "overlay", "cutout")}  # in the ZIP


@dataclass(frozen=True)
class Packed:
    """A photo in a ZIP file, to be called for its bytes: what ``Item.source`` may be. Raises ExchangeError.

    Attributes:
        path: of the ZIP. title: what messages call it. name: of the photo in it.
        archives: that open it.
    """

    path: Path
    title: str
    name: str
    archives: "Archives"

    def __call__(self) -> bytes:
        archive = self.archives.open(self.path, self.title)
        return archive.read(self.name, self.archives.max_bytes)


class Archives:
    """ZIP files that are opened once and stay open within a ``with``.

    Args:
        limits: of each. max_bytes: of a photo in it.
    """

    def __init__(self, limits: ArchiveLimits, max_bytes: int) -> None:
        self.limits, self.max_bytes = limits, max_bytes
        self._opened: dict[Path, ZipSource] = {}

    def __enter__(self) -> "Archives":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for archive in self._opened.values():
            archive.close()

    def open(self, path: Path, title: str) -> ZipSource:
        """The files in a ZIP, which messages call by a title. Raises ExchangeError."""
        if path not in self._opened:
            self._opened[path] = ZipSource(path, self.limits)
            self._opened[path].title = title
        return self._opened[path]


def most_bytes() -> float:
    """Bytes that the photos of a batch may have, and its results again; infinity for any. Raises SettingError."""
    return settings.read("SEGDEMO_MAX_BATCH_GB") * 1e9 or math.inf


class Photos:
    """The photos of a batch; its ZIP files stay open within a ``with``.

    Args:
        folder: of files, each called by a number, a hyphen and the name that it came with.
        limits: of photos.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._files = sorted(folder.iterdir())
        self._most_bytes = most_bytes()
        limits_of_zip = ArchiveLimits(MOST_ENTRIES, int(min(max(1, self._most_bytes), sys.maxsize)))
        self._archives = Archives(limits_of_zip, limits.max_bytes)
        self.left_out = 0  # files of archives that are no photos

    def __enter__(self) -> "Photos":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._archives.__exit__(*exc_info)

    def items(self, out: Path, formats: Sequence[str]) -> list[Item]:
        """An ``Item`` for each photo. Raises BatchError: none, too many or too large ones; ExchangeError."""
        most = settings.read("SEGDEMO_MAX_BATCH_PHOTOS") or math.inf
        taken, size = Names(), 0
        found: list[Item] = []
        each = [name for name in formats if FORMATS[name].encode]
        for name, source, bytes_ in self._photos():
            size += bytes_
            if len(found) >= most:
                raise BatchError(
                    f"A batch has up to {most} photos here, and there are more: give it in parts."
                )
            if size > self._most_bytes:
                raise BatchError(
                    f"A batch has up to {self._most_bytes / 1e9:g} GB here, and this has more: give it in parts."
                )
            stem = taken.take(split_name(name)[0])
            files = {kind: out / _FOLDERS[kind] / f"{stem}.png" for kind in each}
            found.append(Item(stem, name, source, files))
        if not found:
            raise BatchError("There is no photo in it: give JPEG, PNG or WebP files, or a ZIP of them.")
        return found

    def _photos(self) -> Iterator[tuple[str, Any, int]]:
        """(name, source of ``Item``, bytes) of each."""
        for path in self._files:
            name = path.name.partition("-")[2] or path.name
            if not _is_zip(path, name):
                yield name, path, path.stat().st_size
                continue
            archive = self._archives.open(path, name)
            for inside in sorted(archive.sizes):
                if names.is_photo(inside):
                    yield inside, Packed(path, name, inside, self._archives), archive.sizes[inside]
                else:
                    self.left_out += 1
            self.left_out += len(archive.odd) + len(archive.skipped)


def _is_zip(path: Path, name: str) -> bool:
    with path.open("rb") as file:
        return name.lower().endswith(".zip") or file.read(4) == b"PK\x03\x04"
