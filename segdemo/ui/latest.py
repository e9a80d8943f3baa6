"""What each open page asked for last, which its own state holds only when the answer is there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from cachetools import LRUCache

Wish = TypeVar("Wish")


class Latest(Generic[Wish]):
    """What pages asked for last, by which an event of before it is told. Safe to call from threads."""

    MOST = 1000  # pages that are remembered

    def __init__(self) -> None:
        self._wishes: LRUCache[str, Wish] = LRUCache(self.MOST)
        self._lock = threading.Lock()

    def note(self, page: str | None, wish: Wish) -> None:
        """A page asks for something; one without a name, as of a plain HTTP call, is not remembered."""
        if page:
            with self._lock:
                self._wishes[page] = wish

    def of(self, page: str | None) -> Wish | None:
        """What a page asked for last, or None."""
        with self._lock:
            return self._wishes.get(page) if page else None

    def overtaken(self, page: str | None, wish: Wish) -> bool:
        """Whether a page has asked for something else than this since."""
        return self.of(page) not in (None, wish)

    @contextmanager
    def asking(self, page: str | None, wish: Wish) -> Iterator[None]:
        """Note it, and forget it again where what is done about it fails: the page shows what it showed before."""
        self.note(page, wish)
        try:
            yield
        except BaseException:
            with self._lock:
                if page and self._wishes.get(page) == wish:
                    del self._wishes[page]
            raise
