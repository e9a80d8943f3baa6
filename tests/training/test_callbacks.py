"""What is written beside the learning, where a full disk or a power cut has cut it short."""

import csv
import json
from dataclasses import replace
from functools import partialmethod

import keras
import pytest
from running import tiny_config

from segdemo.runs.record import events_since
from segdemo.training import callbacks, trainer


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    return replace(tiny_config(tmp_path / "data"), epochs=1)


def cut(path, count):
    path.write_bytes(path.read_bytes()[:-count])


@pytest.mark.parametrize("count", [1, 20])
def test_a_run_goes_on_after_a_full_disk_has_cut_its_last_lines(config, tmp_path, monkeypatch, count):
    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    run = tmp_path / "run"
    trainer.train(config, run, verbose=False)
    cut(run / "events.jsonl", count)
    cut(run / "log.csv", count)
    assert trainer.train(replace(config, epochs=3), run, resume=True, verbose=False)["state"] == "done"
    events, end = events_since(run / "events.jsonl", 0)
    assert end == (run / "events.jsonl").stat().st_size
    epochs = [event["epoch"] for event in events if event["kind"] == "epoch"]
    assert epochs == ([1, 2, 3] if count == 1 else [2, 3])  # without its end, a whole line is one still
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert not any(None in row or "" in row.values() or None in row.values() for row in rows)
    assert (run / "curves.png").stat().st_mtime_ns >= (run / "events.jsonl").stat().st_mtime_ns


def test_an_event_begins_a_line_of_its_own(tmp_path):
    run = callbacks.RunFolder(tmp_path)
    run.event("epoch", epoch=1)
    assert (tmp_path / "events.jsonl").read_text().count("\n") == 1
    cut(tmp_path / "events.jsonl", 4)
    run.event("epoch", epoch=2)
    run.event("epoch", epoch=3)
    torn, *whole = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in whole] == [2, 3]
    with pytest.raises(ValueError, match=r"delimiter|Expecting"):
        json.loads(torn)


def test_curves_pass_over_what_is_no_event(tmp_path):
    rows = [{"kind": "epoch", "epoch": 1, "loss": 0.5, "mean_iou": 0.1, "val_loss": 0.5, "val_mean_iou": 0.1}]
    lines = [json.dumps(rows[0]), '{"kind": "epo', "[1]", "{}", "3", ""]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    callbacks.Curves(tmp_path).on_epoch_end(0)
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", None),
        (b"epoch,lo", None),
        (b"epoch,loss\r\n", []),
        (b"epoch,loss\r\n0,0.5\r\n1,0.", ["0"]),
        (b"epoch,loss\r\n0,0.5\r\n1,0.25,0.4\r\n", ["0", "1"]),  # two rows that a version before ran together
    ],
)
def test_a_log_that_was_cut_short_goes_on_with_whole_rows(tmp_path, left, kept):
    log = tmp_path / "log.csv"
    log.write_bytes(left)
    assert callbacks.log_goes_on(log) == (kept is not None)
    logger = keras.callbacks.CSVLogger(log, append=kept is not None)
    logger.on_train_begin()
    logger.on_epoch_end(7, {"loss": 0.25, "mean_accuracy": 1, "val_mean_accuracy": 0})
    logger.on_train_end()
    with log.open(newline="") as file:
        rows = list(csv.reader(file))
    found = [row[0] for row in rows if row[0].isdigit()]
    assert found == [*(kept or []), "7"]


@pytest.mark.usefixtures("eager")
def test_images_per_second_counts_the_photos_there_are(config, tmp_path, monkeypatch):
    made = []
    recorder = trainer.Recorder
    monkeypatch.setattr(trainer, "Recorder", lambda *args: made.append(recorder(*args)) or made[-1])
    trainer.train(replace(config, batch=64), tmp_path / "run", verbose=False)
    assert made[0].batch == 14
