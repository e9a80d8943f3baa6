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

from segdemo import augment as aug
from segdemo.datasets import (
    DatasetError,
    by_class,
    identify,
    open_dataset,
    read_image,
    read_label_map,
)
from segdemo.files import trim, write_atomic
from segdemo.labels import PETS, VOID, LabelSet
from segdemo.settings import home

MEMORY_LIMIT = 2**31  # bytes that cache="memory" may take
DISK_RESERVE = 2**31  # bytes that a cache folder leaves free on its disk
FOLDER_LIMIT = 10 * 2**30  # bytes of the cache folder of this installation
SHAPE_BYTES = 8  # at the start of a file of it: height and width, int32
PREFETCH = 2  # batches; a deeper queue costs memory and hides nothing


def build(
    dataset,
    subset,
    *,
    size,
    batch,
    training,
    prepare=None,
    augment=None,
    augment_batch=None,
    mask_size=None,
    cache=None,
    seed=0,
    class_weights=None,
    shuffle_buffer=None,
    probabilities=None,
    repeat=False,
    drop_remainder=False,
    workers=tf.data.AUTOTUNE,
):
    """A tf.data pipeline over one subset.

    Order of things: ids, shuffle, decode, ``prepare``, cache, ``augment``, batch, ``augment_batch``, mask size,
    weights, repeat, prefetch. What is random comes after the cache, or it would be frozen by it. The same
    seed gives the same batches, however many workers there are; every epoch is shuffled and augmented anew.

    Args:
        dataset: a ``datasets.Dataset`` or a ``TFDSPets``.
        subset: a key of ``dataset.splits``.
        size: side of the square images in pixels, or (height, width).
        batch: images a batch. A batch of one keeps its dimension.
        training: whether to shuffle and to augment.
        prepare: ``(image uint8 (H, W, 3), mask uint8 (H, W)) -> (image, mask)``, not random. By default a
            resize to ``size``, or nothing if ``augment`` is given and the pipeline is for training.
        augment: random operation of ``segdemo.augment``, called with ``seed``; ignored unless training.
        augment_batch: the same on a batch, such as ``augment.copy_paste``; ignored unless training.
        mask_size: side or (height, width) of the masks if it differs from ``size``: nearest neighbour.
        cache: None; ``"memory"`` for what ``prepare`` returns (at most ``MEMORY_LIMIT`` bytes); the path of a
            folder in which it is kept, one file a photo, across runs; or ``"folder"`` for that of this
            installation, in SEGDEMO_HOME. Of that the oldest files make room for new ones, and a subset that
            would take more than ``FOLDER_LIMIT`` bytes is not kept.
        seed: of the shuffle and of the augmentation.
        class_weights: weights of the classes (K,); adds a third element, the weight of every pixel, 0 for
            void.
        shuffle_buffer: how many photos the shuffle draws from; by default all, since only ids are shuffled.
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
        ValueError: weights or probabilities of the wrong length. While iterating: see ``explain``.
    """
    size, mask_size = _pair(size), _pair(mask_size or size)
    if not training:
        augment = augment_batch = None
    if prepare is None and augment is None:
        prepare = partial(aug.resize, size=size)
    count = dataset.count(subset) if isinstance(dataset, TFDSPets) else len(dataset.samples(subset))
    if probabilities is not None and len(probabilities) != count:
        raise ValueError(
            f"There are {count} photos and {len(probabilities)} probabilities: give one a photo."
        )
    if probabilities is not None and (cache == "memory" or isinstance(dataset, TFDSPets)):
        raise ValueError("Photos drawn by probability have to be files that are not cached in memory.")
    if class_weights is not None and len(class_weights) != len(dataset.label_set):
        raise ValueError(
            f"There are {len(dataset.label_set)} classes and {len(class_weights)} weights: give one a class."
        )

    records, load = source(dataset, subset)  # a record is all a sample is before it is decoded
    shuffle = partial(
        shuffled, count=count, buffer=shuffle_buffer, probabilities=probabilities, seed=seed, dataset=dataset
    )
    in_memory = cache == "memory"
    if training and not in_memory:
        records = shuffle(records)
    prepared = _then(load, prepare)
    if cache is not None and not in_memory:
        own = cache == "folder"
        folder = home() / "cache" / "photos" if own else Path(cache)
        prepared = _kept_on_disk(prepared, prepare, folder, dataset, subset, FOLDER_LIMIT if own else None)
    if in_memory:
        records = _kept_in_memory(records, _as_uint8(prepared), count, workers)
        # What a cache replays must be shuffled behind it, or every epoch would have the order of the first.
        records = shuffle(records) if training else records
        prepared = _from_memory

    if augment is None:
        images = records.map(_sized(prepared, size), num_parallel_calls=workers)
    else:
        # Seeds are drawn in order, one a photo, so that no result depends on which worker is first.
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
        images = tf.data.Dataset.zip(seeds, records).map(
            _sized(lambda seed, record: augment(*prepared(record), seed=seed), size),
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


def voc_batches(dataset, subset, *, training, size=384, enlarge=None, batch=16, cache="folder", **options):
    """The pipeline of *TensorFlow in Action*, chapter 8, for DeepLabv3 on VOC.

    Photos and masks are resized to ``size``, or, for training with ``enlarge``, to that side and randomly
    cropped to ``size``; then flipped and changed in hue (0.1), brightness (0.1) and contrast (0.8 to 1.2).

    Args:
        enlarge: side in pixels before the crop, 444 in the book, or None to resize straight to ``size``.
        cache: of the resized photos, see ``build``; the default bounds both memory and disk.
        options: further arguments of ``build``.

    Returns and raises as ``build``.
    """
    side = _pair(enlarge if enlarge and training else size)
    resize, crop = partial(aug.resize, size=side), partial(aug.random_crop, size=_pair(size))
    # Mirrored first, as the bytes that were decoded: the floats of the crop would take four times as long.
    steps = [aug.random_flip, *([] if cache else [resize]), *([crop] if enlarge else []), aug.random_color]
    return build(
        dataset,
        subset,
        size=size,
        batch=batch,
        training=training,
        prepare=resize if cache else None,
        augment=aug.compose(*steps),
        cache=cache,
        **options,
    )


def pets_batches(dataset, subset, *, training, size=128, batch=64, **options):
    """The pipeline of TensorFlow's image segmentation tutorial, for U-Net on Pets.

    Resized to ``size``, kept in memory (240 MB for the official 3,680 training photos), shuffled with a
    buffer of 1000 photos, flipped with their masks, and repeated when training.

    Args:
        options: further arguments of ``build``; they override the above.

    Returns and raises as ``build``.
    """
    options = {"cache": "memory", "shuffle_buffer": 1000, "repeat": training, **options}
    return build(
        dataset,
        subset,
        size=size,
        batch=batch,
        training=training,
        prepare=partial(aug.resize, size=_pair(size)),
        augment=aug.random_flip,
        **options,
    )


def jitter_batches(
    dataset, subset, *, training, size, batch, scale=(0.5, 2.0), aspect=1.0, reference=None, **options
):
    """DeepLab's scale jitter with padding, mirroring and colour changes, in as few passes as possible.

    When not training, photos are resized to ``size``.

    Args:
        scale, aspect, reference: see ``augment.random_warp``.
        options: further arguments of ``build``.

    Returns and raises as ``build``.
    """
    warp = partial(aug.random_warp, size=_pair(size), scale=scale, aspect=aspect, reference=reference)
    augment = aug.compose(warp, aug.random_color_matrix)
    return build(dataset, subset, size=size, batch=batch, training=training, augment=augment, **options)


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
    """``datasets.open_dataset``, or ``pets_tfds`` if ``root`` holds Pets in that form only.

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


def source(dataset, subset):
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
            tf.strings.substr(data, 0, 1024), r"\C*(Exif|ICC_PROFILE|Adobe|Photoshop)\C*"
        )
        image = tf.cond(
            plain,
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.ensure_shape(tf.numpy_function(photo, [index], tf.uint8), (None, None, 3)),
        )
        shape = tf.shape(image)
        mask = tf.numpy_function(
            mask_of, [index, shape[0], shape[1]], tf.uint8
        )  # indices of a palette, not colours
        return image, tf.ensure_shape(mask, (None, None))

    return tf.data.Dataset.range(len(samples)), load


def shuffled(records, *, count, buffer, probabilities, seed, dataset):
    if probabilities is None:
        # TFDS's records are whole files, not ids: its buffer is kept to what the tutorial uses.
        buffer = buffer or (min(count, 1000) if isinstance(dataset, TFDSPets) else count)
        return records.shuffle(buffer, seed, reshuffle_each_iteration=True)
    bounds = np.cumsum(np.asarray(probabilities, np.float64))
    bounds = tf.constant(bounds / bounds[-1])
    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(count)
    return draws.map(
        lambda n: tf.searchsorted(bounds, [tf.cast(n, tf.float64) / 2**32], "right", tf.int64)[0]
    )


def _then(load, prepare):
    return load if prepare is None else lambda record: prepare(*load(record))


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


def _kept_in_memory(records, load, count, workers):
    data = records.map(
        lambda record: dict(zip(("image", "mask"), load(record), strict=True)), num_parallel_calls=workers
    )
    image, mask = _from_memory(next(iter(data)))
    needed = count * (int(tf.size(image)) + int(tf.size(mask)))
    if needed > MEMORY_LIMIT:
        raise DatasetError(
            f"Keeping {count} photos in memory would take about {needed / 2**30:.1f} GB: "
            "use a folder as the cache, or none."
        )
    return data.cache()


def _kept_on_disk(prepared, prepare, folder, dataset, subset, limit=None):
    """``prepared`` with its results kept in ``folder``, a file a photo, named by what they were made from.

    Unlike ``tf.data``'s own cache it may be shared by several runs, survives one that is killed, does not
    fix the order of the photos, and notices when a photo or mask has changed.
    """
    if isinstance(dataset, TFDSPets):
        raise DatasetError(
            "Pets of TensorFlow Datasets are already one file: cache them in memory or not at all."
        )
    step = _describe(prepare)
    folder.mkdir(parents=True, exist_ok=True)

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
    if limit is not None:
        height, width = _resized_to(prepare) or (0, 0)
        needed = len(files) * (SHAPE_BYTES + 4 * height * width)
        if not height or needed > limit:
            return prepared
        trim(folder, limit - needed, keep=files)
    patterns = tf.constant([re.sub(r"([*?\[])", r"[\1]", file) for file in files])  # that match just the file
    files = tf.constant(files)

    def keep(file, image, mask):
        with contextlib.suppress(OSError):  # a full disk makes it slower, not wrong
            if file and shutil.disk_usage(folder).free > DISK_RESERVE:
                shape = np.array(mask.shape, "<i4")
                data = shape.tobytes() + image.tobytes() + mask.tobytes()
                write_atomic(file.decode(), data, durable=False)
        return image, mask

    def load(index):
        file = files[index]
        # Python's lock is not needed to look for a file and to read it.
        found = tf.size(tf.io.matching_files(patterns[index])) > 0
        data = tf.cond(found, lambda: tf.io.read_file(file), lambda: tf.constant(b""))
        shape = tf.cond(
            tf.strings.length(data) > SHAPE_BYTES,
            lambda: tf.io.decode_raw(tf.strings.substr(data, 0, SHAPE_BYTES), tf.int32),
            lambda: tf.zeros(2, tf.int32),
        )
        area = tf.reduce_prod(tf.cast(shape, tf.int64))
        whole = (area > 0) & (tf.cast(tf.strings.length(data), tf.int64) == SHAPE_BYTES + 4 * area)

        def recall():
            values = tf.io.decode_raw(data, tf.uint8)[SHAPE_BYTES:]
            image = tf.reshape(values[: 3 * area], (shape[0], shape[1], 3))
            return image, tf.reshape(values[3 * area :], shape)

        def make():
            image, mask = _as_uint8(prepared)(index)
            return tuple(tf.numpy_function(keep, [file, image, mask], [tf.uint8, tf.uint8]))

        image, mask = tf.cond(whole, recall, make)
        # With the size that a resize always gives, what follows can be compiled.
        size = _resized_to(prepare) or (None, None)
        return tf.ensure_shape(image, (*size, 3)), tf.ensure_shape(mask, size)

    return load


def _resized_to(prepare):
    """(height, width) that ``prepare`` always gives, or None."""
    if isinstance(prepare, partial) and prepare.func is aug.resize and "size" in prepare.keywords:
        return _pair(prepare.keywords["size"])
    return None


def _describe(prepare):
    """A name for what ``prepare`` does, the same in every process. Raises ValueError if it has none."""
    if prepare is None:
        return "decoded"
    function = prepare.func if isinstance(prepare, partial) else prepare
    arguments = (prepare.args, sorted(prepare.keywords.items())) if isinstance(prepare, partial) else ()
    if "<" in getattr(function, "__qualname__", "<"):  # <lambda>, <locals>
        raise ValueError(
            "A cache folder needs a prepare step with a name: give a function of a module or its partial."
        )
    return f"{function.__module__}.{function.__qualname__} {arguments!r}"
