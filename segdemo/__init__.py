"""SegDemo: semantic segmentation and mask annotation in the browser, and what is behind it as a package.

Everything in ``__all__`` is public; docs/python.md describes it. To import this module loads nothing: each name loads
what it needs when it is first used, and only ``train``, ``build`` and their like load TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what ``PUBLIC`` says, for editors and type checkers
    from pathlib import Path

    from segdemo.core import label_maps as label_maps
    from segdemo.core.labels import PETS as PETS
    from segdemo.core.labels import VOC as VOC
    from segdemo.core.labels import VOID as VOID
    from segdemo.core.labels import LabelSet as LabelSet
    from segdemo.core.pictures import create_mask as create_mask
    from segdemo.core.pictures import curves as curves
    from segdemo.core.pictures import display as display
    from segdemo.core.pictures import stack as stack
    from segdemo.core.pictures import triptych as triptych
    from segdemo.core.pictures import triptychs as triptychs
    from segdemo.data.check import check as check
    from segdemo.data.datasets import Dataset as Dataset
    from segdemo.data.datasets import Sample as Sample
    from segdemo.data.datasets import read_pair as read_pair
    from segdemo.data.download import download as download
    from segdemo.data.frequencies import pixel_counts as pixel_counts
    from segdemo.errors import UserError as UserError
    from segdemo.inference.evaluate import evaluate as evaluate
    from segdemo.inference.evaluate import evaluate_model as evaluate_model
    from segdemo.inference.segmenter import Segmented as Segmented
    from segdemo.inference.segmenter import Segmenter as Segmenter
    from segdemo.inference.segmenter import predict as predict
    from segdemo.runs import recipes as _recipes
    from segdemo.runs.config import TrainConfig as TrainConfig
    from segdemo.training import augment as augment
    from segdemo.training import losses as losses
    from segdemo.training import metrics as metrics
    from segdemo.training import pipeline as _pipeline
    from segdemo.training.architectures import build as build
    from segdemo.training.callbacks import Samples as Samples
    from segdemo.training.facts import facts as facts
    from segdemo.training.predicting import as_predictor as as_predictor
    from segdemo.training.trainer import train as train

    recipe, batches = _recipes.settings, _pipeline.build

__version__ = "0.1.0"

# Public names, and where they are: a module, or a thing in one. This module is below all folders, which ask it for the
# version, and is quick to import, so it knows them by name only.
PUBLIC = {
    "predict": "inference.segmenter:predict",
    "Segmenter": "inference.segmenter:Segmenter",
    "Segmented": "inference.segmenter:Segmented",
    "download": "data.download:download",
    "Dataset": "data.datasets:Dataset",
    "Sample": "data.datasets:Sample",
    "read_pair": "data.datasets:read_pair",
    "check": "data.check:check",
    "pixel_counts": "data.frequencies:pixel_counts",
    "LabelSet": "core.labels:LabelSet",
    "VOC": "core.labels:VOC",
    "PETS": "core.labels:PETS",
    "VOID": "core.labels:VOID",
    "label_maps": "core.label_maps",
    "batches": "training.pipeline:build",
    "augment": "training.augment",
    "build": "training.architectures:build",
    "facts": "training.facts:facts",
    "losses": "training.losses",
    "metrics": "training.metrics",
    "Samples": "training.callbacks:Samples",
    "train": "training.trainer:train",
    "TrainConfig": "runs.config:TrainConfig",
    "recipe": "runs.recipes:settings",
    "as_predictor": "training.predicting:as_predictor",
    "evaluate": "inference.evaluate:evaluate",
    "evaluate_model": "inference.evaluate:evaluate_model",
    "create_mask": "core.pictures:create_mask",
    "display": "core.pictures:display",
    "triptych": "core.pictures:triptych",
    "triptychs": "core.pictures:triptychs",
    "stack": "core.pictures:stack",
    "curves": "core.pictures:curves",
    "UserError": "errors:UserError",
}
__all__ = ["load", "open_dataset", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'segdemo' has no attribute {name!r}")
    module, _, attribute = PUBLIC[name].partition(":")
    found = import_module(f"segdemo.{module}")
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(model: str = "deeplabv3", *, threads: int | None = None) -> Segmenter:
    """A trained model, ready to segment photos: ``segdemo.load("deeplabv3")("photo.jpg").label_map``.

    Args:
        model: name of a served model, or a finished run: its folder or name.
        threads: of one prediction; None for the setting ``SEGDEMO_THREADS``.

    Returns:
        A ``Segmenter``, which takes a path, a Pillow image or uint8 (H, W, 3) and may be called from several threads.

    Raises:
        zoo.UnknownModelError: there is none. predict.DamagedModelError: its file is not what it should be.
    """
    segmenter: Segmenter = import_module("segdemo.inference.segmenter").Segmenter(model, threads)
    return segmenter


def open_dataset(kind: str, root: Path | str) -> Dataset:
    """A dataset's files and subsets; no photo or mask is opened.

    Args:
        kind: ``"voc"``, ``"pets"`` or ``"annotations"``.
        root: its folder or the one above it; or ``"tfds:oxford_iiit_pet"``, what TensorFlow Datasets has prepared or
            downloads, which is written as a folder once and needs what training needs.

    Returns:
        A ``Dataset``. Of VOC, ``all`` is the val list and ``val`` and ``test`` are its halves, shuffled with seed 42;
        ``train``, ``train_aug`` and ``trainval`` are the lists that are there. Of Pets, ``trainval`` and ``test`` are
        the official lists if they are there, ``val`` is a tenth of ``trainval`` and ``train`` the rest of it.

    Raises:
        DatasetError: there is no such dataset.
    """
    if str(root).startswith("tfds:"):
        opened: Dataset = import_module("segdemo.training.tfds").open_data(kind, root)
    else:
        opened = import_module("segdemo.data.sources").open_dataset(kind, root)
    return opened
