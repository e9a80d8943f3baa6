"""``segdemo clicks``: how many clicks a thing takes."""

from __future__ import annotations

import argparse

from segdemo.cli.common import Commands, given_path, print_json, progress, say


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("clicks", help="measure how many clicks a thing takes")
    command.add_argument("--images", required=True, type=given_path, metavar="DIR", help="photos")
    command.add_argument(
        "--masks",
        required=True,
        type=given_path,
        metavar="DIR",
        help="masks called alike: 255 thing, 0 not, 128 ignored",
    )
    command.add_argument(
        "--model", default="click", help="a click model, or the folder of a run (default: click)"
    )
    command.add_argument("--noise", action="store_true", help="clicks that are off as people's are")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_clicks)


def _clicks(options: argparse.Namespace) -> None:
    from segdemo.inference import click_protocol
    from segdemo.inference.clicks import Clicker
    from segdemo.zoo.clicks import click_model

    clicker = Clicker(click_model(options.model))
    things = click_protocol.cases(options.images, options.masks)
    report = click_protocol.measure(clicker, things, options.noise, wrap=lambda t: progress(t, "things"))
    if options.json:
        print_json(report.to_json())
        return
    say(f"{report.model}, {report.things} things" + (", noisy clicks" if report.noise else ""))
    for goal, clicks in report.noc.items():
        say(f"clicks to {goal} %   {clicks:6.2f}   not in 20: {report.failures[goal]}")
    for n, value in report.iou.items():
        say(f"IoU after {n}      {100 * value:6.2f} %")
    say(f"a click takes    {1000 * report.seconds:6.0f} ms")
