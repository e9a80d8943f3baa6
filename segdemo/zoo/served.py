"""Trained models at hand: those that ship, and those trained on this machine, as their manifests describe them."""

import logging
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from segdemo.core import plain
from segdemo.core.files import read_json
from segdemo.core.labels import LABEL_SETS, LabelSet
from segdemo.core.settings import home, models_dir
from segdemo.errors import UserError
from segdemo.zoo.specs import SPECS, UnknownModelError, spec

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


class ManifestError(UserError):
    """A manifest that cannot be read. The message is one sentence that names it."""


@dataclass(frozen=True)
class ModelEntry:
    """A trained model as its manifest describes it.

    Attributes:
        name: identifier, unique among the served models.
        title: what a person calls it.
        architecture: key of ``SPECS``.
        label_set: the classes its logits mean.
        folder: where its files lie.
        onnx: file name of the serving graph; ``onnx_sha256`` its checksum.
        long_side: the longer side of a photo at prediction, pixels; both sides become multiples of 32.
        temperature: divides the logits before the softmax.
        data: the rest of the manifest entry: ``knows``, ``metrics``, ``parameters``, ``samples``, ...
    """

    name: str
    title: str
    architecture: str
    label_set: LabelSet
    folder: Path
    onnx: str
    onnx_sha256: str
    long_side: int
    temperature: float
    data: dict

    @property
    def samples(self):
        """How many passes make a prediction: 1, and more for a stochastic network."""
        return self.data.get("samples", 1)

    @property
    def path(self):
        """Path of the serving graph."""
        return self.folder / self.onnx

    @property
    def options(self):
        """The builder's options that its weights go with."""
        options = dict(self.data.get("options") or {})
        if "guided" in spec(self.architecture).options:
            options.setdefault("guided", False)  # it is older than that option
        return options

    def unrefined(self):
        """The same model without ``refine.refine`` after it."""
        return replace(self, data={**self.data, "refinement": None})

    def _bytes(self):
        try:
            return self.path.stat().st_size
        except (OSError, ValueError):  # it is missing, which must not cost the list of all the others
            return 0

    def to_json(self):
        """What ``models --json`` and the API say of it."""
        return {
            "name": self.name,
            "title": self.title,
            "architecture": self.architecture,
            "label_set": self.label_set.name,
            "classes": list(self.label_set.classes),
            "long_side": self.long_side,
            "bytes": self._bytes(),
            **self.data,
        }


_KINDS = dict.fromkeys(("title", "architecture", "onnx", "onnx_sha256"), str)
_KINDS |= {"label_set": (str, dict), "long_side": int, "temperature": plain.NUMBER}
MAX_SIDE, MAX_SAMPLES = 8192, 1000
_ENTRY_FIELDS = ("title", "architecture", "label_set", "onnx", "onnx_sha256", "long_side", "temperature")


def read_manifest(path):
    """The entries of a manifest file, name to ModelEntry. A missing file holds none.

    Raises:
        ManifestError: it is damaged, or an entry is not what it should be.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    try:
        return _entries(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        why = str(error)[:200]
        raise ManifestError(f"The manifest {path} is damaged ({why}): restore it from a copy.") from error


def _entries(path):
    entries = {}
    for name, data in read_json(path)["models"].items():
        plain.require(data, _KINDS)
        if Path(data["onnx"]).name != data["onnx"].rpartition("/")[2] or ".." in Path(data["onnx"]).parts:
            raise ValueError("its graph has no such name")
        if Path(data["onnx"]).is_absolute():
            raise ValueError("its graph lies elsewhere")
        if data["architecture"] not in SPECS:
            raise ValueError(f"there is no architecture {data['architecture']!r}")
        if not 1 <= data["long_side"] <= MAX_SIDE or not data["temperature"] > 0:
            raise ValueError("its size or temperature is out of range")
        if not isinstance(data.get("samples", 1), int) or not 1 <= data.get("samples", 1) <= MAX_SAMPLES:
            raise ValueError("its number of passes is out of range")
        labels = data["label_set"]
        entries[name] = ModelEntry(
            name=name,
            folder=path.parent,
            label_set=LabelSet.from_json(labels) if isinstance(labels, dict) else LABEL_SETS[labels],
            data={key: value for key, value in data.items() if key not in _ENTRY_FIELDS},
            **{key: data[key] for key in _ENTRY_FIELDS if key != "label_set"},
        )
    return entries


def served_models():
    """Every trained model, shipped ones first, then those trained on this machine: name to ModelEntry."""
    entries = read_manifest(WEIGHTS / "manifest.json")
    for manifest in sorted(models_dir().glob("*/manifest.json")):
        try:
            entries.update(read_manifest(manifest))
        except ManifestError as error:  # one damaged version must not take the others along
            logging.getLogger(__name__).warning("Left out %s, which cannot be read: %r", manifest, error)
    return entries


def served_model(name):
    """The ModelEntry called ``name``. Raises UnknownModelError."""
    entries = served_models()
    if name not in entries:
        hint = " It is an architecture of the zoo that is not trained yet." if name in SPECS else ""
        raise UnknownModelError(
            f"There is no trained model {name!r}.{hint} Choose one of: {', '.join(entries)}."
        )
    return entries[name]


def model_at(name):
    """The ModelEntry of a served model or of a finished run: for people at the command line, who may read any folder.

    Args:
        name: of a served model, the folder of a run, or the name of one of this installation's runs.

    Raises:
        UnknownModelError: there is none, or the run has no model yet.
    """
    if name in served_models():
        return served_model(name)
    for folder in (Path(name).expanduser(), home() / "runs" / name):
        if (folder / "manifest.json").is_file():
            entries = read_manifest(folder / "manifest.json")
            if len(entries) == 1:
                return next(iter(entries.values()))
        elif (folder / "config.json").is_file():
            raise UnknownModelError(
                f"The run {name} has no model yet: let it finish, then python -m segdemo export {folder}."
            )
    return served_model(name)


def evaluate_command(model, metrics):
    """The command line that measures a model again: its name or the folder of its run, and what it was measured on."""
    on = f"--dataset {metrics['dataset']} --subset {metrics['subset']} --data DIR"
    return f"python -m segdemo evaluate --model {shlex.quote(model)} {on}"
