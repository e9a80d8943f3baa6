"""``segdemo predict``: label maps of photos."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segdemo.cli.common import Commands, add_model, add_passes, asked_model, print_json, progress
from segdemo.runs import failures

if TYPE_CHECKING:
    from segdemo.core.arrays import UInt8


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("predict", help="write the label map of each photo")
    add_model(command)
    command.add_argument("--out", required=True, type=Path, help="folder for <stem>.png")
    command.add_argument("--overlay", action="store_true", help="also write <stem>_overlay.png")
    add_passes(command)
    command.add_argument("--json", action="store_true")
    command.add_argument("photos", nargs="+", type=Path, metavar="IMAGE_OR_DIR")
    command.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    from segdemo.core import label_maps
    from segdemo.core.files import write_atomic
    from segdemo.core.photos import IntakeError, Limits, read_photo
    from segdemo.data import outputs
    from segdemo.inference.predictors import open_predictor

    photos = outputs.photos_in(options.photos)
    targets = outputs.predictions(photos, options.out, options.overlay)
    entry = asked_model(options)
    predictor = open_predictor(entry, options.scales, options.flip)
    limits = Limits.from_env()
    results, failed = [], 0
    for target in progress(targets, "photos"):
        path = target.photo
        try:
            image = read_photo(path, limits)
        except IntakeError as error:  # the others are still wanted
            sentence = failures.sentence(error)
            named = sentence if path.name in sentence else f"{path.name}: {sentence}"
            print(f"segdemo: {named}", file=sys.stderr)
            failed += 1
            continue
        prediction = predictor(image)
        options.out.mkdir(parents=True, exist_ok=True)
        write_atomic(target.label_map, label_maps.encode_png(prediction.label_map, entry.label_set))
        if target.overlay:
            overlay = label_maps.overlay(image, prediction.label_map, entry.label_set)
            write_atomic(target.overlay, _png(overlay))  # which does not follow a link
        results.append(
            {
                "image": str(path),
                "label_map": str(target.label_map),
                "model": entry.name,
                "label_set": entry.label_set.name,
                "width": image.shape[1],
                "height": image.shape[0],
                "milliseconds": round(prediction.milliseconds, 1),
                "classes": label_maps.class_table(prediction.label_map, entry.label_set),
            }
        )
    if options.json:
        print_json(results)
    return 2 if failed else 0


def _png(pixels: UInt8) -> bytes:

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
