"""Knowledge distillation: a model learns from a teacher's soft labels as well as from the truth.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531 (2015), per pixel. The
teacher is a quantised DeepLabv3 in a TFLite file (``tflite.FloatNetwork``). It is asked about every crop as the model
sees it, colours changed and photos mixed: no two answers are the same, so there is little to learn by heart (Beyer
et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022, arXiv:2106.05237).
"""

from pathlib import Path

import keras
import tensorflow as tf
from keras import ops

from segdemo.core.settings import pretrained_dir
from segdemo.training.distillation import blockwise
from segdemo.training.distillation.tflite import TeacherError


def find_teacher(name):
    """The path of a teacher: ``name`` itself, or the file of that name in ``SEGDEMO_PRETRAINED``.

    Raises TeacherError if there is neither.
    """
    folder = pretrained_dir()
    candidates = [Path(name).expanduser(), *([folder / name] if folder else [])]
    for path in candidates:
        if path.is_file():
            return path
    raise TeacherError(
        f"There is no teacher {name}: put that TFLite file into SEGDEMO_PRETRAINED, or give the path of "
        "another with --set teacher=PATH."
    )


def soft_cross_entropy(logits, teacher, temperature=1.0):
    """Mean over pixels of the cross-entropy between a teacher's class probabilities and a model's.

    Both are softened by the temperature T, and the result is multiplied by T squared, so that the gradients stay as
    large as they are (Hinton et al. 2015, section 2).

    Args:
        logits: the model's, float (B, h, w, K).
        teacher: the teacher's, float (B, h, w, K).
        temperature: 1 or more: the higher, the more the classes count that the teacher thinks unlikely.

    Returns:
        float32 scalar.
    """
    target = ops.softmax(ops.cast(teacher, "float32") / temperature, axis=-1)
    log_share = ops.log_softmax(ops.cast(logits, "float32") / temperature, axis=-1)
    return -(temperature**2) * ops.mean(ops.sum(target * log_share, axis=-1))


class Distiller(keras.Model):
    """A functional model whose loss is ``truth_weight * loss(truth) + teacher_weight * soft cross-entropy``, and, of a
    model of ``blockwise.imitating``, ``+ block_weight *`` its blocks' mean relative error, falling to zero.

    It asks ``network`` about the images while it trains; in validation there is the compiled loss alone. Metrics only
    ever see the label map.

    Args:
        inputs, outputs: of the model that learns, as for ``keras.Model``.
        network: a ``tflite.FloatNetwork`` or what else has its ``on_crops``.
        truth_weight: of the loss it is compiled with.
        teacher_weight: of ``soft_cross_entropy``.
        temperature: of ``soft_cross_entropy``.
        block_weight: 0 for a model that answers logits alone. Else it answers a list as that of
            ``blockwise.imitating`` does, and sees of each crop what ``network.pictures`` leaves of it.
        steps: after how many the weight of the blocks' error is zero.
    """

    def __init__(
        self,
        *args,
        network,
        truth_weight=0.5,
        teacher_weight=1.0,
        temperature=1.0,
        block_weight=0.0,
        steps=1,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.truth_weight, self.teacher_weight = float(truth_weight), float(teacher_weight)
        self.temperature, self._network = float(temperature), network
        self.block_weight, self._steps = float(block_weight), steps

    def call(self, inputs, training=None, mask=None):
        """What the model answers, see ``block_weight``."""
        if self.block_weight:
            inputs = self._network.pictures(inputs)
        return super().call(inputs, training=training, mask=mask)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss, a scalar. ``y`` is the label map (B, h, w)."""
        y_pred, *ends = y_pred if self.block_weight else [y_pred]
        truth = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return truth
        if ends:
            logits, blocks = self._network.answers(self._network.pictures(x))
        else:
            logits, blocks = self._network.on_crops(x), []
        logits = tf.stop_gradient(tf.image.resize(logits, tf.shape(y_pred)[1:3]))
        teacher = soft_cross_entropy(y_pred, logits, self.temperature)
        loss = self.truth_weight * truth + self.teacher_weight * teacher
        if blocks:
            pairs = zip(blocks, ends, strict=True)
            error = ops.mean([ops.mean(blockwise.relative_error(tf.stop_gradient(b), e)) for b, e in pairs])
            left = 1 - ops.cast(self.optimizer.iterations, "float32") / self._steps
            loss = loss + self.block_weight * ops.maximum(left, 0) * error
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The metrics of the logits in ``y_pred``."""
        return super().compute_metrics(x, y, y_pred[0] if self.block_weight else y_pred, sample_weight)
