"""Layers the segmentation networks share. Every tensor is channels-last: (B, H, W, C)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from segdemo.errors import UserError
from segdemo.training.kernels import (
    depthwise_gradient_by_tiles,
    depthwise_tiles_are_faster,
    has_atrous_gradient,
    has_fused_norm,
)

SERIAL = "segdemo"
Tensor = Any  # of TensorFlow, of Keras or an array


@keras.saving.register_keras_serializable(SERIAL)
class AtrousConv2D(keras.layers.Conv2D):
    """Conv2D whose atrous rate reaches the convolution kernel itself.

    On TensorFlow, ``keras.layers.Conv2D(dilation_rate > 1)`` becomes SpaceToBatchND, Conv2D, BatchToSpaceND
    on the CPU, which is two to eight times slower and clutters the exported graph. This layer calls
    ``tf.nn.conv2d(dilations=...)``. Where TensorFlow has no gradient of that, the gradient is that of Keras's way.
    Arguments, weights and results are those of
    ``keras.layers.Conv2D``.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self.groups > 1:
            return super().convolution_op(inputs, kernel)

        def convolved(inputs, kernel):
            return tf.nn.conv2d(
                inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate
            )

        inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        if self.dilation_rate == (1, 1) or has_atrous_gradient(inputs.dtype.name):
            return convolved(inputs, kernel)
        by_keras = super().convolution_op

        @tf.custom_gradient
        def with_gradient(inputs, kernel):
            def gradient(upstream):
                with tf.GradientTape() as tape:
                    tape.watch([inputs, kernel])
                    outputs = by_keras(inputs, kernel)
                return tape.gradient(outputs, [inputs, kernel], upstream)

            return convolved(inputs, kernel), gradient

        return with_gradient(inputs, kernel)


@keras.saving.register_keras_serializable(SERIAL)
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """DepthwiseConv2D whose gradient is fast for kernels of 5x5, and in bfloat16 for strides.

    oneDNN has a fast gradient of 3x3 depthwise kernels, and one that takes up to forty times as long of larger ones,
    so that of a larger kernel is put together from 3x3 tiles where that is measured to be faster. Arguments, weights
    and results are those of ``keras.layers.DepthwiseConv2D``, as is the name, which files of weights have.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        inputs = tf.convert_to_tensor(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        plain = kernel.shape[0] == kernel.shape[1] and self.strides[0] == self.strides[1]
        if not (training and plain and depthwise_tiles_are_faster(inputs.dtype.name)):
            return super().call(inputs)
        outputs = self._convolved(inputs, kernel)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs) if self.activation is not None else outputs

    def _convolved(self, inputs, kernel):
        if self.dilation_rate == (1, 1):
            return _depthwise(inputs, kernel, self.strides[0], self.padding.upper())
        return tf.compat.v1.nn.with_space_to_batch(
            inputs,
            list(self.dilation_rate),
            self.padding.upper(),
            lambda batch, _, padding: _depthwise(batch, kernel, 1, padding),
            filter_shape=kernel.shape[:2],
        )


def _depthwise(inputs, kernel, stride, padding):
    # tf.nn.depthwise_conv2d with a gradient of our own.
    @tf.custom_gradient
    def convolved(inputs, kernel):
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, [1, stride, stride, 1], padding)
        return outputs, lambda upstream: depthwise_gradient_by_tiles(
            inputs, kernel, upstream, stride, padding
        )

    return convolved(inputs, kernel)


@keras.saving.register_keras_serializable(SERIAL)
class AtrousDepthwiseConv2D(DepthwiseConv2D):
    """DepthwiseConv2D with stride 1 and an atrous rate, without SpaceToBatchND on the CPU.

    TensorFlow has no atrous depthwise kernel for the CPU. To predict, the holes are written into the kernel as
    zeros; ``export`` takes them out again. Training takes Keras's way, which there is twice as fast for 5x5 kernels.
    Arguments, weights and results are those of ``keras.layers.DepthwiseConv2D``.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if self.dilation_rate == (1, 1) or training:
            return super().call(inputs, training=training)
        rate = self.dilation_rate[0]
        height, width, channels, multiplier = self.kernel.shape
        holes = ops.reshape(self.kernel, (height, 1, width, 1, channels, multiplier))
        holes = ops.pad(holes, ((0, 0), (0, rate - 1), (0, 0), (0, rate - 1), (0, 0), (0, 0)))
        holes = ops.reshape(holes, (height * rate, width * rate, channels, multiplier))
        kernel = holes[: (height - 1) * rate + 1, : (width - 1) * rate + 1]
        outputs = ops.depthwise_conv(inputs, kernel, self.strides, self.padding)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs) if self.activation is not None else outputs


@keras.saving.register_keras_serializable(SERIAL)
class BatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization that learns by TensorFlow's fused kernel, which goes over a batch once.

    Keras goes over it for each of mean, variance and result, and casts what is not float32 to it and back, also in a
    layer that is frozen and is a mere scaling. Arguments, weights and results are those of
    ``keras.layers.BatchNormalization``, as is the name, which files of weights have.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        inputs = tf.convert_to_tensor(inputs)
        plain = self.scale and self.center and not self.renorm and not self.synchronized
        of_images = inputs.shape.rank == 4 and self.axis in (-1, 3) and mask is None
        better = self.trainable or inputs.dtype != tf.float32
        better &= self.variable_dtype == "float32"  # the kernel's statistics are
        if not (training and plain and of_images and better and has_fused_norm(inputs.dtype.name)):
            return super().call(inputs, training=training, mask=mask)
        gamma, beta, moving_mean, moving_variance = (
            tf.convert_to_tensor(weight)
            for weight in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        )
        if not self.trainable:
            return _frozen_norm(inputs, gamma, beta, moving_mean, moving_variance, self.epsilon)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, gamma, beta, epsilon=self.epsilon, is_training=True
        )
        pixels = tf.cast(tf.size(inputs, tf.int64) / inputs.shape[-1], variance.dtype)
        variance *= 1 - 1 / pixels  # of the batch, as Keras has it, not of what the batch is a sample of
        self.moving_mean.assign(moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(moving_variance * self.momentum + variance * (1 - self.momentum))
        return outputs


def _frozen_norm(inputs, gamma, beta, mean, variance, epsilon):
    # BatchNorm by fixed statistics, none of whose weights learn: (B, H, W, C) to the same, in the dtype of inputs.
    @tf.custom_gradient
    def normed(inputs):
        outputs, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs, gamma, beta, mean, variance, epsilon=epsilon, is_training=False
        )
        scale = gamma * tf.math.rsqrt(variance + epsilon)
        return outputs, lambda upstream: upstream * tf.cast(scale, upstream.dtype)

    return normed(inputs)


@keras.saving.register_keras_serializable(SERIAL)
class AtrousMaxPooling2D(keras.layers.Layer):
    """Max pooling of stride 1 whose window has holes: each pixel, and those ``rate`` and more below and to the right.

    What remains of max pooling with strides in a network without them: at every ``rate``-th pixel it gives what the
    strided one does. Keras's own has no atrous rate.

    Args:
        pool_size: side of the window, in pixels that count.
        rate: distance between them.

    Call: (B, H, W, C) to (B, H, W, C); beyond the edge nothing counts.
    """

    def __init__(self, pool_size: int = 2, rate: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.pool_size, self.rate = int(pool_size), int(rate)

    def call(self, inputs: Tensor) -> Tensor:
        _, height, width, _ = ops.shape(inputs)
        reach = (self.pool_size - 1) * self.rate
        lowest = float(tf.as_dtype(keras.backend.standardize_dtype(inputs.dtype)).min)
        padded = ops.pad(inputs, ((0, 0), (0, reach), (0, reach), (0, 0)), constant_values=lowest)
        result = inputs
        for row in range(0, reach + 1, self.rate):
            for column in range(0, reach + 1, self.rate):
                result = ops.maximum(result, padded[:, row : row + height, column : column + width])
        return result

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable(SERIAL)
class Preprocess(keras.layers.Layer):
    """RGB in 0..255, uint8 or float, to what an ImageNet encoder was trained on.

    Args:
        style: ``"tf"`` scales to [-1, 1] (MobileNetV2). ``"caffe"`` flips to BGR and subtracts the ImageNet
            mean without scaling (ResNet). ``"lite"`` is ``(x - 127) / 128`` (EfficientNet-Lite). ``"unit"`` scales to
            [0, 1] (networks trained from scratch).

    Call: (B, H, W, 3) to float (B, H, W, 3).
    """

    STYLES = ("tf", "caffe", "lite", "unit")

    def __init__(self, style: str, **kwargs: Any):
        super().__init__(**kwargs)
        if style not in self.STYLES:
            raise UserError(f"Preprocess style is one of {', '.join(self.STYLES)}, not {style!r}.")
        self.style = style

    def call(self, images: Tensor) -> Tensor:
        images = ops.cast(images, self.compute_dtype)
        if self.style == "tf":
            return images / 127.5 - 1.0
        if self.style == "lite":
            return (images - 127.0) / 128.0
        if self.style == "unit":
            return images / 255.0
        mean = ops.cast([103.939, 116.779, 123.68], self.compute_dtype)  # B, G, R
        return images[..., ::-1] - mean


@keras.saving.register_keras_serializable(SERIAL)
class ResizeLike(keras.layers.Layer):
    """Bilinear resize of one feature map to ``factor`` times the height and width of another (half-pixel centres).

    Call: ``(features (B, h, w, C), like (B, H, W, any))`` to (B, factor H, factor W, C). Sizes may be unknown until
    run time.
    """

    def __init__(self, factor: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = int(factor)

    def call(self, features: Tensor, like: Tensor) -> Tensor:
        # keras.ops.image.resize takes no size known only at run time.
        return tf.cast(
            tf.image.resize(features, self.factor * tf.shape(like)[1:3], "bilinear"), features.dtype
        )

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], like_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        size = (None if side is None else self.factor * side for side in like_shape[1:3])
        return (features_shape[0], *size, features_shape[-1])


@keras.saving.register_keras_serializable(SERIAL)
class PadToMultiple(keras.layers.Layer):
    """Zeros below and to the right, up to the next multiple of ``multiple`` in height and width.

    With the input a multiple of the network's largest stride, every decoder feature map has exactly the
    size of the encoder's, whatever the image; ``CropLike`` takes the margin off the logits. Sizes that fit
    already pass unchanged.

    Call: (B, H, W, C) to (B, ceil(H / multiple) * multiple, ceil(W / multiple) * multiple, C).
    """

    def __init__(self, multiple: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.multiple = int(multiple)

    def call(self, features: Tensor) -> Tensor:
        height, width = ops.shape(features)[1:3]
        below, right = -height % self.multiple, -width % self.multiple
        if isinstance(below, int) and isinstance(right, int) and below == right == 0:
            return features
        return ops.pad(features, [[0, 0], [0, below], [0, right], [0, 0]])

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        height, width = (None if n is None else n + -n % self.multiple for n in shape[1:3])
        return (shape[0], height, width, shape[3])


@keras.saving.register_keras_serializable(SERIAL)
class CropLike(keras.layers.Layer):
    """The upper left part of one feature map, as high and wide as another.

    Call: ``(features (B, h, w, C), like (B, H, W, any))``, h >= H and w >= W, to (B, H, W, C).
    """

    def call(self, features: Tensor, like: Tensor) -> Tensor:
        height, width = ops.shape(like)[1:3]
        return features[:, :height, :width, :]

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], like_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (features_shape[0], *like_shape[1:3], features_shape[-1])


def bilinear_kernel(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    """Kernel of a transposed convolution that interpolates bilinearly, each channel by itself.

    For a stride s the kernel is 2s x 2s and holds, on the diagonal of its channels, the tent
    ``(1 - |i - c| / s) * (1 - |j - c| / s)`` with c = s - 1/2 (Long, Shelhamer, Darrell, 2015, section 3.3).

    Args:
        shape: (2s, 2s, channels, channels).
        dtype: Keras's own by default.
    """
    rows, _, channels, _ = shape
    stride = rows // 2
    tent = 1.0 - np.abs(np.arange(rows) - (stride - 0.5)) / stride
    kernel = np.einsum("i,j,oc->ijoc", tent, tent, np.eye(channels))
    return ops.convert_to_tensor(kernel, dtype=dtype or keras.config.floatx())


@keras.saving.register_keras_serializable(SERIAL)
class LearnedUpsampling(keras.layers.Conv2DTranspose):
    """Transposed convolution that starts out as bilinear upsampling by ``stride`` (FCN's "deconvolution").

    The features' border is repeated once around them, so that before training the result equals a bilinear
    resize (half-pixel centres) up to the very edge instead of fading to zero there.

    Args:
        channels: of input and output.
        stride: factor of the upsampling.

    Call: (B, h, w, channels) to (B, h * stride, w * stride, channels).
    """

    def __init__(self, channels: int, stride: int, **kwargs: Any):
        self.channels, self.stride = int(channels), int(stride)
        super().__init__(
            self.channels,
            2 * self.stride,
            strides=self.stride,
            padding="same",
            use_bias=False,
            kernel_initializer=bilinear_kernel,
            **kwargs,
        )

    def call(self, features: Tensor) -> Tensor:
        x = ops.concatenate([features[:, :1], features, features[:, -1:]], 1)
        x = ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], 2)  # (B, h + 2, w + 2, C)
        x = super().call(x)
        return x[:, self.stride : -self.stride, self.stride : -self.stride]

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "channels": self.channels,
            "stride": self.stride,
        }


@keras.saving.register_keras_serializable(SERIAL)
class MaxPoolWithIndices(keras.layers.Layer):
    """2x2 max pooling of stride 2 that also says which of its four pixels won.

    Call: (B, H, W, C), H and W even, to ``(maxima (B, H/2, W/2, C), indices int32 (B, H/2, W/2, C))``. An
    index is 0, 1, 2, 3 for the upper left, upper right, lower left, lower right pixel; of equals the first
    wins.
    """

    def call(self, features: Tensor) -> Tensor:
        maxima = ops.max_pool(features, 2, 2)
        indices = ops.full_like(maxima, 3, dtype="int32")
        for index, (i, j) in ((2, (1, 0)), (1, (0, 1)), (0, (0, 0))):
            indices = ops.where(features[:, i::2, j::2] == maxima, index, indices)
        return maxima, ops.stop_gradient(indices)

    def compute_output_spec(self, features: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        batch, height, width, channels = features.shape
        if any(side is not None and side % 2 for side in (height, width)):
            raise UserError(f"Pooling with indices needs an even height and width, not {height} x {width}.")
        shape = (batch, height and height // 2, width and width // 2, channels)
        return keras.KerasTensor(shape, features.dtype), keras.KerasTensor(shape, "int32")


@keras.saving.register_keras_serializable(SERIAL)
class MaxUnpool(keras.layers.Layer):
    """Undoes ``MaxPoolWithIndices``: values go back to where the maxima were, all other pixels are 0.

    Badrinarayanan, Kendall, Cipolla, "SegNet", arXiv:1511.00561 (2017), figure 3. Comparisons and reshapes
    only, so it runs on every backend and exports to plain ONNX operators.

    Call: ``(features (B, h, w, C), indices int32 (B, h, w, C))`` to (B, 2h, 2w, C).
    """

    def call(self, features: Tensor, indices: Tensor) -> Tensor:
        corners = [ops.where(indices == index, features, 0) for index in range(4)]
        upper, lower = ops.stack(corners[:2], 3), ops.stack(corners[2:], 3)  # (B, h, w, 2, C)
        _, height, width, channels = ops.shape(features)
        rows = [ops.reshape(row, (-1, height, 2 * width, channels)) for row in (upper, lower)]
        return ops.reshape(ops.stack(rows, 2), (-1, 2 * height, 2 * width, channels))

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], indices_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        if features_shape[-1] != indices_shape[-1]:
            raise UserError(
                f"The pooling indices have {indices_shape[-1]} channels and the features "
                f"{features_shape[-1]}: a decoder stage must end with the width of the encoder stage whose "
                "indices come next."
            )
        height, width = (None if n is None else 2 * n for n in features_shape[1:3])
        return (features_shape[0], height, width, features_shape[-1])


@keras.saving.register_keras_serializable(SERIAL)
class MonteCarloDropout(keras.layers.Dropout):
    """Dropout that stays active at prediction, so that repeated passes sample from the posterior.

    Gal and Ghahramani, "Dropout as a Bayesian Approximation", arXiv:1506.02142 (2016). The exported graph
    draws new noise at each run. ``keras.utils.set_random_seed`` makes it repeatable.

    Call: any shape, to the same shape; a share ``rate`` of the entries becomes 0, the others grow by
    ``1 / (1 - rate)``.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if self.rate == 0:
            return inputs
        # Keras draws from StatelessRandomUniform, which has no counterpart in ONNX; RandomUniform has one.
        noise = tf.random.uniform(tf.shape(inputs), dtype=inputs.dtype)
        return tf.where(noise >= self.rate, inputs / (1.0 - self.rate), tf.zeros_like(inputs))


def last_logits(model: keras.Model) -> keras.KerasTensor:
    """What a segmentation model gives before its last bilinear upsampling: a tensor (B, h, w, K).

    That is the output of its layer ``"fine_logits"``, else of ``"logits"``, else its own.
    """
    found = {layer.name: layer for layer in model.layers}
    last = found.get("fine_logits") or found.get("logits")
    return last.output if last else model.output


def cropped_logits(model: keras.Model) -> keras.KerasTensor:
    """Logits of what a segmentation model sees, to be resized: a tensor (B, h, w, K).

    They are its ``last_logits``, unless these reach over the margin of ``PadToMultiple``: then its output, without it.
    """
    padded = any(isinstance(layer, CropLike) for layer in model.layers)
    return model.output if padded else last_logits(model)


def conv_bn_relu(
    x: Tensor, filters: int, kernel_size: int = 3, rate: int = 1, stride: int = 1, name: str | None = None
) -> Tensor:
    """Convolution without bias, BatchNorm, ReLU. (B, H, W, C) to (B, ceil(H / stride), ceil(W / stride), filters)."""
    x = AtrousConv2D(
        filters,
        kernel_size,
        stride,
        padding="same",
        dilation_rate=rate,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
