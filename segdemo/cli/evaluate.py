"""``segdemo evaluate``: a model measured on a dataset."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from segdemo.cli.common import (
    Commands,
    add_cluster,
    add_dataset,
    add_model,
    add_passes,
    asked_dataset,
    asked_model,
    positive,
    print_json,
    progress,
)
from segdemo.errors import UserError

if TYPE_CHECKING:
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
    report = evaluate_model(
        asked_model(options),
        asked_dataset(options),
        options.subset,
        squashed=options.squashed,
        scales=options.scales,
        flip=options.flip,
        wrap=lambda s: progress(s, "photos"),
    )
    _show(report, options.json)
    return 0


def _evaluate_on_ray(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segdemo.cluster.photos import evaluate_on_cluster

    if options.squashed:
        raise UserError("Leave out --squashed: it is measured without --on ray only.")
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
        print(f"segdemo: {why}", file=sys.stderr)
    _show(report, options.json)
    return 2 if wrong else 0


def _show(report: Scores, as_json: bool) -> None:
    if as_json:
        print_json(report.to_json())
        return
    print(f"{report.model} on {report.dataset} {report.subset}, {report.images} photos")
    for key in ("mean_iou", "mean_accuracy", "pixel_accuracy"):
        print(f"{key.replace('_', ' '):16} {100 * getattr(report, key):6.2f} %")
    print(f"{'median time':16} {report.milliseconds:6.1f} ms")
    for name, value in report.class_iou.items():
        print(f"  {name:14} {'   -' if value is None else f'{100 * value:6.2f}'}")
