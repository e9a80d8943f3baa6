"""The collections of one workspace, which may have so many photos and bytes."""

import math
import time
from collections.abc import Callable
from pathlib import Path

from segdemo.annotations.store import USAGE_SECONDS, AnnotationStore
from segdemo.core import settings
from segdemo.core.files import StoreError, disk_usage, sweep


class QuotaStore(AnnotationStore):
    """An ``AnnotationStore`` of a workspace.

    Args:
        folder: of the workspace; its collections are in ``annotations``.
        require_room: called with bytes that are about to be added, for what all workspaces may have together; raises
            StoreError.
    """

    def __init__(self, folder: Path, require_room: Callable[[int], object]) -> None:
        super().__init__(folder / "annotations")
        self._folder_of_all, self._require_room = folder, require_room
        self._measured = (-math.inf, 0, 0)  # when; bytes and photos of the workspace

    def require_room(self, size: int = 0, others: int = 0) -> None:
        """Raise StoreError if the workspace has no room for ``size`` bytes more; with some it is one photo more.

        ``others`` are bytes that count besides, such as those of runs.
        """
        photos = self._require_bytes(size, others)
        most = settings.read("SEGDEMO_WORKSPACE_PHOTOS")
        if size and most and photos >= most:
            self.measure_again()  # some may have been deleted
            photos = self._require_bytes(size, others)
        if size and most and photos >= most:
            raise StoreError(
                f"You have the {most:g} photos that each visitor may have here: delete some that you do not need "
                "any more."
            )
        self._measured = (*self._measured[:2], photos + bool(size))

    def require_room_for_mask(self, size: int) -> None:
        """Raise StoreError if the workspace has no room for a mask of ``size`` bytes."""
        self._require_bytes(size)

    def measure_again(self) -> None:
        """Something was taken away: what is known of the size does not hold any more."""
        self._measured = (-math.inf, 0, 0)

    def delete(self, name: str) -> str:
        """As of every store; its photos do not count any more, and its bytes go when room is needed."""
        key = super().delete(name)
        self.measure_again()
        return key

    def _require_bytes(self, size: int, others: int = 0) -> int:
        """The photos there are, or StoreError if there is no room for the bytes."""
        when, used, photos = self._measured
        if time.monotonic() - when > USAGE_SECONDS:
            when, (used, photos) = time.monotonic(), usage(self._folder_of_all)
        most = settings.read("SEGDEMO_WORKSPACE_MB")
        if most and used + others + size > most * 1e6:
            sweep(self.root / ".trash", days=0)  # deleted collections make room when it is needed
            when, (used, photos) = time.monotonic(), usage(self._folder_of_all)
        if most and used + others + size > most * 1e6:
            raise StoreError(
                f"There is no room for it in the {most:g} MB that each visitor may have here: delete a collection or a "
                "run that you do not need any more."
            )
        self._require_room(size)
        self._measured = when, used + size, photos
        return photos


def usage(folder: Path) -> tuple[int, int]:
    """(bytes, photos) of a workspace. What is in the trash takes bytes, but is no photo."""
    photos = 0
    for images in folder.glob("annotations/[!.]*/JPEGImages"):
        photos += sum(1 for path in images.iterdir() if path.name[0] != ".")
    return disk_usage(folder), photos
