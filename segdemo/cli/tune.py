"""``segdemo tune``: settings of a training found by trying, on a cluster."""

from __future__ import annotations

import argparse
import contextlib
import sys

from segdemo.cli.common import Commands, complain, given_path, positive, print_json, say
from segdemo.cli.train import add_settings, asked_settings


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("tune", help="try settings of a training on a Ray cluster")
    add_settings(command)
    command.add_argument("--trials", type=positive, default=8, help="how many are tried (default: 8)")
    command.add_argument(
        "--search",
        action="append",
        metavar="NAME=VALUES",
        help="what is tried: LOW..HIGH or VALUE,VALUE of a setting, or of encoder "
        "(default: learning_rate=1e-5..1e-2 and the losses)",
    )
    command.add_argument(
        "--out", type=given_path, help="folder of the runs (default: where the page shows them)"
    )
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_tune)


def _tune(options: argparse.Namespace) -> int:
    from segdemo.cluster.jobs import room
    from segdemo.cluster.tuning import DEFAULT_SEARCH, search_of, tune
    from segdemo.core import settings as places

    settings = asked_settings(options)
    search = search_of(options.search or DEFAULT_SEARCH)
    out = (options.out or places.home() / "runs").resolve()
    with contextlib.redirect_stdout(sys.stderr):  # Ray Tune says what it does on stdout
        runs, wrong = tune(settings, search, out, options.trials, room(), places.read("SEGDEMO_RAY_PYTHON"))
    for why in wrong:
        complain(why)
    rows = [(run, run.status()) for run in runs]
    if options.json:
        print_json(
            [
                {"run": str(run.folder), "tried": run.title, "state": status.state, "best": status.best}
                for run, status in rows
            ]
        )
        return 2 if wrong else 0
    for run, status in rows:
        best = "   -" if status.best is None else f"{100 * status.best:5.1f}"
        say(f"{best} %  {status.state:9} {run.title}  {run.folder}")
        if status.state == "failed":
            complain(f"{run.id}: {status.message}")
    return 2 if wrong else 0
