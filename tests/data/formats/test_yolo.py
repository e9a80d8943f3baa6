"""YOLO labels of other tools: names of classes, photos, subsets, and one bad line beside good ones."""

import json

import numpy as np
import pytest
from archive_files import YOLO_SQUARE, encoded, make_zip, picture, read, same, square

from segdemo.data.formats import ExchangeError, import_zip

NOTES = '{"categories": [{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}]}'
ONE = {"images/a.png": picture(), "labels/a.txt": YOLO_SQUARE}


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"data.yaml": "names: [cat, dog]"}, "data.yaml"),
        ({"dataset.yml": "names:\n  0: cat\n  1: dog\n"}, "dataset.yml"),
        ({"data.yaml": "\ufeffnames: {'1': dog, '0': cat}\r\n"}, "data.yaml"),
        ({"classes.txt": "cat\r\ndog\r\n"}, "classes.txt"),
        ({"labels/classes.txt": "cat\ndog"}, "labels/classes.txt"),
        ({"obj.names": "cat\ndog\n"}, "obj.names"),
        ({"notes.json": NOTES}, "notes.json"),
        ({"classes.txt": "cat\ndog", "notes.json": NOTES}, "classes.txt"),
    ],
)
def test_names_come_from_any_of_the_usual_files(tmp_path, files, source):
    photos, imported = read(tmp_path, {**ONE, **files})
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert imported.account.classes_source == source
    assert same(photos["images/a.png"], square())
    assert imported.account.left_out == [] and imported.account.ignored == []


def test_names_that_differ_are_said(tmp_path):
    _, imported = read(tmp_path, {**ONE, "data.yaml": "names: [cat]", "classes.txt": "dog\n"})
    assert imported.label_set.classes == ("background", "cat")
    [entry] = imported.account.left_out
    assert entry.file == "classes.txt" and "differs from data.yaml" in entry.why


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("names: [yes, no]", ("yes", "no")),
        ("names: {0: on, 1: off}", ("on", "off")),
        ("names: [y, n, null, ~]", ("y", "n", "null", "~")),
        ("names: [1, 2.50, 2024-01-01, 0x1F]", ("1", "2.50", "2024-01-01", "0x1F")),
    ],
)
def test_names_stay_text(tmp_path, text, classes):
    photos, imported = read(tmp_path, {**ONE, "data.yaml": text})
    assert imported.label_set.classes == ("background", *classes) and same(photos["images/a.png"], square())


def test_labels_without_names_are_refused_with_the_reason(tmp_path):
    for files in (ONE, {**ONE, "data.yaml": "nc: 2"}, {**ONE, "data.yaml": "names: [[1, 2]]"}):
        with pytest.raises(ExchangeError, match="nothing names the classes of its YOLO labels"):
            import_zip(make_zip(tmp_path / "y.zip", files))
    photos, _ = read(tmp_path, ONE, class_names=(["cat"], {}))
    assert same(photos["images/a.png"], square())


@pytest.mark.parametrize(
    ("photo", "label"),
    [
        ("train/images/a.png", "train/labels/a.txt"),
        ("images/train/a.png", "labels/train/a.txt"),
        ("Images/a.PNG", "Labels/a.txt"),
        ("obj_train_data/a.png", "obj_train_data/a.txt"),
        ("images/a.png", "labels/deep/a.txt"),
        ("set/images/labels/a.png", "set/labels/labels/a.txt"),
    ],
)
def test_photos_are_found(tmp_path, photo, label):
    photos, imported = read(tmp_path, {"data.yaml": "names: [cat]", photo: picture(), label: YOLO_SQUARE})
    assert list(photos) == [photo] and same(photos[photo], square()) and imported.account.ignored == []


@pytest.mark.parametrize(
    ("settings", "files", "expected"),
    [
        ("train: ../train/images,val: ../valid/images", "train/images/0 valid/images/1 test/images/2", None),
        ("train: images/train,val: images/val", "images/train/0 images/val/1 images/test/2", None),
        ("path: ../x,train: images/a,val: images/b,test: images/c", "images/a/0 images/b/1 images/c/2", None),
        ("train: [images/a],val: [images/b],test: images/c", "images/a/0 images/b/1 images/c/2", None),
        ("train: /x/a/images,val: /x/b/images", "a/images/0 b/images/1 Testing/images/2", None),
        ("train: x.txt,val: y.txt,test: z.txt", "images/0 images/1 images/2", "xyz"),
    ],
)
def test_subsets_come_from_settings_lists_and_folders(tmp_path, settings, files, expected):
    files, archive = files.split(), {"data.yaml": "\n".join([*settings.split(","), "names: [cat]"])}
    for number, name in enumerate(files):
        archive[f"{name}.png"] = picture(number)
        archive[f"{name.replace('images', 'labels')}.txt"] = YOLO_SQUARE
        if expected:
            archive[f"{expected[number]}.txt"] = f"\ufeff./{name}.png\r\n"
    photos, imported = read(tmp_path, archive)
    subsets = {name: photo.meta.get("subset") for name, photo in photos.items()}
    assert subsets == {f"{name}.png": s for name, s in zip(files, ("train", "val", "test"), strict=True)}
    assert imported.account.splits == {"train": 1, "val": 1, "test": 1} and imported.account.ignored == []


def test_one_folder_for_two_subsets_tells_none(tmp_path):
    photos, _ = read(tmp_path, {**ONE, "data.yaml": "train: images\nval: images\nnames: [cat]"})
    assert photos["images/a.png"].meta == {}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("1 .5 .5 .2 .2", "is a box, not an outline"),
        ("1 0 0 1 0 1 1.5", "outside 0..1"),
        ("0 0 0 1 0 1 nan", "has a coordinate outside 0..1"),
        ("7 0 0 1 0 1 1", "the class 7, which data.yaml does not name"),
        ("0.5 0 0 1 0 1 1", "has the class 0.5"),
        ("nan 0 0 1 0 1 1", "has the class nan"),
        ("dog 0 0 1 0 1 1", "is not numbers"),
        ("1 0 0 1", "at least three pairs"),
        ("1 0 0 0 1 1 1 .93", "how sure a model was"),
        ("0 0 0 1 0 1", "has a polygon that is not at least three pairs"),
        ("1 .5 .5 .5 .5 .5 .5", "covers no pixel"),
    ],
)
def test_one_bad_line_costs_one_line(tmp_path, bad, words):
    files = {**ONE, "data.yaml": "names: [cat, dog]", "labels/a.txt": f"{bad}\n{YOLO_SQUARE}\n"}
    photos, imported = read(tmp_path, files)
    assert same(photos["images/a.png"], square())
    [entry] = imported.account.left_out
    assert (entry.file, entry.what) == ("labels/a.txt", "line 1") and words in entry.why
    assert imported.account.painted == 1
    photos, imported = read(tmp_path, {**files, "labels/a.txt": bad})
    assert same(photos["images/a.png"], None)
    [sentence] = imported.refused
    assert sentence.startswith("labels/a.txt: line 1 ") and words in sentence


def test_by_hand(tmp_path):
    # The cat lies on the larger dog, though it comes first in the file.
    labels = "0 .125 .25 .25 .25 .25 .5 .125 .5\n\n1 0 0 0.5 0 0.5 1 0 1\n"
    files = {"set/data.yaml": "names: [cat, dog]\n", "set/labels/val/a.txt": labels, "set/README.txt": ""}
    photos, imported = read(tmp_path, {**files, "set/images/val/a.png": picture(size=(4, 8))})
    expected = np.zeros((4, 8), np.uint8)
    expected[:, :4] = 2
    expected[1, 1] = 1
    assert same(photos["set/images/val/a.png"], expected)
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert photos["set/images/val/a.png"].meta == {"subset": "val"}
    assert imported.skipped == ["set/README.txt"]


def test_files_may_be_called_labels(tmp_path):
    files = {"data.yaml": "names: [cat]", "labels/images/labels/labels.txt": "0 0 0 1 0 1 1 0 1"}
    photos, _ = read(tmp_path, {**files, "labels/images/images/labels.jpg": picture(format="JPEG")})
    [annotation] = photos.values()
    assert annotation.id == "labels" and (annotation.label_map == 1).all()


def test_unsafe_yaml_is_not_executed(tmp_path):
    settings = f"names: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n"
    with pytest.raises(ExchangeError, match="no annotations"):
        import_zip(make_zip(tmp_path / "y.zip", {**ONE, "data.yaml": settings}))
    assert not (tmp_path / "made").exists()


def test_many_polygons_of_a_large_photo_are_painted_quickly(tmp_path):
    # 2000 polygons of 20 pixels each on 12 megapixels: only their own windows may be touched.
    lines = []
    for i in range(2000):
        x, y = (i % 50) / 50, (i // 50) / 40
        lines.append(f"0 {x} {y} {x + 0.001} {y} {x + 0.001} {y + 0.002} {x} {y + 0.002}")
    photo = encoded(np.zeros((3000, 4000), np.uint8), "JPEG")
    files = {"data.yaml": "names: [cat, dog]\n", "images/a.jpg": photo, "labels/a.txt": "\n".join(lines)}
    photos, _ = read(tmp_path, files)
    [annotation] = photos.values()
    assert annotation.label_map.shape == (3000, 4000)
    assert (annotation.label_map == 1).sum() == 2000 * 4 * 6


def test_an_empty_file_means_background_and_a_file_of_boxes_does_not(tmp_path):
    files = {"data.yaml": "names: [cat]", "labels/a.txt": "", "labels/b.txt": "0 .5 .5 .2 .2\n"}
    photos, _ = read(tmp_path, {**files, "images/a.png": picture(1), "images/b.png": picture(2)})
    assert same(photos["images/a.png"], square(0)) and same(photos["images/b.png"], None)


def test_a_label_without_its_photo_is_named_by_line(tmp_path):
    files = {**ONE, "data.yaml": "names: [cat]", "labels/b.txt": YOLO_SQUARE * 2}
    _, imported = read(tmp_path, files)
    expected = [("labels/b.txt", f"line {i}") for i in (1, 2)]
    assert [(e.file, e.what) for e in imported.account.left_out] == expected
    [sentence] = imported.refused
    assert sentence == "labels/b.txt: it has no photo, add it to images."


def test_other_formats_in_the_archive_are_read_too(tmp_path):
    shapes = [{"label": "dog", "points": [[2, 1], [6, 1], [6, 5], [2, 5]], "shape_type": "polygon"}]
    files = {**ONE, "data.yaml": "names: [cat]", "b.png": picture(1)}
    files["b.json"] = json.dumps({"shapes": shapes, "imagePath": "b.png"})
    files["again.json"] = json.dumps({"shapes": shapes, "imagePath": "images/a.png"})
    photos, imported = read(tmp_path, files)
    assert imported.formats == ["yolo", "labelme"]
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert same(photos["images/a.png"], square(1)) and same(photos["b.png"], square(2))
    [entry] = imported.account.duplicates
    assert entry.file == "again.json" and entry.of == "images/a.png" and "yolo" in entry.why


def test_boxes_with_key_points_are_no_outlines(tmp_path):
    pose = "0 .5 .5 .5 .6 .25 .2 .75 .2 .75 .8 .25 .8\n"
    settings = {"data.yaml": "kpt_shape: [4, 2]\nnames: [tiger]\n"}
    photos, imported = read(tmp_path, {**ONE, **settings, "labels/a.txt": pose + YOLO_SQUARE})
    assert same(photos["images/a.png"], square())
    [entry] = imported.account.left_out
    assert entry.what == "line 1" and "is a box with key points" in entry.why


def test_names_that_become_one_class_are_told(tmp_path):
    _, imported = read(tmp_path, {**ONE, "data.yaml": "names: [Cat, cat, dog]"})
    assert imported.account.notes == ["data.yaml has 2 classes 'Cat' and 'cat', which are one here."]
