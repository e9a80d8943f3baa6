"""What the tabs share: loaded models, decoded photos, limits, and the datasets at hand."""

import statistics
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

from segdemo import datasets, settings, zoo
from segdemo.intake import Limits
from segdemo.predict import PredictorCache
from segdemo.ui.photos import PhotoCache


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

    @cached_property
    def datasets(self):
        """The datasets below ``SEGDEMO_DATA``: title to ``datasets.Dataset``."""
        found = datasets.find_datasets(settings.data_dir())
        return {f"{dataset.label_set.title} ({dataset.root.name})": dataset for dataset in found}

    def predict(self, model, photo):
        """Segment a photo uint8 (H, W, 3): a ``predict.Prediction``. Its time counts for the model's card."""
        prediction = self.predictors.get(model)(photo)
        with self._lock:
            self._times.setdefault(model, deque(maxlen=9)).append(prediction.milliseconds)
        return prediction

    def card(self, model):
        """One line on a served model: what it knows, its score, size and speed on this machine."""
        entry = zoo.served_model(model)
        parts = [entry.data.get("knows") or ", ".join(entry.label_set.classes)]
        if metrics := entry.data.get("metrics"):
            where = metrics.get("title") or f"{metrics['dataset']} {metrics['subset']}"
            parts.append(f"<b>{100 * metrics['mean_iou']:.1f}</b> mean IoU on {where}")
        parts.append(f"{entry.path.stat().st_size / 1e6:.1f} MB")
        if times := self._times.get(model):
            parts.append(f"{statistics.median(times):.0f} ms a photo here")
        return " · ".join(parts)
