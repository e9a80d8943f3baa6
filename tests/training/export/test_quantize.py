import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from segdemo.training.export.quantize import _is_upsampling, halve, milliseconds, quantise

CLASSES = 4


@pytest.fixture
def photos():
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (6, 1, 4, 6, 3))
    # Blocks: most pixels are clear cut
    return list(np.kron(coarse, np.ones((1, 1, 8, 8, 1))).astype(np.uint8))


@pytest.fixture
def graph(tmp_path):
    """uint8 (1, H, W, 3) through two convolutions to logits (1, H, W, 4)."""
    rng = np.random.default_rng(3)
    weights = {"w1": rng.normal(0, 0.05, (8, 3, 3, 3)) / 10, "w2": rng.normal(0, 1, (CLASSES, 8, 1, 1))}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w1"], ["hidden"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["hidden"], ["relu"]),
        helper.make_node("Conv", ["relu", "w2"], ["scores"]),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 3, 1]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "h", "w", 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "h", "w", CLASSES])],
            [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    path = tmp_path / "float.onnx"
    onnx.save(model, path)
    return path


def test_an_int8_graph_says_nearly_the_same_with_int8_weights(graph, photos, tmp_path):
    target = tmp_path / "int8.onnx"
    quantise(graph, target, photos)
    sessions = [onnxruntime.InferenceSession(p, providers=["CPUExecutionProvider"]) for p in (graph, target)]
    same = [
        np.equal(*(s.run(None, {"image": image})[0].argmax(-1) for s in sessions)).mean() for image in photos
    ]
    assert np.mean(same) > 0.95
    proto = onnx.load(target)
    kernels = [w for w in proto.graph.initializer if w.data_type == TensorProto.INT8 and len(w.dims) == 4]
    assert sorted(tuple(w.dims) for w in kernels) == [(4, 8, 1, 1), (8, 3, 3, 3)]
    scales = [node for node in proto.graph.node if node.op_type == "DequantizeLinear"]
    sizes = {tuple(w.dims) for w in proto.graph.initializer if w.name in {node.input[1] for node in scales}}
    assert {(8,), (4,)} <= sizes  # one scale a channel
    signature = onnxruntime.InferenceSession(target).get_inputs()[0]
    assert (signature.name, signature.type) == ("image", "tensor(uint8)")


@pytest.mark.parametrize(("in_float", "expected"), [(1, [(4, 8, 1, 1)]), (2, [])], ids=["the first", "both"])
def test_the_first_convolutions_can_stay_in_float(graph, photos, tmp_path, in_float, expected):
    target = tmp_path / "int8.onnx"
    quantise(graph, target, photos, float_convolutions=in_float)
    kernels = [
        w for w in onnx.load(target).graph.initializer if w.data_type == TensorProto.INT8 and len(w.dims) == 4
    ]
    assert [tuple(w.dims) for w in kernels] == expected


def test_milliseconds_are_positive(graph, photos):
    assert 0 < milliseconds(graph, photos[0], threads=1, repeats=3) < 10_000


@pytest.mark.parametrize(
    ("node", "inputs", "guided"),
    [
        ("net/guided_mix_relu_1/Relu", ["a"], True),
        ("Conv__9", ["a", "net/guided_c2_conv_1/Conv2D/merged_input:0"], True),  # its BatchNorm was folded in
        ("net/fine_logits_1/MatMul", ["a", "b"], True),
        ("Conv__9", ["a", "net/upsample_to_c3_1/kernel:0"], False),
        ("net/logits_1/BiasAdd", ["a", "b"], False),
    ],
)
def test_nodes_of_guided_upsampling_are_told_by_all_their_names(node, inputs, guided):
    assert _is_upsampling(helper.make_node("Conv", inputs, ["c"], name=node)) == guided


def test_kernels_of_transposed_convolutions_are_kept_in_half_the_bytes():
    rng = np.random.default_rng(1)
    kernel = numpy_helper.from_array(rng.normal(0, 0.1, (3, 2, 4, 4)).astype(np.float32), "kernel")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("ConvTranspose", ["scores", "kernel"], ["logits"], strides=[2, 2])],
            "tiny",
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3, 5, 6])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 12, 14])],
            [kernel],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    scores = {"scores": rng.normal(size=(1, 3, 5, 6)).astype(np.float32)}
    (before,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, scores)
    halve(model.graph)
    (after,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, scores)
    np.testing.assert_allclose(after, before, atol=2e-3)
    assert [w.data_type for w in model.graph.initializer] == [TensorProto.FLOAT16]
