"""Scripts and agents without cookies, where each visitor has a workspace: by its token each finds what is its."""

import ast
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
from agents import said, sent, sentence, session
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import ROOT, served_app
from skimage import data
from starlette.requests import Request
from tiny import bright, write_click_model, write_model
from visiting import new_browser

from segdemo.core import label_maps
from segdemo.core.labels import PETS
from segdemo.core.signing import Signer
from segdemo.core.workspace import entered
from segdemo.errors import UserError
from segdemo.ui.tokens import of_mine
from segdemo.ui.visitors import Visitor, Visitors
from segdemo.workspaces.keeper import Keeper

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of gradio_client's own making


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    write_model(folder / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    write_click_model(folder / "home" / "models" / "click")
    with served_app(folder, SEGDEMO_WORKSPACES="visitors") as (url, _):
        yield url


@pytest.fixture
def connect(url, tmp_path):
    """A function: the ``Client`` of a script that starts anew, with a token or without."""
    clients = []

    def connect(token=None):
        clients.append(
            Client(
                url, verbose=False, download_files=tmp_path / "got", headers=bearer(token) if token else {}
            )
        )
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()[:64, :96]).save(path)
    return path


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def titles(client):
    return [found["title"] for found in client.predict(api_name="/collections")]


def status(url, path, headers, data=None):
    """(status, what is answered) of a request."""
    asked = urllib.request.Request(url + path, data, {**headers, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_script_finds_again_what_it_made_and_another_does_not(url, connect, photo, tmp_path):
    made = connect().predict(api_name="/workspace_token")
    assert 29 * 86_400 < made["expires"] - time.time() <= 30 * 86_400
    script = connect(made["token"])
    script.predict("Ferns", "pets", api_name="/collection_create")
    added = script.predict("ferns", handle_file(photo), api_name="/photo_add")
    mask = tmp_path / "mask.png"
    mask.write_bytes(label_maps.encode_png(np.ones((64, 96), np.uint8), PETS))
    script.predict("ferns", added["photo"], handle_file(mask), 0, api_name="/mask_write")
    job = script.predict([handle_file(photo)], "colours", "csv", api_name="/batch")["job"]

    again = connect(made["token"])
    assert titles(again) == ["Ferns"]
    png, told = again.predict("ferns", added["photo"], api_name="/mask_read")
    assert told["revision"] == 1
    assert (label_maps.decode_png(png, PETS) == 1).all()
    assert again.predict(job, api_name="/batch_status")["job"] == job
    renewed = again.predict(api_name="/workspace_token")["token"]
    assert renewed != made["token"] or made["expires"] > time.time() + 30 * 86_400 - 2
    assert titles(connect(renewed)) == ["Ferns"]

    other = connect(connect().predict(api_name="/workspace_token")["token"])
    for stranger in (other, connect()):
        assert titles(stranger) == []
        for name, values in (("collection_photos", ["ferns"]), ("mask_read", ["ferns", added["photo"]])):
            with pytest.raises(AppError, match="no collection"):
                stranger.predict(*values, api_name=f"/{name}")
        with pytest.raises(AppError, match="no such batch"):
            stranger.predict(job, api_name="/batch_status")


def test_files_are_given_to_the_token_that_they_are_for(url, connect, photo):
    tokens = [connect().predict(api_name="/workspace_token")["token"] for _ in range(2)]
    script = Client(url, verbose=False, download_files=False, headers=bearer(tokens[0]))
    label_map, _ = script.predict(handle_file(photo), "colours", api_name="/segment")
    script.close()
    path = "gradio_api/file=" + urllib.parse.quote(label_map["path"])
    assert status(url, path, bearer(tokens[0]))[0] == 200
    for headers in (bearer(tokens[1]), {}):
        assert status(url, path, headers)[0] == 403


def test_what_is_no_token_is_refused(url, connect):
    token = connect().predict(api_name="/workspace_token")["token"]
    text, _, signature = token.partition(".")
    browser = new_browser(url)
    cookie = browser.cookie.partition("=")[2]
    for wrong in (text, f"{text}.", f"{text}.{'0' * 64}", f"{text}0.{signature}", f"segdemo-{cookie}"):
        for headers in (bearer(wrong), {**bearer(wrong), "Cookie": browser.cookie}):
            for path in ("config", "gradio_api/call/collections", "gradio_api/mcp/"):
                code, told = status(url, path, headers, b'{"data": []}' if "call" in path else None)
                assert code == 403, (path, wrong)
                assert b"ask /workspace_token for one" in told
    assert status(url, "config", bearer("hf_which_is_for_the_hub"))[0] == 200


def test_an_agent_works_in_the_workspace_of_its_token(url, photo, tmp_path):
    person = new_browser(url)  # who works on the page

    def ask(name, *values):
        told = person.call(name, *values)
        assert "event: complete" in told, told
        return json.loads(told.partition("data: ")[2].splitlines()[0])[0]

    token = ask("workspace_token")["token"]
    ask("collection_create", "Pets", "pets")
    upload = {"path": person.upload(photo.read_bytes()), "meta": {"_type": "gradio.FileData"}}
    added = ask("photo_add", "pets", upload, "cat.png")
    mask = tmp_path / "mask.png"
    mask.write_bytes(label_maps.encode_png(np.ones((64, 96), np.uint8), PETS))

    async def use(agent):
        listed = said(await agent.call_tool("collections", {}))
        picture, about = said(await agent.call_tool("next_photo", {"collection": "pets"}))
        asked = {"collection": "pets", "photo": about["photo"], "mask": sent(mask)}
        proposed = said(await agent.call_tool("propose_mask", asked))
        label_map, _ = said(await agent.call_tool("segment", {"image": sent(photo), "model": "colours"}))
        return listed, picture, about, proposed, label_map

    listed, picture, about, proposed, label_map = session(url, use, bearer(token))
    assert [found["title"] for found in listed] == ["Pets"]
    assert about["photo"] == added["photo"]
    assert proposed["proposed"] == 1
    for shown in (picture, label_map):
        path = shown["url"].removeprefix(url)
        assert status(url, path, bearer(token))[0] == 200
        assert status(url, path, {})[0] == 403
    assert "or a proposal of one" in person.call("next_photo", "pets")  # which is the agent's

    async def look(agent):
        return (
            said(await agent.call_tool("collections", {})),
            sentence(await agent.call_tool("next_photo", {"collection": "pets"})),
        )

    other = json.loads(new_browser(url).call("workspace_token").partition("data: ")[2].splitlines()[0])[0]
    for headers in (bearer(other["token"]), None):
        listed, told = session(url, look, headers)
        assert listed == []
        assert "no collection" in told


def test_the_examples_of_the_document_run(url):
    document = (ROOT / "docs" / "api.md").read_text("utf-8")
    blocks = re.findall(r"^```python visitors\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    code = "\n".join(["from gradio_client import Client", *blocks]).replace(
        "http://127.0.0.1:7860", url.rstrip("/")
    )
    code += "\nimport asyncio\nprint(asyncio.run(agent(token)).content[0].text)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [found] = ast.literal_eval(done.stdout.splitlines()[-1].removeprefix("root="))
    assert (found["title"], found["classes"]) == ("Ferns", ["background", "frond", "stem"])


def test_a_token_of_somebody_who_is_signed_in_is_not_renewed_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    monkeypatch.setenv("SEGDEMO_WORKSPACES", "visitors")
    visitors = Visitors(Keeper(), Signer(b"a secret"))
    app = SimpleNamespace(cookie_id="id", tokens={}, blocks=SimpleNamespace(visitors=visitors))

    def asking(token=None):
        headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
        return SimpleNamespace(request=Request({"type": "http", "app": app, "headers": headers}))

    for id_ in ("hub-77", "user-ann"):
        with entered(visitors.keeper.workspace(id_)):
            token = of_mine(asking())["token"]
            assert visitors.visitor(asking(token).request) == Visitor(id_)
            with pytest.raises(UserError, match="get another one on the page"):
                of_mine(asking(token))


def test_where_all_is_shared_there_is_no_token():
    app = SimpleNamespace(blocks=SimpleNamespace())
    with pytest.raises(UserError, match="leave the token out"):
        of_mine(SimpleNamespace(request=Request({"type": "http", "app": app, "headers": []})))
