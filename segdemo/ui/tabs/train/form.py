"""What the form of the Train tab offers: where to start, what to learn from, and settings that make sense."""

import contextlib
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from segdemo import zoo
from segdemo.annotations import drafts, with_drafts
from segdemo.core.conventions import number_of
from segdemo.core.labels import LABEL_SETS
from segdemo.core.settings import hosted
from segdemo.data import tfds
from segdemo.data.datasets import Dataset, DatasetError
from segdemo.data.sources import outline
from segdemo.errors import UserError
from segdemo.runs.config import Schedule, bounds, setting, weights_are_chosen
from segdemo.runs.policy import RunError
from segdemo.runs.queue import MIN_PHOTOS
from segdemo.ui.markup import html, join
from segdemo.ui.services import Services

UNTRAINED = "untrained:"  # prefix of an architecture among the places to start from
USEFUL_PHOTOS = 20  # annotated, from which on a model learns something of use
PHOTOS_SEEN = 4000  # by a run with the suggested epochs, about
# To learn from, below which the encoder keeps what it knows and an epoch is a number of steps
FEW_PHOTOS = 40
FEW_STEPS, FEW_EPOCHS = 30, 10  # of such a run: see docs/few_photos.md
PRESETS = {"quick": 1 / 3, "good": 1, "best": 3}  # how many times as long as what is suggested
LOSSES = [("CE + Dice", "cross_entropy_dice"), ("Cross-entropy", "cross_entropy"), ("Dice", "dice")]
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
class Original:
    """The run whose clone a form describes: its settings, its title, and the name of its model."""

    settings: dict[str, Any]
    title: str
    name: str


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
    def of(cls, value: str) -> "Start":
        """What a value of the menu means. Raises UnknownModelError."""
        if str(value).startswith(UNTRAINED):
            return cls(value, zoo.spec(value.removeprefix(UNTRAINED)), None)
        entry = zoo.served_model(value)
        return cls(value, zoo.spec(entry.architecture), entry)

    @property
    def options(self) -> dict[str, Any]:
        """The builder's options that its weights go with."""
        return self.entry.options if self.entry else {}

    @property
    def encoder(self) -> str | None:
        """Name of its encoder, or None."""
        return self.spec.encoder_with(self.options)


def starts(services: Services) -> list[tuple[str, str]]:
    """Choices of the menu: models that carry weights to train on, then every architecture, untrained."""
    trained = [
        (f"{entry.title} · {entry.label_set.title}", name)
        for name, entry in services.models().items()
        if entry.weights
    ]
    fresh = [(f"{spec.title} · untrained", UNTRAINED + name) for name, spec in zoo.SPECS.items()]
    return trained + fresh


def start_menu(services: Services, chosen: str | None) -> dict[str, Any]:
    """Update of the menu: models come and go, and one that was promoted goes by its model's name."""
    served = services.models()
    now = next((name for name, entry in served.items() if entry.alias_of == chosen), chosen)
    choices = starts(services)
    return gr.update(choices=choices) if now == chosen else gr.update(choices=choices, value=now)


def sources(services: Services) -> list[tuple[str, str]]:
    """Choices of the dataset menu: annotated collections, then datasets on disk; values are for ``open_source``."""
    own = []
    for collection in services.store.collections():
        count = collection.photos(annotated=True, per_page=1).total
        own.append((f"{collection.title} · {count} labelled", f"collection:{collection.name}"))
        if made := len(drafts.found(collection)):
            title = f"{collection.title} · {count} labelled + {number_of(made, 'draft')}"
            own.append((title, f"drafts:{collection.name}"))
    prepared = [(f"{name.removeprefix(tfds.PREFIX)} · TensorFlow Datasets", name) for name in tfds.offered()]
    return own + [(title, f"dataset:{title}") for title in services.datasets] + prepared


def open_source(services: Services, value: str | None) -> Dataset:
    """The ``datasets.Dataset`` of a choice. Raises DatasetError, StoreError."""
    kind, _, name = str(value or "").partition(":")
    if kind == "collection":
        return services.store.open(name).dataset()
    if kind == "drafts":
        return with_drafts.dataset(services.store.open(name))
    if kind == "dataset" and name in services.datasets:
        return services.datasets[name]
    if kind == "tfds" and name in tfds.NAMES:
        return outline(tfds.NAMES[name], f"{kind}:{name}")
    more = "" if hosted() else ", or set SEGDEMO_DATA to a folder with VOC or Pets"
    raise DatasetError(f"Choose what to learn from: label photos in Annotate{more}.")


def first_source(services: Services, start: str) -> str | None:
    """The choice of the dataset menu to offer for a value of the start menu: one with the model's own classes."""
    chosen = Start.of(start)
    sought = chosen.entry.label_set if chosen.entry else LABEL_SETS[chosen.spec.label_set]
    values = [value for _, value in sources(services) if not value.startswith("drafts:")]  # only if asked for
    for value in values:
        with contextlib.suppress(UserError):
            dataset = open_source(services, value)
            if dataset.label_set.classes == sought.classes and not too_few(dataset):
                return value
    return values[0] if values else None


def first_start(services: Services, source: str) -> str | None:
    """The choice of the start menu to offer for one of the dataset menu: one with the same classes, or the first."""
    values = [value for _, value in starts(services)]
    with contextlib.suppress(UserError):
        classes = open_source(services, source).label_set.classes
        for value in values:
            entry = Start.of(value).entry
            if entry is not None and entry.label_set.classes == classes:
                return value
    return values[0] if values else None


def source_of(services: Services, settings: dict[str, Any]) -> str | None:
    """The choice of the dataset menu that a run's settings stand for, or None."""
    for _, value in sources(services):
        with contextlib.suppress(UserError):
            dataset = open_source(services, value)
            if (dataset.kind, tfds.address(dataset.root)) == (settings["dataset"], settings["data"]):
                return value
    return None


def start_of(services: Services, settings: dict[str, Any]) -> str | None:
    """The choice of the start menu that a run's settings stand for, or None."""
    parent = settings.get("start_from")
    if not parent:
        return f"{UNTRAINED}{settings['model']}"
    served = services.models()
    return next((n for n, e in served.items() if parent in (n, e.alias_of)), None)


def learning_ids(dataset: Dataset) -> tuple[str, ...]:
    """Ids of the photos that are learned from."""
    return dataset.splits[dataset.learning_subset]


def too_few(dataset: Dataset) -> bool:
    """Whether a run cannot be started on a dataset for lack of photos."""
    return min(len(learning_ids(dataset)), len(dataset.splits["val"]), len(dataset.splits["test"])) < 1


_LABEL_FIRST = (
    "<b>Label at least {} photos first</b> ({}): one to learn from, one to watch the scores on, and "
    "one to measure the result on. From about {} on it is worth the time."
)
_LEARNS_FROM = (
    "Learns from <b>{:,}</b> photos, keeps the epoch that is best on <b>{:,}</b> others, and is measured on "
    "<b>{:,}</b> it never saw."
)
_LEARNS_TO_THE_END = (
    "Learns from <b>{:,}</b> photos to the last epoch, is watched on <b>{:,}</b> more, and is measured on "
    "<b>{:,}</b> it never saw."
)


def summary(
    start: Start, dataset: Dataset, watched: float | None = 0, schedule: Schedule = "cosine"
) -> Markup:
    """HTML on what would be learned from what.

    Args:
        start, dataset: what learns from what.
        watched: what the form has as photos watched, which may be nothing yet. 0: all.
        schedule: of the learning rate.
    """
    learn, watch, test = len(learning_ids(dataset)), len(dataset.splits["val"]), len(dataset.splits["test"])
    own, labelled = dataset.kind == "annotations", learn + watch + test
    if isinstance(watched, int | float) and watched >= 1:
        watch = int(min(watch, watched))
    lines: list[str] = []
    if own and too_few(dataset):
        count = f"{labelled} labelled so far" if labelled else "no photo is labelled"
        lines.append(html(_LABEL_FIRST, MIN_PHOTOS, count, USEFUL_PHOTOS))
    else:
        chosen = weights_are_chosen(schedule, watch)
        lines.append(html(_LEARNS_FROM if chosen else _LEARNS_TO_THE_END, learn, watch, test))
        if own and labelled < USEFUL_PHOTOS:
            lines.append(
                f"With fewer than {USEFUL_PHOTOS} labelled photos the scores jump, since few are measured on; things "
                "like those a model knows are learned from ten, others need more. Longer runs rarely help; more photos "
                "do."
            )
    classes = dataset.label_set.classes
    more = f" and {len(classes) - 6} more" if len(classes) > 6 else ""
    lines.append(f"{len(classes)} classes: {', '.join(classes[:6])}{more}.")
    if start.entry is None and start.encoder:
        lines.append(
            "It begins with an encoder trained on ImageNet, which is downloaded if it is not at hand."
        )
    elif start.entry is None:
        lines.append("It begins with random weights: expect to need many photos and epochs.")
    elif start.entry.label_set.classes != classes:
        lines.append(
            f"{start.entry.title} knows other classes, so its last layer is learned anew and there is "
            "no score before to compare with."
        )
    return join(html("<p>{}</p>", line) for line in lines)


def name_of(start: Start, dataset: Dataset) -> tuple[str, str]:
    """(title, name of the model) suggested for the result; a version trained here gets a further version."""
    entry = start.entry
    title = entry.title.partition(" (version ")[0] if entry else start.spec.title
    if entry and entry.label_set.classes == dataset.label_set.classes and entry.model:
        return title, entry.model
    return f"{title} on {dataset.label_set.title}"[:100], ""


def suggest(start: Start, dataset: Dataset, max_epochs: int = 0, preset: str = "good") -> dict[str, Any]:
    """Values of ``FIELDS`` that suit a start and a dataset on a computer without a GPU.

    They follow the recipes that the shipped models were trained by, with smaller steps for what has learned
    already and fewer epochs for more photos.

    Args:
        start, dataset: what learns from what.
        max_epochs: that are allowed here, 0 for any.
        preset: key of ``PRESETS``.
    """
    count = max(1, len(learning_ids(dataset)))
    if start.entry is not None:
        rate = 2e-4
    elif start.encoder:
        rate = 5e-4
    else:
        rate = 3e-4 if start.spec.name == "unet_plain" else 1e-3  # without BatchNorm, smaller steps
    few = count < FEW_PHOTOS
    head_alone = few and bool(start.encoder)
    if head_alone:
        rate = 1e-3  # all that learns is new
    epochs = FEW_EPOCHS if few else min(40, max(3, round(PHOTOS_SEEN / count)))
    if start.entry is None and not head_alone:
        epochs = 2 * epochs
    epochs = max(1, round(epochs * PRESETS[preset]))
    return {
        "epochs": int(min(epochs, max_epochs or epochs)),
        "learning_rate": rate,
        "size": min(start.spec.size, 256),
        "loss": "cross_entropy_dice",
        "frozen": "c5" if head_alone else "c2" if start.encoder else "",
        "batch": 16 if count >= 200 else min(8, count),
        "augment": "strong",
        "early_stopping": 0,
        "steps_per_epoch": FEW_STEPS if few else 0,
        "validation_photos": 100,
        "seed": 0,
    }


def preset_of(start: Start, dataset: Dataset, values: dict[str, Any], max_epochs: int = 0) -> str | None:
    """The key of ``PRESETS`` that values of ``FIELDS`` are those of, or None."""
    return next((p for p in PRESETS if suggest(start, dataset, max_epochs, p) == values), None)


def settings(
    start: Start, dataset: Dataset, values: dict[str, Any], base: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Settings of a run, as ``runs.Runs.start`` takes them.

    Args:
        start, dataset: what is learned from what.
        values: of ``FIELDS``.
        base: settings of a run whose clone this is, or None; what the form does not show is taken from them.
    """
    origin = {"model": start.spec.name, "dataset": dataset.kind, "data": tfds.address(dataset.root)}
    if base is not None:
        return {**base, **origin, **values}
    size, steps = values["size"], values["steps_per_epoch"]
    total = values["epochs"] * (steps or max(1, len(learning_ids(dataset)) // values["batch"]))
    share = size / start.spec.long_side  # of a photo that a crop shows
    return {
        **origin,
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
        **values,
    }


def wish(
    services: Services,
    start: str,
    source: str | None,
    title: str | None,
    values: dict[str, Any],
    base: Original | None = None,
) -> tuple[dict[str, Any], str, str]:
    """What a form describes.

    Args:
        services: with the datasets at hand.
        start, source: values of the two menus.
        title: what was typed as name, or "".
        values: of ``FIELDS``.
        base: of the run whose clone this is, or None.

    Returns:
        (settings, title, name), as ``runs.Runs.start`` takes them. Raises UserError if it cannot be.
    """
    place, dataset = Start.of(start), open_source(services, source)
    suggested, name = (base.title, base.name) if base else name_of(place, dataset)
    typed = " ".join((title or "").split())
    run_settings = settings(place, dataset, checked(values), base.settings if base else None)
    return run_settings, typed or suggested, name if typed in ("", suggested) else ""


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


def checked(values: dict[str, Any]) -> dict[str, Any]:
    """The values of ``FIELDS``, as they have to be. Raises RunError for one that is missing or out of range."""
    valid = dict(values)
    for name, label in _LABELS.items():
        value, (low, high) = values[name], _NARROWER.get(name) or bounds(name)
        number = isinstance(value, int | float)
        if not number or not low <= value <= high:
            text = f"{value:g}" if number else "empty" if value is None else repr(value)
            raise RunError(f"{label} is a number from {low:g} to {high:,g}, not {text}.")
        valid[name] = value if name == "learning_rate" else int(value)
    if valid["size"] % 32:
        raise RunError(f"Crop is a multiple of 32 pixels, not {valid['size']}.")
    for name, choices in (("loss", LOSSES), ("augment", AUGMENTATIONS)):
        if valid[name] not in {value for _, value in choices}:
            raise RunError(f"Choose one of the offered values of {name}.")
    valid["frozen"] = valid["frozen"] or ""
    return valid


def of_run(settings: dict[str, Any], spec: zoo.ModelSpec) -> dict[str, Any]:
    """Values of ``FIELDS`` in the settings of any run, those it leaves out with their defaults."""
    values = {name: settings.get(name, setting(name).default) for name in FIELDS}
    return {**values, "size": values["size"] or spec.size}
