"""On a real cluster of two nodes: photos while an actor dies, runs side by side, and a node that is lost."""

import importlib.util
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from calling import call
from drawn import SHAPES, draw_annotations, encoded
from ray_nodes import Nodes
from running import until
from tiny import bright, write_model
from waiting import once

from segdemo.cluster.batches import Batches
from segdemo.cluster.jobs import Jobs
from segdemo.cluster.server import Room
from segdemo.core.labels import PETS
from segdemo.inference.jobs import Jobs as Batch
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs

ROOT = Path(__file__).parents[2]
TRAINER = [sys.executable, str(ROOT / "tests" / "fake_trainer.py")]
PHOTOS = 500
BATCH = 200
RNG = np.random.default_rng(0)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed: install requirements-cluster.txt to run these.",
    ),
]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    nodes = Nodes(tmp_path_factory.mktemp("n"))  # sockets below it have short names only
    yield nodes
    nodes.close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))


def segdemo(address, *arguments):
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "segdemo", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def jpeg():
    """Squares, whose outlines take less time than those of noise."""
    return encoded(RNG.integers(0, 256, (3, 4, 3), np.uint8).repeat(30, 0).repeat(30, 1), "JPEG")


def zipped(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_photos_are_all_there_though_an_actor_is_killed(nodes, tmp_path, capsys):
    photos, there, here = (tmp_path / name for name in ("photos", "there", "here"))
    photos.mkdir()
    for number in range(PHOTOS):
        (photos / f"{number:03}.jpg").write_bytes(jpeg())
    (photos / "bad.jpg").write_bytes(b"words")
    common = ["predict", "--model", "colours", "--formats", "label_map,csv,coco", photos]
    command = segdemo(nodes.address, *common, "--on", "ray", "--out", there)
    while not there.is_dir() or len(list(there.glob("*.png"))) < 20:
        assert command.poll() is None, command.communicate()
        time.sleep(0.01)
    nodes.workers("ray::MapWorker")[0].kill()
    done = len(list(there.glob("*.png")))
    out, err = command.communicate(timeout=400)
    assert done < PHOTOS
    assert (command.returncode, out, err.count("\n"), err.count("bad.jpg")) == (2, "", 1, 1), err
    assert call(capsys, *common, "--out", here) == (2, "", err)
    assert contents(there) == contents(here)

    data = draw_annotations(tmp_path / "data", [f"{n:03}" for n in range(40)])
    write_model(tmp_path / "home" / "models" / "shapes", "shapes", SHAPES, *bright(3, 1, 0))
    common = ["evaluate", "--model", "shapes", "--dataset", "annotations", "--data", data, "--subset", "all"]
    there = segdemo(nodes.address, *common, "--on", "ray").communicate()[0].splitlines()
    here = call(capsys, *common)[1].splitlines()
    assert [line for line in here if "time" not in line] == [line for line in there if "time" not in line]
    assert "40 photos" in there[0]


def test_batches_of_the_page_work_side_by_side_with_the_results_of_here(nodes, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for number in range(BATCH):
            archive.writestr(f"{number:03}.jpg", jpeg())
        archive.writestr("bad.jpg", b"words")
    here, there = Batch(), Batch(elsewhere=Batches(nodes.jobs))
    formats = ["label_map", "overlay", "csv", "coco"]

    def submit(jobs, owner):
        return jobs.submit(owner, [tmp_path / "photos.zip"], "colours", formats).id

    def until_it(condition, *batches):
        end = time.monotonic() + 300
        while not all(condition(there.get(*batch).progress) for batch in batches):
            assert time.monotonic() < end, [there.get(*batch).progress for batch in batches]
            there.work()
            time.sleep(0.1)

    twin = submit(here, "zoe")
    assert here.work()
    one, two = (submit(there, "ann"), "ann"), (submit(there, "ben"), "ben")
    until_it(lambda progress: progress.state != "queued", one, two)
    assert not there.get(*one).ended  # one CPU each
    until_it(lambda progress: progress.done, two)
    nodes.workers("ray::MapWorker")[0].kill()
    there.cancel(*two)
    until_it(lambda progress: progress.state == "cancelled", two)
    assert 0 < there.get(*two).progress.done < BATCH
    there.resume(*two)
    until_it(lambda progress: progress.state == "done", one, two)
    results = [zipped(job.result) for job in (here.get(twin, "zoe"), there.get(*one), there.get(*two))]
    assert results[0] == results[1] == results[2]
    assert len(there.get(*one).previews()) == len(here.get(twin, "zoe").previews())
    assert there.get(*one).progress.failed == 1


def test_runs_work_side_by_side_are_cancelled_and_survive_a_lost_node(nodes, tmp_path):
    draw_annotations(tmp_path / "data", ["a", "b", "c", "d", "e"])
    runs = Runs(policy=Policy(), command=TRAINER, executor=Jobs(nodes.jobs, Room(1, 0, 0)))

    def start(steps):
        settings = {"model": "unet", "dataset": "annotations", "data": str(tmp_path / "data"), "epochs": 1}
        return runs.start({**settings, "options": {"steps": steps, "delay": 0.1}}).run_id

    def working(snapshot):
        return snapshot.state == "running" and snapshot.step > 0

    settings = {"model": "unet", "dataset": "annotations", "data": str(tmp_path / "data")}
    estimate = once(
        lambda: runs.tick() or runs.estimate(settings), lambda found: found.state != "measuring", 120
    )
    assert estimate.sentence(1).startswith("About 36 s on the cluster")

    one, two, three = start(3000), start(3001), start(3)
    for run_id in (one, two):
        until(runs, run_id, working)  # one on each node
    assert runs.follow(one).state == "running"
    assert runs.follow(three).step == 0
    runs.cancel(one)
    assert until(runs, one, "cancelled").step < 3000
    assert until(runs, three, lambda s: s.model).report.after.mean_iou == 0.7
    runs.resume(one)
    until(runs, one, working)

    nodes.kill(1)
    lost = {}
    while not lost:
        runs.tick()
        lost = {run_id: s for run_id in (one, two) if (s := runs.follow(run_id)).ended}
        time.sleep(0.1)
    ((run_id, snapshot),) = lost.items()
    assert snapshot.state == "failed"
    assert "was lost: resume it" in snapshot.message
    other = two if run_id == one else one
    assert working(runs.follow(other))
    runs.resume(run_id)
    runs.cancel(other)
    assert until(runs, run_id, lambda s: working(s) and s.step >= snapshot.step)
    runs.cancel(run_id)
    until(runs, run_id, "cancelled")


def test_a_head_that_is_lost_ends_a_command_in_a_sentence_and_resume_goes_on(nodes, tmp_path, monkeypatch):
    """The last one: there is no cluster afterwards."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # else a minute
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    data = jpeg()
    for number in range(2000):
        (photos / f"{number:04}.jpg").write_bytes(data)
    command = ["predict", "--model", "colours", "--resume", "--out", out, photos, "--on", "ray"]
    process = segdemo(nodes.address, *command)
    once(lambda: process.poll() is not None or len(list(out.glob("*.png"))) > 20, seconds=120)
    nodes.kill(0)
    said, err = process.communicate(timeout=90)
    assert (process.returncode, said, err.count("\n")) == (2, "", 1), err
    assert "The cluster was lost in the middle of the work" in err and "with --resume" in err
    assert len(list(out.glob("*.png"))) < 2000

    process = segdemo(nodes.address, *command)
    said, err = process.communicate(timeout=90)
    assert (process.returncode, said, err.count("\n")) == (2, "", 1), err
    assert f"There is no Ray cluster at {nodes.address}: start one" in err
