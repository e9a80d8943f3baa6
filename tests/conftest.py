"""Shared fixtures. No test needs the network or any file outside the repository."""

import os
import tempfile
from pathlib import Path

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
