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
from segdemo.training.layers import Tensor


class ConfusionMatrix(keras.metrics.Metric):
    """A confusion matrix accumulated over batches; the metrics below are read off it.

    A label that is neither a class nor void turns the matrix, and so every score, into NaN rather than being dropped
    silently.

    Args:
        num_classes: K; void is not a class.
        name: name of the metric.
    """

    def __init__(self, num_classes: int, name: str):
        super().__init__(name=name)
        self.num_classes = int(num_classes)
        self.matrix = self.add_variable(
            (self.num_classes, self.num_classes),
            "zeros",
            dtype="float64",  # float32 cannot count past 16.7 million pixels one by one
            name="matrix",
        )

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: None = None) -> None:
        """Count a label map (B, H, W) and logits (B, H, W, K). Raises UserError for another K."""
        k = self.num_classes
        if y_pred.shape[-1] != k:
            raise UserError(f"The metric has {k} classes and the prediction {y_pred.shape[-1]}.")
        labels, predicted = ops.cast(y_true, "int32"), ops.cast(ops.argmax(y_pred, -1), "int32")
        known = ops.logical_and(labels >= 0, labels < k)
        cell = ops.where(known, labels * k + predicted, k * k + 1)
        cell = ops.where(labels == VOID, k * k, cell)  # two spare cells: void, and stray ids
        cell = ops.reshape(cell, (-1,))
        counts = ops.segment_sum(ops.ones_like(cell, self.matrix.dtype), cell, num_segments=k * k + 2)
        stray = ops.where(counts[-1] > 0, float("nan"), 0.0)
        counts = ops.reshape(counts[: k * k], (k, k))
        self.matrix.assign_add(counts + ops.cast(stray, counts.dtype))


class PixelAccuracy(ConfusionMatrix):
    """Share of valid pixels predicted right."""

    def __init__(self, num_classes: int):
        super().__init__(num_classes, "pixel_accuracy")

    def result(self) -> Tensor:
        """float32 scalar in 0..1; NaN before the first valid pixel."""
        return ops.cast(ops.sum(ops.diagonal(self.matrix)) / ops.sum(self.matrix), "float32")


class MeanAccuracy(ConfusionMatrix):
    """Mean over classes with truth of the share of their pixels that are predicted right."""

    def __init__(self, num_classes: int):
        super().__init__(num_classes, "mean_accuracy")

    def result(self) -> Tensor:
        """float32 scalar in 0..1; NaN before the first valid pixel."""
        truth = ops.sum(self.matrix, 1)
        present = truth > 0
        total = ops.sum(ops.where(present, ops.diagonal(self.matrix) / ops.where(present, truth, 1), 0))
        return ops.cast(total / ops.cast(ops.sum(present), total.dtype), "float32")


class MeanIoU(ConfusionMatrix):
    """Mean over classes with truth of intersection over union.

    A class that is predicted and never in the truth is left out, where ``keras.metrics.MeanIoU`` counts it as 0;
    ``evaluate.scores`` gives both.
    """

    def __init__(self, num_classes: int):
        super().__init__(num_classes, "mean_iou")

    def result(self) -> Tensor:
        """float32 scalar in 0..1; NaN before the first valid pixel."""
        truth, right = ops.sum(self.matrix, 1), ops.diagonal(self.matrix)
        union = truth + ops.sum(self.matrix, 0) - right
        present = truth > 0
        total = ops.sum(ops.where(present, right / ops.where(present, union, 1), 0))
        return ops.cast(total / ops.cast(ops.sum(present), total.dtype), "float32")
