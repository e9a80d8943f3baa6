"""The book's training as it was meant: the learning rate falls on a plateau, and a run that gets no better ends."""

import csv
from dataclasses import replace

import keras
import pytest
from drawn import draw_pets

from segdemo.runs import recipes
from segdemo.runs.config import TrainConfig
from segdemo.training import callbacks, trainer


@pytest.fixture
def config(tmp_path, monkeypatch, eager):
    """A run on drawn pets that learns nothing, so that its validation loss never falls."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SEGDEMO_PRETRAINED", raising=False)
    draw_pets(tmp_path / "data", {"pug": 12})
    return TrainConfig(
        model="unet_plain",
        dataset="pets",
        data=str(tmp_path / "data"),
        options={"filters": [4], "bottleneck": 4},
        epochs=6,
        batch=4,
        size=16,
        steps_per_epoch=1,
        learning_rate=1e-20,
        reduce_lr=0,
        early_stopping=0,
    )


def log(run):
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_mistake_early_stopping_defined_and_not_passed(config, tmp_path, monkeypatch):
    config = replace(config, early_stopping=2)
    assert trainer.train(config, tmp_path / "run", verbose=False)["state"] == "done"
    assert len(log(tmp_path / "run")) == 3  # the first, and two that were no better
    # The source's version: made, and never handed to fit.
    fit, stopping = keras.Model.fit, keras.callbacks.EarlyStopping

    def without(self, *args, callbacks, **kwargs):
        return fit(self, *args, callbacks=[c for c in callbacks if not isinstance(c, stopping)], **kwargs)

    monkeypatch.setattr(keras.Model, "fit", without)
    trainer.train(config, tmp_path / "mistaken", verbose=False)
    assert len(log(tmp_path / "mistaken")) == 6


def test_the_learning_rate_falls_to_a_tenth_on_a_plateau_but_not_below_its_least(config, tmp_path):
    config = replace(config, epochs=6, reduce_lr=2, learning_rate=5e-8)
    trainer.train(config, tmp_path / "run", verbose=False)
    rates = [float(row["learning_rate"]) for row in log(tmp_path / "run")]
    losses = [float(row["val_loss"]) for row in log(tmp_path / "run")]
    assert max(losses) - min(losses) < 1e-3  # a plateau indeed
    assert rates[0] == pytest.approx(5e-8)
    assert rates[-1] == pytest.approx(1e-8)  # a tenth would be 5e-9


def test_the_book_s_training_reaches_fit(config, tmp_path, monkeypatch):
    seen = {}
    fit = keras.Model.fit

    def spy(self, *args, **kwargs):
        seen.update(kwargs, rate=float(self.optimizer.learning_rate), optimizer=type(self.optimizer))
        return fit(self, *args, **{**kwargs, "epochs": 1})

    monkeypatch.setattr(keras.Model, "fit", spy)
    book = recipes.settings("book-deeplabv3-resnet50")
    ours = {key: book[key] for key in ("optimizer", "learning_rate", "epochs", "reduce_lr", "early_stopping")}
    trainer.train(replace(config, **ours), tmp_path / "run", verbose=False)
    assert seen["optimizer"] is keras.optimizers.Adam
    assert seen["rate"] == pytest.approx(1e-4)
    assert seen["epochs"] == 25
    (plateau,) = [c for c in seen["callbacks"] if isinstance(c, keras.callbacks.ReduceLROnPlateau)]
    assert (plateau.monitor, plateau.factor, plateau.patience, plateau.min_lr) == ("val_loss", 0.1, 3, 1e-8)
    (stopping,) = [c for c in seen["callbacks"] if isinstance(c, keras.callbacks.EarlyStopping)]
    assert (stopping.monitor, stopping.patience) == ("val_loss", 6)
    assert any(isinstance(c, keras.callbacks.CSVLogger) for c in seen["callbacks"])
    assert any(isinstance(c, callbacks.Samples) for c in seen["callbacks"])  # input, truth, prediction
    assert any(isinstance(c, callbacks.Curves) for c in seen["callbacks"])
