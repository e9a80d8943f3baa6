"""``segdemo evaluate``: a model measured on a dataset."""

from __future__ import annotations

import argparse

from segdemo.cli.common import (
    Commands,
    add_dataset,
    add_model,
    add_passes,
    asked_dataset,
    asked_model,
    print_json,
    progress,
)


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
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from segdemo.inference.evaluate import evaluate_model

    entry = asked_model(options)
    dataset = asked_dataset(options)
    report = evaluate_model(
        entry,
        dataset,
        options.subset,
        squashed=options.squashed,
        scales=options.scales,
        flip=options.flip,
        wrap=lambda s: progress(s, "photos"),
    )
    if options.json:
        print_json(report.to_json())
        return
    print(f"{report.model} on {report.dataset} {report.subset}, {report.images} photos")
    for key in ("mean_iou", "mean_accuracy", "pixel_accuracy"):
        print(f"{key.replace('_', ' '):16} {100 * getattr(report, key):6.2f} %")
    print(f"{'median time':16} {report.milliseconds:6.1f} ms")
    for name, value in report.class_iou.items():
        print(f"  {name:14} {'   -' if value is None else f'{100 * value:6.2f}'}")
