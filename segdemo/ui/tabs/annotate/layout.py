"""The components of the Annotate tab and how they are arranged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from segdemo.core import settings
from segdemo.core.labels import LABEL_SETS
from segdemo.core.settings import for_visitors, on_spaces, spaces_sign_in
from segdemo.data.formats.registry import WRITTEN
from segdemo.ui import tokens
from segdemo.ui.components import canvas, label_table, photo_list
from segdemo.ui.components.photo_list import ANY_CLASS, SORTS, WHICH
from segdemo.ui.events import components
from segdemo.ui.inputs import button, unchecked, upload
from segdemo.ui.markup import html, numbered_steps, panel
from segdemo.ui.tabs.annotate.desk import Desk
from segdemo.ui.tabs.annotate.rest import Rest
from segdemo.ui.tabs.annotate.review import Review
from segdemo.ui.tabs.segment import SegmentTab

NOTHING = "none"  # start from no model
OWN = "own"  # the visitor's own classes
ARCHIVE_BYTES = 2_000_000_000  # of one archive to import; what a photo may have, intake says
CSS = (Path(__file__).parent / "annotate.css").read_text("utf-8")
_SHARED = "Everybody who visits this page sees and can change these collections: put nothing private here."


_STEPS = (  # picture, what to do, how
    (
        "M4 7h6l2 2h8v10H4zM12 12v4M10 14h4",
        "Make a collection",
        "Give it a name, and choose its classes or write your own. New makes another.",
    ),
    (
        "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
        "Add photos",
        "Drop them anywhere on this page, or press Add photos. Correct this mask in Segment brings one along.",
    ),
    (
        "M20 4c-4 1.5-8.5 5.5-10.5 9L12 15.5c3.5-2 7-6.5 8-11.5z"
        "M9 13.5c-2 0-3.5 1.5-3.5 3.5 0 1.5-.8 2.5-2 3 4.5 1 8-1 8-4",
        "Pick one and paint",
        "Enter takes the mask and goes on to the next photo. All is saved by itself.",
    ),
)


@dataclass(frozen=True)
class Undo:
    """What can be taken back: the deletion of a ``"photo"`` or of a ``"collection"``.

    Attributes:
        kind: which of them.
        place: name of the photo's collection; key in the trash of a deleted one.
        photo: its id.
    """

    kind: str
    place: str
    photo: str | None = None


class Layout:
    """The components, built inside the current Blocks.

    Args:
        desk: the ``Desk`` the canvas saves to.
        tabs: the ``gr.Tabs`` of the page.
        segment: the ``SegmentTab``.

    Attributes:
        inputs: what every event of the tab may read.
        outputs: what it may change.
    """

    def __init__(self, desk: Desk, tabs: gr.Tabs, segment: SegmentTab):
        self.desk, self.tabs, self.segment = desk, tabs, segment
        self.opened = gr.State(None)  # id of the photo in the canvas
        self.seen = gr.State(())  # photos offered by "next" so far
        self.undoing = gr.State(None)  # the Undo that its button does
        self.looked_at = gr.State(None)  # number of the older mask in the canvas
        self.remembered = gr.BrowserState(
            {"collection": None, "photo": None}, storage_key="segdemo-annotate", secret="segdemo-annotate"
        )
        self._whose()
        self._bar()
        with gr.Column(elem_classes="segdemo-toast"):
            self._said()
        with gr.Row(elem_classes="segdemo-desk"):
            with gr.Column(scale=0, min_width=132, visible=False, elem_classes="segdemo-list") as self.strip:
                self._list()
            with gr.Column(min_width=320):
                self._stage()
        with gr.Column(visible=False) as self.body:
            self._more()
        self.inputs = {
            *(self.opened, self.seen, self.undoing, self.remembered),
            *(self.collection, self.new_title, self.new_labels, self.new_table, self.title, self.table),
            *(self.search, self.which, self.class_, self.sort, self.page, self.looked_at),
            *(self.formats, self.export_drafts, self.into, self.model, self.revisions),
            *(self.segment.choice, self.segment.model),
        }
        # What showing a photo or the list needs to know: all that the parts below the canvas send.
        self.looks = {
            *(self.collection, self.opened, self.seen, self.model),
            *(self.search, self.which, self.class_, self.sort, self.page),
        }
        self.outputs = [*components(self), *self.rest.outputs, *self.review.outputs]

    def _whose(self) -> None:
        """Who sees what is kept here, and how long."""
        if for_visitors():
            panel(html("<p>{}</p>", kept_for()), elem_classes="segdemo-quiet", elem_id="kept-for")
        elif on_spaces():
            panel(html("<p>{}</p>", _SHARED), elem_classes="segdemo-quiet")

    def _bar(self) -> None:
        """The collection, what is looked for in it, and how far it is."""
        with gr.Row(elem_classes="segdemo-slim"):
            self.collection = unchecked(
                gr.Dropdown([], label="Collection", show_label=False, container=False, elem_id="collection")
            )
            self.new = button("New", "collection-new", min_width=60, scale=0)
            with gr.Row(visible=False, elem_classes="segdemo-slim segdemo-finding") as self.finding:
                self.files = upload(
                    "Add photos",
                    "add-photos",
                    file_count="multiple",
                    height=36,
                    show_label=False,
                    elem_classes="segdemo-takes-photos",
                )
                # What is being added, out of the field so that this takes the next ones.
                self.dropped = upload("Being added", "being-added", file_count="multiple", visible=False)
                self.add_segmented = button("Add the one in Segment", "add-shown", min_width=60, scale=0)
                self._filters()
                self.progress = panel(elem_id="collection-progress")
        self._creator()

    def _creator(self) -> None:
        kinds = [(f"{s.title} ({len(s)} classes)", name) for name, s in LABEL_SETS.items()]
        with gr.Group(visible=False, elem_id="collection-creator") as self.creator:
            self.new_title = gr.Textbox(
                label="Name of the new collection",
                max_lines=1,
                elem_id="new-title",
                placeholder="Leaves, say…",
            )
            self.new_labels = gr.Radio(
                [*kinds, ("My own", OWN)], value=next(iter(LABEL_SETS)), label="Classes", elem_id="new-labels"
            )
            self.new_table = label_table.label_table(
                label_table.first_table(), visible=False, elem_id="new-table", padding=True
            )
            with gr.Row(elem_classes="segdemo-buttons"):
                self.create = button("Create", "collection-create", variant="primary", min_width=80)
                self.cancel = button("Cancel", min_width=80)

    def _filters(self) -> None:
        slim: dict[str, Any] = {"show_label": False, "container": False, "min_width": 60}
        self.search = gr.Textbox(
            label="Search", placeholder="Search by name", max_lines=1, elem_id="photo-search", **slim
        )
        which = [(text, which) for which, (text, *_) in WHICH.items()]
        self.which = gr.Dropdown(which, value="all", label="Show", elem_id="photo-which", **slim)
        classes = [("any class", ANY_CLASS)]
        self.class_ = unchecked(
            gr.Dropdown(classes, value=ANY_CLASS, label="With", elem_id="photo-class", **slim)
        )
        self.sort = gr.Dropdown(SORTS, value="created", label="Order", elem_id="photo-sort", **slim)

    def _list(self) -> None:
        self.photos = photo_list.photo_list(elem_id="photo-list")
        self.page = gr.State(1)
        self.count = panel(elem_classes="segdemo-quiet", elem_id="photo-count")
        with gr.Row():
            self.previous = button("Back", min_width=50, visible=False)
            self.following = button("More", "photo-more", min_width=50, visible=False)

    def _more(self) -> None:
        with gr.Accordion("Label the rest, and train", open=False, elem_id="rest-box"):
            self.rest = Rest(self.desk)
        with gr.Accordion("Review: mistakes, duplicates, classes", open=False, elem_id="review-box"):
            self.review = Review(self.desk)
        with gr.Accordion("Export and import", open=False):
            self._exchange()
        with gr.Accordion("Name and classes of this collection", open=False):
            self.title = gr.Textbox(label="Name", max_lines=1, elem_id="collection-title")
            self.table = label_table.label_table(elem_id="collection-table")
            self.change = button("Save name and classes", "collection-change")
            self.discard = button("Delete this collection", "collection-delete", variant="stop")
        if for_visitors():
            tokens.offer()

    def _exchange(self) -> None:
        self.formats = gr.CheckboxGroup(
            [(format.title, format.name) for format in WRITTEN],
            value=[format.name for format in WRITTEN if format.preselected],
            label="Put into the ZIP",
        )
        self.export_drafts = gr.Checkbox(
            False, label="Drafts that nobody looked at, too", elem_id="export-drafts"
        )
        self.export = button("Export all labelled photos", "export")
        self.download = gr.DownloadButton(
            "Download", size="sm", variant="primary", visible=False, elem_id="export-download"
        )
        self.into = gr.Radio(
            [("this collection", "this"), ("a new collection", "new")], value="this", label="Import into"
        )
        self.archive = upload("ZIP: SegDemo, VOC, COCO, YOLO, labelme, CVAT…", "import-archive")
        self.incoming = upload("Being imported", "being-imported", visible=False)

    def _said(self) -> None:
        """What lies over the page for a while."""
        self.notice = panel(visible=False, elem_classes="segdemo-said", elem_id="annotate-notice")
        with gr.Row(visible=False, elem_classes="segdemo-slim", elem_id="undo-bar") as self.undo_bar:
            self.undo_text = panel(elem_classes="segdemo-said")
            self.undo = button("Undo", "undo", min_width=80, scale=0)
            self.forget = button("Close", "undo-close", min_width=60, scale=0)

    def _stage(self) -> None:
        with gr.Accordion(
            "What the import left out", open=False, visible=False, elem_id="account"
        ) as self.account:
            self.account_list = panel(elem_classes="segdemo-account", elem_id="account-list")
            self.account_csv = gr.DownloadButton("Download as CSV", size="sm", elem_id="account-csv")
        self.hint = panel(steps(0), elem_id="annotate-hint")
        with gr.Row(visible=False, elem_classes="segdemo-below-steps") as self.sampling:
            self.sample = button("Try it with our photos", "annotate-sample", min_width=200, scale=0)
        with gr.Column(visible=False, elem_classes="segdemo-opened") as self.desktop:
            with gr.Row(elem_classes="segdemo-slim"):
                self.photo_title = panel(elem_classes="segdemo-photo-title", elem_id="annotate-title")
                panel("Predict with", elem_classes="segdemo-quiet segdemo-word", padding=False)
                self.model = unchecked(
                    gr.Dropdown(
                        [("no model", NOTHING)],
                        value=NOTHING,
                        label="Start from the prediction of",
                        show_label=False,
                        container=False,
                        min_width=60,
                        elem_id="start-model",
                    )
                )
                self.delete = button("Delete photo", "photo-delete", min_width=60, scale=0)
            self.canvas = canvas.mask_canvas(
                on_save=self.desk.save,
                on_import=self.desk.read_mask,
                on_select=self.desk.services.clicks.answering(self.desk.photo_of),
                on_features=self.desk.services.teaching.answering(self.desk.photo_of),
                on_strokes=self.desk.strokes,
                elem_id="annotate-canvas",
            )
            self.ahead = canvas.ahead()
            with gr.Accordion(
                "Earlier masks of this photo", open=False, visible=False, elem_id="revisions-box"
            ) as self.history:
                self.revisions = unchecked(gr.Radio([], label="Revisions, newest first", elem_id="revisions"))
                self.restore = button("Restore this one", "revision-restore", interactive=False)


def kept_for() -> str:
    """What visitors who have a workspace of their own are told about it."""
    if settings.users():  # nobody else opens the page
        return "What you keep here is yours alone, in every browser that you sign in with."
    hours = settings.read("SEGDEMO_WORKSPACE_HOURS")
    if not hours:
        return "What you keep here is yours alone, as long as this browser keeps its cookies."
    time = "a day" if hours == 24 else f"{hours:g} hours"
    unless, stay = (", unless you are signed in", " or sign in") if spaces_sign_in() else ("", "")
    gone = f"is gone when you have not touched it for {time}{unless}"
    return f"What you keep here is yours alone, and {gone}: export it{stay}."


def steps(done: int) -> Markup:
    """What there is to do until a photo is labelled, in three steps, of which some are done."""
    return numbered_steps(_STEPS, done)
