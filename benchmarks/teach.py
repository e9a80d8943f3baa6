"""Classes taught by painting, against scikit-image's features and a random forest, on simulated strokes.

    python benchmarks/teach.py --data DIR [--subset val|test] [--photos 40] [--parts same across ...] [--json]

``same``: strokes on 0.25, 1 and 2.5 % of a photo's pixels, the mean over photos of the mean IoU of the classes in it.
``across``: strokes on 1 % of five photos of a class, its IoU on twenty others (in every second row and column).
``masks``: the same, with finished masks of the five, or of three of them, in place of strokes.
``fine_tuned`` (only if asked for): the same of ``unet``, trained on the full masks of the same five.
``next``: mean IoU on photos that nobody painted on, by how many were, chosen at random or the least sure first.
``review``: of masks of which every third has a planted error, how many of the first 20 regions show one.
``time``: milliseconds and bytes a photo and a stroke.
``pages``: seconds until each of 20 pages has the features of a photo of its own, all asking at once, by megapixels.

VOC photos are of the subset, those of Pets of its held-out ones. Strokes are drawn as a person would draw: along the
middle of parts of each class, a hundredth of the photo wide. The baseline is that of scikit-image's trainable
segmentation: ``multiscale_basic_features`` and a forest of 100 trees. Everything is drawn with fixed seeds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.feature import multiscale_basic_features
from skimage.graph import route_through_array
from sklearn.ensemble import RandomForestClassifier

from segdemo.core import label_maps
from segdemo.core.labels import VOID
from segdemo.core.photos import Limits
from segdemo.data.datasets import read_pair
from segdemo.data.sources import open_dataset
from segdemo.inference import review, teach
from segdemo.inference.features import Features
from segdemo.inference.predict import Predictor
from segdemo.ui.photos import PhotoCache
from segdemo.ui.teaching import Teaching
from segdemo.zoo import model_at

SHARES = (0.0025, 0.01, 0.025)
CLASSES = ("bus", "cat", "person", "motorbike")  # of VOC, for ``across``
TAUGHT, ASKED = 5, 20  # photos
FIRST = 20  # regions
BEGUN, LOOKED = (
    3,
    (5, 10, 15, 20),
)  # photos painted on before anybody chooses, and when the score is looked at
POOL, SEEDS = 40, 5
PAGES = 20  # at once


def strokes(truth, share, rng):
    """Painted as a person would on ``share`` of a photo's pixels: uint8 (H, W), 255 where not painted.

    Every class gets a part of it by the root of its area; every larger part of a class gets a stroke before any gets
    a second. A stroke is the beginning of a path along the middle between two points of the part.
    """
    brush = max(3, round(max(truth.shape) / 100))
    painted = np.full(truth.shape, VOID, np.uint8)
    classes = [c for c in np.unique(truth) if c != VOID]
    areas = np.array([(truth == c).sum() for c in classes], float)
    budgets = share * areas.sum() * np.sqrt(areas) / np.sqrt(areas).sum()
    for class_id, area, budget in zip(classes, areas, budgets, strict=True):
        budget, done = min(budget, area / 2), 0
        parts, _ = ndimage.label(truth == class_id)
        boxes = ndimage.find_objects(parts)
        sizes = np.bincount(parts.ravel())[1:].astype(float)
        order = [k for k in np.argsort(-sizes) if sizes[k] >= 0.05 * sizes.max()]
        chances = np.sqrt(sizes[order]) / np.sqrt(sizes[order]).sum()
        for turn in range(40):
            if done >= budget:
                break
            k = order[turn] if turn < len(order) else rng.choice(order, p=chances)
            left = max(1, len(order) - turn)
            inside = parts[boxes[k]] == k + 1
            done += stroke(painted[boxes[k]], inside, class_id, brush, max(1, (budget - done) / left), rng)
    return painted


def stroke(target, inside, class_id, brush, most, rng):
    """Paint about ``most`` pixels of ``target`` inside a part, a bool array; returns how many were."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    chances = (depth**2 / (depth**2).sum()).ravel()
    ends = (np.unravel_index(i, depth.shape) for i in rng.choice(depth.size, 2, p=chances))
    cost = np.where(inside, 1 / np.maximum(depth, 0.5), 1e4) * rng.uniform(0.5, 1.5, depth.shape)
    path, _ = route_through_array(cost, *ends)
    reach = np.arange(-(brush // 2), brush // 2 + 1)
    dy, dx = (d.ravel() for d in np.meshgrid(reach, reach, indexing="ij"))
    disc = dy**2 + dx**2 <= (brush / 2) ** 2
    done = 0
    for y, x in path:
        rows, columns = (y + dy[disc]).clip(0, depth.shape[0] - 1), (x + dx[disc]).clip(0, depth.shape[1] - 1)
        fresh = np.unique(np.stack([rows, columns]), axis=1)
        fresh = fresh[:, inside[tuple(fresh)] & (target[tuple(fresh)] != class_id)]
        target[tuple(fresh)] = class_id
        done += fresh.shape[1]
        if done >= most:
            break
    return done


def mean_iou(found, truth):
    """Mean IoU in percent of the classes in a photo, void left out."""
    confusion = label_maps.confusion(truth, found, VOID)
    present = confusion.sum(1) > 0
    return 100 * float(label_maps.iou(confusion)[present].mean())


def forest(pictures, painted):
    """The baseline, fitted to photos and strokes: a function of a photo's ``multiscale_basic_features``."""
    chosen = [one != VOID for one in painted]
    pixels = np.concatenate([picture[where] for picture, where in zip(pictures, chosen, strict=True)])
    ids = np.concatenate([one[where] for one, where in zip(painted, chosen, strict=True)])
    return RandomForestClassifier(100, n_jobs=-1, random_state=0).fit(pixels, ids)


def same(samples, label_set, features):
    """Mean IoU on each photo that is painted on, for each share: ours and the baseline's, means over photos."""
    ours, theirs = ({share: [] for share in SHARES} for _ in range(2))
    for number, sample in enumerate(samples):
        image, truth = read_pair(sample, label_set)
        bytes_, picture = features.compute(image), multiscale_basic_features(image, channel_axis=-1)
        for share in SHARES:
            painted = strokes(truth, share, np.random.default_rng([number, int(1e4 * share)]))
            try:
                taught = teach.learn([teach.Strokes(bytes_, painted)], features.steps)
            except teach.TeachError:  # the photo shows one class only
                continue
            likely = teach.probabilities(taught, bytes_, features.steps, painted)
            ours[share].append(mean_iou(teach.label_map(taught, likely, image), truth))
            trees = forest([picture], [painted])
            found = trees.predict(picture.reshape(-1, picture.shape[-1])).reshape(truth.shape)
            theirs[share].append(mean_iou(found, truth))
    return {
        f"{100 * share:g} %": {
            "photos": len(ours[share]),
            "ours": round(statistics.mean(ours[share]), 1),
            "baseline": round(statistics.mean(theirs[share]), 1),
        }
        for share in SHARES
    }


def pairs_of(samples, wanted, label_set):
    """[(photo, 1 where the class is, 0 where it is not, VOID)] of the first TAUGHT + ASKED photos that show it."""
    pairs = []
    for sample in samples:
        image, truth = read_pair(sample, label_set)
        if (truth == wanted).mean() < 0.03:
            continue
        name = label_set.classes[wanted]
        other = VOID if name == "pet" else 0  # the border of Pets is neither
        pairs.append((image, np.select([truth == wanted, truth == VOID, truth == 2], [1, VOID, other], 0)))
        if len(pairs) == TAUGHT + ASKED:
            break
    return pairs


def across(samples, wanted, label_set, features):
    """IoU of a class, by its id, on photos that nobody painted on: ours and the baseline's."""
    pairs = pairs_of(samples, wanted, label_set)
    painted = [
        strokes(t.astype(np.uint8), 0.01, np.random.default_rng(n)) for n, (_, t) in enumerate(pairs[:TAUGHT])
    ]
    taught = teach.learn(
        [teach.Strokes(features.of(i), p) for (i, _), p in zip(pairs, painted, strict=False)],
        features.steps,
    )
    pictures = [multiscale_basic_features(image, channel_axis=-1) for image, _ in pairs[:TAUGHT]]
    trees = forest(pictures, painted)
    counts = np.zeros((2, 2))
    for image, truth in pairs[TAUGHT:]:
        likely = teach.probabilities(taught, features.of(image), features.steps)
        ours = teach.label_map(taught, likely, image)[::2, ::2]
        picture = multiscale_basic_features(image, channel_axis=-1)[::2, ::2]
        theirs = trees.predict(picture.reshape(-1, picture.shape[-1])).reshape(ours.shape)
        for row, found in enumerate((ours, theirs)):
            counts[row] += hits(found == 1, truth[::2, ::2])
    ours, theirs = 100 * counts[:, 0] / counts[:, 1]
    return {"photos": len(pairs) - TAUGHT, "ours": round(float(ours), 1), "baseline": round(float(theirs), 1)}


def with_masks(samples, wanted, label_set, features):
    """IoU of a class on the photos of ``across``, learned from strokes and finished masks as a collection does."""
    pairs = pairs_of(samples, wanted, label_set)
    bytes_ = [features.of(image) for image, _ in pairs]
    truths = [truth.astype(np.uint8) for _, truth in pairs]

    def stroked(n):
        painted = strokes(truths[n], 0.01, np.random.default_rng(n))
        return teach.examples(teach.Strokes(bytes_[n], painted), (0, 1), features.steps)

    def masked(n):
        return teach.examples_inside([teach.inside(bytes_[n], truths[n])], (0, 1), features.steps)

    def score(examples):
        inputs, targets = (np.concatenate(parts) for parts in zip(*examples, strict=True))
        taught = teach.Taught((0, 1), teach.regression(inputs, targets).astype(np.float32), "")
        counts = np.zeros(2)
        for (image, truth), seen in list(zip(pairs, bytes_, strict=True))[TAUGHT:]:
            likely = teach.probabilities(taught, seen, features.steps)
            counts += hits(teach.label_map(taught, likely, image)[::2, ::2] == 1, truth[::2, ::2])
        return round(float(100 * counts[0] / counts[1]), 1)

    five, two = range(TAUGHT), range(2)
    return {
        "strokes on 5": score([stroked(n) for n in five]),
        "masks of 5": score([masked(n) for n in five]),
        "strokes on 2": score([stroked(n) for n in two]),
        "and masks of 3": score([stroked(n) for n in two] + [masked(n) for n in five[2:]]),
    }


def hits(found, truth):
    """(pixels of the class that were found, pixels that are it or were found), where ``truth`` is 1, 0 or VOID."""
    return (found & (truth == 1)).sum(), ((found | (truth == 1)) & (truth != VOID)).sum()


def fine_tuned(samples, wanted, label_set, steps):
    """IoU of a class on the photos of ``across``, of the shipped ``unet`` fine-tuned on the full masks of its five.

    Nothing of it is frozen but BatchNorm and the encoder's first two stages; the last epoch of ``steps / 50`` is kept.
    """
    pairs, counts = pairs_of(samples, wanted, label_set), np.zeros(2)
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, SEGDEMO_HOME=folder):
        tree, run = Path(folder) / "voc", Path(folder) / "run"
        for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (tree / name).mkdir(parents=True)
        names = [f"{number}" for number in range(TAUGHT)]
        for name, (image, truth) in zip(names, pairs, strict=False):
            Image.fromarray(image).save(tree / "JPEGImages" / f"{name}.jpg", quality=95)
            mask = np.where(truth == 1, wanted, truth).astype(np.uint8)
            (tree / "SegmentationClass" / f"{name}.png").write_bytes(label_maps.encode_png(mask, label_set))
        for subset in ("train", "val"):
            (tree / "ImageSets/Segmentation" / f"{subset}.txt").write_text("\n".join(names))
        settings = {
            "subset": "train",
            "steps_per_epoch": 50,
            "optimizer": "adamw",
            "schedule": "cosine",
            "warmup_steps": 50,
            "loss": "cross_entropy_dice",
            "augment": "strong",
            "frozen": "c2",
            "freeze_batch_norm": "true",
            "ema": 0.98,
            "reduce_lr": 0,
            "early_stopping": 0,
        }
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [
                *(sys.executable, "-m", "segdemo", "train", "--model", "unet", "--dataset", "voc"),
                *("--data", tree, "--out", run, "--start-from", "unet", "--epochs", str(max(1, steps // 50))),
                *("--batch", "6", "--size", "256", "--learning-rate", "3e-4"),
                *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        predictor = Predictor(model_at(str(run)))
        for image, truth in pairs[TAUGHT:]:
            counts += hits(predictor(image).label_map[::2, ::2] == wanted, truth[::2, ::2])
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"unet": round(float(100 * counts[0] / counts[1]), 1), "processor_minutes": round(spent / 60, 1)}


def which_next(samples, label_set, features):
    """Mean IoU of four classes and background by the number of photos painted on, in two orders: means over seeds.

    Half of the photos that show one of the classes are to be painted on, on 1 % of their pixels each; the score is over
    all pixels of the others. Unsure is a photo whose cells' mean entropy is high, as in the list of a collection.
    """
    wanted = [label_set.classes.index(name) for name in CLASSES]
    photos = []
    for sample in samples:
        image, truth = read_pair(sample, label_set)
        if np.isin(truth, wanted).mean() < 0.03:
            continue
        ids = np.isin(truth, wanted) * truth
        photos.append((image, features.of(image), np.where(truth == VOID, VOID, ids).astype(np.uint8)))
        if len(photos) == 2 * POOL:
            break
    pool, others = photos[::2], photos[1::2]
    painted = [strokes(truth, 0.01, np.random.default_rng(n)) for n, (_, _, truth) in enumerate(pool)]

    def taught_by(chosen):
        return teach.learn([teach.Strokes(pool[n][1], painted[n]) for n in chosen], features.steps)

    def unsure(taught, photo):
        likely = teach.probabilities(taught, photo[1], features.steps)
        return -float((likely * np.log(likely + 1e-9)).sum(-1).mean())

    def score(taught):
        total = np.zeros((len(label_set), len(label_set)), np.int64)
        for image, bytes_, truth in others:
            found = teach.label_map(taught, teach.probabilities(taught, bytes_, features.steps), image)
            total += label_maps.confusion(truth[::2, ::2], found[::2, ::2], len(label_set))
        return 100 * float(label_maps.iou(total)[[0, *wanted]].mean())

    curves = {"random": [], "least sure first": []}
    for seed in range(SEEDS):
        order = [int(n) for n in np.random.default_rng(seed).permutation(len(pool))]
        while (
            len(np.unique(np.concatenate([painted[n].ravel() for n in order[:BEGUN]]))) < 3
        ):  # two classes and VOID
            order = order[1:] + order[:1]
        for name, curve in curves.items():
            chosen, scores = order[:BEGUN], []
            while len(chosen) < min(LOOKED[-1], len(pool)):
                rest = [n for n in order if n not in chosen]
                if name != "random":
                    taught = taught_by(chosen)
                    rest.sort(key=lambda n: -unsure(taught, pool[n]))
                chosen = [*chosen, rest[0]]
                if len(chosen) in LOOKED:
                    scores.append(score(taught_by(chosen)))
            curve.append(scores)
    return {
        "painted on": LOOKED,
        "to choose from": len(pool),
        "judged on": len(others),
        **{name: [round(float(v), 1) for v in np.mean(curve, 0)] for name, curve in curves.items()},
        "deviation of the difference": [
            round(float(v), 1)
            for v in np.std(np.subtract(*[curves[name] for name in reversed(curves)]), 0, ddof=1)
        ],
    }


def planted(truth, kind, rng, classes):
    """A mask with an error, and where it is: bool (H, W). None if there is nothing to get wrong."""
    parts, number = ndimage.label((truth != 0) & (truth != VOID))
    sizes = np.bincount(parts.ravel(), minlength=number + 1)[1:]
    large = np.flatnonzero(sizes > truth.size / 100) + 1
    if not len(large):
        return None
    inside = parts == rng.choice(large)
    inside &= truth == np.bincount(truth[inside]).argmax()
    wrong = truth.copy()
    if kind == "swapped":
        wrong[inside] = rng.choice([c for c in range(1, classes) if c not in truth])
    elif kind == "missing":
        wrong[inside] = 0
    else:
        rows = np.flatnonzero(inside.any(1))
        reach = max(12, (rows[-1] - rows[0]) // 4)
        moved = np.roll(inside, (reach * rng.choice([-1, 1]), reach * rng.choice([-1, 1])), (0, 1))
        wrong[inside] = 0
        wrong[moved] = truth[inside][0]
    return wrong, (wrong != truth) & (truth != VOID)


def reviewed(samples, label_set, features):
    """Precision among the first regions on masks of which every third has a planted error, and on masks as they are."""
    photos, errors = [], {}
    rng = np.random.default_rng(0)
    for number, sample in enumerate(samples):
        image, truth = read_pair(sample, label_set)
        if number % 3 == 0:
            kind = ("swapped", "missing", "shifted")[number // 3 % 3]
            if (made := planted(truth, kind, rng, len(label_set))) is not None:
                truth, errors[sample.id] = made
        photos.append(review.Reviewed(sample.id, features.of(image), truth))
    regions = review.disagreements(photos, features.steps, FIRST)
    hits = []
    for region in regions:
        wrong = errors.get(region.key)
        share = 0.0
        if wrong is not None:
            share = teach.votes(np.where(wrong, 0, VOID).astype(np.uint8), *region.cells.shape, (0,))[
                region.cells
            ].mean()
        hits.append(float(share) > 0.5)
    return {
        "photos": len(photos),
        "planted": len(errors),
        "precision": sum(hits) / max(1, len(hits)),
        "hits": hits,
    }


def times(samples, label_set, features):
    """Medians in milliseconds, and bytes."""
    found = {"features": [], "learn": [], "spread": [], "outlines": []}
    for number, sample in enumerate(samples[:20]):
        image, truth = read_pair(sample, label_set)
        painted = strokes(truth, 0.01, np.random.default_rng(number))
        start = time.perf_counter()
        bytes_ = features.compute(image)
        marks = [start, time.perf_counter()]
        taught = teach.learn([teach.Strokes(bytes_, painted)], features.steps)
        marks.append(time.perf_counter())
        likely = teach.probabilities(taught, bytes_, features.steps, painted)
        marks.append(time.perf_counter())
        teach.label_map(taught, likely, image)
        marks.append(time.perf_counter())
        for name, spent in zip(found, np.diff(marks), strict=True):
            found[name].append(1000 * spent)
    medians = {name: round(statistics.median(spent), 1) for name, spent in found.items()}
    return {"milliseconds": medians, "bytes": bytes_.nbytes}


def pages_at_once(samples):
    """{megapixels: seconds until the first, the middle and the last page have their answers, and refusals}."""
    limits, found = Limits.from_env(), {}
    for megapixels in (0.2, 12):
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, SEGDEMO_HOME=folder):
            paths = {}
            for sample in samples[: PAGES + 1]:
                photo = Image.open(sample.image_path)
                scale = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
                paths[sample.id] = Path(folder) / f"{sample.id}.jpg"
                photo.resize([round(side * scale) for side in photo.size]).save(paths[sample.id], quality=90)
            ask = Teaching(PhotoCache(limits)).answering(paths.__getitem__)
            first, *others = paths
            ask({"key": first})  # opens the graph
            start = threading.Barrier(PAGES)

            def page(key, ask=ask, start=start):
                start.wait()
                begun = time.perf_counter()
                answer = ask({"key": key})
                return time.perf_counter() - begun, "error" in answer

            with ThreadPoolExecutor(PAGES) as pool:
                told = list(pool.map(page, others))
        seconds = sorted(spent for spent, _ in told)
        found[megapixels] = {
            "first": round(seconds[0], 3),
            "median": round(statistics.median(seconds), 3),
            "last": round(seconds[-1], 3),
            "refused": sum(refused for _, refused in told),
        }
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path, help="folder of VOCdevkit and Pets")
    parser.add_argument("--subset", default="val", choices=("val", "test"), help="of VOC; of Pets it is test")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument(
        "--parts", nargs="+", default=["same", "across", "masks", "next", "review", "time", "pages"]
    )
    parser.add_argument("--classes", nargs="+", default=CLASSES, help="of fine_tuned")
    parser.add_argument("--steps", type=int, default=1200, help="of fine_tuned")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    voc, pets = (open_dataset(kind, options.data) for kind in ("voc", "pets"))
    features = Features()
    chosen = voc.samples(options.subset)
    result = {}
    if "same" in options.parts:
        result["same, VOC"] = same(chosen[: options.photos], voc.label_set, features)
        held_out = pets.samples("test")[:: max(1, len(pets.samples("test")) // (options.photos // 2))]
        result["same, Pets"] = same(held_out, pets.label_set, features)
    if "across" in options.parts:
        for name in CLASSES:
            result[f"across, {name}"] = across(
                chosen, voc.label_set.classes.index(name), voc.label_set, features
            )
        result["across, pet"] = across(pets.samples("test")[::3], 0, pets.label_set, features)
    if "masks" in options.parts:
        for name in CLASSES:
            wanted = voc.label_set.classes.index(name)
            result[f"masks, {name}"] = with_masks(chosen, wanted, voc.label_set, features)
        result["masks, pet"] = with_masks(pets.samples("test")[::3], 0, pets.label_set, features)
    if "next" in options.parts:
        result["next"] = which_next(chosen, voc.label_set, features)
    if "review" in options.parts:
        result["review"] = reviewed(chosen[: 3 * options.photos], voc.label_set, features)
    if "time" in options.parts:
        result["time"] = times(chosen, voc.label_set, features)
    if "fine_tuned" in options.parts:
        for name in options.classes:
            result[f"fine-tuned, {name}"] = fine_tuned(
                chosen, voc.label_set.classes.index(name), voc.label_set, options.steps
            )
    if "pages" in options.parts:
        result["pages"] = pages_at_once(chosen)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for name, row in result.items():
            print(name, row)


if __name__ == "__main__":
    main()
