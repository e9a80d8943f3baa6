"""The Segment tab: pick a photo and a model, see the overlay at once, compare two models."""

import random
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from segdemo import zoo
from segdemo.core import label_maps, settings
from segdemo.core.photos import IntakeError, read_photo
from segdemo.data import datasets
from segdemo.data.index import by_class
from segdemo.data.pets import breed
from segdemo.inference.predict import DamagedModelError
from segdemo.ui.components import canvas
from segdemo.ui.inputs import photo_picker, unchecked
from segdemo.ui.markup import html, panel
from segdemo.ui.photos import shown_as_it_is
from segdemo.ui.queueing import PREDICT

FIRST_MODEL = "deeplabv3"
NO_COMPARISON = "none"
PAGE = 18  # thumbnails shown of a dataset
THUMBNAIL = 160  # pixels
SPREAD = "Twice the standard deviation of the answers with random dropout: 0 means that all agree."


@dataclass(frozen=True)
class Choice:
    """The photo a visitor looks at: where it is, what it is called, and its dataset sample if it has one."""

    path: str
    name: str
    dataset: str = ""
    sample: str = ""


@dataclass(frozen=True)
class Shown:
    """Components that other tabs listen to: what is looked at, with which models, and the wish to correct it."""

    choice: gr.State
    model: gr.Radio
    other: gr.Dropdown
    correct: gr.Button

    def menus(self, services, model, other):
        """Updates of the two model menus, which keep what is chosen, or what it has become by a promotion."""
        served = services.models()
        names = {entry.data.get("alias_of", name): name for name, entry in served.items()}

        def kept(chosen, otherwise):
            return names.get(chosen, chosen if chosen in served else otherwise)

        choices = services.choices()
        return {
            self.model: _menu(choices, model, kept(model, choices[0][1])),
            self.other: _menu([("nothing", NO_COMPARISON), *choices], other, kept(other, NO_COMPARISON)),
        }


def _menu(choices, chosen, value):
    # Without the value if it stays, since the visitor may just be choosing another.
    return gr.update(choices=choices) if value == chosen else gr.update(choices=choices, value=value)


def build(services, demo, tab):
    """Add the tab to the Blocks being built; returns its ``Shown``.

    Args:
        services: the page's ``Services``.
        demo: the Blocks.
        tab: the ``gr.Tab`` it is in.
    """
    models = services.choices()
    start = FIRST_MODEL if FIRST_MODEL in dict(map(reversed, models)) else models[0][1]

    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            built_in, photos, own_photo = photo_picker()
            first, path = next(iter(built_in.items()))
            chosen = gr.State(Choice(str(path), first.name))
            model = unchecked(gr.Radio(models, value=start, label="Model", elem_id="model"))
            card = panel(services.card(start), elem_classes="segdemo-card")
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
            browser = _dataset_browser(services)
        with gr.Column(scale=3, min_width=320, elem_classes="segdemo-stage"):
            notice = panel(visible=False, elem_id="notice")
            with gr.Row():
                with gr.Column(min_width=300):
                    title = panel(visible=False, elem_classes="segdemo-title")
                    stage = canvas.mask_canvas(elem_id="stage")
                with gr.Column(min_width=300, visible=False) as second_column:
                    second_title = panel(elem_classes="segdemo-title")
                    second = canvas.mask_canvas(elem_id="second-stage")
            correct = gr.Button("Correct this mask", size="sm", elem_id="correct")

    def show(choice, model, other, passes):
        """The canvases for a photo, or a sentence and what was there before."""
        try:
            photo = services.photos.read(choice.path)
            payload = _payload(services, choice, photo, model, passes)
            compared = None if other == NO_COMPARISON else _payload(services, choice, photo, other, passes)
        except (IntakeError, datasets.DatasetError, zoo.UnknownModelError, DamagedModelError) as error:
            sentence = html('<p role="alert">{}</p>', error)
            return {notice: gr.update(value=sentence, visible=True)}
        comparing = compared is not None
        titles = {name: entry.title for name, entry in zoo.served_models().items()}
        return {
            stage: payload,
            title: gr.update(value=html("<span>{}</span>", titles[model]), visible=comparing),
            second_column: gr.update(visible=comparing),
            second_title: html("<span>{}</span>", titles[other]) if comparing else gr.skip(),
            second: compared if comparing else gr.skip(),
            card: services.card(model, passes),
            notice: gr.update(visible=False),
        }

    # One event for every reason to show something else: while it runs, later choices collapse into one more run,
    # so the last choice wins and no answer overtakes a newer one.
    gr.on(
        [demo.load, chosen.change, model.change, other.change, passes.change],
        show,
        [chosen, model, other, passes],
        [stage, title, second_column, second_title, second, card, notice],
        trigger_mode="always_last",
        api_visibility="private",
        concurrency_limit=settings.read("SEGDEMO_PREDICTIONS"),
        concurrency_id=PREDICT,
        show_progress="hidden",
    )
    # Not with queue=False: only the queue tells the page that a state has changed.
    private = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "always_last"}

    def pick(index):
        photo, path = list(built_in.items())[index]
        return Choice(str(path), photo.name)

    def upload(path):
        return Choice(path, Path(path).name) if path else gr.skip()

    photos.click(pick, photos, chosen, **private)
    own_photo.input(upload, own_photo, chosen, **private)
    if browser:
        browser.connect(chosen)
    shown = Shown(chosen, model, other, correct)
    gr.on(  # there may be new models since the page was made
        [demo.load, tab.select],
        lambda model, other: shown.menus(services, model, other),
        [model, other],
        [model, other],
        **private,
    )
    return shown


def _payload(services, choice, photo, model, passes):
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
    )


def nothing_found(label_map, entry):
    """A sentence for a label map that holds background only, else None."""
    label_set = entry.label_set
    background = label_set.background
    if background is None or any(
        row["id"] != background
        for row in label_maps.class_table(label_map, label_set)
        if row["id"] is not None
    ):
        return None
    return f"{entry.title} finds nothing it knows in this photo. It knows {_known(label_set)}."


def unfamiliar(prediction, entry):
    """A sentence for a photo that probably shows nothing the model knows, else None."""
    if not prediction.out_of_domain:
        return None
    return (
        f"{entry.title} is unsure about everything here: the photo may show nothing it knows. "
        f"It knows {_known(entry.label_set)}."
    )


def _known(label_set):
    known = [name for i, name in enumerate(label_set.classes) if i != label_set.background]
    return ", ".join(known[:-1]) + f" and {known[-1]}" if len(known) > 1 else known[0]


@dataclass
class _Browser:
    services: object
    accordion: gr.Accordion
    dataset: gr.Dropdown
    class_name: gr.Dropdown
    gallery: gr.Gallery
    random: gr.Button
    page: gr.State
    more: gr.Button

    def connect(self, chosen):
        """Wire the components: a class fills the gallery, a photo of it becomes the one that is segmented."""
        private = {"api_visibility": "private", "show_progress": "minimal"}
        listing = [self.gallery, self.page]
        self.dataset.change(
            lambda title: gr.update(choices=_groups(self.services.datasets[title]), value="all"),
            self.dataset,
            self.class_name,
            **private,
        ).then(self._first_page, [self.dataset, self.class_name], listing, **private)
        self.accordion.expand(self._first_page, [self.dataset, self.class_name], listing, **private)
        self.class_name.input(self._first_page, [self.dataset, self.class_name], listing, **private)
        self.more.click(self._next_page, [self.dataset, self.class_name, self.page], listing, **private)
        self.random.click(self._random, [self.dataset, self.class_name], chosen, **private)

        def pick(title, group, page, event: gr.SelectData):
            return self._choice(title, _ids(self.services.datasets[title], group)[page * PAGE + event.index])

        self.gallery.select(pick, [self.dataset, self.class_name, self.page], chosen, **private)

    def _choice(self, title, id_):
        path = self.services.datasets[title].sample(id_).image_path
        return Choice(str(path), id_, title, id_)

    def _random(self, title, group):
        return self._choice(title, random.choice(_ids(self.services.datasets[title], group)))

    def _first_page(self, title, group):
        return self._thumbnails(title, group, 0), 0

    def _next_page(self, title, group, page):
        pages = -(-len(_ids(self.services.datasets[title], group)) // PAGE)
        page = (page + 1) % pages
        return self._thumbnails(title, group, page), page

    def _thumbnails(self, title, group, page):
        dataset = self.services.datasets[title]
        ids = _ids(dataset, group)[page * PAGE : (page + 1) * PAGE]
        paths = [dataset.sample(id_).image_path for id_ in ids]
        return [read_photo(path, self.services.limits, draft_size=(THUMBNAIL, THUMBNAIL)) for path in paths]


def _dataset_browser(services):
    if not services.datasets:
        return None
    title, dataset = next(iter(services.datasets.items()))
    with gr.Accordion("Dataset photos, with their true masks", open=False) as accordion:
        browser = _Browser(
            services,
            accordion,
            gr.Dropdown(list(services.datasets), value=title, label="Dataset", elem_id="dataset"),
            unchecked(
                gr.Dropdown(
                    _groups(dataset), value="all", label="With", elem_id="dataset-class", filterable=True
                )
            ),
            gr.Gallery(
                label="Photos",
                columns=4,
                height="auto",
                allow_preview=False,
                object_fit="cover",
                buttons=[],
                show_label=False,
                elem_classes="segdemo-thumbnails",
                elem_id="dataset-photos",
            ),
            gr.Button("Random photo", variant="primary", size="sm", elem_id="dataset-random"),
            gr.State(0),
            gr.Button("More photos", size="sm", elem_id="dataset-more"),
        )
    return browser


def _groups(dataset):
    """Choices of the browser's filter: breeds for Pets, classes otherwise."""
    if dataset.kind == "pets":
        return [("any breed", "all"), *sorted({breed(id_) for id_ in dataset.splits["all"]})]
    names = [name for i, name in enumerate(dataset.label_set.classes) if i != dataset.label_set.background]
    return [("any class", "all"), *names]


def _ids(dataset, group):
    """Ids of the dataset's photos in a group of ``_groups``, those of the held-out lists; all where it is none."""
    groups = [choice[1] if isinstance(choice, tuple) else choice for choice in _groups(dataset)]
    if group == "all" or group not in groups:
        return list(dataset.splits["all"])
    if dataset.kind == "pets":
        return [id_ for id_ in dataset.splits["all"] if breed(id_) == group]
    return by_class(dataset)[dataset.label_set.classes.index(group)]
