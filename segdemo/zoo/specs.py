"""The architectures there are to train, as data: nothing here imports a framework."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from segdemo.core.files import read_json
from segdemo.errors import UserError

ARCHITECTURES = Path(__file__).resolve().parent / "architectures.json"


class UnknownModelError(UserError):
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
    options: dict[str, Any] = field(default_factory=dict)
    samples: int = 1

    @property
    def encoder(self) -> str | None:
        """Name of its encoder, or None if it has none of ``models.encoders``."""
        encoder: str | None = self.options.get("encoder")
        return encoder


def _deeplabv3(name: str, title: str, encoder: str, **options: Any) -> ModelSpec:
    paper = (
        "Chen et al. 2017, Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587"
    )
    if options.get("guided"):
        paper += "; upsampling after Lu et al. 2022, SAPA, arXiv:2209.12866"
    return ModelSpec(
        name,
        title,
        "segdemo.training.architectures.deeplab:deeplabv3",
        "voc",
        384,
        512,
        paper,
        {"encoder": encoder, **options},
    )


def _fcn(stride: int) -> ModelSpec:
    return ModelSpec(
        f"fcn{stride}s",
        f"FCN-{stride}s",
        "segdemo.training.architectures.fcn:fcn",
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
            "segdemo.training.architectures.unet:unet",
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
        ModelSpec(
            "unet_plain",
            "Plain U-Net",
            "segdemo.training.architectures.unet:unet_plain",
            "pets",
            128,
            160,
            _UNET,
        ),
        ModelSpec(
            "segnet",
            "SegNet",
            "segdemo.training.architectures.segnet:segnet",
            "pets",
            128,
            160,
            _SEGNET,
            {"width": 0.5},
        ),
        ModelSpec(
            "bayesian_segnet",
            "Bayesian SegNet",
            "segdemo.training.architectures.segnet:bayesian_segnet",
            "pets",
            128,
            160,
            "Kendall, Badrinarayanan, Cipolla 2017, Bayesian SegNet, arXiv:1511.02680",
            {"width": 0.5},
            samples=12,
        ),
    )
}


def spec(name: str) -> ModelSpec:
    """The ModelSpec called ``name``. Raises UnknownModelError."""
    if name not in SPECS:
        raise UnknownModelError(f"There is no architecture {name!r}. Choose one of: {', '.join(SPECS)}.")
    return SPECS[name]


@cache
def architecture_facts() -> dict[str, dict[str, Any]]:
    """Parameters, multiply-adds, FLOPs and diagram of every architecture, as ``facts`` counted them: name to dict."""
    facts: dict[str, dict[str, Any]] = read_json(ARCHITECTURES)
    return facts
