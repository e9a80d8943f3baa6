import math

import numpy as np
import pytest
from drawn import draw_pets, draw_voc, save_mask
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny import bright, write_model

from segdemo.core.labels import PETS, VOC, VOID, LabelSet
from segdemo.core.photos import read_photo
from segdemo.data.datasets import DatasetError, read_label_map
from segdemo.data.sources import open_dataset
from segdemo.inference.calibrate import calibrate
from segdemo.inference.evaluate import evaluate, evaluate_model, evaluate_passes, scores
from segdemo.inference.predict import Predictor

ABC = LabelSet("abc", "ABC", ("a", "b", "c"), ((0, 0, 0), (9, 0, 0), (0, 9, 0)))


@pytest.fixture
def pets(tmp_path):
    draw_pets(tmp_path / "data", {"pug": 6, "birman": 5})
    return open_dataset("pets", tmp_path / "data")


@pytest.fixture
def entry(tmp_path):
    return write_model(tmp_path / "model", "colours", PETS, *bright(3, 0, 1))


def confusion_by_hand(pairs, classes):
    """From the definition: pairs of (truth, prediction), truth in rows, void left out."""
    confusion = np.zeros((classes, classes), int)
    for truth, predicted in pairs:
        for row in range(classes):
            for column in range(classes):
                confusion[row, column] += ((truth == row) & (predicted == column)).sum()
    return confusion


def test_scores_by_hand():
    got = scores(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 4]]), ABC)
    assert got.class_iou == {"a": pytest.approx(6 / 9), "b": pytest.approx(3 / 6), "c": 1.0}
    assert got.mean_iou == pytest.approx((6 / 9 + 1 / 2 + 1) / 3)
    assert got.mean_accuracy == pytest.approx((6 / 8 + 3 / 4 + 1) / 3)
    assert got.pixel_accuracy == pytest.approx(13 / 16)


def test_a_class_without_truth_does_not_count_in_the_means():
    got = scores(np.array([[6, 0, 2], [0, 0, 0], [0, 0, 0]]), ABC)
    assert got.class_iou == {"a": 0.75, "b": None, "c": 0.0}  # c was predicted, b is nowhere
    assert got.mean_iou == got.mean_accuracy == got.pixel_accuracy == 0.75
    assert got.mean_iou_with_predicted == pytest.approx((0.75 + 0) / 2)  # as Keras's own MeanIoU has it
    assert got.to_json()["mean_iou_with_predicted"] == got.mean_iou_with_predicted


def test_no_truth_at_all_has_no_score():
    got = scores(np.zeros((3, 3), int), ABC)
    assert got.mean_iou is got.mean_accuracy is got.pixel_accuracy is None
    assert got.mean_iou_with_predicted is None
    assert not any(isinstance(v, float) and math.isnan(v) for v in got.class_iou.values())


def test_an_all_background_predictor_is_not_flattered():
    # Averaged per batch with smoothing it scores 0.95; in truth a third of the classes is right.
    got = scores(np.array([[90, 0, 0], [6, 0, 0], [4, 0, 0]]), ABC)
    assert got.pixel_accuracy == 0.9
    assert got.mean_accuracy == pytest.approx(1 / 3)
    assert got.mean_iou == pytest.approx(0.3)


def test_one_confusion_matrix_over_the_set_and_no_mean_of_photos(pets):
    samples = pets.samples("all")
    truths = [read_label_map(sample) for sample in samples]
    predictions = [np.roll(truth, shift, 1) for shift, truth in enumerate(truths)]  # ever worse
    queue = iter(predictions)
    done = []
    report = evaluate(lambda image: next(queue), samples, PETS, done.append)
    expected = confusion_by_hand(zip(truths, predictions, strict=True), 3)
    assert report.confusion == expected.tolist()
    assert report.images == len(samples) == 11
    assert done == list(range(1, 12))
    assert report.seconds >= 0
    assert (report.mean_iou, report.class_iou) == (
        scores(expected, PETS).mean_iou,
        scores(expected, PETS).class_iou,
    )
    per_photo = [
        scores(confusion_by_hand([pair], 3), PETS).mean_iou for pair in zip(truths, predictions, strict=True)
    ]
    assert abs(np.mean(per_photo) - report.mean_iou) > 1e-3


def test_void_is_left_out(tmp_path):
    draw_voc(tmp_path, VOC)
    dataset = open_dataset("voc", tmp_path)
    samples = dataset.samples("all")
    truths = [read_label_map(sample) for sample in samples]
    assert all((truth == VOID).any() for truth in truths)
    queue = iter([np.where(truth == VOID, 20, truth).astype(np.uint8) for truth in truths])
    report = evaluate(lambda image: next(queue), samples, VOC)
    assert report.mean_iou == report.mean_accuracy == report.pixel_accuracy == 1
    assert np.sum(report.confusion) == sum((truth != VOID).sum() for truth in truths)
    assert report.class_iou["tv/monitor"] is None  # predicted on void only


def test_the_predictor_sees_photos_at_their_own_size(pets):
    sizes = []

    def predict(image):
        sizes.append(image.shape)
        return np.zeros(image.shape[:2], np.uint8)

    evaluate(predict, pets.samples("test"), PETS)
    assert set(sizes) == {(36, 48, 3)}


def test_a_served_model_is_scored_at_original_resolution(pets, entry):
    wrapped = []
    report = evaluate_model(entry, pets, "test", wrap=lambda samples: wrapped.append(samples) or samples)
    predictor = Predictor(entry)
    pairs = [
        (read_label_map(sample), predictor(read_photo(sample.image_path)).label_map)
        for sample in pets.samples("test")
    ]
    assert report.confusion == confusion_by_hand(pairs, 3).tolist()
    assert (report.model, report.onnx_sha256) == ("colours", entry.onnx_sha256)
    assert (report.dataset, report.subset) == ("pets", "test")
    assert report.class_iou["pet"] > 0.6  # the disc is bright
    assert "squashed" not in report.to_json()
    assert wrapped == [pets.samples("test")]


def test_the_squashed_protocol_squashes_photo_truth_and_prediction(pets, entry):
    report = evaluate_model(entry, pets, "test", squashed=True)
    predictor = Predictor(entry)
    pairs = []
    for sample in pets.samples("test"):
        photo = Image.open(sample.image_path).resize((384, 384), Image.Resampling.BILINEAR)
        truth = Image.open(sample.mask_path).resize((384, 384), Image.Resampling.NEAREST)
        pairs.append((np.asarray(truth) - np.uint8(1), predictor(np.asarray(photo)).label_map))
    assert report.squashed == scores(confusion_by_hand(pairs, 3), PETS)
    assert report.squashed.mean_iou != report.mean_iou


def test_another_label_set_is_refused_in_a_sentence(tmp_path, pets):
    voc = write_model(tmp_path / "voc", "scenes", VOC, *bright(21, 8, 0))
    sentence = "scenes knows the classes of PASCAL VOC 2012, not those of Oxford-IIIT Pet: choose"
    with pytest.raises(ValueError, match=sentence):
        evaluate_model(voc, pets, "test")


def test_an_unknown_subset_is_refused(pets, entry):
    with pytest.raises(DatasetError, match="no subset 'tset': choose from train"):
        evaluate_model(entry, pets, "tset")


def test_further_looks_are_measured_against_one(pets, entry):
    measured = evaluate_passes(entry, pets, "test")
    assert measured.keys() == {"mirrored", "scales"}
    once = evaluate_model(entry, pets, "test").mean_iou
    mirrored = evaluate_model(entry, pets, "test", flip=True)
    assert measured["mirrored"].mean_iou == mirrored.mean_iou
    assert mirrored.flip is True
    for result in measured.values():
        assert result.mean_iou_once == once
        assert result.times_slower > 0


# --- what cannot be measured ----------------------------------------------------------------------------


def spoil(sample, how):
    """Spoil a photo or its mask; returns the path that has to be named."""
    if how == "photo cut":
        sample.image_path.write_bytes(sample.image_path.read_bytes()[:200])
        return sample.image_path
    if how == "photo gone":
        sample.image_path.unlink()
        return sample.image_path
    if how == "mask gone":
        sample.mask_path.unlink()
    elif how == "mask cut":
        sample.mask_path.write_bytes(sample.mask_path.read_bytes()[:60])
    elif how == "mask in colour":
        Image.new("RGB", (48, 36)).save(sample.mask_path)
    elif how == "mask too small":
        save_mask(sample.mask_path, np.ones((35, 48), np.uint8))
    elif how == "mask turned":
        save_mask(sample.mask_path, np.ones((48, 36), np.uint8))
    elif how == "mask with a bomb for a text":
        note = PngInfo()
        note.add_text("note", "a" * 40_000_000, zip=True)
        Image.new("L", (48, 36), 1).save(sample.mask_path, pnginfo=note)
    return sample.mask_path


SPOILT = (
    *("photo cut", "photo gone", "mask gone", "mask cut", "mask in colour", "mask too small", "mask turned"),
    "mask with a bomb for a text",
)


@pytest.mark.parametrize("how", SPOILT)
def test_the_file_it_stumbles_over_is_named(pets, entry, how):
    path = spoil(pets.samples("test")[1], how)
    for measure in (
        lambda: evaluate_model(entry, pets, "test"),
        lambda: evaluate_model(entry, pets, "test", squashed=True),
        lambda: calibrate(entry, pets),
    ):
        with pytest.raises(DatasetError) as caught:
            measure()
        message = str(caught.value)
        assert str(path) in message and "\n" not in message and message.endswith(".")


def test_an_unknown_class_id_is_named(tmp_path):
    draw_voc(tmp_path / "data", VOC)
    dataset = open_dataset("voc", tmp_path / "data")
    path = dataset.samples("test")[0].mask_path
    save_mask(path, np.full((40, 60), 77, np.uint8), VOC)
    scenes = write_model(tmp_path / "voc", "scenes", VOC, *bright(21, 8, 0))
    with pytest.raises(DatasetError, match=f"The mask {path} holds the class id 77"):
        evaluate_model(scenes, dataset, "test")


@pytest.mark.parametrize("values", [(0, 255), (255, 255), (0, 0), (4, 9)])
def test_nothing_to_measure_has_no_score(pets, entry, values):
    for sample in pets.samples("all"):
        mask = np.full((36, 48), values[0], np.uint8)
        mask[9:] = values[1]
        save_mask(sample.mask_path, mask)
    for measure in (lambda: evaluate_model(entry, pets, "all"), lambda: calibrate(entry, pets)):
        with pytest.raises(DatasetError, match="hold only 0 and 255" if values == (0, 255) else "no|No"):
            measure()


def test_classes_without_truth_have_no_score(pets, entry):
    for sample in pets.samples("all"):
        save_mask(sample.mask_path, np.full((36, 48), 2, np.uint8))
    report = evaluate_model(entry, pets, "all")
    assert report.class_iou["border"] is None
    assert report.mean_iou == report.class_iou["background"]
