"""Annotations out to and in from one ZIP: PASCAL VOC, COCO, YOLO-seg, overlays and JSON side-cars.

What ``export_zip`` writes (``ID`` is the annotation's id):

    labels.json                         the label set
    JPEGImages/ID.jpg                   the photo, upright; the original bytes where it was such a JPEG
    meta/ID.json                        side-car: size, label set and the annotation's own data
    SegmentationClass/ID.png            voc: palettized label map, 255 = void
    ImageSets/Segmentation/*.txt        voc: train, val, trainval (and test) lists
    coco/instances_rle.json             coco: one run-length mask per class and photo; lossless
    coco/instances_polygons.json        coco: the same as polygons
    yolo/data.yaml, yolo/images, yolo/labels, yolo/void      yolo: one polygon per line
    overlays/ID.png                     overlay: the photo with the classes painted over it

Unpacked, it is a dataset of kind ``annotations``. Conventions where the formats leave a choice:

* COCO annotations are whole classes, not objects: a label map does not know where one cat ends and the next
  begins. The background has no annotation; void is a category of its own with ``iscrowd`` 1, which COCO's
  evaluation ignores. Category ids are class ids, plus one where class 0 is not the background, so none is 0.
* Neither COCO nor YOLO polygons have holes: a region with holes is one ring with bridges of no width
  (``masks.keyhole``). Polygons run exactly along pixel edges, so reading them back is lossless too.
* YOLO has no void: its outlines are in ``yolo/void``, next to ``labels`` and in the same format, where
  trainers do not look.

Formats: Everingham et al., VOC2012 development kit; https://cocodataset.org/#format-data;
https://docs.ultralytics.com/datasets/segment/.
"""

import io
import json
import os
import re
import stat
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from segdemo import intake, masks
from segdemo.labels import LABEL_SETS, VOID, LabelSet, voc_color

FORMATS = ("voc", "coco", "yolo", "overlay")
IMPORT_FORMATS = ("voc", "coco", "yolo")
SUBSETS = ("train", "val", "test")
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif")
_FORBIDDEN = re.compile(r'[\x00-\x20\x7f<>:"/\\|?*]')  # no file name anywhere, or cut off by list readers
_UNREAD = (masks.MaskError, intake.IntakeError)


class ExchangeError(ValueError):
    """An export or import that cannot be done. The message is one sentence meant for the person who asked."""


@dataclass
class Annotation:
    """One photo with its label map.

    Attributes:
        id: name of its files, without suffix: no spaces, slashes or other characters file systems refuse.
        image: the photo: encoded bytes, a path, or uint8 (H, W, 3) RGB. Imports give bytes.
        label_map: uint8 (H, W), the size of the upright photo.
        label_set: the ``LabelSet`` of its ids.
        meta: plain JSON data of the annotation's own; ``meta["subset"]`` (train, val or test) sorts it into
            the lists of VOC and the folders of YOLO.
    """

    id: str
    image: bytes | Path | np.ndarray
    label_map: np.ndarray
    label_set: LabelSet
    meta: dict = field(default_factory=dict)


@dataclass(frozen=True)
class ArchiveLimits:
    """What an import may cost: files, bytes of all of them once unpacked, bytes of one text or JSON file."""

    max_files: int = 100_000
    max_bytes: int = 8_000_000_000
    max_json_bytes: int = 256_000_000


# ------------------------------------------------------------------------------------------------ export


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
    coco = {}
    for number, annotation in enumerate(annotations, 1):
        _check(annotation, taken, label_set)
        if label_set is None:
            label_set = annotation.label_set
            coco = {kind: _coco_frame(label_set) for kind in ("rle", "polygons")} if "coco" in formats else {}
        subset = annotation.meta.get("subset")
        subset = subset if subset in SUBSETS else "train"
        subsets[subset].append(annotation.id)
        _write_one(archive, annotation, subset, formats, limits)
        for kind, document in coco.items():
            _add_coco(document, kind, number, annotation)
        if progress:
            progress(number)
    if label_set is None:
        raise ExchangeError("There is nothing to export: annotate a photo first.")
    _write(archive, "labels.json", _json(label_set.to_json()))
    if "voc" in formats:
        lists = {**subsets, "trainval": subsets["train"] + subsets["val"]}
        for name, ids in lists.items():
            if ids or name != "test":
                _write(archive, f"ImageSets/Segmentation/{name}.txt", "".join(f"{i}\n" for i in sorted(ids)))
    for kind, document in coco.items():
        _write(archive, f"coco/instances_{kind}.json", _json(document, indent=None))
    if "yolo" in formats:
        _write(archive, "yolo/data.yaml", _yolo_yaml(label_set, subsets))


def _check(annotation, taken, label_set):
    id_ = annotation.id
    if not isinstance(id_, str) or not id_ or _FORBIDDEN.search(id_) or id_[0] == "." or len(id_) > 150:
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
    _write(archive, f"JPEGImages/{id_}.jpg", jpeg)
    try:
        sidecar = _json(
            {
                "id": id_,
                "label_set": label_set.name,
                "width": width,
                "height": height,
                "meta": annotation.meta,
            }
        )
    except (TypeError, ValueError) as error:
        raise ExchangeError(f"The data of {id_} cannot be written as JSON: {error}.") from error
    _write(archive, f"meta/{id_}.json", sidecar)
    if "voc" in formats:
        _write(archive, f"SegmentationClass/{id_}.png", masks.encode_png(label_map, label_set))
    if "yolo" in formats:
        _write(archive, f"yolo/images/{subset}/{id_}.jpg", jpeg)
        lines, void = _yolo_lines(label_map, label_set)
        _write(archive, f"yolo/labels/{subset}/{id_}.txt", lines)
        if void:
            _write(archive, f"yolo/void/{subset}/{id_}.txt", void)
    if "overlay" in formats:
        out = io.BytesIO()
        Image.fromarray(masks.overlay(rgb, label_map, label_set)).save(out, "PNG", compress_level=1)
        _write(archive, f"overlays/{id_}.png", out.getvalue())


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


def _write(archive, name, content):
    info = zipfile.ZipInfo(name)  # with the fixed date of ZipInfo, so that equal annotations give equal files
    info.external_attr = 0o644 << 16
    packed = name.endswith((".jpg", ".png"))
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def _json(data, indent=1):
    return json.dumps(data, ensure_ascii=False, indent=indent, allow_nan=False)


def _labelled_classes(label_set):
    """Ids that COCO and YOLO outline: all but the background, which is wherever nothing else is."""
    return [i for i in range(len(label_set)) if i != label_set.background]


def _coco_offset(label_set):
    return 0 if label_set.background == 0 else 1


def _coco_frame(label_set):
    offset = _coco_offset(label_set)
    categories = [
        {"id": i + offset, "name": label_set.classes[i], "supercategory": "class"}
        for i in _labelled_classes(label_set)
    ]
    categories.append({"id": VOID + offset, "name": "void", "supercategory": "void"})
    return {
        "info": {"description": f"{label_set.title}, exported by SegDemo", "version": "1.0"},
        "licenses": [],
        "images": [],
        "categories": categories,
        "annotations": [],
    }


def _add_coco(document, kind, number, annotation):
    label_map, label_set = annotation.label_map, annotation.label_set
    height, width = label_map.shape
    document["images"].append(
        {"id": number, "file_name": f"{annotation.id}.jpg", "width": width, "height": height}
    )
    present = set(np.unique(label_map).tolist())
    for i in [*_labelled_classes(label_set), VOID]:
        if i not in present:
            continue
        mask = label_map == i
        # COCO wants run lengths, not polygons, wherever iscrowd is 1.
        if kind == "rle" or i == VOID:
            segmentation = masks.rle_encode(mask)
        else:
            segmentation = [masks.keyhole(region).ravel().tolist() for region in masks.polygons(mask)]
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        x, y = int(columns[0]), int(rows[0])
        document["annotations"].append(
            {
                "id": len(document["annotations"]) + 1,
                "image_id": number,
                "category_id": i + _coco_offset(label_set),
                "iscrowd": int(i == VOID),
                "area": int(mask.sum()),
                "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                "segmentation": segmentation,
            }
        )


def _yolo_lines(label_map, label_set):
    """Text of the label file and of the void file of one photo."""
    scale = np.array(label_map.shape[::-1], np.float64)
    texts = []
    for ids in (_labelled_classes(label_set), [VOID]):
        lines = []
        for i in ids:
            for region in masks.polygons(label_map == i):
                numbers = " ".join(f"{v:.8g}" for v in (masks.keyhole(region) / scale).ravel())
                lines.append(f"{0 if i == VOID else i} {numbers}\n")
        texts.append("".join(lines))
    return texts


def _yolo_yaml(label_set, subsets):
    import yaml  # only where YOLO is written or read

    data = {
        "train": "images/train",
        "val": "images/val" if subsets["val"] else "images/train",  # trainers insist on an entry
        **({"test": "images/test"} if subsets["test"] else {}),
        "names": dict(enumerate(label_set.classes)),
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


# ------------------------------------------------------------------------------------------------ import


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
    return _import(_Zip(path, archive_limits or ArchiveLimits()), label_set, format, member, limits)


def import_folder(path, label_set=None, format=None, member=None, limits=None, archive_limits=None):
    """Read the annotations of a folder, such as an unpacked ZIP or a VOC tree; the rest as ``import_zip``.

    Links are not followed.

    Raises:
        ExchangeError: no such folder, over a limit, or without annotations.
    """
    return _import(_Folder(path, archive_limits or ArchiveLimits()), label_set, format, member, limits)


class _Zip:
    """Names (with forward slashes), sizes and contents of the files in a ZIP."""

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
        self._archive.close()


class _Folder:
    """The same of a folder."""

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
        _check_file(name, self.sizes[name], max_bytes)
        try:
            return (self._root / name).read_bytes()
        except OSError as error:
            raise ExchangeError(f"{name} cannot be read: check the disk and its permissions.") from error

    def close(self):
        pass


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


def _import(source, label_set, format, member, limits):
    try:
        if format is not None and format not in IMPORT_FORMATS:
            raise ExchangeError(
                f"There is no import format {format!r}: choose from {', '.join(IMPORT_FORMATS)}."
            )
        reader = _Reader(source, label_set, limits or intake.Limits.from_env())
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
    for name, find in (("voc", _find_voc), ("coco", lambda r: _find_coco(r, member)), ("yolo", _find_yolo)):
        if format in (None, name) and (iterator := find(reader)) is not None:
            return name, iterator
    return None


class _Reader:
    """What the three formats need in common: photos, side-cars, the label set and what was refused."""

    def __init__(self, source, label_set, limits):
        self.source, self.limits = source, limits
        self.refused, self._used, self._ids = [], set(), set()
        self.names = sorted(source.sizes)
        own = [n for n in self.names if PurePosixPath(n).name == "labels.json"]
        own = min(own, key=len, default=None)
        self.root = own.removesuffix("labels.json") if own else ""
        self.label_set = label_set
        if own:
            self._used.add(own)
            if label_set is None:
                self.label_set = self._read_label_set(own)
        self.photos = {}
        for name in self.names:
            if name.lower().endswith(_PHOTO_SUFFIXES):
                self.photos.setdefault(PurePosixPath(name).name, []).append(name)

    def _read_label_set(self, name):
        try:
            data = self.json(name)
            label_set = LabelSet.from_json(data)
            if not isinstance(label_set.name, str) or not isinstance(label_set.title, str):
                raise ValueError("its name is not text")
            if sorted(entry["id"] for entry in data["classes"]) != list(range(len(label_set))):
                raise ValueError("its ids do not count from 0")
            return label_set
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExchangeError(f"{name} does not describe a label set: {error}.") from error

    def use(self, *names):
        self._used.update(names)

    def skipped(self, format):
        """Files nobody asked for, less what an export holds for other formats."""
        others = {"voc": "SegmentationClass", "coco": "coco", "yolo": "yolo"}
        folders = ["overlays", "meta", "ImageSets", *(["JPEGImages"] if format == "yolo" else [])]
        folders += [folder for other, folder in others.items() if other != format]
        known = tuple(f"{self.root}{folder}/" for folder in folders)
        own = f"{self.root}labels.json" in self._used
        rest = [n for n in self.names if n not in self._used and not (own and n.startswith(known))]
        return sorted([*self.source.skipped, *rest])

    def text(self, name):
        try:
            return self.source.read(name, self.source.limits.max_json_bytes).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ExchangeError(f"{name} is not UTF-8 text.") from error

    def json(self, name):
        text = self.text(name)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ExchangeError(f"{name} is not JSON: {error}.") from error

    def annotation(self, stem, mask_name, photo_name, subset, make_label_map):
        """The annotation, or None after noting why not. ``make_label_map`` takes (height, width)."""
        try:
            photo = self.source.read(photo_name, self.limits.max_bytes)
            try:
                height, width, _ = intake.read_photo(photo, self.limits).shape
            except intake.IntakeError as error:
                raise ExchangeError(f"the photo {photo_name} cannot be used: {error}") from error
            label_map = make_label_map(height, width)
            meta = self._meta(stem)
        except (ExchangeError, *_UNREAD) as error:
            self.refused.append(f"{mask_name}: {error}")
            return None
        if meta is None:
            meta = {"subset": subset} if subset else {}
        return Annotation(self._id(stem), photo, label_map, self.label_set, meta)

    def _meta(self, stem):
        name = f"{self.root}meta/{stem}.json"
        if name not in self.source.sizes:
            return None
        data = self.json(name)
        meta = data.get("meta") if isinstance(data, dict) else None
        if not isinstance(meta, dict):
            raise ExchangeError(f"its side-car {name} has no meta.")
        return meta

    def _id(self, stem):
        base = (_FORBIDDEN.sub("_", stem).lstrip(".") or "photo")[:140]
        id_, number = base, 1
        while id_.casefold() in self._ids:
            number += 1
            id_ = f"{base}-{number}"
        self._ids.add(id_.casefold())
        return id_

    def named_label_set(self, names, title):
        """Take the classes' names from the files, if no label set is known yet; background comes first."""
        if self.label_set is not None:
            return
        lower = [name.lower() for name in names]
        if "background" in lower:
            background = lower.index("background")
        else:
            names, background = ["background", *names], 0
        try:
            colors = [voc_color(i) for i in range(len(names))]
            self.label_set = LabelSet("imported", title, tuple(names), tuple(colors), background)
        except ValueError as error:
            raise ExchangeError(f"The class names of {self.source.title} cannot be used: {error}") from error

    def class_ids(self):
        return {name.strip().lower(): i for i, name in enumerate(self.label_set.classes)}


# ---------------------------------------------------------------------------------------------------- VOC


def _find_voc(reader):
    pattern = re.compile(r"(.*/)?SegmentationClass/[^/]+\.png", re.IGNORECASE | re.DOTALL)
    matches = [(m.group(1) or "", n) for n in reader.names if (m := pattern.fullmatch(n))]
    if not matches:
        return None
    root = Counter(prefix for prefix, _ in matches).most_common(1)[0][0]
    found = [name for prefix, name in matches if prefix == root]
    reader.label_set = reader.label_set or LABEL_SETS["voc"]
    photos = {}
    for name in reader.names:
        path = PurePosixPath(name)
        if name.startswith(f"{root}JPEGImages/") and path.suffix.lower() in _PHOTO_SUFFIXES:
            photos.setdefault(path.stem, name)
    subsets = {}
    for subset in SUBSETS:
        name = f"{root}ImageSets/Segmentation/{subset}.txt"
        if name in reader.source.sizes:
            reader.use(name)
            for line in reader.text(name).splitlines():
                subsets.setdefault(line.strip(), subset)
    reader.use(*found, *(photos[s] for n in found if (s := PurePosixPath(n).stem) in photos))
    return _read_voc(reader, found, photos, subsets)


def _read_voc(reader, found, photos, subsets):
    for name in found:
        stem = PurePosixPath(name).stem
        if stem not in photos:
            reader.refused.append(f"{name}: it has no photo, add JPEGImages/{stem}.jpg.")
            continue

        def label_map(height, width, name=name):
            data = reader.source.read(name, reader.limits.max_bytes)
            return masks.decode_png(data, reader.label_set, (height, width), reader.limits)

        if annotation := reader.annotation(stem, name, photos[stem], subsets.get(stem), label_map):
            yield annotation


# --------------------------------------------------------------------------------------------------- COCO


def _find_coco(reader, member):
    if member is not None and member not in reader.source.sizes:
        raise ExchangeError(f"There is no {member} in {reader.source.title}.")
    candidates = [member] if member else [n for n in reader.names if n.lower().endswith(".json")]
    documents = {}
    for name in sorted(candidates, key=lambda n: ("polygon" in n.lower(), n)):
        if name.startswith(f"{reader.root}meta/") or PurePosixPath(name).name == "labels.json":
            continue
        try:
            data = reader.json(name)
        except ExchangeError:
            if member:
                raise
            continue  # some other tool's file: it stays among the skipped
        keys = ("images", "annotations", "categories")
        if isinstance(data, dict) and all(isinstance(data.get(key), list) for key in keys):
            documents[name] = _CocoFile(name, data)
            reader.use(name)
    if not documents:
        return None
    names = {}
    for document in documents.values():
        for category in document.categories.values():
            if category is not None:
                names.setdefault(category.lower(), category)
    reader.named_label_set(list(names.values()), "Imported from COCO")
    jobs = {}
    for document in documents.values():
        for image in document.images:
            if photo := _photo_of(reader, image["file_name"]):
                reader.use(photo)
            jobs.setdefault(photo or image["file_name"], (document, image, photo))
    return _read_coco(reader, jobs.values())


class _CocoFile:
    """One COCO document: names of its categories (None for void), images, and annotations by image.

    An annotation is (what to call it, category name or None, segmentation, area).
    """

    def __init__(self, name, data):
        self.name = name
        try:
            ordered = sorted(data["categories"], key=lambda c: c["id"])
            self.categories = {c["id"]: None if _is_void(c) else str(c["name"]).strip() for c in ordered}
            self.images = [{**image, "file_name": str(image["file_name"])} for image in data["images"]]
            self.annotations = {image["id"]: [] for image in self.images}
            for entry in data["annotations"]:
                area = entry.get("area")
                self.annotations.setdefault(entry["image_id"], []).append(
                    (
                        f"annotation {entry.get('id')}",
                        self.categories[entry["category_id"]],
                        entry.get("segmentation"),
                        area if isinstance(area, (int, float)) else 0,
                    )
                )
        except (KeyError, TypeError, AttributeError) as error:
            raise ExchangeError(f"{name} is not complete COCO: {error!r} is missing or wrong.") from error


def _is_void(category):
    return category.get("supercategory") == "void" and str(category["name"]).lower() == "void"


def _photo_of(reader, file_name):
    """The file that a COCO file_name means: the longest agreement, then the shortest path."""
    candidates = reader.photos.get(PurePosixPath(file_name).name, ())
    return min(
        candidates, key=lambda n: (not f"/{n}".endswith(f"/{file_name}"), n.count("/"), n), default=None
    )


def _read_coco(reader, jobs):
    for document, image, photo in jobs:
        where = f"{document.name}, {image['file_name']}"
        if photo is None:
            reader.refused.append(f"{where}: the photo is missing, add it.")
            continue
        entries = document.annotations[image["id"]]

        def label_map(height, width, image=image, entries=entries):
            return _coco_label_map(reader, image, entries, height, width)

        stem = PurePosixPath(image["file_name"]).stem
        if annotation := reader.annotation(stem, where, photo, None, label_map):
            yield annotation


def _coco_label_map(reader, image, entries, height, width):
    stated = (image.get("height", height), image.get("width", width))
    if stated != (height, width):
        raise ExchangeError(
            f"the file says {stated[1]}x{stated[0]} pixels, but the photo measures {width}x{height}."
        )
    class_ids = reader.class_ids()
    shapes = []
    for what, name, segmentation, area in entries:
        if name is not None and name.lower() not in class_ids:
            raise ExchangeError(f"there is no class {name!r} in {reader.label_set.title}.")
        value = VOID if name is None else class_ids[name.lower()]
        if isinstance(segmentation, dict):
            size = segmentation.get("size")
            if size != [height, width]:  # before anything of that size is made
                raise ExchangeError(
                    f"{what} has a mask of {size}, its photo {[height, width]} (height, width)."
                )
            shapes.append(_Shape(what, value, area, segmentation))
        elif isinstance(segmentation, list) and segmentation:
            # COCO's polygons add up; they cut no holes.
            shapes += [_polygon(what, value, polygon) for polygon in segmentation]
        else:
            raise ExchangeError(f"{what} has no segmentation.")
    return _paint(reader.label_set, shapes, height, width)


@dataclass(frozen=True)
class _Shape:
    """Something to paint: what to call it, class id, area in pixels, and a ring (N, 2) or run lengths."""

    what: str
    value: int
    area: float
    form: np.ndarray | dict


def _polygon(what, value, numbers, scale=(1, 1)):
    """Flat x, y, x, y, ... as a shape."""
    try:
        points = np.array(numbers, np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ExchangeError(f"{what} has a polygon that is not at least three pairs x, y.") from error
    ring = points.reshape(-1, 2) * scale
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return _Shape(what, value, float(area), ring)


def _paint(label_set, shapes, height, width):
    """Label map of shapes on the background; where they overlap, the smaller one is seen."""
    base = VOID if label_set.background is None else label_set.background
    label_map = np.full((height, width), base, np.uint8)
    for shape in sorted(shapes, key=lambda shape: -shape.area):
        try:
            if isinstance(shape.form, dict):
                label_map[masks.rle_decode(shape.form)] = shape.value
            else:
                rows, columns, inside = masks.fill([shape.form], height, width)
                label_map[rows, columns][inside] = shape.value
        except masks.MaskError as error:
            raise ExchangeError(f"{shape.what}: {error}") from error
    return label_map


# --------------------------------------------------------------------------------------------------- YOLO


def _find_yolo(reader):
    labels = [n for n in reader.names if n.endswith(".txt") and "labels" in PurePosixPath(n).parts[:-1]]
    if not labels:
        return None
    names = _yolo_names(reader)
    if names is None:
        return None
    reader.named_label_set(list(names.values()), "Imported from YOLO")
    jobs = []
    for name in labels:
        photo = _yolo_sibling(reader, name, "images", _PHOTO_SUFFIXES)
        void = _yolo_sibling(reader, name, "void", (".txt",))
        reader.use(name, *(n for n in (photo, void) if n))
        jobs.append((name, photo, void))
    return _read_yolo(reader, jobs, names)


def _yolo_names(reader):
    """{index: class name} of the first data.yaml, or None."""
    import yaml  # only where YOLO is written or read

    for name in sorted((n for n in reader.names if n.lower().endswith((".yaml", ".yml"))), key=len):
        try:
            names = yaml.safe_load(reader.text(name)).get("names")
            names = dict(enumerate(names)) if isinstance(names, list) else names
            names = {int(i): str(text).strip() for i, text in sorted(names.items())}
        except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError):
            continue
        reader.use(name)
        return names
    return None


def _yolo_sibling(reader, name, folder, suffixes):
    """The file that lies under ``folder`` as ``name`` lies under labels, or None."""
    parts = list(PurePosixPath(name).with_suffix("").parts)
    at = len(parts) - 1 - parts[::-1].index("labels")
    # The stem may itself be "labels"; the folder is the last such part before it.
    if at == len(parts) - 1:
        at = len(parts) - 2 - parts[-2::-1].index("labels")
    parts[at] = folder
    stem = "/".join(parts)
    names = (stem + suffix for base in suffixes for suffix in (base, base.upper()))
    return next((name for name in names if name in reader.source.sizes), None)


def _read_yolo(reader, jobs, names):
    for name, photo, void in jobs:
        path = PurePosixPath(name)
        if photo is None:
            reader.refused.append(f"{name}: it has no photo, add it to images.")
            continue

        def label_map(height, width, name=name, void=void):
            shapes = _yolo_shapes(reader, name, names, (width, height))
            if void:
                shapes += _yolo_shapes(reader, void, None, (width, height))
            return _paint(reader.label_set, shapes, height, width)

        subset = path.parent.name if path.parent.name in SUBSETS else None
        if annotation := reader.annotation(path.stem, name, photo, subset, label_map):
            yield annotation


def _yolo_shapes(reader, file, names, scale):
    """Shapes of a label file; with ``names`` None all of them are void and the class column is not read."""
    class_ids = reader.class_ids()
    shapes = []
    for number, line in enumerate(reader.text(file).splitlines(), 1):
        what = f"line {number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise ExchangeError(f"{what} is not numbers.") from error
        if not values:
            continue
        index, *numbers = values
        if len(numbers) == 4:
            raise ExchangeError(f"{what} is a box, not an outline: only YOLO-seg labels can be imported.")
        if not all(-1e-3 <= v <= 1 + 1e-3 for v in numbers):
            raise ExchangeError(f"{what} has a coordinate outside 0..1.")
        value = VOID
        if names is not None:
            name = names.get(index)  # 3.0 finds 3
            if name is None:
                raise ExchangeError(f"{what} has the class {index:g}, which data.yaml does not name.")
            if name.lower() not in class_ids:
                raise ExchangeError(f"there is no class {name!r} in {reader.label_set.title}.")
            value = class_ids[name.lower()]
        shapes.append(_polygon(what, value, numbers, scale))
    return shapes
