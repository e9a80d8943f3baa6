"""Runs as jobs: several at once, and whatever is lost, a run ends in a state that says what to do."""

import json
import os
import re
import shlex
import sys
import time
from pathlib import Path

import psutil
import pytest
from answering import Handler, answering
from drawn import draw_annotations
from job_server import JobServer
from running import until
from waiting import once
from without_ray import python_in

from segdemo.cluster import server as server_module
from segdemo.cluster import worker
from segdemo.cluster.bench import ClusterBench
from segdemo.cluster.jobs import Jobs, executor
from segdemo.cluster.reach import Place
from segdemo.cluster.server import JobServerError, Room
from segdemo.core.settings import SettingError
from segdemo.runs import estimates, processes
from segdemo.runs.executor import Here
from segdemo.runs.policy import Policy, RunError
from segdemo.runs.queue import Runs
from segdemo.runs.record import every_run, find_run

TRAINER = [sys.executable, str(Path(__file__).parent.parent / "fake_trainer.py")]
ONE_CPU = Room(1, 0, 0)
pytestmark = pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(server_module, "PAUSE", 0.2)
    draw_annotations(tmp_path / "data", ["a", "b", "c", "d", "e"])
    server = JobServer()
    yield server
    server.end_all()


@pytest.fixture
def runs(cluster, tmp_path):
    def make(room=ONE_CPU, **limits):
        return Runs(policy=Policy(**limits), command=TRAINER, executor=Jobs(cluster.address, room))

    return make


def start(runs, tmp_path, **options):
    settings = {"model": "unet", "dataset": "annotations", "data": str(tmp_path / "data"), "epochs": 1}
    return runs.start({**settings, "options": {"steps": 200, "delay": 0.05, **options}}).run_id


def working(snapshot):
    return snapshot.state == "running" and snapshot.step > 0


def job_of(runs, run_id):
    return find_run(runs.root, run_id).record.launches[-1].job


def test_two_runs_work_at_once_and_each_becomes_a_model(runs, tmp_path, cluster, monkeypatch):
    here = runs()
    one, two = (start(here, tmp_path, steps=100 + n) for n in range(2))
    until(here, two, lambda s: working(s) and working(here.follow(one)))
    for run_id in (one, two):
        snapshot = until(here, run_id, lambda s: s.model)
        assert (snapshot.state, snapshot.report.after.mean_iou) == ("done", 0.7)
    assert here.follow(one).log.count("=== trainer started") == 1

    # Of one that has done its work the last words are waited for: a network may show them late.
    there, run = Jobs(cluster.address, ONE_CPU), find_run(here.root, one)
    assert not there.alive(run)
    seen = run.folder / "worker.json"
    seen.write_text(seen.read_text().replace('"exit_code": 0', '"exit_code": null'))
    assert there.alive(run)
    monkeypatch.setattr(server_module, "LAST_WORDS", 0)
    assert not there.alive(run)


def test_a_job_asks_for_what_the_settings_say_and_hands_on_no_secret(runs, tmp_path, cluster, monkeypatch):
    monkeypatch.setenv("SEGDEMO_TRAINING_TOKEN", "secret")
    monkeypatch.setenv("SEGDEMO_SECRET", "a long enough secret")
    here = runs(Room(2, 1, 3 * 10**9))
    start(here, tmp_path, steps=1)
    (job,) = cluster.jobs.values()
    asked = job["asked"]
    assert [asked[f"entrypoint_{name}"] for name in ("num_cpus", "num_gpus", "memory")] == [2, 1, 3 * 10**9]
    variables = asked["runtime_env"]["env_vars"]
    assert variables["OMP_NUM_THREADS"] == "2"
    assert variables["SEGDEMO_HOME"] == os.environ["SEGDEMO_HOME"]
    assert "secret" not in json.dumps(asked)
    assert shlex.split(asked["entrypoint"])[1:3] == ["-m", "segdemo.cluster.worker"]


def test_where_there_is_no_room_runs_wait_in_their_turn(runs, tmp_path, cluster):
    cluster.room = 1
    here = runs()
    one, two, three = (start(here, tmp_path, steps=200 + n) for n in range(3))
    until(here, one, working)
    here.tick()
    assert here.follow(two).message == "Waiting for room on the cluster: 1 CPU."
    assert here.follow(three).position == 1  # not handed over before the second has begun
    here.cancel(two)  # before it began
    assert until(here, two, lambda s: s.ended).state == "cancelled"
    # The cluster gives up on a job that waits too long; the run does not.
    until(here, three, lambda s: s.state == "running")
    cluster.fail(job_of(here, three), "Job supervisor actor failed to start within 900.0 seconds. It may be")
    until(here, three, lambda s: len(cluster.jobs) == 4)
    here.cancel(one)
    until(here, three, working)


def test_cancel_and_resume(runs, tmp_path, cluster):
    here = runs()
    run_id = start(here, tmp_path, steps=40)
    until(here, run_id, working)
    with pytest.raises(RunError, match="cancel it first"):
        here.delete(run_id)
    here.cancel(run_id)
    snapshot = until(here, run_id, lambda s: s.state == "cancelled")
    assert snapshot.step < 40
    until(here, run_id, lambda s: not here.is_running(find_run(here.root, run_id)))
    here.resume(run_id)
    assert until(here, run_id, lambda s: s.model).state == "done"
    assert len({launch.job for launch in find_run(here.root, run_id).record.launches}) == 2


def test_a_lost_node_is_said_and_the_run_goes_on_from_its_last_step(runs, tmp_path, cluster):
    here = runs()
    run_id = start(here, tmp_path, steps=40)
    until(here, run_id, lambda s: s.step > 2)
    cluster.fail(job_of(here, run_id), "The actor died because its node has died.")
    snapshot = until(here, run_id, lambda s: s.ended)
    assert snapshot.state == "failed"
    assert "The node it worked on" in snapshot.message and snapshot.can_resume
    step = snapshot.step
    here.resume(run_id)
    assert until(here, run_id, working).step >= step

    # Of what watches it the same is said, and a trainer that nobody watches does not go on.
    trainer = psutil.Process(once(lambda: find_run(here.root, run_id).status().pid))
    trainer.parent().kill()
    snapshot = until(here, run_id, lambda s: s.ended)
    assert (snapshot.state, "The process that watched it on" in snapshot.message) == ("failed", True)
    if sys.platform == "linux":
        once(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE)
    here.resume(run_id)
    assert until(here, run_id, lambda s: s.model).state == "done"


def test_another_page_finds_runs_at_work_and_a_server_that_forgot_them_has_lost_them(runs, tmp_path, cluster):
    run_id = start(runs(), tmp_path)
    until(runs(), run_id, working)
    other = runs()
    assert working(other.follow(run_id))
    cluster.end_all()
    cluster.jobs.clear()
    assert "was restarted and has lost it" in until(other, run_id, lambda s: s.ended).message


def test_a_cluster_that_does_not_answer_is_waited_for_while_the_run_shows_life(
    runs, tmp_path, cluster, monkeypatch
):
    here = runs()
    run_id = start(here, tmp_path)
    until(here, run_id, working)
    cluster.close()
    monkeypatch.setattr(server_module, "PATIENCE", 3.0)  # a sign of life comes every two seconds
    time.sleep(3.5)
    here.tick()
    assert working(here.follow(run_id))
    cluster.end_all()
    snapshot = until(here, run_id, lambda s: s.ended)
    assert (
        snapshot.state,
        "does not answer: see that it works, then resume the run" in snapshot.message,
    ) == ("failed", True)
    here.resume(run_id)
    assert here.follow(run_id).state == "queued"
    assert "does not answer: see that it works, the run waits" in here.follow(run_id).message


ANSWERS = {
    (500, "Trace\nNo available agent to submit job, please try again later."): (
        "answers with error 500 (No available agent to submit job, please try again later): see ray status"
    ),
    (401, "Unauthorized: Missing authentication token"): "asks for its token: set RAY_AUTH_TOKEN",
    (403, "Forbidden: Invalid authentication token"): "refuses this token: set RAY_AUTH_TOKEN to its own",
    (200, "<html>"): "is no job server: correct RAY_ADDRESS",
    (None, "\0\0 no HTTP"): "is no job server: correct RAY_ADDRESS",
}


@pytest.mark.parametrize(("answer", "said"), ANSWERS.items())
def test_what_a_job_server_answers_is_said(answer, said, monkeypatch):
    code, text = answer
    asked = []

    class Answering(Handler):
        def do_GET(self):
            self.body()
            asked.append(self.headers["Authorization"])
            if code:
                self.send_response(code)
                self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

    monkeypatch.setenv("RAY_AUTH_TOKEN", "word")
    monkeypatch.setattr(server_module, "PATIENCE", 0.0)
    with answering(Answering) as (address, _):
        server = server_module.JobServer(address)
        for _ in range(2):
            with pytest.raises(JobServerError, match=re.escape(f"{said}, the run waits for that.")):
                server.start("one", ["true"], ONE_CPU, {}, {})
        assert asked == ["Bearer word"]  # it is asked again after a pause
        server = server_module.JobServer(address)
        server.look("one")
        assert not server.alive("one", lambda: None)
        assert f"{server.cause('one')}: {server.mend()}".endswith(said)


def test_a_token_is_found_where_ray_looks_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    assert server_module._token() == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of Ray\n")
    assert server_module._token() == "of Ray"
    (tmp_path / "own").write_text("own")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "own"))
    assert server_module._token() == "own"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "said")
    assert server_module._token() == "said"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "two\nlines")
    assert server_module._token() == ""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "said")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert server_module._token() == ""


def test_memory_and_time_are_limited_as_here(runs, tmp_path, cluster):
    here = runs(max_memory_gb=0.2)
    run_id = start(here, tmp_path, steps=8, delay=0.2, fault="memory")
    snapshot = until(here, run_id, lambda s: s.ended)
    assert "GB of memory and may have 0.2" in snapshot.message
    here = runs(max_hours=1e-4)
    run_id = start(here, tmp_path)
    assert "Stopped at the limit" in until(here, run_id, lambda s: s.ended).message


def test_what_cannot_be_executed_there_is_said(cluster, tmp_path):
    jobs = Jobs(cluster.address, ONE_CPU, python=str(tmp_path / "no python"))
    here = Runs(policy=Policy(), command=TRAINER, executor=jobs)
    run_id = start(here, tmp_path)
    snapshot = until(here, run_id, lambda s: s.ended)
    assert snapshot.state == "failed"
    assert "exit code 127" in snapshot.message and "at the same paths" in snapshot.message


def test_a_node_without_the_folder_of_the_runs_says_so_at_once(cluster, tmp_path, monkeypatch):
    # A node with a folder of its own at that path sees nothing of what the page has written.
    monkeypatch.setattr(Place, "leave", lambda place: None)
    here = Runs(
        policy=Policy(), command=TRAINER, executor=Jobs(cluster.address, ONE_CPU, python_in(tmp_path))
    )
    snapshot = until(here, start(here, tmp_path), lambda s: s.ended)
    assert (snapshot.state, snapshot.step) == ("failed", 0)
    assert "does not share" in snapshot.message and "let SEGDEMO_HOME name one folder" in snapshot.message


def settings_for(tmp_path, **options):
    data = str(tmp_path / "data")
    return {"model": "unet", "dataset": "annotations", "data": data, "epochs": 1, "options": options}


def estimated(runs, settings, condition, seconds=60):
    return once(lambda: runs.tick() or runs.estimate(settings), condition, seconds)


def test_how_long_it_takes_is_measured_by_a_short_job(runs, tmp_path, cluster):
    here = runs(Room(2, 0, 0))
    settings = settings_for(tmp_path)
    assert here.estimate(settings).state == "measuring"
    found = estimated(here, settings, lambda e: e.state == "done")
    assert found.sentence(2).startswith("About 41 s on the cluster: 2 x 7 steps of 0.5 s")
    (job,) = cluster.jobs.values()
    assert job["asked"]["entrypoint_num_cpus"] == 2
    assert here.estimate(settings, begin=False) == found
    assert not list(every_run(here.root))
    wrong = settings_for(tmp_path, fault="bad settings")
    assert "no setting 'x'" in estimated(here, wrong, lambda e: e.state == "failed").message


def test_a_run_that_waits_for_room_goes_before_a_measurement(runs, tmp_path, cluster):
    cluster.room = 1
    here = runs()
    slow = settings_for(tmp_path, export=60)
    estimated(here, slow, lambda e: e.message == "Timing a few steps on the cluster…")
    one = start(here, tmp_path)
    until(here, one, working)
    assert [job["status"] for job in cluster.jobs.values()] == ["STOPPED", "RUNNING"]
    estimated(here, slow, lambda e: e.message.startswith("Waiting for room on the cluster to time"))
    two = start(here, tmp_path, steps=2)
    until(here, two, lambda s: s.message.startswith("Waiting for room"))
    assert here.estimate(slow).message == "How long it takes is measured when no run waits for room."
    here.cancel(one)
    until(here, two, "done")


def test_a_measurement_nobody_asks_for_any_more_is_ended(runs, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(ClusterBench, "patience", 0.5)
    here = runs()
    here.estimate(settings_for(tmp_path, export=60))
    (job,) = cluster.jobs.values()
    once(lambda: here.tick() or job["status"] == "STOPPED")
    assert here.estimate(settings_for(tmp_path)).state == "measuring"  # nothing is in its way


def test_a_measurement_has_its_limit_there_too(runs, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(estimates, "SECONDS", 0)
    found = estimated(runs(), settings_for(tmp_path, export=60), lambda e: e.state == "failed")
    assert found.message.startswith("A few steps took more than")


def test_two_workers_never_share_a_run(tmp_path):
    handle = processes.hold(tmp_path / "alive")
    try:
        # The patience of a worker is for those who only look.
        hold, worker.processes.hold = worker.processes.hold, lambda path, patience: None
        assert worker.work(tmp_path, [sys.executable, "-c", "1/0"], "job") == 2
    finally:
        worker.processes.hold = hold
        os.close(handle)
    assert "Another trainer works" in (tmp_path / "train.log").read_text()


def test_the_environment_chooses(monkeypatch):
    assert isinstance(executor(), Here)
    monkeypatch.setenv("SEGDEMO_EXECUTOR", "ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(JobServerError, match="such as http://head:8265"):
        executor()
    for wrong in ("head:6379", "http://", "http://head:99999", "http://[head"):
        monkeypatch.setenv("RAY_ADDRESS", wrong)
        with pytest.raises(JobServerError, match="such as http://head:8265"):
            executor()
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265/")
    monkeypatch.setenv("SEGDEMO_RUN_THREADS", "4")
    monkeypatch.setenv("SEGDEMO_RUN_GPUS", "1")
    chosen = executor()
    assert (chosen.address, str(chosen.room)) == ("http://head:8265", "4 CPUs, 1 GPU")
    monkeypatch.setenv("SEGDEMO_EXECUTOR", "slurm")
    with pytest.raises(SettingError, match="local or ray"):
        executor()
