"""The page as it is launched."""

import urllib.request

import gradio as gr
import pytest

from segdemo.ui.page import launch_options

pytestmark = [
    pytest.mark.usefixtures("event_loops_collected"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


def test_a_page_is_served_by_the_guard_and_however_busy_the_machine_is(monkeypatch):
    """Not by Node, whatever the environment asks for; and though Gradio's look at its own page comes to nothing."""
    monkeypatch.setenv("GRADIO_SSR_MODE", "True")
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    with gr.Blocks() as demo:
        gr.Markdown("Squares")
    _, url, _ = demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=30) as answer:
            assert answer.read() == b"ok"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "Squares" in answer.read().decode()
            assert answer.headers["Content-Security-Policy"]
        assert not demo.ssr_mode
    finally:
        demo.close()
