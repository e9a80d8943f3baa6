"""The log of a run, whose HTML ``tabs.train.view.log`` writes."""

from pathlib import Path
from typing import Any

import gradio as gr

from segdemo.ui.components.bundle import component_script
from segdemo.ui.markup import panel


def run_log(**kwargs: Any) -> gr.HTML:
    """The component; it stays scrolled to the newest lines."""
    return panel(js_on_load=component_script(Path(__file__).with_suffix(".js")), padding=False, **kwargs)
