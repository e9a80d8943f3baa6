"""Label maps that are hard to write as shapes and to read back, for tests of the formats. Ids 0, 1, 2 and void."""

import numpy as np

from segdemo.core.labels import VOID
from segdemo.core.shapes import fill


def rasterise(rings, height, width):
    """What rings fill of a picture: bool (height, width)."""
    mask = np.zeros((height, width), bool)
    rows, columns, inside = fill(rings, height, width)
    mask[rows, columns] = inside
    return mask


def drawn(*rows):
    """The label map of some text: a character a pixel, ``.`` for 0 and ``x`` for void."""
    ids = {".": 0, "x": VOID}
    return np.array([[ids.get(c, c) for c in row] for row in rows]).astype(np.uint8)


LABEL_MAPS = {
    "empty": np.zeros((5, 7), np.uint8),
    "void only": np.full((5, 7), VOID, np.uint8),
    "one class only": np.full((3, 4), 1, np.uint8),
    "a single pixel": drawn("1"),
    "one pixel": drawn(".....", ".....", "..1..", "....."),
    "pixels in all corners": drawn("1...2", ".....", "x...1"),
    "a row": drawn("1121x"),
    "a column": drawn("1", "1", ".", "2", "x"),
    "touching diagonally": drawn("1....", ".1...", "..1..", "...2.", "....x"),
    "checkerboard": drawn("1.1.1", ".1.1.", "1.1.1"),
    "two classes in a checkerboard": drawn("12121", "21212", "12121"),
    "thin lines": drawn("1.1.1", "1.1.1", "11111", "..1..", "1.1.."),
    "a hole": drawn("11111", "1...1", "11111"),
    "a hole filled with another class": drawn("1111", "1221", "1221", "1111"),
    "holes in holes": drawn(
        "111111111",
        "1.......1",
        "1.22222.1",
        "1.2...2.1",
        "1.2.x.2.1",
        "1.2...2.1",
        "1.22222.1",
        "1.......1",
        "111111111",
    ),
    "a hole with void around": drawn("xxxxx", "x111x", "x1.1x", "x111x", "xxxxx"),
    "a hole open at a corner": drawn("1111.", "1..1.", "1.1..", "11..."),
    "holes touching at a corner": drawn("11111", "1.111", "11.11", "11111"),
    "a ring around a corner": drawn("111..", "1.1..", "111..", "...11", "...11"),
    "noise": np.random.default_rng(1).choice(np.array([0, 1, 2, VOID], np.uint8), (23, 31)),
    "mostly one class": np.random.default_rng(2).choice(
        np.array([1, 0, 2, VOID], np.uint8), (29, 17), p=(0.8, 0.1, 0.05, 0.05)
    ),
}
