"""How often each class occurs."""

import numpy as np

from segdemo.core.arrays import Ints
from segdemo.data.datasets import Dataset, read_label_map


def pixel_counts(dataset: Dataset, subset: str) -> Ints:
    """The pixels of each class in all masks of a subset, void not counted: what class weights are made from.

    Args:
        dataset, subset: whose masks; each is read.

    Returns:
        int64 (K,), by class id.

    Raises:
        DatasetError: no such subset or an empty one, or a mask that cannot be read.
    """
    counts = np.zeros(256, np.int64)
    for sample in dataset.samples(subset):
        counts += np.bincount(read_label_map(sample).ravel(), minlength=256)
    return counts[: len(dataset.label_set)]
