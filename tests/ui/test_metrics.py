"""``/metrics``: who may read it, and what it says."""

import http.client
import re
import urllib.parse

import pytest
from PIL import Image
from serving import served_app
from visiting import Browser, new_browser

from segdemo.ui.metrics import may_read

TOKEN = "a token of some length"
LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+')


def scope(client="127.0.0.1", **headers):
    headers = {"host": "127.0.0.1:7860", **headers}
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "client": (client, 5), "headers": pairs}


def test_this_machine_may_read_it_and_others_need_the_token(monkeypatch):
    assert may_read(scope())
    assert may_read(scope("::1", host="[::1]:7860"))
    others = (
        scope("10.0.0.7"),
        scope(host="example.org"),
        scope(host="example.org:7860"),
        *(scope(**{name: "127.0.0.1"}) for name in ("x_forwarded_for", "x_real_ip", "forwarded", "via")),
        {**scope(), "client": None},
    )
    assert not any(may_read(other) for other in others)
    assert not may_read(scope("10.0.0.7", authorization="Bearer "))  # where no token is set, none is right
    monkeypatch.setenv("SEGDEMO_METRICS_TOKEN", TOKEN)
    assert may_read(scope("10.0.0.7", host="example.org", authorization=f"Bearer {TOKEN}"))
    for wrong in (TOKEN, f"Bearer {TOKEN}x", f"bearer {TOKEN}", "Bearer", "Bearer \xe4"):
        assert not may_read(scope("10.0.0.7", authorization=wrong))


def read(url, **headers):
    """(status, {name with labels: value}) of the metrics."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    connection.request("GET", "/metrics", headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status != 200:
        return answer.status, text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in lines), lines
    return 200, {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.parametrize("workspaces", ["shared", "visitors"])
def test_it_counts_what_happens(tmp_path, workspaces):
    with served_app(tmp_path / "app", SEGDEMO_WORKSPACES=workspaces, SEGDEMO_USERS="ann:secret") as (url, _):
        _, before = read(url)  # nobody has signed in
        browser = Browser(url)
        assert browser.get("/config")[0] == 401
        _, after = read(url)
        assert after['segdemo_requests_total{status="401"}'] == 1 + before.get(
            'segdemo_requests_total{status="401"}', 0
        )
        assert after["segdemo_request_seconds_count"] >= before["segdemo_request_seconds_count"] + 2
        assert after["segdemo_resident_bytes"] > 5e7
        assert after['segdemo_queue_length{group="predict"}'] == 0
        assert after['segdemo_runs{state="running"}'] == 0
        assert after["segdemo_workspaces"] == 0
        assert after["segdemo_kept_bytes"] == 0
        status, told = read(url, X_Forwarded_For="127.0.0.1")
        assert status == 403
        assert "SEGDEMO_METRICS_TOKEN" in told


def test_a_prediction_is_counted(tmp_path):
    with served_app(tmp_path / "app") as (url, _):
        ann = new_browser(url)
        models = ann.call("models")
        assert "deeplabv3" in models
        _, before = read(url)
        Image.new("RGB", (32, 24), (200, 10, 10)).save(tmp_path / "photo.png")
        path = ann.upload((tmp_path / "photo.png").read_bytes())
        photo = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert "event: complete" in ann.call("segment", photo, "deeplabv3")
        _, after = read(url)
        assert after["segdemo_prediction_seconds_count"] == before["segdemo_prediction_seconds_count"] + 1
        assert after["segdemo_prediction_seconds_sum"] > before["segdemo_prediction_seconds_sum"]
