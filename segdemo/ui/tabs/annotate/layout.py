"""The components of the Annotate tab and how they are arranged."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from segdemo.core.labels import LABEL_SETS
from segdemo.core.settings import on_spaces
from segdemo.data.formats.registry import WRITTEN
from segdemo.ui.components import canvas, label_table, photo_list
from segdemo.ui.components.photo_list import ANY_CLASS, SORTS, WHICH
from segdemo.ui.events import components
from segdemo.ui.inputs import button, unchecked, upload
from segdemo.ui.markup import html, panel
from segdemo.ui.tabs.annotate.desk import Desk
from segdemo.ui.tabs.segment import SegmentTab

NOTHING = "none"  # start from no model
OWN = "own"  # the visitor's own classes
ARCHIVE_BYTES = 2_000_000_000  # of one archive to import; what a photo may have, intake says
CSS = (Path(__file__).parent / "annotate.css").read_text("utf-8")
_SHARED = "Everybody who visits this page sees and can change these collections: put nothing private here."


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
        self.remembered = gr.BrowserState(
            {"collection": None, "photo": None}, storage_key="segdemo-annotate", secret="segdemo-annotate"
        )
        if on_spaces():
            panel(html("<p>{}</p>", _SHARED), elem_classes="segdemo-quiet")
        with gr.Row():
            with gr.Column(scale=1, min_width=290):
                self._collection_column()
            with gr.Column(scale=3, min_width=320, elem_classes="segdemo-stage"):
                self._stage_column()
        self.inputs = {
            *(self.opened, self.seen, self.undoing, self.remembered),
            *(self.collection, self.new_title, self.new_labels, self.new_table, self.title, self.table),
            *(self.files, self.search, self.which, self.class_, self.sort, self.page),
            *(self.formats, self.archive, self.into, self.model, self.revisions),
            *(self.segment.choice, self.segment.model),
        }
        self.outputs = components(self)

    def _collection_column(self) -> None:
        with gr.Row(elem_classes="segdemo-bar"):
            self.collection = unchecked(
                gr.Dropdown([], label="Collection", scale=3, min_width=160, elem_id="collection")
            )
            self.new = button("New", "collection-new", min_width=70)
        self._creator()
        with gr.Column(visible=False) as self.body:
            self.files = upload("Add photos: drop or pick several", "add-photos", file_count="multiple")
            self.add_segmented = button("Add the photo shown in Segment", "add-shown")
            self._list()
            with gr.Accordion("Export and import", open=False):
                self._exchange()
            with gr.Accordion("Name and classes of this collection", open=False):
                self.title = gr.Textbox(label="Name", max_lines=1, elem_id="collection-title")
                self.table = label_table.label_table(elem_id="collection-table")
                self.change = button("Save name and classes", "collection-change")
                self.discard = button("Delete this collection", "collection-delete", variant="stop")

    def _creator(self) -> None:
        kinds = [(f"{s.title} ({len(s)} classes)", name) for name, s in LABEL_SETS.items()]
        with gr.Group(visible=False) as self.creator:
            self.new_title = gr.Textbox(
                label="Name of the new collection", max_lines=1, elem_id="new-title", placeholder="My photos"
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

    def _list(self) -> None:
        self.search = gr.Textbox(
            show_label=False,
            label="Search",
            placeholder="Search by name",
            max_lines=1,
            elem_id="photo-search",
        )
        with gr.Row():
            self.which = gr.Dropdown(
                [(text, which) for which, (text, *_) in WHICH.items()],
                value="all",
                label="Show",
                min_width=120,
                elem_id="photo-which",
            )
            self.class_ = unchecked(
                gr.Dropdown(
                    [("any class", ANY_CLASS)],
                    value=ANY_CLASS,
                    label="With",
                    min_width=120,
                    elem_id="photo-class",
                )
            )
        self.sort = gr.Dropdown(SORTS, value="created", label="Order", elem_id="photo-sort")
        self.photos = photo_list.photo_list(elem_id="photo-list")
        self.page = gr.State(1)
        self.count = panel(elem_classes="segdemo-quiet", elem_id="photo-count")
        with gr.Row():
            self.previous = button("Back", min_width=70, visible=False)
            self.following = button("More", "photo-more", min_width=70, visible=False)

    def _exchange(self) -> None:
        self.formats = gr.CheckboxGroup(
            [(format.title, format.name) for format in WRITTEN],
            value=[format.name for format in WRITTEN if format.preselected],
            label="Put into the ZIP",
        )
        self.export = button("Export all labelled photos", "export")
        self.download = gr.DownloadButton(
            "Download", size="sm", variant="primary", visible=False, elem_id="export-download"
        )
        self.into = gr.Radio(
            [("this collection", "this"), ("a new collection", "new")], value="this", label="Import into"
        )
        self.archive = upload("ZIP: SegDemo, VOC, COCO, YOLO, labelme, CVAT…", "import-archive")

    def _stage_column(self) -> None:
        self.notice = panel(visible=False, elem_classes="segdemo-said", elem_id="annotate-notice")
        with gr.Accordion(
            "What the import left out", open=False, visible=False, elem_id="account"
        ) as self.account:
            self.account_list = panel(elem_classes="segdemo-account", elem_id="account-list")
            self.account_csv = gr.DownloadButton("Download as CSV", size="sm", elem_id="account-csv")
        with gr.Row(visible=False, elem_classes="segdemo-bar", elem_id="undo-bar") as self.undo_bar:
            self.undo_text = panel(elem_classes="segdemo-said")
            self.undo = button("Undo", "undo", min_width=80, scale=0)
        self.hint = panel(
            html(
                '<p class="segdemo-hint"><span>Create or choose a collection, add photos, and pick one from the list '
                "to label it here.<br>To correct a prediction, press <b>Correct this mask</b> in Segment.</span></p>"
            ),
            elem_id="annotate-hint",
        )
        with gr.Column(visible=False) as self.desktop:
            with gr.Row(elem_classes="segdemo-bar"):
                self.photo_title = panel(elem_classes="segdemo-photo-title", elem_id="annotate-title")
                self.model = unchecked(
                    gr.Dropdown(
                        [("no model", NOTHING)],
                        value=NOTHING,
                        label="Start from the prediction of",
                        min_width=180,
                        elem_id="start-model",
                    )
                )
                self.delete = button("Delete photo", "photo-delete", min_width=110, scale=0)
            self.canvas = canvas.mask_canvas(
                on_save=self.desk.save,
                on_import=self.desk.read_mask,
                on_select=self.desk.services.clicks.answering(self.desk.photo_of),
                on_features=self.desk.services.teaching.answering(self.desk.photo_of),
                elem_id="annotate-canvas",
            )
            with gr.Accordion(
                "Earlier masks of this photo", open=False, visible=False, elem_id="revisions-box"
            ) as self.history:
                self.revisions = unchecked(gr.Radio([], label="Revisions, newest first", elem_id="revisions"))
                self.restore = button("Restore this one", "revision-restore", interactive=False)
