"""The HTTP API for scripts: batches, collections and runs, as the page has them. docs/api.md says how they are called.

What a script may do is what somebody with its cookies may do on the page, or anybody without them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from segdemo.core.conventions import one_line
from segdemo.ui.events import endpoint

LIMIT = 4  # calls of one endpoint's group that are answered at a time


def add(
    call: gr.Button,
    function: Callable[..., Any],
    inputs: Sequence[Component],
    outputs: Component | Sequence[Component],
    group: str = "api",
    limit: int = LIMIT,
    tool: bool = False,
) -> None:
    """Make a function an endpoint that is called like it.

    Args:
        call: a button of the page that nobody sees; an endpoint hangs on an event.
        function: its parameters' names and docstring are those of the endpoint's description.
        inputs, outputs: components, whose values it takes and gives.
        group: endpoints of one share ``limit``, see ``LIMIT``.
        limit: calls that are answered at a time.
        tool: whether agents are offered it, too, see ``page.offers_tools``.
    """
    answer = endpoint(function)
    if not tool:
        answer._mcp_type = "endpoint"  # type: ignore[attr-defined]  # Gradio offers what is a "tool" or says nothing
    call.click(
        answer,
        list(inputs),
        outputs,
        api_name=function.__name__,
        concurrency_id=group,
        concurrency_limit=limit,
    )


def text(default: str | None = None) -> gr.Textbox:
    """An input that takes text; with a default it may be left out."""
    return gr.Textbox(default, visible=False)


def listed(value: str | None) -> list[str]:
    """The words of a text with commas between them."""
    return [word.strip() for word in one_line(value or "").split(",") if word.strip()]
