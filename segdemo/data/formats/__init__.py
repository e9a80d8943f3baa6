"""Annotations out to and in from one ZIP or a folder.

A module for each format that is written:

    voc         PASCAL VOC: palettized PNGs and lists of subsets
    coco        COCO: run lengths or polygons in JSON
    panoptic    COCO panoptic: coloured PNGs and JSON
    yolo        YOLO-seg: polygons in text files
    labelme_export  labelme: polygons and small masks in a JSON for each photo
    sidecars    SegDemo's own: the label set, and JSON side-cars with what the others have no place for

and in ``readers`` one for each that is read: these, those of CVAT, Label Studio, Datumaro, VIA and Supervisely, and
masks beside their photos. ``strangers`` knows what else an archive may hold, to say so.

``exporting`` writes all that are asked for into one ZIP or folder, with the photos and, as ``overlay``, pictures of the
classes painted over them; ``importing`` finds out which ones there are to read, and ends in an ``account`` of all that
was read and all that was not. They share ``annotation``, what goes out and comes in, ``archives``, ZIP files and
folders, and ``shapes``; ``reader``, ``photos`` and ``classes`` are what the readers share, ``outgoing`` and ``naming``
what the writers do.

What ``export_zip`` writes (``STEM`` is the photo's own name without ending, see ``naming``; the modules of the
formats say more):

    labels.json, meta/STEM.json                         always: the label set and the side-cars
    JPEGImages/STEM.jpg, .JPG, .jpeg, .png              always: the photo, upright; the original bytes where it
                                                        was such a JPEG or PNG, else a JPEG
    SegmentationClass, ImageSets                        voc
    coco/instances_rle.json, instances_polygons.json,
    coco/annotations/instances_SUBSET.json              coco
    panoptic/panoptic_SUBSET.json, panoptic_SUBSET      panoptic
    yolo/data.yaml, images, labels, void                yolo
    labelme/labels.txt, SUBSET                          labelme
    overlays/STEM.png                                   overlay

Unpacked, it is a dataset of kind ``annotations``.
"""

from segdemo.data.formats.account import Account
from segdemo.data.formats.annotation import SUBSETS, Annotation, ExchangeError
from segdemo.data.formats.archives import ArchiveLimits
from segdemo.data.formats.exporting import FORMATS, export_folder, export_zip
from segdemo.data.formats.importing import IMPORT_FORMATS, Imported, import_folder, import_zip

__all__ = [
    "FORMATS",
    "IMPORT_FORMATS",
    "SUBSETS",
    "Account",
    "Annotation",
    "ArchiveLimits",
    "ExchangeError",
    "Imported",
    "export_folder",
    "export_zip",
    "import_folder",
    "import_zip",
]
