"""PASCAL VOC: a palettized PNG for each photo, and lists of the photos in each subset.

    SegmentationClass/STEM.png          label map, 255 = void
    ImageSets/Segmentation/*.txt        train, val, trainval (and test): one STEM a line, never with white space,
                                        since many tools read the lists word by word

Format: Everingham et al., VOC2012 development kit.
"""

import re
from collections import Counter
from pathlib import PurePosixPath

from segdemo import masks
from segdemo.exchange.annotation import SUBSETS
from segdemo.exchange.archives import add_file
from segdemo.exchange.reader import PHOTO_SUFFIXES
from segdemo.labels import LABEL_SETS


def write_one(archive, item):
    """Put the mask of an ``Outgoing`` into an open ``ZipFile``."""
    add_file(archive, f"SegmentationClass/{item.stem}.png", masks.encode_png(item.label_map, item.label_set))


def write_lists(archive, subsets):
    """Put the lists into an open ``ZipFile``; ``subsets`` has the stems of each of ``SUBSETS``."""
    lists = {**subsets, "trainval": subsets["train"] + subsets["val"]}
    for name, stems in lists.items():
        if stems or name != "test":
            text = "".join(f"{stem}\n" for stem in sorted(stems))
            add_file(archive, f"ImageSets/Segmentation/{name}.txt", text)


def find(reader):
    """Iterator of the ``Annotation``s of the VOC tree in an archive, or None without one. Raises ExchangeError."""
    pattern = re.compile(r"(.*/)?SegmentationClass/[^/]+\.png", re.IGNORECASE | re.DOTALL)
    matches = [(m.group(1) or "", n) for n in reader.names if (m := pattern.fullmatch(n))]
    if not matches:
        return None
    root = Counter(prefix for prefix, _ in matches).most_common(1)[0][0]
    found = [name for prefix, name in matches if prefix == root]
    reader.label_set = reader.label_set or LABEL_SETS["voc"]
    photos = {}
    for name in reader.names:
        path = PurePosixPath(name)
        if name.startswith(f"{root}JPEGImages/") and path.suffix.lower() in PHOTO_SUFFIXES:
            photos.setdefault(path.stem, name)
    subsets = {}
    for subset in SUBSETS:
        name = f"{root}ImageSets/Segmentation/{subset}.txt"
        if name in reader.source.sizes:
            reader.use(name)
            for line in reader.text(name).splitlines():
                subsets.setdefault(line.strip(), subset)
    reader.use(*found, *(photos[s] for n in found if (s := PurePosixPath(n).stem) in photos))
    return _read(reader, found, photos, subsets)


def _read(reader, found, photos, subsets):
    for name in found:
        stem = PurePosixPath(name).stem
        if stem not in photos:
            reader.refused.append(f"{name}: it has no photo, add JPEGImages/{stem}.jpg.")
            continue

        def label_map(height, width, name=name):
            data = reader.source.read(name, reader.limits.max_bytes)
            return masks.decode_png(data, reader.label_set, (height, width), reader.limits)

        if annotation := reader.annotation(stem, name, photos[stem], subsets.get(stem), label_map):
            yield annotation
