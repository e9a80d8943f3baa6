"""What an agent does over MCP, with the ``mcp`` client over HTTP."""

import ast
import base64

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from running import run_apart


def session(url, use, headers=None):
    """What ``use``, a coroutine function of a session, gives."""

    async def run():
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/", headers) as (read, write, _),
            ClientSession(read, write) as agent,
        ):
            await agent.initialize()
            return await use(agent)

    return run_apart(run())


def sent(path):
    """A PNG as an agent hands it over."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def said(result):
    """What a tool answers: Gradio makes a text of it, as Python shows it."""
    assert not result.isError, result.content
    texts = [part.text for part in result.content if part.type == "text"]
    return ast.literal_eval(texts[0].removeprefix("root="))  # so it is where it does not wait in the queue


def sentence(result):
    """What a tool says that failed."""
    assert result.isError
    return result.content[0].text
