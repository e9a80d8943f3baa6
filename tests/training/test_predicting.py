import keras
import numpy as np
import pytest
from drawn import draw_pets
from PIL import Image

from segdemo.core.resample import argmax_at, resize_bilinear
from segdemo.data.sources import open_dataset
from segdemo.inference.evaluate import evaluate
from segdemo.training.architectures import build
from segdemo.training.layers import MonteCarloDropout
from segdemo.training.predicting import as_predictor


def photo(height=50, width=90):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def seen(image, height, width):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR), np.float32)[
        None
    ]


def test_it_sees_a_photo_in_its_shape_and_answers_at_its_size():
    keras.utils.set_random_seed(1)
    net = build("unet_plain", filters=(4,), bottleneck=6)
    image = photo()
    label_map = as_predictor(net, 128)(image)
    logits = keras.ops.convert_to_numpy(net(seen(image, 64, 128)))[0]  # 71 x 128, to multiples of 32
    assert label_map.dtype == np.uint8
    assert len(np.unique(label_map)) > 1
    np.testing.assert_array_equal(label_map, argmax_at(logits, 50, 90))
    np.testing.assert_array_equal(label_map, resize_bilinear(logits, 50, 90).argmax(-1))


@pytest.mark.usefixtures("shared_encoders")
def test_it_takes_the_logits_that_are_served():
    keras.utils.set_random_seed(1)
    net = build("deeplabv3", guided=False, aspp_filters=4)
    image = photo(64, 64)
    coarse = keras.Model(net.input, net.get_layer("logits").output)
    logits = keras.ops.convert_to_numpy(coarse(seen(image, 64, 64)))[0]
    assert logits.shape[:2] == (4, 4)
    np.testing.assert_array_equal(as_predictor(net, 64)(image), argmax_at(logits, 64, 64))


def test_passes_are_averaged():
    inputs = keras.Input((None, None, 3))
    features = MonteCarloDropout(0.5, seed=5)(keras.layers.Rescaling(1 / 255)(inputs))
    kernel = keras.initializers.RandomNormal(seed=2)
    net = keras.Model(inputs, keras.layers.Conv2D(3, 1, kernel_initializer=kernel)(features))
    image = photo(32, 32)
    one = [as_predictor(net, 32)(image) for _ in range(2)]
    assert (one[0] != one[1]).any()  # it answers anew each time
    many = [as_predictor(net, 32, passes=40)(image) for _ in range(2)]
    assert (many[0] != many[1]).mean() < (one[0] != one[1]).mean() / 2


def test_a_model_that_goes_on_learning_is_asked_as_it_is():
    net = build("unet_plain", filters=(4,), bottleneck=6)
    predict = as_predictor(net, 64)
    weights = net.get_weights()
    weights[-1] = np.array([-1e6, 1e6, 0], np.float32)  # the bias of the logits
    net.set_weights(weights)
    assert set(np.unique(predict(photo()))) == {1}


def test_evaluate_takes_it(tmp_path):
    draw_pets(tmp_path, {"pug": 5})
    dataset = open_dataset("pets", tmp_path)
    net = build("unet_plain", filters=(4,), bottleneck=6)
    scores = evaluate(as_predictor(net, 64), dataset.samples("all"), dataset.label_set)
    assert scores.images == 5
    assert np.sum(scores.confusion) == 5 * 48 * 36
