"""Training recipes: named settings of ``config.TrainConfig``, as data.

The first ones reproduce the trainings of the sources the architectures come from; the last ones are how the
shipped weights were trained.
"""

from dataclasses import dataclass

from segdemo.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """One line on what it is, and the settings that differ from TrainConfig's defaults."""

    summary: str
    settings: dict


# TensorFlow in Action, chapter 8: Adam 1e-4, batch 16, 25 epochs, ReduceLROnPlateau, EarlyStopping.
_BOOK = {
    "dataset": "voc",
    "subset": "train",
    "epochs": 25,
    "batch": 16,
    "size": 384,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "loss": "cross_entropy_dice",
    "class_weights": True,
    "augment": "voc",
    "reduce_lr": 3,
    "early_stopping": 6,
}
# TensorFlow's image-segmentation tutorial: 128x128, batch 64, Adam 1e-3, 20 epochs, flips only.
_TUTORIAL = {
    "dataset": "pets",
    "epochs": 20,
    "batch": 64,
    "size": 128,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "loss": "cross_entropy",
    "augment": "flip",
    "reduce_lr": 0,
    "early_stopping": 0,
}
# Amazing-Semantic-Segmentation (github.com/luyanger1799/Amazing-Semantic-Segmentation), train.py as it is called
# without options: whole photos squashed to 256x256, batch 5, Adam 3e-4 falling to zero on a cosine over 100
# epochs, cross-entropy, no augmentation, a VGG-16 that starts from random weights.
_AMAZING = {
    "epochs": 100,
    "batch": 5,
    "size": 256,
    "optimizer": "adam",
    "learning_rate": 3e-4,
    "schedule": "cosine",
    "loss": "cross_entropy",
    "augment": "none",
    "reduce_lr": 0,
    "early_stopping": 0,
    "encoder_weights": "none",
}
_AMAZING_FCN = {
    "dataset": "voc",
    "subset": "train",
    "options": {"encoder": "vgg16", "fc_filters": 4096},
    **_AMAZING,
}
_AMAZING_SEGNET = {"dataset": "pets", "options": {"width": 1.0}, **_AMAZING}
# What suits two CPU cores and a pretrained encoder: strong scale jitter, AdamW, cosine decay, averaged weights.
_STRONG = {
    "augment": "strong",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_steps": 100,
    "ema": 0.98,  # these runs are short: a longer memory would still hold the random decoder
    "reduce_lr": 0,
    "early_stopping": 0,
    "freeze_batch_norm": True,
}
# Learning from the truth and from a teacher that looks at every crop, see ``distiller``; the loss at 1/4 of its size.
_DISTIL = {
    "model": "deeplabv3",
    "dataset": "voc",
    **_STRONG,
    "batch": 16,
    "warmup_steps": 150,
    "ema": 0.997,
    "frozen": "c2",
    "loss_stride": 4,
    "repeat_threshold": 0.08,
    "teacher": "deeplabv3_mnv2_pascal_quant.tflite",  # in SEGDEMO_PRETRAINED
    "teacher_weight": 1.0,
    "truth_weight": 0.5,
}
# Upsampling is learned afterwards, with `deeplabv3-upsampling`.
_DISTIL_COARSE = {**_DISTIL, "options": {"guided": False}}
# Networks without a pretrained encoder on Pets: all layers learn, first from many small crops, then from few of
# the size they are used at.
_FROM_SCRATCH = {
    "dataset": "pets",
    **_STRONG,
    "freeze_batch_norm": False,
    "precision": "mixed_bfloat16",
    "loss": "cross_entropy_dice",
}
_SMALL_CROPS = {
    **_FROM_SCRATCH,
    "epochs": 40,
    "batch": 32,
    "size": 64,
    "scale": (0.35, 0.8),
    "learning_rate": 1.5e-3,
}
_PETS = {**_FROM_SCRATCH, "epochs": 15, "batch": 16, "size": 128, "scale": (0.8, 1.6), "learning_rate": 5e-4}

RECIPES = {
    "book-deeplabv3-resnet50": Recipe(
        "DeepLabv3 ResNet-50 on VOC train, as in TensorFlow in Action, chapter 8",
        {"model": "deeplabv3_resnet50", **_BOOK},
    ),
    "tutorial-unet": Recipe(
        "U-Net on a frozen MobileNetV2 on Pets, as in TensorFlow's image-segmentation tutorial",
        {"model": "unet", "frozen": "c5", "options": {"freeze_encoder": True, "refine": False}, **_TUTORIAL},
    ),
    "plain-unet": Recipe(
        "Plain U-Net from scratch on Pets at 128x128",
        {"model": "unet_plain", **_TUTORIAL, "learning_rate": 1e-4},
    ),
    "fcn32s": Recipe(
        "FCN-32s on VGG-16 with fc6 and fc7 4096 wide, as in Amazing-Semantic-Segmentation, on VOC train",
        {"model": "fcn32s", **_AMAZING_FCN},
    ),
    "fcn16s": Recipe("FCN-16s, otherwise as `fcn32s`", {"model": "fcn16s", **_AMAZING_FCN}),
    "fcn8s": Recipe("FCN-8s, otherwise as `fcn32s`", {"model": "fcn8s", **_AMAZING_FCN}),
    "segnet": Recipe(
        "SegNet at full width, as in Amazing-Semantic-Segmentation, on Pets",
        {"model": "segnet", **_AMAZING_SEGNET},
    ),
    "bayesian-segnet": Recipe(
        "Bayesian SegNet at full width, otherwise as `segnet`",
        {"model": "bayesian_segnet", **_AMAZING_SEGNET},
    ),
    "unet-from-voc-animals": Recipe(
        "U-Net first on VOC's cats and dogs turned into trimaps (see `data trimaps`), the start of `unet-pets`",
        {
            "model": "unet",
            "dataset": "pets",
            "epochs": 8,
            "size": 256,
            "scale": (0.7, 1.6),
            "frozen": "c1",
            "loss": "cross_entropy_dice",
            "learning_rate": 6e-4,
            **_STRONG,
        },
    ),
    "unet-pets": Recipe(
        "U-Net on Pets, the shipped `unet`",
        {
            "model": "unet",
            "dataset": "pets",
            "epochs": 30,
            "size": 256,
            "scale": (0.7, 1.6),
            "frozen": "c1",
            "loss": "cross_entropy_dice",
            "learning_rate": 4e-4,
            **_STRONG,
        },
    ),
    "deeplabv3-distil": Recipe(
        "DeepLabv3 MobileNetV2 on VOC with a teacher, first stage: small crops",
        {**_DISTIL_COARSE, "epochs": 14, "size": 256, "scale": (0.4, 1.1), "learning_rate": 5e-4},
    ),
    "deeplabv3-distil-384": Recipe(
        "Second stage: larger crops, from a model called deeplabv3-distil or the one --start-from names",
        {
            **_DISTIL_COARSE,
            "start_from": "deeplabv3-distil",
            "epochs": 6,
            "size": 384,
            "scale": (0.6, 1.3),
            "learning_rate": 2e-4,
        },
    ),
    "deeplabv3-distil-crops": Recipe(
        "Third stage: photos are mixed, soft labels softened; --start-from what the second one made",
        {
            **_DISTIL_COARSE,
            "start_from": "deeplabv3-distil-384",
            "epochs": 16,
            "batch": 12,
            "size": 384,
            "scale": (0.45, 1.4),
            "learning_rate": 1.5e-4,
            "ema": 0.998,
            "truth_weight": 0.4,
            "teacher_temperature": 2.0,
            "cutmix": 0.5,
            "mixup": 0.2,
        },
    ),
    "deeplabv3-blocks": Recipe(
        "The way of the shipped `deeplabv3`, up to its upsampling: first the encoder's blocks learn the teacher's",
        {
            **_DISTIL_COARSE,
            "block_steps": 12000,
            "block_weight": 2.0,
            "epochs": 16,
            "batch": 8,
            "size": 384,
            "scale": (0.5, 1.6),
            "learning_rate": 3e-4,
            "ema": 0.998,
            "truth_weight": 0.25,
            "teacher_temperature": 2.0,
            "cutmix": 0.3,
            "copy_paste": 0.3,
            "mixup": 0.2,
        },
    ),
    "deeplabv3-upsampling": Recipe(
        "The upsampling of the shipped `deeplabv3`, on top of what the last recipe made, which stays as it is",
        {
            "model": "deeplabv3",
            "dataset": "voc",
            **_STRONG,
            "options": {"guided": True},
            "start_from": "deeplabv3-blocks",
            "frozen": "all but upsampling",
            "epochs": 2,
            "batch": 8,
            "size": 384,
            "scale": (0.6, 1.5),
            "learning_rate": 2e-3,
            "warmup_steps": 50,
            "ema": 0.997,
            "cutmix": 0.1,
            "copy_paste": 0.1,
            "loss_stride": 2,
            "repeat_threshold": 0.08,
        },
    ),
    "deeplabv3-resnet50-distil": Recipe(
        "The book's network with a teacher, for a GPU; `--int8` makes its graph small enough to ship",
        {
            **_DISTIL,
            "model": "deeplabv3_resnet50",
            "epochs": 50,
            "size": 512,
            "scale": (0.5, 2.0),
            "learning_rate": 4e-4,
            "frozen": "c1",
            "precision": "mixed_bfloat16",
        },
    ),
    "fcn8s-voc": Recipe(
        "FCN-8s on the encoder of the shipped DeepLabv3, on VOC with a teacher; the shipped `fcn8s`",
        {
            **_DISTIL,
            "model": "fcn8s",
            "start_from": "deeplabv3",
            "epochs": 7,
            "size": 256,
            "scale": (0.5, 1.4),
            "learning_rate": 5e-4,
            "ema": 0.99,
        },
    ),
    "segnet-small-crops": Recipe(
        "Half-width SegNet on small crops of many animals (see `data trimaps`), to start `segnet-pets` from",
        {"model": "segnet", **_SMALL_CROPS},
    ),
    "segnet-pets": Recipe(
        "Half-width SegNet on Pets, the shipped `segnet`; with --start-from the last recipe's result",
        {"model": "segnet", **_PETS},
    ),
    "bayesian-segnet-pets": Recipe(
        "Half-width Bayesian SegNet on Pets from the shipped `segnet`, the shipped `bayesian_segnet`",
        {"model": "bayesian_segnet", "start_from": "segnet", **_PETS, "epochs": 16},
    ),
    "unet-plain-small-crops": Recipe(
        "Plain U-Net on small crops, otherwise as `segnet-small-crops`, to start `unet-plain-pets` from",
        {"model": "unet_plain", **_SMALL_CROPS, "epochs": 16, "learning_rate": 5e-4},  # it has no BatchNorm
    ),
    "unet-plain-pets": Recipe(
        "Plain U-Net on Pets, the shipped `unet_plain`; with --start-from the last recipe's result",
        {"model": "unet_plain", **_PETS, "epochs": 10, "learning_rate": 3e-4},
    ),
}
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


def training_arguments(architecture):
    """Arguments of ``python -m segdemo`` that train an architecture of ``zoo.SPECS``, without data and place.

    Args:
        architecture: a ``zoo.ModelSpec``.

    Returns:
        A list of strings; ``--data DIR`` and ``--out RUN_DIR`` have to follow. The recipe ``SHIPPING`` names,
        or the architecture with the default settings of ``TrainConfig``.
    """
    if recipe := SHIPPING.get(architecture.name):
        return ["train", "--recipe", recipe]
    return ["train", "--model", architecture.name, "--dataset", architecture.label_set]


def settings(name):
    """A copy of a recipe's settings. Raises ValueError with the names there are."""
    if name not in RECIPES:
        raise UserError(f"There is no recipe {name!r}: choose one of {', '.join(RECIPES)}.")
    return {**RECIPES[name].settings, "recipe": name}
