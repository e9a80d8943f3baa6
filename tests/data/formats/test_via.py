"""VIA: exports and projects, kinds of regions, and which attribute tells the class."""

import csv
import io
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


def table(*rows):
    """VIA's CSV: (file name, number of regions, shape, attributes) a row."""
    out = io.StringIO()
    writer = csv.writer(out)
    columns = "filename,file_size,file_attributes,region_count,region_id"
    writer.writerow([*columns.split(","), "region_shape_attributes", "region_attributes"])
    for name, count, shape, attributes in rows:
        writer.writerow([name, 9, "{}", count, 0, json.dumps(shape), json.dumps(attributes)])
    return out.getvalue()


@pytest.mark.parametrize("before", ["", "#"])
def test_the_table_holds_the_same_regions(tmp_path, before):
    rows = [
        ("a.png", 1, POLYGON, {"class": "cat"}),
        ("b.png", 0, {}, {}),
        ("c.png", 1, {"name": "point"}, {}),
    ]
    files = {f"{name}.png": picture(i) for i, name in enumerate("abc")}
    photos, imported = read(tmp_path, {"via.csv": before + table(*rows), **files})
    assert imported.formats == ["via"] and imported.label_set.classes == ("background", "cat")
    assert (
        same(photos["a.png"], square()) and same(photos["b.png"], square(0)) and same(photos["c.png"], None)
    )
    assert [entry.photo for entry in imported.account.left_out] == ["c.png"]


def test_a_table_with_cells_that_are_too_long_is_named(tmp_path):
    text = table(("a.png", 1, {"name": "polygon", "all_points_x": [1] * 60_000}, {"class": "cat"}))
    document = coco(annotations=[])
    _, imported = read(tmp_path, {"via.csv": text, "c.json": document, "a.png": picture()})
    [entry] = imported.account.left_out
    assert entry.file == "via.csv" and "cannot be read, export it as JSON" in entry.why


def project(*shapes, **changes):
    """A project of version 3: a photo with these shapes, (numbers, attributes) each."""
    attribute = {"1": {"aname": "class", "type": 3, "options": {"0": "cat", "1": "dog"}}}
    regions = {f"1_{i}": {"vid": "1", "z": [], "xy": xy, "av": av} for i, (xy, av) in enumerate(shapes)}
    files, views = {"1": {"fid": "1", "fname": "a.png", "type": 2}}, {"1": {"fid_list": ["1"]}}
    data = {
        "project": {},
        "config": {},
        "attribute": attribute,
        "file": files,
        "view": views,
        "metadata": regions,
    }
    return json.dumps({**data, **changes})


@pytest.mark.parametrize("shape", [[7, *SQUARE], [2, 2, 1, 4, 4]])
def test_projects_of_version_3(tmp_path, shape):
    whole = ([], {"1": "1"})  # of the photo as a whole
    photos, imported = read(tmp_path, {"p.json": project((shape, {"1": "0"}), whole), "a.png": picture()})
    assert imported.formats == ["via"] and imported.label_set.classes == ("background", "cat")
    assert same(photos["a.png"], square()) and imported.account.left_out == []


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([1, 2, 2], "is a point"),
        ([6, *SQUARE], "is a polyline"),
        ([7, 1, 2, 3], "has no polygon that can be read"),
        ([2, "x"], "has no rect that can be read"),
        (["x"], "is a shape of an unknown kind"),
        ({"x": 1}, "is a shape of an unknown kind"),
    ],
)
def test_what_version_3_cannot_have_meant_is_named(tmp_path, shape, words):
    text = project((shape, {"1": "0"}), ([7, *SQUARE], {"1": "1"}))
    photos, imported = read(tmp_path, {"p.json": text, "a.png": picture()})
    assert same(photos["a.png"], square(imported.label_set.classes.index("dog")))
    [entry] = imported.account.left_out
    assert words in entry.why


def test_a_shape_of_a_view_that_is_not_there_is_named(tmp_path):
    text = project(([7, *SQUARE], {"1": "0"}), view={"2": {"fid_list": ["1"]}})
    photos, imported = read(tmp_path, {"p.json": text, "a.png": picture()})
    assert same(photos["a.png"], square(0)) and "view 1" in imported.refused[0]
