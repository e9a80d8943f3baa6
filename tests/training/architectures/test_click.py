import keras
import numpy as np
import pytest
from numpy_layers import close, randomise

from segdemo.errors import UserError
from segdemo.training.architectures import click
from segdemo.training.architectures.click import CHANNELS, Channels, click_network
from segdemo.training.architectures.efficientnet_lite import efficientnet_lite

WIDTHS = (16, 16, 8, 8)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 64, 96, CHANNELS)).astype(np.uint8)


@pytest.fixture(scope="module")
def plain():
    return randomise(efficientnet_lite(0))


@pytest.fixture(scope="module")
def network(plain):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click, "efficientnet_lite", lambda variant, weights: plain)
        return click_network(weights="imagenet.pth", widths=WIDTHS)


def test_six_channels_become_logits_at_half_the_size(network):
    logits = network(IMAGES, training=False)
    assert tuple(logits.shape) == (2, 32, 48, 1)
    assert logits.dtype == "float32"
    assert network.input.shape == (None, None, None, 6)
    assert network.layers[-1].name == "logits"


def test_the_encoder_has_its_weights_and_sees_the_photo_alone_at_first(network, plain):
    stages = {}
    for name in ("block1a_project_bn", "block7a_project_bn"):
        inside = keras.Model(network.input, network.get_layer(name).output)
        features = inside(IMAGES, training=False)
        alone = keras.Model(plain.input, plain.get_layer(name).output)
        expected = alone((IMAGES[..., :3].astype(np.float32) - 127) / 128, training=False)
        assert close(features, expected, 1e-4)
        stages[name] = np.asarray(features)
    # And once that convolution has learnt, clicks reach it.
    joining = network.get_layer("guide_stem")
    before = joining.get_weights()
    joining.set_weights([RNG.normal(size=w.shape) for w in before])
    try:
        inside = keras.Model(network.input, network.get_layer("block1a_project_bn").output)
        assert not close(inside(IMAGES, training=False), stages["block1a_project_bn"], 1e-2)
    finally:
        joining.set_weights(before)


def test_every_channel_counts(network):
    randomised = randomise(keras.models.clone_model(network), 3)
    changed = np.stack([IMAGES[0]] * (CHANNELS + 1))
    for channel in range(CHANNELS):
        changed[channel, ..., channel] = 255 - changed[channel, ..., channel]
    logits = np.asarray(randomised(changed, training=False))
    assert (np.abs(logits[:CHANNELS] - logits[CHANNELS]).max((1, 2, 3)) > 1e-3).all()


def test_the_photo_s_sides_may_be_any_multiple_of_32(network):
    for height, width in ((32, 32), (32, 96), (96, 64)):
        assert network(np.zeros((1, height, width, 6), np.uint8)).shape == (1, height // 2, width // 2, 1)


def test_channels():
    layer = Channels(3, 6)
    np.testing.assert_array_equal(layer(IMAGES), IMAGES[..., 3:].astype(np.float32))
    assert Channels.from_config(layer.get_config()).start == 3


def test_other_encoders_are_refused():
    with pytest.raises(UserError, match="takes an EfficientNet-Lite as its encoder, not mobilenet_v2"):
        click_network("mobilenet_v2")
