"""VIA: exports and projects, kinds of regions, and which attribute tells the class."""

import json

import numpy as np
import pytest
from archive_files import HEIGHT, SQUARE, WIDTH, coco, picture, read, same, square

POLYGON = {"name": "polygon", "all_points_x": SQUARE[::2], "all_points_y": SQUARE[1::2]}


def region(shape=None, **attributes):
    return {"shape_attributes": shape or POLYGON, "region_attributes": attributes or {"class": "cat"}}


def via(*regions, file_name="a.png", as_dict=False):
    regions = {str(i): r for i, r in enumerate(regions)} if as_dict else list(regions)
    entry = {"filename": file_name, "size": 123, "regions": regions, "file_attributes": {}}
    return {f"{file_name}123": entry}


@pytest.mark.parametrize(
    "data",
    [
        via(region()),
        via(region(), as_dict=True),
        {"_via_settings": {}, "_via_img_metadata": via(region()), "_via_image_id_list": []},
        via(region(class_={"cat": True, "dog": False})),
        via(region({"name": "rect", "x": 2, "y": 1, "width": 4, "height": 4})),
        via(region({"name": "rect", "x": "2", "y": "1", "width": "4", "height": "4"})),
    ],
)
def test_regions_are_read(tmp_path, data):
    photos, imported = read(tmp_path, {"via.json": json.dumps(data), "a.png": picture()})
    assert same(photos["a.png"], square()) and list(imported.label_set.classes) == ["background", "cat"]
    assert imported.formats == ["via"] and imported.account.painted == 1 and not imported.account.ignored


@pytest.mark.parametrize(
    "shape",
    [
        {"name": "circle", "cx": 4, "cy": 3, "r": 2},
        {"name": "ellipse", "cx": 4, "cy": 3, "rx": 2, "ry": 2, "theta": 0.7},
        {"name": "ellipse", "cx": 4, "cy": 3, "rx": 2, "ry": 2},
    ],
)
def test_round_regions(tmp_path, shape):
    photos, _ = read(tmp_path, {"via.json": json.dumps(via(region(shape))), "a.png": picture()})
    found = photos["a.png"].label_map
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(x - 4, y - 3)
    assert (found[distance < 1.7] == 1).all() and (found[distance > 2.3] == 0).all()


def test_an_ellipse_is_turned(tmp_path):
    shape = {"name": "ellipse", "cx": 4, "cy": 3, "rx": 3, "ry": 0.6, "theta": np.pi / 2}
    photos, _ = read(tmp_path, {"via.json": json.dumps(via(region(shape))), "a.png": picture()})
    rows, columns = np.nonzero(photos["a.png"].label_map)
    assert np.ptp(rows) > np.ptp(columns)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (region({"name": "point", "cx": 1, "cy": 1}), "is a point, which covers no pixels"),
        (region({"name": "polyline", "all_points_x": [1], "all_points_y": [1]}), "is a polyline"),
        (region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}), "has no polygon"),
        (region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}), "three pairs"),
        (region({"name": "rect", "x": None}), "has no rect"),
        ({"shape_attributes": {}, "region_attributes": {"class": "cat"}}, "is no region"),
        ({"region_attributes": {"class": "cat"}}, "is no region"),
        (region(quality="good"), "has no class"),
        ("x", "has no class"),
    ],
)
def test_one_bad_region_costs_one(tmp_path, bad, said):
    data = via(region(), region(), bad)
    photos, imported = read(tmp_path, {"via.json": json.dumps(data), "a.png": picture()})
    assert same(photos["a.png"], square()) and imported.account.painted == 2
    assert len(imported.refused) == 1 and said in imported.refused[0]


def test_the_attribute_that_most_regions_have_tells_the_class_and_it_is_said(tmp_path):
    data = via(region(kind="cat", quality="good"), region(kind="dog"))
    _, imported = read(tmp_path, {"via.json": json.dumps(data), "a.png": picture()})
    assert set(imported.label_set.classes) == {"background", "cat", "dog"}
    assert imported.account.classes_source == "the attribute 'kind' of via.json, not 'quality'"


def test_regions_without_attributes_are_objects_and_it_is_said(tmp_path):
    data = via({"shape_attributes": POLYGON, "region_attributes": {}})
    photos, imported = read(tmp_path, {"train/via.json": json.dumps(data), "train/a.png": picture()})
    assert same(photos["train/a.png"], square()) and photos["train/a.png"].meta == {"subset": "train"}
    assert "none in train/via.json: all are 'object'" in imported.account.classes_source


def test_a_photo_that_is_missing_is_named_and_others_without_regions_have_none(tmp_path):
    data = {**via(region(), file_name="gone.png"), **via(file_name="a.png")}
    photos, imported = read(tmp_path, {"via.json": json.dumps(data), "a.png": picture()})
    assert imported.refused == ["via.json, gone.png: the photo is missing, add it."]
    assert same(photos["a.png"], square(0))


@pytest.mark.parametrize(
    "data", [{"a": {"filename": "a.png"}}, {"a": 1}, {"a": {"filename": 1, "regions": []}}, {}]
)
def test_other_documents_are_none(tmp_path, data):
    files = {"x.json": json.dumps(data), "c.json": coco(), "a.png": picture()}
    _, imported = read(tmp_path, files)
    assert imported.formats == ["coco"] and imported.account.ignored == ["x.json"]
