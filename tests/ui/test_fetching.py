"""Photos given by an address: what is fetched, and where it ends."""

import http.server
import threading
from pathlib import Path

import gradio as gr
import pytest
from gradio import processing_utils
from running import run_apart

from segdemo.ui import fetching


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, _, number = self.path.strip("/").partition("-")
        self.send_response(302 if kind in ("next", "round") else int(number) if kind == "status" else 200)
        if kind in ("next", "round"):
            self.send_header("Location", "/bytes-7" if kind == "next" else "/round")
        self.end_headers()
        if kind == "bytes":
            self.wfile.write(b"x" * int(number))
        if kind == "slow":
            self.server.ended.wait(20)

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch):
    """A server of the tests, which counts as a public one."""

    async def public(host):
        return "127.0.0.1"

    monkeypatch.setattr("safehttpx.async_validate_url", public)
    monkeypatch.setenv("SEGDEMO_MAX_BYTES", "100000")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ended = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://photos.example:{server.server_address[1]}"
        server.ended.set()
        server.shutdown()


def test_a_photo_is_fetched_also_from_where_it_leads(address):
    for path in ("bytes-7", "next"):
        answer = run_apart(fetching.fetch(f"{address}/{path}"))
        assert (answer.status_code, answer.content) == (200, b"xxxxxxx")


@pytest.mark.parametrize(
    ("path", "words"),
    [("bytes-100001", "more than the 0.1 MB"), ("round", "without end"), ("status-404", "gives no photo")],
)
def test_what_is_no_photo_is_not_held(address, path, words):
    with pytest.raises(gr.Error, match=words):
        run_apart(fetching.fetch(f"{address}/{path}"))
    assert not fetching._fetching


def test_it_does_not_wait_for_ever(address, monkeypatch):
    monkeypatch.setattr(fetching, "SECONDS", 0.2)
    with pytest.raises(gr.Error, match=r"within 0\.2 seconds"):
        run_apart(fetching.fetch(f"{address}/slow"))


def test_few_are_fetched_at_a_time(address, monkeypatch):
    monkeypatch.setattr(fetching, "MOST_AT_ONCE", 0)
    with pytest.raises(gr.Error, match="Too many photos"):
        run_apart(fetching.fetch(f"{address}/bytes-7"))


def test_addresses_of_ones_own_network_are_refused(monkeypatch):
    async def nowhere(host):
        return []

    monkeypatch.setattr("safehttpx.async_resolve_hostname_google", nowhere)
    for url in ("http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/x", "http:///x", "http://[/x"):
        with pytest.raises(gr.Error, match="gives no photo, or none to everybody"):
            run_apart(fetching.fetch(url))


def test_gradio_fetches_so(address, tmp_path, monkeypatch):
    monkeypatch.setattr(
        processing_utils, "async_ssrf_protected_get", processing_utils.async_ssrf_protected_get
    )
    fetching.limit()
    path = run_apart(processing_utils.async_ssrf_protected_download(f"{address}/bytes-7", str(tmp_path)))
    assert Path(path).read_bytes() == b"xxxxxxx"
    with pytest.raises(gr.Error, match="upload it"):
        run_apart(processing_utils.async_ssrf_protected_download(f"{address}/bytes-100001", str(tmp_path)))
