"""What the tabs share: loaded models, decoded photos, limits, the datasets at hand, and what is kept on disk."""

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock, Thread

import numpy as np
from markupsafe import Markup

from segdemo import zoo
from segdemo.annotations.store import AnnotationStore
from segdemo.cluster.batches import batches
from segdemo.cluster.jobs import executor
from segdemo.core import settings
from segdemo.core.frugal import give_back
from segdemo.core.photos import Limits
from segdemo.data import sources
from segdemo.data.datasets import Dataset
from segdemo.errors import UserError
from segdemo.inference.jobs import Jobs
from segdemo.inference.predict import PASSES, Prediction
from segdemo.inference.predictors import PredictorCache
from segdemo.runs.queue import Runs
from segdemo.ui.clicks import Clicks
from segdemo.ui.clips import Clips
from segdemo.ui.histogram import Histogram
from segdemo.ui.markup import html, join
from segdemo.ui.photos import PhotoCache
from segdemo.ui.teaching import Teaching
from segdemo.workspaces.keeper import Keeper, Room
from segdemo.zoo.scores import Scores
from segdemo.zoo.versions import ModelStore

GIVE_BACK_SECONDS = 60  # between two times that freed memory is handed back to the system
TIDY_SECONDS = 3600  # between two times that what is old or half done is cleared away
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shared:
    """What everybody has together, where visitors have no workspaces."""

    store: AnnotationStore
    versions: ModelStore
    runs: Runs


@dataclass(frozen=True)
class About:
    """What there is to say of a model that is chosen from others.

    Attributes:
        knows: its classes in a few words.
        mean_iou: in 0..1, None for one that was not measured; ``measured`` says on what.
        gain: points of mean IoU that further looks at a photo give, where they were measured.
        megabytes: of its file.
        milliseconds: of a photo: the median here once it was used (``timed_here``), until then by that of others.
    """

    knows: str
    mean_iou: float | None
    measured: str
    gain: float | None
    megabytes: float
    milliseconds: float | None
    timed_here: bool


@dataclass
class Services:
    """One for each process, made by ``app.py``.

    Attributes:
        limits: of photos.
        photos: those decoded last.
        predictors: the models loaded.
        store: the annotations: everybody's, or those of the visitor who is being answered; then nobody's can be reached
            from elsewhere, and WorkspaceError is raised. So it is with ``versions`` and ``runs``.
        versions: those of the models trained here.
        runs: the trainings.
        policy: who may train, and how much.
        all_runs: those of everybody, to look after them; nothing of them is for a visitor.
        keeper: of the visitors' workspaces, where each has one; None where all is shared.
        clicks: the model of clicks, and the photos that were clicked on.
        teaching: features that classes are taught with.
        clips: the videos that are worked on.
        predicted: how long predictions took.
        jobs: the batches of photos.
    """

    limits: Limits
    photos: PhotoCache
    predictors: PredictorCache = field(default_factory=PredictorCache)
    _times: dict[tuple[Path, str], deque[float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.keeper = Keeper() if settings.for_visitors() else None
        if self.keeper is None:
            versions = ModelStore()
            self._shared = _Shared(AnnotationStore(), versions, Runs(models=versions, executor=executor()))
        self.predicted = Histogram()
        self.policy = self.all_runs.policy
        self.clicks = Clicks(self.photos, self.limits)
        self.teaching = Teaching(self.photos)
        self.clips = Clips()
        self.jobs = Jobs(limits=self.limits, elsewhere=batches())

    @property
    def _things(self) -> "_Shared | Room":
        return self.keeper.room() if self.keeper else self._shared

    @property
    def store(self) -> AnnotationStore:
        return self._things.store

    @property
    def versions(self) -> ModelStore:
        return self._things.versions

    @property
    def runs(self) -> Runs:
        return self._things.runs

    @property
    def all_runs(self) -> Runs:
        return self.keeper.runs if self.keeper else self._shared.runs

    @classmethod
    def start(cls) -> "Services":
        """Services with the limits of the environment."""
        limits = Limits.from_env()
        return cls(limits, PhotoCache(limits))

    def look_after(self) -> Thread:
        """Once in each process: keep the queue of runs going, clear away what is old or half done, and free memory.

        Returns:
            The thread that clears away first; that is done again every ``TIDY_SECONDS``.
        """

        runs, keeper = self.all_runs, self.keeper
        things = (keeper, keeper.models) if keeper else (self.store, self.versions)
        owners = (*things, runs, self.jobs)

        def tidy() -> None:
            for owner in owners:
                try:
                    owner.tidy()
                except (UserError, OSError) as error:  # a full or locked disk must not keep the page away
                    _log.warning("Not tidied up: %s", error)

        runs.watch()
        self.jobs.watch()
        if keeper:
            keeper.watch()
        Thread(target=_now_and_then, args=(tidy,), name="memory", daemon=True).start()
        thread = Thread(target=tidy, name="tidy", daemon=True)
        thread.start()
        return thread

    def models(self) -> dict[str, zoo.ModelEntry]:
        """What menus of models offer: name to ``zoo.ModelEntry``; a promoted version by its model's name only."""
        served = zoo.served_models()
        hidden = {entry.alias_of for entry in served.values()}
        return {name: entry for name, entry in served.items() if name not in hidden}

    def choices(self) -> list[tuple[str, str]]:
        """``models`` as (title, name) of a Radio or Dropdown."""
        return [(entry.title, name) for name, entry in self.models().items()]

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """The datasets below ``SEGDEMO_DATA``, by title."""
        datasets = sources.find_datasets(settings.data_dir())
        return {f"{dataset.label_set.title} ({dataset.root.name})": dataset for dataset in datasets}

    def predict(self, model: str, photo: np.ndarray, passes: str = "once") -> Prediction:
        """Segment a photo uint8 (H, W, 3). Its time counts for the model's card.

        Args:
            model: a served model.
            photo: its pixels.
            passes: key of ``predict.PASSES``.
        """
        predictor = self.predictors.get(model)
        prediction = predictor.seeing(**PASSES[passes])(photo)
        self.predicted.observe(prediction.milliseconds / 1000)
        with self._lock:
            self._times.setdefault((predictor.entry.path, passes), deque(maxlen=9)).append(
                prediction.milliseconds
            )
        return prediction

    def about(self, entry: zoo.ModelEntry, passes: str = "once", pace: float = 0) -> About:
        """What there is to say of a model.

        Args:
            entry: the model.
            passes: how it looks at photos, a key of ``predict.PASSES``.
            pace: of ``pace``, to estimate the time of a model that was not used yet; 0 for no estimates.
        """
        metrics = entry.metrics or Scores()
        here = self._median(entry, passes)
        usual = pace * metrics.milliseconds if metrics.milliseconds and passes == "once" else None
        further = entry.test_time.get(passes)
        return About(
            knows=entry.knows or ", ".join(entry.label_set.classes),
            mean_iou=metrics.mean_iou,
            measured=""
            if metrics.mean_iou is None
            else metrics.title or f"{metrics.dataset} {metrics.subset}",
            gain=100 * (further.mean_iou - further.mean_iou_once) if further else None,
            megabytes=entry.path.stat().st_size / 1e6,
            milliseconds=here or usual or None,
            timed_here=here is not None,
        )

    def _median(self, entry: zoo.ModelEntry, passes: str = "once") -> float | None:
        """Milliseconds of a photo on this machine, None until there was one."""
        with self._lock:
            times = list(self._times.get((entry.path, passes), ()))
        return statistics.median(times) if times else None

    def pace(self) -> float:
        """How many times as long photos take here as where the models were measured."""
        both = [
            (here, entry.metrics.milliseconds)
            for entry in zoo.served_models().values()
            if entry.metrics and entry.metrics.milliseconds and (here := self._median(entry))
        ]
        return statistics.median(here / there for here, there in both) if both else 1.0

    def card(self, model: str) -> Markup:
        """One line on a served model, what it knows, its score, size and speed on this machine."""
        about = self.about(zoo.served_model(model))
        parts = [about.knows]
        if about.mean_iou is not None:
            parts.append(html("<b>{:.1f}</b> mean IoU on {}", 100 * about.mean_iou, about.measured))
        parts.append(f"{about.megabytes:.1f} MB")
        if about.timed_here:
            parts.append(f"{about.milliseconds:.0f} ms a photo here")
        return join(parts, " · ")


def _now_and_then(tidy: Callable[[], None]) -> None:
    tidied = time.monotonic()
    while True:
        time.sleep(GIVE_BACK_SECONDS)
        give_back()
        if time.monotonic() - tidied > TIDY_SECONDS:
            try:
                tidy()
            except Exception:  # whatever it is, memory must be freed all the same
                _log.exception("It could not be tidied up.")
            tidied = time.monotonic()
