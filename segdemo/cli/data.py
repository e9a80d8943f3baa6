"""``segdemo data``: datasets downloaded, checked and converted."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segdemo.cli.common import Commands, bytes_progress, given_path, place_of_data, print_json, progress, say
from segdemo.errors import UserError

if TYPE_CHECKING:
    from segdemo.data.datasets import Dataset


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("data", help="download or check a dataset")
    actions = command.add_subparsers(required=True, metavar="ACTION")
    action = actions.add_parser("download")
    action.add_argument("kind", choices=("voc", "pets"))
    action.add_argument("--out", type=given_path, help="where to (default: SEGDEMO_DATA)")
    action.set_defaults(run=_download)
    action = actions.add_parser("check")
    action.add_argument(
        "folder",
        type=place_of_data,
        metavar="DIR",
        help="a folder with datasets in it, or tfds:oxford_iiit_pet",
    )
    action.add_argument("--json", action="store_true")
    action.set_defaults(run=_check)
    action = actions.add_parser("binary", help="copy a dataset of masks of 0 and 255, with 255 as a class")
    action.add_argument("folder", type=given_path, metavar="DIR")
    action.add_argument("--out", type=given_path, required=True, help="the folder to make")
    action.add_argument("--name", default="object", help="what 255 shows (default: object)")
    action.set_defaults(run=_binary)
    action = actions.add_parser("trimaps", help="turn VOC's cats and dogs into a dataset like Pets")
    action.add_argument("folder", type=given_path, metavar="VOC_DIR")
    action.add_argument("--out", type=given_path, required=True)
    action.add_argument(
        "--pets", type=given_path, metavar="PETS_DIR", help="add the training photos of this Pets dataset"
    )
    action.set_defaults(run=_trimaps)


def _download(options: argparse.Namespace) -> None:
    from segdemo.core.settings import data_dir
    from segdemo.data.download import download

    target = options.out or data_dir()
    if target is None:
        raise UserError("Say where to download to: --out DIR, or set SEGDEMO_DATA.")
    download(options.kind, target, progress=bytes_progress())


def _check(options: argparse.Namespace) -> int:
    from segdemo.data.check import check

    datasets = list(_found(options.folder))
    if not datasets:
        raise UserError(f"There is no VOC, Pets or annotation dataset in {options.folder}.")
    reports = [check(dataset) for dataset in datasets]
    if options.json:
        print_json([report.to_json() for report in reports])
    else:
        say(*(line for report in reports for line in report.lines()))
    return 0 if all(report.ok for report in reports) else 2


def _found(place: Path | str) -> Iterator[Dataset]:
    """The datasets in a folder, those of TensorFlow Datasets too, or that of ``tfds:NAME``. Raises DatasetError."""
    from segdemo.data import sources, tfds

    if not isinstance(place, Path):
        from segdemo.training.tfds import open_data  # written as a folder on the way

        for kind in set(tfds.NAMES.values()):
            yield open_data(kind, place)
        return
    yield from sources.find_datasets(place)
    for kind in set(tfds.NAMES.values()):
        if (prepared := tfds.prepared_in(kind, place)) is not None:
            from segdemo.training.tfds import write_prepared

            write_prepared(prepared)
            yield tfds.open_prepared(prepared)


def _binary(options: argparse.Namespace) -> None:
    from segdemo.data import outputs
    from segdemo.data.binary import write_copy
    from segdemo.data.sources import find_datasets

    found = find_datasets(options.folder)
    if len(found) != 1:
        listed = "no" if not found else "more than one"
        raise UserError(
            f"There is {listed} VOC, Pets or annotation dataset in {options.folder}: give its folder."
        )
    outputs.refuse_dataset(options.out, found[0].root)
    count = write_copy(found[0], options.out, options.name, wrap=partial(progress, unit="photos"))
    say(f"{count} masks in {options.out}, to use with --dataset annotations")


def _trimaps(options: argparse.Namespace) -> None:
    from segdemo.data import outputs
    from segdemo.data.sources import open_dataset
    from segdemo.data.trimaps import add_pets, possible_names, write_pets_folder

    dataset = open_dataset("voc", options.folder)
    own = open_dataset("pets", options.pets) if options.pets else None
    pets = own.samples("train") if own else ()
    outputs.refuse_dataset(options.out, dataset.root, *([own.root] if own else []))
    samples = dataset.samples(dataset.learning_subset)
    outputs.refuse_same_names(
        [
            *((s.image_path, options.out / name) for s in samples for name in possible_names(s)),
            *((s.image_path, options.out / f"{s.id}.png") for s in pets),
        ]
    )
    count = write_pets_folder(samples, options.out, progress=lambda items: progress(items, "photos"))
    say(f"{count + add_pets(pets, options.out)} photos in {options.out}")
