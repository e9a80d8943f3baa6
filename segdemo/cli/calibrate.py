"""``segdemo calibrate``: how far a confidence can be trusted."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

from segdemo.cli.common import (
    add_dataset,
    add_model,
    print_json,
    progress,
)


def add_to(commands: argparse._SubParsersAction) -> None:
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


def _calibrate(options):
    from segdemo.data.sources import open_dataset
    from segdemo.inference import calibrate
    from segdemo.inference.evaluate import evaluate_passes
    from segdemo.zoo import model_at

    entry = model_at(options.model)
    dataset = open_dataset(options.dataset, options.data)
    wrap = partial(progress, unit="photos")
    result = calibrate.calibrate(entry, dataset, wrap=wrap, sizes=options.sizes)
    if options.passes:
        data = {**entry.data, **{name: result[name] for name in ("adjustment", "refinement")}}
        chosen = {name: result[name] for name in ("long_side", "temperature")}
        calibrated = replace(entry, **chosen, data=data)
        result["test_time"] = evaluate_passes(calibrated, dataset, "val", wrap=wrap)
    if options.write:
        calibrate.write(entry, result)
    if options.json:
        print_json(result)
        return
    if size := result["size"]:
        tried = ", ".join(f"{side}: {100 * score:.1f}" for side, score in size["mean_iou"].items())
        print(f"photos are scaled to {size['long_side']} pixels; mean IoU on {size['chosen_on']} {tried}")
    if adjustment := result["adjustment"]:
        before, after = (100 * adjustment[key] for key in ("mean_iou_before", "mean_iou"))
        gain = f"{before:.1f} mean IoU on {adjustment['chosen_on']}, with it {after:.1f}"
        print(f"adjusted for rare classes with strength {adjustment['strength']}: {gain}")
    print(f"temperature {result['temperature']}")
    if measured := result["calibration"]:
        before, after = (100 * measured[key] for key in ("ece_before", "ece"))
        print(f"expected calibration error on {measured['subset']} {before:.2f} %, with it {after:.2f} %")
    refinement = result["refinement"]
    if refinement and "mean_iou" in refinement:  # one that it had may not have been measured
        before, after = (100 * refinement[key] for key in ("mean_iou_before", "mean_iou"))
        gain = f"{before:.1f} mean IoU on {refinement['chosen_on']}, with it {after:.1f}"
        print(f"outlines refined with radius {refinement['radius']}, epsilon {refinement['epsilon']}: {gain}")
    if domain := result["domain"]:
        print(
            f"of {domain['photos']} photos of what it knows, {100 * domain['false_alarms']:.1f} % are called "
            "unknown"
            + (
                f", of {domain['windows']} that show none of it {100 * domain['noticed']:.1f} %"
                if domain["windows"]
                else ""
            )
        )
    for name, measured in result.get("test_time", {}).items():
        gain = 100 * (measured["mean_iou"] - measured["mean_iou_once"])
        print(f"{name} {gain:+.2f} mean IoU, {measured['times_slower']} times as slow")
