"""A clip for whoever has none at hand: built-in photos, past which a camera moves."""

import atexit
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo.core.photos import read_photo
from segdemo.inference.video import Writer
from segdemo.ui.photos import built_in_paths

SIZE = (480, 320)  # pixels
RATE, SECONDS = 10, 3  # frames a second, and how long each photo is shown
# Photo, and what is seen of it when the camera starts and when it stops: centre (x, y) and width, shares of the photo.
SHOTS = (
    ("motorcycle", (0.3, 0.62, 0.45), (0.5, 0.5, 1.0)),
    ("cat", (0.5, 0.5, 1.0), (0.46, 0.45, 0.8)),
    ("astronaut", (0.5, 0.3, 0.6), (0.5, 0.4, 1.0)),
)

_lock = threading.Lock()
_made: list[Path] = []


def available() -> bool:
    """Whether the photos it shows are installed."""
    return {name for name, *_ in SHOTS} <= {photo.name for photo in built_in_paths()}


def sample_clip() -> Path:
    """Path of the MP4. It is made when it is asked for the first time, in half a second. Safe to call from threads."""
    with _lock:
        if not (_made and _made[0].is_file()):
            folder = tempfile.mkdtemp(prefix="segdemo-sample-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            _made[:] = [_make(Path(folder) / "sample.mp4")]
        return _made[0]


def _make(path: Path) -> Path:
    photos = {photo.name: where for photo, where in built_in_paths().items()}
    steps = np.linspace(0, 1, RATE * SECONDS)
    with Writer(path, RATE) as clip:
        for name, start, stop in SHOTS:
            photo = Image.fromarray(read_photo(photos[name]))
            for at in (1 - np.cos(np.pi * steps)) / 2:  # slowly off, slowly to a stop
                x, y, width = (a + at * (b - a) for a, b in zip(start, stop, strict=True))
                seen = photo.resize(SIZE, Image.Resampling.BICUBIC, _box(photo.size, x, y, width))
                clip.write(np.asarray(seen))
    return path


def _box(size: tuple[int, int], x: float, y: float, width: float) -> tuple[float, float, float, float]:
    """What is seen: left, top, right, bottom in pixels, of the clip's form, and nothing beyond the photo."""
    most = min(size[0], size[1] * SIZE[0] / SIZE[1])
    w = most * width
    h = w * SIZE[1] / SIZE[0]
    left = min(max(0.0, x * size[0] - w / 2), size[0] - w)
    top = min(max(0.0, y * size[1] - h / 2), size[1] - h)
    return left, top, left + w, top + h
