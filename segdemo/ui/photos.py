"""Photos on the page: the built-in ones, and a small memory of those decoded last."""

import importlib.util
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from cachetools import LRUCache
from PIL import Image, ImageOps

from segdemo.core import settings
from segdemo.core.faithful import shown_alike
from segdemo.core.labels import LabelSet
from segdemo.core.photos import IntakeError, Limits, encode_jpeg, read_photo

THUMBNAIL = (208, 156)  # pixels, twice what a thumbnail is wide and high


@dataclass(frozen=True)
class BuiltInPhoto:
    """A photo that a package carries.

    Attributes:
        name: of it. credit: whose it is.
        package, file: which package, and where in it.
        suits: names of the label sets whose classes it shows.
    """

    name: str
    package: str
    file: str
    credit: str
    suits: tuple[str, ...] = ()


BUILT_IN = (
    BuiltInPhoto("four", "segdemo", "ui/collage.jpg", "Parts of the four photos below", ("voc",)),
    BuiltInPhoto(
        "cat",
        "skimage",
        "data/chelsea.png",
        "Chelsea, by Stefan van der Walt (scikit-image)",
        ("voc", "pets"),
    ),
    BuiltInPhoto("astronaut", "skimage", "data/astronaut.png", "Eileen Collins, NASA (scikit-image)"),
    BuiltInPhoto(
        "motorcycle",
        "skimage",
        "data/motorcycle_left.png",
        "Middlebury Stereo Benchmark (scikit-image)",
        ("voc",),
    ),
    BuiltInPhoto("coffee", "skimage", "data/coffee.png", "Coffee cup, by Rachel Michetti (scikit-image)"),
    BuiltInPhoto(
        "admiral",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "Grace Hopper, US Navy (Matplotlib)",
        ("voc",),
    ),
)


def built_in_paths() -> dict[BuiltInPhoto, Path]:
    """The built-in photos that are installed. Their packages are found, not imported."""
    paths = {}
    for photo in BUILT_IN:
        spec = importlib.util.find_spec(photo.package)
        if spec and spec.origin:
            path = Path(spec.origin).parent / photo.file
            if path.is_file():
                paths[photo] = path
    return paths


def suiting(label_set: LabelSet) -> dict[BuiltInPhoto, Path]:
    """Those that show classes of a label set; of one that none is known to suit, all but the collage."""
    paths = built_in_paths()
    suited = {photo: path for photo, path in paths.items() if label_set.name in photo.suits}
    return suited or {photo: path for photo, path in paths.items() if photo.package != "segdemo"}


def thumbnail(photo: np.ndarray) -> bytes:
    """A photo uint8 (H, W, 3) as a small JPEG."""
    return encode_jpeg(
        np.asarray(ImageOps.fit(Image.fromarray(photo), THUMBNAIL, Image.Resampling.BILINEAR)), 85
    )


@cache
def built_in_thumbnail(path: Path) -> bytes:
    """``thumbnail`` of a built-in photo."""
    return thumbnail(read_photo(path))


def shown_as_it_is(path: str | Path) -> bool:
    """Whether browsers show the file just as ``photos`` reads it, so that it need not be encoded again.

    Call it on a file that ``photos`` has read: it looks at the header only.
    """
    return shown_alike(Path(path).read_bytes())


class PhotoCache:
    """Decoded photos by path and modification time, the last used ones, up to a number of bytes.

    Args:
        limits: ``photos.Limits``.
        capacity: bytes; None for the setting ``SEGDEMO_PHOTO_CACHE_MB``.
    """

    def __init__(self, limits: Limits, capacity: float | None = None):
        self._limits = limits
        capacity = settings.read("SEGDEMO_PHOTO_CACHE_MB") * 1e6 if capacity is None else capacity
        self._lock = threading.Lock()
        self._photos: LRUCache[tuple[str, int], np.ndarray] = LRUCache(capacity, lambda photo: photo.nbytes)

    def read(self, path: str | Path) -> np.ndarray:
        """The photo as uint8 (H, W, 3), not to be written to. Raises ``photos.IntakeError``."""
        path = Path(path)
        if not path.is_file():  # temporary files go, while pages that name them stay
            raise IntakeError("This photo is not kept here any more: choose it again.")
        key = (str(path), path.stat().st_mtime_ns)
        with self._lock:
            if (known := self._photos.get(key)) is not None:
                return known
        photo = read_photo(path, self._limits)
        photo.setflags(write=False)
        if photo.nbytes <= self._photos.maxsize:
            with self._lock:
                self._photos[key] = photo
        return photo
