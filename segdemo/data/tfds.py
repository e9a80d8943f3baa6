"""Datasets that TensorFlow Datasets has prepared: ``tfds:NAME``, or their folder, wherever one is asked for.

``tfds:NAME`` is what SEGDEMO_DATA or TensorFlow Datasets' own folder holds. Any other folder it has prepared one in is
given by its path: the ``data_dir``, or a folder in it down to that of the version.

Nothing here reads one. The training side (``training.tfds``) writes it once as a folder in ``SEGDEMO_HOME/cache/tfds``,
from where it is opened as any other; until then it is known by the number of its photos.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from segdemo.core.files import read_json
from segdemo.core.labels import PETS
from segdemo.core.settings import data_dir, home
from segdemo.data import pets
from segdemo.data.datasets import Dataset, DatasetError

PREFIX = "tfds:"
NAMES = {"oxford_iiit_pet": "pets"}  # in TensorFlow Datasets, to the kind of the folder


def is_tfds(data: Path | str) -> bool:
    """Whether ``data`` is ``tfds:NAME`` and no path."""
    return str(data).startswith(PREFIX)


def name_of(kind: str, data: Path | str) -> str:
    """NAME of ``tfds:NAME``. Raises DatasetError if it is unknown or of another kind."""
    name = str(data).removeprefix(PREFIX)
    if NAMES.get(name) != kind:
        known = ", ".join(f"{PREFIX}{known} with the kind {of}" for known, of in NAMES.items())
        raise DatasetError(f"There is no {kind!r} dataset {str(data)!r}: use {known}, or give a folder.")
    return name


def find(name: str, root: Path | None) -> Path | None:
    """The folder of the newest version of a dataset that TensorFlow Datasets has prepared in or below ``root``."""
    if root is None:
        return None
    versions = [root, *(v for below in ("", f"{name}/", f"*/{name}/") for v in root.glob(f"{below}*.*.*"))]
    prepared = [v for v in versions if v.parent.name == name and (v / "dataset_info.json").is_file()]
    return max(prepared, key=lambda v: [int(part) for part in re.findall(r"\d+", v.name)], default=None)


def folder_for(prepared: Path) -> Path:
    """Where a prepared dataset is, or is to be, written as a folder; another one if it is prepared anew."""
    stamp = hashlib.sha256((prepared / "dataset_info.json").read_bytes()).hexdigest()[:12]
    return _cache() / f"{prepared.parent.name}-{prepared.name}-{stamp}"


def address(root: Path) -> str:
    """What ``open_dataset`` is told to find the dataset in ``root`` again: ``tfds:NAME``, or its whole path."""
    if root.parent == _cache():
        return PREFIX + root.name.split("-")[0]
    return str(root.resolve())


def offered() -> Iterator[str]:
    """``tfds:NAME`` of what is prepared in SEGDEMO_DATA."""
    for name in NAMES:
        if find(name, data_dir()):
            yield PREFIX + name


def prepared_in(kind: str, folder: Path) -> Path | None:
    """The folder of the newest version of a dataset of a kind that is prepared in or below ``folder``, or None."""
    names = [name for name, of in NAMES.items() if of == kind]
    return next(filter(None, (find(name, folder.resolve()) for name in names)), None)


def open_written(kind: str, data: Path | str) -> Dataset:
    """The folder that ``tfds:NAME`` has been written as. Raises DatasetError if it has not."""
    name = name_of(kind, data)
    prepared = find(name, data_dir())
    if prepared is not None:
        return open_prepared(prepared)
    if written := sorted(_cache().glob(f"{name}-*")):
        return pets.open_in(written[-1])
    raise _not_written(f"{PREFIX}{name}")


def open_prepared(prepared: Path) -> Dataset:
    """The folder that a prepared dataset has been written as. Raises DatasetError if it has not."""
    written = folder_for(prepared)
    if not written.is_dir():
        raise _not_written(str(prepared))
    return pets.open_in(written)


def outline(kind: str, data: Path | str) -> Dataset:
    """What is known of ``tfds:NAME``, see ``outline_prepared``. Raises DatasetError: not prepared in SEGDEMO_DATA."""
    prepared = find(name_of(kind, data), data_dir())
    return open_written(kind, data) if prepared is None else outline_prepared(prepared)


def outline_prepared(prepared: Path) -> Dataset:
    """The folder that a prepared dataset has been written as, or else as many photos without files.

    How many of them are for tuning is then exact to a few, since it depends on their names.

    Raises:
        DatasetError: its description is damaged.
    """
    if folder_for(prepared).is_dir():
        return open_prepared(prepared)
    counts = {}
    try:
        for split in read_json(prepared / "dataset_info.json")["splits"]:
            counts[split["name"]] = sum(map(int, split["shardLengths"]))
        trainval, test = ([f"{name} {n}" for n in range(counts[name])] for name in ("train", "test"))
    except (OSError, ValueError, KeyError, TypeError):
        raise DatasetError(
            f"The dataset_info.json in {prepared} is damaged: prepare the dataset anew."
        ) from None
    cut = round(len(trainval) / 10)
    splits = {"train": trainval[cut:], "val": trainval[:cut], "test": test, "trainval": trainval}
    splits["all"] = [*trainval, *test]
    root = folder_for(prepared)
    paths: dict[str, tuple[Path, Path | None]]
    paths = {id_: (root / f"{id_}.jpg", root / f"{id_}.png") for id_ in splits["all"]}
    return Dataset("pets", root, PETS, {name: tuple(ids) for name, ids in splits.items()}, paths)


def _not_written(which: str) -> DatasetError:
    return DatasetError(f"{which} has not been written as a folder yet: train or evaluate with it once.")


def _cache() -> Path:
    return home() / "cache" / "tfds"
