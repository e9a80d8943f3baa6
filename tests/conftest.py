"""Shared fixtures. No test needs the network or any file outside the repository."""

import asyncio
import gc
import os
import tempfile
import warnings
from functools import partialmethod
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")  # nor are graphs copied before each simplification
# To look through the million objects of TensorFlow as often as Python would takes a tenth of all time.
gc.set_threshold(20_000, 10, 5)
_HOME = tempfile.TemporaryDirectory(prefix="segdemo-tests-")  # gone when the tests are over
os.environ["SEGDEMO_HOME"] = _HOME.name

# Long by nature: they drive a browser, train, or build and export many networks. They come first, the longest of them
# in front: whichever process is done takes the next file, and a long one at the end would leave the other waiting.
SLOW = [
    "browser/test_train.py",
    "browser/test_canvas.py",
    "browser/test_teach_collection.py",
    "training/test_trainer.py",
    "faults/test_faults.py",
    "browser/test_annotate.py",
    "browser/test_segment.py",
    "training/distillation/test_blockwise.py",
    "runs/test_recipes.py",
    "training/test_kernels.py",
    "browser/test_select_thing.py",
    "training/architectures/test_encoders.py",
    "faults/test_campaign.py",
    "training/export/test_exporter.py",
    "browser/test_accessibility.py",
    "browser/test_zoo.py",
    "browser/test_teach.py",
    "browser/test_video.py",
    "browser/test_batch.py",
    "browser/test_space.py",
    "browser/test_visitors.py",
    "cli/test_command_line.py",
    "training/architectures/test_segnet.py",
    "training/architectures/test_fcn.py",
    "training/architectures/test_unet.py",
    "training/test_patience.py",
    "training/test_pipeline.py",
    "training/architectures/test_upsampling.py",
    "training/architectures/test_deeplab.py",
    "training/architectures/test_efficientnet_lite.py",
    "training/clicks/test_trainer.py",
    "training/architectures/test_click.py",
    "training/distillation/test_distiller.py",
    "ui/test_api.py",
    "ui/test_endpoints.py",
    "ui/test_guard.py",
    "runs/test_failures.py",
    "training/test_facts.py",
    "training/test_devices.py",
    "docs/test_walkthroughs.py",
    "test_contributing.py",
    "ui/test_two_visitors.py",
    "browser/test_sign_in.py",
    "cluster/test_jobs.py",
    "fuzz/test_fuzz.py",
    "ui/test_tokens.py",
    "test_packaging.py",
    "cluster/test_batches.py",
    "test_state_before.py",
    "inference/test_batch.py",
    "docs/test_python.py",
    "browser/test_faithful.py",
]
# Not left out of the daily round as a whole, and yet too long for the end.
THEN = [
    "test_types.py",
    "runs/test_supervisor.py",
]


def pytest_collection_modifyitems(items):
    folder = Path(__file__).parent
    order = {folder / name: n for n, name in enumerate(SLOW + THEN)}
    for item in items:
        if order.get(item.path, len(SLOW)) < len(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture
def eager(monkeypatch):
    """For trainings of a few steps, for which tracing would take longer than computing; they draw no curves, and small
    pictures."""
    import keras

    from segdemo.training import callbacks

    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    monkeypatch.setattr(callbacks.Curves, "on_epoch_end", lambda *_: None)
    monkeypatch.setattr(callbacks, "SAMPLE_SIDE", 64)


_ENCODERS = {}


@pytest.fixture
def shared_encoders(monkeypatch):
    """Networks of test after test get the same encoders, as they were at first: to build one takes a second.

    Two networks of one test that have the same encoder share it, too.
    """
    import keras

    from segdemo.training.architectures import deeplab, encoders, fcn, unet

    def shared(*args, **kwargs):
        key = repr((args, kwargs, keras.config.dtype_policy().name))
        if key not in _ENCODERS:
            encoder = encoders.build_encoder(*args, **kwargs)
            _ENCODERS[key] = encoder, encoder.get_weights()
        encoder, weights = _ENCODERS[key]
        encoder.trainable = True
        encoder.set_weights(weights)
        return encoder

    for module in (deeplab, fcn, unet):
        monkeypatch.setattr(module, "build_encoder", shared)


@pytest.fixture(scope="module")
def event_loops_collected():
    """For modules with a gr.Blocks, which leaves event loops to the garbage collector: the next would be blamed."""
    gc.freeze()  # the million objects of tests with TensorFlow take half a minute to look through
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.set_event_loop(None)  # the last one is still the current one
        gc.collect()
    gc.unfreeze()
