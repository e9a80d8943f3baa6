"""Shapes of a mask: run lengths as COCO writes them, and polygons along the edges of its pixels.

Coordinates are (x, y) with (0, 0) at the top left corner of the top left pixel.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from segdemo.core.arrays import AnyArray, Bools, Ints
from segdemo.core.label_maps import MaskError

# -------------------------------------------------------------------------------------------- run lengths


def rle_encode(mask: AnyArray, compress: bool = True) -> dict[str, Any]:
    """COCO run-length encoding, column by column, as ``pycocotools.mask`` writes it.

    Args:
        mask: bool (H, W).
        compress: ``counts`` as COCO's printable string (LEB128-like, differences to the count two before);
            False: as a list of lengths, the first of which counts zeros.

    Returns:
        ``{"size": [H, W], "counts": str | list[int]}``.
    """
    height, width = mask.shape
    flat = np.ascontiguousarray(mask.T, bool).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]]))
    if flat[:1].any():
        counts = np.concatenate([[0], counts])
    return {"size": [height, width], "counts": _pack(counts) if compress else counts.tolist()}


def rle_decode(rle: Any) -> Bools:
    """The mask of a COCO run-length encoding, compressed (str or bytes) or not.

    Args:
        rle: ``{"size": [H, W], "counts": ...}``. The caller checks that the size is one it can afford.

    Returns:
        bool (H, W).

    Raises:
        MaskError: incomplete, or the runs do not fill the size exactly.
    """
    try:
        height, width = (int(v) for v in rle["size"])
        if height < 1 or width < 1:
            raise ValueError(f"its size is {height}x{width}")
        counts = rle["counts"]
        counts = _unpack(counts) if isinstance(counts, (str, bytes)) else np.array(counts, np.int64)
        # Counts are bounded before they are summed, so that no sum overflows.
        if counts.ndim != 1 or (counts < 0).any() or (counts > height * width).any():
            raise ValueError("a count is negative or too long")
        if counts.sum() != height * width:
            raise ValueError(f"the counts add up to {counts.sum()}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MaskError(f"A run-length code does not describe a mask: {error}.") from error
    values = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def _pack(counts: Ints) -> str:
    """Lengths to COCO's string: five bits per character, low bits first, bit 6 while more follow, plus 48."""
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    digits, kept = [], []
    more = np.ones(len(values), bool)
    while more.any():
        digit = values & 31
        values >>= 5
        kept.append(more)
        # A number ends once what is left of it is nothing but the sign that the digit's own bit 5 implies.
        follows = more & np.where(digit & 16, values != -1, values != 0)
        digits.append(digit | follows << 5)
        more = follows
    if not digits:
        return ""
    codes = (np.stack(digits, 1) + 48)[np.stack(kept, 1)]
    return bytes(codes.astype(np.uint8)).decode("ascii")


def _unpack(text: str | bytes) -> Ints:
    data = (
        np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, np.uint8).astype(np.int64) - 48
    )
    if not data.size:
        return data
    if data.min() < 0 or data.max() > 63:
        raise ValueError("it holds a character outside COCO's alphabet")
    last = (data & 32) == 0
    if not last[-1]:
        raise ValueError("it ends in the middle of a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        raise ValueError("it holds a number that is too long")
    place = np.arange(data.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((data & 31) << 5 * place, starts)
    values -= np.where(data[ends] & 16, 1 << 5 * lengths, 0)  # two's complement
    for parity in (1, 2):
        values[parity::2] = np.cumsum(values[parity::2])
    return values


# ----------------------------------------------------------------------------------------------- polygons


def polygons(mask: AnyArray) -> list[list[Ints]]:
    """The outline of a mask, traced exactly along pixel edges.

    Args:
        mask: bool (H, W).

    Returns:
        One list of rings per 4-connected region, in reading order of their first pixels. A ring is int64
        (N, 2) of (x, y) pixel corners, x in 0..W and y in 0..H, only where it turns and without repeating
        the first. The first ring of a region is its outside (clockwise on screen); the others are its holes
        (anticlockwise). Rings may touch themselves at corners. ``fill`` of all rings gives back exactly
        the mask.
    """
    from scipy import ndimage  # loaded only where outlines are exported

    mask = np.ascontiguousarray(mask, bool)
    if not mask.any():
        return []
    starts, ends, headings, insides = _edge_runs(mask)
    following = _next_runs(starts, ends, headings, mask.shape[1])
    components, count = ndimage.label(mask)
    owners = components[insides[:, 1], insides[:, 0]] - 1
    regions: list[list[Ints]] = [[] for _ in range(count)]
    visited = np.zeros(len(starts), bool).tolist()
    chain = following.tolist()
    for first in range(len(chain)):
        if visited[first]:
            continue
        ring, run = [], first
        while not visited[run]:
            visited[run] = True
            ring.append(run)
            run = chain[run]
        regions[owners[first]].append(starts[ring])
    # Runs are in reading order, so the first ring found of a region is its outside.
    return regions


def _edge_runs(mask: Bools) -> tuple[Ints, Ints, Ints, Ints]:
    """Straight runs of pixel edges with the mask on their right-hand side.

    Returns:
        (starts, ends, headings, insides): (N, 2) corners (x, y), (N, 2) corners, (N,) 0 east, 1 south,
        2 west, 3 north, and (N, 2) a mask pixel (x, y) beside each run; horizontal runs
        first, in reading order.
    """
    signed = np.pad(mask, 1).astype(np.int8)
    parts = []
    for horizontal in (True, False):
        grid = signed if horizontal else signed.T
        # step[line, i]: +1 where cell i after the line is in the mask and the one before it is not, -1 where
        # it is the other way round. A run is a stretch of equal steps; a corner where four runs meet has
        # opposite steps on its two sides, so it ends runs too.
        step = np.pad(grid[1:, 1:-1] - grid[:-1, 1:-1], ((0, 0), (1, 1)))
        line, at = np.nonzero(step[:, 1:] != step[:, :-1])
        sign = step[line, at + 1]
        begins = np.flatnonzero(sign)
        line, low, high, sign = line[begins], at[begins], at[begins + 1], sign[begins]
        forward = (sign > 0) == horizontal  # east along a top edge, south along a right edge
        start, end = np.where(forward, low, high), np.where(forward, high, low)
        cell = np.where(sign > 0, line, line - 1)
        heading = np.where(forward, 0, 2) if horizontal else np.where(forward, 1, 3)
        pairs = [(start, line), (end, line), (low, cell)]
        starts, ends, insides = (np.stack(p if horizontal else p[::-1], 1) for p in pairs)
        parts.append((starts, ends, heading, insides))
    starts, ends, headings, insides = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return starts, ends, headings, insides


def _next_runs(starts: Ints, ends: Ints, headings: Ints, width: int) -> Ints:
    """Index of the run that follows each: the right turn where two runs leave a corner, else the only one."""
    start_keys = (starts[:, 1] * (width + 1) + starts[:, 0]) * 4 + headings
    corner = (ends[:, 1] * (width + 1) + ends[:, 0]) * 4
    order = np.argsort(start_keys)
    ordered = start_keys[order]

    def find(keys: Ints) -> tuple[Ints, Bools]:
        place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        return order[place], ordered[place] == keys

    right, exists = find(corner + (headings + 1) % 4)
    left, _ = find(corner + (headings + 3) % 4)
    return np.where(exists, right, left)


def keyhole(rings: Sequence[Ints]) -> Ints:
    """One region with holes as a single ring, for formats whose polygons have none (COCO, YOLO).

    Each hole is reached by a bridge of no width that runs left from its leftmost corner to the next outline,
    so bridges never cross. Filled by any rule, the ring covers the region and leaves its holes out.

    Args:
        rings: one region as ``polygons`` gives it: the outside, then the holes.

    Returns:
        int64 (N, 2) of (x, y).
    """
    rings = [rings[0], *map(_from_leftmost, rings[1:])]
    if len(rings) == 1:
        return rings[0]
    xs, rows, owners, edges = _unit_edges(rings)
    stride = int(xs.max()) + 1
    keys = rows * stride + xs
    order = np.argsort(keys)
    keys = keys[order]
    splices: list[list[tuple[int, int, Ints]]] = [[] for _ in rings]
    # Holes hang on outlines that reach further left, so from right to left each is complete by its turn.
    for n in sorted(range(1, len(rings)), key=lambda n: -rings[n][0, 0]):
        x, y = rings[n][0]
        hit = order[np.searchsorted(keys, y * stride + x) - 1]  # the edge before the hole's own in that row
        door = np.array([[xs[hit], y]])
        loop = np.concatenate([door, _spliced(rings[n], splices[n]), rings[n][:1], door])
        along = abs(int(y - rings[owners[hit]][edges[hit], 1]))
        splices[owners[hit]].append((int(edges[hit]), along, loop))
    return _spliced(rings[0], splices[0])


def _from_leftmost(ring: Ints) -> Ints:
    return np.roll(ring, -int(np.lexsort((ring[:, 1], ring[:, 0]))[0]), axis=0)


def _unit_edges(rings: Sequence[Ints]) -> Iterator[Ints]:
    """Every vertical pixel edge of the rings: its x, its pixel row, its ring, and which edge of that ring."""
    parts = []
    for n, ring in enumerate(rings):
        dy = np.roll(ring[:, 1], -1) - ring[:, 1]
        edge = np.repeat(np.arange(len(ring)), abs(dy))
        offset = np.arange(len(edge)) - np.repeat(np.cumsum(abs(dy)) - abs(dy), abs(dy))
        row = ring[edge, 1] + np.where(dy[edge] > 0, offset, -1 - offset)
        parts.append((ring[edge, 0], row, np.full(len(edge), n), edge))
    return (np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _spliced(ring: Ints, splices: Iterable[tuple[int, int, Ints]]) -> Ints:
    """``ring`` with each (edge, distance along it, points) put in after the start of its edge."""
    pieces, done = [], 0
    for edge, _, points in sorted(splices, key=lambda splice: splice[:2]):
        pieces += [ring[done : edge + 1], points]
        done = edge + 1
    return np.concatenate([*pieces, ring[done:]])


def fill(rings: Iterable[Any], height: int, width: int) -> tuple[slice, slice, Bools]:
    """Fill polygons by the even-odd rule: a pixel is in if its centre is.

    Args:
        rings: (N, 2) arrays of (x, y) corners in pixels, integer or float, open or closed; outsides and holes
            alike.
        height, width: of the picture they are in.

    Returns:
        (row slice, column slice, bool array of that window), which is all of the picture that they can touch.

    Raises:
        MaskError: a coordinate that is no number, or far more outline than the picture could hold.
    """
    rings = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings]
    points = np.concatenate([np.empty((0, 2)), *rings])
    if not np.isfinite(points).all():
        raise MaskError("A polygon holds a coordinate that is not a number.")
    if not len(points):
        return slice(0, 0), slice(0, 0), np.zeros((0, 0), bool)
    # The first pixels whose centres are not before the lowest and the highest coordinates.
    (left, top), (right, bottom) = (
        np.clip(np.ceil(corner - 0.5), 0, (width, height)).astype(np.int64)
        for corner in (points.min(0), points.max(0))
    )
    flips = np.zeros((bottom - top, right - left + 1), np.uint8)
    budget = 4 * flips.size + 1_000_000  # an outline along every pixel edge crosses flips.size row centres
    for ring in rings:
        x0, y0 = ring.T
        x1, y1 = np.roll(ring, -1, axis=0).T
        # Rows whose centre line y + 0.5 an edge crosses, counting its upper end but not its lower one.
        first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), top, bottom).astype(np.int64)
        last = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), top, bottom).astype(np.int64)
        spans = last - first
        budget -= int(spans.sum())
        if budget < 0:
            raise MaskError(
                f"The polygons of a {width}x{height} mask cross its rows too often to be an outline."
            )
        edge = np.repeat(np.arange(len(ring)), spans)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(spans) - spans, spans) + first[edge]
        slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
        crossing = x0[edge] + (row + 0.5 - y0[edge]) * slope
        column = np.clip(np.ceil(crossing - 0.5), left, right).astype(np.int64)
        np.bitwise_xor.at(flips, (row - top, column - left), 1)
    inside = np.bitwise_xor.accumulate(flips, axis=1)[:, :-1].astype(bool)
    return slice(top, bottom), slice(left, right), inside
