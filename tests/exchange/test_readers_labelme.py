"""labelme documents: every shape that covers pixels, those that do not, and where the photo is."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from exchange.made import HEIGHT, WIDTH, grey_png, make_folder, picture, read, same, square
from segdemo.core.labels import VOC, VOID
from segdemo.data.formats import import_folder

POINTS = [[2, 1], [6, 1], [6, 5], [2, 5]]


def shape(label="cat", points=POINTS, shape_type="polygon", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": shape_type, "flags": {}, **more}


def labelme(*shapes, path="a.png", **changes):
    data = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": path, "imageData": None}
    return json.dumps({**data, "imageHeight": HEIGHT, "imageWidth": WIDTH, **changes})


def text(data):
    return base64.b64encode(data).decode()


def test_shapes_are_painted_later_ones_on_top(tmp_path):
    small = shape("dog", [[3, 2], [5, 2], [5, 4], [3, 4]])
    photos, imported = read(tmp_path, {"a.json": labelme(shape(), small), "a.png": picture()})
    expected = square()
    expected[2:4, 3:5] = 2
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert imported.formats == ["labelme"] and same(photos["a.png"], expected)
    photos, imported = read(tmp_path, {"a.json": labelme(small, shape()), "a.png": picture()})
    assert same(photos["a.png"], square())
    assert [entry.what for entry in imported.account.left_out] == ["shape 1 (dog)"]  # wholly covered


@pytest.mark.parametrize(
    "form",
    [
        shape(shape_type="rectangle", points=[[2, 1], [6, 5]]),
        shape(shape_type="rectangle", points=[[6, 5], [2, 1]]),
        shape(shape_type="rectangle"),
        shape(shape_type=None),
        shape(
            shape_type="mask", points=[[2, 1], [5, 4]], mask=text(grey_png(np.full((4, 4), 255, np.uint8)))
        ),
        shape(
            shape_type="mask",
            points=[[2, 1], [5, 4]],
            mask=text(grey_png(np.full((4, 4), 255, np.uint8), "1")),
        ),
        shape(shape_type="mask", points=[[0, 0], [7, 5]], mask=text(grey_png(square()))),
    ],
)
def test_every_form_covers_its_pixels(tmp_path, form):
    photos, imported = read(tmp_path, {"a.json": labelme(form), "a.png": picture()})
    assert same(photos["a.png"], square()) and imported.account.left_out == []


def test_a_circle_covers_what_is_nearer_than_its_edge(tmp_path):
    size = (40, 50)
    circle = shape(shape_type="circle", points=[[20, 15], [28, 21]])  # radius 10
    document = labelme(circle, imageHeight=40, imageWidth=50)
    photos, _ = read(tmp_path, {"a.json": document, "a.png": picture(size=size)})
    y, x = np.mgrid[:40, :50] + 0.5
    distance = np.hypot(x - 20, y - 15)
    label_map = photos["a.png"].label_map
    assert (label_map[distance < 9.9] == 1).all() and (label_map[distance > 10.1] == 0).all()
    assert abs(int(label_map.sum()) - math.pi * 100) < 8


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (shape(shape_type="point", points=[[1, 1]]), "is a point, which covers no pixels"),
        (shape(shape_type="line", points=[[1, 1], [2, 2]]), "is a line"),
        (shape(shape_type="linestrip"), "is a linestrip"),
        (shape(points=[[1, 1], [2, 2]]), "at least three pairs"),
        (shape(points=[[1, 1], [2, "x"], [3, 3]]), "points that are not pairs"),
        (shape(points=None), "points that are not pairs"),
        (shape(shape_type="mask", mask="!!!"), "a mask that cannot be read"),
        (shape(shape_type="star"), "is a star of 4 points"),
        (shape(label=""), "has no label"),
        (shape(label=None), "has no label"),
        (5, "has no label"),
    ],
)
def test_what_covers_nothing_is_left_out_and_named(tmp_path, bad, words):
    photos, imported = read(tmp_path, {"a.json": labelme(bad, shape("dog")), "a.png": picture()})
    assert same(photos["a.png"], square(len(imported.label_set) - 1))
    [entry] = imported.account.left_out
    assert entry.file == "a.json" and entry.what.startswith("shape 1") and words in entry.why


@pytest.mark.parametrize(
    ("path", "photo"),
    [
        ("a.png", "a.png"),
        ("..\\photos\\a.png", "photos/a.png"),
        ("C:\\Users\\me\\a.png", "x/a.png"),
        ("gone.png", "json/b.png"),  # called like the document
        (None, "json/b.png"),
    ],
)
def test_the_photo_is_found(tmp_path, path, photo):
    photos, _ = read(tmp_path, {"json/b.json": labelme(shape(), path=path), photo: picture()})
    assert list(photos) == [photo] and same(photos[photo], square())


def test_the_photo_inside_the_document_is_taken_if_there_is_no_other(tmp_path):
    files = {"x/b.json": labelme(shape(), path="b.png", imageData=text(picture(7)))}
    imported = import_folder(make_folder(tmp_path / "set", files))
    [found] = imported.annotations
    assert found.image == picture(7) and same(found, square()) and found.id == "b"
    files["x/b.png"] = picture(8)
    imported = import_folder(make_folder(tmp_path / "set", files))
    assert [a.image for a in imported.annotations] == [picture(8)]
    _, imported = read(tmp_path, {"b.json": labelme(shape(), path="b.png", imageData="%%%")})
    assert "b.json" in imported.refused[0]


def test_another_size_is_refused_for_all_shapes(tmp_path):
    document = labelme(shape(), shape(), imageWidth=9)
    photos, imported = read(tmp_path, {"a.json": document, "a.png": picture()})
    assert same(photos["a.png"], None) and len(imported.account.left_out) == 2
    assert imported.refused == ["a.json: the file says 9x6 pixels, but the photo measures 8x6."]


def test_background_and_ignored_shapes(tmp_path):
    hole = shape("_background_", [[3, 2], [5, 2], [5, 4], [3, 4]])
    ignored = shape("__ignore__", [[0, 0], [1, 0], [1, 1], [0, 1]])
    photos, imported = read(tmp_path, {"a.json": labelme(shape(), hole, ignored), "a.png": picture()})
    expected = square()
    expected[2:4, 3:5] = 0
    expected[0, 0] = VOID
    assert imported.label_set.classes == ("background", "cat") and same(photos["a.png"], expected)


def test_an_empty_document_is_background_and_classes_go_by_name(tmp_path):
    files = {"a.json": labelme(), "a.png": picture(1), "b.json": labelme(shape("Dog"), path="b.png")}
    photos, _ = read(tmp_path, {**files, "b.png": picture(2)}, label_set=VOC)
    assert same(photos["a.png"], square(0)) and same(photos["b.png"], square(12))


def test_subsets_come_from_folders(tmp_path):
    files = {f"{s}/{s}.json": labelme(shape(), path=f"{s}.png") for s in ("train", "val", "testing")}
    files |= {f"{s}/{s}.png": picture(i) for i, s in enumerate(("train", "val", "testing"))}
    _, imported = read(tmp_path, files)
    assert imported.account.splits == {"train": 1, "val": 1, "test": 1}


def test_a_mask_larger_than_the_photo_is_cut(tmp_path):
    out = io.BytesIO()
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(out, "PNG")
    form = shape(shape_type="mask", points=[[-3, -2], [36, 37]], mask=text(out.getvalue()))
    photos, _ = read(tmp_path, {"a.json": labelme(form), "a.png": picture()})
    assert same(photos["a.png"], np.ones((HEIGHT, WIDTH), np.uint8))
