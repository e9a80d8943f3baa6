"""``segdemo calibrate``: how far a confidence can be trusted."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from segdemo.cli.common import Commands, add_dataset, add_model, asked_dataset, print_json, progress, say

if TYPE_CHECKING:
    from segdemo.zoo.scores import Adjustment, Refinement


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("calibrate", help="measure how far a model's confidence can be trusted")
    add_model(command)
    add_dataset(command)
    command.add_argument(
        "--sizes", type=int, nargs="+", default=[], metavar="PIXELS", help="choose among these long sides"
    )
    command.add_argument(
        "--passes", action="store_true", help="also measure what mirrored and scaled photos gain and cost"
    )
    command.add_argument("--write", action="store_true", help="keep the result in the model's manifest")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> None:
    from segdemo.inference import calibrate
    from segdemo.inference.evaluate import evaluate_passes
    from segdemo.zoo import model_at

    entry = model_at(options.model)
    dataset = asked_dataset(options)
    wrap = partial(progress, unit="photos")
    result = calibrate.calibrate(entry, dataset, wrap=wrap, sizes=options.sizes)
    if options.passes:
        chosen = {
            name: getattr(result, name) for name in ("long_side", "temperature", "adjustment", "refinement")
        }
        measured = evaluate_passes(replace(entry, **chosen), dataset, "val", wrap=wrap)
        result = result.with_more(test_time=measured)
    if options.write:
        calibrate.write(entry, result)
    if options.json:
        print_json(result.to_json())
        return
    if size := result.size:
        tried = ", ".join(f"{side}: {_percent(score)}" for side, score in size.mean_iou.items())
        say(f"photos are scaled to {size.long_side} pixels; mean IoU on {size.chosen_on} {tried}")
    if adjustment := result.adjustment:
        say(f"adjusted for rare classes with strength {adjustment.strength}: {_gain(adjustment)}")
    say(f"temperature {result.temperature}")
    if error := result.calibration:
        say(
            f"expected calibration error on {error.subset} {_percent(error.ece_before, 2)} %, "
            f"with it {_percent(error.ece, 2)} %"
        )
    refinement = result.refinement
    if refinement and refinement.mean_iou is not None:  # one that it had may not have been measured
        what = f"radius {refinement.radius}, epsilon {refinement.epsilon}"
        say(f"outlines refined with {what}: {_gain(refinement)}")
    if domain := result.domain:
        noticed = f", of {domain.windows} that show none of it {_percent(domain.noticed)} %"
        say(
            f"of {domain.photos} photos of what it knows, {_percent(domain.false_alarms)} % are called unknown"
            f"{noticed if domain.windows else ''}"
        )
    for name, passes in result.test_time.items():
        gain = 100 * (passes.mean_iou - passes.mean_iou_once)
        say(f"{name} {gain:+.2f} mean IoU, {passes.times_slower} times as slow")


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}"


def _gain(chosen: Adjustment | Refinement) -> str:
    before, after = _percent(chosen.mean_iou_before), _percent(chosen.mean_iou)
    return f"{before} mean IoU on {chosen.chosen_on}, with it {after}"
