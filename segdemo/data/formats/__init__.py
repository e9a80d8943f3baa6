"""Annotations out to and in from one ZIP or a folder, in the formats of many tools.

A format is one file, with what reads it, what writes it or both, and one row in ``registry``; ``format`` says what both
must be like. So to add one, write the file and its row: export, import, page and command line know it then.

    voc             PASCAL VOC: palettized PNGs and lists of subsets
    coco            COCO: run lengths or polygons in JSON
    panoptic        COCO panoptic: coloured PNGs and JSON
    yolo            YOLO-seg: polygons in text files
    labelme         labelme: polygons and small masks in a JSON for each photo
    overlay         pictures of the classes painted over the photos; written only
    cvat, label_studio, datumaro, via, supervisely      those of these tools; read only
    outlines    those of Darwin, SuperAnnotate, Dataloop, ISAT, Hasty and Labelbox; read only
    beside, by_class      masks beside their photos, one of all classes or one of each; read only

``exporting`` writes all that are asked for into one ZIP or folder, with the photos and SegDemo's own ``sidecars``;
``importing`` finds out which ones there are to read, and ends in an ``account`` of all that was read and all that was
not. What goes out and comes in is an ``annotation``. Writers share ``outgoing`` and ``naming``; what reads shares
``reader``, ``archives`` (ZIP files and folders), ``photos``, ``classes``, ``pictures`` (masks), ``shapes`` (outlines)
and ``values`` (plain data). ``strangers`` knows what else an archive may hold, to say so.

What ``export_zip`` writes (``STEM`` is the photo's own name without ending, see ``naming``; the modules of the
formats say more):

    labels.json, meta/STEM.json                         always: the label set and the side-cars
    JPEGImages/STEM.jpg, .JPG, .jpeg, .png              always: the photo, upright; the original bytes where it
                                                        was such a JPEG or PNG, else a JPEG
    SegmentationClass, ImageSets, labelmap.txt          voc
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
from segdemo.data.formats.exporting import export_folder, export_zip
from segdemo.data.formats.importing import Imported, import_folder, import_zip
from segdemo.data.formats.registry import EXPORT_FORMATS, FORMATS, IMPORT_FORMATS

__all__ = [
    "EXPORT_FORMATS",
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
