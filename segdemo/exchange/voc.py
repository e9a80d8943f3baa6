"""PASCAL VOC: a palettized PNG for each photo, and lists of the photos in each subset.

    SegmentationClass/ID.png            label map, 255 = void
    ImageSets/Segmentation/*.txt        train, val, trainval (and test)

Format: Everingham et al., VOC2012 development kit.
"""

from segdemo import masks
from segdemo.exchange.archives import add_file


def write(archive, annotation):
    """Put an annotation's mask into an open ``ZipFile``."""
    png = masks.encode_png(annotation.label_map, annotation.label_set)
    add_file(archive, f"SegmentationClass/{annotation.id}.png", png)


def write_lists(archive, subsets):
    """Put the lists into an open ``ZipFile``; ``subsets`` has the ids of each of ``SUBSETS``."""
    lists = {**subsets, "trainval": subsets["train"] + subsets["val"]}
    for name, ids in lists.items():
        if ids or name != "test":
            add_file(archive, f"ImageSets/Segmentation/{name}.txt", "".join(f"{i}\n" for i in sorted(ids)))
