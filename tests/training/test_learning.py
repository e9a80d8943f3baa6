"""How settings become what a model learns by."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy_layers import randomise
from running import tiny_config

from segdemo.runs.config import TrainConfig, TrainingError
from segdemo.training import losses, start
from segdemo.training.layers import last_logits
from segdemo.training.learning import LOSSES, PlainLearner, Task, _class_weights, cosine, optimizer


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path / "data")


@pytest.mark.parametrize("loss", LOSSES)
def test_settings_of_the_loss_arrive(config, loss):
    made = LOSSES[loss](replace(config, class_weights=True, weighting="image", dice_form="pixels"), None)
    assert made.per_image
    assert getattr(made, "pooled", True)
    plain = LOSSES[loss](config, [1.0, 2.0, 3.0])
    assert plain.class_weights == [1, 2, 3]
    assert not plain.per_image
    assert not getattr(plain, "pooled", False)
    assert not LOSSES[loss](replace(config, weighting="image"), None).per_image  # nobody asked for weights


def test_where_class_weights_come_from(config):
    assert _class_weights(Task.of(config)) is None
    assert _class_weights(Task.of(replace(config, class_weights=True, weighting="image"))) is None
    given = Task.of(replace(config, given_weights=(0.4, 0.2, 0.4), class_weights=True, weighting="image"))
    np.testing.assert_allclose(_class_weights(given), [0.4, 0.2, 0.4])
    assert not LOSSES["dice"](given.config, None).per_image
    balanced = _class_weights(Task.of(replace(config, class_weights=True)))
    assert balanced.argmin() == 1  # background is the most frequent
    with pytest.raises(TrainingError, match=r"given_weights are 2 and .* has 3 classes: give one for each"):
        _class_weights(Task.of(replace(config, given_weights=(1.0, 2.0))))


def test_sample_weights_of_a_dataset_reach_the_loss(config):
    labels = np.array([[[0, 1], [2, 255]]], np.uint8)
    images = np.zeros((1, 2, 2, 3), np.float32)
    weights = losses.sample_weights(labels, [0.4, 0.2, 0.4])
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", losses.CrossEntropy(), run_eagerly=True)
    model.layers[0].bias.assign([1.0, 2.0, 4.0])
    expected = losses.CrossEntropy([0.4, 0.2, 0.4])(labels, model(images))
    found = model.evaluate(images, labels, sample_weight=np.asarray(weights), verbose=0)
    assert found == pytest.approx(float(expected), rel=1e-5)


SMALL = {
    "fcn8s": {"fc_filters": 8},
    "unet": {"decoder_filters": [8, 8, 8, 8]},
    "unet_plain": {"filters": [4, 4, 4], "bottleneck": 4},
    "segnet": {"width": 0.1},
    "deeplabv3": {"aspp_filters": 8},
}


@pytest.mark.usefixtures("shared_encoders")
@pytest.mark.parametrize("size", [96, 100])
@pytest.mark.parametrize("model", SMALL)
def test_logits_of_a_smaller_loss_lie_where_the_photo_has_them(config, model, size):
    settings = {"model": model, "options": SMALL[model], "encoder_weights": "none"}
    config = replace(config, **settings, size=size, loss_stride=4)
    network = randomise(start.build_model(config, 3, pretrained=False))
    coarse = np.random.default_rng(0).uniform(0, 255, (1, 6, 6, 3))
    photo = tf.image.resize(coarse, (size, size))
    fitted = PlainLearner(replace(Task.of(config), size=size))._fitted(network)
    got, whole = fitted(photo, training=False), network(photo, training=False)
    expected = np.asarray(tf.image.resize(whole, (size // 4, size // 4)))
    assert got.shape == expected.shape
    padded = model != "deeplabv3"
    apart = np.abs(got - expected) / np.ptp(expected)
    assert apart.max() < (
        1e-5 if padded else 0.2
    )  # DeepLabv3's logits are coarser, and resized once instead of twice
    if size == 96:  # nothing is padded: as it has always been
        logits = keras.Model(network.input, last_logits(network))(photo, training=False)
        np.testing.assert_array_equal(got, keras.layers.Resizing(24, 24)(logits))


@pytest.mark.parametrize("warmup", [0, 5, 20, 100, 1000])
@pytest.mark.parametrize("steps", [1, 7, 20, 100, 300])
def test_the_learning_rate_has_fallen_by_the_last_step(config, steps, warmup):
    config = replace(config, optimizer="adamw", schedule="cosine", warmup_steps=warmup, learning_rate=1e-3)
    schedule = optimizer(config, steps)._learning_rate
    rates = [float(schedule(step)) for step in range(steps + 1)]
    top = min(warmup, steps // 10)
    assert np.argmax(rates) == top
    assert rates[top] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-5)
    if warmup <= steps // 10:
        expected = cosine(1e-3, steps, warmup)
        assert rates == [float(expected(step)) for step in range(steps + 1)]


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adamw", 0.02), ("sgd", 0.02), ("sgd", 0.0)])
def test_a_weight_decay_is_that_of_the_optimizer(name, decay):
    config = TrainConfig(model="unet", dataset="pets", data="-", optimizer=name, weight_decay=decay)
    assert optimizer(config, 10).weight_decay == (decay or None)


def test_a_step_has_no_more_photos_than_there_are(config):
    assert Task.of(config).batch == 2
    assert Task.of(replace(config, batch=64)).batch == 14
