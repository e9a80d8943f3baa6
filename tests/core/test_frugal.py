import subprocess
import sys

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
