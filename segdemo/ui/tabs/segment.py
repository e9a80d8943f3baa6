"""The Segment tab: pick a photo and a model, see the overlay at once, compare two models."""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup

from segdemo import zoo
from segdemo.core import label_maps, settings
from segdemo.core.labels import LabelSet
from segdemo.core.photos import IntakeError, read_photo
from segdemo.data import datasets
from segdemo.data.datasets import Dataset, DatasetError
from segdemo.data.index import by_class
from segdemo.data.pets import breed
from segdemo.errors import UserError
from segdemo.inference.predict import Prediction
from segdemo.ui.components import canvas, model_menu
from segdemo.ui.events import Event, Events, Updates
from segdemo.ui.inputs import button, notice, notice_board, photo_picker, samples, unchecked
from segdemo.ui.latest import Latest
from segdemo.ui.markup import html, panel
from segdemo.ui.photos import BuiltInPhoto, shown_as_it_is, suiting, thumbnail
from segdemo.ui.queueing import PREDICT
from segdemo.ui.served import cached
from segdemo.ui.services import Services

FIRST_MODEL = "deeplabv3"
NO_COMPARISON = "none"
PAGE = 18  # thumbnails shown of a dataset
THUMBNAIL = 160  # pixels
MOST_YOURS = 12  # photos of a visitor that stay at hand
SPREAD = "Twice the standard deviation of the answers with random dropout: 0 means that all agree."


@dataclass(frozen=True)
class Choice:
    """The photo a visitor looks at: where it is, what it is called, and its dataset sample if it has one."""

    path: str
    name: str
    dataset: str = ""
    sample: str = ""


@dataclass(frozen=True)
class SegmentTab:
    """Components that other tabs listen to: what is looked at, with which models, and the canvas.

    The canvas's event ``correct`` is the wish to correct the mask.
    """

    choice: gr.State
    model: gr.HTML
    other: gr.Dropdown
    stage: gr.HTML

    def menus(self, services: Services, model: str, other: str, passes: str = "once") -> Updates:
        """Updates of the two model menus, which keep what is chosen, or what it has become by a promotion."""
        served = services.models()
        names = {entry.alias_of or name: name for name, entry in served.items()}

        def now(chosen: str, instead: str) -> dict[str, Any]:
            value = names.get(chosen, chosen if chosen in served else instead)
            # Without the value if it stays, since the visitor may just be choosing another.
            return {} if value == chosen else {"value": value}

        choices = [("nothing", NO_COMPARISON), *services.choices()]
        return {
            self.model: gr.update(
                models=model_menu.cards(services, passes), **now(model, next(iter(served)))
            ),
            self.other: gr.update(choices=choices, **now(other, NO_COMPARISON)),
        }


def build(services: Services, demo: gr.Blocks, tab: gr.Tab) -> SegmentTab:
    """Add what is in the tab to the Blocks ``demo``, which are being built."""
    models = services.choices()
    start = FIRST_MODEL if FIRST_MODEL in services.models() else models[0][1]

    with gr.Row(elem_classes="segdemo-bar"):
        model = model_menu.model_menu(services, start, elem_id="model")
        with gr.Accordion("Compare models, look closer", open=False, elem_id="closer"):
            other = unchecked(
                gr.Dropdown(
                    [("nothing", NO_COMPARISON), *models],
                    value=NO_COMPARISON,
                    label="Compare with",
                    elem_id="compare",
                )
            )
            passes = gr.Radio(
                [("Once", "once"), ("And mirrored", "mirrored"), ("Three sizes, mirrored", "scales")],
                value="once",
                label="Look at the photo",
                info="More looks are averaged: a better mask for up to twice or six times the time.",
                elem_id="passes",
            )
    said = notice_board("notice")
    with gr.Row(elem_classes="segdemo-stage"):
        with gr.Column(min_width=300):
            title = panel(visible=False, elem_classes="segdemo-title")
            stage = canvas.mask_canvas(elem_id="stage")
        with gr.Column(min_width=300, visible=False) as second_column:
            second_title = panel(elem_classes="segdemo-title")
            second = canvas.mask_canvas(elem_id="second-stage")
    with gr.Row(elem_classes="segdemo-strip"):
        offered = suiting(zoo.served_model(start).label_set)
        photos, own_photo = photo_picker(offered)
        first, path = next(iter(offered.items()))
        choice = gr.State(Choice(str(path), first.name))
        yours: gr.State = gr.State(())  # Choices with their thumbnails as JPEGs, the newest first
        row: gr.State = gr.State(_choices(offered))  # what the thumbnails stand for
        shown: gr.State = gr.State(None)  # what the canvases show: (choice, model, other, passes)
    browser = _Browser(services) if services.datasets else None

    segment = SegmentTab(choice, model, other, stage)
    led: Latest[Choice] = (
        Latest()
    )  # where each page is led to; its ``choice`` holds that when the answer is there
    outputs = [stage, title, second_column, second_title, second, model, shown, said]
    looked = {choice, model, other, passes, shown}
    looks = Events(said, looked, outputs, PREDICT, limit=settings.read("SEGDEMO_PREDICTIONS"))
    chosen = [choice, model, other, photos, row, own_photo, yours, said]
    choices = Events(said, {model, other, passes, yours}, chosen, "segment")

    def show(event: Event) -> Updates:
        """The canvases for a photo, unless they show it or another is asked for; if there is an error they stay."""
        look = event[choice], event[model], event[other], event[passes]
        if look == event[shown]:
            return {}
        photo = services.photos.read(event[choice].path)

        def payload(name: str, correctable: bool = False) -> dict[str, Any]:
            return _payload(services, event[choice], photo, name, event[passes], correctable)

        updates: Updates = {
            shown: look,
            stage: payload(event[model], correctable=True),
            model: gr.update(models=model_menu.cards(services, event[passes])),
        }
        comparing = event[other] != NO_COMPARISON
        if comparing:
            updates |= {second: payload(event[other]), second_title: _title(event[other])}
        if led.overtaken(event.request.session_hash, event[choice]):
            return {said: gr.skip()}
        return {
            **updates,
            title: gr.update(value=_title(event[model]), visible=comparing),
            second_column: gr.update(visible=comparing),
        }

    def offered_by(name: str) -> dict[BuiltInPhoto, Path]:
        return suiting(zoo.served_model(name).label_set)

    def strip(name: str, mine: tuple[tuple[Choice, bytes], ...]) -> Updates:
        """The thumbnails: one's own photos, then those that a model knows something in."""
        offered = offered_by(name)
        own = [[cached(small, f"yours-{n}.jpg")] for n, (_, small) in enumerate(mine)]
        return {
            photos: gr.update(samples=own + samples(offered)),
            row: (*(one for one, _ in mine), *_choices(offered)),
        }

    def show_again(event: Event) -> Updates:
        event.form[choice] = led.of(event.request.session_hash) or event[choice]
        return show(event)

    def show_another(event: Event, another: Choice) -> Updates:
        """That it is chosen is told along with it, so that nobody waits for two answers."""
        event.form[choice] = another
        page = event.request.session_hash
        with led.asking(page, another):
            updates = show(event)
        return {said: gr.skip()} if led.overtaken(page, another) else {choice: another, **updates}

    def pick(event: Event) -> Updates:
        at, offered = event[photos], event[row]
        if not isinstance(at, int) or not 0 <= at < len(offered):
            raise UserError("The photos are others by now: choose one of them again.")
        return show_another(event, offered[at])

    def step(event: Event, by: int) -> Updates:
        """The thumbnail after or before the photo that is shown, or on its way; the first if that is none of them."""
        paths = [one.path for one in event[row]]
        path = (led.of(event.request.session_hash) or event[choice]).path
        at = paths.index(path) + by if path in paths else 0
        return show_another(event, event[row][at % len(paths)])

    def suited(event: Event) -> Updates:
        return strip(event[model], event[yours])

    def upload(event: Event) -> Updates:
        path = event[own_photo]
        if not path:
            return {}
        try:
            small = thumbnail(services.photos.read(path))
        except IntakeError as error:  # what was shown before stays, and the field is free again
            return {own_photo: None, said: notice(error, alert=True)}
        new = Choice(path, Path(path).name)
        led.note(event.request.session_hash, new)
        mine = ((new, small), *(one for one in event[yours] if one[0].path != path))[:MOST_YOURS]
        return {choice: new, yours: mine, **strip(event[model], mine)}

    # One event for every reason to show something else: while it runs, later choices collapse into one more run,
    # so the last choice wins and no answer overtakes a newer one.
    reasons = [demo.load, choice.change, model.change, other.change, passes.change]
    looks.on(reasons, show_again, trigger_mode="always_last")
    # Where a model was chosen meanwhile, the change of the choice shows the photo once more.
    # Not with queue=False: only the queue tells the page that a state has changed.
    picks: dict[str, Any] = {"trigger_mode": "always_last", "outputs": [choice, *outputs]}
    looks.on(photos.click, pick, inputs={*looked, photos, row}, **picks)
    # Each of the two has at most one answer on its way, from which the other goes on.
    neighbours: dict[str, Any] = {**picks, "inputs": {*looked, row}}
    looks.on(stage.next, lambda event: step(event, 1), **neighbours)
    looks.on(stage.previous, lambda event: step(event, -1), **neighbours)
    choices.on(model.change, suited, quiet=True, trigger_mode="always_last", inputs={model, yours})
    choices.on(
        own_photo.input, upload, quiet=True, trigger_mode="always_last", inputs={own_photo, model, yours}
    )
    if browser:
        browser.connect(choice, said, led)
    choices.on(  # there may be new models since the page was made
        [demo.load, tab.select],
        lambda event: segment.menus(services, event[model], event[other], event[passes]),
        quiet=True,
        trigger_mode="always_last",
    )
    return segment


def _choices(offered: Mapping[BuiltInPhoto, Path]) -> tuple[Choice, ...]:
    return tuple(Choice(str(path), photo.name) for photo, path in offered.items())


def _title(model: str) -> Markup:
    return html("<span>{}</span>", zoo.served_model(model).title)


def _payload(
    services: Services, choice: Choice, photo: np.ndarray, model: str, passes: str, correctable: bool
) -> dict[str, Any]:
    """What the canvas shows of a photo and a model's prediction."""
    entry = zoo.served_model(model)
    prediction = services.predict(model, photo, passes)
    truth = None
    if choice.sample:
        dataset = services.datasets[choice.dataset]
        if dataset.label_set.classes == entry.label_set.classes:
            _, truth = datasets.read_pair(dataset.sample(choice.sample), dataset.label_set)
    return canvas.payload(
        key=f"{choice.path}:{model}" + ("" if passes == "once" else f":{passes}"),
        image=choice.path if shown_as_it_is(choice.path) else photo,
        label_set=entry.label_set,
        name=f"{Path(choice.name).stem}_{model}",
        sync="segment",
        prediction=prediction.label_map,
        truth=truth,
        confidence=prediction.confidence,
        uncertainty=prediction.uncertainty,
        uncertainty_note=SPREAD if prediction.variance is not None else None,
        message=nothing_found(prediction.label_map, entry),
        warning=unfamiliar(prediction, entry),
        correctable=correctable,
        next_photo=correctable,
    )


def nothing_found(label_map: np.ndarray, entry: zoo.ModelEntry) -> str | None:
    """A sentence for a label map that holds background only, else None."""
    label_set = entry.label_set
    ids = {row["id"] for row in label_maps.class_table(label_map, label_set)} - {None}
    if label_set.background is None or ids - {label_set.background}:
        return None
    return f"{entry.title} finds nothing it knows in this photo. It knows {_known(label_set)}."


def unfamiliar(prediction: Prediction, entry: zoo.ModelEntry) -> str | None:
    """A sentence for a photo that probably shows nothing the model knows, else None."""
    if not prediction.out_of_domain:
        return None
    return (
        f"{entry.title} is unsure about everything here: the photo may show nothing it knows. "
        f"It knows {_known(entry.label_set)}."
    )


def _known(label_set: LabelSet) -> str:
    *names, last = _objects(label_set)
    return f"{', '.join(names)} and {last}" if names else last


def _objects(label_set: LabelSet) -> list[str]:
    """The classes but the background."""
    return [name for i, name in enumerate(label_set.classes) if i != label_set.background]


class _Browser:
    """The photos of the datasets at hand: a class fills the gallery, a photo of it becomes the one segmented."""

    def __init__(self, services: Services):
        self.datasets, self.limits = services.datasets, services.limits
        first, dataset = next(iter(self.datasets.items()))
        with gr.Accordion("Dataset photos, with their true masks", open=False) as self.accordion:
            self.dataset = gr.Dropdown(list(self.datasets), value=first, label="Dataset", elem_id="dataset")
            self.group = unchecked(
                gr.Dropdown(
                    _groups(dataset), value="all", label="With", elem_id="dataset-class", filterable=True
                )
            )
            self.gallery = gr.Gallery(
                label="Photos",
                columns=4,
                height="auto",
                allow_preview=False,
                object_fit="cover",
                buttons=[],
                show_label=False,
                elem_classes="segdemo-thumbnails",
                elem_id="dataset-photos",
            )
            self.random = button("Random photo", "dataset-random", variant="primary")
            self.page = gr.State(0)
            self.shown: gr.State = gr.State(())  # Choices that the gallery's thumbnails stand for
            self.more = button("More photos", "dataset-more")

    def connect(self, choice: gr.State, notice: gr.HTML, led: Latest[Choice]) -> None:
        """Listen to the components.

        Args:
            choice: where the ``Choice`` goes.
            notice: where errors are told.
            led: where each page is led to.
        """
        outputs = [self.group, self.gallery, self.page, self.shown, choice, notice]
        events = Events(notice, {self.dataset, self.group, self.page}, outputs, "dataset")
        on = functools.partial(events.on, quiet=True, progress_on=self.gallery)

        def lead(event: Event, one: Choice) -> Updates:
            led.note(event.request.session_hash, one)
            return {choice: one}

        on(self.dataset.change, self._other_dataset, trigger_mode="always_last")
        on(self.accordion.expand, lambda event: self._thumbnails(event, 0))
        on(self.group.input, lambda event: self._thumbnails(event, 0), trigger_mode="always_last")
        on(self.more.click, self._next_page)
        on(
            self.random.click,
            lambda event: lead(event, self._choice(event[self.dataset], random.choice(self._ids(event)))),
        )
        on(  # each of them: the number of the photo comes with the event
            self.gallery.select,
            lambda event: lead(event, self._picked(event)),
            inputs={self.shown},
            trigger_mode="multiple",
        )

    def _ids(self, event: Event) -> list[str]:
        """Ids of the photos in the group of ``_groups`` that is chosen, those of the held-out lists."""
        dataset, group = self.datasets[event[self.dataset]], event[self.group]
        if group == "all":
            ids = list(dataset.splits["all"])
        elif dataset.kind == "pets":
            ids = [id_ for id_ in dataset.splits["all"] if breed(id_) == group]
        else:
            ids = by_class(dataset)[dataset.label_set.classes.index(group)]
        if not ids:
            raise DatasetError(f"No photo of this dataset shows {group}: choose something else.")
        return ids

    def _picked(self, event: Event) -> Choice:
        index, shown = event.data.index, event[self.shown]
        if not isinstance(index, int) or not 0 <= index < len(shown):
            raise DatasetError("The photos are others by now: choose one of them again.")
        picked: Choice = shown[index]
        return picked

    def _choice(self, title: str, id_: str) -> Choice:
        return Choice(str(self.datasets[title].sample(id_).image_path), id_, title, id_)

    def _other_dataset(self, event: Event) -> Updates:
        event.form[self.group] = "all"
        choices = _groups(self.datasets[event[self.dataset]])
        return {self.group: gr.update(choices=choices, value="all"), **self._thumbnails(event, 0)}

    def _next_page(self, event: Event) -> Updates:
        pages = -(-len(self._ids(event)) // PAGE)
        return self._thumbnails(event, (event[self.page] + 1) % pages)

    def _thumbnails(self, event: Event, page: int) -> Updates:
        ids = self._ids(event)[page * PAGE : (page + 1) * PAGE]
        shown = tuple(self._choice(event[self.dataset], id_) for id_ in ids)
        photos = [read_photo(one.path, self.limits, draft_size=(THUMBNAIL, THUMBNAIL)) for one in shown]
        return {self.gallery: photos, self.page: page, self.shown: shown}


def _groups(dataset: Dataset) -> list[tuple[str, str] | str]:
    """Choices of the browser's filter: breeds for Pets, classes otherwise."""
    if dataset.kind == "pets":
        return [("any breed", "all"), *sorted({breed(id_) for id_ in dataset.splits["all"]})]
    return [("any class", "all"), *_objects(dataset.label_set)]
