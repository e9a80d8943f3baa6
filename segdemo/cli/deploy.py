"""``segdemo deploy``: a Hugging Face Space of this program."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from segdemo.cli.common import Commands, print_json, say


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("deploy", help="make a Hugging Face Space of this repository, or renew it")
    command.add_argument("space", metavar="USER/NAME", help="whose it is and what it is called")
    command.add_argument("--dry-run", action="store_true", help="say what it would get; needs no token")
    command.add_argument("--private", action="store_true", help="for its owner alone")
    command.add_argument(
        "--hardware", default="", help="cpu-basic, which is free and what a new one gets, or cpu-upgrade"
    )
    command.add_argument(
        "--storage", action="store_true", help="keep its state in a private bucket called USER/NAME-state"
    )
    command.add_argument("--train", action="store_true", help="with what training needs")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_deploy)


def _deploy(options: argparse.Namespace) -> None:
    from segdemo.hosting.bundle import bundle
    from segdemo.hosting.hub import Space, deploy

    space = Space(options.space, options.private, options.hardware, options.storage, options.train)
    files = bundle(options.train)
    sizes = files.sizes()
    total = sum(sizes.values())
    report = {
        "space": space.name,
        "private": space.private,
        "hardware": space.machine,
        "bucket": space.bucket if space.storage else None,
        "variables": space.variables(),
        "secrets": list(space.secrets()),
        "files": [{"path": path, "bytes": size} for path, size in sizes.items()],
        "bytes": total,
    }
    if options.dry_run:
        print_json(report) if options.json else _print(report)
        return
    print(f"{len(sizes)} files, {total / 1e6:.1f} MB", file=sys.stderr)
    done = deploy(space, files)
    if options.json:
        print_json({**report, "url": done.url, "new": done.new, "made_up": done.made_up})
        return
    say(f"{done.url} is {'made' if done.new else 'renewed'}; it opens when the Hub has built it.")
    for name, value in done.made_up.items():
        say(f"{name} is {value}: keep it, since nobody can read it from now on.")


def _print(report: dict[str, Any]) -> None:
    for file in report["files"]:
        say(f"{file['bytes']:>12,}  {file['path']}")
    say(f"{report['bytes']:>12,}  bytes in {len(report['files'])} files, for {report['space']}")
    for name, value in report["variables"].items():
        say(f"{name}={value}")
    for name in report["secrets"]:
        say(f"{name}, a secret")
