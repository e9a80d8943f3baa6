"""What TensorFlow can do on this machine, and how fast: found out by asking it, once a process.

TensorFlow has its fast kernels for the CPU from oneDNN. It uses them by itself only on some processors, and on some
builds it has none. What they alone can do fails elsewhere.
"""

import logging
import statistics
import time
from functools import cache
from typing import Any

FASTER = 1.15  # times; less is within the noise of so short a measurement

_log = logging.getLogger(__name__)


@cache
def has_atrous_gradient(dtype: str) -> bool:
    """Whether TensorFlow can differentiate an atrous convolution of a dtype here: tried on one of 4x4 pixels.

    On a CPU only oneDNN's kernels can.
    """
    import tensorflow as tf

    with tf.init_scope():  # at once, although a graph may be being made
        image, kernel = tf.ones((1, 4, 4, 1), dtype), tf.ones((3, 3, 1, 1), dtype)
        rest = {"out_backprop": image, "strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]}
        try:
            tf.raw_ops.Conv2DBackpropInput(input_sizes=image.shape, filter=kernel, **rest)
            tf.raw_ops.Conv2DBackpropFilter(input=image, filter_sizes=kernel.shape, **rest)
        except tf.errors.OpError:
            _log.warning(
                "TensorFlow has no gradient of atrous convolutions in %s here, so training takes Keras's way, which is "
                "slower.",
                dtype,
            )
            return False
    return True


@cache
def has_fused_norm(dtype: str) -> bool:
    """Whether TensorFlow's fused BatchNorm and its gradient take inputs of a dtype here: tried on 4x4 pixels.

    oneDNN has none in bfloat16 for processors with nothing above AVX2.
    """
    import tensorflow as tf

    with tf.init_scope():  # at once, although a graph may be being made
        images, ones = tf.ones((1, 4, 4, 1), dtype), tf.ones(1)
        try:
            result = tf.raw_ops.FusedBatchNormV3(x=images, scale=ones, offset=ones, mean=ones, variance=ones)
            tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=images,
                x=images,
                scale=ones,
                reserve_space_1=result.reserve_space_1,
                reserve_space_2=result.reserve_space_2,
                reserve_space_3=result.reserve_space_3,
            )
        except tf.errors.OpError:
            _log.info("No fused BatchNorm in %s here: it is computed as Keras does.", dtype)
            return False
    return True


@cache
def bfloat16_is_faster() -> bool:
    """Whether a small convolution and its gradient are clearly faster here in bfloat16 than in float32: timed."""
    import tensorflow as tf

    try:
        slow, fast = (_convolution_seconds(dtype) for dtype in ("float32", "bfloat16"))
    except tf.errors.OpError as error:  # a kernel is missing
        _log.info("No bfloat16 here: %s", error.message)
        return False
    return slow > FASTER * fast


@cache
def depthwise_tiles_are_faster(dtype: str) -> bool:
    """Whether ``depthwise_gradient_by_tiles`` is clearly faster here than TensorFlow's own gradient: timed."""
    import tensorflow as tf

    with tf.init_scope():
        images, kernel = tf.ones((4, 32, 32, 96), dtype), tf.ones((5, 5, 96, 1), dtype)

        def seconds(gradient):
            step = tf.function(lambda: gradient(images, kernel, images, 1, "SAME"), autograph=False)
            return _median_seconds(step)

        try:
            slow, fast = seconds(_as_tensorflow), seconds(depthwise_gradient_by_tiles)
        except tf.errors.OpError as error:
            _log.info("No gradients of depthwise convolutions in tiles here: %s", error.message)
            return False
    return slow > FASTER * fast


def depthwise_gradient_by_tiles(
    inputs: Any, kernel: Any, upstream: Any, stride: int, padding: str
) -> tuple[Any, Any]:
    """The gradient of ``tf.nn.depthwise_conv2d``, where kernels larger than 3x3 are put together from tiles of 3x3.

    The gradient of a tile of the kernel is that of a smaller kernel on a shifted part of the padded inputs. With a
    stride, the gradient with respect to the inputs is computed in float32, since oneDNN's in bfloat16 takes ten times
    as long.

    Args:
        inputs: (B, H, W, C), H and W known or not. kernel: (k, k, C, m). upstream: (B, h, w, C * m), the gradient with
            respect to the convolution's result. All of one dtype. stride: of rows and columns. padding: SAME, VALID.

    Returns:
        The gradients with respect to ``inputs`` and ``kernel``, of their shapes and dtype.
    """
    import tensorflow as tf

    size = kernel.shape[0]
    precise = inputs.dtype if stride == 1 else tf.float32
    exact, weights, gradient = (tf.cast(tensor, precise) for tensor in (inputs, kernel, upstream))
    by_inputs = tf.cast(_by_inputs(exact, weights, gradient, stride, padding), inputs.dtype)
    if size <= 3:
        return by_inputs, _by_kernel(inputs, kernel, upstream, stride, padding)

    height, width = (tf.shape(upstream)[axis] for axis in (1, 2))
    if padding == "SAME":
        sides = []
        for axis, result in ((1, height), (2, width)):
            missing = tf.maximum((result - 1) * stride + size - tf.shape(inputs)[axis], 0)
            sides.append([missing // 2, missing - missing // 2])
        inputs = tf.pad(inputs, [[0, 0], *sides, [0, 0]])

    def tile(top, left):
        part = inputs[:, top : top + (height - 1) * stride + 3, left : left + (width - 1) * stride + 3]
        return _by_kernel(part, kernel[:3, :3], upstream, stride, "VALID")

    starts = [*range(0, size - 3, 3), size - 3]
    news = [3] * (len(starts) - 1) + [(size - 1) % 3 + 1]  # the last tile may lie on the one before
    rows = [
        tf.concat([tile(top, left)[3 - new :, 3 - n :] for left, n in zip(starts, news, strict=True)], 1)
        for top, new in zip(starts, news, strict=True)
    ]
    return by_inputs, tf.concat(rows, 0)


def _by_inputs(inputs, kernel, upstream, stride, padding):
    import tensorflow as tf

    return tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=tf.shape(inputs),
        filter=kernel,
        out_backprop=upstream,
        strides=[1, stride, stride, 1],
        padding=padding,
    )


def _by_kernel(inputs, kernel, upstream, stride, padding):
    import tensorflow as tf

    return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=inputs,
        filter_sizes=kernel.shape,
        out_backprop=upstream,
        strides=[1, stride, stride, 1],
        padding=padding,
    )


def _as_tensorflow(*arguments):
    return _by_inputs(*arguments), _by_kernel(*arguments)


def _convolution_seconds(dtype):
    # The median time of a 3x3 convolution of 64 channels on eight pictures of 32x32 pixels, with its gradient.
    import tensorflow as tf

    images, kernel = tf.ones((8, 32, 32, 64), dtype), tf.ones((3, 3, 64, 64), dtype)

    @tf.function(autograph=False)
    def step(images, kernel):
        sums = tf.nn.conv2d(images, kernel, 1, "SAME")
        shared = {"out_backprop": sums, "strides": [1, 1, 1, 1], "padding": "SAME"}
        by_input = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(images), filter=kernel, **shared)
        by_kernel = tf.raw_ops.Conv2DBackpropFilter(input=images, filter_sizes=tf.shape(kernel), **shared)
        return tf.reduce_sum(by_input) + tf.reduce_sum(by_kernel)

    return _median_seconds(lambda: step(images, kernel).numpy())


def _median_seconds(work, repeats=5):
    # Of some repeats after a first one, which may compile.
    times = []
    for _ in range(1 + repeats):
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])
