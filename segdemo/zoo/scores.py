"""What was measured of a model, and what was set by measuring, as manifests and reports keep it."""

from dataclasses import dataclass, field
from typing import Any

from segdemo.core.documents import Document


@dataclass(frozen=True, kw_only=True)
class Scores(Document):
    """How a model does on a subset, as ``inference.evaluate`` measured it; scores lie in 0..1.

    Attributes:
        mean_iou, mean_accuracy, pixel_accuracy: None where nothing was labelled. The means are over the classes that
            have truth.
        mean_iou_with_predicted: the mean over the classes that have truth or are predicted: one that is predicted and
            never in the truth counts 0. Some programs report this one.
        class_iou: class name to IoU, None for a class that neither truth nor prediction holds.
        images: photos. seconds: for all of them. milliseconds: median of one prediction.
        confusion: pixels, truth in rows.
        model, onnx_sha256: what was measured. dataset, subset: on what.
        scales, flip, refined: how it looked at each photo.
        squashed: scores at one square size, for comparison.
        title: of the subset. command: the command line that measures it again.
    """

    mean_iou: float | None = None
    mean_iou_with_predicted: float | None = None
    mean_accuracy: float | None = None
    pixel_accuracy: float | None = None
    class_iou: dict[str, float | None] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0
    milliseconds: float | None = None
    confusion: list[list[int]] = field(default_factory=list)
    model: str = ""
    onnx_sha256: str = ""
    dataset: str = ""
    subset: str = ""
    scales: list[float] = field(default_factory=list)
    flip: bool = False
    refined: bool = False
    squashed: "Scores | None" = None
    title: str = ""
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Report(Document):
    """``report.json`` of a run: scores of the model it started from, if these can be compared, and of its own."""

    before: Scores | None = None
    after: Scores | None = None


@dataclass(frozen=True, kw_only=True)
class Lineage(Document):
    """Where a model comes from.

    Attributes:
        run: id of the run. parent: the model it started from.
        dataset_hash: see ``runs.record.dataset_hash``; None where the data cannot be read.
        dataset_changed: whether it is not what it was when the run began.
        settings: of the run. code: version and hash of the program.
    """

    run: str = ""
    parent: str | None = None
    dataset_hash: str | None = None
    dataset_changed: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Refinement(Document):
    """Settings of ``inference.refine.refine``, and what they do to the subset they were chosen on."""

    radius: float
    epsilon: float
    chosen_on: str = ""
    mean_iou_before: float | None = None
    mean_iou: float | None = None


@dataclass(frozen=True, kw_only=True)
class Adjustment(Document):
    """What is taken off the logits for classes that were seen seldom, see ``inference.calibrate.fit_adjustment``."""

    offsets: list[float]
    strength: float = 0
    chosen_on: str = ""
    mean_iou_before: float | None = None
    mean_iou: float | None = None


@dataclass(frozen=True, kw_only=True)
class Calibration(Document):
    """The expected calibration error on ``subset`` without the temperature and with it."""

    ece: float
    ece_before: float | None = None
    fitted_on: str = ""
    subset: str = ""


@dataclass(frozen=True, kw_only=True)
class Domain(Document):
    """The least ``inference.predict.evidence`` of a photo that shows what a model knows, and what that tells apart.

    Attributes:
        threshold: the evidence. fitted_on: the subset it was chosen on. subset: what the others were measured on.
        false_alarms: share of ``photos`` of known things called unknown.
        noticed: share of ``windows`` without any that are called so.
    """

    threshold: float
    fitted_on: str = ""
    subset: str = ""
    false_alarms: float | None = None
    noticed: float | None = None
    photos: int = 0
    windows: int = 0


@dataclass(frozen=True, kw_only=True)
class SizeChoice(Document):
    """The longer side of photos that scored best, and the mean IoU of each that was tried."""

    long_side: int
    chosen_on: str = ""
    mean_iou: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PassesGain(Document):
    """What further looks at a photo gain and cost."""

    mean_iou: float
    mean_iou_once: float
    times_slower: float = 1
    subset: str = ""


@dataclass(frozen=True, kw_only=True)
class Calibrated(Document):
    """What ``inference.calibrate.calibrate`` sets, for a model's manifest; None where it could not be had."""

    long_side: int
    temperature: float
    size: SizeChoice | None = None
    adjustment: Adjustment | None = None
    calibration: Calibration | None = None
    refinement: Refinement | None = None
    domain: Domain | None = None
    test_time: dict[str, PassesGain] = field(default_factory=dict)
