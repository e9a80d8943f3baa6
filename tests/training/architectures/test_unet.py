import keras
import numpy as np
import pytest
from numpy_layers import close, conv2d, randomise, relu

from segdemo.training.architectures.unet import unet, unet_plain

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)


def plain_unet_parameters(filters, bottleneck, classes, up=2):
    """Weights and biases, level by level, from the description alone."""
    total, channels = 0, 3
    for width in (*filters, bottleneck):
        total += 9 * channels * width + width + 9 * width * width + width
        channels = width
    for width in reversed(filters):
        total += up**2 * channels * width + width  # the up-convolution
        total += 9 * 2 * width * width + width + 9 * width * width + width
        channels = width
    return total + channels * classes + classes


def test_plain_unet():
    model = unet_plain()
    assert model.count_params() == plain_unet_parameters((64, 128, 256), 512, 3) == 7_697_475
    assert model.output.shape == (None, None, None, 3)
    assert model.get_layer("bottleneck_dropout").rate == 0.5
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Conv2D") == 2 * 7 + 1 and kinds.count("MaxPooling2D") == 3
    assert kinds.count("Conv2DTranspose") == kinds.count("Concatenate") == 3
    assert "BatchNormalization" not in kinds and "Lambda" not in kinds
    for level, width in ((1, 64), (2, 128), (3, 256)):
        joined = model.get_layer(f"up{level}_concat").input
        assert joined[1] is model.get_layer(f"down{level}_conv2").output
        assert joined[0].shape[-1] == joined[1].shape[-1] == width


def test_plain_unet_of_the_pets_chapter_goes_up_by_3x3():
    model = unet_plain(up_kernel=3)
    assert model.count_params() == plain_unet_parameters((64, 128, 256), 512, 3, up=3) == 8_557_635
    for level in (1, 2, 3):
        up = model.get_layer(f"up{level}_deconv")
        assert (up.kernel_size, up.strides) == ((3, 3), (2, 2))
    assert unet_plain(3, (4, 8), 8, up_kernel=3)(PHOTO[:, :33, :50]).shape == (1, 33, 50, 3)


def test_plain_unet_against_numpy():
    model = randomise(unet_plain(2, filters=(3,), bottleneck=4))
    image = PHOTO[:, :6, :8]

    def convs(x, name):
        for i in (1, 2):
            x = relu(conv2d(x, *model.get_layer(f"{name}_conv{i}").get_weights()))
        return x

    skip = convs(image / 255.0, "down1")
    x = convs(skip.reshape(1, 3, 2, 4, 2, 3).max((2, 4)), "bottleneck")
    kernel, bias = model.get_layer("up1_deconv").get_weights()  # (2, 2, out, in): pixels do not overlap
    x = np.einsum("bhwi,yxoi->bhywxo", x, kernel).reshape(1, 6, 8, 3) + bias
    x = convs(np.concatenate([x, skip], -1), "up1")
    assert close(model(image, training=False), conv2d(x, *model.get_layer("logits").get_weights()))


@pytest.mark.usefixtures("shared_encoders")
def test_modified_unet_is_the_tutorials():
    model = unet()
    # What the tutorial's own model.summary() says with three output channels.
    assert model.count_params() == 6_504_227
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 4_660_323
    encoder = model.get_layer("mobilenet_v2")
    taps = [encoder.output[f"c{i}"]._keras_history.operation.name for i in range(1, 6)]
    assert taps == [
        "block_1_expand_relu",
        "block_3_expand_relu",
        "block_6_expand_relu",
        "block_13_expand_relu",
        "block_16_project",
    ]
    assert not encoder.trainable
    for block, (filters, skip) in enumerate(
        zip((512, 256, 128, 64), ("c4", "c3", "c2", "c1"), strict=True), 1
    ):
        deconv = model.get_layer(f"up{block}_deconv")
        assert deconv.filters == filters and deconv.kernel_size == (3, 3) and deconv.strides == (2, 2)
        up, joined = model.get_layer(f"up{block}_concat").input
        assert up is model.get_layer(f"up{block}_relu").output
        assert joined.shape[-1] == encoder.output[skip].shape[-1]
    last = model.get_layer("logits")
    assert isinstance(last, keras.layers.Conv2DTranspose) and last.filters == 3 and last.strides == (2, 2)


@pytest.mark.usefixtures("shared_encoders")
def test_modified_unet_dropout_is_optional():
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in unet().layers)
    model = unet(decoder_filters=(8, 8, 4, 4), dropout=0.5)
    names = [layer.name for layer in model.layers]
    assert names.index("up1_bn") < names.index("up1_dropout") < names.index("up1_relu")


@pytest.mark.usefixtures("shared_encoders")
@pytest.mark.parametrize("encoder", ["mobilenet_v2", "resnet50", "vgg16"])
def test_any_encoder_comes_with_its_own_preprocessing(encoder):
    model = unet(4, encoder, decoder_filters=(8, 8, 4, 4), freeze_encoder=False, refine=True)
    assert model.get_layer("preprocess").style == ("tf" if encoder == "mobilenet_v2" else "caffe")
    assert model.get_layer(encoder).trainable
    assert model(PHOTO).shape == (1, 64, 64, 4)
    assert model.get_layer("up4_refine2_conv").filters == 4


@pytest.mark.usefixtures("shared_encoders")
@pytest.mark.parametrize("size", [(32, 64), (33, 64), (50, 71), (1, 1)])
def test_any_size_works(size):
    for model in (unet(decoder_filters=(8, 8, 4, 4)), unet_plain(3, (4, 8, 8), 8)):
        image = PHOTO[:, :1, :1].repeat(size[0], 1).repeat(size[1], 2)
        assert model(image).shape == (1, *size, 3)


def test_a_margin_does_not_change_a_size_that_fits():
    model = randomise(unet_plain(3, (4, 8, 8), 8))
    logits = model(PHOTO, training=False)
    without_padding = keras.Model(model.input, model.get_layer("logits").output)
    np.testing.assert_array_equal(np.asarray(logits), np.asarray(without_padding(PHOTO, training=False)))


@pytest.mark.usefixtures("shared_encoders")
def test_a_frozen_encoder_does_not_learn_and_the_decoder_does():
    model = unet(decoder_filters=(8, 8, 4, 4))
    model.compile("sgd", "mse", run_eagerly=True)  # a step is faster than tracing it
    encoder = [np.copy(w) for w in model.get_layer("mobilenet_v2").get_weights()]
    kernel = model.get_layer("logits").get_weights()[1] + 0
    model.fit(PHOTO, np.ones((1, 64, 64, 3)), verbose=0)
    for before, after in zip(encoder, model.get_layer("mobilenet_v2").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(kernel, model.get_layer("logits").get_weights()[1])


@pytest.mark.parametrize("build", [unet_plain, unet])
def test_round_trip_without_lambda(tmp_path, build):
    small = {"filters": (4, 8)} if build is unet_plain else {"decoder_filters": (8, 8, 4, 4), "refine": True}
    model = randomise(build(3, **small))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(np.asarray(again(PHOTO)), np.asarray(model(PHOTO)), rtol=1e-4, atol=1e-4)
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = build(3, **small)
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert close(fresh(PHOTO), model(PHOTO))


def test_bad_input_is_told_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="four widths"):
        unet(decoder_filters=(8, 8))
    with pytest.raises(ValueError, match="There is no encoder"):
        unet(encoder="vgg11")
    with pytest.raises(FileNotFoundError, match="There is no weights file"):
        unet(weights=tmp_path / "none.weights.h5")
