"""Annotations into collections: the account of what became of each, and nothing replaced unsaid."""

import json

import numpy as np
import pytest
from archive_files import annotation, check, coco, encoded, image, make_folder, make_zip, picture, png, square

from segdemo.annotations import drafts
from segdemo.annotations.store import AnnotationStore
from segdemo.annotations.transfer import find_collection, import_annotations, read_classes
from segdemo.core.files import StoreError
from segdemo.core.labels import PETS, VOC, VOID, LabelSet
from segdemo.data import formats
from segdemo.data.formats import ExchangeError

CATS = LabelSet("cats", "Cats and dogs", ("background", "cat", "dog"), ((0, 0, 0), (9, 9, 9), (8, 8, 8)))
TREE = {"JPEGImages/a.png": picture(), "SegmentationClass/a.png": png(square())}


@pytest.fixture
def store(tmp_path):
    return AnnotationStore(tmp_path / "store")


def take(store, tmp_path, files, into="t", **options):
    account = import_annotations(store, make_zip(tmp_path / "made.zip", files), into, **options)
    check(account)
    return account


def masks_of(store, name="t"):
    """Label maps by the name a photo came with."""
    collection = find_collection(store, name)
    return {photo.source: collection.load(photo.id) for photo in collection.photos(per_page=1000).photos}


def test_the_account_in_its_stable_form(store, tmp_path):
    entries = [annotation(1, 1), annotation(2, 1, 2, []), annotation(3, 9)]
    files = {"instances_val.json": coco(annotations=entries), "val/a.png": picture(), "read.me": "x"}
    data = json.loads(json.dumps(take(store, tmp_path, files).to_json()))
    assert data == {
        "collection": "t",
        "photos": 1,
        "labelled": 1,
        "annotations": {"read": 3, "painted": 1, "left_out": 2},
        "left_out": [
            {
                "file": "instances_val.json",
                "what": "annotation 3",
                "why": "belongs to the image 9, which the document does not have",
            },
            {
                "file": "instances_val.json",
                "what": "annotation 2 of a.png",
                "why": "has no segmentation: it is a box or a point",
            },
        ],
        "duplicates": [],
        "ignored": ["read.me"],
        "label_set": {
            "classes": ["background", "cat", "dog"],
            "source": "the categories of instances_val.json",
        },
        "splits": {"train": 0, "val": 1, "test": 0, "source": "the names of documents and folders"},
    }


def test_photos_keep_their_names(store, tmp_path):
    files = {"i.json": coco([image(file_name="x/IMG 0001.JPG")]), "x/IMG 0001.JPG": picture(format="JPEG")}
    take(store, tmp_path, files)
    assert list(masks_of(store)) == ["IMG 0001.JPG"]


# --------------------------------------------------------------------------------------- what is there


@pytest.mark.parametrize("other", [square(2), square(0), np.full((6, 8), VOID, np.uint8)])
def test_a_second_mask_of_the_same_photo_replaces_nothing_unsaid(store, tmp_path, other):
    files = {**TREE, "JPEGImages/b.png": picture(), "SegmentationClass/b.png": png(other)}
    account = take(store, tmp_path, files)
    assert (account.photos, account.labelled, account.painted) == (1, 1, 1)
    assert np.array_equal(masks_of(store)["a.png"], square())
    [entry] = account.duplicates
    assert (entry.file, entry.of) == ("JPEGImages/b.png", "JPEGImages/a.png") and "revision 2" in entry.why
    assert [(e.file, e.what) for e in account.left_out] == [("SegmentationClass/b.png", "mask")]
    collection = find_collection(store, "t")
    [photo] = collection.photos().photos
    assert np.array_equal(collection.load(photo.id, 2), other)  # kept beside


def test_the_same_photo_and_mask_twice_is_counted_once(store, tmp_path):
    files = {**TREE, "JPEGImages/b.png": picture(), "SegmentationClass/b.png": png(square())}
    account = take(store, tmp_path, files)
    assert (account.photos, account.labelled, account.painted, account.left_out) == (1, 1, 2, [])
    [entry] = account.duplicates
    assert entry.file == "JPEGImages/b.png" and "the same mask" in entry.why


def test_the_same_photo_in_two_subsets_is_named(store, tmp_path):
    files = {
        f"{s}/{n}/a.png": picture() if n == "JPEGImages" else png(square())
        for s in ("train", "test")
        for n in ("JPEGImages", "SegmentationClass")
    }
    account = take(store, tmp_path, files)
    assert account.photos == 1 and "does not go into" in account.duplicates[0].why


@pytest.mark.parametrize("turn", ["same", "different", "first mask"])
def test_a_mask_in_the_collection_stays_the_newest(store, tmp_path, turn):
    collection = store.create("t", VOC)
    id_ = collection.add_photo(picture(), "mine.png")
    mine = {"same": square(), "different": square(5), "first mask": None}[turn]
    if mine is not None:
        collection.save(id_, mine, 0)
        collection.set_split(id_, "test")
    account = take(store, tmp_path, {**TREE, "ImageSets/Segmentation/train.txt": "a\n"})
    assert (account.photos, account.labelled) == (1, 1)
    assert np.array_equal(masks_of(store)["mine.png"], square() if mine is None else mine)
    [entry] = account.duplicates
    assert entry.of == "mine.png" and entry.why.startswith("was in the collection already")
    assert (len(account.left_out) == 1) == (turn == "different")
    assert collection.photo(id_).split == ("train" if mine is None else "test")
    assert ("stays in test" in entry.why) == (mine is not None)


def test_a_photo_is_taken_out_of_the_trash_with_the_new_mask(store, tmp_path):
    collection = store.create("t", VOC)
    id_ = collection.add_photo(picture(), "mine.png")
    collection.save(id_, square(5), 0)
    collection.delete(id_)
    account = take(store, tmp_path, TREE)
    assert np.array_equal(collection.load(id_), square()) and np.array_equal(
        collection.load(id_, 1), square(5)
    )
    assert "in the trash" in account.duplicates[0].why and account.left_out == []


def test_an_export_that_comes_back_doubles_nothing(store, tmp_path):
    take(store, tmp_path, {**TREE, "JPEGImages/b.png": picture(1), "SegmentationClass/b.png": png(square(2))})
    archive = formats.export_zip(find_collection(store, "t").annotations(), tmp_path / "out.zip")
    account = import_annotations(store, archive, "t")
    assert (account.photos, account.labelled, len(account.duplicates)) == (2, 2, 2)
    assert account.left_out == [] and len(masks_of(store)) == 2


# ------------------------------------------------------------------------------------------ collections


def test_a_collection_is_found_by_name_or_title_or_made(store, tmp_path):
    assert take(store, tmp_path, TREE, "My Photos").collection == "my-photos"
    assert [c.title for c in store.collections()] == ["My Photos"]
    more = {name.replace("a.", "b."): c for name, c in TREE.items()} | {"JPEGImages/b.png": picture(1)}
    for into in ("my-photos", "My Photos", "MY PHOTOS"):
        take(store, tmp_path, more, into)
    assert len(store.collections()) == 1 and len(masks_of(store, "my-photos")) == 2
    unnamed = import_annotations(store, make_folder(tmp_path / "some_set", TREE))
    assert unnamed.collection == "some-set"


def test_classes_go_into_those_of_a_collection_by_name(store, tmp_path):
    store.create("t", LabelSet("x", "X", ("Dog", "nothing", "CAT"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), 1))
    entries = [annotation(1), annotation(2, 1, 3, ([0, 0, 1, 0, 1, 1, 0, 1],))]
    files = {"i.json": coco(annotations=entries, categories=("cat", "dog", "cow")), "a.png": picture()}
    account = take(store, tmp_path, files)
    assert np.array_equal(masks_of(store)["a.png"], square(2, ground=1))
    assert [e.why for e in account.left_out] == ["has no place: there is no class 'cow' in X"]
    assert account.classes == ["Dog", "nothing", "CAT"] and "the classes of X" in account.classes_source


def test_a_collection_without_any_of_the_classes_is_refused(store, tmp_path):
    store.create("t", PETS)
    with pytest.raises(StoreError, match=r"Oxford-IIIT Pet|t lacks classes of the archive \(cat, dog\)"):
        take(store, tmp_path, {"i.json": coco(), "a.png": picture()})
    assert masks_of(store) == {}


@pytest.mark.parametrize(
    "files",
    [
        {"SegmentationClass/a.png": png(square())},
        {"i.json": coco(), "b.png": picture()},
        {"annotations/i.json": coco(), "x/a.png": picture(), "y/a.png": picture(1)},
        {"data.yaml": "names: [cat]", "labels/a.txt": "0 0 0 1 0 1 1"},
    ],
)
def test_of_an_archive_without_anything_usable_nothing_is_made(store, tmp_path, files):
    with pytest.raises(StoreError, match=r"Nothing in the archive could be used: .*(photo|a\.png)"):
        take(store, tmp_path, files)
    assert store.collections() == []
    with pytest.raises(ExchangeError, match="not a ZIP"):
        import_annotations(store, make_folder(tmp_path, {"x.zip": b"x"}) / "x.zip", "t")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"i.json": coco(annotations=[]), "a.png": picture()}, "no mask shows a class"),
        (
            {"i.json": coco(annotations=[annotation(segmentation=[])]), "a.png": picture()},
            "none of its photos",
        ),
        (
            {"JPEGImages/a.png": picture(), "SegmentationClass/a.png": png(square(VOID))},
            "no mask shows a class",
        ),
    ],
)
def test_nothing_to_learn_from_is_said(store, tmp_path, files, words):
    account = take(store, tmp_path, files)
    assert any(words in note for note in account.notes) and account.totals()[-1] in account.notes
    assert take(store, tmp_path, TREE, "other").notes == []


def test_splits_are_those_of_the_archive_and_the_rest_is_drawn(store, tmp_path):
    files = {}
    for number, root in enumerate(("train/", "valid/", "test/", "")):
        files[f"{root}JPEGImages/{number}.png"] = picture(number)
        files[f"{root}SegmentationClass/{number}.png"] = png(square())
    account = take(store, tmp_path, files)
    told = {p.source: p.split for p in find_collection(store, "t").photos().photos}
    assert (told["0.png"], told["1.png"], told["2.png"]) == ("train", "val", "test")
    assert sum(account.splits.values()) == 4 and "drawn" in account.splits_source
    del files["JPEGImages/3.png"], files["SegmentationClass/3.png"]
    assert "drawn" not in take(store, tmp_path, files, "other").splits_source


# ------------------------------------------------------------------------------------- given label sets


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.json", json.dumps(CATS.to_json())),
        ("names.txt", "background\ncat\ndog\n"),
        ("names.txt", "\ufeffbackground: 0,0,0\r\ncat: 9,9,9\r\ndog: 8,8,8\r\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:9,9,9::\ndog:8,8,8::\n"),
        ("names.json", '["background", "cat", "dog"]'),
    ],
)
def test_classes_are_read_from_files(store, tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    label_set, _ = read_classes(path)
    assert label_set.classes == CATS.classes and label_set.background == 0
    account = take(store, tmp_path, TREE, classes=path)
    assert account.classes == ["background", "cat", "dog"]
    assert np.array_equal(masks_of(store)["a.png"], square())
    yolo = {
        "images/a.png": picture(),
        "labels/a.txt": "1 .25 .16666667 .75 .16666667 .75 .83333333 .25 .83333333",
    }
    take(store, tmp_path, yolo, "yolo", classes=path)
    assert np.array_equal(masks_of(store, "yolo")["a.png"], square())
    take(store, tmp_path, {"i.json": coco(), "a.png": picture()}, "coco", classes=path)
    assert find_collection(store, "coco").label_set.classes == CATS.classes


def test_given_names_name_the_classes_of_an_archive_for_a_collection(store, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("background\ndog\n")
    store.create("t", CATS)
    take(store, tmp_path, TREE, classes=path)
    assert np.array_equal(masks_of(store)["a.png"], square(2))


@pytest.mark.parametrize("content", [b"", b"\xfc\xff", b"a\na\n", b"{}", b"[", b'{"classes": 5}'])
def test_files_that_name_no_classes_are_refused(tmp_path, content):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"names\.txt does not name classes"):
        read_classes(path)
    with pytest.raises(StoreError, match="There is no file"):
        read_classes(tmp_path / "none.txt")


def test_white_masks_become_one_class(store, tmp_path):
    files = {"JPEGImages/a.png": picture(), "SegmentationClass/a.png": encoded(square(255))}
    account = take(store, tmp_path, files)
    assert account.classes == ["background", "object"] and account.notes == []
    assert np.array_equal(masks_of(store)["a.png"], square())


def test_drafts_of_an_archive_are_drafts_again(tmp_path):
    ids = {"masked": 60, "drafted": 90}
    store = AnnotationStore(tmp_path / "one")
    collection = store.create("Leaves", CATS)
    label_map = np.zeros((6, 8), np.uint8)
    label_map[2:] = 1
    for name, value in ids.items():
        ids[name] = collection.add_photo(np.full((6, 8, 3), value, np.uint8), name)
    collection.save(ids["masked"], label_map, 0)
    drafts.put(collection, ids["drafted"], label_map, "taught:leaves", "ab", 0.75, 0.2)
    path = formats.export_zip(
        [*collection.annotations(), *drafts.annotations(collection)], tmp_path / "leaves.zip", ["voc"]
    )
    other = AnnotationStore(tmp_path / "two")
    account = import_annotations(other, path)
    assert (account.photos, account.labelled) == (2, 1)
    assert any("1 of the masks is a draft" in note for note in account.notes)
    (into,) = other.collections()
    ((id_, draft),) = drafts.found(into).items()
    assert into.photo(id_).source == "drafted"
    assert (draft.model, draft.sure) == ("taught:leaves", 0.75)
    np.testing.assert_array_equal(drafts.load(into, id_, draft), label_map)
    # Into the collection that it came from, where somebody has labelled it since: the mask stays.
    collection.save(ids["drafted"], 1 - label_map, 0)
    assert import_annotations(store, path, into="Leaves").labelled == 2
    np.testing.assert_array_equal(collection.load(ids["drafted"]), 1 - label_map)
    assert drafts.found(collection) == {}
