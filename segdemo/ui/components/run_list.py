"""The list of runs, whose HTML ``tabs.train.view.listing`` writes."""

from pathlib import Path
from typing import Any

import gradio as gr

from segdemo.ui.components.bundle import component_script
from segdemo.ui.markup import panel

CSS = Path(__file__).with_suffix(".css").read_text("utf-8")  # of the page, which shows badges elsewhere too


def run_list(**kwargs: Any) -> gr.HTML:
    """The component; its event ``pick`` carries the ``id`` of the run that was clicked."""
    return panel(js_on_load=component_script(Path(__file__).with_suffix(".js")), padding=False, **kwargs)
