"""Label maps that follow the outlines in the photo: a guided filter between a network's coarse answer and its photo.

He, Sun and Tang, "Guided Image Filtering", IEEE TPAMI 35(6), 2013, with a colour guide (section 3.5), solved on a
coarse grid as in He and Sun, "Fast Guided Filter", arXiv:1505.00996 (2015). Within a window, the probability of a
class is a linear function of colour, so that it changes where the colours do.
"""

import numpy as np
from PIL import Image

from segdemo.core.arrays import Bools, Floats, Ints, UInt8
from segdemo.core.resample import lerp, resize_bilinear

STEP = 4  # pixels of the network's input to a cell of the grid that the filter is solved on
BLOCK = 2**16  # pixels that are evaluated at a time
LEAST = 0.1  # a class that is nowhere likelier than this, and nowhere the likeliest, is left out


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the filter's grid for a network's input of height x width pixels."""
    return max(1, height // STEP), max(1, width // STEP)


def coefficients(probabilities: Floats, guide: Floats, radius: int, epsilon: float) -> Floats:
    """Linear functions of colour that say how likely each class is, one for every cell (He et al., eq. 14 to 16).

    Args:
        probabilities: float32 (h, w, K).
        guide: float32 (h, w, 3), RGB 0..1.
        radius: of the square windows, cells; they end at the border.
        epsilon: how little colour may vary, as a variance of values 0..1, for an outline to be followed.

    Returns:
        float32 (h, w, K, 4): class k has the probability ``c[k, :3] @ rgb + c[k, 3]``, the mean over all windows
        that hold the cell.
    """
    height, width, classes = probabilities.shape
    mean_guide, mean = box_mean(guide, radius), box_mean(probabilities, radius)
    products = guide[..., :, None] * np.concatenate([guide, probabilities], -1)[..., None, :]
    products = box_mean(products.reshape(height, width, -1), radius).reshape(products.shape)
    products -= mean_guide[..., :, None] * np.concatenate([mean_guide, mean], -1)[..., None, :]
    variance, covariance = products[..., :3], products[..., 3:]
    slopes = _solve(variance + epsilon * np.eye(3), covariance)
    offsets = mean - (mean_guide[..., None, :] @ slopes)[..., 0, :]
    found = np.concatenate([slopes.swapaxes(-1, -2), offsets[..., None]], -1)
    return box_mean(found.reshape(height, width, -1), radius).reshape(height, width, classes, 4)


def box_mean(values: Floats, radius: int) -> Floats:
    """Mean over square windows that end at the border: float32 (h, w, C) to float32 (h, w, C)."""
    rows, columns = (_windows(size, radius) for size in values.shape[:2])
    means: Floats = columns @ np.tensordot(rows, values, 1)
    return means


def _windows(size: int, radius: int) -> Floats:
    """What each position on an axis contributes to the mean over each window: float32 (size, size)."""
    position = np.arange(size)
    inside = abs(position[:, None] - position) <= radius
    weights: Floats = (inside / inside.sum(1, keepdims=True)).astype(np.float32)
    return weights


def _solve(symmetric: Floats, right: Floats) -> Floats:
    """Solve many systems of three equations by Cramer's rule: (..., 3, 3), (..., 3, K) to float32 (..., 3, K)."""
    a, b, c = np.moveaxis(symmetric.astype(np.float64), -2, 0)
    adjugate = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], -2)
    determinant = (a * adjugate[..., 0, :]).sum(-1)
    solved: Floats = (adjugate / determinant[..., None, None]).astype(np.float32) @ right
    return solved


def argmax_of(functions: Floats, image: UInt8) -> UInt8:
    """Argmax of ``coefficients``, resized bilinearly to a photo, at the photo's colours.

    Where one class wins by more than any colour could change at all four cells around a pixel, it wins there:
    of a few rows at a time, only the other columns are evaluated. The result is that of evaluating all of them.

    Args:
        functions: float32 (h, w, K, 4).
        image: uint8 (H, W, 3), RGB.

    Returns:
        uint8 (H, W), 0..K-1.
    """
    height, width = image.shape[:2]
    sure = _sure(functions)
    lead = functions[:, :, 1:] - functions[:, :, :1]  # over class 0
    lead = lead.transpose(3, 2, 0, 1).copy()  # (4, K - 1, h, w)
    left, right, across = lerp(functions.shape[1], width)
    above, below, down = lerp(functions.shape[0], height)
    label_map = np.empty((height, width), np.uint8)
    step = max(1, BLOCK // width)
    for rows in (slice(start, start + step) for start in range(0, height, step)):
        top, bottom, share = above[rows], below[rows], down[rows, None]
        label_map[rows] = sure[top][:, left]
        cells = slice(top[0], bottom[-1] + 1)
        known = sure[cells]
        settled = np.all((known == known[0]) & (known >= 0), 0)
        columns = np.flatnonzero(~(settled[left] & settled[right] & (known[0, left] == known[0, right])))
        if not columns.size:
            continue
        w = across[columns]
        ends = lead[:, :, cells, left[columns]] * (1 - w) + lead[:, :, cells, right[columns]] * w
        colours = image[rows, columns].transpose(2, 0, 1) / np.float32(255)
        values = np.zeros(1, np.float32)
        for channel, end in enumerate(ends):  # (K - 1, cells, n)
            value = end[:, top - top[0]]
            value += (end[:, bottom - top[0]] - value) * share  # (K - 1, m, n)
            values = values + (value * colours[channel] if channel < 3 else value)
        label_map[rows, columns] = _first_best(values)
    return label_map


def _first_best(values: Floats) -> UInt8:
    """Argmax over the first axis of (K - 1, m, n) values and zeros before them: uint8 (m, n)."""
    best, found = np.zeros(values.shape[1:], np.float32), np.zeros(values.shape[1:], np.uint8)
    for k, value in enumerate(values, 1):
        found[value > best] = k
        np.maximum(best, value, out=best)
    return found


def _sure(functions: Floats) -> Ints:
    """The class that wins at a cell whatever the colour, or -1: int16 (h, w)."""
    slopes, offsets = functions[..., :3], functions[..., 3]
    winner = (offsets + slopes.sum(-1) / 2).argmax(-1)[..., None]
    lead = np.take_along_axis(offsets, winner, -1) - offsets
    lead += np.minimum(np.take_along_axis(slopes, winner[..., None], -2) - slopes, 0).sum(-1)
    np.put_along_axis(lead, winner, np.inf, -1)
    return np.where(lead.min(-1) > 1e-5, winner[..., 0], -1).astype(np.int16)


def refine(
    probabilities: Floats,
    image: UInt8,
    size: tuple[int, int],
    radius: float,
    epsilon: float,
    picture: Image.Image | None = None,
) -> UInt8:
    """The label map of a photo from a network's coarse probabilities, with outlines where the photo has them.

    Args:
        probabilities: float32 (h, w, K), of the whole photo.
        image: the photo, uint8 (H, W, 3), RGB.
        size: height and width of the network's input, pixels.
        radius: of the filter's windows, pixels of the network's input; epsilon: see ``coefficients``.
        picture: the photo as a Pillow image, if there is one.

    Returns:
        uint8 (H, W).
    """
    likely: Bools = np.any(probabilities >= LEAST, (0, 1))
    likely[np.unique(probabilities.argmax(-1))] = True
    classes = np.flatnonzero(likely).astype(np.uint8)
    if len(classes) == 1:
        return np.full(image.shape[:2], classes[0])
    height, width = grid_size(*size)
    picture = picture or Image.fromarray(image)
    guide = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    functions = coefficients(
        resize_bilinear(probabilities[..., classes], height, width),
        np.asarray(guide, np.float32) / 255,
        max(1, round(radius / STEP)),
        epsilon,
    )
    return classes[argmax_of(functions, image)]
