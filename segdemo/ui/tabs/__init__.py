"""The tabs of the page, a file or folder each: what one is and what it is built with. ``ui.page`` has their rows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from segdemo.ui.services import Services


@dataclass
class Page:
    """The page being built, as tabs see it.

    Attributes:
        services: what the tabs share.
        demo: the ``gr.Blocks``.
        tabs: the ``gr.Tabs`` around all of them.
        parts: what the tabs before returned, by their id: components that others listen to.
    """

    services: Services
    demo: gr.Blocks
    tabs: gr.Tabs
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tab:
    """A row of ``ui.page.TABS``.

    Attributes:
        id: by which other tabs lead to it; unique.
        title: what a person reads.
        build: function from the ``Page`` and the ``gr.Tab`` it is in, which adds the components and their events; what
            it returns goes into ``Page.parts``.
        css: style sheet of its own.
    """

    id: str
    title: str
    build: Callable[[Page, gr.Tab], Any]
    css: str = ""
