"""From a dataset to batches: the tf.data pipeline.

Ids are shuffled before anything is decoded, photos are decoded and augmented in parallel, and nothing is kept in
memory but a few batches: what the same photo becomes every time is kept on the disk. Images stay RGB 0..255, since
preprocessing belongs to the model.
"""

import contextlib
import hashlib
import math
import re
import shutil
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from segdemo.core.files import trim, write_atomic
from segdemo.core.settings import home
from segdemo.data.datasets import Dataset, DatasetError, Sample, read_image, read_label_map
from segdemo.data.index import by_class
from segdemo.training import augment as aug

DISK_RESERVE = 2**31  # bytes that a cache folder leaves free on its disk
FOLDER_LIMIT = 10 * 2**30  # bytes of the cache folder of this installation
PREFETCH = 2  # batches; a deeper queue costs memory and hides nothing
WORKERS = tf.data.AUTOTUNE  # parallel decoders

Load = Callable[[tf.Tensor], aug.Pair]  # of the sample with an index
# Nothing here or in ``augment`` branches on tensors in Python, and to look for that would take seconds of every start.
_as_written = tf.autograph.experimental.do_not_convert


def build(
    dataset: Dataset,
    subset: str,
    *,
    size: int,
    batch: int,
    training: bool,
    resize: int | None = None,
    augment: aug.Operation | None = None,
    augment_batch: aug.Operation | None = None,
    mask_size: int | None = None,
    keep: bool = False,
    seed: int = 0,
    probabilities: np.ndarray | None = None,
) -> tf.data.Dataset:
    """A tf.data pipeline over one subset.

    Order of things: ids, shuffle, repeat, decode, ``resize``, keep, ``augment``, batch, ``augment_batch``, mask size,
    prefetch. What is random comes after what is kept, or it would be frozen by it. The same seed gives the same
    batches, however many workers there are; every pass is shuffled and augmented anew. A pass goes on into the next
    one within a batch, so that no photo is left out at its end.

    Args:
        dataset: what is read.
        subset: a key of ``dataset.splits``.
        size: side of the square images in pixels.
        batch: images a batch. A batch of one keeps its dimension.
        training: whether to shuffle, to augment and to go on for ever, in full batches. Else it is one pass in order.
        resize: side in pixels that photos and masks are squashed to first. Without ``augment`` it is ``size``; with
            it and no side the photo has its own.
        augment: random operation on a photo. augment_batch: the same on a batch, such as ``augment.copy_paste``.
        mask_size: side of the masks if it differs from ``size``: nearest neighbour.
        keep: whether photos that are resized are kept across runs, in SEGDEMO_HOME, one file a photo. The oldest files
            make room for new ones, and a subset that would take more than ``FOLDER_LIMIT`` bytes is not kept.
        seed: of the shuffle and of the augmentation.
        probabilities: (n,) draw the n photos of the subset with replacement, in proportion to these, instead of
            shuffling them.

    Returns:
        A ``tf.data.Dataset`` of images float32 (B, size, size, 3) in 0..255 and label maps uint8 (B, h, h) with
        255 = void.

    Raises:
        DatasetError: no such subset or an empty one. While iterating: see ``explain``.
    """
    samples = dataset.samples(subset)
    if not training:
        augment = augment_batch = None
    side = resize if augment else size
    load = _reader(samples, dataset)
    if side is not None:
        load = _resized(load, side)
        load = _kept_on_disk(load, side, samples) if keep else load

    indices = tf.data.Dataset.range(len(samples))
    if training:
        indices = _drawn(indices, probabilities, seed).repeat()
    if augment is None:
        images = indices.map(_as_written(_sized(load, size)), num_parallel_calls=WORKERS)
    else:
        # Seeds are drawn in order, one a photo, so that no result depends on which worker is first.
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
        augmented = _sized(lambda seed, index: augment(*load(index), seed=seed), size)
        images = tf.data.Dataset.zip(seeds, indices).map(_as_written(augmented), num_parallel_calls=WORKERS)
    batches = images.batch(batch, drop_remainder=training)
    if augment_batch is not None:
        seeds = tf.data.Dataset.random(seed + 1, rerandomize_each_iteration=True).batch(2)
        batches = tf.data.Dataset.zip(seeds, batches).map(
            _as_written(lambda s, pair: augment_batch(*pair, seed=s))
        )
    if mask_size not in (None, size):
        masks = (mask_size, mask_size)
        batches = batches.map(
            _as_written(lambda x, y: (x, tf.image.resize(y[..., None], masks, "nearest")[..., 0]))
        )
    return batches.prefetch(PREFETCH)


def repeat_factors(dataset: Dataset, subset: str, threshold: float) -> np.ndarray:
    """How much more often to draw each photo so that rare classes are seen often enough.

    A class that share f of the photos show has the factor ``max(1, sqrt(threshold / f))``, a photo the
    largest of its classes' (Gupta, Dollar, Girshick, "LVIS", arXiv:1908.03195, 2019, appendix B.2). Void and
    background do not count.

    Args:
        dataset, subset: as for ``build``.
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


def explain(error: tf.errors.OpError) -> DatasetError:
    """The DatasetError to show a person when iterating failed with ``error``, a ``tf.errors.OpError``.

    TensorFlow hands on a Python exception as text with a traceback; the sentence in it is what is of use.
    """
    found = re.search(r"(?:DatasetError|IntakeError): (.+)", getattr(error, "message", None) or str(error))
    if found:
        return DatasetError(found[1].strip())
    return DatasetError(
        "A photo or mask of the dataset could not be decoded: find it with python -m segdemo data check DIR."
    )


# --- reading ----------------------------------------------------------------------------------------------


def _reader(samples: Sequence[Sample], dataset: Dataset) -> Load:
    """The function from a sample's index to ``(image uint8 (H, W, 3), mask uint8 (H, W))``."""
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

    return load


def _drawn(indices: tf.data.Dataset, probabilities: np.ndarray | None, seed: int) -> tf.data.Dataset:
    count = len(indices)
    if probabilities is None:
        return indices.shuffle(count, seed, reshuffle_each_iteration=True)
    bounds = np.cumsum(np.asarray(probabilities, np.float64))
    bounds = tf.constant(bounds / bounds[-1])
    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(count)
    return draws.map(
        _as_written(lambda n: tf.searchsorted(bounds, [tf.cast(n, tf.float64) / 2**32], "right", tf.int64)[0])
    )


def _resized(load: Load, side: int) -> Load:
    return lambda index: aug.resize(*load(index), (side, side))


def _sized(load: Callable[..., aug.Pair], side: int) -> Callable[..., aug.Pair]:
    """``load``, its image as float32, and an error if its side is another."""

    def sized(*record):
        image, mask = load(*record)
        return tf.ensure_shape(tf.cast(image, tf.float32), (side, side, 3)), tf.ensure_shape(
            mask, (side, side)
        )

    return sized


# --- what is kept -----------------------------------------------------------------------------------------


def _kept_on_disk(load: Load, side: int, samples: Sequence[Sample]) -> Load:
    """``load``, which resizes to ``side``, with its results kept in SEGDEMO_HOME, named by what they were made from.

    Unlike ``tf.data``'s own cache it may be shared by several runs, survives one that is killed, does not
    fix the order of the photos, and notices when a photo or mask has changed.
    """
    folder, size, area = home() / "cache" / "photos", (side, side), side * side
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

    files = [file_of(sample) for sample in samples]
    length = len(head) + 4 * area
    needed = len(files) * length
    if needed > FOLDER_LIMIT:
        return load
    folder.mkdir(parents=True, exist_ok=True)
    trim(folder, FOLDER_LIMIT - needed, keep=files)
    patterns = tf.constant([re.sub(r"([*?\[])", r"[\1]", file) for file in files])  # that match just the file
    files = tf.constant(files)

    def as_uint8(index):
        image, mask = load(index)
        return tf.cast(tf.round(tf.cast(image, tf.float32)), tf.uint8), tf.cast(mask, tf.uint8)

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
            return tuple(tf.numpy_function(keep, [file, *as_uint8(index)], [tf.uint8, tf.uint8]))

        whole = (tf.strings.length(data) == length) & (tf.strings.substr(data, 0, len(head)) == head)
        image, mask = tf.cond(whole, recall, make)
        # With a size that is known, what follows can be compiled.
        return tf.ensure_shape(image, (*size, 3)), tf.ensure_shape(mask, size)

    return recall_or_make
