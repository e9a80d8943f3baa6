"""Scores of a label-map predictor on a dataset: one confusion matrix, original resolution, void excluded."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.arrays import AnyArray, UInt8
from segdemo.core.labels import LabelSet
from segdemo.data import learnable
from segdemo.data.datasets import Dataset, Sample, read_pair
from segdemo.errors import UserError
from segdemo.inference.predict import PASSES
from segdemo.inference.predictors import open_predictor
from segdemo.zoo import ModelEntry
from segdemo.zoo.scores import PassesGain, Scores

SQUASHED = (384, 384)  # the size TensorFlow in Action, chapter 8, scores at

Wrap = Callable[[list[Sample]], Iterable[Sample]]  # such as a progress bar
# Called with a sample, its photo uint8 (H, W, 3), the truth and the prediction, label maps uint8 (H, W).
Look = Callable[[Sample, UInt8, UInt8, UInt8], object]


def scores(confusion: AnyArray, label_set: LabelSet) -> Scores:
    """Scores from a confusion matrix int64 (K, K), truth in rows.

    Returns:
        ``Scores`` with ``mean_iou`` and ``mean_accuracy`` (over the classes that have truth), ``pixel_accuracy``,
        ``class_iou``, and ``mean_iou_with_predicted``, in which a class that is predicted and has no truth counts 0.
    """
    hits, truth = np.diag(confusion), confusion.sum(1)
    iou = label_maps.iou(confusion)
    present = truth > 0
    return Scores.of(
        mean_iou=float(np.nanmean(iou[present])) if present.any() else None,
        mean_iou_with_predicted=float(np.nanmean(iou)) if present.any() else None,
        mean_accuracy=float((hits[present] / truth[present]).mean()) if present.any() else None,
        pixel_accuracy=float(hits.sum() / truth.sum()) if truth.sum() else None,
        class_iou={
            name: None if math.isnan(value) else float(value)
            for name, value in zip(label_set.classes, iou, strict=True)
        },
    )


def evaluate(
    predict: Callable[[UInt8], UInt8],
    samples: Iterable[Sample],
    label_set: LabelSet,
    progress: Callable[[int], object] | None = None,
    look: Look | None = None,
) -> Scores:
    """Mean IoU and its companions.

    Args:
        predict: uint8 RGB (H, W, 3) to uint8 label map (H, W).
        samples: ``datasets.Sample`` objects with masks.
        label_set: the classes of both.
        progress: called with the number of photos done after each.
        look: called with each photo, see ``Look``.

    Returns:
        ``scores`` plus ``images``, ``seconds`` and the ``confusion`` matrix.

    Raises:
        DatasetError: a photo or a mask cannot be read, or they differ in size; it names the file.
    """
    start = time.perf_counter()
    confusion = np.zeros((len(label_set), len(label_set)), np.int64)
    done = 0
    for done, sample in enumerate(samples, 1):
        image, truth = read_pair(sample, label_set)
        predicted = predict(image)
        confusion += label_maps.confusion(truth, predicted, len(label_set))
        if look:
            look(sample, image, truth, predicted)
        if progress:
            progress(done)
    return scores(confusion, label_set).with_more(
        images=done, seconds=round(time.perf_counter() - start, 1), confusion=confusion.tolist()
    )


def evaluate_model(
    entry: ModelEntry,
    dataset: Dataset,
    subset: str,
    squashed: bool = False,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    wrap: Wrap = iter,
    look: Look | None = None,
) -> Scores:
    """Score a served model.

    Args:
        entry: its ``zoo.ModelEntry``.
        dataset: a ``datasets.Dataset`` in the same label set.
        subset: one of its subsets.
        squashed: also score photos, masks and predictions squashed to 384x384, for comparison only.
        scales, flip: of ``predict.Predictor``.
        wrap: wraps the samples, such as in a progress bar.
        look: called with each photo, see ``Look``.

    Returns:
        The report of ``evaluate`` with ``model``, ``onnx_sha256``, ``dataset`` and ``subset``, the median
        ``milliseconds`` of a prediction, ``scales``, ``flip`` and whether label maps were ``refined``, and with
        ``squashed`` scores under that name.

    Raises:
        ValueError: the model's classes are not the dataset's. DatasetError: no such subset, nothing in it to measure,
            or as ``evaluate``.
    """
    samples = measurable(entry, dataset, subset)
    predictor = open_predictor(entry, scales, flip)
    times: list[float] = []

    def predict(image: UInt8) -> UInt8:
        prediction = predictor(image)
        times.append(prediction.milliseconds)
        return prediction.label_map

    found = evaluate(predict, wrap(samples), dataset.label_set, look=look)
    report = report_of(entry, dataset, subset, scales, flip, found, times)
    if squashed:
        confusion = np.zeros((len(dataset.label_set),) * 2, np.int64)
        for sample in wrap(samples):
            image, truth = map(Image.fromarray, read_pair(sample, dataset.label_set))
            image = image.resize(SQUASHED, Image.Resampling.BILINEAR)
            truth = truth.resize(SQUASHED, Image.Resampling.NEAREST)
            label_map = predictor(np.asarray(image)).label_map
            confusion += label_maps.confusion(np.asarray(truth), label_map, len(dataset.label_set))
        report = report.with_more(squashed=scores(confusion, dataset.label_set))
    return report


def measurable(entry: ModelEntry, dataset: Dataset, subset: str) -> list[Sample]:
    """The samples that a model can be measured on. Raises as ``evaluate_model``."""
    if entry.label_set.classes != dataset.label_set.classes:
        raise UserError(
            f"{entry.name} knows the classes of {entry.label_set.title}, not those of {dataset.label_set.title}: "
            "choose a model or a dataset to match."
        )
    samples = dataset.samples(subset)
    learnable.require_measurable(dataset, subset)
    return samples


def report_of(
    entry: ModelEntry,
    dataset: Dataset,
    subset: str,
    scales: Sequence[float],
    flip: bool,
    found: Scores,
    times: Sequence[float],
) -> Scores:
    """The report of ``evaluate_model``: what ``evaluate`` found, and the ``times`` of predictions in milliseconds."""
    return Scores.of(
        model=entry.name,
        onnx_sha256=entry.onnx_sha256,
        dataset=dataset.kind,
        subset=subset,
        scales=list(scales),
        flip=flip,
        refined=entry.refinement is not None,
        **{key: getattr(found, key) for key in found.keys},
        milliseconds=round(statistics.median(times), 1) if times else None,
    )


def evaluate_passes(
    entry: ModelEntry, dataset: Dataset, subset: str, wrap: Wrap = iter
) -> dict[str, PassesGain]:
    """What further looks at a photo gain and cost: every choice of ``predict.PASSES`` on one subset.

    Args:
        entry, dataset, subset, wrap: as for ``evaluate_model``.

    Returns:
        Name of the choice, but for ``"once"``, to ``PassesGain``.
    """
    reports = {
        name: evaluate_model(entry, dataset, subset, scales=passes["scales"], flip=passes["flip"], wrap=wrap)
        for name, passes in PASSES.items()
    }
    once = reports.pop("once")
    return {
        name: PassesGain.of(
            subset=subset,
            mean_iou=report.mean_iou,
            mean_iou_once=once.mean_iou,
            times_slower=round((report.milliseconds or 0) / (once.milliseconds or 1), 2),
        )
        for name, report in reports.items()
    }
