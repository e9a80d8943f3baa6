"""Small drawn datasets in the layouts the program reads, for tests."""

import io
import json

import numpy as np
from PIL import Image, ImageDraw

from segdemo.core.labels import VOID, LabelSet

SHAPES = LabelSet("shapes", "Shapes", ("nothing", "disc", "box"), ((0, 0, 0), (200, 30, 30), (30, 30, 200)))


def scene(seed, size=(60, 40), foreground=1, background=0, border=None):
    """A photo (PIL, RGB) with a bright disc and its mask (uint8 array): disc, ground, one-pixel outline."""
    rng = np.random.default_rng(seed)
    width, height = size
    photo = Image.fromarray(rng.integers(40, 90, (height, width, 3), np.uint8))
    mask = Image.new("L", size, background)
    x, y = rng.integers(5, width // 2), rng.integers(5, height // 2)
    disc = (int(x), int(y), int(x + width // 3), int(y + height // 3))
    ImageDraw.Draw(photo).ellipse(disc, fill=(220, 200, 60))
    ImageDraw.Draw(mask).ellipse(disc, fill=foreground, outline=border)
    return photo, np.array(mask)


def strokes_on(mask, class_id):
    """Strokes of the truth (``scene``'s mask): one of 8 pixels' width across the disc, one along the top."""
    y, x = (int(np.median(where)) for where in np.nonzero(mask == class_id))
    painted = np.full(mask.shape, VOID, np.uint8)
    painted[:4] = mask[:4]
    painted[y - 4 : y + 4, x - 8 : x + 8] = class_id
    return painted


def encoded(picture, format="PNG", **options):
    """The bytes of a picture's file: of a PIL one or an array; options are those of ``Image.save``."""
    out = io.BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(out, format, **options)
    return out.getvalue()


def save_mask(path, mask, label_set=None):
    """Save ids as a palettized PNG if there is a label set, else as a grey one."""
    picture = Image.fromarray(mask)
    if label_set is not None:
        picture = picture.convert("L")
        picture = Image.frombytes("P", picture.size, picture.tobytes())
        picture.putpalette(label_set.palette())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def save_photo(path, photo, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, **options)


def draw_voc(root, label_set, train=3, extra=2, val=5, size=(60, 40)):
    """A VOC2012 tree with lists train, train_aug (``extra`` more, in SegmentationClassAug) and val."""
    folder = root / "VOCdevkit" / "VOC2012"
    names = [f"2007_{i:06d}" for i in range(train + extra + val)]
    for i, name in enumerate(names):
        # a mask's class is 1 + its number, so that a mixed-up pair shows
        photo, mask = scene(i, size, foreground=1 + i % 20, border=255)
        save_photo(folder / "JPEGImages" / f"{name}.jpg", photo, quality=95)
        augmented = train <= i < train + extra
        save_mask(folder / f"SegmentationClass{'Aug' * augmented}" / f"{name}.png", mask, label_set)
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    parts = {"train": names[:train], "train_aug": names[: train + extra], "val": names[train + extra :]}
    for name, ids in parts.items():
        (lists / f"{name}.txt").write_text("".join(f"{id_}\n" for id_ in ids))
    return folder


def draw_pets(root, breeds, official=False, size=(48, 36)):
    """A Pets folder with ``breeds``: name to number of photos. ``official`` adds the two lists."""
    names = [f"{breed}_{i + 1}" for breed, count in breeds.items() for i in range(count)]
    for i, name in enumerate(names):
        photo, trimap = scene(i, size, foreground=1, background=2, border=3)
        save_photo(root / "images" / f"{name}.jpg", photo)
        save_mask(root / "annotations" / "trimaps" / f"{name}.png", trimap)
    if official:
        for part, ids in (("trainval", names[::2]), ("test", names[1::2])):
            lines = "".join(f"{id_} 1 1 1\n" for id_ in ids)
            (root / "annotations" / f"{part}.txt").write_text(lines)
    return root


def draw_annotations(root, names, size=(50, 30)):
    """An annotation folder with the label set ``SHAPES``, photos as PNG."""
    for i, name in enumerate(names):
        photo, mask = scene(i, size, foreground=1 + i % 2)
        save_photo(root / "JPEGImages" / f"{name}.png", photo)
        save_mask(root / "SegmentationClass" / f"{name}.png", mask, SHAPES)
    (root / "labels.json").write_text(json.dumps(SHAPES.to_json()))
    return root
