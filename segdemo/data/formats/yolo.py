"""YOLO-seg: a text file for each photo, one polygon per line, and the class names in YAML.

    yolo/data.yaml              class names, and the folder of each subset
    yolo/images/SUBSET/STEM.jpg the photo
    yolo/labels/SUBSET/STEM.txt its outlines
    yolo/void/SUBSET/STEM.txt   outlines of void in the same format: YOLO has none, and trainers do not look here

Format: https://docs.ultralytics.com/datasets/segment/
"""

import numpy as np

from segdemo.core import label_maps
from segdemo.core.labels import VOID
from segdemo.data.formats.archives import add_file
from segdemo.data.formats.shapes import outlined_classes


def write_one(archive, item):
    """Put the photo of an ``Outgoing`` and its outlines into an open ``ZipFile``."""
    add_file(archive, f"yolo/images/{item.subset}/{item.file_name}", item.photo)
    add_file(
        archive, f"yolo/labels/{item.subset}/{item.stem}.txt", _lines(item, outlined_classes(item.label_set))
    )
    if void := _lines(item, [VOID]):
        add_file(archive, f"yolo/void/{item.subset}/{item.stem}.txt", void)


def write_settings(archive, label_set, subsets):
    """Put ``data.yaml`` into an open ``ZipFile``; ``subsets`` has the stems of each of ``SUBSETS``."""
    import yaml  # only where YOLO is written or read

    class Dumper(yaml.SafeDumper):
        """Text always in quotes: readers differ in which of yes, null, 1e3 or 0o7 they take for text."""

    Dumper.add_representer(
        _Name, lambda dumper, name: dumper.represent_scalar("tag:yaml.org,2002:str", name, '"')
    )

    data = {
        "train": "images/train",
        "val": "images/val" if subsets["val"] else "images/train",  # trainers insist on an entry
        **({"test": "images/test"} if subsets["test"] else {}),
        "names": {i: _Name(name) for i, name in enumerate(label_set.classes)},
    }
    text = yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    add_file(archive, "yolo/data.yaml", text)


class _Name(str):
    """A class name, which is text whatever it looks like."""


def _lines(item, class_ids):
    """Text of a label file: the outlines of some classes of one photo; void is numbered 0."""
    scale = np.array(item.label_map.shape[::-1], np.float64)
    lines = []
    for i in class_ids:
        for region in item.regions(i):
            numbers = " ".join(f"{v:.8g}" for v in (label_maps.keyhole(region) / scale).ravel())
            lines.append(f"{0 if i == VOID else i} {numbers}\n")
    return "".join(lines)
