"""Segmentation losses from logits, with void left out.

Every loss takes a label map (B, H, W) of class ids 0..K-1 with 255 for void, and logits (B, H, W, K). A pixel counts
with the weight of its class, a void pixel with 0, and sums are divided by the sum of those weights, so the value
depends neither on the share of void nor on the scale of the weights. Where several devices share a batch, sums run over
all of it. Without a single valid pixel a loss is 0 and so
is its gradient.

Pixelwise cross-entropy: Long, Shelhamer, Darrell, arXiv:1411.4038 (2015). Dice: Milletari, Navab, Ahmadi,
"V-Net", arXiv:1606.04797 (2016). Median frequency balancing: Eigen and Fergus, arXiv:1411.4734 (2015). Weights of
each image's own and Dice over all pixels at once: Ganegedara, "TensorFlow in Action" (2022), section 8.4.1.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from segdemo.core.labels import VOID
from segdemo.errors import UserError
from segdemo.training.devices import part, summed
from segdemo.training.layers import Tensor


def median_frequency_weights(pixel_counts: Sequence[int] | np.ndarray, largest: float = 10.0) -> np.ndarray:
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


def image_weights(labels: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Class weights of each image's own: ``(n - n_c) / n``, with n_c of its n valid pixels of class c.

    From "TensorFlow in Action", listing 8.13. There an image of one class weighs nothing and so teaches nothing; here
    the only class of an image weighs 1.

    Args:
        labels: int32 (B, H, W), 0..K-1. valid: bool (B, H, W), False where void.
        num_classes: K.

    Returns:
        float32 (B, K).
    """
    counts = [ops.logical_and(labels == class_id, valid) for class_id in range(num_classes)]
    # (B, K)
    counts = ops.stack([ops.sum(ops.cast(mask, "float32"), axis=(1, 2)) for mask in counts], axis=-1)
    total = ops.sum(counts, axis=-1, keepdims=True)
    only = ops.logical_and(counts == total, total > 0)
    return ops.where(only, 1.0, ops.divide_no_nan(total - counts, total))


def sample_weights(labels: Tensor, class_weights: Sequence[float] | np.ndarray) -> Tensor:
    """The weight of each pixel's class, as the third part of a dataset's elements; 0 where void.

    As ``add_sample_weights`` of TensorFlow's image-segmentation tutorial, whose weights are [2, 2, 1] / 5 for pet,
    border and background. The classes of Pets are in another order: pet, background, border.

    Args:
        labels: label map, integers (B, H, W) or (H, W) with 255 = void.
        class_weights: K numbers.

    Returns:
        float32 of the labels' shape, for ``sample_weight`` of a ``SegmentationLoss``: batches become
        ``data.map(lambda x, y: (x, y, sample_weights(y, weights)))``.
    """
    table = np.zeros(VOID + 1, np.float32)
    table[: len(class_weights)] = class_weights
    return ops.take(ops.convert_to_tensor(table), ops.cast(labels, "int32"))


class SegmentationLoss(keras.losses.Loss):
    """What the losses share: checked shapes and one weight for each pixel.

    Args:
        class_weights: K numbers >= 0, larger for rarer classes, as ``median_frequency_weights`` gives; None weighs
            all classes alike.
        name: name of the loss.
        per_image: also weigh the classes of each image by ``image_weights``.

    Raises:
        UserError: negative weights; when called, shapes that do not fit, or not one weight for each class.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | np.ndarray | None = None,
        name: str | None = None,
        per_image: bool = False,
    ):
        super().__init__(name=name)
        self.per_image = per_image
        if class_weights is not None:
            class_weights = [float(weight) for weight in class_weights]
            if not all(np.isfinite(weight) and weight >= 0 for weight in class_weights):
                raise UserError(f"Class weights are finite and not negative, unlike {class_weights}.")
        self.class_weights = class_weights

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """The loss as a float32 scalar. Keras's own reduction would divide by the number of pixels.

        ``sample_weight``: one more factor >= 0 for each image, (B,), or each pixel, (B, H, W), see ``sample_weights``.
        """
        with keras.name_scope(self.name):
            labels, logits = _checked(y_true, y_pred)
            valid = labels != VOID
            labels = ops.where(valid, labels, 0)  # any class will do: its weight is 0
            weights = self._pixel_weights(labels, valid, logits.shape[-1])
            if sample_weight is not None:
                factor = ops.cast(sample_weight, "float32")
                weights = weights * (factor if len(factor.shape) == 3 else ops.reshape(factor, (-1, 1, 1)))
            return part(self.call(labels, logits, weights))

    def _pixel_weights(self, labels: Tensor, valid: Tensor, num_classes: int) -> Tensor:
        # float32 (B, H, W): the class's weight, 0 where void.
        weights = ops.cast(valid, "float32")
        if self.class_weights is not None:
            if len(self.class_weights) != num_classes:
                raise UserError(
                    f"The loss has {len(self.class_weights)} class weights and the logits {num_classes} "
                    "classes: give one weight for each class."
                )
            weights = weights * ops.take(ops.cast(self.class_weights, "float32"), labels)
        if self.per_image:
            own = image_weights(labels, valid, num_classes)  # (B, K)
            flat = ops.take_along_axis(own, ops.reshape(labels, (ops.shape(labels)[0], -1)), axis=1)
            weights = weights * ops.reshape(flat, ops.shape(labels))
        return weights


def _checked(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    # Label map int32 (B, H, W) and logits float32 (B, H, W, K), or a UserError.
    labels, logits = ops.cast(y_true, "int32"), ops.cast(y_pred, "float32")
    if len(logits.shape) != 4 or len(labels.shape) != 3:
        raise UserError(
            "Expected a label map (B, H, W) and logits (B, H, W, K), "
            f"got shapes {tuple(labels.shape)} and {tuple(logits.shape)}."
        )
    if any(None not in (a, b) and a != b for a, b in zip(labels.shape, logits.shape, strict=False)):
        raise UserError(
            f"The label map is {tuple(labels.shape)} and the logits {tuple(logits.shape)}: "
            "resize the logits to the label map's height and width."
        )
    return labels, logits


class CrossEntropy(SegmentationLoss):
    """Weighted cross-entropy, ``sum(w * -log p[label]) / sum(w)``."""

    def __init__(self, class_weights: Sequence[float] | np.ndarray | None = None, per_image: bool = False):
        super().__init__(class_weights, "cross_entropy", per_image)

    def call(self, labels: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
        return cross_entropy(labels, logits, weights)


def cross_entropy(labels: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
    """Mean of -log softmax(logits)[label] under ``weights`` (B, H, W), a scalar. No label may be void."""
    values = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)  # (B, H, W)
    # Devices wait for each other once and not twice.
    total, weight = ops.unstack(summed(ops.stack([ops.sum(values * weights), ops.sum(weights)])), 2)
    return ops.divide_no_nan(total, weight)


class Dice(SegmentationLoss):
    """One minus the soft Dice coefficient.

    With p the softmax, t the one-hot truth and w the pixel weights, it is averaged over the classes that have truth in
    the batch, for class c and summed over the batch::

        dice_c = (2 * sum(w p_c t_c) + smooth) / (sum(w p_c) + sum(w t_c) + smooth)

    ``pooled`` is the form of "TensorFlow in Action", listing 8.15: the three sums run over all classes too, so that
    there is one coefficient and large classes count more.

    Args:
        smooth: in weighted pixels, 0 or more; keeps small classes from jumping between 0 and 1.
        class_weights, per_image: as for ``SegmentationLoss``.
        pooled: one coefficient for all classes.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        class_weights: Sequence[float] | np.ndarray | None = None,
        per_image: bool = False,
        pooled: bool = False,
    ):
        super().__init__(class_weights, "dice", per_image)
        self.smooth, self.pooled = float(smooth), pooled

    def call(self, labels: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
        return dice_loss(labels, logits, weights, self.smooth, self.pooled)


def dice_loss(
    labels: Tensor, logits: Tensor, weights: Tensor, smooth: float = 1.0, pooled: bool = False
) -> Tensor:
    """The value of ``Dice``, a scalar. Labels int32 (B, H, W) without void, logits (B, H, W, K), weights (B, H, W)."""
    weights = ops.expand_dims(weights, -1)  # (B, H, W, 1)
    probability = ops.softmax(logits, axis=-1) * weights
    truth = ops.one_hot(labels, logits.shape[-1], dtype="float32")
    # (K,) each
    sums = [ops.sum(x, axis=(0, 1, 2)) for x in (probability * truth, truth * weights, probability)]
    overlap, truth, probability = ops.unstack(summed(ops.stack(sums)), 3)
    if pooled:
        overlap, truth, probability = (ops.sum(x, keepdims=True) for x in (overlap, truth, probability))
    dice = ops.divide_no_nan(2.0 * overlap + smooth, probability + truth + smooth)
    present = ops.cast(truth > 0, "float32")
    return ops.divide_no_nan(ops.sum((1.0 - dice) * present), ops.sum(present))


class CrossEntropyDice(SegmentationLoss):
    """``CrossEntropy + dice_weight * Dice``, both under the same weights.

    Args:
        class_weights, per_image: as for ``SegmentationLoss``.
        dice_weight: factor on the Dice loss, 0 or more.
        smooth, pooled: as for ``Dice``.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | np.ndarray | None = None,
        dice_weight: float = 1.0,
        smooth: float = 1.0,
        per_image: bool = False,
        pooled: bool = False,
    ):
        super().__init__(class_weights, "cross_entropy_dice", per_image)
        self.dice_weight, self.smooth, self.pooled = float(dice_weight), float(smooth), pooled

    def call(self, labels: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
        dice = dice_loss(labels, logits, weights, self.smooth, self.pooled)
        return cross_entropy(labels, logits, weights) + self.dice_weight * dice


class NormalizedFocal(keras.losses.Loss):
    """The normalised focal loss of one thing against the rest.

    Sofiiuk, Barinova, Konushin, "AdaptIS", ICCV 2019, arXiv:1909.07829, section 3.4: focal weights ``(1 - p)^gamma``
    that sum to the number of pixels of each crop, so that the gradient does not vanish as the crop is learnt.

    Call: masks (B, H, W) of 0, 1 and 255 for what does not count; logits (B, h, w, 1), enlarged bilinearly.
    """

    def __init__(self, gamma: float = 2.0, name: str = "normalized_focal"):
        super().__init__(name=name)
        self.gamma = gamma

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_pred = ops.image.resize(ops.cast(y_pred, "float32"), ops.shape(y_true)[1:3])[..., 0]
        counts = ops.cast(ops.not_equal(y_true, VOID), "float32")
        inside = ops.cast(ops.equal(y_true, 1), "float32")
        log_p = ops.log_sigmoid(ops.where(inside > 0, y_pred, -y_pred))  # of the right answer
        focus = counts * ops.stop_gradient((1 - ops.exp(log_p)) ** self.gamma)
        factor = ops.sum(counts, (1, 2)) / (ops.sum(focus, (1, 2)) + 1e-6)
        loss = -ops.sum(focus * log_p, (1, 2)) * ops.minimum(factor, 1e4)
        return loss / (ops.sum(counts, (1, 2)) + 1e-6)
