import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from segdemo.inference import sessions


def probe():
    """The graph of ``sessions.PROBE``."""
    constants = {
        "x_scale": np.float32(1),
        "x_zero": np.uint8(0),
        "w": np.full((1, 4, 1, 1), 127, np.int8),
        "w_scale": np.float32(1),
        "w_zero": np.int8(0),
        "y_scale": np.float32(650),
        "y_zero": np.uint8(0),
    }
    node = helper.make_node("QLinearConv", ["x", *constants], ["y"])
    graph = helper.make_graph(
        [node],
        "saturation",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 1, 4, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_probe_is_the_graph_it_is_said_to_be():
    assert onnx.load(sessions.PROBE) == probe()


def test_sums_of_the_largest_products_are_right_on_every_processor():
    session = sessions.open_session(sessions.PROBE, 1)
    (sums,) = session.run(None, {"x": np.full((1, 4, 4, 4), 255, np.uint8)})
    assert (sums == round(sessions.PROBE_SUM)).all()


@pytest.mark.parametrize(("answer", "saturates"), [(101, True), (199, False)])
def test_what_the_processor_answers_decides(monkeypatch, answer, saturates):
    class Session:
        def __init__(self, *args, **kwargs):
            pass

        def run(self, names, inputs):
            return [np.full((1, 1, 4, 4), answer, np.uint8)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    assert sessions.products_saturate.__wrapped__() is saturates


@pytest.mark.parametrize("saturates", [True, False])
def test_where_products_saturate_the_precise_kernels_are_asked_for(monkeypatch, saturates):
    asked = []

    class Session:
        def __init__(self, path, options, providers):
            asked.append(options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(sessions, "products_saturate", lambda: saturates)
    sessions.open_session("model.onnx", 3)
    (options,) = asked
    assert options.intra_op_num_threads == 3
    if saturates:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.x64quantprecision")
