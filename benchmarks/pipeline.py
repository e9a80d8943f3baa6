"""Images per second of the training pipeline against the sequential one it replaces.

    python benchmarks/pipeline.py [--data DIR] [--photos 96] [--rounds 3] [--seconds 6]

SegDemo's side is what a run learns from: the batches that ``training.batches`` makes of a recipe's settings. The
book's recipe does the work of *TensorFlow in Action*, chapter 8: decode, enlarge to 444, crop 384, flip, change hue,
brightness and contrast, batch of 16. The baseline does it as written there: file names from a Python generator,
masks through ``numpy_function``, one photo after the other. The book keeps the decoded photos in memory; a run keeps
the enlarged ones in a folder, which bounds its memory, and decodes anew where they would take too much room. Each is
compared with its like, in an epoch after the first. A recipe with scale jitter, which always decodes anew, is measured
for comparison. Sides run in turn, each in a process of its own, and the best round of each counts. Without ``--data``
the photos are drawn at VOC's size. The last lines are the ratios; the goal is 3 on two cores.
"""

import argparse
import atexit
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

GOAL = 3.0
BATCH = 16


def sequential(dataset, subset, cached):
    """The pipeline of the book: a generator, then one map after another, none of them parallel.

    Where the book chooses between a resize and a crop, this crops, as does the other side.
    """
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    def names():
        for sample in dataset.samples(subset):
            yield str(sample.image_path), str(sample.mask_path)

    def load(image, mask):
        image = tf.io.decode_jpeg(tf.io.read_file(image), 3)
        mask = tf.numpy_function(lambda path: np.array(Image.open(path)), [mask], tf.uint8)
        return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(mask, (None, None))[..., None]

    def crop(image, mask):
        image = tf.image.resize(image, (444, 444), "bilinear")
        mask = tf.cast(tf.image.resize(mask, (444, 444), "nearest"), tf.float32)
        top, left = tf.unstack(tf.random.uniform((2,), 0, 444 - 384 + 1, tf.int32))
        return (
            tf.image.crop_to_bounding_box(image, top, left, 384, 384),
            tf.image.crop_to_bounding_box(mask, top, left, 384, 384),
        )

    def flip(image, mask):
        return tf.cond(
            tf.random.uniform(()) < 0.5,
            lambda: (tf.image.flip_left_right(image), tf.image.flip_left_right(mask)),
            lambda: (image, mask),
        )

    spec = tf.TensorSpec((), tf.string)
    data = tf.data.Dataset.from_generator(names, output_signature=(spec, spec)).map(load)
    data = data.cache() if cached else data
    data = data.map(lambda image, mask: (tf.cast(image, tf.float32) / 255.0, mask)).map(crop).map(flip)
    data = data.map(lambda image, mask: (tf.image.random_hue(image, 0.1), mask))
    data = data.map(lambda image, mask: (tf.image.random_brightness(image, 0.1), mask))
    data = data.map(lambda image, mask: (tf.image.random_contrast(image, 0.8, 1.2), mask))
    data = data.shuffle(5 * BATCH).batch(BATCH).repeat().prefetch(tf.data.AUTOTUNE)
    return data.map(lambda image, mask: (image, tf.squeeze(mask, axis=-1)))


def learning(dataset, subset, recipe, room=True):
    """What a run of a recipe learns from, in a state folder of its own; without ``room`` there it keeps no photos."""
    from segdemo.runs import recipes
    from segdemo.runs.config import TrainConfig
    from segdemo.training import batches, pipeline

    home = tempfile.TemporaryDirectory()
    atexit.register(home.cleanup)
    os.environ["SEGDEMO_HOME"] = home.name
    if not room:
        pipeline.FOLDER_LIMIT = 0
    settings = {**recipes.settings(recipe), "data": str(dataset.root), "subset": subset, "batch": BATCH}
    config = TrainConfig.from_json(settings)
    return batches.to_learn_from(config, dataset, config.size)


BOOK = "book-deeplabv3-resnet50"
SIDES = {
    "sequential, decoding every epoch": partial(sequential, cached=False),
    "segdemo, decoding every epoch": partial(learning, recipe=BOOK, room=False),
    "sequential, decoded photos in memory": partial(sequential, cached=True),
    "segdemo, resized photos in a folder": partial(learning, recipe=BOOK),
    "segdemo, scale jitter, decoding": partial(learning, recipe="deeplabv3-distil-384"),
}
PAIRS = {
    "as it comes": ("sequential, decoded photos in memory", "segdemo, resized photos in a folder"),
    "decoding every epoch": ("sequential, decoding every epoch", "segdemo, decoding every epoch"),
}


def measure(side, root, subset, seconds):
    """Images per second after a first epoch, CPU milliseconds an image, and peak memory in MB."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from segdemo.data.sources import open_dataset

    dataset = open_dataset("voc", root)
    batches = iter(SIDES[side](dataset, subset))
    for _ in range(len(dataset.samples(subset)) // BATCH + 3):  # fills the caches and the buffers
        next(batches)
    count, start, work = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        count += len(next(batches)[0])
    rate = count / (time.perf_counter() - start)
    work = 1000 * (time.process_time() - work) / count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )
    return {"rate": rate, "work": work, "peak": peak}


def draw(root, photos):
    """A VOC tree of ``photos`` drawn pictures of VOC's usual size, about as hard to decode as photos are."""
    import numpy as np
    from PIL import Image

    from segdemo.core.labels import VOC

    folder = root / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"drawn_{i:04d}" for i in range(photos)]
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), np.uint8)).resize(
            (500, 375), Image.BICUBIC
        )
        grain = rng.normal(0, 6, (375, 500, 3))
        photo = Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8))
        photo.save(folder / "JPEGImages" / f"{name}.jpg", quality=85)
        blobs = Image.fromarray(rng.integers(0, 21, (6, 8), np.uint8)).resize((500, 375), Image.NEAREST)
        mask = Image.frombytes("P", blobs.size, blobs.tobytes())
        mask.putpalette(VOC.palette())
        mask.save(folder / "SegmentationClass" / f"{name}.png")
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names))
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="a VOC 2012 tree (default: drawn photos)")
    parser.add_argument("--subset", default="train")
    parser.add_argument("--photos", type=int, default=96, help="how many to draw without --data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.data, options.subset, options.seconds)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = options.data or draw(Path(scratch), options.photos)
        best = {}
        for _ in range(options.rounds):
            for side in SIDES:
                command = [
                    sys.executable,
                    __file__,
                    "--side",
                    side,
                    "--data",
                    str(root),
                    "--subset",
                    options.subset,
                ]
                command += ["--seconds", str(options.seconds)]
                result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                best[side] = max(result, best.get(side, result), key=lambda r: r["rate"])
    for side, result in best.items():
        print(
            f"{side:37s} {result['rate']:7.1f} images/s   {result['work']:5.1f} ms of CPU an image   "
            f"peak memory {result['peak']:5.0f} MB"
        )
    for name, (before, after) in PAIRS.items():
        rate = best[after]["rate"] / best[before]["rate"]
        work = best[before]["work"] / best[after]["work"]
        print(f"{name}: ratio {rate:.2f} ({work:.2f} in CPU time) on {os.cpu_count()} cores, goal {GOAL:g}")


if __name__ == "__main__":
    main()
