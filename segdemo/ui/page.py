"""The page: a header, one tab a file, and the HTTP API."""

from pathlib import Path
from typing import Any

import gradio as gr

from segdemo import __version__
from segdemo.core import settings
from segdemo.core.photos import Limits
from segdemo.errors import UserError
from segdemo.ui import api, guard, queueing, temporary
from segdemo.ui.components.bundle import event_function
from segdemo.ui.guard import password_check
from segdemo.ui.markup import html, panel
from segdemo.ui.services import Services
from segdemo.ui.tabs import Page, Tab, segment
from segdemo.ui.tabs import zoo as zoo_tab
from segdemo.ui.tabs.annotate import layout as annotate_layout
from segdemo.ui.tabs.annotate import tab as annotate
from segdemo.ui.tabs.train import layout as train_layout
from segdemo.ui.tabs.train import tab as train

THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],  # no font is fetched
    font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
)
CACHE_SECONDS = (600, 3600)  # look every ten minutes for files that nobody used for an hour
HEADER = """
<header class="segdemo-header">
  <h1><svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true"><rect width="32" height="32" rx="8"
  fill="#4f46e5"/><path d="M4 22c5-8 8-9 12-5s7 2 12-6v13a4 4 0 0 1-4 4H8a4 4 0 0 1-4-4z" fill="#a5b4fc"/>
  <circle cx="11" cy="10" r="3.2" fill="#fde68a"/></svg>SegDemo</h1>
  <button type="button" id="segdemo-help" aria-label="How it works" title="How it works" aria-expanded="false"><svg
  viewBox="0 0 24 24" aria-hidden="true"><path d="M9 9a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400M12 17.500h.01M12 3a9 9
  0 1 0 0 18 9 9 0 0 0 0-18z"/></svg></button>
  <button type="button" id="segdemo-theme" aria-label="Dark or light" title="Dark or light"><svg viewBox="0 0 24 24"
  aria-hidden="true"><path d="M20 14.500A8 8 0 0 1 9.500 4a8 8 0 1 0 10.500 10.500z"/></svg></button>
  <span title="Version">{version}</span>
</header>
<aside id="segdemo-welcome" aria-label="How it works" hidden>
  <button type="button" aria-label="Close for good" title="Close for good"><svg viewBox="0 0 24 24" aria-hidden="true"><path
  d="M6 6l12 12M18 6 6 18"/></svg></button>
  <ol>
    <li><b>See</b> Drop, paste or pick a photo. The mask is there at once; move over it to read it.</li>
    <li><b>Correct</b> Press <i>Correct this mask</i>: click a thing, paint, undo. It is saved as you go.</li>
    <li><b>Teach</b> Label ten photos or more in <i>Annotate</i>, then fine-tune a model of your own in <i>Train</i>.</li>
  </ol>
</aside>
"""
# In the order of the page: a tab finds in `parts` what those before it returned.
TABS = (
    Tab("segment", "Segment", lambda page, tab: segment.build(page.services, page.demo, tab)),
    Tab(
        annotate.TAB,
        "Annotate",
        lambda page, tab: annotate.build(page.services, tab, page.tabs, page.parts["segment"]),
        annotate_layout.CSS,
    ),
    Tab(
        train.TAB,
        "Train",
        lambda page, tab: train.build(page.services, tab, page.tabs, page.parts["segment"]),
        train_layout.CSS,
    ),
    Tab(
        "zoo",
        "Zoo",
        lambda page, tab: zoo_tab.build(page.services, page.demo, page.parts[train.TAB]),
        zoo_tab.CSS,
    ),
)
CSS = (Path(__file__).parent / "page.css").read_text("utf-8")
_FRAME = (Path(__file__).parent / "page_frame.css").read_text("utf-8")
HEAD = f"<style>\n{_FRAME}</style>\n"


def build() -> gr.Blocks:
    """The Gradio app, ready to launch."""
    services = Services.start()
    demo = gr.Blocks(title="SegDemo", delete_cache=CACHE_SECONDS, analytics_enabled=False, fill_width=True)
    with demo:
        panel(html(HEADER, version=__version__), elem_classes="segdemo-top")
        with gr.Tabs(elem_classes="segdemo-tabs") as tabs:
            page = Page(services, demo, tabs)
            for row in TABS:
                with gr.Tab(row.title, id=row.id) as tab:
                    page.parts[row.id] = row.build(page, tab)
        api.build(services)
        demo.load(None, js=event_function(Path(__file__).with_name("page.js")))
    queueing.bound(demo, settings.read("SEGDEMO_MAX_WAITING"))
    temporary.look_after(demo, settings.read("SEGDEMO_MAX_TEMP_GB") * 1e9)
    services.look_after()
    return demo


def launch_options() -> dict[str, Any]:
    """Arguments of ``demo.launch``: looks, limits, and room for long queues."""
    limits = Limits.from_env()
    return {
        "theme": THEME,
        "css": CSS + "".join(row.css for row in TABS),
        "head": HEAD,
        "max_file_size": max(limits.max_bytes, annotate_layout.ARCHIVE_BYTES),
        "state_session_capacity": settings.read("SEGDEMO_MAX_SESSIONS"),
        "footer_links": ["api", "settings"],
        "auth": password_check(users) if (users := accounts(settings.read("SEGDEMO_USERS"))) else None,
        "app_kwargs": {"middleware": guard.middleware()},
    }


def accounts(text: str) -> list[tuple[str, str]] | None:
    """Who may open the page: (name, password) pairs from ``"ann:secret,bob:other"``; None for everybody.

    Raises:
        UserError: something else.
    """
    parts = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    pairs = [(name, password) for name, _, password in parts]
    if not all(name and password for name, password in pairs):
        raise UserError("SEGDEMO_USERS is a list such as ann:secret,bob:other, one name and password each.")
    return pairs or None
