"""The command line: ``segdemo COMMAND``, or ``python -m segdemo COMMAND``.

Exit codes: 0 done; 2 bad usage or bad input, with one line on stderr; 1 an internal error. Results for machines
go to stdout with ``--json``; progress goes to stderr. Each command is a module with ``add_to``, which imports what it
needs when it runs.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence

from segdemo.cli import (
    annotations,
    app,
    calibrate,
    clicks,
    data,
    deploy,
    evaluate,
    export,
    models,
    predict,
    teach,
    train,
    tune,
    video,
)
from segdemo.runs import failures

COMMANDS = (
    *(models, predict, evaluate, calibrate, train, tune, export),
    *(data, annotations, clicks, teach, video, app, deploy),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("segdemo: stopped", file=sys.stderr)
        return 1
    except Exception as error:
        known = failures.known_sentence(error)  # what a user can mend: our own errors, files and folders
        if known is None:
            traceback.print_exc()
        print(f"segdemo: {known or failures.sentence(error)}", file=sys.stderr)
        return 1 if known is None else 2


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    whole = argparse.ArgumentParser(prog="segdemo", description=__doc__.split("\n\n")[0])
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return whole
