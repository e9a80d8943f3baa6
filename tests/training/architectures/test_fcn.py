import keras
import numpy as np
import pytest
from numpy_layers import close, conv2d, randomise

from segdemo.training.architectures.fcn import fcn
from segdemo.training.layers import LearnedUpsampling

pytestmark = pytest.mark.usefixtures("shared_encoders")

PHOTO = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype(np.uint8)


def head_parameters(width, stride, classes=21):
    """fc6, fc7, the scores of 512, 512 and 256 channels and the transposed convolutions of FCN on VGG-16."""
    total = 49 * 512 * width + width + width * width + width + width * classes + classes
    for channels in {32: (), 16: (512,), 8: (512, 256)}[stride]:
        total += channels * classes + classes + 4 * 4 * classes * classes
    return total + (2 * stride) ** 2 * classes * classes


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_parameters(stride):
    model = fcn(21, "vgg16", stride=stride, fc_filters=16)
    assert model.count_params() == 14_714_688 + head_parameters(16, stride)
    assert model.name == f"fcn{stride}s"
    # At the paper's width of 4096: "134M parameters" (table 1), the upsampling kernels aside.
    if stride == 32:
        full = 14_714_688 + head_parameters(4096, 32) - 64 * 64 * 21 * 21
        assert 134e6 <= full < 135e6


@pytest.mark.parametrize(("stride", "skips"), [(32, []), (16, ["c4"]), (8, ["c4", "c3"])])
def test_fcn_layers(stride, skips):
    model = fcn(5, "mobilenet_v2", stride=stride, fc_filters=16)
    fc6, fc7 = model.get_layer("fc6"), model.get_layer("fc7")
    assert fc6.kernel_size == (7, 7) and fc7.kernel_size == (1, 1)
    assert fc6.activation is fc7.activation is keras.activations.relu
    assert model.get_layer("fc6_dropout").rate == model.get_layer("fc7_dropout").rate == 0.5
    assert [layer.name for layer in model.layers if layer.name.startswith("score_")] == [
        f"score_{skip}" for skip in skips
    ]
    upsampling = [layer for layer in model.layers if isinstance(layer, LearnedUpsampling)]
    assert [layer.stride for layer in upsampling] == [2] * len(skips) + [stride]
    assert all(layer.trainable_variables for layer in upsampling)
    assert model(PHOTO).shape == (1, 64, 96, 5)


def test_fcn_width_is_a_parameter_and_4096_the_default():
    import inspect

    assert inspect.signature(fcn).parameters["fc_filters"].default == 4096
    assert fcn(2, fc_filters=24).get_layer("fc7").filters == 24


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_an_untrained_fcn_resizes_its_coarse_scores_bilinearly(stride):
    import tensorflow as tf

    model = fcn(4, "mobilenet_v2", stride=stride, fc_filters=16)
    # Everything but the upsampling kernels and the skip scores is random.
    kept = {
        layer.name: layer.get_weights()
        for layer in model.layers
        if isinstance(layer, LearnedUpsampling) or layer.name.startswith("score_")
    }
    randomise(model)
    for name, weights in kept.items():
        model.get_layer(name).set_weights(weights)
    both = keras.Model(model.input, [model.get_layer("score").output, model.output])
    score, logits = both(PHOTO, training=False)
    assert np.abs(score).max() > 0.1
    expected = score
    for side in [2] * {32: 0, 16: 1, 8: 2}[stride] + [stride]:  # step by step, as the network does
        expected = tf.image.resize(expected, (expected.shape[1] * side, expected.shape[2] * side))
    assert close(logits, expected)
    for name, weights in kept.items():
        if name.startswith("score_"):
            assert not any(w.any() for w in weights)


def test_fcn16s_against_numpy():
    model = randomise(fcn(3, "mobilenet_v2", stride=16, fc_filters=8))
    encoder = model.get_layer("mobilenet_v2")
    features = encoder(PHOTO / 127.5 - 1.0, training=False)
    x = np.asarray(features["c5"], np.float64)
    for name in ("fc6", "fc7"):
        x = np.maximum(conv2d(x, *model.get_layer(name).get_weights()), 0)
    x = conv2d(x, *model.get_layer("score").get_weights())
    x = transposed(x, model.get_layer("upsample_to_c4").get_weights()[0])
    x = x + conv2d(np.asarray(features["c4"]), *model.get_layer("score_c4").get_weights())
    x = transposed(x, model.get_layer("logits").get_weights()[0])
    assert close(model(PHOTO, training=False), x, 1e-4)


def transposed(x, kernel):
    """Transposed convolution of kernel (2s, 2s, out, in) and stride s: each pixel spreads its kernel, which
    reaches half a stride beyond it; the border is repeated once."""
    stride = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    out = np.zeros((1, (x.shape[1] + 1) * stride, (x.shape[2] + 1) * stride, kernel.shape[2]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            spread = np.einsum("yxoc,c->yxo", kernel, x[0, i, j])
            out[0, i * stride : (i + 2) * stride, j * stride : (j + 2) * stride] += spread
    margin = stride + stride // 2
    return out[:, margin:-margin, margin:-margin]


def test_skip_scores_learn_from_zero():
    model = fcn(3, "mobilenet_v2", stride=8, fc_filters=8)
    randomise(model.get_layer("mobilenet_v2"))
    model.compile("sgd", "mse", run_eagerly=True)  # a step is faster than tracing it
    model.fit(PHOTO, np.ones((1, 64, 96, 3)), verbose=0)
    for skip in ("c4", "c3"):
        assert model.get_layer(f"score_{skip}").get_weights()[0].any()


@pytest.mark.parametrize("size", [(33, 64), (50, 71)])
def test_any_size_works(size):
    model = fcn(3, fc_filters=8)
    assert model(np.zeros((2, *size, 3), np.uint8)).shape == (2, *size, 3)


@pytest.mark.parametrize(
    ("stride", "output_stride", "upsampling"),
    [(32, 16, [16]), (16, 16, [16]), (16, 8, [8]), (8, 16, [2, 8]), (8, 8, [8])],
)
def test_an_atrous_fcn_has_the_coarse_scores_and_more_between(stride, output_stride, upsampling):
    plain = fcn(3, "resnet50", stride=stride, fc_filters=4)
    atrous = fcn(3, "resnet50", stride=stride, fc_filters=4, output_stride=output_stride)
    layers = [layer.stride for layer in atrous.layers if isinstance(layer, LearnedUpsampling)]
    assert layers == upsampling
    randomise(plain)
    for name in ("resnet50", "fc6", "fc7", "score"):
        atrous.get_layer(name).set_weights(plain.get_layer(name).get_weights())
    coarse, dense = (
        np.asarray(keras.Model(m.input, m.get_layer("score").output)(PHOTO)) for m in (plain, atrous)
    )
    step = 32 // output_stride
    assert close(dense[:, ::step, ::step], coarse, 1e-4)
    assert atrous(PHOTO).shape == (1, 64, 96, 3)


@pytest.mark.parametrize("encoder", ["resnet50", "vgg16", "vgg19"])
def test_any_encoder_fits(encoder):
    model = fcn(3, encoder, stride=8, fc_filters=8)
    assert model(PHOTO).shape == (1, 64, 96, 3)
    assert model.get_layer("preprocess").style == "caffe"


def test_round_trip_without_lambda(tmp_path):
    model = randomise(fcn(3, fc_filters=8))
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in model.layers)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert close(again(PHOTO), model(PHOTO))


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="32, 16 or 8, not 4"):
        fcn(stride=4)
    with pytest.raises(ValueError, match="There is no encoder"):
        fcn(encoder="alexnet")
