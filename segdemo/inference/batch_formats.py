"""What a batch of photos is written as: files for each photo, and files that speak of all of them.

A row is what a batch notes of a photo, plain data: ``width``, ``height``, ``milliseconds``, ``pixels`` ({class id as
text: pixels}, void too), ``out_of_domain`` (of a ``Prediction``), and ``coco``, its annotations without ids, where
these are wanted.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.files import written_atomic
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.photos import encode_png
from segdemo.data.formats import coco
from segdemo.errors import UserError
from segdemo.inference.predict import Prediction

Row = dict[str, Any]
# (name of the photo, row) of each photo, as often as asked for
Rows = Callable[[], Iterable[tuple[str, Row]]]


class FormatError(UserError):
    """What is to be written is not known; the message says what there is."""


@dataclass(frozen=True)
class Format:
    """One of the things a batch writes.

    Attributes:
        name: in options. title: for people.
        suffix: of a photo's file, behind its stem; or the whole name of the one file for all photos.
        encode: (photo uint8 (H, W, 3), prediction, label set) to the bytes of the photo's file.
        finish: writes the one file: (path, label set, rows).
    """

    name: str
    title: str
    suffix: str
    encode: Callable[[UInt8, Prediction, LabelSet], bytes] | None = None
    finish: Callable[[Path, LabelSet, Rows], None] | None = None


def cutout(photo: UInt8, label_map: UInt8, label_set: LabelSet) -> UInt8:
    """What a photo shows without what is around it: uint8 (H, W, 4), RGBA, transparent at background and void."""
    table = np.full(256, 255, np.uint8)
    table[[VOID, *([] if label_set.background is None else [label_set.background])]] = 0
    alpha = label_maps.check_label_map(label_map, label_set)
    alpha = table[alpha]
    cut: UInt8 = np.dstack([np.where(alpha[..., None] > 0, photo, np.uint8(0)), alpha])
    return cut


def class_rows(row: Row, label_set: LabelSet) -> list[dict[str, Any]]:
    """``label_maps.class_table`` of the photo that a row is about."""
    area = row["width"] * row["height"]
    pixels = {int(id_): count for id_, count in row["pixels"].items()}
    return [
        {"id": i, "name": name, "color": list(color), "pixels": pixels[i], "share": pixels[i] / area}
        for i, (name, color) in enumerate(zip(label_set.classes, label_set.colors, strict=True))
        if i in pixels
    ]


def uncertainty(prediction: Prediction) -> UInt8:
    """``Prediction.uncertainty`` at the photo's own size: uint8 (H, W), 0..255 for 0..1."""
    height, width = prediction.label_map.shape
    coarse = Image.fromarray(prediction.uncertainty)
    return np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))


def _label_map(_photo: UInt8, prediction: Prediction, label_set: LabelSet) -> bytes:
    return label_maps.encode_png(prediction.label_map, label_set)


def _overlay(photo: UInt8, prediction: Prediction, label_set: LabelSet) -> bytes:
    return encode_png(label_maps.overlay(photo, prediction.label_map, label_set))


def _cutout(photo: UInt8, prediction: Prediction, label_set: LabelSet) -> bytes:
    return encode_png(cutout(photo, prediction.label_map, label_set))


def _uncertainty(_photo: UInt8, prediction: Prediction, _label_set: LabelSet) -> bytes:
    return encode_png(uncertainty(prediction))


def _write_coco(path: Path, label_set: LabelSet, rows: Rows) -> None:
    """One COCO document, a photo at a time; ids of photos count from 1 in their order."""
    head = coco.frame(label_set, coco.categories(label_set))
    with written_atomic(path) as file:
        said = ", ".join(
            f"{json.dumps(key)}: {json.dumps(head[key])}" for key in ("info", "licenses", "categories")
        )
        file.write(f'{{{said}, "images": [')
        for number, (name, row) in enumerate(rows(), 1):
            image = {"id": number, "file_name": name, "width": row["width"], "height": row["height"]}
            file.write(("" if number == 1 else ",\n") + json.dumps(image))
        file.write('], "annotations": [')
        id_ = 0
        for number, (_, row) in enumerate(rows(), 1):
            for entry in row["coco"]:
                id_ += 1
                file.write(("" if id_ == 1 else ",\n") + json.dumps({"id": id_, "image_id": number, **entry}))
        file.write("]}\n")


def _write_csv(path: Path, label_set: LabelSet, rows: Rows) -> None:
    """A line for each photo with the share of each class, 0..1, and of void."""
    ids = [*range(len(label_set)), VOID]
    with written_atomic(path) as file:
        writer = csv.writer(file)
        writer.writerow(map(_cell, ["photo", "width", "height", *label_set.classes, "void"]))
        for name, row in rows():
            area = row["width"] * row["height"]
            shares = (f"{row['pixels'].get(str(i), 0) / area:.6f}" for i in ids)
            writer.writerow([_cell(name), row["width"], row["height"], *shares])


def _cell(text: str) -> str:
    """A text for a spreadsheet, which takes one that starts like this for a formula."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


FORMATS = {
    format.name: format
    for format in (
        Format("label_map", "Label maps", ".png", _label_map),
        Format("overlay", "Overlays", "_overlay.png", _overlay),
        Format("cutout", "Cut-outs", "_cutout.png", _cutout),
        Format("uncertainty", "Uncertainty", "_uncertainty.png", _uncertainty),
        Format("coco", "COCO JSON", "coco.json", finish=_write_coco),
        Format("csv", "Class shares (CSV)", "classes.csv", finish=_write_csv),
    )
}


def chosen(names: Sequence[str]) -> list[Format]:
    """The formats of these names, each once, in the order of ``FORMATS``. Raises FormatError."""
    unknown = [name for name in names if not isinstance(name, str) or name not in FORMATS]
    if unknown or not names:
        what = f"There is no format {str(unknown[0])[:40]!r}" if unknown else "Nothing is to be written"
        raise FormatError(f"{what}: choose from {', '.join(FORMATS)}.")
    return [format for name, format in FORMATS.items() if name in names]


def row_of(label_map: UInt8, label_set: LabelSet, formats: Iterable[Format]) -> Row:
    """The row of a photo's label map, but for its ``milliseconds`` and ``out_of_domain``."""
    height, width = label_map.shape
    pixels = {str(i): count for i, count in label_maps.pixel_counts(label_map).items()}
    row: Row = {"width": width, "height": height, "pixels": pixels}
    if any(format.name == "coco" for format in formats):
        row["coco"] = [entry for _, entry in coco.class_entries(label_map, label_set)]
    return row
