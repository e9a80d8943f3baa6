"""The part of the Annotate tab in which what was painted labels the rest: drafts, and on to training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from segdemo.annotations import drafts, strokes
from segdemo.core.conventions import number_of
from segdemo.core.files import StoreError
from segdemo.ui.events import Event, Updates, components
from segdemo.ui.guard import person
from segdemo.ui.inputs import button, notice
from segdemo.ui.markup import html, join, panel
from segdemo.ui.tabs.annotate import lessons
from segdemo.ui.tabs.annotate.desk import Desk, some

if TYPE_CHECKING:
    from segdemo.ui.tabs.annotate.tab import AnnotateTab

SECONDS = 1  # between two looks at a job


class Rest:
    """The components, built inside the current Blocks, and what happens on their events.

    Args:
        desk: the ``Desk``.

    Attributes:
        outputs: what events may change.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.timer = gr.Timer(SECONDS, active=False)
        self.seen = gr.State(-1)  # how many photos of the running job the list shows
        self.about = panel(padding=False, elem_id="rest-about")
        with gr.Row(elem_classes="segdemo-slim"):
            self.start = button("Label the rest", "rest-start", variant="primary", min_width=60)
            self.cancel = button("Cancel", "rest-cancel", variant="stop", min_width=60, interactive=False)
        self.least = gr.Slider(0, 100, 90, step=1, label="Surer than, %", elem_id="rest-least")
        with gr.Row(elem_classes="segdemo-slim"):
            self.take = button("Take over all drafts surer than that", "rest-take", min_width=60)
            self.discard = button("Throw all drafts away", "rest-discard", min_width=60)
        self.with_drafts = gr.Checkbox(False, label="Learn from drafts, too", elem_id="rest-drafts")
        with gr.Row(elem_classes="segdemo-slim"):
            self.fine_tune = button("Fine-tune from here", "rest-train", min_width=60)
        self.outputs = components(self)

    def connect(self, tab: AnnotateTab, on: Callable[..., Any]) -> None:
        """Listen to the components; ``on`` is ``Events.on`` of the tab."""
        self._tab = tab
        on(self.start.click, self._start, inputs=tab.looks, **tab.long)
        on(self.cancel.click, self._cancel, inputs={tab.collection})
        on(self.take.click, self._take_over, inputs={*tab.looks, self.least}, **tab.long)
        on(self.discard.click, self._discard, inputs=tab.looks)
        on(self.timer.tick, self._look, quiet=True, inputs={*tab.looks, self.seen})

    def state(self, name: str) -> Updates:
        """How far a collection is: what is painted, what has a draft, and what can be done about it."""
        collection = self.desk.store.open(name)
        painted, made = len(strokes.painted(collection)), drafts.found(collection)
        masks = len(lessons.finished(collection))
        open_ = collection.photos(annotated=False, per_page=1).total
        facts = [
            f"Learns from the strokes of Teach (G) on {number_of(painted, 'photo')} "
            f"and from {number_of(masks, 'finished mask')}.",
            f"{number_of(open_, 'photo')} without a mask, {len(made)} of them with a draft.",
        ]
        job = self.desk.prelabelling.job(name)
        running = job is not None and job.state == "running"
        if job is not None:
            facts.append(job.sentence())
        elif not painted and not masks:
            facts.append("Paint a little of each class on a photo first, or finish some masks.")
        bar = ""
        if job is not None and running:
            label = '<progress value="{}" max="{}" aria-label="Labelled so far"></progress>'
            bar = html(label, job.done, job.total)
        return {
            self.about: html("<p>{}</p>{}", join(facts, " "), bar),
            self.start: gr.update(interactive=not running),
            self.cancel: gr.update(interactive=running),
            self.take: gr.update(interactive=bool(made)),
            self.discard: gr.update(interactive=bool(made)),
            self.timer: gr.update(active=running),
        }

    def _start(self, event: Event) -> Updates:
        name = event[self._tab.collection]
        self.desk.prelabelling.start(name)
        # The collection's own model is chosen, so that photos are opened with their drafts.
        entry = lessons.taught_model(self.desk.store.open(name))
        updates: Updates = {self.seen: 0}
        if entry is not None:
            event.form[self._tab.model] = entry.name
            updates[self._tab.model] = gr.update(choices=self._tab.models(name), value=entry.name)
        return {**updates, **self._tab.listing(event, name)}

    def _cancel(self, event: Event) -> Updates:
        self.desk.prelabelling.cancel(event[self._tab.collection])
        return {self._tab.notice: notice("It stops after the photo it is at.")}

    def _look(self, event: Event) -> Updates:
        """While a job runs: the list shows each new draft, and at its end a sentence says what came of it."""
        name = event[self._tab.collection]
        job = self.desk.prelabelling.job(name) if name else None
        if job is None:
            return {self.timer: gr.update(active=False)}
        if job.state == "running" and job.done == event[self.seen]:
            return {}
        updates = {**self._tab.listing(event, name), self.seen: job.done}
        if job.state != "running":
            updates[self._tab.notice] = notice(job.sentence(), alert=job.state == "failed")
        return updates

    def _take_over(self, event: Event) -> Updates:
        name, least = event[self._tab.collection], event[self.least]
        if not isinstance(least, int | float) or not 0 <= least <= 100:
            raise StoreError("How sure a draft has to be is a number from 0 to 100.")
        author = person(event.request)  # type: ignore[arg-type]  # as in Desk.save
        taken, failed = self.desk.take_over(name, least / 100, author)
        sentences = ["1 draft is a mask now." if taken == 1 else f"{taken} drafts are masks now."]
        if not taken:
            sentences = [f"No draft is surer than {least:g} %: lower that, or open the drafts one by one."]
        if failed:
            sentences.append(f"Not taken over: {some(failed)}.")
        shown = event[self._tab.opened]
        updates = self._tab.show(event, name, shown) if shown and taken else self._tab.listing(event, name)
        return {**updates, self._tab.notice: notice(*sentences)}

    def _discard(self, event: Event) -> Updates:
        name = event[self._tab.collection]
        collection = self.desk.store.open(name)
        made = drafts.found(collection)
        drafts.discard(collection, made)
        said = f"Drafts of {number_of(len(made), 'photo')} are thrown away; Label the rest makes them anew."
        return {**self._tab.listing(event, name), self._tab.notice: notice(said)}
