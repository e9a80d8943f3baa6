"""What happens beside the learning: progress, checkpoints, pictures and curves, all in the run's folder."""

import csv
import json
import math
import os
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from segdemo.core import pictures
from segdemo.core.files import read_json, write_json, written_atomic
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.photos import read_photo
from segdemo.data.datasets import Dataset, Sample, read_label_map
from segdemo.runs.config import TrainConfig, TrainingError, weights_are_chosen
from segdemo.runs.record import events_since
from segdemo.training.checkpoints import Checkpoints, save_weights

CHECKPOINT_SECONDS = 120
PROGRESS_SECONDS = 1.0
NO_SCORE = -1.0  # what any validation is better than
SAMPLE_PHOTOS = 4
SAMPLE_SIDE = 256  # pixels, long side of each picture in samples/


class CancelledError(Exception):
    """Somebody asked to stop, and the state is saved."""


class RunFolder:
    """The files of a run that tell how it is doing."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._status = {"pid": os.getpid(), "started": time.time()}

    def write(self, name: str, data: Any) -> None:
        """Replace a JSON file atomically."""
        write_json(self.path / name, data, default=float)

    def status(self, **changes: Any) -> None:
        """Merge ``changes`` into ``status.json`` and beat its heart."""
        self._status.update(changes, heartbeat=time.time())
        self.write("status.json", self._status)

    def event(self, kind: str, **data: Any) -> None:
        """Append a line to ``events.jsonl``."""
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **data}, default=float)
        with (self.path / "events.jsonl").open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the disk was full, or the power went: that line ends here
                    line = f"\n{line}"
            file.write(f"{line}\n".encode())

    @property
    def last_state(self) -> str | None:
        """The state that the last one to train in this folder left behind, or None."""
        try:
            return read_json(self.path / "status.json").get("state")
        except (OSError, ValueError):
            return None

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked to stop."""
        return (self.path / "cancel").exists()


class Recorder(keras.callbacks.Callback):
    """Writes progress and scores to the run's files; stops on a loss that is not a number."""

    def __init__(self, run: RunFolder, epochs: int, steps: int, batch: int, skipped: int):
        super().__init__()
        self.run, self.epochs, self.steps, self.batch, self.skipped = run, epochs, steps, batch, skipped
        self.epoch = self.step = 0
        self._beat = self._since = 0.0
        self._since_step = 0
        self._worked: float | None = None  # when the last step ended
        self._between = 0.0  # seconds from the last step of an epoch to the next epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self.step = epoch, self.skipped
        self._since, self._since_step = time.monotonic(), self.step
        if self._worked is not None:
            self._between = self._since - self._worked
        self.run.status(
            epoch=epoch, epochs=self.epochs, step=self.step, steps=self.steps, message="Training."
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
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

    def on_test_begin(self, logs: Any = None) -> None:
        self.run.status(message="Validating.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.run.event("epoch", epoch=epoch + 1, **{k: float(v) for k, v in (logs or {}).items()})
        self.run.status(epoch=epoch + 1, step=0)
        self.skipped = 0


class SaveCheckpoints(keras.callbacks.Callback):
    """Keeps the last state (every two minutes and around each validation) and the best by validation mean IoU;
    stops on request, with the last state saved.

    Args:
        checkpoints: where they go. recorder: what knows the epoch and the step. run: the run's folder.
        state: of ``checkpoints``, or None for a new run.
        patient: callbacks whose patience is kept as well.
        choosing: whether the score chooses; if not, the best are the last that were validated.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        recorder: Recorder,
        state: dict[str, Any] | None,
        run: RunFolder,
        patient: Sequence[keras.callbacks.Callback] = (),
        choosing: bool = True,
    ):
        super().__init__()
        self.checkpoints, self.recorder, self.run, self._patient = checkpoints, recorder, run, patient
        self._choosing = choosing
        self.best = state["best"] if state else NO_SCORE
        self._saved = time.monotonic()

    def on_train_begin(self, logs: Any = None) -> None:
        # Keras lets patience begin anew with every fit; a run that was stopped goes on counting.
        counted = (self.checkpoints.state() or {}).get("patience", {})
        for callback in self._patient:
            for name, value in counted.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        cancelled = self.run.cancel_requested
        if cancelled or time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            self._save(self.recorder.epoch, self.recorder.step)
        if cancelled:
            raise CancelledError

    def on_test_begin(self, logs: Any = None) -> None:
        self._save(self.recorder.epoch, self.recorder.step)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.run.cancel_requested:
            raise CancelledError

    def on_test_end(self, logs: Any = None) -> None:
        score = (logs or {}).get("mean_iou")
        if score is not None and (score > self.best or not self._choosing):
            # Without the optimizer's state, which nobody goes on from and which takes twice the room of the weights.
            save_weights(keras.Model(self.model.inputs, self.model.outputs), self.checkpoints.best)
            self.best = float(score)
            self.run.status(best=self.best)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._save(epoch + 1, 0)

    def _save(self, epoch, step):
        patience = {type(c).__name__: {"best": c.best, "wait": c.wait} for c in self._patient}
        self.checkpoints.save(self.model, epoch, step, self.best, patience)
        self._saved = time.monotonic()


class Samples(keras.callbacks.Callback):
    """After every epoch, a picture of the same photos: input, truth, prediction, as ``epoch_NN.png`` in a folder.

    Args:
        model: the network, which may be the one that is fitted. samples: the photos, four of which are shown.
        label_set: of their masks and of the model. folder: made if it is not there.
        before: also draw what is predicted before anything is learned, as epoch 0.

    Attributes:
        picture: the last one, a Pillow image with gaps that are transparent; None before the first.
    """

    picture: Image.Image | None = None

    def __init__(
        self,
        model: keras.Model,
        samples: Sequence[Sample],
        label_set: LabelSet,
        folder: Path | str,
        before: bool = False,
    ):
        super().__init__()
        step = max(1, len(samples) // SAMPLE_PHOTOS)
        self._shown, self._label_set, self._folder = samples[::step][:SAMPLE_PHOTOS], label_set, Path(folder)
        self._network = model  # shares its weights with the model being trained
        self._before = before

    def on_train_begin(self, logs: Any = None) -> None:
        if self._before:
            self._before = False
            self._draw(0)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def on_test_end(self, logs: Any = None) -> None:
        self._draw(self._epoch)

    def _draw(self, epoch):
        self._folder.mkdir(parents=True, exist_ok=True)
        predicted = self._predicted([image for image, _ in self._pairs])
        self.picture = pictures.stack(
            [
                pictures.triptych(
                    image, truth, np.where(truth == VOID, truth, mask), self._label_set, titles=None
                )
                for (image, truth), mask in zip(self._pairs, predicted, strict=True)
            ]
        )
        self.picture.save(self._folder / f"epoch_{epoch:02d}.png")

    @cached_property
    def _pairs(self):
        """The photos and their masks, at the size at which they are drawn."""
        return [self._pair(sample) for sample in self._shown]

    def _pair(self, sample):
        image, truth = read_photo(sample.image_path), read_label_map(sample)
        scale = SAMPLE_SIDE / max(truth.shape)
        size = tuple(max(32, round(side * scale / 32) * 32) for side in truth.shape[::-1])
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        return image, np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST))

    def _predicted(self, images):
        """Their masks, of all photos of a size at once: Keras's own work takes longer than that of so small a photo."""
        masks = {}
        for shape in {image.shape for image in images}:
            alike = [n for n, image in enumerate(images) if image.shape == shape]
            photos = np.stack([images[n] for n in alike]).astype(np.float32)
            logits = keras.ops.convert_to_numpy(self._network(photos, training=False))
            masks |= dict(zip(alike, pictures.create_mask(logits), strict=True))
        return [masks[n] for n in range(len(images))]


class Curves(keras.callbacks.Callback):
    """Draws ``curves.png`` after every epoch: loss and mean IoU, training and validation."""

    def __init__(self, folder: Path | str):
        super().__init__()
        self._folder = Path(folder)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        events, _ = events_since(self._folder / "events.jsonl", 0)
        rows = [event for event in events if event.get("kind") == "epoch"]
        pictures.curves(rows).savefig(self._folder / "curves.png", dpi=110)


def log_goes_on(path: Path) -> bool:
    """Whether ``log.csv`` is there to be appended to; one of before gets columns for what is measured since.

    Keras sorts the columns by name and writes no names when it appends. A row that was cut short is taken off.
    """
    if not path.is_file():
        return False
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    if not whole:
        return False
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
        columns = rows[0].keys() if rows else set()
    wanted = ["epoch", *sorted({*columns, "mean_accuracy", "val_mean_accuracy"} - {"epoch"})]
    if rows and len(wanted) > len(columns):
        with written_atomic(path) as file:
            writer = csv.DictWriter(file, wanted, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    return True


def for_run(
    config: TrainConfig,
    run: RunFolder,
    checkpoints: Checkpoints,
    state: dict[str, Any] | None,
    recorder: Recorder,
    model: keras.Model,
    validation: Sequence[Sample],
    dataset: Dataset,
) -> list[keras.callbacks.Callback]:
    """Those of a run, in the order in which they have to act."""
    out = run.path
    choosing = weights_are_chosen(config.schedule, len(validation))
    patient = []  # before the checkpoints, which keep what these have counted
    if config.reduce_lr and config.schedule == "constant":
        patient.append(
            keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.1, patience=config.reduce_lr, min_lr=1e-8)
        )
    if config.early_stopping:
        patient.append(keras.callbacks.EarlyStopping("val_loss", patience=config.early_stopping))
    chosen = [
        *patient,
        recorder,
        SaveCheckpoints(checkpoints, recorder, state, run, patient, choosing),
        keras.callbacks.CSVLogger(out / "log.csv", append=state is not None and log_goes_on(out / "log.csv")),
        keras.callbacks.TensorBoard(out / "tensorboard", write_graph=False),
        Samples(model, validation, dataset.label_set, out / "samples", before=state is None),
        Curves(out),
    ]
    if config.ema:
        # Last, so that the average is in the model until all others have seen the end of the validation.
        chosen.append(keras.callbacks.SwapEMAWeights())
    return chosen


def rss_mb() -> int | None:
    """Memory of this process in megabytes, or None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
