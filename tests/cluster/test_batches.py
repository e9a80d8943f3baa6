"""Batches of the page as jobs: several at once, with the results of here, and a clear end whatever is lost."""

import os
import runpy
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from archive_files import make_zip
from job_server import JobServer
from photo_files import noise_png
from tiny import bright, write_model
from waiting import once
from without_ray import python_in

from segdemo.cluster import server as server_module
from segdemo.cluster.batches import Batches, batches
from segdemo.cluster.reach import Place
from segdemo.core.labels import PETS
from segdemo.core.workspace import Workspace, entered
from segdemo.inference.batch import BatchError
from segdemo.inference.jobs import Jobs
from segdemo.runs import processes
from segdemo.ui.services import Services

png = partial(noise_png, np.random.default_rng(0))
ALL = ["label_map", "overlay", "cutout", "coco", "csv"]
pytestmark = pytest.mark.skipif(not processes.CAN_LOCK, reason="the job server of tests needs a POSIX system")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(server_module, "PAUSE", 0.2)
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))


@pytest.fixture
def cluster():
    server = JobServer()
    yield server
    server.end_all()


@pytest.fixture
def there(cluster, tmp_path):
    """Makes the jobs of a page that has them done on the cluster, with a pause before each photo."""

    def make(seconds=0.0):
        return Jobs(elsewhere=Batches(cluster.address, python_in(tmp_path, seconds)))

    return make


@pytest.fixture
def photos(tmp_path):
    """Paths of two photos, one file that is none, and a ZIP of two photos, one that is none and a text."""
    paths = [tmp_path / name for name in ("a.png", "b c.png", "bad.png")]
    for path, data in zip(paths, (png(), png(), b"words"), strict=True):
        path.write_bytes(data)
    inside = {"trip/a.png": png(), "trip/z.png": png(), "worse.jpg": b"words", "readme.txt": b"words"}
    return [*paths, make_zip(tmp_path / "trip.zip", inside)]


def many(tmp_path, number=60):
    return make_zip(tmp_path / "many.zip", {f"{i:03}.png": png() for i in range(number)})


def until(jobs, id_, condition, owner="ann", seconds=90):
    return once(lambda: jobs.work() or jobs.get(id_, owner), condition, seconds)


def in_state(state):
    return lambda job: job.progress.state == state


def contents(job):
    with zipfile.ZipFile(job.result) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_results_are_those_of_here_byte_for_byte(there, photos, cluster):
    jobs, here = there(), Jobs()
    twin = here.submit("ben", photos, "colours", ALL)
    assert here.work()
    twin = here.get(twin.id, "ben")
    job = jobs.submit("ann", photos, "colours", ALL)
    job = until(jobs, job.id, in_state("done"))
    assert (job.progress.done, job.progress.failed, job.wish.left_out) == (4, 2, 1)
    assert sorted(job.progress.why) == sorted(twin.progress.why)
    # The times that photos took are no part of them.
    assert contents(job) == contents(twin)
    assert {path.name for path in job.previews()} == {path.name for path in twin.previews()}
    until(jobs, job.id, lambda job: not (job.folder / "in").exists())
    (asked,) = (found["asked"] for found in cluster.jobs.values())
    assert "entrypoint_num_gpus" not in asked and asked["entrypoint_num_cpus"] == 0
    assert not jobs.work()
    jobs.delete(job.id, "ann")


def test_owners_workspaces_and_limits_hold_there_too(there, tmp_path, photos, monkeypatch):
    monkeypatch.setenv("SEGDEMO_MAX_PHOTO_SECONDS", "7")
    own = Workspace("guest-1", tmp_path / "home" / "workspaces" / "guest-1")
    write_model(own.models / "mine", "mine", PETS, *bright(3, 1, 2))
    jobs = there()
    with entered(own):
        job = jobs.submit("ann", photos, "mine", ["csv"])
    assert until(jobs, job.id, in_state("done")).wish.workspace == "guest-1"
    assert jobs.of("ben") is None
    monkeypatch.setenv("SEGDEMO_MAX_BATCH_PHOTOS", "2")
    with pytest.raises(BatchError, match="up to 2 photos"):
        jobs.submit("ann", photos, "colours", ["csv"])


def test_cancelled_and_resumed(there, tmp_path):
    here = Jobs()
    archive = many(tmp_path)
    twin = here.submit("ben", [archive], "colours", ["label_map", "csv"])
    assert here.work()
    jobs = there(0.05)
    job = jobs.submit("ann", [archive], "colours", ["label_map", "csv"])
    until(jobs, job.id, lambda job: job.progress.done > 3)
    with pytest.raises(BatchError, match="cancel it first"):
        jobs.delete(job.id, "ann")
    jobs.cancel(job.id, "ann")
    done = until(jobs, job.id, lambda job: job.ended)
    assert (done.progress.state, 3 < done.progress.done < 60) == ("cancelled", True)
    assert done.previews()
    jobs = there()  # the page was started again
    jobs.resume(job.id, "ann")
    found = until(jobs, job.id, in_state("done"))
    assert found.progress.done == 60
    assert contents(found) == contents(here.get(twin.id, "ben"))
    lines = contents(found)["classes.csv"].decode().splitlines()
    assert len(lines) == 61


def test_several_work_at_once_and_the_others_wait_in_their_turn(there, tmp_path, cluster):
    archive = many(tmp_path)
    jobs = there(0.2)
    ids = [jobs.submit(owner, [archive], "colours", ["csv"]).id for owner in ("ann", "ben", "cid")]
    cluster.room = 2
    jobs.work()
    assert len(cluster.jobs) == 2
    assert jobs.get(ids[2], "cid").before == 2
    until(jobs, ids[0], lambda job: job.progress.done)
    until(jobs, ids[1], lambda job: job.progress.done, "ben")
    assert not jobs.get(ids[0], "ann").ended
    jobs.work()
    assert len(cluster.jobs) == 3
    assert (jobs.get(ids[2], "cid").progress.state, jobs.get(ids[2], "cid").before) == ("queued", 0)
    jobs.cancel(ids[2], "cid")  # where the cluster has it already
    assert jobs.get(ids[2], "cid").progress.state == "cancelled"
    jobs.resume(ids[2], "cid")
    for id_, owner in zip(ids[:2], ("ann", "ben"), strict=True):
        jobs.cancel(id_, owner)
    until(jobs, ids[2], lambda job: job.progress.done, "cid")


def test_a_cluster_that_is_lost_ends_it_in_a_sentence_and_resume_goes_on(there, tmp_path, cluster):
    jobs = there(0.05)
    job = jobs.submit("ann", [many(tmp_path)], "colours", ["csv"])
    until(jobs, job.id, lambda job: job.progress.done)
    (tmp_path / "lost").touch()
    job = until(jobs, job.id, lambda job: job.ended)
    assert (job.progress.state, job.progress.message) == (
        "failed",
        "The cluster ended this batch: resume it to go on with the photos left.",
    )
    (tmp_path / "lost").unlink()
    before = job.progress.done

    jobs.resume(job.id, "ann")
    job = until(jobs, job.id, lambda job: job.progress.done > before)
    cluster.fail(list(cluster.jobs)[-1], "The node that ran it was lost.")
    job = until(jobs, job.id, lambda job: job.ended)
    assert job.progress.message == "What worked on it was lost: resume it to go on with the photos left."
    before = job.progress.done

    jobs.resume(job.id, "ann")
    until(jobs, job.id, lambda job: job.progress.done > before)
    cluster.end_all()
    cluster.jobs.clear()  # the head was started again
    job = until(jobs, job.id, lambda job: job.ended)
    assert "was restarted and has lost it: resume it" in job.progress.message

    jobs = there()
    jobs.resume(job.id, "ann")
    assert until(jobs, job.id, in_state("done")).progress.done == 60


def test_a_cluster_that_does_not_answer_is_waited_for(there, tmp_path, cluster, monkeypatch):
    jobs = there(0.2)
    job = jobs.submit("ann", [many(tmp_path)], "colours", ["csv"])
    until(jobs, job.id, lambda job: job.progress.done)
    cluster.close()
    monkeypatch.setattr(server_module, "PATIENCE", 2.0)
    time.sleep(2.5)
    done = jobs.get(job.id, "ann").progress.done
    until(jobs, job.id, lambda job: job.progress.done > done)  # it shows life
    cluster.end_all()
    job = until(jobs, job.id, lambda job: job.ended)
    assert "does not answer: see that it works, then resume the batch" in job.progress.message
    jobs.resume(job.id, "ann")
    jobs.work()
    assert (
        "does not answer: see that it works, the batch waits for that"
        in jobs.get(job.id, "ann").progress.message
    )


def test_what_cannot_be_executed_there_is_said(cluster, tmp_path, photos, monkeypatch):
    jobs = Jobs(elsewhere=Batches(cluster.address, str(tmp_path / "no python")))
    job = jobs.submit("ann", photos, "colours", ["csv"])
    message = until(jobs, job.id, lambda job: job.ended).progress.message
    assert "could not start it (exit code 127: " in message and "at the same paths" in message


def test_a_node_without_the_folder_says_so_at_once(there, tmp_path, photos, monkeypatch):
    jobs = there()
    job = jobs.submit("ann", photos, "colours", ["csv"])
    # A node with a copy of its own sees nothing of what the page has written since.
    monkeypatch.setattr(
        Place, "leave", lambda place: (place.folder / place.name).write_text("batch-of-before-1")
    )
    job = until(jobs, job.id, lambda job: job.ended)
    assert "does not share" in job.progress.message and "SEGDEMO_HOME" in job.progress.message


def test_two_never_work_on_the_same_batch(there, tmp_path, photos):
    jobs = there(0.2)
    job = jobs.submit("ann", [many(tmp_path)], "colours", ["csv"])
    until(jobs, job.id, lambda job: job.progress.done)
    here = Jobs()  # a page that was told to do without the cluster
    assert not here.work()
    jobs.cancel(job.id, "ann")
    until(jobs, job.id, in_state("cancelled"))


def test_the_page_hands_its_batches_over_and_needs_no_ray(cluster, tmp_path, photos, monkeypatch):
    monkeypatch.setenv("SEGDEMO_EXECUTOR", "ray")
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("SEGDEMO_RAY_PYTHON", python_in(tmp_path))
    jobs = Services.start().jobs
    job = jobs.submit("ann", photos, "colours", ["csv"])
    assert until(jobs, job.id, in_state("done")).progress.done == 4
    assert len(cluster.jobs) == 1
    assert "ray" not in sys.modules


def test_the_environment_chooses(monkeypatch, capsys):
    assert batches() is None
    monkeypatch.setenv("SEGDEMO_EXECUTOR", "ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("segdemo.core.frugal.be_frugal", lambda: None)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(__file__).parents[2] / "app.py"), run_name="__main__")
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert said.startswith("segdemo: SEGDEMO_EXECUTOR=ray needs RAY_ADDRESS")
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265/")
    monkeypatch.setenv("SEGDEMO_RAY_PYTHON", "/opt/python")
    chosen = batches()
    assert (chosen.server.address, chosen.server.python) == ("http://head:8265", "/opt/python")
