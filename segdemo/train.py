"""Training: one configuration in, one run directory out.

A run directory holds ``config.json``, ``status.json``, ``events.jsonl``, ``log.csv``, ``curves.png``,
``samples/epoch_NN.png``, ``tensorboard/``, ``checkpoints/`` and, at the end, what ``export`` writes. A run that
was stopped or killed goes on from its last checkpoint; a file called ``cancel`` ends it within one step.
"""

import errno
import json
import math
import os
import re
import shutil
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from tensorflow import errors
from tqdm import tqdm

from segdemo import augment, distil, losses, masks, metrics, pipeline, zoo
from segdemo.datasets import DatasetError, open_dataset, read_image, read_label_map
from segdemo.files import DISK_FULL, write_atomic
from segdemo.intake import IntakeError, read_photo
from segdemo.labels import VOID

CHECKPOINT_SECONDS = 120
PROGRESS_SECONDS = 1.0
SAMPLE_PHOTOS = 4
SAMPLE_SIDE = 256  # pixels, long side of each picture in samples/
SEARCH_SECONDS = 60  # for the photo that could not be decoded
EXPORT_SECONDS = 15  # about, for any model


class TrainingError(ValueError):
    """Training cannot start or go on; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a run.

    Attributes:
        model: key of ``zoo.SPECS``.
        dataset, data: kind and folder of the dataset, see ``datasets.open_dataset``.
        subset, validation, held_out: subsets to learn from, to watch and choose by, and to report on. Empty for
            the dataset's own.
        options: override the builder's options, such as ``{"output_stride": 8}``.
        encoder_weights: ``"auto"`` (a file in SEGDEMO_PRETRAINED, else a download), ``"imagenet"``, a path, or
            ``"none"``.
        start_from: a served model or a ``.weights.h5`` file to go on from, instead of the encoder weights.
        epochs, batch, steps_per_epoch: how long; 0 steps for one pass over the subset.
        size: side of the training crop in pixels; 0 for the spec's.
        loss_stride: the loss is taken on label maps this much smaller than the crop.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``. learning_rate, weight_decay: its settings.
        schedule: ``"constant"``, ``"polynomial"`` (power 0.9) or ``"cosine"``, over all steps.
        warmup_steps: the learning rate rises linearly over these, with ``"cosine"``.
        loss: key of ``LOSSES``. dice_weight: of its Dice part.
        class_weights: weigh rarer classes more, by median frequency balancing on the training masks.
        augment: key of ``AUGMENTATIONS``. scale: magnifications of ``"strong"``. copy_paste: share of photos.
        frozen: encoder stages that do not learn, from ``""`` over ``"c1"`` to ``"c5"`` (all of it).
        freeze_batch_norm: keep the encoder's BatchNorm statistics and parameters.
        ema: momentum of the average of the weights that is evaluated and kept; 0 for none.
        reduce_lr, early_stopping: patience in epochs on ``val_loss``; 0 for never.
        validation_photos: at most so many photos are watched; 0 for all.
        repeat_threshold: photos of classes that a smaller share of all photos show are drawn more often, see
            ``distil.repeat_factors``; 0 draws all alike.
        teacher: a TFLite DeepLabv3 to learn from as well, see ``distil``: a path, or a file name in
            SEGDEMO_PRETRAINED. Empty for none. It goes with the augmentation ``"strong"``.
        teacher_weight, truth_weight: of the teacher's soft labels and of ``loss`` then.
        precision: ``"float32"``, or ``"mixed_bfloat16"``: weights in float32, layers compute in bfloat16. On a
            processor with AVX512-BF16 it trains the plain U-Net 1.8x and SegNet 1.4x as fast, and MobileNetV2's
            depthwise convolutions no faster.
        seed: of initial weights, order and augmentation.
        recipe: name of the recipe it came from, if any.
    """

    model: str
    dataset: str
    data: str
    subset: str = ""
    validation: str = "val"
    held_out: str = "test"
    options: dict = field(default_factory=dict)
    encoder_weights: str = "auto"
    start_from: str = ""
    epochs: int = 25
    batch: int = 16
    steps_per_epoch: int = 0
    size: int = 0
    loss_stride: int = 1
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    loss: str = "cross_entropy"
    dice_weight: float = 1.0
    class_weights: bool = False
    augment: str = "flip"
    scale: tuple[float, float] = (0.5, 2.0)
    copy_paste: float = 0.0
    frozen: str = ""
    freeze_batch_norm: bool = False
    ema: float = 0.0
    reduce_lr: int = 3
    early_stopping: int = 6
    validation_photos: int = 0
    repeat_threshold: float = 0.0
    teacher: str = ""
    teacher_weight: float = 1.0
    truth_weight: float = 0.5
    precision: str = "float32"
    seed: int = 0
    recipe: str = ""

    def __post_init__(self):
        for setting in fields(self):
            _check_type(setting, getattr(self, setting.name))
        zoo.spec(self.model)
        choices = {
            "optimizer": ("adam", "adamw", "sgd"),
            "schedule": ("constant", "polynomial", "cosine"),
            "loss": LOSSES,
            "augment": AUGMENTATIONS,
            "frozen": ("", *STAGES),
            "precision": ("float32", "mixed_bfloat16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise TrainingError(
                    f"{name} is one of {', '.join(map(repr, allowed))}, not {getattr(self, name)!r}."
                )
        for name in ("epochs", "batch", "loss_stride"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is 1 or more, not {getattr(self, name)}.")
        for name in ("steps_per_epoch", "size", "warmup_steps", "reduce_lr", "early_stopping", "seed"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} is 0 or more, not {getattr(self, name)}.")
        if not 0 < self.learning_rate < 1:
            raise TrainingError(f"The learning rate lies between 0 and 1, not at {self.learning_rate}.")
        if not 0 <= self.ema < 1:
            raise TrainingError(f"ema lies between 0 and 1, not at {self.ema}.")
        if not 0 <= self.repeat_threshold <= 1:
            raise TrainingError(f"repeat_threshold lies between 0 and 1, not at {self.repeat_threshold}.")
        if min(self.teacher_weight, self.truth_weight) < 0 or self.teacher_weight + self.truth_weight == 0:
            raise TrainingError("teacher_weight and truth_weight are 0 or more, and not both 0.")
        if self.teacher and (self.augment != "strong" or self.copy_paste):
            raise TrainingError("A teacher goes with the augmentation 'strong' and without copy_paste.")

    @classmethod
    def from_json(cls, data):
        """The configuration ``asdict`` described. Raises TrainingError for a setting there is not."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise TrainingError(
                f"There is no setting {unknown[0]!r}: choose from {', '.join(sorted(known))}."
            )
        if missing := [name for name in ("model", "dataset", "data") if name not in data]:
            raise TrainingError(f"The setting {missing[0]!r} is missing: add it.")
        return cls(**{k: tuple(v) if k == "scale" and isinstance(v, list) else v for k, v in data.items()})


def _check_type(setting, value):
    """Raise TrainingError unless a field's value is of its type: settings come from files and command lines."""
    kind = setting.type
    if kind == tuple[float, float]:
        wanted = "two numbers"
        good = isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    else:
        wanted = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}.get(
            kind, "an object"
        )
        good = isinstance(value, int | float if kind is float else kind)
        good = good and (kind is bool or not isinstance(value, bool))
    if not good:
        raise TrainingError(f"{setting.name} is {wanted}, not {value!r}.")


STAGES = ("c1", "c2", "c3", "c4", "c5")
LOSSES = {
    "cross_entropy": lambda config, weights: losses.CrossEntropy(class_weights=weights),
    "dice": lambda config, weights: losses.Dice(),
    "cross_entropy_dice": lambda config, weights: losses.CrossEntropyDice(
        dice_weight=config.dice_weight, class_weights=weights
    ),
}
ASPECT = 1.15  # largest change of shape by "strong"
# Each makes (prepare, augment) of the pipeline: what is done once a photo, and what anew each time.
AUGMENTATIONS = {
    "none": lambda config, size: (None, None),
    "flip": lambda config, size: (partial(augment.resize, size=(size, size)), augment.random_flip),
    "voc": lambda config, size: (
        partial(augment.resize, size=(round(size * 444 / 384),) * 2),
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
        run.status(state=state, message=one_sentence(error))
        raise
    if cancelled:
        run.status(state="cancelled", message="Cancelled; the last checkpoint is kept.")
    else:
        run.status(state="done", message="Finished.", eta_seconds=0)
    return json.loads((out / "status.json").read_text("utf-8"))


def estimate(config, steps=4):
    """How long a run would take on this machine: a few of its own steps, timed. Nothing is written.

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
        config = replace(config, subset=config.subset or default_subset(dataset))
        size = config.size or zoo.spec(config.model).size
        count = len(dataset.samples(config.subset))
        epoch = config.steps_per_epoch or max(1, count // config.batch)
        validation = _validation_samples(config, dataset)
        model = build_model(config, len(dataset.label_set))
        learner = _compiled(config, model, dataset, size, epoch, soft=False)
        batches = iter(_train_data(config, dataset, size, None, done=0))
        times = []
        for _ in range(1 + steps):
            before = time.perf_counter()
            loss = learner.train_on_batch(*next(batches))
            times.append(time.perf_counter() - before)
        if not math.isfinite(float(np.asarray(loss).ravel()[0])):
            raise TrainingError(f"The loss becomes {loss} within {steps} steps: lower the learning rate.")
        watched = iter(_validation_data(config, dataset, validation, size))
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
    for subset in dict.fromkeys((config.subset or default_subset(dataset), config.validation)):
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


def one_sentence(error):
    """What went wrong, for people."""
    if isinstance(error, KeyboardInterrupt):
        return "Stopped from the keyboard; resume it to go on."
    if isinstance(error, MemoryError):
        return "There was not enough memory: choose a smaller batch or crop."
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return "The disk is full: free some space, then resume the run."
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


class RunFolder:
    """The files of a run that tell how it is doing."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._status = {"pid": os.getpid(), "started": time.time()}

    def write(self, name, data):
        """Replace a JSON file atomically."""
        write_atomic(self.path / name, json.dumps(data, indent=1, default=float).encode())

    def status(self, **changes):
        """Merge ``changes`` into ``status.json`` and beat its heart."""
        self._status.update(changes, heartbeat=time.time())
        self.write("status.json", self._status)

    def event(self, kind, **data):
        """Append a line to ``events.jsonl``."""
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **data}, default=float)
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @property
    def last_state(self):
        """The state that the last one to train in this folder left behind, or None."""
        try:
            return json.loads((self.path / "status.json").read_text("utf-8")).get("state")
        except (OSError, ValueError):
            return None

    @property
    def cancel_requested(self):
        """Whether somebody asked to stop."""
        return (self.path / "cancel").exists()


def _fit(config, run, verbose):
    keras.utils.set_random_seed(config.seed)
    dataset = open_dataset(config.dataset, config.data)
    config = replace(config, subset=config.subset or default_subset(dataset))
    num_classes = len(dataset.label_set)
    size = config.size or zoo.spec(config.model).size
    steps = config.steps_per_epoch or max(1, len(dataset.samples(config.subset)) // config.batch)
    soft_labels = _ask_teacher(config, dataset, run, verbose) if config.teacher else None
    if config.teacher and run.cancel_requested:
        return True
    validation = _validation_samples(config, dataset)
    val_data = _validation_data(config, dataset, validation, size)

    checkpoints = Checkpoints(run.path / "checkpoints", num_classes)
    state = checkpoints.state()
    if state is not None and state.get("classes") not in (None, num_classes):
        raise TrainingError(
            f"The dataset had {state['classes']} classes when this run began and has {num_classes} now: "
            "start a new run."
        )
    model = build_model(config, num_classes, pretrained=state is None)
    learner = _compiled(config, model, dataset, size, steps, soft=soft_labels is not None)
    first, done_steps = 0, 0
    if state is not None:
        learner.load_weights(checkpoints.folder / state["file"])
        # An epoch of which nothing but the validation is left takes one step more, to come to it.
        first, done_steps = state["epoch"], min(state["step"], steps - 1)
    train_data = _train_data(config, dataset, size, soft_labels, done=first * steps + done_steps)
    recorder = Recorder(run, config.epochs, steps, config.batch, done_steps)
    callbacks = _callbacks(config, run, checkpoints, state, recorder, learner, model, validation, dataset)
    fit = partial(
        learner.fit, callbacks=callbacks, verbose=1 if verbose else 0, validation_data=val_data, shuffle=False
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
        for callback in callbacks:
            with suppress(Exception):  # what went wrong first is what counts
                callback.on_train_end()  # close the logs
        if isinstance(error, _CancelledError):
            return True
        raise
    return False


def _compiled(config, model, dataset, size, steps, soft):
    """What is fitted: the model at the loss's resolution, with optimizer, loss and metrics."""
    learner = _learner(model, size, config.loss_stride)
    if soft:
        learner = distil.Distiller(
            learner.input,
            learner.output,
            name=learner.name,
            truth_weight=config.truth_weight,
            teacher_weight=config.teacher_weight,
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


def default_subset(dataset):
    """The subset to learn from: VOC's augmented list where it is there, else ``train``."""
    return "train_aug" if "train_aug" in dataset.splits else "train"


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
        weights = zoo.encoder_weights(encoder) if weights == "auto" else weights
    with computing_in(config.precision):
        model = zoo.build(config.model, num_classes, weights, **config.options)
    if pretrained and config.start_from:
        load_start(model, config.start_from)
    # SegNet's encoder is part of the network itself, not a layer.
    if encoder and any(layer.name == encoder for layer in model.layers):
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
            model.load_weights(path, skip_mismatch=True)
    else:
        entry = zoo.served_model(source)
        if "weights" not in entry.data:
            raise TrainingError(
                f"The model {source!r} carries no weights to train on: start from another one."
            )
        path = entry.folder / entry.data["weights"]
        options = entry.data.get("options", {})
        trained = zoo.build(entry.architecture, len(entry.label_set), **options)
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


def _learner(model, size, stride):
    """The model whose output the loss sees: logits at ``size / stride``."""
    if stride == 1:
        return keras.Model(model.input, model.output, name=model.name)
    logits = model.get_layer("logits").output
    resize = keras.layers.Resizing(size // stride, size // stride, dtype="float32", name="loss_size")
    return keras.Model(model.input, resize(logits), name=model.name)


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


def _ask_teacher(config, dataset, run, verbose):
    """The teacher's answers on all training photos, of which earlier runs may have kept some or all."""
    path = distil.find_teacher(config.teacher)
    teacher = distil.Teacher(path)
    if teacher.grid.classes != len(dataset.label_set):
        raise TrainingError(
            f"The teacher {path} knows {teacher.grid.classes} classes and {dataset.label_set.title} has "
            f"{len(dataset.label_set)}: use one that was trained on the same classes."
        )

    def told(samples):
        beat = 0.0
        for n, sample in enumerate(tqdm(samples, "Asking the teacher", disable=not verbose)):
            if run.cancel_requested:
                return
            if time.monotonic() - beat >= PROGRESS_SECONDS:
                beat = time.monotonic()
                run.status(message=f"Asking the teacher: {n} of {len(samples)} photos.")
            yield sample

    return distil.cache_teacher(teacher, dataset.samples(config.subset), distil.cache_folder(path), told)


def _train_data(config, dataset, size, soft_labels, done):
    """Batches without end; what ``done`` steps have seen is not seen again in the same order."""
    count = len(dataset.samples(config.subset))
    batch = min(config.batch, count)
    probabilities = None
    if config.repeat_threshold:
        probabilities = distil.repeat_factors(dataset, config.subset, config.repeat_threshold)
    if soft_labels is not None:
        return distil.batches(
            dataset,
            config.subset,
            soft_labels,
            size=size,
            stride=config.loss_stride,
            batch=batch,
            scale=config.scale,
            aspect=ASPECT,
            reference=zoo.spec(config.model).long_side,
            probabilities=probabilities,
            seed=config.seed + done,
        )
    prepare, change = AUGMENTATIONS[config.augment](config, size)
    paste = None
    if config.copy_paste:
        paste = partial(augment.copy_paste, chance=config.copy_paste, background=dataset.label_set.background)
    return pipeline.build(
        dataset,
        config.subset,
        size=size,
        mask_size=size // config.loss_stride,
        batch=batch,
        training=True,
        prepare=prepare,
        augment=change,
        augment_batch=paste,
        probabilities=probabilities,
        seed=config.seed + done,
        repeat=True,
        drop_remainder=True,
    )


def _validation_data(config, dataset, validation, size):
    """The watched samples in batches, at the loss's resolution."""
    return pipeline.build(
        replace(dataset, splits={"watched": tuple(s.id for s in validation)}),
        "watched",
        size=size,
        mask_size=size // config.loss_stride,
        batch=min(config.batch, len(validation)),
        training=False,
    )


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


def _callbacks(config, run, checkpoints, state, recorder, learner, model, validation, dataset):
    out = run.path
    patient = []  # before the checkpoints, which keep what these have counted
    if config.reduce_lr and config.schedule == "constant":
        patient.append(
            keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.1, patience=config.reduce_lr, min_lr=1e-8)
        )
    if config.early_stopping:
        patient.append(keras.callbacks.EarlyStopping("val_loss", patience=config.early_stopping))
    callbacks = [
        *patient,
        recorder,
        SaveCheckpoints(checkpoints, recorder, state, run, patient),
        keras.callbacks.CSVLogger(out / "log.csv", append=state is not None),
        keras.callbacks.TensorBoard(out / "tensorboard", write_graph=False),
        Samples(model, validation, dataset.label_set, out / "samples"),
        Curves(out),
    ]
    if config.ema:
        # Last, so that the average is in the model until all others have seen the end of the validation.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    return callbacks


class Checkpoints:
    """The last and the best weights of a run; ``state.json`` names the last complete one."""

    def __init__(self, folder, classes=None):
        self.folder, self.classes = Path(folder), classes
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_over in self.folder.glob("partial-*.weights.h5"):  # by one that was killed while it wrote
            left_over.unlink()

    def state(self):
        """What the last checkpoint is, or None: ``{"file", "epoch", "step", "best", "classes", "patience"}``."""
        try:
            state = json.loads((self.folder / "state.json").read_text("utf-8"))
        except FileNotFoundError:
            return None
        return state if (self.folder / state["file"]).is_file() else None

    @property
    def best(self):
        """Path of the weights that scored best on the validation photos."""
        return self.folder / "best.weights.h5"

    def save(self, model, epoch, step, best, patience=None):
        """Keep everything needed to go on: weights, optimizer state, how far it had come, and for how many
        epochs the loss has not fallen."""
        name = f"last-{epoch:04d}-{step:06d}.weights.h5"
        save_weights(model, self.folder / name)
        state = {"file": name, "epoch": epoch, "step": step, "best": best}
        state |= {"classes": self.classes, "patience": patience or {}}
        write_atomic(self.folder / "state.json", json.dumps(state, default=float).encode())
        for old in self.folder.glob("last-*.weights.h5"):
            if old.name != name:
                old.unlink()


def save_weights(model, path):
    """Write weights so that the file is either whole or not there. Raises OSError if there is no room for it."""
    path = Path(path)
    partial_path = path.with_name(f"partial-{os.getpid()}.weights.h5")
    variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", ())]
    needed = sum(math.prod(v.shape) * 4 + 4096 for v in variables) + 2**16
    try:
        _make_room(partial_path, needed)  # HDF5 ends the process, no exception, when the disk is full
        model.save_weights(partial_path, overwrite=True)
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)


def _make_room(path, size):
    """Raise OSError unless a file of ``size`` bytes can be written now."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _CancelledError(Exception):
    """Somebody asked to stop, and the state is saved."""


class Recorder(keras.callbacks.Callback):
    """Writes progress and scores to the run's files; stops on a loss that is not a number."""

    def __init__(self, run, epochs, steps, batch, skipped):
        super().__init__()
        self.run, self.epochs, self.steps, self.batch, self.skipped = run, epochs, steps, batch, skipped
        self.epoch = self.step = 0
        self._beat = self._since = 0.0
        self._since_step = 0
        self._worked = None  # when the last step ended
        self._between = 0.0  # seconds from the last step of an epoch to the next epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.step = epoch, self.skipped
        self._since, self._since_step = time.monotonic(), self.step
        if self._worked is not None:
            self._between = self._since - self._worked
        self.run.status(
            epoch=epoch, epochs=self.epochs, step=self.step, steps=self.steps, message="Training."
        )

    def on_train_batch_end(self, batch, logs=None):
        self.step = self.skipped + batch + 1
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"The loss became {logs['loss']} in epoch {self.epoch + 1}, step {self.step}: "
                "start again with a lower learning rate."
            )
        now = self._worked = time.monotonic()
        if now - self._beat >= PROGRESS_SECONDS:
            self._beat = now
            self._progress(now, logs)

    def _progress(self, now, logs):
        speed = (self.step - self._since_step) / max(now - self._since, 1e-6)  # steps per second
        left = (self.epochs - self.epoch) * self.steps - self.step
        seconds = left / speed + (self.epochs - self.epoch) * self._between if speed else None
        progress = {
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.steps,
            "images_per_second": round(speed * self.batch, 2),
            "eta_seconds": seconds and round(seconds),
            "rss_mb": rss_mb(),
        }
        self.run.status(**progress)
        self.run.event("progress", **progress, **{k: round(float(v), 5) for k, v in logs.items()})

    def on_test_begin(self, logs=None):
        self.run.status(message="Validating.")

    def on_epoch_end(self, epoch, logs=None):
        self.run.event("epoch", epoch=epoch + 1, **{k: float(v) for k, v in (logs or {}).items()})
        self.run.status(epoch=epoch + 1, step=0)
        self.skipped = 0


def rss_mb():
    """Memory of this process in megabytes, or None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


class SaveCheckpoints(keras.callbacks.Callback):
    """Keeps the last state (every two minutes and around each validation) and the best by validation mean IoU;
    stops on request, with the last state saved."""

    def __init__(self, checkpoints, recorder, state, run, patient=()):
        super().__init__()
        self.checkpoints, self.recorder, self.run, self._patient = checkpoints, recorder, run, patient
        self.best = state["best"] if state else -1.0
        self._saved = time.monotonic()

    def on_train_begin(self, logs=None):
        # Keras lets patience begin anew with every fit; a run that was stopped goes on counting.
        counted = (self.checkpoints.state() or {}).get("patience", {})
        for callback in self._patient:
            for name, value in counted.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)

    def on_train_batch_end(self, batch, logs=None):
        cancelled = self.run.cancel_requested
        if cancelled or time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            self._save(self.recorder.epoch, self.recorder.step)
        if cancelled:
            raise _CancelledError

    def on_test_begin(self, logs=None):
        self._save(self.recorder.epoch, self.recorder.step)

    def on_test_batch_end(self, batch, logs=None):
        if self.run.cancel_requested:
            raise _CancelledError

    def on_test_end(self, logs=None):
        score = (logs or {}).get("mean_iou")
        if score is not None and score > self.best:
            save_weights(self.model, self.checkpoints.best)
            self.best = float(score)
            self.run.status(best=self.best)

    def on_epoch_end(self, epoch, logs=None):
        self._save(epoch + 1, 0)

    def _save(self, epoch, step):
        patience = {type(c).__name__: {"best": c.best, "wait": c.wait} for c in self._patient}
        self.checkpoints.save(self.model, epoch, step, self.best, patience)
        self._saved = time.monotonic()


class Samples(keras.callbacks.Callback):
    """After every epoch, a picture of the same photos: input, truth, prediction."""

    def __init__(self, model, samples, label_set, folder):
        super().__init__()
        step = max(1, len(samples) // SAMPLE_PHOTOS)
        self._shown, self._label_set, self._folder = samples[::step][:SAMPLE_PHOTOS], label_set, Path(folder)
        self._network = model  # shares its weights with the model being trained

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_test_end(self, logs=None):
        self._folder.mkdir(exist_ok=True)
        rows = [self._row(sample) for sample in self._shown]
        width = max(row.shape[1] for row in rows)
        # In RGBA the gaps are transparent, whatever it is shown on.
        page = np.concatenate([np.pad(r, ((0, 8), (0, width - r.shape[1]), (0, 0))) for r in rows])[:-8]
        Image.fromarray(page).save(self._folder / f"epoch_{self._epoch:02d}.png")

    def _row(self, sample):
        image, truth = read_photo(sample.image_path), read_label_map(sample)
        scale = SAMPLE_SIDE / max(truth.shape)
        size = tuple(max(32, round(side * scale / 32) * 32) for side in truth.shape[::-1])
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        truth = np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST))
        logits = keras.ops.convert_to_numpy(self._network(image[None].astype(np.float32), training=False))[0]
        predicted = np.where(truth == VOID, VOID, logits.argmax(-1)).astype(np.uint8)
        pictures = [image, *(masks.overlay(image, m, self._label_set) for m in (truth, predicted))]
        opaque = np.full((*truth.shape, 1), 255, np.uint8)
        padded = [np.pad(np.dstack([p, opaque]), ((0, 0), (0, 8), (0, 0))) for p in pictures]
        return np.concatenate(padded, axis=1)[:, :-8]


class Curves(keras.callbacks.Callback):
    """Draws ``curves.png`` from ``log.csv`` after every epoch: loss and mean IoU, training and validation."""

    def __init__(self, folder):
        super().__init__()
        self._folder = Path(folder)

    def on_epoch_end(self, epoch, logs=None):
        from matplotlib.figure import Figure  # not needed to start training

        events = (self._folder / "events.jsonl").read_text("utf-8").splitlines()
        rows = [row for row in map(json.loads, events) if row["kind"] == "epoch"]
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        for axes, key, title in zip(
            figure.subplots(1, 2), ("loss", "mean_iou"), ("Loss", "Mean IoU"), strict=True
        ):
            for prefix, label in (("", "training"), ("val_", "validation")):
                points = [(row["epoch"], row[prefix + key]) for row in rows if prefix + key in row]
                if points:
                    axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
            axes.set(title=title, xlabel="epoch")
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self._folder / "curves.png", dpi=110)
