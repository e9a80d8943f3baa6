"""How settings become what a model learns by."""

from dataclasses import replace

import numpy as np
import pytest
from running import tiny_config

from segdemo.runs.config import TrainingError
from segdemo.training import losses
from segdemo.training.learning import LOSSES, Task, _class_weights


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
    import keras

    labels = np.array([[[0, 1], [2, 255]]], np.uint8)
    images = np.zeros((1, 2, 2, 3), np.float32)
    weights = losses.sample_weights(labels, [0.4, 0.2, 0.4])
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", losses.CrossEntropy(), run_eagerly=True)
    model.layers[0].bias.assign([1.0, 2.0, 4.0])
    expected = losses.CrossEntropy([0.4, 0.2, 0.4])(labels, model(images))
    found = model.evaluate(images, labels, sample_weight=np.asarray(weights), verbose=0)
    assert found == pytest.approx(float(expected), rel=1e-5)
