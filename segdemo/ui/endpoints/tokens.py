"""``/workspace_token``, where each visitor has a workspace: how programs find theirs again, see ``ui.tokens``."""

from typing import Any

import gradio as gr

from segdemo.ui.endpoints import add
from segdemo.ui.services import Services
from segdemo.ui.tokens import of_mine


def build(services: Services, call: gr.Button) -> None:
    """Add the endpoint to the Blocks being built; where all is shared there is none."""
    if services.keeper is None:
        return

    def workspace_token(request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]
        """A token by which programs find a workspace again: sent with every call, as Authorization: Bearer TOKEN.

        Returns:
            {token, expires}: for the workspace of the caller's cookie or token, or else for a new one. Whoever has it
            has that workspace until it expires, seconds since 1970.
        """
        return of_mine(request)

    add(call, workspace_token, [], gr.JSON(visible=False))
