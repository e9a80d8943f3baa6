"""Export: annotations into one ZIP, or into a folder."""

import os
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from segdemo.core import label_maps
from segdemo.core.photos import IntakeError, Limits
from segdemo.data.formats import sidecars
from segdemo.data.formats.annotation import FORBIDDEN, Annotation, ExchangeError
from segdemo.data.formats.archives import add_file
from segdemo.data.formats.format import File, Writer
from segdemo.data.formats.naming import Names
from segdemo.data.formats.outgoing import Outgoing, prepare
from segdemo.data.formats.registry import EXPORT_FORMATS, WRITTEN


def export_zip(
    annotations: Iterable[Annotation],
    path: Path | str,
    formats: Iterable[str] = EXPORT_FORMATS,
    limits: Limits | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write annotations into one ZIP, one at a time, so that any number of them fits into memory.

    The file appears only when it is complete; a failed export leaves whatever was at ``path`` before. The
    same annotations give the same bytes. Files are called as the photo was, see ``naming``.

    >>> photo, label_map = np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), np.uint8)
    >>> path = export_zip([Annotation("plane", photo, label_map, VOC)], folder / "planes.zip", ["voc"])
    >>> zipfile.ZipFile(path).namelist()[:3]
    ['JPEGImages/plane.jpg', 'meta/plane.json', 'SegmentationClass/plane.png']

    Args:
        annotations: at least one, all of one label set and with different ids.
        path: of the ZIP file.
        formats: which of ``EXPORT_FORMATS`` to write besides photos, side-cars and the label set.
        limits: for the photos; None reads them from the environment.
        progress: called with the number of annotations written so far.

    Raises:
        ExchangeError: nothing to export, an unusable or repeated id, label sets mixed, a label map that does
            not fit its photo or label set, an unreadable photo, or a full disk: which annotation, and why.
    """
    files = _files(annotations, formats, limits, progress)
    with _whole_or_not_at_all(path) as part:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, content in files:
                    add_file(archive, name, content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    return Path(path)


def export_folder(
    annotations: Iterable[Annotation], path: Path | str, formats=EXPORT_FORMATS, **options: Any
) -> Path:
    """Write what ``export_zip`` would put into a ZIP into a folder, which must be empty or not be there yet.

    The files appear only when all are complete; a failed export leaves nothing behind. Options as for ``export_zip``.

    Raises:
        ExchangeError: as ``export_zip``, or there is something at ``path`` already.
    """
    path, files = Path(path), _files(annotations, formats, **options)
    with _whole_or_not_at_all(path) as part:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ExchangeError(f"There is something in {path} already: give a folder that is new or empty.")
        part.mkdir(parents=True)
        for name, content in files:
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        path.mkdir(exist_ok=True)
        for child in part.iterdir():
            child.rename(path / child.name)
    return path


@contextmanager
def _whole_or_not_at_all(path):
    """A path beside ``path`` to write at first, where nothing is left in the end."""
    part = Path(path).absolute().with_name(f".{Path(path).absolute().name}.{uuid.uuid4().hex}.part")
    try:
        yield part
    except OSError as error:
        raise ExchangeError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):
            part.unlink()


def _files(annotations, formats, limits=None, progress=None):
    """The files of an export, each made when its turn comes. Raises ExchangeError at once for an unknown format."""
    formats = frozenset(formats)
    if unknown := sorted(formats - {*EXPORT_FORMATS}):
        known = ", ".join(EXPORT_FORMATS)
        raise ExchangeError(f"There is no export format {unknown[0]!r}: choose from {known}.")
    chosen = [format.writer for format in WRITTEN if format.name in formats]
    return _all_files(annotations, chosen, limits or Limits.from_env(), progress)


def _all_files(annotations, chosen, limits, progress) -> Iterator[File]:
    writers: list[Writer] = []
    taken: set[str] = set()
    label_set, names = None, Names()
    for number, annotation in enumerate(annotations, 1):
        _check(annotation, taken, label_set)
        if label_set is None:
            label_set = annotation.label_set
            writers = [writer(label_set) for writer in chosen]
        item = _prepared(number, annotation, names, limits)
        yield f"{item.FOLDER}/{item.file_name}", item.photo
        yield sidecars.of_photo(item)
        for writer in writers:
            yield from writer.add(item)
        if progress:
            progress(number)
    if label_set is None:
        raise ExchangeError("There is nothing to export: annotate a photo first.")
    yield sidecars.of_label_set(label_set)
    for writer in sorted(writers, key=lambda writer: writer.late):
        yield from writer.finish()


def _check(annotation, taken, label_set):
    id_ = annotation.id
    if not isinstance(id_, str) or not id_ or FORBIDDEN.search(id_) or id_[0] == "." or len(id_) > 150:
        raise ExchangeError(f"{id_!r} cannot name a file: use up to 150 letters, digits, dots and dashes.")
    if id_.casefold() in taken:
        raise ExchangeError(f"Two annotations are called {id_!r} (case aside): rename one.")
    taken.add(id_.casefold())
    if label_set is not None and annotation.label_set != label_set:
        titles = annotation.label_set.title, label_set.title
        raise ExchangeError(
            "{} has the label set {}, others have {}: export them apart.".format(id_, *titles)
        )
    try:
        label_maps.check_label_map(annotation.label_map, annotation.label_set)
    except label_maps.MaskError as error:
        raise ExchangeError(f"{id_}: {error}") from error


def _prepared(number, annotation, names, limits) -> Outgoing:
    try:
        item = prepare(number, annotation, names, limits)
    except IntakeError as error:
        raise ExchangeError(f"The photo of {annotation.id} cannot be exported: {error}") from error
    if item.rgb.shape[:2] != item.label_map.shape:
        mask, photo = (f"{width}x{height}" for height, width in (item.label_map.shape, item.rgb.shape[:2]))
        raise ExchangeError(f"{annotation.id} has a label map of {mask} pixels and a photo of {photo}.")
    return item
