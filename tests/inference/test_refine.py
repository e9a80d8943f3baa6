import tracemalloc

import numpy as np
import pytest
from PIL import Image
from skimage import data
from skimage.filters import gaussian

from segdemo.core.resample import argmax_at, lerp, resize_bilinear
from segdemo.inference.refine import argmax_of, box_mean, coefficients, grid_size, refine

RNG = np.random.default_rng(0)


def likely(*shape):
    """Probabilities float32 (*shape)."""
    values = RNG.gamma(0.3, size=shape) + 1e-6
    return (values / values.sum(-1, keepdims=True)).astype(np.float32)


def windows(size, radius):
    """Of each position on an axis, the slice of its window."""
    return [slice(max(0, i - radius), i + radius + 1) for i in range(size)]


@pytest.mark.parametrize("radius", [1, 2, 9])
def test_box_mean_is_the_mean_of_every_window(radius):
    values = RNG.normal(size=(5, 7, 2)).astype(np.float32)
    expected = [[values[y, x].mean((0, 1)) for x in windows(7, radius)] for y in windows(5, radius)]
    np.testing.assert_allclose(box_mean(values, radius), expected, atol=1e-6)


@pytest.mark.parametrize("radius", [1, 3])
def test_coefficients_are_a_ridge_regression_in_every_window(radius):
    epsilon, size = 1e-2, (6, 8)
    probabilities, guide = likely(*size, 3), RNG.random((*size, 3), np.float32)
    solved = np.zeros((*size, 3, 4))
    for y, rows in enumerate(windows(size[0], radius)):
        for x, columns in enumerate(windows(size[1], radius)):
            colours = guide[rows, columns].reshape(-1, 3).astype(np.float64)
            wanted = probabilities[rows, columns].reshape(-1, 3).astype(np.float64)
            # He et al., equation 5: the offset is not penalised.
            a = np.concatenate([colours, np.ones((len(colours), 1))], 1)
            penalty = np.diag([epsilon * len(colours)] * 3 + [0])
            solved[y, x] = np.linalg.solve(a.T @ a + penalty, a.T @ wanted).T
    expected = [
        [solved[rows, columns].mean((0, 1)) for columns in windows(size[1], radius)]
        for rows in windows(size[0], radius)
    ]
    found = coefficients(probabilities, guide, radius, epsilon)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_probabilities_still_sum_to_one():
    guide = RNG.random((9, 12, 3), np.float32)
    functions = coefficients(likely(9, 12, 5), guide, 2, 1e-3)
    values = (functions[..., :3] @ guide[..., None])[..., 0] + functions[..., 3]
    np.testing.assert_allclose(values.sum(-1), 1, atol=1e-4)


@pytest.mark.parametrize("size", [(40, 52), (9, 7), (5, 3), (1, 1), (1, 90), (90, 1)])
@pytest.mark.parametrize("grid", [(10, 13), (1, 1), (1, 6), (8, 1)])
def test_argmax_of_is_that_of_functions_at_every_pixel(grid, size):
    functions = RNG.normal(size=(*grid, 4, 4)).astype(np.float32)
    functions[: grid[0] // 2, ..., :3] *= 0.02  # so that some cells are sure of their winner
    image = RNG.integers(0, 256, (*size, 3), np.uint8)
    resized = resize_bilinear(functions.reshape(*grid, 16), *size).reshape(*size, 4, 4).astype(np.float64)
    values = (resized[..., :3] @ (image[..., None] / 255))[..., 0] + resized[..., 3]
    label_map = argmax_of(functions[:, :, 1:] - functions[:, :, :1], image, np.arange(4, dtype=np.uint8))
    assert label_map.dtype == np.uint8
    chosen = np.take_along_axis(values, label_map[..., None].astype(int), -1)[..., 0]
    assert np.all(chosen >= values.max(-1) - 1e-5)


def everywhere(leads, image):
    """What ``argmax_of`` promises, evaluated at every pixel."""
    (above, below, down), (left, right, across) = map(lerp, leads.shape[:2], image.shape[:2])
    ends = leads[:, left] * (1 - across)[:, None, None] + leads[:, right] * across[:, None, None]
    values = ends[above] + (ends[below] - ends[above]) * down[:, None, None, None]
    values[..., :3] *= (image / np.float32(255))[:, :, None]
    total = ((values[..., 0] + values[..., 1]) + values[..., 2]) + values[..., 3]
    return np.concatenate([np.zeros_like(total[..., :1]), total], -1).argmax(-1)


@pytest.mark.parametrize(("classes", "zoom"), [(2, 1), (5, 1), (5, 3), (3, 0.2)])
def test_no_pixel_is_left_out_that_its_colour_decides(classes, zoom):
    photo = Image.fromarray(data.chelsea())
    image = np.asarray(photo.resize((round(zoom * photo.width), round(zoom * photo.height))))
    guide = np.asarray(photo.resize((96, 64)), np.float32) / 255
    blobs = gaussian(RNG.normal(size=(64, 96, classes)), (6, 6, 0)) * 60
    probabilities = np.exp(blobs) / np.exp(blobs).sum(-1, keepdims=True)
    leads = (probabilities[..., 1:] - probabilities[..., :1]).astype(np.float32)
    functions = coefficients(leads, guide, 2, 1e-3)
    label_map = argmax_of(functions, image, np.arange(classes, dtype=np.uint8))
    assert len(np.unique(label_map)) == classes
    np.testing.assert_array_equal(label_map, everywhere(functions, image))


def coarse_disc(height, width, cell):
    """A photo of a bright disc on noise, which pixels are the disc, and probabilities of it on a coarse grid."""
    y, x = np.mgrid[:height, :width]
    disc = (y - 0.45 * height) ** 2 + (x - 0.55 * width) ** 2 < (0.3 * height) ** 2
    image = np.where(disc[..., None], (200, 120, 60), (70, 90, 120)) + RNG.normal(0, 8, (height, width, 3))
    blurred = gaussian(disc.astype(float), cell / 2)[cell // 2 :: cell, cell // 2 :: cell]
    return image.clip(0, 255).astype(np.uint8), disc, np.stack([1 - blurred, blurred], -1).astype(np.float32)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_the_outline_is_drawn_where_the_photo_has_it():
    image, disc, probabilities = coarse_disc(192, 256, 32)
    coarse = argmax_at(probabilities, *disc.shape) == 1
    refined = refine(probabilities, image, disc.shape, radius=16, epsilon=1e-3) == 1
    assert iou(coarse, disc) < 0.93
    assert iou(refined, disc) > 0.98


def test_a_photo_without_outlines_keeps_the_coarse_ones():
    _, disc, probabilities = coarse_disc(192, 256, 32)
    grey = np.full((192, 256, 3), 128, np.uint8)
    refined = refine(probabilities, grey, disc.shape, radius=8, epsilon=1e-3) == 1
    assert iou(refined, argmax_at(probabilities, *disc.shape) == 1) > 0.97


def test_classes_keep_their_ids_and_unlikely_ones_are_left_out():
    image, disc, two = coarse_disc(96, 128, 16)
    probabilities = np.zeros((*two.shape[:2], 21), np.float32)
    probabilities[..., [3, 17]] = two * 0.96
    probabilities[..., 9] = 0.04
    refined = refine(probabilities, image, disc.shape, radius=16, epsilon=1e-3)
    assert set(np.unique(refined)) == {3, 17}
    assert iou(refined == 17, disc) > 0.95


def test_a_class_alone_fills_the_photo():
    probabilities = np.zeros((4, 4, 21), np.float32)
    probabilities[..., 5] = 1
    label_map = refine(probabilities, data.coffee(), (64, 96), radius=16, epsilon=1e-4)
    assert label_map.dtype == np.uint8
    assert label_map.shape == data.coffee().shape[:2]
    assert (label_map == 5).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (33, 31)])
def test_any_photo_gets_a_label_map_of_its_size(size):
    image = RNG.integers(0, 256, (*size, 3), np.uint8)
    label_map = refine(likely(2, 3, 4), image, (32, 48), radius=16, epsilon=1e-4)
    assert label_map.shape == size
    assert label_map.max() < 4


def test_the_grid_is_at_least_one_cell():
    assert grid_size(384, 512) == (96, 128)
    assert grid_size(2, 512) == (1, 128)


def test_a_large_photo_takes_little_memory():
    small, disc, probabilities = coarse_disc(96, 128, 16)
    image = small.repeat(30, 0).repeat(30, 1)  # 2880 x 3840
    tracemalloc.start()
    label_map = refine(probabilities, image, disc.shape, radius=16, epsilon=1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert iou(label_map == 1, disc.repeat(30, 0).repeat(30, 1)) > 0.95
    assert peak < label_map.size * 4  # a single float map of the photo's size would take as much
