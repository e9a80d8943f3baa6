"""The tools that agents get over MCP, used by the ``mcp`` client over HTTP."""

import asyncio
import json
import urllib.request

import numpy as np
import pytest
from PIL import Image
from serving import served_app
from skimage import data
from tiny import bright, write_click_model, write_model

from segdemo.annotations.store import AnnotationStore
from segdemo.core import label_maps
from segdemo.core.labels import PETS

mcp = pytest.importorskip("mcp")
TOOLS = {"list_models", "segment", "click", "collections", "next_photo", "propose_mask", "collection_export"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An installation with a collection of two photos without masks."""
    folder = tmp_path_factory.mktemp("agents")
    write_model(folder / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    write_click_model(folder / "home" / "models" / "click")
    collection = AnnotationStore(folder / "home" / "annotations").create("Pets", PETS)
    for number in range(2):
        collection.add_photo(np.ascontiguousarray(data.chelsea()[:, number:]), f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def url(folder):
    with served_app(folder) as (url, _):
        yield url


def uploaded(url, path):
    """What the server calls a file that is sent to it."""
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'.encode()
    body = head + path.read_bytes() + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}gradio_api/upload", body, kind)) as response:
        return f"{url}gradio_api/file={json.load(response)[0]}"


def session(url, use):
    """What an agent does with a session."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def run():
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as agent,
        ):
            await agent.initialize()
            return await use(agent)

    return asyncio.run(run())


def texts(result):
    return [part.text for part in result.content if part.type == "text"]


def test_an_agent_is_offered_these_tools_and_no_other(url):
    async def use(agent):
        return (await agent.list_tools()).tools

    tools = {tool.name: tool for tool in session(url, use)}
    assert tools.keys() == TOOLS
    for tool in tools.values():
        assert len(tool.description) > 30
        assert "request" not in tool.inputSchema["properties"]
    assert {"image", "model"} <= tools["segment"].inputSchema["properties"].keys()


def test_an_agent_labels_a_photo(url, folder, tmp_path):
    mask = tmp_path / "mask.png"
    label_map = np.ones((300, 451), np.uint8)
    mask.write_bytes(label_maps.encode_png(label_map, PETS))
    sent = uploaded(url, mask)

    async def use(agent):
        models = texts(await agent.call_tool("list_models", {}))
        first = texts(await agent.call_tool("next_photo", {"collection": "pets"}))
        about = next(json.loads(text) for text in first if text.startswith("{"))
        asked = {"collection": "pets", "photo": about["photo"], "mask": sent}
        proposed = texts(await agent.call_tool("propose_mask", asked))
        second = texts(await agent.call_tool("next_photo", {"collection": "pets"}))
        wrong = await agent.call_tool("propose_mask", {**asked, "photo": "nobody"})
        return models, about, proposed, second, wrong

    models, about, proposed, second, wrong = session(url, use)
    assert "colours" in models[0]
    assert json.loads(proposed[0])["proposed"] == 1
    assert not any(about["photo"] in text for text in second)
    assert wrong.isError
    assert "nobody" in texts(wrong)[0]
    collection = AnnotationStore(folder / "home" / "annotations").open("pets")
    photo = collection.photo(about["photo"])
    assert photo.revision == 0  # until a person takes it
    collection.restore(photo.id, 1)
    np.testing.assert_array_equal(collection.load(photo.id), label_map)


def test_an_agent_segments_a_photo(url, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()).save(path)

    async def use(agent):
        sent = uploaded(url, path)
        segmented = await agent.call_tool("segment", {"image": sent, "model": "colours"})
        clicked = await agent.call_tool("click", {"image": sent, "clicks": "[[80, 80, 1]]"})
        return segmented, clicked, await agent.call_tool("segment", {"image": sent, "model": "no"})

    segmented, clicked, wrong = session(url, use)
    assert any('"label_set": "pets"' in text or "'label_set': 'pets'" in text for text in texts(segmented))
    assert not clicked.isError
    assert wrong.isError
    assert "no trained model" in texts(wrong)[0]
