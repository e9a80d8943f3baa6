"""Export: annotations into one ZIP."""

import io
import os
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo import intake, masks
from segdemo.exchange import coco, sidecars, voc, yolo
from segdemo.exchange.annotation import FORBIDDEN, SUBSETS, ExchangeError
from segdemo.exchange.archives import add_file

FORMATS = ("voc", "coco", "yolo", "overlay")


def export_zip(annotations, path, formats=FORMATS, limits=None, progress=None):
    """Write annotations into one ZIP, one at a time, so that any number of them fits into memory.

    The file appears only when it is complete; a failed export leaves whatever was at ``path`` before. The
    same annotations give the same bytes.

    Args:
        annotations: iterable of ``Annotation``, at least one, all of one label set and with different ids.
        path: of the ZIP file.
        formats: which of ``FORMATS`` to write besides photos, side-cars and the label set.
        limits: ``intake.Limits`` for the photos; None reads them from the environment.
        progress: called with the number of annotations written so far.

    Returns:
        The path, as a ``Path``.

    Raises:
        ExchangeError: nothing to export, an unusable or repeated id, label sets mixed, a label map that does
            not fit its photo or label set, an unreadable photo, or a full disk: which annotation, and why.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ExchangeError(f"There is no export format {unknown[0]!r}: choose from {', '.join(FORMATS)}.")
    path, limits = Path(path), limits or intake.Limits.from_env()
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


def _write_all(archive, annotations, formats, limits, progress):
    label_set, taken, subsets = None, set(), {name: [] for name in SUBSETS}
    documents = {}
    for number, annotation in enumerate(annotations, 1):
        _check(annotation, taken, label_set)
        if label_set is None:
            label_set = annotation.label_set
            documents = coco.start(label_set) if "coco" in formats else {}
        subset = annotation.meta.get("subset")
        subset = subset if subset in SUBSETS else "train"
        subsets[subset].append(annotation.id)
        _write_one(archive, annotation, subset, formats, limits)
        coco.add(documents, number, annotation)
        if progress:
            progress(number)
    if label_set is None:
        raise ExchangeError("There is nothing to export: annotate a photo first.")
    sidecars.write_label_set(archive, label_set)
    if "voc" in formats:
        voc.write_lists(archive, subsets)
    coco.write(archive, documents)
    if "yolo" in formats:
        yolo.write_settings(archive, label_set, subsets)


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
        masks.check_label_map(annotation.label_map, annotation.label_set)
    except masks.MaskError as error:
        raise ExchangeError(f"{id_}: {error}") from error


def _write_one(archive, annotation, subset, formats, limits):
    id_, label_map, label_set = annotation.id, annotation.label_map, annotation.label_set
    height, width = label_map.shape
    try:
        jpeg, rgb = _photo(annotation.image, limits)
    except intake.IntakeError as error:
        raise ExchangeError(f"The photo of {id_} cannot be exported: {error}") from error
    if rgb.shape[:2] != label_map.shape:
        raise ExchangeError(
            f"{id_} has a label map of {width}x{height} pixels and a photo of {rgb.shape[1]}x{rgb.shape[0]}."
        )
    add_file(archive, f"JPEGImages/{id_}.jpg", jpeg)
    sidecars.write(archive, annotation)
    if "voc" in formats:
        voc.write(archive, annotation)
    if "yolo" in formats:
        yolo.write(archive, annotation, subset, jpeg)
    if "overlay" in formats:
        out = io.BytesIO()
        Image.fromarray(masks.overlay(rgb, label_map, label_set)).save(out, "PNG", compress_level=1)
        add_file(archive, f"overlays/{id_}.png", out.getvalue())


def _photo(image, limits):
    """(JPEG bytes, uint8 (H, W, 3)) of a photo; the original bytes where they are an upright JPEG."""
    data = None
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise intake.IntakeError(f"a photo is uint8 (height, width, 3), not {image.dtype} {image.shape}.")
        rgb = image
    else:
        _, data = intake.read_bytes(image, limits)
        rgb = intake.read_photo(data, limits)
    if data is None or not intake.is_plain_jpeg(data):
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=95, subsampling=0)
        data = out.getvalue()
    return data, rgb
