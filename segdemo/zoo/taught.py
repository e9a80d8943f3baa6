"""Classifiers that collections were taught, as data for ``served``: the newest of each, while it can be used.

A collection keeps them in ``.taught`` as ``000001.json`` and so on, see docs/teach.md, "The file".
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo.core.documents import Document, damage, log_once
from segdemo.core.files import FileCache, read_json, sha256
from segdemo.core.labels import LabelSet

FOLDER = ".taught"  # of a collection
ARCHITECTURE = "taught"
_FILE = re.compile(r"[0-9]{6}\.json")


@dataclass(frozen=True, kw_only=True)
class _Head(Document):
    """What is looked at of a taught classifier's file; the others of ``inference.teach`` read the rest."""

    features: str
    classes: tuple[int, ...]


def name_of(collection: str) -> str:
    """The name of the served model that a collection's classifier is; no model that is trained has one like it."""
    return f"{ARCHITECTURE}:{collection}"


def is_taught(name: str) -> bool:
    """Whether a name is that of a served model that a collection was taught."""
    return name.startswith(f"{ARCHITECTURE}:")


def versions(folder: Path) -> list[Path]:
    """The files of the classifiers that the collection in a folder has learned, newest first."""
    found = [path for path in (folder / FOLDER).glob("*.json") if _FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def newest(root: Path, graph: str, long_side: int) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """(name, folder, entry) of the classifiers of all collections in a folder, as manifests hold entries.

    Args:
        root: of the collections.
        graph: ``onnx_sha256`` of the features' graph at hand: what knows others is left out.
        long_side: of a photo as that graph sees it, pixels.
    """
    for about in sorted(root.glob(f"[!.]*/{FOLDER}")):
        folder = about.parent
        with contextlib.suppress(OSError):  # it has just gone
            try:
                entry = _entry(folder, graph)
            except ValueError as error:  # one that is damaged must not take the others along
                log_once(str(error))
                continue
            if entry:
                yield name_of(folder.name), folder / FOLDER, {**entry, "long_side": long_side}


def _entry(folder: Path, graph: str) -> dict[str, Any] | None:
    files = versions(folder)
    if not files:
        return None
    head, digest = _head(files[0])
    label_set = _label_set(folder / "labels.json")
    if head.features != graph or max(head.classes, default=0) >= len(label_set):
        return None
    return {
        "title": f"Taught: {_title(folder / 'collection.json')}",
        "architecture": ARCHITECTURE,
        "label_set": label_set.to_json(),
        "onnx": files[0].name,
        "onnx_sha256": digest,
        "temperature": 1.0,
        "knows": "taught by painting: " + ", ".join(label_set.classes[i] for i in head.classes),
    }


@FileCache
def _head(path: Path) -> tuple[_Head, str]:
    return _Head.read(path), sha256(path)


@FileCache
def _label_set(path: Path) -> LabelSet:
    return LabelSet.from_json(_json(path))


@FileCache
def _title(path: Path) -> str:
    return str(_json(path).get("title", path.parent.name))


def _json(path: Path) -> Any:
    with damage(path):
        found = read_json(path)
    return found if isinstance(found, dict) else {}
