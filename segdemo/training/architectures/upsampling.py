"""Upsampling that is guided by the encoder's finer features, so that outlines lie where the photo has them.

The logits of a fine cell are a weighted mean of those of the 5x5 coarse cells around it. How much each counts
depends on how similar its features are to the fine cell's, as in SAPA (Lu et al., "Similarity-Aware Point
Affiliation for Feature Upsampling", NeurIPS 2022, arXiv:2209.12866), and on where it lies. Weights are positive and
sum to one, as in RAFT's convex upsampling (Teed and Deng, ECCV 2020, arXiv:2003.12039, section 3.3), and are the same
for all classes. So this decides where things end and never what they are, which few photos suffice to learn, and what
was learned serves other classes too.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from segdemo.errors import UserError
from segdemo.training.layers import (
    SERIAL,
    BatchNormalization,
    DepthwiseConv2D,
    ResizeLike,
    Tensor,
    conv_bn_relu,
)

FACTOR = 4  # fine cells to a coarse one, along each axis
REACH = 2  # coarse cells to each side that count
NEIGHBOURS = (2 * REACH + 1) ** 2


def guided_upsampling(
    logits: Tensor,
    features: Tensor,
    images: Tensor,
    pyramid: dict[str, Tensor],
    width: int = 96,
    similarity: int = 48,
) -> Tensor:
    """Upsample logits by 4.

    Args:
        logits: (B, h, w, K).
        features: what the logits were made of, (B, h, w, C).
        images: preprocessed photos, (B, H, W, 3).
        pyramid: an encoder's feature maps, of which ``c2`` and ``c3`` are used. ``c1`` would say more of the photo
            than the two convolutions here do, but an encoder's widest map takes longest to hand on.
        width: channels of the fine features. similarity: channels in which they are compared with the coarse ones.

    Returns:
        float32 (B, 4h, 4w, K), from a layer called ``"fine_logits"``.
    """
    photo = conv_bn_relu(images, 16, 4, stride=2, name="guided_photo_half")
    sources = {
        "photo": conv_bn_relu(photo, 32, 4, stride=2, name="guided_photo"),
        "c2": conv_bn_relu(pyramid["c2"], 24, 1, name="guided_c2"),
        "c3": conv_bn_relu(pyramid["c3"], 32, 1, name="guided_c3"),
        "features": conv_bn_relu(features, 32, 1, name="guided_features"),
    }
    x = [ResizeLike(FACTOR, name=f"guided_{name}_resize")(x, logits) for name, x in sources.items()]
    x = conv_bn_relu(keras.layers.Concatenate(name="guided_concat")(x), width, 1, name="guided_mix")
    x = _look_around(x, 3, "guided_near")
    x = _look_around(conv_bn_relu(x, width, 1, name="guided_remix"), 5, "guided_wide")
    queries = keras.layers.Conv2D(similarity, 1, name="guided_queries")(x)
    biases = keras.layers.Conv2D(NEIGHBOURS, 1, name="guided_biases")(x)
    keys = keras.layers.Conv2D(similarity, 1, name="guided_keys")(features)
    return Reassemble(dtype="float32", name="fine_logits")([logits, keys, queries, biases])


def freeze_all_else(model: keras.Model) -> None:
    """Let nothing of a model learn but its ``guided_upsampling``. Raises ValueError if it has none."""
    learning = [
        layer for layer in model.layers if layer.name.startswith("guided_") or layer.name == "fine_logits"
    ]
    if not learning:
        raise UserError(
            f"{model.name} has no guided upsampling to learn: set its option 'guided', or freeze less."
        )
    for layer in model.layers:
        layer.trainable = layer in learning


def _look_around(x, size, name):
    """A residual depthwise convolution: what lies around each cell. (B, h, w, C) to the same."""
    y = DepthwiseConv2D(size, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(y)
    x = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


@keras.saving.register_keras_serializable(SERIAL)
class Reassemble(keras.layers.Layer):
    """Upsamples logits by 4, each fine cell a convex combination of the 5x5 coarse cells around it.

    The weights are the softmax of ``query . key + bias + prior``, where the prior depends on where in its coarse
    cell the fine one lies and begins as bilinear interpolation. Beyond the border, the cells at it are repeated.

    Call: ``[logits (B, h, w, K), keys (B, h, w, C), queries (B, 4h, 4w, C), biases (B, 4h, 4w, 25)]`` to
    (B, 4h, 4w, K).
    """

    def build(self, shapes: Sequence[tuple]) -> None:
        self.prior = self.add_weight(
            name="prior", shape=(FACTOR**2, NEIGHBOURS), initializer=lambda shape, dtype: _bilinear_prior()
        )

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        logits, keys, queries, biases = inputs
        scores = ops.matmul(gathered(queries, FACTOR), ops.swapaxes(neighbours(keys), -1, -2))
        scores = scores + gathered(biases, FACTOR) + self.prior  # (B, h, w, 16, 25)
        fine = ops.matmul(ops.softmax(scores), neighbours(logits))  # (B, h, w, 16, K)
        return spread(fine, FACTOR)

    def compute_output_shape(self, shapes: Sequence[tuple]) -> tuple:
        return (*shapes[2][:3], shapes[0][3])


def _bilinear_prior():
    """Logarithms of the weights of bilinear upsampling by 4, and of a little more than nothing: float32 (16, 25)."""
    position = (np.arange(FACTOR) + 0.5) / FACTOR - 0.5  # of a fine cell, from its coarse cell's centre
    reach = np.arange(-REACH, REACH + 1)
    tent = np.maximum(0, 1 - abs(position[:, None] - reach))  # (4, 5)
    weights = np.einsum("yi,xj->yxij", tent, tent).reshape(FACTOR**2, NEIGHBOURS)
    return np.log(weights + 2e-3).astype(np.float32)


def gathered(features: Tensor, size: int) -> Tensor:
    """The ``size`` x ``size`` cells of each block, row by row: (B, size h, size w, C) to (B, h, w, size size, C)."""
    _, height, width, channels = ops.shape(features)
    height, width = height // size, width // size
    x = ops.reshape(features, (-1, height, size, width, size, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, size**2, channels))


def spread(cells: Tensor, size: int) -> Tensor:
    """Undoes ``gathered``: (B, h, w, size size, C) to (B, size h, size w, C)."""
    _, height, width, _, channels = ops.shape(cells)
    x = ops.reshape(cells, (-1, height, width, size, size, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, size * height, size * width, channels))


def neighbours(features: Tensor) -> Tensor:
    """The 5x5 cells around each, row by row, those at the border repeated: (B, h, w, C) to (B, h, w, 25, C)."""
    x = ops.concatenate([features[:, :1]] * REACH + [features] + [features[:, -1:]] * REACH, 1)
    x = ops.concatenate([x[:, :, :1]] * REACH + [x] + [x[:, :, -1:]] * REACH, 2)
    parts = [slice(start, start - 2 * REACH or None) for start in range(2 * REACH + 1)]
    x = ops.stack([x[:, part] for part in parts], 3)  # (B, h, w + 4, 5, C)
    x = ops.stack([x[:, :, part] for part in parts], 4)  # (B, h, w, 5, 5, C)
    _, height, width, _, _, channels = ops.shape(x)
    return ops.reshape(x, (-1, height, width, NEIGHBOURS, channels))
