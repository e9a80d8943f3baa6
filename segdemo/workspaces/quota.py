"""The collections of one workspace, which may have so many photos and bytes."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segdemo.annotations.store import USAGE_SECONDS, AnnotationStore, count_photos
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
        # Thread -> bytes and photos that it was given room for, and is about to write
        self._promised: dict[int, tuple[int, int]] = {}
        self._counting = threading.RLock()  # of both

    def require_room(self, size: int = 0, photos: int | None = None, others: int = 0) -> None:
        """Raise StoreError if the workspace has no room for ``size`` bytes more, or for so many photos.

        As ``AnnotationStore.require_room``; ``others`` are bytes that count besides, such as those of runs.
        """
        photos = photos if photos is not None else 1 if size else 0
        with self._counting:
            self._require_photos(photos)
            self._require_bytes(size, others)
            self._promise(size, photos)

    def require_room_for_mask(self, size: int) -> None:
        """Raise StoreError if the workspace has no room for a mask of ``size`` bytes."""
        with self._counting:
            self._require_bytes(size)
            self._promise(size, 0)

    def require_room_for_photos(self, number: int) -> None:
        """Raise StoreError if the workspace may not have so many photos more, whose bytes count already."""
        with self._counting:
            self._require_photos(number)
            self._promise(0, number)

    def take(self, size: int, photos: int | None = None, before: int = 0) -> bool:
        """Whether there is room for what is about to be moved here, which counts from then on.

        Args:
            size: its bytes. They count for all workspaces together already.
            photos: of a collection; None for what lies in a trash, for which nothing else is deleted.
            before: collections that are about to be moved here, too.
        """
        with self._counting:
            try:
                if photos is not None:
                    self.require_place(before)
                    self._require_photos(photos)
                self._make_room(size, sweeping=photos is not None)
            except StoreError:
                return False
            self._promise(size, photos or 0)
            return True

    def measure_again(self) -> None:
        """Something was taken away: what is known of the size does not hold any more."""
        with self._counting:
            self._measured = (-math.inf, 0, 0)

    def delete(self, name: str) -> str:
        """As of every store; its photos do not count any more, and its bytes go when room is needed."""
        key = super().delete(name)
        self.measure_again()
        return key

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """As of every store; what a thread was given room for is there when it lets go, or will not be."""
        with super().lock(name):
            try:
                yield
            finally:
                with self._counting:
                    self._promised.pop(threading.get_ident(), None)

    def _promise(self, size: int, photos: int) -> None:
        if not size and not photos:
            return
        when, used, there = self._measured
        self._measured = when, used + size, there + photos
        thread = threading.get_ident()
        before = self._promised.get(thread, (0, 0))
        self._promised[thread] = before[0] + size, before[1] + photos

    def _count(self, afresh: bool = False) -> tuple[int, int]:
        """(bytes, photos) of the workspace and of what is about to be written; measured now and then, or ``afresh``."""
        if afresh or time.monotonic() - self._measured[0] > USAGE_SECONDS:
            when, (used, photos) = time.monotonic(), usage(self._folder_of_all)
            for size, number in self._promised.values():
                used, photos = used + size, photos + number
            self._measured = when, used, photos
        return self._measured[1:]

    def _require_photos(self, number: int) -> None:
        most = settings.read("SEGDEMO_WORKSPACE_PHOTOS")
        if not number or not most or self._count()[1] + number <= most:
            return
        if self._count(afresh=True)[1] + number > most:  # some may have been deleted
            raise StoreError(
                f"You have the {most:g} photos that each visitor may have here: delete some that you do not need "
                "any more."
            )

    def _require_bytes(self, size: int, others: int = 0) -> None:
        self._make_room(size, others)
        self._require_room(size)

    def _make_room(self, size: int, others: int = 0, sweeping: bool = True) -> None:
        """Raise StoreError if there is no room for so many bytes, also where the trash is emptied for them."""
        most = settings.read("SEGDEMO_WORKSPACE_MB")
        if not most or self._count()[0] + others + size <= most * 1e6:
            return
        if sweeping:
            sweep(self.root / ".trash", days=0)  # deleted collections make room when it is needed
        if self._count(afresh=True)[0] + others + size > most * 1e6:
            raise StoreError(
                f"There is no room for it in the {most:g} MB that each visitor may have here: delete a collection or a "
                "run that you do not need any more."
            )


def usage(folder: Path) -> tuple[int, int]:
    """(bytes, photos) of a workspace. What is in the trash takes bytes, but is no photo."""
    photos = sum(count_photos(path) for path in folder.glob("annotations/[!.]*"))
    return disk_usage(folder), photos
