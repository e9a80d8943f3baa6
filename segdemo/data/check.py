"""What is wrong with a dataset: every photo and mask opened."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo.core import names
from segdemo.core.labels import LabelSet
from segdemo.data import learnable
from segdemo.data.datasets import (
    WORKERS,
    Dataset,
    DatasetError,
    Sample,
    label_map_of,
    mask_values,
    numbers_in,
    read_image,
    size_problem,
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a dataset: the file or list concerned and a sentence."""

    path: Path
    message: str


@dataclass(frozen=True)
class Report:
    """What ``check`` found.

    Attributes:
        dataset: the dataset.
        samples: how many different samples were looked at.
        problems: sorted by path; empty if all is well.
        notes: sentences on what is no fault and yet worth knowing.
    """

    dataset: Dataset
    samples: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain data: kind, root, classes, subset sizes, samples, ok, problems, notes."""
        return {
            "kind": self.dataset.kind,
            "root": str(self.dataset.root),
            "classes": len(self.dataset.label_set),
            "subsets": {name: len(ids) for name, ids in self.dataset.splits.items()},
            "samples": self.samples,
            "ok": self.ok,
            "problems": [{"path": str(p.path), "message": p.message} for p in self.problems],
            "notes": list(self.notes),
        }

    def lines(self) -> Iterator[str]:
        """The report as lines of text."""
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in self.dataset.splits.items())
        yield f"{self.dataset.label_set.title} in {self.dataset.root}: {sizes}."
        yield from (problem.message for problem in self.problems)
        yield from self.notes
        found = "no problem" if self.ok else f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
        yield f"{self.samples} photos looked at, {found}."


def check(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Report:
    """Open every photo and mask of every subset.

    Args:
        dataset: what to check.
        progress: called with (samples done, samples in all).

    Returns:
        A Report of missing and unreadable photos and masks, photos that share a name, masks of another size than
        their photo, ids that are not in the label set, lists that are empty or missing, and masks in which there is
        nothing to learn from or to measure.
    """
    problems = [
        Problem(
            dataset.root, f"The subset {name!r} of the dataset in {dataset.root} is empty: add photos to it."
        )
        for name, ids in dataset.splits.items()
        if not ids and name != "unlabelled"
    ]
    if dataset.kind == "voc":
        problems += [
            Problem(
                dataset.root,
                f"There is no list ImageSets/Segmentation/{name}.txt in {dataset.root}: restore it.",
            )
            for name in ("train", "val")
            if ("all" if name == "val" else name) not in dataset.splits
        ]
    samples = [dataset.sample(id_) for id_ in dataset.ids]
    problems += _doubles(samples)
    present = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        checked = pool.map(lambda s: _check_sample(s, dataset.label_set), samples)
        for done, (sample, (found, values)) in enumerate(zip(samples, checked, strict=True), 1):
            problems += found
            if values is not None:
                present[sample.id] = values
            if progress is not None:
                progress(done, len(samples))
    empty, notes = learnable.findings(dataset, present)
    problems += [Problem(dataset.root, message) for message in empty]
    return Report(dataset, len(samples), tuple(sorted(problems, key=lambda p: str(p.path))), tuple(notes))


def _doubles(samples: list[Sample]) -> Iterator[Problem]:
    """Samples of whose photo there are several, with other endings."""
    photos: dict[tuple[Path, str], list[Path]] = {}
    for folder in {sample.image_path.parent for sample in samples}:
        for path in names.photos_in(folder):
            photos.setdefault((folder, path.stem), []).append(path)
    for sample in samples:
        alike = photos.get((sample.image_path.parent, sample.image_path.stem), [])
        if len(alike) > 1:
            others = ", ".join(path.name for path in alike if path != sample.image_path)
            yield Problem(
                sample.image_path,
                f"The photo {sample.image_path} is used, and {others} beside it has the same name: keep the one that "
                "the mask was drawn on.",
            )


def _check_sample(sample: Sample, label_set: LabelSet) -> tuple[list[Problem], set[int] | None]:
    """(problems, the numbers in the mask's file or None) of a sample."""
    problems, image, values = [], None, None
    try:
        image = read_image(sample)
    except (ValueError, OSError) as error:
        # intake's sentence is about an upload; here the file has to be named
        message = str(error) if str(sample.image_path) in str(error) else f"{sample.image_path}: {error}"
        problems.append(Problem(sample.image_path, message))
    if sample.mask_path is None:
        return problems, None
    try:
        values = mask_values(sample.mask_path)
        label_map = label_map_of(values, sample, label_set)
        if image is not None and (problem := size_problem(sample, image, label_map)) is not None:
            problems.append(Problem(sample.mask_path, problem))
    except DatasetError as error:
        problems.append(Problem(sample.mask_path, str(error)))
    return problems, None if values is None else numbers_in(values)
