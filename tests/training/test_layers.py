import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy_layers import close, conv2d, features, randomise
from scipy import signal

from segdemo.training import layers
from segdemo.training.layers import (
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousMaxPooling2D,
    BatchNormalization,
    CropLike,
    LearnedUpsampling,
    MaxPoolWithIndices,
    MaxUnpool,
    MonteCarloDropout,
    PadToMultiple,
    Preprocess,
    ResizeLike,
    bilinear_kernel,
    conv_bn_relu,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("style", "application"), [("tf", keras.applications.mobilenet_v2), ("caffe", keras.applications.resnet)]
)
def test_mistake_every_encoder_fed_0_to_1(style, application):
    images = RNG.integers(0, 256, (2, 5, 6, 3)).astype(np.uint8)
    got = np.asarray(Preprocess(style)(images))
    expected = application.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.abs(got - images / 255.0).max() > 0.5  # the mistaken one


def test_preprocess_by_hand():
    pixel = np.array([[[[255, 127.5, 0]]]])
    np.testing.assert_allclose(np.asarray(Preprocess("tf")(pixel)).ravel(), [1, 0, -1])
    np.testing.assert_allclose(np.asarray(Preprocess("unit")(pixel)).ravel(), [1, 0.5, 0])
    np.testing.assert_allclose(
        np.asarray(Preprocess("caffe")(pixel)).ravel(), [-103.939, 127.5 - 116.779, 255 - 123.68], rtol=1e-5
    )
    with pytest.raises(ValueError, match="tf, caffe, lite, unit"):
        Preprocess("torch")


@pytest.mark.parametrize("rate", [1, 2, 5])
def test_atrous_convolution_against_numpy_scipy_and_keras(rate):
    x = features(2, 9, 11, 3)
    layer = AtrousConv2D(4, 3, padding="same", dilation_rate=rate)
    got = np.asarray(layer(x))
    kernel, bias = layer.get_weights()
    assert close(got, conv2d(x, kernel, bias, rate))
    holes = np.zeros((2 * rate + 1, 2 * rate + 1))
    holes[::rate, ::rate] = kernel[..., 1, 2]
    one = signal.correlate2d(x[0, ..., 1], holes, mode="same")  # channel 1 of image 0 to filter 2
    only = np.zeros_like(x)
    only[..., 1] = x[..., 1]
    assert close(np.asarray(layer(only))[0, ..., 2] - bias[2], one)
    keras_own = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=rate)
    keras_own.build(x.shape)
    keras_own.set_weights([kernel, bias])
    assert close(got, keras_own(x))


def test_atrous_depthwise_convolution_against_keras():
    x = features(2, 9, 11, 3)
    config = {"kernel_size": 3, "padding": "same", "dilation_rate": 2, "activation": "relu"}
    ours, keras_own = AtrousDepthwiseConv2D(**config), keras.layers.DepthwiseConv2D(**config)
    keras_own.build(x.shape)
    expected = keras_own(x)
    ours.build(x.shape)
    ours.set_weights(keras_own.get_weights())
    assert close(ours(x), expected)


def _norms(shape, **config):
    """Keras's BatchNormalization and ours, with the same weights that are not those of a new one."""
    norms = [
        kind(momentum=0.9, epsilon=1e-3, **config)
        for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    for norm in norms:
        norm.build(shape)
    random = np.random.default_rng(1)
    weights = [random.uniform(0.5, 2, weight.shape) for weight in norms[0].weights]
    for norm in norms:
        norm.set_weights(weights)
    return norms


def _step(norm, x, training=True):
    """Result, gradients with respect to the input and what learns, and the weights afterwards."""
    x = tf.cast(x, norm.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = norm(x, training=training)
        upstream = tf.sin(tf.cast(tf.reshape(tf.range(tf.size(y)), tf.shape(y)), tf.float32))
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * upstream)
    assert y.dtype == norm.compute_dtype
    gradients = tape.gradient(loss, [x, *norm.trainable_variables])
    return [np.asarray(tf.cast(value, tf.float32)) for value in (y, *gradients, *norm.weights)]


# The last as in global pooling of a batch of three; of one, nothing varies.
@pytest.mark.parametrize("shape", [(2, 5, 7, 4), (3, 1, 1, 4), (1, 1, 1, 4), (6, 4)])
@pytest.mark.parametrize(("training", "trainable"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_batch_normalisation_learns_as_keras_s(shape, training, trainable, precision):
    theirs, ours = _norms(shape, dtype=precision, trainable=trainable)
    x = np.random.default_rng(2).normal(1, 2, shape).astype(np.float32)
    tolerance = 2e-5 if precision == "float32" else 3e-2
    for expected, got in zip(_step(theirs, x, training), _step(ours, x, training), strict=True):
        np.testing.assert_allclose(
            got, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max())
        )


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float64"])
def test_batch_normalisation_learns_as_keras_s_in_one_precision_for_all(precision):
    x = features(2, 5, 7, 4)
    theirs, ours = _norms(x.shape, dtype=precision)
    assert ours.variable_dtype == precision
    for expected, got in zip(_step(theirs, x), _step(ours, x), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_batch_normalisation_goes_keras_s_way_where_that_is_another(monkeypatch):
    x = features(2, 5, 7, 4)
    for config in (
        {"scale": False},
        {"center": False},
        {"axis": 1},
        {"renorm": True},
        {"synchronized": True},
    ):
        theirs, ours = _norms(x.shape, **config)
        for expected, got in zip(_step(theirs, x), _step(ours, x), strict=True):
            assert close(got, expected)
    theirs, ours = _norms(x.shape)
    mask = np.arange(2 * 5 * 7).reshape(2, 5, 7) % 3 > 0
    assert close(ours(x, training=True, mask=mask), theirs(x, training=True, mask=mask))
    assert close(ours.moving_variance, theirs.moving_variance)
    monkeypatch.setattr(layers, "has_fused_norm", lambda dtype: False)
    for expected, got in zip(_step(theirs, x), _step(ours, x), strict=True):
        assert close(got, expected)


@pytest.mark.parametrize("size", [(8, 12), (9, 12), (7, 13), (1, 1)])
def test_padding_to_a_multiple_and_cropping_back(size):
    x = features(2, *size, 3)
    padded = np.asarray(PadToMultiple(4)(x))
    assert padded.shape == (2, -(-size[0] // 4) * 4, -(-size[1] // 4) * 4, 3)
    assert not padded[:, size[0] :].any() and not padded[:, :, size[1] :].any()
    np.testing.assert_array_equal(np.asarray(CropLike()(padded, x)), x)
    symbolic = PadToMultiple(4)(keras.Input((*size, 3)))
    assert symbolic.shape == (None, *padded.shape[1:])


@pytest.mark.parametrize("stride", [2, 8, 16, 32])
def test_mistake_deconvolution_starts_from_random_kernels(stride):
    x = features(2, 4, 6, 3)
    expected = np.asarray(tf.image.resize(x, (4 * stride, 6 * stride)))
    layer = LearnedUpsampling(3, stride)
    assert close(layer(x), expected)  # edges included
    assert layer.trainable_variables and layer.kernel.shape == (2 * stride, 2 * stride, 3, 3)
    # The mistaken version: a random kernel.
    random = keras.layers.Conv2DTranspose(3, 2 * stride, strides=stride, padding="same")
    assert not close(random(x), expected, 0.1)


def test_bilinear_kernel_by_hand():
    kernel = np.asarray(bilinear_kernel((4, 4, 2, 2)))
    tent = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(kernel[..., 0, 0], np.outer(tent, tent))
    np.testing.assert_array_equal(kernel[..., 0, 1], np.zeros((4, 4)))  # classes do not mix


def test_pooling_indices_by_hand():
    x = np.array([[1, 2, 5, 5], [3, 0, 5, 4], [0, 0, -3, -1], [0, 9, -4, -2]], np.float32)[None, :, :, None]
    maxima, indices = MaxPoolWithIndices()(x)
    assert np.asarray(maxima)[0, :, :, 0].tolist() == [[3, 5], [9, -1]]
    assert np.asarray(indices)[0, :, :, 0].tolist() == [[2, 0], [3, 1]]  # of three fives the first
    unpooled = np.asarray(MaxUnpool()(np.full((1, 2, 2, 1), 7.0, np.float32), indices))[0, :, :, 0]
    assert unpooled.tolist() == [[0, 0, 7, 0], [7, 0, 0, 0], [0, 0, 0, 7], [0, 7, 0, 0]]


def test_pooling_and_unpooling_against_tensorflow():
    x = features(2, 6, 8, 3)
    maxima, indices = MaxPoolWithIndices()(x)
    expected, flat = tf.nn.max_pool_with_argmax(x, 2, 2, "VALID", include_batch_in_index=True)
    np.testing.assert_array_equal(np.asarray(maxima), np.asarray(expected))
    values = features(*maxima.shape)
    scattered = np.zeros(x.size, np.float32)
    scattered[np.asarray(flat).ravel()] = values.ravel()
    np.testing.assert_array_equal(np.asarray(MaxUnpool()(values, indices)), scattered.reshape(x.shape))

    # The gradient of an unpooled value is that of the one pixel it went to.
    with tf.GradientTape() as tape:
        v = tf.constant(values)
        tape.watch(v)
        out = tf.reduce_sum(MaxUnpool()(v, indices) * x)
    np.testing.assert_allclose(np.asarray(tape.gradient(out, v)), np.asarray(maxima), rtol=1e-6)


def test_pooling_that_does_not_fit_says_why():
    with pytest.raises(ValueError, match="even height and width"):
        MaxPoolWithIndices()(keras.Input((5, 6, 2)))
    with pytest.raises(ValueError, match="8 channels and the features 4"):
        MaxUnpool()(keras.Input((4, 4, 4)), keras.Input((4, 4, 8), dtype="int32"))


def test_monte_carlo_dropout_is_active_at_prediction():
    x = np.ones((1, 50, 50, 4), np.float32)
    layer = MonteCarloDropout(0.5)
    keras.utils.set_random_seed(3)
    first, second = (np.asarray(layer(x, training=False)) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 2.0} and first.mean() == pytest.approx(1, abs=0.1)
    assert not np.array_equal(first, second)
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(np.asarray(layer(x, training=False)), first)
    np.testing.assert_array_equal(np.asarray(MonteCarloDropout(0.0)(x)), x)


def test_resizing_to_a_multiple():
    x, like = features(1, 3, 4, 2), features(1, 5, 7, 1)
    np.testing.assert_array_equal(ResizeLike(3)(x, like), tf.image.resize(x, (15, 21)))
    inputs = keras.Input((None, None, 2)), keras.Input((5, None, 1))
    assert ResizeLike(3)(*inputs).shape == (None, 15, None, 2)


def test_every_layer_round_trips_in_a_saved_model(tmp_path):
    image = keras.Input((None, None, 3))
    x = PadToMultiple(4)(Preprocess("unit")(image))
    x = conv_bn_relu(x, 4, rate=2, name="a")
    x = AtrousDepthwiseConv2D(3, padding="same", dilation_rate=2)(x)
    x, indices = MaxPoolWithIndices()(x)
    x = MaxUnpool()(x, indices)
    x = LearnedUpsampling(4, 2)(MonteCarloDropout(0.0)(x))
    model = randomise(keras.Model(image, CropLike()(ResizeLike()(x, image), image)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    images = RNG.integers(0, 256, (2, 9, 6, 3))
    np.testing.assert_allclose(np.asarray(again(images)), np.asarray(model(images)), rtol=1e-6)


@pytest.mark.parametrize(("pool_size", "rate"), [(2, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_atrous_max_pooling_against_numpy(pool_size, rate, dtype):
    # All below zero, as no padding is
    x = np.random.default_rng(0).integers(-9, 0, (2, 5, 7, 3)).astype(np.float32)
    expected = np.empty_like(x)
    for row, column in np.ndindex(5, 7):
        rows = [row + rate * i for i in range(pool_size) if row + rate * i < 5]
        columns = [column + rate * i for i in range(pool_size) if column + rate * i < 7]
        expected[:, row, column] = x[:, rows][:, :, columns].max((1, 2))
    layer = AtrousMaxPooling2D(pool_size, rate, dtype=dtype)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32")), expected)
    images = keras.Input((None, None, 3))
    model = keras.Model(images, AtrousMaxPooling2D.from_config(layer.get_config())(images))  # of any size
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32")), expected)
