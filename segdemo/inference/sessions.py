"""ONNX Runtime sessions that give the same numbers on every processor.

Without dot-product instructions for bytes (VNNI on x86), ONNX Runtime adds pairs of products of an unsigned and a
signed byte in 16 bits, where they saturate: 2 x 255 x 127 becomes 32,767. Its option ``session.x64quantprecision``
makes the signed bytes unsigned, whose kernels do not saturate. Of the shipped int8 graphs, without AVX-512 and VNNI,
that takes 13 to 33 % more time, which is still 9 to 27 % less than the float graphs take.
"""

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime

# One convolution of bytes, four channels to one: every weight is 127, and the sum is divided by 650.
PROBE = Path(__file__).with_name("saturation.onnx")
PROBE_SUM = 4 * 255 * 127 / 650


def open_session(path: str | Path, threads: int) -> onnxruntime.InferenceSession:
    """A session for the CPU that leaves its cores alone while it has nothing to do.

    Args:
        path: of the ``.onnx`` file.
        threads: how many it may use.
    """
    options = _options(threads)
    if products_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@cache
def products_saturate() -> bool:
    """Whether products of bytes saturate on this processor: asked of it, with the largest there are."""
    session = onnxruntime.InferenceSession(PROBE, _options(1), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"x": np.full((1, 4, 4, 4), 255, np.uint8)})
    return bool(np.any(np.abs(sums - PROBE_SUM) > 1))


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Else there is a plan for every size of photo, each with room of its own, and it is no faster.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
