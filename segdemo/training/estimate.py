"""How long a run would take on this machine: a few of its own steps, timed."""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from segdemo import zoo
from segdemo.core.labels import VOID
from segdemo.data.datasets import read_pair
from segdemo.inference import calibrate
from segdemo.inference.predict import input_size
from segdemo.inference.refine import grid_size, refine
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
    seconds_to_finish: float  # export, calibration and the two measurements on the held-out photos
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
        finish = _seconds_to_finish(task, per_photo)
    per_step = float(np.median(times[1:]))
    measured = Measured(
        steps=task.steps,
        seconds_per_step=per_step,
        images_per_second=task.batch / per_step,
        seconds_to_start=before - began - sum(times[1:]),
        seconds_per_validation=per_photo * (len(task.watched) + SAMPLE_PHOTOS),
        seconds_to_finish=finish,
        rss_mb=rss_mb(),
    )
    return asdict(measured)


def _seconds_to_finish(task: Task, per_photo: float) -> float:
    """How long what comes after the last epoch takes, at ``per_photo`` seconds for an answer of the network."""
    samples, background = zoo.spec(task.config.model).samples, task.dataset.label_set.background
    watched, held_out = (
        len(task.dataset.samples(part)) for part in (task.config.validation, task.config.held_out)
    )
    passes, refinements = calibrate.effort(watched, held_out, samples, background is not None)
    seconds = EXPORT_SECONDS + per_photo * (passes + 2 * samples * held_out)
    return seconds + refinements * _seconds_to_refine(task) if refinements else seconds


def _seconds_to_refine(task: Task) -> float:
    """How long it takes to draw the outlines of a photo anew, from a coarse answer that is like the truth."""
    image, truth = read_pair(task.watched[0], task.dataset.label_set)
    height, width = truth.shape
    size = input_size(height, width, zoo.spec(task.config.model).long_side)
    h, w = grid_size(*size)
    rows, columns = np.arange(h) * height // h, np.arange(w) * width // w
    coarse = truth[np.ix_(rows, columns)]
    answer = np.eye(task.num_classes, dtype=np.float32)[np.where(coarse == VOID, 0, coarse)]
    radius, epsilon = calibrate.RADII[0], calibrate.EPSILONS[0]
    before = time.perf_counter()
    refine(answer, image, size, radius, epsilon)
    return time.perf_counter() - before
