"""What uploads leave behind that did not come whole, and what they may not be."""

import base64
import http.client
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import HTTPException
from running import run_apart
from serving import served_app
from waiting import once

from segdemo.core.photos import IntakeError
from segdemo.ui import guard, uploads

HEAD = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
KIND = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """(address, folder of temporary files) of the page."""
    folder = tmp_path_factory.mktemp("uploads") / "app"
    with served_app(folder) as (url, _):
        yield url, folder / "gradio"


def post(url, path, body, headers=KIND, **options):
    """(status, text) of what the page answers."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    try:
        connection.request("POST", path, body, headers, **options)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def form(name, content, file_name=None):
    told = f'; filename="{file_name}"'.encode() if file_name is not None else b""
    return HEAD % (name.encode(), told) + content + b"\r\n--x--\r\n"


def parts(folder):
    """Files of the cache that are in no folder of their own, as they are while they come."""
    return [path for path in folder.glob("*") if path.is_file()]


def test_what_comes_whole_is_there(app):
    url, folder = app
    status, text = post(url, "/gradio_api/upload", form("files", b"x" * 3_000_000, "a.bin"))
    [path] = json.loads(text)
    assert status == 200 and Path(path).stat().st_size == 3_000_000 and parts(folder) == []


def test_who_closes_the_page_while_a_clip_comes_leaves_nothing_behind(app):
    url, folder = app
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    for name, value in {**KIND, "Content-Length": "9000000"}.items():
        connection.putheader(name, value)
    connection.endheaders(form("files", b"x" * 3_000_000, "clip.mp4")[:2_000_000])
    once(lambda: parts(folder))
    connection.close()
    once(lambda: not parts(folder))


def test_files_that_nobody_asked_for_are_not_kept(app):
    url, folder = app
    status, text = post(url, "/gradio_api/upload", form("other", b"x" * 100_000, "a.bin"))
    assert (status, json.loads(text)) == (200, []) and parts(folder) == []


def test_a_field_is_small(app):
    url, folder = app
    status, text = post(url, "/gradio_api/upload", form("files", b"x" * 3_000_000))
    assert status == 413 and "send files as files" in text and parts(folder) == []


@pytest.mark.parametrize(
    "path", ["/gradio_api/queue/join", "/gradio_api/run/upload", "/gradio_api/call/upload"]
)
def test_what_is_no_upload_is_not_read_as_one(app, path):
    url, _ = app
    told = {"Content-Type": "application/json", "Content-Length": str(10**10)}
    assert post(url, path, b"", told)[0] == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/gradio_api/deep_link?session_hash=x"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/run-history/buckets"),
        ("GET", "/gradio_api/runs"),
    ],
)
def test_what_the_page_has_no_use_for_is_not_offered(app, method, path):
    place = urllib.parse.urlsplit(app[0])
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    connection.request(method, path, form("video", b"#EXTM3U\n", "a.mp4") if method == "POST" else None, KIND)
    assert connection.getresponse().status == 404
    connection.close()


def ask(path, length=None, room=(), most=guard.MOST_BODY):
    """Status of a request without end to the guard; ``room`` is what is left of the disk at each look."""
    left, answers = iter(room), []
    headers = [(b"content-length", str(length).encode())] if length else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass

    async def receive():
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    async def send(message):
        answers.append(message.get("status"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "room", lambda: next(left))
        patch.setattr(guard, "MOST_BODY", most)
        try:
            run_apart(guard.Guard(app)(scope, receive, send))
        except HTTPException as error:  # which Gradio answers with
            return error.status_code
    return answers[0]


def test_uploads_leave_some_of_the_disk_to_others():
    assert ask(guard.UPLOAD, length=100, room=[99]) == 507
    assert ask(guard.UPLOAD, room=[200, 50, 1, -1]) == 507  # one that does not say how long it is


def test_a_request_that_does_not_say_how_long_it_is_ends_where_it_is_too_large():
    assert ask("/gradio_api/queue/join", most=1000) == 413


@pytest.mark.parametrize("name", ["..", ".", "a/..", "???"])
def test_a_name_that_is_none_is_another(app, name):
    url, folder = app
    status, text = post(url, "/gradio_api/upload", form("files", name.encode(), name))
    assert status == 200 and Path(json.loads(text)[0]).read_bytes() == name.encode()
    assert parts(folder) == []


def data_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_a_photo_that_comes_as_a_data_url_is_deleted_as_uploads_are(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo = SimpleNamespace(upload_file_set=set())
    path = uploads.kept_data_url(data_url(b"a photo"), demo)
    assert Path(path).read_bytes() == b"a photo" and Path(path).name == "file.png"
    assert demo.upload_file_set == {path}
    assert uploads.kept_data_url(data_url(b"a photo"), demo) == path
    assert Path(uploads.kept_data_url(data_url(b"another", "../../x"), demo)).is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("url", "room", "says"),
    [
        (data_url(bytes(3000)), 10**9, r"has 0\.0 MB where 0\.002 MB are allowed"),
        (data_url(b"x" * 1000), 999, "disk of this page is nearly full"),
        ("data:image/png;base64,A", 10**9, "came damaged"),
        ("data:image/png", 10**9, "came damaged"),
    ],
)
def test_a_data_url_is_looked_at_before_it_is_written(tmp_path, monkeypatch, url, room, says):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SEGDEMO_MAX_BYTES", "2000")
    monkeypatch.setattr(uploads, "room", lambda: room)
    with pytest.raises(IntakeError, match=says):
        uploads.kept_data_url(url, None)
    assert not (tmp_path / "cache").exists()


def test_endpoints_take_data_urls_and_know_of_their_files(app):
    """The page deletes what it knows of, and agents' photos Gradio writes by the same function."""
    url, folder = app
    code = "from gradio import processing_utils as p; from segdemo.ui import page; page.build(); "
    code += "print(p.save_base64_to_cache.__module__)"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip().endswith("segdemo.ui.uploads")
    form = {"path": "", "url": data_url(bytes(41_000_000))}
    kind = {"Content-Type": "application/json"}
    _, text = post(url, "/gradio_api/call/segment", json.dumps({"data": [form, "unet"]}), kind)
    event = json.loads(text)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call/segment/{event}", timeout=60) as answer:
        assert b"has 41.0 MB where 40 MB are allowed" in answer.read()
    assert not [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 10_000_000]
