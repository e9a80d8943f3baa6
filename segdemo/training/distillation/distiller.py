"""Knowledge distillation: a model learns from a teacher's soft labels as well as from the truth.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531 (2015), per pixel. The
teacher is a quantised DeepLabv3 in a TFLite file (``tflite.FloatNetwork``). It is asked about every crop as the model
sees it, colours changed and photos mixed: no two answers are the same, so there is little to learn by heart (Beyer
et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022, arXiv:2106.05237).
"""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from segdemo.core.labels import VOID
from segdemo.core.settings import expanded, pretrained_dir
from segdemo.training.augment import Pair
from segdemo.training.distillation import blockwise
from segdemo.training.distillation.tflite import FloatNetwork, TeacherError
from segdemo.training.layers import Tensor


def find_teacher(name: str) -> Path:
    """The path of a teacher: ``name`` itself, or the file of that name in ``SEGDEMO_PRETRAINED``.

    Raises TeacherError if there is neither.
    """
    folder = pretrained_dir()
    candidates = [expanded(name), *([folder / name] if folder else [])]
    for path in candidates:
        if path.is_file():
            return path
    raise TeacherError(
        f"There is no teacher {name}: put that TFLite file into SEGDEMO_PRETRAINED, or give the path of "
        "another with --set teacher=PATH."
    )


def soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
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


def mixup(
    images: tf.Tensor,
    masks: tf.Tensor,
    seed: tf.Tensor,
    chance: float = 0.2,
    shares: tuple[float, float] = (0.15, 0.5),
) -> Pair:
    """Blend photos with the second next photo of the batch, or of two with the other; what a blended pixel shows is
    void. A single photo stays as it is.

    Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412. For a teacher that looks at the blend itself (Beyer et al.,
    "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022, arXiv:2106.05237).

    Args:
        images: (B, H, W, 3). masks: (B, H, W).
        chance: share of photos that are blended.
        shares: smallest and largest share of the other photo.
        seed: (2,), see the module.

    Returns:
        images float32, masks.
    """
    seeds = tf.random.split(seed, 2)
    count = tf.shape(masks)[0]
    blended = (tf.random.stateless_uniform([count, 1, 1], seeds[0]) < chance) & (count > 1)
    share = tf.random.stateless_uniform([count, 1, 1, 1], seeds[1], *shares)
    share = share * tf.cast(blended[..., None], tf.float32)
    images = tf.cast(images, tf.float32)
    mixed = images * (1 - share) + tf.roll(images, tf.minimum(2, count - 1), axis=0) * share
    return mixed, tf.where(blended, tf.cast(VOID, masks.dtype), masks)


class Distiller(keras.Model):
    """A functional model whose loss is ``truth_weight * loss(truth) + teacher_weight * soft cross-entropy``, and, of a
    model of ``blockwise.imitating``, ``+ block_weight *`` its blocks' mean relative error, falling to zero.

    It asks ``network`` about the images while it trains; in validation there is the compiled loss alone. Metrics only
    ever see the label map.

    Args:
        inputs, outputs: of the model that learns, as for ``keras.Model``.
        network: a ``tflite.FloatNetwork`` or what else answers as it does.
        truth_weight: of the loss it is compiled with.
        teacher_weight: of ``soft_cross_entropy``.
        temperature: of ``soft_cross_entropy``.
        block_weight: 0 for a model that answers logits alone. Else it answers a list as that of
            ``blockwise.imitating`` does, and sees of each crop what ``network.pictures`` leaves of it.
        steps: after how many the weight of the blocks' error is zero.
    """

    def __init__(
        self,
        *args: Any,
        network: FloatNetwork,
        truth_weight: float = 0.5,
        teacher_weight: float = 1.0,
        temperature: float = 1.0,
        block_weight: float = 0.0,
        steps: int = 1,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.truth_weight, self.teacher_weight = float(truth_weight), float(teacher_weight)
        self.temperature, self._network = float(temperature), network
        self.block_weight, self._steps = float(block_weight), steps

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Any:
        """What the model answers, see ``block_weight``."""
        if self.block_weight:
            inputs = self._network.pictures(inputs)
        return super().call(inputs, training=training, mask=mask)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: None = None,
        training: bool | None = True,
    ) -> Tensor:
        """The loss, a scalar. ``y`` is the label map (B, h, w)."""
        y_pred, *ends = y_pred if self.block_weight else [y_pred]
        truth = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return truth
        logits, blocks = self._network(self._network.pictures(x))
        logits = tf.stop_gradient(tf.image.resize(logits, tf.shape(y_pred)[1:3]))
        teacher = soft_cross_entropy(y_pred, logits, self.temperature)
        loss = self.truth_weight * truth + self.teacher_weight * teacher
        if ends:
            pairs = zip(blocks, ends, strict=True)
            error = ops.mean([ops.mean(blockwise.relative_error(tf.stop_gradient(b), e)) for b, e in pairs])
            left = 1 - ops.cast(self.optimizer.iterations, "float32") / self._steps
            loss = loss + self.block_weight * ops.maximum(left, 0) * error
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: None = None) -> dict[str, Any]:
        """The metrics of the logits in ``y_pred``."""
        return super().compute_metrics(x, y, y_pred[0] if self.block_weight else y_pred, sample_weight)
