"""Datumaro's JSON: outlines, run lengths, their order, and subsets."""

import json

from archive_files import HEIGHT, WIDTH, picture, read, same, square

from segdemo.core.shapes import rle_encode

SQUARE = {"id": 1, "type": "polygon", "label_id": 0, "points": [2, 1, 6, 1, 6, 5, 2, 5], "z_order": 0}


def datumaro(*annotations, id="a", path="a.png"):
    item = {"id": id, "annotations": list(annotations), "image": {"path": path, "size": [HEIGHT, WIDTH]}}
    labels = [{"name": "cat", "parent": ""}, {"name": "dog"}]
    return json.dumps({"info": {}, "categories": {"label": {"labels": labels}}, "items": [item]})


def test_shapes_lie_by_their_order(tmp_path):
    rle = {**rle_encode(square() > 0)}
    whole = {"type": "mask", "label_id": 1, "rle": rle, "z_order": 0}
    small = {**SQUARE, "points": [3, 2, 5, 2, 5, 4, 3, 4], "z_order": 3}
    files = {"annotations/train.json": datumaro(small, whole), "images/train/a.png": picture()}
    photos, imported = read(tmp_path, files)
    expected = square(2)
    expected[2:4, 3:5] = 1
    assert imported.formats == ["datumaro"] and imported.label_set.classes == ("background", "cat", "dog")
    assert same(photos["images/train/a.png"], expected)
    assert photos["images/train/a.png"].meta == {"subset": "train"}


def test_each_subset_has_its_document(tmp_path):
    files = {}
    for number, subset in enumerate(("train", "valid", "test")):
        files[f"annotations/{subset}.json"] = datumaro(SQUARE, id="sub/a", path="")
        files[f"images/{subset}/sub/a.png"] = picture(number)
    photos, imported = read(tmp_path, files)
    assert all(same(photo, square()) for photo in photos.values())
    assert imported.account.splits == {"train": 1, "val": 1, "test": 1}


def test_what_cannot_be_painted_is_left_out_and_named(tmp_path):
    bad = [
        {"type": "bbox", "label_id": 0, "bbox": [1, 1, 2, 2]},
        {**SQUARE, "label_id": 7},
        {**SQUARE, "points": [1, 1]},
        {"type": "mask", "label_id": 0, "rle": {"size": [99999, 99999], "counts": "x"}},
        5,
    ]
    photos, imported = read(tmp_path, {"annotations/a.json": datumaro(*bad, SQUARE), "a.png": picture()})
    assert same(photos["a.png"], square())
    whats = [entry.what for entry in imported.account.left_out]
    assert whats == ["bbox 1", "polygon 2", "polygon 3", "mask 4", "annotation 5"]


def test_labels_of_another_size_are_not_painted(tmp_path):
    photos, imported = read(
        tmp_path, {"annotations/train.json": datumaro(SQUARE), "a.png": picture(size=(3, 4))}
    )
    assert same(photos["a.png"], None) and "but the photo measures 4x3" in imported.account.left_out[0].why
