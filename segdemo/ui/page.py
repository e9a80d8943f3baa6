"""The page: a header, one tab a file, and the HTTP API."""

import importlib.util
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gradio as gr

from segdemo import __version__
from segdemo.core import settings
from segdemo.core.photos import Limits
from segdemo.core.signing import Signer
from segdemo.ui import api, arguments, clips, fetching, guard, queueing, temporary, uploads
from segdemo.ui.components.bundle import event_function
from segdemo.ui.guard import password_check
from segdemo.ui.markup import html, panel
from segdemo.ui.metrics import Metrics
from segdemo.ui.services import Services
from segdemo.ui.tabs import Page, Tab, batch, owner, segment, video
from segdemo.ui.tabs import zoo as zoo_tab
from segdemo.ui.tabs.annotate import layout as annotate_layout
from segdemo.ui.tabs.annotate import tab as annotate
from segdemo.ui.tabs.train import layout as train_layout
from segdemo.ui.tabs.train import tab as train
from segdemo.ui.visitors import Visitors

THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],  # no font is fetched
    font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
).set(  # what is small or subdued can be read too: WCAG 2.2, 1.4.3
    body_text_color_subdued="*neutral_500",
    input_placeholder_color="*neutral_500",
    block_info_text_color="*neutral_500",
    color_accent="*primary_600",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
)
CACHE_SECONDS = (600, 3600)  # look every ten minutes for files that nobody used for an hour
HEADER = (Path(__file__).parent / "page_header.html").read_text("utf-8")
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
        lambda page, tab: train.build(
            page.services, tab, page.tabs, page.parts["segment"], page.parts[annotate.TAB]
        ),
        train_layout.CSS,
    ),
    Tab(batch.TAB, "Batch", lambda page, tab: batch.build(page.services, tab, page.tabs), batch.CSS),
    Tab(
        video.TAB,
        "Video",
        lambda page, tab: video.build(page.services, tab, page.parts[annotate.TAB].desk),
        video.CSS,
    ),
    Tab(
        "zoo",
        "Zoo",
        lambda page, tab: zoo_tab.build(page.services, page.demo, tab, page.parts[train.TAB]),
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
    whose = Visitors(services.keeper, Signer.of_installation()) if services.keeper else None
    with demo, whose.nobody() if whose else nullcontext():
        with gr.Row(elem_classes="segdemo-top"):
            panel(html(HEADER, version=__version__))
            _sign_in(demo)
        with gr.Tabs(elem_classes="segdemo-tabs") as tabs:
            page = Page(services, demo, tabs)
            for row in TABS:
                with gr.Tab(row.title, id=row.id) as tab:
                    page.parts[row.id] = row.build(page, tab)
            if settings.admins():
                with gr.Tab("Owner", id=owner.TAB, visible=False) as tab:
                    owner.build(services, demo, tab)
        api.build(services)
        demo.load(None, js=event_function(Path(__file__).with_name("page.js")))
    arguments.look_at(demo)
    queueing.bound(demo, settings.read("SEGDEMO_MAX_WAITING"), {clips.GROUP: services.clips})
    uploads.keep_tidy(demo)
    fetching.limit()
    temporary.note_answers(demo)
    temporary.look_after(demo, settings.read("SEGDEMO_MAX_TEMP_GB") * 1e9)
    demo.metrics = Metrics(services, demo)  # type: ignore[attr-defined]  # for the guard
    if whose:
        whose.attach(demo)
    services.look_after()
    return demo


def _sign_in(demo: gr.Blocks) -> None:
    """A button for those who can sign in, or have, at the top right of every tab."""
    looks: dict[str, Any] = {"size": "sm", "elem_id": "segdemo-sign"}
    if settings.spaces_sign_in():
        gr.LoginButton("Sign in", "Sign out ({})", icon=None, variant="secondary", **looks)
    elif settings.read("SEGDEMO_USERS"):
        out = gr.Button("Sign out", link="logout?all_session=false", **looks)

        def named(request: gr.Request) -> dict[str, Any]:
            return gr.update(value=f"Sign out ({request.username})")

        demo.load(named, None, out, api_visibility="private", show_progress="hidden", queue=False)


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
        "auth": password_check(users) if (users := settings.users()) else None,
        "app_kwargs": {"middleware": guard.middleware()},
        "mcp_server": offers_tools(),
        "run_history": False,  # photos of one visitor would be kept in a browser that others may use after them
        # Whatever GRADIO_SSR_MODE says: a server of Node's would stand before the guard, and send pages without its
        # headers and cookies. It renders an empty frame anyway, since all is in tabs.
        "ssr_mode": False,
        # Without Gradio's look at its own page when it has started: on a busy machine that takes longer than the three
        # seconds it gives, and a page that works would end.
        "_frontend": False,
    }


def offers_tools() -> bool:
    """Whether agents are offered tools over MCP: where its package is installed, and everybody may come.

    Gradio looks at nobody's sign-in there.
    """
    return importlib.util.find_spec("mcp") is not None and not settings.users()
