"""What the tabs share: loaded models, decoded photos, limits, the datasets at hand, and what is kept on disk."""

import logging
import statistics
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock, Thread

from segdemo import zoo
from segdemo.annotations.store import AnnotationStore
from segdemo.core import settings
from segdemo.core.files import StoreError
from segdemo.core.photos import Limits
from segdemo.data import sources
from segdemo.inference.predict import PASSES, PredictorCache
from segdemo.runs.queue import Runs
from segdemo.ui.markup import html, join
from segdemo.ui.photos import PhotoCache
from segdemo.zoo.versions import ModelStore


@dataclass
class Services:
    """One for each process, made by ``app.py``."""

    limits: Limits
    photos: PhotoCache
    predictors: PredictorCache = field(default_factory=PredictorCache)
    _times: dict = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def start(cls):
        """Services with the limits of the environment."""
        limits = Limits.from_env()
        return cls(limits, PhotoCache(limits))

    def look_after(self):
        """Once in each process: keep the queue of runs going, and clear away what is old or half done.

        Returns:
            The thread that clears away.
        """

        def tidy():
            for kept in (self.store, self.versions, self.runs):
                try:
                    kept.tidy()
                except (StoreError, OSError) as error:  # a full or locked disk must not keep the page away
                    logging.getLogger(__name__).warning("Not tidied up: %s", error)

        self.runs.watch()
        thread = Thread(target=tidy, name="tidy", daemon=True)
        thread.start()
        return thread

    @cached_property
    def store(self):
        """The annotations."""
        return AnnotationStore()

    @cached_property
    def versions(self):
        """The versions of the models trained here."""
        return ModelStore()

    @cached_property
    def runs(self):
        """The trainings."""
        return Runs(models=self.versions)

    def models(self):
        """What menus of models offer: name to ``zoo.ModelEntry``; a promoted version by its model's name only."""
        served = zoo.served_models()
        hidden = {entry.alias_of for entry in served.values()}
        return {name: entry for name, entry in served.items() if name not in hidden}

    def choices(self):
        """``models`` as (title, name) of a Radio or Dropdown."""
        return [(entry.title, name) for name, entry in self.models().items()]

    @cached_property
    def datasets(self):
        """The datasets below ``SEGDEMO_DATA``: title to ``datasets.Dataset``."""
        found = sources.find_datasets(settings.data_dir())
        return {f"{dataset.label_set.title} ({dataset.root.name})": dataset for dataset in found}

    def predict(self, model, photo, passes="once"):
        """Segment a photo uint8 (H, W, 3): a ``predict.Prediction``. Its time counts for the model's card.

        Args:
            model: a served model.
            photo: its pixels.
            passes: key of ``predict.PASSES``.
        """
        prediction = self.predictors.get(model).seeing(**PASSES[passes])(photo)
        with self._lock:
            self._times.setdefault((model, passes), deque(maxlen=9)).append(prediction.milliseconds)
        return prediction

    def card(self, model, passes="once"):
        """``Markup``: one line on a served model, what it knows, its score, size and speed on this machine."""
        entry = zoo.served_model(model)
        parts = [entry.knows or ", ".join(entry.label_set.classes)]
        if (metrics := entry.metrics) and metrics.mean_iou is not None:
            where = metrics.title or f"{metrics.dataset} {metrics.subset}"
            parts.append(html("<b>{:.1f}</b> mean IoU on {}", 100 * metrics.mean_iou, where))
        if measured := entry.test_time.get(passes):
            gain = 100 * (measured.mean_iou - measured.mean_iou_once)
            parts.append(html("<b>{:+.1f}</b> by the further looks", gain))
        parts.append(f"{entry.path.stat().st_size / 1e6:.1f} MB")
        if times := self._times.get((model, passes)):
            parts.append(f"{statistics.median(times):.0f} ms a photo here")
        return join(parts, " · ")
