"""Served models small enough for tests, as ONNX graphs with their manifests.

A linear classifier of colours, and a click model that takes a thing for whatever has its colour.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from segdemo import zoo
from segdemo.core.files import sha256
from segdemo.zoo.clicks import ClickModel, read_click_models
from segdemo.zoo.features import served_features


def write_graph(path, weights, bias, stride=1):
    """uint8 (1, H, W, 3) "image" to float32 (1, ceil(H / stride), ceil(W / stride), K) "logits".

    Args:
        weights: (K, 3), of red, green and blue in 0..255. bias: (K,).
    """
    weights, bias = np.asarray(weights, np.float32), np.asarray(bias, np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels_first", "weights", "bias"], ["scores"], strides=[stride] * 2),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "height", "width", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "rows", "columns", len(bias)])],
        [
            numpy_helper.from_array(weights[:, :, None, None], "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def bright(num_classes, bright_class, dark_class, threshold=140):
    """Weights and bias of a classifier that calls a pixel ``bright_class`` if its red is over ``threshold``."""
    weights, bias = np.zeros((num_classes, 3)), np.full(num_classes, -1000.0)
    weights[bright_class, 0], bias[bright_class], bias[dark_class] = 0.25, -0.25 * threshold, 0
    return weights, bias


def write_model(folder, name, label_set, weights, bias, stride=1, **entry):
    """Write ``<name>.onnx`` and add it to ``manifest.json`` in ``folder``: its ``zoo.ModelEntry``."""
    folder.mkdir(parents=True, exist_ok=True)
    graph, manifest = folder / f"{name}.onnx", folder / "manifest.json"
    write_graph(graph, weights, bias, stride)
    models = json.loads(manifest.read_text())["models"] if manifest.is_file() else {}
    models[name] = {
        "title": name.title(),
        "architecture": "unet",
        "label_set": label_set.name if label_set.name in ("voc", "pets") else label_set.to_json(),
        "onnx": graph.name,
        "onnx_sha256": sha256(graph),
        "long_side": 64,
        "temperature": 1.0,
        **entry,
    }
    manifest.write_text(json.dumps({"models": models}))
    return zoo.read_manifest(manifest)[name]


def write_click_graph(path, gain=1.0, bias=0.0):
    """uint8 (1, H, W, 6) "image", as the click network takes it, to float32 (1, H/2, W/2, 1) "logits".

    Inside is what is nearer than 60 to the mean colour under the positive clicks (under the mask, where there are none)
    and nearer to it than to that under the negative ones. ``gain`` 0 and some ``bias`` make it answer that always.
    """
    constants = {
        "eps": 1e-6,
        "far": 1e-2,  # over eps: a colour that none is near to
        "near": 60.0**2,
        "soft": 100.0 / gain if gain else 1e30,
        "bias": bias,
    }
    arrays = {name: np.float32(value) for name, value in constants.items()}
    arrays |= {"space": np.array([2, 3]), "colours": np.array([1]), "parts": np.array([3, 1, 1, 1])}

    def node(kind, inputs, outputs, **options):
        return helper.make_node(kind, inputs.split(), outputs.split(), **options)

    nodes = [
        node("Cast", "image", "real", to=TensorProto.FLOAT),
        node("Transpose", "real", "first", perm=[0, 3, 1, 2]),
        node("Split", "first parts", "rgb plus minus mask", axis=1),
        node("Mul", "mask eps", "hint"),
        node("Add", "plus hint", "weights"),
    ]
    for side, weights, filler in (("plus", "weights", "eps"), ("minus", "minus", "far")):
        nodes += [
            node("Mul", f"rgb {weights}", f"{side}_weighted"),
            node("ReduceSum", f"{side}_weighted space", f"{side}_sum", keepdims=1),
            node("ReduceSum", f"{weights} space", f"{side}_total", keepdims=1),
            node("Add", f"{side}_sum {filler}", f"{side}_sums"),
            node("Add", f"{side}_total eps", f"{side}_totals"),
            node("Div", f"{side}_sums {side}_totals", f"{side}_colour"),
            node("Sub", f"rgb {side}_colour", f"{side}_off"),
            node("Mul", f"{side}_off {side}_off", f"{side}_squares"),
            node("ReduceSum", f"{side}_squares colours", f"{side}_distance", keepdims=1),
        ]
    nodes += [
        node("Min", "minus_distance near", "most"),
        node("Sub", "most plus_distance", "score"),
        node("Div", "score soft", "scaled"),
        node("Add", "scaled bias", "biased"),
        node("Clip", "biased low high", "clipped"),
        node("AveragePool", "clipped", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "pooled", "logits", perm=[0, 2, 3, 1]),
    ]
    arrays |= {"low": np.float32(-20), "high": np.float32(20)}
    graph = helper.make_graph(
        nodes,
        "colour_of_clicks",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "height", "width", 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "rows", "columns", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def write_click_model(folder, name="click", long_side=128, **options):
    """Write ``<name>.onnx`` and a ``manifest.json`` in ``folder``: its ``ClickModel``. Options as above."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = folder / f"{name}.onnx"
    write_click_graph(graph, **options)
    entry = ClickModel.of(
        name=name,
        folder=folder,
        title="Select thing",
        encoder="none",
        onnx=graph.name,
        onnx_sha256=sha256(graph),
        long_side=long_side,
    ).to_json()
    del entry["name"], entry["folder"]
    (folder / "manifest.json").write_text(json.dumps({"models": {}, "clicks": {name: entry}}))
    return read_click_models(folder / "manifest.json")[name]


def write_features(folder, step=1 / 40, long_side=64):
    """A features graph whose channels are a cell's mean red, green and blue, in a manifest: its FeaturesEntry."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["channels_first"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Transpose", ["means"], ["cells"], perm=[0, 2, 3, 1]),
        helper.make_node("Round", ["cells"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["features"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "height", "width", 3])],
        [helper.make_tensor_value_info("features", TensorProto.UINT8, [1, "rows", "columns", 3])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto)
    path = folder / "features.onnx"
    onnx.save(proto, path)
    entry = {"onnx": path.name, "onnx_sha256": sha256(path), "long_side": long_side, "steps": [step] * 3}
    (folder / "manifest.json").write_text(json.dumps({"models": {}, "features": entry}))
    return served_features(folder)
