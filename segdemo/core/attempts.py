"""Guessing made slow: how often a secret may be got wrong before nobody is listened to for a while."""

import time
from collections.abc import Callable, Hashable
from threading import Lock

from cachetools import FIFOCache

MOST_KEYS = 10_000  # remembered; the oldest are forgotten first


class Attempts:
    """Wrong guesses by key, such as a user's name. Safe to use from several threads.

    Args:
        free: wrong guesses without consequences.
        wait: seconds that the next one costs; each further one twice as many, up to ``longest``.
        longest: seconds; after so long without a wrong guess, those before are forgotten.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        free: int = 5,
        wait: float = 10,
        longest: float = 900,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._free, self._wait, self._longest, self._clock = free, wait, longest, clock
        # Key -> (how many, when the last one was).
        self._wrong: FIFOCache[Hashable, tuple[int, float]] = FIFOCache(MOST_KEYS)
        self._lock = Lock()

    def seconds_left(self, key: Hashable) -> float:
        """How long no guess at ``key`` is listened to yet; 0 if one is."""
        with self._lock:
            count, last = self._wrong.get(key, (0, 0.0))
            if count < self._free:
                return 0.0
            wait = min(self._longest, self._wait * 2.0 ** min(count - self._free, 30))
            return max(0.0, last + wait - self._clock())

    def wrong(self, key: Hashable) -> None:
        """A guess was wrong."""
        with self._lock:
            count, last = self._wrong.pop(key, (0, 0.0))
            now = self._clock()
            self._wrong[key] = (1 if now - last > self._longest else count + 1, now)

    def right(self, key: Hashable) -> None:
        """A guess was right: those before are forgotten."""
        with self._lock:
            self._wrong.pop(key, None)
