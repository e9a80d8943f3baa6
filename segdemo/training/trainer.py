"""Training: one configuration in, one run directory out.

A run directory holds ``config.json``, ``status.json``, ``events.jsonl``, ``log.csv``, ``curves.png``,
``samples/epoch_NN.png``, ``tensorboard/``, ``checkpoints/`` and, at the end, what ``export`` writes. A run that
was stopped or killed goes on from its last checkpoint; a file called ``cancel`` ends it within one step.
"""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import keras
from tensorflow import errors
from tqdm import tqdm

from segdemo.core.files import read_json
from segdemo.core.photos import IntakeError
from segdemo.data.datasets import DatasetError, read_image
from segdemo.data.sources import open_dataset
from segdemo.runs import failures
from segdemo.runs.claim import claimed
from segdemo.runs.config import TrainConfig, TrainingError
from segdemo.training import batches, callbacks, devices, distillation, pipeline
from segdemo.training.callbacks import NO_SCORE, CancelledError, Recorder, RunFolder
from segdemo.training.checkpoints import Checkpoints
from segdemo.training.learning import Task
from segdemo.training.start import build_model, with_its_options

SEARCH_SECONDS = 60  # for the photo that could not be decoded


def train(config: TrainConfig, out: Path | str, resume: bool = False, verbose: bool = True) -> dict[str, Any]:
    """Run a training from start to finish, or on from its last checkpoint.

    Args:
        config: its settings.
        out: the run directory.
        resume: go on with what ``out`` holds. Without it, ``out`` must not hold a run yet.
        verbose: a progress bar on stderr.

    Returns:
        The final ``status.json`` as a dictionary; its state is ``"done"`` or ``"cancelled"``.

    Raises:
        TrainingError, datasets.DatasetError: bad settings or data. The run's state is then ``"failed"``, with
        the same sentence; but not if another trainer works on it, which goes on.
    """
    with claimed(out):
        return _train(config, Path(out), resume, verbose)


def _train(config: TrainConfig, out: Path, resume: bool, verbose: bool) -> dict[str, Any]:
    begun = (out / "checkpoints" / "state.json").exists()
    if begun and not resume:
        raise TrainingError(
            f"{out} already holds a run: pass --resume to go on with it, or choose another --out."
        )
    if not begun:
        config = with_its_options(config)
    run = RunFolder(out)
    if resume and run.last_state == "cancelled":  # that request has been met; a newer one has to be kept
        (out / "cancel").unlink(missing_ok=True)
    run.write("config.json", config.to_json())
    run.status(state="running", message="Starting.", epochs=config.epochs)
    try:
        with explained(config):
            cancelled = _fit(config, run, verbose)
    except BaseException as error:
        state = "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
        log = "its log" if (out / "train.log").is_file() else ""
        run.status(state=state, message=failures.sentence(error, log))
        raise
    if cancelled:
        run.status(state="cancelled", message="Cancelled; the last checkpoint is kept.")
    else:
        run.status(state="done", message="Finished.", eta_seconds=0)
    return read_json(out / "status.json")


@contextmanager
def explained(config: TrainConfig) -> Iterator[None]:
    """What TensorFlow raises inside comes out as a sentence: broken photos and masks, and too little memory."""
    try:
        yield
    except errors.ResourceExhaustedError as error:
        raise MemoryError from error
    except errors.OpError as error:
        if "IteratorGetNext" not in str(error) and "DatasetError" not in str(error):
            raise  # it did not come out of the pipeline
        if found := re.search(r"(/[^\n;]+); No such file", str(error)):
            raise DatasetError(f"The photo {found[1]} is missing: restore it or start a new run.") from error
        if "Error: " in str(error):  # raised by Python, so it has a sentence
            raise pipeline.explain(error) from error
        raise first_broken(config) or pipeline.explain(error) from error


def first_broken(config: TrainConfig) -> DatasetError | None:
    """The DatasetError of the first photo of a run that cannot be read, or None; TensorFlow does not name it."""
    dataset = open_dataset(config.dataset, config.data)
    end = time.monotonic() + SEARCH_SECONDS
    for subset in dict.fromkeys((config.subset or dataset.learning_subset, config.validation)):
        for sample in dataset.samples(subset):
            try:
                read_image(sample)
            except IntakeError as error:
                return DatasetError(f"The photo {sample.image_path} cannot be read: {error}")
            except DatasetError as error:
                return error
            if time.monotonic() > end:
                return None
    return None


def _fit(config: TrainConfig, run: RunFolder, verbose: bool) -> bool:
    """Learn to the end. Returns whether somebody asked to stop before."""
    keras.utils.set_random_seed(config.seed)
    task = Task.of(config)
    for note in task.notes:
        tqdm.write(note, file=sys.stderr)
    learner = distillation.learner(task)
    checkpoints = Checkpoints(run.path / "checkpoints", task.num_classes)
    state = checkpoints.state()
    if state is not None and state.get("classes") not in (None, task.num_classes):
        raise TrainingError(
            f"The dataset had {state['classes']} classes when this run began and has {task.num_classes} now: "
            "start a new run."
        )
    with devices.strategy(_photos_a_step(task)).scope():
        model = build_model(task.config, task.num_classes, pretrained=state is None)
        devices.synchronize(model)
        fitted = learner.compiled(model)
        devices.share(fitted.optimizer)
    first, done_steps, steps = 0, 0, task.steps
    if state is not None:
        fitted.load_weights(checkpoints.last)
        # An epoch of which nothing but the validation is left takes one step more, to come to it.
        first, done_steps = state["epoch"], min(state["step"], steps - 1)
    train_data = learner.batches(first * steps + done_steps)
    devices.prepare(fitted, train_data)
    watching: list[keras.callbacks.Callback] = []
    try:
        if state is None and learner.begin(model, train_data, run, verbose):
            checkpoints.save(fitted, epoch=0, step=0, best=NO_SCORE)
        recorder = Recorder(run, config.epochs, steps, task.batch, done_steps)
        watching += callbacks.for_run(
            task.config, run, checkpoints, state, recorder, model, task.watched, task.dataset
        )
        fit = partial(
            fitted.fit,
            train_data,
            callbacks=watching,
            verbose=1 if verbose else 0,
            validation_data=batches.to_watch(task.config, task.dataset, task.watched, task.size),
            shuffle=False,
        )
        if done_steps and first < config.epochs:  # the rest of the epoch it was stopped in
            fit(epochs=first + 1, initial_epoch=first, steps_per_epoch=steps - done_steps)
            first = first + 1
            # fit has left the average where the trained weights were.
            fitted.load_weights(checkpoints.last)
        if first < config.epochs and not fitted.stop_training:
            fit(epochs=config.epochs, initial_epoch=first, steps_per_epoch=steps)
    except BaseException as error:
        for callback in watching:
            with suppress(Exception):  # what went wrong first is what counts
                callback.on_train_end()  # close the logs
        if isinstance(error, CancelledError):
            return True
        raise
    return False


def _photos_a_step(task: Task) -> int:
    # As many as devices may share; a teacher and its pupil stay on one.
    return 1 if task.config.distillation.teacher else task.batch
