"""Files and lists of a dataset's folder, found whatever the case of their names."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from segdemo.core import names
from segdemo.data.datasets import DatasetError


def below(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def masks(folder: Path) -> dict[str, Path]:
    return {_stem(path): path for path in names.files_in(folder) if path.suffix.lower() == ".png"}


def photos(folder: Path) -> dict[str, Path]:
    return {_stem(path): path for path in names.photos_in(folder)}


def _stem(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem)


def lists_folder(folder: Path) -> Path:
    return names.child(names.child(folder, "ImageSets"), "Segmentation")


def known(*files: Iterable[str]) -> names.Index:
    """What lists may speak of: the ids of photos and masks."""
    ids = dict.fromkeys(id_ for some in files for id_ in some)
    return names.Index((id_, id_) for id_ in ids)


def read_lists(folder: Path, *files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    ids = known(*files)
    lists = {}
    for path in names.files_in(lists_folder(folder)):
        if path.suffix.lower() == ".txt":
            lists[path.stem.lower()] = read_list(path, ids)
    for word in [*lists]:  # valid.txt, Training.txt, as other tools call them
        subset = names.subset(word)
        if subset and subset not in lists:
            lists[subset] = lists.pop(word)
    return lists


def read_list(path: Path, known: names.Index) -> tuple[str, ...]:
    """The ids in a list: those of files where a line means one, whatever else stands on it."""
    try:
        lines = names.lines(names.text(path.read_bytes()))
    except (OSError, UnicodeDecodeError):
        raise DatasetError(f"The list {path} cannot be read: restore it or delete it.") from None
    ids: dict[str, None] = {}
    for line in lines:
        id_ = known.one(line)
        if id_ is None and line.startswith("#"):  # a comment, as in Pets' lists
            continue
        found = names.listed(line, known) or names.unlisted(line)
        for word in (line.split()[0], found):
            if word in (".", "..") or "/" in word or "\\" in word:
                raise DatasetError(
                    f"The list {path} holds {word!r}, which is a path: it must hold file names only."
                )
        ids[found] = None
    return tuple(ids)
