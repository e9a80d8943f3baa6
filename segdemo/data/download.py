"""Downloading VOC 2012 and Oxford-IIIT Pet from where their authors keep them.

A download goes on after a cut, whether within one call or by calling again; what arrives is believed only
when its size and checksum are right; and the dataset's folder appears, complete, in one step at the end.
"""

import hashlib
import http.client
import json
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from segdemo import __version__
from segdemo.core.files import read_json
from segdemo.core.settings import expanded
from segdemo.data.datasets import DatasetError
from segdemo.data.sources import open_dataset
from segdemo.errors import UserError

CHUNK = 1 << 16  # bytes
SLOWEST = 1024  # bytes a second, over one timeout: less is a stall
ENOUGH = 1 << 16  # bytes an attempt has to bring for its failure not to count
MAX_MEMBERS = 200_000  # files and folders in one archive
FINAL_STATUS = (400, 401, 403, 404, 405, 410, 451)  # asking again does not help

Progress = Callable[[str, int, int | None], object]


class DownloadError(UserError):
    """A dataset cannot be downloaded; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Archive:
    """A tar file to download.

    Attributes:
        url: http or https.
        size: in bytes.
        sha256: checksum, hexadecimal.
        unpacked: the most bytes its files may take.
    """

    url: str
    size: int
    sha256: str
    unpacked: int

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Release:
    """The archives of one dataset and how they become its folder.

    Attributes:
        archives: unpacked side by side.
        inside: the dataset in what they unpack to.
        folder: where it goes in the destination.
    """

    archives: tuple[Archive, ...]
    inside: str
    folder: str


RELEASES = {
    "voc": Release(
        (
            Archive(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                1_999_639_040,
                "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
                2_200_000_000,
            ),
        ),
        "VOCdevkit/VOC2012",
        "VOCdevkit/VOC2012",
    ),
    "pets": Release(
        (
            Archive(
                "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz",
                791_918_971,
                "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                1_000_000_000,
            ),
            Archive(
                "https://thor.robots.ox.ac.uk/~vgg/data/pets/annotations.tar.gz",
                19_173_078,
                "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                200_000_000,
            ),
        ),
        ".",
        "oxford-iiit-pet",
    ),
}


def download(
    kind: str,
    destination: Path | str,
    *,
    release: Release | None = None,
    progress: Progress | None = None,
    timeout: float = 30.0,
    tries: int = 5,
    wait: float = 1.0,
) -> Path:
    """Fetch, verify and unpack a dataset; if it is there already, do nothing.

    Args:
        kind: ``"voc"`` (2 GB to fetch, 4 GB of disk on the way) or ``"pets"`` (0.8 GB, 2 GB).
        destination: folder in which ``VOCdevkit/VOC2012`` or ``oxford-iiit-pet`` will be; it is created.
        release: where from, by default ``RELEASES[kind]``; for a mirror.
        progress: called with (what, bytes done, bytes in all); what it raises stops the download, to be
            resumed.
        timeout: seconds without data, or with next to none, after which a connection counts as stalled.
        tries: failures in a row, each without a gain of ``ENOUGH`` bytes, after which to give up.
        wait: seconds before the second try, doubling up to 30.

    Returns:
        The dataset's root, as ``sources.open_dataset`` takes it.

    Raises:
        DownloadError: unknown kind, no connection, a server that offers something else, no disk space,
            something in the way, or another download into the same folder.
    """
    if kind not in RELEASES:
        raise DownloadError(f"There is no download called {kind!r}: choose one of {', '.join(RELEASES)}.")
    release = release or RELEASES[kind]
    destination = expanded(destination)
    if (present := _present(kind, destination)) is not None:
        return present
    target = destination / release.folder
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise DownloadError(f"There is an incomplete dataset in {target}: move it away and try again.")
    work = destination / f".{kind}-download"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(destination / f".{kind}-download.lock", timeout=0):
            if (present := _present(kind, destination)) is not None:
                return present  # another process was just quicker
            _require_space(release.archives, work)
            how: dict[str, Any] = {"progress": progress, "timeout": timeout, "tries": tries, "wait": wait}
            files = [fetch(archive, work, **how) for archive in release.archives]
            staging = work / "unpacked"
            shutil.rmtree(staging, ignore_errors=True)
            for archive, file in zip(release.archives, files, strict=True):
                unpack(file, staging, archive.unpacked, progress)
            if _present(kind, staging / release.inside) is None:
                raise DownloadError(
                    f"What {release.archives[0].url} holds is not the dataset {kind}: use another mirror."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                target.rmdir()  # an empty one; Windows does not replace it
            (staging / release.inside).replace(target)
            shutil.rmtree(work, ignore_errors=True)
    except Timeout:
        raise DownloadError(
            f"Another download into {destination} is running: wait until it is done."
        ) from None
    except OSError as error:
        raise DownloadError(
            f"Cannot write to {destination} ({error.strerror or error}): free space or choose another folder."
        ) from error
    return target


def fetch(
    archive: Archive,
    folder: Path | str,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
    tries: int = 5,
    wait: float = 1.0,
) -> Path:
    """Download one file into ``folder`` and verify it; what is there of it is continued.

    A server that does not continue, or whose file has changed since (If-Range), starts it anew.

    Args and raises as ``download``.

    Returns:
        Path of the file, its size and checksum as stated.
    """
    folder = Path(folder)
    file = folder / archive.name
    if file.is_file() and file.stat().st_size == archive.size:
        return file  # it has this name only since it was verified
    part = folder / f"{archive.name}.part"
    failures = 0
    continued = False  # whether the part at hand stems from more than one answer
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if before < archive.size:
                continued |= _receive(archive, part, progress, timeout)
            else:
                continued = True  # by an earlier call, who knows how
            problem = _wrong(part, archive)
            if problem is None:
                part.replace(file)
                _note_of(part).unlink(missing_ok=True)
                return file
            part.unlink()
            if not continued:
                raise DownloadError(
                    f"What came from {archive.url} has the wrong {problem} and was deleted: "
                    "try again later or use another mirror."
                )
            continued = False  # two halves that do not fit; one clean try settles whose fault it is
            continue
        except urllib.error.HTTPError as error:
            with error:
                if error.code in FINAL_STATUS:
                    raise DownloadError(
                        f"{archive.url} answers {error.code} {error.reason}: check the address."
                    ) from None
                if error.code == 416:
                    part.unlink(missing_ok=True)
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        gained = (part.stat().st_size if part.is_file() else 0) - before
        failures = 0 if gained >= ENOUGH else failures + 1
        if failures >= tries:
            raise DownloadError(
                f"{archive.url} could not be downloaded ({reason}): check the connection and try again, "
                "it will go on from where it stopped."
            )
        time.sleep(min(wait * 2 ** max(failures - 1, 0), 30))


def unpack(file: Path, folder: Path, limit: int, progress: Progress | None = None) -> None:
    """Unpack a tar file, compressed or not, with nothing written outside ``folder``.

    Args:
        file: the archive.
        folder: created if need be.
        limit: the most bytes its files may take together.
        progress: as in ``download``.

    Raises:
        DownloadError: the archive is damaged, too large, or holds links, devices or paths that lead out of
            it.
    """
    file, folder = Path(file), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with tarfile.open(file) as tar:
            for number, member in enumerate(tar, 1):
                written += member.size
                if written > limit or number > MAX_MEMBERS:
                    raise DownloadError(
                        f"The archive {file.name} unpacks to more than it should: use another mirror."
                    )
                if not (member.isreg() or member.isdir()):
                    raise DownloadError(
                        f"The archive {file.name} holds {member.name!r}, which is no plain file: "
                        "delete it and use another mirror."
                    )
                tar.extract(member, folder, filter="data")
                if progress is not None:
                    progress(f"unpacking {file.name}", written, None)
    except tarfile.FilterError as error:
        raise DownloadError(
            f"The archive {file.name} holds a path that leads out of it ({error}): "
            "delete it and use another mirror."
        ) from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DownloadError(
            f"The archive {file.name} is damaged ({error}): delete it and download it again."
        ) from None


def _present(kind: str, folder: Path) -> Path | None:
    try:
        dataset = open_dataset(kind, folder)
    except DatasetError:
        return None
    return dataset.root if dataset.splits.get("all") else None


def _require_space(archives: tuple[Archive, ...], work: Path) -> None:
    needed = sum(archive.unpacked for archive in archives)
    for archive in archives:
        have = sum(
            f.stat().st_size for f in (work / archive.name, work / f"{archive.name}.part") if f.is_file()
        )
        needed += max(archive.size - have, 0)
    free = shutil.disk_usage(work).free
    if free < needed:
        raise DownloadError(
            f"{work.parent} has {free / 1e9:.1f} GB free and the download needs {needed / 1e9:.1f} GB: "
            "free some or choose another folder."
        )


def _receive(archive: Archive, part: Path, progress: Progress | None, timeout: float) -> bool:
    """One request; appends to ``part``. Returns whether it continued what was there.

    Raises what urllib raises, TimeoutError for a stall, ConnectionError for a cut, DownloadError for a
    wrong size.
    """
    validator = _validator(part, archive)
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": f"segdemo/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    with urllib.request.urlopen(
        urllib.request.Request(archive.url, headers=headers), timeout=timeout
    ) as answer:
        if answer.status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if not found or int(found[1]) != have:
                part.unlink(missing_ok=True)
                raise ConnectionError("the server continued from the wrong place")
            offered = None if found[2] == "*" else int(found[2])
        else:
            have = 0
            length = answer.headers.get("Content-Length")
            offered = int(length) if length and length.isdigit() else None
        if offered is not None and offered != archive.size:
            raise DownloadError(
                f"{archive.url} offers {offered} bytes instead of {archive.size}: "
                "try again later or use another mirror."
            )
        continued = have > 0
        _note_of(part).write_text(
            json.dumps({"url": archive.url, "validator": _strong_validator(answer.headers)})
        )
        with part.open("ab" if continued else "wb") as stream:
            window, brought = time.monotonic(), 0
            while chunk := answer.read1(CHUNK):
                have += len(chunk)
                if have > archive.size:
                    stream.close()
                    part.unlink()
                    raise DownloadError(
                        f"{archive.url} sends more than {archive.size} bytes: "
                        "try again later or use another mirror."
                    )
                stream.write(chunk)
                if progress is not None:
                    progress(archive.name, have, archive.size)
                brought += len(chunk)
                if (elapsed := time.monotonic() - window) > timeout:
                    if brought < SLOWEST * elapsed:
                        raise TimeoutError("the server stalled")
                    window, brought = time.monotonic(), 0
    if have < archive.size:
        raise ConnectionError("the connection was cut")
    return continued


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _validator(part: Path, archive: Archive) -> str | None:
    """ETag or date that ``part`` had when it began; a part of another address is thrown away."""
    try:
        note = read_json(_note_of(part))
        if note["url"] == archive.url:
            return note["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    part.unlink(missing_ok=True)
    return None


def _strong_validator(headers: Any) -> str | None:
    tag = headers.get("ETag")
    if tag and not tag.startswith("W/"):  # RFC 9110 13.1.5: a weak one must not be used to continue
        return tag
    return headers.get("Last-Modified")


def _wrong(part: Path, archive: Archive) -> str | None:
    """What is wrong with a finished file, or None."""
    if part.stat().st_size != archive.size:
        return "size"
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if digest == archive.sha256 else "checksum"
