"""How long a run would take on this machine: a few of its own steps, timed."""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from segdemo.runs.config import TrainConfig, TrainingError
from segdemo.training import batches, distillation
from segdemo.training.callbacks import SAMPLE_PHOTOS, rss_mb
from segdemo.training.learning import Task
from segdemo.training.start import build_model, with_its_options
from segdemo.training.trainer import explained

EXPORT_SECONDS = 15  # about, for any model


@dataclass(frozen=True)
class Measured:
    """What was measured, in seconds; what ``runs.estimates`` tells people is made of it."""

    steps: int  # of an epoch
    seconds_per_step: float
    images_per_second: float
    seconds_to_start: float
    seconds_per_validation: float
    seconds_to_finish: float  # export and the two measurements on the held-out photos
    rss_mb: int | None


def estimate(config: TrainConfig, steps: int = 4) -> dict[str, Any]:
    """Time a few steps of a run. Nothing is written but the resized photos that the run would keep, too.

    Args:
        config: one without a teacher.
        steps: how many are timed, after one to warm up.

    Returns:
        The fields of ``Measured``.

    Raises:
        TrainingError, DatasetError: what the run itself would fail with.
    """
    if config.distillation.teacher:
        raise TrainingError("How long a run with a teacher takes is not estimated: start it and see.")
    began = time.perf_counter()
    config = with_its_options(config)
    with explained(config):
        keras.utils.set_random_seed(config.seed)
        task = Task.of(config)
        learner = distillation.learner(task)
        model = learner.compiled(build_model(task.config, task.num_classes))
        learned_from = iter(learner.batches())
        times = []
        for _ in range(1 + steps):
            before = time.perf_counter()
            loss = model.train_on_batch(*next(learned_from))
            times.append(time.perf_counter() - before)
        if not math.isfinite(float(np.asarray(loss).ravel()[0])):
            raise TrainingError(f"The loss becomes {loss} within {steps} steps: lower the learning rate.")
        photos, label_maps = next(iter(batches.to_watch(task.config, task.dataset, task.watched, task.size)))
        model.test_on_batch(photos, label_maps)  # to warm up
        before = time.perf_counter()
        model.test_on_batch(photos, label_maps)
        per_photo = (time.perf_counter() - before) / len(photos)
    per_step = float(np.median(times[1:]))
    batch = min(config.batch, len(task.dataset.samples(task.config.subset)))
    held_out = len(task.dataset.samples(config.held_out))
    measured = Measured(
        steps=task.steps,
        seconds_per_step=per_step,
        images_per_second=batch / per_step,
        seconds_to_start=before - began - sum(times[1:]),
        seconds_per_validation=per_photo * (len(task.watched) + SAMPLE_PHOTOS),
        seconds_to_finish=EXPORT_SECONDS + 2 * per_photo * held_out,
        rss_mb=rss_mb(),
    )
    return asdict(measured)
