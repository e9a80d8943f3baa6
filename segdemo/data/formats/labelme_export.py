"""labelme: a JSON for each photo, its regions as polygons or small masks.

    labelme/SUBSET/STEM.json    regions of every class but the background; ``imagePath`` leads to JPEGImages
    labelme/labels.txt          the names, for ``labelme --labels`` and ``labelme2voc.py``

``labelme JPEGImages --output labelme/train --labels labelme/labels.txt --nodata`` opens one subset.

Nothing is lost: a region without holes is a polygon, one with holes a shape of type ``mask`` (a PNG of its bounding
box; labelme 5.2 and later). Void is called ``__ignore__`` and the background ``_background_``, as in labelme's own
examples, where ``labelme2voc.py`` turns them into 255 and 0.

Corners of polygons lie a quarter of a pixel inside the outline. So two rules give the same pixels: labelme's own,
which rounds corners down and paints the outline along with what is inside, and that of pixel centres, which most
other tools keep to. Where labelme's would not, the region is a mask.

Format: https://github.com/wkentaro/labelme, ``labelme/label_file.py`` and ``examples/semantic_segmentation``
"""

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

from segdemo.core import label_maps
from segdemo.core.labels import VOID
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.archives import add_file, to_json
from segdemo.data.formats.shapes import outlined_classes

FOLDER = "labelme"
VERSION = "5.5.0"  # of labelme, which the files are made for
BACKGROUND_LABEL, VOID_LABEL = "_background_", "__ignore__"
INSET = 0.25  # pixels


def write_one(archive, item):
    """Put the JSON of an ``Outgoing`` into an open ``ZipFile``. Raises ExchangeError: a class called like void."""
    for i in outlined_classes(item.label_set):
        name = item.label_set.classes[i]
        if name.strip().casefold() in (VOID_LABEL, BACKGROUND_LABEL):
            raise ExchangeError(
                f"The class {name!r} cannot be exported for labelme, where that means void or background: rename it."
            )
    add_file(archive, f"{FOLDER}/{item.subset}/{item.stem}.json", to_json(document(item), indent=None))


def write_labels(archive, label_set):
    """Put the list of names into an open ``ZipFile``: void, background, and the others, one a line."""
    names = [VOID_LABEL, BACKGROUND_LABEL, *(label_set.classes[i] for i in outlined_classes(label_set))]
    text = "".join(f"{' '.join(name.splitlines()).strip()}\n" for name in names)
    add_file(archive, f"{FOLDER}/labels.txt", text.encode("utf-8", "replace"))


def document(item):
    """The labelme document of an ``Outgoing``, as plain data."""
    height, width = item.label_map.shape
    shapes = []
    for i in [*outlined_classes(item.label_set), VOID]:
        label = VOID_LABEL if i == VOID else item.label_set.classes[i]
        shapes += [_shape(label, region) for region in item.regions(i)]
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": f"../../{item.FOLDER}/{item.file_name}",
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _shape(label, region):
    """One region, as ``label_maps.polygons`` gives it, as a shape."""
    ring = inset(region[0])
    left, top = region[0].min(0)
    right, bottom = region[0].max(0)  # the corner after the last pixel
    mask = None
    if len(region) > 1 or len(ring) > 4:  # a rectangle is always painted right
        inside = label_maps.fill(region, bottom, right)[2]
        exact = len(region) == 1 and np.array_equal(_painted(ring - (left, top), inside.shape), inside)
        mask = None if exact else inside
    points = ring if mask is None else np.array([[left, top], [right - 1, bottom - 1]])
    return {
        "label": label,
        "points": points.tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon" if mask is None else "mask",
        "flags": {},
        "mask": None if mask is None else _png(mask),
    }


def inset(ring):
    """An outline along pixel edges, moved ``INSET`` inwards.

    Args:
        ring: int64 (N, 2) of (x, y), clockwise on screen, as the outside that ``label_maps.polygons`` gives.

    Returns:
        float64 (N, 2).
    """
    along = np.sign(np.roll(ring, -1, axis=0) - ring)  # from each corner to the next
    inwards = np.stack([-along[:, 1], along[:, 0]], axis=1)  # to the right of that
    return ring + INSET * (inwards + np.roll(inwards, 1, axis=0))


def _painted(ring, shape):
    """The pixels labelme paints for a polygon: bool of ``shape`` (height, width)."""
    image = Image.new("1", shape[::-1])
    ImageDraw.Draw(image).polygon([tuple(point) for point in ring.tolist()], fill=1, outline=1)
    return np.array(image)


def _png(mask):
    """A bool (H, W) as the base64 text of a grey PNG of 0 and 1."""
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")
