"""labelme documents: every shape that covers pixels, those that do not, where the photo is, and what is exported."""

import base64
import io
import json
import math
import posixpath
import time

import numpy as np
import pytest
from archive_files import (
    BARE,
    HEIGHT,
    WIDTH,
    annotations_of,
    encoded,
    exported,
    make_folder,
    picture,
    read,
    same,
    square,
)
from label_maps import LABEL_MAPS, drawn, rasterise
from PIL import Image, ImageDraw

from segdemo.core.labels import PETS, VOC, VOID, LabelSet, voc_color
from segdemo.core.shapes import polygons
from segdemo.data.formats import ExchangeError, import_folder
from segdemo.data.formats.labelme import inset

POINTS = [[2, 1], [6, 1], [6, 5], [2, 5]]
WHITE = np.full((4, 4), 255, np.uint8)


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
        shape(shape_type="rotation", points=[[2, 1], [6, 1], [6, 5], [2, 5]]),
        shape(shape_type=None),
        shape(shape_type="mask", points=[[2, 1], [5, 4]], mask=text(encoded(WHITE))),
        shape(shape_type="mask", points=[[2, 1], [5, 4]], mask=text(encoded(WHITE, mode="1"))),
        shape(shape_type="mask", points=[[0, 0], [7, 5]], mask=text(encoded(square()))),
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
    mask = text(encoded(np.full((40, 40), 255, np.uint8)))
    form = shape(shape_type="mask", points=[[-3, -2], [36, 37]], mask=mask)
    photos, _ = read(tmp_path, {"a.json": labelme(form), "a.png": picture()})
    assert same(photos["a.png"], np.ones((HEIGHT, WIDTH), np.uint8))


# ---------------------------------------------------------------------------------------------- exports

# labelme itself cannot be imported without Qt, so its documented rules are written down here: what its loader takes
# (``labelme/label_file.py``) and which pixels its ``shapes_to_label`` gives a shape.


def written(tmp_path, label_maps, label_set, subsets=("train",)):
    """(files by name, {label map's name: path of its JSON}) of an export for labelme."""
    given = annotations_of(label_maps, label_set, subsets)
    stems = (
        f"{a.meta['subset']}/{name.replace(' ', '_')}" for name, a in zip(label_maps, given, strict=True)
    )
    paths = {name: f"labelme/{stem}.json" for name, stem in zip(label_maps, stems, strict=True)}
    return exported(tmp_path, given, ["labelme"]), paths


def load(files, path):
    """A document as labelme's loader takes it: the shapes, each with its pixels; asserts what it insists on."""
    document = json.loads(files[path])
    keys = {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert set(document) == keys
    assert document["imageData"] is None and document["flags"] == {}
    assert document["version"].split(".")[0] == "5"
    photo = posixpath.normpath(posixpath.join(posixpath.dirname(path), document["imagePath"]))
    width, height = Image.open(io.BytesIO(files[photo])).size
    assert (document["imageHeight"], document["imageWidth"]) == (height, width)
    for shape in document["shapes"]:
        assert isinstance(shape["label"], str) and shape["label"]
        assert shape["group_id"] is None and shape["flags"] == {} and shape["description"] == ""
        points = shape["points"]
        assert isinstance(points, list) and points
        assert all(len(point) == 2 and all(isinstance(v, int | float) for v in point) for point in points)
        # labelme clips what it draws to that
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
        if shape["shape_type"] == "mask":
            (left, top), (right, bottom) = points
            assert all(isinstance(v, int) for v in (left, top, right, bottom))
            image = Image.open(io.BytesIO(base64.b64decode(shape["mask"], validate=True)))
            assert image.format == "PNG" and image.mode == "L"
            crop = np.array(image).astype(bool)
            assert crop.shape == (bottom - top + 1, right - left + 1)
            shape["pixels"] = np.zeros((height, width), bool)
            shape["pixels"][top : bottom + 1, left : right + 1] = crop
        else:
            assert shape["shape_type"] == "polygon" and shape["mask"] is None and len(points) > 2
            drawing = Image.new("L", (width, height))
            ImageDraw.Draw(drawing).polygon([tuple(point) for point in points], outline=1, fill=1)
            shape["pixels"] = np.array(drawing).astype(bool)
    return document


def label_map_of(document, label_set, pixels):
    """The label map of a document; ``pixels`` says which pixels a shape has."""
    shape = document["imageHeight"], document["imageWidth"]
    label_map = np.full(shape, VOID if label_set.background is None else label_set.background, np.uint8)
    for entry in document["shapes"]:
        value = VOID if entry["label"] == "__ignore__" else label_set.classes.index(entry["label"])
        label_map[pixels(entry, *shape)] = value
    return label_map


def by_labelme(shape, height, width):
    return shape["pixels"]


def by_pixel_centres(shape, height, width):
    if shape["shape_type"] == "mask":
        return shape["pixels"]
    return rasterise([np.array(shape["points"])], height, width)


@pytest.mark.parametrize("label_set", [VOC, PETS, BARE], ids=lambda s: s.name)
@pytest.mark.parametrize("pixels", [by_labelme, by_pixel_centres])
def test_label_maps_come_back_by_labelmes_rule_and_by_that_of_pixel_centres(tmp_path, label_set, pixels):
    files, paths = written(tmp_path, LABEL_MAPS, label_set, ("train", "val", "test"))
    for name, path in paths.items():
        document = load(files, path)
        assert np.array_equal(label_map_of(document, label_set, pixels), LABEL_MAPS[name]), name
        # No pixel is in two shapes, so their order does not matter.
        assert sum(shape["pixels"].astype(int).sum() for shape in document["shapes"]) == sum(
            np.count_nonzero(LABEL_MAPS[name] == i) for i in [*range(3), VOID] if i != label_set.background
        )


@pytest.mark.parametrize("seed", range(4))
def test_smooth_and_ragged_regions_come_back(tmp_path, seed):
    rng = np.random.default_rng(seed)
    fields = rng.random((3, 37, 41))
    for _ in range(seed):  # the more often, the smoother
        fields = (fields + np.roll(fields, 1, 1) + np.roll(fields, 1, 2) + np.roll(fields, -1, 1)) / 4
    label_map = fields.argmax(0).astype(np.uint8)
    label_map[label_map == 2] = VOID
    files, paths = written(tmp_path, {"a": label_map}, VOC)
    document = load(files, paths["a"])
    for pixels in (by_labelme, by_pixel_centres):
        assert np.array_equal(label_map_of(document, VOC, pixels), label_map)
    kinds = {shape["shape_type"] for shape in document["shapes"]}
    assert "polygon" in kinds


def test_by_hand(tmp_path):
    label_map = drawn("1...", "11..", "..xx")
    files, paths = written(tmp_path, {"a": label_map}, VOC)
    document = json.loads(files[paths["a"]])
    assert document["imagePath"] == "../../JPEGImages/a.jpg"
    assert [(s["label"], s["shape_type"], s["points"]) for s in document["shapes"]] == [
        (
            "aeroplane",
            "polygon",
            [[0.25, 0.25], [0.75, 0.25], [0.75, 1.25], [1.75, 1.25], [1.75, 1.75], [0.25, 1.75]],
        ),
        ("__ignore__", "polygon", [[2.25, 2.25], [3.75, 2.25], [3.75, 2.75], [2.25, 2.75]]),
    ]


def test_a_region_with_a_hole_is_a_mask_of_its_bounding_box(tmp_path):
    label_map = drawn(".......", "..111..", "..1.1..", "..111..", ".......")
    files, paths = written(tmp_path, {"a": label_map}, VOC)
    [shape] = load(files, paths["a"])["shapes"]
    assert shape["shape_type"] == "mask" and shape["points"] == [[2, 1], [4, 3]]
    crop = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
    assert crop.tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("empty", []),
        ("void only", ["polygon"]),
        ("one pixel", ["polygon"]),
        ("touching diagonally", ["polygon"] * 5),
        ("a hole open at a corner", ["polygon", "polygon"]),
        ("a hole", ["mask"]),
        ("holes touching at a corner", ["mask"]),
        ("holes in holes", ["mask", "mask", "polygon"]),
        ("a hole filled with another class", ["mask", "polygon"]),
    ],
)
def test_regions_are_polygons_unless_they_have_holes(tmp_path, name, kinds):
    files, paths = written(tmp_path, {name: LABEL_MAPS[name]}, VOC)
    assert [shape["shape_type"] for shape in load(files, paths[name])["shapes"]] == kinds


def test_where_labelme_paints_other_pixels_a_region_is_a_mask(tmp_path, monkeypatch):
    # Another version of the library that paints might well round otherwise.
    original = ImageDraw.ImageDraw.polygon
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "polygon",
        lambda self, points, **options: original(self, [(x + 1, y) for x, y in points], **options),
    )
    label_map = drawn("1....", "11...", ".1.1.")
    files, paths = written(tmp_path, {"a": label_map}, VOC)
    monkeypatch.undo()
    shapes = load(files, paths["a"])["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["mask", "polygon"]
    assert np.array_equal(sum(shape["pixels"] for shape in shapes).astype(np.uint8), label_map)


def test_corners_move_inwards():
    for rings in polygons(LABEL_MAPS["mostly one class"] == 1):
        ring = inset(rings[0])
        assert np.all(np.abs(ring - rings[0]) == 0.25)
        assert np.array_equal(rasterise([ring], 29, 17), rasterise([rings[0]], 29, 17))


@pytest.mark.parametrize(
    ("classes", "background", "expected"),
    [
        (("background", "cat"), 0, ["cat"]),
        (("cat", "ground", "a dog"), 1, ["cat", "a dog"]),
        (("sky", "sea"), None, ["sky", "sea"]),
        (("yes", "null", "1"), 0, ["null", "1"]),
        (('a "b", c', "straße\n2", "\ud800"), None, ['a "b", c', "straße 2", "?"]),
    ],
)
def test_the_list_of_names_begins_as_labelmes_own_does(tmp_path, classes, background, expected):
    colors = tuple(voc_color(i + 1) for i in range(len(classes)))
    label_set = LabelSet("x", "X", classes, colors, background)
    files, paths = written(tmp_path, {"a": np.zeros((2, 2), np.uint8)}, label_set)
    assert files["labelme/labels.txt"].decode().splitlines() == ["__ignore__", "_background_", *expected]
    document = load(files, paths["a"])
    assert [shape["label"] for shape in document["shapes"]] == ([] if background == 0 else [classes[0]])


@pytest.mark.parametrize(
    ("classes", "background"),
    [
        (("background", "__ignore__"), 0),
        (("cat", " __IGNORE__ "), None),
        (("cat", "_background_"), None),
        (("background", "_Background_"), 0),
    ],
)
def test_a_class_called_as_labelme_calls_void_or_background_is_refused(tmp_path, classes, background):
    label_set = LabelSet("x", "X", classes, (voc_color(1), voc_color(2)), background)
    with pytest.raises(
        ExchangeError, match=f"The class {classes[1]!r} cannot be exported for labelme, .*rename it"
    ):
        written(tmp_path, {"a": np.zeros((2, 2), np.uint8)}, label_set)


def test_a_background_may_be_called_as_labelme_calls_it(tmp_path):
    label_set = LabelSet("x", "X", ("_background_", "cat"), (voc_color(1), voc_color(2)), 0)
    files, paths = written(tmp_path, {"a": drawn(".1")}, label_set)
    assert files["labelme/labels.txt"].decode().splitlines() == ["__ignore__", "_background_", "cat"]
    assert [shape["label"] for shape in load(files, paths["a"])["shapes"]] == ["cat"]


def test_many_small_regions_of_a_large_photo_are_quick(tmp_path):
    label_map = np.zeros((1500, 2000), np.uint8)
    label_map[::30, ::20] = 1
    label_map[1::30, 1::20] = 2
    label_map[1::30, ::20] = 1
    label_map[::30, 2::20] = 2
    started = time.perf_counter()
    files, paths = written(tmp_path, {"a": label_map}, VOC)
    # A second or two; far more where each region costs a whole picture.
    assert time.perf_counter() - started < 20
    shapes = json.loads(files[paths["a"]])["shapes"]
    assert len(shapes) == 3 * 50 * 100
