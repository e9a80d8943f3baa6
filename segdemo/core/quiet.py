"""Pillow without its warnings."""

import threading
import warnings


class _QuietPillow:
    """Context manager that keeps Pillow's warnings about odd files from reaching anybody, in any thread.

    ``warnings.catch_warnings`` alone restores the wrong filters when two threads leave it out of order, so
    the first one in sets the filter and the last one out restores what was there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._catcher: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._catcher = catcher = warnings.catch_warnings()
                catcher.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._users += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._catcher is not None:
                self._catcher.__exit__(None, None, None)


quiet_pillow = _QuietPillow()
