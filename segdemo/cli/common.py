"""What several commands share: arguments, progress on stderr, JSON on stdout."""

import argparse
import json
import sys
from pathlib import Path


def add_dataset(command, required=True):
    command.add_argument(
        "--dataset",
        required=required,
        type=_kind,
        metavar="KIND",
        help="how the folder is laid out: voc, pets, annotations; another one is answered with all there are",
    )
    command.add_argument("--data", required=required, type=Path, metavar="DIR")


def _kind(name):
    from segdemo.data.sources import KINDS  # which loads NumPy, so only where a dataset is named

    if name not in KINDS:
        raise argparse.ArgumentTypeError(
            f"there is no dataset kind {name!r}: choose one of {', '.join(KINDS)}."
        )
    return name


def add_model(command):
    command.add_argument(
        "--model", required=True, help="a trained model, or a finished run: its folder or name"
    )


def add_int8(command):
    command.add_argument(
        "--int8", action="store_true", help="serve an int8 graph if it is smaller, faster and about as good"
    )


def add_passes(command):
    command.add_argument(
        "--flip", action="store_true", help="average with the mirrored photo: twice the time"
    )
    command.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="S",
        help="average over these multiples of the model's size (default: 1)",
    )
    command.add_argument(
        "--no-refine", action="store_true", help="do not draw outlines where the photo has them"
    )


def asked_model(options):
    """The model that a command with ``_add_passes`` names, as it is asked for. Raises as ``zoo.model_at``."""
    from segdemo.zoo import model_at

    entry = model_at(options.model)
    return entry.unrefined() if options.no_refine else entry


def print_json(data):
    print(json.dumps(data, indent=1))


def progress(items, unit):
    from tqdm import tqdm

    return tqdm(items, unit=f" {unit}", file=sys.stderr, disable=not sys.stderr.isatty())


def bytes_progress():
    from tqdm import tqdm

    bar = tqdm(unit="B", unit_scale=True, file=sys.stderr)

    def update(done, total):
        bar.total = total
        bar.update(done - bar.n)

    return update
