"""What can go wrong with a real training ends in a clear state with one sentence, and nothing is lost."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from drawn import SHAPES, draw_annotations, save_mask
from PIL import Image
from running import TINY, pid_of, tiny_config, until

from segdemo.cli import main
from segdemo.core.files import read_json
from segdemo.core.labels import LabelSet
from segdemo.data.datasets import DatasetError
from segdemo.runs import processes
from segdemo.runs.config import Distillation, TrainConfig, TrainingError
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs
from segdemo.runs.record import find_run
from segdemo.training import callbacks, trainer
from segdemo.training.estimate import estimate
from segdemo.training.export import exporter

TESTS = Path(__file__).parent.parent


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Settings of a run of seconds on drawn pets."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    return tiny_config(tmp_path / "data")


def status(run):
    return read_json(run / "status.json")


# --- processes that are killed and a disk that is full: with the page's own interface ---------------------


SERVER = """
import json, sys, time
from segdemo.runs import processes
from segdemo.runs.policy import Policy
from segdemo.runs.record import find_run
from segdemo.runs.queue import Runs
processes.step_back = lambda pid: None  # the test waits for the trainer
server = Runs(policy=Policy())
print(server.start(json.loads(sys.argv[1]), "Pets", request="once").run_id, flush=True)
server.watch(0.05)
time.sleep(600)
"""


@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
def test_a_run_outlives_a_killed_server_a_full_disk_and_a_killed_trainer(config, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "step_back", lambda pid: None)
    settings = {"steps_per_epoch": 50, "epochs": 5, "reduce_lr": 0, "early_stopping": 0}
    settings = {"model": "unet_plain", "dataset": "pets", "data": config.data, "options": TINY, **settings}
    settings |= {"batch": 2, "size": 32, "learning_rate": 1e-3, "validation_photos": 2}
    killed = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(settings)], cwd=TESTS.parent, stdout=subprocess.PIPE
    )
    run_id = killed.stdout.readline().decode().strip()
    server = Runs(policy=Policy())
    try:
        # The server is killed: another one follows the same run, which did not notice.
        until(server, run_id, lambda s: s.step > 0)
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        killed.stdout.close()
        assert server.start(settings, "Pets", request="once").run_id == run_id
        first = until(server, run_id, lambda s: s.epoch >= 1 and len(s.samples) >= 1)
        assert first.state == "running"

        # From now on no file may grow beyond what a checkpoint takes, as on a full disk.
        resource.prlimit(pid_of(first), resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))
        full = until(server, run_id, lambda s: s.ended)
        assert (full.state, full.message) == (
            "failed",
            "The disk is full: free some space, then resume the run.",
        )
        kept = read_json(full.folder / "checkpoints" / "state.json")
        with h5py.File(full.folder / "checkpoints" / kept["file"]) as file:
            assert len(file) > 0

        # The trainer is killed in the middle of an epoch.
        until(server, run_id, lambda s: not find_run(server.root, run_id).alive())
        server.resume(run_id)
        going = until(server, run_id, lambda s: s.epoch > kept["epoch"] and s.step > 0)
        os.kill(pid_of(going), signal.SIGKILL)
        dead = until(server, run_id, lambda s: s.ended)
        assert dead.state == "failed"
        assert "resume it" in dead.message

        server.resume(run_id)
        done = until(server, run_id, lambda s: s.ended and (s.model or s.state != "done"))
        assert (done.state, done.model) == ("done", "pets@1")
        epochs = [event["epoch"] for event in done.events if event["kind"] == "epoch"]
        # One may have ended twice, if its checkpoint was not written
        assert sorted(set(epochs)) == [1, 2, 3, 4, 5]
        assert done.report.after.images == 4
        assert not done.lineage.dataset_changed
        assert not list((done.folder / "checkpoints").glob("partial-*"))
        with h5py.File(max((done.folder / "checkpoints").glob("last-*.h5"))) as file:
            # A run stopped before a validation takes one step more to come to it.
            assert 0 <= int(file["optimizer/vars/0"][()]) - 5 * 50 <= 2
    finally:
        killed.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid_of(server.follow(run_id)), signal.SIGKILL)
        while processes.children:
            processes.fetch_exit_codes()
            time.sleep(0.01)


# --- a loss that is not a number --------------------------------------------------------------------------


def test_steps_too_large_end_the_run_in_a_sentence_and_keep_what_was_good(config, tmp_path):
    # VGG-16 has no BatchNorm and SGD no limit to its gradient: the loss explodes within a few steps.
    wild = replace(
        config,
        model="fcn8s",
        options={"encoder": "vgg16", "fc_filters": 8},
        encoder_weights="none",
        optimizer="sgd",
        learning_rate=0.99,
    )
    with pytest.raises(
        TrainingError, match=r"The loss became (nan|inf|-inf) in epoch 1, step \d: start again"
    ):
        trainer.train(wild, tmp_path / "run", verbose=False)
    assert status(tmp_path / "run")["state"] == "failed"
    assert status(tmp_path / "run")["message"].endswith("start again with a lower learning rate.")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())  # no damaged weights are kept


# --- photos and masks that are broken, gone or changed -----------------------------------------------------


def first(config, subset="train"):
    return trainer.open_dataset(config.dataset, config.data).samples(subset)[0]


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


def no_photo(path):
    path.write_bytes(b"GIF89a, it says")


def other_size(path):
    save_mask(path, np.ones((5, 7), np.uint8))


def breaking(break_, path, when):
    """A ``Recorder.on_epoch_begin`` that breaks a file, once, when an epoch begins."""
    begin, broken = callbacks.Recorder.on_epoch_begin, []

    def on_epoch_begin(recorder, epoch, logs=None):
        if epoch >= when and not broken:
            break_(path)
            broken.append(path)
        begin(recorder, epoch, logs)

    return on_epoch_begin


def test_a_broken_photo_or_mask_ends_the_run_with_its_name_and_the_run_goes_on_once_it_is_mended(
    config, tmp_path, monkeypatch
):
    faults = [
        (cut, True, "jpg"),
        (no_photo, True, ""),
        (Path.unlink, True, "is missing: restore it"),
        (cut, False, "cannot be read as a picture: restore it"),
        (other_size, False, "differ in size"),
        (Path.unlink, False, "is missing: restore it"),
    ]
    config = replace(config, augment="strong", epochs=len(faults) + 2)  # which decodes a photo in every epoch
    run, sample = tmp_path / "run", first(config)
    for number, (break_, photo, says) in enumerate(faults, 1):
        path = sample.image_path if photo else sample.mask_path
        whole = path.read_bytes()
        with monkeypatch.context() as patch:  # the dataset is sound when the run begins
            patch.setattr(callbacks.Recorder, "on_epoch_begin", breaking(break_, path, number))
            if number > 2:  # a photo and a mask break in a traced run, as people's are
                patch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
            with pytest.raises((DatasetError, TrainingError)) as caught:
                trainer.train(config, run, resume=number > 1, verbose=False)
        told = status(run)
        assert told["state"] == "failed"
        assert told["message"] == str(caught.value)
        assert says in told["message"]
        assert "\n" not in told["message"]
        assert "Error" not in told["message"]
        assert (run / "checkpoints" / "best.weights.h5").is_file()
        assert read_json(run / "checkpoints" / "state.json")["epoch"] >= number
        path.write_bytes(whole)
    assert trainer.train(config, run, resume=True, verbose=False)["state"] == "done"


@pytest.mark.usefixtures("eager")
def test_a_dataset_that_got_another_class_meanwhile_is_refused_and_one_that_grew_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    data, run = tmp_path / "data", tmp_path / "run"
    draw_annotations(data, [f"p{i}" for i in range(12)])
    places = {"model": "unet_plain", "dataset": "annotations", "data": str(data)}
    config = TrainConfig(**places, options=TINY, epochs=1, batch=2, size=32, learning_rate=1e-3)
    trainer.train(config, run, verbose=False)
    before = (run / "checkpoints" / "state.json").read_text()
    more = LabelSet(SHAPES.name, SHAPES.title, (*SHAPES.classes, "star"), (*SHAPES.colors, (9, 200, 9)))
    (data / "labels.json").write_text(json.dumps(more.to_json()))
    with pytest.raises(
        TrainingError, match="had 3 classes when this run began and has 4 now: start a new run"
    ):
        trainer.train(replace(config, epochs=2), run, resume=True, verbose=False)
    assert (run / "checkpoints" / "state.json").read_text() == before
    (data / "labels.json").write_text(json.dumps(SHAPES.to_json()))
    draw_annotations(data, [f"p{i}" for i in range(16)])
    assert trainer.train(replace(config, epochs=2), run, resume=True, verbose=False)["state"] == "done"


@pytest.mark.usefixtures("eager")
def test_a_held_out_photo_that_breaks_leaves_the_trained_run_to_be_exported_later(config, tmp_path):
    trainer.train(config, tmp_path / "run", verbose=False)
    path = first(config, "test").image_path
    whole = path.read_bytes()
    no_photo(path)
    with pytest.raises(ValueError, match="is cut short or damaged"):
        exporter.export_run(tmp_path / "run")
    path.write_bytes(whole)
    assert exporter.export_run(tmp_path / "run")["metrics"]["images"] == 4


# --- one trainer in a run ---------------------------------------------------------------------------------


@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
@pytest.mark.usefixtures("eager")
def test_a_second_trainer_is_refused_and_a_request_that_a_killed_one_left_ends_no_later_one(config, tmp_path):
    run = tmp_path / "run"
    trainer.train(replace(config, epochs=1), run, verbose=False)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    handle = processes.hold(run / "alive")
    with pytest.raises(TrainingError, match="Another trainer works on this run: wait until it has ended"):
        trainer.train(config, run, resume=True, verbose=False)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    processes.let_go(handle)
    # It was asked to stop, and then killed.
    (run / "status.json").write_text(json.dumps({**status(run), "state": "running"}))
    (run / "cancel").touch()
    os.utime(run / "cancel", (1e9, 1e9))
    held = []
    fit = trainer._fit
    trainer_fit = lambda *given: held.append(processes.is_held(run / "alive")) or fit(*given)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_fit", trainer_fit)
        assert trainer.train(config, run, resume=True, verbose=False)["state"] == "done"
    assert held == [True]
    assert not processes.is_held(run / "alive")


@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
@pytest.mark.usefixtures("eager")
def test_the_command_line_holds_a_run_until_its_model_is_measured(config, tmp_path, monkeypatch):
    run, held = tmp_path / "run", []
    export = exporter.export_run
    monkeypatch.setattr(
        exporter,
        "export_run",
        lambda *given, **more: held.append(processes.is_held(run / "alive")) or export(*given, **more),
    )
    settings = {
        name: value for name, value in config.to_json().items() if name in ("options", "batch", "size")
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    places = ["--model", config.model, "--dataset", config.dataset, "--data", config.data, "--epochs", "1"]
    assert main(["train", *places, *words, "--out", str(run)]) == 0
    assert held == [True]
    assert not processes.is_held(run / "alive")


# --- patience is kept --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager")
def test_patience_and_the_lowered_learning_rate_are_kept_when_a_run_is_stopped(config, tmp_path, monkeypatch):
    # Nothing improves at this rate, so the patience of 2 epochs ends after 3; the run is stopped after the 2nd.
    config = replace(config, epochs=20, learning_rate=1e-7, reduce_lr=1, early_stopping=4)
    monkeypatch.setattr(
        trainer.keras.callbacks.ReduceLROnPlateau, "_is_improvement", lambda self, now, best: best is None
    )
    monkeypatch.setattr(
        trainer.keras.callbacks.EarlyStopping, "_is_improvement", lambda self, now, best: best is None
    )
    run = tmp_path / "run"
    original = callbacks.Recorder.on_epoch_begin

    def stop_in_the_third(self, epoch, logs=None):
        original(self, epoch, logs)
        if epoch == 2:
            (run / "cancel").touch()

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Recorder, "on_epoch_begin", stop_in_the_third)
        assert trainer.train(config, run, verbose=False)["state"] == "cancelled"
    kept = read_json(run / "checkpoints" / "state.json")
    assert kept["patience"]["EarlyStopping"]["wait"] == 1
    trainer.train(config, run, resume=True, verbose=False)
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    epochs = [event for event in lines if event["kind"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2, 3, 4, 5]  # 1 best, then 4 without improvement
    rates = [event["learning_rate"] for event in epochs]
    assert np.allclose(rates, [1e-7, 1e-7, 1e-8, 1e-8, 1e-8], rtol=0.01)


@pytest.mark.usefixtures("eager")
def test_the_pictures_of_each_epoch_have_transparent_gaps(config, tmp_path):
    trainer.train(replace(config, epochs=1), tmp_path / "run", verbose=False)
    with Image.open(tmp_path / "run" / "samples" / "epoch_01.png") as picture:
        assert picture.mode == "RGBA"
        alpha = np.asarray(picture)[..., 3]
    assert set(np.unique(alpha)) == {0, 255}
    assert alpha[0, 0] == alpha[0, -1] == 255


# --- how long it would take --------------------------------------------------------------------------------


def test_an_estimate_is_measured_by_real_steps_and_leaves_nothing_behind(config, tmp_path):
    before = sorted(path for path in tmp_path.rglob("*"))
    found = estimate(replace(config, augment="strong"), steps=2)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert found["steps"] == 7
    assert 0 < found["seconds_per_step"] < 60
    assert found["images_per_second"] == pytest.approx(2 / found["seconds_per_step"])
    for key in ("seconds_to_start", "seconds_per_validation", "seconds_to_finish", "rss_mb"):
        assert found[key] > 0
    with pytest.raises(TrainingError, match="a teacher takes is not estimated"):
        estimate(replace(config, distillation=Distillation(teacher="x.tflite"), augment="strong"))
    with pytest.raises(DatasetError, match="no folder"):
        estimate(replace(config, data=str(tmp_path / "nowhere")))
