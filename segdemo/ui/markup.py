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


def numbered_steps(steps: Iterable[tuple[str, str, str]], done: int = 0) -> Markup:
    """A list of what there is to do, as cards.

    Args:
        steps: of each the path of its picture in an SVG of 24 by 24, what to do, and how.
        done: how many of them are.
    """
    items = (
        html(
            '<li class="{}"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="{}"/></svg>'
            "<b>{}. {}</b><span>{}</span></li>",
            "done" if number <= done else "now" if number == done + 1 else "",
            picture,
            number,
            what,
            how,
        )
        for number, (picture, what, how) in enumerate(steps, 1)
    )
    return html('<ol class="segdemo-steps">{}</ol>', join(items))


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
