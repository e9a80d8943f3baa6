"""Where a model comes from: its parent, its data and the code, by hashes."""

import hashlib
import json
from functools import cache

from segdemo import __version__
from segdemo.annotations.store import AnnotationStore
from segdemo.core.settings import PACKAGE
from segdemo.data.datasets import Dataset
from segdemo.data.sources import open_dataset
from segdemo.runs.record import Run
from segdemo.zoo.scores import Lineage


def lineage_of(run: Run) -> Lineage:
    """Of the model a run will end in, with the data as they are now: they may have changed since it was queued."""
    settings = run.settings()
    try:
        digest = dataset_hash(open_dataset(str(settings.get("dataset")), str(settings.get("data"))))
    except (ValueError, OSError):
        digest = None  # the trainer will say what is wrong with it
    earlier = run.record.lineage.dataset_hash if run.record.lineage else None
    return Lineage.of(
        run=run.id,
        parent=settings.get("start_from") or None,
        dataset_hash=digest,
        dataset_changed=earlier is not None and earlier != digest,
        settings=settings,
        code=f"{__version__}+{source_hash()[:8]}",
    )


def dataset_hash(dataset: Dataset) -> str:
    """Hexadecimal SHA-256 of what training sees of a dataset: its classes, its subsets, and its masks.

    Collections of the annotation store are hashed by content; of other datasets the masks count by size only,
    which a hundred thousand files can afford.
    """
    if (dataset.root / "collection.json").is_file():
        return AnnotationStore(dataset.root.parent).open(dataset.root.name).fingerprint()
    digest = hashlib.sha256(json.dumps(dataset.label_set.to_json(), sort_keys=True).encode())
    digest.update(json.dumps(dataset.splits, sort_keys=True).encode())
    for id_ in sorted({id_ for ids in dataset.splits.values() for id_ in ids}):
        mask = dataset.sample(id_).mask_path
        size = mask.stat().st_size if mask is not None and mask.is_file() else None
        digest.update(f"{id_} {size}\n".encode())
    return digest.hexdigest()


@cache
def source_hash() -> str:
    """Hexadecimal SHA-256 of this program's Python files: which code it was, also between two versions."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()
