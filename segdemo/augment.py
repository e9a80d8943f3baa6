"""Paired image and mask operations for training, in TensorFlow.

One protocol: an operation takes ``(image, mask)`` and returns ``(image, mask)``.

* image: float32 (H, W, 3), RGB 0..255. It stays RGB 0..255: preprocessing belongs to the model.
* mask: uint8 (H, W), class ids with 255 = void. Masks are only ever moved and resampled with nearest
  neighbour, and every pixel from outside the photo is void.

Whatever moves pixels uses the same window for both. Random operations take ``seed``, an int32 or int64
tensor (2,): the same seed gives the same result, and without one every call draws its own. ``compose``
chains operations and gives each its own seed.
"""

import math

import tensorflow as tf

from segdemo.labels import VOID

IMAGENET_MEAN = (123.68, 116.779, 103.939)  # RGB, 0..255; the filling of padding, as in DeepLab's code

# NTSC's luma and two colour differences, in which a change of hue is a rotation and of saturation a factor.
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def compose(*operations):
    """One operation that applies ``operations`` in order, each with a seed of its own."""

    def composed(image, mask, seed=None):
        seeds = tf.random.split(_seed(seed), max(len(operations), 1))
        for i, operation in enumerate(operations):
            image, mask = operation(image, mask, seed=seeds[i])
        return image, mask

    return composed


def resize(image, mask, size, seed=None):
    """Resize to ``size``, squashing if the shape differs: bilinear for the image, nearest for the mask.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) in pixels.
        seed: unused; every operation takes one.
    """
    return tf.image.resize(image, size, "bilinear"), resize_mask(mask, size)


def resize_mask(mask, size):
    """Nearest-neighbour resize of ids, pixel centres aligned: (H, W) to (height, width), same dtype."""
    return tf.image.resize(mask[..., None], size, "nearest")[..., 0]


def pad(image, mask, size, fill=IMAGENET_MEAN):
    """Pad below and to the right to at least ``size``; larger sides stay as they are.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) in pixels.
        fill: RGB of the image's padding. The mask's is void.
    """
    shape = tf.shape(mask)
    missing = tf.maximum(tf.stack(size) - shape, 0)
    paddings = tf.stack([tf.zeros_like(missing), missing], axis=1)  # (2, 2)
    fill = tf.cast(fill, image.dtype)
    image = tf.pad(image - fill, tf.concat([paddings, [[0, 0]]], axis=0)) + fill
    return image, tf.pad(mask, paddings, constant_values=VOID)


def random_flip(image, mask, seed=None):
    """Mirror both left to right, or neither, with equal chance."""
    flip = tf.random.stateless_uniform([], _seed(seed)) < 0.5
    return tf.cond(
        flip,
        lambda: (tf.reverse(image, axis=[1]), tf.reverse(mask, axis=[1])),
        lambda: (image, mask),
    )


def random_crop(image, mask, size, seed=None, fill=IMAGENET_MEAN):
    """Cut the same random window out of both; every position is as likely as another.

    A side shorter than the crop is padded first (see ``pad``), and a photo of exactly the crop's size is
    returned as it is.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) in pixels.
        seed: (2,), see the module.
        fill: RGB of the padding.
    """
    height, width = size
    image, mask = pad(image, mask, size, fill)
    seeds = tf.random.split(_seed(seed), 2)
    room = tf.shape(mask) - [height, width]
    top = tf.random.stateless_uniform([], seeds[0], 0, room[0] + 1, tf.int32)  # the last position counts too
    left = tf.random.stateless_uniform([], seeds[1], 0, room[1] + 1, tf.int32)
    image = tf.ensure_shape(image[top : top + height, left : left + width], (height, width, 3))
    return image, tf.ensure_shape(mask[top : top + height, left : left + width], (height, width))


def random_scale(image, mask, scale=(0.5, 2.0), seed=None):
    """Resize both by a random factor, log-uniform in ``scale`` so that twice and half are as likely.

    The first half of the scale jitter of DeepLab and Mask R-CNN; ``random_crop`` or ``pad`` makes the size
    even.
    """
    factor = _log_uniform(scale, _seed(seed))
    shape = tf.cast(tf.shape(mask), tf.float32)
    return resize(image, mask, tf.maximum(tf.cast(tf.round(shape * factor), tf.int32), 1))


def random_warp(
    image,
    mask,
    size,
    scale=(0.5, 2.0),
    aspect=1.0,
    flip=True,
    reference=None,
    seed=None,
    fill=IMAGENET_MEAN,
):
    """Scale jitter, crop with padding and mirror in a single resampling, the cheapest way to a training crop.

    Along each axis the crop lies anywhere inside the photo if the photo is larger, and the photo anywhere
    inside the crop if it is smaller; the rest is padding. Nothing is blurred twice and no full-size
    intermediate is made.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) of the crop in pixels.
        scale: smallest and largest magnification; it is drawn log-uniformly.
        aspect: largest factor by which width may grow relative to height, and height to width; 1 keeps the
            ratio.
        flip: whether to mirror every other time.
        reference: if given, magnification 1 brings the photo's long side to this many pixels, so that
            photos kept at different resolutions look alike. By default magnification 1 keeps the photo's
            own pixels.
        seed: (2,), see the module.
        fill: RGB of the padding.

    Returns:
        image (height, width, 3) and mask (height, width).
    """
    height, width = size
    seeds = tf.random.split(_seed(seed), 5)
    shape = tf.cast(tf.shape(mask), tf.float32)
    factor = _log_uniform(scale, seeds[0])
    if reference is not None:
        factor *= reference / tf.reduce_max(shape)
    stretch = tf.sqrt(_log_uniform((1 / aspect, aspect), seeds[1]))
    step = tf.stack([stretch / factor, 1 / (stretch * factor)])  # source pixels per crop pixel, (y, x)
    room = shape - step * [height, width]
    start = room * tf.stack(
        [tf.random.stateless_uniform([], seeds[2]), tf.random.stateless_uniform([], seeds[3])]
    )
    mirrored = tf.random.stateless_uniform([], seeds[4]) < 0.5 if flip else tf.constant(False)
    return warp(image, mask, size, start, step, mirrored, fill)


def warp(image, mask, size, start, step, mirrored=False, fill=IMAGENET_MEAN):
    """Resample an axis-aligned window of both in one go: bilinear for the image, nearest for the mask.

    ``crop_and_resize`` takes a third of the time of ``ImageProjectiveTransformV3`` for the same result.

    Args:
        image: (H, W, 3). mask: (H, W).
        size: (height, width) of the result.
        start: (y, x) of the window's corner in the photo, in pixels; may lie outside.
        step: (y, x) photo pixels per result pixel.
        mirrored: whether to flip the result left to right.
        fill: RGB of what lies outside the photo. There the mask is void.
    """
    # crop_and_resize counts as outside all that lies beyond the outermost pixel centres, half a pixel too
    # early; a border one pixel wide moves that limit out: the photo's edge repeated, and void for the mask.
    image = tf.pad(image, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    mask = tf.pad(mask, [[1, 1], [1, 1]], constant_values=VOID)
    start, step = tf.cast(start, tf.float32), tf.cast(step, tf.float32)
    first = start + step / 2 - 0.5 + 1  # (y, x) index of the first pixel centre in the bordered photo
    last = first + step * (tf.cast(size, tf.float32) - 1)
    box = tf.concat([first, last], axis=0)  # y0, x0, y1, x1
    box = tf.where(mirrored, tf.gather(box, [0, 3, 2, 1]), box)
    limit = tf.cast(tf.shape(mask) - 1, tf.float32)
    box = (box / tf.concat([limit, limit], axis=0))[None]  # as fractions of the last index
    fill = tf.constant(fill, tf.float32)
    image = tf.cast(image, tf.float32) - fill  # so that zero, the one number it fills with, is the fill
    image = tf.image.crop_and_resize(image[None], box, [0], size, "bilinear", 0.0)[0] + fill
    mask = tf.image.crop_and_resize(mask[None, ..., None], box, [0], size, "nearest", float(VOID))[0]
    return tf.ensure_shape(image, (*size, 3)), tf.ensure_shape(tf.cast(mask[..., 0], tf.uint8), size)


def random_color(image, mask, hue=0.1, brightness=0.1, contrast=(0.8, 1.2), seed=None):
    """Change hue, brightness and contrast of the image as ``tf.image`` does; the mask stays as it is.

    Args:
        image: (H, W, 3), 0..255.
        hue: largest shift, in turns of the HSV hue circle.
        brightness: largest shift, as a share of the whole range 0..255.
        contrast: smallest and largest factor on the distance from each channel's mean.
        seed: (2,), see the module.

    Returns:
        image float32, clipped to 0..255, and the mask.
    """
    seeds = tf.random.split(_seed(seed), 3)
    image = tf.cast(image, tf.float32)
    image = tf.image.stateless_random_hue(image, hue, seeds[0])
    image = tf.image.stateless_random_brightness(image, brightness * 255.0, seeds[1])
    image = tf.image.stateless_random_contrast(image, *contrast, seeds[2])
    return tf.clip_by_value(image, 0.0, 255.0), mask


def random_color_matrix(
    image, mask, hue=0.1, saturation=(0.8, 1.2), brightness=0.1, contrast=(0.8, 1.2), seed=None
):
    """Change hue, saturation, brightness and contrast in one matrix product; the mask stays as it is.

    Hue is a rotation and saturation a factor in the chroma plane of YIQ, so that luma is kept, unlike in
    HSV; five times cheaper than ``random_color``. Arguments as there; ``saturation`` is the smallest and
    largest factor.
    """
    seeds = tf.random.split(_seed(seed), 4)
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


def copy_paste(images, masks, chance=0.5, background=0, seed=None):
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
    receives = tf.random.stateless_uniform([tf.shape(masks)[0], 1, 1], _seed(seed)) < chance
    pasted = (donor_masks != VOID) & receives
    if background is not None:
        pasted &= donor_masks != background
    return tf.where(pasted[..., None], donors, images), tf.where(pasted, donor_masks, masks)


def _seed(seed):
    if seed is not None:
        return seed
    return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)


def _log_uniform(bounds, seed):
    low, high = bounds
    return tf.exp(tf.random.stateless_uniform([], seed) * (math.log(high) - math.log(low)) + math.log(low))
