"""Overlays: ``overlays/STEM.png``, the classes painted over each photo, to look at."""

from collections.abc import Iterable

from segdemo.core import label_maps
from segdemo.data.formats.format import File, Writer
from segdemo.data.formats.outgoing import Outgoing, png


class OverlayWriter(Writer):
    """Writes overlays."""

    folders = ("overlays",)

    def add(self, item: Outgoing) -> Iterable[File]:
        overlay = label_maps.overlay(item.rgb, item.label_map, self.label_set)
        yield f"overlays/{item.stem}.png", png(overlay, compress_level=1)
