"""Small archives in the layouts of other tools, for tests: photos of 8 x 6 pixels, a square of class 1 in each."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image
from scipy import ndimage

from segdemo.core.label_maps import encode_png
from segdemo.core.labels import VOC, VOID, LabelSet, voc_color
from segdemo.data.formats import EXPORT_FORMATS, Annotation, export_zip, import_zip

WIDTH, HEIGHT = 8, 6
SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]  # x and y of its corners
SUBSETS = ("train", "val", "test")
BARE = LabelSet("bare", "Bare", ("sky", "sea", "land"), tuple(voc_color(i + 1) for i in range(3)), None)
YOLO_SQUARE = "0 .25 .16666667 .75 .16666667 .75 .83333333 .25 .83333333\n"


def pixels(seed=0, height=HEIGHT, width=WIDTH):
    """A photo; another one for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(array, format="PNG", mode=None, **options):
    """An array as a picture's file, without a palette."""
    out = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(out, format, **options)
    return out.getvalue()


def exif(orientation):
    """What cameras write of how a photo is held."""
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def picture(seed=0, format="PNG", size=(HEIGHT, WIDTH), **options):
    """The file of a photo."""
    return encoded(pixels(seed, *size), format, **options)


def square(value=1, ground=0):
    """The label map that the square means."""
    label_map = np.full((HEIGHT, WIDTH), ground, np.uint8)
    label_map[1:5, 2:6] = value
    return label_map


def png(label_map, label_set=VOC):
    """A palettized mask's file."""
    return encode_png(label_map, label_set)


def few_bits(label_map, depth):
    """A grey PNG of 2 or 4 bits, which Pillow does not write."""
    height, width = label_map.shape
    rows = (np.unpackbits(row[:, None], axis=1)[:, -depth:].ravel() for row in label_map)
    data = zlib.compress(b"".join(b"\0" + np.packbits(row).tobytes() for row in rows))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


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


def contents(path):
    """The files in a ZIP by name."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def exported(tmp_path, annotations, formats=EXPORT_FORMATS):
    """The files of an export by name."""
    return contents(export_zip(annotations, tmp_path / "out.zip", formats))


def annotations_of(label_maps, label_set, subsets=("train",)):
    """An annotation of a black photo for each of these label maps by name."""
    metas = ({"subset": subsets[i % len(subsets)], "source": f"{n}.png"} for i, n in enumerate(label_maps))
    return [
        Annotation(f"m{i}", np.zeros((*label_map.shape, 3), np.uint8), label_map, label_set, meta)
        for i, (label_map, meta) in enumerate(zip(label_maps.values(), metas, strict=True))
    ]


def blobs(label_set, height, width, seed=0):
    """Smooth regions of every class and void, with holes and touching corners."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.random((height, width)), 2) for _ in range(len(label_set) + 1)]
    label_map = np.argmax(fields, axis=0).astype(np.uint8)
    label_map[label_map == len(label_set)] = VOID
    label_map[rng.random((height, width)) < 0.02] = rng.integers(0, len(label_set))
    return label_map


def examples(label_set, count=3):
    """Annotations of several sizes, one in each subset."""
    sizes = [(40, 53), (1, 1), (31, 17), (64, 5)][:count]
    metas = ({"subset": SUBSETS[i % 3], "note": "ä", "revision": i} for i in range(count))
    return [
        Annotation(f"photo-{i}", pixels(i, *size), blobs(label_set, *size, i), label_set, meta)
        for i, (size, meta) in enumerate(zip(sizes, metas, strict=True))
    ]


def unpack(path, folder):
    """A ZIP as a folder."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


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
