"""The menu of models: a button that tells which is chosen, and a card of each: what it knows, its score and speed."""

from pathlib import Path
from typing import Any

import gradio as gr

from segdemo import zoo
from segdemo.core.display import display_colors
from segdemo.core.labels import LabelSet
from segdemo.ui.components.bundle import component_script
from segdemo.ui.inputs import unchecked
from segdemo.ui.services import About, Services

MOST_COLORS = 24  # of a card
_OWN = "Made here"


def model_menu(services: Services, value: str, **kwargs: Any) -> gr.HTML:
    """The component. Its value is the name of the chosen model; ``gr.update(models=cards(...))`` renews the cards.

    Args:
        services: whose models they are.
        value: the one chosen at first.
        **kwargs: of ``gr.HTML``.
    """
    here = Path(__file__)
    menu = gr.HTML(
        value,
        models=cards(services),
        html_template='<div class="sm"></div>',
        css_template=here.with_suffix(".css").read_text("utf-8"),
        js_on_load=component_script(here.with_suffix(".js")),
        apply_default_css=False,
        padding=False,
        **kwargs,
    )
    return unchecked(menu)


def cards(services: Services, passes: str = "once") -> list[dict[str, Any]]:
    """What the menu shows of each model: those made here first, then those that ship, by what they know.

    Args:
        services: whose models they are.
        passes: key of ``predict.PASSES``, how the photo is looked at.
    """
    pace = services.pace()
    found = [
        _card(name, entry, services.about(entry, passes, pace)) for name, entry in services.models().items()
    ]
    groups = list(dict.fromkeys(card["group"] for card in found))
    groups.sort(key=lambda group: group != _OWN)
    return [card for group in groups for card in found if card["group"] == group]


def _card(name: str, entry: zoo.ModelEntry, about: About) -> dict[str, Any]:
    return {
        "name": name,
        "title": entry.title,
        "knows": about.knows,
        "group": entry.label_set.title if entry.folder == zoo.WEIGHTS else _OWN,
        "colors": _colors(entry.label_set),
        "score": None if about.mean_iou is None else f"{100 * about.mean_iou:.1f}",
        "measured": f"mean IoU on {about.measured}" if about.measured else "not measured",
        "speed": about.milliseconds and f"{'' if about.timed_here else '~'}{about.milliseconds:.0f} ms",
        "size": f"{about.megabytes:.1f} MB",
        "gain": None if about.gain is None else f"{about.gain:+.1f} by the further looks",
    }


def _colors(label_set: LabelSet) -> list[str]:
    colors = enumerate(display_colors(label_set))
    shown = ["#{:02x}{:02x}{:02x}".format(*color) for i, color in colors if i != label_set.background]
    return shown[:MOST_COLORS]
