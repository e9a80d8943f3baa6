"""PASCAL VOC: a palettized PNG for each photo, and lists of the photos in each subset.

    SegmentationClass/STEM.png          label map, 255 = void
    ImageSets/Segmentation/*.txt        train, val, trainval (and test): one STEM a line, never with white space,
                                        since many tools read the lists word by word

Format: Everingham et al., VOC2012 development kit.
"""

from segdemo.core import label_maps
from segdemo.data.formats.archives import add_file


def write_one(archive, item):
    """Put the mask of an ``Outgoing`` into an open ``ZipFile``."""
    add_file(
        archive, f"SegmentationClass/{item.stem}.png", label_maps.encode_png(item.label_map, item.label_set)
    )


def write_lists(archive, subsets):
    """Put the lists into an open ``ZipFile``; ``subsets`` has the stems of each of ``SUBSETS``."""
    lists = {**subsets, "trainval": subsets["train"] + subsets["val"]}
    for name, stems in lists.items():
        if stems or name != "test":
            text = "".join(f"{stem}\n" for stem in sorted(stems))
            add_file(archive, f"ImageSets/Segmentation/{name}.txt", text)
