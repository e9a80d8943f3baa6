"""COCO documents of other tools: which photo is meant, ids, several documents, and one bad entry beside good ones."""

import json

import numpy as np
import pytest
from archive_files import HEIGHT, SQUARE, WIDTH, annotation, coco, image, picture, read, same, square

from segdemo.core.labels import PETS, VOC, LabelSet
from segdemo.core.shapes import rle_encode

TWO = {"a.png": picture(1), "b.png": picture(2)}


def why(imported):
    return [(entry.what, entry.why) for entry in imported.account.left_out]


# ------------------------------------------------------------------------------------------ which photo


def test_a_folder_called_like_the_subset_wins(tmp_path):
    files = {"annotations/instances_train.json": coco([], []), "annotations/instances_val.json": coco()}
    photos, imported = read(tmp_path, {**files, "train/a.png": picture(1), "val/a.png": picture(2)})
    assert list(photos) == ["val/a.png"] and same(photos["val/a.png"], square())
    assert imported.account.ignored == ["train/a.png"]


@pytest.mark.parametrize(
    ("train", "val"),
    [("train", "val"), ("images/train2017", "images/val2017"), ("Train/images", "valid/images")],
)
def test_each_subset_gets_its_own_labels(tmp_path, train, val):
    files = {
        "annotations/instances_train.json": coco(annotations=[annotation(category_id=1)]),
        "annotations/instances_val.json": coco(annotations=[annotation(category_id=2)]),
    }
    photos, _ = read(tmp_path, {**files, f"{train}/a.png": picture(1), f"{val}/a.png": picture(2)})
    assert same(photos[f"{train}/a.png"], square(1)) and same(photos[f"{val}/a.png"], square(2))
    assert [photos[f"{f}/a.png"].meta["subset"] for f in (train, val)] == ["train", "val"]


@pytest.mark.parametrize(
    ("document", "photo"),
    [
        ("b/i.json", "b/a.png"),  # beside
        ("b/i.json", "b/images/a.png"),  # in the same folder, deeper
        ("instances_night.json", "night/a.png"),  # called like the document
        ("annotations/night.json", "images/night/a.png"),
    ],
)
def test_the_photo_near_the_document_wins(tmp_path, document, photo):
    files = {document: coco(), photo: picture(1), "a/a.png": picture(2), "z/images/a.png": picture(3)}
    photos, _ = read(tmp_path, files)
    assert list(photos) == [photo] and same(photos[photo], square())


@pytest.mark.parametrize(
    "files",
    [
        {"annotations/i.json": coco(), "depth/a.png": picture(1), "images/a.png": picture(2)},
        {"i.json": coco(), "train/a.png": picture(1), "val/a.png": picture(2)},
        {"x/i.json": coco(), "cam1/a.png": picture(1), "cam2/a.PNG": picture(2), "cam3/a.png": picture(3)},
    ],
)
def test_what_stays_ambiguous_is_refused_by_name(tmp_path, files):
    photos, imported = read(tmp_path, files)
    assert photos == {}
    [(what, reason)] = why(imported)
    assert what == "annotation 1" and "several photos fit" in reason and reason.count("a.png") == 2


def test_equal_files_are_one_photo(tmp_path):
    photos, imported = read(tmp_path, {"i.json": coco(), "x/a.png": picture(1), "y/a.png": picture(1)})
    assert list(photos) == ["x/a.png"] and why(imported) == []


def test_the_only_photo_of_that_name_is_not_taken_from_another_subset(tmp_path):
    files = {"annotations/instances_train.json": coco(), "val/a.png": picture()}
    photos, imported = read(tmp_path, files)
    assert photos == {} and "of another subset" in why(imported)[0][1]


def test_two_entries_are_not_put_on_one_photo(tmp_path):
    images = [image(1, "cam1/a.png"), image(2, "cam2/a.png")]
    entries = [annotation(1, 1, 1), annotation(2, 2, 2)]
    photos, imported = read(tmp_path, {"i.json": coco(images, entries), "cam2/a.png": picture()})
    assert same(photos["cam2/a.png"], square(2))
    assert why(imported) == [("annotation 1", "the photo is missing, add it")]
    photos, imported = read(tmp_path, {"i.json": coco(images, entries), "flat/a.png": picture()})
    assert photos == {} and len(why(imported)) == 2 and "several entries" in why(imported)[0][1]


@pytest.mark.parametrize("name", ["a", "images/a", "sub/A.PNG", "/home/me/a.png"])
def test_names_of_photos_need_not_be_exact(tmp_path, name):
    photos, _ = read(tmp_path, {"i.json": coco([image(file_name=name)]), "images/a.png": picture()})
    assert same(photos["images/a.png"], square())


# ------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize(("one", "other"), [(0, "0"), ("7", 7), (3, 3.0), ("x1", "x1"), (" 5 ", 5)])
def test_ids_are_compared_as_text(tmp_path, one, other):
    categories = [{"id": one, "name": "cat"}]
    data = coco([image(one)], [annotation(1, other, other)], categories)
    photos, imported = read(tmp_path, {"i.json": data, "a.png": picture()})
    assert same(photos["a.png"], square()) and why(imported) == []


def test_annotations_of_no_image_are_counted_and_named(tmp_path):
    images = [image(1, "a.png"), image(2, "b.png")]
    entries = [annotation(1, 1), annotation(2, 99), annotation(3, None), annotation(4, "x")]
    photos, imported = read(tmp_path, {"i.json": coco(images, entries), **TWO})
    assert same(photos["a.png"], square())
    assert photos["b.png"].label_map is None  # nobody knows whether the others are its
    assert [what for what, _ in why(imported)] == ["annotation 2", "annotation 3", "annotation 4"]


def test_an_image_without_annotations_is_all_background(tmp_path):
    images = [image(1, "a.png"), image(2, "b.png")]
    photos, _ = read(tmp_path, {"i.json": coco(images), **TWO})
    assert same(photos["b.png"], np.zeros((HEIGHT, WIDTH), np.uint8))


def test_annotations_of_no_category_are_counted_and_named(tmp_path):
    entries = [annotation(1, 1), annotation(2, 2, 9), annotation(3, 1, None), annotation(4, 1, [1])]
    images = [image(1, "a.png"), image(2, "b.png")]
    photos, imported = read(tmp_path, {"i.json": coco(images, entries), **TWO})
    assert same(photos["a.png"], square()) and same(photos["b.png"], None)
    assert [what for what, _ in why(imported)] == ["annotation 3", "annotation 4", "annotation 2"]
    assert imported.account.to_json()["annotations"] == {"read": 4, "painted": 1, "left_out": 3}


def test_a_repeated_image_id_is_refused_by_name(tmp_path):
    images = [image(1, "a.png"), image(1, "b.png"), image(2, "c.png")]
    files = {f"{n}.png": picture(i) for i, n in enumerate("abc")}
    photos, imported = read(tmp_path, {"i.json": coco(images, [annotation(1, 1), annotation(2, 2)]), **files})
    assert same(photos["a.png"], None) and same(photos["b.png"], None) and same(photos["c.png"], square())
    [(what, reason)] = why(imported)
    assert what == "annotation 1" and "a.png and b.png" in reason


def test_an_entry_that_is_there_twice_is_harmless(tmp_path):
    photos, imported = read(tmp_path, {"i.json": coco([image(), image()]), "a.png": picture()})
    assert same(photos["a.png"], square()) and why(imported) == []
    photos, _ = read(tmp_path, {"i.json": coco([image(1), image(2)], [annotation(1, 2)]), "a.png": picture()})
    assert same(photos["a.png"], square())


def test_a_repeated_category_id_is_refused_by_name(tmp_path):
    categories = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 2, "name": "cow"}]
    entries = [annotation(1, 1, 1), annotation(2, 1, 2)]
    _, imported = read(tmp_path, {"i.json": coco(None, entries, categories), "a.png": picture()})
    assert imported.account.painted == 1
    reasons = " ".join(reason for _, reason in why(imported))
    assert "id 1 of another category" in reasons and "two categories share" in reasons


# ------------------------------------------------------------------------------------ several documents


def test_documents_over_one_photo_are_merged(tmp_path):
    small = annotation(1, 1, 1, ([0, 0, 2, 0, 2, 2, 0, 2],))
    files = {
        "cats.json": coco(annotations=[small], categories=("cat",)),
        "dogs.json": coco([image("x")], [annotation(1, "x", 1)], ("dog",)),
        "none.json": coco([], [], ("cow",)),
        "a.png": picture(),
    }
    photos, imported = read(tmp_path, files)
    expected = square(2)
    expected[:2, :2] = 1
    assert imported.label_set.classes == ("background", "cat", "dog", "cow")
    assert same(photos["a.png"], expected) and imported.account.painted == 2


@pytest.mark.parametrize("name", ["labels.json", "meta.json", "set/labels.json", "data/meta/labels.json"])
def test_documents_are_known_by_what_is_in_them(tmp_path, name):
    photos, _ = read(tmp_path, {name: coco(), "data/a.png": picture()})
    assert same(photos["data/a.png"], square())


@pytest.mark.parametrize(
    "content",
    [
        *('["background", "cat"]', '{"0": "background", "1": "cat"}', "{", "[]", "null"),
        *('{"classes": ["cat"], "labels": {"a": 0}}', '{"name": "x", "title": "y", "classes": "z"}'),
    ],
)
def test_another_tools_labels_json_costs_nothing(tmp_path, content):
    files = {"labels.json": content, "i.json": coco(), "data/a.png": picture()}
    photos, imported = read(tmp_path, files)
    assert same(photos["data/a.png"], square()) and imported.account.ignored == ["labels.json"]


@pytest.mark.parametrize(
    "other",
    [
        {"images": [image()], "annotations": [{"image_id": 1, "segments_info": []}], "categories": []},
        {"images": [image()], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]},
        {"info": {}, "licenses": []},
        {"images": {}, "annotations": [], "categories": []},
        [1, 2, 3],
        "text",
    ],
)
def test_a_document_of_another_kind_is_left_alone(tmp_path, other):
    files = {"annotations/instances_val.json": coco(), "annotations/other_val.json": json.dumps(other)}
    photos, imported = read(tmp_path, {**files, "val/a.png": picture()})
    assert same(photos["val/a.png"], square()) and why(imported) == []
    assert imported.account.ignored == ["annotations/other_val.json"]


# -------------------------------------------------------------------------------------- one bad entry


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"segmentation": []}, "no segmentation"),
        ({"segmentation": None}, "no segmentation"),
        ({"segmentation": ([1, 1, 2, 2],)}, "at least three pairs"),
        ({"segmentation": ([1, 1, 2, 2, "x", 3],)}, "at least three pairs"),
        ({"segmentation": ([1, 1, 2, 2, float("1e300"), 3],)}, "far outside"),
        ({"segmentation": "abc"}, "no segmentation"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [1]}}, "add up to 1"),
        ({"segmentation": {"counts": [1]}}, "mask of None"),
        ({"segmentation": {"size": [99999, 99999], "counts": [1]}}, "99999"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "~~~"}}, ""),
        ({"segmentation": ([100, 100, 110, 100, 110, 110],)}, "covers no pixel"),
        ({"segmentation": ([1.1, 1.1, 1.2, 1.1, 1.2, 1.2],)}, "covers no pixel"),
        ({"category_id": 77}, "has the category 77"),
        ({"category_id": [1]}, "has the category None"),
    ],
)
def test_one_bad_shape_costs_one_shape(tmp_path, bad, words):
    entries = [annotation(1), annotation(2, category_id=2) | annotation(2, **{"category_id": 2, **bad})]
    photos, imported = read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})
    assert same(photos["a.png"], square())
    [(what, reason)] = why(imported)
    assert what == "annotation 2" and reason and words in reason
    assert imported.account.to_json()["annotations"] == {"read": 2, "painted": 1, "left_out": 1}
    _, imported = read(tmp_path, {"i.json": coco(annotations=entries[1:]), "a.png": picture()})
    [sentence] = imported.refused
    assert sentence.startswith("i.json, a.png: annotation 2") and sentence.endswith(".")


def test_another_size_is_refused(tmp_path):
    photos, imported = read(tmp_path, {"i.json": coco([image(width=6, height=8)]), "a.png": picture()})
    assert same(photos["a.png"], None)
    assert imported.refused == ["i.json, a.png: the file says 6x8 pixels, but the photo measures 8x6."]


def test_by_hand(tmp_path):
    # The cat lies on the larger dog, though it comes first in the file.
    dog = ([0, 0, 4, 0, 4, 4, 0, 4], [5, 0, 6, 0, 6, 1, 5, 1])
    entries = [annotation(1, 1, 3, ([1, 1, 3, 1, 3, 3, 1, 3],), area=4), annotation(2, 1, 18, dog, area=16)]
    categories = [{"id": 18, "name": "dog"}, {"id": 3, "name": "Cat"}]
    document = coco([image(file_name="a.png", width=6, height=4)], entries, categories)
    files = {"images/a.png": picture(size=(4, 6)), "annotations/train.json": document}
    photos, imported = read(tmp_path, {**files, "notes.md": "hello", "x.json": "{"})
    expected = [[2, 2, 2, 2, 0, 2], [2, 1, 1, 2, 0, 0], [2, 1, 1, 2, 0, 0], [2, 2, 2, 2, 0, 0]]
    assert imported.label_set.classes == ("background", "Cat", "dog")
    assert photos["images/a.png"].id == "a" and photos["images/a.png"].label_map.tolist() == expected
    assert imported.skipped == ["notes.md", "x.json"]
    photos, imported = read(tmp_path, files, label_set=VOC)  # by name
    assert same(photos["images/a.png"], np.array([0, 8, 12], np.uint8)[np.array(expected)])
    assert imported.label_set == VOC


@pytest.mark.parametrize(
    ("key", "bad", "words"),
    [
        ("annotations", 5, "annotation number 1 is no annotation"),
        ("images", {"id": 7}, "image 7 has no id or no file_name"),
        ("categories", "dog", "category dog has no id or no name"),
    ],
)
def test_what_is_incomplete_is_left_out_and_named(tmp_path, key, bad, words):
    data = {**json.loads(coco()), key: [bad]}
    photos, imported = read(tmp_path, {"i.json": json.dumps(data), "a.png": picture()})
    assert not any(photo.label_map is not None for photo in photos.values())
    assert words in " ".join(imported.refused)


def test_one_bad_polygon_costs_the_others_of_its_annotation_nothing(tmp_path):
    entries = [annotation(segmentation=(SQUARE, [1, 1, 2, 2]))]
    photos, imported = read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})
    assert same(photos["a.png"], square())
    assert "its other polygons are kept" in why(imported)[0][1]


@pytest.mark.parametrize("bad", [5, None, "x", [], {}])
def test_one_bad_entry_costs_one_entry(tmp_path, bad):
    data = json.loads(coco())
    for key in ("images", "annotations", "categories"):
        document = json.dumps({**data, key: [bad, *data[key]]})
        photos, imported = read(tmp_path, {"i.json": document, "a.png": picture()})
        assert same(photos["a.png"], square()), key
        assert len(why(imported)) == 1, key


def test_a_photo_whose_shapes_are_all_left_out_is_not_all_background(tmp_path):
    entries = [annotation(segmentation=[])]
    photos, imported = read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})
    assert same(photos["a.png"], None)
    assert (imported.account.photos, imported.account.labelled) == (1, 0)


@pytest.mark.parametrize(
    "changes",
    [{"width": "8", "height": "6"}, {"width": 8.0, "height": "6.0"}, {"width": None}, {"height": " 6 "}],
)
def test_text_that_is_a_number_is_one(tmp_path, changes):
    photos, _ = read(tmp_path, {"i.json": coco([image(**changes)]), "a.png": picture()})
    assert same(photos["a.png"], square())


@pytest.mark.parametrize(
    "segmentation",
    [
        [[str(value) for value in SQUARE]],
        SQUARE,
        [[2, 1], [6, 1], [6, 5], [2, 5]],
        [[[2, 1], [6, 1], [6, 5], [2, 5]]],
        {"size": ["6", "8"], "counts": rle_encode(square() > 0)["counts"]},
        rle_encode(square() > 0, compress=False),
    ],
)
def test_the_same_shape_in_other_forms(tmp_path, segmentation):
    entries = [annotation(segmentation=segmentation)]
    photos, _ = read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})
    assert same(photos["a.png"], square())


@pytest.mark.parametrize("area", [{}, {"area": 1}, {"area": "big"}, {"area": None}, {"area": 48}])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_smaller_shape_is_on_top_by_its_pixels(tmp_path, area, swapped):
    whole = np.ones((HEIGHT, WIDTH), bool)
    entries = [annotation(1, 1, 2, rle_encode(square() > 0))]
    entries.insert(0 if swapped else 1, annotation(2, 1, 1, rle_encode(whole), **area))
    photos, _ = read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})
    assert same(photos["a.png"], square(2, ground=1))


def test_a_bow_tie_counts_by_its_pixels(tmp_path):
    tie = [0, 0, 8, 6, 8, 0, 0, 6]  # its two halves cancel each other in the formula for areas
    entries = [annotation(1, 1, 1, (tie,)), annotation(2, 1, 2, ([3, 2, 5, 2, 5, 4, 3, 4],))]
    photos, _ = read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})
    assert photos["a.png"].label_map[2:4, 3:5].tolist() == [[2, 2], [2, 2]]


def test_a_shape_of_which_nothing_is_seen_is_named(tmp_path):
    entries = [annotation(1, 1, 1), annotation(2, 1, 2)]
    photos, imported = read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})
    assert same(photos["a.png"], square(2))
    assert why(imported) == [("annotation 1", "lies wholly under other shapes, so nothing of it is seen")]
    entries = [annotation(1, 1, 2), annotation(2, 1, 2)]  # of the same class nothing is lost
    assert why(read(tmp_path, {"i.json": coco(annotations=entries), "a.png": picture()})[1]) == []


# ----------------------------------------------------------------------------------------------- classes


def test_class_names_are_compared_composed(tmp_path):
    bear = LabelSet("b", "Bears", ("background", "B\u00e4r"), ((0, 0, 0), (9, 9, 9)))
    data = coco(categories=("Ba\u0308r",))
    photos, _ = read(tmp_path, {"i.json": data, "a.png": picture()}, label_set=bear)
    assert same(photos["a.png"], square())
    _, imported = read(tmp_path, {"i.json": data, "a.png": picture()})
    assert imported.label_set.classes == ("background", "B\u00e4r")


def test_what_has_no_class_is_left_out_and_named(tmp_path):
    data = coco(annotations=[annotation(1, 1, 1), annotation(2, 1, 2)], categories=("Pet", "dog"))
    photos, imported = read(tmp_path, {"i.json": data, "a.png": picture()}, label_set=PETS)
    assert same(photos["a.png"], square(0, ground=1))
    assert why(imported) == [("annotation 2", "has no place: there is no class 'dog' in Oxford-IIIT Pet")]
    assert imported.missing == ["dog"] and imported.fits


def test_more_categories_than_a_label_map_holds_are_no_reason_to_refuse_those_in_use(tmp_path):
    categories = [f"class {i}" for i in range(400)]
    data = coco(annotations=[annotation(category_id=300)], categories=categories)
    photos, imported = read(tmp_path, {"i.json": data, "a.png": picture()})
    assert imported.label_set.classes == ("background", "class 299") and same(photos["a.png"], square())


# ----------------------------------------------------------------------------------------------- subsets


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("annotations/i_train.json", "annotations/i_val.json", "annotations/i_test.json"),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", "test/_annotations.coco.json"),
        ("instances_Train2017.json", "instances_validation.json", "testing.json"),
        ("annotations/train/i.json", "annotations/dev/i.json", "annotations/test/i.json"),
    ],
)
def test_subsets_come_from_documents_and_folders(tmp_path, train, val, test):
    files = {}
    for number, name in enumerate((train, val, test)):
        files[name] = coco([image(file_name=f"{number}.png")])
        files[f"images/{number}.png"] = picture(number)
    photos, imported = read(tmp_path, files)
    subsets = {name: photo.meta.get("subset") for name, photo in photos.items()}
    assert subsets == {"images/0.png": "train", "images/1.png": "val", "images/2.png": "test"}
    assert imported.account.splits == {"train": 1, "val": 1, "test": 1}


def test_folders_of_photos_tell_where_the_document_does_not(tmp_path):
    images = [image(1, "train/a.png"), image(2, "valid/b.png")]
    files = {"i.json": coco(images), "images/train/a.png": picture(1), "images/valid/b.png": picture(2)}
    photos, _ = read(tmp_path, files)
    assert [photo.meta.get("subset") for photo in photos.values()] == ["train", "val"]


def test_a_photo_of_several_subsets_is_held_out_and_named(tmp_path):
    files = {"instances_train.json": coco(), "instances_test.json": coco(), "a.png": picture()}
    photos, imported = read(tmp_path, files)
    assert photos["a.png"].meta == {"subset": "test"}
    [entry] = imported.account.duplicates
    assert entry.file == "a.png" and "train and test" in entry.why


# -------------------------------------------------------------------------------------- categories that are none

GROUPED = [
    {"id": 0, "name": "pets", "supercategory": "none"},
    {"id": 1, "name": "cat", "supercategory": "pets"},
    {"id": 2, "name": "dog", "supercategory": "pets"},
]


def test_the_category_that_groups_the_others_is_no_class_and_it_is_said(tmp_path):
    files = {"train/_annotations.coco.json": coco(categories=GROUPED), "train/a.png": picture()}
    _, imported = read(tmp_path, files)
    assert list(imported.label_set.classes) == ["background", "cat", "dog"]
    assert "less 'pets', which only groups the others" in imported.account.classes_source


@pytest.mark.parametrize(
    ("categories", "used"),
    [
        (GROUPED, 0),
        ([{"id": 0, "name": "pets", "supercategory": "none"}], 0),
        ([GROUPED[0], {"id": 1, "name": "cat", "supercategory": "wild"}, GROUPED[2]], 1),
        ([GROUPED[0], {"id": 1, "name": "cat"}], 1),
        ([{**GROUPED[0], "supercategory": "pets"}, *GROUPED[1:]], 1),
    ],
)
def test_a_category_that_is_used_or_groups_nothing_is_a_class(tmp_path, categories, used):
    document = coco(categories=categories, annotations=[annotation(category_id=used)])
    _, imported = read(tmp_path, {"c.json": document, "a.png": picture()})
    assert "pets" in imported.label_set.classes and "less" not in imported.account.classes_source


def test_documents_of_subsets_that_repeat_another_tell_the_subsets(tmp_path):
    images = [image(1, "a.png"), image(2, "b.png"), image(3, "c.png")]
    whole = json.loads(coco(images=images, annotations=[annotation()]))
    files = {"coco/instances_rle.json": json.dumps(whole)}
    for part, subset in zip(images, ("train", "val", "test"), strict=True):
        document = {**whole, "images": [part], "info": {"repeats": "coco/instances_rle.json"}}
        files[f"coco/annotations/instances_{subset}.json"] = json.dumps(document)
    photos, imported = read(tmp_path, {**files, **{f"JPEGImages/{n}.png": picture(ord(n)) for n in "abc"}})
    found = {photo.name: photo.meta for photo in photos.values()}
    assert found == {f"{n}.png": {"subset": s} for n, s in zip("abc", ("train", "val", "test"), strict=True)}
    assert imported.account.painted == 1


@pytest.mark.parametrize("wanted", ["a.jpg", "photos/a.bmp", "a.JPEG"])
def test_a_photo_that_is_there_with_another_ending_is_named(tmp_path, wanted):
    _, imported = read(tmp_path, {"c.json": coco(images=[image(file_name=wanted)]), "a.png": picture()})
    assert imported.refused == [f"c.json, {wanted}: the photo is missing, add it (a.png has another ending)."]


@pytest.mark.parametrize(
    "name",
    [
        "https://host/bucket/my%20photo.png?X-Signature=1%2F2&b=c#d",
        "s3://bucket/set/my photo.png",
        "set/my%20photo.png",
        "C:\\Users\\ann\\set\\my photo.png",
        "http://[/my photo.png",
        "images/9afb12ab-my photo.png",  # as Label Studio calls it
    ],
)
def test_a_web_address_is_a_name(tmp_path, name):
    photos, _ = read(tmp_path, {"i.json": coco([image(file_name=name)]), "x/my photo.png": picture()})
    assert same(photos["x/my photo.png"], square())


def test_a_photo_of_a_day_is_not_one_of_any(tmp_path):
    document = coco([image(file_name="20240101-a.png")])
    photos, imported = read(tmp_path, {"i.json": document, "a.png": picture()})
    assert not photos and "missing" in imported.refused[0]


def test_a_percent_sign_in_a_name_is_one(tmp_path):
    files = {"a%20b.png": picture(1), "a b.png": picture(2)}
    photos, _ = read(tmp_path, {"i.json": coco([image(file_name="a%20b.png")]), **files})
    assert list(photos) == ["a%20b.png"]


def test_names_that_no_file_can_have_take_no_time(tmp_path):
    names = ["a/" * 300_000 + "a.png", "%25" * 300_000]
    images = [image(i, name) for i, name in enumerate(names)]
    _, imported = read(
        tmp_path, {"i.json": coco(images, [annotation(i, i) for i in range(2)]), "a.png": picture()}
    )
    assert [entry.why for entry in imported.account.left_out] == ["the photo is missing, add it"] * 2


def test_masks_called_like_their_photos_are_no_photos(tmp_path):
    files = {"images/a.png": picture(), "PedMasks/a.png": picture(1), "annotations/i.json": coco()}
    photos, imported = read(tmp_path, files)
    assert same(photos["images/a.png"], square()) and imported.account.left_out == []


def test_sides_of_nothing_say_nothing(tmp_path):
    for sides in ({"width": 0, "height": 0}, {"width": None, "height": None}, {"width": "0", "height": ""}):
        photos, _ = read(tmp_path, {"i.json": coco([image(**sides)]), "a.png": picture()})
        assert same(photos["a.png"], square())


def test_run_lengths_in_a_list(tmp_path):
    left, right = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    left[1:5, 2:4], right[1:5, 4:6] = True, True
    entry = annotation(segmentation=[rle_encode(left), rle_encode(right, compress=False)])
    photos, imported = read(tmp_path, {"i.json": coco(annotations=[entry]), "a.png": picture()})
    assert same(photos["a.png"], square()) and imported.account.left_out == []


def test_photos_without_annotations_are_said_to_be_background(tmp_path):
    images = [image(i, f"{n}.png") for i, n in enumerate("abc", 1)]
    files = {f"{n}.png": picture(ord(n)) for n in "abc"}
    photos, imported = read(tmp_path, {"i.json": coco(images), **files})
    assert same(photos["c.png"], square(0))
    assert imported.account.notes == [
        "b.png is listed without annotations (and 1 more like it): it is background all over; delete such masks where "
        "nobody has looked for anything."
    ]


def test_coordinates_in_fractions_are_refused(tmp_path):
    for segmentation in (
        [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]],
        [[[0.1, 0.1], [0.9, 0.1], [1, 1]]],
        [0.5, 0, 1, 0, 1, 1],
    ):
        document = coco(annotations=[annotation(segmentation=segmentation)])
        photos, imported = read(tmp_path, {"c.json": document, "a.png": picture()})
        assert same(photos["a.png"], None)
        assert "in fractions of the photo" in imported.account.left_out[0].why
    corner = annotation(segmentation=([0, 0, 1, 0, 1, 1, 0, 1],))
    photos, _ = read(tmp_path, {"c.json": coco(annotations=[corner]), "a.png": picture()})
    assert photos["a.png"].label_map.sum() == 1


def test_categories_that_become_one_class_are_told(tmp_path):
    categories = ({"id": 1, "name": "wheel"}, {"id": 2, "name": "door"}, {"id": 3, "name": "Wheel"})
    document = coco(annotations=[annotation(category_id=3)], categories=categories)
    photos, imported = read(tmp_path, {"c.json": document, "a.png": picture()})
    assert same(photos["a.png"], square()) and imported.label_set.classes == ("background", "wheel", "door")
    assert imported.account.notes == ["c.json has 2 classes 'wheel' and 'Wheel', which are one here."]


def test_lvis_names_its_photos_by_their_addresses(tmp_path):
    entry = {"id": 1, "coco_url": "http://images.example.org/val2017/a.png", "width": WIDTH, "height": HEIGHT}
    photos, imported = read(tmp_path, {"lvis.json": coco([entry]), "a.png": picture()})
    assert same(photos["a.png"], square()) and not imported.account.left_out


@pytest.mark.parametrize(
    "place", ["panoptic_parts/leftImg8bit/a.jpg", "panoptic_parts/a.jpg", "overlays/images/a.jpg"]
)
def test_a_folder_called_after_what_is_in_others_holds_photos_too(tmp_path, place):
    files = {"c.json": coco([image(file_name="a.jpg")]), place: picture(1, "JPEG")}
    photos, imported = read(tmp_path, files)
    assert same(photos[place], square()) and not imported.account.left_out
