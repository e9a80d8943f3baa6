"""Learning from a teacher: what stands behind ``learning.Learner`` where a run names one.

``distiller`` has the loss, ``blockwise`` the lessons block by block, ``tflite`` the teacher itself.
"""

import math
import time
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from segdemo.runs.config import TrainingError
from segdemo.training import batches
from segdemo.training.callbacks import PROGRESS_SECONDS, CancelledError, RunFolder
from segdemo.training.distillation import blockwise, distiller, tflite
from segdemo.training.learning import Learner, PlainLearner, Task
from segdemo.training.start import encoder_name


def learner(task: Task) -> Learner:
    """Who learns a task: from a teacher if its settings name one. Raises TrainingError, TeacherError."""
    return TaughtLearner(task) if task.config.distillation.teacher else PlainLearner(task)


class TaughtLearner(PlainLearner):
    """Learns from the truth and from a teacher that looks at every crop.

    Args:
        task: whose settings name a teacher.

    Raises:
        TeacherError: there is no such teacher. TrainingError: it does not fit the dataset or the crop.
    """

    def __init__(self, task: Task):
        super().__init__(task)
        self.settings = task.config.distillation
        path = distiller.find_teacher(self.settings.teacher)
        half = task.config.precision == "mixed_bfloat16"
        self.network = tflite.FloatNetwork(path, "bfloat16" if half else "float32")
        if self.network.classes != task.num_classes:
            raise TrainingError(
                f"The teacher {path} knows {self.network.classes} classes and {task.dataset.label_set.title} has "
                f"{task.num_classes}: use one that was trained on the same classes."
            )
        if task.size % self.network.stride:
            raise TrainingError(
                f"The teacher takes crops of a multiple of {self.network.stride} pixels, not {task.size}: choose "
                "another size."
            )

    def batches(self, done: int = 0) -> tf.data.Dataset:
        mixup = self.settings.mixup
        mixing = [partial(distiller.mixup, chance=mixup)] if mixup else []
        return batches.to_learn_from(self.task.config, self.task.dataset, self.task.size, done, mixing)

    def begin(self, model: keras.Model, data: tf.data.Dataset, run: RunFolder, verbose: bool) -> bool:
        """The encoder's blocks learn from the teacher's; one that was stopped begins anew next time."""
        steps = self.settings.block_steps
        if not steps:
            return False
        run.status(message="Learning block by block.", step=0, steps=steps)
        blockwise.teach(
            model,
            self._encoder(model),
            self.network,
            data,
            steps,
            self.settings.block_learning_rate,
            callbacks=[BlockProgress(run, steps)],
            verbose=1 if verbose else 0,
        )
        return True

    def _fitted(self, model: keras.Model) -> keras.Model:
        if self.settings.block_weight:  # the ends of blocks count, too
            imitating = blockwise.imitating(model, self._encoder(model), self.network)
            logits, *ends = imitating.outputs
            fitted = keras.Model(imitating.input, [self._at_loss_size(logits), *ends], name=model.name)
        else:
            fitted = super()._fitted(model)
        return distiller.Distiller(
            fitted.input,
            fitted.output,
            name=fitted.name,
            network=self.network,
            truth_weight=self.settings.truth_weight,
            teacher_weight=self.settings.teacher_weight,
            temperature=self.settings.teacher_temperature,
            block_weight=self.settings.block_weight,
            steps=self.task.steps * self.task.config.epochs,
        )

    def _encoder(self, model: keras.Model) -> keras.Model:
        # The model itself if it has none, as SegNet and the plain U-Net: that is refused in a sentence.
        return {layer.name: layer for layer in model.layers}.get(encoder_name(self.task.config), model)


class BlockProgress(keras.callbacks.Callback):
    """Progress of the blocks that learn from a teacher's, before the training proper; stops on request."""

    def __init__(self, run: RunFolder, steps: int):
        super().__init__()
        self.run, self.steps = run, steps
        self._beat = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"The blocks' error became {logs['loss']} in step {batch + 1}: "
                "start again with a lower block_learning_rate."
            )
        if self.run.cancel_requested:
            raise CancelledError
        if batch + 1 == self.steps or time.monotonic() - self._beat >= PROGRESS_SECONDS:
            self._beat = time.monotonic()
            self.run.status(step=batch + 1, steps=self.steps)
            self.run.event("blocks", step=batch + 1, **{k: round(float(v), 5) for k, v in logs.items()})
