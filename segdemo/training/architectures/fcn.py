"""FCN-32s, FCN-16s, FCN-8s: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic
Segmentation", arXiv:1411.4038 (2015)."""

from functools import partial
from pathlib import Path

import keras

from segdemo.errors import UserError
from segdemo.training.architectures.encoders import build_encoder, encoder_spec
from segdemo.training.layers import AtrousConv2D, CropLike, LearnedUpsampling, PadToMultiple, Preprocess

# Stride of the last upsampling to the encoder features that are fused before it, coarsest first.
SKIPS = {32: (), 16: ("c4",), 8: ("c4", "c3")}
STRIDES = {"c4": 16, "c3": 8}  # of these features, unless the output stride is smaller


def fcn(
    num_classes: int = 21,
    encoder: str = "mobilenet_v2",
    weights: str | Path | None = None,
    stride: int = 8,
    fc_filters: int = 4096,
    dropout: float = 0.5,
    output_stride: int = 32,
    name: str | None = None,
) -> keras.Model:
    """FCN with any encoder of ``encoders.ENCODERS``; the paper's has ``encoder="vgg16"``.

    The classifier's fully connected layers become convolutions, fc6 (7x7) and fc7 (1x1). Their scores are
    upsampled by learned transposed convolutions that start out bilinear, and scores of finer features are
    added on the way. Those skip scores start at zero, so training starts from the plain coarse prediction.

    Args:
        num_classes: channels of the logits; void is not a class.
        encoder: name of the encoder.
        weights: encoder weights, see ``build_encoder``.
        stride: of the last upsampling: 32, 16 (skip from c4) or 8 (skips from c4 and c3).
        fc_filters: width of fc6 and fc7, 4096 in the paper. fc6 holds 49 * C * fc_filters weights.
        dropout: rate behind fc6 and fc7.
        output_stride: 32, as in the paper, or 16 or 8 for an atrous encoder and fc6: coarse scores are then as dense as
            that, and upsampling takes fewer steps or shorter ones. The weights are of the same shapes but for the
            upsampling's.
        name: name of the model, by default fcn32s, fcn16s or fcn8s.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3), any size, to logits float32 (B, H, W, num_classes).

    Raises:
        ValueError: unknown encoder, stride or output stride. FileNotFoundError: no such weights file.
    """
    if stride not in SKIPS:
        raise UserError(f"The stride of an FCN is 32, 16 or 8, not {stride}.")
    images = keras.Input((None, None, 3), name="image")
    x = Preprocess(encoder_spec(encoder).preprocess, name="preprocess")(images)
    x = PadToMultiple(32, name="pad")(x)
    features = build_encoder(encoder, weights, output_stride)(x)

    x, now = features["c5"], output_stride  # (B, H/now, W/now, C)
    rate = 32 // output_stride
    # Weights are found by the class of their layer: of another class only where they could not be what they were.
    fc6 = keras.layers.Conv2D if rate == 1 else partial(AtrousConv2D, dilation_rate=rate)
    for layer, convolution, size in (("fc6", fc6, 7), ("fc7", keras.layers.Conv2D, 1)):
        x = convolution(
            fc_filters, size, padding="same", activation="relu", kernel_initializer="he_normal", name=layer
        )(x)
        x = keras.layers.Dropout(dropout, name=f"{layer}_dropout")(x)
    x = keras.layers.Conv2D(num_classes, 1, name="score")(x)
    for skip in SKIPS[stride]:
        before, now = now, min(STRIDES[skip], now)
        if before > now:
            x = LearnedUpsampling(num_classes, before // now, name=f"upsample_to_{skip}")(x)
        score = keras.layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=f"score_{skip}")
        x = keras.layers.Add(name=f"fuse_{skip}")([x, score(features[skip])])
    logits = LearnedUpsampling(num_classes, now, dtype="float32", name="logits")(x)  # (B, H, W, K)
    return keras.Model(
        images, CropLike(dtype="float32", name="crop")(logits, images), name=name or f"fcn{stride}s"
    )
