"""How long a run would take is measured once, in a process of its own, and never beside a run."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from drawn import draw_annotations
from waiting import once

from segdemo.runs import estimates, processes
from segdemo.runs.estimates import Estimate, Measured, duration
from segdemo.runs.policy import Policy, PolicyError, RunError
from segdemo.runs.queue import Runs
from segdemo.runs.record import find_run

TRAINER = [sys.executable, str(Path(__file__).parents[1] / "fake_trainer.py")]
MEASURED = Measured.from_json(
    {
        "steps": 7,
        "seconds_per_step": 0.5,
        "images_per_second": 8.0,
        "seconds_to_start": 10,
        "seconds_per_validation": 2,
        "seconds_to_finish": 20,
        "rss_mb": 1200,
    }
)
pytestmark = pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    draw_annotations(tmp_path / "data", ["a", "b", "c", "d", "e"])
    yield tmp_path
    for pid in list(processes.children):
        os.killpg(pid, signal.SIGKILL)
    while processes.children:
        processes.fetch_exit_codes()
        time.sleep(0.01)


def config(home, epochs=1, **options):
    data = str(home / "data")
    return {"model": "unet", "dataset": "annotations", "data": data, "epochs": epochs, "options": options}


def until(server, settings, state, seconds=60):
    look = lambda: server.tick() or server.estimate(settings)  # noqa: E731
    return once(look, lambda found: found.state == state, seconds)


def test_the_first_to_ask_starts_a_measurement_and_later_ones_get_its_result(home):
    server, other = (Runs(policy=Policy(), command=TRAINER) for _ in range(2))
    settings = config(home, export=0.3)
    assert server.estimate(settings, begin=False) == Estimate("waiting", message="")
    assert not (server.root / ".estimates" / "current.json").exists()
    assert server.estimate(settings).state == "measuring"
    pid = json.loads((server.root / ".estimates" / "current.json").read_text())["pid"]
    assert os.getpriority(os.PRIO_PROCESS, pid) == 10
    assert other.estimate(settings) == Estimate("measuring", message="Timing a few steps on this machine…")
    assert other.estimate(config(home)).state == "waiting"  # one at a time
    assert until(other, settings, "done").measured == MEASURED
    # Neither epochs nor learning rate make a step longer, so nothing is measured again.
    more = {**settings, "epochs": 9, "learning_rate": 0.5}
    assert server.estimate(more, begin=False).measured == MEASURED
    assert server.list() == []


def test_a_dataset_that_has_grown_is_measured_again(home):
    server = Runs(policy=Policy(), command=TRAINER)
    settings = config(home)
    until(server, settings, "done")
    draw_annotations(home / "data", [*"abcdefghijklmnop"])
    assert server.estimate(settings, begin=False).state == "waiting"  # how many steps it has is not known
    assert server.estimate(settings).state == "measuring"
    until(server, settings, "done")
    draw_annotations(home / "data", [*"abcdefghijklmnop"])
    assert server.estimate(settings, begin=False).state == "done"


def test_what_is_asked_for_next_does_not_lose_the_last_result(home):
    server = Runs(policy=Policy(), command=TRAINER)
    first, second = config(home), config(home, export=0.1)
    server.estimate(first)
    until(server, second, "done")
    assert server.estimate(first, begin=False).state == "done"


def test_a_run_goes_first(home):
    server = Runs(policy=Policy(), command=TRAINER)
    slow = config(home, export=60)
    assert server.estimate(slow).state == "measuring"
    pid = json.loads((server.root / ".estimates" / "current.json").read_text())["pid"]
    run_id = server.start(config(home, epochs=2, steps=1000)).run_id
    once(lambda: processes.started(pid) is None, seconds=30)
    waiting = server.estimate(slow)
    assert waiting == Estimate("waiting", message="How long it takes is measured when no run is in progress.")
    server.cancel(run_id)
    once(lambda: server.tick() or server.follow(run_id).state == "cancelled")
    once(lambda: not find_run(server.root, run_id).alive())
    assert server.estimate(slow).state == "measuring"


def test_what_the_run_would_fail_with_is_said_and_tried_again_later(home, monkeypatch):
    server = Runs(policy=Policy(), command=TRAINER)
    settings = config(home, fault="bad settings")
    assert until(server, settings, "failed").message == "There is no setting 'x': choose another."
    assert server.estimate(settings).state == "failed"
    monkeypatch.setattr(estimates, "FAILED_SECONDS", 0)
    assert server.estimate(settings).state == "measuring"


@pytest.mark.parametrize(
    ("fault", "limits", "seconds", "says"),
    [
        ("memory", {"max_memory_gb": 0.2}, 300, "need more memory than a run may have"),
        ("memory", {}, 0, "A few steps took more than 0 minutes: choose a smaller batch"),
    ],
)
def test_a_measurement_has_the_limits_of_a_run(home, monkeypatch, fault, limits, seconds, says):
    monkeypatch.setattr(estimates, "SECONDS", seconds)
    server = Runs(policy=Policy(**limits), command=TRAINER)
    assert says in until(server, config(home, fault=fault), "failed").message


def test_those_who_may_not_train_measure_nothing_and_bad_settings_are_refused(home):
    server = Runs(policy=Policy(training="token", token="secret"), command=TRAINER)
    with pytest.raises(PolicyError):
        server.estimate(config(home))
    with pytest.raises(RunError, match="1 epoch or more"):
        server.estimate(config(home, epochs=0), token="secret")
    assert not (server.root / ".estimates").exists()


def test_old_results_are_cleared_away(home):
    server = Runs(policy=Policy(), command=TRAINER)
    until(server, config(home), "done")
    (kept,) = [p for p in (server.root / ".estimates").glob("*.json") if p.name != "current.json"]
    server.tidy()
    assert kept.exists()
    old = time.time() - 8 * 86400
    os.utime(kept, (old, old))
    server.tidy()
    assert not kept.exists()


def test_the_whole_time_is_that_of_all_its_parts():
    found = Estimate("done", MEASURED)
    assert found.seconds(epochs=4) == 10 + 4 * (7 * 0.5 + 2) + 20
    assert found.seconds(epochs=4, steps=1) == 10 + 4 * (0.5 + 2) + 20
    assert found.sentence(4) == (
        "About 52 s on this machine: 4 x 7 steps of 0.5 s, 8.0 photos a second, 1.2 GB of memory."
    )
    assert Estimate("failed", message="No.").sentence(4) == "No."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5300, "88 min"), (7200, "2 h"), (12345, "3 h 20 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_long_one_is_in_whole_hours():
    assert duration(40 * 3600 + 1900) == "40 h"
