"""Photos on the page: the built-in ones, and a small memory of those decoded last."""

import importlib.util
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segdemo.core import settings
from segdemo.core.faithful import shown_alike
from segdemo.core.photos import Limits, read_photo


@dataclass(frozen=True)
class BuiltInPhoto:
    """A photo that a package we depend on carries."""

    name: str
    package: str
    file: str
    credit: str


BUILT_IN = (
    BuiltInPhoto("cat", "skimage", "data/chelsea.png", "Chelsea, by Stefan van der Walt (scikit-image)"),
    BuiltInPhoto("astronaut", "skimage", "data/astronaut.png", "Eileen Collins, NASA (scikit-image)"),
    BuiltInPhoto(
        "motorcycle", "skimage", "data/motorcycle_left.png", "Middlebury Stereo Benchmark (scikit-image)"
    ),
    BuiltInPhoto("coffee", "skimage", "data/coffee.png", "Coffee cup, by Rachel Michetti (scikit-image)"),
    BuiltInPhoto(
        "admiral", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "Grace Hopper, US Navy (Matplotlib)"
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
        self._capacity = settings.read("SEGDEMO_PHOTO_CACHE_MB") * 1e6 if capacity is None else capacity
        self._lock = threading.Lock()
        self._photos: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()

    def read(self, path: str | Path) -> np.ndarray:
        """The photo as uint8 (H, W, 3), not to be written to. Raises ``photos.IntakeError``."""
        path = Path(path)
        key = (str(path), path.stat().st_mtime_ns if path.is_file() else 0)
        with self._lock:
            if key in self._photos:
                self._photos.move_to_end(key)
                return self._photos[key]
        photo = read_photo(path, self._limits)
        photo.setflags(write=False)
        if photo.nbytes > self._capacity:
            return photo
        with self._lock:
            self._photos[key] = photo
            while sum(p.nbytes for p in self._photos.values()) > self._capacity:
                self._photos.popitem(last=False)
        return photo
