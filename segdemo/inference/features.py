"""Features of a photo that classes are taught with: those of a frozen encoder, made once and kept.

``docs/teach.md`` is the contract that the page's own learner follows.
"""

import contextlib
import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image

from segdemo.core.arrays import Floats, UInt8, digest_of
from segdemo.core.files import trim, write_atomic
from segdemo.core.settings import home
from segdemo.inference.predict import DamagedModelError, input_size, open_graph
from segdemo.zoo.features import FeaturesEntry, served_features

CELL = 4  # pixels of the graph's input to a cell, along each axis
CACHE_BYTES = 512_000_000


def grid_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Rows and columns of cells of a photo of height x width pixels.

    Args:
        height, width: of the photo.
        long_side: of a photo as the graph sees it, pixels.
    """
    rows, columns = input_size(height, width, long_side)
    return rows // CELL, columns // CELL


class Features:
    """The frozen encoder, loaded when first used.

    Args:
        entry: its ``FeaturesEntry``; None is the shipped one.

    Raises:
        DamagedError: the manifest names none.
    """

    def __init__(self, entry: FeaturesEntry | None = None) -> None:
        self.entry = entry or served_features()
        self.steps: Floats = np.asarray(self.entry.steps, np.float64)
        self._folder = home() / "cache" / "features"

    def compute(self, image: UInt8) -> UInt8:
        """Features of a photo uint8 (H, W, 3): bytes uint8 (h, w, C), a row for each cell of ``grid_size``.

        Raises:
            DamagedModelError: the graph is missing, another one than the manifest says, or cannot be run.
        """
        height, width = image.shape[:2]
        rows, columns = grid_size(height, width, self.entry.long_side)
        size = columns * CELL, rows * CELL
        seen = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        try:
            session = _opened(self.entry.path, self.entry.onnx_sha256)
            (found,) = session.run(None, {"image": np.asarray(seen)[None]})
        except DamagedModelError:
            raise
        except Exception as error:  # as when it is loaded
            raise DamagedModelError(f"{self.entry.path.name} cannot be run: fetch it again.") from error
        features: UInt8 = found[0]
        return features

    def of(self, image: UInt8, key: str = "") -> UInt8:
        """As ``compute``, kept in ``SEGDEMO_HOME/cache/features`` by the photo's hash and the graph's.

        Args:
            image: uint8 (H, W, 3).
            key: its ``digest_of``, where that is known.
        """
        height, width = image.shape[:2]
        shape = (*grid_size(height, width, self.entry.long_side), len(self.steps))
        path = self._folder / f"{self.entry.onnx_sha256[:16]}-{key or digest_of(image)}.npy"
        try:
            kept: UInt8 = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
            if kept.dtype == np.uint8 and kept.shape == shape:
                return kept
        except (OSError, ValueError, EOFError, TypeError, SyntaxError):  # none, or a damaged one
            pass
        features = self.compute(image)
        data = io.BytesIO()
        np.save(data, features, allow_pickle=False)
        with contextlib.suppress(OSError):  # where nothing can be kept it is made again
            write_atomic(path, data.getvalue(), durable=False)
            trim(self._folder, CACHE_BYTES, keep=[path])
        return features


@lru_cache(maxsize=2)
def _opened(path: Path, digest: str) -> InferenceSession:
    """One session for all that ask: the memory that it works in is some hundred megabytes."""
    return open_graph(path, digest, "fetch it again")
