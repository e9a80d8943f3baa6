"""Whether there is something to learn from and to measure on: told in a sentence before anything starts.

Masks are read until the answer is known, which is after one or two of them unless something is wrong.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping

from segdemo.core.labels import VOID
from segdemo.data.datasets import Dataset, DatasetError, Sample, mask_values, numbers_in

_BINARY = {0, VOID}


def require_measurable(dataset: Dataset, subset: str) -> None:
    """Raise DatasetError unless a mask of the subset has a labelled pixel.

    Args:
        dataset: a ``datasets.Dataset``. subset: one of its subsets.

    Raises:
        DatasetError: no such subset, none of its masks can be read, its masks are all void, or the dataset's masks are
            binary ones of 0 and 255.
    """
    samples = dataset.samples(subset)
    _refuse_binary(dataset, samples)
    if not _first(samples, lambda values: _labelled(dataset, values)):
        raise DatasetError(_nothing_labelled(dataset, subset, "measure"))


def require_learnable(dataset: Dataset, subset: str, *measured: str) -> list[str]:
    """Raise DatasetError unless there is something to learn from and to measure on.

    Args:
        dataset: a ``datasets.Dataset``. subset: what is learned from. measured: subsets that are measured on.

    Returns:
        A list of sentences on what is no fault and yet worth knowing, such as that there is one class only.

    Raises:
        DatasetError: as ``require_measurable``.
    """
    samples = dataset.samples(subset)
    _refuse_binary(dataset, samples)
    seen = set()

    def enough(values: set[int]) -> bool:
        seen.update(_labelled(dataset, values))
        return len(seen) > 1

    _first(samples, enough)
    if not seen:
        raise DatasetError(_nothing_labelled(dataset, subset, "learn from"))
    for name in dict.fromkeys(measured):
        require_measurable(dataset, name)
    return [_one_class(dataset, subset, seen)] if len(seen) == 1 else []


def findings(dataset: Dataset, present: Mapping[str, set[int]]) -> tuple[list[str], list[str]]:
    """What ``datasets.check`` says of what all masks hold.

    Args:
        dataset: a ``datasets.Dataset``. present: id of a sample to the set of numbers in its mask's file, for the masks
            that can be read.

    Returns:
        (problems, notes), two lists of sentences.
    """
    if present and set().union(*present.values()) == _BINARY:
        return [_binary(dataset)], []
    problems, notes = [], []
    for subset, ids in dataset.splits.items():
        masks = [present[id_] for id_ in ids if id_ in present]
        seen = set().union(*(_labelled(dataset, values) for values in masks))
        if masks and not seen:
            problems.append(_nothing_labelled(dataset, subset, "learn from or to measure"))
        elif subset == dataset.learning_subset and len(seen) == 1:
            notes.append(_one_class(dataset, subset, seen))
    return problems, notes


def _refuse_binary(dataset: Dataset, samples: Iterable[Sample]) -> None:
    """Raise DatasetError if all masks that can be read, of whatever subset, hold 0 and 255 and nothing else."""
    ids = dict.fromkeys([*(sample.id for sample in samples), *dataset.ids])
    seen = set()

    def told(values: set[int]) -> bool:
        seen.update(values)
        return not seen <= _BINARY

    _first([dataset.sample(id_) for id_ in ids], told)
    if seen == _BINARY:
        raise DatasetError(_binary(dataset))


def _first(samples: Iterable[Sample], wanted: Callable[[set[int]], object]) -> bool:
    """Whether the numbers of some mask are ``wanted``; later ones are not read.

    Raises:
        DatasetError: that of the first mask, if there are masks and none can be read.
    """
    error, read = None, False
    for sample in samples:
        if sample.mask_path is None:
            continue
        try:
            values = mask_values(sample.mask_path)
        except DatasetError as problem:  # reading it again will say so, if it is needed
            error = error or problem
            continue
        read = True
        if wanted(numbers_in(values)):
            return True
    if error is not None and not read:
        raise error
    return False


def _labelled(dataset: Dataset, values: set[int]) -> set[int]:
    """The class ids that numbers in masks' files mean, void left out."""
    if dataset.kind == "pets":
        return {value - 1 for value in values if 1 <= value <= len(dataset.label_set)}
    return {value for value in values if value < len(dataset.label_set)}


def _nothing_labelled(dataset: Dataset, subset: str, purpose: str) -> str:
    return (
        f"No mask of the subset {subset!r} of the dataset in {dataset.root} has a labelled pixel, so there is nothing "
        f"to {purpose}: label some, or choose another subset."
    )


def _binary(dataset: Dataset) -> str:
    meaning = (
        "trimaps hold 1 for the animal, 2 for the background and 3 for its border, so there is no label in them"
        if dataset.kind == "pets"
        else "255 is void, so they show nothing but background"
    )
    folder = shlex.quote(str(dataset.root))
    return (
        f"The masks of the dataset in {dataset.root} hold only 0 and 255, and {meaning}: if 255 is meant to be the "
        f"object, write a copy that says so with python -m segdemo data binary {folder} --out DIR."
    )


def _one_class(dataset: Dataset, subset: str, seen: set[int]) -> str:
    name = dataset.label_set.classes[next(iter(seen))]
    return (
        f"All labelled pixels of the subset {subset!r} of the dataset in {dataset.root} are {name!r}: a model learns "
        "to see nothing else."
    )
