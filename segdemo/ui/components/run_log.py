"""The log of a run, whose HTML ``train_view.log`` writes."""

from pathlib import Path

import gradio as gr

from segdemo.ui.components.bundle import component_script


def run_log(**kwargs):
    """The component; it stays scrolled to the newest lines."""
    return gr.HTML(js_on_load=component_script(Path(__file__).with_suffix(".js")), padding=False, **kwargs)
