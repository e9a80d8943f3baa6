"""Import: the annotations of a ZIP or a folder, in whichever format they are."""

from collections.abc import Iterator
from dataclasses import dataclass

from segdemo import intake
from segdemo.exchange import coco, voc, yolo
from segdemo.exchange.annotation import Annotation, ExchangeError
from segdemo.exchange.archives import ArchiveLimits, FolderSource, ZipSource
from segdemo.exchange.reader import Reader
from segdemo.labels import LabelSet

IMPORT_FORMATS = ("voc", "coco", "yolo")


@dataclass
class Imported:
    """An import under way.

    Attributes:
        format: ``"voc"``, ``"coco"`` or ``"yolo"``.
        label_set: the ``LabelSet`` of every annotation.
        annotations: iterator of ``Annotation``; each file is read when its turn comes. Go through it once.
        skipped: names of files that were not understood and left alone; complete from the start.
        refused: one sentence for each mask that could not be used, naming its file; grows with the iteration.
    """

    format: str
    label_set: LabelSet
    annotations: Iterator[Annotation]
    skipped: list[str]
    refused: list[str]


def import_zip(path, label_set=None, format=None, member=None, limits=None, archive_limits=None):
    """Read the annotations of a ZIP file that ``export_zip`` or another tool wrote.

    Nothing is unpacked to disk. VOC masks are read if there are any, else COCO, else YOLO-seg.

    Args:
        path: of the ZIP file.
        label_set: the ``LabelSet`` to read into, matched by id (VOC) or class name (COCO, YOLO). None takes
            the ZIP's own: ``labels.json``, else COCO's categories or YOLO's names, else VOC's 21 classes.
        format: ``"voc"``, ``"coco"`` or ``"yolo"`` to insist on one.
        member: with COCO, the one annotation file to read; None reads all, files with ``polygon`` in their
            name last, and each photo once.
        limits: ``intake.Limits`` for photos and masks; None reads them from the environment.
        archive_limits: ``ArchiveLimits``; None for the defaults.

    Returns:
        An ``Imported``.

    Raises:
        ExchangeError: not a ZIP, damaged, encrypted, over a limit, with unsafe names, or without annotations.
    """
    return _import(ZipSource(path, archive_limits or ArchiveLimits()), label_set, format, member, limits)


def import_folder(path, label_set=None, format=None, member=None, limits=None, archive_limits=None):
    """Read the annotations of a folder, such as an unpacked ZIP or a VOC tree; the rest as ``import_zip``.

    Links are not followed.

    Raises:
        ExchangeError: no such folder, over a limit, or without annotations.
    """
    return _import(FolderSource(path, archive_limits or ArchiveLimits()), label_set, format, member, limits)


def _import(source, label_set, format, member, limits):
    try:
        if format is not None and format not in IMPORT_FORMATS:
            raise ExchangeError(
                f"There is no import format {format!r}: choose from {', '.join(IMPORT_FORMATS)}."
            )
        reader = Reader(source, label_set, limits or intake.Limits.from_env())
        found = _find_layout(reader, format, member)
        if found is None:
            raise ExchangeError(
                f"{source.title} holds no{f' {format}' if format else ''} annotations: it needs masks in "
                "SegmentationClass, a COCO JSON, or YOLO labels with a data.yaml."
            )
        format, iterator = found
        return Imported(
            format, reader.label_set, _closing(source, iterator), reader.skipped(format), reader.refused
        )
    except BaseException:
        source.close()
        raise


def _closing(source, iterator):
    try:
        yield from iterator
    finally:
        source.close()


def _find_layout(reader, format, member):
    for name, find in (("voc", voc.find), ("coco", lambda r: coco.find(r, member)), ("yolo", yolo.find)):
        if format in (None, name) and (iterator := find(reader)) is not None:
            return name, iterator
    return None
