"""Knowledge distillation: a model learns from a teacher's soft labels as well as from the truth.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531 (2015), per pixel. The
teacher is a quantised DeepLabv3 in a TFLite file. There are two ways to ask it:

* once for every training photo and its mirror image: its coarse logits are kept, some 20 KB a photo, and later
  go through the same random window as the photo and its mask (``cache_teacher``, ``batches``). The cheaper way.
* about every crop as the model sees it, colours changed and photos mixed (``tflite.FloatNetwork``). A quarter
  more time a step, but no two answers are the same, so there is less to learn by heart.

A teacher is anything that has a ``grid`` (a ``Grid``) and, called with a photo uint8 RGB (H, W, 3), returns
uint8 (rows, columns, K) as its grid says.
"""

import hashlib
import io
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from PIL import Image

from segdemo import augment, blockwise, datasets, pipeline, tflite, zoo
from segdemo.files import read_json, write_atomic, write_json
from segdemo.labels import VOID
from segdemo.settings import home
from segdemo.tflite import TeacherError

PADDING = 128  # grey level around a photo that is not square, as the teacher was trained with
DESCRIPTION = "teacher.json"


@dataclass(frozen=True)
class Grid:
    """Where a teacher's coarse logits lie on a photo, and what their bytes mean.

    The teacher sees the photo resized so that its long side is ``side`` pixels. Its logits belong to the
    centres of that picture's pixels 0, ``stride``, 2 ``stride`` and so on (DeepLab aligns corners).

    Attributes:
        side, stride: in pixels of the resized photo.
        classes: K.
        scale, zero_point: a byte v stands for the logit ``scale * (v - zero_point)``.
    """

    side: int
    stride: int
    classes: int
    scale: float
    zero_point: int

    def resized(self, height, width):
        """(height, width) of a photo as the teacher sees it, for a photo's own in pixels."""
        factor = self.side / max(height, width)
        return tuple(min(self.side, max(1, round(length * factor))) for length in (height, width))

    def shape(self, height, width):
        """(rows, columns) of the points that it takes to cover a photo of that many pixels."""
        return tuple(math.ceil((length - 1) / self.stride) + 1 for length in self.resized(height, width))

    def points(self, height, width):
        """Place (y, x) of the first point and distance (y, x) between points, in pixels of the photo's own.

        Two float32 (2,), as ``augment.warp_grid`` takes them.
        """
        pixel = np.array([height, width]) / self.resized(height, width)
        return (0.5 * pixel).astype(np.float32), (self.stride * pixel).astype(np.float32)


class Teacher:
    """A quantised DeepLabv3 in a TFLite file, cut off at its logits before they are upsampled.

    Args:
        path: the ``.tflite`` file: a square uint8 RGB picture in, a label map or upsampled logits out.

    Attributes:
        grid: its Grid.

    Raises:
        TeacherError: there is no such file, or it is no such network.
    """

    def __init__(self, path):
        path = Path(path)
        if not path.is_file():
            raise TeacherError(f"There is no teacher {path}: give the path of its TFLite file.")
        self._network = tflite.FloatNetwork(path)
        scale, zero_point = self._network.logit_quantisation
        self.grid = Grid(
            self._network.side, self._network.stride, self._network.classes, scale, round(zero_point)
        )
        side = self.grid.side
        self._logits = tf.function(
            self._network, input_signature=[tf.TensorSpec((1, side, side, 3), tf.uint8)]
        )

    def __call__(self, image):
        """The logits of a photo uint8 RGB (H, W, 3) as bytes: uint8 (rows, columns, K), see ``Grid``."""
        height, width = self.grid.resized(*image.shape[:2])
        picture = np.full((1, self.grid.side, self.grid.side, 3), PADDING, np.uint8)
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        picture[0, :height, :width] = resized
        rows, columns = self.grid.shape(*image.shape[:2])
        logits = self._logits(tf.constant(picture)).numpy()[0, :rows, :columns]
        return np.clip(np.rint(logits / self.grid.scale + self.grid.zero_point), 0, 255).astype(np.uint8)


def find_teacher(name):
    """The path of a teacher: ``name`` itself, or the file of that name in ``SEGDEMO_PRETRAINED``.

    Raises TeacherError if there is neither.
    """
    folder = os.environ.get("SEGDEMO_PRETRAINED")
    candidates = [Path(name).expanduser(), *([Path(folder) / name] if folder else [])]
    for path in candidates:
        if path.is_file():
            return path
    raise TeacherError(
        f"There is no teacher {name}: put that TFLite file into SEGDEMO_PRETRAINED, or give the path of "
        "another with --set teacher=PATH."
    )


def cache_folder(path):
    """Where the answers of the teacher in the file ``path`` are kept, in SEGDEMO_HOME: one folder a teacher."""
    return home() / "cache" / f"teacher-{zoo.sha256(path)[:16]}"


def averaged(teacher, image):
    """A teacher's logits of a photo, averaged with those of its mirror image.

    Args:
        teacher: see the module.
        image: uint8 RGB (H, W, 3).

    Returns:
        uint8 (rows, columns, K), as ``teacher(image)``.
    """
    plain, mirrored = teacher(image).astype(np.float32), teacher(image[:, ::-1]).astype(np.float32)
    _, width = teacher.grid.resized(*image.shape[:2])
    last = plain.shape[1] - 1
    # The mirror image shows in its column x what the photo has in column width - 1 - x; that lies between
    # two points.
    places = np.clip((width - 1) / teacher.grid.stride - np.arange(last + 1), 0, last)
    left = np.floor(places).astype(int)
    share = (places - left)[:, None]
    back = mirrored[:, left] * (1 - share) + mirrored[:, np.minimum(left + 1, last)] * share
    return np.rint((plain + back) / 2).astype(np.uint8)


@dataclass(frozen=True)
class SoftLabels:
    """A teacher's answers on disk, as ``cache_teacher`` left them.

    Attributes:
        folder: one ``.npy`` a photo. grid: of the teacher.
    """

    folder: Path
    grid: Grid

    def path(self, sample):
        """The file of a sample. A photo that is replaced by another gets another file."""
        try:
            status = sample.image_path.stat()
            stamp = status.st_size, status.st_mtime_ns
        except OSError:
            stamp = None  # reading the photo will say what is missing
        key = repr((str(sample.image_path.resolve()), stamp)).encode()
        return self.folder / f"{sample.id}-{hashlib.sha256(key).hexdigest()[:16]}.npy"

    def read(self, sample):
        """The kept logits of a sample: uint8 (rows, columns, K). Raises TeacherError if there are none."""
        path = self.path(sample)
        try:
            return np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise TeacherError(
                f"The teacher has not been asked about the photo {sample.id}: start the training again."
            ) from None
        except (OSError, ValueError, EOFError):
            raise TeacherError(
                f"The teacher's answer {path} is damaged: delete it and start the training again."
            ) from None


def cache_teacher(teacher, samples, folder, progress=lambda items: items):
    """Ask a teacher about every photo it has not been asked about, and keep the answers.

    May be stopped at any time and goes on where it was.

    Args:
        teacher: see the module.
        samples: ``datasets.Sample`` objects.
        folder: where the answers go, a ``.npy`` a photo.
        progress: wraps the samples on their way, to show how far it is or to end it early.

    Returns:
        The SoftLabels.

    Raises:
        TeacherError: the folder holds the answers of another teacher.
        DatasetError, IntakeError: a photo is missing or cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description = folder / DESCRIPTION
    if description.is_file() and read_json(description) != asdict(teacher.grid):
        raise TeacherError(f"{folder} holds the answers of another teacher: choose another folder.")
    write_json(description, asdict(teacher.grid))
    labels = SoftLabels(folder, teacher.grid)
    for sample in progress(samples):
        path = labels.path(sample)
        if path.is_file():
            continue
        buffer = io.BytesIO()
        np.save(buffer, averaged(teacher, datasets.read_image(sample)))
        write_atomic(path, buffer.getvalue())
    return labels


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
        float64 (n,), 1 or more, in the subset's order: ``probabilities`` of the pipelines.
    """
    ids = dataset.splits[subset]
    position = {id_: n for n, id_ in enumerate(ids)}
    factors = np.ones(len(ids))
    for class_id, shown in datasets.by_class(dataset, subset).items():
        if shown and class_id != dataset.label_set.background:
            rows = [position[id_] for id_ in shown]
            factors[rows] = np.maximum(factors[rows], math.sqrt(threshold * len(ids) / len(shown)))
    return factors


def batches(
    dataset,
    subset,
    labels,
    *,
    size,
    stride,
    batch,
    scale=(0.5, 2.0),
    aspect=1.0,
    reference=None,
    probabilities=None,
    seed=0,
    workers=tf.data.AUTOTUNE,
):
    """Training batches with soft labels, without end: ``pipeline.jitter_batches`` and the teacher's logits.

    Args:
        dataset, subset: what to learn from.
        labels: the SoftLabels of all its photos.
        size: side of the square crop in pixels.
        stride: masks and soft labels are this much smaller than the crop.
        batch: images a batch.
        scale, aspect, reference: see ``augment.random_warp``.
        probabilities, seed, workers: see ``pipeline.build``.

    Returns:
        A ``tf.data.Dataset`` of pairs: images float32 (B, size, size, 3) in 0..255, and a dictionary of
        ``"mask"`` uint8 (B, h, w) with 255 = void, ``"teacher"`` float32 logits (B, h, w, K) and ``"valid"``
        float32 (B, h, w), 1 inside the photo and 0 in its padding.

    Raises:
        DatasetError: no such subset or an empty one.
    """
    samples, grid, small = dataset.samples(subset), labels.grid, (size // stride,) * 2
    records, load = pipeline.source(dataset, subset)
    records = pipeline.shuffled(
        records, count=len(samples), buffer=None, probabilities=probabilities, seed=seed, dataset=dataset
    )

    def soft_label(index, height, width):
        return (labels.read(samples[index]), *grid.points(height, width))

    def example(seed, index):
        image, mask = load(index)
        shape = tf.shape(mask)
        values, first, spacing = tf.numpy_function(
            soft_label, [index, shape[0], shape[1]], [tf.uint8, tf.float32, tf.float32]
        )
        values = tf.ensure_shape(values, (None, None, grid.classes))
        first, spacing = tf.ensure_shape(first, (2,)), tf.ensure_shape(spacing, (2,))
        seeds = tf.random.split(seed, 2)
        start, step, mirrored = augment.random_window(
            shape, (size, size), scale, aspect, reference=reference, seed=seeds[0]
        )
        image = augment.warp_image(image, (size, size), start, step, mirrored)
        image, _ = augment.random_color_matrix(image, None, seed=seeds[1])
        window = (small, start, step * size / small[0], mirrored)
        inside = augment.warp_mask(tf.zeros_like(mask), *window) != VOID
        logits = grid.scale * (augment.warp_grid(values, *window, first, spacing) - grid.zero_point)
        return image, {
            "mask": augment.warp_mask(mask, *window),
            "teacher": logits,
            "valid": tf.cast(inside, tf.float32),
        }

    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    examples = tf.data.Dataset.zip(seeds, records.repeat()).map(example, num_parallel_calls=workers)
    return examples.batch(batch, drop_remainder=True).prefetch(pipeline.PREFETCH)


def soft_cross_entropy(logits, teacher, valid, temperature=1.0):
    """Mean over valid pixels of the cross-entropy between a teacher's class probabilities and a model's.

    Both are softened by the temperature T, and the result is multiplied by T squared, so that the gradients stay as
    large as they are (Hinton et al. 2015, section 2).

    Args:
        logits: the model's, float (B, h, w, K).
        teacher: the teacher's, float (B, h, w, K).
        valid: float (B, h, w), the weight of each pixel, 0 where the teacher saw no photo.
        temperature: 1 or more: the higher, the more the classes count that the teacher thinks unlikely.

    Returns:
        float32 scalar, 0 if nothing is valid.
    """
    target = ops.softmax(ops.cast(teacher, "float32") / temperature, axis=-1)
    log_share = ops.log_softmax(ops.cast(logits, "float32") / temperature, axis=-1)
    values = -(temperature**2) * ops.sum(target * log_share, axis=-1)  # (B, h, w)
    return ops.divide_no_nan(ops.sum(values * valid), ops.sum(valid))


class Distiller(keras.Model):
    """A functional model whose loss is ``truth_weight * loss(truth) + teacher_weight * soft cross-entropy``, and, of a
    model of ``blockwise.imitating``, ``+ block_weight *`` its blocks' mean relative error, falling to zero.

    It takes targets as ``batches`` yields them, or plain label maps. With those it asks ``network`` about the images
    while it trains; in validation, or without a network, they give the compiled loss alone. Metrics only ever see
    the label map.

    Args:
        inputs, outputs: of the model that learns, as for ``keras.Model``.
        truth_weight: of the loss it is compiled with.
        teacher_weight: of ``soft_cross_entropy``.
        temperature: of ``soft_cross_entropy``.
        network: a ``tflite.FloatNetwork`` or what else has its ``on_crops``.
        block_weight: 0 for a model that answers logits alone. Else it answers a list as that of
            ``blockwise.imitating`` does, and sees of each crop what ``network.pictures`` leaves of it.
        steps: after how many the weight of the blocks' error is zero.
    """

    def __init__(
        self,
        *args,
        truth_weight=0.5,
        teacher_weight=1.0,
        temperature=1.0,
        network=None,
        block_weight=0.0,
        steps=1,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.truth_weight, self.teacher_weight = float(truth_weight), float(teacher_weight)
        self.temperature, self._network = float(temperature), network
        self.block_weight, self._steps = float(block_weight), steps

    def call(self, inputs, training=None, mask=None):
        """What the model answers, see ``block_weight``."""
        if self.block_weight:
            inputs = self._network.pictures(inputs)
        return super().call(inputs, training=training, mask=mask)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss, a scalar; ``y`` is a dictionary or a label map."""
        mask = y["mask"] if isinstance(y, dict) else y
        y_pred, *ends = y_pred if self.block_weight else [y_pred]
        truth = super().compute_loss(x, mask, y_pred, sample_weight, training)
        blocks = []
        if isinstance(y, dict):
            logits, valid = y["teacher"], y["valid"]
        elif self._network is not None and training:
            if ends:
                logits, blocks = self._network.answers(self._network.pictures(x))
            else:
                logits = self._network.on_crops(x)
            logits = tf.stop_gradient(tf.image.resize(logits, tf.shape(y_pred)[1:3]))
            valid = tf.ones(tf.shape(y_pred)[:3])
        else:
            return truth
        teacher = soft_cross_entropy(y_pred, logits, valid, self.temperature)
        loss = self.truth_weight * truth + self.teacher_weight * teacher
        if blocks:
            pairs = zip(blocks, ends, strict=True)
            error = ops.mean([ops.mean(blockwise.relative_error(tf.stop_gradient(b), e)) for b, e in pairs])
            left = 1 - ops.cast(self.optimizer.iterations, "float32") / self._steps
            loss = loss + self.block_weight * ops.maximum(left, 0) * error
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The metrics on the label map in ``y``."""
        y_pred = y_pred[0] if self.block_weight else y_pred
        return super().compute_metrics(x, y["mask"] if isinstance(y, dict) else y, y_pred, sample_weight)
