"""What comes after the last epoch is part of how long a run takes."""

from dataclasses import replace

import pytest
from drawn import draw_pets
from running import TINY

from segdemo.inference import calibrate
from segdemo.runs.config import TrainConfig
from segdemo.training import estimate
from segdemo.training.learning import Task


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    draw_pets(tmp_path / "data", {"pug": 20, "birman": 20})
    return TrainConfig(
        model="unet_plain",
        dataset="pets",
        data=str(tmp_path / "data"),
        options=TINY,
        size=32,
        validation_photos=1,
    )


@pytest.mark.parametrize("model", ["unet_plain", "bayesian_segnet"])
@pytest.mark.parametrize("fewest", [2, 1000])
def test_calibration_counts_among_what_is_left_to_do(config, monkeypatch, model, fewest):
    monkeypatch.setattr(calibrate, "FEWEST_PHOTOS", fewest)
    monkeypatch.setattr(estimate, "_seconds_to_refine", lambda task: 100.0)
    task = Task.of(replace(config, model=model))
    watched, held_out = len(task.dataset.samples("val")), len(task.dataset.samples("test"))
    assert watched > len(task.watched)
    samples = 12 if model == "bayesian_segnet" else 1
    passes, refinements = calibrate.effort(watched, held_out, samples)
    expected = estimate.EXPORT_SECONDS + 0.5 * (passes + 2 * samples * held_out) + 100 * refinements
    assert estimate._seconds_to_finish(task, 0.5) == pytest.approx(expected)
    assert (refinements > 0) == (fewest == 2 and model == "unet_plain")


def test_drawing_outlines_is_timed_on_a_photo(config):
    assert 0 < estimate._seconds_to_refine(Task.of(config)) < 5
