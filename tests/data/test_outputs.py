"""Where results go: no photo and no result is written over."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_annotations, draw_pets, draw_voc
from PIL import Image

from segdemo.core.labels import VOC
from segdemo.core.names import is_system
from segdemo.data import outputs
from segdemo.data.outputs import OutputError, photos_in, results
from segdemo.data.sources import dataset_of


def photo(path, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 3)).save(path)
    return path


def predictions(photos, out, overlay):
    return results(photos, out, {"label_map": ".png", **({"overlay": "_overlay.png"} if overlay else {})})


def refused(photos, out, overlay=False):
    before = {path: path.read_bytes() for path in photos if path.is_file()}
    with pytest.raises(OutputError) as caught:
        predictions(photos, out, overlay)
    assert {path: path.read_bytes() for path in before} == before
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


def test_targets_are_named_after_the_photos(tmp_path):
    photos = [photo(tmp_path / "in" / "a.jpg"), photo(tmp_path / "in" / "b.x.png")]
    found = predictions(photos, tmp_path / "out", True)
    assert [(files["label_map"].name, files["overlay"].name) for _, files in found] == [
        ("a.png", "a_overlay.png"),
        ("b.x.png", "b.x_overlay.png"),
    ]
    assert [files.keys() for _, files in predictions(photos, tmp_path / "out", False)] == [{"label_map"}] * 2
    assert not (tmp_path / "out").exists()


def test_a_photo_is_not_written_over(tmp_path):
    one = photo(tmp_path / "in" / "a.png")
    message = refused([one], tmp_path / "in")
    assert f"{one} would be replaced by {one}: choose another --out." == message
    assert "would be replaced" in refused([one], tmp_path / "in" / ".." / "in")
    (tmp_path / "in" / "sub").mkdir()
    assert "would be replaced" in refused([one], tmp_path / "in" / "sub" / "..")


def test_relative_and_absolute_paths_are_one(tmp_path, monkeypatch):
    photo(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert "would be replaced" in refused([Path("in/a.png")], tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in")
    assert "would be replaced" in refused([tmp_path / "in" / "a.png"], Path())


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize("kind", ["folder", "symlink", "hard link", "link to a link"])
def test_links_are_seen_through(tmp_path, kind, overlay):
    one = photo(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    target = out / ("a_overlay.png" if overlay else "a.png")
    if kind == "folder":
        out.symlink_to(tmp_path / "in")
        overlay = False
    else:
        out.mkdir()
        if kind == "hard link":
            os.link(one, target)
        elif kind == "symlink":
            target.symlink_to(one)
        else:
            (tmp_path / "middle").symlink_to(one)
            target.symlink_to(tmp_path / "middle")
    assert "would be replaced" in refused([one], out, overlay)


def test_a_photo_that_is_the_link_is_seen_too(tmp_path):
    real = photo(tmp_path / "store" / "a.png")
    (tmp_path / "in").mkdir()
    link = tmp_path / "in" / "a.png"
    link.symlink_to(real)
    assert "would be replaced" in refused([link], tmp_path / "store")


def test_an_overlay_that_is_another_photo(tmp_path):
    photos = [photo(tmp_path / "in" / name) for name in ("x.jpg", "x_overlay.png")]
    assert "x_overlay.png: rename one" in refused(photos, tmp_path / "in", True)
    assert "is of no earlier run" in refused(photos[:1], tmp_path / "in", True)
    predictions(photos[:1], tmp_path / "in", False)
    photo(tmp_path / "in" / "x.png", "P")
    predictions(photos[:1], tmp_path / "in", True)


@pytest.mark.parametrize(
    ("names", "overlay"),
    [
        (["x.png", "x_overlay.png"], True),
        (["a/x.jpg", "b/x.jpg"], False),
        (["a/x.jpg", "a/x.png"], False),
        (["x.jpg", "X.jpg"], False),
        (["straße.jpg", "STRASSE.jpg"], False),
        ([unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")], False),
        ([unicodedata.normalize("NFC", "É.jpg"), unicodedata.normalize("NFD", "é.jpg")], False),
        (["x.jpg", "X_OVERLAY.png"], True),
    ],
)
def test_two_results_of_one_name(tmp_path, names, overlay):
    photos = [photo(tmp_path / "in" / name) for name in names]
    message = refused(photos, tmp_path / "out", overlay)
    assert message.endswith(": rename one.")
    assert all(str(path) in message for path in photos)


def test_names_that_differ_are_not_confused(tmp_path):
    names = ["x.jpg", "x_overlay.png", "x1.jpg", "ü.jpg", "u.jpg"]
    photos = [photo(tmp_path / "in" / name) for name in names]
    assert len(predictions(photos, tmp_path / "out", False)) == 5


def test_earlier_results_may_be_replaced_but_pictures_may_not(tmp_path):
    one, out = photo(tmp_path / "in" / "a.jpg"), tmp_path / "out"
    photo(out / "a.png", "P")
    photo(out / "other.png")
    photo(out / "a_overlay.png")
    (out / "notes.txt").write_text("kept")
    predictions([one], out, True)
    for mode in ("RGB", "L", "RGBA"):
        photo(out / "a.png", mode)
        assert "is there already and is no label map" in refused([one], out)


def test_masks_of_a_dataset_are_not_replaced(tmp_path):
    root = draw_annotations(tmp_path / "mine", ["a", "b"])
    photos = photos_in([root / "JPEGImages"])
    message = refused(photos, root / "SegmentationClass")
    assert f"in the dataset {root}: choose another --out" in message
    pets = draw_pets(tmp_path / "pets", {"pug": 1})
    found = photos_in([pets / "images"])
    assert "in the dataset" in refused(found, pets / "annotations" / "trimaps")
    predictions(photos, root / "predicted", False)


def test_dataset_of(tmp_path):
    voc = draw_voc(tmp_path, VOC)
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "JPEGImages/new"):
        assert dataset_of(voc / part) == voc
    assert dataset_of(voc) is dataset_of(voc / "runs" / "1") is dataset_of(tmp_path) is None


# --- what is a photo ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["._a.jpg", ".DS_Store", "Thumbs.db", "thumbs.DB", "desktop.ini", "Icon\r"])
def test_system_files_are_nobodys(tmp_path, name):
    one = photo(tmp_path / "a.jpg")
    shadow = tmp_path / name
    shadow.write_bytes(b"\0\5\x16\7")
    assert is_system(shadow.name) and not is_system(one.name)
    assert photos_in([tmp_path]) == [one]
    assert photos_in([shadow, one]) == [one]
    with pytest.raises(OutputError, match="There is no photo among these files"):
        photos_in([shadow])


def test_folders_give_photos_only_and_each_once(tmp_path):
    photos = [photo(tmp_path / name) for name in ("a.jpg", "b.PNG")]
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    assert photos_in([tmp_path]) == photos
    assert photos_in([tmp_path, tmp_path / "a.jpg", tmp_path / "notes.txt"]) == [
        *photos,
        tmp_path / "notes.txt",
    ]


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(OutputError, match="There is no photo in"):
        photos_in([photo(tmp_path / "a.jpg"), tmp_path / "nothing"])


# --- folders of other commands --------------------------------------------------------------------------


def test_nothing_is_written_into_what_is_read(tmp_path):
    voc, pets = draw_voc(tmp_path, VOC), draw_pets(tmp_path / "pets", {"pug": 2})
    (tmp_path / "link").symlink_to(pets)
    for out in (voc, pets, tmp_path / "link", pets / "images" / "x", voc / "JPEGImages"):
        with pytest.raises(OutputError, match="choose another --out"):
            outputs.refuse_dataset(out, voc, pets)
    outputs.refuse_dataset(tmp_path / "new", voc, pets)
    outputs.refuse_dataset(pets / "run", pets)


def test_a_run_does_not_start_from_its_own_folder(tmp_path):
    weights = tmp_path / "model" / "model.weights.h5"
    weights.parent.mkdir()
    np.zeros(3).tofile(weights)
    (tmp_path / "link").symlink_to(tmp_path / "model")
    for out in (tmp_path / "model", tmp_path / "link", tmp_path / "x" / ".." / "model"):
        for source in (weights, tmp_path / "model"):
            with pytest.raises(OutputError, match="which the run starts from"):
                outputs.refuse_run_over(out, [None, source])
    outputs.refuse_run_over(tmp_path / "model" / "next", [weights, None])
