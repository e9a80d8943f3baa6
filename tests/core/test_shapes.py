"""Run lengths and polygons, against cases worked out by hand and against pycocotools."""

import math

import numpy as np
import pytest
from label_maps import rasterise
from pycocotools import mask as coco
from scipy import ndimage

from segdemo.core import label_maps
from segdemo.core.label_maps import MaskError
from segdemo.core.shapes import fill, keyhole, polygons, rle_decode, rle_encode

# ------------------------------------------------------------------------------------------- run lengths


def test_run_lengths_by_hand():
    mask = np.array([[0, 1], [1, 1], [0, 0]], bool)  # by column: 0 1 0 1 1 0
    assert rle_encode(mask, compress=False) == {"size": [3, 2], "counts": [1, 1, 1, 2, 1]}
    # Differences to two before from the fourth on: 1 1 1 1 0, each plus 48.
    assert rle_encode(mask) == {"size": [3, 2], "counts": "11110"}
    assert rle_encode(~mask, compress=False)["counts"] == [0, 1, 1, 1, 2, 1]
    assert rle_encode(np.ones((2, 2), bool), compress=False)["counts"] == [0, 4]
    assert rle_encode(np.zeros((2, 2), bool), compress=False)["counts"] == [4]


def mask_cases():
    rng = np.random.default_rng(5)
    for _ in range(60):
        height, width = rng.integers(1, 30, 2)
        yield rng.random((height, width)) < rng.random()
    yield np.zeros((400, 300), bool)
    yield np.ones((400, 300), bool)
    yield ndimage.gaussian_filter(rng.random((300, 400)), 6) > 0.5
    long = np.zeros((3000, 40), bool)  # counts of many digits, rising and falling
    long[5:2990, 3] = long[10:11, 30] = True
    yield long


def test_run_lengths_match_pycocotools():
    for mask in mask_cases():
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        ours = rle_encode(mask)
        assert ours == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
        for code in (ours, theirs, rle_encode(mask, compress=False)):
            result = rle_decode(code)
            assert result.dtype == bool and np.array_equal(result, mask)


@pytest.mark.parametrize(
    "code",
    [
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": [4]},
        {"size": [0, 2], "counts": []},
        {"size": [-2, -2], "counts": [4]},
        {"size": [2, 2], "counts": [3]},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [6, -2]},
        {"size": [2, 2], "counts": [2**63, 2**63]},
        {"size": [2, 2], "counts": ["a"]},
        {"size": [2, 2], "counts": {"a": 1}},
        {"size": [2, 2], "counts": ""},
        {"size": [2, 2], "counts": "P"},
        {"size": [2, 2], "counts": "\x01"},
        {"size": [2, 2], "counts": "é"},
        {"size": [2, 2], "counts": "o" * 30},
        None,
    ],
)
def test_broken_run_lengths_are_refused(code):
    with pytest.raises(MaskError, match=r"A run-length code does not describe a mask.*\.$"):
        rle_decode(code)


@pytest.mark.parametrize(
    ("counts", "words"),
    [("\x01", "alphabet"), ("p", "alphabet"), ("P", "middle"), ("o" * 9 + "0", "too long")],
)
def test_broken_run_length_strings_say_what_is_wrong(counts, words):
    with pytest.raises(MaskError, match=words):
        rle_decode({"size": [2, 2], "counts": counts})


# ---------------------------------------------------------------------------------------------- polygons


def area(ring):
    """Shoelace area; positive clockwise on screen."""
    x, y = ring.T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


def test_polygons_by_hand():
    assert polygons(np.zeros((3, 3), bool)) == []
    [[square]] = polygons(np.pad(np.ones((2, 3), bool), 1))
    assert square.tolist() == [[1, 1], [4, 1], [4, 3], [1, 3]]
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    [[outside, hole]] = polygons(ring)
    assert outside.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3]]
    assert area(outside) == 9 and area(hole) == -1
    assert sorted(hole.tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_pixels_that_touch_at_a_corner_are_two_regions():
    for mask in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        regions = polygons(mask)
        assert [len(r) for r in regions] == [1, 1] and [area(r[0]) for r in regions] == [1, 1]


def test_polygons_cover_exactly_the_mask():
    for mask in mask_cases():
        regions = polygons(mask)
        height, width = mask.shape
        assert len(regions) == ndimage.label(mask)[1]
        rings = [ring for region in regions for ring in region]
        assert np.array_equal(rasterise(rings, height, width), mask)
        assert sum(area(ring) for ring in rings) == mask.sum()
        for region in regions:
            assert area(region[0]) > 0 and all(area(hole) < 0 for hole in region[1:])
            for ring in region:  # runs along pixel edges, turning at every corner
                steps = np.roll(ring, -1, 0) - ring
                assert ((steps == 0).sum(1) == 1).all() and (steps[1:, 0] * steps[:-1, 0] == 0).all()


def test_keyhole_rings_cover_exactly_the_region():
    for mask in mask_cases():
        result = np.zeros_like(mask)
        for region in polygons(mask):
            alone = rasterise([keyhole(region)], *mask.shape)
            assert np.array_equal(alone, rasterise(region, *mask.shape))
            assert area(keyhole(region)) == alone.sum()
            result |= alone
        assert np.array_equal(result, mask)


def test_keyhole_by_hand():
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    [region] = polygons(ring)
    # Along the bridge from (0, 1) to the hole's corner (1, 1), around the hole, and back.
    assert keyhole(region).tolist() == [
        [0, 0], [3, 0], [3, 3], [0, 3], [0, 1], [1, 1], [1, 2], [2, 2], [2, 1], [1, 1], [0, 1],
    ]  # fmt: skip


def test_pycocotools_reads_keyhole_polygons_within_a_pixel():
    rng = np.random.default_rng(6)
    mask = ndimage.gaussian_filter(rng.random((120, 150)), 4) > 0.495
    regions = polygons(mask)
    assert any(len(region) > 1 for region in regions)
    rings = [keyhole(region).ravel().tolist() for region in regions]
    theirs = coco.decode(coco.merge(coco.frPyObjects(rings, *mask.shape))).astype(bool)
    near = label_maps.boundaries(mask)
    assert not ((theirs != mask) & ~near).any()


def test_rasterise_by_hand():
    # Corners (0, 0), (4, 0), (0, 4): centres inside; those on the edge x + y = 4 are out.
    triangle = rasterise([[(0, 0), (4, 0), (0, 4)]], 4, 5).astype(int)
    assert triangle.tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    # Half a pixel wide, but over the centre: in; beside it: out.
    assert rasterise([[(0.4, 0), (0.9, 0), (0.9, 1), (0.4, 1)]], 1, 2).tolist() == [[True, False]]
    assert rasterise([[(0.6, 0), (1.1, 0), (1.1, 1), (0.6, 1)]], 1, 2).tolist() == [[False, False]]
    assert rasterise([], 2, 3).shape == (2, 3)


def test_rasterise_cuts_off_what_lies_outside_and_closes_rings():
    square = [(-5, -5), (2, -5), (2, 2), (-5, 2)]
    expected = np.zeros((4, 4), bool)
    expected[:2, :2] = True
    assert np.array_equal(rasterise([square], 4, 4), expected)
    assert np.array_equal(rasterise([[*square, square[0]]], 4, 4), expected)
    assert not rasterise([[(9, 9), (12, 9), (12, 12)]], 4, 4).any()
    assert rasterise([[(-9, -9), (99, -9), (99, 99), (-9, 99)]], 4, 4).all()


def test_rasterise_uses_the_even_odd_rule():
    outer, inner = [(0, 0), (5, 0), (5, 5), (0, 5)], [(1, 1), (4, 1), (4, 4), (1, 4)]
    result = rasterise([outer, inner], 5, 5)
    assert result.sum() == 25 - 9 and not result[2, 2]
    assert np.array_equal(result, rasterise([outer, inner[::-1]], 5, 5))


def test_fill_gives_the_window():
    rows, columns, inside = fill([[(2, 1), (5, 1), (5, 3), (2, 3)]], 50, 60)
    assert (rows, columns) == (slice(1, 3), slice(2, 5)) and inside.shape == (2, 3) and inside.all()


def test_bad_polygons_are_refused():
    for value in (math.nan, math.inf):
        with pytest.raises(MaskError, match="not a number"):
            rasterise([[(0, 0), (value, 0), (1, 1)]], 4, 4)
    zigzag = np.stack([np.arange(60_000) % 7, np.arange(60_000) % 2 * 200], 1)
    with pytest.raises(MaskError, match="too often"):
        rasterise([zigzag], 200, 200)
