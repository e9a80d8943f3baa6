"""Shared fixtures. No test needs the network or any file outside the repository."""

import gc
import os
import tempfile
import warnings
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
_HOME = tempfile.TemporaryDirectory(prefix="segdemo-tests-")  # gone when the tests are over
os.environ["SEGDEMO_HOME"] = _HOME.name

# They take minutes each, so they come first: whichever process is done takes the next file, and a long one at the
# end would leave the other process waiting.
LONG = [
    "browser/test_train.py",
    "test_train.py",
    "browser/test_canvas.py",
    "test_faults.py",
    "test_blockwise.py",
    "browser/test_segment.py",
    "browser/test_annotate.py",
]


def pytest_collection_modifyitems(items):
    folder = Path(__file__).parent
    order = {folder / name: n for n, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path, len(LONG)))


@pytest.fixture(scope="module")
def event_loops_collected():
    """For modules with a gr.Blocks, which leaves event loops to the garbage collector: the next would be blamed."""
    gc.freeze()  # the million objects of tests with TensorFlow take half a minute to look through
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    gc.unfreeze()
