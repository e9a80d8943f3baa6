"""Import: the annotations of a ZIP or a folder, in whichever formats they are."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo.core.arrays import digest_of
from segdemo.core.labels import LabelSet
from segdemo.core.photos import Limits
from segdemo.data.formats import strangers
from segdemo.data.formats.annotation import SUBSETS, Annotation, ExchangeError
from segdemo.data.formats.archives import ArchiveLimits, FolderSource, Source, ZipSource
from segdemo.data.formats.classes import ClassNames
from segdemo.data.formats.photos import MISSING, likeness
from segdemo.data.formats.reader import Reader
from segdemo.data.formats.registry import FORMATS, IMPORT_FORMATS, READ

_NAMED = 3  # reasons in the sentence on an archive of which nothing can be read


class Imported:
    """An import under way.

    Attributes:
        account: the ``Account``; it grows with the iteration.
        formats: names of the formats that were found; ``format`` is the first.
        label_set: the ``LabelSet`` of every annotation.
        missing: names of classes of the archive that a given label set does not have.
        fits: whether a given label set has any of them, the background aside.
    """

    def __init__(self, reader: Reader, formats: list[str], annotations: Generator[Annotation]):
        self.account, self.formats, self.label_set = reader.account, formats, reader.label_set
        self.missing, self.fits = reader.classes.missing, reader.classes.fits
        self._annotations = annotations

    @property
    def format(self) -> str:
        """The first of the formats."""
        return self.formats[0]

    @property
    def photos(self) -> Iterator[Annotation]:
        """Iterator of every photo: an ``Annotation`` each, without label map (None) where nothing could be painted.

        Each file is read when its turn comes. Go through this or ``annotations``, once.
        """
        return self._annotations

    @property
    def annotations(self) -> Iterator[Annotation]:
        """As ``photos``, less those without label map."""
        with closing(self._annotations):
            yield from (annotation for annotation in self._annotations if annotation.label_map is not None)

    @property
    def skipped(self) -> list[str]:
        """Names of files that belong to no annotation; complete from the start."""
        return self.account.ignored

    @property
    def refused(self) -> list[str]:
        """A sentence for each annotation that could not be used, naming its file; grows with the iteration."""
        return self.account.sentences()

    def close(self) -> None:
        """Let go of the archive without going through it."""
        self._annotations.close()


def import_zip(
    path: Path | str,
    label_set: LabelSet | None = None,
    format: str | None = None,
    limits: Limits | None = None,
    archive_limits: ArchiveLimits | None = None,
    class_names: ClassNames | None = None,
) -> Imported:
    """Read the annotations of a ZIP file that ``export_zip`` or another tool wrote.

    Nothing is unpacked to disk. All formats that are found are read; where two speak of one photo, the first in
    the order of ``IMPORT_FORMATS`` counts, and the account says so. So it is with a SegDemo export, whose formats all
    say the same: only what differs, because somebody has worked on it since, is spoken of.

    >>> imported = import_zip(folder / "planes.zip")
    >>> [(photo.name, photo.label_map.max()) for photo in imported.annotations]
    [('plane.jpg', np.uint8(1))]
    >>> imported.account.painted, imported.account.left_out
    (1, [])

    Args:
        path: of the ZIP file.
        label_set: to read into, matched by class name, or by id where nothing in the archive names its classes.
            None takes the archive's own: ``labels.json``, lists of names, categories, labels; VOC's 21 classes are
            assumed for masks without names.
        format: one of ``IMPORT_FORMATS`` to insist on it.
        limits: for photos and masks; None reads them from the environment.
        archive_limits: None for the defaults.
        class_names: names of the archive's classes, and colours, as ``classes.parse_names`` gives them; they take
            the place of those in its files where these are numbered (VOC, YOLO).

    Raises:
        ExchangeError: not a ZIP, damaged, encrypted, over a limit, or without annotations that can be read.
    """
    source = ZipSource(path, archive_limits or ArchiveLimits())
    return _import(source, label_set, format, limits, class_names)


def import_folder(path: Path | str, label_set: LabelSet | None = None, **options: Any) -> Imported:
    """Read the annotations of a folder, such as an unpacked ZIP or a VOC tree; the rest as ``import_zip``.

    Links are not followed.

    >>> from segdemo.data.formats import export_folder
    >>> export_folder(import_zip(folder / "planes.zip").annotations, folder / "planes", ["coco"]).name
    'planes'
    >>> import_folder(folder / "planes").format
    'coco'

    Raises:
        ExchangeError: no such folder, over a limit, or without annotations that can be read.
    """
    source = FolderSource(path, options.pop("archive_limits", None) or ArchiveLimits())
    return _import(source, label_set, **options)


def _import(source: Source, label_set, format=None, limits=None, class_names=None):
    try:
        if format is not None and format not in IMPORT_FORMATS:
            known = ", ".join(IMPORT_FORMATS)
            raise ExchangeError(f"There is no import format {format!r}: choose from {known}.")
        reader = Reader(source, FORMATS, label_set, limits or Limits.from_env(), class_names)
        found = _find(reader, format)
        if not found:
            raise ExchangeError(_nothing(reader, format))
        reader.classes.settle(next(iter(found.values())).title)
        account = reader.account
        why = "it is an archive in the archive, which is not looked into: unpack it first"
        for name in strangers.packed(reader):
            account.leave_out(name, "archive", why, whole=True)
            reader.use(name)
        account.formats = list(found)
        account.ignored = reader.ignored()
        account.classes = list(reader.label_set.classes)
        target = f"; put into the classes of {label_set.title}" if label_set is not None else ""
        account.classes_source = reader.classes.source + target
        return Imported(reader, list(found), _annotations(reader, found))
    except BaseException:
        source.close()
        raise


def _find(reader, only):
    """What each format finds in the archive, by format. Raises ExchangeError if one only knows why it cannot."""
    found, error = {}, None
    for format in READ:
        if only not in (None, format.name):
            continue
        try:
            one = format.find(reader)
        except ExchangeError as raised:
            error = error or raised
            continue
        if one is not None:
            _settle_photos(one.items)
            found[format.name] = one
    if error and not found:
        raise error
    if error:
        reader.account.leave_out(reader.source.title, "part of it", f"is not read: {error}", whole=True)
    return found


def _settle_photos(items):
    """Where several annotations of a format fit one photo, those that fit it less well are without a photo."""
    fitting = {}
    for item in items:
        if item.photo is not None:
            fitting.setdefault(item.photo, []).append(item)
    for photo, several in fitting.items():
        if len(several) == 1:
            continue
        alike = [likeness(photo, item.title, item.where) for item in several]
        for item, measure in zip(several, alike, strict=True):
            if measure < max(alike):
                item.photo, item.why_not = None, f"{MISSING} ({photo} is another's)"


def _nothing(reader, format):
    """The sentence on an archive without annotations that can be read."""
    title = reader.source.title
    reasons = [f"{name!r} {why}" for name, why in reader.source.odd]
    if reasons:
        return f"{title} holds no annotations besides files that are not read: {'; '.join(reasons[:_NAMED])}."
    reasons = reader.unreadable()
    reasons += [s for s in reader.account.sentences() if s.split(": ")[0] not in " ".join(reasons)]
    if reasons:
        return f"{title} holds no annotations that can be read: {' '.join(reasons[:_NAMED])}"
    if packed := strangers.packed(reader):
        return f"{title} holds no annotations but other archives ({', '.join(packed[:_NAMED])}): unpack these first."
    if not reader.names:
        return f"{title} holds no files: choose one with photos and their annotations."
    known = f"{title} holds no{f' {format}' if format else ''} annotations"
    if format is None and (why := strangers.reason(reader)):
        return f"{known} that can be read: {why}."
    return (
        f"{known}: it needs masks in SegmentationClass or beside their photos, a COCO, labelme, VIA, Supervisely or "
        "Label Studio JSON, a CVAT XML, or YOLO labels with a data.yaml."
    )


@dataclass
class _Done:
    """What was read of a photo: in which format, from which file, and of an export size and digest of its label map."""

    format: str
    where: str
    size: tuple[int, int] | None = None
    digest: str = ""


def _photo(reader, item):
    """What the photo of an item is known by: its file, or in a SegDemo export, with copies in formats, its name."""
    if item.photo is None:
        return None
    root = reader.own_root(item.photo)
    return item.photo if root is None else (root, item.stem)


def _bare(reader, found):
    """{(format, photo)} of what only lists a photo that another format labels."""
    formats = {}
    for format, one in found.items():
        for item in one.items:
            if item.photo is not None:
                formats.setdefault(_photo(reader, item), {}).setdefault(format, []).append(item)
    bare = set()
    for photo, told in formats.items():
        if len(told) > 1:
            empty = [format for format, items in told.items() if not any(item.parts() for item in items)]
            bare.update((format, photo) for format in empty if len(empty) < len(told))
    return bare


def _differs(reader, item, done):
    """Why an annotation is left out whose photo is read in another format; "" if it says just the same."""
    if reader.own_root(item.photo) is None:
        return f"labels a photo whose labels in {done.format} are used"
    # A SegDemo export says the same in every format, unless somebody has worked on one of them since.
    if {item.where, done.where} <= reader.source.untouched:
        return ""
    label_map = reader.look(item, *done.size) if done.size else None
    if label_map is not None and digest_of(label_map) == done.digest:
        return ""
    return (
        f"says something else than {done.where}, which is read: delete what is not to count, or name a format"
    )


def _annotations(reader, found):
    """Every photo of every format, once; what the account counts is counted here."""
    account, done, bare = reader.account, {}, _bare(reader, found)
    try:
        for format, one in found.items():
            for item in one.items:
                photo = _photo(reader, item)
                if (format, photo) in bare:
                    continue
                if photo is not None and photo in done and done[photo].format != format:
                    if why := _differs(reader, item, done[photo]):
                        account.add_duplicate(item.where, item.photo, why)
                    continue
                annotation = reader.annotation(item)
                if photo is not None:
                    done[photo] = _Done(format, item.where)
                    if (
                        annotation
                        and annotation.label_map is not None
                        and reader.own_root(item.photo) is not None
                    ):
                        label_map = annotation.label_map
                        done[photo] = _Done(format, item.where, label_map.shape, digest_of(label_map))
                if annotation is None:
                    continue
                account.photos += 1
                account.labelled += annotation.label_map is not None
                account.painted += len(annotation.parts)
                if annotation.meta.get("subset") in SUBSETS:
                    account.splits[annotation.meta["subset"]] += 1
                yield annotation
        reader.note()
    finally:
        reader.source.close()
