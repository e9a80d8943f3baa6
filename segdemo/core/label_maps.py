"""Label maps and their forms: PNG, colours, overlays, outlines, run lengths, polygons, confusion matrices.

A label map is uint8 (H, W): class ids of one label set and ``VOID`` (255). Nothing here resizes one.
Coordinates in messages are (x, y) with (0, 0) at the top left, as image editors show them.
"""

import io

import numpy as np
from PIL import Image

from segdemo.core import decoding
from segdemo.core.labels import VOID, voc_color
from segdemo.core.photos import IntakeError, Limits, quiet_pillow, read_bytes
from segdemo.errors import UserError


class MaskError(UserError):
    """A mask that cannot be used. The message is one sentence meant for the person who sent it."""


# ------------------------------------------------------------------------------------------------ checks


def check_label_map(label_map, label_set=None):
    """The label map itself, if it is one.

    Args:
        label_map: what should be uint8 (H, W) with H and W at least 1.
        label_set: the ``LabelSet`` its ids must belong to (besides ``VOID``); None allows all 256.

    Raises:
        MaskError: wrong type or shape, or an id outside the label set: which, and where first.
    """
    if not isinstance(label_map, np.ndarray) or label_map.dtype != np.uint8 or label_map.ndim != 2:
        shown = (
            f"{label_map.dtype} {label_map.shape}" if isinstance(label_map, np.ndarray) else type(label_map)
        )
        raise MaskError(f"A label map is a uint8 array (height, width), not {shown}.")
    if not label_map.size:
        raise MaskError("The label map holds no pixels.")
    if label_set is not None:
        present = np.flatnonzero(_counts(label_map))
        strangers = [i for i in present if len(label_set) <= i < VOID]
        if strangers:
            x, y = _first(label_map == strangers[0])
            raise MaskError(
                f"The pixel at x={x}, y={y} has class id {strangers[0]}, but {label_set.title} has only "
                f"the ids 0 to {len(label_set) - 1} and {VOID} for void."
            )
    return label_map


def _counts(label_map):
    """Pixels per id, (256,) int64. Pillow's histogram is three times faster than ``np.bincount`` on uint8."""
    return np.array(Image.fromarray(label_map).histogram(), np.int64)


def _first(where):
    """(x, y) of the first True in reading order."""
    y, x = divmod(int(where.argmax()), where.shape[1])
    return x, y


# --------------------------------------------------------------------------------------------------- PNG


def encode_png(label_map, label_set):
    """Palettized PNG: mode P, one byte per pixel, the label set's palette, (224, 224, 192) for void.

    Args:
        label_map: uint8 (H, W).
        label_set: its ``LabelSet``.

    Returns:
        The bytes of the PNG file; ``decode_png`` gives back the same label map.

    Raises:
        MaskError: not a label map of this label set.
    """
    image = Image.fromarray(check_label_map(label_map, label_set))
    image.putpalette(label_set.palette())
    out = io.BytesIO()
    # Level 1 is several times faster than the default and label maps are small anyway.
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def decode_png(source, label_set=None, size=None, limits=None):
    """Read a mask that is palettized, indexed grey (the value is the id), or RGB in the palette's colours.

    The ids of a palettized file are its indices, except where an editor has rearranged the palette: when the
    colours in use are neither the label set's nor VOC's own nor a grey ramp at their indices, yet all belong
    to the label set, the colours decide. Transparent palette entries are ids like any other.

    Args:
        source: bytes, a path or an open binary file.
        label_set: the ``LabelSet`` to check against; needed to read RGB. None accepts all 256 ids.
        size: (height, width) the mask must have, or None.
        limits: ``photos.Limits`` on file size and pixels; None reads them from the environment.

    Returns:
        uint8 (H, W), contiguous, at the size of the file: masks are never resized.

    Raises:
        MaskError: not a PNG, damaged, too large, of another size, 16-bit, partly transparent, a colour
            outside the palette or an id outside the label set (which, and where).
    """
    limits = limits or Limits.from_env()
    try:
        name, data = read_bytes(source, limits)
    except IntakeError as error:
        raise MaskError(str(error)) from error
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        lossy = data.startswith(b"\xff\xd8") or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        why = ", because lossy formats change class ids" if lossy else ""
        raise MaskError(f"{name} is not a PNG: save the mask as PNG{why}.")
    with quiet_pillow:
        try:
            file = decoding.TimedFile(data, decoding.Clock(limits.max_photo_seconds))
            image = Image.open(file, formats=("PNG",))
        except Image.DecompressionBombError as error:
            raise MaskError(f"{name} has more than {limits.max_pixels / 1e6:g} million pixels.") from error
        except Exception as error:  # hostile bytes make the parser raise anything
            raise MaskError(f"{name} is a damaged PNG: save or download it again.") from error
        _check_size(name, image.size, size, limits)
        if why := decoding.objection(data, *image.size):
            raise MaskError(f"{name} {why}.")
        depth, kind = data[24], data[25]  # of the IHDR chunk, which is always first
        if depth == 16:
            raise MaskError(f"{name} has 16 bits per channel: save the mask with 8 bits.")
        try:
            image.load()
        except decoding.OutOfTimeError as error:
            seconds = limits.max_photo_seconds
            raise MaskError(
                f"{name} takes more than {seconds} seconds to decode: save the mask again."
            ) from error
        except Exception as error:
            raise MaskError(f"{name} is cut short or damaged: save or download it again.") from error
    try:
        return check_label_map(_ids(image, depth, kind, label_set), label_set)
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from error


def _check_size(name, found, wanted, limits):
    width, height = found
    if wanted is not None and (height, width) != tuple(wanted):
        raise MaskError(
            f"{name} measures {width}x{height} pixels, but its photo measures {wanted[1]}x{wanted[0]}: "
            "a mask must have exactly the size of its photo."
        )
    if width * height > limits.max_pixels:
        raise MaskError(
            f"{name} measures {width}x{height} pixels, more than {limits.max_pixels / 1e6:g} million."
        )


def _ids(image, depth, kind, label_set):
    """Label map of a decoded PNG; ``depth`` and colour type ``kind`` as in its header."""
    if image.mode == "P":
        return _palettized_ids(image, label_set)
    if image.mode in ("LA", "RGBA"):
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() < 255:
            x, y = _first(alpha < 255)
            raise MaskError(f"the pixel at x={x}, y={y} is transparent: save the mask without transparency.")
    if kind in (0, 4):
        grey = np.array(image.getchannel(0), np.uint8)
        if depth < 8 and image.mode == "L":  # Pillow stretches 2 and 4 bits to 0..255
            grey //= 255 // (2**depth - 1)
        elif image.mode == "1":
            grey = (grey > 0).astype(np.uint8)
        return grey
    if label_set is None:
        raise MaskError("the mask holds colours, which need a label set to be read: save it palettized.")
    return rgb_to_label_map(np.asarray(image.convert("RGB")), label_set)


def _palettized_ids(image, label_set):
    indices = np.array(image)
    if label_set is None:
        return indices
    used = np.flatnonzero(_counts(indices))
    palette = np.zeros((256, 3), np.uint8)
    stored = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette[: len(stored)] = stored
    ramps = (_table(label_set), [voc_color(i) for i in range(256)], [(i, i, i) for i in range(256)])
    if any((palette[used] == np.array(ramp)[used]).all() for ramp in ramps):
        return indices
    own = {color: i for i, color in enumerate(map(tuple, _table(label_set).tolist())) if _known(i, label_set)}
    ids = [own.get(tuple(palette[i].tolist())) for i in used]
    if None in ids:
        return indices
    lookup = np.zeros(256, np.uint8)
    lookup[used] = ids
    return lookup[indices]


def _known(index, label_set):
    return index < len(label_set) or index == VOID


# ------------------------------------------------------------------------------------------------ colours


def _table(label_set):
    return np.array(label_set.palette(), np.uint8).reshape(256, 3)


def colourise(label_map, label_set):
    """The label map in the label set's colours.

    Args:
        label_map: uint8 (H, W).
        label_set: its ``LabelSet``.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        MaskError: not a label map of this label set.
    """
    return np.take(_table(label_set), check_label_map(label_map, label_set), axis=0)


def rgb_to_label_map(rgb, label_set):
    """Exact inverse of ``colourise``.

    Args:
        rgb: uint8 (H, W, 3), every pixel in one of the label set's colours or the void colour.
        label_set: the ``LabelSet``.

    Returns:
        uint8 (H, W).

    Raises:
        MaskError: wrong type or shape, or a colour that is not in the palette: which, and where first.
    """
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        shown = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb)
        raise MaskError(f"An RGB mask is a uint8 array (height, width, 3), not {shown}.")
    if not rgb.size:
        raise MaskError("The mask holds no pixels.")
    known = [*range(len(label_set)), VOID]
    codes = _codes(rgb)
    known_codes = _codes(_table(label_set)[known])
    lookup = np.zeros(1 << 24, np.uint8)
    lookup[known_codes] = known
    label_map = lookup[codes]
    back = np.zeros(256, np.uint32)
    back[known] = known_codes
    wrong = back[label_map] != codes  # whatever is not in the lookup came out as class 0
    if wrong.any():
        x, y = _first(wrong)
        raise MaskError(
            f"The pixel at x={x}, y={y} has the colour {tuple(rgb[y, x].tolist())}, which no class of "
            f"{label_set.title} has: use its exact colours and no anti-aliasing."
        )
    return label_map


def _codes(rgb):
    """(..., 3) uint8 to (...) uint32, 0xRRGGBB."""
    codes = rgb[..., 0].astype(np.uint32)
    for channel in (1, 2):
        codes <<= 8
        codes |= rgb[..., channel]
    return codes


def boundaries(label_map, width=1):
    """Where the label changes.

    Args:
        label_map: any integer array (H, W).
        width: how many pixels on either side of a border count, at least 1.

    Returns:
        bool (H, W): True where the pixel ``width`` steps up, down, left or right has another label; with 1,
        both sides of every border in the 4-neighbourhood.
    """
    edge = np.zeros(label_map.shape, bool)
    for axis in (0, 1):
        step = min(width, label_map.shape[axis] - 1)
        if step < 1:
            continue
        ahead, behind = (slice(step, None), slice(None, -step))
        if axis:
            ahead, behind = (slice(None), ahead), (slice(None), behind)
        changed = label_map[ahead] != label_map[behind]
        edge[ahead] |= changed
        edge[behind] |= changed
    return edge


def overlay(image, label_map, label_set, opacity=0.55, outline=True):
    """The photo with every class but the background painted over it.

    Args:
        image: uint8 (H, W, 3) RGB.
        label_map: uint8 (H, W) of the same size.
        label_set: its ``LabelSet``; its background (if it has one) leaves the photo as it is.
        opacity: 0 (photo only) to 1 (colours only).
        outline: also draw each class's side of its borders in the full colour, as wide as the photo's size
            calls for.

    Returns:
        uint8 (H, W, 3).

    Raises:
        MaskError: not a label map of this label set, or another size than the photo.
        ValueError: opacity outside 0..1.
    """
    if not 0 <= opacity <= 1:
        raise UserError(f"The opacity is between 0 and 1, not {opacity}.")
    colors = Image.fromarray(colourise(label_map, label_set))
    if image.shape != (*label_map.shape, 3) or image.dtype != np.uint8:
        wanted = (*label_map.shape, 3)
        raise MaskError(
            f"The photo is {image.dtype} {image.shape}, but its label map asks for uint8 {wanted}."
        )
    strength = np.full(256, round(opacity * 255), np.uint8)
    if label_set.background is not None:
        strength[label_set.background] = 0
    alpha = strength[label_map]
    if outline:
        edge = boundaries(label_map, max(1, round(max(label_map.shape) / 800)))
        if label_set.background is not None:
            edge &= label_map != label_set.background
        alpha[edge] = 255
    return np.array(Image.composite(colors, Image.fromarray(image), Image.fromarray(alpha)))


# ------------------------------------------------------------------------------------------------ numbers


def class_table(label_map, label_set):
    """What is in a label map, for legends.

    Args:
        label_map: uint8 (H, W).
        label_set: its ``LabelSet``.

    Returns:
        One ``{"id", "name", "color": [r, g, b], "pixels", "share"}`` per class present, by id. ``share`` is
        the fraction of all pixels, so the shares add up to 1 less the share of void, which is not listed.

    Raises:
        MaskError: not a label map of this label set.
    """
    counts = _counts(check_label_map(label_map, label_set))
    return [
        {
            "id": i,
            "name": name,
            "color": list(color),
            "pixels": int(counts[i]),
            "share": float(counts[i] / label_map.size),
        }
        for i, (name, color) in enumerate(zip(label_set.classes, label_set.colors, strict=True))
        if counts[i]
    ]


def confusion(truth, prediction, num_classes):
    """Confusion matrix of one photo.

    Args:
        truth: uint8 (H, W), ids below ``num_classes`` or ``VOID``.
        prediction: uint8 (H, W), the same.
        num_classes: K, 1 to 255.

    Returns:
        int64 (K, K), rows truth, columns prediction. Pixels that are void in either are left out (a model
        never predicts void; a person may).

    Raises:
        MaskError: different sizes, or an id that is no class.
    """
    for label_map in (truth, prediction):
        check_label_map(label_map)
    if truth.shape != prediction.shape:
        raise MaskError(f"The truth is {truth.shape} (height, width), the prediction {prediction.shape}.")
    pairs = truth.astype(np.uint16).ravel() << 8 | prediction.ravel()
    table = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
    for name, totals in (("truth", table.sum(1)), ("prediction", table.sum(0))):
        strangers = np.flatnonzero(totals[num_classes:VOID]) + num_classes
        if len(strangers):
            raise MaskError(f"The {name} holds class id {strangers[0]}, but there are {num_classes} classes.")
    return table[:num_classes, :num_classes].astype(np.int64)


def iou(matrix):
    """Intersection over union of every class.

    Args:
        matrix: (K, K) confusion matrix, rows truth.

    Returns:
        float64 (K,) in 0..1; NaN for a class that neither truth nor prediction holds.
    """
    matrix = np.asarray(matrix, np.float64)
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(matrix), np.nan), where=union > 0)


# -------------------------------------------------------------------------------------------- run lengths


def rle_encode(mask, compress=True):
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


def rle_decode(rle):
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


def _pack(counts):
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
    return codes.astype(np.uint8).tobytes().decode("ascii")


def _unpack(text):
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


def polygons(mask):
    """The outline of a mask, traced exactly along pixel edges.

    Args:
        mask: bool (H, W).

    Returns:
        One list of rings per 4-connected region, in reading order of their first pixels. A ring is int64
        (N, 2) of (x, y) pixel corners, x in 0..W and y in 0..H, only where it turns and without repeating
        the first. The first ring of a region is its outside (clockwise on screen); the others are its holes
        (anticlockwise). Rings may touch themselves at corners. ``rasterise`` of all rings gives back exactly
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
    regions = [[] for _ in range(count)]
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


def _edge_runs(mask):
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
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _next_runs(starts, ends, headings, width):
    """Index of the run that follows each: the right turn where two runs leave a corner, else the only one."""
    start_keys = (starts[:, 1] * (width + 1) + starts[:, 0]) * 4 + headings
    corner = (ends[:, 1] * (width + 1) + ends[:, 0]) * 4
    order = np.argsort(start_keys)
    ordered = start_keys[order]

    def find(keys):
        place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        return order[place], ordered[place] == keys

    right, exists = find(corner + (headings + 1) % 4)
    left, _ = find(corner + (headings + 3) % 4)
    return np.where(exists, right, left)


def keyhole(rings):
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
    splices = [[] for _ in rings]
    # Holes hang on outlines that reach further left, so from right to left each is complete by its turn.
    for n in sorted(range(1, len(rings)), key=lambda n: -rings[n][0, 0]):
        x, y = rings[n][0]
        hit = order[np.searchsorted(keys, y * stride + x) - 1]  # the edge before the hole's own in that row
        door = np.array([[xs[hit], y]])
        loop = np.concatenate([door, _spliced(rings[n], splices[n]), rings[n][:1], door])
        along = abs(int(y - rings[owners[hit]][edges[hit], 1]))
        splices[owners[hit]].append((int(edges[hit]), along, loop))
    return _spliced(rings[0], splices[0])


def _from_leftmost(ring):
    return np.roll(ring, -int(np.lexsort((ring[:, 1], ring[:, 0]))[0]), axis=0)


def _unit_edges(rings):
    """Every vertical pixel edge of the rings: its x, its pixel row, its ring, and which edge of that ring."""
    parts = []
    for n, ring in enumerate(rings):
        dy = np.roll(ring[:, 1], -1) - ring[:, 1]
        edge = np.repeat(np.arange(len(ring)), abs(dy))
        offset = np.arange(len(edge)) - np.repeat(np.cumsum(abs(dy)) - abs(dy), abs(dy))
        row = ring[edge, 1] + np.where(dy[edge] > 0, offset, -1 - offset)
        parts.append((ring[edge, 0], row, np.full(len(edge), n), edge))
    return (np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _spliced(ring, splices):
    """``ring`` with each (edge, distance along it, points) put in after the start of its edge."""
    pieces, done = [], 0
    for edge, _, points in sorted(splices, key=lambda splice: splice[:2]):
        pieces += [ring[done : edge + 1], points]
        done = edge + 1
    return np.concatenate([*pieces, ring[done:]])


def rasterise(rings, height, width):
    """Fill polygons by the even-odd rule: a pixel is in if its centre is.

    Args:
        rings: (N, 2) arrays of (x, y) corners in pixels, integer or float, open or closed; outsides and holes
            alike.
        height, width: of the result.

    Returns:
        bool (height, width).

    Raises:
        MaskError: a coordinate that is no number, or far more outline than the picture could hold.
    """
    mask = np.zeros((height, width), bool)
    rows, columns, inside = fill(rings, height, width)
    mask[rows, columns] = inside
    return mask


def fill(rings, height, width):
    """``rasterise`` of the bounding box only, which is what painting many small polygons needs.

    Returns:
        (row slice, column slice, bool array of that window).
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
