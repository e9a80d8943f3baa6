"""Supervisely: polygons with holes, bitmaps, rectangles, and where the photos lie."""

import base64
import json
import zlib

import numpy as np
import pytest
from archive_files import HEIGHT, SQUARE, WIDTH, encoded, picture, read, same, square

META = json.dumps(
    {"classes": [{"title": "cat", "shape": "any", "color": "#0A141E"}, {"title": "dog"}], "tags": []}
)
CORNERS = [SQUARE[i : i + 2] for i in range(0, len(SQUARE), 2)]
POLYGON = {"exterior": CORNERS, "interior": []}


def document(*objects, size=(HEIGHT, WIDTH)):
    size = dict(zip(("height", "width"), size, strict=True))
    return json.dumps({"description": "", "tags": [], "size": size, "objects": list(objects)})


def thing(kind="polygon", title="cat", points=POLYGON, **more):
    return {"geometryType": kind, "classTitle": title, "points": points, **more}


def bitmap(inside, origin=(2, 1), mode="1"):
    white = np.uint8(inside) * 255
    if mode == "RGBA":
        white = np.dstack([np.full_like(white, 255), *[np.zeros_like(white)] * 2, white])
    return packed(encoded(white, mode=mode), origin)


def packed(data, origin=(0, 0)):
    return thing(
        "bitmap", bitmap={"origin": list(origin), "data": base64.b64encode(zlib.compress(data)).decode()}
    )


@pytest.mark.parametrize(
    "entry",
    [
        thing(),
        bitmap(np.ones((4, 4))),
        bitmap(np.ones((4, 4)), mode="RGBA"),
        bitmap(np.pad(np.ones((4, 4)), 1), (1, 0)),
        thing("rectangle", points={"exterior": [[5, 4], [2, 1]], "interior": []}),
    ],
)
def test_objects_are_read(tmp_path, entry):
    files = {"meta.json": META, "ds0/img/a.png": picture(), "ds0/ann/a.png.json": document(entry)}
    photos, imported = read(tmp_path, files)
    assert same(photos["ds0/img/a.png"], square(1)) and imported.formats == ["supervisely"]
    assert list(imported.label_set.classes) == ["background", "cat", "dog"]
    assert imported.label_set.colors[1] == (10, 20, 30)
    assert imported.account.painted == 1 and not imported.account.ignored and not imported.account.left_out


def test_holes_are_not_painted(tmp_path):
    hole = [[3, 2], [5, 2], [5, 4], [3, 4]]
    entry = document(thing(points={"exterior": CORNERS, "interior": [hole]}))
    photos, _ = read(tmp_path, {"meta.json": META, "img/a.png": picture(), "ann/a.png.json": entry})
    expected = square(1)
    expected[2:4, 3:5] = 0
    assert same(photos["img/a.png"], expected)


def test_photos_of_equal_names_in_several_folders_stay_apart(tmp_path):
    files = {"p/meta.json": META}
    for i, (place, title) in enumerate((("train", "cat"), ("val", "dog"))):
        files[f"p/{place}/img/a.png"] = picture(i)
        files[f"p/{place}/ann/a.png.json"] = document(thing(title=title))
    photos, _ = read(tmp_path, files)
    assert same(photos["p/train/img/a.png"], square(1)) and same(photos["p/val/img/a.png"], square(2))
    assert [photos[name].meta["subset"] for name in sorted(photos)] == ["train", "val"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (thing("point"), "is a point, which covers no pixels"),
        (thing("polyline"), "is a polyline"),
        (thing(points=None), "three pairs"),
        (thing(points={"exterior": [[1, 1], [2, 2]]}), "three pairs"),
        (thing("rectangle", points={"exterior": [[1, 1]]}), "no rectangle"),
        (thing("bitmap"), "a mask that cannot be read"),
        (packed(b"x"), "cannot be read"),
        (packed(bytes(10**9)), "too large"),
        (thing(title=None), "has no class"),
        (3, "has no class"),
    ],
)
def test_one_bad_object_costs_one(tmp_path, bad, said):
    files = {"meta.json": META, "img/a.png": picture(), "ann/a.png.json": document(thing(), bad)}
    photos, imported = read(tmp_path, files)
    assert same(photos["img/a.png"], square(1))
    assert len(imported.refused) == 1 and said in imported.refused[0]


def test_another_size_and_missing_photos_are_named(tmp_path):
    files = {"img/a.png": picture(), "ann/a.png.json": document(thing(), size=(9, 9))}
    _, imported = read(tmp_path, {**files, "ann/b.png.json": document(thing())})
    assert sorted(imported.refused) == [
        "ann/a.png.json: the file says 9x9 pixels, but the photo measures 8x6.",
        "ann/b.png.json: the photo is missing, add it.",
    ]


@pytest.mark.parametrize("meta", ["{", "[]", '{"classes": [1]}', '{"classes": null}', "{}"])
def test_a_meta_that_names_nothing_costs_nothing(tmp_path, meta):
    files = {"meta.json": meta, "img/a.png": picture(), "ann/a.png.json": document(thing())}
    photos, imported = read(tmp_path, files)
    assert same(photos["img/a.png"], square(1)) and "meta.json" in [e.file for e in imported.account.left_out]
