"""What TensorFlow can do on this machine, and how fast: found out by asking it, once a process.

TensorFlow has its fast kernels for the CPU from oneDNN. It uses them by itself only on some processors, and on some
builds it has none. What they alone can do fails elsewhere.
"""

import logging
import statistics
import time
from functools import cache

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
def bfloat16_is_faster() -> bool:
    """Whether a small convolution and its gradient are clearly faster here in bfloat16 than in float32: timed."""
    import tensorflow as tf

    try:
        slow, fast = (_convolution_seconds(dtype) for dtype in ("float32", "bfloat16"))
    except tf.errors.OpError as error:  # a kernel is missing
        _log.info("No bfloat16 here: %s", error.message)
        return False
    return slow > FASTER * fast


def _convolution_seconds(dtype, repeats=5):
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

    times = []
    for _ in range(1 + repeats):
        before = time.perf_counter()
        step(images, kernel).numpy()
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])
