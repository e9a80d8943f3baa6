"""What a segmentation dataset is: a label set and named subsets of samples, a sample being a photo and its mask.

The layouts it may have on disk are modules of their own (``voc``, ``pets``, ``annotations``); ``sources`` finds and
opens them. Nothing here needs a deep-learning framework; ``training.pipeline`` turns a dataset into batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOID, LabelSet
from segdemo.core.photos import IntakeError, read_photo
from segdemo.core.settings import cores
from segdemo.errors import UserError

WORKERS = min(8, 2 * cores())  # reading masks is half waiting, half decompressing


class DatasetError(UserError):
    """A dataset cannot be used as asked; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Sample:
    """One photo and its mask, by path.

    Attributes:
        id: file name without its ending, unique in the dataset.
        image_path: the photo.
        mask_path: the mask, or None if the photo is not annotated.
        dataset: kind of the dataset it belongs to, which decides how the mask's values are read.
    """

    id: str
    image_path: Path
    mask_path: Path | None
    dataset: str


@dataclass(frozen=True)
class Dataset:
    """Named subsets of samples that share one label set.

    Attributes:
        kind: of its layout, such as ``"voc"``: a key of ``sources.LAYOUTS``.
        root: the folder that directly holds the photo and mask folders.
        label_set: what the label maps mean.
        splits: subset name to the ids in it, in order. ``"all"`` is what a whole evaluation runs on.
    """

    kind: str
    root: Path
    label_set: LabelSet
    splits: dict[str, tuple[str, ...]]
    _paths: dict[str, tuple[Path, Path | None]] = field(repr=False, compare=False)

    @property
    def learning_subset(self) -> str:
        """The subset to learn from unless told otherwise: VOC's augmented list where it is there, else ``train``."""
        return "train_aug" if "train_aug" in self.splits else "train"

    @property
    def ids(self) -> list[str]:
        """The ids in all subsets, each once."""
        return list(dict.fromkeys(id_ for ids in self.splits.values() for id_ in ids))

    def samples(self, subset: str) -> list[Sample]:
        """The samples of ``subset``, in order. Raises DatasetError if there is none such or it is empty."""
        if subset not in self.splits:
            raise DatasetError(
                f"The dataset in {self.root} has no subset {subset!r}: choose from {', '.join(self.splits)}."
            )
        if not self.splits[subset]:
            raise DatasetError(
                f"The subset {subset!r} of the dataset in {self.root} is empty: add photos to it."
            )
        return [self._sample(id_) for id_ in self.splits[subset]]

    def sample(self, id_: str) -> Sample:
        """The sample called ``id_``, whatever its subset. Raises DatasetError if there is none."""
        if id_ not in self._paths:
            raise DatasetError(f"The dataset in {self.root} has no photo called {id_!r}: use one of its ids.")
        return self._sample(id_)

    def pairs(self, subset: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """``(id, image uint8 (H, W, 3), label map uint8 (H, W))`` of ``subset``, at its own size."""
        for sample in self.samples(subset):
            yield sample.id, read_image(sample), read_label_map(sample)

    def _sample(self, id_: str) -> Sample:
        return Sample(id_, *self._paths[id_], self.kind)


def read_image(sample: Sample) -> np.ndarray:
    """The photo, upright, as uint8 RGB (H, W, 3).

    Raises:
        DatasetError: the file is missing. IntakeError: it is not a photo that can be read.
    """
    if not sample.image_path.is_file():
        raise DatasetError(
            f"The photo {sample.image_path} is missing: restore it or take its id off the list."
        )
    return read_photo(sample.image_path)


def read_label_map(sample: Sample, label_set: LabelSet | None = None) -> np.ndarray:
    """The mask as a label map: uint8 (H, W), class ids of the dataset's label set, 255 = void.

    VOC and annotation masks hold class ids (of a palettized PNG, the indices). Pets trimaps hold class id +
    1, and any value but 1, 2, 3 is void. So 255 is void always, also in masks that mean the object by it: whether
    there is anything else, ``learnable`` tells.

    Args:
        sample: what to read.
        label_set: if given, ids that are neither in it nor void are an error.

    Raises:
        DatasetError: there is no mask, it cannot be read, it is a colour picture, or it has an unknown id.
    """
    if sample.mask_path is None:
        raise DatasetError(f"The photo {sample.id} has no mask: annotate it first.")
    return label_map_of(mask_values(sample.mask_path), sample, label_set)


def mask_values(path: Path) -> np.ndarray:
    """The numbers in a mask's file, uint8 (H, W), whatever they mean; of a palettized PNG, the indices.

    Raises:
        DatasetError: it is missing, cannot be read, or is a colour or black-and-white picture.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode == "1":
                raise DatasetError(
                    f"The mask {path} is a picture of black and white, not of class ids: write a copy that reads white "
                    "as the object with python -m segdemo data binary DIR --out DIR."
                )
            if picture.mode not in ("P", "L"):
                raise DatasetError(
                    f"The mask {path} is a picture of mode {picture.mode}, not of class ids: "
                    "save it as a palettized or 8-bit grey PNG."
                )
            if picture.mode == "P":
                return np.array(picture)  # its indices, not its colours
            with path.open("rb") as file:
                return label_maps.stored_greys(picture, label_maps.bit_depth(file.read(25)))
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(f"The mask {path} is missing: restore it or take its id off the list.") from None
    except Exception:  # decoders of damaged files raise anything from OSError to KeyError
        raise DatasetError(
            f"The mask {path} cannot be read as a picture: restore it from its source."
        ) from None


def numbers_in(values: np.ndarray) -> set[int]:
    """The different numbers in a mask uint8 (H, W)."""
    return set(np.flatnonzero(np.bincount(values.ravel())).tolist())


def read_pair(sample: Sample, label_set: LabelSet) -> tuple[np.ndarray, np.ndarray]:
    """A photo uint8 (H, W, 3) and its label map uint8 (H, W), for measuring.

    Raises:
        DatasetError: as ``read_label_map``, the photo cannot be read, or they differ in size; it names the file.
    """
    try:
        image = read_image(sample)
    except IntakeError as error:
        raise DatasetError(f"The photo {sample.image_path} cannot be read: {error}") from error
    label_map = read_label_map(sample, label_set)
    if (problem := size_problem(sample, image, label_map)) is not None:
        raise DatasetError(problem)
    return image, label_map


def size_problem(sample: Sample, image: np.ndarray, label_map: np.ndarray) -> str | None:
    """The sentence on a mask of another size than its photo, or None."""
    if image.shape[:2] == label_map.shape:
        return None
    (h, w), (mh, mw) = image.shape[:2], label_map.shape
    return f"The mask {sample.mask_path} is {mw} x {mh} pixels, its photo {w} x {h}: make them equal."


def label_map_of(values: np.ndarray, sample: Sample, label_set: LabelSet | None) -> np.ndarray:
    """The label map that ``mask_values`` mean; raises DatasetError as ``read_label_map``."""
    if sample.dataset == "pets":
        return np.where((values >= 1) & (values <= len(PETS)), values - np.uint8(1), np.uint8(VOID))
    if label_set is not None and (unknown := _unknown_ids(values, label_set)):
        raise DatasetError(
            f"The mask {sample.mask_path} holds the class id {unknown[0]}, which {label_set.title} does not have: "
            "correct the mask or the label set."
        )
    return values


def _unknown_ids(ids: np.ndarray, label_set: LabelSet) -> list[int]:
    unknown = (ids >= len(label_set)) & (ids != VOID)
    return np.unique(ids[unknown]).tolist() if unknown.any() else []
