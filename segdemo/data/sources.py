"""Datasets found and opened. A layout is a module: its row in ``LAYOUTS`` is all that makes it known.

Nothing here opens a photo or a mask, and nothing outside ``LAYOUTS`` tells one layout from another.
"""

from pathlib import Path
from typing import Protocol

from segdemo.core.settings import expanded
from segdemo.data import annotations, folders, pets, tfds, voc
from segdemo.data.datasets import Dataset, DatasetError


class Layout(Protocol):
    """What a module of a layout has.

    Attributes:
        KIND: its name on the command line and in ``Dataset.kind``.
        OWNED: the folders in a dataset's root that are its own.
    """

    KIND: str
    OWNED: tuple[str, ...]

    def recognises(self, folder: Path) -> bool:
        """Whether a folder is the root of such a dataset."""

    def find(self, root: Path) -> Path | None:
        """The root of the dataset in or near a folder, or None."""

    def open_in(self, root: Path) -> Dataset:
        """The dataset in or near a folder. Raises DatasetError."""


# Where a folder could be of two kinds, the first counts.
LAYOUTS: dict[str, Layout] = {
    layout.KIND: layout
    for layout in (
        pets,
        annotations,
        voc,
    )
}
KINDS = tuple(sorted(LAYOUTS, reverse=True))


def open_dataset(kind: str, root: Path | str) -> Dataset:
    """Find a dataset's files and subsets; no photo or mask is opened.

    Args:
        kind: one of ``KINDS``.
        root: the dataset's folder. For VOC the VOCdevkit folder, its parent or VOC2012 itself; for Pets the
            folder of ``images`` and ``annotations`` or its parent, ``tfds:oxford_iiit_pet``, or a folder in which
            TensorFlow Datasets has prepared it, see ``tfds``.

    Returns:
        A Dataset, with these subsets:

        ============= ======================================================================================
        voc           ``train``, ``train_aug``, ``trainval`` and any other list that is there. ``all`` is the
                      whole val list; ``val`` and ``test`` are its halves: the ids in file order, shuffled by
                      ``random.Random(42)``, first half (rounded down) and second half.
        pets          ``all``; ``test``; ``trainval``, the rest; ``val``, a tenth of ``trainval`` for tuning;
                      ``train``, the other nine tenths. ``test`` is the official list if
                      ``annotations/test.txt`` and ``trainval.txt`` are there, else a fifth, see
                      ``stratified``.
        annotations   ``all``: every annotated photo; ``train``, ``val``, ``test``: see
                      ``_annotation_splits``; ``unlabelled``: photos without a mask.
        ============= ======================================================================================

    Raises:
        DatasetError: unknown kind, or the folder does not hold such a dataset.
    """
    if kind not in LAYOUTS:
        raise DatasetError(f"There is no dataset kind {kind!r}: choose one of {', '.join(KINDS)}.")
    if tfds.is_tfds(root):
        return tfds.open_written(kind, root)
    root = expanded(root)
    if not root.is_dir():
        raise DatasetError(f"There is no folder {root}: give the folder that holds the dataset.")
    prepared = prepared_at(kind, root)
    return LAYOUTS[kind].open_in(root) if prepared is None else tfds.open_prepared(prepared)


def prepared_at(kind: str, root: Path | str) -> Path | None:
    """What ``open_dataset`` would open of TensorFlow Datasets: the folder of the version, if ``root`` is such a place.

    None where ``root`` is ``tfds:NAME``, holds a dataset in its own layout, or no dataset.
    """
    if tfds.is_tfds(root) or kind not in LAYOUTS:
        return None
    root = expanded(root)
    return tfds.prepared_in(kind, root) if LAYOUTS[kind].find(root) is None else None


def outline(kind: str, root: Path | str) -> Dataset:
    """``open_dataset``, or what is known of a dataset before it is there to be opened, see ``tfds.outline``."""
    if tfds.is_tfds(root):
        return tfds.outline(kind, root)
    prepared = prepared_at(kind, root)
    return open_dataset(kind, root) if prepared is None else tfds.outline_prepared(prepared)


def find_datasets(root: Path | str | None) -> list[Dataset]:
    """The datasets in ``root`` and in folders one or two levels below it, each once, sorted by path.

    Args:
        root: a folder, usually that of SEGDEMO_DATA. None or a missing folder holds no dataset.

    Returns:
        A list of Dataset. Hidden and unreadable folders, and datasets that cannot be opened, are left out.
    """
    if root is None or not Path(root).is_dir():
        return []
    root = Path(root)
    children = folders.below(root)
    found = []
    for folder in [root, *children, *(below for child in children for below in folders.below(child))]:
        kind = _kind_of(folder)
        try:
            if kind is not None:
                found.append(open_dataset(kind, folder))
        except (DatasetError, OSError):
            continue
    return sorted(found, key=lambda dataset: str(dataset.root))


def dataset_of(path: Path | str) -> Path | None:
    """The root of the dataset one of whose folders of photos, masks or lists ``path`` is, or lies in; else None."""
    path = expanded(path).resolve()
    for root in path.parents:
        kind = _kind_of(root)
        if kind is not None and path.relative_to(root).parts[0] in LAYOUTS[kind].OWNED:
            return root
    return None


def _kind_of(folder: Path) -> str | None:
    return next((kind for kind, layout in LAYOUTS.items() if layout.recognises(folder)), None)
