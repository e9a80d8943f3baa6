"""``segdemo app``: open the page, as ``python app.py`` does where the repository is at hand."""

from __future__ import annotations

import argparse
import sys

from segdemo.cli.common import Commands


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("app", help="serve the page until Ctrl+C; it prints its address")
    command.set_defaults(run=_app)


def _app(options: argparse.Namespace) -> None:
    from segdemo.core.frugal import be_frugal
    from segdemo.core.settings import check_port

    be_frugal()
    check_port()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # the address is to be seen at once, also in a file
    from segdemo.ui.page import build, launch_options

    build().launch(**launch_options())
