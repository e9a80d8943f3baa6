"""A Keras model as a function of a photo, before, while and after it trains, without a run and without an export."""

from collections.abc import Callable

import keras
import numpy as np
from PIL import Image

from segdemo.core.arrays import UInt8
from segdemo.core.resample import argmax_at
from segdemo.inference.predict import input_size, softmax
from segdemo.training.layers import last_logits


def as_predictor(model: keras.Model, long_side: int, passes: int = 1) -> Callable[[UInt8], UInt8]:
    """A Keras model as ``evaluate`` takes it: a function from a photo to its label map.

    It sees photos as the exported model does: aspect ratio kept, the long side scaled to ``long_side`` and both sides
    to multiples of 32; its logits are resized bilinearly to the photo's own size, and only then comes the argmax.

    Args:
        model: of ``build``, RGB 0..255 (B, H, W, 3) to logits (B, H, W, K). It may go on learning: its weights are
            shared.
        long_side: pixels.
        passes: softmaxes that are averaged, for a network that answers anew each time, such as Bayesian SegNet.

    Returns:
        A function from uint8 (H, W, 3), any size, to uint8 (H, W).
    """
    network = keras.Model(model.input, last_logits(model))

    def predict(photo: UInt8) -> UInt8:
        height, width = photo.shape[:2]
        size = input_size(height, width, long_side)[::-1]
        seen = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))
        images = keras.ops.convert_to_tensor(seen[None], "float32")
        answers = [keras.ops.convert_to_numpy(network(images, training=False))[0] for _ in range(passes)]
        scores = answers[0] if passes == 1 else np.mean([softmax(answer) for answer in answers], axis=0)
        return argmax_at(scores, height, width)

    return predict
