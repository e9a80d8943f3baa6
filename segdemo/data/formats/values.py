"""Plain data that strangers wrote, as what it stands for: ids, numbers, colours, sizes, run lengths and small masks."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from segdemo.core import decoding
from segdemo.core.photos import Limits
from segdemo.core.quiet import quiet_pillow
from segdemo.data.formats.annotation import ExchangeError, refusing


def as_id(value: Any) -> str | None:
    """An id as text: 1, 1.0 and "1" are the same; None for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return str(value).strip() or None


def as_number(value: Any) -> int | float | None:
    """A number, also one that is written as text; None for what is none."""
    try:
        if isinstance(value, bool):
            return None
        number = float(value)
        return int(number) if number.is_integer() else number
    except (TypeError, ValueError, OverflowError):
        return None


def as_color(text: Any) -> tuple[int, int, int] | None:
    """The colour that ``"#rrggbb"`` is; None for what is none."""
    try:
        red, green, blue = bytes.fromhex(text.strip().removeprefix("#"))
        return red, green, blue
    except (AttributeError, ValueError):
        return None


def check_size(width: Any, height: Any, size: tuple[int, int]) -> None:
    """Raise ExchangeError if a photo of ``size`` (height, width) has other sides than stated; None, 0 say nothing."""
    stated = [None if side in ("", 0, "0") else side for side in (width, height)]
    if any(s is not None and as_number(s) != real for s, real in zip(stated, size[::-1], strict=True)):
        shown = "x".join("?" if side is None else str(side) for side in stated)
        raise ExchangeError(f"the file says {shown} pixels, but the photo measures {size[1]}x{size[0]}")


def run_lengths(data: dict, size: tuple[int, int]) -> dict:
    """COCO's run lengths for a photo of ``size`` (height, width), checked before anything of that size is made.

    Raises:
        ExchangeError: they are of another size, or none.
    """
    stated, counts = data.get("size"), data.get("counts")
    numbers = [as_number(side) for side in stated] if isinstance(stated, (list, tuple)) else None
    if numbers != list(size):
        raise ExchangeError(f"has a mask of {stated}, its photo {list(size)} (height, width)")
    if not isinstance(counts, (list, str)):
        raise ExchangeError("has a mask without run lengths")
    return {"size": numbers, "counts": counts}


def data_url_mask(url: Any, max_pixels: int) -> np.ndarray:
    """The mask of a PNG in a data URL, covered where it is opaque: bool (h, w). Raises ExchangeError."""
    return small_mask(lambda: base64.b64decode(url.rpartition(",")[2]), max_pixels, alpha=True)


def small_mask(read: Callable[[], bytes], max_pixels: int, alpha: bool = False) -> np.ndarray:
    """The PNG inside a document, whose bytes ``read`` gives, as a mask: bool (h, w). Raises ExchangeError.

    With ``alpha`` pixels are covered where it is opaque, if it has transparency, and not where it is bright.
    """
    # Hostile bytes make the parser raise anything.
    with quiet_pillow, refusing("has a mask that cannot be read", Exception):
        data = read()
        clock = decoding.Clock(Limits.max_photo_seconds)
        image = Image.open(decoding.TimedFile(data, clock), formats=("PNG",))
        if image.width * image.height > max_pixels:
            raise ExchangeError("has a mask that is too large")
        if why := decoding.objection(data, *image.size):
            raise ExchangeError(f"has a mask that {why}")
        opaque = alpha and image.mode in ("RGBA", "LA")
        return np.asarray(image.getchannel("A") if opaque else image.convert("L")) > 0
