"""What several commands share: arguments, progress on stderr, JSON on stdout."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from segdemo.errors import UserError

if TYPE_CHECKING:
    from segdemo.zoo import ModelEntry

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
T = TypeVar("T")


def add_dataset(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument(
        "--dataset",
        required=required,
        type=_kind,
        metavar="KIND",
        help="how the folder is laid out: voc, pets, annotations; another one is answered with all there are",
    )
    command.add_argument(
        "--data",
        required=required,
        type=place_of_data,
        metavar="DIR",
        help="its folder, also one that TensorFlow Datasets has prepared it in, or tfds:oxford_iiit_pet",
    )


def given_path(text: str) -> Path:
    """The type of arguments that are paths: an empty one is no way to say the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is a path, and nothing was given: the current folder is a dot.")
    return Path(text)


def place_of_data(text: str) -> Path | str:
    """A folder, or ``tfds:NAME`` as it is: a type of arguments."""
    return text if text.startswith("tfds:") else given_path(text)


def asked_dataset(options):
    """The dataset that a command with ``add_dataset`` names. Raises DatasetError."""
    from segdemo.data import sources, tfds

    if tfds.is_tfds(options.data) or sources.prepared_at(options.dataset, options.data):
        from segdemo.training.tfds import open_data  # written as a folder on the way

        return open_data(options.dataset, options.data)
    return sources.open_dataset(options.dataset, options.data)


def _kind(name: str) -> str:
    from segdemo.data.sources import KINDS  # which loads NumPy, so only where a dataset is named

    if name not in KINDS:
        raise argparse.ArgumentTypeError(
            f"there is no dataset kind {name!r}: choose one of {', '.join(KINDS)}."
        )
    return name


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", required=True, help="a trained model, or a finished run: its folder or name"
    )


def add_int8(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--int8", action="store_true", help="serve an int8 graph if it is smaller, faster and about as good"
    )


def add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--on",
        choices=("here", "ray"),
        default="here",
        help="ray: on the cluster that RAY_ADDRESS names, where paths are the same on every node; docs/cluster.md",
    )


def positive(text: str) -> int:
    """The type of arguments that are whole numbers from 1."""
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"it is a number such as 2, not {text!r}.")
    return int(text)


def add_passes(command: argparse.ArgumentParser) -> None:
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


def asked_model(options: argparse.Namespace) -> ModelEntry:
    """The model that a command with ``_add_passes`` names, as it is asked for. Raises as ``zoo.model_at``."""
    from segdemo.zoo import model_at

    entry = model_at(options.model)
    return entry.unrefined() if options.no_refine else entry


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """What stdout refuses within is a UserError, one sentence for people; BrokenPipeError stays as it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"What was to be printed cannot be written ({error.strerror}): send it elsewhere, or free some space."
        ) from error


def say(*lines: str) -> None:
    """Print lines. What names of files and titles hold that would move a terminal's cursor is written out."""
    from segdemo.core import names

    with printing():
        for line in lines:
            print(names.printable(line))


def complain(sentence: str) -> None:
    """Tell on stderr, in one line, what went wrong; as ``say``."""
    from segdemo.core import names

    print(f"segdemo: {names.printable(sentence)}", file=sys.stderr)


def print_json(data: Any) -> None:
    with printing():
        print(json.dumps(data, indent=1))


def progress(items: Iterable[T], unit: str) -> Iterable[T]:
    from tqdm import tqdm

    return tqdm(items, unit=f" {unit}", file=sys.stderr, disable=not sys.stderr.isatty())


def bytes_progress() -> Callable[[str, int, int | None], None]:
    from tqdm import tqdm

    bar = tqdm(unit="B", unit_scale=True, file=sys.stderr)

    def update(what: str, done: int, total: int | None) -> None:
        if bar.desc != what:
            bar.reset()
            bar.set_description_str(what)
        bar.total = total
        bar.update(done - bar.n)

    return update
