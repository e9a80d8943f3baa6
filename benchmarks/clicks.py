"""How many clicks things of VOC val take, from nothing and from the masks of a semantic model.

    python benchmarks/clicks.py --data DIR [--subset test] [--things 200] [--model click] [--json]

- components: connected components of VOC's classes, of 300 pixels or more, each from nothing.
- correcting: the mask of each class in a photo, from what ``deeplabv3`` says of it; 0 clicks where that is at the goal.
- correcting_things: likewise each of those components, from the regions of its class that reach into it.

``clicks_if_perfect`` is what the same two take where every click puts all pixels right that are wrong and hang together
there: what no model that changes only these can do better.

By the protocol of ``segdemo clicks``, which measures folders of photos and masks likewise.
"""

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))
SMALLEST = 300  # pixels of a component
SEED = 0


def things(samples, most):
    """(class, case) of components and of classes of photos, ``most`` of each, drawn once."""
    from segdemo.core.labels import VOC
    from segdemo.data.datasets import read_image, read_label_map
    from segdemo.inference.click_protocol import Case

    rng = np.random.default_rng(SEED)
    components, classes = [], []
    for n in rng.permutation(len(samples)):
        sample = samples[n]
        if len(components) >= most and len(classes) >= most:
            break
        image, label_map = read_image(sample), read_label_map(sample)
        for id_ in set(np.unique(label_map)) - {VOC.background, 255}:
            inside, counts = label_map == id_, label_map != 255
            classes.append((int(id_), Case(sample.id, image, inside, counts)))
            numbers, count = ndimage.label(inside)
            sizes = np.bincount(numbers.ravel(), minlength=count + 1)
            components += [
                (int(id_), Case(sample.id, image, numbers == k, counts))
                for k in range(1, count + 1)
                if sizes[k] >= SMALLEST
            ]
    return components[:most], classes[:most]


def reaching_into(mask, thing):
    """bool (H, W), the regions of a mask that share a pixel with a thing."""
    numbers, _ = ndimage.label(mask)
    return np.isin(numbers, np.setdiff1d(numbers[thing], 0))


class Perfect:
    """A clicker that knows the truth: the error that the last click lies in is put right, and nothing else."""

    def __init__(self, case):
        self.case = case

    def select(self, photo, clicks, mask):
        wrong, _ = ndimage.label((mask ^ self.case.truth) & self.case.counts)
        there = wrong[int(clicks[-1].y), int(clicks[-1].x)]
        return SimpleNamespace(mask=np.where(wrong == there, self.case.truth, mask) if there else mask)


def correcting(clicker, wanted, part=lambda mask, truth: mask, goal=0.9):
    """Mean clicks that take a semantic model's masks to the goal, and how many need more than twenty.

    ``part`` makes of its mask of a class and the truth what the clicks begin with.
    """
    from dataclasses import replace

    from segdemo import zoo
    from segdemo.inference.click_protocol import MOST, click_through, iou
    from segdemo.inference.predict import Predictor

    predictor = Predictor(zoo.served_model("deeplabv3"))
    found, needed, perfect, before = {}, [], [], []
    for id_, case in wanted:
        if case.name not in found:
            found = {case.name: predictor(case.photo).label_map}
        start = part(found[case.name] == id_, case.truth)
        before.append(iou(case.truth, start, case.counts))
        if before[-1] >= goal:
            needed.append(0)
            perfect.append(0)
            continue
        for model, counted in ((clicker, needed), (Perfect(case), perfect)):
            ious, _ = click_through(model, replace(case, start=start))
            counted.append(next((n for n, value in enumerate(ious, 1) if value >= goal), MOST))
    return {
        "things": len(needed),
        "iou_before": float(np.mean(before)),
        "at_goal_before": sum(n == 0 for n in needed),
        "clicks": float(np.mean(needed)),
        "clicks_where_any": float(np.mean([n for n in needed if n] or [0])),
        "failures": sum(n == MOST for n in needed),
        "clicks_if_perfect": float(np.mean(perfect)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="the folder that holds VOC")
    parser.add_argument("--subset", default="test")
    parser.add_argument("--things", type=int, default=200)
    parser.add_argument("--model", default="click")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    from segdemo.data.sources import open_dataset
    from segdemo.inference import click_protocol
    from segdemo.inference.clicks import Clicker
    from segdemo.zoo.clicks import click_model

    clicker = Clicker(click_model(options.model))
    components, classes = things(open_dataset("voc", options.data).samples(options.subset), options.things)
    report = click_protocol.measure(clicker, [case for _, case in components]).to_json()
    report.pop("each")
    result = {
        "components": report,
        "correcting": correcting(clicker, classes),
        "correcting_things": correcting(clicker, components, reaching_into),
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, values in result.items():
        print(name)
        for key, value in values.items():
            print(f"  {key:18} {value}")


if __name__ == "__main__":
    main()
