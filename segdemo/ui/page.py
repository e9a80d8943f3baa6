"""The page: a header, one tab a file, and the HTTP API."""

import gradio as gr

from segdemo import __version__
from segdemo.core import settings
from segdemo.core.photos import Limits
from segdemo.errors import UserError
from segdemo.ui import api
from segdemo.ui.markup import html, panel
from segdemo.ui.services import Services
from segdemo.ui.tabs import segment
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
  <p>Semantic segmentation and mask annotation in the browser</p>
  <span title="Version">{version}</span>
</header>
"""
CSS = """
.gradio-container { width: 100%; max-width: 1560px !important; margin: 0 auto; }
.segdemo-header { display: flex; align-items: center; gap: 16px; padding: 4px 2px; flex-wrap: wrap; }
.segdemo-header h1 { display: flex; align-items: center; gap: 10px; font-size: 22px; font-weight: 700; margin: 0; }
.segdemo-header p { color: var(--body-text-color-subdued); margin: 0; flex: 1; }
.segdemo-header span { color: var(--body-text-color-subdued); font-size: 12px; }
.segdemo-card { font-size: 13px; line-height: 1.45; color: var(--body-text-color-subdued); padding: 0 2px; }
.segdemo-card b { color: var(--body-text-color); }
#notice p { background: var(--error-background-fill); border: 1px solid var(--error-border-color);
  color: var(--error-text-color); padding: 10px 14px; border-radius: 10px; margin: 0; }
.segdemo-title { font-weight: 600; padding: 0 12px; }
.segdemo-photos > .gallery { display: grid !important; grid-template-columns: repeat(5, 1fr); gap: 6px; }
.segdemo-photos .gallery-item > span, .segdemo-photos .gallery-item .container { display: block;
  width: 100% !important; height: auto !important; max-width: none; aspect-ratio: 1; }
.segdemo-photos .gallery-item img { width: 100% !important; height: 100% !important; object-fit: cover; }
.segdemo-photos .gallery-item:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
.segdemo-thumbnails .grid-wrap { max-height: 300px; padding: 0; min-height: 0; }
.segdemo-thumbnails .grid-container { gap: 4px; }
[id$="photo-input"] .icon-wrap { display: none; }  /* the label would cover it */
[id$="photo-input"] .wrap { padding-top: 20px; }
footer { margin-top: 8px; }
@media (max-width: 800px) {
  .segdemo-header p, .segdemo-header span { display: none; }
  .segdemo-stage { order: -1; }
}
"""
# Of what is around the tabs, which Gradio keeps media queries of its ``css`` away from.
HEAD = """
<style>
@media (max-width: 800px) { gradio-app .main.fillable { padding: 8px 12px; } }
@media (max-width: 640px) { gradio-app footer .divider { display: none; } }  /* the link before it is hidden there */
</style>
"""


def build():
    """The Gradio app, ready to launch."""
    services = Services.start()
    with gr.Blocks(
        title="SegDemo", delete_cache=CACHE_SECONDS, analytics_enabled=False, fill_width=True
    ) as demo:
        panel(html(HEADER, version=__version__))
        with gr.Tabs() as tabs:
            with gr.Tab("Segment", id="segment") as tab:
                shown = segment.build(services, demo, tab)
            with gr.Tab("Annotate", id=annotate.TAB) as tab:
                annotate.build(services, tab, tabs, shown)
            with gr.Tab("Train", id=train.TAB) as tab:
                train_tab = train.build(services, tab, tabs, shown)
            with gr.Tab("Zoo", id="zoo"):
                zoo_tab.build(services, demo, train_tab)
        api.build(services)
    services.look_after()
    return demo


def launch_options():
    """Arguments of ``demo.launch``: looks, limits, and room for long queues."""
    limits = Limits.from_env()
    return {
        "theme": THEME,
        "css": CSS + annotate_layout.CSS + train_layout.CSS + zoo_tab.CSS,
        "head": HEAD,
        "max_file_size": max(limits.max_bytes, annotate_layout.ARCHIVE_BYTES),
        "footer_links": ["api", "settings"],
        "auth": accounts(settings.read("SEGDEMO_USERS")),
    }


def accounts(text):
    """Who may open the page: (name, password) pairs from ``"ann:secret,bob:other"``; None for everybody.

    Raises:
        UserError: something else.
    """
    pairs = [tuple(part.strip().split(":", 1)) for part in text.split(",") if part.strip()]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise UserError("SEGDEMO_USERS is a list such as ann:secret,bob:other, one name and password each.")
    return pairs or None
