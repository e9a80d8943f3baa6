"""Documents with anything anywhere: an import ends in an account or in a sentence, never in a traceback."""

import copy
import io
import json
import random

import pytest
from archive_files import YOLO_SQUARE, annotation, check, coco, make_zip, picture, png, square
from PIL import Image

from formats.test_cvat import POLYGON, cvat
from formats.test_datumaro import SQUARE, datumaro
from formats.test_label_studio import region, stroke, task
from formats.test_labelme import labelme, shape
from formats.test_outlines import (
    HOLE,
    PAIRS,
    POINTS,
    RASTER,
    corners,
    darwin,
    dataloop,
    hasty,
    isat,
    labelbox,
    png_url,
    superannotate,
)
from formats.test_panoptic import IDS, colours, panoptic
from formats.test_supervisely import META, bitmap, thing
from formats.test_supervisely import document as supervisely
from formats.test_via import POLYGON as VIA_POLYGON
from formats.test_via import project, table, via
from formats.test_via import region as via_region
from segdemo.core.labels import VOC
from segdemo.data.formats import ExchangeError, import_zip

JUNK = [
    *(None, True, -1, 0, 1e308, float("nan"), "", "x", [], {}, [1], {"a": 1}, [[1, 2]], ["x"], "9" * 400),
    10**30,
]
PHOTOS = {"a.png": picture(), "images/x.png": picture(1), "labels/x.txt": YOLO_SQUARE}
TREE = {"JPEGImages/a.png": picture(), "SegmentationClass/a.png": png(square())}
RLE = {"size": [6, 8], "counts": [0, 48]}
BRUSH = region("brushlabels", rle=stroke(square() > 0), id="3")
DOCUMENTS = {
    "coco.json": coco(annotations=[annotation(1), annotation(2, 1, 2, RLE)]),
    "labelme.json": labelme(shape(), shape(shape_type="circle", points=[[1, 1], [2, 2]])),
    "tasks.json": json.dumps([task(region(), BRUSH, image="a.png")]),
    "train.json": datumaro(SQUARE, {"type": "mask", "label_id": 1, "rle": RLE}),
    "notes.json": json.dumps({"categories": [{"id": 0, "name": "cat"}]}),
    "labels.json": json.dumps(VOC.to_json()),
    "via.json": json.dumps(via(via_region(), via_region({"name": "circle", "cx": 4, "cy": 3, "r": 2}))),
    "ann/a.png.json": supervisely(thing(), bitmap(square() > 0, (0, 0))),
    "meta.json": META,
    "darwin.json": json.dumps(
        darwin(
            {"id": "m", "name": "cat", "mask": {}, "slot_names": ["0"]},
            {"name": "dog", "polygon": {"paths": [POINTS, corners(HOLE)]}},
            {"id": "r", "raster_layer": RASTER},
        )
    ),
    "superannotate.json": json.dumps(
        superannotate(
            {"type": "polygon", "className": "cat", "points": [1, 1, 5, 1, 5, 5], "exclude": [[1, 2]]}
        )
    ),
    "dataloop.json": json.dumps(
        dataloop(
            {"type": "segment", "label": "cat", "coordinates": [POINTS]},
            {"type": "binary", "label": "dog", "coordinates": png_url(square() > 0)},
        )
    ),
    "isat.json": json.dumps(isat({"category": "cat", "segmentation": PAIRS, "layer": 1.0})),
    "hasty.json": json.dumps(
        hasty({"class_name": "cat", "polygon": PAIRS}, {"class_name": "dog", "mask": [1]})
    ),
    "labelbox.ndjson": json.dumps(labelbox({"name": "cat", "polygon": POINTS}, more=[[{"name": "dog"}]])),
    "project.json": project(([7, 2, 1, 6, 1, 6, 5], {"1": "0"}), ([2, 2, 1, 4, 4], {"1": "1"})),
    "several.json": json.dumps(
        [{**task(region() | {"source": "$b"}, BRUSH), "data": {"b": "a.png", "c": "x.png"}}]
    ),
    "pages.json": json.dumps([{**task(region() | {"item_index": 1}), "data": {"pages": ["a.png", "x.png"]}}]),
    "dataset.json": json.dumps({"labels": {"background": 0, "cat": 1}}),
    "panoptic.json": panoptic({"id": 300, "category_id": 1}, {"id": 70000, "category_id": 7}),
}
NAMES = ("labelmap.txt", "class_dict.csv", "label_colors.txt", "objectInfo150.txt")
PICTURES = {
    "panoptic/a.png": colours(IDS),
    "ann/a.png.json": supervisely(thing()),
    "masks/x.png": png(square()),
}
TEXTS = {
    "a.xml": cvat(
        POLYGON.format(z=0), '<mask label="cat" rle="0,16" left="2" top="1" width="4" height="4"/>'
    ),
    "data.yaml": "path: ..\ntrain: [images]\nval: x.txt\nnames: {0: cat, 1: dog}\n",
    "labelmap.txt": "background:0,0,0::\ncat:250,50,83:a:b\n",
    "via.csv": table(("a.png", 1, VIA_POLYGON, {"class": "cat"}), ("b.png", 0, {}, {})),
    "label_colors.txt": "0 0 0\t\tVoid\n64 128 64\t\tcat\n",
    "objectInfo150.txt": "Idx\tRatio\tName\n1\t0.1\tcat\n",
    "class_dict.csv": 'name,r,g,b\nbackground,0,0,0\n"cat",1,2,3\n',
}


def go_through(path):
    try:
        imported = import_zip(path)
        for _ in imported.photos:
            pass
    except ExchangeError as error:
        assert str(error).strip().endswith(".")
        return
    check(imported.account)
    assert imported.account.totals() and imported.account.to_csv()


def places(data):
    """Every (container, key) in plain data."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(entries):
        yield data, key
        yield from places(value)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_junk_in_documents(tmp_path, name):
    rng = random.Random(0)
    for _ in range(60):
        data = json.loads(DOCUMENTS[name])
        for _ in range(rng.choice((1, 1, 2))):
            container, key = rng.choice(list(places(data)) or [({}, "")])
            container[key] = copy.deepcopy(rng.choice(JUNK))
        pictures = PICTURES if name in ("panoptic.json", "meta.json") else {}
        go_through(make_zip(tmp_path / "x.zip", {**PHOTOS, **TREE, **pictures, name: json.dumps(data)}))


@pytest.mark.parametrize("name", TEXTS)
def test_junk_in_texts(tmp_path, name):
    rng = random.Random(0)
    for _ in range(60):
        data = bytearray(TEXTS[name].encode())
        for _ in range(rng.choice((1, 2, 5))):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 3))] = bytes(
                rng.choices(b'<>"0 9:-{}[]\n&;,x\xff\x00.e', k=rng.choice((0, 1, 2)))
            )
        files = {**PHOTOS, **(TREE if name in NAMES else {})}
        go_through(make_zip(tmp_path / "x.zip", {**files, name: bytes(data)}))


def test_deep_documents_are_told_apart(tmp_path):
    deep = "[" * 100_000 + "]" * 100_000
    path = make_zip(tmp_path / "x.zip", {**PHOTOS, "deep.json": deep, "i.json": coco(), "deep.yaml": deep})
    assert import_zip(path).format == "coco"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [' + "9" * 5000 + "]}", "a number of thousands of digits"),
        ('{"annotations": ' + "[" * 100_000 + "]" * 100_000 + "}", "is nested too deeply to be read"),
    ],
)
def test_what_is_no_plain_data_is_named_with_its_reason(tmp_path, text, said):
    imported = import_zip(make_zip(tmp_path / "x.zip", {**PHOTOS, "i.json": coco(), "x.json": text}))
    assert any(e.file == "x.json" and said in e.why for e in imported.account.left_out)


def test_documents_that_memory_does_not_hold_are_left_out_by_name(tmp_path, monkeypatch):
    many = json.dumps({"annotations": [[] for _ in range(3000)]})
    monkeypatch.setattr("segdemo.data.formats.reader._MOST_BYTES", 200_000)
    imported = import_zip(
        make_zip(tmp_path / "x.zip", {"a.png": picture(), "i.json": coco(), "x.json": many})
    )
    assert [e.file for e in imported.account.left_out] == ["x.json"]
    assert "too many values to be read at once" in imported.refused[0]
    half = json.dumps({"annotations": [[] for _ in range(1200)]})
    files = {"a.png": picture(), "i.json": coco(), "x.json": half, "y.json": half}
    imported = import_zip(make_zip(tmp_path / "y.zip", files))
    assert [e.file for e in imported.account.left_out] == ["y.json"]
    assert "more annotations than can be held at once" in imported.refused[0]


def test_settings_of_megabytes_are_no_settings(tmp_path):
    files = {**PHOTOS, "i.json": coco(), "data.yaml": "names: [" + "a, " * 400_000 + "b]"}
    imported = import_zip(make_zip(tmp_path / "x.zip", files))
    assert imported.format == "coco" and imported.account.ignored.count("data.yaml") == 1


@pytest.mark.parametrize("count", [255, 256, 300, 1000])
def test_more_classes_in_use_than_a_label_map_holds_are_a_sentence(tmp_path, count):
    categories = [{"id": i, "name": f"class {i}"} for i in range(count)]
    annotations = [annotation(id=i, category_id=i) for i in range(count)]
    path = make_zip(
        tmp_path / "x.zip", {**PHOTOS, "i.json": coco(annotations=annotations, categories=categories)}
    )
    with pytest.raises(ExchangeError, match=r"and a label map holds 255 at most"):
        import_zip(path)
    names = "".join(f"class {i}\n" for i in range(count + 1))
    imported = import_zip(make_zip(tmp_path / "y.zip", {**PHOTOS, **TREE, "labelmap.txt": names}))
    assert "255 at most" in imported.refused[0]


@pytest.mark.parametrize("place", ["SegmentationClass/a", "masks/a", "panoptic/a"])
@pytest.mark.parametrize("ending", ["png", "tif", "gif", "bmp"])
def test_junk_in_masks(tmp_path, place, ending):
    rng = random.Random(0)
    out = io.BytesIO()
    Image.fromarray(square()).save(out, {"tif": "TIFF"}.get(ending, ending.upper()))
    files = {**PHOTOS, "JPEGImages/a.png": picture(), "panoptic.json": DOCUMENTS["panoptic.json"]}
    for _ in range(40):
        data = bytearray(out.getvalue())
        for _ in range(rng.choice((1, 3, 9))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        go_through(make_zip(tmp_path / "x.zip", {**files, f"{place}.{ending}": bytes(data)}))
