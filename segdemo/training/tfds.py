"""Datasets of TensorFlow Datasets, written as folders: ``oxford_iiit_pet`` becomes a Pets folder.

Photos and trimaps are the very bytes that TensorFlow Datasets keeps, so nothing is decoded. Its train and test are
Pets' official lists.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from segdemo.core.settings import data_dir
from segdemo.data import tfds as prepared_datasets
from segdemo.data.datasets import Dataset, DatasetError
from segdemo.data.sources import open_dataset, prepared_at

LISTS = {"train": "trainval", "test": "test"}  # split of TensorFlow Datasets to Pets' list


def open_data(kind: str, data: Path | str) -> Dataset:
    """``sources.open_dataset``; what TensorFlow Datasets has prepared is written as a folder first, unless it has been.

    Raises:
        DatasetError: as ``open_dataset`` and ``write``.
    """
    if prepared_datasets.is_tfds(data):
        write(prepared_datasets.name_of(kind, data))
    elif (prepared := prepared_at(kind, data)) is not None:
        write_prepared(prepared)
    return open_dataset(kind, data)


def write(name: str) -> Path:
    """The folder of a dataset of TensorFlow Datasets, written unless it is there. It is whole or not there.

    Args:
        name: a key of ``data.tfds.NAMES``. It is read from SEGDEMO_DATA, else from TensorFlow Datasets' own folder,
            where that downloads and prepares it if need be.

    Raises:
        DatasetError: it is neither at hand nor can it be downloaded, or it is damaged.
    """
    return write_prepared(prepared_datasets.find(name, data_dir()) or _in_its_own_folder(name))


def write_prepared(prepared: Path) -> Path:
    """As ``write``, of the folder of a version that is prepared. Raises DatasetError: it is damaged."""
    folder = prepared_datasets.folder_for(prepared)
    if folder.is_dir():
        return folder
    print(f"Writing {prepared.parent.name} of TensorFlow Datasets as a folder, once.", file=sys.stderr)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    try:
        _copy(prepared, part)
        if not folder.is_dir():  # nobody else was faster
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _copy(prepared: Path, folder: Path) -> None:
    import tensorflow_datasets as tfds

    for place in ("images", "annotations/trimaps"):
        (folder / place).mkdir(parents=True)
    keep = tfds.decode.SkipDecoding()
    decoders = {"image": keep, "segmentation_mask": keep}
    try:
        builder = tfds.builder_from_directory(prepared)
        for split, subset in LISTS.items():
            ids = []
            examples = builder.as_dataset(split, decoders=decoders, shuffle_files=False).as_numpy_iterator()
            count = builder.info.splits[split].num_examples
            for example in tqdm(examples, split, count, unit=" photos", disable=None):
                name = example["file_name"].decode()
                id_ = Path(name).stem
                if name != f"{id_}.jpg" or id_.startswith("."):
                    raise ValueError(f"it has a photo called {name!r}")
                # Exclusively: no photo may take the place of another.
                with (folder / "images" / name).open("xb") as file:
                    file.write(example["image"])
                with (folder / "annotations" / "trimaps" / f"{id_}.png").open("xb") as file:
                    file.write(example["segmentation_mask"])
                ids.append(id_)
            lines = "".join(f"{id_}\n" for id_ in sorted(ids))
            (folder / "annotations" / f"{subset}.txt").write_text(lines, "utf-8")
    except OSError as error:
        if not isinstance(error, FileExistsError):
            raise  # such as a full disk
        raise _damaged(prepared, "it has two photos of one name") from error
    except Exception as error:  # whatever a reader of damaged files raises
        raise _damaged(prepared, str(error).strip().partition("\n")[0] or type(error).__name__) from error


def _damaged(prepared: Path, why: str) -> DatasetError:
    return DatasetError(f"{prepared} cannot be read ({why}): prepare it anew with tfds build.")


def _in_its_own_folder(name: str) -> Path:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise DatasetError(
            f"tfds:{name} needs TensorFlow Datasets: install the package tensorflow-datasets."
        ) from None
    own = Path(os.fspath(tfds.core.constants.DATA_DIR))
    if (prepared := prepared_datasets.find(name, own)) is not None:
        return prepared
    try:
        builder = tfds.builder(name, data_dir=own)
        builder.download_and_prepare()
        return Path(builder.data_dir)
    except Exception as error:  # as many as there are ways to fail
        raise DatasetError(
            f"{name} is neither in SEGDEMO_DATA nor in {own}, and could not be downloaded: prepare it where there is "
            f"a network with tfds build {name} --data_dir DIR, and set SEGDEMO_DATA to DIR."
        ) from error
