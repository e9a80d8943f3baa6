"""Transposed convolutions of a graph as convolutions and a reshuffle, which ONNX Runtime computes faster and in int8.

Output pixel ``s q + r`` of a transposed convolution of stride s depends on input pixels around q through the taps
k with ``k = r + p (mod s)`` alone: that is one convolution for each of the s x s places r in a block, and all of them
together are one convolution with s x s times the channels, whose output is dealt out over the blocks (Shi et al., "Is
the deconvolution layer the same as a convolutional layer?", arXiv:1609.07009, 2016).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from segdemo.core.arrays import Floats


def as_convolution(kernel: Floats, stride: int) -> tuple[Floats, tuple[int, int]]:
    """The kernel of the convolution that a transposed one with "same" padding equals.

    Args:
        kernel: float32 (C_in, C_out, K, K), as ONNX has it, K at least ``stride``.
        stride: of the transposed convolution, s.

    Returns:
        (float32 (s s C_out, C_in, T, T), (pixels of padding before, after)). Channel ``(s y + x) C_out + c`` is channel
        c of the pixels in row y and column x of each block.
    """
    size, before = kernel.shape[-1], (kernel.shape[-1] - stride) // 2
    # (place in the block, offset of the input pixel, tap)
    taps = [((tap - before) % stride, -((tap - before) // stride), tap) for tap in range(size)]
    # y[s q + r] = sum of x[i] w[k] over s i + k - p = s q + r, so that i = q - (k - p - r) / s.
    low, high = min(offset for _, offset, _ in taps), max(offset for _, offset, _ in taps)
    found = np.zeros((stride, stride, kernel.shape[1], kernel.shape[0], *(high - low + 1,) * 2), np.float32)
    for y, row, k in taps:
        for x, column, m in taps:
            found[y, x, :, :, row - low, column - low] = kernel[:, :, k, m].T
    return found.reshape(-1, *found.shape[3:]), (-low, high)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes that a node has, by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def replace(graph: onnx.GraphProto, besides: Iterable[str] = ()) -> int:
    """Replace the transposed convolutions that tf2onnx makes of Keras's, with "same" padding, in place.

    A scale and an offset of each channel that follow (BatchNorm) go into the convolution, and a ReLU before the
    reshuffle.

    Args:
        graph: with the constants as initializers.
        besides: names of nodes that stay.

    Returns:
        How many were replaced.
    """
    constants = {w.name: w for w in graph.initializer}
    count = 0
    for node in [n for n in graph.node if n.op_type == "ConvTranspose" and n.name not in besides]:
        count += _replace(graph, node, constants)
    if count:
        _remove_dead(graph)
    return count


def _replace(graph, node, constants):
    told, kernel = attributes(node), constants.get(node.input[1])
    strides = told.get("strides", [1, 1])
    plain = told.get("group", 1) == 1 and set(told.get("dilations", [1, 1])) == {1}
    # Cut to s times the input's size, as Keras does; tf2onnx pads as well, in case it were too small.
    crop = _only_user(graph, node.output[0], "Slice")
    end = crop and (_only_user(graph, crop.output[0], "Pad") or crop)
    if kernel is None or not plain or strides[0] != strides[1] or end is None:
        return 0
    values = numpy_helper.to_array(kernel)
    if values.shape[2] != values.shape[3] or values.shape[2] < strides[0]:
        return 0
    stride, width = strides[0], values.shape[1]
    weights, padding = as_convolution(values, stride)
    bias = np.zeros(width, np.float32)
    if len(node.input) > 2:
        bias = numpy_helper.to_array(constants[node.input[2]])
    for kind in ("Mul", "Add"):
        following = _only_user(graph, end.output[0], kind)
        factor = following and _of_channels(following, constants, width)
        if factor is None:
            break
        if kind == "Mul":
            weights = weights * np.tile(factor, stride**2)[:, None, None, None]
            bias = bias * factor
        else:
            bias = bias + factor
        end = following
    relu = _only_user(graph, end.output[0], "Relu")
    end = relu or end
    name = node.name or node.output[0]
    graph.initializer.extend(
        [
            numpy_helper.from_array(weights.astype(np.float32), f"{name}/kernel"),
            numpy_helper.from_array(np.tile(bias, stride**2).astype(np.float32), f"{name}/bias"),
        ]
    )
    made = [
        helper.make_node(
            "Conv",
            [node.input[0], f"{name}/kernel", f"{name}/bias"],
            [f"{name}/blocks"],
            name=f"{name}/convolution",
            kernel_shape=weights.shape[2:],
            pads=[padding[0], padding[0], padding[1], padding[1]],
        )
    ]
    if relu:
        made.append(helper.make_node("Relu", [f"{name}/blocks"], [f"{name}/relu"], name=f"{name}/relu"))
    dealt = helper.make_node(
        "DepthToSpace",
        [made[-1].output[0]],
        [end.output[0]],
        name=f"{name}/deal",
        blocksize=stride,
        mode="DCR",
    )
    at = list(graph.node).index(end)
    for offset, new in enumerate([*made, dealt]):
        graph.node.insert(at + 1 + offset, new)
    graph.node.remove(end)
    return 1


def _only_user(graph, tensor, kind):
    """The node that alone computes with a tensor, if it is of this kind; nodes that ask for its shape do not count."""
    users = [n for n in graph.node if tensor in n.input and n.op_type != "Shape"]
    return users[0] if len(users) == 1 and users[0].op_type == kind else None


def _of_channels(node, constants, width):
    """The constant of a Mul or Add, if it has one number for each channel: float32 (width,)."""
    for name in node.input:
        if name in constants:
            values = numpy_helper.to_array(constants[name])
            if values.size == width and values.shape[-3:] == (width, 1, 1):
                return values.reshape(-1)
    return None


def _remove_dead(graph):
    """Remove nodes, and then initializers, that nothing of the output depends on."""
    wanted, alive = {o.name for o in graph.output}, []
    for node in reversed(graph.node):  # they are in an order in which they can be computed
        if wanted.intersection(node.output):
            alive.append(node)
            wanted.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(alive))
    kept = [w for w in graph.initializer if w.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(kept)
