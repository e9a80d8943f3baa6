"""``segdemo teach``: classes painted on a few photos, found on others."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from segdemo.cli.common import Commands, complain, given_path, print_json, progress
from segdemo.runs import failures

if TYPE_CHECKING:
    from segdemo.inference.features import Features
    from segdemo.inference.teach import Strokes


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser(
        "teach", help="learn classes from strokes on photos, and find them on others"
    )
    command.add_argument(
        "--photos", type=given_path, metavar="DIR", help="folder of the photos that are painted on"
    )
    command.add_argument(
        "--strokes",
        type=given_path,
        metavar="DIR",
        help="folder of <stem>.png: class ids, 255 where not painted",
    )
    command.add_argument(
        "--classifier",
        type=given_path,
        metavar="FILE",
        help="what --save wrote, instead of photos and strokes",
    )
    command.add_argument("--save", type=given_path, metavar="FILE", help="keep what was learned")
    command.add_argument(
        "--apply", required=True, type=given_path, metavar="DIR", help="folder of photos to label"
    )
    command.add_argument("--out", required=True, type=given_path, metavar="DIR", help="folder for <stem>.png")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_teach)


def _teach(options: argparse.Namespace) -> int:
    from segdemo.core import label_maps
    from segdemo.core.arrays import digest_of
    from segdemo.core.files import write_atomic
    from segdemo.core.photos import IntakeError, Limits, read_photo
    from segdemo.data import outputs
    from segdemo.errors import UserError
    from segdemo.inference import teach
    from segdemo.inference.features import Features

    taught_by_strokes = options.photos is not None and options.strokes is not None
    if options.classifier is None and not taught_by_strokes:
        raise UserError("Give --photos and --strokes to learn from, or --classifier.")
    if options.classifier is not None and (options.photos or options.strokes or options.save):
        raise UserError("Give either --photos and --strokes, or a --classifier that is known already.")
    found = outputs.results(outputs.photos_in([options.apply]), options.out, {"label_map": ".png"})
    targets = [(photo, files["label_map"]) for photo, files in found]
    pairs = [] if options.classifier else _pairs(options.photos, options.strokes)
    written = [*(path for _, path in targets), *([options.save] if options.save else [])]
    read = [*(photo for photo, _ in targets), *(path for pair in pairs for path in pair)]
    outputs.refuse_overwriting(written, [*read, *([options.classifier] if options.classifier else [])])
    outputs.refuse_one_file(written)
    features = Features()
    painted: dict[str, Strokes] = {}
    if options.classifier is not None:
        taught = teach.Taught.read(options.classifier)
        if taught.features != features.entry.onnx_sha256:
            raise teach.TeachError(f"{options.classifier} knows other features: teach it again.")
    else:
        painted = _painted(pairs, features)
        taught = teach.learn([*painted.values()], features.steps, features.entry.onnx_sha256)
        if options.save:
            taught.save(options.save)
    label_set = teach.label_set(taught.classes)
    limits = Limits.from_env()
    results, failed = [], 0
    for photo, path in progress(targets, "photos"):
        try:
            image = read_photo(photo, limits)
        except IntakeError as error:  # the others are still wanted
            sentence = failures.sentence(error)
            named = sentence if photo.name in sentence else f"{photo.name}: {sentence}"
            complain(named)
            failed += 1
            continue
        start = time.perf_counter()
        key = digest_of(image)
        here, own = taught, painted.get(key)
        if own and len(painted) > 1:  # its own strokes count more than those on others
            here = teach.learn([*painted.values()], features.steps, features.entry.onnx_sha256, key)
        seen = features.of(image, key)
        likely = teach.probabilities(here, seen, features.steps, own.painted if own else None)
        label_map = teach.label_map(here, likely, image)
        milliseconds = (time.perf_counter() - start) * 1000
        write_atomic(path, label_maps.encode_png(label_map, label_set))
        results.append(
            {
                "image": str(photo),
                "label_map": str(path),
                "width": image.shape[1],
                "height": image.shape[0],
                "milliseconds": round(milliseconds, 1),
                "confidence": round(float(likely.max(-1).mean()), 4),
                "classes": label_maps.class_table(label_map, label_set),
            }
        )
    if options.json:
        print_json(results)
    return 2 if failed else 0


def _pairs(photos: Path, strokes: Path) -> list[tuple[Path, Path]]:
    """Each photo and its strokes, by their stems. Raises UserError where one has no other."""
    from segdemo.data import folders, outputs
    from segdemo.errors import UserError

    for folder in (photos, strokes):
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}: give one that is there.")
    painted = folders.masks(strokes)
    if not painted:
        raise UserError(f"There are no strokes in {strokes}: give a folder with a PNG for each photo.")
    stems = folders.photos(photos)
    if len(stems) < len(outputs.photos_in([photos])):
        raise UserError(f"Two photos in {photos} have one name but for their ending: rename one.")
    if lonely := sorted(stems.keys() - painted.keys()):
        raise UserError(
            f"{stems[lonely[0]]} has no strokes: put {lonely[0]}.png into {strokes}, or take the photo out."
        )
    if lonely := sorted(painted.keys() - stems.keys()):
        raise UserError(
            f"{painted[lonely[0]]} has no photo in {photos}: put it there, or take the strokes out."
        )
    return [(stems[stem], painted[stem]) for stem in sorted(stems)]


def _painted(pairs: list[tuple[Path, Path]], features: Features) -> dict[str, Strokes]:
    """The strokes on each photo, by the photo's key. Raises IntakeError, MaskError."""
    from segdemo.core.arrays import digest_of
    from segdemo.core.label_maps import decode_png
    from segdemo.core.photos import read_photo
    from segdemo.errors import UserError
    from segdemo.inference.teach import Strokes

    found: dict[str, Strokes] = {}
    for photo, mask in progress(pairs, "photos painted on"):
        image = read_photo(photo)
        painted = decode_png(mask, size=image.shape[:2])
        key = digest_of(image)
        if key in found:
            raise UserError(f"{photo} is there twice under different names: take one out, with its strokes.")
        found[key] = Strokes(features.of(image, key), painted, key)
    return found
