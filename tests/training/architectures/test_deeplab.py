import keras
import numpy as np
import pytest
from numpy_layers import batch_norm, close, conv2d, randomise, relu

from segdemo.training.architectures.deeplab import aspp, deeplabv3

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def small_aspp():
    inputs = keras.Input((None, None, 5))
    return randomise(keras.Model(inputs, aspp(inputs, filters=4, rates=(2, 3, 5))))


def aspp_in_numpy(model, x, project=True, activate=True, convolve_pool=True):
    """ASPP from the layers' own weights, and its mistaken versions."""

    def branch(x, name, rate=1):
        (kernel,) = model.get_layer(f"{name}_conv").get_weights()
        x = conv2d(x, kernel, rate=rate)
        if not activate:
            return x
        bn = model.get_layer(f"{name}_bn")
        return relu(batch_norm(x, *bn.get_weights(), bn.epsilon))

    branches = [branch(x, "aspp_1x1"), *(branch(x, f"aspp_rate{rate}", rate) for rate in (2, 3, 5))]
    pooled = x.mean((1, 2), keepdims=True)
    pooled = branch(pooled, "aspp_pool") if convolve_pool else pooled[..., :4]
    branches.append(np.broadcast_to(pooled, branches[0].shape))
    joined = np.concatenate(branches, -1)
    return branch(joined, "aspp_project") if project else joined


@pytest.mark.parametrize("size", [(9, 11), (24, 24), (3, 2)])
def test_aspp_against_numpy(small_aspp, size):
    x = RNG.normal(size=(2, *size, 5)).astype(np.float32)
    assert close(small_aspp(x, training=False), aspp_in_numpy(small_aspp, x.astype(np.float64)))


def test_mistake_aspp_without_convolved_image_pooling_or_projection(small_aspp):
    x = RNG.normal(size=(2, 9, 11, 5)).astype(np.float32)  # not 24 x 24
    got = small_aspp(x, training=False)
    assert got.shape == (2, 9, 11, 4)
    assert not close(got, aspp_in_numpy(small_aspp, x, convolve_pool=False), 1e-2)
    assert aspp_in_numpy(small_aspp, x, project=False).shape == (2, 9, 11, 20)
    names = [layer.name for layer in small_aspp.layers]
    assert names.index("aspp_pool_conv") < names.index("aspp_pool_resize") < names.index("aspp_concat")
    assert names.index("aspp_concat") < names.index("aspp_project_conv") < names.index("aspp_project_bn")


def test_mistake_aspp_branches_without_batch_norm_and_relu(small_aspp):
    x = RNG.normal(size=(2, 9, 11, 5)).astype(np.float32)
    assert not close(small_aspp(x, training=False), aspp_in_numpy(small_aspp, x, activate=False), 1e-2)
    for name in ("1x1", "rate2", "rate3", "rate5", "pool", "project"):
        small_aspp.get_layer(f"aspp_{name}_bn"), small_aspp.get_layer(f"aspp_{name}_relu")


@pytest.mark.usefixtures("shared_encoders")
def test_deeplabv3_resnet50():
    model = deeplabv3(num_classes=21, encoder="resnet50")
    branches = 2048 * 256 * (1 + 3 * 9 + 1) + 6 * 4 * 256  # 1x1, three 3x3, pooling; six BatchNorms
    assert model.count_params() == 23_587_712 + branches + 5 * 256 * 256 + 256 * 21 + 21
    for rate in (6, 12, 18):
        assert model.get_layer(f"aspp_rate{rate}_conv").dilation_rate == (rate, rate)
    logits = keras.Model(model.input, [model.get_layer("logits").output, model.output])
    coarse, fine = logits(RNG.integers(0, 256, (1, 64, 96, 3)))
    assert coarse.shape == (1, 4, 6, 21) and fine.shape == (1, 64, 96, 21)  # bilinear x16
    import tensorflow as tf

    np.testing.assert_allclose(np.asarray(fine), np.asarray(tf.image.resize(coarse, (64, 96))), atol=1e-6)


@pytest.mark.usefixtures("shared_encoders")
@pytest.mark.parametrize("num_classes", [1, 21])
def test_mistake_22_logits_for_21_classes(num_classes):
    assert deeplabv3(num_classes, aspp_filters=4).output.shape[-1] == num_classes


@pytest.mark.usefixtures("shared_encoders")
def test_output_stride_8_doubles_the_rates_and_any_size_works():
    model = deeplabv3(3, aspp_filters=4, output_stride=8, multi_grid=(1, 2, 4))
    assert model.get_layer("aspp_rate36_conv").dilation_rate == (36, 36)
    for height, width in ((64, 64), (33, 70)):
        assert model(np.zeros((2, height, width, 3), np.uint8)).shape == (2, height, width, 3)


@pytest.mark.usefixtures("shared_encoders")
def test_round_trip_without_lambda(tmp_path):
    model = randomise(deeplabv3(3, aspp_filters=4))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    images = RNG.integers(0, 256, (1, 64, 64, 3))
    np.testing.assert_allclose(np.asarray(again(images)), np.asarray(model(images)), rtol=1e-5)
