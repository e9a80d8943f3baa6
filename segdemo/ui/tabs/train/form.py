"""What the form of the Train tab offers: where to start, what to learn from, and settings that make sense."""

import contextlib
from dataclasses import dataclass

import gradio as gr

from segdemo import zoo
from segdemo.core.files import StoreError
from segdemo.core.labels import LABEL_SETS
from segdemo.data import tfds
from segdemo.data.datasets import DatasetError
from segdemo.data.sources import outline
from segdemo.runs.config import bounds, setting
from segdemo.runs.policy import RunError
from segdemo.runs.queue import MIN_PHOTOS
from segdemo.ui.markup import html, join

UNTRAINED = "untrained:"  # prefix of an architecture among the places to start from
USEFUL_PHOTOS = 20  # annotated, from which on a model learns something of use
PHOTOS_SEEN = 4000  # by a run with the suggested epochs, about
LOSSES = [
    ("CE + Dice", "cross_entropy_dice"),
    ("Cross-entropy", "cross_entropy"),
    ("Dice", "dice"),
]
FROZEN = [("Learns", ""), ("Partly fixed", "c2"), ("Fixed", "c5")]
AUGMENTATIONS = [
    ("Strong: scale, place, mirror, colour", "strong"),
    ("Enlarge, crop, mirror, colour", "voc"),
    ("Mirror", "flip"),
    ("None", "none"),
]
# The fields of the form, in this order; each is a setting of ``config.TrainConfig``.
FIELDS = (
    *("epochs", "learning_rate", "size", "loss", "frozen"),
    *("batch", "augment", "early_stopping", "steps_per_epoch", "validation_photos", "seed"),
)


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        value: of the menu: a served model, or ``UNTRAINED`` and an architecture.
        spec: its ``zoo.ModelSpec``.
        entry: its ``zoo.ModelEntry``; None for an architecture.
    """

    value: str
    spec: zoo.ModelSpec
    entry: zoo.ModelEntry | None

    @classmethod
    def of(cls, value):
        """What a value of the menu means. Raises UnknownModelError."""
        if str(value).startswith(UNTRAINED):
            return cls(value, zoo.spec(value.removeprefix(UNTRAINED)), None)
        entry = zoo.served_model(value)
        return cls(value, zoo.spec(entry.architecture), entry)

    @property
    def options(self):
        """The builder's options that its weights go with."""
        return self.entry.options if self.entry else {}

    @property
    def encoder(self):
        """Name of its encoder, or None."""
        return self.options.get("encoder", self.spec.encoder)


def starts(services):
    """Choices of the menu: models that carry weights to train on, then every architecture, untrained."""
    trained = [
        (f"{entry.title} · {entry.label_set.title}", name)
        for name, entry in services.models().items()
        if entry.weights
    ]
    fresh = [(f"{spec.title} · untrained", UNTRAINED + name) for name, spec in zoo.SPECS.items()]
    return trained + fresh


def start_menu(services, chosen):
    """Update of the menu: models come and go, and one that was promoted goes by its model's name."""
    served = services.models()
    now = next((name for name, entry in served.items() if entry.alias_of == chosen), chosen)
    menu = {"choices": starts(services)}
    return gr.update(**menu) if now == chosen else gr.update(**menu, value=now)


def sources(services):
    """Choices of the dataset menu: annotated collections, then datasets on disk; values are for ``open_source``."""
    own = []
    for collection in services.store.collections():
        count = collection.photos(annotated=True, per_page=1).total
        own.append((f"{collection.title} · {count} labelled", f"collection:{collection.name}"))
    prepared = [(f"{name.removeprefix(tfds.PREFIX)} · TensorFlow Datasets", name) for name in tfds.offered()]
    return own + [(title, f"dataset:{title}") for title in services.datasets] + prepared


def open_source(services, value):
    """The ``datasets.Dataset`` of a choice. Raises DatasetError, StoreError."""
    kind, _, name = str(value or "").partition(":")
    if kind == "collection":
        return services.store.open(name).dataset()
    if kind == "dataset" and name in services.datasets:
        return services.datasets[name]
    if kind == "tfds" and name in tfds.NAMES:
        return outline(tfds.NAMES[name], value)
    raise DatasetError(
        "Choose what to learn from: label photos in Annotate, or set SEGDEMO_DATA to a folder with VOC or Pets."
    )


def first_source(services, start):
    """The choice of the dataset menu to offer for a value of the start menu: one with the model's own classes."""
    chosen = Start.of(start)
    sought = chosen.entry.label_set if chosen.entry else LABEL_SETS[chosen.spec.label_set]
    values = [value for _, value in sources(services)]
    for value in values:
        with contextlib.suppress(DatasetError, StoreError):
            dataset = open_source(services, value)
            if dataset.label_set.classes == sought.classes and not too_few(dataset):
                return value
    return values[0] if values else None


def source_of(services, settings):
    """The choice of the dataset menu that a run's settings stand for, or None."""
    for _, value in sources(services):
        with contextlib.suppress(DatasetError, StoreError):
            dataset = open_source(services, value)
            if (dataset.kind, tfds.address(dataset.root)) == (settings["dataset"], settings["data"]):
                return value
    return None


def start_of(services, settings):
    """The choice of the start menu that a run's settings stand for, or None."""
    parent = settings.get("start_from")
    if not parent:
        return UNTRAINED + settings["model"]
    served = services.models()
    return next((n for n, e in served.items() if parent in (n, e.alias_of)), None)


def learning_ids(dataset):
    """Ids of the photos that are learned from."""
    return dataset.splits[dataset.learning_subset]


def too_few(dataset):
    """Whether a run cannot be started on a dataset for lack of photos."""
    return min(len(learning_ids(dataset)), len(dataset.splits["val"]), len(dataset.splits["test"])) < 1


def summary(start, dataset):
    """HTML on what would be learned from what."""
    learn, watch, test = len(learning_ids(dataset)), len(dataset.splits["val"]), len(dataset.splits["test"])
    own = dataset.kind == "annotations"
    lines = []
    if own and too_few(dataset):
        labelled = learn + watch + test
        photos = "no photo is labelled" if not labelled else f"{labelled} labelled so far"
        lines.append(
            html(
                "<b>Label at least {} photos first</b> ({}): one to learn from, one to choose the best epoch by, and "
                "one to measure the result on. From about {} on it is worth the time.",
                MIN_PHOTOS,
                photos,
                USEFUL_PHOTOS,
            )
        )
    else:
        lines.append(
            html(
                "Learns from <b>{:,}</b> photos, keeps the epoch that is best on <b>{:,}</b>"
                " others, and is measured on <b>{:,}</b> it never saw.",
                learn,
                watch,
                test,
            )
        )
        if own and learn + watch + test < USEFUL_PHOTOS:
            lines.append(
                f"With fewer than {USEFUL_PHOTOS} labelled photos expect little, and scores that jump."
            )
    classes = dataset.label_set.classes
    named = ", ".join(classes[:6]) + (f" and {len(classes) - 6} more" if len(classes) > 6 else "")
    lines.append(f"{len(classes)} classes: {named}.")
    if start.entry is not None and start.entry.label_set.classes != classes:
        lines.append(
            f"{start.entry.title} knows other classes, so its last layer is learned anew and there is "
            "no score before to compare with."
        )
    elif start.entry is None and start.encoder:
        lines.append(
            "It begins with an encoder trained on ImageNet, which is downloaded if it is not at hand."
        )
    elif start.entry is None:
        lines.append("It begins with random weights: expect to need many photos and epochs.")
    return join(html("<p>{}</p>", line) for line in lines)


def name_of(start, dataset):
    """(title, name of the model) suggested for the result; a version trained here gets a further version."""
    same = start.entry is not None and start.entry.label_set.classes == dataset.label_set.classes
    if same and start.entry.model:
        title = start.entry.title.partition(" (version ")[0]
        return title, start.entry.model
    base = start.entry.title.partition(" (version ")[0] if start.entry else start.spec.title
    return f"{base} on {dataset.label_set.title}"[:100], ""


def suggest(start, dataset, max_epochs=0):
    """Values of ``FIELDS`` that suit a start and a dataset on a computer without a GPU.

    They follow the recipes that the shipped models were trained by, with smaller steps for what has learned
    already and fewer epochs for more photos.
    """
    count = max(1, len(learning_ids(dataset)))
    if start.entry is not None:
        rate = 2e-4
    elif start.encoder:
        rate = 5e-4
    else:
        rate = 3e-4 if start.spec.name == "unet_plain" else 1e-3  # without BatchNorm, smaller steps
    epochs = min(40, max(3, round(PHOTOS_SEEN / count)))
    if start.entry is None:
        epochs = 2 * epochs
    return {
        "epochs": int(min(epochs, max_epochs or epochs)),
        "learning_rate": rate,
        "size": min(start.spec.size, 256),
        "loss": "cross_entropy_dice",
        "frozen": "c2" if start.encoder else "",
        "batch": 16 if count >= 200 else 8 if count >= 40 else 4,
        "augment": "strong",
        "early_stopping": 0,
        "steps_per_epoch": 0,
        "validation_photos": 100,
        "seed": 0,
    }


def settings(start, dataset, values, base=None):
    """Settings of a run, as ``runs.Runs.start`` takes them.

    Args:
        start: a ``Start``.
        dataset: a ``datasets.Dataset``.
        values: of ``FIELDS``.
        base: settings of a run whose clone this is, or None; what the form does not show is taken from them.
    """
    found = {"model": start.spec.name, "dataset": dataset.kind, "data": tfds.address(dataset.root)}
    if base is not None:
        return {**base, **found, **values}
    size, steps = values["size"], values["steps_per_epoch"]
    total = values["epochs"] * (steps or max(1, len(learning_ids(dataset)) // values["batch"]))
    share = size / start.spec.long_side  # of a photo that a crop shows
    found |= {
        "options": start.options,
        "start_from": start.value if start.entry else "",
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup_steps": min(100, total // 10),
        "ema": 0.98 if total >= 300 else 0.0,
        "scale": [round(0.8 * share, 2), round(0.4 + 1.4 * share, 2)],
        "loss_stride": 4 if start.spec.name.startswith(("deeplabv3", "fcn")) and size % 4 == 0 else 1,
        "freeze_batch_norm": bool(start.encoder),
        "reduce_lr": 0,
    }
    return {**found, **values}


def wish(services, start, source, title, values, base=None):
    """What a form describes.

    Args:
        services: the page's ``Services``.
        start, source: values of the two menus.
        title: what was typed as name, or "".
        values: of ``FIELDS``.
        base: of the run whose clone this is, its ``settings``, ``title`` and ``name``; or None.

    Returns:
        (settings, title, name), as ``runs.Runs.start`` takes them.

    Raises:
        RunError, DatasetError, StoreError, UnknownModelError: it cannot be.
    """
    start, dataset = Start.of(start), open_source(services, source)
    suggested, name = (base["title"], base["name"]) if base else name_of(start, dataset)
    given = " ".join((title or "").split()) or suggested
    chosen = settings(start, dataset, checked(values), base and base["settings"])
    return chosen, given, name if given == suggested else ""


# What each number of the form is called.
_LABELS = {
    "epochs": "Epochs",
    "learning_rate": "Learning rate",
    "size": "Crop",
    "batch": "Photos a step",
    "early_stopping": "Patience",
    "steps_per_epoch": "Steps an epoch",
    "validation_photos": "Photos watched",
    "seed": "Seed",
}
# Where a page's users may have less than the setting allows, see ``config.bounds``.
_NARROWER = {"size": (32, 1024), "batch": (1, 256)}


def checked(values):
    """The values of ``FIELDS``, as they have to be. Raises RunError for one that is missing or out of range."""
    found = dict(values)
    for name, label in _LABELS.items():
        value, (low, high) = found[name], _NARROWER.get(name) or bounds(name)
        if not isinstance(value, int | float) or not low <= value <= high:
            shown = (
                "empty" if value is None else f"{value:g}" if isinstance(value, int | float) else repr(value)
            )
            raise RunError(f"{label} is a number from {low:g} to {high:,g}, not {shown}.")
        if name != "learning_rate":
            found[name] = int(value)
    if found["size"] % 32:
        raise RunError(f"Crop is a multiple of 32 pixels, not {found['size']}.")
    for name, choices in (("loss", LOSSES), ("augment", AUGMENTATIONS)):
        if found[name] not in {value for _, value in choices}:
            raise RunError(f"Choose one of the offered values of {name}.")
    found["frozen"] = found["frozen"] or ""
    return found


def of_run(settings, spec):
    """Values of ``FIELDS`` in the settings of any run, those it leaves out with their defaults."""
    found = {name: settings.get(name, setting(name).default) for name in FIELDS}
    return {**found, "size": found["size"] or spec.size}
