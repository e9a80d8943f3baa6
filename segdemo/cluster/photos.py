"""Many photos through one model on a cluster: what ``predict`` and ``evaluate`` do, with the same results.

The model travels with the work. Photos, masks and the folder of results are read and written where they lie: by the
same paths on every node.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from segdemo.cluster.reach import Place
from segdemo.cluster.spread import Work, spread
from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.labels import LabelSet
from segdemo.core.photos import Limits
from segdemo.data.datasets import Dataset, DatasetError, Sample, read_pair
from segdemo.data.formats import ArchiveLimits
from segdemo.inference.batch import Item, Outcome, segmented
from segdemo.inference.batch_formats import chosen
from segdemo.inference.batch_photos import Archives, Packed
from segdemo.inference.evaluate import measurable, report_of, scores
from segdemo.inference.predict import DamagedModelError
from segdemo.inference.predictors import Segmenter, open_predictor
from segdemo.zoo import ModelEntry
from segdemo.zoo.scores import Scores

Look = Callable[[UInt8, UInt8], object]


def _nothing(photo: UInt8, label_map: UInt8) -> None:
    """A ``Look`` of nobody."""


@dataclass(frozen=True)
class Model:
    """A served model on its way to where it works.

    Attributes:
        entry: as its manifest describes it. data: its file.
        scales, flip: of ``predict.Predictor``.
    """

    entry: ModelEntry
    data: bytes
    scales: Sequence[float]
    flip: bool

    @classmethod
    def of(cls, entry: ModelEntry, scales: Sequence[float], flip: bool) -> Self:
        """The model of an entry. Raises DamagedModelError."""
        try:
            return cls(entry, entry.path.read_bytes(), tuple(scales), flip)
        except FileNotFoundError:
            raise DamagedModelError(f"{entry.path.name} is missing: fetch it again.") from None

    def opened(self) -> Segmenter:
        """It, loaded, with one thread. Raises as ``open_predictor``."""
        with tempfile.TemporaryDirectory(prefix="segdemo-model-") as folder:
            (Path(folder) / self.entry.onnx).write_bytes(self.data)
            return open_predictor(replace(self.entry, folder=Path(folder)), self.scales, self.flip, threads=1)


def outcomes(
    model: Model,
    formats: Sequence[str],
    workers: int,
    items: Sequence[Item],
    share: float = 1.0,
    look: Look = _nothing,
    place: Place | None = None,
) -> Iterator[Outcome]:
    """What becomes of each photo, as ``Batch.run_by`` wants it, in any order.

    Args:
        model: that segments them.
        formats: names of ``batch_formats.FORMATS``.
        workers: actors; 0 for as many as the cluster has CPUs.
        items: the photos; the source of each is a path, or ``Packed``.
        share: of the cluster's CPUs, where ``workers`` is 0.
        look: as of ``Batch``, picklable, called where the photo is segmented.
        place: that every node has to have.

    Raises:
        As ``spread``. UnreachableError: a node does not have ``place``.
    """
    packed = next((item.source.archives for item in items if isinstance(item.source, Packed)), None)
    archives = (packed.limits, packed.max_bytes) if packed else (ArchiveLimits(), 0)
    load = partial(_segmenting, model, tuple(formats), Limits.from_env(), archives, look, place)
    for told in spread(load, [_told(item) for item in items], workers, share):
        yield Outcome(**told)


def _told(item: Item) -> dict[str, Any]:
    """A photo as plain data."""
    files = {kind: str(path.absolute()) for kind, path in item.files.items()}
    told = {"key": item.key, "name": item.name, "files": files}
    if isinstance(packed := item.source, Packed):
        return {**told, "zip": str(packed.path.resolve()), "title": packed.title, "inside": packed.name}
    return {**told, "photo": str(Path(str(item.source)).resolve())}


def _segmenting(
    model: Model,
    formats: Sequence[str],
    limits: Limits,
    archives: tuple[ArchiveLimits, int],
    look: Look,
    place: Place | None,
) -> Work:
    if place is not None:
        place.require()
    predictor, wanted, opened = model.opened(), chosen(formats), Archives(*archives)

    def segment(thing: dict[str, Any]) -> dict[str, Any]:
        files = {kind: Path(path) for kind, path in thing["files"].items()}
        source = (
            Packed(Path(thing["zip"]), thing["title"], thing["inside"], opened)
            if "zip" in thing
            else Path(thing["photo"])
        )
        done = segmented(Item(thing["key"], thing["name"], source, files), predictor, wanted, limits, look)
        return {"key": done.key, "row": done.row, "why": done.why, "bytes": done.bytes}

    return segment


def evaluate_on_cluster(
    entry: ModelEntry,
    dataset: Dataset,
    subset: str,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    workers: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[Scores, list[str]]:
    """Score a served model on a cluster.

    Args:
        entry, dataset, subset, scales, flip: as of ``evaluate.evaluate_model``.
        workers: actors; 0 for as many as the cluster has CPUs.
        progress: called with the number of photos done after each.

    Returns:
        (its report, a sentence on each photo that could not be measured and does not count).

    Raises:
        As ``evaluate.evaluate_model``, but for photos and masks that cannot be read, and as ``spread``. DatasetError:
            none of them can be.
    """
    start = time.perf_counter()
    samples = measurable(entry, dataset, subset)
    things = [
        {"id": s.id, "photo": _path(s.image_path), "mask": _path(s.mask_path), "dataset": s.dataset}
        for s in samples
    ]
    load = partial(_measuring, Model.of(entry, scales, flip), dataset.label_set)
    confusion = np.zeros((len(dataset.label_set),) * 2, np.int64)
    times: list[float] = []
    wrong: list[str] = []
    for done, told in enumerate(spread(load, things, workers, then="give the same command again"), 1):
        if "why" in told:
            wrong.append(told["why"])
        else:
            confusion += np.asarray(told["confusion"], np.int64)
            times.append(told["milliseconds"])
        progress(done)
    if not times:
        raise DatasetError(f"No photo of {subset!r} can be measured: {wrong[0]}")
    found = scores(confusion, dataset.label_set).with_more(
        images=len(times), seconds=round(time.perf_counter() - start, 1), confusion=confusion.tolist()
    )
    return report_of(entry, dataset, subset, scales, flip, found, times), sorted(wrong)


def _path(path: Path | None) -> str | None:
    return str(path.resolve()) if path else None


def _measuring(model: Model, label_set: LabelSet) -> Work:
    predictor = model.opened()

    def measure(thing: dict[str, Any]) -> dict[str, Any]:
        mask = Path(thing["mask"]) if thing["mask"] else None
        sample = Sample(thing["id"], Path(thing["photo"]), mask, thing["dataset"])
        try:
            image, truth = read_pair(sample, label_set)
        except DatasetError as error:
            return {"why": str(error)}
        prediction = predictor(image)
        confusion = label_maps.confusion(truth, prediction.label_map, len(label_set))
        return {"confusion": confusion.tolist(), "milliseconds": prediction.milliseconds}

    return measure
