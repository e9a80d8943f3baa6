"""Two devices, here two halves of the processor, learn what one learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segdemo.training import devices

TESTS = Path(__file__).parents[1]
# In a process of its own: TensorFlow divides the processor before it first uses it. The model has BatchNorm, pixels are
# weighed by class, and void is unevenly spread.
SCRIPT = """
import sys, json
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
# In float64: in float32 what is rounded at 1e-7 is 1e-2 after four steps, whatever the number of devices. Policies and
# casts that ask for float32 get it too.
import keras
from keras.src import dtype_policies
from segdemo.training import losses
def wide(asked):
    return "float64" if isinstance(asked, str) and asked == "float32" else asked
class Wide:
    def __getattr__(self, name):
        return getattr(keras.ops, name)
    def cast(self, x, dtype):
        return keras.ops.cast(x, wide(dtype))
    def one_hot(self, x, classes, dtype):
        return keras.ops.one_hot(x, classes, dtype=wide(dtype))
policy_of, set_policy = dtype_policies.get, keras.config.set_dtype_policy
dtype_policies.get = lambda asked: policy_of(wide(asked))
keras.config.set_dtype_policy = lambda asked: set_policy(wide(asked))
keras.config.set_floatx("float64")
losses.ops = Wide()
from dataclasses import replace
from running import tiny_config
from segdemo.training import callbacks, devices, trainer
from segdemo.training.architectures import segnet
callbacks.Curves.on_epoch_end = callbacks.Samples._draw = lambda *_: None
out = Path(sys.argv[1])
# One scale of one convolution: what is compared does not depend on their number, and most of the time is tracing.
segnet.SCALES, segnet.ENCODER_STAGES["vgg16"] = 1, ((64,),)
options = {{"width": 0.0625, "decoder_stages": [[64]]}}
config = replace(tiny_config(out / "data"), model="segnet", options=options, loss="cross_entropy_dice")
config = replace(config, batch=4, class_weights=True, optimizer="sgd", learning_rate=0.02)
config = replace(config, steps_per_epoch=4)
for count in (1, 2):
    devices.names = lambda: [f"CPU:{{n}}" for n in range(count)]
    trainer.train(config, out / str(count), verbose=False)
print(devices.strategy(4).num_replicas_in_sync, devices.strategy(3).num_replicas_in_sync)
"""
# In another process: a new strategy's sums would be taken for those of the one before it. A step is clipped, of
# gradients of -200 for each photo, whatever the device that has it.
CLIPPED = """
import sys
sys.path[:0] = [{root!r}]
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from segdemo.training import devices
for count in (1, 2):
    devices.names = lambda: [f"CPU:{{n}}" for n in range(count)]
    with devices.strategy(4).scope():
        dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        model = keras.Sequential([keras.Input((1,)), dense])
        model.compile(keras.optimizers.SGD(0.1, global_clipnorm=1.0), "mse", jit_compile=False)
        devices.share(model.optimizer)
    model.fit(np.full((4, 1), 100.0), np.ones((4, 1)), batch_size=4, verbose=0)
    print(float(model.get_weights()[0][0, 0]))
"""


@pytest.mark.slow
def test_two_devices_learn_what_one_learns(tmp_path):
    script = SCRIPT.format(tests=str(TESTS), root=str(TESTS.parent))
    environment = {**os.environ, "SEGDEMO_HOME": str(tmp_path / "home"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["2", "1"]

    def curve(run):
        events = map(json.loads, (tmp_path / run / "events.jsonl").read_text().splitlines())
        return [event for event in events if event["kind"] == "epoch"]

    one, two = curve("1"), curve("2")
    assert len(one) == len(two) == 2
    # Sums are added in another order, and BatchNorm's variance comes by another formula; which grows with every step.
    for epoch, other in zip(one, two, strict=True):
        for key in ("loss", "val_loss"):
            assert other[key] == pytest.approx(epoch[key], rel=1e-6), key
    assert one[0]["loss"] != pytest.approx(one[1]["loss"], rel=1e-2)  # so that there is something to compare


@pytest.mark.slow
def test_two_devices_clip_what_one_clips():
    script = CLIPPED.format(root=str(TESTS.parent))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [float(weight) for weight in done.stdout.split()[-2:]] == pytest.approx([0.1, 0.1])


def test_without_a_second_gpu_there_is_nothing_to_share(monkeypatch):
    monkeypatch.setattr(devices, "names", lambda: ["GPU:0"])
    assert devices.strategy(16).num_replicas_in_sync == 1
