"""What ten labelled photos are worth: a run as the Train tab suggests it, measured on fifty others.

    python benchmarks/few_photos.py --data DIR [--start deeplabv3] [--preset good] [--least 0.1] [--json]

The first five photos of VOC's ``train`` that show horses and the first five that show buses become a collection of
three classes (background, horse, bus); ``--least`` is the share of the photo that the class has at least. A run learns
from it with the settings that the form suggests, exports and measures what comes out, as from the page. Its mean IoU is
over all pixels of the first 50 photos of VOC val that show either class. ``--start untrained:deeplabv3`` begins at the
ImageNet encoder (``SEGDEMO_PRETRAINED``). ``seconds`` are those of the whole run from its first process on,
``processor_seconds`` those of all its threads. Run it with nothing else running.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
NAMES, EACH, JUDGED = ("horse", "bus"), 5, 50


def showing(dataset, subset, wanted):
    """(id, photo, truth with ids of ``NAMES`` from 1 on) of the photos of a subset that show a class of ``wanted``."""
    import numpy as np

    from segdemo.core.labels import VOID
    from segdemo.data.datasets import read_pair
    from segdemo.data.index import by_class

    classes = dataset.label_set.classes
    ids = {id_ for name in wanted for id_ in by_class(dataset, subset)[classes.index(name)]}
    for sample in dataset.samples(subset):
        if sample.id in ids:
            image, mask = read_pair(sample, dataset.label_set)
            truth = np.where(mask == VOID, VOID, 0).astype(np.uint8)
            for number, name in enumerate(NAMES, 1):
                truth[mask == classes.index(name)] = number
            yield sample.id, image, truth


def collect(dataset, store, least):
    """A collection of the labelled photos, as ``Annotate`` would make it."""
    from segdemo.core.labels import LabelSet, voc_color

    names = ("background", *NAMES)
    collection = store.create("Ten", LabelSet("ten", "Ten", names, tuple(map(voc_color, range(len(names))))))
    for number, name in enumerate(NAMES, 1):
        every = showing(dataset, "train", [name])
        found = (one for one in every if (one[2] == number).mean() >= least)
        for _, (id_, image, truth) in zip(range(EACH), found, strict=False):
            collection.save(collection.add_photo(image, f"{id_}.png"), truth, 0)
    return collection


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", default="deeplabv3", help="a model, or untrained: and an architecture")
    parser.add_argument("--preset", default="good", choices=("quick", "good", "best"))
    parser.add_argument("--least", type=float, default=0.1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from telling import tell

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGDEMO_HOME"] = folder
        tell(measured(options, Path(folder)), {"seconds": "180"}, options.json)


def measured(options, folder):
    """Scores in percent, and what the run took."""
    import numpy as np

    from segdemo.annotations.store import AnnotationStore
    from segdemo.core import label_maps
    from segdemo.data.sources import open_dataset
    from segdemo.inference.predict import Predictor
    from segdemo.ui.tabs.train import form
    from segdemo.zoo import model_at

    voc = open_dataset("voc", options.data)
    ten = collect(voc, AnnotationStore(folder / "annotations"), options.least).dataset()
    start = form.Start.of(options.start)
    settings = form.settings(start, ten, form.suggest(start, ten, preset=options.preset))
    run = folder / "run"
    given = {key: settings.pop(key) for key in ("model", "dataset", "data")}
    command = [sys.executable, "-m", "segdemo", "train", "--out", run]
    command += [f"--{key}={value}" for key, value in given.items()]
    command += [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    predictor, size = Predictor(model_at(str(run))), 1 + len(NAMES)
    total = np.zeros((size, size), np.int64)
    for _, (_, image, truth) in zip(range(JUDGED), showing(voc, "val", NAMES), strict=False):
        total += label_maps.confusion(truth, predictor(image).label_map, size)
    scores = 100 * label_maps.iou(total)
    return {
        "mean_iou": float(np.nanmean(scores)),
        **{name: float(score) for name, score in zip(("background", *NAMES), scores, strict=True)},
        **{f"{subset}_photos": len(ten.splits[subset]) for subset in ("train", "val", "test")},
        "seconds": seconds,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


if __name__ == "__main__":
    main()
