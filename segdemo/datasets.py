"""Segmentation datasets on disk: PASCAL VOC 2012, Oxford-IIIT Pet, and folders of one's own annotations.

A dataset is a label set and named subsets of samples; a sample is a photo and its mask. Three layouts:

* ``voc``: Everingham et al., "The PASCAL Visual Object Classes Challenge", with ``JPEGImages``,
  ``SegmentationClass`` (palettized PNG, 255 = boundary) and ``ImageSets/Segmentation``; if there is a
  ``SegmentationClassAug`` it holds the masks of Hariharan et al., "Semantic Contours from Inverse
  Detectors" (ICCV 2011), which ``train_aug`` uses where VOC itself has none.
* ``pets``: Parkhi et al., "Cats and Dogs" (CVPR 2012), with ``images`` and ``annotations/trimaps``
  (1 = foreground, 2 = background, 3 = border).
* ``annotations``: the VOC layout plus ``labels.json``, the label set as ``LabelSet.to_json`` writes it.

Nothing here needs a deep-learning framework; ``segdemo.pipeline`` turns a dataset into batches.
"""

import contextlib
import hashlib
import os
import random
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from segdemo import names
from segdemo.files import read_json, write_json
from segdemo.intake import IntakeError, read_photo
from segdemo.labels import PETS, VOC, VOID, LabelSet
from segdemo.settings import home

KINDS = ("voc", "pets", "annotations")
_OWNED = (
    "JPEGImages",
    "SegmentationClass",
    "SegmentationClassAug",
    "ImageSets",
)  # of VOC trees and annotations
SPLIT_SEED = 42  # shuffles VOC's val list and the Pets photos before they are divided
WORKERS = min(8, 2 * (os.cpu_count() or 1))  # reading masks is half waiting, half decompressing


class DatasetError(ValueError):
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
        kind: ``"voc"``, ``"pets"`` or ``"annotations"``.
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
    def learning_subset(self):
        """The subset to learn from unless told otherwise: VOC's augmented list where it is there, else ``train``."""
        return "train_aug" if "train_aug" in self.splits else "train"

    def samples(self, subset):
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

    def sample(self, id_):
        """The sample called ``id_``, whatever its subset. Raises DatasetError if there is none."""
        if id_ not in self._paths:
            raise DatasetError(f"The dataset in {self.root} has no photo called {id_!r}: use one of its ids.")
        return self._sample(id_)

    def pairs(self, subset) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """``(id, image uint8 (H, W, 3), label map uint8 (H, W))`` of ``subset``, at its own size."""
        for sample in self.samples(subset):
            yield sample.id, read_image(sample), read_label_map(sample)

    def _sample(self, id_):
        return Sample(id_, *self._paths[id_], self.kind)


def open_dataset(kind, root):
    """Find a dataset's files and subsets; no photo or mask is opened.

    Args:
        kind: ``"voc"``, ``"pets"`` or ``"annotations"``.
        root: the dataset's folder. For VOC the VOCdevkit folder, its parent or VOC2012 itself; for Pets the
            folder of ``images`` and ``annotations`` or its parent.

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
    if kind not in KINDS:
        raise DatasetError(f"There is no dataset kind {kind!r}: choose one of {', '.join(KINDS)}.")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(f"There is no folder {root}: give the folder that holds the dataset.")
    return {"voc": _open_voc, "pets": _open_pets, "annotations": _open_annotations}[kind](root)


def find_datasets(root):
    """The datasets in ``root`` and in folders one or two levels below it, each once, sorted by path.

    Args:
        root: a folder, usually that of SEGDEMO_DATA. None or a missing folder holds no dataset.

    Returns:
        A list of Dataset. Hidden and unreadable folders, and datasets that cannot be opened, are left out.
    """
    if root is None or not Path(root).is_dir():
        return []
    root = Path(root)
    children = _folders(root)
    found = []
    for folder in [root, *children, *(below for child in children for below in _folders(child))]:
        kind = _kind_of(folder)
        try:
            if kind is not None:
                found.append(open_dataset(kind, folder))
        except (DatasetError, OSError):
            continue
    return sorted(found, key=lambda dataset: str(dataset.root))


def identify(root):
    """The kind of the dataset that ``open_dataset`` would find in ``root``, or None."""
    root = Path(root).expanduser()
    for find, kind in ((_find_voc, None), (_find_pets, "pets")):
        if (folder := find(root)) is not None:
            return kind or _kind_of(folder)
    return None


def dataset_of(path):
    """The root of the dataset one of whose folders of photos, masks or lists ``path`` is, or lies in; else None."""
    path = Path(path).expanduser().resolve()
    for root in path.parents:
        owned = {"pets": ("images", "annotations")}.get(_kind_of(root), _OWNED)
        if _kind_of(root) is not None and path.relative_to(root).parts[0] in owned:
            return root
    return None


def read_image(sample):
    """The photo, upright, as uint8 RGB (H, W, 3).

    Raises:
        DatasetError: the file is missing. IntakeError: it is not a photo that can be read.
    """
    if not sample.image_path.is_file():
        raise DatasetError(
            f"The photo {sample.image_path} is missing: restore it or take its id off the list."
        )
    return read_photo(sample.image_path)


def read_label_map(sample, label_set=None):
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
    return _label_map(mask_values(sample.mask_path), sample, label_set)


def mask_values(path):
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
            return np.array(picture)  # a mode-P picture gives its indices, not its colours
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(f"The mask {path} is missing: restore it or take its id off the list.") from None
    except Exception:  # decoders of damaged files raise anything from OSError to KeyError
        raise DatasetError(
            f"The mask {path} cannot be read as a picture: restore it from its source."
        ) from None


def read_pair(sample, label_set):
    """A photo uint8 (H, W, 3) and its label map uint8 (H, W), for measuring.

    Raises:
        DatasetError: as ``read_label_map``, the photo cannot be read, or they differ in size; it names the file.
    """
    try:
        image = read_image(sample)
    except IntakeError as error:
        raise DatasetError(f"The photo {sample.image_path} cannot be read: {error}") from error
    label_map = read_label_map(sample, label_set)
    if (problem := _size_problem(sample, image, label_map)) is not None:
        raise DatasetError(problem)
    return image, label_map


def _size_problem(sample, image, label_map):
    if image.shape[:2] == label_map.shape:
        return None
    (h, w), (mh, mw) = image.shape[:2], label_map.shape
    return f"The mask {sample.mask_path} is {mw} x {mh} pixels, its photo {w} x {h}: make them equal."


def _label_map(values, sample, label_set):
    """The label map that ``mask_values`` mean; raises DatasetError as ``read_label_map``."""
    if sample.dataset == "pets":
        return np.where((values >= 1) & (values <= len(PETS)), values - np.uint8(1), np.uint8(VOID))
    if label_set is not None and (unknown := _unknown_ids(values, label_set)):
        raise DatasetError(
            f"The mask {sample.mask_path} holds the class id {unknown[0]}, which {label_set.title} does not have: "
            "correct the mask or the label set."
        )
    return values


def _unknown_ids(ids, label_set):
    unknown = (ids >= len(label_set)) & (ids != VOID)
    return np.unique(ids[unknown]).tolist() if unknown.any() else []


def stratified(ids, part, stratum, seed=SPLIT_SEED):
    """Cut a part out of ``ids`` in which every stratum has its share; the same ids give the same part.

    Every stratum large enough to give at least one (n * part >= 1) is shuffled by ``random.Random(seed)``
    and gives its first ``round(n * part)``; the smaller ones are pooled and divided in the same way.

    Args:
        ids: names, in any order.
        part: the share to cut out, in 0..1.
        stratum: function from an id to the stratum it belongs to.
        seed: of the shuffles.

    Returns:
        ``(rest, part)``, two sorted tuples.
    """
    groups = {}
    for id_ in sorted(ids):
        groups.setdefault(stratum(id_), []).append(id_)
    large = [group for _, group in sorted(groups.items()) if len(group) * part >= 1]
    pooled = [id_ for _, group in sorted(groups.items()) if len(group) * part < 1 for id_ in group]
    cut = set()
    for group in [*large, pooled]:
        random.Random(seed).shuffle(group)
        cut.update(group[: round(len(group) * part)])
    return tuple(id_ for id_ in sorted(ids) if id_ not in cut), tuple(sorted(cut))


def breed(pet_id):
    """The breed in a Pets file name: ``"great_pyrenees_175"`` is a ``"great_pyrenees"``."""
    return pet_id.rpartition("_")[0] or pet_id


# --- the three layouts ------------------------------------------------------------------------------------


def _open_voc(root):
    folder = _find_voc(root)
    if folder is None:
        raise DatasetError(
            f"There is no VOC 2012 in {root}: give the VOCdevkit folder, its parent, or VOC2012 itself, "
            "with JPEGImages, SegmentationClass and ImageSets/Segmentation in it."
        )
    photos = _photos(names.child(folder, "JPEGImages"))
    official, augmented = (
        _masks(names.child(folder, name)) for name in ("SegmentationClass", "SegmentationClassAug")
    )
    lists = _read_lists(folder, photos, official, augmented)
    splits = {name: ids for name, ids in lists.items() if name != "val"}
    if "trainaug" in splits:  # what some distributions call it
        splits.setdefault("train_aug", splits.pop("trainaug"))
    whole = lists.get("val", ())
    if whole:
        shuffled = list(whole)
        random.Random(SPLIT_SEED).shuffle(shuffled)
        half = len(shuffled) // 2
        splits |= {"val": tuple(shuffled[:half]), "test": tuple(shuffled[half:]), "all": whole}
    masks = {**augmented, **official}
    paths = {}
    for id_ in dict.fromkeys(id_ for ids in splits.values() for id_ in ids):
        mask = masks.get(id_, folder / "SegmentationClass" / f"{id_}.png")
        paths[id_] = (photos.get(id_, folder / "JPEGImages" / f"{id_}.jpg"), mask)
    return Dataset("voc", folder, VOC, splits, paths)


def _open_pets(root):
    folder = _find_pets(root)
    if folder is None:
        raise DatasetError(
            f"There is no Oxford-IIIT Pet in {root}: give the folder with images and annotations/trimaps."
        )
    photos = _photos(names.child(folder, "images"))
    trimaps = names.child(names.child(folder, "annotations"), "trimaps")
    masks = _masks(trimaps)
    everything = tuple(sorted(photos.keys() & masks.keys()))
    official = [names.child(trimaps.parent, name) for name in ("trainval.txt", "test.txt")]
    if all(path.is_file() for path in official):
        trainval, test = (_read_list(path, _known(photos, masks)) for path in official)
        everything = (*trainval, *test)
    else:
        trainval, test = stratified(everything, 1 / 5, breed)
    train, val = stratified(trainval, 1 / 10, breed)
    splits = {"train": train, "val": val, "test": test, "trainval": trainval, "all": everything}
    paths = {
        id_: (photos.get(id_, folder / "images" / f"{id_}.jpg"), masks.get(id_, trimaps / f"{id_}.png"))
        for id_ in everything
    }
    return Dataset("pets", folder, PETS, splits, paths)


def _open_annotations(root):
    for name in ("JPEGImages", "SegmentationClass", "labels.json"):
        if not names.child(root, name).exists():
            raise DatasetError(
                f"There is no {name} in {root}: give a folder of annotations saved by SegDemo."
            )
    try:
        label_set = LabelSet.from_json(read_json(names.child(root, "labels.json")))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"The label set in {root / 'labels.json'} cannot be read ({error}): restore it."
        ) from None
    photos = _photos(names.child(root, "JPEGImages"))
    masks = _masks(names.child(root, "SegmentationClass"))
    labelled = photos.keys() & masks.keys()
    lists = _read_lists(root, photos, masks)
    listed = {id_ for name in ("train", "val", "test") for id_ in lists.get(name, ())}
    splits = _annotation_splits(sorted(labelled | listed), lists)
    splits["all"] = tuple(sorted(labelled | listed))
    splits["unlabelled"] = tuple(sorted(photos.keys() - labelled))
    paths = {}
    for id_ in [*splits["all"], *splits["unlabelled"]]:
        bare = id_ in photos and id_ not in labelled and id_ not in listed
        mask = None if bare else masks.get(id_, root / "SegmentationClass" / f"{id_}.png")
        paths[id_] = (photos.get(id_, root / "JPEGImages" / f"{id_}.jpg"), mask)
    return Dataset("annotations", root, label_set, splits, paths)


def _annotation_splits(ids, lists):
    """Train, val and test of annotated ids.

    The lists in ImageSets count if there are both a train and a val. Any id they leave out is placed by a
    hash of its name, 70 to 15 to 15 of a hundred, so that a photo stays where it is while others come and
    go. When that leaves train, val (from two photos on) or test (from three on) empty, it gets one of the
    largest part: a run needs something to learn from and to be measured on.
    """
    splits = {"train": [], "val": [], "test": []}
    if lists.get("train") and lists.get("val"):
        splits = {name: list(lists.get(name, ())) for name in splits}
    listed = {id_ for part in splits.values() for id_ in part}
    for id_ in ids:
        if id_ not in listed:
            place = _hash(id_)
            splits["train" if place < 0.7 else "val" if place < 0.85 else "test"].append(id_)
    if not listed:
        needed = list(splits)[: len(ids)]
        for name in needed:
            if not splits[name]:
                spare = [part for other, part in splits.items() if part and other not in needed]
                donor = max(spare or splits.values(), key=len)
                donor.sort(key=_hash)
                splits[name].append(donor.pop())
    return {name: tuple(sorted(part)) for name, part in splits.items()}


def _hash(id_):
    return int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big") / 2**64


def _find_voc(root):
    candidates = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    return next((folder for folder in candidates if _looks_like_voc(folder)), None)


def _find_pets(root):
    candidates = [root, root / "oxford-iiit-pet", root / "oxford_iiit_pet"]
    if root.is_dir():
        candidates += _folders(root)
    return next((folder for folder in candidates if _looks_like_pets(folder)), None)


def _looks_like_voc(folder):
    return all(
        path.is_dir()
        for path in (
            *(names.child(folder, n) for n in ("JPEGImages", "SegmentationClass")),
            _lists_folder(folder),
        )
    )


def _looks_like_pets(folder):
    trimaps = names.child(names.child(folder, "annotations"), "trimaps")
    return trimaps.is_dir() and names.child(folder, "images").is_dir()


def _kind_of(folder):
    if _looks_like_pets(folder):
        return "pets"
    if names.child(folder, "labels.json").is_file() and names.child(folder, "SegmentationClass").is_dir():
        return "annotations"
    return "voc" if _looks_like_voc(folder) else None


def _folders(root):
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _masks(folder):
    return {_stem(path): path for path in names.files_in(folder) if path.suffix.lower() == ".png"}


def _photos(folder):
    return {_stem(path): path for path in names.photos_in(folder)}


def _stem(path):
    return unicodedata.normalize("NFC", path.stem)


def _lists_folder(folder):
    return names.child(names.child(folder, "ImageSets"), "Segmentation")


def _known(*files):
    """What lists may speak of: the ids of photos and masks."""
    ids = dict.fromkeys(id_ for some in files for id_ in some)
    return names.Index((id_, id_) for id_ in ids)


def _read_lists(folder, *files):
    known = _known(*files)
    lists = {}
    for path in names.files_in(_lists_folder(folder)):
        if path.suffix.lower() == ".txt":
            lists[path.stem.lower()] = _read_list(path, known)
    for word in [*lists]:  # valid.txt, Training.txt, as other tools call them
        subset = names.subset(word)
        if subset and subset not in lists:
            lists[subset] = lists.pop(word)
    return lists


def _read_list(path, known):
    """The ids in a list: those of files where a line means one, whatever else stands on it."""
    try:
        lines = names.lines(names.text(path.read_bytes()))
    except (OSError, UnicodeDecodeError):
        raise DatasetError(f"The list {path} cannot be read: restore it or delete it.") from None
    ids = {}
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


# --- what a dataset holds ---------------------------------------------------------------------------------


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
    def ok(self):
        return not self.problems

    def to_json(self):
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

    def lines(self):
        """The report as lines of text."""
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in self.dataset.splits.items())
        yield f"{self.dataset.label_set.title} in {self.dataset.root}: {sizes}."
        yield from (problem.message for problem in self.problems)
        yield from self.notes
        found = "no problem" if self.ok else f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
        yield f"{self.samples} photos looked at, {found}."


def check(dataset, progress: Callable[[int, int], None] | None = None):
    """Open every photo and mask of every subset.

    Args:
        dataset: what to check.
        progress: called with (samples done, samples in all).

    Returns:
        A Report of missing and unreadable photos and masks, masks of another size than their photo, ids
        that are not in the label set, lists that are empty or missing, and masks in which there is nothing to
        learn from or to measure.
    """
    from segdemo import learnable  # which reads datasets

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
    samples = [
        dataset.sample(id_) for id_ in dict.fromkeys(id_ for ids in dataset.splits.values() for id_ in ids)
    ]
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


def _check_sample(sample, label_set):
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
        label_map = _label_map(values, sample, label_set)
        if image is not None and (problem := _size_problem(sample, image, label_map)) is not None:
            problems.append(Problem(sample.mask_path, problem))
    except DatasetError as error:
        problems.append(Problem(sample.mask_path, str(error)))
    return problems, None if values is None else set(np.flatnonzero(np.bincount(values.ravel())).tolist())


def by_class(dataset, subset="all", cache_dir=None):
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
        return {int(id_): ids for id_, ids in read_json(cache).items()}
    except (OSError, ValueError, AttributeError):
        pass  # none yet, or a damaged one that is written anew
    index = {id_: [] for id_ in range(len(dataset.label_set))}
    with ThreadPoolExecutor(WORKERS) as pool:
        for sample, present in zip(samples, pool.map(_classes_present, samples), strict=True):
            for id_ in present:
                if id_ in index:
                    index[id_].append(sample.id)
    with contextlib.suppress(OSError):  # a full or read-only disk makes it slower, not wrong
        write_json(cache, index)
    return index


def _classes_present(sample):
    try:
        return np.flatnonzero(np.bincount(read_label_map(sample).ravel(), minlength=256)).tolist()
    except DatasetError:
        return []


def _stamp(path):
    try:
        status = path.stat()
    except (AttributeError, OSError):
        return None
    return status.st_size, status.st_mtime_ns
