import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from archive_files import few_bits
from drawn import SHAPES, draw_annotations, draw_pets, draw_voc, save_mask, save_photo, scene
from PIL import Image

from segdemo.core.labels import PETS, VOC, VOID
from segdemo.data import datasets, sources
from segdemo.data.check import check
from segdemo.data.datasets import DatasetError, read_image, read_label_map
from segdemo.data.index import by_class
from segdemo.data.pets import breed
from segdemo.data.sources import open_dataset


@pytest.fixture
def voc(tmp_path):
    draw_voc(tmp_path, VOC)
    return open_dataset("voc", tmp_path)


# --- VOC --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_root_may_be_any_of_three_folders(tmp_path, below):
    folder = draw_voc(tmp_path, VOC)
    dataset = open_dataset("voc", str(tmp_path / below))
    assert dataset.root == folder
    assert dataset.label_set is VOC


def test_voc_masks_are_indices_with_void(voc):
    sample = voc.samples("train")[1]
    label_map = read_label_map(sample, VOC)
    assert label_map.dtype == np.uint8
    assert label_map.shape == read_image(sample).shape[:2] == (40, 60)
    assert set(np.unique(label_map)) == {0, 2, VOID}  # not the colours of the palette
    assert (label_map == scene(1, foreground=2, border=255)[1]).all()


def test_voc_val_list_is_shuffled_once_and_halved(tmp_path):
    draw_voc(tmp_path, VOC, val=7)
    voc = open_dataset("voc", tmp_path)
    ids = [f"2007_{i:06d}" for i in range(5, 12)]
    assert voc.splits["all"] == tuple(ids)
    random.Random(42).shuffle(ids)
    assert voc.splits["val"] == tuple(ids[:3])
    assert voc.splits["test"] == tuple(ids[3:])
    assert open_dataset("voc", tmp_path).splits == voc.splits


def test_voc_halves_of_the_real_list_are_724_and_725(tmp_path):
    folder = draw_voc(tmp_path, VOC, 1, 0, 0)
    ids = [f"x{i}" for i in range(1449)]
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(ids))
    splits = open_dataset("voc", folder).splits
    assert (len(splits["val"]), len(splits["test"]), len(splits["all"])) == (724, 725, 1449)
    assert not set(splits["val"]) & set(splits["test"])


def test_train_aug_masks_come_from_both_folders_official_first(tmp_path):
    folder = draw_voc(tmp_path, VOC, train=2, extra=2)
    # the usual distribution has an augmented mask for every photo
    save_mask(folder / "SegmentationClassAug" / "2007_000000.png", np.zeros((40, 60), np.uint8))
    masks = [sample.mask_path for sample in open_dataset("voc", folder).samples("train_aug")]
    assert [path.parent.name for path in masks] == ["SegmentationClass"] * 2 + ["SegmentationClassAug"] * 2
    assert all(path.is_file() for path in masks)


def test_samples_of_an_unknown_or_empty_subset(tmp_path):
    folder = draw_voc(tmp_path, VOC)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("\n")
    voc = open_dataset("voc", folder)
    with pytest.raises(
        DatasetError, match=r"no subset 'trian': choose from train, train_aug, val, test, all\.$"
    ):
        voc.samples("trian")
    with pytest.raises(DatasetError, match=r"'train' .* is empty"):
        voc.samples("train")
    with pytest.raises(DatasetError, match="no photo called 'nobody'"):
        voc.sample("nobody")


def test_a_list_cannot_point_outside_the_dataset(tmp_path):
    folder = draw_voc(tmp_path, VOC)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("../../../secret\n")
    with pytest.raises(DatasetError, match="which is a path"):
        open_dataset("voc", folder)


@pytest.mark.parametrize("kind", sources.KINDS)
def test_opening_what_is_not_there(tmp_path, kind):
    with pytest.raises(DatasetError, match="There is no"):
        open_dataset(kind, tmp_path)
    with pytest.raises(DatasetError, match="There is no folder"):
        open_dataset(kind, tmp_path / "nowhere")


def test_unknown_kind(tmp_path):
    with pytest.raises(DatasetError, match="voc, pets, annotations"):
        open_dataset("coco", tmp_path)


# --- masks ------------------------------------------------------------------------------------------------


def test_pairs_are_photo_and_mask_of_the_same_id(voc):
    found = {id_: (image, label_map) for id_, image, label_map in voc.pairs("all")}
    assert list(found) == list(voc.splits["all"])
    for i, (image, label_map) in enumerate(found.values(), 5):
        assert image.dtype == np.uint8
        assert set(np.unique(label_map)) == {0, 1 + i, VOID}
        assert image[label_map == 1 + i][:, 0].mean() > 180 > 90 > image[label_map == 0].mean()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "1"])
def test_mask_that_is_no_picture_of_ids_is_refused(voc, mode):
    sample = voc.samples("train")[0]
    Image.new(mode, (60, 40)).save(sample.mask_path)
    with pytest.raises(DatasetError, match="not of class ids"):
        read_label_map(sample)


def test_mask_that_cannot_be_read(voc):
    sample = voc.samples("train")[0]
    sample.mask_path.write_bytes(sample.mask_path.read_bytes()[:60])
    with pytest.raises(DatasetError, match="cannot be read"):
        read_label_map(sample)
    sample.mask_path.unlink()
    with pytest.raises(DatasetError, match="is missing"):
        read_label_map(sample)


def test_id_outside_the_label_set(voc):
    sample = voc.samples("train")[0]
    save_mask(sample.mask_path, np.full((40, 60), 21, np.uint8), VOC)
    assert (read_label_map(sample) == 21).all()
    with pytest.raises(DatasetError, match="class id 21"):
        read_label_map(sample, VOC)


# --- Pets -------------------------------------------------------------------------------------------------


def test_mistake_pets_trimap_read_as_foreground_border_background(tmp_path):
    draw_pets(tmp_path, {"pug": 6})
    dataset = open_dataset("pets", tmp_path)
    sample = dataset.samples("all")[0]
    trimap = scene(0, (48, 36), 1, 2, 3)[1]
    label_map = read_label_map(sample)
    assert dataset.label_set is PETS
    for value, name in ((1, "pet"), (2, "background"), (3, "border")):
        assert (label_map == PETS.classes.index(name)).sum() == (trimap == value).sum() > 0
        assert PETS.classes[label_map[trimap == value][0]] == name
    assert label_map[0, 0] == PETS.background  # a photo's corner is background, and most of it


def test_other_trimap_values_are_void(tmp_path):
    draw_pets(tmp_path, {"pug": 1})
    sample = open_dataset("pets", tmp_path).samples("all")[0]
    save_mask(sample.mask_path, np.array([[0, 1, 2, 3, 4, 255]], np.uint8))
    label_map = read_label_map(sample)
    assert label_map.dtype == np.uint8
    assert label_map.tolist() == [[255, 0, 1, 2, 255, 255]]


def test_pets_test_is_a_stratified_fifth(tmp_path):
    breeds = {"Abyssinian": 20, "pug": 10, "great_pyrenees": 5, "boxer": 2, "Bengal": 3}
    draw_pets(tmp_path / "oxford-iiit-pet", breeds)
    splits = open_dataset("pets", tmp_path).splits
    assert set(splits["test"]) | set(splits["trainval"]) == set(splits["all"])
    assert set(splits["train"]) | set(splits["val"]) == set(splits["trainval"])
    assert not set(splits["train"]) & set(splits["val"])
    assert not set(splits["trainval"]) & set(splits["test"])
    held_out = [breed(id_) for id_ in splits["test"]]
    assert [held_out.count(b) for b in ("Abyssinian", "pug", "great_pyrenees")] == [4, 2, 1]
    assert len(held_out) == 8  # and one of the five from the small breeds
    assert len(splits["val"]) == 4  # two of 16 Abyssinians, two of the 16 others
    assert open_dataset("pets", tmp_path).splits == splits


def test_pets_official_lists_are_used(tmp_path):
    draw_pets(tmp_path, {"pug": 30, "Bengal": 30}, official=True)
    splits = open_dataset("pets", tmp_path).splits
    assert splits["test"] == tuple(f"{b}_{i}" for b in ("pug", "Bengal") for i in range(2, 31, 2))
    assert set(splits["trainval"]) == {f"{b}_{i}" for b in ("pug", "Bengal") for i in range(1, 31, 2)}
    assert len(splits["val"]) == 4  # round(1.5) of each breed's 15


def test_pets_ignores_what_a_mac_adds_and_photos_without_a_trimap(tmp_path):
    draw_pets(tmp_path, {"pug": 5})
    (tmp_path / "annotations" / "trimaps" / "._pug_1.png").write_bytes(b"\0\5\26\7")
    save_photo(tmp_path / "images" / "pug_99.jpg", scene(0)[0])
    assert open_dataset("pets", tmp_path).splits["all"] == tuple(f"pug_{i}" for i in range(1, 6))


def test_breed():
    assert breed("great_pyrenees_175") == "great_pyrenees"
    assert breed("cat") == "cat"


# --- annotations ------------------------------------------------------------------------------------------


def test_annotations_have_their_own_label_set_and_all_subsets(tmp_path):
    names = [f"photo {i}" for i in range(60)]
    draw_annotations(tmp_path, names)
    save_photo(tmp_path / "JPEGImages" / "new.webp", scene(0)[0])
    dataset = open_dataset("annotations", tmp_path)
    assert dataset.label_set == SHAPES
    assert dataset.splits["all"] == tuple(sorted(names))
    assert dataset.splits["unlabelled"] == ("new",)
    assert dataset.samples("unlabelled")[0].mask_path is None
    parts = [dataset.splits[name] for name in ("train", "val", "test")]
    assert sorted(id_ for part in parts for id_ in part) == sorted(names)
    assert 30 <= len(parts[0]) <= 52
    assert min(map(len, parts)) >= 2
    assert set(np.unique(read_label_map(dataset.sample("photo 1")))) == {0, 2}
    with pytest.raises(DatasetError, match="has no mask"):
        read_label_map(dataset.sample("new"))


def test_annotation_splits_do_not_move_when_photos_are_added(tmp_path):
    names = [f"p{i}" for i in range(40)]
    draw_annotations(tmp_path, names[:30])
    before = open_dataset("annotations", tmp_path).splits
    draw_annotations(tmp_path, names)
    after = open_dataset("annotations", tmp_path).splits
    for part in ("train", "val", "test"):
        assert set(before[part]) <= set(after[part])


@pytest.mark.parametrize(("count", "sizes"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1))])
def test_a_few_annotations_still_give_something_to_train_on_and_measure(tmp_path, count, sizes):
    for attempt in range(6):
        root = tmp_path / str(attempt)
        draw_annotations(root, [f"{attempt}-{i}" for i in range(count)])
        splits = open_dataset("annotations", root).splits
        assert tuple(len(splits[name]) for name in ("train", "val", "test")) == sizes


def test_annotation_lists_count_when_complete_and_lose_nothing(tmp_path):
    draw_annotations(tmp_path, ["a", "b", "c"])
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    assert open_dataset("annotations", tmp_path).splits["val"]  # no val list: the hash decides
    (lists / "val.txt").write_text("b\n")
    splits = open_dataset("annotations", tmp_path).splits
    assert "a" in splits["train"]
    assert "b" in splits["val"]
    assert sum("c" in splits[name] for name in ("train", "val", "test")) == 1


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"name": "x", "title": "x", "classes": []}'])
def test_annotations_with_a_damaged_label_set(tmp_path, text):
    draw_annotations(tmp_path, ["a"])
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(DatasetError, match=r"labels\.json cannot be read"):
        open_dataset("annotations", tmp_path)


# --- finding, checking, indexing --------------------------------------------------------------------------


def test_find_datasets(tmp_path):
    draw_voc(tmp_path, VOC)
    draw_pets(tmp_path / "oxford-iiit-pet", {"pug": 2})
    draw_annotations(tmp_path / "mine" / "first", ["a"])
    draw_pets(tmp_path / ".hidden", {"pug": 2})
    (tmp_path / "broken" / "JPEGImages").mkdir(parents=True)
    found = {d.root.relative_to(tmp_path).as_posix(): d.kind for d in sources.find_datasets(tmp_path)}
    assert found == {"VOCdevkit/VOC2012": "voc", "oxford-iiit-pet": "pets", "mine/first": "annotations"}
    assert [d.kind for d in sources.find_datasets(tmp_path / "oxford-iiit-pet")] == ["pets"]
    assert sources.find_datasets(None) == sources.find_datasets(tmp_path / "nowhere") == []


def test_check_of_a_sound_dataset(voc):
    steps = []
    report = check(voc, lambda done, total: steps.append((done, total)))
    assert report.ok
    assert report.samples == 10
    assert steps[-1] == (10, 10)
    assert json.loads(json.dumps(report.to_json()))["subsets"]["train_aug"] == 5
    assert list(report.lines())[-1] == "10 photos looked at, no problem."


def test_check_names_every_problem(voc):
    folder = voc.root
    photo = lambda i: folder / "JPEGImages" / f"2007_{i:06d}.jpg"  # noqa: E731
    mask = lambda i: folder / "SegmentationClass" / f"2007_{i:06d}.png"  # noqa: E731
    photo(0).unlink()
    photo(1).write_bytes(photo(1).read_bytes()[:300])
    mask(5).unlink()
    save_mask(mask(6), np.zeros((41, 60), np.uint8), VOC)
    save_mask(mask(7), np.full((40, 60), 77, np.uint8), VOC)
    (folder / "ImageSets" / "Segmentation" / "train.txt").unlink()
    report = check(open_dataset("voc", folder))
    assert not report.ok
    messages = {problem.path.name: problem.message for problem in report.problems}
    assert len(report.problems) == len(messages) == 6
    for name, words in (
        (photo(0).name, "missing"),
        (photo(1).name, "damaged"),
        (mask(5).name, "missing"),
        (mask(6).name, "60 x 41 pixels, its photo 60 x 40"),
        (mask(7).name, "class id 77"),
        (folder.name, "no list ImageSets/Segmentation/train.txt"),
    ):
        assert words in messages[name]
        assert name in messages[name] or name == folder.name
    assert list(report.lines())[-1] == "10 photos looked at, 6 problems."


def test_check_names_an_empty_list(voc):
    (voc.root / "ImageSets" / "Segmentation" / "val.txt").write_text("")
    report = check(open_dataset("voc", voc.root))
    assert any("val.txt" in p.message or "'val'" in p.message for p in report.problems)


def test_by_class_and_its_cache(voc, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    index = by_class(voc)
    ids = voc.splits["all"]
    assert set(index) == set(range(21))
    assert index[0] == list(ids)
    assert index[6] == [ids[0]]
    assert index[20] == []
    (kept,) = (tmp_path / "home" / "cache").iterdir()

    def unread(*_):
        raise AssertionError("the masks were read again")

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "read_label_map", unread)
        assert by_class(voc) == index
    kept.write_text("{")
    assert by_class(voc) == index
    save_mask(voc.sample(ids[0]).mask_path, np.full((40, 60), 20, np.uint8), VOC)
    assert by_class(voc)[20] == [ids[0]]


def test_by_class_without_a_place_for_its_cache(voc, tmp_path):
    (tmp_path / "file").write_text("")
    assert by_class(voc, "train", cache_dir=tmp_path / "file")[1] == ["2007_000000"]


def test_the_web_process_can_read_datasets_without_tensorflow():
    code = "import sys, segdemo.data.datasets, segdemo.data.download; sys.exit('tensorflow' in sys.modules)"
    here = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=here, check=False).returncode == 0


def test_real_data_if_there_is_any():
    # Everything above runs on drawn data; this only adds the real layouts where a folder of them is set.
    for dataset in sources.find_datasets(os.environ.get("SEGDEMO_DATA")):
        for subset in dataset.splits:
            if dataset.splits[subset]:
                sample = dataset.samples(subset)[0]
                image = read_image(sample)
                if sample.mask_path is not None:
                    assert read_label_map(sample, dataset.label_set).shape == image.shape[:2]


# ------------------------------------------------------------------------------- lists and names of other systems


def small_voc(
    root, photos, masks, lists, folders=("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
):
    photo, mask = scene(0)
    for name in photos:
        save_photo(root / folders[0] / name, photo)
    for name in masks:
        save_mask(root / folders[1] / name, mask, VOC)
    (root / folders[2]).mkdir(parents=True)
    for name, data in lists.items():
        (root / folders[2] / name).write_bytes(data)
    return root


@pytest.mark.parametrize(
    ("photo", "mask", "line", "id_"),
    [
        ("a.jpg", "a.png", b"\xef\xbb\xbfa\r\n", "a"),
        ("a.jpg", "a.png", "a\r\n".encode("utf-16"), "a"),
        ("my photo 1.jpg", "my photo 1.png", b"my photo 1\n", "my photo 1"),
        ("a.JPG", "a.png", b"a\n", "a"),
        ("a.JPEG", "a.PNG", b"a\n", "a"),
        ("IMG_1.jpg", "IMG_1.png", b"img_1\n", "IMG_1"),
        ("a.png", "a.png", b"a.png\n", "a"),
        ("a.jpg", "a.png", b"a  1\n", "a"),
        ("a.jpg", "a.png", b"a -1\n", "a"),
        ("v1.2.jpg", "v1.2.png", b"v1.2\n", "v1.2"),
        ("#1.jpg", "#1.png", b"# a comment\n#1\n", "#1"),
        ("Mu\u0308ller.jpg", "M\u00fcller.png", "M\u00fcller\n".encode(), "M\u00fcller"),
        ("M\u00fcller.jpg", "Mu\u0308ller.png", "Mu\u0308ller\n".encode(), "M\u00fcller"),
        ("a.jfif", "a.png", b"a\n", "a"),
    ],
)
def test_lists_and_names_are_read_as_imports_read_them(tmp_path, photo, mask, line, id_):
    if photo.endswith(".jfif"):
        small_voc(tmp_path, ["a.jpg"], [mask], {"train.txt": line})
        (tmp_path / "JPEGImages" / "a.jpg").rename(tmp_path / "JPEGImages" / photo)
    else:
        small_voc(tmp_path, [photo], [mask], {"train.txt": line})
    dataset = open_dataset("voc", tmp_path)
    assert dataset.splits["train"] == (id_,)
    [(found, image, label_map)] = dataset.pairs("train")
    assert found == id_ and image.shape[:2] == label_map.shape


@pytest.mark.parametrize(("line", "id_"), [(b"gone 1 1 1\n", "gone"), (b"gone photo 1\n", "gone photo 1")])
def test_ids_of_files_that_are_not_there_are_kept_whole(tmp_path, line, id_):
    small_voc(tmp_path, ["a.jpg"], ["a.png"], {"train.txt": line})
    assert open_dataset("voc", tmp_path).splits["train"] == (id_,)


@pytest.mark.parametrize(
    "line", [b"../a\n", b"a/../../b\n", b"x ../../secret\n", b"..\n", b"sub\\a\n", b"/a\n"]
)
def test_lists_cannot_lead_out_of_the_dataset(tmp_path, line):
    small_voc(tmp_path, ["a.jpg"], ["a.png"], {"train.txt": line})
    with pytest.raises(DatasetError, match="which is a path"):
        open_dataset("voc", tmp_path)


def test_folders_may_be_written_in_any_case_and_system_files_are_nobodys(tmp_path):
    folders = ("jpegimages", "segmentationclass", "imagesets/segmentation")
    small_voc(tmp_path, ["a.jpg"], ["a.png"], {"Train.TXT": b"a\n", "._train.txt": b"\x00\xff"}, folders)
    for folder in folders[:2]:
        for name in ("Thumbs.db", "._a.png", ".DS_Store", "Icon\r"):
            (tmp_path / folder / name).write_bytes(b"x")
    dataset = open_dataset("voc", tmp_path)
    assert dataset.splits == {"train": ("a",)} and len(list(dataset.pairs("train"))) == 1
    (tmp_path / "LABELS.json").write_text(json.dumps(SHAPES.to_json()))
    assert open_dataset("annotations", tmp_path).splits["all"] == ("a",)


def test_lists_may_be_called_as_other_tools_call_them(tmp_path):
    lists = {"Training.txt": b"a\n", "valid.txt": b"b\n", "trainval.txt": b"a\nb\n"}
    folder = small_voc(tmp_path, ["a.jpg", "b.jpg"], ["a.png", "b.png"], lists)
    (folder / "labels.json").write_text(json.dumps(SHAPES.to_json()))
    splits = open_dataset("annotations", folder).splits
    assert (splits["train"], splits["val"]) == (("a",), ("b",))


def test_check_names_photos_that_share_a_name(voc):
    sample = voc.sample(voc.ids[0])
    other = sample.image_path.with_suffix(".png" if sample.image_path.suffix != ".png" else ".jpg")
    Image.open(sample.image_path).save(other)
    [problem] = [p for p in check(open_dataset("voc", voc.root)).problems if "same name" in p.message]
    assert sample.image_path.name in problem.message and other.name in problem.message


@pytest.mark.parametrize("depth", [2, 4])
def test_masks_of_few_bits_hold_the_numbers_that_are_stored(voc, depth):
    sample = voc.sample(voc.ids[0])
    height, width = read_label_map(sample).shape
    label_map = np.zeros((height, width), np.uint8)
    label_map[: height // 2] = 3
    sample.mask_path.write_bytes(few_bits(label_map, depth))
    np.testing.assert_array_equal(read_label_map(sample, VOC), label_map)
