"""Every setting of a training run: type, bounds and meaning stated once, and checked as soon as it is made.

The command line (``--set``), ``config.json`` and the form of the page take them from here. Nothing here imports Keras.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from segdemo import zoo
from segdemo.errors import UserError

UPSAMPLING = "all but upsampling"
Stages = Literal["", "c1", "c2", "c3", "c4", "c5", "all but upsampling"]
STAGES = get_args(Stages)[1:-1]
Optimizer = Literal["adam", "adamw", "sgd"]
DECAYING = ("adamw", "sgd")  # optimizers with a weight_decay
Schedule = Literal["constant", "polynomial", "cosine"]
Loss = Literal["cross_entropy", "dice", "cross_entropy_dice"]
Weighting = Literal["set", "image"]
DiceForm = Literal["classes", "pixels"]
Augmentation = Literal["none", "flip", "voc", "strong"]
Precision = Literal["float32", "mixed_bfloat16"]
FEWEST_TO_CHOOSE = 5  # watched photos, see ``weights_are_chosen``
# Settings that config.json of earlier versions has and nothing reads any more: name to why.
RETIRED = {"teacher_sees": "a teacher always sees the crop"}
_WANTED: dict[Any, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict[str, Any]: "an object",
    tuple[float, float]: "two numbers",
    tuple[float, ...]: "a list of numbers",
}
_CHECKS = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Share = Annotated[float, Field(ge=0, le=1)]
Settings = TypeVar("Settings")


class TrainingError(UserError):
    """Training cannot start or go on; the message is one sentence that says what to do."""


def _told(cls: type[Settings]) -> type[Settings]:
    """Class decorator: what pydantic finds wrong is raised as a TrainingError of one sentence."""
    checked = cls.__init__

    def __init__(self: Settings, **settings: Any) -> None:
        try:
            checked(self, **settings)
        except ValidationError as error:
            raise _sentence(cls, error, settings) from None

    cls.__init__ = __init__  # type: ignore[assignment, method-assign]
    return cls


def _set(meaning: str, default: Any = ..., **bounds: Any) -> Any:
    """A setting: one line on what it means, its default or what makes it (none: it is required), and its bounds."""
    return Field(
        **{"default_factory" if callable(default) else "default": default}, description=meaning, **bounds
    )


@_told
@dataclass(frozen=True, kw_only=True, config=_CHECKS)
class Distillation:
    """Settings that mean something with a teacher only, see ``training.distillation``."""

    teacher: str = _set("a TFLite DeepLabv3: a path, or a file name in SEGDEMO_PRETRAINED", "")
    teacher_weight: float = _set("of the teacher's soft labels in the loss", 1.0, ge=0)
    truth_weight: float = _set("of the run's own loss beside them", 0.5, ge=0)
    teacher_temperature: float = _set("softens the labels of both", 1.0, ge=1, le=20)
    block_steps: int = _set("first, the encoder's blocks learn so many batches; 0: none", 0, ge=0)
    block_learning_rate: float = _set(
        "the highest of these steps", 3e-3, gt=0, lt=1, title="The block learning rate"
    )
    block_weight: float = _set("of the blocks' error in the loss; it falls to zero", 0.0, ge=0)
    mixup: Share = _set("share of photos that are blended with another of the batch", 0.0)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.teacher_weight + self.truth_weight == 0:
            raise TrainingError("teacher_weight and truth_weight are not both 0.")
        for name in ("block_steps", "block_weight"):
            if getattr(self, name) and not self.teacher:
                raise TrainingError(f"{name} needs a teacher: name one with teacher.")
        if self.mixup and not self.teacher:
            raise TrainingError("mixup needs a teacher, since the truth about a blend is not known.")
        return self


@_told
@dataclass(frozen=True, kw_only=True, config=_CHECKS)
class TrainConfig:
    """Every setting of a run; those of ``distillation`` stand beside the others in files and on the command line."""

    model: str = _set("key of zoo.SPECS")
    dataset: str = _set("kind of the dataset")
    data: str = _set("its folder, or tfds:NAME")
    subset: str = _set("to learn from; empty: the dataset's own", "")
    validation: str = _set("subset to watch and to choose the weights by, see weights_are_chosen", "val")
    held_out: str = _set("subset to report on", "test")
    options: dict[str, Any] = _set("of the architecture's builder", dict)
    encoder_weights: str = _set("auto (SEGDEMO_PRETRAINED or a download), imagenet, none, a path", "auto")
    start_from: str = _set("a served model or .weights.h5 file to go on from instead", "")
    epochs: int = _set("passes over the subset", 25, ge=1, le=10_000)
    batch: int = _set("photos a step", 16, ge=1, le=4096)
    steps_per_epoch: int = _set("0: one pass over the subset", 0, ge=0, le=1_000_000)
    size: int = _set("side of the training crop in pixels; 0: the architecture's", 0, ge=0, le=4096)
    loss_stride: int = _set("the loss is taken on label maps so much smaller than the crop", 1, ge=1)
    optimizer: Optimizer = _set("who takes the steps", "adam")
    learning_rate: float = _set("the highest, see schedule", 1e-4, gt=0, lt=1, title="The learning rate")
    weight_decay: float = _set("of the optimizers that have one, adamw and sgd", 0.0, ge=0)
    schedule: Schedule = _set("of the learning rate, over all steps", "constant")
    warmup_steps: int = _set(
        "with cosine, the learning rate rises linearly over these, a tenth of all steps at most", 0, ge=0
    )
    loss: Loss = _set("see training.losses", "cross_entropy")
    dice_weight: float = _set("of the Dice part of cross_entropy_dice", 1.0, ge=0)
    dice_form: DiceForm = _set("Dice of each class, averaged, or one over all pixels", "classes")
    class_weights: bool = _set("weigh rarer classes more, see weighting", False)
    weighting: Weighting = _set("by the set's median frequency, or in each image by (n - n_c) / n", "set")
    given_weights: tuple[float, ...] = _set("weights of the classes in their order, instead", ())
    augment: Augmentation = _set("how photos are varied, see training.batches", "flip")
    crop_share: Share = _set("share of photos that voc crops; the others are resized whole", 1.0)
    scale: tuple[float, float] = _set("least and largest magnification of strong", (0.5, 2.0))
    copy_paste: Share = _set("share of photos that get another's objects", 0.0)
    cutmix: Share = _set("share of photos that get a box of another", 0.0)
    frozen: Stages = _set("encoder stages that do not learn, or what alone learns", "")
    freeze_batch_norm: bool = _set("keep the encoder's BatchNorm as it is", False)
    ema: float = _set("momentum of the averaged weights that are kept; 0: none", 0.0, ge=0, lt=1)
    reduce_lr: int = _set("epochs without a lower val_loss until the learning rate falls; 0: never", 3, ge=0)
    early_stopping: int = _set(
        "epochs without a lower val_loss until the run ends; 0: never", 6, ge=0, le=10_000
    )
    validation_photos: int = _set("at most so many are watched; 0: all", 0, ge=0, le=1_000_000)
    repeat_threshold: Share = _set("see pipeline.repeat_factors; 0: all photos alike", 0.0)
    precision: Precision = _set("what layers compute in; weights are float32", "float32")
    seed: int = _set("of initial weights, order and augmentation", 0, ge=0, le=2**32 - 1)
    recipe: str = _set("name of the recipe it came from", "")
    distillation: Distillation = _set("learning from a teacher as well", Distillation)

    @field_validator("model")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return zoo.spec(name).name

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.distillation.teacher and self.augment != "strong":
            raise TrainingError("A teacher goes with the augmentation 'strong'.")
        if self.given_weights and (min(self.given_weights) < 0 or not any(self.given_weights)):
            raise TrainingError("given_weights are 0 or more, and not all of them 0.")
        if self.weight_decay and self.optimizer not in DECAYING:
            raise TrainingError(
                f"The optimizer {self.optimizer!r} has no weight_decay: choose 'adamw' or 'sgd', or leave it at 0."
            )
        side = self.size or zoo.spec(self.model).size
        if self.loss_stride > side:
            raise TrainingError(
                f"A crop of {side} pixels leaves nothing at a loss_stride of {self.loss_stride}: choose one of {side} "
                "or less."
            )
        least, largest = self.scale
        if not 0 < least <= largest:
            raise TrainingError(
                f"scale is the least and the largest magnification, both above 0, not {least:g} and {largest:g}: "
                "choose others."
            )
        return self

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The configuration that ``to_json`` of this version or one before described.

        ``RETIRED`` settings are dropped, so that a run of then goes on.

        Raises:
            TrainingError: a setting there is not, or one that is out of its bounds. UnknownModelError.
        """
        own, teaching = ({f.name for f in fields(kind)} - {"distillation"} for kind in (cls, Distillation))
        data = {name: value for name, value in data.items() if name not in RETIRED}
        if unknown := sorted(data.keys() - own - teaching):
            raise _unknown(unknown[0], own | teaching)
        for name in ("scale", "given_weights"):
            if isinstance(data.get(name), list):
                data[name] = tuple(data[name])
        distillation = Distillation(**{name: data.pop(name) for name in teaching & data.keys()})
        return cls(**data, distillation=distillation)

    def to_json(self) -> dict[str, Any]:
        """All settings side by side, as ``config.json`` has them."""
        settings = asdict(self)
        together: dict[str, Any] = settings | settings.pop("distillation")
        return together


def of_before(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that an earlier version began, without what was of no effect and is refused by now.

    So it goes on, is exported and is cloned as what it was.

    Args:
        settings: of ``config.json``. Values that never worked stay as they are.

    Returns:
        A copy. ``weight_decay`` is 0 with an optimizer that has none and where it was negative, ``scale`` in order, or
        left out where nothing reads it. What is about an encoder is left out where the architecture has none, and
        so is ``freeze_encoder`` where it contradicts ``frozen``.
    """
    kept = dict(settings)
    decay, scale, options = (kept.get(name) for name in ("weight_decay", "scale", "options"))
    if kept.get("optimizer", "adam") not in DECAYING or (isinstance(decay, int | float) and decay < 0):
        kept.pop("weight_decay", None)
    if isinstance(scale, list | tuple) and len(scale) == 2 and all(isinstance(n, int | float) for n in scale):
        if min(scale) > 0:
            kept["scale"] = sorted(scale)
        elif kept.get("augment") != "strong":
            del kept["scale"]
    spec = zoo.SPECS.get(str(kept.get("model")))
    if spec is not None and spec.encoder is None:
        kept.pop("freeze_batch_norm", None)
        if kept.get("frozen") in STAGES:
            del kept["frozen"]
        named = isinstance(options, dict) and "encoder" in options  # as SegNet's may be
        if not named and kept.get("encoder_weights") != "none":
            kept.pop("encoder_weights", None)
    if isinstance(options, dict) and options.get("freeze_encoder") and kept.get("frozen") != STAGES[-1]:
        kept["options"] = {name: value for name, value in options.items() if name != "freeze_encoder"}
    return kept


def setting(name: str) -> FieldInfo:
    """What is known of a setting: ``annotation``, ``default``, ``description``. Raises KeyError."""
    return _all_fields()[name]


def choices(name: str) -> tuple[str, ...]:
    """What a setting that is one of several may be."""
    return get_args(setting(name).annotation)


def bounds(name: str) -> tuple[float, float]:
    """The least and the largest value of a numeric setting; infinite where there is none.

    An end that is not reached itself, as those of a learning rate, is given by the value so near that it makes no
    difference to people.
    """
    limits = _limits(setting(name))
    low = limits.get("ge", 1e-8 if "gt" in limits else -math.inf)
    return low, limits.get("le", 0.999 if "lt" in limits else math.inf)


def weights_are_chosen(schedule: Schedule, watched: int) -> bool:
    """Whether a run keeps the weights that score best on its watched photos, rather than the last ones.

    Few photos choose by chance, and what a learning rate that falls ends in is better than that.

    Args:
        schedule: of the learning rate. watched: the number of photos that are watched.
    """
    return schedule == "constant" or watched >= FEWEST_TO_CHOOSE


def _all_fields() -> dict[str, FieldInfo]:
    return _fields(TrainConfig) | _fields(Distillation)


def _fields(cls: type) -> dict[str, FieldInfo]:
    fields: dict[str, FieldInfo] = vars(cls)["__pydantic_fields__"]
    return fields


def _limits(field: FieldInfo) -> dict[str, float]:
    ends = [(end, part) for part in field.metadata for end in ("ge", "gt", "le", "lt") if hasattr(part, end)]
    return {end: getattr(part, end) for end, part in ends}


def _sentence(cls: type, error: ValidationError, settings: Mapping[str, Any]) -> UserError:
    # Of all that is wrong, the first.
    first = error.errors(include_url=False)[0]
    own = first.get("ctx", {}).get("error")
    if isinstance(own, UserError):  # one of our own sentences already
        return own
    name, kind = str(first["loc"][0]), first["type"]
    if name not in _fields(cls):
        return _unknown(name, _fields(cls))
    if name not in settings:
        return _missing(name)
    field, value = _fields(cls)[name], settings[name]
    if kind == "literal_error":
        return TrainingError(f"{name} is one of {', '.join(map(repr, choices(name)))}, not {value!r}.")
    if kind.startswith(("greater", "less")):
        limits = _limits(field)
        low, high = (limits.get(a, limits.get(b)) for a, b in (("ge", "gt"), ("le", "lt")))
        if field.annotation is float and None not in (low, high):
            return TrainingError(f"{field.title or name} lies between {low:g} and {high:g}, not at {value}.")
        bound = f"{low:,} or more" if kind.startswith("greater") else f"{high:,} or less"
        return TrainingError(f"{name} is {bound}, not {value}.")
    return TrainingError(f"{name} is {_WANTED[field.annotation]}, not {value!r}.")


def _unknown(name: str, known: Iterable[str]) -> TrainingError:
    return TrainingError(f"There is no setting {name!r}: choose from {', '.join(sorted(known))}.")


def _missing(name: str) -> TrainingError:
    return TrainingError(f"The setting {name!r} is missing: add it.")
