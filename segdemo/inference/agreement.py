"""Where models agree: shares of votes per pixel, and a picture of them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from segdemo.core.arrays import Floats, UInt8
from segdemo.core.labels import LabelSet
from segdemo.errors import UserError

DOUBT = (255, 106, 0)  # colour of disagreement; orange stands out on grey for colour-blind people too


def at_size(label_map: UInt8, height: int, width: int) -> UInt8:
    """A label map at another size, by the nearest pixel: uint8 (H, W) to uint8 (height, width)."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for old, new in zip(label_map.shape, (height, width), strict=True)
    )
    sampled: UInt8 = label_map[rows[:, None], columns]
    return sampled


def foreground(label_map: UInt8, label_set: LabelSet) -> UInt8:
    """What any two label sets with a background can be compared in: 1 where there is something, else 0.

    Args:
        label_map: uint8 (H, W).
        label_set: its ``LabelSet``.

    Returns:
        uint8 (H, W).

    Raises:
        ValueError: the label set has no background.
    """
    if label_set.background is None:
        raise UserError(f"{label_set.title} has no background to compare with.")
    return np.asarray(label_map != label_set.background, np.uint8)


def agreement(label_maps: Sequence[UInt8]) -> Floats:
    """Share of the label maps that name the most named class of each pixel.

    Args:
        label_maps: two or more uint8 (H, W) of one size and one label set.

    Returns:
        float32 (H, W), 1 where all agree, never below one over their number.

    Raises:
        ValueError: fewer than two, or of different sizes.
    """
    if len(label_maps) < 2 or len({label_map.shape for label_map in label_maps}) > 1:
        raise UserError("Agreement takes two or more label maps of one size.")
    most = np.zeros(label_maps[0].shape, np.uint8)
    # A few comparisons of whole maps: quicker than a count for each of the classes.
    for i, one in enumerate(label_maps[:-1]):
        votes = np.ones(one.shape, np.uint8)
        for other in label_maps[i + 1 :]:  # with those before it, its votes have been counted already
            votes += one == other
        np.maximum(most, votes, out=most)
    return most / np.float32(len(label_maps))


def picture(photo: UInt8, shares: Floats) -> UInt8:
    """The photo in grey, the more orange the less the models agree.

    Args:
        photo: uint8 (H, W, 3).
        shares: float (H, W), what ``agreement`` returns.

    Returns:
        uint8 (H, W, 3).
    """
    grey = Image.fromarray(photo).convert("L").convert("RGB")
    # At the least agreement that is possible, about a half, the colour is nearly opaque.
    alpha = np.rint(np.clip((1 - shares) * 1.8, 0, 0.9) * 255).astype(np.uint8)
    color = Image.new("RGB", grey.size, DOUBT)
    return np.asarray(Image.composite(color, grey, Image.fromarray(alpha)))
