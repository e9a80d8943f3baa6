"""The cards of the architectures, whose HTML ``tabs.zoo.cards`` writes."""

from pathlib import Path
from typing import Any

import gradio as gr

from segdemo.ui.components.bundle import component_script
from segdemo.ui.markup import panel


def zoo_cards(**kwargs: Any) -> gr.HTML:
    """The component; its event ``start`` carries the ``architecture`` whose button was clicked."""
    return panel(js_on_load=component_script(Path(__file__).with_suffix(".js")), padding=False, **kwargs)
