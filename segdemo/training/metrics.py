"""Segmentation metrics over one confusion matrix, for Keras to keep while it trains.

A confusion matrix is (K, K): rows are the truth, columns the prediction, entries are pixels. Void pixels are
never counted. The matrix is summed over the whole set before anything is divided, and means run over the
classes that have truth. Definitions: Long, Shelhamer, Darrell, arXiv:1411.4038 (2015), section 5; Everingham
et al., "The PASCAL Visual Object Classes Challenge: A Retrospective" (2015). Without Keras the same comes from
``label_maps.confusion`` and ``evaluate.scores``.
"""

import keras
from keras import ops

from segdemo.core.labels import VOID
from segdemo.errors import UserError

SERIAL = "segdemo"


@keras.saving.register_keras_serializable(SERIAL)
class ConfusionMatrix(keras.metrics.Metric):
    """A confusion matrix accumulated over batches; the metrics below are read off it.

    Args:
        num_classes: K; void is not a class.
        name: name of the metric.

    ``update_state`` takes a label map (B, H, W) or (B, H, W, 1), logits or probabilities (B, H, W, K) or
    predicted ids (B, H, W), and optional weights (B,), (B, 1), (B, H, W) or (B, H, W, 1), which count a pixel
    as that many. A label that is neither a class nor void turns the matrix, and so every score, into NaN
    rather than being dropped silently.
    """

    def __init__(self, num_classes, name="confusion_matrix", **kwargs):
        super().__init__(name=name, **kwargs)
        if num_classes < 1:
            raise UserError(f"A confusion matrix has one class or more, not {num_classes}.")
        self.num_classes = int(num_classes)
        self.matrix = self.add_variable(
            (self.num_classes, self.num_classes),
            "zeros",
            # float32 cannot count past 16.7 million pixels one by one; JAX has no float64 by default.
            dtype="float32" if keras.backend.backend() == "jax" else "float64",
            name="matrix",
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        k = self.num_classes
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == 4:
            labels = ops.squeeze(labels, -1)
        y_pred = ops.convert_to_tensor(y_pred)
        if len(y_pred.shape) == 4:
            if y_pred.shape[-1] != k:
                raise UserError(f"The metric has {k} classes and the prediction {y_pred.shape[-1]}.")
            y_pred = ops.argmax(y_pred, -1)
        predicted = ops.cast(y_pred, "int32")

        weights = ops.ones_like(labels, dtype=self.matrix.dtype)
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, weights.dtype)
            rank = len(sample_weight.shape)
            if rank == 4 or (rank == 2 and sample_weight.shape[-1] == 1):
                sample_weight = ops.squeeze(sample_weight, -1)
            if len(sample_weight.shape) == 1:
                sample_weight = ops.reshape(sample_weight, (-1, 1, 1))
            weights = weights * sample_weight

        def is_class(ids):
            return ops.logical_and(ids >= 0, ids < k)

        known = ops.logical_and(is_class(labels), is_class(predicted))
        cell = ops.where(known, labels * k + predicted, k * k + 1)
        cell = ops.where(labels == VOID, k * k, cell)  # two spare cells: void, and stray ids
        counts = ops.segment_sum(
            ops.reshape(weights, (-1,)), ops.reshape(cell, (-1,)), num_segments=k * k + 2
        )
        stray = ops.where(counts[-1] > 0, float("nan"), 0.0)
        counts = ops.reshape(counts[: k * k], (k, k))
        self.matrix.assign_add(counts + ops.cast(stray, counts.dtype))

    def result(self):
        """The (K, K) matrix, rows the truth."""
        return ops.convert_to_tensor(self.matrix)

    def per_class_accuracy(self):
        """(K,): share of a class's true pixels found; NaN for a class without truth."""
        truth, right = ops.sum(self.matrix, 1), ops.diagonal(self.matrix)
        return ops.where(truth > 0, right / ops.where(truth > 0, truth, 1), float("nan"))

    def per_class_iou(self):
        """(K,): intersection over union of truth and prediction; NaN for a class without truth."""
        truth, right = ops.sum(self.matrix, 1), ops.diagonal(self.matrix)
        union = truth + ops.sum(self.matrix, 0) - right
        return ops.where(truth > 0, right / ops.where(truth > 0, union, 1), float("nan"))

    def _mean_over_truth(self, per_class):
        """Mean of ``per_class`` over classes with truth; NaN if there is none, or if the matrix is NaN."""
        present = ops.sum(self.matrix, 1) > 0
        total = ops.sum(ops.where(present, per_class, 0))
        count = ops.sum(ops.cast(present, total.dtype))
        return ops.cast(total / count, "float32")

    def get_config(self):
        return {"name": self.name, "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(SERIAL)
class PixelAccuracy(ConfusionMatrix):
    """Share of valid pixels predicted right. Arguments as for ``ConfusionMatrix``."""

    def __init__(self, num_classes, name="pixel_accuracy", **kwargs):
        super().__init__(num_classes, name, **kwargs)

    def result(self):
        """float32 scalar in 0..1; NaN before the first valid pixel."""
        return ops.cast(ops.sum(ops.diagonal(self.matrix)) / ops.sum(self.matrix), "float32")


@keras.saving.register_keras_serializable(SERIAL)
class MeanAccuracy(ConfusionMatrix):
    """Mean over classes with truth of the share of their pixels found. Arguments as for ``ConfusionMatrix``.

    ``per_class_accuracy()`` has the classes' own values.
    """

    def __init__(self, num_classes, name="mean_accuracy", **kwargs):
        super().__init__(num_classes, name, **kwargs)

    def result(self):
        """float32 scalar in 0..1; NaN before the first valid pixel."""
        return self._mean_over_truth(self.per_class_accuracy())


@keras.saving.register_keras_serializable(SERIAL)
class MeanIoU(ConfusionMatrix):
    """Mean over classes with truth of intersection over union. Arguments as for ``ConfusionMatrix``.

    ``per_class_iou()`` has the classes' own values.
    """

    def __init__(self, num_classes, name="mean_iou", **kwargs):
        super().__init__(num_classes, name, **kwargs)

    def result(self):
        """float32 scalar in 0..1; NaN before the first valid pixel."""
        return self._mean_over_truth(self.per_class_iou())
