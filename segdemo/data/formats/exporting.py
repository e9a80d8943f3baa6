"""Export: annotations into one ZIP, or into a folder."""

import io
import os
import shutil
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path

from PIL import Image

from segdemo.core import label_maps
from segdemo.core.photos import IntakeError, Limits
from segdemo.data.formats import coco, labelme_export, panoptic, sidecars, voc, yolo
from segdemo.data.formats.annotation import FORBIDDEN, SUBSETS, ExchangeError
from segdemo.data.formats.archives import add_file
from segdemo.data.formats.naming import Names
from segdemo.data.formats.outgoing import prepare

FORMATS = ("voc", "coco", "panoptic", "yolo", "labelme", "overlay")


def export_zip(annotations, path, formats=FORMATS, limits=None, progress=None):
    """Write annotations into one ZIP, one at a time, so that any number of them fits into memory.

    The file appears only when it is complete; a failed export leaves whatever was at ``path`` before. The
    same annotations give the same bytes. Files are called as the photo was, see ``naming``.

    Args:
        annotations: iterable of ``Annotation``, at least one, all of one label set and with different ids.
        path: of the ZIP file.
        formats: which of ``FORMATS`` to write besides photos, side-cars and the label set.
        limits: ``photos.Limits`` for the photos; None reads them from the environment.
        progress: called with the number of annotations written so far.

    Returns:
        The path, as a ``Path``.

    Raises:
        ExchangeError: nothing to export, an unusable or repeated id, label sets mixed, a label map that does
            not fit its photo or label set, an unreadable photo, or a full disk: which annotation, and why.
    """
    _check_formats(formats)
    path, limits = Path(path), limits or Limits.from_env()
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                _write_all(archive, annotations, frozenset(formats), limits, progress)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ExchangeError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # gone after success, and not there at all where nothing can be written
            part.unlink()
    return path


def export_folder(annotations, path, formats=FORMATS, limits=None, progress=None):
    """Write what ``export_zip`` would put into a ZIP into a folder instead.

    The files appear only when all are complete; a failed export leaves nothing behind.

    Args:
        annotations, formats, limits, progress: as for ``export_zip``.
        path: of the folder, which must be empty or not be there yet.

    Returns:
        The path, as a ``Path``.

    Raises:
        ExchangeError: as ``export_zip``, or there is something at ``path`` already.
    """
    _check_formats(formats)
    path, limits = Path(path), limits or Limits.from_env()
    part = path.absolute().with_name(f".{path.absolute().name}.{uuid.uuid4().hex}.part")
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ExchangeError(f"There is something in {path} already: give a folder that is new or empty.")
        part.mkdir(parents=True)
        _write_all(_Folder(part), annotations, frozenset(formats), limits, progress)
        path.mkdir(exist_ok=True)
        for child in part.iterdir():
            child.rename(path / child.name)
    except OSError as error:
        raise ExchangeError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


class _Folder:
    """A folder that takes files as an open ``ZipFile`` does."""

    def __init__(self, root):
        self._root = root

    def writestr(self, info, content):
        target = self._root / info.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


def _check_formats(formats):
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ExchangeError(f"There is no export format {unknown[0]!r}: choose from {', '.join(FORMATS)}.")


def _write_all(archive, annotations, formats, limits, progress):
    label_set, taken, names = None, set(), Names()
    subsets, is_split = {name: [] for name in SUBSETS}, False  # (number, stem) of the photos in each
    documents = {}
    for number, annotation in enumerate(annotations, 1):
        _check(annotation, taken, label_set)
        if label_set is None:
            label_set = annotation.label_set
            documents = {writer: writer.start(label_set) for writer in _documented(formats)}
        item = _write_one(archive, number, annotation, names, formats, limits)
        for writer, document in documents.items():
            writer.add(document, item)
        subsets[item.subset].append((number, item.stem))
        is_split = is_split or annotation.meta.get("subset") in SUBSETS
        if progress:
            progress(number)
    if label_set is None:
        raise ExchangeError("There is nothing to export: annotate a photo first.")
    stems = {subset: [stem for _, stem in some] for subset, some in subsets.items()}
    numbers = {subset: [number for number, _ in some] for subset, some in subsets.items()}
    sidecars.write_label_set(archive, label_set)
    if "voc" in formats:
        voc.write_lists(archive, stems)
    if "yolo" in formats:
        yolo.write_settings(archive, label_set, stems)
    if "labelme" in formats:
        labelme_export.write_labels(archive, label_set)
    if "coco" in formats:
        coco.write(archive, documents[coco], numbers if is_split else {})
    if "panoptic" in formats:
        panoptic.write(archive, documents[panoptic])


def _documented(formats):
    """The writers that have one document for many photos."""
    return [writer for name, writer in (("coco", coco), ("panoptic", panoptic)) if name in formats]


def _check(annotation, taken, label_set):
    id_ = annotation.id
    if not isinstance(id_, str) or not id_ or FORBIDDEN.search(id_) or id_[0] == "." or len(id_) > 150:
        raise ExchangeError(f"{id_!r} cannot name a file: use up to 150 letters, digits, dots and dashes.")
    if id_.casefold() in taken:
        raise ExchangeError(f"Two annotations are called {id_!r} (case aside): rename one.")
    taken.add(id_.casefold())
    if label_set is not None and annotation.label_set != label_set:
        raise ExchangeError(
            f"{id_} has the label set {annotation.label_set.title}, others have {label_set.title}: "
            "export them apart."
        )
    try:
        label_maps.check_label_map(annotation.label_map, annotation.label_set)
    except label_maps.MaskError as error:
        raise ExchangeError(f"{id_}: {error}") from error


def _write_one(archive, number, annotation, names, formats, limits):
    """Put the files of one photo into the archive; returns it as an ``Outgoing``."""
    id_, label_map = annotation.id, annotation.label_map
    height, width = label_map.shape
    try:
        item = prepare(number, annotation, names, limits)
    except IntakeError as error:
        raise ExchangeError(f"The photo of {id_} cannot be exported: {error}") from error
    if item.rgb.shape[:2] != label_map.shape:
        raise ExchangeError(
            f"{id_} has a label map of {width}x{height} pixels and a photo of "
            f"{item.rgb.shape[1]}x{item.rgb.shape[0]}."
        )
    add_file(archive, f"{item.FOLDER}/{item.file_name}", item.photo)
    sidecars.write_one(archive, item)
    for name, writer in (("voc", voc), ("panoptic", panoptic), ("yolo", yolo), ("labelme", labelme_export)):
        if name in formats:
            writer.write_one(archive, item)
    if "overlay" in formats:
        out = io.BytesIO()
        overlay = label_maps.overlay(item.rgb, label_map, annotation.label_set)
        Image.fromarray(overlay).save(out, "PNG", compress_level=1)
        add_file(archive, f"overlays/{item.stem}.png", out.getvalue())
    return item
