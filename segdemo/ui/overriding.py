"""Components with methods of our own, in a way that they keep them.

Gradio makes a component anew, from its class, in the session of a visitor to whom an event has sent an update of it,
and even an empty one (``gr.skip()``). A method that was set on the instance is gone then, and with it what it checks.
A subclass keeps it, but Gradio writes a stub file next to the code of every one that a ``class`` statement makes.
"""

from abc import ABCMeta
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from gradio.components import Component

C = TypeVar("C", bound=Component)


def overriding(component: C, **methods: Callable[..., Any]) -> C:
    """The same component, of a subclass of its class that has these methods.

    Args:
        component: it is changed.
        **methods: by name; each takes the component first. Functions of a module, so that there are few classes.
    """
    component.__class__ = _subclass(type(component), tuple(sorted(methods.items())))
    return component


@cache
def _subclass(base: type[C], methods: tuple[tuple[str, Callable[..., Any]], ...]) -> type[C]:
    # Past Gradio's own metaclass, which writes the stub files. Gradio goes by the name.
    made: type[C] = ABCMeta.__new__(type(base), base.__name__, (base,), dict(methods))
    return made
