"""What comes to an event or an endpoint in place of a number, a text or a file: refused in a sentence that names it.

Gradio answers a value of another type with an error that says nothing, and with a traceback in the log.
"""

import inspect
import json
import logging
import math
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.blocks import BlockFunction
from gradio.components import Component
from gradio.exceptions import InvalidPathError

from segdemo.ui.inputs import NOT_UPLOADED
from segdemo.ui.overriding import overriding

MOST_NUMBER = 2**53  # beyond it not every whole number is one of JavaScript's
_FILE = 'a file: upload it first, then send {"path": "...", "meta": {"_type": "gradio.FileData"}}'
_UNFIT = "This was sent what it cannot use: open the page again, or see Use via API for what is to be sent."
_log = logging.getLogger(__name__)


def json_text(**kwargs: Any) -> gr.Textbox:
    """An input that takes JSON, as a text or as it is; ``kwargs`` are those of ``gr.Textbox``."""
    return overriding(gr.Textbox(**kwargs), preprocess=_as_text)


def _as_text(_component: gr.Textbox, payload: Any) -> str | None:
    return payload if isinstance(payload, str | None) else json.dumps(payload)


def look_at(demo: gr.Blocks) -> None:
    """Have these Blocks refuse values that are none of what an event or an endpoint takes."""
    preprocess = demo.preprocess_data

    async def preprocess_checked(block_fn: BlockFunction, inputs: Any, *args: Any, **more: Any) -> Any:
        try:
            if block_fn.api_visibility != "private":
                inputs = _checked(block_fn, inputs)
            return await preprocess(block_fn, inputs, *args, **more)
        except gr.Error:  # which is a ValueError
            raise
        except InvalidPathError:
            raise gr.Error(NOT_UPLOADED, print_exception=False) from None
        # What fails otherwise does so for what was sent: pydantic's errors are ValueErrors, too.
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            _log.warning("%s was sent what it cannot use: %s", block_fn.name, type(error).__name__)
            raise gr.Error(_UNFIT, print_exception=False) from None

    demo.preprocess_data = preprocess_checked  # type: ignore[method-assign]


def _checked(block_fn: BlockFunction, inputs: Sequence[Any]) -> list[Any]:
    """The arguments of an endpoint, with the defaults of those left out. Raises gr.Error."""
    assert block_fn.fn is not None
    parameters = [*inspect.signature(block_fn.fn).parameters.values()][: len(block_fn.inputs)]
    given = [*inputs, *(None for _ in parameters[len(inputs) :])]
    missing = []
    for n, (parameter, component) in enumerate(zip(parameters, block_fn.inputs, strict=False)):
        if given[n] is None and parameter.default is not parameter.empty:
            given[n] = parameter.default
        elif n >= len(inputs) or (given[n] is None and not isinstance(component, gr.File | gr.Image)):
            missing.append(parameter.name)  # functions have sentences of their own on files
    if missing:
        what, order = " and ".join(missing), ", ".join(parameter.name for parameter in parameters)
        raise gr.Error(
            f"Send {what}, too: the parameters are, in this order, {order}.", print_exception=False
        )
    for parameter, component, value in zip(parameters, block_fn.inputs, given, strict=False):
        if value is not None and (wanted := _unlike(component, value)):
            raise gr.Error(f"The parameter {parameter.name} is {wanted}.", print_exception=False)
    return given


def _unlike(component: Any, value: Any) -> str:
    """What a component takes, of whose kind the value is not; or ""."""
    if isinstance(component, gr.Number):
        whole = component.precision == 0
        number = isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
        if not number or (whole and value != int(value)):
            return f"a {'whole ' if whole else ''}number, such as 3"
    elif isinstance(component, gr.Checkbox):
        return "" if isinstance(value, bool) else "true or false"
    elif isinstance(component, gr.Textbox):
        return _no_text(component, value)
    elif isinstance(component, gr.File) and component.file_count == "multiple":
        if not isinstance(value, list) or not all(_is_file(one, marked=True) for one in value):
            return f"a list of files, each {_FILE}"
    elif isinstance(component, gr.File | gr.Image):
        return "" if _is_file(value, marked=isinstance(component, gr.File)) else _FILE
    return ""


def _finite(value: float) -> bool:
    return abs(value) <= MOST_NUMBER and math.isfinite(value)


def _no_text(component: Component, value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return "a text, in which there is half a character: send a whole one"
        return ""
    if type(component).preprocess is not gr.Textbox.preprocess:  # see ``json_text``
        return ""
    numeric = isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    return "" if numeric else "a text"


def _is_file(value: Any, marked: bool) -> bool:
    if not isinstance(value, dict):
        return False
    path, url, meta = value.get("path"), value.get("url"), value.get("meta")
    whole = isinstance(path, str | None) and isinstance(url, str | None) and bool(path or url)
    return whole and (meta == {"_type": "gradio.FileData"} or (meta is None and not marked))
