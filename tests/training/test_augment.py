from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from skimage import color, data

from segdemo.core.labels import VOID
from segdemo.training import augment as aug

CAT = data.chelsea()[::3, ::3]  # (100, 151, 3)


def coordinates(height, width):
    """A photo and a mask that say where each pixel is from: red is x, green is y, the mask is the sum."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.float32)
    return image, (x + y).astype(np.uint8)


def ids(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 21, (height, width), np.uint8)


def seed(number):
    return tf.constant([number, 2 * number + 1], tf.int32)


def is_paired(image, mask):
    """Whether each pixel of ``coordinates`` still has its own mask value, or is padding in both."""
    image, mask = np.asarray(image), np.asarray(mask)
    inside = mask != VOID
    together = (np.abs(image[..., 0] + image[..., 1] - mask) < 1e-3) == inside
    return together.all()


# --- crops -----------------------------------------------------------------------------------------------


def test_random_crop_takes_the_same_window_of_image_and_mask():
    image, mask = coordinates(40, 50)
    corners = set()
    for number in range(40):
        crop, cut = aug.random_crop(image, mask, (24, 32), seed(number))
        assert crop.shape == (24, 32, 3)
        assert cut.shape == (24, 32)
        assert is_paired(crop, cut)
        corners.add(tuple(crop[0, 0, :2].numpy().astype(int)))
    assert len(corners) > 30


@pytest.mark.parametrize("number", range(2))
def test_mistake_crop_offsets_off_by_one(number):
    image, mask = coordinates(9, 9)
    crops = [aug.random_crop(image, mask, (8, 8), seed(100 * number + i))[0][0, 0, :2] for i in range(40)]
    assert {tuple(corner.numpy()) for corner in crops} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_mistake_crop_fails_when_it_is_the_image():
    image, mask = coordinates(16, 20)
    crop, cut = aug.random_crop(image, mask, (16, 20), seed(1))
    np.testing.assert_array_equal(crop, image)
    np.testing.assert_array_equal(cut, mask)


# --- resizing --------------------------------------------------------------------------------------------


def test_mistake_masks_resized_bilinearly_or_to_width_height():
    mask = np.where(np.arange(40)[None] < 20, 3, 17).astype(np.uint8).repeat(30, axis=0)
    image, resized = aug.resize(np.repeat(mask[..., None], 3, axis=-1).astype(np.float32), mask, (45, 77))
    assert image.shape == (45, 77, 3)  # height first
    assert resized.shape == (45, 77)
    assert resized.dtype == tf.uint8
    assert set(np.unique(resized)) == {3, 17}  # no id that was not there
    assert len(np.unique(image)) > 2  # while the image is interpolated


def test_nearest_resize_is_centred_as_tensorflows():
    for size in ((100, 151), (384, 384), (37, 300)):
        mask = ids(100, 151)
        expected = tf.image.resize(mask[..., None], size, "nearest")[..., 0]
        np.testing.assert_array_equal(aug.resize_mask(mask, size), expected)
    mask = np.arange(8, dtype=np.uint8)[None].repeat(8, axis=0)
    np.testing.assert_array_equal(aug.resize_mask(mask, (4, 4))[0], [1, 3, 5, 7])
    np.testing.assert_array_equal(aug.resize_mask(mask[:, :2], (2, 4))[0], [0, 0, 1, 1])


# --- the one-pass warp -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(100, 151), (61, 80), (222, 170)])
def test_warp_of_the_whole_photo_is_a_resize(size):
    mask = ids(100, 151)
    image, warped = aug.warp(CAT, mask, size, (0, 0), (100 / size[0], 151 / size[1]))
    expected, nearest = aug.resize(CAT.astype(np.float32), mask, size)
    np.testing.assert_allclose(image, expected, atol=0.05)
    assert (warped.numpy() == nearest.numpy()).mean() > 0.999  # a tie between two ids may go either way


def test_warp_by_whole_pixels_is_exact_and_paired():
    image, mask = coordinates(20, 30)
    crop, cut = aug.warp(image, mask, (8, 8), (5, 7), (1, 1))
    np.testing.assert_allclose(crop, image[5:13, 7:15], atol=1e-3)
    np.testing.assert_array_equal(cut, mask[5:13, 7:15])
    crop, cut = aug.warp(image, mask, (8, 8), (5, 7), (1, 1), mirrored=True)
    np.testing.assert_allclose(crop, image[5:13, 14:6:-1], atol=1e-3)
    np.testing.assert_array_equal(cut, mask[5:13, 14:6:-1])


def as_it_is(image, step):
    """Stands for ``augment._averaged``."""
    return image, tf.ones(2)


def noise(side, seed=0):
    """A grey photo (side, 3/4 side, 3) with noise of standard deviation 20, and its mask."""
    values = np.random.default_rng(seed).normal(128, 20, (side, side * 3 // 4, 3))
    return np.clip(values, 0, 255).astype(np.uint8), ids(side, side * 3 // 4)


@pytest.mark.parametrize("side", [384, 500, 640, 1279])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_ordinary_photos_are_resampled_as_they_are(monkeypatch, side, kind):
    image, mask = noise(side)
    image = image.astype(kind)
    warp = partial(aug.random_warp, image, mask, (64, 64), (0.5, 2.0), 1.15, 96.0, seed(side))
    resized, warped = aug.resize(image, mask, (64, 64)), warp()
    plain = tf.image.resize(image.astype(np.float32), (64, 64), "bilinear")
    np.testing.assert_array_equal(resized[0], plain)
    monkeypatch.setattr(aug, "_averaged", as_it_is)
    for got, expected in zip(warped, warp(), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_noise_of_a_very_large_photo_is_averaged(monkeypatch, kind):
    image, mask = noise(2600)
    image = image.astype(kind)

    def both():
        window = {"start": (0, 0), "step": (2600 / 64, 1950 / 64)}
        return aug.resize(image, mask, (64, 64)), aug.warp(image, mask, (64, 64), **window)

    averaged = both()
    monkeypatch.setattr(aug, "_averaged", as_it_is)
    for (mean, where), (plain, as_before) in zip(averaged, both(), strict=True):
        assert np.std(plain) > 12
        assert np.std(mean) < 20 / 3  # four pixels by four make one, and their neighbours count
        assert np.mean(mean) == pytest.approx(image.mean(), abs=0.2)
        np.testing.assert_array_equal(where, as_before)


def test_a_very_large_photo_that_is_averaged_stays_where_it_is(monkeypatch):
    y, x = np.mgrid[:1601, :1283]
    image, mask = np.stack([x, y, x + y], -1).astype(np.float32), np.zeros((1601, 1283), np.uint8)
    for number in range(20):
        warp = partial(aug.random_warp, image, mask, (48, 64), (0.8, 2.0), 1.15, 96.0, seed(number))
        with monkeypatch.context() as patch:
            patch.setattr(aug, "_averaged", as_it_is)
            (plain, inside), whole = warp(), aug.resize(image, mask, (48, 64))
        (got, where), resized = warp(), aug.resize(image, mask, (48, 64))
        np.testing.assert_array_equal(where, inside)
        middle = ndimage.binary_erosion(np.asarray(where) != VOID, iterations=2)
        assert middle.any()
        np.testing.assert_allclose(got.numpy()[middle], plain.numpy()[middle], atol=0.3)
        np.testing.assert_array_equal((got == aug.IMAGENET_MEAN), (plain == aug.IMAGENET_MEAN))
        np.testing.assert_allclose(resized[0], whole[0], atol=2)


def test_a_very_large_photo_of_which_a_small_part_is_used_keeps_its_detail():
    image, mask = noise(2600)
    crop, _ = aug.warp(image, mask, (64, 64), (500, 500), (1.0, 1.0))
    np.testing.assert_allclose(crop, image[500:564, 500:564], atol=1e-2)


def test_warp_outside_the_photo_is_void_and_fill():
    image, mask = coordinates(20, 30)
    crop, cut = aug.warp(image, mask, (26, 36), (-3, -3), (1, 1))
    assert is_paired(crop[4:-4, 4:-4], cut[4:-4, 4:-4])
    np.testing.assert_array_equal(cut[3:-3, 3:-3], mask)
    assert (cut.numpy() == VOID).sum() == 26 * 36 - 20 * 30
    np.testing.assert_allclose(crop[0, 0], aug.IMAGENET_MEAN, rtol=1e-6)
    np.testing.assert_allclose(crop[3:-3, 3:-3], image, atol=1e-3)


def test_warp_equals_tensorflows_projective_transform():
    start, step, size = (13.3, 20.7), (0.63, 0.71), (60, 70)
    mask = ids(100, 151)
    image, warped = aug.warp(CAT, mask, size, start, step)
    # its transform maps pixel indices, ours pixel corners
    shift = [s + d / 2 - 0.5 for s, d in zip(start, step, strict=True)]
    transform = [[step[1], 0, shift[1], 0, step[0], shift[0], 0, 0]]

    def reference(pixels, interpolation, fill):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels[None],
            transforms=transform,
            output_shape=size,
            interpolation=interpolation,
            fill_mode="CONSTANT",
            fill_value=fill,
        )[0]

    np.testing.assert_allclose(image, reference(CAT.astype(np.float32), "BILINEAR", 0.0), atol=0.05)
    nearest = reference(mask[..., None], "NEAREST", float(VOID))[..., 0]
    assert (warped.numpy() == nearest.numpy()).mean() > 0.999


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (200, 3)])
def test_warp_of_very_small_photos(shape):
    photo, ids_ = np.full((*shape, 3), 9, np.uint8), np.full(shape, 4, np.uint8)
    image, mask = aug.random_warp(photo, ids_, (16, 16), (0.5, 2.0), 1.0, max(shape), seed(1))
    assert np.isfinite(image).all()
    assert set(np.unique(mask)) <= {4, VOID}


def test_scale_jitter_pads_with_mean_and_void_and_keeps_pairs():
    image, mask = coordinates(60, 90)
    scales, flips, padded = [], 0, 0
    for number in range(60):
        crop, cut = aug.random_warp(image, mask, (64, 64), (0.5, 2.0), 1.0, 90, seed(number))
        crop, cut = crop.numpy(), cut.numpy()
        assert set(np.unique(cut)) <= {*range(150), VOID}
        rows, columns = np.nonzero(cut != VOID)
        inner = (slice(rows.min() + 2, rows.max() - 1), slice(columns.min() + 2, columns.max() - 1))
        # Half a pixel each way
        assert np.abs(crop[inner][..., 0] + crop[inner][..., 1] - cut[inner]).max() <= 1.01
        dx = np.diff(crop[inner][..., 0], axis=1).mean()
        flips += dx < 0
        scales.append(1 / abs(dx))
        if len(rows) < cut.size:
            padded += 1
            far = ~ndimage.binary_dilation(cut != VOID, iterations=4)  # the very edge is blended
            np.testing.assert_allclose(
                crop[far], np.broadcast_to(aug.IMAGENET_MEAN, (far.sum(), 3)), rtol=1e-5
            )
    assert 0.49 < min(scales) < 0.65
    assert 1.6 < max(scales) < 2.01
    assert np.median(scales) == pytest.approx(1, abs=0.25)  # half as likely as twice
    assert 18 <= flips <= 42
    assert padded > 10


def test_warp_reference_makes_resolution_irrelevant():
    small, large = (
        aug.random_warp(*coordinates(n, n), (32, 32), (0.5, 2.0), 1.0, 64, seed(5)) for n in (60, 120)
    )
    np.testing.assert_allclose(small[0][..., :2] * 2 + 0.5, large[0][..., :2], atol=1.01)


# --- flips and colours -----------------------------------------------------------------------------------


def test_mistake_flip_option_ignored():
    image, mask = coordinates(12, 20)
    flipped = 0
    for number in range(60):
        out, ids_ = aug.random_flip(image, mask, seed(number))
        assert is_paired(out, ids_)
        flipped += int(ids_[0, 0] != mask[0, 0])
    assert 15 < flipped < 45


def test_colour_changes_stay_within_their_limits_and_leave_the_mask():
    mask = ids(100, 151)
    hues, shifts = [], []
    for number in range(25):
        image, same = aug.random_color(CAT, mask, seed=seed(number))
        assert same is mask
        image = image.numpy()
        assert image.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 255
        shifts.append(aug.random_color(CAT, mask, hue=0.0, seed=seed(number))[0].numpy().mean() - CAT.mean())
        only_hue = aug.random_color(CAT, mask, brightness=0.0, contrast=(0.999999, 1.0), seed=seed(number))[0]
        turn = color.rgb2hsv(only_hue / 255)[..., 0] - color.rgb2hsv(CAT)[..., 0]
        colourful = color.rgb2hsv(CAT)[..., 1] > 0.3
        hues.append(np.median((turn[colourful] + 0.5) % 1 - 0.5))
    assert -0.101 <= min(hues) < -0.06 < 0.06 < max(hues) <= 0.101
    assert -27 <= min(shifts) < -15 < 15 < max(shifts) <= 27


def test_colour_changes_equal_those_of_tensorflow():
    for number in range(5):
        seeds = tf.random.split(seed(number), 3)
        turn = tf.random.stateless_uniform([], seeds[0], -0.1, 0.1)
        shift = tf.random.stateless_uniform([], seeds[1], -0.1, 0.1) * 255
        gain = tf.random.stateless_uniform([], seeds[2], 0.8, 1.2)
        expected = tf.image.adjust_hue(CAT.astype(np.float32), turn) + shift
        expected = tf.clip_by_value(tf.image.adjust_contrast(expected, gain), 0, 255)
        image, _ = aug.random_color(CAT, None, seed=seed(number))
        np.testing.assert_allclose(image, expected, atol=0.01)


def test_contrast_is_between_its_factors_around_the_mean():
    soft = CAT * 0.5 + 60.0  # away from 0 and 255, so that nothing is clipped
    spread = []
    for number in range(25):
        image = aug.random_color(soft, None, hue=0.0, brightness=0.0, seed=seed(number))[0].numpy()
        np.testing.assert_allclose(image.mean(axis=(0, 1)), soft.mean(axis=(0, 1)), atol=0.1)
        spread.append(image[..., 0].std() / soft[..., 0].std())
    assert 0.79 < min(spread) < 0.9 < 1.1 < max(spread) < 1.21


def test_colour_matrix_without_change_is_the_identity():
    same = {"hue": 1e-9, "brightness": 1e-9, "saturation": (1.0, 1.0000001), "contrast": (1.0, 1.0000001)}
    image, _ = aug.random_color_matrix(CAT, None, **same, seed=seed(1))
    np.testing.assert_allclose(image, CAT, atol=0.02)


def test_colour_matrix_keeps_luma_and_turns_hue():
    image, _ = aug.random_color_matrix(
        CAT,
        None,
        hue=0.1,
        brightness=1e-9,
        saturation=(1.0, 1.000001),
        contrast=(1.0, 1.000001),
        seed=seed(2),
    )
    image = image.numpy()
    luma = np.array([0.299, 0.587, 0.114])
    unclipped = ((image > 0) & (image < 255)).all(axis=-1)
    np.testing.assert_allclose((image @ luma)[unclipped], (CAT @ luma)[unclipped], atol=0.1)
    assert np.abs(image - CAT).mean() > 3
    grey = np.full((4, 4, 3), 128, np.uint8)
    np.testing.assert_allclose(
        aug.random_color_matrix(grey, None, seed(2), 0.1, brightness=1e-9)[0], grey, atol=0.2
    )


def test_operations_with_the_same_seed_agree():
    mask = ids(100, 151)
    chain = aug.compose(
        lambda i, m, seed: aug.random_warp(i, m, (48, 48), (0.5, 2.0), 1.1, 151, seed),
        aug.random_flip,
        aug.random_color_matrix,
    )
    first, again, other = chain(CAT, mask, seed(1)), chain(CAT, mask, seed(1)), chain(CAT, mask, seed(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_compose_gives_each_operation_its_own_seed():
    seen = []

    def spy(image, mask, seed):
        seen.append(tuple(seed.numpy()))
        return image, mask

    aug.compose(spy, spy)(CAT, ids(100, 151), seed(1))
    assert len(set(seen)) == 2


def test_copy_paste_moves_objects_with_their_pixels_and_nothing_else():
    images = np.stack([np.full((6, 6, 3), 50 * i, np.float32) for i in range(3)])
    masks = np.zeros((3, 6, 6), np.uint8)
    masks[0, :2, :2], masks[1, 3:, 3:], masks[2, :, 5] = 7, 9, VOID
    out, ids_ = aug.copy_paste(images, masks, chance=1.1, seed=seed(1))
    out, ids_ = out.numpy(), ids_.numpy()
    # each photo has its own value, so the pixels tell where they are from
    assert (ids_[1, :2, :2] == 7).all()
    assert (out[1, :2, :2] == 0).all()
    assert (ids_[1, 3:, 3:] == 9).all()
    assert (ids_[2, 3:, 3:] == 9).all()  # pasted over void as well
    assert (out[2, 3:, 3:] == 50).all()
    np.testing.assert_array_equal(ids_[0], masks[0])  # its donor has background and void only
    np.testing.assert_array_equal(out[0], images[0])
    nothing = aug.copy_paste(images, masks, chance=0.0, seed=seed(1))
    np.testing.assert_array_equal(nothing[1], masks)


def numbered(count, height=40, width=60):
    """Photos whose pixels all say which photo they are from, and masks that say the same."""
    images = np.stack([np.full((height, width, 3), 10 * i, np.float32) for i in range(count)])
    return images, np.stack([np.full((height, width), i, np.uint8) for i in range(count)])


def test_cutmix_moves_one_box_with_its_pixels():
    images, masks = numbered(16)
    out, ids_ = (a.numpy() for a in aug.cutmix(images, masks, chance=1.1, seed=seed(3)))
    np.testing.assert_array_equal(out[..., 0], 10 * ids_)  # photo and mask went together
    heights, widths, corners = [], [], set()
    for n in range(16):
        moved = ids_[n] != n
        assert set(np.unique(ids_[n])) == {n, (n - 1) % 16}
        rows, columns = moved.any(1), moved.any(0)
        np.testing.assert_array_equal(moved, rows[:, None] & columns[None])  # a box
        heights.append(rows.sum() / 40)
        widths.append(columns.sum() / 60)
        corners.add((int(rows.argmax()), int(columns.argmax())))
    assert 0.25 < min(heights) < 0.5 < max(heights) < 0.85
    assert 0.25 < min(widths) < 0.5 < max(widths) < 0.85
    assert len(corners) > 10
    np.testing.assert_array_equal(aug.cutmix(images, masks, chance=0.0, seed=seed(3))[1], masks)
    some = (aug.cutmix(images, masks, chance=0.5, seed=seed(4))[1].numpy() != masks).any((1, 2)).sum()
    assert 3 < some < 13
