import keras
import numpy as np
import pytest
from sklearn import metrics as sk

from segdemo.core import label_maps
from segdemo.core.labels import LabelSet
from segdemo.inference.evaluate import scores
from segdemo.training.losses import CrossEntropy
from segdemo.training.metrics import MeanAccuracy, MeanIoU, PixelAccuracy

RNG = np.random.default_rng(0)
# Truth 0 0 1 1 1 and void, prediction 0 1 1 1 0 and anything: by hand, IoU 1/3 and 2/4.
TRUTH = np.array([[[0, 0, 1], [1, 1, 255]]], np.uint8)
PREDICTED = np.array([[[0, 1, 1], [1, 0, 1]]])
BY_HAND = {PixelAccuracy: 3 / 5, MeanAccuracy: (1 / 2 + 2 / 3) / 2, MeanIoU: (1 / 3 + 1 / 2) / 2}


SIX = LabelSet("six", "Six", tuple("abcdef"), tuple((i, i, i) for i in range(6)))


def logits_for(ids, num_classes):
    return np.eye(num_classes, dtype=np.float32)[ids] * 3 - 1


def batches(count=5, num_classes=6, absent=4):
    """Label maps with void and without the class ``absent``, and random logits."""
    for _ in range(count):
        truth = RNG.integers(0, num_classes, (3, 7, 8))
        truth[truth == absent] = 255
        yield truth.astype(np.uint8), RNG.normal(size=(3, 7, 8, num_classes)).astype(np.float32)


@pytest.mark.parametrize("metric", BY_HAND)
def test_metrics_by_hand(metric):
    m = metric(2)
    assert np.isnan(float(m.result()))
    m.update_state(TRUTH, logits_for(PREDICTED, 2))
    assert float(m.result()) == pytest.approx(BY_HAND[metric])
    m.reset_state()
    assert not np.asarray(m.matrix).any()


def test_metrics_against_scikit_learn():
    pixel, iou = PixelAccuracy(6), MeanIoU(6)
    truths, predictions = [], []
    for truth, logits in batches():
        for m in (pixel, iou):
            m.update_state(truth, logits)
        valid = truth != 255
        truths.append(truth[valid])
        predictions.append(logits.argmax(-1)[valid])
    truth, prediction = np.concatenate(truths), np.concatenate(predictions)
    expected = sk.confusion_matrix(truth, prediction, labels=range(6))
    for m in (pixel, iou):
        np.testing.assert_array_equal(np.asarray(m.matrix), expected)
    flat = label_maps.confusion(truth[None].astype(np.uint8), prediction[None].astype(np.uint8), 6)
    np.testing.assert_array_equal(flat, expected)
    present = np.unique(truth)
    each = sk.jaccard_score(truth, prediction, labels=range(6), average=None)
    assert float(pixel.result()) == pytest.approx(sk.accuracy_score(truth, prediction))
    assert float(iou.result()) == pytest.approx(each[present].mean())
    assert 4 not in present

    plain = scores(expected, SIX)  # what a finished model is scored with says the same
    assert plain.pixel_accuracy == pytest.approx(float(pixel.result()))
    recall = sk.recall_score(truth, prediction, labels=present, average="macro")
    assert plain.mean_accuracy == pytest.approx(recall)
    assert plain.mean_iou == pytest.approx(float(iou.result()))
    np.testing.assert_allclose([plain.class_iou[SIX.classes[c]] for c in present], each[present])


@pytest.mark.parametrize("metric", BY_HAND)
def test_mistake_void_counted_as_background_in_the_metrics(metric):
    m, without = metric(3), metric(3)
    truth = np.array([[[1, 1, 2, 255, 255, 255]]])
    m.update_state(truth, logits_for(np.array([[[1, 1, 2, 0, 1, 2]]]), 3))
    without.update_state(truth[..., :3], logits_for(truth[..., :3], 3))
    assert float(m.result()) == float(without.result()) == 1  # void as background would lower each
    np.testing.assert_array_equal(np.asarray(m.matrix), np.diag([0, 2, 1]))


def test_mistake_a_mean_averaged_over_batches_with_smoothing():
    # A predictor that says background everywhere, on images that are mostly background.
    truth = np.zeros((4, 10, 10), np.uint8)
    truth[0, 0, :5] = 1
    iou = MeanIoU(21)
    for image in truth:
        iou.update_state(image[None], logits_for(np.zeros((1, 10, 10), int), 21))
    assert float(iou.result()) == pytest.approx(395 / 400 / 2)  # 0 for the other class with truth
    # The mistaken score: each batch by itself, every class smoothed by one.
    per_batch = [
        np.mean([(((t == c) & (c == 0)).sum() + 1) / ((t == c).sum() + 1) for c in range(21)]) for t in truth
    ]
    assert np.mean(per_batch) > 0.95

    # Uneven batches: the score is that of all pixels at once.
    split, whole = MeanIoU(6), MeanIoU(6)
    data = list(batches())
    for labels, logits in data:
        split.update_state(labels, logits)
        split.result()
    whole.update_state(np.concatenate([t for t, _ in data]), np.concatenate([p for _, p in data]))
    assert float(split.result()) == pytest.approx(float(whole.result()))


def test_mistake_an_id_beyond_the_21_classes_is_swallowed():
    for metric in BY_HAND:
        m = metric(21)
        m.update_state(np.array([[[0, 21]]]), logits_for(np.array([[[0, 0]]]), 21))
        assert np.isnan(float(m.result()))
    good, beyond = np.zeros((1, 2), np.uint8), np.array([[0, 21]], np.uint8)
    for pair in ((beyond, good), (good, beyond)):
        with pytest.raises(label_maps.MaskError, match="class id 21, but there are 21 classes"):
            label_maps.confusion(*pair, 21)
    with pytest.raises(ValueError, match="21 classes and the prediction 22"):
        MeanIoU(21).update_state(np.zeros((1, 2, 2)), np.zeros((1, 2, 2, 22)))


def test_counts_beyond_what_float32_can_hold():
    m = PixelAccuracy(2)
    m.matrix.assign([[2.0**24, 0], [0, 1]])
    m.update_state(np.zeros((1, 1, 1)), logits_for(np.zeros((1, 1, 1), int), 2))
    assert np.asarray(m.matrix)[0, 0] == 2**24 + 1


def test_metrics_in_fit_and_evaluate():
    truth, logits = next(batches(1))
    model = keras.Sequential([keras.Input((7, 8, 6)), keras.layers.Identity()])
    model.compile(loss=CrossEntropy(), metrics=[PixelAccuracy(6), MeanIoU(6)])
    result = model.evaluate(logits, truth, batch_size=2, return_dict=True, verbose=0)
    found = logits.argmax(-1).astype(np.uint8)
    expected = scores(sum(label_maps.confusion(t, p, 6) for t, p in zip(truth, found, strict=True)), SIX)
    for name in ("pixel_accuracy", "mean_iou"):
        assert result[name] == pytest.approx(getattr(expected, name))


def test_nothing_measured_is_not_zero():
    empty = scores(np.zeros((6, 6)), SIX)
    assert empty.mean_iou is empty.pixel_accuracy is empty.mean_accuracy is None
