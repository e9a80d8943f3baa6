"""Label maps and their forms: PNG, colours, overlays, class tables, confusion matrices.

A label map is uint8 (H, W): class ids of one label set and ``VOID`` (255). Nothing here resizes one.
Coordinates in messages are (x, y) with (0, 0) at the top left, as image editors show them.
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segdemo.core import decoding
from segdemo.core.arrays import AnyArray, Bools, Floats, Ints, UInt8
from segdemo.core.display import display_colors
from segdemo.core.labels import VOID, LabelSet, voc_color
from segdemo.core.photos import IntakeError, Limits, Source, read_bytes
from segdemo.core.quiet import quiet_pillow
from segdemo.errors import UserError


class MaskError(UserError):
    """A mask that cannot be used. The message is one sentence meant for the person who sent it."""


# ------------------------------------------------------------------------------------------------ checks


def check_label_map(label_map: Any, label_set: LabelSet | None = None) -> UInt8:
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
    if label_set is not None and label_map.max() >= len(label_set):
        present = np.flatnonzero(_counts(label_map))
        strangers = [i for i in present if len(label_set) <= i < VOID]
        if strangers:
            x, y = _first(label_map == strangers[0])
            raise MaskError(
                f"The pixel at x={x}, y={y} has class id {strangers[0]}, but {label_set.title} has only "
                f"the ids 0 to {len(label_set) - 1} and {VOID} for void."
            )
    return label_map


def _counts(label_map: UInt8) -> Ints:
    """Pixels per id, (256,) int64. Pillow's histogram is three times faster than ``np.bincount`` on uint8."""
    return np.array(Image.fromarray(label_map).histogram(), np.int64)


def pixel_counts(label_map: UInt8) -> dict[int, int]:
    """Class id to pixels of a label map uint8 (H, W), for the ids that occur."""
    return {i: count for i, count in enumerate(_counts(label_map).tolist()) if count}


def _first(where: Bools) -> tuple[int, int]:
    """(x, y) of the first True in reading order."""
    y, x = divmod(int(where.argmax()), where.shape[1])
    return x, y


# --------------------------------------------------------------------------------------------------- PNG


def encode_png(label_map: UInt8, label_set: LabelSet) -> bytes:
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


def decode_png(
    source: Source,
    label_set: LabelSet | None = None,
    size: tuple[int, int] | None = None,
    limits: Limits | None = None,
) -> UInt8:
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
    name, image, depth, kind = _decoded(source, size, limits or Limits.from_env())
    try:
        return check_label_map(_ids(image, depth, kind, label_set), label_set)
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from error


def decode_mask(source: Source, size: tuple[int, int] | None = None, limits: Limits | None = None) -> Bools:
    """Read the mask of one thing: a PNG of greys, white inside and black outside.

    Args:
        source: bytes, a path or an open binary file.
        size: (height, width) the mask must have, or None.
        limits: as for ``decode_png``.

    Returns:
        bool (H, W): True where a pixel is over 127.

    Raises:
        MaskError: as ``decode_png``, and for colours, transparency or several frames.
    """
    name, image, *_ = _decoded(source, size, limits or Limits.from_env())
    still = not getattr(image, "is_animated", False)
    if image.mode in ("P", "RGB"):
        with quiet_pillow:
            red, green, blue = (np.asarray(band) for band in image.convert("RGB").split())
        if np.array_equal(red, green) and np.array_equal(green, blue):
            image = Image.fromarray(red)
    if image.mode not in ("1", "L") or not still:
        raise MaskError(
            f"{name} is no mask of one thing: save it as a grey PNG without transparency, 255 inside and 0 outside."
        )
    inside: Bools = np.asarray(image.convert("L")) > 127
    return inside


def _decoded(
    source: Source, size: tuple[int, int] | None, limits: Limits
) -> tuple[str, Image.Image, int, int]:
    """What to call a PNG, its pixels, and depth and colour type as in its header. Raises MaskError."""
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
        if objection := decoding.objection(data, *image.size):
            raise MaskError(f"{name} {objection}.")
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
    return name, image, depth, kind


def _check_size(name: str, found: tuple[int, int], wanted: tuple[int, int] | None, limits: Limits) -> None:
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


def _ids(image: Image.Image, depth: int, kind: int, label_set: LabelSet | None) -> UInt8:
    """Label map of a decoded PNG; ``depth`` and colour type ``kind`` as in its header."""
    if image.mode == "P":
        return _palettized_ids(image, label_set)
    if image.mode in ("LA", "RGBA"):
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() < 255:
            x, y = _first(alpha < 255)
            raise MaskError(f"the pixel at x={x}, y={y} is transparent: save the mask without transparency.")
    if kind in (0, 4):
        return stored_greys(image, depth)
    if label_set is None:
        raise MaskError("the mask holds colours, which need a label set to be read: save it palettized.")
    return rgb_to_label_map(np.asarray(image.convert("RGB")), label_set)


def stored_greys(image: Image.Image, depth: int) -> UInt8:
    """The numbers in a grey PNG of ``depth`` bits, uint8 (H, W), which Pillow stretches to 0..255."""
    grey = np.array(image.getchannel(0), np.uint8)
    if depth < 8 and image.mode == "L":
        grey //= 255 // (2**depth - 1)
    elif image.mode == "1":
        grey = (grey > 0).astype(np.uint8)
    return grey


def bit_depth(png: bytes) -> int:
    """Bits a channel of a PNG has, by its header, the first 25 bytes; 8 for what is no PNG."""
    return png[24] if len(png) > 24 and png.startswith(b"\x89PNG\r\n\x1a\n") else 8


def _palettized_ids(image: Image.Image, label_set: LabelSet | None) -> UInt8:
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
    lookup[used] = np.array(ids, np.uint8)
    mapped: UInt8 = lookup[indices]
    return mapped


def _known(index: int, label_set: LabelSet) -> bool:
    return index < len(label_set) or index == VOID


# ------------------------------------------------------------------------------------------------ colours


def _table(label_set: LabelSet) -> UInt8:
    return np.array(label_set.palette(), np.uint8).reshape(256, 3)


def colourise(label_map: UInt8, label_set: LabelSet) -> UInt8:
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


def rgb_to_label_map(rgb: Any, label_set: LabelSet) -> UInt8:
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


def _codes(rgb: UInt8) -> npt.NDArray[np.uint32]:
    """(..., 3) uint8 to (...) uint32, 0xRRGGBB."""
    codes = rgb[..., 0].astype(np.uint32)
    for channel in (1, 2):
        codes <<= 8
        codes |= rgb[..., channel]
    return codes


def boundaries(label_map: AnyArray, width: int = 1) -> Bools:
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
        every = (slice(None),) * axis
        ahead, behind = (*every, slice(step, None)), (*every, slice(None, -step))
        changed = label_map[ahead] != label_map[behind]
        edge[ahead] |= changed
        edge[behind] |= changed
    return edge


def overlay(
    image: UInt8, label_map: UInt8, label_set: LabelSet, opacity: float = 0.4, outline: bool = True
) -> UInt8:
    """The photo with every class but the background painted over it, in the colours of ``display``.

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
    table = _table(label_set).copy()
    table[: len(label_set)] = display_colors(label_set)
    colors = Image.fromarray(table[check_label_map(label_map, label_set)])
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


def class_table(label_map: UInt8, label_set: LabelSet) -> list[dict[str, Any]]:
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


def confusion(truth: UInt8, prediction: UInt8, num_classes: int) -> Ints:
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


def iou(matrix: Any) -> Floats:
    """Intersection over union of every class.

    Args:
        matrix: (K, K) confusion matrix, rows truth.

    Returns:
        float64 (K,) in 0..1; NaN for a class that neither truth nor prediction holds.
    """
    matrix = np.asarray(matrix, np.float64)
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    out: Floats = np.full(len(matrix), np.nan)
    np.divide(hits, union, out=out, where=union > 0)
    return out
