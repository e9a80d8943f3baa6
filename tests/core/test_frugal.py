import ctypes
import subprocess
import sys

import psutil
import pytest

from segdemo.core.frugal import give_back

PROGRAM = """
import os, threading
from segdemo.core.frugal import be_frugal
be_frugal()
assert os.environ["OPENBLAS_NUM_THREADS"] == {expected!r}, os.environ["OPENBLAS_NUM_THREADS"]
import numpy as np
before = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
np.ones((600, 600), np.float32) @ np.ones((600, 600), np.float32)
after = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
print(after - before, after)
"""


def run(environment, expected):
    program = PROGRAM.format(expected=expected)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return [int(n) for n in done.stdout.split()]


def test_matrix_products_start_no_threads(tmp_path):
    if sys.platform == "linux":
        assert run({"PATH": "", "HOME": str(tmp_path)}, "1") == [0, 1]


def test_who_asks_for_threads_gets_them(tmp_path):
    run({"PATH": "", "HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "3"}, "3")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_freed_memory_goes_back_to_the_system():
    blocks = [bytes(1000) for _ in range(100_000)]
    kept = blocks[::1000]  # so that nothing is free at the end of the heap
    blocks.clear()
    before = psutil.Process().memory_info().rss
    give_back()
    assert before - psutil.Process().memory_info().rss > 50e6
    assert len(kept) == 100
