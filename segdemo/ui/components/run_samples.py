"""Pictures of the same photos after each epoch of a run, to scrub through."""

from pathlib import Path
from typing import Any

import gradio as gr

from segdemo.ui.components.bundle import component_script

_HTML = """<figure class="ts" hidden>
  <figcaption><b>Photo</b><b>Truth</b><b>Prediction</b></figcaption><img alt="">
  <div><button type="button" data-by="-1" aria-label="Epoch before">&lsaquo;</button>
  <input type="range" min="0" max="0" value="0" step="1" aria-label="Epoch">
  <button type="button" data-by="1" aria-label="Next epoch">&rsaquo;</button><output></output></div></figure>"""


def run_samples(**kwargs: Any) -> gr.HTML:
    """The component; its value is what ``tabs.train.view.samples`` returns."""
    here = Path(__file__)
    return gr.HTML(
        None,
        html_template=_HTML,
        css_template=here.with_suffix(".css").read_text("utf-8"),
        js_on_load=component_script(here.with_suffix(".js")),
        apply_default_css=False,
        padding=False,
        **kwargs,
    )
