import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy_layers import close, features, randomise

from segdemo import zoo
from segdemo.runs import recipes
from segdemo.runs.config import TrainConfig
from segdemo.training import architectures, facts
from segdemo.training.architectures.deeplab import deeplabv3
from segdemo.training.architectures.upsampling import (
    FACTOR,
    NEIGHBOURS,
    REACH,
    Reassemble,
    freeze_all_else,
    gathered,
    neighbours,
    spread,
)
from segdemo.training.layers import last_logits
from segdemo.training.start import build_model

RNG = np.random.default_rng(0)


def reassembled(logits, keys, queries, biases, prior):
    """``Reassemble`` in NumPy, one fine cell at a time."""
    batch, height, width, classes = logits.shape
    fine = np.zeros((batch, FACTOR * height, FACTOR * width, classes))
    for b, y, x in np.ndindex(*fine.shape[:3]):
        rows = np.clip(y // FACTOR + np.arange(-REACH, REACH + 1), 0, height - 1)
        columns = np.clip(x // FACTOR + np.arange(-REACH, REACH + 1), 0, width - 1)
        around = np.ix_([b], rows, columns)
        scores = (keys[around] @ queries[b, y, x]).ravel() + biases[b, y, x]
        scores += prior[FACTOR * (y % FACTOR) + x % FACTOR]
        weights = np.exp(scores - scores.max())
        fine[b, y, x] = weights / weights.sum() @ logits[around].reshape(NEIGHBOURS, classes)
    return fine


def test_reassembling_against_numpy():
    inputs = [
        features(2, 3, 5, 4),
        features(2, 3, 5, 6),
        features(2, 12, 20, 6),
        features(2, 12, 20, NEIGHBOURS),
    ]
    layer = Reassemble()
    layer(inputs)
    layer.set_weights([features(FACTOR**2, NEIGHBOURS)])
    assert close(layer(inputs), reassembled(*inputs, *layer.get_weights()))


def test_before_it_has_learned_anything_it_interpolates_bilinearly():
    logits = features(1, 5, 6, 3)
    zeros = [np.zeros((1, *size, 2), np.float32) for size in ((5, 6), (20, 24))]
    got = Reassemble()([logits, *zeros, np.zeros((1, 20, 24, NEIGHBOURS), np.float32)])
    bilinear = tf.image.resize(logits, (20, 24)).numpy()
    assert np.abs(got - bilinear).max() < 0.1 * np.ptp(logits)
    assert np.abs(got - bilinear).mean() < 0.02 * np.ptp(logits)


def test_no_class_gets_more_or_less_than_the_cells_around_have():
    logits = features(1, 4, 4, 3)
    rest = features(1, 4, 4, 5), features(1, 16, 16, 5) * 9, features(1, 16, 16, NEIGHBOURS) * 9
    fine = np.asarray(Reassemble()([logits, *rest]))
    around = np.asarray(neighbours(logits)).repeat(FACTOR, 1).repeat(FACTOR, 2)
    assert (fine <= around.max(3) + 1e-5).all()
    assert (fine >= around.min(3) - 1e-5).all()


@pytest.mark.parametrize("size", [2, 4])
def test_blocks_of_cells_are_gathered_row_by_row_and_spread_again(size):
    x = features(2, 3 * size, 2 * size, 3)
    cells = gathered(x, size)
    np.testing.assert_array_equal(np.reshape(cells, (2, 3, 2, -1)), tf.nn.space_to_depth(x, size))
    np.testing.assert_array_equal(spread(cells, size), x)


@pytest.fixture(scope="module")
def model():
    return randomise(deeplabv3(3, aspp_filters=4, guided=True))


def test_a_network_that_is_guided_shares_its_coarse_logits_with_one_that_is_not(model):
    plain = deeplabv3(3, aspp_filters=4)
    for layer in plain.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    image = RNG.uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    coarse = keras.Model(model.input, model.get_layer("logits").output)(image, training=False)
    assert close(coarse, keras.Model(plain.input, last_logits(plain))(image, training=False))
    fine = keras.Model(model.input, last_logits(model))(image, training=False)
    assert (coarse.shape, fine.shape) == ((1, 4, 6, 3), (1, 16, 24, 3))


@pytest.mark.parametrize("size", [(64, 64), (75, 50), (33, 100)])
def test_any_size_is_answered_at_its_own(model, size):
    assert model(np.zeros((1, *size, 3), np.float32), training=False).shape == (1, *size, 3)


def test_every_part_of_it_learns(model):
    image = RNG.uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    freeze_all_else(model)
    names = {v.path.split("/")[0] for v in model.trainable_variables}
    assert names >= {
        "fine_logits",
        "guided_queries",
        "guided_keys",
        "guided_biases",
        "guided_photo_half_conv",
    }
    assert all(name.startswith("guided_") or name == "fine_logits" for name in names)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(image, training=True)))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


@pytest.mark.usefixtures("shared_encoders")
def test_what_has_no_such_upsampling_cannot_learn_that_alone():
    with pytest.raises(
        ValueError, match="deeplabv3 has no guided upsampling to learn: set its option 'guided'"
    ):
        freeze_all_else(architectures.build("deeplabv3", 3, aspp_filters=4, guided=False))


def test_last_logits_of_networks_without_such_a_layer_are_their_output():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    assert last_logits(model) is model.output


def test_the_recipe_for_it_keeps_what_it_starts_from():
    settings = {**recipes.settings("deeplabv3-upsampling"), "data": "nowhere", "start_from": "deeplabv3"}
    model = build_model(TrainConfig(**settings), 21)
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {
        layer.name
        for layer in model.layers
        if layer.trainable_weights and (layer.name.startswith("guided_") or layer.name == "fine_logits")
    }
    start = architectures.build("deeplabv3", **zoo.served_model("deeplabv3").options)
    start.load_weights(zoo.WEIGHTS / "deeplabv3.weights.h5")
    for name in ("mobilenet_v2", "aspp_project_conv", "logits"):
        for ours, theirs in zip(
            model.get_layer(name).get_weights(), start.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_its_diagram_is_one_box_that_takes_from_the_photo_to_the_logits(model):
    steps = facts.trace(model, 96, 128)
    graph = facts.blocks(steps)
    assert graph["guided"].shape == (24, 32, 3)
    assert {key for key, _ in graph["guided"].sources} == {"image", "c2", "c3", "aspp_project", "logits"}
    assert ">up<" in facts.diagram(steps, "guided")


@pytest.mark.usefixtures("shared_encoders")
def test_the_upsampling_of_an_fcn_is_not_taken_for_it():
    with pytest.raises(ValueError, match="has no guided upsampling to learn"):
        freeze_all_else(architectures.build("fcn8s", 3, fc_filters=4))
