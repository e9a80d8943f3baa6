"""A step of every architecture and a whole run of DeepLabv3, for a process whose TensorFlow has no kernels of oneDNN.

Arguments: a folder to work in. Prints a JSON object: whether TensorFlow has gradients of atrous convolutions, whether
each architecture has usable gradients, and the exit code of the run's command.
"""

import json
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from drawn import draw_pets

from segdemo import zoo
from segdemo.cli import main
from segdemo.training import architectures
from segdemo.training.architectures import deeplab, encoders, fcn
from segdemo.training.kernels import has_atrous_gradient

# Decoders are narrow: what there is a kernel for does not depend on the number of filters.
SMALL = {"unet": {"decoder_filters": (8, 8, 8, 8)}, "unet_plain": {"filters": (4, 8), "bottleneck": 8}}
SMALL |= {f"fcn{stride}s": {"fc_filters": 8} for stride in (32, 16, 8)}
SMALL |= {name: {"width": 1 / 16} for name in ("segnet", "bayesian_segnet")}
SMALL |= {name: {"aspp_filters": 8} for name in zoo.SPECS if name.startswith("deeplabv3")}
# The same for all three FCNs, and for a DeepLabv3 that is tried, trained and exported.
deeplab.build_encoder = fcn.build_encoder = cache(encoders.build_encoder)


def has_gradients(name):
    """Whether a step of an architecture gives finite gradients, not all zero, of everything that learns."""
    keras.utils.set_random_seed(0)
    model = architectures.build(name, 3, **SMALL.get(name, {}))
    # The dropout of fc6 and fc7 may hit all there is in a single cell
    side = 64 if name.startswith("fcn") else 32
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(image, training=True)))
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, model.trainable_variables)]
    return all(np.isfinite(g).all() for g in gradients) and any(g.any() for g in gradients)


def trained(folder):
    """The exit code of a run of four steps, on drawn pets."""
    data = draw_pets(folder / "data", {"pug": 10, "birman": 10})
    settings = ["encoder_weights=none", "steps_per_epoch=2", "batch=2", "validation_photos=2"]
    settings.append('options={"aspp_filters": 8, "guided": false}')
    options = [part for setting in settings for part in ("--set", setting)]
    where = ["--dataset", "pets", "--data", str(data), "--out", str(folder / "run")]
    return main(
        ["train", "--model", "deeplabv3", *where, "--epochs", "2", "--size", "64", "--json", *options]
    )


if __name__ == "__main__":
    result = {"atrous_gradient": has_atrous_gradient("float32")}
    result["steps"] = {name: bool(has_gradients(name)) for name in zoo.SPECS}
    stdout, sys.stdout = sys.stdout, sys.stderr
    result["exit_code"] = trained(Path(sys.argv[1]))
    print(json.dumps(result), file=stdout)
