"""int8 serving graphs: static quantisation (QDQ, weights per channel) with ONNX Runtime's own tools."""

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from segdemo.inference.sessions import open_session
from segdemo.training.export import transposed

# Resizing stays in float: its rounding shows at outlines.
QUANTISED_OPS = ["Conv", "Add", "GlobalAveragePool", "Concat", "Clip", "Relu", "Mul"]
# In names of transposed convolutions that only make logits larger.
RESIZING = ("/logits", "/upsample_to_")
# In names of nodes and tensors: those of ``architectures.upsampling`` and ``export.features``.
UPSAMPLING = ("/guided_", "/fine_logits", "/features_")


class _Photos(CalibrationDataReader):
    def __init__(self, inputs):
        self._inputs = iter(inputs)

    def get_next(self):
        image = next(self._inputs, None)
        return None if image is None else {"image": image}


def quantise(source: Path, target: Path, inputs: Iterable[np.ndarray], float_convolutions: int = 0) -> None:
    """Write the int8 version of a serving graph. Guided upsampling stays in float, since it decides on outlines.

    ONNX Runtime computes transposed convolutions in float only: they become convolutions, but for those that only make
    logits larger, whose kernels are kept as float16.

    Args:
        source: the float ``.onnx`` file. target: the file to write.
        inputs: calibration photos as ``Predictor.network_input`` makes them, uint8 (1, h, w, 3).
        float_convolutions: so many of the first convolutions stay in float, with what lies between them. They see
            the photo's finest differences and are the most sensitive (Krishnamoorthi, "Quantizing deep
            convolutional networks for efficient inference", arXiv:1806.08342, 2018, section 3.1.4).
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared)
        nodes = graph.graph.node
        transposed.replace(
            graph.graph, [node.name for node in nodes if any(part in node.name for part in RESIZING)]
        )
        for n, node in enumerate(nodes):
            node.name = node.name or f"node_{n}"  # what has no name cannot be left out
        onnx.save(graph, prepared)
        upsampling = {node.name for node in nodes if _is_upsampling(node)}
        convolutions = [
            n for n, node in enumerate(nodes) if node.op_type == "Conv" and node.name not in upsampling
        ]
        end = convolutions[float_convolutions - 1] + 1 if float_convolutions else 0
        quantize_static(
            str(prepared),
            str(target),
            _Photos(inputs),
            op_types_to_quantize=QUANTISED_OPS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[*(node.name for node in nodes[:end]), *upsampling],
            extra_options={"CalibMovingAverage": True},
        )
    rounded = onnx.load(target)
    halve(rounded.graph)
    onnx.save(rounded, target)


def halve(graph: onnx.GraphProto) -> None:
    """Keep the kernels of a graph's transposed convolutions as float16; the runtime widens them when it loads them."""
    kernels = {node.input[1] for node in graph.node if node.op_type == "ConvTranspose"}
    for weights in [
        w for w in graph.initializer if w.name in kernels and w.data_type == onnx.TensorProto.FLOAT
    ]:
        half = numpy_helper.from_array(
            numpy_helper.to_array(weights).astype(np.float16), f"{weights.name}_half"
        )
        graph.node.insert(0, helper.make_node("Cast", [half.name], [weights.name], to=onnx.TensorProto.FLOAT))
        graph.initializer.remove(weights)
        graph.initializer.append(half)


def _is_upsampling(node):
    """A convolution with its BatchNorm folded has a new name; its kernel has not."""
    names = [node.name, *node.input, *node.output]
    return any(part in name for name in names for part in UPSAMPLING)


def milliseconds(path: Path | str, image: np.ndarray, threads: int, repeats: int = 20) -> float:
    """Median time of one run of a graph on ``image`` uint8 (1, h, w, 3), warm."""
    session = open_session(path, threads)
    session.run(None, {"image": image})
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        session.run(None, {"image": image})
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)
