"""Archives, whatever is in them: ZIP files and folders to read from within limits, files put into a ZIP.

``ZipSource`` and ``FolderSource`` are used alike. ``sizes`` maps names, with forward slashes, to sizes in
bytes, ``skipped`` lists links, and ``title`` is what messages call the archive.
"""

import json
import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segdemo.exchange.annotation import ExchangeError


@dataclass(frozen=True)
class ArchiveLimits:
    """What an import may cost: files, bytes of all of them once unpacked, bytes of one text or JSON file."""

    max_files: int = 100_000
    max_bytes: int = 8_000_000_000
    max_json_bytes: int = 256_000_000


class ZipSource:
    """The files in a ZIP.

    Args:
        path: of the ZIP file.
        limits: ``ArchiveLimits``.

    Raises:
        ExchangeError: not a ZIP, damaged, encrypted, over a limit, or with unsafe names.
    """

    def __init__(self, path, limits):
        self.title = Path(path).name
        self.limits = limits
        self.skipped = []
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise ExchangeError(f"There is no file {path}: check its name.") from error
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ExchangeError(f"{self.title} is not a ZIP file, or damaged: download it again.") from error
        try:
            self.sizes = self._index()
        except BaseException:
            self._archive.close()
            raise

    def _index(self):
        sizes = {}
        for info in self._archive.infolist():
            name = info.filename
            if _unsafe(name):
                raise ExchangeError(
                    f"{self.title} holds a file with the unsafe name {name!r}: it is not read."
                )
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                raise ExchangeError(
                    f"{self.title} is encrypted: unpack it and pack it again without a password."
                )
            if stat.S_ISLNK(info.external_attr >> 16):
                self.skipped.append(name)
            elif name in sizes:
                raise ExchangeError(f"{self.title} holds {name} twice: pack it again.")
            else:
                sizes[name] = info.file_size
        _check_archive(self.title, sizes, self.limits)
        return sizes

    def read(self, name, max_bytes):
        """The bytes of a file. Raises ExchangeError: more than ``max_bytes``, or damaged."""
        _check_file(name, self.sizes[name], max_bytes)
        try:
            return self._archive.read(name)  # never more than the size declared, which was checked
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise ExchangeError(f"{name} is damaged in {self.title}: pack or download it again.") from error

    def close(self):
        """Let go of the file."""
        self._archive.close()


class FolderSource:
    """The files in a folder and those below it.

    Args:
        path: of the folder.
        limits: ``ArchiveLimits``.

    Raises:
        ExchangeError: no such folder, or over a limit.
    """

    def __init__(self, path, limits):
        self._root = Path(path)
        self.title = self._root.name or str(path)
        self.limits = limits
        self.skipped = []
        self.sizes = {}
        if not self._root.is_dir():
            raise ExchangeError(f"There is no folder {path}: check its name.")
        for folder, _, files in os.walk(self._root):
            for file in sorted(files):
                full = Path(folder, file)
                name = full.relative_to(self._root).as_posix()
                status = full.lstat()
                if stat.S_ISREG(status.st_mode):
                    self.sizes[name] = status.st_size
                else:
                    self.skipped.append(name)
            if len(self.sizes) > limits.max_files:
                break
        _check_archive(self.title, self.sizes, limits)

    def read(self, name, max_bytes):
        """The bytes of a file. Raises ExchangeError: more than ``max_bytes``, or unreadable."""
        _check_file(name, self.sizes[name], max_bytes)
        try:
            return (self._root / name).read_bytes()
        except OSError as error:
            raise ExchangeError(f"{name} cannot be read: check the disk and its permissions.") from error

    def close(self):
        """Nothing to let go of."""


def _unsafe(name):
    parts = PurePosixPath(name).parts
    return (
        name.startswith("/")
        or "\\" in name
        or ".." in parts
        or (parts and ":" in parts[0])
        or any(ord(c) < 32 for c in name)
    )


def _check_archive(title, sizes, limits):
    if len(sizes) > limits.max_files:
        raise ExchangeError(f"{title} holds more than {limits.max_files} files: import it in parts.")
    if sum(sizes.values()) > limits.max_bytes:
        raise ExchangeError(
            f"{title} would unpack to more than {limits.max_bytes / 1e9:g} GB: import it in parts."
        )


def _check_file(name, size, max_bytes):
    if size > max_bytes:
        raise ExchangeError(f"{name} has {size / 1e6:.1f} MB where {max_bytes / 1e6:g} MB are allowed.")


def add_file(archive, name, content):
    """Put text or bytes into an open ``ZipFile``; pictures are not compressed again."""
    info = zipfile.ZipInfo(name)  # with the fixed date of ZipInfo, so that equal annotations give equal files
    info.external_attr = 0o644 << 16
    packed = name.lower().endswith((".jpg", ".jpeg", ".png"))
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def to_json(data, indent=1):
    """Plain data as JSON text. Raises TypeError, ValueError if it is none."""
    text = json.dumps(data, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as file names have that are not UTF-8
        return json.dumps(data, indent=indent, allow_nan=False)
    return text
