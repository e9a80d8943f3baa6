"""How a model of Pets does on breeds that it has hardly seen: the photos it never learned from, by breed.

    python benchmarks/breeds.py --data PETS_DIR [--models segnet unet_plain]

Each photo of ``test`` and ``val`` belongs to the breeds of which ``train`` has many photos, or to the others. The
interval is that of as many photos drawn with replacement, 95 %. ``at 500 px`` has the test photos enlarged to that long
side, what Pets' own files have.
"""

import argparse
from collections import Counter

import numpy as np
from PIL import Image

import segdemo
from segdemo.data.pets import breed

MANY = 50  # photos in ``train``
LONG_SIDE = 500
DRAWS = 500


def mean_iou(confusions):
    """Mean IoU of confusion matrices (n, K, K), summed, in percent, and each class's."""
    each = 100 * segdemo.label_maps.iou(np.sum(confusions, axis=0))
    return np.nanmean(each), ", ".join(f"{value:.1f}" for value in each)


def enlarged(photo, truth):
    """Both at a long side of ``LONG_SIDE`` pixels."""
    scale = LONG_SIDE / max(truth.shape)
    size = tuple(round(side * scale) for side in truth.shape[::-1])
    return (
        np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC)),
        np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST)),
    )


def main():
    """Measure each model and print its rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", nargs="+", default=["segnet", "bayesian_segnet", "unet_plain", "unet"])
    options = parser.parse_args()
    dataset = segdemo.open_dataset("pets", options.data)
    learned = Counter(map(breed, dataset.splits["train"]))
    common = {name for name, count in learned.items() if count >= MANY}
    samples = dataset.samples("test") + dataset.samples("val")
    pairs = {sample.id: segdemo.read_pair(sample, dataset.label_set) for sample in samples}
    groups = {
        "test": list(dataset.splits["test"]),
        "of many": [id_ for id_ in dataset.splits["test"] if breed(id_) in common],
        "others": [id_ for id_ in pairs if breed(id_) not in common],
    }
    print(
        f"{sum(learned[name] for name in common)} of {sum(learned.values())} photos: {', '.join(sorted(common))}"
    )
    for title, ids in groups.items():
        counts = np.stack([np.bincount(pairs[id_][1].ravel(), minlength=256)[:3] for id_ in ids])
        print(f"{title:9} {len(ids):4} photos, shares of classes {(counts.sum(0) / counts.sum()).round(3)}")
    random = np.random.default_rng(0)
    for model in options.models:
        segment = segdemo.load(model)

        def measured(photo, truth, segment=segment):
            return segdemo.label_maps.confusion(truth, segment(photo).label_map, len(dataset.label_set))

        found = {id_: measured(*pair) for id_, pair in pairs.items()}
        for title, ids in groups.items():
            matrices = np.stack([found[id_] for id_ in ids])
            draws = [mean_iou(matrices[random.integers(0, len(ids), len(ids))])[0] for _ in range(DRAWS)]
            low, high = np.percentile(draws, [2.5, 97.5])
            mean, each = mean_iou(matrices)
            print(f"{model:16} {title:10} {mean:5.1f} ({low:.1f} to {high:.1f}): {each}")
        mean, each = mean_iou(np.stack([measured(*enlarged(*pairs[id_])) for id_ in groups["test"]]))
        print(f"{model:16} at {LONG_SIDE} px  {mean:5.1f}: {each}")


if __name__ == "__main__":
    main()
