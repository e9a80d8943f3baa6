"""``segdemo evaluate``: a model measured on a dataset."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segdemo.cli.common import (
    Commands,
    add_cluster,
    add_dataset,
    add_model,
    add_passes,
    asked_dataset,
    asked_model,
    complain,
    given_path,
    positive,
    print_json,
    progress,
    say,
)
from segdemo.errors import UserError

if TYPE_CHECKING:
    from segdemo.data.datasets import Dataset
    from segdemo.inference.evaluate import Look
    from segdemo.zoo.scores import Scores


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("evaluate", help="measure a model on a dataset")
    add_model(command)
    add_dataset(command)
    command.add_argument("--subset", default="test", help="val, test or all (default: test)")
    command.add_argument(
        "--squashed", action="store_true", help="also score masks and predictions squashed to 384x384"
    )
    command.add_argument(
        "--pictures",
        type=given_path,
        metavar="DIR",
        help="also write <stem>_triptych.png for each photo: input, truth and prediction side by side",
    )
    add_passes(command)
    add_cluster(command)
    command.add_argument("--workers", type=positive, help="actors of a cluster (default: one for each CPU)")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from segdemo.inference.evaluate import evaluate_model

    if options.on == "ray":
        return _evaluate_on_ray(options)
    if options.workers:
        raise UserError("Leave out --workers: it goes with --on ray.")
    model, dataset = asked_model(options), asked_dataset(options)
    report = evaluate_model(
        model,
        dataset,
        options.subset,
        squashed=options.squashed,
        scales=options.scales,
        flip=options.flip,
        wrap=lambda s: progress(s, "photos"),
        look=_drawn(dataset, options.subset, options.pictures) if options.pictures else None,
    )
    _show(report, options.json)
    return 0


def _evaluate_on_ray(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segdemo.cluster.photos import evaluate_on_cluster

    if options.squashed or options.pictures:
        which = "--squashed" if options.squashed else "--pictures"
        raise UserError(f"Leave out {which}: it works without --on ray only.")
    entry, dataset = asked_model(options), asked_dataset(options)
    bar = tqdm(unit=" photos", file=sys.stderr, disable=not sys.stderr.isatty())
    with bar, contextlib.redirect_stdout(sys.stderr):  # where Ray tells of lost actors and nodes
        report, wrong = evaluate_on_cluster(
            entry,
            dataset,
            options.subset,
            options.scales,
            options.flip,
            options.workers or 0,
            lambda done: bar.update(done - bar.n),
        )
    for why in wrong:
        complain(why)
    _show(report, options.json)
    return 2 if wrong else 0


def _show(report: Scores, as_json: bool) -> None:
    if as_json:
        print_json(report.to_json())
        return
    say(f"{report.model} on {report.dataset} {report.subset}, {report.images} photos")
    for key, over in (
        ("mean_iou", "over the classes that have truth"),
        ("mean_iou_with_predicted", "and those predicted without truth, which count 0"),
        ("mean_accuracy", "over the classes that have truth"),
        ("pixel_accuracy", ""),
    ):
        name = key.removesuffix("_with_predicted").replace("_", " ")
        say(f"{name:16} {100 * getattr(report, key):6.2f} %  {over}".rstrip())
    say(f"{'median time':16} {report.milliseconds:6.1f} ms")
    for name, value in report.class_iou.items():
        say(f"  {name:14} {'   -' if value is None else f'{100 * value:6.2f}'}")


def _drawn(dataset: Dataset, subset: str, out: Path) -> Look:
    """What draws a triptych of each photo into a folder. Raises OutputError, DatasetError, DiskError."""
    import numpy as np

    from segdemo.core.files import write_atomic
    from segdemo.core.photos import encode_png
    from segdemo.core.pictures import triptych
    from segdemo.data import outputs

    outputs.refuse_dataset(out, dataset.root)
    photos = [sample.image_path for sample in dataset.samples(subset)]
    places = {
        photo: files["triptych"]
        for photo, files in outputs.results(photos, out, {"triptych": "_triptych.png"}, ours=True)
    }

    def draw(sample, image, truth, predicted):
        picture = triptych(image, truth, predicted, dataset.label_set)
        write_atomic(places[sample.image_path], encode_png(np.asarray(picture)), durable=False)

    return draw
