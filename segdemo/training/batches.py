"""The batches of a run: what it learns from, and what it is watched on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import tensorflow as tf

from segdemo import zoo
from segdemo.data.datasets import Dataset, Sample
from segdemo.runs.config import TrainConfig
from segdemo.training import augment, pipeline

ASPECT = 1.15  # largest change of shape by "strong"


def _voc(config: TrainConfig, size: int) -> tuple[int | None, augment.Operation]:
    # *TensorFlow in Action*, chapter 8: enlarged to 444 pixels for crops of 384, or resized to 384 whole.
    enlarged, side = round(size * 444 / 384), (size, size)
    colors = (augment.random_flip, augment.random_color)
    if config.crop_share == 1:
        return enlarged, augment.compose(partial(augment.random_crop, size=side), *colors)
    # Neither is made from the other's pixels, so it starts from the photo as it is.
    either = partial(
        augment.random_crop_or_resize, size=side, enlarged=(enlarged, enlarged), share=config.crop_share
    )
    return None, augment.compose(either, *colors)


# Each makes what ``pipeline.build`` calls resize and augment: what is done once a photo, and what anew each time.
AUGMENTATIONS: dict[str, Callable[[TrainConfig, int], tuple[int | None, augment.Operation | None]]] = {
    "none": lambda config, size: (None, None),
    "flip": lambda config, size: (size, augment.random_flip),
    "voc": _voc,
    "strong": lambda config, size: (
        None,
        augment.compose(
            partial(
                augment.random_warp,
                size=(size, size),
                scale=config.scale,
                aspect=ASPECT,
                reference=zoo.spec(config.model).long_side,
            ),
            augment.random_color_matrix,
        ),
    ),
}


def to_learn_from(
    config: TrainConfig, dataset: Dataset, size: int, done: int = 0, mixing: Sequence[augment.Operation] = ()
) -> tf.data.Dataset:
    """Batches of a run's training photos, without end.

    Args:
        config: its settings, with the subset.
        dataset: the one that they name.
        size: side of the crop in pixels.
        done: after how many steps a run goes on: what they have seen is not seen again in the same order.
        mixing: what else is done to a whole batch, at the end.

    Returns:
        A ``tf.data.Dataset`` of images float32 (B, size, size, 3) in 0..255 and label maps uint8 (B, h, w) with
        h = w = size // loss_stride.

    Raises:
        DatasetError: no such subset or an empty one.
    """
    probabilities = None
    if config.repeat_threshold:
        probabilities = pipeline.repeat_factors(dataset, config.subset, config.repeat_threshold)
    resize, change = AUGMENTATIONS[config.augment](config, size)
    mixed: list[augment.Operation] = []
    if config.copy_paste:
        background = dataset.label_set.background
        mixed.append(partial(augment.copy_paste, chance=config.copy_paste, background=background))
    if config.cutmix:
        mixed.append(partial(augment.cutmix, chance=config.cutmix))
    mixed += mixing
    return pipeline.build(
        dataset,
        config.subset,
        size=size,
        mask_size=size // config.loss_stride,
        batch=min(config.batch, len(dataset.samples(config.subset))),
        training=True,
        resize=resize,
        augment=change,
        keep=resize is not None,
        augment_batch=augment.compose(*mixed) if mixed else None,
        probabilities=probabilities,
        seed=config.seed + done,
    )


def to_watch(config: TrainConfig, dataset: Dataset, samples: Sequence[Sample], size: int) -> tf.data.Dataset:
    """One pass over samples of a dataset, in order and as they are, otherwise as ``to_learn_from``."""
    return pipeline.build(
        replace(dataset, splits={"watched": tuple(sample.id for sample in samples)}),
        "watched",
        size=size,
        mask_size=size // config.loss_stride,
        batch=min(config.batch, len(samples)),
        training=False,
    )
