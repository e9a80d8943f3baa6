"""The command line: ``segdemo COMMAND``, or ``python -m segdemo COMMAND``.

Exit codes: 0 done; 2 bad usage or bad input, with one line on stderr; 1 an internal error; 141 nobody reads stdout any
more, as with programs that SIGPIPE ends. Results for machines go to stdout with ``--json``; progress goes to stderr.
Each command is a module with ``add_to``, which imports what it needs when it runs.
"""

import argparse
import contextlib
import os
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
from segdemo.cli.common import complain, printing
from segdemo.errors import UserError
from segdemo.runs import failures

COMMANDS = (
    *(models, predict, evaluate, calibrate, train, tune, export),
    *(data, annotations, clicks, teach, video, app, deploy),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if hasattr(sys.stdout, "reconfigure"):  # titles and names hold letters that not every terminal has
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = parser().parse_args(arguments)
        code: int = options.run(options) or 0
        _flush()
        return code
    except KeyboardInterrupt:
        print("segdemo: stopped", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 141
    except Exception as error:
        known = failures.known_sentence(error)  # what a user can mend: our own errors, files and folders
        if known is None:
            traceback.print_exc()
        complain(known or failures.sentence(error))
        return 1 if known is None else 2
    finally:
        _give_up_stdout()


def _flush() -> None:
    """Have all that was printed written. Raises BrokenPipeError: nobody reads it; UserError: it cannot be written."""
    if sys.stdout is not None:
        with printing():
            sys.stdout.flush()


def _give_up_stdout() -> None:
    """Let what cannot be written go, which Python would try again, and end with 120, when the program ends."""
    try:
        _flush()
    except (OSError, UserError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    whole = argparse.ArgumentParser(prog="segdemo", description=__doc__.split("\n\n")[0])
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return whole
