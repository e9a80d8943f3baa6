"""Tokens of workspaces: by one, a program that keeps no cookies finds again what it, or its person, has made."""

import time
from typing import Any

import gradio as gr

from segdemo.core.workspace import required
from segdemo.errors import UserError
from segdemo.ui.events import endpoint
from segdemo.ui.inputs import button
from segdemo.ui.markup import html, panel
from segdemo.ui.visitors import TOKEN_SECONDS, Visitor, of
from segdemo.workspaces.keeper import SIGNED_IN

_WHAT_FOR = (
    "A script or an agent that sends this token, as docs/api.md says, works in your workspace: what it makes and "
    "proposes is here. Whoever has the token has what you have here, for 30 days; so give it to nobody else."
)


def of_mine(request: gr.Request) -> dict[str, Any]:
    """{token, expires} for the workspace of the visitor who is being answered; expires is in seconds since 1970.

    A visitor of one page alone gets one for a workspace that is new.

    Raises:
        UserError: all is shared here; or a token of somebody who is signed in was to be renewed by itself.
    """
    visitors, bare = of(request.request), request.request
    if visitors is None or bare is None:
        raise UserError("Everybody shares one workspace here: leave the token out.")
    id_ = required().id
    if visitors.of_token(bare) and id_.startswith(SIGNED_IN):
        raise UserError("A token of somebody who is signed in is not renewed: get another one on the page.")
    expires = int(time.time()) + TOKEN_SECONDS
    return {"token": visitors.new_token(Visitor(id_), expires), "expires": expires}


def offer() -> None:
    """Add a place to the Blocks being built where a visitor gets a token."""
    with gr.Accordion("For scripts and agents", open=False, elem_id="token-box"):
        panel(html("<p>{}</p>", _WHAT_FOR), padding=False)
        shown = gr.Textbox(label="Token", interactive=False, buttons=["copy"], elem_id="token")

        def show(request: gr.Request) -> str:
            return str(of_mine(request)["token"])

        button("Show a token", "token-show").click(
            endpoint(show), None, shown, queue=False, show_progress="hidden", api_visibility="private"
        )
