"""Annotations out to and in from one ZIP or folder.

A module for each format that is written:

    voc         PASCAL VOC: palettized PNGs and lists of subsets
    coco        COCO: run lengths or polygons in JSON
    yolo        YOLO-seg: polygons in text files
    sidecars    SegDemo's own: the label set, and JSON side-cars with what the others have no place for

and in ``readers`` one for each that is read: these, and those of labelme, CVAT, Label Studio and Datumaro.

``exporting`` writes all that are asked for into one ZIP, with the photos and, as ``overlay``, pictures of the
classes painted over them; ``importing`` finds out which ones there are to read, and ends in an ``account`` of all that
was read and all that was not. They share ``annotation``, what goes out and comes in, ``archives``, ZIP files and
folders, and ``shapes``; ``reader``, ``photos`` and ``classes`` are what the readers share.

What ``export_zip`` writes (``ID`` is the annotation's id; the modules of the formats say more):

    labels.json, meta/ID.json                           always: the label set and the side-cars
    JPEGImages/ID.jpg                                   always: the photo, upright; the original bytes where it
                                                        was such a JPEG
    SegmentationClass, ImageSets                        voc
    coco/instances_rle.json, instances_polygons.json    coco
    yolo/data.yaml, images, labels, void                yolo
    overlays/ID.png                                     overlay

Unpacked, it is a dataset of kind ``annotations``.
"""

from segdemo.exchange.account import Account
from segdemo.exchange.annotation import SUBSETS, Annotation, ExchangeError
from segdemo.exchange.archives import ArchiveLimits
from segdemo.exchange.exporting import FORMATS, export_zip
from segdemo.exchange.importing import IMPORT_FORMATS, Imported, import_folder, import_zip

__all__ = [
    "FORMATS",
    "IMPORT_FORMATS",
    "SUBSETS",
    "Account",
    "Annotation",
    "ArchiveLimits",
    "ExchangeError",
    "Imported",
    "export_zip",
    "import_folder",
    "import_zip",
]
