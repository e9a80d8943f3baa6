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
    BatchNormalization,
    CropLike,
    MaxPoolWithIndices,
    MaxUnpool,
    MonteCarloDropout,
    PadToMultiple,
    Preprocess,
)

# Widths of the convolutions of VGG-16 and VGG-19; each stage ends in 2x2 max pooling with indices.
ENCODER_STAGES = {
    "vgg16": ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
SCALES = 5
# Decoder widths 512-512-512-512-256-256-128-128-64-64, innermost first. A stage has to end with the width of
# the encoder stage whose indices the next unpooling uses, which splits the ten convolutions in this way: the
# paper's twelve, less the repeated width of the second and the third stage.
DECODER_STAGES = ((512, 512, 512), (512, 256), (256, 128), (128, 64), (64,))
# The paper's decoder mirrors the encoder: twelve convolutions, the thirteenth gives the logits. That of
# Amazing-Semantic-Segmentation is the same: 512 x5, 256 x3, 128 x2, 64 x2.
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
    """SegNet: a VGG encoder with BatchNorm whose pooling indices steer the decoder's unpooling.

    Args:
        num_classes: channels of the logits; void is not a class.
        encoder: ``"vgg16"`` or ``"vgg19"``. The decoder needs the indices of a 2x2 max pooling at each of the five
            scales, and no other encoder has them.
        weights: ``None`` for random, ``"imagenet"`` to download VGG's convolutions, or the path of a
            ``.weights.h5`` file made for ``keras.applications.VGG16(include_top=False)``, or VGG19's. Needs
            ``width=1``.
        width: factor on the width of every convolution.
        decoder_stages: widths of the decoder's convolutions, innermost stage first, before ``width``.
        name: name of the model.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3), any size, to logits float32 (B, H, W, num_classes).

    Raises:
        ValueError: an encoder without max-pooling indices, decoder stages that do not fit them, or pretrained
            weights for another width. FileNotFoundError: no such weights file.
    """
    return _segnet(num_classes, encoder, weights, width, decoder_stages, 0.0, False, name)


def bayesian_segnet(
    num_classes: int = 3,
    encoder: str = "vgg16",
    weights: str | Path | None = None,
    width: float = 1.0,
    decoder_stages: Sequence[Sequence[int]] = DECODER_STAGES,
    dropout: float = 0.5,
    before_unpooling: bool = False,
    name: str = "bayesian_segnet",
) -> keras.Model:
    """SegNet with dropout behind its central encoder and decoder stages, active at prediction too.

    Each call of the model is one sample; ``inference.predict`` averages several.

    Args:
        dropout: rate behind the three innermost encoder and the three innermost decoder stages.
        before_unpooling: drop out before each of the five unpoolings instead, as Amazing-Semantic-Segmentation does
            before each upsampling.
        num_classes, encoder, weights, width, decoder_stages, name: as for ``segnet``.

    Returns:
        A ``keras.Model`` as ``segnet``'s.

    Raises:
        ValueError, FileNotFoundError: as ``segnet``.
    """
    return _segnet(num_classes, encoder, weights, width, decoder_stages, dropout, before_unpooling, name)


def _segnet(num_classes, encoder, weights, width, decoder_stages, dropout, before_unpooling, name):
    spec = encoder_spec(encoder)
    if encoder not in ENCODER_STAGES:
        raise UserError(
            f"SegNet's decoder needs the indices of a 2x2 max pooling at every scale and {encoder} reduces "
            "resolution by strided convolutions: choose the encoder 'vgg16' or 'vgg19'."
        )
    encoder_stages = ENCODER_STAGES[encoder]
    if weights is not None and width != 1:
        raise UserError(f"Pretrained weights fit SegNet at width 1 only, not {width}: leave one of them out.")

    def scaled(filters):
        return max(1, round(filters * width))

    stages = [[scaled(filters) for filters in stage] for stage in decoder_stages]
    # Width that the indices of the next unpooling ask for; after the last one there is none.
    needed = [scaled(stage[-1]) for stage in encoder_stages[-2::-1]]
    if len(stages) != SCALES or any(not stage for stage in stages):
        raise UserError(f"SegNet has {SCALES} decoder stages of one convolution or more each.")
    if [stage[-1] for stage in stages[:-1]] != needed:
        raise UserError(
            f"The first four decoder stages end with the widths {', '.join(map(str, needed))}, those of the "
            f"pooling indices, not with {', '.join(str(stage[-1]) for stage in stages[:-1])}."
        )

    images = keras.Input((None, None, 3), name="image")
    x = Preprocess(spec.preprocess, name="preprocess")(images)
    x = PadToMultiple(2**SCALES, name="pad")(x)
    indices = []
    central = dropout and not before_unpooling
    for i, stage in enumerate(encoder_stages, 1):
        for j, filters in enumerate(stage, 1):
            x = _conv_bn_relu(x, scaled(filters), f"block{i}_conv{j}")
        x, index = MaxPoolWithIndices(name=f"block{i}_pool")(x)
        indices.append(index)
        if central and i > SCALES - CENTRAL_STAGES:
            x = MonteCarloDropout(dropout, name=f"block{i}_dropout")(x)
    for i, stage in zip(range(len(stages), 0, -1), stages, strict=True):
        if dropout and before_unpooling:
            x = MonteCarloDropout(dropout, name=f"decoder{i}_dropout")(x)
        x = MaxUnpool(name=f"decoder{i}_unpool")(x, indices.pop())
        for j, filters in enumerate(stage, 1):
            x = _conv_bn_relu(x, filters, f"decoder{i}_conv{j}")
        if central and i > SCALES - CENTRAL_STAGES:
            x = MonteCarloDropout(dropout, name=f"decoder{i}_dropout")(x)
    logits = keras.layers.Conv2D(num_classes, 3, padding="same", dtype="float32", name="logits")(x)
    model = keras.Model(images, CropLike(dtype="float32", name="crop")(logits, images), name=name)
    if weights is not None:
        _load_vgg(model, getattr(keras.applications, spec.application), weights)
    return model


def _conv_bn_relu(x, filters, name):
    """3x3 convolution with bias, as VGG-16's, BatchNorm, ReLU."""
    x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", name=name)(x)
    x = BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _load_vgg(model, application, weights):
    """Copy the convolutions of VGG into SegNet's encoder; the layer names are the same."""
    if weights != "imagenet" and not Path(weights).is_file():
        raise FileNotFoundError(f"There is no weights file {weights}.")
    vgg = application(
        include_top=False, weights="imagenet" if weights == "imagenet" else None, input_shape=(None, None, 3)
    )
    if weights != "imagenet":
        vgg.load_weights(weights)
    for layer in vgg.layers:
        if isinstance(layer, keras.layers.Conv2D):
            model.get_layer(layer.name).set_weights(layer.get_weights())
