"""The page as it is launched."""

import urllib.request

import gradio as gr
import pytest

from segdemo.ui.page import launch_options

pytestmark = [
    pytest.mark.usefixtures("event_loops_collected"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


def test_a_page_that_cannot_look_at_itself_in_time_is_served_all_the_same(monkeypatch):
    """As on a busy machine, where Gradio would end it."""
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    with gr.Blocks() as demo:
        gr.Markdown("Squares")
    _, url, _ = demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=30) as answer:
            assert answer.read() == b"ok"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "Squares" in answer.read().decode()
    finally:
        demo.close()
