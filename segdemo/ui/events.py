"""How the tabs listen: one way to bind a handler to events, and one way to tell a visitor what went wrong.

A handler gets an ``Event`` and returns the updates of some components. ``UserError`` is for visitors, who are shown its
sentence; anything else goes to the server's log, and visitors are told that much.
"""

import functools
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from segdemo.errors import UserError
from segdemo.ui.inputs import notice

UNEXPECTED = "Something unexpected went wrong; it is in the server's log."
Updates = dict[Any, Any]  # component -> its new value, or ``gr.update`` of it


@dataclass
class Event:
    """What happened on the page.

    Attributes:
        form: values of the inputs by component. A handler that calls others may change it before.
        data: of the event itself.
        request: of the browser.
        progress: called with ((done, total), unit) it shows how far the handler is.
    """

    form: dict[Any, Any]
    data: gr.EventData
    request: gr.Request
    progress: gr.Progress

    def __getitem__(self, component: Block) -> Any:
        return self.form[component]


@dataclass(frozen=True)
class Events:
    """The events of a tab, with what they have in common.

    Attributes:
        notice: where sentences for the visitor are shown; one of ``outputs``.
        inputs: what handlers may read.
        outputs: what they may change.
        group: events of the same one share ``limit``, the number that run at the same time.
    """

    notice: gr.HTML
    inputs: Collection[Block]
    outputs: Collection[Block]
    group: str
    limit: int = 4

    def on(
        self,
        triggers: Any,
        handler: Callable[[Event], Updates],
        *,
        quiet: bool = False,
        progress_on: Block | None = None,
        always: Updates | None = None,
        **options: Any,
    ) -> Dependency:
        """Call a handler whenever something happens.

        Args:
            triggers: an event of a component such as ``button.click``, or a list of some.
            handler: what to do.
            quiet: leave what the visitor was told before, which is taken away otherwise. So does whatever the
                visitor did not ask for, such as opening a tab: its late answer would take away the answer to a click.
            progress_on: the component that shows that the handler is at work; None shows nothing.
            always: updates that come with the answer, also where the handler failed.
            **options: of Gradio's event listeners, instead of those here.
        """

        def answer(
            form: dict[Any, Any],
            data: gr.EventData,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008, Gradio looks for it there
        ) -> Updates:
            try:
                updates = handler(Event(form, data, request, progress))
            except Exception as error:
                updates = {self.notice: notice(sentence(error), alert=True)}
            return {
                self.notice: gr.skip() if quiet else gr.update(visible=False),
                **(always or {}),
                **updates,
            }

        listener = {
            "fn": answer,
            "inputs": set(self.inputs),
            "outputs": self.outputs,
            "api_visibility": "private",
            "concurrency_limit": self.limit,
            "concurrency_id": self.group,
            "show_progress": "minimal" if progress_on else "hidden",
            # One of them even if nothing is shown: the browser copies all that a component holds for each that it
            # tells of an event's progress, which without this are all outputs, of every event since the page is open.
            "show_progress_on": progress_on or self.notice,
            **options,
        }
        bind: Callable[..., Dependency] = (
            functools.partial(gr.on, triggers) if isinstance(triggers, list) else triggers
        )
        return bind(**listener)


def sentence(error: Exception) -> str:
    """What a visitor is told of an error. One that is not meant for visitors is logged."""
    if isinstance(error, UserError):
        return str(error)
    logging.getLogger(__name__).error("An event failed", exc_info=error)
    return UNEXPECTED


def endpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of an endpoint of the HTTP API, whose errors are sent as sentences."""

    @functools.wraps(function)
    def answer(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            raise gr.Error(sentence(error), print_exception=False) from error

    return answer


def answering(answer: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """A server function of a component, whose errors are answered as ``{"error": sentence}``."""

    def answered(data: Any) -> dict[str, Any]:
        try:
            return answer(data)
        except Exception as error:
            return {"error": sentence(error)}

    return answered


def components(layout: object) -> list[Block]:
    """The components that an object holds as attributes."""
    return [part for part in vars(layout).values() if isinstance(part, Block)]
