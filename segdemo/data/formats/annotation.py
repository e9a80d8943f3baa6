"""What goes out and comes in: a photo with its label map."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segdemo.core.labels import LabelSet
from segdemo.errors import UserError

SUBSETS = ("train", "val", "test")
FORBIDDEN = re.compile(r'[\x00-\x20\x7f<>:"/\\|?*]')  # no file name anywhere, or cut off by list readers


class ExchangeError(UserError):
    """An export or import that cannot be done. The message is one sentence meant for the person who asked."""


@contextmanager
def refusing(why: str, *kinds: type[Exception]) -> Iterator[None]:
    """Raise ExchangeError(why) for errors of these kinds; without any, for those of values that are not as expected."""
    kinds = kinds or (KeyError, TypeError, ValueError, OverflowError)
    try:
        yield
    except ExchangeError:
        raise
    except kinds as error:
        raise ExchangeError(why) from error


@dataclass
class Annotation:
    """One photo with its label map.

    Attributes:
        id: what it is called where it is kept: no spaces, slashes or other characters file systems refuse.
        image: the photo: encoded bytes, a path, or uint8 (H, W, 3) RGB. Imports give bytes.
        label_map: uint8 (H, W), the size of the upright photo; None for a photo without a mask.
        label_set: the ``LabelSet`` of its ids.
        meta: plain JSON data of the annotation's own. ``meta["source"]``, the name the photo came with, is what
            its files are called in an export; without one it is the id. ``meta["subset"]`` (train, val or test)
            sorts it into the lists of VOC, the documents of COCO and the folders of YOLO and labelme.
        name: file name the photo came with, where it came from an archive, else "".
        file: name of that file in the archive, with its folders, else "".
        parts: (file, what) of each annotation that was painted into the label map, as ``Account`` names them.
    """

    id: str
    image: bytes | Path | np.ndarray
    label_map: np.ndarray | None
    label_set: LabelSet
    meta: dict = field(default_factory=dict)
    name: str = ""
    file: str = ""
    parts: list[tuple[str, str]] = field(default_factory=list)
