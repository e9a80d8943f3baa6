"""The components of the Train tab and how they are arranged."""

from pathlib import Path

import gradio as gr

from segdemo.core.settings import spaces_sign_in
from segdemo.ui.components import run_chart, run_list, run_log, run_samples
from segdemo.ui.inputs import unchecked
from segdemo.ui.markup import html, panel
from segdemo.ui.tabs.train import form as train_form

_STYLE = (Path(__file__).parent / "train.css").read_text("utf-8")
CSS = _STYLE + run_list.CSS + run_chart.CSS
_HINT = html(
    '<p class="segdemo-hint">No run yet. Choose a model and what it should learn from, and start: you can watch it '
    "learn here, close the page, and come back.</p>"
)


class Layout:
    """The components, built inside the current Blocks.

    Args:
        services: the page's ``Services``.
        tabs: the ``gr.Tabs`` of the page.
        shown: the ``segment.Shown`` of the Segment tab.

    Attributes:
        inputs: what every event of the tab may read.
        outputs: what it may change.
    """

    def __init__(self, services, tabs, shown):
        self.services, self.tabs, self.shown = services, tabs, shown
        self.policy = services.runs.policy
        self.timer = gr.Timer(10, active=False)
        self.chosen = gr.State(None)  # id of the run that is looked at
        self.seen = gr.State({})  # component id -> what it shows, so that only what is new is sent
        self.request = gr.State(None)  # one id for one wish to start, however often it is clicked
        self.base = gr.State(None)  # settings of the run whose clone the form shows
        self.asked_for = gr.State(None)  # the form when its time was estimated last
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
            *(self.chosen, self.seen, self.request, self.base, self.asked_for, self.remembered),
            *(self.token, self.new_title, self.shown.model, self.shown.other),
        }
        self.outputs = [
            *self.form,
            *(self.tabs, self.timer, self.chosen, self.seen, self.request, self.base, self.asked_for),
            *(
                self.remembered,
                self.policy_note,
                self.summary,
                self.details,
                self.estimate,
                self.begin,
                self.notice,
            ),
            *(self.hint, self.runs, self.body, self.head, self.stop, self.resume, self.clone, self.rename),
            *(self.delete, self.renaming, self.new_title, self.deleting, self.curves, self.result),
            *(self.promoting, self.promote, self.force, self.rollback, self.use, self.samples, self.origin),
            *(self.log, self.shown.model, self.shown.other),
        ]

    def _form(self):
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
            with gr.Group():
                self.title = gr.Textbox(label="Name of the result", max_lines=1, elem_id="train-title")
                with gr.Row(elem_classes="tr-fields"):
                    self.epochs = self._number("Epochs", "train-epochs")
                    self.learning_rate = gr.Number(
                        label="Learning rate", step=0.0001, min_width=80, elem_id="train-rate"
                    )
                    self.size = self._number("Crop, px", "train-size", step=32)
                with gr.Row(elem_classes="tr-fields"):
                    self.loss = gr.Dropdown(
                        train_form.LOSSES,
                        value="cross_entropy_dice",
                        label="Loss",
                        min_width=120,
                        elem_id="train-loss",
                    )
                    self.frozen = gr.Dropdown(
                        train_form.FROZEN, value="", label="Encoder", min_width=120, elem_id="train-frozen"
                    )
            with gr.Accordion("More settings", open=False, elem_id="train-more"):
                with gr.Row(elem_classes="tr-fields"):
                    self.batch = self._number("Photos a step", "train-batch")
                    self.steps_per_epoch = self._number(
                        "Steps an epoch", "train-steps", info="0: all photos once"
                    )
                self.augment = gr.Dropdown(
                    train_form.AUGMENTATIONS,
                    value="strong",
                    label="Variations of each photo",
                    elem_id="train-augment",
                )
                with gr.Row(elem_classes="tr-fields"):
                    self.early_stopping = self._number(
                        "Patience, epochs", "train-patience", info="0: never stop early"
                    )
                    self.validation_photos = self._number("Photos watched", "train-watched", info="0: all")
                self.seed = self._number("Seed", "train-seed")
            self.token = gr.Textbox(
                label="Training token",
                type="password",
                max_lines=1,
                visible=self.policy.training == "token",
                elem_id="train-token",
            )
            if self.policy.training == "users" and spaces_sign_in():
                gr.LoginButton()
            self.estimate = panel(padding=False, elem_classes="tr-estimate", elem_id="train-estimate")
            self.begin = gr.Button("Start training", variant="primary", elem_id="train-begin")

    def _number(self, label, elem_id, step=1, info=None):
        # Without limits: Gradio would answer a value beyond them with a message at every tick of the timer.
        return gr.Number(label=label, info=info, step=step, precision=0, min_width=80, elem_id=elem_id)

    def _stage(self):
        self.notice = panel(visible=False, elem_classes="segdemo-said", elem_id="train-notice")
        self.hint = panel(_HINT, elem_id="train-hint")
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
                panel(
                    html(
                        "<p>Delete this run with its checkpoints, pictures and log? A model it ended in stays.</p>"
                    )
                )
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

    def _button(self, text, elem_id, variant="secondary"):
        width = 8 * len(text) + 32
        return gr.Button(text, size="sm", variant=variant, min_width=width, scale=0, elem_id=elem_id)
