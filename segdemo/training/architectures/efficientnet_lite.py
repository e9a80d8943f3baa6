"""EfficientNet-Lite 0, 1 and 2: image classifiers of convolutions, BatchNorm and ReLU6 alone.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv:1905.11946,
table 1; the Lite variants (Google, 2020, github.com/tensorflow/tpu, ``efficientnet/lite``) leave out squeeze and
excitation, put ReLU6 in place of swish, so that they quantise well, and do not scale the stem, the head and the
repeats of the first and last stage. Layers are named as in ``keras.applications.EfficientNetB0``.
"""

import math
from collections.abc import Callable
from pathlib import Path

import keras

from segdemo.errors import UserError
from segdemo.training.architectures.torch_files import read_state_dict
from segdemo.training.layers import BatchNormalization, DepthwiseConv2D, Tensor

# Repeats, kernel size, stride, expansion, channels of each stage of EfficientNet-B0 (table 1).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # width and depth


def efficientnet_lite(variant: int, weights: str | Path | None = None) -> keras.Model:
    """An EfficientNet-Lite up to its last stage, without the head (a 1x1 convolution to 1280 channels) and classifier.

    Args:
        variant: 0, 1 or 2.
        weights: ``None`` for random, or the path of a PyTorch file with the names of ``efficientnet_lite_pytorch``.

    Returns:
        A ``keras.Model`` from float32 (B, H, W, 3), scaled by ``(x - 127) / 128``, to (B, H/32, W/32, 320) or, of
        variant 2, 352 channels.

    Raises:
        ValueError: the file holds other weights.
    """
    inputs = keras.Input((None, None, 3), name="input")
    x = convolved(inputs, variant)
    model = keras.Model(inputs, x, name=f"efficientnet_lite{variant}")
    if weights is not None:
        load_torch_weights(model, weights)
    return model


def convolved(images: Tensor, variant: int, after_stem: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """All the layers of an ``efficientnet_lite``, put on an input.

    Args:
        images: (B, H, W, 3), scaled as for ``efficientnet_lite``.
        variant: 0, 1 or 2.
        after_stem: what happens to the stem's (B, H/2, W/2, 32) before the first block, if anything.

    Returns:
        (B, H/32, W/32, C).
    """
    width, depth = SCALES[variant]
    x = _strided(images, 3, "stem")
    x = keras.layers.Conv2D(STEM, 3, 2, padding="valid", use_bias=False, name="stem_conv")(x)
    x = _activated(x, "stem")
    x = x if after_stem is None else after_stem(x)
    for stage, (repeats, kernel_size, stride, expansion, channels) in enumerate(STAGES, 1):
        if stage not in (1, len(STAGES)):
            repeats = math.ceil(repeats * depth)
        for n in range(repeats):
            x = _block(
                x,
                kernel_size,
                stride if n == 0 else 1,
                expansion,
                rounded(channels * width),
                f"block{stage}{chr(ord('a') + n)}",
            )
    return x


def rounded(channels: float) -> int:
    """The multiple of 8 next to a number of channels, never more than a tenth below it (MobileNetV2, and all since)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def load_torch_weights(model: keras.Model, path: Path | str) -> None:
    """Load what a PyTorch file of the whole classifier holds of ``efficientnet_lite``'s layers.

    Args:
        model: of ``efficientnet_lite``. path: of a state dict with the names of ``efficientnet_lite_pytorch``.

    Raises:
        ValueError: it holds other weights.
    """
    state = read_state_dict(path)
    blocks: dict[str, int] = {}  # "block1a" to 0, and so on
    for layer in model.layers:
        if layer.name.endswith("_dwconv"):
            blocks[layer.name.removesuffix("_dwconv")] = len(blocks)
    parts = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "bn": "_bn1",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    for layer in model.layers:
        if not layer.weights:
            continue
        block, part = layer.name.split("_", 1)
        if block == "stem":
            prefix = {"conv": "_conv_stem", "bn": "_bn0"}[part]
        else:
            prefix = f"_blocks.{blocks[block]}.{parts[part]}"
        try:
            if isinstance(layer, keras.layers.BatchNormalization):
                found = [state[f"{prefix}.{n}"] for n in ("weight", "bias", "running_mean", "running_var")]
            else:
                # (O, I, H, W) to (H, W, I, O); depthwise ones (C, 1, H, W) to (H, W, C, 1)
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                found = [state[f"{prefix}.weight"].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]
            layer.set_weights(found)
        except (KeyError, ValueError):
            raise UserError(f"{Path(path).name} does not hold the weights of {model.name}.") from None


def _block(x, kernel_size, stride, expansion, channels, name):
    """An inverted bottleneck (Sandler et al., MobileNetV2, arXiv:1801.04381): (B, H, W, C) to
    (B, H/stride, W/stride, channels)."""
    entry = x
    if expansion > 1:
        x = keras.layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _activated(x, f"{name}_expand")
    padding = "same"
    if stride > 1:
        x, padding = _strided(x, kernel_size, name), "valid"
    x = DepthwiseConv2D(kernel_size, stride, padding=padding, use_bias=False, name=f"{name}_dwconv")(x)
    x = _activated(x, name)
    x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _norm(x, f"{name}_project")
    if stride == 1 and entry.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([x, entry])
    return x


def _strided(x, kernel_size, name):
    # What "same" padding is for an even size. As a layer of its own, it can be put on the other side: see
    # ``encoders.centre``.
    before, after = (kernel_size - 1) // 2 - (kernel_size > 1), kernel_size // 2
    return keras.layers.ZeroPadding2D(((before, after), (before, after)), name=f"{name}_pad")(x)


def _norm(x, name):
    return BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)


def _activated(x, name):
    return keras.layers.ReLU(6.0, name=f"{name}_activation")(_norm(x, name))
