"""Models that take clicks, beside those that know classes: they know no class and work on any thing."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segdemo.core.documents import DamagedError, Document, damage, log_once
from segdemo.core.files import FileCache
from segdemo.core.settings import expanded
from segdemo.zoo.served import Manifest, manifests
from segdemo.zoo.specs import UnknownModelError

DEFAULT = "click"


@dataclass(frozen=True, kw_only=True)
class ClickModel(Document):
    """A click model as the key ``clicks`` of a manifest describes it.

    Attributes:
        name: identifier. title: what a person calls it.
        folder: where its files lie.
        encoder: of ``training.architectures.click``.
        onnx: file name of the serving graph; ``onnx_sha256`` its checksum.
        long_side: the longer side of what it is shown, pixels.
        weights: file name of what can be trained on; ``weights_sha256`` its checksum. Empty for none.
        card: file name of its card.
        metrics: what ``segdemo clicks`` measured, by the name of the photos.
    """

    name: str
    folder: Path
    title: str
    encoder: str
    onnx: str
    onnx_sha256: str
    long_side: int
    weights: str = ""
    weights_sha256: str = ""
    card: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Path of the serving graph."""
        return self.folder / self.onnx


def read_click_models(manifest: Path) -> dict[str, ClickModel]:
    """The click models of a manifest file, by name. A missing file holds none. Raises DamagedError."""
    if not manifest.is_file():
        return {}
    with damage(manifest):
        models, folder = Manifest.read(manifest).clicks, manifest.parent
        return {
            name: ClickModel.from_json({**data, "name": name, "folder": folder})
            for name, data in models.items()
        }


@FileCache
def _entries(manifest: Path) -> dict[str, ClickModel]:
    try:
        return read_click_models(manifest)
    except (DamagedError, OSError) as error:
        log_once(str(error))
        return {}


def click_models() -> dict[str, ClickModel]:
    """Every click model, those that ship first, then those among the models of this machine: name to ClickModel."""
    models: dict[str, ClickModel] = {}
    for manifest in manifests():
        with contextlib.suppress(OSError):  # it has just gone
            models.update(_entries(manifest))
    return models


def click_model(name: str = DEFAULT) -> ClickModel:
    """The click model called ``name``, or that of the folder of a run. Raises UnknownModelError."""
    models = click_models()
    if name in models:
        return models[name]
    found = read_click_models(expanded(name) / "manifest.json")
    if len(found) == 1:
        return next(iter(found.values()))
    if not models and name == DEFAULT:
        raise UnknownModelError(
            "There is no click model here yet: put one into the weights folder, or train one."
        )
    raise UnknownModelError(
        f"There is no click model {name!r}: choose one of {', '.join(models) or 'none yet'}, or give a run's folder."
    )
