"""COCO panoptic: where the PNGs are, what colours mean, and that what SegDemo exports comes back."""

import json

import numpy as np
import pytest

from exchange.made import HEIGHT, WIDTH, coco, grey_png, image, picture, png, read, same, square
from segdemo.core.labels import PETS, VOC, LabelSet
from segdemo.data.formats import Annotation, export_zip, import_zip

CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 7, "name": "sky", "isthing": 0}]


def colours(ids):
    """The PNG of segment ids (H, W)."""
    ids = np.asarray(ids, np.uint32)
    return grey_png(np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], -1).astype(np.uint8))


def panoptic(*segments, file_name="a.png", image_id=1, **changes):
    segments = segments or ({"id": 300, "category_id": 1}, {"id": 70000, "category_id": 7})
    entry = {"image_id": image_id, "file_name": file_name, "segments_info": list(segments)}
    data = {"images": [image(file_name="a.jpg")], "annotations": [entry], "categories": CATEGORIES}
    return json.dumps({**data, **changes})


IDS = np.where(square() > 0, 300, 70000)
PHOTO = picture(format="JPEG", quality=95)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017/a.png"),
        ("annotations/panoptic_val2017.json", "panoptic_val2017/a.png"),
        ("p.json", "a.png"),
        ("p.json", "masks/a.png"),
    ],
)
def test_segments_are_read_wherever_their_png_lies(tmp_path, document, place):
    photos, imported = read(tmp_path, {document: panoptic(), place: colours(IDS), "val2017/a.jpg": PHOTO})
    assert imported.formats == ["panoptic"] and list(imported.label_set.classes) == [
        "background",
        "cat",
        "sky",
    ]
    assert same(photos["val2017/a.jpg"], square(1, ground=2)) and imported.account.painted == 2
    assert not imported.account.left_out and not imported.account.ignored


def test_what_belongs_to_no_segment_is_void_and_segments_of_a_class_are_one(tmp_path):
    ids = np.zeros((HEIGHT, WIDTH), int)
    ids[0, :3], ids[1, :3] = 5, 6
    document = panoptic({"id": 5, "category_id": 1}, {"id": "6", "category_id": "1"})
    photos, _ = read(tmp_path, {"p.json": document, "p/a.png": colours(ids), "a.jpg": PHOTO})
    assert same(photos["a.jpg"], np.where(ids > 0, 1, 255))


def test_one_bad_segment_costs_one(tmp_path):
    ids = IDS.copy()
    ids[0, 0], ids[0, 1], ids[0, 2] = 9, 10, 11
    document = panoptic(
        {"id": 300, "category_id": 1},
        {"id": 300, "category_id": 1},
        {"id": 12, "category_id": 1},
        {"id": 9, "category_id": 99},
        {"id": None, "category_id": 1},
        {"id": 10**12, "category_id": 1},
        {"id": 0, "category_id": 1},
        "x",
        {"id": 70000, "category_id": 7},
    )
    photos, imported = read(tmp_path, {"p.json": document, "p/a.png": colours(ids), "a.jpg": PHOTO})
    expected = square(1, ground=2)
    expected[0, :3] = 255
    assert same(photos["a.jpg"], expected)
    left_out = {(e.what, e.why) for e in imported.account.left_out}
    assert ("segment 12", "covers no pixel of its PNG") in left_out
    assert ("segment 9", "has the category 99, which the document does not have") in left_out
    assert {what for what, _ in left_out} >= {
        "segment 10",
        "segment 11",
        "segment number 5",
        "segment number 8",
    }
    assert imported.account.painted == 2 and len(imported.account.left_out) == 9


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.jpg": PHOTO}, "its PNG a.png is missing"),
        ({"a.jpg": PHOTO, "x/a.png": colours(IDS), "y/a.png": colours(IDS)}, "its PNG a.png is missing"),
        ({"a.jpg": PHOTO, "p/a.png": colours(IDS[:4])}, "its photo measures 8x6"),
        ({"a.jpg": PHOTO, "p/a.png": b"x"}, "save the mask as PNG"),
        ({"p/a.png": colours(IDS)}, "the photo is missing"),
    ],
)
def test_a_photo_that_cannot_be_read_is_named(tmp_path, files, said):
    more = {"i.json": coco(images=[image(2, "b.png")], annotations=[]), "b.png": picture(1)}
    _, imported = read(tmp_path, {"p.json": panoptic(), **files, **more})
    assert any(said in sentence for sentence in imported.refused)


def test_beside_instances_of_the_same_photo_it_is_said_which_are_read(tmp_path):
    files = {"instances.json": coco(images=[image(file_name="a.jpg")]), "panoptic.json": panoptic()}
    photos, imported = read(tmp_path, {**files, "panoptic/a.png": colours(IDS), "a.jpg": PHOTO})
    assert same(photos["a.jpg"], square()) and imported.formats == ["coco", "panoptic"]
    assert [(d.file, d.of) for d in imported.account.duplicates] == [("panoptic.json", "a.jpg")]


@pytest.mark.parametrize(
    "label_set", [VOC, PETS, LabelSet("x", "X", ("a", "b"), ((0, 0, 0), (1, 0, 0)), background=None)]
)
@pytest.mark.parametrize("own", [True, False])
def test_what_segdemo_exports_comes_back(tmp_path, label_set, own):
    rng = np.random.default_rng(0)
    maps = {f"p{i}": rng.choice([0, 1, 255], (HEIGHT, WIDTH)).astype(np.uint8) for i in range(3)}
    annotations = [
        Annotation(id_, picture(i), label_map, label_set, {"subset": subset, "source": f"{id_}.png"})
        for i, ((id_, label_map), subset) in enumerate(
            zip(maps.items(), ("train", "val", "test"), strict=True)
        )
    ]
    path = export_zip(annotations, tmp_path / "out.zip", ["panoptic"])
    if not own:  # as another tool's, which has neither label set nor side-cars
        import zipfile

        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "bare.zip", "w") as bare:
            for name in archive.namelist():
                if name != "labels.json" and not name.startswith("meta/"):
                    bare.writestr(name, archive.read(name))
        path = tmp_path / "bare.zip"
    imported = import_zip(path)
    found = {a.name.split(".")[0]: a for a in imported.annotations}
    assert {id_: a.meta["subset"] for id_, a in found.items()} == dict(
        zip(maps, ("train", "val", "test"), strict=True)
    )
    for id_, label_map in maps.items():
        classes = [
            imported.label_set.classes[i] if i != 255 else "void" for i in found[id_].label_map.ravel()
        ]
        assert classes == [label_set.classes[i] if i != 255 else "void" for i in label_map.ravel()]
    assert not imported.account.left_out and (not own or imported.label_set == label_set)
    assert png(maps["p0"], label_set)
