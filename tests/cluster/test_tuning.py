"""What is tried, and a trial followed by its files, with a trainer that learns nothing."""

import json
import sys

import pytest
from waiting import once

from segdemo.cluster.tuning import Range, TrialRun, search_of, settings_of
from segdemo.runs import processes
from segdemo.runs.config import TrainingError
from segdemo.runs.record import Run

BASE = {"model": "unet", "dataset": "pets", "data": "/pets", "epochs": 3}
# Writes an epoch whenever it is asked for one by a file, and ends when it is cancelled.
TRAINER = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--out") + 1])
status = {"state": "running"}
for epoch in range(int(sys.argv[1])):
    while not (folder / f"go{epoch}").exists():
        if (folder / "cancel").exists():
            (folder / "status.json").write_text(json.dumps({"state": "cancelled"}))
            sys.exit()
        time.sleep(0.01)
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "epoch", "epoch": epoch + 1, "val_mean_iou": 0.1 * epoch}) + "\\n")
time.sleep(0.2)
(folder / "exported").touch()
"""


@pytest.fixture
def trial(tmp_path):
    def trial(epochs):
        return TrialRun(tmp_path / "run", {**BASE}, "loss dice", [sys.executable, "-c", TRAINER, str(epochs)])

    return trial


def test_what_is_searched():
    found = search_of(
        ["learning_rate=1e-5..1e-2", "size=96,128", "loss=dice", "encoder=mobilenet_v2,resnet50"]
    )
    assert found == {
        "learning_rate": Range(1e-5, 1e-2),
        "size": [96, 128],
        "loss": ["dice"],
        "encoder": ["mobilenet_v2", "resnet50"],
    }


@pytest.mark.parametrize(
    "wrong", ["learning_rate", "size=", "colour=red", "learning_rate=1..", "learning_rate=2..1", "size=-1..3"]
)
def test_what_cannot_be_searched_is_said(wrong):
    with pytest.raises(TrainingError):
        search_of([wrong])


def test_the_settings_of_a_trial_are_checked():
    settings = settings_of({**BASE, "options": {"a": 1}}, {"encoder": "mobilenet_v2", "learning_rate": 1e-3})
    assert settings["options"] == {"a": 1, "encoder": "mobilenet_v2"}
    assert settings["learning_rate"] == 1e-3
    with pytest.raises(TrainingError, match="learning rate"):
        settings_of(BASE, {"learning_rate": 7.0})


@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
def test_a_trial_is_followed_to_the_end_of_its_export(trial, tmp_path):
    one = trial(3)
    for epoch in range(3):
        (tmp_path / "run" / f"go{epoch}").touch()
        assert one.step() == {"mean_iou": pytest.approx(0.1 * epoch), "done": epoch == 2}
    assert (tmp_path / "run" / "exported").exists()
    run = Run.read(tmp_path / "run")
    assert (run.title, run.settings()["epochs"]) == ("loss dice", 3)
    one.end()
    assert not (tmp_path / "run" / "cancel").exists()


@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
def test_a_trial_that_ends_early_or_is_ended_goes_on_when_it_comes_back(trial, tmp_path):
    one = trial(1)  # as one that stops early
    (tmp_path / "run" / "go0").touch()
    assert one.step() == {"mean_iou": 0.0, "done": False}
    assert one.step() == {"mean_iou": 0.0, "done": True}
    one = trial(3)
    assert one.step()["mean_iou"] == 0.0
    once(lambda: processes.is_held(tmp_path / "run" / "alive"))
    one.end()
    assert Run.read(tmp_path / "run").status().state == "cancelled"
    assert not processes.is_held(tmp_path / "run" / "alive")
    assert json.loads((tmp_path / "run" / "worker.json").read_text())["exit_code"] == 0
