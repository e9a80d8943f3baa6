"""``segdemo export``: a run becomes a served model."""

from __future__ import annotations

import argparse

from segdemo.cli.common import Commands, add_int8, given_path, print_json, say


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("export", help="turn a run's best checkpoint into a served model")
    command.add_argument("run_dir", type=given_path, metavar="RUN_DIR")
    command.add_argument("--name", help="name of the model (default: the run's folder)")
    add_int8(command)
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from segdemo.training.export.exporter import export_run

    entry = export_run(options.run_dir, options.name, int8=options.int8)
    if options.json:
        print_json(entry)
    else:
        say(f"{options.run_dir / entry['onnx']}  {100 * entry['metrics']['mean_iou']:.1f} mean IoU")
