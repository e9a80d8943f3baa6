"""What brings a part of the page into sight, or under the keys, after an event."""

from pathlib import Path
from typing import Any

from segdemo.ui.components.bundle import event_function


def scroll_to(selector: str, block: str = "nearest", **options: Any) -> dict[str, Any]:
    """Arguments of an event listener that only scrolls.

    Args:
        selector: CSS selector of what is to be seen; nothing happens while there is none.
        block: where in the window: ``"start"``, ``"center"``, ``"end"`` or ``"nearest"``.
        **options: ``behavior="smooth"``; ``delay`` in milliseconds; ``widest``, the width in pixels of the widest
            window that is scrolled.
    """
    script = event_function(Path(__file__).with_suffix(".js"), selector=selector, block=block, **options)
    return {"fn": None, "js": script, "api_visibility": "private"}


def focus_on(selector: str) -> dict[str, Any]:
    """Arguments of an event listener that only moves the keyboard's focus, to what a CSS selector finds."""
    script = event_function(Path(__file__).with_name("focus.js"), selector=selector)
    return {"fn": None, "js": script, "api_visibility": "private"}
