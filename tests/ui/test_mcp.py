"""The tools that agents get over MCP, used by the ``mcp`` client over HTTP."""

import urllib.request

import numpy as np
import pytest
from agents import said, sent, sentence, session
from PIL import Image
from serving import served_app
from skimage import data
from tiny import bright, write_click_model, write_model

from segdemo.annotations.store import AnnotationStore
from segdemo.core import label_maps
from segdemo.core.labels import PETS

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

    async def use(agent):
        models = said(await agent.call_tool("list_models", {}))
        picture, about = said(await agent.call_tool("next_photo", {"collection": "pets"}))
        asked = {"collection": "pets", "photo": about["photo"], "mask": sent(mask)}
        proposed = said(await agent.call_tool("propose_mask", asked))
        _, second = said(await agent.call_tool("next_photo", {"collection": "pets"}))
        wrong = await agent.call_tool("propose_mask", {**asked, "photo": "nobody"})
        return models, picture, about, proposed, second, wrong

    models, picture, about, proposed, second, wrong = session(url, use)
    assert "colours" in [model["name"] for model in models]
    assert picture["url"].startswith(url)
    assert about["classes"] == list(PETS.classes)
    assert proposed["proposed"] == 1
    assert second["photo"] != about["photo"]
    assert "nobody" in sentence(wrong)
    collection = AnnotationStore(folder / "home" / "annotations").open("pets")
    photo = collection.photo(about["photo"])
    assert photo.revision == 0  # until a person takes it
    collection.restore(photo.id, 1)
    np.testing.assert_array_equal(collection.load(photo.id), label_map)


def test_an_agent_segments_a_photo(url, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()).save(path)

    async def use(agent):
        asked = {"image": sent(path), "model": "colours"}
        segmented = said(await agent.call_tool("segment", asked))
        clicked = said(await agent.call_tool("click", {"image": sent(path), "clicks": "[[80, 80, 1]]"}))
        return segmented, clicked, await agent.call_tool("segment", {**asked, "model": "no"})

    (label_map, facts), (mask, _), wrong = session(url, use)
    assert (facts["label_set"], facts["width"], facts["height"]) == ("pets", 451, 300)
    for picture in (label_map, mask):
        with urllib.request.urlopen(picture["url"]) as response:
            assert response.read(8) == b"\x89PNG\r\n\x1a\n"
    assert "no trained model" in sentence(wrong)
