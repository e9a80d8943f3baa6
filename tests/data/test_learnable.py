"""Nothing to learn from and nothing to measure is a sentence, and little is read to find out."""

import json

import numpy as np
import pytest
from drawn import SHAPES, draw_annotations, draw_pets, draw_voc, save_mask
from PIL import Image

from segdemo.core.labels import VOC, VOID
from segdemo.data import binary, datasets, learnable
from segdemo.data.check import check
from segdemo.data.datasets import DatasetError, read_label_map
from segdemo.data.learnable import require_learnable, require_measurable
from segdemo.data.outputs import OutputError
from segdemo.data.sources import open_dataset

ALL = ("train", "val", "test")


def annotations(root, masks, lists=True):
    """A folder of annotations with these masks, uint8 arrays of one size: name to array, names begin with a subset."""
    draw_annotations(root, list(masks), size=next(iter(masks.values())).shape[::-1])
    for name, mask in masks.items():
        save_mask(root / "SegmentationClass" / f"{name}.png", mask, SHAPES)
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for subset in ALL:
        (folder / f"{subset}.txt").write_text("".join(f"{n}\n" for n in masks if n.startswith(subset)))
    return open_dataset("annotations", root)


def half(value, other=0):
    mask = np.full((12, 16), other, np.uint8)
    mask[:6] = value
    return mask


def voc_of(root, values):
    """A VOC tree in which every mask is half 0 and half ``values``, as grey PNGs."""
    folder = draw_voc(root, VOC)
    for path in (*(folder / "SegmentationClass").iterdir(), *(folder / "SegmentationClassAug").iterdir()):
        mask = np.zeros((40, 60), np.uint8)
        mask[:20] = values
        save_mask(path, mask)
    return open_dataset("voc", root)


def pets_of(root, low, high):
    draw_pets(root, {"pug": 10})
    for path in (root / "annotations" / "trimaps").iterdir():
        mask = np.full((36, 48), low, np.uint8)
        mask[:18] = high
        save_mask(path, mask)
    return open_dataset("pets", root)


def sentence(function, *arguments):
    with pytest.raises(DatasetError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


# --- binary masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["voc", "pets", "annotations"])
def test_binary_masks_are_called_what_they_are(tmp_path, kind):
    dataset = {
        "voc": lambda: voc_of(tmp_path, 255),
        "pets": lambda: pets_of(tmp_path, 0, 255),
        "annotations": lambda: annotations(tmp_path, {f"{s}{i}": half(255) for s in ALL for i in range(2)}),
    }[kind]()
    message = sentence(require_learnable, dataset, dataset.learning_subset, "val", "test")
    assert f"The masks of the dataset in {dataset.root} hold only 0 and 255" in message
    assert f"python -m segdemo data binary {dataset.root} --out DIR" in message
    assert sentence(require_measurable, dataset, "test") == message
    report = check(dataset)
    assert [problem.message for problem in report.problems] == [message]
    assert not report.ok
    assert message in list(report.lines())


def test_a_folder_with_a_space_is_quoted_in_the_command(tmp_path):
    dataset = annotations(tmp_path / "my masks", {f"{s}{i}": half(255) for s in ALL for i in range(2)})
    assert f"data binary '{dataset.root}' --out" in sentence(require_measurable, dataset, "val")


def test_photos_without_the_object_do_not_hide_it(tmp_path):
    masks = {f"{s}{i}": half(255 if i == 3 else 0) for s in ALL for i in range(4)}
    assert "hold only 0 and 255" in sentence(require_learnable, annotations(tmp_path, masks), "train")


def test_void_beside_real_classes_is_no_binary_mask(tmp_path):
    masks = {f"{s}{i}": half(255, other=1 if s == "test" else 0) for s in ALL for i in range(2)}
    dataset = annotations(tmp_path, masks)
    require_measurable(dataset, "train")
    require_measurable(dataset, "test")
    assert check(dataset).ok


# --- other emptiness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ALL)
def test_a_subset_that_is_all_void(tmp_path, empty):
    masks = {
        f"{s}{i}": half(255 if s == empty else 1, other=255 if s == empty else 0)
        for s in ALL
        for i in range(2)
    }
    dataset = annotations(tmp_path, masks)
    purpose = "learn from" if empty == "train" else "measure"
    words = f"No mask of the subset {empty!r} of the dataset in {tmp_path} has a labelled pixel"
    message = sentence(require_learnable, dataset, "train", "val", "test")
    assert words in message and f"nothing to {purpose}" in message
    report = check(dataset)
    assert len(report.problems) == 1 and words in report.problems[0].message


def test_trimaps_of_void_only(tmp_path):
    dataset = pets_of(tmp_path, 0, 9)
    assert "has a labelled pixel" in sentence(require_learnable, dataset, "train", "val", "test")
    assert not check(dataset).ok


@pytest.mark.parametrize("value", [0, 2])
def test_one_class_is_said_and_goes_on(tmp_path, value):
    masks = {f"{s}{i}": half(value, other=value) for s in ALL for i in range(2)}
    dataset = annotations(tmp_path, masks)
    (note,) = require_learnable(dataset, "train", "val", "test")
    assert f"are {SHAPES.classes[value]!r}" in note
    report = check(dataset)
    assert report.ok and report.notes == (note,) and note in list(report.lines())
    assert json.loads(json.dumps(report.to_json()))["notes"] == [note]


def test_a_sound_dataset_costs_a_mask_or_two(tmp_path, monkeypatch):
    dataset = annotations(tmp_path, {f"{s}{i}": half(1) for s in ALL for i in range(9)})
    read = []
    monkeypatch.setattr(
        learnable, "mask_values", lambda path: read.append(path) or datasets.mask_values(path)
    )
    assert require_learnable(dataset, "train", "val", "test") == []
    assert len(set(read)) == 3


def test_masks_that_cannot_be_read_are_named(tmp_path):
    dataset = annotations(tmp_path, {f"{s}{i}": half(1) for s in ALL for i in range(2)})
    first, second = (sample.mask_path for sample in dataset.samples("val"))
    first.write_bytes(b"nothing")
    require_measurable(dataset, "val")  # the other one can
    second.write_bytes(b"nothing")
    assert f"The mask {first} cannot be read" in sentence(require_measurable, dataset, "val")


# --- the copy with 255 as a class -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["voc", "pets", "annotations"])
def test_the_copy_reads_255_as_the_object(tmp_path, kind):
    root, out = tmp_path / "in", tmp_path / "out"
    dataset = {
        "voc": lambda: voc_of(root, 255),
        "pets": lambda: pets_of(root, 0, 255),
        "annotations": lambda: annotations(root, {f"{s}{i}": half(255) for s in ALL for i in range(2)}),
    }[kind]()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    count = binary.write_copy(dataset, out, "tumour")
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    copy = open_dataset("annotations", out)
    assert copy.label_set.classes == ("background", "tumour")
    assert count == len(copy.splits["all"])
    for sample in copy.samples("all"):
        label_map = read_label_map(sample, copy.label_set)
        truth = datasets.mask_values(dataset.sample(sample.id).mask_path)
        np.testing.assert_array_equal(label_map, truth // 255)
        assert sample.image_path.read_bytes() == dataset.sample(sample.id).image_path.read_bytes()
    for subset in ("val", "test"):
        assert set(copy.splits[subset]) == set(dataset.splits[subset])
    assert set(copy.splits["train"]) == set(dataset.splits[dataset.learning_subset])
    assert check(copy).ok
    require_learnable(copy, "train", "val", "test")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_black_and_white_in_any_mode(tmp_path, mode):
    mask = Image.fromarray(half(255))
    if mode == "P":
        mask = Image.frombytes("P", mask.size, mask.tobytes())
        mask.putpalette(VOC.palette())
    mask.convert(mode).save(tmp_path / "mask.png")
    label_map = binary.label_map(tmp_path / "mask.png")
    np.testing.assert_array_equal(label_map, half(1))


def test_black_and_white_indices(tmp_path):
    mask = Image.frombytes("P", (16, 12), half(1).tobytes())
    mask.putpalette([0, 0, 0, 255, 255, 255])
    mask.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(binary.label_map(tmp_path / "mask.png"), half(1))


def test_what_is_not_binary_is_named_and_nothing_is_left_behind(tmp_path):
    dataset = annotations(tmp_path / "in", {f"{s}{i}": half(255) for s in ALL for i in range(2)})
    bad = dataset.samples("test")[0].mask_path
    save_mask(bad, half(7), SHAPES)
    with pytest.raises(DatasetError, match=f"The mask {bad} holds .* beside 0 and 255"):
        binary.write_copy(dataset, tmp_path / "out")
    bad.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=f"The mask {bad} cannot be read"):
        binary.write_copy(dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_copy_replaces_nothing(tmp_path):
    dataset = annotations(tmp_path / "in", {f"{s}{i}": half(255) for s in ALL for i in range(2)})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("kept")
    with pytest.raises(OutputError, match="is there already"):
        binary.write_copy(dataset, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").unlink()
    assert binary.write_copy(dataset, tmp_path / "out") == 6


def test_one_bit_masks_are_told_of_the_copy(tmp_path):
    dataset = annotations(tmp_path, {f"{s}{i}": half(255) for s in ALL for i in range(2)})
    sample = dataset.samples("val")[0]
    Image.fromarray(half(255)).convert("1").save(sample.mask_path)
    assert "data binary DIR --out DIR" in sentence(read_label_map, sample)


def test_void_stays_what_255_means(tmp_path):
    dataset = annotations(tmp_path, {f"{s}{i}": half(255, other=2) for s in ALL for i in range(2)})
    assert (read_label_map(dataset.samples("val")[0])[:6] == VOID).all()
