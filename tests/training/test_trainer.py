import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from drawn import draw_annotations, draw_pets, draw_voc
from numpy_layers import randomise
from PIL import Image
from running import BREEDS, TINY, tiny_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segdemo import zoo
from segdemo.cli import main
from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC, LabelSet
from segdemo.data.datasets import DatasetError
from segdemo.data.sources import open_dataset
from segdemo.inference.predict import Predictor
from segdemo.runs.config import TrainConfig, TrainingError, choices
from segdemo.training import architectures, batches, callbacks, learning, start, trainer
from segdemo.training.architectures.unet import unet
from segdemo.training.checkpoints import Checkpoints, save_weights
from segdemo.training.export import exporter

ROOT = Path(__file__).resolve().parents[2]
STEPS = 7


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SEGDEMO_PRETRAINED", raising=False)
    return tmp_path / "home"


@pytest.fixture
def config(tmp_path):
    """A run of seconds on drawn pets."""
    return tiny_config(tmp_path / "data")


def read(run, name="status.json"):
    return json.loads((run / name).read_text())


def events(run, kind):
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def steps_taken(run):
    """How many updates the optimizer of the last checkpoint has made."""
    with h5py.File(run / "checkpoints" / read(run, "checkpoints/state.json")["file"]) as file:
        return int(file["optimizer/vars/0"][()])


# --- settings --------------------------------------------------------------------------------------------


def test_a_configuration_survives_its_file(config):
    config = replace(config, scale=(0.7, 1.6), class_weights=True)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("seen", ["photo", "crop"])
def test_a_run_of_before_goes_on_with_what_it_says_of_settings_there_are_no_more(config, seen):
    old = {**config.to_json(), "teacher_sees": seen}
    assert TrainConfig.from_json(old) == config
    assert old["teacher_sees"] == seen


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 0}, "epochs is 1 or more, not 0"),
        ({"batch": -1}, "batch is 1 or more, not -1"),
        ({"steps_per_epoch": -1}, "steps_per_epoch is 0 or more, not -1"),
        ({"learning_rate": 0}, "learning rate lies between 0 and 1, not at 0"),
        ({"learning_rate": 10}, "learning rate lies between 0 and 1, not at 10"),
        ({"ema": 1}, "ema lies between 0 and 1, not at 1"),
        ({"optimizer": "lion"}, "optimizer is one of 'adam', 'adamw', 'sgd', not 'lion'"),
        ({"schedule": "step"}, "schedule is one of 'constant', 'polynomial', 'cosine', not 'step'"),
        ({"loss": "focal"}, "loss is one of 'cross_entropy', 'dice', 'cross_entropy_dice', not 'focal'"),
        ({"augment": "mixup"}, "augment is one of 'none', 'flip', 'voc', 'strong', not 'mixup'"),
        (
            {"frozen": "c6"},
            "frozen is one of '', 'c1', 'c2', 'c3', 'c4', 'c5', 'all but upsampling', not 'c6'",
        ),
        ({"epochs": "ten"}, "epochs is a whole number, not 'ten'"),
        ({"epochs": 1.5}, "epochs is a whole number, not 1.5"),
        ({"learning_rate": "fast"}, "learning_rate is a number, not 'fast'"),
        ({"class_weights": "yes"}, "class_weights is true or false, not 'yes'"),
        ({"options": [1]}, r"options is an object, not \[1\]"),
        ({"scale": 3}, "scale is two numbers, not 3"),
        ({"scale": [1]}, r"scale is two numbers, not \(1,\)"),
        ({"epoch": 3}, "no setting 'epoch': choose from augment, batch, block_learning_rate"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(config, changes, sentence):
    with pytest.raises(TrainingError, match=sentence):
        TrainConfig.from_json({**config.to_json(), **changes})


def test_a_missing_setting_is_named():
    with pytest.raises(TrainingError, match="setting 'data' is missing"):
        TrainConfig.from_json({"model": "unet", "dataset": "pets"})


def test_an_unknown_architecture_is_refused(config):
    with pytest.raises(zoo.UnknownModelError, match="no architecture 'resnet'"):
        replace(config, model="resnet")


def test_the_subset_to_learn_from(tmp_path):
    draw_voc(tmp_path / "voc", VOC)
    draw_pets(tmp_path / "pets", BREEDS)
    assert open_dataset("voc", tmp_path / "voc").learning_subset == "train_aug"
    assert open_dataset("pets", tmp_path / "pets").learning_subset == "train"


@pytest.mark.parametrize(
    ("schedule", "watched", "kept"),
    [("cosine", 4, 0.3), ("polynomial", 1, 0.3), ("cosine", 5, 0.5), ("constant", 1, 0.5)],
)
def test_few_watched_photos_choose_no_weights(config, tmp_path, schedule, watched, kept):
    config = replace(config, schedule=schedule)
    dataset, run = open_dataset("pets", config.data), callbacks.RunFolder(tmp_path / "run")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    recorder = callbacks.Recorder(run, config.epochs, STEPS, config.batch, 0)
    checkpoints = Checkpoints(run.path / "checkpoints", len(PETS))
    watching = callbacks.for_run(
        config, run, checkpoints, None, recorder, model, dataset.samples("all")[:watched], dataset
    )
    (saving,) = (callback for callback in watching if isinstance(callback, callbacks.SaveCheckpoints))
    saving.set_model(model)
    for score in (0.1, 0.5, 0.3):
        model.set_weights([np.full((2, 1), score), np.zeros(1)])
        saving.on_test_end({"mean_iou": score})
    model.load_weights(checkpoints.best)
    assert model.get_weights()[0] == pytest.approx(kept)
    assert read(run.path)["best"] == kept


# --- a run -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(settings, folder) of a run of seconds, done once; its folder holds ``run`` and ``home``."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_config(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGDEMO_HOME", str(folder / "home"))
        trainer.train(config, folder / "run", verbose=False)
    return config, folder


@pytest.fixture
def finished(trained, tmp_path):
    """(settings, folder) of a finished run, a copy to go on with."""
    config, folder = trained
    return config, shutil.copytree(folder / "run", tmp_path / "run")


def test_a_run_leaves_everything_it_promises(trained):
    config, folder = trained
    finished = folder / "run"
    status = read(finished)
    assert status["state"] == "done"
    assert status["pid"] == os.getpid()
    assert status["heartbeat"] >= status["started"]
    assert TrainConfig.from_json(read(finished, "config.json")) == config
    for kind, keys in (
        ("epoch", {"epoch", "loss", "val_loss", "mean_iou", "val_mean_iou", "val_mean_accuracy"}),
        ("progress", {"step"}),
    ):
        assert keys <= events(finished, kind)[0].keys()
    assert [event["epoch"] for event in events(finished, "epoch")] == [1, 2]
    with (finished / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["val_loss"]) == pytest.approx(events(finished, "epoch")[1]["val_loss"])
    assert float(rows[1]["val_mean_accuracy"]) == events(finished, "epoch")[1]["val_mean_accuracy"] > 0.2
    assert steps_taken(finished) == 2 * STEPS
    with h5py.File(finished / "checkpoints" / "best.weights.h5") as best:
        assert "optimizer" not in best
    assert status["best"] == pytest.approx(max(e["val_mean_iou"] for e in events(finished, "epoch")))
    # Pictures: input, truth and prediction side by side, a row a photo.
    for name in ("epoch_00.png", "epoch_01.png", "epoch_02.png"):
        with Image.open(finished / "samples" / name) as page:
            assert page.size == (3 * 256 + 2 * 8, 2 * 192 + 8)
    with Image.open(finished / "curves.png") as curves:
        assert curves.width > 500
    for part in ("train", "validation"):
        log = EventAccumulator(str(finished / "tensorboard" / part)).Reload()
        assert "epoch_loss" in log.Tags()["tensors"]
    # A run touches nothing but its folder and the cache.
    assert [path.name for path in (folder / "home").iterdir()] == ["cache"]


def test_a_log_of_before_gets_columns_for_what_is_measured_since(tmp_path):
    log = tmp_path / "log.csv"
    assert not callbacks.log_goes_on(log)
    log.write_text("epoch,loss,mean_iou,val_loss,val_mean_iou\n0,0.5,0.25,0.6,0.2\n")
    assert callbacks.log_goes_on(log)
    after = log.read_text()
    assert callbacks.log_goes_on(log)
    assert log.read_text() == after
    logger = keras.callbacks.CSVLogger(log, append=True)
    logger.on_train_begin()
    names = ("loss", "mean_accuracy", "mean_iou")
    scores = {f"{part}{name}": n for n, part in enumerate(("", "val_")) for name in names}
    logger.on_epoch_end(1, scores)
    logger.on_train_end()
    with log.open() as file:
        first, second = csv.DictReader(file)
    assert (first["loss"], first["mean_accuracy"], first["val_mean_iou"]) == ("0.5", "", "0.2")
    assert {name: float(value) for name, value in second.items()} == {"epoch": 1, **scores}


def test_every_photo_is_seen_in_an_epoch(config):
    assert learning.Task.of(config).steps == STEPS
    assert learning.Task.of(replace(config, batch=4)).steps == 4  # of 14 photos, two are seen twice


def test_a_run_is_not_overwritten(finished):
    config, run = finished
    with pytest.raises(TrainingError, match="already holds a run: pass --resume"):
        trainer.train(config, run, verbose=False)
    assert read(run)["state"] == "done"


def test_training_learns(config, tmp_path):
    config = replace(config, epochs=3, steps_per_epoch=4 * STEPS, reduce_lr=0)
    trainer.train(config, tmp_path / "run", verbose=False)
    losses = [event["loss"] for event in events(tmp_path / "run", "epoch")]
    assert losses[-1] < 0.8 * losses[0]


def test_bad_data_fails_the_run_with_a_sentence(config, tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        trainer.train(replace(config, data=str(tmp_path / "nowhere")), tmp_path / "run", verbose=False)
    status = read(tmp_path / "run")
    assert status["state"] == "failed"
    assert status["message"].startswith("There is no folder")


def test_the_names_a_run_may_ask_for_are_those_there_are():
    assert set(learning.LOSSES) == set(choices("loss"))
    assert set(batches.AUGMENTATIONS) == set(choices("augment"))


class _NotANumber(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred, (1, 2, 3)) * float("nan")


@pytest.mark.usefixtures("eager")
def test_a_loss_that_is_not_a_number_fails_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setitem(learning.LOSSES, "dice", lambda config, weights: _NotANumber())
    with pytest.raises(TrainingError, match=r"The loss became nan in epoch 1, step 1: .*lower learning rate"):
        trainer.train(replace(config, loss="dice"), tmp_path / "run", verbose=False)
    status = read(tmp_path / "run")
    assert status["state"] == "failed"
    assert "lower learning rate" in status["message"]
    assert not list((tmp_path / "run" / "checkpoints").iterdir())  # nothing damaged is kept


# --- stopping and going on -------------------------------------------------------------------------------


def touch_cancel_after(monkeypatch, hook, condition):
    """Ask the run to stop when ``condition(recorder)`` holds in one of its hooks."""
    original = getattr(callbacks.Recorder, hook, lambda *_, **__: None)

    def and_cancel(self, *arguments, **options):
        original(self, *arguments, **options)
        if condition(self):
            (self.run.path / "cancel").touch()

    monkeypatch.setattr(callbacks.Recorder, hook, and_cancel)


@pytest.mark.usefixtures("eager")
def test_cancel_stops_within_a_step_and_resume_goes_on_from_there(config, tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = replace(config, epochs=3)
    with monkeypatch.context() as patch:
        touch_cancel_after(patch, "on_train_batch_end", lambda r: (r.epoch, r.step) == (1, 3))
        assert trainer.train(config, run, verbose=False)["state"] == "cancelled"
    state = read(run, "checkpoints/state.json")
    assert (state["epoch"], state["step"]) == (1, 3)
    assert steps_taken(run) == STEPS + 3
    assert [event["epoch"] for event in events(run, "epoch")] == [1]  # no scores of half an epoch
    before = len(events(run, "progress"))

    assert trainer.train(config, run, resume=True, verbose=False)["state"] == "done"
    assert not (run / "cancel").exists()
    assert events(run, "progress")[before]["epoch"] == 1
    assert events(run, "progress")[before]["step"] == 4
    assert steps_taken(run) == 3 * STEPS
    assert [event["epoch"] for event in events(run, "epoch")] == [1, 2, 3]
    with (run / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_test_begin"])
def test_a_run_stopped_at_its_last_step_or_in_its_validation_is_validated_later(
    config, tmp_path, monkeypatch, hook
):
    config, run = replace(config, epochs=1), tmp_path / "run"
    with monkeypatch.context() as patch:
        touch_cancel_after(patch, hook, lambda recorder: recorder.step == STEPS)
        assert trainer.train(config, run, verbose=False)["state"] == "cancelled"
    assert steps_taken(run) == STEPS
    assert not (run / "checkpoints" / "best.weights.h5").exists()
    assert trainer.train(config, run, resume=True, verbose=False)["state"] == "done"
    assert (run / "checkpoints" / "best.weights.h5").is_file()
    assert [event["epoch"] for event in events(run, "epoch")] == [1]


@pytest.mark.usefixtures("eager")
def test_a_request_to_stop_that_came_before_a_resumed_run_began_is_kept(finished):
    config, run = finished
    callbacks.RunFolder(run).status(state="queued")
    (run / "cancel").touch()
    status = trainer.train(replace(config, epochs=3), run, resume=True, verbose=False)
    assert status["state"] == "cancelled"
    assert steps_taken(run) == 2 * STEPS + 1


@pytest.mark.usefixtures("eager")
def test_a_finished_run_can_be_made_longer(finished):
    config, run = finished
    trainer.train(replace(config, epochs=3), run, resume=True, verbose=False)
    assert steps_taken(run) == 3 * STEPS
    assert [event["epoch"] for event in events(run, "epoch")] == [1, 2, 3]


@pytest.mark.usefixtures("eager")
def test_resuming_a_finished_run_changes_nothing(finished):
    config, run = finished
    file = run / "checkpoints" / read(run, "checkpoints/state.json")["file"]
    before = file.read_bytes()
    assert trainer.train(config, run, resume=True, verbose=False)["state"] == "done"
    assert file.read_bytes() == before


def learner_of(config, run):
    """Model and average of a run's last checkpoint: two lists of arrays."""
    model = start.build_model(config, len(PETS), pretrained=False)
    model.compile(learning.optimizer(config, 1), "mse")
    model.optimizer.build(model.trainable_variables)
    model.load_weights(run / "checkpoints" / read(run, "checkpoints/state.json")["file"])
    averages = [v for v in model.optimizer.variables if "average" in v.path]
    return [[v.numpy() for v in group] for group in (model.trainable_variables, averages)]


@pytest.mark.usefixtures("eager")
def test_the_average_is_what_is_kept_and_training_goes_on_from_what_was_trained(
    config, tmp_path, monkeypatch
):
    config, run = replace(config, epochs=1, steps_per_epoch=3, ema=0.8), tmp_path / "run"
    trainer.train(config, run, verbose=False)
    trained, average = learner_of(config, run)
    assert any(np.abs(t - a).max() > 1e-4 for t, a in zip(trained, average, strict=True))
    best = start.build_model(config, len(PETS), pretrained=False)
    best.load_weights(run / "checkpoints" / "best.weights.h5")
    for kept, a, t in zip(best.trainable_variables, average, trained, strict=True):
        np.testing.assert_array_equal(kept.numpy(), a)
        assert np.abs(t - a).max() > 0 or not np.abs(t).max()

    # One more step moves the trained weights by a step, and the average by a fifth of the way to them.
    longer = replace(config, epochs=2)
    with monkeypatch.context() as patch:
        touch_cancel_after(patch, "on_train_batch_end", lambda recorder: recorder.step == 1)
        trainer.train(longer, run, resume=True, verbose=False)
    trained_on, average_on = learner_of(config, run)
    for old, new, a, b in zip(trained, trained_on, average, average_on, strict=True):
        assert np.abs(new - old).max() < 5 * config.learning_rate  # Adam's step
        np.testing.assert_allclose(b, 0.8 * a + 0.2 * new, atol=1e-6)

    # The rest of the epoch and one more: at no seam does the average take the place of what was trained.
    trainer.train(replace(config, epochs=3), run, resume=True, verbose=False)
    trained, average = learner_of(config, run)
    assert any(np.abs(t - a).max() > 1e-4 for t, a in zip(trained, average, strict=True))
    assert steps_taken(run) == 3 * 3


@pytest.mark.parametrize(("optimizer", "schedule"), [("adamw", "polynomial"), ("sgd", "cosine")])
def test_every_optimizer_and_schedule_runs(config, tmp_path, optimizer, schedule):
    changes = {"optimizer": optimizer, "schedule": schedule, "warmup_steps": 2, "weight_decay": 0.01}
    changes |= {"augment": "strong", "class_weights": True, "loss": "cross_entropy_dice", "loss_stride": 2}
    changes |= {"copy_paste": 0.5, "epochs": 1, "validation_photos": 1}
    status = trainer.train(replace(config, **changes), tmp_path / "run", verbose=False)
    assert status["state"] == "done"


def test_checkpoints_are_whole_or_not_there(tmp_path, monkeypatch):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.state() is None
    checkpoints.save(model, 1, 5, 0.5)
    kept = {"file": "last-0001-000005.weights.h5", "epoch": 1, "step": 5, "best": 0.5}
    assert checkpoints.state() == {**kept, "classes": None, "patience": {}}

    def break_off(path, overwrite):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_weights", break_off)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(model, 2, 0, 0.6)
    assert checkpoints.state()["epoch"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last-0001-000005.weights.h5", "state.json"]


# --- fine-tuning -----------------------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path):
    """A U-Net of five classes with random weights, and its file of float16 weights."""
    model = randomise(unet(5, decoder_filters=(8, 8, 8, 8)))
    exporter.save_float16(model, tmp_path / "start.weights.h5")
    return model, tmp_path / "start.weights.h5"


def fine_tuning(tmp_path, source, **changes):
    settings = {
        "model": "unet",
        "dataset": "annotations",
        "data": str(tmp_path / "shapes"),
        "start_from": source,
    }
    return TrainConfig(**settings, options={"decoder_filters": [8, 8, 8, 8]}, **changes)


@pytest.mark.parametrize("served", [False, True])
def test_fine_tuning_with_other_classes_keeps_all_but_the_logits(started, tmp_path, home, served):
    old, path = started
    source = str(path)
    if served:
        folder = home / "models" / "mine"
        folder.mkdir(parents=True)
        shutil.copy(path, folder / "mine.weights.h5")
        entry = {
            "title": "Mine",
            "architecture": "unet",
            "options": {"decoder_filters": [8, 8, 8, 8]},
            "label_set": LabelSet(
                "five", "Five", tuple("abcde"), tuple((n, 0, 0) for n in range(5))
            ).to_json(),
            "onnx": "-",
            "onnx_sha256": "-",
        }
        entry |= {"long_side": 64, "temperature": 1.0, "weights": "mine.weights.h5"}
        (folder / "manifest.json").write_text(json.dumps({"models": {"mine": entry}}))
        source = "mine"
    new = start.build_model(fine_tuning(tmp_path, source), 3)
    for layer in old.layers:
        ours = new.get_layer(layer.name).get_weights()
        for a, b in zip(layer.get_weights(), ours, strict=True):
            if layer.name == "logits":
                assert a.shape != b.shape
            else:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    assert new.output.shape[-1] == 3


def test_a_run_has_the_options_that_the_weights_it_starts_from_go_with():
    config = TrainConfig(model="unet", dataset="pets", data="-", start_from="unet")
    whole = start.with_its_options(config)
    assert whole.options == zoo.served_model("unet").options
    assert start.build_model(whole, 3).get_layer(whole.options["encoder"])  # what ships fits
    named = replace(config, options={"refine": False})
    assert start.with_its_options(named).options == {**whole.options, "refine": False}
    for other in (
        replace(config, start_from=""),
        replace(config, model="fcn8s"),
        replace(config, start_from="x.weights.h5"),
    ):
        assert start.with_its_options(other) == other


def test_another_architecture_starts_from_the_encoder_it_shares(tmp_path):
    # DeepLab's last blocks are atrous where those of FCN are strided: layers are found by name, not by order.
    source = zoo.served_model("deeplabv3")
    trained = architectures.build("deeplabv3", **source.options)
    trained.load_weights(source.folder / source.weights)
    settings = {"model": "fcn8s", "dataset": "voc", "data": "-", "options": {"fc_filters": 4}}
    encoder = start.build_model(TrainConfig(**settings, start_from="deeplabv3"), 21).get_layer("mobilenet_v2")
    shared = [layer for layer in trained.get_layer("mobilenet_v2").layers if layer.weights]
    assert len(shared) > 100
    for layer in shared:
        for a, b in zip(layer.get_weights(), encoder.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(TrainingError, match=r"Nothing in .* fits this architecture"):
        start.build_model(
            TrainConfig(
                **{**settings, "model": "segnet", "options": {"width": 1 / 64}}, start_from="deeplabv3"
            ),
            21,
        )


@pytest.mark.usefixtures("eager")
def test_fine_tuning_on_annotations_runs_and_keeps_frozen_stages(started, tmp_path):
    old, path = started
    draw_annotations(tmp_path / "shapes", [f"photo{i}" for i in range(6)])
    config = fine_tuning(tmp_path, str(path), frozen="c5", epochs=1, batch=2, size=32, learning_rate=1e-3)
    assert trainer.train(config, tmp_path / "run", verbose=False)["state"] == "done"
    new = start.build_model(config, 3, pretrained=False)
    new.load_weights(tmp_path / "run" / "checkpoints" / "best.weights.h5")
    for a, b in zip(
        old.get_layer("mobilenet_v2").get_weights(), new.get_layer("mobilenet_v2").get_weights(), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    assert (
        np.abs(
            old.get_layer("up1_deconv").get_weights()[0] - new.get_layer("up1_deconv").get_weights()[0]
        ).max()
        > 1e-4
    )


def test_a_start_of_another_architecture_is_refused(tmp_path):
    other = randomise(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="other")]))
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(TrainingError, match=r"Nothing in other\.weights\.h5 fits this architecture"):
        start.build_model(fine_tuning(tmp_path, str(tmp_path / "other.weights.h5")), 3)


def test_an_unknown_start_gives_the_list(tmp_path):
    with pytest.raises(zoo.UnknownModelError, match="no trained model 'nobody'"):
        start.build_model(fine_tuning(tmp_path, "nobody"), 3)


@pytest.mark.usefixtures("shared_encoders")
@pytest.mark.parametrize(
    ("through", "first_learning"), [("", "Conv1"), ("c1", "block_1_depthwise"), ("c4", "block_13_depthwise")]
)
def test_freezing_encoder_stages(through, first_learning):
    encoder = unet(3, decoder_filters=(4, 4, 4, 4), freeze_encoder=False).get_layer("mobilenet_v2")
    start.freeze(encoder, through, batch_norm=False)
    learning = [layer.name for layer in encoder.layers if layer.trainable and layer.weights]
    assert learning[0] == first_learning
    start.freeze(encoder, through, batch_norm=True)
    learning = [layer for layer in encoder.layers if layer.trainable and layer.weights]
    assert learning
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in learning)
    start.freeze(encoder, "c5", batch_norm=False)
    assert not encoder.trainable_variables


# --- the whole way, through the command line -------------------------------------------------------------

# The command line with a checkpoint after every step, killed in the third step of the second epoch.
KILLED = f"""
import os, signal, sys
from functools import partialmethod
import keras
from segdemo.training import callbacks
from segdemo.cli import main

steps = []

def end(self, batch, logs=None):  # what saves has acted by then
    steps.append(batch)
    if len(steps) == {STEPS + 3}:
        os.kill(os.getpid(), signal.SIGKILL)

keras.Model.compile = partialmethod(keras.Model.compile, run_eagerly=True)
callbacks.CHECKPOINT_SECONDS = 0
callbacks.Curves.on_train_batch_end = end
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("dataset", ["pets", "voc"])
def test_train_kill_resume_export_predict(dataset, tmp_path, home, capsys):
    data, run, out = tmp_path / "data", tmp_path / "mine", tmp_path / "out"
    if dataset == "pets":
        draw_pets(data, BREEDS)
        label_set, photos = PETS, data / "images"
    else:
        draw_voc(data, VOC, train=6, extra=4, val=6)
        label_set, photos = VOC, data / "VOCdevkit" / "VOC2012" / "JPEGImages"
    settings = ["--model", "unet_plain", "--dataset", dataset, "--data", data]
    settings += ["--epochs", "2", "--batch", "1", "--size", "32", "--learning-rate", "0.01"]
    settings += ["--set", f"steps_per_epoch={STEPS}", "--set", f"options={json.dumps(TINY)}"]
    settings += ["--set", "ema=0.9"]
    command = [sys.executable, "-c", KILLED, "train", *map(str, settings), "--out", str(run), "--json"]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read(run)["state"] == "running"  # it had no chance to say otherwise
    state = read(run, "checkpoints/state.json")
    assert (state["epoch"], state["step"]) == (1, 3)
    assert steps_taken(run) == STEPS + 3
    seen = len(events(run, "progress"))

    assert main(["train", "--resume", "--out", str(run), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "done"
    first = events(run, "progress")[seen]
    assert first["epoch"] == 1
    assert first["step"] == 4  # from the checkpoint and not from zero
    assert steps_taken(run) == 2 * STEPS
    assert [event["epoch"] for event in events(run, "epoch")] == [1, 2]
    report = read(run, "report.json")
    assert report["before"] is None
    assert report["after"]["mean_iou"] == status["model"]["metrics"]["mean_iou"] > 0.1

    shutil.copytree(run, home / "models" / "mine")
    assert main(["predict", "--model", "mine", "--out", str(out), str(photos)]) == 0
    assert capsys.readouterr() == ("", "")
    found = 0
    for photo in photos.iterdir():
        label_map = label_maps.decode_png(out / f"{photo.stem}.png", label_set)
        with Image.open(photo) as image:
            assert label_map.shape == image.size[::-1]
        found += len(np.unique(label_map))
    assert found >= len(list(photos.iterdir()))


def test_another_encoder_than_the_architectures_own_can_be_chosen_and_frozen():
    config = TrainConfig(
        model="fcn8s",
        dataset="voc",
        data="nowhere",
        encoder_weights="none",
        options={"encoder": "vgg16", "fc_filters": 8},
        frozen="c2",
    )
    encoder = start.build_model(config, num_classes=3).get_layer("vgg16")
    learning = {layer.name: layer.trainable for layer in encoder.layers if layer.weights}
    assert not learning["block1_conv1"]
    assert not learning["block2_conv2"]
    assert learning["block3_conv1"]


def test_half_precision_computes_in_bfloat16_and_is_served_in_float32(config, tmp_path):
    config = replace(config, precision="mixed_bfloat16", epochs=1)
    model = start.build_model(config, 3)
    assert {w.dtype for w in model.weights} == {"float32"}
    assert any(layer.compute_dtype == "bfloat16" for layer in model.layers)
    assert model.output.dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    run = tmp_path / "run"
    assert trainer.train(config, run, verbose=False)["state"] == "done"
    entry = exporter.export_run(run, "half")
    model = start.build_model(replace(config, precision="float32"), 3, pretrained=False)
    model.load_weights(run / entry["weights"])
    session = Predictor(zoo.read_manifest(run / "manifest.json")["half"])
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    logits = keras.ops.convert_to_numpy(model(session.network_input(image), training=False))[0]
    np.testing.assert_allclose(session.logits(image) * session.entry.temperature, logits, atol=1e-3)


def test_a_stochastic_network_is_exported_with_its_passes(config, tmp_path):
    config, run = replace(config, model="bayesian_segnet", options={"width": 1 / 64}), tmp_path / "run"
    callbacks.RunFolder(run).write("config.json", config.to_json())
    (run / "checkpoints").mkdir()
    save_weights(start.build_model(config, len(PETS)), Checkpoints(run / "checkpoints").best)
    entry = exporter.export_run(run, "dice")
    assert entry["samples"] == zoo.spec("bayesian_segnet").samples
    assert entry["temperature"] == 1
    predictor = Predictor(zoo.read_manifest(run / "manifest.json")["dice"])
    prediction = predictor(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert prediction.variance.shape == prediction.probabilities.shape[:2]
    assert 0 < prediction.variance.max() <= 0.25
