"""Paired image and mask operations for training, in TensorFlow.

One protocol: an operation takes ``(image, mask)`` and returns ``(image, mask)``.

* image: float32 or uint8 (H, W, 3), RGB 0..255; what only moves pixels leaves the dtype as it is, what
  computes returns float32, so the later the cheaper. It stays RGB 0..255: preprocessing belongs to the model.
* mask: uint8 (H, W), class ids with 255 = void. Masks are only ever moved and resampled with nearest
  neighbour, and every pixel from outside the photo is void.

Whatever moves pixels uses the same window for both. Random operations take ``seed``, an int32 or int64
tensor (2,): the same seed gives the same result. ``compose`` chains operations and gives each its own seed.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from segdemo.core.labels import VOID

IMAGENET_MEAN = (123.68, 116.779, 103.939)  # RGB, 0..255; the filling of padding, as in DeepLab's code
Pair = tuple[tf.Tensor, tf.Tensor]  # an image and its mask, or a batch of them
Operation = Callable[..., Pair]  # (image, mask, seed=...)
_OUTSIDE = -1e9  # marks pixels from outside the photo
ORDINARY = 640  # pixels, long side of a usual photo; one of twice as many or more is averaged down towards it

# NTSC's luma and two colour differences, in which a change of hue is a rotation and of saturation a factor.
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def compose(*operations: Operation) -> Operation:
    """One operation that applies ``operations`` in order, each with a seed of its own."""

    def composed(image, mask, seed):
        seeds = tf.random.split(seed, max(len(operations), 1))
        for i, operation in enumerate(operations):
            image, mask = operation(image, mask, seed=seeds[i])
        return image, mask

    return composed


def resize(image: tf.Tensor, mask: tf.Tensor, size: tuple[int, int]) -> Pair:
    """Resize to ``size``, squashing if the shape differs: bilinear for the image, nearest for the mask.

    Of an image whose long side is twice ``ORDINARY`` or more, the mean of blocks of pixels is resized, if it shrinks so
    far.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) in pixels.
    """
    step = tf.cast(tf.shape(mask), tf.float32) / tf.cast(tf.stack(size), tf.float32)
    image, _ = _averaged(tf.convert_to_tensor(image), step)
    image = tf.cast(image, tf.float32)  # TensorFlow resizes floats in two thirds of the time of bytes
    return tf.image.resize(image, size, "bilinear"), resize_mask(mask, size)


def resize_mask(mask: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Nearest-neighbour resize of ids, pixel centres aligned: (H, W) to (height, width), same dtype."""
    step = tf.cast(tf.shape(mask), tf.float32) / tf.cast(tf.stack(size), tf.float32)
    rows = _centres(size[0], step[0] / 2, step[0])
    return _pick(mask, rows, _centres(size[1], step[1] / 2, step[1]))


def random_flip(image: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor) -> Pair:
    """Mirror both left to right, or neither, with equal chance."""
    flip = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(
        flip, lambda: (tf.reverse(image, axis=[1]), tf.reverse(mask, axis=[1])), lambda: (image, mask)
    )


def random_crop(image: tf.Tensor, mask: tf.Tensor, size: tuple[int, int], seed: tf.Tensor) -> Pair:
    """Cut the same random window out of both; every position is as likely as another.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) in pixels, at most (H, W).
        seed: (2,), see the module.
    """
    height, width = size
    seeds = tf.random.split(seed, 2)
    room = tf.shape(mask) - [height, width]
    top = tf.random.stateless_uniform([], seeds[0], 0, room[0] + 1, tf.int32)  # the last position counts too
    left = tf.random.stateless_uniform([], seeds[1], 0, room[1] + 1, tf.int32)
    image = tf.ensure_shape(image[top : top + height, left : left + width], (height, width, 3))
    return image, tf.ensure_shape(mask[top : top + height, left : left + width], (height, width))


def random_crop_or_resize(
    image: tf.Tensor,
    mask: tf.Tensor,
    size: tuple[int, int],
    enlarged: tuple[int, int],
    share: float,
    seed: tf.Tensor,
) -> Pair:
    """Resize both to ``enlarged`` and cut a random window out of them, or resize them to ``size`` whole.

    Chosen photo by photo, as ``randomly_crop_or_resize`` of "TensorFlow in Action", listing 8.4.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) of the result in pixels.
        enlarged: (height, width) to crop from, at least ``size``.
        share: of photos that are cropped, 0..1.
        seed: (2,), see the module.

    Returns:
        image float32 (height, width, 3) and mask (height, width).
    """
    seeds = tf.random.split(seed, 2)
    return tf.cond(
        tf.random.stateless_uniform([], seeds[0]) < share,
        lambda: random_crop(*resize(image, mask, enlarged), size, seeds[1]),
        lambda: resize(image, mask, size),
    )


def random_warp(
    image: tf.Tensor,
    mask: tf.Tensor,
    size: tuple[int, int],
    scale: tuple[float, float],
    aspect: float,
    reference: float,
    seed: tf.Tensor,
) -> Pair:
    """Scale jitter, crop with padding and mirror in a single resampling, the cheapest way to a training crop.

    Along each axis the crop lies anywhere inside the photo if the photo is larger, and the photo anywhere
    inside the crop if it is smaller; the rest is padding. Nothing is blurred twice and no full-size
    intermediate is made; what very large photos become first, see ``resize``.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) of the crop in pixels.
        scale: smallest and largest magnification; it is drawn log-uniformly.
        aspect: largest factor by which width may grow relative to height, and height to width; 1 keeps the
            ratio.
        reference: magnification 1 brings the photo's long side to this many pixels, so that photos kept at
            different resolutions look alike.
        seed: (2,), see the module.

    Returns:
        image (height, width, 3) and mask (height, width).
    """
    seeds = tf.random.split(seed, 5)
    shape = tf.cast(tf.shape(mask), tf.float32)
    factor = _log_uniform(scale, seeds[0]) * (reference / tf.reduce_max(shape))
    stretch = tf.sqrt(_log_uniform((1 / aspect, aspect), seeds[1]))
    step = tf.stack([stretch / factor, 1 / (stretch * factor)])  # source pixels per crop pixel, (y, x)
    room = shape - step * size
    start = room * tf.stack(
        [tf.random.stateless_uniform([], seeds[2]), tf.random.stateless_uniform([], seeds[3])]
    )
    mirrored = tf.random.stateless_uniform([], seeds[4]) < 0.5
    return warp(image, mask, size, start, step, mirrored)


def warp(
    image: tf.Tensor,
    mask: tf.Tensor,
    size: tuple[int, int],
    start: tf.Tensor,
    step: tf.Tensor,
    mirrored: tf.Tensor | bool = False,
) -> Pair:
    """Resample an axis-aligned window of both in one go: bilinear for the image, nearest for the mask.

    Same result as ``ImageProjectiveTransformV3`` in a third of the time, of an image that is averaged first if it is
    as large as ``resize`` says.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) of the result.
        start: (y, x) of the window's corner in the photo, in pixels; may lie outside.
        step: (y, x) photo pixels per result pixel.
        mirrored: whether to flip the result left to right.

    Returns:
        image float32 (height, width, 3) and mask (height, width). Outside the photo they are ``IMAGENET_MEAN`` and
        void.
    """
    image = tf.convert_to_tensor(image)
    start, step = tf.cast(start, tf.float32), tf.cast(step, tf.float32)
    first = start + step / 2  # (y, x) centre of the result's first pixel, in the photo's coordinates
    last = first + step * (tf.constant(size, tf.float32) - 1)
    first_x, last_x = tf.where(mirrored, last[1], first[1]), tf.where(mirrored, first[1], last[1])
    step_x = tf.where(mirrored, -step[1], step[1])

    image, each = _averaged(image, step)
    # crop_and_resize counts as outside all that lies beyond the outermost pixel centres, half a pixel too
    # early: repeating the photo's edge moves that limit out.
    image = tf.concat([image[:1], image, image[-1:]], axis=0)
    image = tf.concat([image[:, :1], image, image[:, -1:]], axis=1)
    last_index = tf.cast(tf.shape(image)[:2] - 1, tf.float32)
    # An index: less half a pixel, plus the edge.
    box = tf.stack([first[0], first_x, last[0], last_x]) / tf.concat([each, each], axis=0) + 0.5
    box /= tf.concat([last_index, last_index], axis=0)
    image = tf.image.crop_and_resize(image[None], box[None], [0], size, "bilinear", _OUTSIDE)[0]
    image = _fill_outside(tf.ensure_shape(image, (*size, 3)))

    rows, columns = _centres(size[0], first[0], step[0]), _centres(size[1], first_x, step_x)
    limit = tf.shape(mask)
    inside = ((rows >= 0) & (rows < limit[0]))[:, None] & ((columns >= 0) & (columns < limit[1]))[None]
    picked = _pick(mask, tf.clip_by_value(rows, 0, limit[0] - 1), tf.clip_by_value(columns, 0, limit[1] - 1))
    return image, tf.ensure_shape(tf.where(inside, picked, tf.cast(VOID, mask.dtype)), size)


def random_color(
    image: tf.Tensor,
    mask: tf.Tensor,
    seed: tf.Tensor,
    hue: float = 0.1,
    brightness: float = 0.1,
    contrast: tuple[float, float] = (0.8, 1.2),
) -> Pair:
    """Change hue, brightness and contrast of the image as ``tf.image`` does; the mask stays as it is.

    Compiled by XLA, for each size of an image once, which takes a quarter of the time of ``tf.image``'s own
    operations.

    Args:
        image: (H, W, 3), 0..255, of known size. mask: (H, W). seed: (2,), see the module.
        hue: largest shift, in turns of the HSV hue circle.
        brightness: largest shift, as a share of the whole range 0..255.
        contrast: smallest and largest factor on the distance from each channel's mean.

    Returns:
        image float32, clipped to 0..255, and the mask.
    """
    seeds = tf.random.split(seed, 3)
    turn = tf.random.stateless_uniform([], seeds[0], -hue, hue)
    shift = 255.0 * tf.random.stateless_uniform([], seeds[1], -brightness, brightness)
    gain = tf.random.stateless_uniform([], seeds[2], *contrast)
    return _change_color(tf.convert_to_tensor(image), turn, shift, gain), mask


@tf.function(jit_compile=True, autograph=False)
def _change_color(image, turn, shift, gain):
    image = tf.cast(image, tf.float32)
    red, green, blue = tf.unstack(image, axis=-1)
    high = tf.maximum(tf.maximum(red, green), blue)
    low = tf.minimum(tf.minimum(red, green), blue)
    chroma = high - low
    scale = 1.0 / tf.maximum(chroma, 1e-6)  # where there is no chroma there is no hue, whatever comes out
    hue = tf.where(  # in sixths of the circle, -1..5
        high == red,
        (green - blue) * scale,
        tf.where(high == green, (blue - red) * scale + 2.0, (red - green) * scale + 4.0),
    )
    hue = hue + 6.0 * (turn - tf.floor(turn))  # -1..11
    hue = tf.where(hue >= 6.0, hue - 6.0, hue)  # back on the circle; a modulo of floats takes twice as long
    hue = tf.where(hue < 0.0, hue + 6.0, hue)
    channels = (
        low + chroma * tf.clip_by_value(tf.abs(hue - 3.0) - 1.0, 0.0, 1.0),
        low + chroma * tf.clip_by_value(2.0 - tf.abs(hue - 2.0), 0.0, 1.0),
        low + chroma * tf.clip_by_value(2.0 - tf.abs(hue - 4.0), 0.0, 1.0),
    )
    # Contrast is about each channel's mean, which moves with the brightness.
    shifts = [(1.0 - gain) * tf.reduce_mean(channel) + shift for channel in channels]
    return tf.stack(
        [tf.clip_by_value(gain * c + s, 0.0, 255.0) for c, s in zip(channels, shifts, strict=True)], axis=-1
    )


def random_color_matrix(
    image: tf.Tensor,
    mask: tf.Tensor,
    seed: tf.Tensor,
    hue: float = 0.1,
    saturation: tuple[float, float] = (0.8, 1.2),
    brightness: float = 0.1,
    contrast: tuple[float, float] = (0.8, 1.2),
) -> Pair:
    """Change hue, saturation, brightness and contrast in one matrix product; the mask stays as it is.

    Hue is a rotation and saturation a factor in the chroma plane of YIQ, so that luma is kept, unlike in HSV.
    Arguments and result as ``random_color``; ``saturation`` is the smallest and largest factor.
    """
    seeds = tf.random.split(seed, 4)
    turn = 2 * math.pi * tf.random.stateless_uniform([], seeds[0], -hue, hue)
    chroma = tf.random.stateless_uniform([], seeds[1], *saturation)
    shift = 255.0 * tf.random.stateless_uniform([], seeds[2], -brightness, brightness)
    gain = tf.random.stateless_uniform([], seeds[3], *contrast)

    to_yiq = tf.constant(_RGB_TO_YIQ)
    cos, sin, zero = chroma * tf.cos(turn), chroma * tf.sin(turn), tf.zeros([])
    rotate = tf.reshape(tf.stack([1.0, zero, zero, zero, cos, -sin, zero, sin, cos]), (3, 3))
    matrix = tf.linalg.inv(to_yiq) @ rotate @ to_yiq  # (3, 3), on columns of RGB

    pixels = tf.reshape(tf.cast(image, tf.float32), (-1, 3))
    mean = tf.linalg.matvec(matrix, tf.reduce_mean(pixels, axis=0))
    pixels = tf.matmul(pixels, gain * matrix, transpose_b=True) + ((1 - gain) * mean + shift)
    return tf.reshape(tf.clip_by_value(pixels, 0.0, 255.0), tf.shape(image)), mask


def copy_paste(
    images: tf.Tensor, masks: tf.Tensor, seed: tf.Tensor, chance: float = 0.5, background: int | None = 0
) -> Pair:
    """Paste the objects of each photo onto the next photo of the batch.

    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (CVPR
    2021), with label maps for instances: everything of the donor but background and void is pasted.

    Args:
        images: (B, H, W, 3). masks: (B, H, W).
        chance: share of photos that receive objects.
        background: the id that is not pasted, or None if every class is an object.
        seed: (2,), see the module.
    """
    donors, donor_masks = tf.roll(images, 1, axis=0), tf.roll(masks, 1, axis=0)
    receives = tf.random.stateless_uniform([tf.shape(masks)[0], 1, 1], seed) < chance
    pasted = (donor_masks != VOID) & receives
    if background is not None:
        pasted &= donor_masks != background
    return tf.where(pasted[..., None], donors, images), tf.where(pasted, donor_masks, masks)


def cutmix(
    images: tf.Tensor,
    masks: tf.Tensor,
    seed: tf.Tensor,
    chance: float = 0.5,
    sides: tuple[float, float] = (0.3, 0.8),
) -> Pair:
    """Replace a box of each photo by what the next photo of the batch has there, label map included.

    Yun et al., "CutMix", ICCV 2019, arXiv:1905.04899, for label maps.

    Args:
        images: (B, H, W, 3). masks: (B, H, W).
        chance: share of photos that receive a box.
        sides: smallest and largest side of the box, as shares of the photo's.
        seed: (2,), see the module.
    """
    shape = tf.shape(masks)
    seeds = tf.random.split(seed, 3)
    size = tf.random.stateless_uniform([2, shape[0], 1], seeds[0], *sides)
    start = tf.random.stateless_uniform([2, shape[0], 1], seeds[1]) * (1 - size)
    receives = tf.random.stateless_uniform([shape[0], 1, 1], seeds[2]) < chance
    rows, columns = (
        (places >= start[axis]) & (places < start[axis] + size[axis])
        for axis, places in enumerate((_places(shape[1]), _places(shape[2])))
    )
    box = rows[:, :, None] & columns[:, None, :] & receives
    images = tf.where(box[..., None], tf.roll(images, 1, axis=0), images)
    return images, tf.where(box, tf.roll(masks, 1, axis=0), masks)


def _averaged(image, step):
    # The image in its dtype, and how many of its pixels (y, x) make one of that: more than 1 if it is twice as large as
    # an ordinary photo and ``step``, its pixels per result pixel, is 2 or more. A bilinear filter looks at two
    # neighbours only, and what lies between would be noise.
    shape = tf.shape(image)[:2]
    count = tf.minimum(tf.cast(tf.reduce_min(step), tf.int32), tf.reduce_max(shape) // ORDINARY)

    def averaged():
        size = tf.maximum(shape // count, 1)
        mean = tf.raw_ops.ResizeArea(images=image[None], size=size)[0]
        mean = tf.cast(tf.round(mean), image.dtype) if image.dtype.is_integer else tf.cast(mean, image.dtype)
        return mean, tf.cast(shape, tf.float32) / tf.cast(size, tf.float32)

    return tf.cond(count > 1, averaged, lambda: (image, tf.ones(2)))


def _places(count):
    # The centres of pixels as shares of the side.
    return (tf.range(count, dtype=tf.float32) + 0.5) / tf.cast(count, tf.float32)


def _centres(count, first, step):
    # The pixels that hold the points first, first + step, and so on.
    return tf.cast(tf.floor(first + tf.range(count, dtype=tf.float32) * step), tf.int32)


def _pick(mask, rows, columns):
    # Whole rows are copied much faster than single pixels.
    return tf.transpose(tf.gather(tf.transpose(tf.gather(mask, rows)), columns))


@tf.function(jit_compile=True, autograph=False)
def _fill_outside(image):
    return tf.where(image == _OUTSIDE, tf.constant(IMAGENET_MEAN), image)


def _log_uniform(bounds, seed):
    low, high = bounds
    return tf.exp(tf.random.stateless_uniform([], seed) * (math.log(high) - math.log(low)) + math.log(low))
