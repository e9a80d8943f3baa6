"""The Zoo tab: a card for each architecture, and all trained models side by side on one photo."""

import base64
import functools
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
from markupsafe import Markup
from PIL import Image

from segdemo import zoo
from segdemo.core import settings
from segdemo.core.display import display_colors
from segdemo.core.label_maps import class_table, overlay
from segdemo.core.labels import LabelSet
from segdemo.errors import UserError
from segdemo.inference import agreement
from segdemo.inference.predict import Prediction
from segdemo.runs import recipes
from segdemo.ui.components.zoo_cards import zoo_cards
from segdemo.ui.events import Event, Events, Updates
from segdemo.ui.inputs import notice, notice_board, photo_picker
from segdemo.ui.markup import definitions, html, join, panel
from segdemo.ui.photos import built_in_paths
from segdemo.ui.queueing import PREDICT
from segdemo.ui.services import Services
from segdemo.ui.tabs.train.tab import TrainTab

SIDE = 560  # pixels, the longer side of the pictures in the grid
LEAST = 0.005  # share of the photo: smaller classes are left out of the legend
CSS = (Path(__file__).parent / "zoo.css").read_text("utf-8")
_LEGEND = (
    "Each box is a block of layers with its number of channels; the scale on the left is its height and width "
    "as a share of the input's. Tinted boxes are the way back up, dashed lines skip connections. Point at a box "
    "to see its shape and layers. One multiply-add is two FLOPs."
)
_HINT = html(
    '<p class="zoo-note">Choose a photo: every trained model segments it, next to where they agree.</p>'
)


def build(services: Services, demo: gr.Blocks, tab: gr.Tab, train: TrainTab) -> None:
    """Add what is in ``tab`` to the Blocks ``demo``, which are being built. Buttons on its cards lead to ``train``."""
    panel(html('<div class="zoo"><h2>All models on one photo</h2></div>'), padding=False)
    # That which most models know comes first, and is shown to begin with.
    built_in = dict(sorted(built_in_paths().items(), key=lambda item: -len(item[0].suits)))
    with gr.Row(elem_classes="segdemo-strip"):
        photos, own_photo = photo_picker(built_in, "zoo-")
    said = notice_board("zoo-notice")
    first = _waiting(services) if built_in else html('<div class="zoo">{}</div>', _HINT)
    grid = panel(first, elem_id="zoo-grid", padding=False)
    begun = gr.State(False)
    listing = zoo_cards(elem_id="zoo-cards")
    train.start_from(listing.start)

    def segment(event: Event) -> Updates:
        path = list(built_in.values())[event[photos]]
        return {grid: all_models(services, path)}

    def segment_upload(event: Event) -> Updates:
        if not event[own_photo]:
            return {}
        try:
            services.photos.read(event[own_photo])
        except UserError as error:  # what was shown before stays, and the field is free again
            return {own_photo: None, said: notice(error, alert=True)}
        return {grid: all_models(services, event[own_photo])}

    def begin(event: Event) -> Updates:
        if event[begun] or not built_in:
            return {}
        return {begun: True, grid: all_models(services, next(iter(built_in.values())))}

    limit = settings.read("SEGDEMO_PREDICTIONS")
    outputs = [grid, own_photo, listing, begun, said]
    on = functools.partial(Events(said, (), outputs, PREDICT, limit=limit).on, quiet=True)
    # On load, so that each visit shows the models there are by then.
    on(demo.load, lambda event: {listing: cards(services, startable=True)}, concurrency_id="zoo")
    on(tab.select, begin, inputs={begun}, progress_on=grid, trigger_mode="once")
    on(photos.click, segment, inputs={photos}, progress_on=grid, trigger_mode="always_last")
    on(
        own_photo.input,
        segment_upload,
        quiet=False,
        inputs={own_photo},
        progress_on=grid,
        trigger_mode="always_last",
    )


# --- cards -----------------------------------------------------------------------------------------------


def cards(services: Services, startable: bool = False) -> Markup:
    """HTML of a card for every architecture.

    If ``startable``, those without a trained model get a button that starts a training.
    """
    served = services.models()
    articles = join(
        _card(services, spec, [e for e in served.values() if e.architecture == spec.name], startable)
        for spec in zoo.SPECS.values()
    )
    heading = '<h2>Architectures</h2><p class="zoo-note">{}</p><div class="zoo-cards">{}</div>'
    return html(f'<div class="zoo">{heading}</div>', _LEGEND, articles)


def _card(services: Services, spec: zoo.ModelSpec, trained: list[zoo.ModelEntry], startable: bool) -> Markup:
    facts = zoo.architecture_facts()[spec.name]
    side = facts["input"][0]
    numbers = {
        "Parameters": f"{facts['parameters'] / 1e6:.1f} M",
        f"FLOPs at {side} x {side}": f"{facts['flops'] / 1e9:.1f} G",
        "Encoder": facts["encoder"] or "its own",
        "Classes": spec.label_set.upper() if spec.label_set == "voc" else spec.label_set.title(),
    }
    scores = [100 * e.metrics.mean_iou for e in trained if e.metrics and e.metrics.mean_iou is not None]
    text = f"trained: {scores[0]:.1f} mean IoU" if scores else "trained"  # the shipped model comes first
    models = join(html("<p><b>{}</b>: {}</p>", entry.title, services.card(entry.name)) for entry in trained)
    template = (
        '<article class="zoo-card" id="zoo-{spec.name}"><header><h3>{spec.title}</h3>'
        '<span class="zoo-state{kind}">{text}</span></header><div class="zoo-diagram">{diagram}</div>'
        '<dl class="zoo-facts">{numbers}</dl><p>{paper}</p>{below}</article>'
    )
    return html(
        template,
        spec=spec,
        kind=" trained" if trained else "",
        text=text if trained else "not trained yet",
        diagram=Markup(facts["diagram"]),  # drawn by this program
        numbers=definitions(numbers.items()),
        paper=paper(spec.paper),
        below=models or _how_to_train(services, spec, startable),
    )


def paper(text: str) -> Markup:
    """A citation as HTML, its arXiv number a link."""
    link = '<a href="https://arxiv.org/abs/{0}" target="_blank" rel="noopener">arXiv:{0}</a>'
    before, *rest = re.split(r"arXiv:(\d{4}\.\d{4,5})", text)
    return join([before, *(html(link, part) if i % 2 == 0 else part for i, part in enumerate(rest))])


def training_commands(services: Services, spec: zoo.ModelSpec) -> list[str]:
    """The shell commands that train an architecture so that it is served here afterwards.

    That is one, or two if its dataset has to be downloaded first. Paths are written with the environment's variables
    or ``~``, so that they tell nothing of this machine.
    """
    folders = [d.root for d in services.datasets.values() if d.kind == spec.label_set]
    download = [] if folders else [f"data download {spec.label_set} --out data"]
    data = _in_shell(folders[0]) if folders else "data"
    train = shlex.join(recipes.training_arguments(spec))
    out = _in_shell(settings.models_dir() / spec.name)
    return [f"python -m segdemo {command}" for command in [*download, f"{train} --data {data} --out {out}"]]


def _in_shell(path: Path) -> str:
    """A path for a shell: below a folder that has a variable, relative to that."""
    variables = ((f"${name}", settings.read(name)) for name in ("SEGDEMO_HOME", "SEGDEMO_DATA"))
    for short, folder in [*variables, ("~", settings.expanded("~"))]:
        if folder is None:
            continue
        if path == folder:
            return short
        if path.is_relative_to(folder):
            return f"{short}/{shlex.quote(path.relative_to(folder).as_posix())}"
    return shlex.quote(str(path))


def _unbroken(command: str) -> Iterator[Markup | str]:
    """The parts of a command, an option and its value in one that does not break between lines."""
    parts = re.split(r"(--\S+ \S+)", command)
    return (html("<span>{}</span>", part) if i % 2 else part for i, part in enumerate(parts))


def _how_to_train(services: Services, spec: zoo.ModelSpec, startable: bool) -> Markup:
    # Lines break between the options, not between one and its value nor at a hyphen.
    lines = join((join(_unbroken(line)) for line in training_commands(services, spec)), "\n")
    button = html('<button type="button" data-architecture="{}">Train it</button>', spec.name)
    template = (
        '<div class="zoo-start" data-architecture="{}">{}<details><summary>'
        "Train it in a terminal</summary><pre><code>{}</code></pre></details></div>"
    )
    return html(template, spec.name, button if startable else "", lines)


# --- all models on one photo -----------------------------------------------------------------------------


def all_models(services: Services, path: str | Path) -> Markup:
    """HTML of one photo as every served model sees it, and of where they agree.

    Models with the same classes are compared class by class, all of them by foreground and background. One that
    cannot be used shows why in its place.
    """
    try:
        photo = services.photos.read(path)
    except UserError as error:
        return html('<div class="zoo">{}</div>', _alert(error))
    height, width = photo.shape[:2]
    scale = min(1, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))

    label_maps: list[tuple[zoo.ModelEntry, np.ndarray]] = []  # of each model that answered
    tiles = []
    for entry in services.models().values():
        try:
            prediction = services.predict(entry.name, photo)
        except UserError as error:
            tiles.append(html('<figure class="zoo-tile"><h3>{}</h3>{}</figure>', entry.title, _alert(error)))
            continue
        label_map = agreement.at_size(prediction.label_map, *small.shape[:2])
        label_maps.append((entry, label_map))
        unknown = bool(prediction.out_of_domain)
        tiles.append(_model_tile(small, entry, label_map, prediction.milliseconds, unknown))
        if prediction.variance is not None:
            tiles.append(_uncertainty_tile(small, entry, prediction))
    tiles += _agreement_tiles(small, label_maps)
    return html('<div class="zoo"><div class="zoo-tiles">{}</div></div>', join(tiles))


def _waiting(services: Services) -> Markup:
    """The room that the tiles will take, until the first photo was looked at."""
    tile = '<figure class="zoo-waiting" aria-hidden="true"><div></div><h3>{}</h3></figure>'
    tiles = join(html(tile, entry.title) for entry in services.models().values())
    return html('<div class="zoo"><div class="zoo-tiles">{}</div></div>', tiles)


def _alert(error: Exception) -> Markup:
    return html('<p role="alert">{}</p>', error)


def _model_tile(
    photo: np.ndarray, entry: zoo.ModelEntry, label_map: np.ndarray, milliseconds: float, unknown: bool
) -> Markup:
    """The tile of a model; dimmed if what the photo shows is probably unknown to it."""
    shown = display_colors(entry.label_set)
    keys = join(
        _key(shown[row["id"]], f"{row['name']} {100 * row['share']:.0f} %")
        for row in class_table(label_map, entry.label_set)
        if row["id"] != entry.label_set.background and row["share"] >= LEAST
    )
    caption = html("{}<br>{}, {:.0f} ms", keys or "nothing it knows", entry.label_set.title, milliseconds)
    picture = overlay(photo, label_map, entry.label_set)
    return _tile(picture, entry.title, caption, f"{entry.title} on the photo", " zoo-dim" if unknown else "")


def _key(color: tuple[int, ...], text: str) -> Markup:
    return html('<span class="zoo-key"><i style="background: rgb{}"></i>{}</span>', color, text)


def _uncertainty_tile(photo: np.ndarray, entry: zoo.ModelEntry, prediction: Prediction) -> Markup:
    """How much a stochastic model's answers differ from pass to pass."""
    size = photo.shape[1::-1]
    uncertainty = Image.fromarray(prediction.uncertainty).resize(size, Image.Resampling.BILINEAR)
    shares = np.asarray(uncertainty, np.float32) / 255
    title = f"{entry.title}: uncertainty"
    text = "Asked {} times with random dropout, it gave answers that differ {}"
    caption = html(text, entry.samples, _key(agreement.DOUBT, "here"))
    return _tile(agreement.picture(photo, 1 - shares), title, caption, f"{title}; orange where it is high")


def _agreement_tiles(photo: np.ndarray, label_maps: list[tuple[zoo.ModelEntry, np.ndarray]]) -> list[Markup]:
    """Agreement class by class in each label set, and of all models in what is background."""
    groups: dict[LabelSet, list[np.ndarray]] = {}
    for entry, label_map in label_maps:
        groups.setdefault(entry.label_set, []).append(label_map)
    tiles = [
        _agreement_tile(photo, maps, f"{len(maps)} models of {label_set.title}", "the same class")
        for label_set, maps in groups.items()
        if len(maps) > 1
    ]
    comparable = [
        agreement.foreground(label_map, label_set)
        for label_set, maps in groups.items()
        if label_set.background is not None
        for label_map in maps
    ]
    if len(groups) > 1 and len(comparable) > 1:
        title = f"{len(comparable)} models, foreground or background"
        tiles.append(_agreement_tile(photo, comparable, title, "the same, whatever the class"))
    return tiles


def _agreement_tile(photo: np.ndarray, label_maps: list[np.ndarray], title: str, same: str) -> Markup:
    shares = agreement.agreement(label_maps)
    percent, key = 100 * float((shares == 1).mean()), _key(agreement.DOUBT, "they differ")
    title = f"Agreement: {title}"
    caption = html("On {:.1f} % of the pixels all say {}. {}", percent, same, key)
    return _tile(agreement.picture(photo, shares), title, caption, f"{title}; orange where they differ")


def _tile(picture: np.ndarray, title: str, caption: Markup, alt: str, kind: str = "") -> Markup:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=82, method=2)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    template = (
        '<figure class="zoo-tile{}"><img src="data:image/webp;base64,{}" alt="{}">'
        "<figcaption><h3>{}</h3>{}</figcaption></figure>"
    )
    return html(template, kind, data, alt, title, caption)
