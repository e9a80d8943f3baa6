"""Every setting of a training run, checked as soon as it is made. Nothing here imports Keras."""

from dataclasses import dataclass, field, fields

from segdemo import zoo
from segdemo.errors import UserError

STAGES = ("c1", "c2", "c3", "c4", "c5")
UPSAMPLING = "all but upsampling"
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "polynomial", "cosine")
LOSSES = ("cross_entropy", "dice", "cross_entropy_dice")
AUGMENTATIONS = ("none", "flip", "voc", "strong")
PRECISIONS = ("float32", "mixed_bfloat16")
# Settings that config.json of earlier versions has, and nothing reads any more.
RETIRED = {"teacher_sees"}  # "photo" or "crop": by now a teacher always sees the crop


class TrainingError(UserError):
    """Training cannot start or go on; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a run.

    Attributes:
        model: key of ``zoo.SPECS``.
        dataset, data: kind and folder of the dataset, see ``sources.open_dataset``.
        subset, validation, held_out: subsets to learn from, to watch and choose by, and to report on. Empty for
            the dataset's own.
        options: override the builder's options, such as ``{"output_stride": 8}``.
        encoder_weights: ``"auto"`` (a file in SEGDEMO_PRETRAINED, else a download), ``"imagenet"``, a path, or
            ``"none"``.
        start_from: a served model or a ``.weights.h5`` file to go on from, instead of the encoder weights.
        epochs, batch, steps_per_epoch: how long; 0 steps for one pass over the subset.
        size: side of the training crop in pixels; 0 for the spec's.
        loss_stride: the loss is taken on label maps this much smaller than the crop.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``. learning_rate, weight_decay: its settings.
        schedule: ``"constant"``, ``"polynomial"`` (power 0.9) or ``"cosine"``, over all steps.
        warmup_steps: the learning rate rises linearly over these, with ``"cosine"``.
        loss: one of ``LOSSES``, see ``train.LOSSES``. dice_weight: of its Dice part.
        class_weights: weigh rarer classes more, by median frequency balancing on the training masks.
        augment: one of ``AUGMENTATIONS``, see ``batches.AUGMENTATIONS``. scale: magnifications of
            ``"strong"``. copy_paste: share of photos.
        frozen: encoder stages that do not learn, from ``""`` over ``"c1"`` to ``"c5"`` (all of it);
            ``"all but upsampling"`` leaves nothing but ``models.upsampling`` to learn.
        freeze_batch_norm: keep the encoder's BatchNorm statistics and parameters.
        ema: momentum of the average of the weights that is evaluated and kept; 0 for none.
        reduce_lr, early_stopping: patience in epochs on ``val_loss``; 0 for never.
        validation_photos: at most so many photos are watched; 0 for all.
        repeat_threshold: photos of classes that a smaller share of all photos show are drawn more often, see
            ``pipeline.repeat_factors``; 0 draws all alike.
        teacher: a TFLite DeepLabv3 to learn from as well, see ``distiller``: a path, or a file name in
            SEGDEMO_PRETRAINED. Empty for none. It goes with the augmentation ``"strong"``.
        teacher_weight, truth_weight: of the teacher's soft labels and of ``loss`` then.
        teacher_temperature: see ``distiller.soft_cross_entropy``.
        block_steps: before all else, the encoder's blocks learn from the teacher's for so many batches, at the
            rate block_learning_rate, see ``blockwise``; 0 for not at all. It needs a teacher.
        block_weight: of the error at the ends of those blocks while the whole model learns. It falls to zero over the
            training, and needs the same.
        cutmix, mixup: share of photos mixed with another of the batch, see ``augment``; mixup needs a teacher.
        precision: ``"float32"``, or ``"mixed_bfloat16"``: weights in float32, layers compute in bfloat16. On a
            processor with AVX512-BF16 it trains the plain U-Net 1.8x and SegNet 1.4x as fast, and MobileNetV2's
            depthwise convolutions no faster.
        seed: of initial weights, order and augmentation.
        recipe: name of the recipe it came from, if any.
    """

    model: str
    dataset: str
    data: str
    subset: str = ""
    validation: str = "val"
    held_out: str = "test"
    options: dict = field(default_factory=dict)
    encoder_weights: str = "auto"
    start_from: str = ""
    epochs: int = 25
    batch: int = 16
    steps_per_epoch: int = 0
    size: int = 0
    loss_stride: int = 1
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    loss: str = "cross_entropy"
    dice_weight: float = 1.0
    class_weights: bool = False
    augment: str = "flip"
    scale: tuple[float, float] = (0.5, 2.0)
    copy_paste: float = 0.0
    frozen: str = ""
    freeze_batch_norm: bool = False
    ema: float = 0.0
    reduce_lr: int = 3
    early_stopping: int = 6
    validation_photos: int = 0
    repeat_threshold: float = 0.0
    teacher: str = ""
    teacher_weight: float = 1.0
    truth_weight: float = 0.5
    teacher_temperature: float = 1.0
    block_steps: int = 0
    block_learning_rate: float = 3e-3
    block_weight: float = 0.0
    cutmix: float = 0.0
    mixup: float = 0.0
    precision: str = "float32"
    seed: int = 0
    recipe: str = ""

    def __post_init__(self):
        for setting in fields(self):
            _check_type(setting, getattr(self, setting.name))
        zoo.spec(self.model)
        choices = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "loss": LOSSES,
            "augment": AUGMENTATIONS,
            "frozen": ("", *STAGES, UPSAMPLING),
            "precision": PRECISIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise TrainingError(
                    f"{name} is one of {', '.join(map(repr, allowed))}, not {getattr(self, name)!r}."
                )
        for name in ("epochs", "batch", "loss_stride"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is 1 or more, not {getattr(self, name)}.")
        for name in (
            "steps_per_epoch",
            "size",
            "warmup_steps",
            "reduce_lr",
            "early_stopping",
            "block_steps",
            "seed",
        ):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} is 0 or more, not {getattr(self, name)}.")
        for name in ("learning_rate", "block_learning_rate"):
            if not 0 < getattr(self, name) < 1:
                raise TrainingError(
                    f"The {name.replace('_', ' ')} lies between 0 and 1, not at {getattr(self, name)}."
                )
        if not 0 <= self.ema < 1:
            raise TrainingError(f"ema lies between 0 and 1, not at {self.ema}.")
        if not 0 <= self.repeat_threshold <= 1:
            raise TrainingError(f"repeat_threshold lies between 0 and 1, not at {self.repeat_threshold}.")
        if min(self.teacher_weight, self.truth_weight) < 0 or self.teacher_weight + self.truth_weight == 0:
            raise TrainingError("teacher_weight and truth_weight are 0 or more, and not both 0.")
        if self.teacher and self.augment != "strong":
            raise TrainingError("A teacher goes with the augmentation 'strong'.")
        if self.block_weight < 0:
            raise TrainingError(f"block_weight is 0 or more, not {self.block_weight}.")
        if not 1 <= self.teacher_temperature <= 20:
            raise TrainingError(
                f"teacher_temperature lies between 1 and 20, not at {self.teacher_temperature}."
            )
        for name in ("copy_paste", "cutmix", "mixup"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} lies between 0 and 1, not at {getattr(self, name)}.")
        for name in ("block_steps", "block_weight"):
            if getattr(self, name) and not self.teacher:
                raise TrainingError(f"{name} needs a teacher: name one with teacher.")
        if self.mixup and not self.teacher:
            raise TrainingError("mixup needs a teacher, since the truth about a blend is not known.")

    @classmethod
    def from_json(cls, data):
        """The configuration ``asdict`` described, by this version or one before.

        ``RETIRED`` settings are dropped, so that a run of then goes on: one whose teacher was asked once a photo
        (``"teacher_sees": "photo"``) goes on with a teacher that sees the crop.

        Raises TrainingError for a setting there is not.
        """
        data = {name: value for name, value in data.items() if name not in RETIRED}
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise TrainingError(
                f"There is no setting {unknown[0]!r}: choose from {', '.join(sorted(known))}."
            )
        if missing := [name for name in ("model", "dataset", "data") if name not in data]:
            raise TrainingError(f"The setting {missing[0]!r} is missing: add it.")
        return cls(**{k: tuple(v) if k == "scale" and isinstance(v, list) else v for k, v in data.items()})


def _check_type(setting, value):
    """Raise TrainingError unless a field's value is of its type: settings come from files and command lines."""
    kind = setting.type
    if kind == tuple[float, float]:
        wanted = "two numbers"
        good = isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    else:
        wanted = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}.get(
            kind, "an object"
        )
        good = isinstance(value, int | float if kind is float else kind)
        good = good and (kind is bool or not isinstance(value, bool))
    if not good:
        raise TrainingError(f"{setting.name} is {wanted}, not {value!r}.")
