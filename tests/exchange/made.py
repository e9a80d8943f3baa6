"""Small archives in the layouts of other tools, for tests: photos of 8 x 6 pixels, a square of class 1 in each."""

import io
import json
import zipfile

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.labels import VOC
from segdemo.data.formats import import_zip

WIDTH, HEIGHT = 8, 6
SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]  # x and y of its corners
YOLO_SQUARE = "0 .25 .16666667 .75 .16666667 .75 .83333333 .25 .83333333\n"


def picture(seed=0, format="PNG", size=(HEIGHT, WIDTH), **options):
    """A photo's file; another one for each seed."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def square(value=1, ground=0):
    """The label map that the square means."""
    label_map = np.full((HEIGHT, WIDTH), ground, np.uint8)
    label_map[1:5, 2:6] = value
    return label_map


def png(label_map, label_set=VOC):
    """A palettized mask's file."""
    return label_maps.encode_png(label_map, label_set)


def grey_png(array, mode=None):
    """An array as PNG without a palette."""
    out = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(out, "PNG")
    return out.getvalue()


def image(id=1, file_name="a.png", **changes):
    return {"id": id, "file_name": file_name, "width": WIDTH, "height": HEIGHT, **changes}


def annotation(id=1, image_id=1, category_id=1, segmentation=(SQUARE,), **changes):
    entry = {"id": id, "image_id": image_id, "category_id": category_id, "bbox": [2, 1, 4, 4], "iscrowd": 0}
    segmentation = [list(part) for part in segmentation] if isinstance(segmentation, tuple) else segmentation
    return {**entry, "segmentation": segmentation, **changes}


def coco(images=None, annotations=None, categories=("cat", "dog")):
    """A COCO document as text."""
    named = [
        {"id": i, "name": name} if isinstance(name, str) else name for i, name in enumerate(categories, 1)
    ]
    images = [image()] if images is None else images
    annotations = [annotation()] if annotations is None else annotations
    return json.dumps({"images": images, "annotations": annotations, "categories": named})


def make_zip(path, files):
    """A ZIP of names to contents; names are kept byte for byte."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # not made tidy, as the constructor would
            archive.writestr(info, content)
    return path


def make_folder(path, files):
    """The same as a folder."""
    for name, content in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(tmp_path, files, **options):
    """(label maps by photo name in the archive, Imported gone through) of a ZIP of these files."""
    imported = import_zip(make_zip(tmp_path / "made.zip", files), **options)
    photos = {photo.file: photo for photo in imported.photos}
    check(imported.account)
    return photos, imported


def check(account):
    """The numbers of an account agree with its lists, and it is plain data."""
    data = json.loads(json.dumps(account.to_json()))
    numbers = data["annotations"]
    assert numbers["left_out"] == len(data["left_out"])
    assert numbers["read"] == numbers["painted"] + numbers["left_out"]
    assert data["labelled"] <= data["photos"]
    assert all(entry.keys() == {"file", "what", "why"} and all(entry.values()) for entry in data["left_out"])


def same(found, wanted):
    """Whether a photo's label map is this one; None stands for no label map."""
    if wanted is None or found.label_map is None:
        return wanted is None and found.label_map is None
    return np.array_equal(found.label_map, wanted)
