"""How a model learns from a dataset: the seam between the trainer and what it trains.

The trainer asks a ``Learner`` for the batches and for the compiled model, and knows nothing else of the way a model
is taught. ``PlainLearner`` learns from the truth; ``distillation`` has one that learns from a teacher as well, and
chooses between them.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import keras
import numpy as np
import tensorflow as tf

from segdemo import zoo
from segdemo.data import learnable
from segdemo.data.datasets import Dataset, Sample
from segdemo.data.frequencies import pixel_counts
from segdemo.runs.config import TrainConfig, TrainingError
from segdemo.training import batches, losses, metrics
from segdemo.training.callbacks import RunFolder
from segdemo.training.kernels import bfloat16_is_faster
from segdemo.training.layers import cropped_logits
from segdemo.training.tfds import open_data

_log = logging.getLogger(__name__)


def _per_image(config: TrainConfig) -> bool:
    return config.class_weights and config.weighting == "image" and not config.given_weights


LOSSES: dict[str, Callable[[TrainConfig, np.ndarray | None], keras.losses.Loss]] = {
    "cross_entropy": lambda config, weights: losses.CrossEntropy(weights, _per_image(config)),
    "dice": lambda config, weights: losses.Dice(
        class_weights=weights, per_image=_per_image(config), pooled=config.dice_form == "pixels"
    ),
    "cross_entropy_dice": lambda config, weights: losses.CrossEntropyDice(
        weights, config.dice_weight, per_image=_per_image(config), pooled=config.dice_form == "pixels"
    ),
}


# In the order of the log; see ``callbacks.log_goes_on`` before another is added.
METRICS = (metrics.PixelAccuracy, metrics.MeanAccuracy, metrics.MeanIoU)


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        config: the settings, with the subset and the precision that are meant.
        dataset: the one they name.
        size: side of the crop in pixels.
        steps: of an epoch: each photo is seen once or, to fill the last batch, twice.
        watched: the samples that are watched while it learns.
        notes: sentences on what is no fault and yet worth knowing.
    """

    config: TrainConfig
    dataset: Dataset
    size: int
    steps: int
    watched: list[Sample]
    notes: list[str]

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        """The task of a configuration. Raises DatasetError: its data is not there or nothing can be learned from it."""
        dataset = open_data(config.dataset, config.data)
        config = replace(computable(config), subset=config.subset or dataset.learning_subset)
        notes = learnable.require_learnable(dataset, config.subset, config.validation, config.held_out)
        size = config.size or zoo.spec(config.model).size
        steps = config.steps_per_epoch or math.ceil(len(dataset.samples(config.subset)) / config.batch)
        return cls(config, dataset, size, steps, _watched(config, dataset), notes)

    @property
    def batch(self) -> int:
        """Photos a step: no more than there are."""
        return min(self.config.batch, len(self.dataset.samples(self.config.subset)))

    @property
    def num_classes(self) -> int:
        """K, without void."""
        return len(self.dataset.label_set)


class Learner(Protocol):
    """What the trainer asks for."""

    def batches(self, done: int = 0) -> tf.data.Dataset:
        """Batches to learn from without end, after ``done`` steps, see ``batches.to_learn_from``."""

    def compiled(self, model: keras.Model) -> keras.Model:
        """What is fitted: it shares its weights with ``model``, and keeps them in the same order."""

    def begin(self, model: keras.Model, data: tf.data.Dataset, run: RunFolder, verbose: bool) -> bool:
        """What comes before the first epoch of a new run. Returns whether the model has changed.

        Raises:
            CancelledError: somebody asked to stop. TrainingError.
        """


class PlainLearner:
    """Learns from the truth alone.

    Args:
        task: what is to be learned.
    """

    def __init__(self, task: Task):
        self.task = task

    def batches(self, done: int = 0) -> tf.data.Dataset:
        return batches.to_learn_from(self.task.config, self.task.dataset, self.task.size, done)

    def compiled(self, model: keras.Model) -> keras.Model:
        config, task = self.task.config, self.task
        learner = self._fitted(model)
        learner.compile(
            optimizer=optimizer(config, task.steps * config.epochs),
            loss=LOSSES[config.loss](config, _class_weights(task)),
            metrics=[kind(task.num_classes) for kind in METRICS],
            jit_compile=False,  # "auto" would choose XLA, which is slower on a CPU
        )
        learner.optimizer.build(learner.trainable_variables)
        return learner

    def begin(self, model: keras.Model, data: tf.data.Dataset, run: RunFolder, verbose: bool) -> bool:
        return False

    def _fitted(self, model: keras.Model) -> keras.Model:
        # The model whose output the loss sees: logits (B, size / loss_stride, size / loss_stride, K).
        if self.task.config.loss_stride == 1:
            return keras.Model(model.input, model.output, name=model.name)
        return keras.Model(model.input, self._at_loss_size(cropped_logits(model)), name=model.name)

    def _at_loss_size(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        side = self.task.size // self.task.config.loss_stride
        return keras.layers.Resizing(side, side, dtype="float32", name="loss_size")(logits)


def computable(config: TrainConfig) -> TrainConfig:
    """The configuration, in float32 where bfloat16 would not be faster: its weights are float32 in any case."""
    if config.precision == "float32" or bfloat16_is_faster():
        return config
    _log.warning("bfloat16 is not faster than float32 on this machine: the run computes in float32.")
    return replace(config, precision="float32")


def optimizer(config: TrainConfig, total_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a configuration, with its learning rate's way over ``total_steps``."""
    rate = config.learning_rate
    if config.schedule == "polynomial":
        rate = keras.optimizers.schedules.PolynomialDecay(rate, total_steps, rate / 100, power=0.9)
    elif config.schedule == "cosine":
        rate = cosine(rate, total_steps, min(config.warmup_steps, total_steps // 10))
    shared = {"use_ema": config.ema > 0, "ema_momentum": config.ema or 0.99}
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=5.0, **shared)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=config.weight_decay or None, **shared)
    return keras.optimizers.Adam(rate, **shared)


def cosine(rate: float, steps: int, warmup: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """A learning rate that rises to ``rate`` in ``warmup`` steps, fewer than ``steps``, and falls to a hundredth of it
    by ``steps``."""
    return keras.optimizers.schedules.CosineDecay(
        rate / 20 if warmup else rate,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )


def _watched(config: TrainConfig, dataset: Dataset) -> list[Sample]:
    samples = dataset.samples(config.validation)
    if config.validation_photos and len(samples) > config.validation_photos:
        step = len(samples) / config.validation_photos
        samples = [samples[int(i * step)] for i in range(config.validation_photos)]
    return samples


def _class_weights(task: Task) -> np.ndarray | None:
    if given := task.config.given_weights:
        if len(given) != task.num_classes:
            raise TrainingError(
                f"given_weights are {len(given)} and {task.dataset.label_set.title} has {task.num_classes} classes: "
                "give one for each."
            )
        return np.asarray(given, np.float32)
    if not task.config.class_weights or _per_image(task.config):
        return None
    return losses.median_frequency_weights(pixel_counts(task.dataset, task.config.subset))
