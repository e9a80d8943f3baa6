import json

import h5py
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy_layers import randomise
from onnx import numpy_helper
from skimage import data
from tiny import bright, write_model

from segdemo import zoo
from segdemo.core.files import sha256
from segdemo.core.labels import LABEL_SETS, PETS
from segdemo.inference.predict import MULTIPLE, Predictor
from segdemo.training import architectures
from segdemo.training.architectures.deeplab import deeplabv3
from segdemo.training.architectures.unet import unet, unet_plain
from segdemo.training.export.exporter import (
    ExportError,
    _compare,
    export_run,
    inherited_refinement,
    save_float16,
    serving_model,
    to_calibrate_on,
    to_onnx,
)
from segdemo.training.layers import Preprocess

BUILDERS = {
    "deeplabv3": lambda: deeplabv3(5, aspp_filters=8, output_stride=8, multi_grid=(1, 2, 4)),
    "guided": lambda: deeplabv3(5, aspp_filters=8, guided=True),
    "unet": lambda: unet(3, decoder_filters=(8, 8, 8, 8), refine=True),
    "unet_plain": lambda: unet_plain(4, filters=(4, 6, 8), bottleneck=12),
}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", params=BUILDERS)
def exported(request, tmp_path_factory):
    """A model with random weights and statistics, and the path of its graph."""
    keras.utils.set_random_seed(1)
    model = BUILDERS[request.param]()
    randomise(model)
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    to_onnx(model, path, {"name": request.param, "classes": ["a", "b"]})
    return request.param, model, path


def run(path, image):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def in_keras(model, image):
    return keras.ops.convert_to_numpy(serving_model(model)(image.astype(np.float32), training=False))


def convolutions(proto):
    """(kernel, dilations, groups) of each convolution."""
    weights = {w.name: numpy_helper.to_array(w) for w in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            yield weights[node.input[1]], attributes.get("dilations", [1, 1]), attributes.get("group", 1)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (32, 224)])
def test_the_graph_equals_keras(exported, size):
    _, model, path = exported
    image = RNG.integers(0, 256, (1, *size, 3), np.uint8)
    expected, got = in_keras(model, image), run(path, image)
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got, expected, atol=1e-3 * max(1, scale))
    assert (got.argmax(-1) == expected.argmax(-1)).mean() > 0.999


def test_names_types_and_sizes_are_those_the_predictor_expects(exported):
    name, model, path = exported
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", [1, "height", "width", 3])
    assert (logits.name, logits.type) == ("logits", "tensor(float)")
    assert logits.shape == [1, "rows", "columns", model.output.shape[-1]]
    assert session.get_modelmeta().custom_metadata_map == {"name": name, "classes": '["a", "b"]'}


def test_atrous_convolutions_come_out_as_such(exported):
    name, _, path = exported
    proto = onnx.load(path)
    operators = {node.op_type for node in proto.graph.node}
    assert not operators & {"SpaceToBatch", "BatchToSpace", "Loop", "Scan", "If"}
    depthwise = set()
    for kernel, dilations, groups in convolutions(proto):
        if groups > 1:
            depthwise.add((kernel.shape[-1], dilations[0]))
            holes = ~np.any(kernel, axis=(0, 1, 2))
            assert not holes.any(), f"a depthwise kernel {kernel.shape} has columns of zeros"
    if name == "deeplabv3":  # output stride 8: rate 2 from block 6 on, 4 from 13 on, times the multi-grid
        assert depthwise == {(3, 1), (3, 2), (3, 4), (3, 8), (3, 16)}
        full = {d[0] for k, d, groups in convolutions(proto) if groups == 1 and k.shape[-1] == 3}
        assert full == {1, 12, 24, 36}
    elif name == "unet":
        assert depthwise == {(3, 1)}


SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)


@pytest.mark.parametrize(
    ("kernel", "folded"),
    [(SOBEL, False), (SOBEL.T, False), (np.array([[1, 0, 2], [0, 0, 0], [3, 0, 4]], np.float32), True)],
)
def test_a_kernel_is_atrous_only_if_its_rows_are_as_its_columns(tmp_path, kernel, folded):
    images = keras.Input((None, None, 3), name="image")
    x = Preprocess("unit")(images)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="edges")(x)
    model = keras.Model(images, keras.layers.Conv2D(2, 1, name="logits")(x))
    model.get_layer("edges").set_weights([np.repeat(kernel[:, :, None, None], 3, 2)])
    to_onnx(model, tmp_path / "model.onnx")
    image = RNG.integers(0, 256, (1, 24, 32, 3), np.uint8)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", image), in_keras(model, image), atol=1e-4)
    rates = {
        (k.shape[-1], d[0]) for k, d, groups in convolutions(onnx.load(tmp_path / "model.onnx")) if groups > 1
    }
    assert rates == ({(2, 2)} if folded else {(3, 1)})


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 100, 127, 128, 1000])
def test_an_int8_graph_is_calibrated_on_so_many_photos(count):
    chosen = to_calibrate_on(range(count))
    assert len(chosen) == len(set(chosen)) == min(count, 64)
    assert chosen[0] == 0
    assert max(np.diff([*chosen, count])) <= -(-count // 64)


def test_the_graph_ends_before_the_last_upsampling(exported):
    name, model, path = exported
    stride = {"deeplabv3": 8, "guided": 4, "unet": 1, "unet_plain": 1}[name]
    image = np.zeros((1, 64, 96, 3), np.uint8)
    assert run(path, image).shape[1:3] == (64 // stride, 96 // stride)
    assert model(image.astype(np.float32)).shape[1:3] == (64, 96)


def test_a_model_without_logits_layer_is_served_whole():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    assert serving_model(model) is model


# --- weights ---------------------------------------------------------------------------------------------


def test_float16_weights_round_trip(tmp_path):
    model = randomise(unet(3, decoder_filters=(8, 8, 8, 8)))
    model.compile("adam", "mse")  # its state must stay behind
    model.optimizer.build(model.trainable_variables)
    save_float16(model, tmp_path / "model.weights.h5")
    again = unet(3, decoder_filters=(8, 8, 8, 8))
    again.load_weights(tmp_path / "model.weights.h5")
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        assert new.dtype == np.float32
        np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-7)
    kinds = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(
            lambda name, node: kinds.append((name, node.dtype)) if hasattr(node, "dtype") else None
        )
    assert {str(kind) for _, kind in kinds} == {"float16"}
    assert not [name for name, _ in kinds if "optimizer" in name]
    assert [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]


def test_float16_keeps_numbers_beyond_its_range_finite(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    gamma, beta, mean, _ = model.get_weights()
    model.set_weights([gamma, beta, mean, np.float32([1e6, 1, 2, 3])])
    save_float16(model, tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model.get_weights()[3], [65504, 1, 2, 3])


# --- runs ------------------------------------------------------------------------------------------------


def test_a_run_without_checkpoint_cannot_be_exported(tmp_path):
    with pytest.raises(ExportError, match="has no best checkpoint yet: train at least one epoch first"):
        export_run(tmp_path)


def test_a_model_has_its_parents_refinement_until_another_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    chosen = {"radius": 12, "epsilon": 3e-4}
    for name, refinement in (("sharp", {**chosen, "chosen_on": "val", "mean_iou": 0.5}), ("plain", None)):
        write_model(tmp_path / "models" / name, name, PETS, *bright(3, 0, 1), refinement=refinement)
    assert inherited_refinement("sharp") == {**chosen, "chosen_for": "sharp"}
    for name in ("plain", "unknown", "", None):
        assert inherited_refinement(name) is None


def test_a_graph_that_disagrees_with_keras_is_refused(tmp_path):
    keras.utils.set_random_seed(1)
    model = randomise(unet_plain(3, filters=(4, 4, 4), bottleneck=4))
    to_onnx(model, tmp_path / "model.onnx")
    entry = {"title": "T", "architecture": "unet_plain", "label_set": "pets", "onnx": "model.onnx"}
    entry |= {"onnx_sha256": sha256(tmp_path / "model.onnx"), "long_side": 64, "temperature": 1.0}
    (tmp_path / "manifest.json").write_text(json.dumps({"models": {"m": entry}}))
    predictor = Predictor(zoo.read_manifest(tmp_path / "manifest.json")["m"])
    photos = [data.astronaut()]
    _compare(model, predictor, photos)
    layer = model.get_layer("logits")
    layer.set_weights([-w for w in layer.get_weights()])
    with pytest.raises(ExportError, match="agrees with Keras on"):
        _compare(model, predictor, photos)


# --- what is shipped -------------------------------------------------------------------------------------

SHIPPED = zoo.read_manifest(zoo.WEIGHTS / "manifest.json")


@pytest.mark.parametrize("name", [name for name, entry in SHIPPED.items() if entry.weights])
def test_a_shipped_graph_agrees_with_the_shipped_weights(name):
    entry = SHIPPED[name]
    model = architectures.build(entry.architecture, len(entry.label_set), **entry.options)
    model.load_weights(zoo.WEIGHTS / entry.weights)
    predictor = Predictor(entry)
    image = predictor.network_input(data.chelsea())
    assert image.shape[1] % MULTIPLE == 0
    if entry.samples > 1:
        mean = np.mean([keras.ops.softmax(in_keras(model, image)) for _ in range(entry.samples)], 0)
        likeliest = predictor(data.chelsea()).probabilities.argmax(-1)
        assert (likeliest == mean[0].argmax(-1)).mean() > 0.95  # both are means of a few passes
        return
    got = predictor.session.run(None, {"image": image})[0]
    expected = in_keras(model, image)
    int8 = entry.extra.get("int8", {}).get("served", False)
    assert (got.argmax(-1) == expected.argmax(-1)).mean() > (0.97 if int8 else 0.99)
    assert got.shape[-1] == len(entry.label_set)
    if not int8:
        np.testing.assert_allclose(got, expected, atol=1e-2 * np.abs(expected).max())
    assert LABEL_SETS[entry.label_set.name] == entry.label_set
