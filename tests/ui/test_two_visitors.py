"""Two visitors of the running page, each with a workspace, of whom one knows all that the other's things are called.

What belongs to one has the word ``quince`` in it, and names by which it can be asked for that have not. The other asks
every endpoint for it, the private ones included, and may read that word nowhere.
"""

import base64
import hashlib
import itertools
import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from serving import served_app
from starlette.requests import HTTPConnection
from tiny import bright, write_click_model, write_model
from visiting import SERVER_FUNCTIONS, Browser, events, new_browser, number_of, server_functions

from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import write_json
from segdemo.core.label_maps import encode_png
from segdemo.core.labels import LabelSet
from segdemo.core.photos import Limits
from segdemo.core.signing import Signer
from segdemo.core.workspace import WorkspaceError, entered
from segdemo.runs.record import Record, Status
from segdemo.ui.photos import PhotoCache
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.desk import Desk
from segdemo.ui.visitors import COOKIE, Visitors

SECRET = "only this installation knows it"
WORD = "quince"
COLLECTION, MODEL, RUN = "orchard", "pomes", "20260101-000000-abcdef"
QUINCES = LabelSet.from_json(
    {
        "name": "orchard",
        "title": "Quinces",
        "classes": [
            {"id": 0, "name": "background", "color": [0, 0, 0]},
            {"id": 1, "name": "quince", "color": [200, 200, 0]},
        ],
        "background": 0,
    }
)


def workspace_of(browser):
    """Id of the workspace that a browser has."""
    app = SimpleNamespace(cookie_id="", tokens={})
    scope = {"type": "http", "headers": [(b"cookie", browser.cookie.encode())], "app": app}
    signer = Signer(hashlib.sha256(SECRET.encode()).digest())
    return Visitors(None, signer).visitor(HTTPConnection(scope)).id


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "app"
    write_click_model(folder / "home" / "models" / "click")
    return folder


@pytest.fixture(scope="module")
def page(folder):
    with served_app(folder, SEGDEMO_WORKSPACES="visitors", SEGDEMO_SECRET=SECRET, SEGDEMO_TRAINING="on") as (
        url,
        _,
    ):
        yield url


@pytest.fixture(scope="module")
def ann(page, folder):
    """A visitor with a collection, a photo with a mask, a model and a run; and what they are called."""
    ann = new_browser(page)
    home = folder / "home" / "workspaces" / workspace_of(ann)
    collection = AnnotationStore(home / "annotations").create(COLLECTION, QUINCES)
    ann.photo = collection.add_photo(noise(3), "leaf.png")
    collection.save(ann.photo, np.ones((16, 24), np.uint8), 0)
    collection.rename("Quince trees")
    write_model(home / "models" / MODEL, MODEL, QUINCES, *bright(2, 1, 0), title="Quince model")
    run = folder / "home" / "runs" / RUN
    run.mkdir(parents=True)
    record = Record.of(title="Quince run", name=MODEL, created="2026-01-01", workspace=workspace_of(ann))
    write_json(run / "run.json", record.to_json())
    write_json(run / "status.json", Status.of(state="cancelled", message="quince").to_json())
    settings = {"model": "unet", "dataset": "annotations", "data": str(collection.folder), "epochs": 1}
    write_json(run / "config.json", settings)
    (run / "train.log").write_text("quince\n")
    (run / "events.jsonl").write_text("")
    ann.home, ann.image = home, collection.image_path(ann.photo).read_bytes()
    return ann


@pytest.fixture(scope="module")
def config(page):
    return json.loads(Browser(page).get("/config")[1])


def values_for(config, event, ann, file=None):
    """The form as somebody fills it in who wants what is Ann's."""
    wanted = {
        "collection": COLLECTION,
        "revisions": 1,
        "start-model": MODEL,
        "model": MODEL,
        "compare": MODEL,
        "train-start": MODEL,
        "train-source": f"collection:{COLLECTION}",
    }
    given = {"path": file, "meta": {"_type": "gradio.FileData"}} if file else None
    parts = {part["id"]: part for part in config["components"]}
    values = []
    for id_ in event["inputs"]:
        part, props = parts[id_], parts[id_]["props"]
        if props.get("elem_id") in wanted:
            values.append(wanted[props["elem_id"]])
        elif part["type"] == "browserstate":
            values.append({"collection": COLLECTION, "photo": ann.photo, "run": RUN})
        elif part["type"] == "file":
            values.append([given] if given and props.get("file_count") == "multiple" else given)
        elif part["type"] == "image":
            values.append(given)
        elif part["type"] == "textbox" and event["api_name"] in ("segment", "click"):
            values.append(MODEL)
        else:
            values.append(props.get("value") or "" if part["type"] == "textbox" else props.get("value"))
    return values


def data_of(ann):
    """Data of events that name what is Ann's, each as some component would."""
    key = f"{COLLECTION}/{ann.photo}"
    shown = {"key": key, "revision": 1}
    return [
        {
            "id": ann.photo,
            "key": key,
            "open": key,
            "shown": shown,
            "saving": False,
            "value": "Train",
            "index": 0,
        },
        {"id": RUN, "key": f"{key}/1", "open": key, "shown": None, "architecture": "unet", "index": 1},
    ]


def state_of(ann, folder):
    """Digests of all files that are Ann's."""
    places = (ann.home, folder / "home" / "runs" / RUN)
    files = (p for place in places for p in place.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.name != "touched"}


def paths_in(text):
    """Paths of files that an answer names."""
    found = set()
    for line in text.splitlines():
        if line.startswith("data:"):
            todo = [json.loads(line[5:])]
            while todo:
                value = todo.pop()
                if isinstance(value, dict):
                    if isinstance(value.get("path"), str):
                        found.add(value["path"])
                    todo += value.values()
                elif isinstance(value, list):
                    todo += value
    return found


def open_as_ann(ann, config, session):
    """Ann's page with her photo open in the canvas: what she was told."""
    enter = number_of(config, "collection", "input")
    told = ann.event(enter["id"], values_for(config, enter, ann), session=session)
    pick = number_of(config, "photo-list", "pick")
    return told + ann.event(pick["id"], values_for(config, pick, ann), {"id": ann.photo}, session)


def test_who_has_things_reaches_them(ann, config):
    """Without this the other tests would show nothing."""
    told = open_as_ann(ann, config, "session-of-ann-herself")
    assert "Quince trees" in told
    assert f"{COLLECTION}/{ann.photo}" in told
    assert "Quince model" in told
    look = number_of(config, "train-runs", "pick")
    assert "Quince run" in ann.event(look["id"], values_for(config, look, ann), {"id": RUN})
    assert "Quince model" in ann.call("models")
    upload = {"path": ann.upload(ann.image), "meta": {"_type": "gradio.FileData"}}
    assert "event: complete" in ann.call("segment", upload, MODEL)


@pytest.mark.slow
def test_no_event_gives_away_what_is_anothers_or_changes_it(ann, page, config, folder):
    bob = new_browser(page)
    assert workspace_of(bob) != workspace_of(ann)
    uploaded = ann.upload(ann.image)
    before = state_of(ann, folder)
    every = events(config)
    assert len(every) > 50

    asked = {}  # without a field for a file it is the same with one
    for event, data, file in itertools.product(every, [None, *data_of(ann)], [None, uploaded]):
        values = values_for(config, event, ann, file)
        asked.setdefault(json.dumps([event["id"], values, data]), (event, values, data))

    def walk(one):
        event, values, data = one
        return event, bob.event(event["id"], values, data)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(walk, asked.values()))
    for event, told in answers:
        assert WORD not in told.lower(), (event["id"], event["targets"], told)
        for path in paths_in(told):
            assert path.startswith("http") or Path(path).read_bytes() != ann.image, event["id"]
        assert "Traceback" not in told
    assert state_of(ann, folder) == before


def test_a_page_that_says_it_is_anothers_is_refused(ann, page, config, folder):
    session = "session-of-ann-with-a-photo"
    assert f"{COLLECTION}/{ann.photo}" in open_as_ann(ann, config, session)
    before = state_of(ann, folder)
    bob, stranger = new_browser(page), Browser(page)
    for browser in (bob, stranger):
        for event in events(config):
            told = browser.event(event["id"], values_for(config, event, ann), data_of(ann)[0], session)
            assert WORD not in told.lower(), (event["id"], told)
            assert "opened by somebody else" in told, (event["id"], told)
        for path in (
            f"/gradio_api/queue/data?session_hash={session}",
            f"/gradio_api/heartbeat/{session}",
            f"/gradio_api/deep_link?session_hash={session}",
            f"/gradio_api/stream/{session}/1/1/playlist.m3u8",
        ):
            assert browser.get(path)[0] == 403, path
    assert state_of(ann, folder) == before


def everybody_else(page, ann):
    token, _, signature = ann.cookie.partition("=")[2].partition(".")
    forged = [
        f"{COOKIE}={token}",
        f"{COOKIE}={token}.",
        f"{COOKIE}={token}.{'0' * 64}",
        f"{COOKIE}={token}x.{signature}",
        f"{COOKIE}={workspace_of(ann)}",
    ]
    return [new_browser(page), Browser(page), *(Browser(page, cookie) for cookie in forged)]


def test_no_function_of_a_component_gives_away_what_is_anothers(ann, page, config, folder):
    functions = server_functions(config)
    assert {name for _, name in functions} == SERVER_FUNCTIONS
    png = base64.b64encode(encode_png(np.zeros((16, 24), np.uint8), QUINCES)).decode()
    asked = {"clicks": [[1, 1, 1]], "png": png, "data": png, "width": 24, "height": 16, "labels": {}}
    asked |= {"key": f"{COLLECTION}/{ann.photo}", "revision": 1, "base": ""}
    before = state_of(ann, folder)
    for browser in everybody_else(page, ann):
        for component, name in functions:
            told = browser.function(component, name, asked)
            assert told.keys() == {"error"}, (name, told)
            assert WORD not in told["error"].lower()
    assert state_of(ann, folder) == before
    for component, name in functions:
        told = ann.function(component, name, {**asked, "revision": 0})
        assert "error" not in told, (name, told)


def test_no_route_gives_files_of_others(ann, page, config):
    told = open_as_ann(ann, config, "session-of-ann-with-files")
    paths = {path for path in paths_in(told) if Path(path).is_file()} | {ann.upload(ann.image)}
    paths.add(next(iter(paths_in(ann.call("segment", {"path": ann.upload(ann.image)}, MODEL)))))
    assert len(paths) > 2
    others = everybody_else(page, ann)
    inside = [str(path) for path in ann.home.rglob("*.png")]
    for path, way in itertools.product([*paths, *inside], ("file=", "file/")):
        address = f"/gradio_api/{way}{urllib.parse.quote(path)}"
        if way == "file=" and path in paths:
            assert ann.get(address)[0] == 200
        for browser in others:
            status, body = browser.get(address)
            assert status in (403, 404), (path, browser.cookie)
            assert ann.image not in body
            assert browser.ask("HEAD", address)[0] in (403, 404, 405)


def test_nobody_else_uses_or_sees_a_model(ann, page):
    for browser in everybody_else(page, ann):
        told = browser.call("models")
        assert "complete" in told
        assert WORD not in told.lower()
        assert MODEL not in told
        upload = {"path": browser.upload(ann.image), "meta": {"_type": "gradio.FileData"}}
        told = browser.call("segment", upload, MODEL)
        assert "event: error" in told
        assert WORD not in told.lower()


def test_whoever_has_no_cookie_has_a_workspace_for_the_time_of_a_page(page, config):
    make = number_of(config, "collection-create", "click")
    parts = {part["id"]: part for part in config["components"]}
    values = [
        "Of no cookie"
        if parts[id_]["props"].get("elem_id") == "new-title"
        else parts[id_]["props"].get("value")
        for id_ in make["inputs"]
    ]
    one, two = Browser(page), Browser(page)
    assert "Of no cookie" in one.event(make["id"], values, session="a-session-without-cookie")
    choose = number_of(config, "collection", "input")
    wanted = [
        "of-no-cookie"
        if parts[id_]["props"].get("elem_id") == "collection"
        else parts[id_]["props"].get("value")
        for id_ in choose["inputs"]
    ]
    assert '"Of no cookie"' in one.event(choose["id"], wanted, session="a-session-without-cookie")
    told = two.event(choose["id"], wanted, session="another-session-without-cookie")
    assert '"Of no cookie"' not in told
    assert "There is no collection" in told


def test_nothing_is_kept_of_those_who_only_look(page, folder, config):
    looking = new_browser(page)
    for event in events(config)[:10]:
        looking.event(event["id"], [None] * len(event["inputs"]))
    assert not (folder / "home" / "workspaces" / workspace_of(looking)).exists()


def test_two_in_one_process_are_told_apart_in_memory(tmp_path, monkeypatch):
    """The same photo in collections of the same name, and nothing that is remembered of one is shown to the other."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGDEMO_WORKSPACES", "visitors")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    services = Services(Limits(), PhotoCache(Limits()))
    desk = Desk(services)
    for reach in ("store", "versions", "runs"):
        with pytest.raises(WorkspaceError, match="Nobody knows"):
            getattr(services, reach)
    Image.fromarray(noise(1)).save(tmp_path / "photo.png")
    shown = {}
    for name, mask in (("visit-a", 1), ("visit-b", 0)):
        with entered(services.keeper.workspace(name)):
            collection = desk.create("Same", "voc")
            id_ = desk.add_photo(collection, tmp_path / "photo.png", "photo")
            desk.store.open(collection).save(id_, np.full((16, 24), mask, np.uint8), 0)
            desk.look_ahead(collection, id_)  # which is kept for whoever opens it
    for name in ("visit-b", "visit-a"):  # the other way round: what was kept last was that of the first
        with entered(services.keeper.workspace(name)):
            shown[name] = desk.payload(collection, id_)
    masks = {name: Path(shown[name]["layers"]["yours"]["path"]).read_bytes() for name in shown}
    assert masks["visit-a"] != masks["visit-b"]
