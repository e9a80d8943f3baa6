"""How libraries below Python share the machine when many photos are predicted beside each other."""

import contextlib
import ctypes
import os
import threading

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -8, -1, -3  # M_ARENA_MAX and so on of malloc.h
ARENAS = 2
NICE = 10  # of threads that work in the background


def be_frugal() -> None:
    """Set up a process that serves: before NumPy is imported and before there are threads.

    The library behind NumPy's matrix products lets its threads spin, so that beside other photos they take twice the
    time of one thread. And the C library of Linux gives every thread heaps of its own, which keep what large photos
    took: of 660 MB after twenty clients with photos of 12 megapixels, 445 are left with two heaps for all.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems have other libraries
            ctypes.CDLL(None).mallopt(_ARENA_MAX, ARENAS)


def keep_freed(block: int = 4 * 2**20, most: int = 32 * 2**20) -> None:
    """For work on one photo after the other: what one has freed stays in the process for the next.

    Else the system takes the arrays of each photo back and hands them out again zeroed, page by page: 625 times for a
    photo of 500 pixels, against 47 where they are kept. ``give_back`` works all the same.

    Args:
        block: bytes of the largest array of which this is so.
        most: bytes that are kept, of each heap.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems have other libraries
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, block)
        library.mallopt(_TRIM_THRESHOLD, most)


def give_back() -> None:
    """Hand memory that was freed back to the system: the C library of Linux keeps tens of megabytes of it."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems have other libraries
        ctypes.CDLL(None).malloc_trim(0)


def step_back() -> None:
    """A lower priority for this thread, where systems have that: people who wait for an answer come first."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
