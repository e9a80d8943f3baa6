import json
import math

import numpy as np
import pytest

from segdemo.core.clicks import Click, ClickError, disks, extent, next_click, read_box, read_clicks


def disk(shape, row, column, radius):
    """bool: one pixel after the other."""
    result = np.zeros(shape, bool)
    for y, x in np.ndindex(shape):
        result[y, x] = math.hypot(y - row, x - column) <= radius
    return result


def test_a_click_is_a_disk_in_the_channel_of_its_sign():
    shown = disks([Click(20, 10), Click(3, 30, False)], (40, 50))
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[..., 0], 255 * disk((40, 50), 10, 20, 5))
    np.testing.assert_array_equal(shown[..., 1], 255 * disk((40, 50), 30, 3, 5))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (49, 39), (0, 39), (49, 0), (-3, 20), (52, 20), (20, 43)])
def test_disks_are_cut_at_the_border(x, y):
    shown = disks([Click(x, y)], (40, 50))
    np.testing.assert_array_equal(shown[..., 0], 255 * disk((40, 50), y, x, 5))
    assert shown.any()


@pytest.mark.parametrize("place", [(-50, 10), (10, -50), (500, 10), (10, 500), (-1e9, -1e9)])
def test_a_click_outside_of_what_is_shown_is_not_there(place):
    assert not disks([Click(*place)], (40, 50)).any()


def test_a_window_is_scaled_and_a_disk_is_not():
    # 3 times wider, 2 times higher
    shown = disks([Click(110, 60)], (40, 60), box=(100, 50, 120, 70), radius=4)
    np.testing.assert_array_equal(shown[..., 0], 255 * disk((40, 60), 20.5, 31, 4))


def test_the_next_click_is_in_the_middle_of_the_largest_error():
    truth = np.zeros((40, 60), bool)
    truth[10:31, 10:31] = True
    assert next_click(truth, np.zeros_like(truth)) == Click(20, 20, True)
    mask = truth.copy()
    mask[0:5, 40:45] = True  # 5x5 too much
    mask[10:13, 10:13] = False  # 3x3 lacks
    assert next_click(truth, mask) == Click(42, 2, False)
    assert next_click(truth, mask, before=[Click(42, 2, False)]).positive is False
    assert next_click(truth, truth) is None


def test_what_holds_the_largest_circle_counts_not_what_has_most_pixels():
    mask = np.zeros((60, 60), bool)
    mask[5, :] = True  # 60 pixels, thin
    mask[30:35, 30:35] = True
    assert next_click(np.zeros_like(mask), mask) == Click(32, 32, False)


def test_what_does_not_count_is_no_error():
    truth = np.zeros((20, 20), bool)
    truth[5:10, 5:10] = True
    counts = ~truth
    assert next_click(truth, np.zeros_like(truth), counts) is None
    assert next_click(truth, ~truth, counts).positive is False


def test_nobody_clicks_the_same_pixel_twice():
    truth = np.zeros((7, 7), bool)
    truth[3, 3] = True
    first = next_click(truth, np.zeros_like(truth))
    assert first == Click(3, 3, True)
    assert next_click(truth, np.zeros_like(truth), before=[first]) is None


def test_an_error_that_fills_the_photo_has_its_middle_inside():
    assert next_click(np.ones((9, 21), bool), np.zeros((9, 21), bool)).y == 4


def test_a_person_clicks_anywhere_in_the_inner_half():
    truth = np.zeros((40, 40), bool)
    truth[5:36, 5:36] = True  # its middle at (20, 20) is 16 from the outside
    rng = np.random.default_rng(0)
    places = {next_click(truth, np.zeros_like(truth), rng=rng)[:2] for _ in range(300)}
    assert len(places) > 100
    assert {max(abs(x - 20), abs(y - 20)) for x, y in places} == set(range(8))


def test_extent():
    mask = np.zeros((10, 20), bool)
    assert extent(mask) is None
    mask[3, 4] = mask[6, 17] = True
    assert extent(mask) == (4, 3, 18, 7)


def test_clicks_are_read():
    expected = [Click(3, 4.5, True), Click(0, 0, False)]
    assert read_clicks([[3, 4.5, 1], [0, 0, 0]]) == expected
    assert read_clicks("[[3, 4.5, 1], [0, 0, 0]]") == expected
    assert read_clicks([[3, 4.5, True], [0, 0, False]]) == expected
    assert [click.positive for click in read_clicks("[[1, 2, 1.0]]")] == [True]
    assert read_clicks("") == read_clicks(" ") == read_clicks(None) == read_clicks("[]") == []
    assert read_box("[1, 2, 3.5, 4]") == read_box([1, 2, 3.5, 4]) == (1, 2, 3.5, 4)
    assert read_box("") is read_box(None) is read_box("null") is None


HOSTILE = [
    "no json",
    "{}",
    "7",
    "[1, 2, 1]",
    "[[1, 2]]",
    "[[1, 2, 3]]",
    "[[1, 2, -1]]",
    '[["1", 2, 1]]',
    "[[NaN, 2, 1]]",
    "[[1, Infinity, 1]]",
    "[[1, -1e999, 1]]",
    "[[1, 2, [1]]]",
    "[[null, 2, 1]]",
    f"[[{10**30}, 2, 1]]",
    f"[[1{'0' * 5000}, 2, 1]]",  # more digits than Python takes
    "[" * 100_000,
    "[" * 50_000 + "]" * 50_000,
    "[[1, 2, 1], " * 200_000,
    '{"a": [[1, 2, 1]]}',
    "\0\ud800",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_are_no_clicks_gives_a_sentence(text):
    with pytest.raises(ClickError, match=r"Give the clicks as \[\[120, 80, 1\], \[30, 40, 0\]\]: x and y"):
        read_clicks(text)
    with pytest.raises(ClickError, match=r"Give the box as \[20, 30, 180, 220\]: left, top"):
        read_box(text if text != "[1, 2, 1]" else "[1, 2, 3, NaN]")


def test_plain_data_that_are_no_clicks_give_a_sentence():
    for data in (7, {"0": 1}, [7], [[]], [[1, 2, 10**400]], [[math.nan, 1, 1]], ["abc"], True):
        with pytest.raises(ClickError):
            read_clicks(data)
        with pytest.raises(ClickError):
            read_box(data)


def test_ten_thousand_clicks_are_read_to_be_counted():
    assert len(read_clicks(json.dumps([[1, 2, 1]] * 10_000))) == 10_000
