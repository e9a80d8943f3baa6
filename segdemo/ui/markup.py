"""HTML that cannot carry what a visitor wrote: whatever goes into a template is escaped unless it is markup itself."""

from collections.abc import Iterable
from typing import Any

import gradio as gr
from markupsafe import Markup, escape

from segdemo.ui.overriding import overriding


def html(template: str, *values: Any, **named: Any) -> Markup:
    """A template of this program's own, filled in as by ``str.format``; values that are not ``Markup`` are escaped.

    >>> html('<p class="{}">{}</p>', "note", "<script>")
    Markup('<p class="note">&lt;script&gt;</p>')
    """
    return Markup(template).format(*values, **named)


def join(parts: Iterable[Any], between: str = "") -> Markup:
    """Parts one after the other; those that are not ``Markup`` are escaped."""
    return Markup(between).join(parts)


def definitions(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """The rows of a ``<dl>``."""
    return join(html("<div><dt>{}</dt><dd>{}</dd></div>", name, value) for name, value in pairs)


def panel(value: str = "", **kwargs: Any) -> gr.HTML:
    """A ``gr.HTML`` for what changes. Text that is not ``Markup`` is shown as text, so that a forgotten escape is seen.

    Args:
        value: what it shows at first.
        **kwargs: of ``gr.HTML``.
    """
    component = overriding(gr.HTML(**kwargs), postprocess=_escaped)
    component.value = str(escape(value))
    return component


def _escaped(component: gr.HTML, value: Any) -> str | None:
    return None if value is None else str(escape(value))
