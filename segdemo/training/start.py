"""The model a run starts from: built, with the weights it starts with, and some of it kept from learning."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segdemo import zoo
from segdemo.runs.config import STAGES, UPSAMPLING, TrainConfig, TrainingError
from segdemo.training import architectures
from segdemo.training.architectures.upsampling import freeze_all_else


def with_its_options(config: TrainConfig) -> TrainConfig:
    """A configuration with the builder's options that the weights it starts from go with, but for those that it names.

    Only a served model of the same architecture has any.
    """
    entry = zoo.served_models().get(config.start_from)
    if entry is None or entry.architecture != config.model:
        return config
    return replace(config, options={**entry.options, **config.options})


def build_model(config: TrainConfig, num_classes: int, pretrained: bool = True) -> keras.Model:
    """The Keras model of a configuration: RGB 0..255 (B, H, W, 3) to logits (B, H, W, K).

    Args:
        config: of the run.
        num_classes: channels of the logits.
        pretrained: load ``start_from`` or the encoder weights, and freeze what is to be frozen.

    Raises:
        TrainingError: as ``load_start``, or settings about an encoder that have nothing to act on. FileNotFoundError,
            WeightsError: no encoder weights.
    """
    if pretrained:
        _require_an_encoder(config)
    weights, options = None, config.options
    if pretrained and not config.start_from:
        weights, options = _encoder_start(config)
    with _computing_in(config.precision):
        model = architectures.build(config.model, num_classes, weights, **options)
    if pretrained and config.start_from:
        load_start(model, config.start_from)
    encoder = encoder_name(config)
    # SegNet's encoder is part of the network itself, not a layer.
    if config.frozen == UPSAMPLING:
        freeze_all_else(model)
    elif encoder and any(layer.name == encoder for layer in model.layers):
        freeze(model.get_layer(encoder), config.frozen, config.freeze_batch_norm)
    return model


def _require_an_encoder(config: TrainConfig) -> None:
    """Raise TrainingError for settings about an encoder that would be of no effect."""
    spec = zoo.spec(config.model)
    if spec.encoder is None and (config.frozen in STAGES or config.freeze_batch_norm):
        name, instead = ("frozen", "''") if config.frozen in STAGES else ("freeze_batch_norm", "false")
        raise TrainingError(
            f"{spec.title} has no encoder apart from its other layers to keep as it is: choose {instead} for {name}, "
            "or another architecture."
        )
    entry = zoo.served_models().get(config.start_from)
    inherited = entry is not None and entry.options.get("freeze_encoder")  # says how that one was trained
    if config.options.get("freeze_encoder") and not inherited and config.frozen != STAGES[-1]:
        raise TrainingError(
            f"In a run, the setting frozen says what freeze_encoder does: choose {STAGES[-1]!r} for it as well, or "
            "leave that option out."
        )


def _encoder_start(config: TrainConfig) -> tuple[str | None, dict[str, Any]]:
    """(the encoder's weights, as ``architectures.build`` takes them; options of the builder) of a new run."""
    encoder, weights, options = encoder_name(config), config.encoder_weights, config.options
    if weights == "none" or (weights == "auto" and not encoder):
        return None, options
    if not encoder and not (encoder := architectures.own_encoder(config.model)):
        raise TrainingError(
            f"{zoo.spec(config.model).title} has no encoder to begin with weights of its own: choose 'none' for "
            "encoder_weights, or another architecture."
        )
    weights = architectures.encoder_weights(encoder) if weights == "auto" else weights
    return weights, {**options, "encoder": encoder}


def encoder_name(config: TrainConfig) -> str | None:
    """The encoder that a configuration's model has, or None."""
    return config.options.get("encoder", zoo.spec(config.model).encoder)


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    # Layers built inside have this Keras dtype policy.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def load_start(model: keras.Model, source: str) -> None:
    """Load what fits of a served model's weights or a ``.weights.h5`` file; other layers keep their fresh weights.

    The layers of a served model are found by name, so another architecture may start from it if both share
    layers, such as an encoder. Those of a file are found by their place, so it has to be the same architecture.

    Raises:
        TrainingError: no such file or model, or nothing in it fits.
    """
    path = Path(source)
    before = [np.array(w) for w in model.get_weights()]
    if path.is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that some layers do not fit is expected
            model.load_weights(path, skip_mismatch=True)
    else:
        entry = zoo.served_model(source)
        if not entry.weights:
            raise TrainingError(
                f"The model {source!r} carries no weights to train on: start from another one."
            )
        path = entry.folder / entry.weights
        trained = architectures.build(entry.architecture, len(entry.label_set), **entry.options)
        trained.load_weights(path)
        _copy_by_name(trained, model)
    if all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)):
        raise TrainingError(
            f"Nothing in {path.name} fits this architecture: start from a model of the same one."
        )


def _copy_by_name(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of each layer that has a namesake with weights of the same shapes, nested ones too."""
    names = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        other = names.get(layer.name)
        if isinstance(layer, keras.Model) and isinstance(other, keras.Model):
            _copy_by_name(other, layer)
        elif other is not None:
            weights = other.get_weights()
            if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
                layer.set_weights(weights)


def freeze(encoder: keras.Model, through: str, batch_norm: bool) -> None:
    """Stop an encoder's first stages, up to ``through``, or all its BatchNorm layers, from learning."""
    taps = [tensor._keras_history.operation.name for _, tensor in sorted(encoder.output.items())]
    last = taps[STAGES.index(through)] if through else None
    learning = last is None
    encoder.trainable = True
    for layer in encoder.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = learning and not (batch_norm and is_norm)
        learning = learning or layer.name == last
    if through == STAGES[-1]:
        encoder.trainable = False
