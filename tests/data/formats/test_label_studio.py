"""Label Studio's JSON: brush strokes in its packing, outlines in percent, several annotations of a task."""

import base64
import json

import numpy as np
import pytest
from archive_files import HEIGHT, WIDTH, encoded, picture, read, same, square

from segdemo.data.formats.label_studio import unpack

BOX = {"x": 25, "y": 100 / 6, "width": 50, "height": 400 / 6}
POINTS = [[25, 100 / 6], [75, 100 / 6], [75, 500 / 6], [25, 500 / 6]]


def pack(values, lengths=(3, 4, 8, 16), word=8, runs=True):
    """rle-pack written down: see ``unpack``; runs of two and more are packed as such, the others value by value."""
    bits = f"{len(values):032b}{word - 1:05b}" + "".join(f"{length - 1:04b}" for length in lengths)
    at = 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at] and runs:
            end += 1
        if end == at + 1:
            while end < len(values) and (not runs or values[end : end + 1] != values[end + 1 : end + 2]):
                end += 1
        count = min(end - at, 2 ** max(lengths))
        which = next(i for i, length in enumerate(lengths) if count <= 2**length)
        repeated = runs and count > 1 and len(set(values[at : at + count])) == 1
        bits += f"{int(repeated)}{which:02b}{count - 1:0{lengths[which]}b}"
        bits += "".join(f"{v:0{word}b}" for v in values[at : at + (1 if repeated else count)])
        at += count
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def stroke(inside):
    """A brush stroke: the RGBA of every pixel, packed."""
    return pack(np.repeat(np.where(inside, 255, 0).astype(int).ravel(), 4).tolist())


def region(kind="polygonlabels", label="cat", id="r1", **value):
    value = value or {"points": POINTS}
    labels = {kind: [label]} if label else {}
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": id, "type": kind, "value": {**value, **labels}, "from_name": "l", "to_name": "i", **sizes}


def task(*regions, image="/data/upload/1/90fb12ab-a.png", id=1, **more):
    return {"id": id, "data": {"image": image}, "annotations": [{"id": 9, "result": list(regions)}], **more}


def read_task(tmp_path, *tasks, photo="images/90fb12ab-a.png", **files):
    return read(tmp_path, {"export.json": json.dumps(list(tasks)), photo: picture(), **files})


@pytest.mark.parametrize(
    ("lengths", "word", "runs"),
    [((3, 4, 8, 16), 8, True), ((1, 2, 3, 4), 8, True), ((3, 4, 8, 16), 8, False), ((2, 2, 2, 9), 3, True)],
)
def test_packed_values_come_back(lengths, word, runs):
    rng = np.random.default_rng(0)
    for size in (1, 7, 300):
        values = np.repeat(rng.integers(0, 2**word, size), rng.integers(1, 9, size))
        packed = bytes(pack(values.tolist(), lengths, word, runs))
        assert np.array_equal(unpack(packed, len(values)), values)
        with pytest.raises(ValueError, match="number of values"):
            unpack(packed, len(values) + 1)
        with pytest.raises(ValueError, match="too early"):
            unpack(packed[:8], len(values))


def test_values_packed_by_hand():
    # 5 values of 8 bits: three times 7, then 1 and 2; lengths of 3 bits first
    head = f"{5:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits = head + "1" + "00" + f"{2:03b}" + f"{7:08b}" + "0" + "00" + f"{1:03b}" + f"{1:08b}{2:08b}"
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    assert unpack(data, 5).tolist() == [7, 7, 7, 1, 2]


@pytest.mark.parametrize(
    "form",
    [
        region(),
        region("rectanglelabels", **BOX, rotation=0),
        region("brushlabels", format="rle", rle=stroke(square() > 0)),
        region("polygonlabels", points=POINTS, closed=True),
    ],
)
def test_every_form_covers_its_pixels(tmp_path, form):
    photos, imported = read_task(tmp_path, task(form))
    assert imported.formats == ["label_studio"] and imported.label_set.classes == ("background", "cat")
    assert same(photos["images/90fb12ab-a.png"], square()) and imported.account.left_out == []


def test_ellipses_and_turned_rectangles(tmp_path):
    sizes = {"original_width": 100, "original_height": 50}
    forms = [
        region("ellipselabels", x=50, y=50, radiusX=20, radiusY=20, rotation=90) | sizes,
        region("rectanglelabels", x=20, y=20, width=10, height=10, rotation=90, id="r2", label="dog") | sizes,
    ]
    data = json.dumps([task(*forms, image="a.png")])
    photos, _ = read(tmp_path, {"x.json": data, "a.png": picture(size=(50, 100))})
    label_map = photos["a.png"].label_map
    y, x = np.mgrid[:50, :100] + 0.5
    inside = ((x - 50) / 10) ** 2 + ((y - 25) / 20) ** 2
    assert (label_map[inside < 0.95] == 1).all() and not (label_map[inside > 1.05] == 1).any()
    # Around its upper left corner (20, 10), clockwise: to the left of it.
    rows, columns = np.nonzero(label_map == 2)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (15, 19, 10, 19)


@pytest.mark.parametrize(
    ("image", "photo"),
    [
        ("/data/upload/1/90fb12ab-a.png", "images/90fb12ab-a.png"),
        ("/data/upload/1/90fb12ab-a.png", "photos/a.png"),  # without the prefix of the upload
        ("/data/local-files/?d=set%2Fa.png", "set/a.png"),
        ("s3://bucket/set/a.png", "a.png"),
        ("https://host/x/my%20photo.png?token=1", "my photo.png"),
        ("images\\a.png", "images/a.png"),
    ],
)
def test_the_photo_is_found(tmp_path, image, photo):
    photos, _ = read_task(tmp_path, task(region(), image=image), photo=photo)
    assert same(photos[photo], square())


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (region("keypointlabels", x=1, y=1, width=1), "is a keypoint"),
        (region("choices", label=None, choices=["yes"]), "has no label"),
        (region(label=None), "has no label"),
        (region(points=POINTS, polygonlabels=["cat", "dog"]) | {"type": "polygonlabels"}, None),
        (region(points=[[1, 1], [2, 2]]), "at least three pairs"),
        (region(points="x"), "at least three pairs"),
        (region("brushlabels", format="rle", rle=[0, 0, 0, 1]), "cannot be read"),
        (region("brushlabels", format="rle", rle=stroke(square() > 0)[:-3]), "cannot be read"),
        (region("brushlabels", format="rle", rle=["x"]), "cannot be read"),
        (region("brushlabels", format="rle", rle=None), "cannot be read"),
        (region("rectanglelabels", x=1, y=1), "has no rectangle that can be read"),
        (region() | {"image_rotation": 90}, "photo turned"),
        (region() | {"original_width": 80}, "is drawn on 80x6 pixels"),
        (
            region("brushlabels", rle=stroke(np.ones((HEIGHT, 9)))) | {"original_width": 9},
            "is drawn on 9x6 pixels",
        ),
        (5, "has no label"),
    ],
)
def test_what_cannot_be_painted_is_left_out_and_named(tmp_path, bad, words):
    if words is None:
        bad["value"]["polygonlabels"] = ["cat", "dog"]
        words = "several labels: cat, dog"
    good = region(label="dog", id="good")
    photos, imported = read_task(tmp_path, task(bad, good))
    assert same(photos["images/90fb12ab-a.png"], square(imported.label_set.classes.index("dog")))
    [entry] = imported.account.left_out
    assert entry.file == "export.json" and words in entry.why


def test_labels_given_apart_from_their_region(tmp_path):
    shape = region("polygon", label=None)
    labels = region("labels", label="cat")
    for order in ((shape, labels), (labels, shape)):
        photos, imported = read_task(tmp_path, task(*order))
        assert same(photos["images/90fb12ab-a.png"], square()) and imported.account.left_out == []


def test_of_several_annotations_the_newest_is_read_and_the_others_named(tmp_path):
    old, new, cancelled = (
        {"result": [region(label=label, id=label)], "updated_at": when}
        for label, when in (("old", "2025-01-02"), ("new", "2025-03-01"), ("gone", "2025-04-01"))
    )
    cancelled["was_cancelled"] = True
    entry = {"id": 1, "data": {"image": "a.png"}, "annotations": [new, old, cancelled]}
    photos, imported = read_task(tmp_path, entry, photo="a.png")
    assert imported.label_set.classes == ("background", "new") and same(photos["a.png"], square())
    assert sorted(e.what for e in imported.account.left_out) == ["region gone", "region old"]
    old["ground_truth"] = True
    assert read_task(tmp_path, entry, photo="a.png")[1].label_set.classes == ("background", "old")


def test_predictions_are_no_annotations(tmp_path):
    entry = {**task(), "annotations": [], "predictions": [{"result": [region()]}]}
    photos, imported = read_task(tmp_path, entry)
    assert same(photos["images/90fb12ab-a.png"], None)
    assert "is predicted and not annotated" in imported.account.left_out[0].why


def test_the_short_form(tmp_path):
    sizes = {"original_width": WIDTH, "original_height": HEIGHT}
    entry = {"image": "/data/upload/1/90fb12ab-a.png", "id": 1, "annotator": 1, "updated_at": "x"}
    entry["label"] = [{"points": POINTS, "closed": True, "polygonlabels": ["cat"], **sizes}]
    brush = {"format": "rle", "rle": stroke(np.eye(HEIGHT, WIDTH) > 0), "brushlabels": ["dog"], **sizes}
    photos, _ = read_task(tmp_path, {**entry, "tag": [brush]})
    expected = np.where(np.eye(HEIGHT, WIDTH) > 0, 2, square()).astype(np.uint8)
    assert same(photos["images/90fb12ab-a.png"], expected)


def test_a_task_without_its_photo_is_named(tmp_path):
    photos, imported = read_task(tmp_path, task(region()), task(region(), image="b.png", id=2))
    assert list(photos) == ["images/90fb12ab-a.png"]
    [entry] = imported.account.left_out
    assert (entry.photo, entry.why) == ("b.png", "the photo is missing, add it")


def bitmask(inside):
    rgba = np.zeros((*inside.shape, 4), np.uint8)
    rgba[..., 3] = np.where(inside, 255, 0)
    return f"data:image/png;base64,{base64.b64encode(encoded(rgba)).decode()}"


def test_bitmasks_cover_where_they_are_opaque(tmp_path):
    good = region("bitmasklabels", imageDataURL=bitmask(square() > 0))
    photos, imported = read_task(tmp_path, task(good))
    assert same(photos["images/90fb12ab-a.png"], square()) and imported.account.left_out == []
    bad = region("bitmasklabels", label="dog", id="bad", imageDataURL=bitmask(np.ones((2, 3))))
    worse = region("bitmasklabels", label="dog", id="worse", imageDataURL=None)
    photos, imported = read_task(tmp_path, task(good, bad, worse))
    assert same(photos["images/90fb12ab-a.png"], square())
    assert ["3x2" in e.why or "cannot be read" in e.why for e in imported.account.left_out] == [True, True]


def test_a_task_that_nobody_has_annotated_is_a_photo_without_a_mask(tmp_path):
    waiting = {**task(image="b.png", id=2), "annotations": []}
    looked_at = task(image="c.png", id=3)  # submitted, with nothing on it
    files = {"b.png": picture(1), "c.png": picture(2)}
    photos, imported = read_task(tmp_path, task(region()), waiting, looked_at, **files)
    assert same(photos["b.png"], None) and same(photos["c.png"], square(0))
    assert imported.account.photos == 3 and imported.account.labelled == 2
    [note] = imported.account.notes
    assert note.startswith("c.png is listed without annotations: it is background all over")


TWO = {"img1": "/data/upload/1/aaaa1111-a.png", "img2": "/data/upload/1/aaaa1112-b.png"}


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (TWO, [{"to_name": "img1"}, {"to_name": "img2"}]),
        (TWO, [{"to_name": "x", "source": "$img1"}, {"to_name": "y", "source": "$img2"}]),
        ({"pages": [*TWO.values()]}, [{"item_index": 0}, {"item_index": 1}]),
    ],
)
def test_regions_on_several_photos_of_a_task(tmp_path, data, where):
    regions = [region(id="r1") | where[0], region(id="r2", label="dog") | where[1]]
    entry = {**task(*regions), "data": data}
    photos, imported = read_task(tmp_path, entry, photo="a.png", **{"b.png": picture(1)})
    assert same(photos["a.png"], square(1)) and same(photos["b.png"], square(2))
    assert imported.account.left_out == []


def test_regions_that_may_be_on_any_photo_of_a_task_are_named(tmp_path):
    regions = [region(id="r1") | {"to_name": "x"}, region(id="r2", label="dog") | {"to_name": "y"}]
    photos, imported = read_task(
        tmp_path, {**task(*regions), "data": TWO}, photo="a.png", **{"b.png": picture(1)}
    )
    assert same(photos["a.png"], None) and same(photos["b.png"], None)
    assert all("nothing tells which" in entry.why for entry in imported.account.left_out)


@pytest.mark.parametrize("more", [{}, {"to_name": "photograph"}, {"source": "$photograph"}])
def test_the_small_picture_of_a_task_is_not_the_one_that_was_labelled(tmp_path, more):
    key = "photograph" if more else "image"
    entry = {**task(region() | more), "data": {"small": "t/s.png", key: "a.png"}}
    photos, _ = read_task(tmp_path, entry, photo="a.png", **{"t/s.png": picture(1)})
    assert list(photos) == ["a.png"] and same(photos["a.png"], square())


def test_what_else_is_said_of_a_region_does_not_hide_it(tmp_path):
    choice = {
        "id": "r1",
        "type": "choices",
        "value": {"choices": ["blurred"]},
        "from_name": "c",
        "to_name": "i",
    }
    photos, imported = read_task(tmp_path, task(choice, region()))
    assert same(photos["images/90fb12ab-a.png"], square()) and not imported.account.left_out


def test_one_task_without_annotations_costs_the_others_nothing(tmp_path):
    bare = {"id": 2, "data": {"image": "b.png"}}
    photos, _ = read_task(tmp_path, task(region()), bare, **{"images/b.png": picture(3)})
    assert same(photos["images/90fb12ab-a.png"], square()) and same(photos["images/b.png"], None)


def test_a_year_is_no_mark_of_an_upload(tmp_path):
    photos, imported = read_task(tmp_path, task(region(), image="2023-cat.png"), photo="images/cat.png")
    assert not photos and "the photo is missing" in imported.account.left_out[0].why


def test_a_mark_of_digits_alone_is_one(tmp_path):
    photos, imported = read_task(
        tmp_path, task(region(), image="/data/upload/1/12345678-a.png"), photo="a.png"
    )
    assert same(photos["a.png"], square()) and not imported.account.left_out
