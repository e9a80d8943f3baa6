"""``segdemo train``: train or fine-tune a model."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segdemo.cli.common import Commands, add_dataset, add_int8, complain, given_path, print_json, say
from segdemo.errors import UserError


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("train", help="train or fine-tune a model")
    add_settings(command)
    command.add_argument("--list-recipes", action="store_true")
    command.add_argument("--out", type=given_path, help="the run directory")
    command.add_argument("--resume", action="store_true", help="go on with the run in --out")
    command.add_argument("--no-export", action="store_true", help="do not export at the end")
    add_int8(command)
    command.add_argument(
        "--estimate",
        action="store_true",
        help="time a few steps and say how long it would take; needs no --out",
    )
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_train)


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the settings of a training to a command."""
    command.add_argument("--model", help="an architecture; see `models`")
    command.add_argument("--recipe", help="start from the settings of a recipe")
    add_dataset(command, required=False)
    command.add_argument("--epochs", type=int)
    command.add_argument("--batch", type=int)
    command.add_argument("--size", type=int, help="side of the training crop, pixels")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--start-from", help="a trained model or a .weights.h5 file to go on from")
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting, as JSON"
    )


def _train(options: argparse.Namespace) -> None:
    from segdemo.runs import recipes

    if options.list_recipes:
        shown = {name: recipe.summary for name, recipe in recipes.RECIPES.items()}
        if options.json:
            print_json(shown)
        else:
            say(*(f"{name:33} {summary}" for name, summary in shown.items()))
        return None
    if options.out is None and not options.estimate:
        raise UserError("Say where the run goes: --out RUN_DIR.")
    settings = _train_settings(options)
    if not options.resume and not options.estimate:
        _check_run_folder(options.out, settings)
    # TensorFlow asks for oneDNN's kernels by itself on some processors only. Without AVX-512, a step of DeepLabv3 on
    # MobileNetV2 takes a sixth of the time with them.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from segdemo.runs.config import TrainConfig

    config = TrainConfig.from_json(settings)
    if options.estimate:
        from segdemo.runs.estimates import Estimate, Measured
        from segdemo.training.estimate import estimate

        with contextlib.redirect_stdout(sys.stderr):
            measured = estimate(config)
        if options.json:
            print_json(measured)
        else:
            say(Estimate("done", Measured.from_json(measured)).sentence(config.epochs))
        return None
    from segdemo.runs.claim import claimed

    with claimed(options.out):  # before TensorFlow is loaded, and until the model is measured
        from segdemo.training import trainer

        with contextlib.redirect_stdout(sys.stderr):  # Keras draws its progress bar on stdout
            status = trainer.train(
                config, options.out, options.resume, verbose=sys.stderr.isatty() or not options.json
            )
        if status["state"] == "done" and not options.no_export:
            from segdemo.training.export.exporter import export_run

            status["model"] = export_run(options.out, int8=options.int8)
    if options.json:
        print_json(status)
    return None


def _check_run_folder(out: Path, settings: dict[str, Any]) -> None:
    """Raise OutputError if the run would be written over its data or the model it starts from."""
    from segdemo import zoo
    from segdemo.data import outputs

    outputs.refuse_dataset(out, settings["data"])
    named = [settings.get(key) for key in ("start_from", "teacher", "encoder_weights")]
    served = zoo.served_models()
    folders = [served[name].folder for name in named if name in served]
    outputs.refuse_run_over(out, [*folders, *(Path(name) for name in named if name and Path(name).is_file())])


def _train_settings(options: argparse.Namespace) -> dict[str, Any]:
    from segdemo.core.files import read_json
    from segdemo.runs.config import of_before

    if options.resume:
        if options.out is None:
            raise UserError("Say which run to go on with: --out RUN_DIR.")
        if options.recipe:
            raise UserError("Leave out --recipe: a run goes on with the settings that it was begun with.")
        path = options.out / "config.json"
        if not path.is_file():
            raise UserError(f"There is no run in {options.out} to go on with: leave out --resume.")
        before = read_json(path)
        if not isinstance(before, dict):
            raise UserError(
                f"{path} is damaged: it holds no settings of a run. Restore it, or begin a new run."
            )
        if (options.out / "checkpoints" / "state.json").is_file():
            before = of_before(before)
        return asked_settings(options, before)
    return asked_settings(options)


def asked_settings(options: argparse.Namespace, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings that a command with ``add_settings`` names, on top of those from ``before``. Raises UserError."""
    from segdemo.runs import recipes
    from segdemo.runs.config import RETIRED

    if before is None:
        before = recipes.settings(options.recipe) if options.recipe else {}
    settings = dict(before)
    for name in ("model", "dataset", "data", "epochs", "batch", "size", "learning_rate", "start_from"):
        value = getattr(options, name)
        if value is not None:
            settings[name] = str(value.resolve()) if isinstance(value, Path) else value
    for pair in options.set:
        name, separator, value = pair.partition("=")
        if not separator:
            raise UserError(f"--set takes NAME=VALUE, not {pair!r}.")
        if name in RETIRED:
            complain(f"{name} is no setting any more, since {RETIRED[name]}: it is left out.")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    for name in ("model", "dataset", "data"):
        if not settings.get(name):
            raise UserError(f"Say which {name}: --{name}.")
    return settings
