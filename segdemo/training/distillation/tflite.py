"""What is inside a TFLite segmentation network: where its logits are, and the same network in floats.

TFLite's quantisation stands for real values: ``real = scale * (stored - zero point)`` (Jacob et al., "Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, equation 1).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from segdemo.errors import UserError
from segdemo.training.layers import Tensor

_OPERATORS = schema.BuiltinOperator
_AFTER_LOGITS = (_OPERATORS.ARG_MAX, _OPERATORS.RESIZE_BILINEAR, _OPERATORS.QUANTIZE, _OPERATORS.DEQUANTIZE)
_STORED = {
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.FLOAT32: np.float32,
}


class TeacherError(UserError):
    """A teacher cannot be used; the message is one sentence that says what to do."""


def no_deeplab(path: Path | str) -> TeacherError:
    """The TeacherError for a file that is no network of the kind."""
    return TeacherError(
        f"{path} is not a TFLite DeepLabv3 with uint8 in- and output: give the path of one that is."
    )


def cut_at_logits(path: Path | str) -> schema.ModelT:
    """A TFLite segmentation network without what follows the convolution that makes its logits.

    Args:
        path: the ``.tflite`` file: a picture in, a label map or upsampled logits out.

    Returns:
        A ``ModelT`` of TFLite's schema, whose only output is the logits.

    Raises:
        TeacherError: it is no such network.
    """
    data = Path(path).read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(data, 0):
        raise no_deeplab(path)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    makers = {int(t): n for n, operator in enumerate(graph.operators) for t in operator.outputs}
    tensor = int(graph.outputs[0])
    while tensor in makers and _code(model, graph.operators[makers[tensor]]) in _AFTER_LOGITS:
        operator = graph.operators[makers[tensor]]
        resizes = _code(model, operator) == _OPERATORS.RESIZE_BILINEAR
        if resizes and not operator.builtinOptions.alignCorners:
            raise no_deeplab(path)
        tensor = int(operator.inputs[0])
    if tensor not in makers or _code(model, graph.operators[makers[tensor]]) != _OPERATORS.CONV_2D:
        raise no_deeplab(path)
    graph.operators = graph.operators[: makers[tensor] + 1]
    graph.outputs = [tensor]
    model.signatureDefs = None  # they name the old output
    return model


class FloatNetwork:
    """The DeepLabv3 of a quantised TFLite file as a float network that TensorFlow runs on pictures of any size.

    The file's weights are turned into real numbers; activations are not rounded, but end where the quantised ones
    do, which is what makes its ReLUs.

    Args:
        path: the ``.tflite`` file, see ``cut_at_logits``.
        dtype: what it computes in, ``"float32"`` or ``"bfloat16"``.

    Attributes:
        stride: distance of neighbouring logits in pixels. classes: K.
        block_widths: channels of what each block of its encoder ends in, see ``__call__``.

    Raises:
        TeacherError: it is no such network, or has a layer that DeepLabv3 on MobileNetV2 has not.
    """

    def __init__(self, path: Path | str, dtype: str = "float32"):
        model = cut_at_logits(path)
        self._dtype = tf.as_dtype(dtype)
        self._tensors = model.subgraphs[0].tensors
        self._buffers = [buffer.data for buffer in model.buffers]
        self._input, self._output = (
            int(getattr(model.subgraphs[0], end)[0]) for end in ("inputs", "outputs")
        )
        builders: dict[int, Callable] = {
            _OPERATORS.CONV_2D: partial(self._convolution, tf.nn.conv2d),
            _OPERATORS.DEPTHWISE_CONV_2D: partial(self._convolution, tf.nn.depthwise_conv2d),
            _OPERATORS.ADD: self._addition,
            _OPERATORS.AVERAGE_POOL_2D: self._pooling,
            _OPERATORS.MEAN: self._mean,
            _OPERATORS.RESIZE_BILINEAR: self._spreading,
            _OPERATORS.QUANTIZE: lambda operator: (tf.identity, 1),  # of one scale to another: the same value
            _OPERATORS.CONCATENATION: self._concatenation,
        }
        self._layers: list[tuple[Callable, list[int], int]] = []  # (function, its inputs, its output)
        for operator in model.subgraphs[0].operators:
            if (code := _code(model, operator)) not in builders:
                raise no_deeplab(path)
            try:
                function, count = builders[code](operator)
            except (TypeError, AttributeError, KeyError, ValueError):  # not quantised, or not as we know it
                raise no_deeplab(path) from None
            inputs = [int(t) for t in operator.inputs[:count]]
            self._layers.append((function, inputs, int(operator.outputs[0])))
        (_, height, _, _), (_, rows, _, self.classes) = (
            map(int, self._tensors[t].shape) for t in (self._input, self._output)
        )
        if rows < 2 or (height - 1) % (rows - 1) or not self._quantised(self._input):
            raise no_deeplab(path)
        self.stride = (height - 1) // (rows - 1)
        # A bottleneck ends without ReLU, in numbers below zero too, and the next block's convolution reads it.
        read = {
            int(o.inputs[0]) for o in model.subgraphs[0].operators if _code(model, o) == _OPERATORS.CONV_2D
        }
        self._bottlenecks = [
            int(operator.outputs[0])
            for operator in model.subgraphs[0].operators
            if _code(model, operator) in (_OPERATORS.CONV_2D, _OPERATORS.ADD)
            and int(operator.outputs[0]) in read
            and self._may_be_negative(int(operator.outputs[0]))
        ]
        self.block_widths = [int(self._tensors[t].shape[3]) for t in self._bottlenecks]

    def pictures(self, crops: Tensor) -> Tensor:
        """The part of crops whose sides are multiples of ``stride`` that it can be asked about, see ``__call__``.

        Its first pixel is in the middle of the crop's first cell, its last in the middle of the last.
        """
        first, left_out = self.stride // 2, self.stride - self.stride // 2 - 1
        height, width = crops.shape[1] - left_out, crops.shape[2] - left_out
        return crops[:, first:height, first:width]

    def __call__(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits of pictures, and what each block of its encoder ends in.

        Args:
            images: (B, H, W, 3) RGB 0..255, of a multiple of ``stride`` and one pixel more, see ``pictures``.

        Returns:
            Logits float32 (B, h, w, K), of which (i, j) belongs to pixel (``stride`` i, ``stride`` j); and float32
            (B, h, w, C) of each block, first to last: the linear bottlenecks, with what is added to them. Cell (i, j)
            of stride s is centred on pixel (s i, s j).
        """
        scale, zero_point = self._quantised(self._input)
        values = {self._input: tf.cast((tf.cast(images, tf.float32) - zero_point) * scale, self._dtype)}
        for function, inputs, output in self._layers:
            values[output] = function(*(values[t] for t in inputs))
        logits, *blocks = (tf.cast(values[t], tf.float32) for t in (self._output, *self._bottlenecks))
        return logits, blocks

    def _may_be_negative(self, tensor):
        return self._quantised(tensor)[1] > np.iinfo(_STORED[self._tensors[tensor].type]).min

    def _size(self, tensor):
        return tuple(map(int, self._tensors[tensor].shape[1:3]))

    def _quantised(self, tensor):
        found = self._tensors[tensor].quantization
        if found is None or found.scale is None or not len(found.scale):
            return None
        return np.float32(found.scale[0]), np.float32(found.zeroPoint[0])

    def _real(self, tensor):
        # The constant's real values.
        found = self._tensors[tensor]
        stored = np.frombuffer(bytes(self._buffers[found.buffer]), _STORED[found.type]).reshape(found.shape)
        shape = [1] * stored.ndim
        if len(found.quantization.scale) > 1:  # one for each channel
            shape[found.quantization.quantizedDimension] = -1
        scale, zero_point = (
            np.asarray(values, np.float32).reshape(shape)
            for values in (found.quantization.scale, found.quantization.zeroPoint)
        )
        return scale * (stored.astype(np.float32) - zero_point)

    def _ending(self, tensor):
        # Saturation: what the output's integers cannot say is cut off, such as all below zero after a ReLU.
        scale, zero_point = self._quantised(tensor)
        kind = np.iinfo(_STORED[self._tensors[tensor].type])
        low, high = (float(scale * (end - zero_point)) for end in (kind.min, kind.max))
        return lambda values: tf.clip_by_value(
            values, tf.cast(low, values.dtype), tf.cast(high, values.dtype)
        )

    def _convolution(self, convolve, operator):
        options, ending = operator.builtinOptions, self._ending(int(operator.outputs[0]))
        # (O, H, W, I) -> (H, W, I, O), and of depthwise ones (1, H, W, C) -> (H, W, C, 1)
        kernel = tf.constant(self._real(int(operator.inputs[1])).transpose(1, 2, 3, 0), self._dtype)
        bias = tf.constant(self._real(int(operator.inputs[2])), self._dtype)
        padding = "SAME" if options.padding == schema.Padding.SAME else "VALID"
        rate = [options.dilationHFactor, options.dilationWFactor]
        strides = [1, options.strideH, options.strideW, 1]
        return lambda x: ending(convolve(x, kernel, strides, padding, dilations=rate) + bias), 1

    def _addition(self, operator):
        ending = self._ending(int(operator.outputs[0]))
        return lambda x, y: ending(x + y), 2

    def _pooling(self, operator):
        options = operator.builtinOptions
        if (options.filterHeight, options.filterWidth) != self._size(operator.inputs[0]):
            raise UserError("It pools parts of a picture.")
        return self._mean(operator)

    def _mean(self, operator):
        # Of the whole picture, however large: image pooling.
        if self._size(operator.outputs[0]) != (1, 1):
            raise UserError("It takes the mean of something else than all pixels.")

        def mean(x):
            return tf.cast(tf.reduce_mean(tf.cast(x, tf.float32), (1, 2), keepdims=True), x.dtype)

        return mean, 1

    def _spreading(self, operator):
        # One vector for the whole picture is spread over it where it meets the other branch.
        if self._size(operator.inputs[0]) != (1, 1):
            raise UserError("It scales a picture.")
        return tf.identity, 1

    def _concatenation(self, operator):
        def joined(*branches):
            shape = tf.shape(max(branches, key=lambda branch: branch.shape[1]))[:3]
            spread = [tf.broadcast_to(b, tf.concat([shape, b.shape[3:]], 0)) for b in branches]
            return tf.concat(spread, axis=-1)

        return joined, len(operator.inputs)


def _code(model, operator):
    entry = model.operatorCodes[operator.opcodeIndex]
    return max(entry.builtinCode, entry.deprecatedBuiltinCode)  # old files have the deprecated one only
