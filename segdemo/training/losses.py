"""Segmentation losses from logits, with void left out.

Every loss takes a label map (B, H, W) or (B, H, W, 1) of class ids 0..K-1 with 255 for void, logits
(B, H, W, K), and optionally sample weights >= 0 (the third element of a dataset) of shape (B,), (B, 1),
(B, H, W) or (B, H, W, 1). A pixel counts with ``sample weight x class weight``, a void pixel with 0, and
sums are divided by the sum of those weights, so the value depends neither on the share of void nor on the
scale of the weights. Without a single valid pixel a loss is 0 and so is its gradient.

Pixelwise cross-entropy: Long, Shelhamer, Darrell, arXiv:1411.4038 (2015). Dice: Milletari, Navab, Ahmadi,
"V-Net", arXiv:1606.04797 (2016). Median frequency balancing: Eigen and Fergus, arXiv:1411.4734 (2015).
"""

import keras
import numpy as np
from keras import ops

from segdemo.core.labels import VOID
from segdemo.errors import UserError

SERIAL = "segdemo"


def median_frequency_weights(pixel_counts, largest=10.0):
    """Class weights that rise as a class gets rarer: the median class frequency divided by the class's own.

    Args:
        pixel_counts: (K,) non-negative numbers of training pixels of each class, void not counted.
        largest: no weight exceeds this, lest a handful of pixels rule the gradient.

    Returns:
        float32 (K,). A class without any pixel gets 1: it cannot occur in the loss.

    Raises:
        ValueError: the counts are not one non-negative finite number for each class, or all are zero.
    """
    counts = np.asarray(pixel_counts, np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any() or not counts.any():
        raise UserError(
            "Class weights need one non-negative pixel count for each class, not all of them zero."
        )
    seen = counts > 0
    weights = np.ones(len(counts))
    weights[seen] = np.minimum(np.median(counts[seen]) / counts[seen], largest)
    return weights.astype(np.float32)


class _SegmentationLoss(keras.losses.Loss):
    """What the losses share: checked shapes and one weight for each pixel."""

    def __init__(self, class_weights=None, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        if class_weights is not None:
            class_weights = [float(weight) for weight in class_weights]
            if not all(np.isfinite(weight) and weight >= 0 for weight in class_weights):
                raise UserError(f"Class weights are finite and not negative, unlike {class_weights}.")
        self.class_weights = class_weights

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss as a float32 scalar. Keras's own reduction would divide by the number of pixels."""
        with keras.name_scope(self.name):
            labels, logits = label_map_and_logits(y_true, y_pred)
            weights = self.pixel_weights(labels, logits.shape[-1], sample_weight)
            labels = ops.where(labels == VOID, 0, labels)  # any class will do: its weight is 0
            return self.call(labels, logits, weights)

    def pixel_weights(self, labels, num_classes, sample_weight=None):
        """float32 (B, H, W): sample weight x class weight, 0 where void."""
        valid = labels != VOID
        weights = ops.cast(valid, "float32")
        safe = ops.where(valid, labels, 0)
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, "float32")
            shape = sample_weight.shape
            if len(shape) == 4 or (len(shape) == 2 and shape[-1] == 1):
                sample_weight = ops.squeeze(sample_weight, -1)
            if len(sample_weight.shape) == 1:
                sample_weight = ops.reshape(sample_weight, (-1, 1, 1))
            weights = weights * sample_weight
        if self.class_weights is not None:
            if len(self.class_weights) != num_classes:
                raise UserError(
                    f"The loss has {len(self.class_weights)} class weights and the logits {num_classes} "
                    "classes: give one weight for each class."
                )
            weights = weights * ops.take(ops.cast(self.class_weights, "float32"), safe)
        return ops.stop_gradient(weights)

    def get_config(self):
        return {**super().get_config(), "class_weights": self.class_weights}


def label_map_and_logits(y_true, y_pred):
    """Label map int32 (B, H, W) and logits float32 (B, H, W, K), their shapes checked.

    A trailing axis of one on the label map is dropped, never a batch, height or width of one.

    Raises:
        ValueError: shapes that do not fit, in one sentence.
    """
    y_true, logits = ops.convert_to_tensor(y_true), ops.cast(y_pred, "float32")
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == 4 and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, -1)
    if len(logits.shape) != 4 or len(labels.shape) != 3:
        raise UserError(
            "Expected a label map (B, H, W) or (B, H, W, 1) and logits (B, H, W, K), "
            f"got shapes {tuple(y_true.shape)} and {tuple(logits.shape)}."
        )
    if any(None not in (a, b) and a != b for a, b in zip(labels.shape, logits.shape, strict=False)):
        raise UserError(
            f"The label map is {tuple(labels.shape)} and the logits {tuple(logits.shape)}: "
            "resize the logits to the label map's height and width."
        )
    return labels, logits


@keras.saving.register_keras_serializable(SERIAL)
class CrossEntropy(_SegmentationLoss):
    """Weighted cross-entropy, ``sum(w * -log p[label]) / sum(w)``.

    Args:
        class_weights: K numbers >= 0, larger for rarer classes, as ``median_frequency_weights`` gives; None
            weighs all classes alike.
        name: name of the loss.

    Raises:
        ValueError: negative weights, or not one for each class.
    """

    def __init__(self, class_weights=None, name="cross_entropy", **kwargs):
        super().__init__(class_weights, name, **kwargs)

    def call(self, labels, logits, weights):
        return cross_entropy(labels, logits, weights)


def cross_entropy(labels, logits, weights):
    """Mean of -log softmax(logits)[label] under ``weights`` (B, H, W), a scalar. No label may be void."""
    values = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)  # (B, H, W)
    return ops.divide_no_nan(ops.sum(values * weights), ops.sum(weights))


@keras.saving.register_keras_serializable(SERIAL)
class Dice(_SegmentationLoss):
    """One minus the soft Dice coefficient, averaged over the classes that have truth in the batch.

    For class c, with p the softmax, t the one-hot truth and w the pixel weights, all summed over the batch::

        dice_c = (2 * sum(w p_c t_c) + smooth) / (sum(w p_c) + sum(w t_c) + smooth)

    Args:
        smooth: in weighted pixels; keeps small classes from jumping between 0 and 1.
        class_weights: as for ``CrossEntropy``.
        name: name of the loss.
    """

    def __init__(self, smooth=1.0, class_weights=None, name="dice", **kwargs):
        super().__init__(class_weights, name, **kwargs)
        if smooth < 0:
            raise UserError(f"Dice's smoothing is 0 or more, not {smooth}.")
        self.smooth = float(smooth)

    def call(self, labels, logits, weights):
        return dice_loss(labels, logits, weights, self.smooth)

    def get_config(self):
        return {**super().get_config(), "smooth": self.smooth}


def dice_loss(labels, logits, weights, smooth=1.0):
    """The value of ``Dice``, a scalar. Labels int32 (B, H, W) without void, logits (B, H, W, K)."""
    weights = ops.expand_dims(weights, -1)  # (B, H, W, 1)
    probability = ops.softmax(logits, axis=-1) * weights
    truth = ops.one_hot(labels, logits.shape[-1], dtype="float32")
    overlap = ops.sum(probability * truth, axis=(0, 1, 2))  # (K,)
    truth = ops.sum(truth * weights, axis=(0, 1, 2))
    dice = ops.divide_no_nan(2.0 * overlap + smooth, ops.sum(probability, axis=(0, 1, 2)) + truth + smooth)
    present = ops.cast(truth > 0, "float32")
    return ops.divide_no_nan(ops.sum((1.0 - dice) * present), ops.sum(present))


@keras.saving.register_keras_serializable(SERIAL)
class CrossEntropyDice(CrossEntropy):
    """``CrossEntropy + dice_weight * Dice``.

    Args:
        dice_weight: factor on the Dice loss, 0 or more.
        smooth: as for ``Dice``.
        class_weights: as for ``CrossEntropy``; they act on both terms.
    """

    def __init__(self, dice_weight=1.0, smooth=1.0, class_weights=None, name="cross_entropy_dice", **kwargs):
        super().__init__(class_weights, name, **kwargs)
        if smooth < 0 or dice_weight < 0:
            raise UserError("Dice's smoothing and its weight are 0 or more.")
        self.dice_weight = float(dice_weight)
        self.smooth = float(smooth)

    def call(self, labels, logits, weights):
        dice = dice_loss(labels, logits, weights, self.smooth)
        return cross_entropy(labels, logits, weights) + self.dice_weight * dice

    def get_config(self):
        return {**super().get_config(), "dice_weight": self.dice_weight, "smooth": self.smooth}
