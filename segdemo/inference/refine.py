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
ROWS = 6  # of the grid, at most: of fewer rows, more columns hold one class
_ROW, _COLUMN = np.triu_indices(3)  # of the entries of a symmetric matrix of colours
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
    colours, wanted = np.moveaxis(guide, -1, 0), np.moveaxis(probabilities, -1, 0)  # planes (h, w)
    planes = np.empty((9 + 4 * classes, height, width), np.float32)
    planes[:3], planes[3:9], planes[9 : 9 + classes] = colours, colours[_ROW] * colours[_COLUMN], wanted
    planes[9 + classes :] = (colours[:, None] * wanted).reshape(-1, height, width)
    planes = _of_planes(planes, radius)
    means, mean = planes[:3], planes[9 : 9 + classes]
    variance = planes[3:9].astype(np.float64) - means[_ROW] * means[_COLUMN]
    variance[_ROW == _COLUMN] += epsilon
    covariance = planes[9 + classes :].reshape(3, classes, height, width) - means[:, None] * mean
    found = np.empty((4, classes, height, width), np.float32)
    found[:3] = _solve(variance, covariance)
    found[3] = mean - (means[:, None] * found[:3]).sum(0)
    found = _of_planes(found.reshape(-1, height, width), radius).reshape(found.shape)
    return found.transpose(2, 3, 1, 0)


def box_mean(values: Floats, radius: int) -> Floats:
    """Mean over square windows that end at the border: float32 (h, w, C) to float32 (h, w, C).

    By sums of shifted values: a product with a matrix of windows would keep all threads of the linear algebra busy,
    mostly with waiting for each other.
    """
    for axis in (0, 1):
        size = values.shape[axis]
        every = (slice(None),) * axis
        total = values.copy("K")  # planes stay planes
        for step in range(1, min(radius, size - 1) + 1):
            ahead, behind = (*every, slice(step, None)), (*every, slice(None, -step))
            total[ahead] += values[behind]
            total[behind] += values[ahead]
        position = np.arange(size)
        inside = np.minimum(position + radius, size - 1) - np.maximum(position - radius, 0) + 1
        total *= (1 / inside).astype(np.float32).reshape(-1, *(1,) * (values.ndim - axis - 1))
        values = total
    return values


def _of_planes(planes: Floats, radius: int) -> Floats:
    """``box_mean`` of (C, h, w)."""
    means: Floats = box_mean(planes.transpose(1, 2, 0), radius).transpose(2, 0, 1)
    return means


def _solve(symmetric: Floats, right: Floats) -> Floats:
    """Solve many systems of three equations by Cramer's rule.

    Args:
        symmetric: float64 (6, h, w), the rows and columns of a 3 x 3 matrix that ``_ROW`` and ``_COLUMN`` name.
        right: float32 (3, K, h, w).

    Returns:
        float32 (3, K, h, w).
    """
    a, b, c, d, e, f = symmetric
    adjugate = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    determinant = a * adjugate[0] + b * adjugate[1] + c * adjugate[2]
    inverse = (np.stack(adjugate) / determinant).astype(np.float32)
    solved: Floats = np.stack(
        [(inverse[[*row], None] * right).sum(0) for row in ((0, 1, 2), (1, 3, 4), (2, 4, 5))]
    )
    return solved


def argmax_of(leads: Floats, image: UInt8) -> UInt8:
    """Argmax of ``coefficients``, resized bilinearly to a photo, at the photo's colours.

    Where one class wins by more than any colour could change at all four cells around a pixel, it wins there:
    of a few rows at a time, only the other columns are evaluated. The result is that of evaluating all of them.

    Args:
        leads: float32 (h, w, K - 1, 4), of what the classes lead over class 0 by.
        image: uint8 (H, W, 3), RGB.

    Returns:
        uint8 (H, W), 0..K-1.
    """
    lead = np.ascontiguousarray(leads.transpose(3, 2, 0, 1))
    height, width = image.shape[:2]
    sure = _sure(lead)
    left, right, across = lerp(lead.shape[3], width)
    above, below, down = lerp(lead.shape[2], height)
    label_map = np.empty((height, width), np.uint8)
    step = max(1, min(BLOCK // width, ROWS * height // lead.shape[2]))
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
        here = lead[:, :, cells]
        ends = here.take(left[columns], 3) * (1 - w)  # (4, K - 1, cells, n)
        ends += here.take(right[columns], 3) * w
        values = ends.take(top - top[0], 2)
        values += (ends.take(bottom - top[0], 2) - values) * share  # (4, K - 1, m, n)
        values[:3] *= image[rows].take(columns, 1).transpose(2, 0, 1)[:, None] / np.float32(255)
        values = ((values[0] + values[1]) + values[2]) + values[3]
        label_map[rows, columns] = _first_best(values)
    return label_map


def _first_best(values: Floats) -> UInt8:
    """Argmax over the first axis of (K - 1, m, n) values and zeros before them: uint8 (m, n)."""
    best, found = np.zeros(values.shape[1:], np.float32), np.zeros(values.shape[1:], np.uint8)
    for k, value in enumerate(values, 1):
        found[value > best] = k
        np.maximum(best, value, out=best)
    return found


def _sure(lead: Floats) -> Ints:
    """The class that wins at a cell whatever the colour, or -1: int16 (h, w)."""
    middle = lead[3] + lead[:3].sum(0) / 2
    winner = np.where(middle.max(0) > 0, middle.argmax(0) + 1, 0)  # (h, w)
    rows, columns = np.ogrid[: winner.shape[0], : winner.shape[1]]
    own = lead[:, winner - 1, rows, columns] * (winner > 0)  # (4, h, w)
    least = np.full(winner.shape, np.inf, np.float32)
    for k in range(lead.shape[1] + 1):
        over = own - lead[:, k - 1] if k else own
        margin = over[3] + np.minimum(over[:3], 0).sum(0)
        np.minimum(least, np.where(winner == k, np.inf, margin), out=least)
    return np.where(least > 1e-5, winner, -1).astype(np.int16)


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
    likely_ones = resize_bilinear(probabilities[..., classes], height, width)
    leads = coefficients(
        likely_ones[..., 1:] - likely_ones[..., :1],  # all that counts, and a class less
        np.asarray(guide, np.float32) / 255,
        max(1, round(radius / STEP)),
        epsilon,
    )
    return classes[argmax_of(leads, image)]
