"""Shared fixtures. No test needs the network or any file outside the repository."""

import gc
import os
import tempfile
import warnings
from functools import partialmethod
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# To look through the million objects of TensorFlow as often as Python would takes a tenth of all time.
gc.set_threshold(20_000, 10, 5)
_HOME = tempfile.TemporaryDirectory(prefix="segdemo-tests-")  # gone when the tests are over
os.environ["SEGDEMO_HOME"] = _HOME.name

# Long by nature: they drive a browser, train, or build and export many networks. They come first, the longest of them
# in front: whichever process is done takes the next file, and a long one at the end would leave the other waiting.
SLOW = [
    "browser/test_train.py",
    "test_train.py",
    "browser/test_canvas.py",
    "test_models_kernels.py",
    "test_recipes.py",
    "test_faults.py",
    "browser/test_segment.py",
    "browser/test_annotate.py",
    "test_blockwise.py",
    "test_models_encoders.py",
    "browser/test_zoo.py",
    "test_export.py",
    "test_models_segnet.py",
    "test_command_line.py",
    "test_models_fcn.py",
    "test_models_unet.py",
    "test_train_patience.py",
    "test_pipeline.py",
    "test_models_upsampling.py",
    "test_models_deeplab.py",
    "test_models_efficientnet_lite.py",
    "test_distil.py",
    "test_api.py",
    "test_failures.py",
    "test_facts.py",
    "browser/test_faithful.py",
]


def pytest_collection_modifyitems(items):
    folder = Path(__file__).parent
    order = {folder / name: n for n, name in enumerate(SLOW)}
    for item in items:
        if item.path in order:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: order.get(item.path, len(SLOW)))


@pytest.fixture
def eager(monkeypatch):
    """For trainings of a few steps, for which tracing would take longer than computing; they draw no curves."""
    import keras

    from segdemo import callbacks

    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    monkeypatch.setattr(callbacks.Curves, "on_epoch_end", lambda *_: None)


@pytest.fixture(scope="module")
def event_loops_collected():
    """For modules with a gr.Blocks, which leaves event loops to the garbage collector: the next would be blamed."""
    gc.freeze()  # the million objects of tests with TensorFlow take half a minute to look through
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    gc.unfreeze()
