"""The Zoo tab: a card for each architecture, and all trained models side by side on one photo."""

import base64
import io
import re
import shlex
from pathlib import Path

import gradio as gr
import numpy as np
from markupsafe import Markup
from PIL import Image

from segdemo import zoo
from segdemo.core import settings
from segdemo.core.label_maps import class_table, overlay
from segdemo.core.photos import IntakeError
from segdemo.inference import agreement
from segdemo.inference.predict import DamagedModelError
from segdemo.runs import recipes
from segdemo.ui.components.zoo_cards import zoo_cards
from segdemo.ui.inputs import photo_picker
from segdemo.ui.markup import html, join, panel
from segdemo.ui.queueing import PREDICT

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


def build(services, demo, train=None):
    """Add the tab to the Blocks being built.

    Args:
        services: the page's ``Services``.
        demo: the Blocks.
        train: the ``train.TrainTab`` that buttons on the cards lead to; without it there are none.
    """
    panel(html('<div class="zoo"><h2>All models on one photo</h2></div>'), padding=False)
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            built_in, photos, own_photo = photo_picker("zoo-")
        with gr.Column(scale=3, min_width=320):
            grid = panel(html('<div class="zoo">{}</div>', _HINT), elem_id="zoo-grid", padding=False)
    shown = zoo_cards(elem_id="zoo-cards")
    # On load, so that each visit shows the models there are by then.
    demo.load(
        lambda: cards(services, train is not None),
        None,
        shown,
        api_visibility="private",
        show_progress="hidden",
    )
    if train is not None:
        train.start_from(shown.start)

    paths = list(built_in.values())
    event = {
        "api_visibility": "private",
        "concurrency_limit": settings.read("SEGDEMO_PREDICTIONS"),
        "concurrency_id": PREDICT,
        "show_progress": "minimal",
        "trigger_mode": "always_last",
    }
    photos.click(lambda index: all_models(services, paths[index]), photos, grid, **event)
    own_photo.input(lambda path: all_models(services, path) if path else gr.skip(), own_photo, grid, **event)


# --- cards -----------------------------------------------------------------------------------------------


def cards(services, startable=False):
    """HTML of a card for every architecture.

    Args:
        services: the page's ``Services``.
        startable: whether those without a trained model get a button that starts a training.
    """
    served = services.models()
    shown = join(
        _card(services, spec, [e for e in served.values() if e.architecture == spec.name], startable)
        for spec in zoo.SPECS.values()
    )
    return html(
        '<div class="zoo"><h2>Architectures</h2><p class="zoo-note">{}</p><div class="zoo-cards">'
        "{}</div></div>",
        _LEGEND,
        shown,
    )


def _card(services, spec, trained, startable):
    facts = zoo.architecture_facts()[spec.name]
    side = facts["input"][0]
    numbers = {
        "Parameters": f"{facts['parameters'] / 1e6:.1f} M",
        f"FLOPs at {side} x {side}": f"{facts['flops'] / 1e9:.1f} G",
        "Encoder": facts["encoder"] or "its own",
        "Classes": spec.label_set.upper() if spec.label_set == "voc" else spec.label_set.title(),
    }
    rows = join(html("<div><dt>{}</dt><dd>{}</dd></div>", name, value) for name, value in numbers.items())
    scores = [100 * e.data["metrics"]["mean_iou"] for e in trained if e.data.get("metrics")]
    said = f"trained: {scores[0]:.1f} mean IoU" if scores else "trained"  # the shipped model comes first
    state = html('<span class="zoo-state trained">{}</span>', said) if trained else _NOT_TRAINED
    below = join(html("<p><b>{}</b>: {}</p>", entry.title, services.card(entry.name)) for entry in trained)
    return html(
        '<article class="zoo-card" id="zoo-{}"><header><h3>{}</h3>{}</header>'
        '<div class="zoo-diagram">{}</div><dl class="zoo-facts">{}</dl><p>{}</p>{}</article>',
        spec.name,
        spec.title,
        state,
        Markup(facts["diagram"]),  # drawn by this program
        rows,
        paper(spec.paper),
        below or _how_to_train(services, spec, startable),
    )


_NOT_TRAINED = html('<span class="zoo-state">not trained yet</span>')


def paper(text):
    """A citation as HTML, its arXiv number a link."""
    link = '<a href="https://arxiv.org/abs/{0}" target="_blank" rel="noopener">arXiv:{0}</a>'
    before, *rest = re.split(r"arXiv:(\d{4}\.\d{4,5})", text)
    return join([before, *(html(link, part) if i % 2 == 0 else part for i, part in enumerate(rest))])


def training_commands(services, spec):
    """The shell commands that train an architecture so that it is served here afterwards.

    Args:
        services: the page's ``Services``, for the datasets at hand.
        spec: a ``zoo.ModelSpec``.

    Returns:
        A list of one command, or of two if its dataset has to be downloaded first. Paths are written with the
        environment's variables or ``~``, so that they tell nothing of this machine.
    """
    folders = [d.root for d in services.datasets.values() if d.kind == spec.label_set]
    before = [] if folders else [f"data download {spec.label_set} --out data"]
    data = _in_shell(folders[0]) if folders else "data"
    train = shlex.join(recipes.training_arguments(spec))
    out = _in_shell(settings.models_dir() / spec.name)
    return [f"python -m segdemo {command}" for command in [*before, f"{train} --data {data} --out {out}"]]


def _in_shell(path):
    """A path for a shell: below a folder that has a variable, relative to that."""
    variables = ((f"${name}", settings.read(name)) for name in ("SEGDEMO_HOME", "SEGDEMO_DATA"))
    for short, folder in [*variables, ("~", Path.home())]:
        if folder is None:
            continue
        if path == folder:
            return short
        if path.is_relative_to(folder):
            return f"{short}/{shlex.quote(path.relative_to(folder).as_posix())}"
    return shlex.quote(str(path))


def _unbroken(command):
    """The parts of a command, an option and its value in one that does not break between lines."""
    parts = re.split(r"(--\S+ \S+)", command)
    return (html("<span>{}</span>", part) if i % 2 else part for i, part in enumerate(parts))


def _how_to_train(services, spec, startable):
    # Lines break between the options, not between one and its value nor at a hyphen.
    lines = join((join(_unbroken(line)) for line in training_commands(services, spec)), "\n")
    button = (
        html('<button type="button" data-architecture="{}">Train it</button>', spec.name) if startable else ""
    )
    return html(
        '<div class="zoo-start" data-architecture="{}">{}<details><summary>'
        "Train it in a terminal</summary><pre><code>{}</code></pre></details></div>",
        spec.name,
        button,
        lines,
    )


# --- all models on one photo -----------------------------------------------------------------------------


def all_models(services, path):
    """HTML of one photo as every served model sees it, and of where they agree.

    Models with the same classes are compared class by class, all of them by foreground and background. One that
    cannot be used shows why in its place.
    """
    try:
        photo = services.photos.read(path)
    except IntakeError as error:
        return html('<div class="zoo">{}</div>', _alert(error))
    height, width = photo.shape[:2]
    scale = min(1, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))

    found, tiles = [], []  # (entry, label map) of each model that answered
    for entry in services.models().values():
        try:
            prediction = services.predict(entry.name, photo)
        except (DamagedModelError, zoo.UnknownModelError) as error:
            tiles.append(html('<figure class="zoo-tile"><h3>{}</h3>{}</figure>', entry.title, _alert(error)))
            continue
        label_map = agreement.at_size(prediction.label_map, *small.shape[:2])
        found.append((entry, label_map))
        tiles.append(_model_tile(small, entry, label_map, prediction.milliseconds))
        if prediction.variance is not None:
            tiles.append(_uncertainty_tile(small, entry, prediction))
    tiles += _agreement_tiles(small, found)
    return html('<div class="zoo"><div class="zoo-tiles">{}</div></div>', join(tiles))


def _alert(error):
    return html('<p role="alert">{}</p>', error)


def _model_tile(photo, entry, label_map, milliseconds):
    rows = class_table(label_map, entry.label_set)
    keys = join(
        html(
            '<span class="zoo-key"><i style="background: rgb{}"></i>{} {:.0f} %</span>',
            tuple(row["color"]),
            row["name"],
            100 * row["share"],
        )
        for row in rows
        if row["id"] != entry.label_set.background and row["share"] >= LEAST
    )
    title = entry.title
    picture = overlay(photo, label_map, entry.label_set)
    caption = html(
        "<h3>{}</h3>{}<br>{}, {:.0f} ms",
        title,
        keys or "nothing it knows",
        entry.label_set.title,
        milliseconds,
    )
    return _tile(picture, f"{title} on the photo", caption)


def _uncertainty_tile(photo, entry, prediction):
    """How much a stochastic model's answers differ from pass to pass."""
    size = photo.shape[1::-1]
    uncertainty = Image.fromarray(prediction.uncertainty).resize(size, Image.Resampling.BILINEAR)
    shares = np.asarray(uncertainty, np.float32) / 255
    title = f"{entry.title}: uncertainty"
    caption = html(
        "<h3>{}</h3>Asked {} times with random dropout, it gave answers that differ "
        '<span class="zoo-key"><i style="background: rgb{}"></i>here</span>',
        title,
        entry.samples,
        agreement.DOUBT,
    )
    return _tile(agreement.picture(photo, 1 - shares), f"{title}; orange where it is high", caption)


def _agreement_tiles(photo, found):
    """Agreement class by class in each label set, and of all models in what is background."""
    groups = {}
    for entry, label_map in found:
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


def _agreement_tile(photo, label_maps, title, same):
    shares = agreement.agreement(label_maps)
    whole = 100 * float((shares == 1).mean())
    title = f"Agreement: {title}"
    caption = html(
        '<h3>{}</h3>On {:.1f} % of the pixels all say {}. <span class="zoo-key">'
        '<i style="background: rgb{}"></i>they differ</span>',
        title,
        whole,
        same,
        agreement.DOUBT,
    )
    return _tile(agreement.picture(photo, shares), f"{title}; orange where they differ", caption)


def _tile(picture, alt, caption):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=82, method=2)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    source = f"data:image/webp;base64,{data}"
    return html(
        '<figure class="zoo-tile"><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>',
        source,
        alt,
        caption,
    )
