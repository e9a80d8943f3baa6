"""The components of the Train tab and how they are arranged."""

from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from segdemo.ui.components import run_chart, run_list, run_log, run_samples
from segdemo.ui.events import components
from segdemo.ui.inputs import button, notice_board, unchecked
from segdemo.ui.markup import html, numbered_steps, panel
from segdemo.ui.services import Services
from segdemo.ui.tabs.segment import SegmentTab
from segdemo.ui.tabs.train import form as train_form

_STYLE = (Path(__file__).parent / "train.css").read_text("utf-8")
CSS = _STYLE + run_list.CSS + run_chart.CSS
_STEPS = (  # picture, what to do, how
    (
        "M20 4c-4 1.5-8.5 5.5-10.5 9L12 15.5c3.5-2 7-6.5 8-11.5z"
        "M9 13.5c-2 0-3.5 1.5-3.5 3.5 0 1.5-.8 2.5-2 3 4.5 1 8-1 8-4",
        "Label a few photos",
        "In Annotate, with classes of your own. Ten are enough for things like those a model knows.",
    ),
    (
        "M7 5l11 7-11 7z",
        "Start",
        "Choose a model to begin with and how long it may take. It learns on this machine; close the page if you like.",
    ),
    (
        "M4 19h16M5 15l4-5 4 3 6-8",
        "Watch, try, promote",
        "Scores and pictures after each epoch. What comes out can be tried in Segment at once.",
    ),
)
_PRESETS = [(name.capitalize(), name) for name in train_form.PRESETS]
_REALLY = "Delete this run with its checkpoints, pictures and log? A model it ended in stays."


class Layout:
    """The components, built inside the current Blocks.

    Args:
        services: the page's ``Services``.
        tabs: the ``gr.Tabs`` of the page.
        segment: the ``SegmentTab``.

    Attributes:
        inputs: what every event of the tab may read.
        outputs: what it may change.
    """

    def __init__(self, services: Services, tabs: gr.Tabs, segment: SegmentTab):
        self.services, self.tabs, self.segment = services, tabs, segment
        self.policy = services.policy
        self.timer = gr.Timer(10, active=False)
        self.chosen = gr.State(None)  # id of the run that is looked at
        self.seen = gr.State({})  # component id -> what it shows, so that only what is new is sent
        self.request = gr.State(None)  # one id for one wish to start, however often it is clicked
        self.base = gr.State(None)  # the ``form.Original`` whose clone the form shows
        self.estimated_form = gr.State(None)  # the form when its time was estimated last
        self.remembered = gr.BrowserState({"run": None}, storage_key="segdemo-train", secret="segdemo-train")
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id="train-form"):
                self._form()
            with gr.Column(scale=11, min_width=320, elem_id="train-stage"):
                self._stage()
        self.fields = {name: getattr(self, name) for name in train_form.FIELDS}
        self.form = [self.start, self.source, self.title, *self.fields.values()]
        self.inputs = {
            *self.form,
            *(self.chosen, self.seen, self.request, self.base, self.estimated_form, self.remembered),
            *(self.preset, self.token, self.new_title, self.segment.model, self.segment.other),
        }
        self.outputs = [*components(self), self.segment.model, self.segment.other]

    def _form(self) -> None:
        panel(html('<h2 class="tr-title">New run</h2>'), padding=False)
        self.policy_note = panel(visible=False, elem_classes="segdemo-said", elem_id="train-policy")
        starts, sources = train_form.starts(self.services), train_form.sources(self.services)
        self.start = unchecked(
            gr.Dropdown(starts, value=None, label="Start from", elem_id="train-start", filterable=True)
        )
        self.source = unchecked(gr.Dropdown(sources, value=None, label="Learn from", elem_id="train-source"))
        self.summary = panel(padding=False, elem_classes="tr-summary", elem_id="train-summary")
        # Nothing can be set for a run that has nothing to learn from.
        with gr.Column(visible=bool(sources), elem_classes="tr-details") as self.details:
            self.title = gr.Textbox(label="Name of the result", max_lines=1, elem_id="train-title")
            self.preset = gr.Radio(_PRESETS, value="good", label="How long", elem_id="train-preset")
            self.estimate = panel(padding=False, elem_classes="tr-estimate", elem_id="train-estimate")
            with gr.Accordion("More settings", open=False, elem_id="train-more"):
                with gr.Row(elem_classes="tr-fields"):
                    self.epochs = self._number("Epochs", "train-epochs")
                    self.learning_rate = self._number(
                        "Learning rate", "train-rate", step=0.0001, precision=None
                    )
                with gr.Row(elem_classes="tr-fields"):
                    self.size = self._number("Crop, px", "train-size", step=32)
                    self.batch = self._number("Photos a step", "train-batch")
                with gr.Row(elem_classes="tr-fields"):
                    self.loss = self._choice("Loss", "train-loss", train_form.LOSSES, min_width=120)
                    self.frozen = self._choice("Encoder", "train-frozen", train_form.FROZEN, min_width=120)
                self.augment = self._choice(
                    "Variations of each photo", "train-augment", train_form.AUGMENTATIONS
                )
                with gr.Row(elem_classes="tr-fields"):
                    self.steps_per_epoch = self._number(
                        "Steps an epoch", "train-steps", info="0: all photos once"
                    )
                    self.early_stopping = self._number(
                        "Patience, epochs", "train-patience", info="0: never stop early"
                    )
                with gr.Row(elem_classes="tr-fields"):
                    self.validation_photos = self._number("Photos watched", "train-watched", info="0: all")
                    self.seed = self._number("Seed", "train-seed", info="of all that is random")
            self.token = gr.Textbox(
                label="Training token",
                type="password",
                max_lines=1,
                visible=self.policy.training == "token",
                elem_id="train-token",
            )
            self.begin = gr.Button("Start training", variant="primary", elem_id="train-begin")

    def _number(self, label: str, elem_id: str, **kwargs: Any) -> gr.Number:
        # Without limits: Gradio would answer a value beyond them with a message at every tick of the timer.
        return gr.Number(
            label=label, elem_id=elem_id, **{"step": 1, "precision": 0, "min_width": 80, **kwargs}
        )

    def _choice(self, label: str, elem_id: str, choices: list[tuple[str, str]], **kwargs: Any) -> gr.Dropdown:
        return gr.Dropdown(choices, value=choices[0][1], label=label, elem_id=elem_id, **kwargs)

    def _stage(self) -> None:
        self.notice = notice_board("train-notice")
        self.hint = panel(steps(False), elem_id="train-hint")
        self.runs = run_list.run_list(elem_id="train-runs")
        with gr.Column(visible=False, elem_id="train-run") as self.body:
            self.head = panel(padding=False, elem_id="train-head")
            with gr.Row(elem_classes="tr-buttons"):
                self.stop = self._button("Cancel", "train-cancel", variant="stop")
                self.resume = self._button("Resume", "train-resume", variant="primary")
                self.clone = self._button("Clone settings", "train-clone")
                self.rename = self._button("Rename", "train-rename")
                self.delete = self._button("Delete", "train-delete")
            with gr.Row(visible=False, elem_classes="tr-ask") as self.renaming:
                self.new_title = gr.Textbox(
                    label="New name", max_lines=1, scale=3, min_width=160, elem_id="train-new-title"
                )
                self.save_title = self._button("Save", "train-save-title", variant="primary")
                self.keep_title = self._button("Keep the old one", "train-keep-title")
            with gr.Row(visible=False, elem_classes="tr-ask") as self.deleting:
                panel(html("<p>{}</p>", _REALLY))
                self.really = self._button("Delete it", "train-really", variant="stop")
                self.keep = self._button("Keep it", "train-keep")
            self.result = panel(padding=False, visible=False, elem_id="train-result")
            with gr.Row(visible=False, elem_classes="tr-buttons") as self.promoting:
                self.use = self._button("Try it in Segment", "train-use", variant="primary")
                self.promote = self._button("Promote", "train-promote")
                self.force = self._button("Promote anyway", "train-force", variant="stop")
                self.rollback = self._button("Roll back", "train-rollback")
            self.curves = panel(padding=False, elem_id="train-curves")
            self.samples = run_samples.run_samples(elem_id="train-samples")
            with gr.Accordion("Log", open=False, elem_id="train-log-box"):
                self.log = run_log.run_log(elem_id="train-log")
            with gr.Accordion("Where it comes from", open=False, elem_id="train-origin-box"):
                self.origin = panel(padding=False, elem_id="train-origin")

    def _button(self, text: str, elem_id: str, variant: str = "secondary") -> gr.Button:
        return button(text, elem_id, variant=variant, min_width=8 * len(text) + 32, scale=0)


def steps(labelled: bool) -> Markup:
    """What there is to do until a model has learned, in three steps; the first is done if something is labelled."""
    return numbered_steps(_STEPS, int(labelled))
