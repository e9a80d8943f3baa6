"""Blockwise distillation: each block of an encoder learns what the teacher's block does with the teacher's features.

A block that is fed the teacher's features has to imitate a few layers only, whatever the blocks before it know so far,
and every place of every photo is an example. All blocks learn at once (Li et al., "Block-wisely Supervised Neural
Architecture Search with Knowledge Distillation", CVPR 2020, arXiv:1911.13053, section 3.2), and in minutes come
closer to the teacher than a network that sees its answers only does in hours. It takes an encoder with the teacher's
blocks: here MobileNetV2's 17 inverted residuals.

Later, when the whole network learns, ``imitating`` makes it answer what its blocks end in as well, so that their error
can be part of the loss (Romero et al., "FitNets", arXiv:1412.6550, 2014, with a hint at every block).

The teacher centres cell i of a feature map of stride s on pixel s i of a picture with one pixel more than a multiple
of s, as TensorFlow pads both sides of an odd length. MobileNetV2 of ``keras.applications`` pads one side; what each
block gets and has to answer is cut so that both centre their cells on the same pixels.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import pairwise

import keras
import tensorflow as tf
from keras import ops

from segdemo.training.distillation.tflite import FloatNetwork, TeacherError
from segdemo.training.layers import Tensor, cropped_logits
from segdemo.training.learning import cosine

EPSILON = 1e-6


def block_ends(encoder: keras.Model) -> list[str]:
    """Names of the layers that end the blocks of a MobileNetV2, in order, each the next block's beginning.

    Raises TeacherError if ``encoder`` is no MobileNetV2.
    """
    names = {layer.name for layer in encoder.layers}
    ends = ["expanded_conv_project_BN"]
    while f"block_{len(ends)}_project_BN" in names:
        added = f"block_{len(ends)}_add"
        ends.append(added if added in names else f"block_{len(ends)}_project_BN")
    if ends[0] not in names:
        raise TeacherError(
            "A teacher shows its blocks to a MobileNetV2 only: choose a model with that encoder."
        )
    return ends


def check(encoder: keras.Model, network: FloatNetwork) -> None:
    """Raise TeacherError unless the blocks of a teacher, a ``tflite.FloatNetwork``, are those of an encoder."""
    widths = [int(encoder.get_layer(end).output.shape[-1]) for end in block_ends(encoder)]
    strides = [layer.strides[0] for layer in encoder.layers if hasattr(layer, "strides")]
    if network.block_widths != widths or network.stride != math.prod(strides):
        raise TeacherError(
            "The teacher's blocks are not those of this encoder: teach it by soft labels alone."
        )


def build(encoder: keras.Model, network: FloatNetwork) -> keras.Model:
    """The blocks side by side.

    Args:
        encoder: a MobileNetV2 of ``encoders.build_encoder``; its blocks share their weights with the result.
        network: the teacher, a ``tflite.FloatNetwork``.

    Returns:
        A ``keras.Model`` from a list of float (B, h, w, C), what enters each block, to the list of what leaves it.

    Raises:
        TeacherError: the teacher's blocks are not the encoder's.
    """
    check(encoder, network)
    ends = block_ends(encoder)
    outputs = [encoder.get_layer(end).output for end in ends]
    blocks = [
        keras.Model(first, last, name=end)
        for first, last, end in zip([encoder.inputs[0], *outputs[:-1]], outputs, ends, strict=True)
    ]
    entrances = [keras.Input((None, None, width)) for width in (3, *network.block_widths[:-1])]
    return keras.Model(entrances, [block(x) for block, x in zip(blocks, entrances, strict=True)])


def lessons(
    encoder: keras.Model, network: FloatNetwork, preprocess: keras.layers.Layer
) -> Callable[[Tensor], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """What turns crops into what the model of ``build`` learns from.

    Args:
        encoder, network: as for ``build``.
        preprocess: the encoder's, a ``layers.Preprocess``.

    Returns:
        A function from crops (B, H, W, 3), RGB 0..255, of a multiple of ``network.stride``, to two tuples: what
        enters each block and what the teacher's block makes of it, all float32 (B, h, w, C).
    """
    layers = {layer.name: layer for layer in encoder.layers}
    # Of a block that does not stride there is no such layer, or one that does nothing.
    paddings = [
        getattr(layers.get(f"block_{n}_pad"), "padding", None) for n in range(len(block_ends(encoder)))
    ]

    def aligned(padding, entering, leaving):
        if padding == ((0, 1), (0, 1)):  # cell i is centred on 2 i + 1
            return entering[:, 1:, 1:], leaving[:, 1:, 1:]
        if padding == ((1, 0), (1, 0)):  # on 2 i, and an odd length lacks its last cell
            return entering[:, :-1, :-1], leaving[:, :-1, :-1]
        return entering, leaving

    def lesson(crops):
        pictures = network.pictures(crops)
        features = [preprocess(pictures), *network(pictures)[1]]
        pairs = [aligned(padding, *pair) for padding, pair in zip(paddings, pairwise(features), strict=True)]
        return tuple(entering for entering, _ in pairs), tuple(leaving for _, leaving in pairs)

    return lesson


def imitating(model: keras.Model, encoder: keras.Model, network: FloatNetwork) -> keras.Model:
    """A model with the cells of a teacher, which also answers what the encoder's blocks end in.

    It pads both sides wherever the encoder pads one, and so does with pictures of a multiple of its stride and one
    pixel more just what a teacher with the same weights would, to the last cell at the edges.

    Args:
        model: a segmentation model. encoder: its MobileNetV2.
        network: the teacher, a ``tflite.FloatNetwork``.

    Returns:
        A ``keras.Model`` from RGB 0..255 (B, H, W, 3) to a list: the model's ``cropped_logits``, and what each block
        ends in. It shares its weights with ``model``, and keeps them in the same order.

    Raises:
        TeacherError: the teacher's blocks are not the encoder's.
    """
    check(encoder, network)
    names, made = block_ends(encoder), {}

    def keep(layer, *args, **kwargs):
        made[layer.name] = layer(*args, **kwargs)
        return made[layer.name]

    trunk = keras.models.clone_model(encoder, clone_function=_padding_both_sides, call_function=keep)
    trunk = keras.Model(trunk.inputs, [trunk.output, [made[name] for name in names]])
    ends = []

    def call(layer, *args, **kwargs):
        if layer is not encoder:
            return layer(*args, **kwargs)
        features, blocks = trunk(*args, **kwargs)
        ends.extend(blocks)
        return features

    whole = keras.Model(model.input, cropped_logits(model))
    whole = keras.models.clone_model(whole, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(whole.input, [whole.output, *ends], name=model.name)


def _padding_both_sides(layer):
    # A layer itself, or in place of one that pads one side, one that pads both.
    one_sided = isinstance(layer, keras.layers.ZeroPadding2D) and layer.padding != ((1, 1), (1, 1))
    return keras.layers.ZeroPadding2D(1, name=layer.name, dtype=layer.dtype_policy) if one_sided else layer


def relative_error(target: Tensor, prediction: Tensor) -> Tensor:
    """Squared error of each channel in units of its variance over the batch, so that 1 is what its mean would get.

    Args:
        target, prediction: float (B, h, w, C).

    Returns:
        float32 (B, h, w), the mean over the channels.
    """
    target, prediction = ops.cast(target, "float32"), ops.cast(prediction, "float32")
    variance = ops.var(target, axis=(0, 1, 2))
    return ops.mean(ops.square(prediction - target) / (variance + EPSILON), axis=-1)


def begin(encoder: keras.Model, entering: Sequence[Tensor], leaving: Sequence[Tensor]) -> None:
    """Let each block begin with answers of the mean and the spread that the teacher's have.

    Args:
        encoder: see ``build``. The last BatchNorm of each block gets a new scale and offset.
        entering, leaving: a lesson, see ``lessons``.
    """
    for n, end in enumerate(block_ends(encoder)):
        added = leaving[n] - entering[n] if end.endswith("_add") else leaving[n]
        norm = encoder.get_layer(end.replace("_add", "_project_BN"))
        norm.gamma.assign(ops.std(added, axis=(0, 1, 2)))
        norm.beta.assign(ops.mean(added, axis=(0, 1, 2)))


def teach(
    model: keras.Model,
    encoder: keras.Model,
    network: FloatNetwork,
    batches: tf.data.Dataset,
    steps: int,
    learning_rate: float,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
) -> None:
    """Let every block of an encoder learn from the teacher's.

    Args:
        model: the model the encoder is part of, with its layer ``"preprocess"``.
        encoder: the model's MobileNetV2. All of it learns, its BatchNorms' statistics included.
        network: the teacher, a ``tflite.FloatNetwork``.
        batches: a ``tf.data.Dataset`` without end of pairs whose first part is crops (B, H, W, 3), RGB 0..255.
        steps: how many batches. learning_rate: the highest; it falls to zero on a cosine.
        callbacks, verbose: for Keras.

    Raises:
        TeacherError: the teacher's blocks are not the encoder's.
    """
    learner = build(encoder, network)
    rate = cosine(learning_rate, steps, steps // 20)
    lesson = lessons(encoder, network, model.get_layer("preprocess"))
    entering, leaving = lesson(next(iter(batches))[0])
    begin(encoder, entering, leaving)
    as_written = tf.autograph.experimental.do_not_convert(lambda crops, *_: lesson(crops))
    data = batches.map(as_written, num_parallel_calls=1).prefetch(tf.data.AUTOTUNE)
    with _all_learning(encoder):
        learner.compile(
            keras.optimizers.AdamW(rate, weight_decay=1e-4),
            loss=[relative_error] * len(learner.outputs),
            jit_compile=False,  # "auto" would choose XLA, which is slower on a CPU
        )
        # With all variables there, Keras traces a step once instead of twice.
        learner.optimizer.build(learner.trainable_variables)
        learner.compute_loss(y=leaving, y_pred=leaving)
        learner.fit(data, steps_per_epoch=steps, callbacks=list(callbacks), verbose=verbose, shuffle=False)


@contextmanager
def _all_learning(encoder):
    """Inside, every layer learns, and BatchNorm's statistics are those of the last few hundred batches."""
    trainable = [layer.trainable for layer in encoder.layers]
    norms = [layer for layer in encoder.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = [layer.momentum for layer in norms]
    try:
        for layer in encoder.layers:
            layer.trainable = True
        for layer in norms:
            layer.momentum = 0.99
        yield
    finally:
        for layer, value in zip(encoder.layers, trainable, strict=True):
            layer.trainable = value
        for layer, value in zip(norms, momentum, strict=True):
            layer.momentum = value
