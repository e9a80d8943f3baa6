"""Playwright's assertions and waits for a busy machine, that look ten times a second at first.

Playwright looks again after 20, 50, 100 and 100 milliseconds and then every half second, so that a test waits a quarter
of a second too long for whatever takes longer. Where it may wait for 2.5 seconds at most, it goes on looking every 100
milliseconds.
"""

from playwright.sync_api import TimeoutError
from playwright.sync_api import expect as playwright_expect

MILLISECONDS = 60_000  # how long anything may take
_OFTEN = 2_400


def _first_often(wait, milliseconds):
    """``wait(milliseconds)``, in two turns."""
    if milliseconds > _OFTEN:
        try:
            return wait(_OFTEN)
        except (AssertionError, TimeoutError):
            milliseconds -= _OFTEN
    return wait(milliseconds)


def expect(actual):
    """Playwright's ``expect``; its assertions have ``MILLISECONDS`` unless they are given a ``timeout``."""
    return _Patient(playwright_expect(actual))


class _Patient:
    def __init__(self, assertions):
        self._assertions = assertions

    def __getattr__(self, name):
        assertion = getattr(self._assertions, name)

        def check(*arguments, timeout=MILLISECONDS, **options):
            _first_often(lambda turn: assertion(*arguments, **options, timeout=turn), timeout)

        return check


def wait_for(locator, state="visible", timeout=MILLISECONDS):
    """Wait until an element is "visible", "hidden", "attached" or "detached"."""
    _first_often(lambda turn: locator.wait_for(state=state, timeout=turn), timeout)
