import numpy as np
import pytest

from segdemo.core.labels import VOID
from segdemo.inference.review import Reviewed, disagreements, duplicates
from segdemo.inference.teach import TeachError

STEPS = np.full(3, 1 / 40)
COLOURS = np.array([(60, 60, 60), (200, 80, 60), (60, 90, 200)])


def photo(seed, subset=""):
    """A photo of ground with a red and a blue square, and its mask, two pixels to a cell."""
    rng = np.random.default_rng(seed)
    classes = np.zeros((24, 32), np.uint8)
    for class_id, left in ((1, 0), (2, 16)):
        y, x = rng.integers(1, 14), left + rng.integers(1, 7)
        classes[y : y + 8, x : x + 8] = class_id
    features = (COLOURS[classes] + rng.integers(-15, 15, (24, 32, 3))).astype(np.uint8)
    return Reviewed(f"photo{seed:02}", features, classes.repeat(2, 0).repeat(2, 1), subset)


def changed(one, old, new):
    label_map = np.where(one.label_map == old, new, one.label_map).astype(np.uint8)
    return Reviewed(one.key, one.features, label_map, one.subset)


def test_wrong_masks_come_first():
    photos = [photo(seed) for seed in range(10)]
    photos[3] = changed(photos[3], 1, 2)
    photos[7] = changed(photos[7], 2, 0)
    regions = disagreements(photos, STEPS)
    first = {(r.key, r.saved, r.suggested) for r in regions[:2]}
    assert first == {("photo03", 2, 1), ("photo07", 0, 2)}
    assert [r.score for r in regions] == sorted((r.score for r in regions), reverse=True)
    left, top, right, bottom = next(r.box for r in regions if r.key == "photo03")
    wrong = photo(3).label_map == 1
    assert wrong[top:bottom, left:right].mean() > 0.9
    assert (right - left) * (bottom - top) > 0.8 * wrong.sum()


def test_right_masks_are_left_alone():
    assert disagreements([photo(seed) for seed in range(8)], STEPS) == []


def test_no_photo_is_judged_by_what_learned_its_mask():
    """A class that one mask alone has cannot be known to who judges it: it is not called wrong, nor suggested."""
    photos = [photo(seed) for seed in range(6)]
    photos[2] = changed(photos[2], 1, 9)
    regions = disagreements(photos, STEPS)
    assert all(9 not in (r.saved, r.suggested) for r in regions)


def test_void_is_not_judged():
    photos = [photo(seed) for seed in range(6)]
    photos[2] = changed(photos[2], 1, VOID)
    assert disagreements(photos, STEPS) == []


def test_masks_that_cannot_judge_each_other_are_refused():
    with pytest.raises(TeachError, match="at least two photos"):
        disagreements([photo(0)], STEPS)
    empty = [changed(changed(photo(seed), 1, 0), 2, 0) for seed in range(3)]
    with pytest.raises(TeachError, match="second class"):
        disagreements(empty, STEPS)


def test_near_duplicates_are_found_and_those_across_subsets_come_first():
    photos = [photo(seed, "train") for seed in (0, 1, 2, 5, 4, 6)]
    again = photos[4].features.astype(int) + np.random.default_rng(9).integers(-3, 4, (24, 32, 3))
    photos.append(Reviewed("copy4", again.clip(0, 255).astype(np.uint8), photos[4].label_map, "test"))
    photos.append(Reviewed("copy1", photos[1].features, photos[1].label_map, "train"))
    found = duplicates(photos, STEPS)
    assert [(d.first, d.second, d.across) for d in found] == [
        ("photo04", "copy4", True),
        ("photo01", "copy1", False),
    ]
    assert duplicates(photos[:2], STEPS) == []
