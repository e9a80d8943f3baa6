import numpy as np
import pytest
from scipy import ndimage

from segdemo.core.clicks import Click
from segdemo.training.clicks import simulation
from segdemo.training.clicks.simulation import Start, clicked, guide, start, wrong

SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
TRUTH = (ROWS - 30) ** 2 + (COLUMNS - 26) ** 2 <= 16**2
OTHERS = (ROWS - 30) ** 2 + (COLUMNS - 54) ** 2 <= 8**2
NONE = np.zeros_like(TRUTH)
WAYS = ["_thinner_or_thicker", "_shifted", "_cut", "_coarse", "_blob", "_merged"]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_gives_a_mask_that_is_wrong(way):
    results = []
    for seed in range(40):
        before = TRUTH.copy()
        mask = getattr(simulation, way)(np.random.default_rng(seed), TRUTH, OTHERS)
        np.testing.assert_array_equal(TRUTH, before)
        assert (mask.shape, mask.dtype) == (TRUTH.shape, bool)
        results.append(mask)
    different = [mask for mask in results if (mask != TRUTH).any()]
    assert len(different) >= (8 if way == "_blob" else 35)  # an ellipse may fall where it changes nothing
    assert len({mask.tobytes() for mask in different}) > (0 if way == "_merged" else 5)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_fails_on_an_empty_or_full_mask(way):
    for mask in (NONE, ~NONE):
        for seed in range(8):
            assert getattr(simulation, way)(np.random.default_rng(seed), mask, NONE).shape == mask.shape


def test_each_way_does_what_it_is_called():
    rng = np.random.default_rng
    merged = simulation._merged(rng(0), TRUTH, OTHERS)
    np.testing.assert_array_equal(merged, TRUTH | OTHERS)
    assert all(not (simulation._cut(rng(n), TRUTH, NONE) & ~TRUTH).any() for n in range(9))
    shares = [simulation._cut(rng(n), TRUTH, NONE).sum() / TRUTH.sum() for n in range(30)]
    assert 0.25 < min(shares) < 0.5 and 0.7 < max(shares) < 0.95
    thinner = [simulation._thinner_or_thicker(rng(n), TRUTH, NONE) for n in range(30)]
    assert {bool(mask.sum() > TRUTH.sum()) for mask in thinner} == {True, False}
    assert all(not (mask & ~TRUTH).any() or not (TRUTH & ~mask).any() for mask in thinner)


def test_wrong_masks_are_wrong_and_still_meant_for_the_thing():
    masks = [wrong(np.random.default_rng(seed), TRUTH, OTHERS) for seed in range(60)]
    ious = [(mask & TRUTH).sum() / (mask | TRUTH).sum() for mask in masks]
    assert sum(iou < 1 for iou in ious) >= 58
    assert np.median(ious) > 0.4


def begun(count=300):
    mask = np.where(TRUTH, np.uint8(1), np.uint8(0))
    mask[:3] = 255
    rng = np.random.default_rng(0)
    return [start(rng, mask, OTHERS) for _ in range(count)]


@pytest.fixture
def true_clicks(monkeypatch):
    monkeypatch.setattr(simulation, "OFF_SHARE", 0)


@pytest.mark.usefixtures("true_clicks")
def test_a_crop_begins_with_nothing_a_box_or_a_wrong_mask_in_their_shares():
    nothing, wrongs, boxes = [], [], []
    for item in begun():
        assert (item.mask.shape, item.mask.dtype) == (TRUTH.shape, bool)
        if not item.mask.any() and item.clicks:
            nothing.append(item)
        elif not item.clicks and item.mask.sum() == np.prod(np.ptp(np.nonzero(item.mask), 1) + 1):
            boxes.append(item)
        elif item.clicks:
            wrongs.append(item)
        else:  # a mask that came out right where it counts
            assert not ((item.mask != TRUTH) & (ROWS >= 3)).any()
    assert 0.45 < len(nothing) / 300 < 0.65
    assert 0.02 < len(boxes) / 300 < 0.13
    assert 0.25 < len(wrongs) / 300 < 0.5
    for item in nothing:
        [click] = item.clicks
        assert click.positive and TRUTH[click.y, click.x]
    for item in wrongs:
        [click] = item.clicks
        assert TRUTH[click.y, click.x] == click.positive != item.mask[click.y, click.x]
        assert click.y >= 3  # where it counts
    for item in boxes:
        assert (item.mask & TRUTH).sum() > 0.6 * TRUTH.sum()


def test_a_box_around_a_single_pixel_and_around_everything():
    dot = NONE.copy()
    dot[63, 63] = True
    for truth in (dot, ~NONE):
        for seed in range(20):
            box = simulation._box(np.random.default_rng(seed), truth)
            assert box.shape == truth.shape
    assert simulation._box(np.random.default_rng(0), dot).any()


@pytest.mark.usefixtures("true_clicks")
def test_clicks_are_added_to_those_before_until_nothing_is_wrong():
    counts = np.ones_like(TRUTH)
    rng = np.random.default_rng(0)
    before = [Click(26, 30)]
    after = clicked(rng, TRUTH, NONE, counts, before)
    assert after[:1] == before and len(after) == 2
    assert clicked(rng, TRUTH, TRUTH, counts, after) == after
    assert before == [Click(26, 30)]
    # Most are beside the middle, some in it.
    places = [clicked(rng, TRUTH, NONE, counts, [])[0] for _ in range(100)]
    middle = sum(click == Click(26, 30) for click in places)
    assert 25 < middle < 60


def test_the_guide_is_disks_and_the_mask():
    shown = guide(Start(OTHERS, [Click(10, 12), Click(40, 50, False)]))
    assert (shown.shape, shown.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert shown[12, 10].tolist() == [255, 0, 0]
    assert shown[50, 40].tolist() == [0, 255, 0]
    np.testing.assert_array_equal(shown[..., 2], 255 * OTHERS)


def test_some_clicks_are_off_by_a_little_and_none_is_outside():
    rng = np.random.default_rng(0)
    edge = NONE.copy()
    edge[:, :2] = True
    for truth in (TRUTH, edge):
        counts = np.ones_like(truth)
        found = [clicked(rng, truth, NONE, counts, [])[0] for _ in range(300)]
        assert all(click.positive for click in found)
        assert all(0 <= v < len(truth) and v == int(v) for click in found for v in (click.x, click.y))
        away = ndimage.distance_transform_edt(~truth)
        off = [away[click.y, click.x] for click in found]
        assert max(off) < 0.1 * len(truth)
    assert 0.01 < np.mean(np.array(off) > 0) < simulation.OFF_SHARE


def test_a_mask_to_correct_is_begun_with():
    mask = np.where(TRUTH, np.uint8(1), np.uint8(0))
    begun = start(np.random.default_rng(0), mask, OTHERS, OTHERS)
    np.testing.assert_array_equal(begun.mask, OTHERS)
    assert len(begun.clicks) == 1
    assert start(np.random.default_rng(0), mask, OTHERS, TRUTH).clicks == []  # nothing is wrong
