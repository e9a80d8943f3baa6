"""One region of a mask to decide about: what was saved, what is suggested, and a key for each answer."""

from pathlib import Path
from typing import Any

import gradio as gr

from segdemo.ui.components.bundle import component_script


def review_card(start: str, **kwargs: Any) -> gr.HTML:
    """The component. Its value is a dict: ``number``, ``title``, ``saved`` and ``suggested`` (pictures, as of
    ``served``), ``was`` and ``is`` (what to write below them), or None for nothing to decide.

    Its event ``decide`` carries the ``number`` and the ``answer``: ``"keep"``, ``"take"`` or ``"open"``.

    Args:
        start: CSS selector of the button that asks for regions: who pressed it, and went nowhere else since, has the
            card under the keys when they are there.
        **kwargs: of ``gr.HTML``.
    """
    here = Path(__file__)
    return gr.HTML(
        None,
        html_template='<section class="rc" tabindex="0" aria-label="Region to decide about"></section>',
        css_template=here.with_suffix(".css").read_text("utf-8"),
        js_on_load=component_script(here.with_suffix(".js"), start=start),
        apply_default_css=False,
        **kwargs,
    )
