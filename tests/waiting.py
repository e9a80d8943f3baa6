"""Waiting in tests for what happens in other threads and processes."""

import time


def once(look, wanted=bool, seconds=60):
    """What ``look`` gives as soon as that is as wanted; an error if it takes longer than so many seconds."""
    end = time.monotonic() + seconds
    while not wanted(found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {found}")
        time.sleep(0.01)
    return found
