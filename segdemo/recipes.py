"""Training recipes: named settings of ``train.TrainConfig``, as data.

The first ones reproduce the trainings of the sources the architectures come from; the last ones are how the
shipped weights were trained.
"""

from dataclasses import dataclass


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
# What suits two CPU cores and a pretrained encoder: strong scale jitter, AdamW, cosine decay, averaged weights.
_STRONG = {
    "augment": "strong",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_steps": 100,
    "ema": 0.995,
    "reduce_lr": 0,
    "early_stopping": 0,
    "freeze_batch_norm": True,
}
# Learning from the truth and from a teacher, see ``distil``: crops at a quarter of the resolution in the loss.
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
        {**_DISTIL, "epochs": 14, "size": 256, "scale": (0.4, 1.1), "learning_rate": 5e-4},
    ),
    "deeplabv3-distil-384": Recipe(
        "Second stage: larger crops, from a model called deeplabv3-distil or the one --start-from names",
        {
            **_DISTIL,
            "start_from": "deeplabv3-distil",
            "epochs": 6,
            "size": 384,
            "scale": (0.6, 1.3),
            "learning_rate": 2e-4,
        },
    ),
}


def settings(name):
    """A copy of a recipe's settings. Raises ValueError with the names there are."""
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}: choose one of {', '.join(RECIPES)}.")
    return {**RECIPES[name].settings, "recipe": name}
