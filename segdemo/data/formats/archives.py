"""Archives, whatever is in them: ZIP files and folders to read from within limits, files put into a ZIP.

``ZipSource`` and ``FolderSource`` are used alike. Files go by the names that ``names.tidy`` gives them: ``sizes``
maps these to sizes in bytes. ``skipped`` lists what is nobody's: links, and what systems leave behind. ``odd`` has
(name, why) of each file that cannot be read under its name; what could lead out of the archive is among them, and
is never opened. ``title`` is what messages call the archive.
"""

import json
import os
import stat
import struct
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError

_UTF8_FLAG = 0x800
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}
_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What a file that is called .zip may be instead: where its mark is, the mark, what it is.
_OTHERS = (
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x1f\x8b", "a gzip or tar.gz archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (257, b"ustar", "a tar archive"),
)
_EXPORTED = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP can tell
_UNICODE_PATH = 0x7075  # the extra field in which Info-ZIP keeps a name that its code page does not have


@dataclass(frozen=True)
class ArchiveLimits:
    """What an import may cost: files, bytes of all of them once unpacked, bytes of one text or JSON file."""

    max_files: int = 100_000
    max_bytes: int = 8_000_000_000
    max_json_bytes: int = 256_000_000


class Source:
    """Names of an archive's files, sorted into those to read and the others."""

    def __init__(self, title: str, limits: ArchiveLimits):
        self.title, self.limits = title, limits
        self.sizes: dict[str, int] = {}
        self.skipped: list[str] = []
        self.odd: list[tuple[str, str]] = []
        self.untouched: set[str] = set()  # files with the date that exports give all of theirs
        self._originals: dict[str, str] = {}  # tidy name -> what the archive calls it

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of a file. Raises ExchangeError: more than ``max_bytes``, damaged, or unreadable."""
        size = self.sizes[name]
        if size > max_bytes:
            raise ExchangeError(f"{name} has {size / 1e6:.1f} MB where {max_bytes / 1e6:g} MB are allowed.")
        return self._read(name, self._originals[name])

    def close(self) -> None:
        """Let go of the archive."""

    def _read(self, name: str, original: str) -> bytes:
        raise NotImplementedError

    def _check(self):
        many, gigabytes = self.limits.max_files, self.limits.max_bytes / 1e9
        if len(self.sizes) > many:
            raise ExchangeError(f"{self.title} holds more than {many} files: import it in parts.")
        if sum(self.sizes.values()) > self.limits.max_bytes:
            raise ExchangeError(
                f"{self.title} would unpack to more than {gigabytes:g} GB: import it in parts."
            )

    def _take(self, original, shown, size, link, date):
        """Sort in a file.

        Args:
            original: how it is read.
            shown: its name as people see it.
            size: in bytes.
            link: whether it is a link, or a device.
            date: year, month, day, hour, minute and second of its last change.
        """
        name = names.tidy(shown)
        if names.is_system(name):
            self.skipped.append(name)
        elif why := names.hazard(name):
            self.odd.append((shown, why))
        elif link:
            self.skipped.append(name)
        elif name in self.sizes:
            self.odd.append((shown, "is called like another file of the archive"))
        else:
            self.sizes[name] = size
            self._originals[name] = original
            if date == _EXPORTED:
                self.untouched.add(name)


class ZipSource(Source):
    """The files in a ZIP.

    Args:
        path: of the ZIP file.
        limits: ``ArchiveLimits``.

    Raises:
        ExchangeError: not a ZIP, damaged, encrypted as a whole, over a limit, or with one name for two files.
    """

    def __init__(self, path: Path | str, limits: ArchiveLimits):
        super().__init__(Path(path).name, limits)
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise ExchangeError(f"There is no file {path}: check its name.") from error
        except Exception as error:  # zipfile raises anything from BadZipFile to IndexError for hostile bytes
            raise ExchangeError(f"{self.title} {_not_a_zip(path, self.title)}.") from error
        try:
            self._index()
            self._check()
        except BaseException:
            self._archive.close()
            raise

    def _index(self):
        seen, locked = {}, []
        for info in self._archive.infolist():
            if info.filename.endswith(("/", "\\")):
                continue
            if info.filename in seen:
                first = seen[info.filename]
                if (first.CRC, first.file_size) == (info.CRC, info.file_size):
                    continue  # the same once more, as some tools that add to archives write it
                raise ExchangeError(f"{self.title} holds {info.filename} twice: pack it again.")
            seen[info.filename] = info
            shown = _name_in_zip(info)
            if not shown.strip():
                self.odd.append(("a file", "has no name"))
            elif info.flag_bits & 1 and not names.is_system(names.tidy(shown)):
                locked.append(info.filename)
                self.odd.append((shown, "is encrypted: pack it without a password"))
            elif info.compress_type not in _READ:
                how = _METHODS.get(info.compress_type, f"method {info.compress_type}")
                self.odd.append((shown, f"is packed with {how}, which is not read: pack it as a usual ZIP"))
            else:
                link = stat.S_ISLNK(info.external_attr >> 16)
                self._take(info.filename, shown, info.file_size, link, info.date_time)
        if locked and not self.sizes:
            raise ExchangeError(f"{self.title} is encrypted: unpack it and pack it again without a password.")

    def _read(self, name, original):
        try:
            return self._archive.read(original)  # never more than the size declared
        except Exception as error:  # unpackers of hostile bytes raise anything from zlib.error to LZMAError
            raise ExchangeError(f"{name} is damaged in {self.title}: pack or download it again.") from error

    def close(self) -> None:
        self._archive.close()


def _not_a_zip(path, title):
    """What a file is that is no ZIP, or no whole one, and what to do."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(512)
    except OSError:
        return "cannot be read: check the disk and its permissions"
    if not start:
        return "is not a ZIP file, or damaged: it is empty, so download it again"
    kind = next((what for at, mark, what in _OTHERS if start[at:].startswith(mark)), None)
    if kind:
        return f"is {kind} and no ZIP, whatever it is called: unpack it and give the folder or a ZIP of it"
    if title.lower().endswith((".json", ".xml", ".yaml", ".yml", ".txt", ".csv")):
        return "is not a ZIP file: give the folder it is in, or a ZIP of it with its photos"
    if start.startswith(b"PK"):
        return "is not a ZIP file, or damaged: it begins like one and does not end, so download it again"
    if start.lstrip()[:1] == b"<":
        return "is a web page and not a ZIP file: download it again, perhaps after signing in"
    return "is not a ZIP file, or damaged: download it again"


def _name_in_zip(info):
    """The name of a file in a ZIP. macOS writes UTF-8 without the flag that says so, Info-ZIP an extra field."""
    if info.flag_bits & _UTF8_FLAG or info.filename.isascii():
        return info.filename
    try:
        raw = info.filename.encode("cp437")
    except UnicodeEncodeError:
        return info.filename
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and body[:1] == b"\x01" and body[1:5] == struct.pack("<I", zlib.crc32(raw)):
            raw = body[5:]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return info.filename


class FolderSource(Source):
    """The files in a folder and those below it.

    Args:
        path: of the folder.
        limits: ``ArchiveLimits``.

    Raises:
        ExchangeError: no such folder, or over a limit.
    """

    def __init__(self, path: Path | str, limits: ArchiveLimits):
        self._root = Path(path)
        super().__init__(self._root.resolve().name or str(path), limits)
        if not self._root.is_dir():
            raise ExchangeError(f"There is no folder {path}: check its name.")
        for folder, folders, files in os.walk(self._root):
            below = Path(folder).relative_to(self._root)
            for name in [*folders]:
                linked = Path(folder, name).is_symlink()
                if linked or names.is_system(name):  # not walked into
                    folders.remove(name)
                    self.skipped.append((below / name).as_posix())
            folders.sort()
            for file in sorted(files):
                status = Path(folder, file).lstat()
                inside = (below / file).as_posix()
                date = time.localtime(status.st_mtime)[:6]
                self._take(inside, inside, status.st_size, not stat.S_ISREG(status.st_mode), date)
            if len(self.sizes) > limits.max_files:
                break
        self._check()

    def _read(self, name, original):
        try:
            return (self._root / original).read_bytes()
        except OSError as error:
            raise ExchangeError(f"{name} cannot be read: check the disk and its permissions.") from error


def add_file(archive: zipfile.ZipFile, name: str, content: str | bytes) -> None:
    """Put text or bytes into an open ``ZipFile``; pictures are not compressed again."""
    info = zipfile.ZipInfo(name, _EXPORTED)  # a fixed date, so that equal annotations give equal files
    info.external_attr = 0o644 << 16
    packed = name.lower().endswith((".jpg", ".jpeg", ".png"))
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def to_json(data: Any, indent: int | None = 1) -> str:
    """Plain data as JSON text. Raises TypeError, ValueError if it is none."""
    text = json.dumps(data, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as file names have that are not UTF-8
        return json.dumps(data, indent=indent, allow_nan=False)
    return text
