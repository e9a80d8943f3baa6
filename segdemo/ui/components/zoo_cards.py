"""The cards of the architectures, whose HTML ``zoo_tab.cards`` writes."""

from pathlib import Path

import gradio as gr

from segdemo.ui.components.bundle import component_script


def zoo_cards(**kwargs):
    """The component; its event ``start`` carries the ``architecture`` whose button was clicked."""
    return gr.HTML(js_on_load=component_script(Path(__file__).with_suffix(".js")), padding=False, **kwargs)
