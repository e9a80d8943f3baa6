"""The architectures there are to train, as data: nothing here imports a framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

    def encoder_with(self, options: Mapping[str, Any]) -> str | None:
        """Name of the layer that is its encoder with some ``options`` of the builder.

        None if it has none, even where an option is called so: SegNet's encoder is part of the network itself.
        """
        return options.get("encoder", self.encoder) if self.encoder else None


_MODULES = "segdemo.training.architectures."
_UNET = "Ronneberger, Fischer, Brox 2015, U-Net, arXiv:1505.04597"
_ENCODED_UNET = f"{_UNET}; encoder and decoder of TensorFlow's image-segmentation tutorial"
_SEGNET = "Badrinarayanan, Kendall, Cipolla 2017, SegNet, arXiv:1511.00561"
_BAYESIAN = "Kendall, Badrinarayanan, Cipolla 2017, Bayesian SegNet, arXiv:1511.02680"
_DEEPLAB = "Chen et al. 2017, Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587"
_GUIDED = f"{_DEEPLAB}; upsampling after Lu et al. 2022, SAPA, arXiv:2209.12866"
_FCN = (
    "Long, Shelhamer, Darrell 2015, Fully Convolutional Networks for Semantic Segmentation, arXiv:1411.4038"
)


def _spec(
    name: str, title: str, builder: str, label_set: str, sides: tuple[int, int], paper: str, **options: Any
) -> ModelSpec:
    return ModelSpec(name, title, _MODULES + builder, label_set, *sides, paper, options)


def _deeplabv3(name: str, title: str, encoder: str, **options: Any) -> ModelSpec:
    paper = _GUIDED if options.get("guided") else _DEEPLAB
    return _spec(name, title, "deeplab:deeplabv3", "voc", (384, 512), paper, encoder=encoder, **options)


def _fcn(stride: int) -> ModelSpec:
    options = {"encoder": "mobilenet_v2", "stride": stride, "fc_filters": 512}
    return _spec(f"fcn{stride}s", f"FCN-{stride}s", "fcn:fcn", "voc", (256, 352), _FCN, **options)


SPECS = {
    spec.name: spec
    for spec in (
        _deeplabv3("deeplabv3", "DeepLabv3", "mobilenet_v2", guided=True),
        _spec("unet", "U-Net", "unet:unet", "pets", (256, 320), _ENCODED_UNET, encoder="mobilenet_v2"),
        _deeplabv3("deeplabv3_resnet50", "DeepLabv3 ResNet-50", "resnet50"),
        _deeplabv3("deeplabv3_resnet101", "DeepLabv3 ResNet-101", "resnet101"),
        _deeplabv3("deeplabv3_resnet152", "DeepLabv3 ResNet-152", "resnet152"),
        *(_fcn(stride) for stride in (32, 16, 8)),
        _spec("unet_plain", "Plain U-Net", "unet:unet_plain", "pets", (128, 160), _UNET),
        _spec("segnet", "SegNet", "segnet:segnet", "pets", (128, 160), _SEGNET, width=0.5),
        replace(
            _spec(
                "bayesian_segnet",
                "Bayesian SegNet",
                "segnet:bayesian_segnet",
                "pets",
                (128, 160),
                _BAYESIAN,
                width=0.5,
            ),
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
