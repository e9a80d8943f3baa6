"""What is set once a model is trained, on photos it has not learned from: the size it looks at photos in, how far
its logits are adjusted for classes it has seen seldom, their temperature, how its outlines follow the photo's, and
when to say that a photo shows nothing it knows.

All are chosen on one subset and reported on another.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from segdemo.core import label_maps
from segdemo.core.arrays import Floats, Ints, UInt8
from segdemo.core.files import read_json, write_json
from segdemo.core.labels import VOID
from segdemo.core.resample import argmax_at, resize_bilinear
from segdemo.data import learnable
from segdemo.data.datasets import Dataset, Sample, read_pair
from segdemo.data.index import by_class
from segdemo.errors import UserError
from segdemo.inference.evaluate import Wrap, evaluate_model, scores
from segdemo.inference.predict import Predictor, evidence, softmax
from segdemo.inference.refine import refine
from segdemo.zoo import ModelEntry
from segdemo.zoo.scores import Adjustment, Calibrated, Calibration, Domain, Refinement, SizeChoice

SPACING = 16  # pixels between those that are looked at, in both directions
BINS = 15
FALSE_ALARMS = 0.05  # share of photos of known things that may be called unknown, on the subset to choose by
FEWEST_PHOTOS = 40  # a threshold or a strength chosen on fewer would mean nothing
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)  # of the adjustment that are tried
RADII, EPSILONS = (8, 12, 16), (1e-4, 3e-4, 1e-3)  # of the refinement that are tried, see ``refine.refine``
NEARLY = 0.0005  # of mean IoU in 0..1: two refinements so close, or one and none, are as good as each other
LEAST_GAIN = 0.002  # of mean IoU in 0..1, for an adjustment to be made
WINDOW_SHARES = (0.9, 0.75, 0.6, 0.5, 0.4)  # of a photo's shorter side
SMALLEST_WINDOW = 128  # pixels


def expected_calibration_error(probabilities: Floats, truth: Ints, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over equal bins of confidence, weighted by their pixels.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599 (2017), equation 3.

    Args:
        probabilities: float (n, K). truth: integer (n,), none of it void. bins: of the likeliest class'
            probability.

    Returns:
        A float in 0..1. Raises ValueError for no pixel at all.
    """
    if not len(truth):
        raise UserError("There is no pixel with a known class to measure the calibration on.")
    confidence = probabilities.max(-1).astype(np.float64)
    right = probabilities.argmax(-1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(which, right, bins) - np.bincount(which, confidence, bins)
    return float(np.abs(gap).sum() / len(truth))


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """The temperature T that makes ``softmax(logits / T)`` likeliest (Guo et al., section 4.2).

    Args:
        logits: float (n, K). truth: integer (n,).

    Returns:
        A float in 0.25..4, to three digits.
    """
    from scipy.optimize import minimize_scalar  # loaded only where a model is calibrated

    own = np.take_along_axis(logits, truth[:, None].astype(np.intp), -1)[:, 0]

    def loss(temperature: float) -> float:
        scaled = logits / np.float32(temperature)
        top = scaled.max(-1)
        total = np.log(np.exp(scaled - top[:, None]).sum(-1)) + top
        return float((total - own / temperature).mean())

    bounds = math.log(0.25), math.log(4)
    best = minimize_scalar(
        lambda x: loss(math.exp(x)), bounds=bounds, method="bounded", options={"xatol": 1e-4}
    )
    return round(math.exp(best.x), 3)  # the loss has one minimum


def fit_adjustment(
    entry: ModelEntry, dataset: Dataset, fit: str = "val", wrap: Wrap = iter
) -> Adjustment | None:
    """Offsets that make up for classes a model has seen seldom, if that raises the mean IoU.

    Menon et al., "Long-tail learning via logit adjustment", arXiv:2007.07314 (2021), section 4.1: the logit of
    class k becomes ``logit - strength * log(share of the photos it learned from that show k)``. The strength is
    the one of ``STRENGTHS`` with the highest mean IoU.

    Args:
        entry: a ``zoo.ModelEntry``. dataset: in its label set; its ``learning_subset`` gives the shares.
        fit: the subset to choose the strength on.
        wrap: wraps the samples, such as in a progress bar.

    Returns:
        With K offsets to take off the logits; or None if no strength gains ``LEAST_GAIN``, for a stochastic network,
        and where there are fewer than ``FEWEST_PHOTOS`` photos to choose on.
    """
    samples = dataset.samples(fit)
    if entry.samples > 1 or len(samples) < FEWEST_PHOTOS:
        return None
    learned = dataset.splits[dataset.learning_subset]
    shown = by_class(dataset, dataset.learning_subset)
    shares = [max(1, len(shown[k])) / len(learned) for k in range(len(entry.label_set))]
    if len(set(shares)) == 1:
        return None  # every class is as frequent as any other
    rarity = -np.log(np.asarray(shares, np.float32))  # what a strength of 1 would add
    predictor = Predictor(replace(entry, temperature=1.0, adjustment=None))
    strengths = (0.0, *STRENGTHS)
    confusions = np.zeros((len(strengths), len(shares), len(shares)), np.int64)
    for sample in wrap(samples):
        image, truth = read_pair(sample, dataset.label_set)
        logits = predictor.logits(image)
        for confusion, strength in zip(confusions, strengths, strict=True):
            adjusted = logits + rarity * np.float32(strength)
            confusion += label_maps.confusion(truth, argmax_at(adjusted, *truth.shape), len(shares))
    found = [_mean_iou(confusion, entry) for confusion in confusions]
    best = int(np.argmax(found))
    if found[best] - found[0] < LEAST_GAIN:
        return None
    return Adjustment.of(
        strength=strengths[best],
        offsets=[round(-strengths[best] * float(value), 4) for value in rarity],
        chosen_on=fit,
        mean_iou_before=found[0],
        mean_iou=found[best],
    )


def fit_refinement(
    entry: ModelEntry, dataset: Dataset, fit: str = "val", wrap: Wrap = iter
) -> Refinement | None:
    """The guided filter that draws a model's outlines where the photo has them, if that raises the mean IoU.

    Args:
        entry: a ``zoo.ModelEntry``. dataset: in its label set.
        fit: the subset to choose the filter on.
        wrap: wraps the samples, such as in a progress bar.

    Returns:
        Of those of ``RADII`` and ``EPSILONS`` that score within ``NEARLY`` of the best, one with the largest epsilon,
        whose outlines are the smoothest. Or None if none gains more than ``NEARLY`` and for a stochastic network: so
        little will do because outlines look smoother too. What the entry has already where there are fewer than
        ``FEWEST_PHOTOS`` photos to choose on.
    """
    samples = dataset.samples(fit)
    if entry.samples > 1 or len(samples) < FEWEST_PHOTOS:
        return entry.refinement
    predictor = Predictor(entry.unrefined())
    filters = list(product(RADII, EPSILONS))
    classes = len(entry.label_set)
    confusions = np.zeros((1 + len(filters), classes, classes), np.int64)
    for sample in wrap(samples):
        image, truth = read_pair(sample, dataset.label_set)
        prediction, size = predictor(image), predictor.input_size(image)
        confusions[0] += label_maps.confusion(truth, prediction.label_map, classes)
        for confusion, settings in zip(confusions[1:], filters, strict=True):
            label_map = refine(prediction.probabilities, image, size, *settings)
            confusion += label_maps.confusion(truth, label_map, classes)
    found = [_mean_iou(confusion, entry) for confusion in confusions]
    if max(found) - found[0] <= NEARLY:
        return None
    close = [i for i in range(1, len(found)) if found[i] >= max(found) - NEARLY]
    best = max(close, key=lambda i: (filters[i - 1][1], found[i]))
    radius, epsilon = filters[best - 1]
    return Refinement.of(
        radius=radius, epsilon=epsilon, chosen_on=fit, mean_iou_before=found[0], mean_iou=found[best]
    )


def _mean_iou(confusion: Ints, entry: ModelEntry) -> float:
    found = scores(confusion, entry.label_set).mean_iou
    return math.nan if found is None else found


def choose_size(
    entry: ModelEntry, dataset: Dataset, sizes: Iterable[int], fit: str = "val", wrap: Wrap = iter
) -> SizeChoice:
    """The size of photos at which a model scores best, its logits as they are and its outlines not refined.

    Args:
        entry: a ``zoo.ModelEntry``. dataset: in its label set.
        sizes: of the photos' longer side, pixels, 32 to 2048 each.
        fit: the subset to choose on.
        wrap: wraps the samples, such as in a progress bar.

    Returns:
        The smallest of the best, and the score of each.

    Raises:
        ValueError: a size out of range. DatasetError: no such subset.
    """
    for size in sizes:
        if not 32 <= size <= 2048:
            raise UserError(f"A size is 32 to 2048 pixels, not {size}.")
    plain = replace(entry, adjustment=None, refinement=None)
    found = {
        size: evaluate_model(replace(plain, long_side=size), dataset, fit, wrap=wrap).mean_iou or 0.0
        for size in sorted(set(sizes))
    }
    best = max(found, key=lambda size: found[size])
    return SizeChoice.of(
        long_side=best, chosen_on=fit, mean_iou={str(size): score for size, score in found.items()}
    )


def background_window(label_map: UInt8, background: int) -> tuple[slice, slice] | None:
    """The largest square of a label map (H, W) that shows nothing but background: a (rows, columns) of slices.

    Sides are ``WINDOW_SHARES`` of the shorter side and at least ``SMALLEST_WINDOW``; None if there is none.
    """
    height, width = label_map.shape
    other = np.pad((label_map != background).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    for share in WINDOW_SHARES:
        side = int(share * min(height, width))
        if side < SMALLEST_WINDOW:
            return None
        inside = other[side:, side:] - other[:-side, side:] - other[side:, :-side] + other[:-side, :-side]
        free = np.argwhere(inside == 0)
        if len(free):
            row, column = free[len(free) // 2]
            return slice(row, row + side), slice(column, column + side)
    return None


def calibrate(
    entry: ModelEntry,
    dataset: Dataset,
    fit: str = "val",
    report: str = "test",
    wrap: Wrap = iter,
    sizes: Sequence[int] = (),
) -> Calibrated:
    """Choose a model's size, adjust it, then measure its confidence.

    Photos that show nothing the model knows are taken from the dataset itself: the largest window of each photo
    in which the truth is all background.

    Args:
        entry: a ``zoo.ModelEntry``. dataset: in its label set.
        fit: the subset to choose all on. report: the subset to report them on.
        wrap: wraps the samples, such as in a progress bar.
        sizes: those to choose from, see ``choose_size``; without any, the model keeps its own.

    Returns:
        Entries for the model's manifest. A stochastic network's temperature stays 1: its passes are averaged as they
        are.

    Raises:
        DatasetError: no such subset, nothing in one to measure, or a photo or mask that cannot be read, by name.
    """
    learnable.require_measurable(dataset, fit)
    learnable.require_measurable(dataset, report)
    entry = replace(entry, temperature=1.0)
    size = entry.size
    if sizes:
        size = choose_size(entry, dataset, sizes, fit, wrap)
        entry = replace(entry, long_side=size.long_side)
    adjustment = fit_adjustment(entry, dataset, fit, wrap)
    entry = replace(entry, adjustment=adjustment)
    plain = Predictor(entry)
    logits, truth = _pixels(plain, wrap(dataset.samples(fit)))
    temperature = fit_temperature(logits, truth) if entry.samples == 1 and len(truth) else 1.0
    del logits, truth
    logits, truth = _pixels(plain, wrap(dataset.samples(report)))
    calibration = None
    if len(truth):
        before, after = (
            expected_calibration_error(softmax(logits / np.float32(t)), truth) for t in (1.0, temperature)
        )
        calibration = Calibration.of(fitted_on=fit, subset=report, ece_before=before, ece=after)
    entry = replace(entry, temperature=temperature)
    return Calibrated.of(
        long_side=entry.long_side,
        size=size,
        adjustment=adjustment,
        temperature=temperature,
        calibration=calibration,
        refinement=fit_refinement(entry, dataset, fit, wrap),
        domain=_domain(entry, dataset, fit, report, wrap),
    )


def effort(watched: int, held_out: int, passes: int = 1, background: bool = True) -> tuple[int, int]:
    """How often ``calibrate`` asks a network and refines an answer, where no size is chosen.

    Args:
        watched: photos of the subset to choose on. held_out: of the one to report on.
        passes: of the network for an answer.
        background: whether the label set has one. Windows that show nothing else, which few photos have, do not count.

    Returns:
        (passes of the network, refinements).
    """
    enough = watched >= FEWEST_PHOTOS
    answers = watched + held_out  # for the temperature
    if enough and background:
        answers += watched + held_out  # for the threshold
    if not enough or passes > 1:
        return passes * answers, 0
    answers += 2 * watched  # for the adjustment and the refinement
    return answers, watched * len(RADII) * len(EPSILONS)


def _pixels(predictor: Predictor, samples: Iterable[Sample]) -> tuple[Floats, UInt8]:
    """Logits float32 (n, K) and truth uint8 (n,) of every ``SPACING``-th pixel with a known class.

    Of a network that is asked several times the logits are the logarithm of the mean probability.
    """
    all_logits, all_truth = [], []
    for sample in samples:
        image, truth = read_pair(sample, predictor.entry.label_set)
        rows, columns = (max(1, side // SPACING) for side in truth.shape)
        if len(predictor.passes) == 1:
            logits = predictor.logits(image)
        else:
            logits = np.log(np.maximum(predictor(image).probabilities, 1e-12))
        logits = resize_bilinear(logits, rows, columns)
        y, x = (
            ((np.arange(n) + 0.5) * side / n).astype(int)
            for n, side in zip((rows, columns), truth.shape, strict=True)
        )
        truth = truth[np.ix_(y, x)]
        known = truth != VOID
        all_logits.append(logits[known].astype(np.float32))
        all_truth.append(truth[known])
    if not all_truth:
        return np.zeros((0, len(predictor.entry.label_set)), np.float32), np.zeros(0, np.uint8)
    return np.concatenate(all_logits), np.concatenate(all_truth)


def _domain(entry: ModelEntry, dataset: Dataset, fit: str, report: str, wrap: Wrap) -> Domain | None:
    """The threshold of ``evidence`` and what it does, or None where it cannot be chosen."""
    background = entry.label_set.background
    if background is None or len(dataset.samples(fit)) < FEWEST_PHOTOS:  # no need to ask the model then
        return None
    predictor = Predictor(entry.unrefined())  # whose probabilities are the same
    known, unknown = _evidences(predictor, wrap(dataset.samples(fit)), background)
    if len(known) < FEWEST_PHOTOS:  # the others are all background
        return None
    threshold = choose_threshold(known, unknown)
    known, unknown = _evidences(predictor, wrap(dataset.samples(report)), background)
    return Domain.of(
        threshold=threshold,
        fitted_on=fit,
        subset=report,
        false_alarms=float((known < threshold).mean()) if len(known) else None,
        noticed=float((unknown < threshold).mean()) if len(unknown) else None,
        photos=len(known),
        windows=len(unknown),
    )


def choose_threshold(known: Floats, unknown: Floats) -> float:
    """The threshold that tells two samples of ``evidence`` apart best, at ``FALSE_ALARMS`` or fewer.

    Args:
        known: float (n,), of photos of known things, one or more. unknown: float (m,), of others.

    Returns:
        The float, in the middle of a gap between evidences or at one of ``known``, with the largest share of
        ``unknown`` below it less the share of ``known`` below it.
    """
    limit = float(np.sort(known)[int(FALSE_ALARMS * len(known))])  # below which there are no more than may be
    if not len(unknown):
        return limit
    values = np.unique(np.concatenate([known, unknown]))
    values = values[values <= limit]
    candidates = [*((values[1:] + values[:-1]) / 2), limit]

    def gain(threshold: float) -> float:
        return float((unknown < threshold).mean() - (known < threshold).mean())

    return float(max(candidates, key=gain))


def _evidences(predictor: Predictor, samples: Iterable[Sample], background: int) -> tuple[Floats, Floats]:
    """``evidence`` of photos of known things, and of windows that show none: two float arrays."""
    known, unknown = [], []
    for sample in samples:
        image, truth = read_pair(sample, predictor.entry.label_set)
        if np.any((truth != background) & (truth != VOID)):
            known.append(evidence(predictor(image).probabilities, background))
        if window := background_window(truth, background):
            unknown.append(evidence(predictor(image[window]).probabilities, background))
    return np.array(known), np.array(unknown)


def write(entry: ModelEntry, result: Calibrated) -> None:
    """Put what ``calibrate`` returned into the manifest the entry came from."""
    path = entry.folder / "manifest.json"
    manifest = read_json(path)
    manifest["models"][entry.name].update(result.to_json())
    write_json(path, manifest)
