"""Which photos show which class."""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segdemo.core.files import read_json, write_json
from segdemo.core.settings import home
from segdemo.data.datasets import WORKERS, Dataset, DatasetError, Sample, numbers_in, read_label_map


def by_class(dataset: Dataset, subset: str = "all", cache_dir: Path | None = None) -> dict[int, list[str]]:
    """Which photos show which class.

    Reads every mask of the subset once (some seconds for VOC val). The answer is kept in a folder and made
    anew when the list, or the size or date of a mask, changes.

    Args:
        dataset: whose masks.
        subset: a key of ``dataset.splits``.
        cache_dir: the folder, by default ``cache`` in SEGDEMO_HOME.

    Returns:
        Class id to the ids of the photos in which it has a pixel, in the subset's order; every class is a
        key. Unreadable masks show nothing (``check`` names them).

    Raises:
        DatasetError: no such subset.
    """
    samples = dataset.samples(subset)
    key = hashlib.sha256(
        f"{dataset.kind} {dataset.root.resolve()} {subset} {len(dataset.label_set)}".encode()
    )
    for sample in samples:
        key.update(f"{sample.id} {_stamp(sample.mask_path)}".encode())
    cache = Path(cache_dir or home() / "cache") / f"classes-{key.hexdigest()[:32]}.json"
    try:
        return {int(id_): [str(name) for name in ids] for id_, ids in read_json(cache).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # none yet, or a damaged one that is written anew
    index: dict[int, list[str]] = {id_: [] for id_ in range(len(dataset.label_set))}
    with ThreadPoolExecutor(WORKERS) as pool:
        for sample, present in zip(samples, pool.map(_classes_present, samples), strict=True):
            for id_ in present:
                if id_ in index:
                    index[id_].append(sample.id)
    with contextlib.suppress(OSError):  # a full or read-only disk makes it slower, not wrong
        write_json(cache, index)
    return index


def _classes_present(sample: Sample) -> set[int]:
    try:
        return numbers_in(read_label_map(sample))
    except DatasetError:
        return set()


def _stamp(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
