"""Label maps that follow the outlines in the photo: a guided filter between a network's coarse answer and its photo.

He, Sun and Tang, "Guided Image Filtering", IEEE TPAMI 35(6), 2013, with a colour guide (section 3.5), solved on a
coarse grid as in He and Sun, "Fast Guided Filter", arXiv:1505.00996 (2015). Within a window, the probability of a
class is a linear function of colour, so that it changes where the colours do.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from segdemo.core.arrays import Bools, Floats, Ints, UInt8
from segdemo.core.resample import lerp, resize_bilinear

STEP = 4  # pixels of the network's input to a cell of the grid that the filter is solved on
BLOCK = 2**18  # pixels of the photo that are looked at at a time
OPEN = 255  # in place of a class where more than one may win; void, which never wins
MARGIN = 1e-4  # by more than this a class has to win, whatever rounding does
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
    planes = np.empty((9 + 4 * classes, height, width), np.float32)
    colours, wanted = planes[:3], planes[9 : 9 + classes]
    colours[:], wanted[:] = np.moveaxis(guide, -1, 0), np.moveaxis(probabilities, -1, 0)
    for n, (row, column) in enumerate(zip(_ROW, _COLUMN, strict=True), 3):
        np.multiply(colours[row], colours[column], out=planes[n])
    for n, colour in enumerate(colours):
        np.multiply(colour, wanted, out=planes[9 + (n + 1) * classes :][:classes])
    planes = _of_planes(planes, radius)
    means, mean = planes[:3], planes[9 : 9 + classes]
    variance = planes[3:9].astype(np.float64)
    for n, (row, column) in enumerate(zip(_ROW, _COLUMN, strict=True)):
        variance[n] -= means[row] * means[column]
    variance[_ROW == _COLUMN] += epsilon
    covariance = planes[9 + classes :].reshape(3, classes, height, width)
    for n, colour in enumerate(means):
        covariance[n] -= colour * mean
    found = np.empty((4, classes, height, width), np.float32)
    _solve(variance, covariance, out=found[:3])
    found[3] = mean - _dot(means, found)
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


def _solve(symmetric: Floats, right: Floats, out: Floats) -> None:
    """Solve many systems of three equations by Cramer's rule.

    Args:
        symmetric: float64 (6, h, w), the rows and columns of a 3 x 3 matrix that ``_ROW`` and ``_COLUMN`` name.
        right: float32 (3, K, h, w).
        out: float32 (3, K, h, w), for what they are solved by.
    """
    a, b, c, d, e, f = symmetric
    adjugate = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    determinant = a * adjugate[0] + b * adjugate[1] + c * adjugate[2]
    inverse = [(entry / determinant).astype(np.float32) for entry in adjugate]
    for n, row in enumerate(((0, 1, 2), (1, 3, 4), (2, 4, 5))):
        out[n] = _dot([inverse[entry] for entry in row], right)


def _dot(three: Floats | Sequence[Floats], others: Floats) -> Floats:
    """The products of three planes with the first three of (K, h, w), added up in their order: (K, h, w)."""
    total: Floats = three[0] * others[0]
    total += three[1] * others[1]
    total += three[2] * others[2]
    return total


def argmax_of(leads: Floats, image: UInt8, ids: UInt8) -> UInt8:
    """Argmax of ``coefficients``, resized bilinearly to a photo, at the photo's colours.

    The pixels between four cells have these cells' functions, mixed. A class that another one beats at all four, in
    whatever colours there are between them, is beaten at each pixel: only where more than one is left are those
    evaluated, pixel by pixel. The result is that of evaluating all of them everywhere.

    Args:
        leads: float32 (h, w, K - 1, 4), of what the classes lead over class 0 by.
        image: uint8 (H, W, 3), RGB.
        ids: uint8 (K,), of the classes.

    Returns:
        uint8 (H, W), of ``ids``.
    """
    lead, image = np.ascontiguousarray(leads.transpose(3, 2, 0, 1)), np.ascontiguousarray(image)
    above, left = (lerp(n, m)[0] for n, m in zip(lead.shape[2:], image.shape[:2], strict=True))
    winner = _between(_sure(lead))
    contenders = _contenders(winner, lead, image, above, left)
    winner[winner == OPEN] = 0
    label_map: UInt8 = ids[winner][:, left][above]
    if contenders.any():
        _evaluate(label_map, contenders, lead, image, ids)
    return label_map


def _evaluate(label_map: UInt8, contenders: Bools, lead: Floats, image: UInt8, ids: UInt8) -> None:
    """Write the classes that beat 0 into a label map uint8 (H, W), where they are contenders, bool (K - 1, h, w)."""
    height, width = label_map.shape
    h, w = lead.shape[2:]
    above, _, down = lerp(h, height)
    left, right, across = lerp(w, width)
    found = [np.nonzero(where[:, left]) for where in contenders]  # rows of cells, columns of pixels
    counts = [np.bincount(rows, minlength=h) for rows, _ in found]
    step = max(1, BLOCK // width)
    for some in (slice(start, min(start + step, height)) for start in range(0, height, step)):
        best = np.zeros((some.stop - some.start) * width, np.float32)
        labels, colours = label_map[some].reshape(-1), image[some].reshape(-1, 3)  # views
        upper, offset = above[some], np.arange(some.stop - some.start) * width
        for k, ((rows, columns), count) in enumerate(zip(found, counts, strict=True), 1):
            starts = np.cumsum(count) - count
            here = slice(starts[upper[0]], starts[upper[-1]] + count[upper[-1]])
            cells, seen, mine = rows[here], columns[here], count[upper]
            if not cells.size:
                continue
            functions, weight = lead[:, k - 1].reshape(4, -1), across[seen]
            ends = []
            for at in (cells * w, np.minimum(cells + 1, h - 1) * w):
                ends.append(functions.take(at + left[seen], 1))  # (4, n)
                ends[-1] *= 1 - weight
                ends[-1] += functions.take(at + right[seen], 1) * weight
            ends[1] -= ends[0]
            # Each row of pixels goes through the columns of its row of cells.
            place = np.repeat(starts[upper] - here.start - (np.cumsum(mine) - mine), mine)
            place += np.arange(len(place))
            pixels = seen[place] + np.repeat(offset, mine)
            values = ends[1].take(place, 1)  # (4, m)
            values *= np.repeat(down[some], mine)
            values += ends[0].take(place, 1)
            total = _dot(values, np.divide(colours.take(pixels, 0).T, np.float32(255), order="C")) + values[3]
            better = total > best[pixels]
            pixels = pixels[better]
            best[pixels], labels[pixels] = total[better], ids[k]


def _contenders(winner: UInt8, lead: Floats, image: UInt8, above: Ints, left: Ints) -> Bools:
    """Which classes from 1 on may win between four cells, bool (K - 1, h, w); where one is alone it gets its place.

    Args:
        winner: uint8 (h, w), as of ``_between``. It is changed.
        lead: float32 (4, K - 1, h, w).
        image: uint8 (H, W, 3).
        above, left: of each row and column of pixels, the cell before it.
    """
    h, w = winner.shape
    contenders = np.zeros(lead.shape[1:], bool)
    rows, columns = np.nonzero(winner == OPEN)
    if not rows.size:
        return contenders
    low, high = _colours_between(image, rows, columns, above, left)
    middle, half = (low + high) / 2, (high - low) / 2
    flat, beside = lead.reshape(-1, h * w), np.minimum(columns + 1, w - 1)
    corners = [
        flat.take(at + row * w, 1).reshape(4, -1, len(rows))
        for row in (rows, np.minimum(rows + 1, h - 1))
        for at in (columns, beside)
    ]
    scores = sum(_dot(middle, corner) + corner[3] for corner in corners)  # (K - 1, n)
    first = np.where(scores.max(0) > 0, scores.argmax(0) + 1, 0)
    beaten = np.ones((1 + len(scores), len(rows)), bool)
    for corner in corners:
        for k, over in _over(corner, first):
            beaten[k] &= _dot(middle, over) + over[3] - _dot(half, np.abs(over)) > MARGIN
    beaten[first, np.arange(len(rows))] = False
    alone = beaten.sum(0) == len(scores)
    winner[rows[alone], columns[alone]] = first[alone]
    contenders[:, rows, columns] = ~(beaten[1:] | alone)
    return contenders


def _colours_between(
    image: UInt8, rows: Ints, columns: Ints, above: Ints, left: Ints
) -> tuple[Floats, Floats]:
    """The least and greatest of each colour, 0..1, of the pixels between some cells and the next: float32 (3, n)."""

    def runs(before: Ints, cells: Ints) -> list[Ints]:
        """Positions that together are those of the pixels behind each cell; of a cell without any, some other."""
        first, stop = (np.searchsorted(before, cells, side) for side in ("left", "right"))
        count = max(1, int((stop - first).max()))
        return [np.clip(np.minimum(first + n, stop - 1), 0, len(before) - 1) for n in range(count)]

    def extremes(parts: Iterator[UInt8]) -> tuple[UInt8, UInt8]:
        low = next(parts)
        high = low.copy()
        for part in parts:
            np.minimum(low, part, out=low)
            np.maximum(high, part, out=high)
        return low, high

    first, last = int(rows.min()), int(rows.max())
    ends = extremes(image[at] for at in runs(above, np.arange(first, last + 1)))  # (cells, W, 3)
    across, line = runs(left, columns), (rows - first) * image.shape[1]
    low, high = (
        extremes(end.reshape(-1, 3).take(line + at, 0) for at in across)[which]
        for which, end in enumerate(ends)
    )
    return tuple(np.divide(end.T, np.float32(255), order="C") for end in (low, high))  # type: ignore[return-value]


def _over(lead: Floats, winner: Ints) -> Iterator[tuple[int, Floats]]:
    """(class, by which function the winners lead over it, float32 (4, ...)) for each class, from 0.

    Args:
        lead: float32 (4, K - 1, ...). winner: (...), 0..K-1.
    """
    own = np.zeros((4, *winner.shape), np.float32)
    for k in range(1, lead.shape[1] + 1):
        np.copyto(own, lead[:, k - 1], where=winner == k)
    for k in range(lead.shape[1] + 1):
        yield k, own - lead[:, k - 1] if k else own


def _between(sure: UInt8) -> UInt8:
    """The class that is sure at a cell and at the next ones below, beside and both, or OPEN: uint8 (h, w)."""
    below = np.concatenate([sure[1:], sure[-1:]])
    same = sure == below
    for one in (sure, below):
        same[:, :-1] &= sure[:, :-1] == one[:, 1:]
    return np.where(same, sure, np.uint8(OPEN))


def _sure(lead: Floats) -> UInt8:
    """The class that wins at a cell whatever the colour, or OPEN: uint8 (h, w)."""
    middle = lead[3] + lead[:3].sum(0) / 2
    winner = np.where(middle.max(0) > 0, middle.argmax(0) + 1, 0)  # (h, w)
    least = np.full(winner.shape, np.inf, np.float32)
    for k, over in _over(lead, winner):
        margin = over[3] + np.minimum(over[:3], 0).sum(0)
        np.copyto(margin, np.inf, where=winner == k)
        np.minimum(least, margin, out=least)
    return np.where(least > MARGIN, winner, OPEN).astype(np.uint8)


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
    planes = np.ascontiguousarray(np.moveaxis(probabilities, -1, 0))  # (K, h, w)
    likely: Bools = planes.max((1, 2)) >= LEAST
    if planes.max(0).min() < LEAST:
        likely[np.unique(planes.argmax(0))] = True
    classes = np.flatnonzero(likely).astype(np.uint8)
    if len(classes) == 1:
        return np.full(image.shape[:2], classes[0])
    height, width = grid_size(*size)
    picture = picture or Image.fromarray(image)
    guide = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    likely_ones = resize_bilinear(np.moveaxis(planes[classes], 0, -1), height, width)
    leads = coefficients(
        likely_ones[..., 1:] - likely_ones[..., :1],  # all that counts, and a class less
        np.asarray(guide, np.float32) / 255,
        max(1, round(radius / STEP)),
        epsilon,
    )
    return argmax_of(leads, image, classes)
