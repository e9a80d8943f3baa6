"""The batches of a run: what it learns from, and what it is watched on."""

from dataclasses import replace
from functools import partial

from segdemo import zoo
from segdemo.training import augment, pipeline

ASPECT = 1.15  # largest change of shape by "strong"
# Each makes what ``pipeline.build`` calls resize and augment: what is done once a photo, and what anew each time.
AUGMENTATIONS = {
    "none": lambda config, size: (None, None),
    "flip": lambda config, size: (size, augment.random_flip),
    # *TensorFlow in Action*, chapter 8: enlarged to 444 pixels for crops of 384.
    "voc": lambda config, size: (
        round(size * 444 / 384),
        augment.compose(
            partial(augment.random_crop, size=(size, size)), augment.random_flip, augment.random_color
        ),
    ),
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


def to_learn_from(config, dataset, size, done=0):
    """Batches of a run's training photos, without end.

    Args:
        config: its TrainConfig, with the subset.
        dataset: the ``datasets.Dataset`` that it names.
        size: side of the crop in pixels.
        done: after how many steps a run goes on: what they have seen is not seen again in the same order.

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
    mixing = []
    if config.copy_paste:
        background = dataset.label_set.background
        mixing.append(partial(augment.copy_paste, chance=config.copy_paste, background=background))
    if config.cutmix:
        mixing.append(partial(augment.cutmix, chance=config.cutmix))
    if config.mixup:
        mixing.append(partial(augment.mixup, chance=config.mixup))
    return pipeline.build(
        dataset,
        config.subset,
        size=size,
        mask_size=size // config.loss_stride,
        batch=min(config.batch, len(dataset.samples(config.subset))),
        training=True,
        resize=resize,
        augment=change,
        cache="folder" if resize else None,
        augment_batch=augment.compose(*mixing) if mixing else None,
        probabilities=probabilities,
        seed=config.seed + done,
        repeat=True,
        drop_remainder=True,
    )


def to_watch(config, dataset, samples, size):
    """One pass over samples of a dataset, in order and as they are, otherwise as ``to_learn_from``."""
    return pipeline.build(
        replace(dataset, splits={"watched": tuple(sample.id for sample in samples)}),
        "watched",
        size=size,
        mask_size=size // config.loss_stride,
        batch=min(config.batch, len(samples)),
        training=False,
    )
