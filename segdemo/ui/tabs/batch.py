"""The Batch tab: many photos or ZIPs of them through one model, and one ZIP of the results.

The work goes on in ``inference.jobs``, whoever looks; a timer asks how far it is. A job is its owner's alone. Somebody
whose browser keeps no cookies has it by its id, which the page remembers in the browser's own storage.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from segdemo import zoo
from segdemo.core import settings
from segdemo.core.files import NotFoundError
from segdemo.inference.batch_formats import FORMATS
from segdemo.inference.jobs import Job
from segdemo.runs.estimates import duration
from segdemo.ui.components.scroll import scroll_to
from segdemo.ui.events import Event, Events, Updates, components
from segdemo.ui.guard import asker, certain_person
from segdemo.ui.inputs import button, notice, notice_board, unchecked, upload
from segdemo.ui.markup import definitions, html, join, numbered_steps, panel
from segdemo.ui.photos import built_in_paths, suiting
from segdemo.ui.served import linked
from segdemo.ui.services import Services
from segdemo.ui.tabs.segment import FIRST_MODEL

TAB = "batch"  # id of the tab
LOOK_SECONDS = 1.5  # between two looks at a job that has not ended
KEEP_SECONDS = 600  # between two looks at one that has, which keep its ZIP in Gradio's cache
SHOWN = 100  # photos that failed, listed on the page; all are in the ZIP
CSS = Path(__file__).with_name("batch.css").read_text("utf-8")
# Files that came while others were sent stay.
_LEFT = "(files, sent) => [((left) => (left.length ? left : null))"
_LEFT += "((files || []).filter((file) => !sent.includes(file.path)))]"
_SEE_JOB = scroll_to("#batch-stage", "start", delay=150, widest=800)
_STEPS = (  # picture, what to do, how
    (
        "M4 7h12v12H4zM8 7V4h12v12h-4M4 16l4-4 3 3 2-2 3 3",
        "Choose photos",
        "Drop as many as you like, or a ZIP of them, from wherever they are.",
    ),
    (
        "M12 3l8 4.5-8 4.5-8-4.5zM4 12l8 4.5 8-4.5M4 16.5L12 21l8-4.5",
        "Say what to write",
        "Label maps for programs, overlays to look at, cut-outs for designs, COCO and CSV for tables.",
    ),
    (
        "M12 4v11M7.5 11L12 15.5 16.5 11M5 20h14",
        "Take the ZIP",
        "Close the page if you like: the work goes on, and is here when you come back within a day.",
    ),
)
_STATES = {"running": "at work", "done": "done", "cancelled": "cancelled", "failed": "failed"}


def build(services: Services, tab: gr.Tab, tabs: gr.Tabs) -> None:
    """Add what is in the tab, whose id is ``TAB``, to the Blocks being built. ``tabs`` are all of them."""
    BatchTab(services).connect(tab, tabs)


class BatchTab:
    """The components, and what happens on their events."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self.job = gr.State(None)  # id of the job that is shown
        self.shown = gr.State(0)  # previews that the page has
        self.sent = gr.JSON([], visible=False)  # paths of the files that were put into a job
        self.remembered = gr.BrowserState({"job": None}, storage_key="segdemo-batch", secret="segdemo-batch")
        with gr.Row():
            with gr.Column(scale=4, min_width=300, elem_id="batch-form"):
                self._form()
            with gr.Column(scale=11, min_width=320, elem_id="batch-stage"):
                self._stage()
        self.inputs = {self.files, self.model, self.formats, self.job, self.shown, self.remembered}
        self.outputs = components(self)

    def _form(self) -> None:
        panel(html('<h2 class="tr-title">New batch</h2>'), padding=False)
        self.files = upload(
            "Photos, or ZIPs of photos",
            "batch-files",
            file_count="multiple",
            show_label=False,
        )
        models = self.services.choices()
        first = FIRST_MODEL if FIRST_MODEL in self.services.models() else models[0][1]
        self.model = unchecked(gr.Dropdown(models, value=first, label="Model", elem_id="batch-model"))
        self.formats = gr.CheckboxGroup(
            [(format.title, format.name) for format in FORMATS.values()],
            value=["label_map", "overlay"],
            label="Put into the ZIP",
            elem_id="batch-formats",
        )
        self.begin = gr.Button("Segment all", variant="primary", elem_id="batch-begin")
        self.sample = button("Try it with our photos", "batch-sample", visible=bool(built_in_paths()))
        most, most_gb = settings.read("SEGDEMO_MAX_BATCH_PHOTOS"), settings.read("SEGDEMO_MAX_BATCH_GB")
        told = [f"{most:,} photos"] * bool(most) + [f"{most_gb:g} GB"] * bool(most_gb)
        limits = html("<p>{}Gone after a day.</p>", f"Up to {' and '.join(told)} at a time. " if told else "")
        panel(limits, padding=False, elem_classes="tr-summary")

    def _stage(self) -> None:
        self.notice = notice_board("batch-notice")
        self.hint = panel(numbered_steps(_STEPS, 0), elem_id="batch-hint")
        with gr.Column(visible=False, elem_classes="ba-job", elem_id="batch-job") as self.body:
            self.head = panel(padding=False, elem_id="batch-head")
            with gr.Row(elem_classes="tr-buttons"):
                self.download = gr.DownloadButton(
                    "Download", size="sm", variant="primary", visible=False, elem_id="batch-download", scale=0
                )
                self.cancel = button("Cancel", "batch-cancel", variant="stop", min_width=90, scale=0)
                self.resume = button("Resume", "batch-resume", variant="primary", min_width=90, scale=0)
                self.delete = button("Delete", "batch-delete", min_width=90, scale=0)
            self.previews = panel(padding=False, elem_id="batch-previews")
            with gr.Accordion("Photos that could not be used", open=False, visible=False) as self.failures:
                self.failed = panel(padding=False, elem_classes="segdemo-account", elem_id="batch-failed")

    def connect(self, tab: gr.Tab, tabs: gr.Tabs) -> None:
        """Listen to every component, to the tab, and to leaving it."""
        on = Events(self.notice, self.inputs, self.outputs, "batch").on
        on(tab.select, self._enter, quiet=True)
        left = [self.notice, self.timer]
        on(tabs.select, self._leave, quiet=True, inputs=set(), outputs=left, queue=False)
        on(self.timer.tick, self._tick, quiet=True)
        # Thousands of photos take long to take in: looks at the job do not wait for that.
        slow: dict[str, Any] = {"concurrency_id": "batch-begins", "concurrency_limit": 2}
        begun = on(self.begin.click, self._begin, progress_on=self.begin, always={self.sent: []}, **slow)
        begun.then(None, [self.files, self.sent], self.files, js=_LEFT, api_visibility="private")
        begun.then(**_SEE_JOB)
        on(self.sample.click, self._try, progress_on=self.sample, **slow).then(**_SEE_JOB)
        on(self.cancel.click, lambda event: self._change(event, "cancel"))
        on(self.resume.click, lambda event: self._change(event, "resume"))
        on(self.delete.click, self._delete)

    def _enter(self, event: Event) -> Updates:
        """The tab is opened: show the job that the visitor has, also after a reload."""
        names = {entry.alias_of or name: name for name, entry in self.services.models().items()}
        now, chosen = event[self.model], names.get(event[self.model], event[self.model])
        # What was chosen meanwhile stays.
        models = gr.update(choices=self.services.choices(), **({} if now == chosen else {"value": chosen}))
        event.form[self.shown] = 0
        return {self.model: models, **self._look(event, self._found(event))}

    def _leave(self, event: Event) -> Updates:
        """Another tab is opened: nobody looks, so the timer rests."""
        return {} if event.data.value == "Batch" else {self.timer: gr.Timer(active=False)}

    def _found(self, event: Event) -> Job | None:
        owner = _owner(event)
        if job := self.services.jobs.of(owner):
            return job
        try:
            remembered = event[self.job] or (event[self.remembered] or {}).get("job")
            return self.services.jobs.get(str(remembered), owner)
        except NotFoundError:
            return None

    def _begin(self, event: Event) -> Updates:
        files = event[self.files] or []
        return {**self._submit(event, files), self.sent: [str(file) for file in files]}

    def _try(self, event: Event) -> Updates:
        """Photos of ours that suit the model, for whoever has none at hand."""
        entry = zoo.served_model(event[self.model] or "")
        return self._submit(event, list(suiting(entry.label_set).values()))

    def _submit(self, event: Event, files: Sequence[str | Path]) -> Updates:
        model, formats = event[self.model] or "", event[self.formats] or []
        job = self.services.jobs.submit(_owner(event), files, model, formats, asker(event.request.request))
        event.form[self.shown] = 0
        return self._look(event, job)

    def _tick(self, event: Event) -> Updates:
        """It is time to look: the timer may have been stopped meanwhile, and only its pace is changed."""
        job = self._found(event)
        pace = gr.update(value=KEEP_SECONDS if job is None or job.ended else LOOK_SECONDS)
        return {**self._look(event, job), self.timer: pace}

    def _change(self, event: Event, what: str) -> Updates:
        owner = _owner(event)
        getattr(self.services.jobs, what)(event[self.job], owner)
        return self._look(event, self.services.jobs.get(event[self.job], owner))

    def _delete(self, event: Event) -> Updates:
        self.services.jobs.delete(event[self.job], _owner(event))
        event.form.update({self.job: None, self.remembered: {"job": None}})
        return {
            **self._look(event, self._found(event)),
            self.notice: notice("The batch and its results are deleted."),
        }

    def _look(self, event: Event, job: Job | None) -> Updates:
        """How a job is doing."""
        updates: Updates = {
            self.hint: gr.update(visible=job is None),
            self.body: gr.update(visible=job is not None),
            self.timer: gr.Timer(KEEP_SECONDS if job and job.ended else LOOK_SECONDS, active=job is not None),
            self.job: job.id if job else None,
            self.remembered: {"job": job.id if job else None},
            **{b: gr.update(interactive=job is None or job.ended) for b in (self.begin, self.sample)},
        }
        if job is None:
            return {**updates, self.previews: ""}
        state = job.progress.state
        previews = job.previews()
        if job.id != event[self.job] or len(previews) != event[self.shown]:
            updates |= {self.previews: _pictures(previews), self.shown: len(previews)}
        if result := job.result:
            label = f"Download ZIP ({result.stat().st_size / 1e6:.1f} MB)"
            name = f"segdemo-{job.wish.photos}-photos.zip"
            updates[self.download] = gr.update(value=str(linked(result, name)), label=label, visible=True)
        else:
            updates[self.download] = gr.update(visible=False)
        return {
            **updates,
            self.head: head(job),
            self.cancel: gr.update(visible=not job.ended),
            self.resume: gr.update(visible=state in ("cancelled", "failed")),
            self.delete: gr.update(visible=job.ended),
            self.failures: gr.update(visible=bool(job.progress.failed)),
            self.failed: _failures(job),
        }


def head(job: Job) -> Markup:
    """HTML of what a job is, how far it is, and how long it will take."""
    wish, progress = job.wish, job.progress
    served = zoo.served_models().get(wish.model)
    what = ", ".join(FORMATS[name].title for name in wish.formats if name in FORMATS)
    share = (progress.done + progress.failed) / max(1, wish.photos)
    facts = {"Done": f"{progress.done:,} of {wish.photos:,}"}
    if progress.failed:
        facts["Could not be used"] = f"{progress.failed:,}"
    if wish.left_out:
        facts["Files that are no photos"] = f"{wish.left_out:,}"
    if progress.seconds_left is not None and progress.state == "running":
        facts["Left"] = duration(progress.seconds_left)
    if job.before:
        facts["Place in line"] = f"{job.before + 1}"
    return html(
        '<div class="tr-head"><header><h2>{} with {}</h2><span class="ba-state {}">{}</span></header><p>{}</p>{}'
        '<div class="tr-bar {}" role="progressbar" aria-label="Photos done" aria-valuemin="0" aria-valuemax="100" '
        'aria-valuenow="{:.0f}"><i style="width:{:.1f}%"></i></div><dl>{}</dl></div>',
        f"{wish.photos:,} photo{'' if wish.photos == 1 else 's'}",
        served.title if served else wish.model,
        progress.state,
        state_in_words(job),
        what,
        html('<p role="alert">{}</p>', progress.message) if progress.message else "",
        progress.state,
        100 * share,
        100 * share,
        definitions(facts.items()),
    )


def state_in_words(job: Job) -> str:
    """What a job is doing, with its place in line if it waits."""
    if job.progress.state == "queued":
        if not job.before:
            return "begins in a moment"
        return f"waits: {job.before} {'batch is' if job.before == 1 else 'batches are'} before it"
    if job.progress.waits:
        return "waits until the cluster has room"
    return _STATES.get(job.progress.state, job.progress.state)


def _owner(event: Event) -> str:
    return certain_person(event.request.request)


def _pictures(paths: list[Path]) -> Markup:
    """Small pictures, in the page itself: they are nobody else's."""
    images = (
        html(
            '<img src="data:image/jpeg;base64,{}" alt="A photo under its mask">',
            base64.b64encode(p.read_bytes()).decode(),
        )
        for p in paths
    )
    return html('<div class="ba-previews">{}</div>', join(images)) if paths else Markup()


def _failures(job: Job) -> Markup:
    rows = (job.progress.why or [])[:SHOWN]
    more = job.progress.failed - len(rows)
    body = join(html("<tr><td>{}</td><td>{}</td></tr>", *row) for row in rows)
    rest = html("<p>{} more are in not_segmented.txt of the ZIP.</p>", more) if more > 0 else ""
    return html("<table><tr><th>photo</th><th>why</th></tr>{}</table>{}", body, rest)
