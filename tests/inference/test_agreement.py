import numpy as np
import pytest

from segdemo.core.labels import PETS, VOC, LabelSet
from segdemo.inference import agreement


def maps(*rows):
    return [np.array([row], np.uint8) for row in rows]


def test_shares_of_hand_counted_votes():
    shares = agreement.agreement(maps([0, 0, 0, 7], [0, 0, 5, 7], [0, 3, 6, 255], [0, 3, 8, 255]))
    np.testing.assert_allclose(shares, [[1, 0.5, 0.25, 0.5]])
    assert shares.dtype == np.float32


def test_two_models_that_differ_agree_by_one_half():
    np.testing.assert_allclose(agreement.agreement(maps([1, 2], [1, 3])), [[1, 0.5]])


def test_the_order_of_the_models_does_not_matter():
    drawn = list(np.random.default_rng(0).integers(0, 4, (5, 6, 7), np.uint8))
    counts = np.stack([np.sum([m == c for m in drawn], 0) for c in range(4)])
    for turned in (drawn, drawn[::-1]):
        np.testing.assert_allclose(agreement.agreement(turned), counts.max(0) / 5)


@pytest.mark.parametrize("label_maps", [maps([1]), maps([1], [1, 2])])
def test_one_map_or_different_sizes_are_refused(label_maps):
    with pytest.raises(ValueError, match="two or more label maps of one size"):
        agreement.agreement(label_maps)


def test_foreground_of_both_label_sets():
    np.testing.assert_array_equal(agreement.foreground(*maps([0, 15]), VOC), [[0, 1]])
    np.testing.assert_array_equal(agreement.foreground(*maps([0, 1, 2]), PETS), [[1, 0, 1]])
    without = LabelSet("own", "Own", ("a", "b"), ((1, 2, 3), (4, 5, 6)), background=None)
    with pytest.raises(ValueError, match="Own has no background"):
        agreement.foreground(*maps([0]), without)


def test_a_label_map_at_another_size_keeps_its_ids_where_they_are():
    label_map = np.array([[1, 2], [3, 255]], np.uint8)
    np.testing.assert_array_equal(agreement.at_size(label_map, 4, 2), [[1, 2], [1, 2], [3, 255], [3, 255]])
    np.testing.assert_array_equal(agreement.at_size(np.repeat(label_map, 3, 1), 2, 2), label_map)


def test_the_picture_is_grey_where_all_agree_and_orange_where_they_do_not():
    photo = np.full((1, 2, 3), (200, 40, 40), np.uint8)
    sure, unsure = agreement.picture(photo, np.array([[1, 0.5]], np.float32))[0].astype(int)
    assert sure[0] == sure[1] == sure[2]
    assert np.abs(unsure - agreement.DOUBT).max() < 40
