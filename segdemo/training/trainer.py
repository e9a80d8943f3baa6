"""Training: one configuration in, one run directory out.

A run directory holds ``config.json``, ``status.json``, ``events.jsonl``, ``log.csv``, ``curves.png``,
``samples/epoch_NN.png``, ``tensorboard/``, ``checkpoints/`` and, at the end, what ``export`` writes. A run that
was stopped or killed goes on from its last checkpoint; a file called ``cancel`` ends it within one step.
"""

import logging
import math
import re
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
from tensorflow import errors
from tqdm import tqdm

from segdemo import zoo
from segdemo.core.files import read_json
from segdemo.core.photos import IntakeError
from segdemo.data import learnable
from segdemo.data.datasets import DatasetError, read_image, read_label_map
from segdemo.data.sources import open_dataset
from segdemo.runs import failures
from segdemo.runs.config import STAGES, UPSAMPLING, TrainingError
from segdemo.training import architectures, batches, callbacks, losses, metrics, pipeline
from segdemo.training.architectures.upsampling import freeze_all_else
from segdemo.training.callbacks import NO_SCORE, SAMPLE_PHOTOS, CancelledError, Recorder, RunFolder, rss_mb
from segdemo.training.checkpoints import Checkpoints
from segdemo.training.distillation import blockwise, distiller, tflite
from segdemo.training.kernels import bfloat16_is_faster
from segdemo.training.layers import last_logits

SEARCH_SECONDS = 60  # for the photo that could not be decoded
EXPORT_SECONDS = 15  # about, for any model

_log = logging.getLogger(__name__)

LOSSES = {
    "cross_entropy": lambda config, weights: losses.CrossEntropy(class_weights=weights),
    "dice": lambda config, weights: losses.Dice(),
    "cross_entropy_dice": lambda config, weights: losses.CrossEntropyDice(
        dice_weight=config.dice_weight, class_weights=weights
    ),
}


def train(config, out, resume=False, verbose=True):
    """Run a training from start to finish, or on from its last checkpoint.

    Args:
        config: a TrainConfig.
        out: the run directory.
        resume: go on with what ``out`` holds. Without it, ``out`` must not hold a run yet.
        verbose: a progress bar on stderr.

    Returns:
        The final ``status.json`` as a dictionary; its state is ``"done"`` or ``"cancelled"``.

    Raises:
        TrainingError, datasets.DatasetError: bad settings or data. The run's state is then ``"failed"``, with
        the same sentence.
    """
    out = Path(out)
    if not resume and (out / "checkpoints" / "state.json").exists():
        raise TrainingError(
            f"{out} already holds a run: pass --resume to go on with it, or choose another --out."
        )
    run = RunFolder(out)
    if resume and run.last_state == "cancelled":  # that request has been met; a newer one has to be kept
        (out / "cancel").unlink(missing_ok=True)
    run.write("config.json", asdict(config))
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


def estimate(config, steps=4):
    """How long a run would take on this machine: a few of its own steps, timed. Nothing is written
    but the resized photos that the run would keep, too.

    Args:
        config: a TrainConfig without a teacher.
        steps: how many are timed, after one to warm up.

    Returns:
        A dictionary: ``steps`` of an epoch, ``seconds_per_step``, ``images_per_second``, ``seconds_to_start``,
        ``seconds_per_validation``, ``seconds_to_finish`` (export and the two measurements on the held-out
        photos) and ``rss_mb``.

    Raises:
        TrainingError, datasets.DatasetError: what the run itself would fail with.
    """
    if config.teacher:
        raise TrainingError("How long a run with a teacher takes is not estimated: start it and see.")
    began = time.perf_counter()
    with explained(config):
        keras.utils.set_random_seed(config.seed)
        dataset = open_dataset(config.dataset, config.data)
        config = replace(_computable(config), subset=config.subset or dataset.learning_subset)
        learnable.require_learnable(dataset, config.subset, config.validation, config.held_out)
        size = config.size or zoo.spec(config.model).size
        count = len(dataset.samples(config.subset))
        epoch = config.steps_per_epoch or max(1, count // config.batch)
        validation = _validation_samples(config, dataset)
        model = build_model(config, len(dataset.label_set))
        learner = _compiled(config, model, dataset, size, epoch)
        learned_from = iter(batches.to_learn_from(config, dataset, size))
        times = []
        for _ in range(1 + steps):
            before = time.perf_counter()
            loss = learner.train_on_batch(*next(learned_from))
            times.append(time.perf_counter() - before)
        if not math.isfinite(float(np.asarray(loss).ravel()[0])):
            raise TrainingError(f"The loss becomes {loss} within {steps} steps: lower the learning rate.")
        watched = iter(batches.to_watch(config, dataset, validation, size))
        photos, label_maps = next(watched)
        learner.test_on_batch(photos, label_maps)  # to warm up
        before = time.perf_counter()
        learner.test_on_batch(photos, label_maps)
        per_photo = (time.perf_counter() - before) / len(photos)
    per_step = float(np.median(times[1:]))
    batch = min(config.batch, count)
    return {
        "steps": epoch,
        "seconds_per_step": per_step,
        "images_per_second": batch / per_step,
        "seconds_to_start": before - began - sum(times[1:]),
        "seconds_per_validation": per_photo * (len(validation) + SAMPLE_PHOTOS),
        "seconds_to_finish": EXPORT_SECONDS + 2 * per_photo * len(dataset.samples(config.held_out)),
        "rss_mb": rss_mb(),
    }


@contextmanager
def explained(config):
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


def first_broken(config):
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


def _computable(config):
    """The configuration, in float32 where bfloat16 would not be faster: its weights are float32 in any case."""
    if config.precision == "float32" or bfloat16_is_faster():
        return config
    _log.warning("bfloat16 is not faster than float32 on this machine: the run computes in float32.")
    return replace(config, precision="float32")


def _fit(config, run, verbose):
    keras.utils.set_random_seed(config.seed)
    dataset = open_dataset(config.dataset, config.data)
    config = replace(_computable(config), subset=config.subset or dataset.learning_subset)
    for note in learnable.require_learnable(dataset, config.subset, config.validation, config.held_out):
        tqdm.write(note, file=sys.stderr)
    num_classes = len(dataset.label_set)
    size = config.size or zoo.spec(config.model).size
    steps = config.steps_per_epoch or max(1, len(dataset.samples(config.subset)) // config.batch)
    network = _teacher_network(config, dataset, size) if config.teacher else None
    validation = _validation_samples(config, dataset)
    val_data = batches.to_watch(config, dataset, validation, size)

    checkpoints = Checkpoints(run.path / "checkpoints", num_classes)
    state = checkpoints.state()
    if state is not None and state.get("classes") not in (None, num_classes):
        raise TrainingError(
            f"The dataset had {state['classes']} classes when this run began and has {num_classes} now: "
            "start a new run."
        )
    model = build_model(config, num_classes, pretrained=state is None)
    learner = _compiled(config, model, dataset, size, steps, network)
    first, done_steps = 0, 0
    if state is not None:
        learner.load_weights(checkpoints.folder / state["file"])
        # An epoch of which nothing but the validation is left takes one step more, to come to it.
        first, done_steps = state["epoch"], min(state["step"], steps - 1)
    train_data = batches.to_learn_from(config, dataset, size, first * steps + done_steps)
    if state is None and config.block_steps:
        if _teach_blocks(config, model, network, train_data, run, verbose):
            return True
        checkpoints.save(learner, epoch=0, step=0, best=NO_SCORE)
    recorder = Recorder(run, config.epochs, steps, config.batch, done_steps)
    watching = callbacks.for_run(config, run, checkpoints, state, recorder, model, validation, dataset)
    fit = partial(
        learner.fit, callbacks=watching, verbose=1 if verbose else 0, validation_data=val_data, shuffle=False
    )
    try:
        if done_steps and first < config.epochs:  # the rest of the epoch it was stopped in
            fit(train_data, epochs=first + 1, initial_epoch=first, steps_per_epoch=steps - done_steps)
            first = first + 1
            # fit has left the average where the trained weights were.
            learner.load_weights(checkpoints.folder / checkpoints.state()["file"])
        if first < config.epochs and not learner.stop_training:
            fit(train_data, epochs=config.epochs, initial_epoch=first, steps_per_epoch=steps)
    except BaseException as error:
        for callback in watching:
            with suppress(Exception):  # what went wrong first is what counts
                callback.on_train_end()  # close the logs
        if isinstance(error, CancelledError):
            return True
        raise
    return False


def _teach_blocks(config, model, network, train_data, run, verbose):
    """The encoder learns from the teacher's blocks. True if somebody asked to stop; it begins anew next time."""
    run.status(message="Learning block by block.", step=0, steps=config.block_steps)
    watching = callbacks.BlockProgress(run, config.block_steps)
    try:
        blockwise.teach(
            model,
            _encoder(config, model),
            network,
            train_data,
            config.block_steps,
            config.block_learning_rate,
            callbacks=[watching],
            verbose=1 if verbose else 0,
        )
    except CancelledError:
        return True
    return False


def _encoder(config, model):
    """The encoder of a model; the model itself if it has none, as SegNet and the plain U-Net."""
    name = config.options.get("encoder", zoo.spec(config.model).encoder)
    return {layer.name: layer for layer in model.layers}.get(name, model)


def _compiled(config, model, dataset, size, steps, network=None):
    """What is fitted: the model at the loss's resolution, with optimizer, loss and metrics."""
    learner = _learner(config, model, size, network)
    if config.teacher:
        learner = distiller.Distiller(
            learner.input,
            learner.output,
            name=learner.name,
            network=network,
            truth_weight=config.truth_weight,
            teacher_weight=config.teacher_weight,
            temperature=config.teacher_temperature,
            block_weight=config.block_weight,
            steps=steps * config.epochs,
        )
    num_classes = len(dataset.label_set)
    learner.compile(
        optimizer=_optimizer(config, steps * config.epochs),
        loss=LOSSES[config.loss](config, _class_weights(config, dataset)),
        metrics=[metrics.PixelAccuracy(num_classes), metrics.MeanIoU(num_classes)],
        jit_compile=False,  # "auto" would choose XLA, which is slower on a CPU
    )
    learner.optimizer.build(learner.trainable_variables)
    return learner


def build_model(config, num_classes, pretrained=True):
    """The Keras model of a configuration: RGB 0..255 (B, H, W, 3) to logits (B, H, W, K).

    Args:
        config: a TrainConfig.
        num_classes: channels of the logits.
        pretrained: load ``start_from`` or the encoder weights, and freeze what is to be frozen.
    """
    encoder = config.options.get("encoder", zoo.spec(config.model).encoder)
    weights = None
    if pretrained and not config.start_from and encoder and config.encoder_weights != "none":
        weights = config.encoder_weights
        weights = architectures.encoder_weights(encoder) if weights == "auto" else weights
    with computing_in(config.precision):
        model = architectures.build(config.model, num_classes, weights, **config.options)
    if pretrained and config.start_from:
        load_start(model, config.start_from)
    # SegNet's encoder is part of the network itself, not a layer.
    if config.frozen == UPSAMPLING:
        freeze_all_else(model)
    elif encoder and any(layer.name == encoder for layer in model.layers):
        freeze(model.get_layer(encoder), config.frozen, config.freeze_batch_norm)
    return model


@contextmanager
def computing_in(precision):
    """Layers built inside have this Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def load_start(model, source):
    """Load what fits of a served model's weights or a ``.weights.h5`` file; other layers keep their fresh weights.

    The layers of a served model are found by name, so another architecture may start from it if both share
    layers, such as an encoder. Those of a file are found by their place, so it has to be the same architecture.

    Raises:
        TrainingError: no such file or model, or nothing in it fits.
    """
    path = Path(source)
    before = [np.array(w) for w in model.get_weights()]
    if path.is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that some layers do not fit is expected
            try:
                model.load_weights(path, skip_mismatch=True)
            except Exception as error:  # Keras and HDF5 raise anything for a damaged file
                raise TrainingError(
                    f"{path.name} is no file of weights that can be read: fetch it again."
                ) from error
    else:
        entry = zoo.served_model(source)
        if "weights" not in entry.data:
            raise TrainingError(
                f"The model {source!r} carries no weights to train on: start from another one."
            )
        path = entry.folder / entry.data["weights"]
        trained = architectures.build(entry.architecture, len(entry.label_set), **entry.options)
        trained.load_weights(path)
        _copy_by_name(trained, model)
    if all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)):
        raise TrainingError(
            f"Nothing in {path.name} fits this architecture: start from a model of the same one."
        )


def _copy_by_name(source, target):
    """Copy the weights of each layer that has a namesake with weights of the same shapes, nested ones too."""
    names = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        other = names.get(layer.name)
        if isinstance(layer, keras.Model) and isinstance(other, keras.Model):
            _copy_by_name(other, layer)
        elif other is not None:
            weights = other.get_weights()
            if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
                layer.set_weights(weights)


def freeze(encoder, through, batch_norm):
    """Stop an encoder's first stages, up to ``through``, or all its BatchNorm layers, from learning."""
    taps = [tensor._keras_history.operation.name for _, tensor in sorted(encoder.output.items())]
    last = taps[STAGES.index(through)] if through else None
    learning = last is None
    encoder.trainable = True
    for layer in encoder.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = learning and not (batch_norm and is_norm)
        learning = learning or layer.name == last
    if through == STAGES[-1]:
        encoder.trainable = False


def _learner(config, model, size, network):
    """The model whose output the loss sees: logits at ``size / loss_stride``, and the ends of blocks if they count."""
    side = size // config.loss_stride
    resize = keras.layers.Resizing(side, side, dtype="float32", name="loss_size")
    if config.block_weight:
        model = blockwise.imitating(model, _encoder(config, model), network)
        logits, *ends = model.outputs
        return keras.Model(model.input, [resize(logits), *ends], name=model.name)
    if config.loss_stride == 1:
        return keras.Model(model.input, model.output, name=model.name)
    return keras.Model(model.input, resize(last_logits(model)), name=model.name)


def _optimizer(config, total_steps):
    rate = config.learning_rate
    if config.schedule == "polynomial":
        rate = keras.optimizers.schedules.PolynomialDecay(rate, total_steps, rate / 100, power=0.9)
    elif config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 20 if config.warmup_steps else rate,
            max(1, total_steps - config.warmup_steps),
            alpha=0.01,
            warmup_target=rate if config.warmup_steps else None,
            warmup_steps=config.warmup_steps,
        )
    shared = {"use_ema": config.ema > 0, "ema_momentum": config.ema or 0.99}
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=5.0, **shared)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=config.weight_decay or None, **shared)
    return keras.optimizers.Adam(rate, **shared)


def _teacher_network(config, dataset, size):
    """The teacher, which looks at every crop."""
    path = distiller.find_teacher(config.teacher)
    network = tflite.FloatNetwork(path, "bfloat16" if config.precision == "mixed_bfloat16" else "float32")
    if network.classes != len(dataset.label_set):
        raise TrainingError(
            f"The teacher {path} knows {network.classes} classes and {dataset.label_set.title} has "
            f"{len(dataset.label_set)}: use one that was trained on the same classes."
        )
    if size % network.stride:
        raise TrainingError(
            f"The teacher takes crops of a multiple of {network.stride} pixels, not {size}: choose another size."
        )
    return network


def _validation_samples(config, dataset):
    samples = dataset.samples(config.validation)
    if config.validation_photos and len(samples) > config.validation_photos:
        step = len(samples) / config.validation_photos
        samples = [samples[int(i * step)] for i in range(config.validation_photos)]
    return samples


def _class_weights(config, dataset):
    if not config.class_weights:
        return None
    counts = np.zeros(256, np.int64)
    for sample in dataset.samples(config.subset):
        counts += np.bincount(read_label_map(sample).ravel(), minlength=256)
    return losses.median_frequency_weights(counts[: len(dataset.label_set)])
