"""SegNet: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for
Image Segmentation", arXiv:1511.00561 (2017). Bayesian SegNet: Kendall, Badrinarayanan, Cipolla, "Bayesian
SegNet: Model Uncertainty in Deep Convolutional Encoder-Decoder Architectures for Scene Understanding",
arXiv:1511.02680 (2017)."""

from collections.abc import Sequence
from pathlib import Path

import keras

from segdemo.errors import UserError
from segdemo.training.architectures.encoders import encoder_spec
from segdemo.training.layers import (
    CropLike,
    MaxPoolWithIndices,
    MaxUnpool,
    MonteCarloDropout,
    PadToMultiple,
    Preprocess,
)

# Widths of the thirteen convolutions of VGG-16; each stage ends in 2x2 max pooling with indices.
ENCODER_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Decoder widths 512-512-512-512-256-256-128-128-64-64, innermost first. A stage has to end with the width of
# the encoder stage whose indices the next unpooling uses, which splits the ten convolutions in this way: the
# paper's twelve, less the repeated width of the second and the third stage.
DECODER_STAGES = ((512, 512, 512), (512, 256), (256, 128), (128, 64), (64,))
# The paper's decoder mirrors the encoder: twelve convolutions, the thirteenth gives the logits.
PAPER_DECODER_STAGES = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))
# Bayesian SegNet drops out behind the three central encoder and decoder stages (section 3.1).
CENTRAL_STAGES = 3


def segnet(
    num_classes: int = 3,
    encoder: str = "vgg16",
    weights: str | Path | None = None,
    width: float = 1.0,
    decoder_stages: Sequence[Sequence[int]] = DECODER_STAGES,
    name: str = "segnet",
) -> keras.Model:
    """SegNet: a VGG-16 encoder with BatchNorm whose pooling indices steer the decoder's unpooling.

    Args:
        num_classes: channels of the logits; void is not a class.
        encoder: ``"vgg16"``. The decoder needs the indices of a 2x2 max pooling at each of the five scales,
            and no other encoder has them.
        weights: ``None`` for random, ``"imagenet"`` to download VGG-16's convolutions, or the path of a
            ``.weights.h5`` file made for ``keras.applications.VGG16(include_top=False)``. Needs ``width=1``.
        width: factor on the width of every convolution.
        decoder_stages: widths of the decoder's convolutions, innermost stage first, before ``width``.
        name: name of the model.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3), any size, to logits float32 (B, H, W, num_classes).

    Raises:
        ValueError: an encoder without max-pooling indices, decoder stages that do not fit them, or pretrained
            weights for another width. FileNotFoundError: no such weights file.
    """
    return _segnet(num_classes, encoder, weights, width, decoder_stages, 0.0, name)


def bayesian_segnet(
    num_classes: int = 3,
    encoder: str = "vgg16",
    weights: str | Path | None = None,
    width: float = 1.0,
    decoder_stages: Sequence[Sequence[int]] = DECODER_STAGES,
    dropout: float = 0.5,
    name: str = "bayesian_segnet",
) -> keras.Model:
    """SegNet with dropout behind its central encoder and decoder stages, active at prediction too.

    Each call of the model is one sample; ``inference.predict`` averages several.

    Args:
        dropout: rate behind the three innermost encoder and the three innermost decoder stages.
        num_classes, encoder, weights, width, decoder_stages, name: as for ``segnet``.

    Returns:
        A ``keras.Model`` as ``segnet``'s.

    Raises:
        ValueError, FileNotFoundError: as ``segnet``.
    """
    return _segnet(num_classes, encoder, weights, width, decoder_stages, dropout, name)


def _segnet(num_classes, encoder, weights, width, decoder_stages, dropout, name):
    spec = encoder_spec(encoder)
    if encoder != "vgg16":
        raise UserError(
            f"SegNet's decoder needs the indices of a 2x2 max pooling at every scale and {encoder} reduces "
            "resolution by strided convolutions: choose the encoder 'vgg16'."
        )
    if weights is not None and width != 1:
        raise UserError(f"Pretrained weights fit SegNet at width 1 only, not {width}: leave one of them out.")

    def scaled(filters):
        return max(1, round(filters * width))

    stages = [[scaled(filters) for filters in stage] for stage in decoder_stages]
    # Width that the indices of the next unpooling ask for; after the last one there is none.
    needed = [scaled(stage[-1]) for stage in ENCODER_STAGES[-2::-1]]
    if len(stages) != len(ENCODER_STAGES) or any(not stage for stage in stages):
        raise UserError(f"SegNet has {len(ENCODER_STAGES)} decoder stages of one convolution or more each.")
    if [stage[-1] for stage in stages[:-1]] != needed:
        raise UserError(
            f"The first four decoder stages end with the widths {', '.join(map(str, needed))}, those of the "
            f"pooling indices, not with {', '.join(str(stage[-1]) for stage in stages[:-1])}."
        )

    images = keras.Input((None, None, 3), name="image")
    x = Preprocess(spec.preprocess, name="preprocess")(images)
    x = PadToMultiple(2 ** len(ENCODER_STAGES), name="pad")(x)
    indices = []
    for i, stage in enumerate(ENCODER_STAGES, 1):
        for j, filters in enumerate(stage, 1):
            x = _conv_bn_relu(x, scaled(filters), f"block{i}_conv{j}")
        x, index = MaxPoolWithIndices(name=f"block{i}_pool")(x)
        indices.append(index)
        if dropout and i > len(ENCODER_STAGES) - CENTRAL_STAGES:
            x = MonteCarloDropout(dropout, name=f"block{i}_dropout")(x)
    for i, stage in zip(range(len(stages), 0, -1), stages, strict=True):
        x = MaxUnpool(name=f"decoder{i}_unpool")(x, indices.pop())
        for j, filters in enumerate(stage, 1):
            x = _conv_bn_relu(x, filters, f"decoder{i}_conv{j}")
        if dropout and i > len(stages) - CENTRAL_STAGES:
            x = MonteCarloDropout(dropout, name=f"decoder{i}_dropout")(x)
    logits = keras.layers.Conv2D(num_classes, 3, padding="same", dtype="float32", name="logits")(x)
    model = keras.Model(images, CropLike(dtype="float32", name="crop")(logits, images), name=name)
    if weights is not None:
        _load_vgg16(model, weights)
    return model


def _conv_bn_relu(x, filters, name):
    """3x3 convolution with bias, as VGG-16's, BatchNorm, ReLU."""
    x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=name)(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _load_vgg16(model, weights):
    """Copy the thirteen convolutions of VGG-16 into SegNet's encoder; the layer names are the same."""
    if weights != "imagenet" and not Path(weights).is_file():
        raise FileNotFoundError(f"There is no weights file {weights}.")
    vgg = keras.applications.VGG16(
        include_top=False, weights="imagenet" if weights == "imagenet" else None, input_shape=(None, None, 3)
    )
    if weights != "imagenet":
        vgg.load_weights(weights)
    for layer in vgg.layers:
        if isinstance(layer, keras.layers.Conv2D):
            model.get_layer(layer.name).set_weights(layer.get_weights())
