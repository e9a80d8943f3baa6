"""What an archive without annotations that can be read holds instead, for the sentence that says so."""

import re

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Reader

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
_BRUSH = re.compile(r"task-\d+-annotation-\d+-by-.*-tag-.*\.(?:png|npy)", re.I)
_GEO = "{} is GeoJSON, so convert it to masks or COCO"
# What files of an ending have in them, and what these are.
_MARKS = (
    (".xml", b"<bndbox>", "{} holds boxes, and boxes are no outlines"),
    (
        ".csv",
        b"EncodedPixels",
        "{} holds run lengths as Kaggle writes them, so convert them to masks or COCO",
    ),
    (".csv", b"MaskPath", "{} is a table of Open Images, so convert it to COCO"),
    (
        ".json",
        b'"Labeled Data"',
        "{} is Labelbox's old export, so export it there as NDJSON, or convert it to COCO",
    ),
    (
        ".json",
        b'"segmentation_bitmap"',
        "{} is a release of Segments.ai without its masks, so export it there as COCO",
    ),
    (
        ".json",
        b'"predicted_iou"',
        "{} is of Segment Anything, whose masks have no classes, so label these first",
    ),
    (".json", b'"FeatureCollection"', _GEO),
    (".geojson", b'"FeatureCollection"', _GEO),
    (".json", b'"segmentation"', "{} holds results without the images and categories of COCO"),
    (".json", b'"coordinates"', "{} holds boxes, and boxes are no outlines"),
    (".json", b'"assets"', "{} is VoTT's, so export it as COCO or VOC"),
    (".json", b'"caption"', "{} holds captions, and no outlines"),
)
_LOOKED_AT = 50  # files of a kind that are opened to find out what they are
# What pictures and masks are kept in besides pictures.
_ARRAYS = (
    ".npy",
    ".npz",
    ".mat",
    ".nii",
    ".nii.gz",
    ".dcm",
    ".nrrd",
    ".mha",
    ".h5",
    ".hdf5",
    ".parquet",
    ".arrow",
)
_BEGINNING = 100_000  # bytes of each


def packed(reader: Reader) -> list[str]:
    """Names of archives in the archive."""
    found = [name for name in reader.names if name.lower().endswith(_ARCHIVES)]
    return [name for name in found if not name.lower().endswith(_ARRAYS)]


def reason(reader: Reader) -> str:
    """What the archive holds and what to do, to be put behind a colon; "" if it is nothing that is known."""
    files = reader.names
    if any(name.startswith(f"{root}overlays/") for root in reader.own for name in files):
        return (
            "overlays are pictures to look at, from which no label comes back, so export with another format"
        )
    if any(_BRUSH.fullmatch(names.base(name)) for name in files):
        return (
            "Label Studio's brush PNGs do not say which photo they belong to, so export the project as JSON, which "
            "holds the same strokes"
        )
    for ending, mark, why in _MARKS:
        for name in [name for name in files if name.lower().endswith(ending)][:_LOOKED_AT]:
            if mark in _beginning(reader, name):
                return why.format(name)
    if records := [name for name in files if name.lower().endswith((".tfrecord", ".tfrecords", ".record"))]:
        return f"{records[0]} is a TFRecord, so export as COCO or masks"
    if arrays := [name for name in files if name.lower().endswith(_ARRAYS)]:
        return f"{arrays[0]} is no picture, so save photos and masks, or slices, as PNG"
    if reader.unpaired:
        return f"its masks, such as {reader.unpaired[0]}, are called like none of its photos"
    if len(reader.photos.files) == len(files):
        return "it holds photos alone, so add these in Annotate, or add masks, or a document of annotations"
    return ""


def _beginning(reader, name):
    try:
        return reader.source.read(name, reader.source.limits.max_json_bytes)[:_BEGINNING]
    except ExchangeError:
        return b""
