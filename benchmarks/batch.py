"""Photos a second at batch work, from their files to label maps in files, against ONNX Runtime alone.

    python benchmarks/batch.py [--model deeplabv3] [--photos 48] [--rounds 3] [--no-refine] [FOLDER]

``raw`` is the network and nothing else: ``session.run`` of a session as ONNX Runtime makes it, with all cores, over
inputs that are decoded and scaled beforehand, whose answers nobody looks at. ``script`` is what one would write with
ONNX Runtime and Pillow: decode, scale, run, argmax, scale the mask to the photo's size and save it. ``SegDemo`` is
``inference.batch``, which also refines outlines where the model does, and notes what it did. They take turns on the
same photos in one process; the median round counts. Photos are those of FOLDER, else the built-in ones, at the size of
VOC's.

Seconds of the processor say what the work costs whatever else the machine does; photos a second say what comes of it
where nothing else runs.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("SEGDEMO_HOME", tempfile.mkdtemp())


def prepared(folder, count):
    """Photos as JPEG files of 500 pixels, in ``folder``."""
    from PIL import Image

    from segdemo.ui.photos import built_in_paths

    sources = list(built_in_paths().values())
    paths = []
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as picture:
            small = picture.convert("RGB")
        small.thumbnail((500, 500))
        paths.append(folder / f"{number:04}.jpg")
        small.save(paths[-1], quality=90)
    return paths


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="deeplabv3")
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-refine", action="store_true")
    parser.add_argument("folder", nargs="?", type=Path)
    options = parser.parse_args()

    import numpy as np
    from onnxruntime import InferenceSession
    from PIL import Image

    from segdemo import zoo
    from segdemo.core import settings
    from segdemo.data import outputs
    from segdemo.inference.batch import Batch, Item
    from segdemo.inference.predict import Predictor

    entry = zoo.model_at(options.model)
    entry = entry.unrefined() if options.no_refine else entry
    cores = settings.cores()
    work = Path(tempfile.mkdtemp())
    paths = outputs.photos_in([options.folder]) if options.folder else prepared(work, options.photos)
    paths = paths[: options.photos]
    session = InferenceSession(entry.path, providers=["CPUExecutionProvider"])
    predictor = Predictor(entry, threads=1)

    def opened(path):
        with Image.open(path) as picture:
            photo = picture.convert("RGB")
        height, width = predictor.input_size(np.empty((photo.height, photo.width, 0), np.uint8))
        return photo.size, np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR))[None]

    inputs = [opened(path)[1] for path in paths]

    def raw(_round):
        for pixels in inputs:
            session.run(None, {"image": pixels})

    def script(_round):
        for path in paths:
            size, pixels = opened(path)
            (logits,) = session.run(None, {"image": pixels})
            mask = Image.fromarray(logits[0].argmax(-1).astype(np.uint8))
            mask.resize(size, Image.Resampling.NEAREST).save(work / f"{path.stem}_script.png")

    def ours(number):
        out = work / f"out{number}"
        items = [Item(str(p), p.name, p, {"label_map": out / f"{p.stem}.png"}) for p in paths]
        tally = Batch(predictor, items, out).run(workers=cores)
        assert tally.done == len(paths), tally.failed

    ways = {"raw": raw, "script": script, "SegDemo": ours}
    found = {name: [] for name in ways}
    for number in range(-1, options.rounds):  # the first one warms up
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way(number)
            if number >= 0:
                found[name].append((time.process_time() - processor, time.perf_counter() - wall))
    print(f"{entry.name}, {len(paths)} photos, {cores} cores, refined: {entry.refinement is not None}")
    medians = {
        name: [statistics.median(one) for one in zip(*rounds, strict=True)] for name, rounds in found.items()
    }
    for name, (processor, wall) in medians.items():
        against = " ".join(f"{medians['raw'][i] / (processor, wall)[i]:10.2f}" for i in (0, 1))
        print(
            f"{name:8} {1000 * processor / len(paths):7.1f} ms of the processor a photo, "
            f"{len(paths) / wall:6.1f} photos a second; of raw: {against}"
        )


if __name__ == "__main__":
    main()
