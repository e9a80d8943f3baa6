import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from drawn import draw_pets

from segdemo import zoo
from segdemo.cli import main
from segdemo.runs.config import TrainConfig
from segdemo.training import architectures, estimate, kernels, layers, learning
from segdemo.training.architectures.efficientnet_lite import efficientnet_lite

TESTS = Path(__file__).resolve().parent.parent


def test_every_architecture_trains_where_tensorflow_has_no_kernels_of_onednn(tmp_path):
    environment = {
        **os.environ,
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "SEGDEMO_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS))),
    }
    done = subprocess.run(
        [sys.executable, TESTS / "without_onednn.py", tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert not result["atrous_gradient"]  # or this shows nothing
    assert result["steps"] == dict.fromkeys(zoo.SPECS, True)
    assert result["exit_code"] == 0, done.stderr[-3000:]
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["epoch"]) == ("done", 2)
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert done.stderr.count("training takes Keras's way") == 1  # told once


def gradients(layer, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(tf.sin(layer(inputs)))
    return loss, *tape.gradient(loss, [inputs, *layer.trainable_variables])


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("rate", [1, 2, 6, 18])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_both_ways_of_an_atrous_convolution_have_the_same_gradients(monkeypatch, rate, padding, traced):
    size = 13 if padding == "same" else 2 * rate + 9
    inputs = tf.random.stateless_normal((2, size, size + 2, 3), (1, rate))
    layer = layers.AtrousConv2D(4, 3, padding=padding, dilation_rate=rate)
    keras_layer = keras.layers.Conv2D(4, 3, padding=padding, dilation_rate=rate)
    for either in (layer, keras_layer):
        either.build(inputs.shape)
    keras_layer.set_weights([*layer.get_weights()])
    compute = tf.function(gradients) if traced else gradients
    expected = compute(keras_layer, inputs)
    for native in (True, False):
        monkeypatch.setattr(layers, "has_atrous_gradient", lambda dtype, native=native: native)
        compute = tf.function(gradients) if traced else gradients
        for ours, theirs in zip(compute(layer, inputs), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 12, 10, 4), (1, 7, 9, 4)])
@pytest.mark.parametrize(("size", "rate"), [(3, 2), (5, 2), (3, 4)])
def test_depthwise_convolutions_train_as_they_predict(shape, size, rate):
    inputs = tf.random.stateless_normal(shape, (2, size))
    layer = layers.AtrousDepthwiseConv2D(size, padding="same", dilation_rate=rate)
    results = []
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(tf.sin(outputs))
        results.append([outputs, *tape.gradient(loss, [inputs, *layer.trainable_variables])])
    for predicting, training in zip(*results, strict=True):
        np.testing.assert_allclose(predicting, training, rtol=1e-5, atol=1e-4)


def differentiated(layer, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(tf.sin(outputs))
    return outputs, *tape.gradient(loss, [inputs, *layer.trainable_variables])


DEPTHWISE = [(layers.DepthwiseConv2D, n, {"strides": s}) for n in (1, 3, 4, 5, 7, 9) for s in (1, 2)]
DEPTHWISE += [(layers.AtrousDepthwiseConv2D, n, {"dilation_rate": 2}) for n in (3, 5)]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kind", "size", "config"), DEPTHWISE)
def test_gradients_of_depthwise_convolutions_by_tiles_are_those_of_keras(
    monkeypatch, kind, size, config, padding
):
    monkeypatch.setattr(layers, "depthwise_tiles_are_faster", lambda dtype: True)
    inputs = tf.random.stateless_normal((2, 20, 21, 3), (3, size))
    config = {"kernel_size": size, "padding": padding, "activation": "tanh", **config}
    ours, keras_own = kind(**config), keras.layers.DepthwiseConv2D(**config)
    for layer in (ours, keras_own):
        layer.build(inputs.shape)
    ours.set_weights(keras_own.get_weights())
    for got, expected in zip(differentiated(ours, inputs), differentiated(keras_own, inputs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_gradients_of_depthwise_convolutions_by_tiles_of_photos_of_any_size(monkeypatch):
    monkeypatch.setattr(layers, "depthwise_tiles_are_faster", lambda dtype: True)
    layer = layers.DepthwiseConv2D(5, 2, padding="same")
    layer.build((None, None, None, 3))
    any_size = tf.function(differentiated, reduce_retracing=True)
    for height, width in ((16, 17), (15, 20), (9, 8)):
        inputs = tf.random.stateless_normal((2, height, width, 3), (height, width))
        expected = differentiated(layer, inputs)
        for got, one in zip(any_size(layer, inputs), expected, strict=True):
            np.testing.assert_allclose(got, one, rtol=1e-4, atol=1e-4)
    assert any_size.experimental_get_tracing_count() == 2


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_depthwise_convolutions_by_tiles_in_bfloat16(stride):
    inputs = tf.random.stateless_normal((2, 16, 16, 8), (4, 1))
    kernel = tf.random.stateless_normal((5, 5, 8, 1), (4, 2))
    upstream = tf.nn.depthwise_conv2d(inputs, kernel, [1, stride, stride, 1], "SAME")
    expected = kernels.depthwise_gradient_by_tiles(inputs, kernel, upstream, stride, "SAME")
    halves = (tf.cast(tensor, tf.bfloat16) for tensor in (inputs, kernel, upstream))
    for got, exact in zip(
        kernels.depthwise_gradient_by_tiles(*halves, stride, "SAME"), expected, strict=True
    ):
        assert got.dtype == tf.bfloat16
        np.testing.assert_allclose(
            tf.cast(got, tf.float32), exact, rtol=0.03, atol=0.03 * np.abs(exact).max()
        )


@pytest.mark.parametrize(("seconds", "faster"), [((2.0, 1.0), True), ((1.0, 0.95), False)])
def test_gradients_by_tiles_are_judged_by_their_time(monkeypatch, seconds, faster):
    times = iter(seconds)
    monkeypatch.setattr(kernels, "_median_seconds", lambda work: (work(), next(times))[1])
    assert kernels.depthwise_tiles_are_faster.__wrapped__("float32") is faster


def test_gradients_by_tiles_without_kernels_are_no_faster(monkeypatch):
    def missing(work):
        raise tf.errors.UnimplementedError(None, None, "no depthwise gradient of this dtype")

    monkeypatch.setattr(kernels, "_median_seconds", missing)
    assert not kernels.depthwise_tiles_are_faster.__wrapped__("bfloat16")


def test_depthwise_layers_of_efficientnet_lite_have_the_fast_gradient():
    model = efficientnet_lite(0)
    depthwise = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    assert len(depthwise) == 16 and all(isinstance(layer, layers.DepthwiseConv2D) for layer in depthwise)


def test_a_gradient_that_is_missing_is_found_out_and_told_once(monkeypatch, caplog):
    def missing(**arguments):
        raise tf.errors.InvalidArgumentError(None, None, "no dilation rates larger than 1")

    monkeypatch.setattr(tf.raw_ops, "Conv2DBackpropFilter", missing)
    with caplog.at_level(logging.WARNING):
        assert not kernels.has_atrous_gradient.__wrapped__("float32")
    assert [record.getMessage() for record in caplog.records] == [
        "TensorFlow has no gradient of atrous convolutions in float32 here, so training takes Keras's way, which is "
        "slower."
    ]


@pytest.mark.parametrize("missing", ["FusedBatchNormV3", "FusedBatchNormGradV3"])
def test_a_fused_norm_that_is_missing_is_found_out(monkeypatch, missing):
    def fails(**arguments):
        raise tf.errors.AbortedError(None, None, "could not create a primitive")

    assert kernels.has_fused_norm.__wrapped__("float32")
    monkeypatch.setattr(tf.raw_ops, missing, fails)
    assert not kernels.has_fused_norm.__wrapped__("float32")


@pytest.mark.parametrize("name", zoo.SPECS)
def test_every_batch_normalisation_that_learns_is_the_fused_one(name):
    model = architectures.build(name, 3)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert {type(layer) for layer in norms} <= {layers.BatchNormalization}
    assert bool(norms) == (name != "unet_plain")


@pytest.mark.parametrize(
    ("seconds", "faster"),
    [({"float32": 2.0, "bfloat16": 1.0}, True), ({"float32": 1.0, "bfloat16": 0.95}, False)],
)
def test_bfloat16_is_judged_by_its_time(monkeypatch, seconds, faster):
    monkeypatch.setattr(kernels, "_convolution_seconds", seconds.get)
    assert kernels.bfloat16_is_faster.__wrapped__() is faster


def test_bfloat16_without_kernels_is_no_faster(monkeypatch):
    def missing(dtype):
        raise tf.errors.AbortedError(None, None, "could not create a primitive")

    monkeypatch.setattr(kernels, "_convolution_seconds", missing)
    assert not kernels.bfloat16_is_faster.__wrapped__()


def test_the_time_of_a_convolution_is_measured():
    assert 0 < kernels._convolution_seconds("float32") < 10


@pytest.mark.parametrize("faster", [True, False])
def test_runs_compute_in_bfloat16_only_where_that_is_faster(monkeypatch, caplog, faster):
    monkeypatch.setattr(learning, "bfloat16_is_faster", lambda: faster)
    config = TrainConfig(model="unet_plain", dataset="pets", data="x", precision="mixed_bfloat16")
    assert learning.computable(config).precision == ("mixed_bfloat16" if faster else "float32")
    assert ("computes in float32" in caplog.text) is not faster


def test_the_command_asks_for_onednn_unless_told_otherwise(monkeypatch, tmp_path, capsys):
    data = draw_pets(tmp_path, {"pug": 10, "birman": 10})
    command = ["train", "--model", "unet_plain", "--dataset", "pets", "--data", str(data)]
    command += ["--estimate", "--json"]
    seen = []
    monkeypatch.setattr(
        estimate, "estimate", lambda config: seen.append(os.environ["TF_ENABLE_ONEDNN_OPTS"]) or {}
    )
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert main(command) == 0
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert main(command) == 0
    assert seen == ["1", "0"]
