import numpy as np
import pytest
from drawn import draw_voc

from segdemo.core.labels import VOC
from segdemo.data.datasets import DatasetError
from segdemo.data.frequencies import pixel_counts
from segdemo.data.sources import open_dataset


def test_pixels_are_counted_by_class_and_void_is_not(tmp_path):
    draw_voc(tmp_path, VOC, train=2, extra=1)
    dataset = open_dataset("voc", tmp_path)
    counts = pixel_counts(dataset, "train")
    masks = [mask for _, _, mask in dataset.pairs("train")]
    assert counts.shape == (21,)
    assert [int((np.stack(masks) == id_).sum()) for id_ in range(21)] == counts.tolist()
    assert counts[1] and counts[2] and not counts[3:].any()  # of the class that each photo was drawn with
    assert counts.sum() < np.stack(masks).size
    assert pixel_counts(dataset, "train_aug")[3]


def test_a_subset_there_is_not_is_refused(tmp_path):
    draw_voc(tmp_path, VOC)
    with pytest.raises(DatasetError, match="no subset 'holdout'"):
        pixel_counts(open_dataset("voc", tmp_path), "holdout")
