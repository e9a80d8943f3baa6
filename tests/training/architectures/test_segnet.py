import keras
import numpy as np
import onnxruntime
import pytest
from numpy_layers import batch_norm, close, conv2d, randomise, relu

from segdemo.training.architectures.segnet import PAPER_DECODER_STAGES, bayesian_segnet, segnet
from segdemo.training.export.exporter import to_onnx
from segdemo.training.layers import MaxPoolWithIndices, MaxUnpool, MonteCarloDropout

PHOTO = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3)).astype(np.uint8)
VGG16 = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
ROW_16 = [512, 512, 512, 512, 256, 256, 128, 128, 64, 64]


def convolutions(model, prefix):
    return [
        layer.filters
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith(prefix)
    ]


def parameters(encoder, decoder, classes):
    """3x3 convolutions with bias and BatchNorm's four vectors, then the 3x3 convolution of the logits."""
    total, channels = 0, 3
    for width in encoder + decoder:
        total += 9 * channels * width + width + 4 * width
        channels = width
    return total + 9 * channels * classes + classes


def test_segnet():
    model = segnet(3)
    assert convolutions(model, "block") == VGG16
    assert convolutions(model, "decoder") == ROW_16
    assert model.count_params() == parameters(VGG16, ROW_16, 3)
    assert [type(layer) for layer in model.layers].count(MaxPoolWithIndices) == 5
    assert [type(layer) for layer in model.layers].count(MaxUnpool) == 5


def test_segnet_with_the_papers_decoder_has_the_papers_parameters():
    model = segnet(12, decoder_stages=PAPER_DECODER_STAGES)
    widths = convolutions(model, "block") + convolutions(model, "decoder")
    assert widths == [*VGG16, 512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64]
    # 29.46 million, as counted in Paszke et al., "ENet", arXiv:1606.02147 (2016), table 2.
    assert model.count_params() == pytest.approx(29.46e6, rel=5e-4)


def segnet_in_numpy(model, x, zeros=True):
    """The whole network from its weights; the unpooling looks for the maximum itself."""
    x, places = x.astype(np.float64), []

    def convs(x, prefix):
        for layer in model.layers:
            if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith(f"{prefix}_"):
                bn = model.get_layer(f"{layer.name}_bn")
                x = relu(batch_norm(conv2d(x, *layer.get_weights()), *bn.get_weights(), bn.epsilon))
        return x

    def windows(x):  # (B, h, w, C, 4)
        b, h, w, c = x.shape
        return (
            x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(b, h // 2, w // 2, c, 4)
        )

    for i in range(1, 6):
        cells = windows(convs(x, f"block{i}"))
        places.append(cells.argmax(-1))
        x = cells.max(-1)
    for i in range(5, 0, -1):
        place = np.eye(4)[places.pop()] if zeros else np.ones(4)  # without indices: plain upsampling
        cells = x[..., None] * place
        b, h, w, c, _ = cells.shape
        cells = cells.reshape(b, h, w, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(b, 2 * h, 2 * w, c)
        x = convs(cells, f"decoder{i}")
    return conv2d(x, *model.get_layer("logits").get_weights())


@pytest.fixture(scope="module")
def small():
    return randomise(segnet(3, width=1 / 16))


def test_mistake_segnet_without_pooling_indices(small):
    x = PHOTO[..., ::-1] - np.array([103.939, 116.779, 123.68])
    got = small(PHOTO, training=False)
    assert close(got, segnet_in_numpy(small, x), 1e-4)
    assert not close(got, segnet_in_numpy(small, x, zeros=False), 1e-2)  # the source's UpSampling2D
    for i in range(1, 6):
        indices = small.get_layer(f"decoder{i}_unpool").input[1]
        assert indices is small.get_layer(f"block{i}_pool").output[1]


def test_mistake_segnet_with_batch_norm_on_the_logits(small):
    logits = small.get_layer("logits")
    assert isinstance(logits, keras.layers.Conv2D)
    (crop,) = [layer for layer in small.layers if layer.name == "crop"]
    assert crop.input[0] is logits.output and small.layers[-1] is crop
    assert logits.activation is keras.activations.linear


def test_mistake_bayesian_dropout_off_at_prediction():
    keras.utils.set_random_seed(0)
    model = randomise(bayesian_segnet(3, width=1 / 16))
    names = [layer.name for layer in model.layers if isinstance(layer, MonteCarloDropout)]
    assert names == [f"block{i}_dropout" for i in (3, 4, 5)] + [f"decoder{i}_dropout" for i in (5, 4, 3)]
    assert all(model.get_layer(name).rate == 0.5 for name in names)
    first, second = model(PHOTO, training=False), model.predict(PHOTO, verbose=0)
    assert not close(first, second, 1e-2)
    plain = randomise(segnet(3, width=1 / 16))
    assert model.count_params() == plain.count_params()
    assert close(plain(PHOTO, training=False), plain.predict(PHOTO, verbose=0))


def test_bayesian_dropout_before_each_unpooling():
    keras.utils.set_random_seed(0)
    model = randomise(bayesian_segnet(3, width=1 / 16, before_unpooling=True))
    dropouts = [layer for layer in model.layers if isinstance(layer, MonteCarloDropout)]
    assert [layer.name for layer in dropouts] == [f"decoder{i}_dropout" for i in (5, 4, 3, 2, 1)]
    for layer in dropouts:
        unpool = model.get_layer(layer.name.replace("dropout", "unpool"))
        assert unpool.input[0] is layer.output
    assert not close(model(PHOTO, training=False), model(PHOTO, training=False), 1e-2)


def test_segnet_on_vgg19():
    model = segnet(3, "vgg19", width=1 / 16)
    widths = [max(1, width // 16) for width in [64, 64, 128, 128, *[256] * 4, *[512] * 8]]
    assert convolutions(model, "block") == widths
    assert model(PHOTO).shape == (*PHOTO.shape[:3], 3)


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "resnet50"])
def test_an_encoder_without_pooling_indices_says_why(encoder):
    for build in (segnet, bayesian_segnet):
        with pytest.raises(ValueError, match=f"indices of a 2x2 max pooling at every scale and {encoder}"):
            build(encoder=encoder)


def test_pretrained_vgg16_convolutions_are_copied(tmp_path):
    vgg = randomise(keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3)))
    vgg.save_weights(tmp_path / "vgg16.weights.h5")
    model = segnet(2, weights=tmp_path / "vgg16.weights.h5")
    copied = 0
    for layer in vgg.layers:
        if isinstance(layer, keras.layers.Conv2D):
            for theirs, ours in zip(
                layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(theirs, ours)
                copied += 1
    assert copied == 26
    with pytest.raises(ValueError, match="width 1 only"):
        segnet(2, weights="imagenet", width=0.5)
    with pytest.raises(FileNotFoundError, match="There is no weights file"):
        segnet(2, weights=tmp_path / "none.weights.h5")


def test_decoder_stages_that_do_not_fit_say_why():
    with pytest.raises(ValueError, match="512, 256, 128, 64"):
        segnet(decoder_stages=((512,), (512,), (128,), (64,), (64,)))
    with pytest.raises(ValueError, match="5 decoder stages"):
        segnet(decoder_stages=((512,), (256,)))


@pytest.mark.parametrize("size", [(33, 64), (50, 71), (1, 1)])
def test_any_size_works(small, size):
    assert small(np.zeros((2, *size, 3), np.uint8)).shape == (2, *size, 3)


@pytest.mark.parametrize("build", [segnet, bayesian_segnet])
def test_round_trip_without_lambda(tmp_path, build):
    model = randomise(build(3, width=1 / 16))
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in model.layers)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    keras.utils.set_random_seed(0)
    expected = model(PHOTO)
    keras.utils.set_random_seed(0)
    assert close(again(PHOTO), expected)


def test_segnet_learns():
    keras.utils.set_random_seed(0)
    model = segnet(2, width=1 / 16)
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,  # so few steps are faster than tracing one
    )
    labels = np.zeros((1, 32, 64), np.uint8)
    labels[:, 8:24, 10:40] = 1
    photo = PHOTO // 4 + 150 * labels[..., None]
    losses = model.fit(photo, labels, epochs=20, verbose=0).history["loss"]
    share = labels.mean()
    without_looking = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert losses[-1] < 0.8 * without_looking


def test_exported_networks_keep_indices_and_noise(tmp_path, small):
    to_onnx(small, tmp_path / "segnet.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "segnet.onnx")
    (logits,) = session.run(None, {"image": PHOTO})
    assert close(logits, small(PHOTO, training=False), 1e-4)

    bayesian = randomise(bayesian_segnet(3, width=1 / 16))
    to_onnx(bayesian, tmp_path / "bayesian.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "bayesian.onnx")
    passes = [session.run(None, {"image": PHOTO})[0] for _ in range(8)]
    assert not close(passes[0], passes[1], 1e-2)

    def softmax(x):
        return np.asarray(keras.ops.softmax(x))

    mean = np.mean([softmax(bayesian(PHOTO, training=False)) for _ in passes], 0)
    served = np.mean([softmax(logits) for logits in passes], 0)
    assert abs(served.mean((0, 1, 2)) - mean.mean((0, 1, 2))).max() < 0.1
