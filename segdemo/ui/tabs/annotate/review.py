"""The part of the Annotate tab in which masks are reviewed: regions, near-duplicates, and the balance of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.arrays import UInt8
from segdemo.core.conventions import number_of
from segdemo.core.files import StoreError
from segdemo.core.labels import LabelSet
from segdemo.core.photos import encode_jpeg
from segdemo.ui.components.review_card import review_card
from segdemo.ui.events import Event, Updates, components
from segdemo.ui.guard import person
from segdemo.ui.inputs import button, notice
from segdemo.ui.markup import html, join, panel
from segdemo.ui.served import served_bytes
from segdemo.ui.tabs.annotate.desk import Desk, some
from segdemo.ui.tabs.annotate.reviewing import Finding, Report, Reviewing, balance

if TYPE_CHECKING:
    from segdemo.ui.tabs.annotate.tab import AnnotateTab

AROUND = 0.6  # of a region's size that is shown on each side of it
LONGEST = 480  # pixels of the longer side of a picture of it
PAIRS = 50  # of near-duplicates that are listed


class Review:
    """The components, built inside the current Blocks, and what happens on their events.

    Args:
        desk: the ``Desk``.

    Attributes:
        outputs: what events may change.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk, self.reviewing = desk, Reviewing(lambda: desk.store)
        self.start = button("Look for mistakes", "review-start", variant="primary", min_width=60)
        self.about = panel(padding=False, elem_id="review-about")
        self.card = review_card("#review-start", elem_id="review-card")
        self.pairs = panel(padding=False, elem_id="review-pairs", elem_classes="segdemo-account")
        self.repair = button("Put each pair into one subset", "review-repair", visible=False)
        self.balance = panel(padding=False, elem_id="review-balance", elem_classes="segdemo-account")
        self.outputs = components(self)

    def connect(self, tab: AnnotateTab, on: Callable[..., Any]) -> None:
        """Listen to the components; ``on`` is ``Events.on`` of the tab."""
        self._tab = tab
        on(self.start.click, self._look, progress_on=self.start, inputs={tab.collection}, **tab.long)
        # Each of them: a region that is opened may be decided about at once.
        on(self.card.decide, self._decide, inputs=tab.looks, trigger_mode="multiple")
        on(self.repair.click, self._repair, inputs={tab.collection})

    def shown(self, name: str) -> Updates:
        """All about the last review of a collection, or nothing yet."""
        report = self.reviewing.report(name)
        if report is None:
            empty: Updates = {self.about: "", self.card: None, self.pairs: "", self.balance: ""}
            return {**empty, self.repair: gr.update(visible=False)}
        collection = self.desk.store.open(name)
        photos = collection.photos(annotated=True, sort="source", per_page=1_000_000).photos
        names = {photo.id: photo.source for photo in photos}
        splits = {photo.id: photo.split for photo in photos}
        across = [pair for pair in report.duplicates if pair.across]
        amounts, without = balance(photos, collection.label_set)
        rows = join(
            html(
                "<tr><td>{}</td><td>{}</td><td>{:.1f} %</td></tr>",
                one.name,
                one.photos or "none",
                100 * one.share,
            )
            for one in amounts
        )
        pairs = join(
            html(
                "<tr><td>{}</td><td>{}</td><td>{:.2f}</td></tr>",
                *(f"{names.get(id_, id_)} ({splits.get(id_, '')})" for id_ in (pair.first, pair.second)),
                pair.similarity,
            )
            for pair in report.duplicates[:PAIRS]
        )
        header = "<tr><th>Class</th><th>Photos</th><th>Of all labelled pixels</th></tr>"
        alone = (
            f"Photos that show none but the background: {some([p.source for p in without])}."
            if without
            else ""
        )
        return {
            self.about: html("<p>{}</p>", _sentence(report)),
            self.card: self._next(name, report),
            self.pairs: html(
                "<p>Photos that look nearly the same:</p><table><tr><th>Photo</th><th>Photo</th><th>Alike</th></tr>{}"
                "</table>",
                pairs,
            )
            if report.duplicates
            else "",
            self.repair: gr.update(visible=bool(across)),
            self.balance: html(f"<table>{header}{{}}</table><p>{{}}</p>", rows, alone),
        }

    def _next(self, name: str, report: Report) -> dict[str, Any] | None:
        """The value of the card: the worst region that still can be decided about."""
        for finding in report.findings:
            try:
                return self._card(name, finding)
            except StoreError:  # its mask was changed since: that is another review's
                continue
        return None

    def _card(self, name: str, finding: Finding) -> dict[str, Any]:
        collection = self.desk.store.open(name)
        suggested, saved = self.reviewing.suggestion(name, finding), collection.load(finding.photo)
        if saved is None:
            raise StoreError("This photo has no mask any more: look for mistakes again.")
        image = self.desk.services.photos.read(collection.image_path(finding.photo))
        classes = collection.label_set.classes
        source = collection.photo(finding.photo).source
        was, is_ = classes[finding.saved], classes[finding.suggested]
        return {
            "number": finding.number,
            "title": f"{source}: is this {was}, or {is_}?",
            "saved": _picture(image, saved, finding.box, collection.label_set, "saved"),
            "suggested": _picture(image, suggested, finding.box, collection.label_set, "suggested"),
            "was": f"The mask: {was}",
            "is": f"Suggested: {is_}",
        }

    def _look(self, event: Event) -> Updates:
        name = event[self._tab.collection]
        self.reviewing.look(name, lambda done, total: event.progress((done, total), unit="photos"))
        return self.shown(name)

    def _decide(self, event: Event) -> Updates:
        name, answer, number = event[self._tab.collection], event.data.answer, event.data.number
        if answer == "open":
            finding = self.reviewing.finding(name, number)
            return self._tab.open_at(event, name, finding.photo, finding.box)
        author = person(event.request)  # type: ignore[arg-type]  # as in Desk.save
        try:
            if answer == "keep":
                self.reviewing.keep(name, number)
                return self.shown(name)
            if answer != "take":
                raise StoreError("Keep the mask, take what is suggested, or open it.")
            photo = self.reviewing.finding(name, number).photo
            self.reviewing.take(name, number, author)
        except StoreError as error:
            return {**self.shown(name), self._tab.notice: notice(str(error), alert=True)}
        updates = self._tab.open_at(event, name, photo) if photo == event[self._tab.opened] else {}
        return {**updates, **self._tab.listing(event, name), **self.shown(name)}

    def _repair(self, event: Event) -> Updates:
        name = event[self._tab.collection]
        moved = self.reviewing.repair(name)
        said = "Nothing was moved: those photos are all there is of two subsets."
        if moved:
            photos = number_of(len(moved), "photo")
            said = f"{photos} moved: none that look nearly the same are learned from and measured on."
        return {**self.shown(name), self._tab.notice: notice(said)}


def _sentence(report: Report) -> str:
    if report.said:
        return report.said
    left = len(report.findings)
    judged = f"{number_of(report.reviewed, 'mask')} judged by what the others teach"
    to_look_at = f"{number_of(left, 'region')} to look at, worst first" if left else "nothing to look at"
    return f"{judged}: {to_look_at}."


def _picture(
    image: UInt8, label_map: UInt8, box: tuple[int, int, int, int], label_set: LabelSet, name: str
) -> dict[str, Any]:
    """A photo around a box with a label map laid over it."""
    left, top, right, bottom = box
    x, y = (max(16, round(AROUND * side)) for side in (right - left, bottom - top))
    part = slice(max(0, top - y), bottom + y), slice(max(0, left - x), right + x)
    shown = Image.fromarray(label_maps.overlay(np.ascontiguousarray(image[part]), label_map[part], label_set))
    shown.thumbnail((LONGEST, LONGEST))
    return served_bytes(encode_jpeg(np.asarray(shown), 88), f"{name}.jpg")
