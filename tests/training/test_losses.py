import numpy as np
import pytest
from keras import ops

from segdemo.core.labels import PETS
from segdemo.training import losses
from segdemo.training.losses import (
    CrossEntropy,
    CrossEntropyDice,
    Dice,
    NormalizedFocal,
    median_frequency_weights,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (2, 5, 6)).astype(np.uint8)
LABELS[:, 0] = 255
LOGITS = RNG.normal(size=(2, 5, 6, 4)).astype(np.float32)
ALL = [
    CrossEntropy(),
    CrossEntropy(class_weights=[1, 2, 3, 4]),
    Dice(),
    CrossEntropyDice(class_weights=[4, 3, 2, 1]),
    CrossEntropyDice(),
    CrossEntropy(per_image=True),
    Dice(pooled=True),
    CrossEntropyDice(per_image=True, pooled=True),
]
NAMES = [f"{loss.name}-{i}" for i, loss in enumerate(ALL)]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def reference_cross_entropy(labels, logits, weights):
    """A loop over pixels: sum(w * -log p) / sum(w)."""
    total = norm = 0.0
    for index in np.ndindex(labels.shape):
        if labels[index] != 255:
            total -= weights[index] * np.log(softmax(logits[index])[labels[index]])
            norm += weights[index]
    return total / norm


def reference_dice(labels, logits, weights, smooth):
    p, terms = softmax(logits), []
    weights = weights * (labels != 255)
    for c in range(logits.shape[-1]):
        truth = labels == c
        if (weights * truth).sum() > 0:
            overlap = (weights * p[..., c] * truth).sum()
            size = (weights * p[..., c]).sum() + (weights * truth).sum()
            terms.append(1 - (2 * overlap + smooth) / (size + smooth))
    return np.mean(terms)


def gradient(loss, labels, logits):
    import tensorflow as tf

    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return tape.gradient(value, logits).numpy()


def test_cross_entropy_by_hand():
    # Probabilities 3/4 and 1/4 for two valid pixels: the mean of -log.
    logits = np.log([[[[3.0, 1.0], [3.0, 1.0]]]])
    assert float(CrossEntropy()(np.array([[[0, 1]]]), logits)) == pytest.approx(
        -(np.log(0.75) + np.log(0.25)) / 2
    )
    # Class weights 1 and 3 are averaged away where all pixels agree, and count where they differ.
    weighted = CrossEntropy(class_weights=[1, 3])
    assert float(weighted(np.array([[[0, 1]]]), logits)) == pytest.approx(
        -(np.log(0.75) + 3 * np.log(0.25)) / 4
    )
    assert float(weighted(np.array([[[1, 1]]]), logits)) == pytest.approx(-np.log(0.25))


def test_dice_by_hand():
    # p = 1/2 everywhere, a pixel of class 0 and one of class 1, no smoothing: 2 * .5 / (1 + 1) each.
    assert float(Dice(smooth=0)(np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2)))) == pytest.approx(0.5)
    # With smoothing 1: (2 * .5 + 1) / (2 + 1).
    assert float(Dice(smooth=1)(np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2)))) == pytest.approx(1 - 2 / 3)
    sure = 50 * np.eye(2)[np.array([[[0, 1]]])]
    assert float(Dice()(np.array([[[0, 1]]]), sure)) == pytest.approx(0, abs=1e-6)  # perfect
    assert float(Dice(smooth=0)(np.array([[[1, 0]]]), sure)) == pytest.approx(1)  # worst


def test_losses_match_a_loop_over_pixels():
    class_weights = np.array([1.0, 2.0, 0.5, 4.0])
    weights = class_weights[np.where(LABELS == 255, 0, LABELS)]
    cross_entropy = reference_cross_entropy(LABELS, LOGITS, weights)
    dice = reference_dice(LABELS, LOGITS, weights, smooth=1.5)
    assert float(CrossEntropy(class_weights)(LABELS, LOGITS)) == pytest.approx(cross_entropy, rel=1e-5)
    plain = reference_dice(LABELS, LOGITS, np.ones(LABELS.shape), smooth=1.5)
    assert float(Dice(1.5)(LABELS, LOGITS)) == pytest.approx(plain, rel=1e-5)
    both = CrossEntropyDice(class_weights, dice_weight=0.5, smooth=1.5)
    assert float(both(LABELS, LOGITS)) == pytest.approx(cross_entropy + 0.5 * dice, rel=1e-5)


def book_weights(labels):
    """Listing 8.13 of "TensorFlow in Action": (n - n_c) / n for the class c of each pixel, image by image; void 0."""
    weights = np.zeros(labels.shape)
    for image, ids in enumerate(labels):
        n = (ids != 255).sum()
        for index in np.ndindex(ids.shape):
            if ids[index] != 255:
                weights[image][index] = (n - (ids == ids[index]).sum()) / n
    return weights


def test_the_book_s_weights_and_its_dice_match_a_loop_over_pixels():
    weights = book_weights(LABELS)
    assert len(np.unique(weights)) > 5  # each image has its own
    cross_entropy = reference_cross_entropy(LABELS, LOGITS, weights)
    p, truth = softmax(LOGITS), np.eye(4)[np.where(LABELS == 255, 0, LABELS)]
    overlap, sizes = ((part * weights[..., None]).sum() for part in (p * truth, p + truth))
    dice = 1 - (2 * overlap + 1) / (sizes + 1)  # listing 8.15
    assert float(CrossEntropy(per_image=True)(LABELS, LOGITS)) == pytest.approx(cross_entropy, rel=1e-5)
    assert float(Dice(per_image=True, pooled=True)(LABELS, LOGITS)) == pytest.approx(dice, rel=1e-5)
    both = CrossEntropyDice(per_image=True, pooled=True)
    assert float(both(LABELS, LOGITS)) == pytest.approx(cross_entropy + dice, rel=1e-5)  # listing 8.16
    each = reference_dice(LABELS, LOGITS, weights, smooth=1)
    assert float(Dice(per_image=True)(LABELS, LOGITS)) == pytest.approx(each, rel=1e-5)
    assert abs(each - dice) > 1e-3


def test_weights_as_a_third_element_are_those_of_the_classes():
    given = [0.4, 0.2, 0.4, 1.0]
    weights = losses.sample_weights(LABELS, given)
    assert (weights.shape, weights.dtype) == (LABELS.shape, "float32")
    assert not np.asarray(weights)[:, 0].any()  # void
    expected = float(CrossEntropy(given)(LABELS, LOGITS))
    assert float(CrossEntropy()(LABELS, LOGITS, weights)) == pytest.approx(expected, rel=1e-6)
    second = float(CrossEntropy()(LABELS, LOGITS, np.array([0.0, 1.0])))
    assert second == pytest.approx(float(CrossEntropy()(LABELS[1:], LOGITS[1:])), rel=1e-5)


def test_rarer_classes_weigh_more_in_the_loss():
    weights = median_frequency_weights([1000, 100, 10, 0])
    np.testing.assert_allclose(weights, [0.1, 1.0, 10.0, 1.0])  # median 100; 100 / 10 = 10 is the limit too
    assert median_frequency_weights([1000, 1000, 1])[2] == 10


def test_mistake_swapped_trimap_boosts_the_wrong_class():
    trimap = np.full((60, 60), 2)  # 2 is background
    trimap[10:40, 15:45] = 3  # 3 is the border
    trimap[12:38, 17:43] = 1  # 1 is the animal
    weights = median_frequency_weights(np.bincount((trimap - 1).ravel(), minlength=len(PETS)))
    assert PETS.classes[weights.argmax()] == "border"
    assert PETS.classes[weights.argmin()] == "background" == PETS.classes[PETS.background]
    swapped = np.array([0, 2, 1])[trimap - 1]  # the tutorial's reading
    wrong = median_frequency_weights(np.bincount(swapped.ravel(), minlength=len(PETS)))
    assert PETS.classes[wrong.argmax()] == "background"


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_mistake_void_in_the_loss(loss):
    value = float(loss(LABELS, LOGITS))
    other = LOGITS.copy()
    other[:, 0] = 1000 * RNG.normal(size=other[:, 0].shape)  # what is predicted on void is free
    assert np.isfinite(value) and value > 0
    assert float(loss(LABELS, other)) == pytest.approx(value, rel=1e-6)
    assert not gradient(loss, LABELS, LOGITS)[:, 0].any()
    # Cut off, the void row leaves the loss as it is: the sum is divided by valid weights, not by all pixels.
    assert float(loss(LABELS[:, 1:], LOGITS[:, 1:])) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_nothing_but_void_has_a_loss_of_zero_not_nan(loss):
    void = np.full_like(LABELS, 255)
    assert float(loss(void, LOGITS)) == 0
    assert not gradient(loss, void, LOGITS).any()


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_mistake_an_image_of_one_class_gives_no_gradient(loss):
    labels = np.full_like(LABELS, 2)
    assert np.abs(gradient(loss, labels, LOGITS)).max() > 1e-4
    # The source's batch weights, one minus the share, are zero here and give none.
    assert 1 - (labels == 2).mean() == 0


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_mistake_loss_summed_over_pixels(loss):
    # Dice's smoothing counts in pixels, hence not exactly equal.
    twice = np.concatenate([LABELS, LABELS], 2), np.concatenate([LOGITS, LOGITS], 2)
    assert float(loss(*twice)) == pytest.approx(float(loss(LABELS, LOGITS)), rel=0.1)


def test_the_scale_of_the_weights_changes_nothing():
    value = float(CrossEntropy([1, 2, 3, 4])(LABELS, LOGITS))
    assert float(CrossEntropy([7, 14, 21, 28])(LABELS, LOGITS)) == pytest.approx(value, rel=1e-5)


def test_mistake_squeeze_drops_a_batch_of_one_in_the_loss():
    labels, logits = np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 1, 3), np.float32)
    assert float(CrossEntropy()(labels, logits)) == pytest.approx(np.log(3))


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_losses_in_graphs_and_in_half_precision(loss):
    import tensorflow as tf

    traced = tf.function(
        loss, input_signature=[tf.TensorSpec((None,) * 3, tf.uint8), tf.TensorSpec((None, None, None, 4))]
    )
    assert float(traced(LABELS, LOGITS)) == pytest.approx(float(loss(LABELS, LOGITS)), rel=1e-5)
    half = ops.cast(LOGITS, "float16")
    assert float(loss(LABELS, half)) == pytest.approx(float(loss(LABELS, LOGITS)), rel=1e-2)


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="one weight for each class"):
        CrossEntropy([1, 2, 3])(LABELS, LOGITS)
    with pytest.raises(ValueError, match="not negative"):
        CrossEntropyDice([1, -1])
    with pytest.raises(ValueError, match="resize the logits"):
        CrossEntropy()(LABELS, LOGITS[:, :4])
    with pytest.raises(ValueError, match="Expected a label map"):
        CrossEntropy()(np.eye(4)[np.where(LABELS == 255, 0, LABELS)], LOGITS)
    for counts in ([], [0, 0], [1, -1], [[1, 2]], [np.inf, 1]):
        with pytest.raises(ValueError, match="non-negative pixel count"):
            median_frequency_weights(counts)


def test_agrees_with_keras_where_keras_is_right():
    ours = CrossEntropy()(LABELS, LOGITS)
    import keras

    keras_own = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    assert float(ours) == pytest.approx(float(keras_own(LABELS, LOGITS)), rel=1e-5)
    assert losses.VOID == 255


# --- normalised focal loss --------------------------------------------------------------------------------------


def reference_normalized_focal(mask, logits, gamma):
    """A loop over pixels: sum(w * -log p) / sum(w), w = (1 - p)^gamma."""
    total = norm = 0.0
    for index in np.ndindex(mask.shape):
        if mask[index] != 255:
            p = 1 / (1 + np.exp(-logits[index] if mask[index] == 1 else logits[index]))
            total -= (1 - p) ** gamma * np.log(p)
            norm += (1 - p) ** gamma
    return total / norm


@pytest.mark.parametrize("gamma", [0, 1, 2])
def test_normalized_focal_is_a_mean_weighted_by_what_is_not_learnt(gamma):
    masks = np.where(LABELS == 255, 255, LABELS % 2).astype(np.uint8)
    logits = 2 * LOGITS[..., :1]
    expected = np.mean([reference_normalized_focal(masks[b], logits[b, ..., 0], gamma) for b in range(2)])
    assert float(NormalizedFocal(gamma)(masks, logits)) == pytest.approx(expected, rel=1e-4)


def test_normalized_focal_takes_logits_of_half_the_size():
    masks = np.zeros((1, 8, 12), np.uint8)
    masks[:, :, 6:] = 1
    logits = np.where(masks[:, ::2, ::2, None] == 1, 3.0, -3.0).astype(np.float32)
    enlarged = np.asarray(ops.image.resize(logits, (8, 12)))
    expected = reference_normalized_focal(masks[0], enlarged[0, ..., 0], 2)
    assert float(NormalizedFocal()(masks, logits)) == pytest.approx(expected, rel=1e-4)


def test_normalized_focal_keeps_its_gradient_as_a_crop_is_learnt_and_ignores_void():
    masks = np.ones((1, 6, 6), np.uint8)
    masks[:, 0] = 255
    sizes = []
    for value in (0.5, 4.0):
        gradients = gradient(NormalizedFocal(), masks, np.full((1, 6, 6, 1), value, np.float32))
        assert not gradients[:, 0].any()
        sizes.append(np.abs(gradients).sum())
    p = 1 / (1 + np.exp(-4.0))
    assert sizes[1] == pytest.approx(1 - p, rel=1e-3)  # that of cross entropy, not its square times less
    assert sizes[0] > sizes[1] > 0
    nothing = np.full((1, 6, 6), 255, np.uint8)
    assert float(NormalizedFocal()(nothing, np.ones((1, 6, 6, 1), np.float32))) == 0
    certain = np.full((1, 6, 6, 1), 80.0, np.float32)
    assert np.isfinite(float(NormalizedFocal()(masks, certain)))
    assert np.isfinite(float(NormalizedFocal()(masks, -certain)))
