"""The frozen encoder whose features are what classes are taught with, as the shipped manifest describes it."""

from dataclasses import dataclass
from pathlib import Path

from segdemo.core.documents import Document, damage
from segdemo.zoo import served


@dataclass(frozen=True, kw_only=True)
class FeaturesEntry(Document):
    """The key ``features`` of a manifest.

    Attributes:
        onnx: file name of the graph, from RGB uint8 (1, H, W, 3), sides multiples of 32, to uint8 (1, H/4, W/4, C);
            ``onnx_sha256`` its checksum.
        long_side: the longer side of a photo, pixels.
        steps: of each of the C channels, what a byte is worth: its value is ``(byte - 128) * step``.
        encoder: name of the model that the encoder is of.
        folder: where the file lies.
    """

    onnx: str
    onnx_sha256: str
    long_side: int
    steps: tuple[float, ...]
    encoder: str = ""
    folder: Path = Path()

    @property
    def path(self) -> Path:
        """Path of the graph."""
        return self.folder / self.onnx


def served_features(folder: Path | None = None) -> FeaturesEntry:
    """The features that the manifest in a folder names, by default the shipped ones. Raises DamagedError."""
    path = (folder or served.WEIGHTS) / "manifest.json"
    with damage(path):
        if (found := served.Manifest.read(path).features) is None:
            raise ValueError("it lacks features")
        return FeaturesEntry.from_json({**found, "folder": path.parent})
