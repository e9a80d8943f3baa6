import numpy as np
import pytest
from resampling import assert_is_argmax, resized

from segdemo.core.resample import argmax_at, resize_bilinear

RNG = np.random.default_rng(0)


def smooth(height, width, classes):
    """Logits like a network's: a few coarse numbers a class, interpolated."""
    return resized(RNG.normal(size=(4, 5, classes)), height, width).astype(np.float32)


SIZES = [(9, 7), (64, 48), (37, 53), (5, 3), (1, 1), (1, 200), (200, 1), (3, 211)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [(9, 7), (1, 1), (1, 6), (8, 1), (16, 12)])
def test_argmax_at_is_the_argmax_of_the_resized_logits(grid, size):
    for logits in (RNG.normal(size=(*grid, 5)).astype(np.float32), smooth(*grid, 21)):
        label_map = argmax_at(logits, *size)
        assert label_map.dtype == np.uint8
        assert label_map.shape == size
        scores = resized(logits, *size)
        assert_is_argmax(label_map, scores)
        assert (label_map == scores.argmax(-1)).mean() > 0.999  # ties of rounding apart


def test_argmax_at_agrees_with_a_library_that_holds_the_resized_logits():
    tf_like = RNG.normal(size=(12, 16, 21)).astype(np.float32)
    import keras

    library = keras.ops.image.resize(tf_like[None], (100, 130), interpolation="bilinear")
    np.testing.assert_array_equal(
        argmax_at(tf_like, 100, 130), keras.ops.convert_to_numpy(library)[0].argmax(-1)
    )


def test_a_third_class_that_wins_only_between_two_grid_points_is_found():
    logits = np.float32([[[4, 0, 3]], [[0, 4, 3]]])  # halfway: 2, 2, 3
    np.testing.assert_array_equal(argmax_at(logits, 8, 1)[:, 0], [0, 0, 0, 2, 2, 1, 1, 1])


@pytest.mark.parametrize("size", [(7, 5), (16, 12), (40, 3), (1, 1)])
def test_resize_bilinear_is_that_of_the_definition(size):
    grid = RNG.normal(size=(9, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(resize_bilinear(grid, *size), resized(grid, *size), atol=1e-5)
