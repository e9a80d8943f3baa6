"""Several devices in one run: each takes its part of every batch, and together they learn what one would.

Losses and the statistics of BatchNorm run over the whole batch, so the same batch gives the same step however many
devices share it, but for the order in which numbers are added.
"""

import keras
import tensorflow as tf

from segdemo.training.layers import Tensor


def names() -> list[str]:
    """The GPUs of this machine, as TensorFlow calls them; CUDA_VISIBLE_DEVICES says which may be used."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def strategy(batch: int) -> tf.distribute.Strategy:
    """How a run goes about its devices: as many of the GPUs as share a batch evenly, all of them if they can.

    Args:
        batch: photos a step, in all.

    Returns:
        A ``MirroredStrategy``, or TensorFlow's own where there are not two.
    """
    found = names()
    count = next((n for n in range(len(found), 1, -1) if batch % n == 0), 1)
    return tf.distribute.MirroredStrategy(found[:count]) if count > 1 else tf.distribute.get_strategy()


def synchronize(model: keras.Model) -> None:
    """Let BatchNorm, in nested models too, take its statistics over what all devices have of a batch."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True


def share(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimizer clip gradients of the whole batch: Keras would clip what each device has of them."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        clip, summed_up = optimizer._clip_gradients, optimizer._all_reduce_sum_gradients

        def clipped(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
            gradients, variables = zip(*summed_up(pairs), strict=True)
            return list(zip(clip(list(gradients)), variables, strict=True))

        optimizer._clip_gradients = lambda gradients: gradients
        optimizer._all_reduce_sum_gradients = clipped


def prepare(model: keras.Model, data: tf.data.Dataset) -> None:
    """Build what is left to build of a compiled model on several devices, before it is fitted to ``data``.

    Keras would do that with a batch of the data, and begin anew with photos in another order than on one device.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync > 1:
        with strategy.scope():
            model._symbolic_build(
                data_batch=tuple(tf.zeros(spec.shape, spec.dtype) for spec in data.element_spec)
            )
        model._maybe_symbolic_build = lambda **_: None


def summed(value: Tensor) -> Tensor:
    """The sum over all devices that share a batch of what each has."""
    if tf.distribute.in_cross_replica_context():
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce("SUM", value) if context.num_replicas_in_sync > 1 else value


def part(loss: Tensor) -> Tensor:
    """A device's part of the loss of a whole batch, which all of them have: their gradients are added up."""
    count = tf.distribute.get_strategy().num_replicas_in_sync
    return loss / count if count > 1 else loss
