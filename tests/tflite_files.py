"""Small TFLite files with the layers of a DeepLabv3 on MobileNetV2."""

import numpy as np
import tensorflow as tf


def network(side, classes=5, quantised=True, seed=0, inner=None):
    """The bytes of a DeepLabv3 of output stride 8: inverted residual, atrous convolution, image pooling.

    ``inner`` is a further layer, after the first two convolutions.
    """
    rng = np.random.default_rng(seed)

    def kernel(*shape):
        return tf.constant(rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape), tf.float32)

    kernels = [kernel(3, 3, 3, 8), kernel(1, 1, 8, 16), kernel(3, 3, 16, 1) * 4, kernel(1, 1, 16, 8)]
    kernels += [kernel(3, 3, 8, 1) * 3, kernel(1, 1, 8, 8), kernel(1, 1, 8, 8), kernel(1, 1, 16, classes) * 2]
    kernels += [kernel(3, 3, 8, 8)]
    bias = tf.constant(rng.normal(0, 0.2, classes), tf.float32)

    def forward(images):
        x = tf.nn.relu6(tf.nn.conv2d(images, kernels[0] / 100, 2, "SAME"))
        x = tf.nn.relu6(tf.nn.conv2d(x, kernels[8], 2, "SAME"))
        x = inner(x) if inner else x
        y = tf.nn.relu6(tf.nn.conv2d(x, kernels[1], 1, "SAME"))
        y = tf.nn.relu6(tf.nn.depthwise_conv2d(y, kernels[2], [1, 1, 1, 1], "SAME", dilations=[2, 2]))
        x = x + tf.nn.conv2d(y, kernels[3], 1, "SAME")
        x = tf.nn.relu6(tf.nn.depthwise_conv2d(x, kernels[4], [1, 2, 2, 1], "SAME"))
        return _head(x, kernels[5], kernels[6], kernels[7], bias, side)

    return _converted(forward, side, quantised)


def strided(side, stride):
    """The bytes of a network whose logits are three times red, green and blue (0..1) of one pixel each."""
    kernel = tf.constant(np.eye(3, dtype=np.float32)[None, None] * 3 / 255)

    def forward(images):
        x = tf.nn.relu(tf.nn.conv2d(images, kernel, stride, "SAME"))
        return tf.compat.v1.image.resize_bilinear(x, (side, side), align_corners=True)

    return _converted(forward, side, True)


def _head(x, pooled_kernel, kernel, logits_kernel, bias, side):
    """DeepLabv3's: image pooling beside a 1x1 convolution, then the logits, upsampled."""
    pooled = tf.nn.avg_pool2d(x, x.shape[1:3], 1, "VALID")
    pooled = tf.nn.relu(tf.nn.conv2d(pooled, pooled_kernel, 1, "SAME"))
    pooled = tf.compat.v1.image.resize_bilinear(pooled, x.shape[1:3], align_corners=True)
    x = tf.concat([pooled, tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))], -1)
    x = tf.nn.conv2d(x, logits_kernel, 1, "SAME") + bias
    return tf.compat.v1.image.resize_bilinear(x, (side, side), align_corners=True)


def _converted(forward, side, quantised, prepare=tf.identity, photos=16):
    function = tf.function(forward, input_signature=[tf.TensorSpec((1, side, side, 3), tf.float32)])
    holder = tf.Module()
    holder.forward = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], holder)
    if quantised:
        rng = np.random.default_rng(1)
        coarse = rng.integers(0, 256, (photos, 9, 9, 3)).astype(np.float32)
        samples = prepare(tf.image.resize(coarse, (side, side)))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


def mobilenet_deeplab(encoder, side, classes):
    """The bytes of a DeepLabv3 of output stride 16 whose MobileNetV2 has an encoder's weights.

    Every convolution pads both sides, as TensorFlow does with pictures of one pixel more than a multiple of 16.
    """
    layers = {layer.name: layer for layer in encoder.layers}
    weights = {name: layer.get_weights() for name, layer in layers.items()}
    rng = np.random.default_rng(0)
    heads = [
        rng.normal(0, 0.08, (1, 1, width, n)).astype("f") for width, n in ((320, 8), (320, 8), (16, classes))
    ]

    def convolution(x, name, norm, activation=tf.identity):
        gamma, beta, mean, variance = weights[norm]
        scale = gamma / np.sqrt(variance + layers[norm].epsilon)
        kernel, strides = weights[name][0], layers[name].strides
        rate, bias = layers[name].dilation_rate, beta - mean * scale
        if "depthwise" in name:
            x = tf.nn.depthwise_conv2d(x, kernel * scale[:, None], [1, *strides, 1], "SAME", dilations=rate)
        else:
            x = tf.nn.conv2d(x, kernel * scale, strides, "SAME")
        return activation(x + bias.astype("f"))

    def forward(images):
        x = convolution(images, "Conv1", "bn_Conv1", tf.nn.relu6)
        for block in ["expanded_conv"] + [f"block_{n}" for n in range(1, 17)]:
            y = x
            for part in ("expand", "depthwise", "project"):
                name = f"{block}_{part}"
                if name in layers:
                    y = convolution(y, name, f"{name}_BN", tf.identity if part == "project" else tf.nn.relu6)
            x = x + y if f"{block}_add" in layers else y
        return _head(x, *heads, tf.zeros(classes), side)

    return _converted(forward, side, True, lambda images: images / 127.5 - 1.0, photos=4)
