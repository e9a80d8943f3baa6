"""Training recipes: named settings of ``config.TrainConfig``, as data.

The first ones reproduce the trainings of the sources the architectures come from; the last ones are how the
shipped weights were trained.
"""

from dataclasses import dataclass
from typing import Any

from segdemo.errors import UserError
from segdemo.zoo.specs import ModelSpec


@dataclass(frozen=True)
class Recipe:
    """One line on what it is, and the settings that differ from TrainConfig's defaults."""

    summary: str
    settings: dict[str, Any]


def _with(*bases: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {name: value for base in (*bases, settings) for name, value in base.items()}


def _recipe(summary: str, *bases: dict[str, Any], **settings: Any) -> Recipe:
    return Recipe(summary, _with(*bases, **settings))


# Several settings to a line, as in a table.
# fmt: off
# TensorFlow in Action, chapter 8: Adam 1e-4, batch 16, 25 epochs, ReduceLROnPlateau, EarlyStopping; every other photo
# cropped from 444 pixels, the others squashed to 384; cross-entropy and one Dice over all pixels, both weighted in each
# image by (n - n_c) / n.
_BOOK = _with(
    dataset="voc", subset="train", epochs=25, batch=16, size=384, optimizer="adam", learning_rate=1e-4,
    loss="cross_entropy_dice", dice_form="pixels", class_weights=True, weighting="image", augment="voc",
    crop_share=0.5, reduce_lr=3, early_stopping=6,
)
# TensorFlow's image-segmentation tutorial: 128x128, batch 64, Adam 1e-3, 20 epochs, flips only.
_TUTORIAL = _with(
    dataset="pets", epochs=20, batch=64, size=128, optimizer="adam", learning_rate=1e-3,
    loss="cross_entropy", augment="flip", reduce_lr=0, early_stopping=0,
)
# Amazing-Semantic-Segmentation (github.com/luyanger1799/Amazing-Semantic-Segmentation), train.py as it is called
# without options: whole photos squashed to 256x256, batch 5, Adam 3e-4 falling to zero on a cosine over 100
# epochs, cross-entropy, no augmentation, a VGG-16 that starts from random weights.
_AMAZING = _with(
    epochs=100, batch=5, size=256, optimizer="adam", learning_rate=3e-4, schedule="cosine",
    loss="cross_entropy", augment="none", reduce_lr=0, early_stopping=0, encoder_weights="none",
)
_AMAZING_FCN = _with(
    _AMAZING, dataset="voc", subset="train", options={"encoder": "vgg16", "fc_filters": 4096},
)
# Its decoder: 512 x5, 256 x3, 128 x2, 64 x2.
_AMAZING_DECODER = [[512, 512, 512], [512, 512, 256], [256, 256, 128], [128, 64], [64]]
_AMAZING_SEGNET = _with(_AMAZING, dataset="pets", options={"width": 1.0, "decoder_stages": _AMAZING_DECODER})
# What suits two CPU cores and a pretrained encoder: strong scale jitter, AdamW, cosine decay, averaged weights. These
# runs are short: a longer memory of the average would still hold the random decoder.
_STRONG = _with(
    augment="strong", optimizer="adamw", weight_decay=0.01, schedule="cosine", warmup_steps=100, ema=0.98,
    reduce_lr=0, early_stopping=0, freeze_batch_norm=True,
)
# Learning from the truth and from a teacher that looks at every crop, see ``distiller``: a loss at a quarter of the
# crop's size. The teacher lies in SEGDEMO_PRETRAINED.
_DISTIL = _with(
    _STRONG, model="deeplabv3", dataset="voc", batch=16, warmup_steps=150, ema=0.997, frozen="c2",
    loss_stride=4, repeat_threshold=0.08, teacher="deeplabv3_mnv2_pascal_quant.tflite", teacher_weight=1.0,
    truth_weight=0.5,
)
# Upsampling is learned afterwards, with `deeplabv3-upsampling`.
_DISTIL_COARSE = _with(_DISTIL, options={"guided": False})
# Networks without a pretrained encoder on Pets: all layers learn, first from many small crops, then from few of
# the size they are used at.
_FROM_SCRATCH = _with(
    _STRONG, dataset="pets", freeze_batch_norm=False, precision="mixed_bfloat16", loss="cross_entropy_dice",
)
_SMALL_CROPS = _with(_FROM_SCRATCH, epochs=40, batch=32, size=64, scale=(0.35, 0.8), learning_rate=1.5e-3)
_PETS = _with(_FROM_SCRATCH, epochs=15, batch=16, size=128, scale=(0.8, 1.6), learning_rate=5e-4)

RECIPES = {
    "book-deeplabv3-resnet50": _recipe(
        "DeepLabv3 ResNet-50 on VOC train, as in TensorFlow in Action, chapter 8",
        _BOOK, model="deeplabv3_resnet50",
    ),
    "tutorial-unet": _recipe(
        "U-Net on a frozen MobileNetV2 on Pets, as in TensorFlow's image-segmentation tutorial",
        _TUTORIAL, model="unet", frozen="c5", options={"freeze_encoder": True, "refine": False},
    ),
    "tutorial-unet-weights": _recipe(
        "The same with the tutorial's class weights: pet and border weigh twice as much as background",
        _TUTORIAL, model="unet", frozen="c5", options={"freeze_encoder": True, "refine": False},
        # [2, 2, 1] / 5 for pet, border, background; in Pets the background comes second.
        given_weights=(0.4, 0.2, 0.4),
    ),
    "plain-unet": _recipe(
        "Plain U-Net from scratch on Pets at 128x128, with 3x3 transposed convolutions and Adam's defaults",
        _TUTORIAL, model="unet_plain", epochs=5, options={"up_kernel": 3},
    ),
    "fcn32s": _recipe(
        "FCN-32s on VGG-16 with fc6 and fc7 4096 wide, as in Amazing-Semantic-Segmentation, on VOC train",
        _AMAZING_FCN, model="fcn32s",
    ),
    "fcn16s": _recipe(
        "FCN-16s, otherwise as `fcn32s`",
        _AMAZING_FCN, model="fcn16s",
    ),
    "fcn8s": _recipe(
        "FCN-8s, otherwise as `fcn32s`",
        _AMAZING_FCN, model="fcn8s",
    ),
    "segnet": _recipe(
        "SegNet at full width, as in Amazing-Semantic-Segmentation, on Pets",
        _AMAZING_SEGNET, model="segnet",
    ),
    "bayesian-segnet": _recipe(
        "Bayesian SegNet at full width with dropout before each unpooling, otherwise as `segnet`",
        _AMAZING_SEGNET, model="bayesian_segnet",
        options={**_AMAZING_SEGNET["options"], "before_unpooling": True},
    ),
    "unet-from-voc-animals": _recipe(
        "U-Net first on VOC's cats and dogs turned into trimaps (see `data trimaps`), the start of `unet-pets`",
        _STRONG, model="unet", dataset="pets", epochs=8, size=256, scale=(0.7, 1.6), frozen="c1",
        loss="cross_entropy_dice", learning_rate=6e-4,
    ),
    "unet-pets": _recipe(
        "U-Net on Pets; with the settings its card adds, the shipped `unet`",
        _STRONG, model="unet", dataset="pets", epochs=30, size=256, scale=(0.7, 1.6), frozen="c1",
        loss="cross_entropy_dice", learning_rate=4e-4,
    ),
    "deeplabv3-distil": _recipe(
        "DeepLabv3 MobileNetV2 on VOC with a teacher, first stage: small crops",
        _DISTIL_COARSE, epochs=14, size=256, scale=(0.4, 1.1), learning_rate=5e-4,
    ),
    "deeplabv3-distil-384": _recipe(
        "Second stage: larger crops, from a model called deeplabv3-distil or the one --start-from names",
        _DISTIL_COARSE, start_from="deeplabv3-distil", epochs=6, size=384, scale=(0.6, 1.3),
        learning_rate=2e-4,
    ),
    "deeplabv3-distil-crops": _recipe(
        "Third stage: photos are mixed, soft labels softened; --start-from what the second one made",
        _DISTIL_COARSE, start_from="deeplabv3-distil-384", epochs=16, batch=12, size=384, scale=(0.45, 1.4),
        learning_rate=1.5e-4, ema=0.998, truth_weight=0.4, teacher_temperature=2.0, cutmix=0.5, mixup=0.2,
    ),
    "deeplabv3-blocks": _recipe(
        "The way of the shipped `deeplabv3`, up to its upsampling: first the encoder's blocks learn the teacher's",
        _DISTIL_COARSE, block_steps=12000, block_weight=2.0, epochs=16, batch=8, size=384, scale=(0.5, 1.6),
        learning_rate=3e-4, ema=0.998, truth_weight=0.25, teacher_temperature=2.0, cutmix=0.3,
        copy_paste=0.3, mixup=0.2,
    ),
    "deeplabv3-upsampling": _recipe(
        "The upsampling of the shipped `deeplabv3`, on top of what the last recipe made, which stays as it is",
        _STRONG, model="deeplabv3", dataset="voc", options={"guided": True}, start_from="deeplabv3-blocks",
        frozen="all but upsampling", epochs=2, batch=8, size=384, scale=(0.6, 1.5), learning_rate=2e-3,
        warmup_steps=50, ema=0.997, cutmix=0.1, copy_paste=0.1, loss_stride=2, repeat_threshold=0.08,
    ),
    "deeplabv3-resnet50-distil": _recipe(
        "The book's network with a teacher, for a GPU; `--int8` makes its graph small enough to ship",
        _DISTIL, model="deeplabv3_resnet50", epochs=50, size=512, scale=(0.5, 2.0), learning_rate=4e-4,
        frozen="c1", precision="mixed_bfloat16",
    ),
    "fcn8s-voc": _recipe(
        "FCN-8s on the encoder of the shipped DeepLabv3, on VOC with a teacher; cards say how the shipped ones differ",
        _DISTIL, model="fcn8s", start_from="deeplabv3", epochs=7, size=256, scale=(0.5, 1.4),
        learning_rate=5e-4, ema=0.99,
    ),
    "segnet-small-crops": _recipe(
        "Half-width SegNet on small crops of many animals (see `data trimaps`), to start `segnet-pets` from",
        _SMALL_CROPS, model="segnet",
    ),
    "segnet-pets": _recipe(
        "Half-width SegNet on Pets, the shipped `segnet`; with --start-from the last recipe's result",
        _PETS, model="segnet",
    ),
    "bayesian-segnet-pets": _recipe(
        "Half-width Bayesian SegNet on Pets from the shipped `segnet`, the shipped `bayesian_segnet`",
        _PETS, model="bayesian_segnet", start_from="segnet", epochs=16,
    ),
    "unet-plain-small-crops": _recipe(
        "Plain U-Net on small crops, otherwise as `segnet-small-crops`, to start `unet-plain-pets` from",
        _SMALL_CROPS, model="unet_plain", epochs=16, learning_rate=5e-4,
    ),
    "unet-plain-pets": _recipe(
        "Plain U-Net on Pets, the shipped `unet_plain`; with --start-from the last recipe's result",
        _PETS, model="unet_plain", epochs=10, learning_rate=3e-4,
    ),
}
# fmt: on
# The recipe that a person who wants an architecture trained is offered; the others have none of their own.
SHIPPING = {
    "deeplabv3": "deeplabv3-distil",
    "unet": "unet-pets",
    "deeplabv3_resnet50": "book-deeplabv3-resnet50",
    "fcn32s": "fcn32s",
    "fcn16s": "fcn16s",
    "fcn8s": "fcn8s-voc",
    "unet_plain": "unet-plain-pets",
    "segnet": "segnet-pets",
    "bayesian_segnet": "bayesian-segnet-pets",
}


def training_arguments(architecture: ModelSpec) -> list[str]:
    """Arguments of ``python -m segdemo`` that train an architecture of ``zoo.SPECS``, without data and place.

    Args:
        architecture: of ``zoo.SPECS``.

    Returns:
        A list of strings; ``--data DIR`` and ``--out RUN_DIR`` have to follow. The recipe ``SHIPPING`` names,
        or the architecture with the default settings of ``TrainConfig``.
    """
    if recipe := SHIPPING.get(architecture.name):
        return ["train", "--recipe", recipe]
    return ["train", "--model", architecture.name, "--dataset", architecture.label_set]


def settings(name: str) -> dict[str, Any]:
    """A copy of a recipe's settings. Raises UserError with the names there are."""
    if name not in RECIPES:
        raise UserError(f"There is no recipe {name!r}: choose one of {', '.join(RECIPES)}.")
    return {**RECIPES[name].settings, "recipe": name}
