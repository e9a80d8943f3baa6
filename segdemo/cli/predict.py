"""``segdemo predict``: label maps of photos, and what else a batch of them is written as."""

from __future__ import annotations

import argparse
import contextlib
import re
import secrets
import sys
from typing import TYPE_CHECKING, Any

from segdemo.cli.common import (
    Commands,
    add_cluster,
    add_model,
    add_passes,
    asked_model,
    complain,
    given_path,
    positive,
    print_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from segdemo.inference.batch import Batch, Item, Outcome


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("predict", help="write the label map of each photo")
    add_model(command)
    command.add_argument("--out", required=True, type=given_path, help="folder for <stem>.png")
    command.add_argument("--overlay", action="store_true", help="also write <stem>_overlay.png")
    command.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write <stem>_uncertainty.png: black where the model is sure, white where it is not",
    )
    command.add_argument(
        "--formats",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="F,F",
        help="what to write, with commas between: label_map (<stem>.png), overlay, cutout (transparent around things), "
        "uncertainty, coco (coco.json), csv (classes.csv, the share of each class); default: label_map",
    )
    command.add_argument("--workers", type=positive, help="photos at a time (default: one for each core)")
    add_cluster(command)
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on where the same command ended; photos that are done are kept",
    )
    command.add_argument(
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="every N-th photo from the I-th on, to share a folder among N machines or processes",
    )
    add_passes(command)
    command.add_argument("--json", action="store_true")
    command.add_argument("photos", nargs="+", type=given_path, metavar="IMAGE_OR_DIR")
    command.set_defaults(run=_predict)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
    if not match or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"it is like 1/4, the first of four, not {text!r}.")
    return int(match[1]), int(match[2])


def _predict(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segdemo.core import settings
    from segdemo.inference.batch import Batch, Tally
    from segdemo.inference.predictors import open_predictor

    number, shards = options.shard
    part = f"-{number}-of-{shards}" if shards > 1 else ""
    also = [name for name in ("overlay", "uncertainty") if getattr(options, name)]
    formats = [*(options.formats or ["label_map"]), *also]
    items = _items(options, formats, part)
    workers = min(options.workers or settings.threads(), max(1, len(items)))
    threads = max(1, settings.threads() // workers)
    predictor = open_predictor(asked_model(options), options.scales, options.flip, threads)
    batch = Batch(predictor, items, options.out, formats, part)
    with tqdm(total=len(items), unit=" photos", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def progress(tally: Tally) -> None:
            bar.update(tally.done + len(tally.failed) - bar.n)

        if options.on == "ray":
            with contextlib.redirect_stdout(sys.stderr):  # where Ray tells of lost actors and nodes
                tally = batch.run_by(_on_ray(options, formats, part), options.resume, progress)
        else:
            tally = batch.run(workers, options.resume, progress=progress)
    for item in items:
        if why := tally.failed.get(item.key):
            named = why if item.name in why else f"{item.name}: {why}"
            complain(named)
    told = [_told(batch, item, row) for item, row in batch.rows()] if options.json else []
    if not (
        options.resume or options.formats or part
    ):  # all is done, and nobody asked for more than label maps
        batch.forget()
    if options.json:
        print_json(told)
    return 2 if tally.failed else 0


def _on_ray(
    options: argparse.Namespace, formats: list[str], part: str
) -> Callable[[Sequence[Item]], Iterable[Outcome]]:
    """Who segments photos on a cluster. Raises ClusterError."""
    from segdemo.cluster.photos import Model, outcomes
    from segdemo.cluster.reach import Place

    model = Model.of(asked_model(options), options.scales, options.flip)
    place = Place(options.out.resolve(), secrets.token_hex(8), "--out", f".handed{part}")

    def done(items: Sequence[Item]) -> Iterator[Outcome]:
        with place.left():
            yield from outcomes(model, formats, options.workers or 0, items, place=place)

    return done


def _items(options: argparse.Namespace, formats: list[str], part: str) -> list[Item]:
    """The photos of the shard and where their results go. Raises OutputError, FormatError."""
    from segdemo.data import outputs
    from segdemo.inference.batch import Item, notes_path, of_all
    from segdemo.inference.batch_formats import chosen

    photos = outputs.photos_in(options.photos)
    asked = chosen(formats)
    ours = notes_path(options.out, part).is_file()
    suffixes = {format.name: format.suffix for format in asked if format.encode}
    common = [of_all(options.out, format, part) for format in asked if format.finish]
    outputs.refuse_overwriting(common, photos)
    if not ours and (there := next((path for path in common if path.exists()), None)):
        raise outputs.OutputError(
            f"{there} is there already and is of no earlier run: choose another --out, or move it."
        )
    number, shards = options.shard
    own = photos[number - 1 :: shards]
    found = outputs.results(photos, options.out, suffixes, ours, own)
    return [
        Item(str(photo.absolute()), photo.name, photo, files, _stamp(photo), str(photo))
        for photo, files in found
    ]


def _stamp(photo: Path) -> tuple[int, int]:
    """(bytes, nanoseconds since 1970) of a file; zeros where there is none, which is said when it is its turn."""
    try:
        status = photo.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _told(batch: Batch, item: Item, row: dict[str, Any]) -> dict[str, Any]:
    """What ``--json`` says of a photo."""
    from segdemo.inference.batch_formats import class_rows

    entry = batch.predictor.entry
    return {
        "image": str(item.source),
        **{kind: str(path) for kind, path in item.files.items() if kind == "label_map"},
        "model": entry.name,
        "label_set": entry.label_set.name,
        "width": row["width"],
        "height": row["height"],
        "milliseconds": row["milliseconds"],
        "out_of_domain": row.get("out_of_domain"),  # notes of an earlier version have none
        "classes": class_rows(row, entry.label_set),
    }
