"""Served models small enough for tests: a linear classifier of colours as an ONNX graph, and its manifest."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from segdemo import zoo
from segdemo.core.files import sha256


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
