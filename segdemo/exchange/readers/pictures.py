"""Masks that are pictures: a look at whole trees of them before any is read as class ids."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segdemo import intake
from segdemo.exchange.annotation import ExchangeError
from segdemo.labels import VOID

WHITE = 128  # of 0..255, and more


@dataclass(frozen=True)
class Look:
    """What masks have in common.

    Attributes:
        black_and_white: whether they are that, some white among them, so that they hold no class ids.
        highest: the highest class id in those that hold ids; -1 without any.
        black: whether a colour picture has black pixels.
    """

    black_and_white: bool = False
    highest: int = -1
    black: bool = False


def look(reader, files, enough):
    """Look at masks until it is clear what they are.

    Args:
        reader: the ``Reader`` of the archive.
        files: names of the masks.
        enough: function from a ``Look`` at those seen so far to whether the others need not be seen, asked once
            one of them is not black and white.

    Returns:
        A ``Look``; masks that cannot be read tell nothing.
    """
    white = False
    plain, highest, black = True, -1, False
    for file in files:
        picture = _open(reader, file)
        if picture is None:
            continue
        kind = _kind(picture)
        if kind == "white":
            white = True
        elif kind == "other":
            plain = False
        if picture.mode in ("P", "L"):
            ids = np.flatnonzero(picture.histogram()[:256])
            highest = max([highest, *(int(i) for i in ids if i != VOID)])
        elif picture.mode in ("RGB", "RGBA"):
            black = black or bool((np.asarray(picture.convert("RGB")) == 0).all(-1).any())
        if not plain and enough(Look(False, highest, black)):
            break
    return Look(plain and white, highest, black)


def read_white(reader, file, size):
    """Where a black and white mask is white: bool of ``size`` (height, width). Raises ExchangeError."""
    picture = _open(reader, file)
    if picture is None:
        raise ExchangeError(f"{file} is no PNG that can be read: save or download it again.")
    if picture.size[::-1] != tuple(size):
        raise ExchangeError(
            f"it measures {picture.size[0]}x{picture.size[1]} pixels, but its photo measures {size[1]}x{size[0]}: "
            "a mask must have exactly the size of its photo."
        )
    return np.asarray(picture.convert("L")) >= WHITE


def _open(reader, file):
    """A mask as a decoded picture, or None."""
    try:
        data = reader.source.read(file, reader.limits.max_bytes)
    except ExchangeError:
        return None
    with intake.quiet_pillow:
        try:
            picture = Image.open(io.BytesIO(data), formats=("PNG",))
            if picture.width * picture.height > reader.limits.max_pixels:
                return None
            picture.load()
        except Exception:  # hostile bytes make the parser raise anything
            return None
    return picture


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
