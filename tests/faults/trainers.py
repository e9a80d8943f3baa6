"""Kills trainers at random moments and at every phase, and the server while it installs what they made.

Each ends in a state that says what happened in one sentence, goes on from its last checkpoint when it is resumed, and
ends in one model.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import fake_trainer
from drawn import draw_annotations
from running import TINY, pid_of, tiny_config, until

from segdemo.core.files import read_json
from segdemo.runs import processes
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs
from segdemo.zoo.served import read_manifest
from segdemo.zoo.versions import ModelStore

TESTS = Path(__file__).resolve().parent.parent
# Of dying_trainer.py, which imports TensorFlow.
PHASES = (
    *("starting", "first step", "checkpoint", "validation", "sample pictures"),
    *("export", "calibration", "measurement", "report"),
)


def check_sentence(message):
    """A message for people: one line that ends as a sentence and shows no code. Raises AssertionError."""
    assert message, "nothing is said"
    assert "\n" not in message, message
    assert message.endswith("."), message
    assert "Traceback" not in message, message
    assert 'File "' not in message, message


def check_models(models):
    """All of what the models' manifests name is there and whole. Raises otherwise."""
    for name in models.names():
        for entry in read_manifest(models.root / name / "manifest.json").values():
            assert entry.path.is_file(), entry.path
        for version in models.versions(name):
            assert version.folder.is_dir()


@contextlib.contextmanager
def _runs(folder, command):
    runs = Runs(Path(folder) / "runs", Policy(), command, ModelStore(Path(folder) / "models"))
    try:
        yield runs
    finally:
        for snapshot in runs.list():
            with contextlib.suppress(ProcessLookupError, KeyError, IndexError, OSError):
                os.killpg(pid_of(snapshot), signal.SIGKILL)
        while processes.children:
            processes.fetch_exit_codes()
            time.sleep(0.01)


def kill_fakes(folder, rounds, seed=0):
    """Kill the trainer of tests ``rounds`` times at random moments, from its start to the end of its export.

    Returns:
        Figures. Raises AssertionError: a step that was kept is gone, a run ends without a sentence, or in no model.
    """
    rng, folder = random.Random(seed), Path(folder)
    draw_annotations(folder / "data", ["a", "b", "c", "d", "e"])
    figures = {"kills": 0, "runs": 0, "models": 0, "lost_steps": 0}
    settings = {"model": "unet", "dataset": "annotations", "data": str(folder / "data"), "epochs": 1}
    with _runs(folder, [sys.executable, str(TESTS / "fake_trainer.py")]) as runs:
        while figures["kills"] < rounds:
            options = {"steps": 40, "delay": 0.01, "export": 0.2}
            run_id = runs.start({**settings, "options": options}, "Cats").run_id
            figures["runs"] += 1
            kept = 0
            for _ in range(3):
                snapshot = until(runs, run_id, lambda s: s.state != "queued")
                time.sleep(rng.uniform(0, 0.9))
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid_of(snapshot), signal.SIGKILL)
                    figures["kills"] += 1
                ended = until(runs, run_id, lambda s: s.ended)
                check_sentence(ended.message)
                state = runs.root / run_id / "checkpoints" / "state.json"
                step = read_json(state)["step"] if state.exists() else 0
                assert step >= kept, "a checkpoint went back"
                kept = step
                if ended.state == "done":
                    break
                runs.resume(run_id)
            done = until(runs, run_id, lambda s: s.ended and (s.model or s.state != "done"))
            assert done.state == "done", done.message
            figures["models"] += 1
        check_models(runs.models)
        assert len(runs.models.versions("cats")) == figures["runs"]
    return figures


def kill_real(folder, phases=PHASES):
    """Let the real trainer, with a tiny network, die once at each phase, and go on each time.

    Returns:
        Phase to what people are told.
    """
    folder, told = Path(folder), {}
    config = tiny_config(folder / "data")
    settings = {"model": config.model, "dataset": config.dataset, "data": config.data, "options": TINY}
    settings |= {"epochs": 2, "batch": 2, "size": 32, "learning_rate": 1e-3}
    with _environment(FAULT_PHASES=",".join(phases)):
        command = [sys.executable, str(TESTS / "faults" / "dying_trainer.py")]
        with _runs(folder, command) as runs:
            run_id = runs.start(settings, "Pets").run_id
            for _ in phases:
                dead = until(runs, run_id, lambda s: s.ended, 300)
                (phase,) = {p.name for p in dead.folder.glob("died-*")} - set(told)
                assert dead.state == "failed", dead.message
                check_sentence(dead.message)
                assert "resume it" in dead.message
                told[phase] = dead.message
                runs.resume(run_id)
            done = until(runs, run_id, lambda s: s.ended and (s.model or s.state != "done"), 300)
            assert (done.state, done.model) == ("done", "pets@1"), done.message
            assert sorted({e["epoch"] for e in done.events if e["kind"] == "epoch"}) == [1, 2]
            assert not list((done.folder / "checkpoints").glob("partial-*"))
            check_models(runs.models)
    return {name.removeprefix("died-").replace("-", " "): message for name, message in told.items()}


def kill_installation(folder):
    """Kill the process that installs a model at every step that changes the disk, one after the other.

    Returns:
        Figures: how many steps there are. Raises AssertionError: something is half installed.
    """
    folder = Path(folder)
    trained = folder / "trained"
    trained.mkdir(parents=True)
    fake_trainer.export(trained, {})
    steps = ("replace", "rename", "unlink", "fsync", "mkdir")
    for number in itertools.count(1):  # until the installation has fewer steps
        store = ModelStore(folder / str(number))
        store.install(trained, "cats")
        child = os.fork()
        if child == 0:
            left = [number]
            for step in steps:
                setattr(os, step, _dying(getattr(os, step), left))
            store.install(trained, "cats")
            os._exit(0 if left[0] > 0 else 1)
        _, status = os.waitpid(child, 0)
        store = ModelStore(folder / str(number))
        check_models(store)
        installed = len(store.versions("cats"))
        store.tidy()
        check_models(store)
        assert installed in (1, 2)
        again = store.install(trained, "cats").number
        assert again == max(version.number for version in store.versions("cats"))
        shutil.rmtree(folder / str(number))
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            assert installed == 2
            return {"steps": number - 1}


def _dying(real, left):
    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    return call


@contextlib.contextmanager
def _environment(**variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
