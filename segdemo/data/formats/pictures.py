"""Masks that are pictures: a look at whole trees of them before any is read as class ids.

Class ids survive in PNG, TIFF, BMP and GIF, in 8 bits or in more as long as none is above 255. JPEG and WebP are
lossy and are not read. Grey that is written in three channels, as OpenCV does, is grey.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image, ImageChops

from segdemo.core import apart, decoding, label_maps
from segdemo.core.labels import VOID, VOID_COLOR, LabelSet
from segdemo.core.photos import Limits
from segdemo.core.quiet import quiet_pillow
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.reader import Reader

WHITE = 128  # of 0..255, and more
SAVE = "save the mask as PNG."
_PNG = b"\x89PNG\r\n\x1a\n"
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")


@dataclass(frozen=True)
class Look:
    """What masks have in common.

    Attributes:
        black_and_white: whether they are that, some white among them, so that they hold no class ids.
        highest: the highest class id in those that hold ids; -1 without any.
        black: whether a colour picture has black pixels.
        colored: whether there are colour pictures without a palette.
        smeared: whether one is black and white with greys between, as scaling and JPEG leave them.
        values: all that there are in those that hold ids, void's too.
        greys: those of them that are stored as grey, not as indices of a palette.
    """

    black_and_white: bool = False
    highest: int = -1
    black: bool = False
    colored: bool = False
    smeared: bool = False
    values: frozenset[int] = frozenset()
    greys: frozenset[int] = frozenset()


def look(reader: Reader, files: Iterable[str], enough: Callable[[Look], bool]) -> Look:
    """Look at masks until it is clear what they are.

    Args:
        reader: of the archive.
        files: names of the masks.
        enough: function from a ``Look`` at those seen so far to whether the others need not be seen, asked once
            one of them is not black and white.

    Returns:
        A ``Look``; masks that cannot be read tell nothing.
    """
    found = Look()
    plain, white, black, colored, smeared = True, False, False, False, False
    values: set[int] = set()
    greys: set[int] = set()
    for file in files:
        try:
            data = as_png(reader, file)
        except ExchangeError:
            continue
        picture = _decoded(data, reader.limits)
        if picture is None:
            continue
        if picture.mode == "L" and label_maps.bit_depth(data) < 8:
            picture = Image.fromarray(label_maps.stored_greys(picture, label_maps.bit_depth(data)))
        kind = _kind(picture)
        white, plain = white or kind == "white", plain and kind != "other"
        if picture.mode in ("RGB", "RGBA"):
            black = black or bool((np.asarray(picture.convert("RGB")) == 0).all(-1).any())
        is_grey = picture.mode in ("1", "L")
        picture = _grey(picture) or picture
        if picture.mode in ("P", "L"):
            counts = np.array(picture.histogram()[:256])
            smeared = smeared or (picture.mode == "L" and _is_smeared(counts))
            values.update(np.flatnonzero(counts).tolist())
        if is_grey:
            greys.update(np.flatnonzero(picture.convert("L").histogram()).tolist())
        elif picture.mode in ("RGB", "RGBA"):
            colored = colored or kind == "other"
        highest = max(values - {VOID}, default=-1)
        found = Look(plain and white, highest, black, colored, smeared, frozenset(values), frozenset(greys))
        if not plain and enough(found):
            break
    return found


def read_white(reader: Reader, file: str, size: tuple[int, int]) -> np.ndarray:
    """Where a black and white mask is white: bool of ``size`` (height, width). Raises ExchangeError."""
    return np.asarray(picture(reader, file, size).convert("L")) >= WHITE


def picture(reader: Reader, file: str, size: tuple[int, int]) -> Image.Image:
    """A mask of ``size`` (height, width) as a decoded picture of 8 bits a channel. Raises ExchangeError."""
    found = _decoded(as_png(reader, file), reader.limits)
    if found is None:
        raise ExchangeError(f"{file} is no picture that can be read: save or download it again.")
    if found.size[::-1] != tuple(size):
        raise ExchangeError(
            f"it measures {found.size[0]}x{found.size[1]} pixels, but its photo measures {size[1]}x{size[0]}: "
            "a mask must have exactly the size of its photo."
        )
    return found


def as_png(reader: Reader, file: str) -> bytes:
    """A mask as the bytes of a PNG with 8 bits a channel, as ``label_maps.decode_png`` reads it.

    Raises:
        ExchangeError: damaged, lossy, too large, several pictures, or ids above 255. What is wrong with a PNG of
            8 bits is left for ``decode_png`` to say.
    """
    data = reader.source.read(file, reader.limits.max_bytes)
    if data.startswith(_PNG) and data[24:25] != b"\x10":
        return data
    if data.startswith(b"\xff\xd8") or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        kind = "JPEG" if data[:1] == b"\xff" else "WebP"
        raise ExchangeError(f"it is a {kind}, which changes class ids, as lossy formats do: {SAVE}")
    if not apart.wanted(data):
        return converted(data, reader.limits).tobytes()
    costs = reader.limits.max_photo_seconds, reader.limits.max_photo_mb
    with (
        refusing(f"it takes too much time or memory to decode: {SAVE}", apart.CostError),
        refusing(f"it cannot be decoded now: try again, or {SAVE}", OSError),
    ):
        try:
            return apart.run(f"{__name__}:converted", data, *costs, limits=asdict(reader.limits)).tobytes()
        except apart.ApartError as error:
            raise ExchangeError(str(error)) from None


def as_grey(data: bytes, limits: Limits) -> bytes | None:
    """A PNG in colour, or with opacity, that is grey and opaque all over, as a grey one; None for any other."""
    decoded = _decoded(data, limits)
    grey = decoded and _grey(decoded)
    if not grey:
        return None
    out = io.BytesIO()
    grey.save(out, "PNG", compress_level=1)
    return out.getvalue()


def in_colors(data: bytes, label_set: LabelSet, limits: Limits, grey: bool) -> bytes | None:
    """A palettized PNG, or with ``grey`` a grey one, as one in RGB, if all of its colours are a label set's; else None.

    So colours count, and not numbers, where a file says which colours classes have.
    """
    picture = _decoded(data, limits)
    if (
        picture is None
        or picture.mode not in (("P", "1", "L") if grey else ("P",))
        or "transparency" in picture.info
    ):
        return None
    rgb = picture.convert("RGB")
    found = rgb.getcolors(256)
    if found is None or not {color for _, color in found} <= {*label_set.colors, VOID_COLOR}:
        return None
    out = io.BytesIO()
    rgb.save(out, "PNG", compress_level=1)
    return out.getvalue()


def converted(data: bytes, limits: Limits | dict) -> np.ndarray:
    """The bytes of a picture as those of a PNG of 8 bits, uint8 (N,), as ``as_png`` says. Raises ExchangeError."""
    limits = Limits(**limits) if isinstance(limits, dict) else limits
    # Hostile bytes make the parser raise anything.
    with (
        quiet_pillow,
        refusing(f"it is not a PNG, TIFF, BMP or GIF that can be read: {SAVE}", Exception),
        refusing(_too_large(limits), Image.DecompressionBombError),
        refusing(f"it takes too much time to decode: {SAVE}", decoding.OutOfTimeError),
    ):
        file = decoding.TimedFile(data, decoding.Clock(limits.max_photo_seconds))
        picture = Image.open(file, formats=("PNG", "TIFF", "BMP", "GIF"))
        _check(picture, limits)
        if why := decoding.objection(data, *picture.size):
            raise ExchangeError(f"it {why}.")
        picture.load()
        out = io.BytesIO()
        _eight_bits(picture).save(out, "PNG", compress_level=1)
    return np.frombuffer(out.getvalue(), np.uint8)


def _too_large(limits):
    return f"it has more than {limits.max_pixels / 1e6:g} million pixels."


def _check(picture, limits):
    """Raises ExchangeError: too large, several pictures, or lossy inside."""
    if picture.width * picture.height > limits.max_pixels:
        raise ExchangeError(_too_large(limits))
    if getattr(picture, "n_frames", 1) > 1:
        many = f"it holds {picture.n_frames} pictures where a mask is one"
        raise ExchangeError(f"{many}: save the right one as PNG.")
    if picture.format == "TIFF" and picture.info.get("compression") in _LOSSY_TIFF:
        raise ExchangeError(f"it is a TIFF with lossy compression, which changes class ids: {SAVE}")


def _eight_bits(picture):
    """A picture of more bits as grey of 8, if all of its values are ids. Raises ExchangeError."""
    if picture.mode in ("1", "L", "P", "LA", "RGB", "RGBA"):
        if picture.format == "PNG":  # Pillow keeps 16 bits of grey alone, and cuts those of colours
            raise ExchangeError("it has 16 bits per channel: save the mask with 8 bits.")
        return picture
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        raise ExchangeError(f"it holds {picture.mode}, which is neither class ids nor RGB: {SAVE}")
    values = np.asarray(picture)
    with np.errstate(invalid="ignore"):
        ids = values.astype(np.uint8)
    if not np.array_equal(ids, values):
        least, most = (f"{v:g}" for v in (values.min(), values.max()))
        ids = "class ids are whole numbers from 0 to 255"
        raise ExchangeError(f"it holds values from {least} to {most} where {ids}.")
    return Image.fromarray(ids)


def _decoded(data, limits):
    """The bytes of a PNG as a decoded picture, or None."""
    with quiet_pillow:
        try:
            file = decoding.TimedFile(data, decoding.Clock(limits.max_photo_seconds))
            picture = Image.open(file, formats=("PNG",))
            small = picture.width * picture.height <= limits.max_pixels
            if small and not decoding.objection(data, *picture.size):
                picture.load()
                return picture
        except Exception:  # hostile bytes make the parser raise anything
            pass
    return None


def _grey(picture):
    """A picture of several channels that is grey and opaque all over, as one channel; None for any other."""
    if picture.mode not in ("RGB", "RGBA", "LA"):
        return None
    first, *others = picture.split()
    if picture.mode != "RGB" and others.pop().getextrema() != (255, 255):
        return None
    same = all(ImageChops.difference(first, other).getbbox() is None for other in others)
    return first if same else None


def _is_smeared(counts):
    """Whether values that are counted are mostly near 0 and near 255, and too many to be ids."""
    used, near = np.flatnonzero(counts[:VOID]), counts[:32].sum() + counts[-32:].sum()
    ends = counts[:32].any() and counts[-32:].any()
    return bool(ends and len(used) > 8 and used[-1] > 200 and near >= 0.8 * counts.sum())


def _kind(picture):
    """``"black"`` all over, ``"white"`` for black and white, or ``"other"``."""
    if picture.mode == "P":
        used = [i for i, count in enumerate(picture.histogram()) if count]
        stored = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        colors = stored[[i for i in used if i < len(stored)]]
        if len(colors) < len(used):
            return "other"
    elif picture.mode in ("1", "L", "LA", "RGB", "RGBA"):
        found = picture.convert("RGB").getcolors(8)  # None if there are more
        colors = np.array([color for _, color in found or []], np.uint8).reshape(-1, 3)
    else:
        return "other"
    grey = bool(len(colors)) and (colors == colors[:, :1]).all() and np.isin(colors, (0, 255)).all()
    if not grey:
        return "other"
    return "white" if (colors == 255).any() else "black"
