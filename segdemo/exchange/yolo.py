"""YOLO-seg: a text file for each photo, one polygon per line, and the class names in YAML.

    yolo/data.yaml              class names, and the folder of each subset
    yolo/images/SUBSET/ID.jpg   the photo
    yolo/labels/SUBSET/ID.txt   its outlines
    yolo/void/SUBSET/ID.txt     outlines of void in the same format: YOLO has none, and trainers do not look here

Format: https://docs.ultralytics.com/datasets/segment/
"""

import numpy as np

from segdemo import masks
from segdemo.exchange.archives import add_file
from segdemo.exchange.shapes import outlined_classes
from segdemo.labels import VOID


def write(archive, annotation, subset, jpeg):
    """Put a photo, as JPEG bytes, and its outlines into an open ``ZipFile``."""
    add_file(archive, f"yolo/images/{subset}/{annotation.id}.jpg", jpeg)
    lines, void = _lines(annotation.label_map, annotation.label_set)
    add_file(archive, f"yolo/labels/{subset}/{annotation.id}.txt", lines)
    if void:
        add_file(archive, f"yolo/void/{subset}/{annotation.id}.txt", void)


def write_settings(archive, label_set, subsets):
    """Put ``data.yaml`` into an open ``ZipFile``; ``subsets`` has the ids of each of ``SUBSETS``."""
    import yaml  # only where YOLO is written or read

    data = {
        "train": "images/train",
        "val": "images/val" if subsets["val"] else "images/train",  # trainers insist on an entry
        **({"test": "images/test"} if subsets["test"] else {}),
        "names": dict(enumerate(label_set.classes)),
    }
    add_file(archive, "yolo/data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _lines(label_map, label_set):
    """Text of the label file and of the void file of one photo."""
    scale = np.array(label_map.shape[::-1], np.float64)
    texts = []
    for ids in (outlined_classes(label_set), [VOID]):
        lines = []
        for i in ids:
            for region in masks.polygons(label_map == i):
                numbers = " ".join(f"{v:.8g}" for v in (masks.keyhole(region) / scale).ravel())
                lines.append(f"{0 if i == VOID else i} {numbers}\n")
        texts.append("".join(lines))
    return texts
