"""DeepLabv3: Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image
Segmentation", arXiv:1706.05587 (2017)."""

from collections.abc import Sequence
from pathlib import Path

import keras

from segdemo.training.architectures.encoders import build_encoder, encoder_spec
from segdemo.training.architectures.upsampling import guided_upsampling
from segdemo.training.layers import Preprocess, ResizeLike, Tensor, conv_bn_relu

# Rates at output stride 16; at 8 they double (section 4.2), at 32 they halve.
ASPP_RATES = (6, 12, 18)


def aspp(x: Tensor, filters: int = 256, rates: Sequence[int] = ASPP_RATES, dropout: float = 0.1) -> Tensor:
    """Atrous spatial pyramid pooling with image-level features (section 3.3, figure 5).

    Args:
        x: features (B, h, w, C).
        filters: width of every branch and of the projection.
        rates: atrous rates of the 3x3 branches.
        dropout: rate after the projection.

    Returns:
        (B, h, w, filters).
    """
    branches = [conv_bn_relu(x, filters, 1, name="aspp_1x1")]
    branches += [conv_bn_relu(x, filters, 3, rate, name=f"aspp_rate{rate}") for rate in rates]

    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(x)  # (B, 1, 1, C)
    pooled = conv_bn_relu(pooled, filters, 1, name="aspp_pool")  # the convolved tensor is what gets upsampled
    branches.append(ResizeLike(name="aspp_pool_resize")(pooled, x))

    x = keras.layers.Concatenate(name="aspp_concat")(branches)  # (B, h, w, filters * (len(rates) + 2))
    x = conv_bn_relu(x, filters, 1, name="aspp_project")
    return keras.layers.Dropout(dropout, name="aspp_dropout")(x)


def deeplabv3(
    num_classes: int = 21,
    encoder: str = "mobilenet_v2",
    weights: str | Path | None = None,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 1, 1),
    aspp_filters: int = 256,
    aspp_rates: Sequence[int] | None = None,
    guided: bool = False,
    name: str = "deeplabv3",
) -> keras.Model:
    """DeepLabv3 with any encoder of ``encoders.ENCODERS``.

    Args:
        num_classes: channels of the logits; void is not a class.
        encoder: name of the encoder. ResNet-50 is the network of *TensorFlow in Action*, chapter 8.
        weights: encoder weights, see ``build_encoder``.
        output_stride: 16 to train, 8 for a denser prediction.
        multi_grid: unit rates of the last stage's three blocks; the paper's best is (1, 2, 4).
        aspp_filters: 256 in the paper.
        aspp_rates: by default (6, 12, 18) scaled to the output stride.
        guided: upsample by 4 with ``guided_upsampling``, which is not in the paper, before the bilinear upsampling.
        name: name of the model.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3), any size, to logits float32 (B, H, W, num_classes).
        The layer ``"logits"`` holds them at 1/output_stride of that size, before any upsampling, and, if ``guided``,
        the layer ``"fine_logits"`` at 4/output_stride, before the bilinear upsampling.
    """
    rates = aspp_rates or tuple(rate * 16 // output_stride for rate in ASPP_RATES)
    images = keras.Input((None, None, 3), name="image")
    photos = Preprocess(encoder_spec(encoder).preprocess, name="preprocess")(images)
    features = build_encoder(encoder, weights, output_stride, multi_grid, centred=True)(photos)
    x = features["c5"]  # (B, H/os, W/os, C)
    x = aspp(x, aspp_filters, rates)
    logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    if guided:
        logits = guided_upsampling(logits, x, photos, features)
    return keras.Model(images, ResizeLike(dtype="float32", name="upsample")(logits, images), name=name)
