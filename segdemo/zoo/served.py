"""Trained models at hand: those that ship, and those trained on this machine, as their manifests describe them."""

import contextlib
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from segdemo.core.documents import DamagedError, Document, damage, log_once
from segdemo.core.files import FileCache
from segdemo.core.labels import LABEL_SETS, LabelSet
from segdemo.core.settings import PACKAGE, expanded, home, models_dir, own_annotations_dir, own_models_dir
from segdemo.zoo import taught
from segdemo.zoo.scores import (
    Adjustment,
    Calibration,
    Domain,
    Lineage,
    PassesGain,
    Refinement,
    Scores,
    SizeChoice,
)
from segdemo.zoo.specs import SPECS, UnknownModelError, spec

_INSTALLED = PACKAGE / "weights"  # a wheel carries them in the package, a repository beside it
WEIGHTS = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent / "weights"
_OWN = {
    *("name", "folder", "title", "architecture", "label_set"),
    *("onnx", "onnx_sha256", "long_side", "temperature"),
}


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Document):
    """A trained model as its manifest describes it.

    Attributes:
        name: identifier, unique among the served models.
        folder: where its files lie.
        title: what a person calls it.
        architecture: key of ``SPECS``, or ``taught.ARCHITECTURE``: then ``onnx`` is a taught classifier's file.
        label_set: the classes its logits mean.
        onnx: file name of the serving graph; ``onnx_sha256`` its checksum.
        weights: file name of what can be fine-tuned from; ``weights_sha256`` its checksum. Empty for none.
        long_side: the longer side of a photo at prediction, pixels; both sides become multiples of 32.
        temperature: divides the logits before the softmax.
        samples: how many passes make a prediction: 1, and more for a stochastic network.
        knows: its classes in a few words.
        parent: the model it was trained from. lineage: where it comes from, if it is a version of ``model``.
        model, model_version: what it is a version of. alias_of: the version that the name stands for.
        metrics: its scores on held-out photos.
        size, adjustment, calibration, refinement, domain: see ``inference.calibrate``.
        test_time: what each choice of ``predict.PASSES`` gains.
    """

    name: str
    folder: Path
    title: str
    architecture: str
    label_set: LabelSet
    onnx: str
    onnx_sha256: str
    long_side: int
    temperature: float
    weights: str = ""
    weights_sha256: str = ""
    samples: int = 1
    knows: str = ""
    parent: str | None = None
    lineage: Lineage | None = None
    model: str = ""
    model_version: int = 0
    alias_of: str = ""
    metrics: Scores | None = None
    size: SizeChoice | None = None
    adjustment: Adjustment | None = None
    calibration: Calibration | None = None
    refinement: Refinement | None = None
    domain: Domain | None = None
    test_time: dict[str, PassesGain] = field(default_factory=dict)

    @classmethod
    def of_manifest(cls, name: str, folder: Path, data: Any) -> Self:
        """The entry ``data`` of a manifest in ``folder``. Raises ValueError."""
        if not isinstance(data, dict):
            raise ValueError(f"{name!r} is no object")
        labels = data.get("label_set")
        if isinstance(labels, str):
            if labels not in LABEL_SETS:
                raise ValueError(f"there is no label set {labels!r}")
            data = {**data, "label_set": LABEL_SETS[labels].to_json()}
        return cls.from_json({**data, "name": name, "folder": folder})

    @property
    def path(self) -> Path:
        """Path of the serving graph."""
        return self.folder / self.onnx

    @property
    def options(self) -> dict[str, Any]:
        """The builder's options that its weights go with."""
        recorded = self.extra.get("options")
        options = dict(recorded) if isinstance(recorded, dict) else {}
        if self.architecture != taught.ARCHITECTURE and "guided" in spec(self.architecture).options:
            options.setdefault("guided", False)  # it is older than that option
        return options

    def unrefined(self) -> Self:
        """The same model without ``refine.refine`` after it."""
        return replace(self, refinement=None)

    def to_json(self) -> dict[str, Any]:
        """What ``models --json`` and the API say of it."""
        told = super().to_json()
        first = {
            "name": self.name,
            "title": self.title,
            "architecture": self.architecture,
            "label_set": self.label_set.name,
            "classes": list(self.label_set.classes),
            "long_side": self.long_side,
            "bytes": self.path.stat().st_size if self.path.is_file() else None,
        }
        return {**first, **{key: value for key, value in told.items() if key not in _OWN}}


@dataclass(frozen=True, kw_only=True)
class Manifest(Document):
    """A manifest file: models by name, click models by name (``zoo.clicks``), and what ``zoo.features`` reads."""

    models: dict[str, Any]
    clicks: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] | None = None


def read_manifest(path: Path | str) -> dict[str, ModelEntry]:
    """The entries of a manifest file, name to ModelEntry. A missing file holds none. Raises DamagedError."""
    path = Path(path)
    if not path.is_file():
        return {}
    with damage(path):
        models = Manifest.read(path).models
        return {name: ModelEntry.of_manifest(name, path.parent, data) for name, data in models.items()}


@FileCache
def _entries(manifest: Path) -> dict[str, ModelEntry]:
    try:
        return read_manifest(manifest)
    except (DamagedError, OSError) as error:  # one damaged version must not take the others along
        log_once(str(error))
        return {}


def manifests() -> list[Path]:
    """The manifests of what is served: that of the shipped models, then those of this machine."""
    return [WEIGHTS / "manifest.json", *sorted(models_dir().glob("*/manifest.json"))]


def served_models() -> dict[str, ModelEntry]:
    """Every trained model, shipped ones first, then those trained on this machine, then those taught by painting.

    Those of a visitor's own workspace come last, and nobody else has them.
    """
    entries: dict[str, ModelEntry] = {}
    own = own_models_dir()
    for manifest in [*manifests(), *(sorted(own.glob("*/manifest.json")) if own else ())]:
        with contextlib.suppress(OSError):  # it has just gone
            entries.update(_entries(manifest))
    return entries | _taught_models()


def _taught_models() -> dict[str, ModelEntry]:
    try:
        graph = _features(WEIGHTS / "manifest.json")
    except (DamagedError, OSError):
        return {}
    root = own_annotations_dir()
    if not graph or root is None:
        return {}
    found = taught.newest(root, str(graph.get("onnx_sha256")), graph.get("long_side", 0))
    return {name: ModelEntry.of_manifest(name, folder, data) for name, folder, data in found}


@FileCache
def _features(manifest: Path) -> dict[str, Any] | None:
    return Manifest.read(manifest).features


def served_model(name: str) -> ModelEntry:
    """The ModelEntry called ``name``. Raises UnknownModelError."""
    entries = served_models()
    if name not in entries:
        hint = " It is an architecture of the zoo that is not trained yet." if name in SPECS else ""
        raise UnknownModelError(
            f"There is no trained model {name!r}.{hint} Choose one of: {', '.join(entries)}."
        )
    return entries[name]


def model_at(name: str) -> ModelEntry:
    """The ModelEntry of a served model or of a finished run: for people at the command line, who may read any folder.

    Args:
        name: of a served model, the folder of a run, or the name of one of this installation's runs.

    Raises:
        UnknownModelError: there is none, or the run has no model yet.
    """
    if name in served_models():
        return served_model(name)
    for folder in (expanded(name), home() / "runs" / name):
        if (folder / "manifest.json").is_file():
            entries = read_manifest(folder / "manifest.json")
            if len(entries) == 1:
                return next(iter(entries.values()))
        elif (folder / "config.json").is_file():
            raise UnknownModelError(
                f"The run {name} has no model yet: let it finish, then python -m segdemo export {folder}."
            )
    return served_model(name)


def evaluate_command(model: str, metrics: Scores) -> str:
    """The command line that measures a model again: its name or the folder of its run, and what it was measured on."""
    on = f"--dataset {metrics.dataset} --subset {metrics.subset} --data DIR"
    return f"python -m segdemo evaluate --model {shlex.quote(model)} {on}"
