"""From a dataset to batches: the tf.data pipeline.

Ids are shuffled before anything is decoded, photos are decoded and augmented in parallel, and by default
nothing is kept in memory but a few batches: what the same photo becomes every time is kept on the disk. Images
stay RGB 0..255, since preprocessing belongs to the model.
"""

import contextlib
import hashlib
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from segdemo.core.files import trim, write_atomic
from segdemo.core.labels import PETS, VOID, LabelSet
from segdemo.core.settings import home
from segdemo.data.datasets import DatasetError, read_image, read_label_map
from segdemo.data.index import by_class
from segdemo.data.sources import identify, open_dataset
from segdemo.errors import UserError
from segdemo.training import augment as aug

MEMORY_LIMIT = 2**31  # bytes that cache="memory" may take
DISK_RESERVE = 2**31  # bytes that a cache folder leaves free on its disk
FOLDER_LIMIT = 10 * 2**30  # bytes of the cache folder of this installation
PREFETCH = 2  # batches; a deeper queue costs memory and hides nothing


def build(
    dataset,
    subset,
    *,
    size,
    batch,
    training,
    resize=None,
    augment=None,
    augment_batch=None,
    mask_size=None,
    cache=None,
    seed=0,
    class_weights=None,
    probabilities=None,
    repeat=False,
    drop_remainder=False,
    workers=tf.data.AUTOTUNE,
):
    """A tf.data pipeline over one subset.

    Order of things: ids, shuffle, decode, ``resize``, cache, ``augment``, batch, ``augment_batch``, mask size,
    weights, repeat, prefetch. What is random comes after the cache, or it would be frozen by it. The same
    seed gives the same batches, however many workers there are; every epoch is shuffled and augmented anew.

    Args:
        dataset: a ``datasets.Dataset`` or a ``TFDSPets``.
        subset: a key of ``dataset.splits``.
        size: side of the square images in pixels, or (height, width).
        batch: images a batch. A batch of one keeps its dimension.
        training: whether to shuffle and to augment.
        resize: side or (height, width) in pixels that photos and masks are brought to first. By default
            ``size``, or the photo's own if ``augment`` is given and the pipeline is for training.
        augment: random operation of ``segdemo.training.augment``, called with ``seed``; ignored unless training.
        augment_batch: the same on a batch, such as ``augment.copy_paste``; ignored unless training.
        mask_size: side or (height, width) of the masks if it differs from ``size``: nearest neighbour.
        cache: what is kept of resized photos: None for nothing; ``"memory"`` for all of them (at most
            ``MEMORY_LIMIT`` bytes); ``"folder"`` for all of them across runs, in SEGDEMO_HOME, one file a photo.
            There the oldest files make room for new ones, and a subset that would take more than
            ``FOLDER_LIMIT`` bytes is not kept.
        seed: of the shuffle and of the augmentation.
        class_weights: weights of the classes (K,); adds a third element, the weight of every pixel, 0 for
            void.
        probabilities: (n,) draw the n photos of the subset with replacement, in proportion to these,
            instead of shuffling them; training only.
        repeat: whether to go on for ever.
        drop_remainder: whether to leave out a last batch that is not full.
        workers: parallel decoders; by default tf.data decides.

    Returns:
        A ``tf.data.Dataset`` of images float32 (B, height, width, 3) in 0..255, label maps uint8 (B, h, w)
        with 255 = void, and with ``class_weights`` weights float32 (B, h, w).

    Raises:
        DatasetError: no such subset or an empty one; a cache that would not fit.
        ValueError: weights or probabilities of the wrong length; a cache of photos that are not resized. While
            iterating: see ``explain``.
    """
    size, mask_size = _pair(size), _pair(mask_size or size)
    if not training:
        augment = augment_batch = None
    if resize is None and augment is None:
        resize = size
    resize = resize and _pair(resize)
    if cache is not None and resize is None:
        raise UserError("Only resized photos can be kept: say to what size with resize.")
    count = dataset.count(subset) if isinstance(dataset, TFDSPets) else len(dataset.samples(subset))
    if probabilities is not None and len(probabilities) != count:
        raise UserError(f"There are {count} photos and {len(probabilities)} probabilities: give one a photo.")
    if probabilities is not None and (cache == "memory" or isinstance(dataset, TFDSPets)):
        raise UserError("Photos drawn by probability have to be files that are not cached in memory.")
    if class_weights is not None and len(class_weights) != len(dataset.label_set):
        raise UserError(
            f"There are {len(dataset.label_set)} classes and {len(class_weights)} weights: give one a class."
        )

    records, load = _source(dataset, subset)  # a record is all a sample is before it is decoded
    # TFDS's records are whole files, not ids: its buffer is kept to what TensorFlow's tutorial uses.
    buffer = min(count, 1000) if isinstance(dataset, TFDSPets) else count
    shuffle = partial(_shuffled, count=count, buffer=buffer, probabilities=probabilities, seed=seed)
    if training and cache != "memory":
        records = shuffle(records)
    if resize is not None:
        load = _resized(load, resize)
    if cache == "folder":
        load = _kept_on_disk(load, resize, dataset, subset)
    if cache == "memory":
        records = _kept_in_memory(records, _as_uint8(load), resize, count, workers)
        # What a cache replays must be shuffled behind it, or every epoch would have the order of the first.
        records = shuffle(records) if training else records
        load = _from_memory

    if augment is None:
        images = records.map(_sized(load, size), num_parallel_calls=workers)
    else:
        # Seeds are drawn in order, one a photo, so that no result depends on which worker is first.
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
        images = tf.data.Dataset.zip(seeds, records).map(
            _sized(lambda seed, record: augment(*load(record), seed=seed), size),
            num_parallel_calls=workers,
        )
    batches = images.batch(batch, drop_remainder=drop_remainder)
    if augment_batch is not None:
        seeds = tf.data.Dataset.random(seed + 1, rerandomize_each_iteration=True).batch(2)
        batches = tf.data.Dataset.zip(seeds, batches).map(lambda s, pair: augment_batch(*pair, seed=s))
    if mask_size != size:
        batches = batches.map(lambda x, y: (x, tf.image.resize(y[..., None], mask_size, "nearest")[..., 0]))
    if class_weights is not None:
        table = np.zeros(256, np.float32)  # void, 255, weighs nothing
        table[: len(class_weights)] = class_weights
        batches = batches.map(lambda x, y: (x, y, tf.gather(table, tf.cast(y, tf.int32))))
    if repeat:
        batches = batches.repeat()
    return batches.prefetch(PREFETCH)


def repeat_factors(dataset, subset, threshold):
    """How much more often to draw each photo so that rare classes are seen often enough.

    A class that share f of the photos show has the factor ``max(1, sqrt(threshold / f))``, a photo the
    largest of its classes' (Gupta, Dollar, Girshick, "LVIS", arXiv:1908.03195, 2019, appendix B.2). Void and
    background do not count.

    Args:
        dataset: a ``datasets.Dataset``.
        subset: a key of ``dataset.splits``.
        threshold: the share of photos below which a class is rare.

    Returns:
        float64 (n,), 1 or more, in the subset's order: ``probabilities`` of ``build``.
    """
    ids = dataset.splits[subset]
    position = {id_: n for n, id_ in enumerate(ids)}
    factors = np.ones(len(ids))
    for class_id, shown in by_class(dataset, subset).items():
        if shown and class_id != dataset.label_set.background:
            rows = [position[id_] for id_ in shown]
            factors[rows] = np.maximum(factors[rows], math.sqrt(threshold * len(ids) / len(shown)))
    return factors


def explain(error):
    """The DatasetError to show a person when iterating failed with ``error``, a ``tf.errors.OpError``.

    TensorFlow hands on a Python exception as text with a traceback; the sentence in it is what is of use.
    """
    found = re.search(r"(?:DatasetError|IntakeError): (.+)", getattr(error, "message", None) or str(error))
    if found:
        return DatasetError(found[1].strip())
    return DatasetError(
        "A photo or mask of the dataset could not be decoded: find it with python -m segdemo data check DIR."
    )


# --- Pets in the format of TensorFlow Datasets ------------------------------------------------------------


@dataclass(frozen=True)
class TFDSPets:
    """Oxford-IIIT Pet as prepared by TensorFlow Datasets, ``oxford_iiit_pet`` 3.2 or 4.x.

    Attributes:
        root: the folder of that version.
        builder: TFDS's own reader.
        splits: subset name to TFDS split: ``trainval`` and ``test`` are the official ones, ``val`` is the
            last tenth of ``trainval`` (TFDS shuffled it when it was prepared) and ``train`` the rest.
    """

    root: Path
    builder: object
    splits: dict
    kind: str = "pets"
    label_set: LabelSet = PETS

    def count(self, subset):
        """Number of photos in ``subset``. Raises DatasetError for an unknown or an empty one."""
        if subset not in self.splits:
            raise DatasetError(
                f"The dataset in {self.root} has no subset {subset!r}: choose from {', '.join(self.splits)}."
            )
        count = self.builder.info.splits[self.splits[subset]].num_examples
        if not count:
            raise DatasetError(
                f"The subset {subset!r} of the dataset in {self.root} is empty: prepare it anew."
            )
        return count

    def encoded(self, subset):
        """tf.data of ``{"image", "segmentation_mask", "file_name"}``, the first two as encoded bytes."""
        import tensorflow_datasets as tfds

        keep = tfds.decode.SkipDecoding()
        data = self.builder.as_dataset(
            self.splits[subset], decoders={"image": keep, "segmentation_mask": keep}, shuffle_files=False
        )
        fields = ("image", "segmentation_mask", "file_name")
        return data.map(lambda example: {name: example[name] for name in fields})

    def pairs(self, subset) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """``(id, image uint8 (H, W, 3), label map uint8 (H, W))`` of ``subset``, in TFDS's order."""
        self.count(subset)
        for record in self.encoded(subset):
            image, mask = _decode_pet(record)
            yield Path(record["file_name"].numpy().decode()).stem, image.numpy(), mask.numpy()


def pets_tfds(data_dir):
    """Open Pets that TensorFlow Datasets has prepared; nothing is downloaded.

    Args:
        data_dir: TFDS's data folder, its ``oxford_iiit_pet`` or one version in that. The newest version is
            read.

    Returns:
        A TFDSPets.

    Raises:
        DatasetError: there is none, or the package ``tensorflow-datasets`` is not installed.
    """
    folder = _find_tfds(Path(data_dir).expanduser())
    if folder is None:
        raise DatasetError(
            f"There is no oxford_iiit_pet prepared by TensorFlow Datasets in {data_dir}: prepare it with "
            "tfds build oxford_iiit_pet, or download Pets with python -m segdemo data download pets."
        )
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise DatasetError(
            f"Reading {folder} needs TensorFlow Datasets: install the package tensorflow-datasets."
        ) from None
    builder = tfds.builder_from_directory(folder)
    splits = {
        "train": "train[:90%]",
        "val": "train[90%:]",
        "test": "test",
        "trainval": "train",
        "all": "train+test",
    }
    return TFDSPets(folder, builder, splits)


def open_data(kind, root):
    """``sources.open_dataset``, or ``pets_tfds`` if ``root`` holds Pets in that form only.

    Raises DatasetError as ``open_dataset`` does.
    """
    if kind == "pets" and Path(root).is_dir() and identify(root) != "pets" and _find_tfds(Path(root)):
        return pets_tfds(root)
    return open_dataset(kind, root)


def _find_tfds(root):
    versions = [root, *root.glob("*.*.*"), *root.glob("oxford_iiit_pet/*.*.*")]
    prepared = [v for v in versions if (v / "features.json").is_file() and v.parent.name == "oxford_iiit_pet"]
    number = lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)]  # noqa: E731
    return max(prepared, key=number, default=None)


def _decode_pet(record):
    image = tf.io.decode_image(record["image"], channels=3, expand_animations=False)
    trimap = tf.io.decode_png(record["segmentation_mask"], channels=1)[..., 0]
    known = (trimap >= 1) & (trimap <= len(PETS))
    return tf.ensure_shape(image, (None, None, 3)), tf.where(known, trimap - 1, tf.cast(VOID, tf.uint8))


# --- reading ----------------------------------------------------------------------------------------------


def _source(dataset, subset):
    """A subset's records, and the function from one to ``(image uint8 (H, W, 3), mask uint8 (H, W))``."""
    if isinstance(dataset, TFDSPets):
        return dataset.encoded(subset), _decode_pet
    samples = dataset.samples(subset)
    paths = tf.constant([str(sample.image_path) for sample in samples])

    def photo(index):
        return read_image(samples[index])

    def mask_of(index, height, width):
        label_map = read_label_map(samples[index], dataset.label_set)
        if label_map.shape != (height, width):
            raise DatasetError(
                f"The mask {samples[index].mask_path} and its photo differ in size: "
                "find all such masks with python -m segdemo data check DIR."
            )
        return label_map

    def load(index):
        data = tf.io.read_file(paths[index])
        # TensorFlow decodes a plain JPEG without Python's lock. It knows nothing of orientation or of rarer
        # formats.
        plain = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
        plain &= ~tf.strings.regex_full_match(
            tf.strings.substr(data, 0, 65536), r"\C*(Exif|ICC_PROFILE|Adobe|Photoshop|ns\.adobe\.com)\C*"
        )
        image = tf.cond(
            plain,
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.ensure_shape(tf.numpy_function(photo, [index], tf.uint8), (None, None, 3)),
        )
        shape = tf.shape(image)
        # Indices of a palette, not colours.
        mask = tf.numpy_function(mask_of, [index, shape[0], shape[1]], tf.uint8)
        return image, tf.ensure_shape(mask, (None, None))

    return tf.data.Dataset.range(len(samples)), load


def _shuffled(records, count, buffer, probabilities, seed):
    if probabilities is None:
        return records.shuffle(buffer, seed, reshuffle_each_iteration=True)
    bounds = np.cumsum(np.asarray(probabilities, np.float64))
    bounds = tf.constant(bounds / bounds[-1])
    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(count)
    return draws.map(
        lambda n: tf.searchsorted(bounds, [tf.cast(n, tf.float64) / 2**32], "right", tf.int64)[0]
    )


def _resized(load, size):
    return lambda record: aug.resize(*load(record), size)


def _as_uint8(load):
    def rounded(record):
        image, mask = load(record)
        return tf.cast(tf.round(tf.cast(image, tf.float32)), tf.uint8), tf.cast(mask, tf.uint8)

    return rounded


def _sized(load, size):
    """``load``, its image as float32, and an error if its size is not ``size``."""

    def sized(*record):
        image, mask = load(*record)
        return tf.ensure_shape(tf.cast(image, tf.float32), (*size, 3)), tf.ensure_shape(mask, size)

    return sized


def _from_memory(record):
    return record["image"], record["mask"]


def _pair(size):
    return (int(size), int(size)) if np.ndim(size) == 0 else tuple(int(side) for side in size)


# --- caches -----------------------------------------------------------------------------------------------


def _kept_in_memory(records, load, size, count, workers):
    needed = count * 4 * size[0] * size[1]
    if needed > MEMORY_LIMIT:
        raise DatasetError(
            f"Keeping {count} photos in memory would take about {needed / 2**30:.1f} GB: "
            "use a folder as the cache, or none."
        )
    return records.map(
        lambda record: dict(zip(("image", "mask"), load(record), strict=True)), num_parallel_calls=workers
    ).cache()


def _kept_on_disk(load, size, dataset, subset):
    """``load``, which resizes to ``size``, with its results kept in SEGDEMO_HOME, named by what they were made from.

    Unlike ``tf.data``'s own cache it may be shared by several runs, survives one that is killed, does not
    fix the order of the photos, and notices when a photo or mask has changed.
    """
    if isinstance(dataset, TFDSPets):
        raise DatasetError(
            "Pets of TensorFlow Datasets are already one file: cache them in memory or not at all."
        )
    folder, area = home() / "cache" / "photos", size[0] * size[1]
    head = np.array(size, "<i4").tobytes()  # begins each file: one of zeros was not written to its end
    step = f"segdemo.training.augment.resize {((), [('size', size)])!r}"  # so it has always been called in their names

    def file_of(sample):
        try:
            stamps = [
                (str(p), p.stat().st_size, p.stat().st_mtime_ns)
                for p in (sample.image_path, sample.mask_path)
            ]
        except OSError:
            return ""  # reading it will say what is missing
        return str(folder / f"{hashlib.sha256(repr((step, stamps)).encode()).hexdigest()[:40]}.u8")

    files = [file_of(sample) for sample in dataset.samples(subset)]
    length = len(head) + 4 * area
    needed = len(files) * length
    if needed > FOLDER_LIMIT:
        return load
    folder.mkdir(parents=True, exist_ok=True)
    trim(folder, FOLDER_LIMIT - needed, keep=files)
    patterns = tf.constant([re.sub(r"([*?\[])", r"[\1]", file) for file in files])  # that match just the file
    files = tf.constant(files)

    def keep(file, image, mask):
        with contextlib.suppress(OSError):  # a full disk makes it slower, not wrong
            if file and shutil.disk_usage(folder).free > DISK_RESERVE:
                write_atomic(file.decode(), head + image.tobytes() + mask.tobytes(), durable=False)
        return image, mask

    def recall_or_make(index):
        file = files[index]
        # Python's lock is not needed to look for a file and to read it.
        found = tf.size(tf.io.matching_files(patterns[index])) > 0
        data = tf.cond(found, lambda: tf.io.read_file(file), lambda: tf.constant(b""))

        def recall():
            values = tf.io.decode_raw(data, tf.uint8)[len(head) :]
            return tf.reshape(values[: 3 * area], (*size, 3)), tf.reshape(values[3 * area :], size)

        def make():
            return tuple(tf.numpy_function(keep, [file, *_as_uint8(load)(index)], [tf.uint8, tf.uint8]))

        whole = (tf.strings.length(data) == length) & (tf.strings.substr(data, 0, len(head)) == head)
        image, mask = tf.cond(whole, recall, make)
        # With a size that is known, what follows can be compiled.
        return tf.ensure_shape(image, (*size, 3)), tf.ensure_shape(mask, size)

    return recall_or_make
