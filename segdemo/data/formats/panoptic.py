"""COCO panoptic: a coloured PNG for each photo, and JSON that says what the colours mean.

    panoptic/panoptic_SUBSET.json           photos, categories, and the segments of each photo
    panoptic/panoptic_SUBSET/STEM.png       RGB; R + 256 G + 65536 B is a segment's id, 0 is void

A label map does not tell objects of one class apart, so each class in a photo is one segment and every category
is "stuff" (``isthing`` 0). The background is a category too, since what belongs to no segment is void. A segment's
id is its class's colour, as panopticapi gives ids to stuff: the PNGs look like coloured masks. A black class,
whose id would be void's, gets the darkest red that is free.

Category ids are those of the COCO documents (``coco``), which have no background; where that would be 0 it gets
the first id after the others.

Format: https://cocodataset.org/#format-data and https://github.com/cocodataset/panopticapi
"""

import io

import numpy as np
from PIL import Image

from segdemo.data.formats import coco
from segdemo.data.formats.annotation import SUBSETS
from segdemo.data.formats.archives import add_file, to_json

FOLDER = "panoptic"


def start(label_set):
    """Documents without photos, by subset."""
    return {subset: coco.frame(label_set, _categories(label_set)) for subset in SUBSETS}


def add(documents, item):
    """Put an ``Outgoing`` into the document of its subset."""
    document, label_map = documents[item.subset], item.label_map
    document["images"].append(coco.image_entry(item))
    segments = []
    for i, category in zip(range(len(item.label_set)), document["categories"], strict=True):
        mask = label_map == i
        if mask.any():
            red, green, blue = category["color"]
            segments.append(
                {
                    "id": red + 256 * green + 65536 * blue,
                    "category_id": category["id"],
                    "area": int(mask.sum()),
                    "bbox": coco.bounding_box(mask),
                    "iscrowd": 0,
                }
            )
    entry = {"image_id": item.number, "file_name": f"{item.stem}.png", "segments_info": segments}
    document["annotations"].append(entry)


def write_one(archive, item):
    """Put the PNG of an ``Outgoing`` into an open ``ZipFile``."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(item.label_set)] = segment_colors(item.label_set)
    out = io.BytesIO()
    Image.fromarray(np.take(table, item.label_map, axis=0)).save(out, "PNG", compress_level=1)
    add_file(archive, f"{FOLDER}/panoptic_{item.subset}/{item.stem}.png", out.getvalue())


def write(archive, documents):
    """Put the documents that have photos into an open ``ZipFile``."""
    for subset, document in documents.items():
        if document["images"]:
            add_file(archive, f"{FOLDER}/panoptic_{subset}.json", to_json(document, indent=None))


def segment_colors(label_set):
    """The colour of each class in the PNGs: its own, and never black, which is void."""
    taken = {*map(tuple, label_set.colors), (0, 0, 0)}
    # Where a class is black, fewer than 255 others can have one of these.
    spare = next(((red, 0, 0) for red in range(1, 256) if (red, 0, 0) not in taken), None)
    return [tuple(color) if any(color) else spare for color in label_set.colors]


def _categories(label_set):
    """One for each class, in the order of their ids."""
    offset = coco.category_offset(label_set)
    return [
        {
            "id": i + offset or len(label_set),
            "name": name,
            "supercategory": "background" if i == label_set.background else "class",
            "isthing": 0,
            "color": list(color),
        }
        for i, (name, color) in enumerate(zip(label_set.classes, segment_colors(label_set), strict=True))
    ]
