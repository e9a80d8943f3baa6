"""``segdemo models``: list the trained models and the architectures."""

from __future__ import annotations

import argparse

from segdemo.cli.common import Commands, print_json, say

_FACTS = ("parameters", "input", "multiply_adds", "flops")  # of one photo of the size `input`


def add_to(commands: Commands) -> None:
    """Add the command to the subparsers of the program."""
    command = commands.add_parser("models", help="list the trained models and the architectures")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> None:
    from segdemo import zoo

    served = [entry.to_json() for entry in zoo.served_models().values()]
    if options.json:
        architectures = [
            {
                "name": spec.name,
                "title": spec.title,
                "label_set": spec.label_set,
                "encoder": spec.encoder,
                "paper": spec.paper,
                "trained": any(model["architecture"] == spec.name for model in served),
                **{key: zoo.architecture_facts()[spec.name][key] for key in _FACTS},
            }
            for spec in zoo.SPECS.values()
        ]
        print_json({"models": served, "architectures": architectures})
        return
    for model in served:
        score = model.get("metrics", {}).get("mean_iou")
        shown = f"{100 * score:5.1f} mean IoU" if score is not None else ""
        say(f"{model['name']:24} {model['title']:24} {model['label_set']:6} {shown}")
    untrained = [name for name in zoo.SPECS if name not in {m["architecture"] for m in served}]
    say(f"Not trained yet: {', '.join(untrained)}")
