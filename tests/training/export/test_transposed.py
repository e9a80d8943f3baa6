import keras
import numpy as np
import onnx
import pytest

from segdemo.inference.sessions import open_session
from segdemo.training.export.exporter import to_onnx
from segdemo.training.export.quantize import quantise
from segdemo.training.export.transposed import as_convolution, replace


def network(size, stride, *, norm=True, relu=True, twice=False):
    """uint8 (B, H, W, 3) to 4 logits a pixel, through a transposed convolution to ``stride`` times the size."""
    images = keras.Input((None, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(5, 3, padding="same", name="before")(x)
    x = keras.layers.Conv2DTranspose(6, size, strides=stride, padding="same", use_bias=not norm, name="up")(x)
    if norm:
        x = keras.layers.BatchNormalization(name="norm")(x)
    if relu:
        y = keras.layers.ReLU(name="relu")(x)
        x = keras.layers.Add()([x, y]) if twice else y
    logits = keras.layers.Conv2D(4, 1, name="logits")(x)
    model = keras.Model(images, logits)
    rng = np.random.default_rng(size)
    model.set_weights(
        [rng.uniform(0.2, 1, w.shape) * rng.choice((-1, 1), w.shape) for w in model.get_weights()]
    )
    if norm:  # variances
        values = model.get_layer("norm").get_weights()
        model.get_layer("norm").set_weights([*values[:3], abs(values[3])])
    return model


def answers(path, sizes=((6, 7), (1, 2))):
    session = open_session(path, 1)
    rng = np.random.default_rng(0)
    return [session.run(None, {"image": rng.integers(0, 256, (1, *size, 3), np.uint8)})[0] for size in sizes]


@pytest.mark.parametrize(
    ("size", "stride", "options"),
    [
        (2, 2, {}),
        (3, 2, {}),
        (4, 2, {"norm": False}),
        (5, 2, {"relu": False}),
        (3, 3, {"norm": False, "relu": False}),
        (7, 3, {}),
        (16, 8, {}),
        (3, 2, {"twice": True}),
    ],
)
def test_the_graph_says_the_same_without_transposed_convolutions(tmp_path, size, stride, options):
    path = tmp_path / "graph.onnx"
    to_onnx(network(size, stride, **options), path)
    before = answers(path)
    proto = onnx.load(path)
    assert replace(proto.graph) == 1
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    kinds = [node.op_type for node in proto.graph.node]
    assert "ConvTranspose" not in kinds and kinds.count("DepthToSpace") == 1
    assert kinds.count("Relu") == options.get("relu", True)
    for old, new in zip(before, answers(path), strict=True):
        assert new.shape == old.shape
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5 * abs(old).max())


def test_what_is_named_stays(tmp_path):
    path = tmp_path / "graph.onnx"
    to_onnx(network(3, 2), path)
    proto = onnx.load(path)
    names = [node.name for node in proto.graph.node if node.op_type == "ConvTranspose"]
    assert replace(proto.graph, names) == 0
    assert proto == onnx.load(path)


def test_a_block_of_a_kernel_of_its_stride_is_a_single_tap():
    kernel = np.random.default_rng(0).normal(size=(3, 4, 2, 2)).astype(np.float32)
    found, padding = as_convolution(kernel, 2)
    assert found.shape == (16, 3, 1, 1) and padding == (0, 0)
    np.testing.assert_array_equal(found[(2 * 1 + 0) * 4 + 3, 2, 0, 0], kernel[2, 3, 1, 0])


def test_an_int8_graph_has_int8_kernels_for_them_but_for_those_of_logits(tmp_path):
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(5, 3, padding="same", name="before")(keras.layers.Rescaling(1 / 255)(images))
    x = keras.layers.ReLU()(keras.layers.Conv2DTranspose(6, 3, strides=2, padding="same", name="up")(x))
    logits = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="logits")(x)
    to_onnx(keras.Model(images, logits), tmp_path / "float.onnx")
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (1, 8, 8, 3), np.uint8) for _ in range(8)]
    quantise(tmp_path / "float.onnx", tmp_path / "int8.onnx", photos)
    proto = onnx.load(tmp_path / "int8.onnx")
    int8 = [
        tuple(w.dims)
        for w in proto.graph.initializer
        if w.data_type == onnx.TensorProto.INT8 and len(w.dims) == 4
    ]
    assert sorted(int8) == [(5, 3, 3, 3), (24, 5, 2, 2)]
    assert [node.op_type for node in proto.graph.node].count("ConvTranspose") == 1
    for old, new in zip(*(answers(tmp_path / f"{kind}.onnx") for kind in ("float", "int8")), strict=True):
        assert abs(new - old).mean() < 0.02 * abs(old).max()
