"""What there is to train (``specs``), and what there is to segment with (``served``)."""

from segdemo.zoo.served import (
    WEIGHTS,
    Manifest,
    ModelEntry,
    evaluate_command,
    model_at,
    read_manifest,
    served_model,
    served_models,
)
from segdemo.zoo.specs import ARCHITECTURES, SPECS, ModelSpec, UnknownModelError, architecture_facts, spec

__all__ = [
    "ARCHITECTURES",
    "SPECS",
    "WEIGHTS",
    "Manifest",
    "ModelEntry",
    "ModelSpec",
    "UnknownModelError",
    "architecture_facts",
    "evaluate_command",
    "model_at",
    "read_manifest",
    "served_model",
    "served_models",
    "spec",
]
