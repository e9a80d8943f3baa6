"""The formats, a row each: all that export, import, page, command line and tests know of them."""

from segdemo.data.formats import (
    beside,
    coco,
    cvat,
    datumaro,
    label_studio,
    labelme,
    outlines,
    overlay,
    panoptic,
    supervisely,
    via,
    voc,
    yolo,
)
from segdemo.data.formats.format import Format

# Exports are written in this order, and where two formats speak of one photo, the first that does not yield is read.
FORMATS = (
    Format("voc", "VOC masks", voc.find, voc.VocWriter, preselected=True),
    Format("coco", "COCO", coco.find, coco.CocoWriter, ("annotations",), preselected=True),
    Format(
        "panoptic", "COCO panoptic", panoptic.find, panoptic.PanopticWriter, ("annotations",), yields=True
    ),
    Format("yolo", "YOLO", yolo.find, yolo.YoloWriter, preselected=True),
    Format("labelme", "labelme", labelme.find, labelme.LabelmeWriter, ("shapes",)),
    Format("overlay", "Overlays", writer=overlay.OverlayWriter, preselected=True),
    Format("cvat", "CVAT for images", cvat.find),
    Format("label_studio", "Label Studio", label_studio.find),  # a list, which has no keys
    Format("datumaro", "Datumaro", datumaro.find, keys=("items",)),
    Format("via", "VIA", via.find, keys=("_via_img_metadata", "metadata")),
    Format("supervisely", "Supervisely", supervisely.find, keys=("objects",)),
    Format("outlines", "other tools' outlines", outlines.find, keys=("instances", "label_classes")),
    Format("masks", "masks beside their photos", beside.find, yields=True),
)
WRITTEN = tuple(format for format in FORMATS if format.writer)
READ = tuple(sorted((format for format in FORMATS if format.find), key=lambda format: format.yields))
EXPORT_FORMATS = tuple(format.name for format in WRITTEN)
IMPORT_FORMATS = tuple(format.name for format in READ)
