"""U-Net: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
arXiv:1505.04597 (2015); plain, and with a pretrained encoder as in TensorFlow's image-segmentation tutorial
(https://www.tensorflow.org/tutorials/images/segmentation)."""

from collections.abc import Sequence
from pathlib import Path

import keras

from segdemo.training.architectures.encoders import build_encoder, encoder_spec
from segdemo.training.layers import BatchNormalization, CropLike, PadToMultiple, Preprocess, conv_bn_relu

# The tutorial takes the last convolution of MobileNetV2 before its BatchNorm (the encoder's c5 is behind it).
TUTORIAL_BOTTOM = {"mobilenet_v2": "block_16_project"}


def unet_plain(
    num_classes: int = 3,
    filters: Sequence[int] = (64, 128, 256),
    bottleneck: int = 512,
    dropout: float = 0.5,
    up_kernel: int = 2,
    name: str = "unet_plain",
) -> keras.Model:
    """The plain U-Net: two 3x3 ReLU convolutions a level, max pooling down, transposed convolutions of stride 2 up.

    Args:
        num_classes: channels of the logits; void is not a class.
        filters: width of each level, outermost first.
        bottleneck: width of the innermost level.
        dropout: rate behind the bottleneck.
        up_kernel: side of the transposed convolutions: 2 in the paper, 3 in the Pets chapter.
        name: name of the model.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3), any size, to logits float32 (B, H, W, num_classes).
        Trained from scratch, so it has no encoder; pixels are scaled to [0, 1].
    """
    images = keras.Input((None, None, 3), name="image")
    x = Preprocess("unit", name="preprocess")(images)
    x = PadToMultiple(2 ** len(filters), name="pad")(x)
    skips = []
    for level, width in enumerate(filters, 1):
        x = _two_convs(x, width, f"down{level}")
        skips.append(x)
        x = keras.layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = _two_convs(x, bottleneck, "bottleneck")
    x = keras.layers.Dropout(dropout, name="bottleneck_dropout")(x)
    for level, width in reversed(list(enumerate(filters, 1))):
        x = keras.layers.Conv2DTranspose(
            width,
            up_kernel,
            strides=2,
            padding="same",
            kernel_initializer="he_normal",
            name=f"up{level}_deconv",
        )(x)
        x = keras.layers.Concatenate(name=f"up{level}_concat")([x, skips.pop()])
        x = _two_convs(x, width, f"up{level}")
    logits = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    return keras.Model(images, CropLike(dtype="float32", name="crop")(logits, images), name=name)


def _two_convs(x, filters, name):
    for i in (1, 2):
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}_conv{i}",
        )(x)
    return x


def unet(
    num_classes: int = 3,
    encoder: str = "mobilenet_v2",
    weights: str | Path | None = None,
    freeze_encoder: bool = True,
    decoder_filters: Sequence[int] = (512, 256, 128, 64),
    dropout: float = 0.0,
    refine: bool = False,
    name: str = "unet",
) -> keras.Model:
    """U-Net with any encoder of ``encoders.ENCODERS``; with the defaults, the tutorial's modified U-Net.

    Four times a transposed convolution doubles the resolution and the encoder's features of that size join; a
    fifth one gives the logits.

    Args:
        num_classes: channels of the logits; void is not a class.
        encoder: name of the encoder.
        weights: encoder weights, see ``build_encoder``.
        freeze_encoder: the encoder neither learns nor updates its BatchNorm statistics. In a run, the setting
            ``frozen`` decides on that.
        decoder_filters: width of the four up blocks, innermost first.
        dropout: rate in each up block; 0 leaves it out.
        refine: two more 3x3 convolutions with BatchNorm and ReLU behind each concatenation, as in the
            original U-Net. Not in the tutorial; sharper, and dearer.
        name: name of the model.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3), any size, to logits float32 (B, H, W, num_classes).

    Raises:
        ValueError: unknown encoder, or not four decoder widths. FileNotFoundError: no such weights file.
    """
    if len(decoder_filters) != 4:
        raise ValueError(f"decoder_filters takes four widths, one an up block, not {tuple(decoder_filters)}.")
    spec = encoder_spec(encoder)
    backbone = build_encoder(encoder, weights)
    if encoder in TUTORIAL_BOTTOM:
        features = {**backbone.output, "c5": backbone.get_layer(TUTORIAL_BOTTOM[encoder]).output}
        backbone = keras.Model(backbone.input, features, name=backbone.name)
    backbone.trainable = not freeze_encoder

    images = keras.Input((None, None, 3), name="image")
    x = Preprocess(spec.preprocess, name="preprocess")(images)
    x = PadToMultiple(32, name="pad")(x)
    features = backbone(x)
    x = features["c5"]
    for block, (filters, skip) in enumerate(zip(decoder_filters, ("c4", "c3", "c2", "c1"), strict=True), 1):
        x = _up_block(x, filters, dropout, f"up{block}")
        x = keras.layers.Concatenate(name=f"up{block}_concat")([x, features[skip]])
        if refine:
            x = conv_bn_relu(x, filters, name=f"up{block}_refine1")
            x = conv_bn_relu(x, filters, name=f"up{block}_refine2")
    logits = keras.layers.Conv2DTranspose(
        num_classes, 3, strides=2, padding="same", dtype="float32", name="logits"
    )(x)
    return keras.Model(images, CropLike(dtype="float32", name="crop")(logits, images), name=name)


def _up_block(x, filters, dropout, name):
    """Transposed 3x3 convolution of stride 2, BatchNorm, optional dropout, ReLU: pix2pix's up block."""
    x = keras.layers.Conv2DTranspose(
        filters,
        3,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02),
        name=f"{name}_deconv",
    )(x)
    x = BatchNormalization(name=f"{name}_bn")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
