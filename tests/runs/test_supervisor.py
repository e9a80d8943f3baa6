"""Runs go on, end and are resumed whatever is killed: the page, the server, the trainer, or the disk's free space."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_annotations
from PIL import Image
from running import pid_of, until
from waiting import once

from segdemo import zoo
from segdemo.core.files import NotFoundError
from segdemo.data.datasets import DatasetError
from segdemo.errors import UserError
from segdemo.runs import processes, queue, supervisor
from segdemo.runs.lineage import dataset_hash
from segdemo.runs.policy import Policy, PolicyError, RunError, training_installed
from segdemo.runs.queue import Runs
from segdemo.runs.record import every_run, find_run
from segdemo.workspaces.keeper import Keeper
from segdemo.zoo.versions import ModelStore

TESTS = Path(__file__).parent.parent
TRAINER = [sys.executable, str(TESTS / "fake_trainer.py")]
pytestmark = pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # only a power cut needs it, and it is slow
    draw_annotations(tmp_path / "data", ["a", "b", "c", "d", "e"])
    return tmp_path


@pytest.fixture
def make(home):
    """Makes a Runs, as each server process has one; at the end nothing is left running."""

    def make(**options):
        limits = options.pop("limits", {})
        return Runs(policy=Policy(**limits), command=TRAINER, **options)

    yield make
    for run in every_run(make().root):
        for launch in run.record.launches:
            if processes.lives(launch.pid, launch.started):
                processes.kill(launch.pid)
    while processes.children:
        processes.fetch_exit_codes()
        time.sleep(0.01)


@pytest.fixture
def config(home):
    def config(epochs=1, **options):
        data = str(home / "data")
        return {"model": "unet", "dataset": "annotations", "data": data, "epochs": epochs, "options": options}

    return config


def step(number):
    return lambda snapshot: snapshot.step >= number


SLOW = {"steps": 500, "delay": 0.02}


# --- the ordinary course ---


def test_a_run_learns_from_what_tensorflow_datasets_has_prepared(make, config, home, monkeypatch):
    monkeypatch.setenv("SEGDEMO_DATA", str(home))
    folder = home / "oxford_iiit_pet" / "4.0.0"
    folder.mkdir(parents=True)
    splits = [{"name": name, "shardLengths": ["50"]} for name in ("train", "test")]
    (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    wanted = {**config(), "dataset": "pets", "data": "tfds:oxford_iiit_pet"}
    server = make(limits={"max_images": 40})
    with pytest.raises(PolicyError, match="up to 40 photos here, and 'train' has 45"):
        server.start(wanted)
    server = make()
    snapshot = until(server, server.start(wanted).run_id, lambda s: s.ended)
    assert snapshot.settings["data"] == "tfds:oxford_iiit_pet"  # its process writes the folder
    assert snapshot.state == "done"
    assert not snapshot.lineage.dataset_changed
    with pytest.raises(DatasetError, match="There is no 'voc' dataset"):
        server.start({**wanted, "dataset": "voc"})


def test_a_run_goes_from_start_to_a_served_model(make, config):
    server = make(limits={"threads": 1})
    ticket = server.start(config(), title="My cats", user="ann")
    assert ticket.new
    snapshot = until(server, ticket.run_id, lambda s: s.model)
    assert (snapshot.state, snapshot.model, snapshot.title, snapshot.user) == (
        "done",
        "my-cats@1",
        "My cats",
        "ann",
    )
    assert (snapshot.report.before.mean_iou, snapshot.report.after.mean_iou) == (0.6, 0.7)
    assert snapshot.ended
    assert not snapshot.can_resume
    assert (snapshot.step, snapshot.steps, snapshot.best, snapshot.epochs) == (4, 4, 0.5, 1)
    assert [path.name for path in snapshot.samples] == ["epoch_01.png"]
    assert "threads 1" in snapshot.log
    assert "9/9 done" in snapshot.log
    assert "1/9" not in snapshot.log
    served = zoo.served_model("my-cats@1")
    lineage = served.lineage
    assert lineage.run == ticket.run_id
    assert lineage.settings["epochs"] == 1
    assert len(lineage.dataset_hash) == 64
    assert ModelStore().version("my-cats", 1).objection() is None
    server.tick()
    assert len(ModelStore().versions("my-cats")) == 1
    with pytest.raises(RunError, match="is done"):
        server.resume(ticket.run_id)
    server.cancel(ticket.run_id)  # too late, and no harm
    assert server.follow(ticket.run_id).state == "done"


def test_a_trainer_steps_back_behind_everything_else(make, config):
    server = make()
    pid = pid_of(server.follow(server.start(config(**SLOW)).run_id))
    assert os.getpriority(os.PRIO_PROCESS, pid) == 10
    assert os.getsid(pid) == pid  # what happens to this server's session does not reach it
    for name, value in (("oom_score_adj", "500"), ("autogroup", "nice 10")):
        path = Path(f"/proc/{pid}/{name}")
        if path.exists():
            assert path.read_text().strip().endswith(value)


def test_following_reads_only_what_is_new(make, config):
    server = make()
    run_id = server.start(config(steps=6)).run_id
    seen, cursor = [], 0
    while True:
        server.tick()
        snapshot = server.follow(run_id, cursor)
        seen += [event["step"] for event in snapshot.events]
        cursor = snapshot.cursor
        if snapshot.ended:
            break
    assert seen == [1, 2, 3, 4, 5, 6]
    assert server.follow(run_id, cursor).events == ()
    assert [e["step"] for e in server.follow(run_id, 10**9).events] == seen  # a cursor of another file
    with (snapshot.folder / "events.jsonl").open("a") as file:
        file.write('not json\n{"step": 7}\n{"ste')
    assert server.follow(run_id, cursor).events == ({"step": 7},)


def test_a_run_says_that_it_is_exporting_until_it_has(make, config):
    server = make()
    run_id = server.start(config(export=0.5)).run_id
    snapshot = until(server, run_id, lambda s: "Exporting" in s.message)
    assert snapshot.state == "running"
    until(server, run_id, "done")


def test_cancel_stops_within_a_step_and_resume_goes_on(make, config):
    server = make()
    run_id = server.start(config(steps=30, delay=0.05)).run_id
    until(server, run_id, step(3))
    server.cancel(run_id)
    server.cancel(run_id)
    at = server.follow(run_id)
    assert at.cancelling or at.state == "cancelled"
    snapshot = until(server, run_id, "cancelled")
    assert snapshot.step <= at.step + 2
    assert snapshot.can_resume
    until(server, run_id, lambda s: not find_run(server.root, run_id).alive())
    server.resume(run_id)
    server.resume(run_id)
    done = until(server, run_id, "done")
    steps = [event["step"] for event in done.events]
    assert steps == list(range(1, 31))  # nothing twice, nothing left out


# --- never two by accident ---


def test_double_clicks_tabs_and_people_start_one_run(make, config):
    servers = [make() for _ in range(6)]
    tickets = []

    def click(server):
        tickets.append(server.start(config(**SLOW)))

    threads = [threading.Thread(target=click, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ticket.run_id for ticket in tickets}) == 1
    assert sum(ticket.new for ticket in tickets) == 1
    assert len(servers[0].list()) == 1


def test_a_request_is_fulfilled_once_even_after_it_ended(make, config):
    server = make()
    first = server.start(config(), request="abc")
    until(server, first.run_id, "done")
    assert server.start(config(), request="abc") == queue.Ticket(first.run_id, new=False)
    assert server.start(config(), request="def").new


def test_other_runs_wait_their_turn(make, config):
    server, other = make(), make()
    ids = [server.start(config(epochs=n, steps=8)).run_id for n in (1, 2, 3)]
    positions = [server.follow(run_id).position for run_id in ids]
    assert positions == [0, 1, 2]
    other.cancel(ids[1])
    assert other.follow(ids[1]).state == "cancelled"
    assert server.follow(ids[2]).position == 1
    seen_running = set()
    end = time.monotonic() + 90
    while server.follow(ids[2]).state != "done" and time.monotonic() < end:
        server.tick()
        other.tick()
        running = tuple(s.id for s in server.list() if s.state == "running")
        assert len(running) <= 1
        seen_running.update(running)
    assert seen_running == {ids[0], ids[2]}
    assert [s.id for s in server.list()] == ids[::-1]


def _serve(home_, count):
    """A server process of its own that looks after the runs until it is killed."""
    code = (
        f"import sys, time; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]\n"
        "from segdemo.runs.policy import Policy\n"
        "from segdemo.runs.queue import Runs\n"
        f"server = Runs(policy=Policy(), command={TRAINER!r})\n"
        f"for n in range({count}):\n"
        "    server.start({'model': 'unet', 'dataset': 'annotations', 'data': "
        f"{str(home_ / 'data')!r}, 'epochs': n + 1, 'options': {SLOW!r}}})\n"
        "server.watch(0.02)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def test_a_run_and_the_queue_survive_a_killed_server(make, config, home):
    killed = _serve(home, 2)
    server = make()
    newest, oldest = server.list()
    try:
        at = until(server, oldest.id, step(2))
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
    later = until(server, oldest.id, step(at.step + 5))
    assert later.state == "running"
    assert server.follow(newest.id).position == 1
    server.cancel(oldest.id)
    until(server, oldest.id, "cancelled")
    until(server, newest.id, "running")
    server.cancel(newest.id)
    until(server, newest.id, "cancelled")


def test_two_server_processes_start_one_run_at_a_time(make, home):
    servers = [_serve(home, 2), _serve(home, 2)]
    server = make()
    try:
        until(server, server.list()[-1].id, step(2))
        assert len(server.list()) == 2  # each asked for the same two
        assert sorted(s.state for s in server.list()) == ["queued", "running"]
    finally:
        for process in servers:
            process.kill()
            process.wait(60)


# --- faults ---


def test_a_killed_trainer_is_a_failed_run_that_can_be_resumed(make, config):
    server = make()
    run_id = server.start(config(steps=40)).run_id
    snapshot = until(server, run_id, step(3))
    os.kill(pid_of(snapshot), signal.SIGKILL)
    failed = until(server, run_id, "failed")
    assert failed.message.startswith("The system killed it, most likely for lack of memory: resume it")
    assert json.loads((failed.folder / "status.json").read_text())["state"] == "failed"
    server.resume(run_id)
    steps = [event["step"] for event in until(server, run_id, "done").events]
    assert sorted(set(steps)) == list(range(1, 41))
    assert len(steps) <= 41  # the step it died in, at most, was done again


def test_a_server_that_starts_after_a_crash_of_everything_says_so(make, config, home):
    server = make()
    run_id = server.start(config(**SLOW)).run_id
    waiting = server.start(config(epochs=2)).run_id
    snapshot = until(server, run_id, step(2))
    os.kill(pid_of(snapshot), signal.SIGKILL)
    processes.children.pop(pid_of(snapshot)).wait()
    fresh = make()
    seen = fresh.follow(run_id)  # even before anybody looked after it
    assert (seen.state, seen.message) == (
        "failed",
        "It stopped unexpectedly; resume it to go on from its last checkpoint.",
    )
    until(fresh, waiting, "done")
    assert fresh.follow(run_id).state == "failed"


def test_a_stale_pid_of_another_process_is_not_taken_for_the_trainer(make, config):
    server = make()
    run_id = server.start(config(**SLOW)).run_id
    snapshot = until(server, run_id, step(2))
    os.kill(pid_of(snapshot), signal.SIGKILL)
    processes.children.pop(pid_of(snapshot)).wait()
    record = json.loads((snapshot.folder / "run.json").read_text())
    record["launches"][-1]["pid"] = os.getpid()  # the number was given to somebody else meanwhile: us
    (snapshot.folder / "run.json").write_text(json.dumps(record))
    status = json.loads((snapshot.folder / "status.json").read_text())
    (snapshot.folder / "status.json").write_text(json.dumps({**status, "pid": os.getpid()}))
    assert server.follow(run_id).state == "failed"
    server.cancel(run_id)
    server.tick()
    assert server.follow(run_id).state == "failed"


def test_a_server_killed_between_starting_a_trainer_and_noting_it_starts_no_second_one(make, config):
    server = make()
    run_id = server.start(config(**SLOW)).run_id
    snapshot = until(server, run_id, step(2))
    pid = pid_of(snapshot)
    record = json.loads((snapshot.folder / "run.json").read_text())
    (snapshot.folder / "run.json").write_text(json.dumps({**record, "launches": []}))
    fresh = make(cancel_seconds=0)
    waiting = fresh.start(config(epochs=2)).run_id
    for _ in range(3):
        fresh.tick()
    assert fresh.follow(run_id).state == "running"
    assert fresh.follow(waiting).state == "queued"
    assert find_run(fresh.root, run_id).trainer_pid() == pid
    fresh.cancel(run_id)
    until(fresh, run_id, "cancelled")


@pytest.mark.parametrize(
    ("fault", "limits", "says"),
    [
        ("hang", {"hang_minutes": 0.05}, "no sign of life for 0.05 minutes"),
        ("memory", {"max_memory_gb": 0.2}, "GB of memory and may have 0.2: choose a smaller batch"),
        ("raise", {}, "It stopped unexpectedly; resume it"),
        ("exit", {}, "It stopped unexpectedly; resume it"),
        ("bad settings", {}, "There is no setting 'x': choose another."),
        ("no export", {}, "the model was not exported: resume it"),
    ],
)
def test_each_fault_ends_in_a_sentence(make, config, fault, limits, says):
    server = make(limits=limits)
    run_id = server.start(config(fault=fault)).run_id
    failed = until(server, run_id, "failed")
    assert says in failed.message
    assert "\n" not in failed.message
    assert server.follow(run_id).can_resume
    assert failed.needs_other_settings == (fault in ("memory", "bad settings"))
    if fault != "bad settings":
        server = make()
        server.resume(run_id)
        until(server, run_id, "done")


def test_a_trainer_that_does_not_listen_is_killed_and_keeps_its_checkpoints(make, config):
    server = make(cancel_seconds=0.3)
    run_id = server.start(config(fault="deaf", **SLOW)).run_id
    until(server, run_id, step(2))
    server.cancel(run_id)
    snapshot = until(server, run_id, "cancelled")
    assert snapshot.message == "Cancelled; the last checkpoint is kept."
    assert (snapshot.folder / "checkpoints" / "state.json").is_file()


def test_cancelling_while_the_model_is_exported_does_not_wait_for_it(make, config):
    server = make()
    run_id = server.start(config(export=60)).run_id
    until(server, run_id, lambda s: "Exporting" in s.message)
    server.cancel(run_id)
    until(server, run_id, "cancelled", seconds=20)
    assert ModelStore().names() == []


def test_a_trainer_that_broke_down_on_a_full_disk_says_so_and_only_of_its_last_start(make, config):
    server = make()
    run_id = server.start(config(fault="exit")).run_id
    folder = until(server, run_id, "failed").folder
    assert "stopped unexpectedly" in server.follow(run_id).message
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "running"}))
    log = (folder / "train.log").read_text()
    assert log.startswith("=== trainer started 20")
    (folder / "train.log").write_text(log + "file write failed: error message = 'No space left on device'\n")
    assert make().follow(run_id).message == "The disk is full: free some space, then resume the run."
    (folder / "train.log").write_text("No space left on device\n" + log)
    assert "stopped unexpectedly" in make().follow(run_id).message


def test_a_run_is_stopped_at_its_time_limit(make, config):
    server = make(limits={"max_hours": 0.2 / 3600})
    run_id = server.start(config(**SLOW)).run_id
    snapshot = until(server, run_id, "cancelled")
    assert snapshot.message.startswith("Stopped at the limit of")


def test_a_filling_disk_stops_the_run_and_refuses_new_ones(make, config, monkeypatch):
    server = make()
    run_id = server.start(config(**SLOW)).run_id
    until(server, run_id, step(2))
    with monkeypatch.context() as patch:
        patch.setattr(supervisor, "_free", lambda _: 1_000)
        snapshot = until(server, run_id, "cancelled")
        assert snapshot.message == "Stopped because the disk is nearly full: free some space, then resume it."
        with pytest.raises(PolicyError, match="the disk is nearly full"):
            server.start(config(epochs=2))
        with pytest.raises(PolicyError, match="the disk is nearly full"):
            server.resume(run_id)
    until(server, run_id, lambda s: not find_run(server.root, run_id).alive())
    server.resume(run_id)
    assert server.follow(run_id).state == "running"


def test_a_disk_that_is_full_to_the_last_byte_hides_no_state_and_stops_no_server(make, config, monkeypatch):
    server = make()
    run_id = server.start(config(**SLOW)).run_id
    snapshot = until(server, run_id, step(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        os.kill(pid_of(snapshot), signal.SIGKILL)
        seen = until(server, run_id, "failed")  # it cannot be written down
        assert seen.state == "failed"
        with pytest.raises(ValueError, match="disk is full"):
            server.start(config(epochs=2))
    assert [s.id for s in server.list()] == [run_id]
    server.tick()
    assert json.loads((seen.folder / "status.json").read_text())["state"] == "failed"


def test_the_runs_disk_quota_is_kept(make, config):
    server = make(limits={"max_disk_gb": 0.001})
    run_id = server.start(config()).run_id
    until(server, run_id, "done")
    (server.follow(run_id).folder / "checkpoints" / "big").write_bytes(bytes(2_000_000))
    with pytest.raises(PolicyError, match=r"the runs fill the 0\.001 GB they may have: delete old ones"):
        server.start(config(epochs=2))
    server.delete(run_id)
    assert server.start(config(epochs=2)).new


def test_a_trainer_that_cannot_be_started_is_a_failed_run(make, config):
    server = Runs(policy=Policy(), command=["/nowhere/python"])
    run_id = server.start(config()).run_id
    snapshot = server.follow(run_id)
    assert snapshot.state == "failed"
    assert snapshot.message.startswith("The trainer cannot be started")


def test_damaged_files_of_one_run_do_not_stop_the_others(make, config):
    server = make()
    broken = server.start(config(epochs=9)).run_id
    until(server, broken, "done")
    for text in ('{"launches": [3], "stopped": 1, "state": 7}', "[1]", "null", "[" * 100_000, '{"state": '):
        for name in ("run.json", "status.json", "config.json", "report.json", "events.jsonl"):
            (server.root / broken / name).write_text(text)
        assert server.follow(broken).state == "failed"
        assert [run.id for run in server.list()] == [broken]
        if not text.endswith("}"):
            with pytest.raises(RunError, match=r"settings of .* are damaged"):
                server.settings_of(broken)
    run_id = server.start(config()).run_id
    until(server, run_id, "done")
    server.delete(broken)


def test_what_cannot_be_installed_is_done_and_says_why(make, config, home):
    server = make()
    (home / "home" / "models" / "mine").mkdir(parents=True)
    (home / "home" / "models" / "mine" / "manifest.json").write_text('{"models": {}}')
    run_id = server.start(config(), name="mine").run_id
    snapshot = until(server, run_id, lambda s: "not installed" in s.message)
    assert snapshot.state == "done"
    assert "by hand" in snapshot.message


# --- what is not taken for something else ---


def by_hand(server, name, **status):
    """A run of the command line, as its files say."""
    folder = server.root / name
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": "running", **status}))
    return folder


@pytest.mark.parametrize("name", ["sleep", "6", "60"])
def test_a_program_that_only_has_a_word_in_common_with_a_run_is_left_alone(make, name):
    server = make(limits={"hang_minutes": 0.0001}, cancel_seconds=0)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        folder = by_hand(server, name, pid=stranger.pid, heartbeat=time.time() - 1000)
        for _ in range(3):
            server.tick()
            (folder / "cancel").touch()
            time.sleep(0.05)
        assert server.follow(name).state == "failed"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_only_its_words_tell_to_be_a_trainer_counts_and_is_asked_to_stop_but_not_killed(make):
    server = make(limits={"hang_minutes": 0.0001})
    folder = by_hand(server, "cats")
    command = [sys.executable, "-c", "print(flush=True); input()", "--out", "."]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes) as trainer:
        trainer.stdout.readline()
        now = {"state": "running", "pid": trainer.pid, "heartbeat": time.time()}
        (folder / "status.json").write_text(json.dumps(now))
        once(lambda: server.tick() or (folder / "cancel").exists())
        assert server.follow("cats").state == "running"
        assert trainer.poll() is None
        trainer.kill()
    assert until(server, "cats", "failed").message.startswith("It showed no sign of life")


def test_a_trainer_that_holds_the_lock_is_ended_though_nobody_here_started_it(make):
    server = make(limits={"hang_minutes": 0.0001})
    folder = by_hand(server, "cats")
    code = "import sys; from segdemo.runs.claim import claimed\nwith claimed(sys.argv[1]): print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=TESTS.parent, **pipes) as trainer:
        trainer.stdout.readline()
        assert server.follow("cats").state == "running"
        now = {"state": "running", "pid": trainer.pid, "heartbeat": time.time()}
        (folder / "status.json").write_text(json.dumps(now))
        once(lambda: server.tick() or trainer.poll() is not None)
        assert trainer.wait() == -signal.SIGKILL
    assert until(server, "cats", "failed").message.startswith("It showed no sign of life")


def test_a_clock_that_is_set_ends_no_run(make, config, monkeypatch):
    server = make(limits={"max_hours": 24})
    run_id = server.start(config(**SLOW)).run_id
    at = until(server, run_id, step(2))
    now, started = time.time, processes.started
    for hours in (25, 50, -25):
        monkeypatch.setattr(time, "time", lambda hours=hours: now() + 3600 * hours)
        # The system tells when processes began by the clock as it is now.
        monkeypatch.setattr(
            processes, "started", lambda pid, hours=hours: (began := started(pid)) and began + 3600 * hours
        )
        for one in (server, make(limits={"max_hours": 24})):  # one that was started since, too
            for _ in range(2):
                one.tick()
            assert one.follow(run_id).state == "running"
            assert not one.follow(run_id).cancelling
            assert find_run(one.root, run_id).trainer_pid() == pid_of(at)
    server.cancel(run_id)
    until(server, run_id, "cancelled")


def test_a_trainer_elsewhere_is_timed_by_a_clock_that_nobody_sets(make, config, monkeypatch):
    server = make(limits={"max_hours": 24})
    run_id = server.start(config(**SLOW)).run_id
    until(server, run_id, step(1))
    seconds, run = make()._supervisor._seconds, find_run(server.root, run_id)
    began, now = time.time() - 3600, time.time
    assert seconds(run, None) == 0
    assert seconds(run, began) == pytest.approx(3600, abs=60)
    monkeypatch.setattr(time, "time", lambda: now() + 25 * 3600)
    assert seconds(run, began) == pytest.approx(3600, abs=60)
    server.cancel(run_id)
    until(server, run_id, "cancelled")


def test_a_run_that_ended_while_no_server_was_there_is_a_model_before_it_is_tidied_away(make, config):
    server = make()
    run_id = server.start(config()).run_id
    folder = until(server, run_id, lambda s: s.model).folder
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "model": ""}))
    (name,) = ModelStore().names()
    ModelStore().delete(name)
    long_ago = time.time() - 40 * 86400
    os.utime(folder / "status.json", (long_ago, long_ago))
    fresh = make(limits={"keep_days": 30, "keep_runs": 1})
    fresh.tidy()
    assert folder.is_dir()
    fresh.tick()
    assert ModelStore().names() == [name]
    assert fresh.follow(run_id).model
    fresh.tidy()
    assert not folder.exists()


def test_one_that_cannot_be_installed_is_tidied_away_all_the_same(make, config, home):
    server = make()
    (home / "home" / "models" / "mine").mkdir(parents=True)
    (home / "home" / "models" / "mine" / "manifest.json").write_text('{"models": {}}')
    folder = until(
        server, server.start(config(), name="mine").run_id, lambda s: "not inst" in s.message
    ).folder
    long_ago = time.time() - 40 * 86400
    os.utime(folder / "status.json", (long_ago, long_ago))
    make(limits={"keep_days": 30}).tidy()
    assert not folder.exists()


@pytest.mark.parametrize("before", [0, 1])
def test_a_server_killed_before_it_has_started_a_trainer_costs_nobody_their_turn(make, config, before):
    class KilledError(BaseException):
        pass

    def killed(*_, **__):
        raise KilledError

    server = make()
    run_id = server.start(config(fault="exit" if before else "")).run_id
    until(server, run_id, "failed" if before else "done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "start", killed)
        with pytest.raises(KilledError):
            if before:
                server.resume(run_id)
            else:
                server.start(config(epochs=2))
    (waiting,) = [run for run in every_run(server.root) if run.status().state == "running"]
    fresh = make()
    assert fresh.follow(waiting.id).state == "queued"
    fresh.cancel(waiting.id)
    assert fresh.follow(waiting.id).state == "cancelled"
    fresh.resume(waiting.id)
    assert until(fresh, waiting.id, "done").state == "done"


def test_a_run_of_no_workspace_fails_and_the_next_one_starts(make, config):
    server = make(models_of=Keeper().models_of)
    bad = server.start(config(**SLOW), title="bad").run_id
    server.cancel(bad)
    until(server, bad, "cancelled")
    path = server.root / bad / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "workspace": "../.."}))
    server.resume(bad)
    good = server.start(config(epochs=2)).run_id
    until(server, good, "done")
    assert server.follow(bad).message == "This is no workspace: open the page again."


# --- where a model comes from ---


def test_a_promoted_start_is_kept_as_the_version_it_stands_for(make, config):
    server, models = make(), ModelStore()
    first = server.start(config(), title="cats").run_id
    until(server, first, lambda s: s.model)
    models.promote("cats", 1)
    second = server.start({**config(), "start_from": "cats"}, title="cats").run_id
    assert server.settings_of(second)["start_from"] == "cats@1"  # whatever is promoted meanwhile
    done = until(server, second, lambda s: s.model)
    assert (done.model, done.lineage.parent) == ("cats@2", "cats@1")
    assert server.start({**config(), "start_from": "cats@1"}, title="cats").new  # the last one has ended
    code = zoo.served_model("cats@2").lineage.code
    assert len(code.partition("+")[2]) == 8


def test_data_that_change_while_a_run_goes_on_leave_a_trace_in_its_lineage(make, config, home):
    server = make()
    same = server.start(config(epochs=2)).run_id
    assert not until(server, same, lambda s: s.model).lineage.dataset_changed
    run_id = server.start(config(steps=40)).run_id
    until(server, run_id, step(2))
    draw_annotations(home / "data", ["a", "b", "c", "d", "e", "f"])
    done = until(server, run_id, lambda s: s.model)
    assert done.lineage.dataset_changed
    name, _, number = done.model.partition("@")
    assert ModelStore().version(name, int(number)).lineage.dataset_changed


# --- looking after runs ---


def test_renaming_cloning_and_deleting(make, config):
    server = make()
    run_id = server.start(config(**SLOW), title="first").run_id
    until(server, run_id, step(1))
    server.rename(run_id, "second")
    assert server.follow(run_id).title == "second"
    assert server.settings_of(run_id) == config(**SLOW)
    with pytest.raises(RunError, match="second is running: cancel it first"):
        server.delete(run_id)
    server.cancel(run_id)
    until(server, run_id, lambda s: not find_run(server.root, run_id).alive())
    server.delete(run_id)
    assert server.list() == []
    for call in (server.follow, server.cancel, server.resume, server.delete, server.settings_of):
        with pytest.raises(NotFoundError):
            call(run_id)


@pytest.mark.parametrize("run_id", ["", "..", "../data", ".lock", "a/b", None, 3, "a" * 5000, "a\0b"])
def test_only_runs_can_be_followed(make, run_id):
    with pytest.raises(NotFoundError):
        make().follow(run_id)


def test_tidy_keeps_the_newest_and_what_is_not_over(make, config):
    server = make(limits={"keep_runs": 2})
    ids = [server.start(config(epochs=n + 1)).run_id for n in range(4)]
    for run_id in ids:
        until(server, run_id, "done")
    active = server.start(config(**SLOW)).run_id
    server.tidy()
    assert [s.id for s in server.list()] == [active, ids[3], ids[2]]
    old = time.time() - 40 * 86400
    os.utime(server.root / ids[2] / "status.json", (old, old))
    make(limits={"keep_days": 30}).tidy()
    assert [s.id for s in server.list()] == [active, ids[3]]


def test_a_thread_can_look_after_the_runs(make, config):
    server = make()
    ids = [server.start(config(epochs=n)).run_id for n in (1, 2)]
    server.watch(0.02)
    once(lambda: server.follow(ids[1]).state == "done", seconds=90)
    server.close()
    assert [server.follow(run_id).state for run_id in ids] == ["done", "done"]


def test_a_run_of_the_command_line_shows_up_too(make, config):
    server = make()
    folder = server.root / "by-hand"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(**SLOW)))
    process = subprocess.Popen(
        [*TRAINER, "--out", str(folder), "--resume"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    try:
        once((folder / "events.jsonl").exists)
        assert server.follow("by-hand").state == "running"
        waiting = server.start(config()).run_id
        assert server.follow(waiting).state == "queued"
        server.cancel("by-hand")
        process.wait(60)
        assert server.follow("by-hand").state == "cancelled"
        until(server, waiting, "done")
    finally:
        process.kill()
        process.wait()


# --- settings and policy ---


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": ""}, "Say which model"),
        ({"model": "gpt"}, "no architecture 'gpt'"),
        ({"dataset": "coco"}, "no dataset kind"),
        ({"data": "/nowhere"}, "no folder /nowhere"),
        ({"data": 3}, "no folder"),
        ({"subset": "train9"}, "no subset 'train9'"),
        ({"epochs": 0}, "1 epoch or more"),
        ({"epochs": "many"}, "1 epoch or more"),
        ({"epochs": 201}, "up to 200 epochs here, not 201"),
        ({"options": object()}, "dictionary of plain texts"),
        ({"learning_rate": float("nan")}, "dictionary of plain texts"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(make, config, change, says):
    server = make()
    with pytest.raises(ValueError, match=says):
        server.start({**config(), **change})
    assert server.list() == []


def test_too_few_annotations_are_explained(make, config, home):
    draw_annotations(home / "few", ["a", "b"])
    with pytest.raises(
        RunError, match=r"^Annotate at least 3 photos first \(there are 2\): one to learn from"
    ):
        make().start({**config(), "data": str(home / "few")})
    with pytest.raises(DatasetError):
        make().start({**config(), "data": str(home)})


def test_masks_without_a_label_are_explained_before_a_run_is_queued(make, config, home):
    root = draw_annotations(home / "binary", [f"p{i}" for i in range(9)])
    for path in (root / "SegmentationClass").iterdir():
        Image.fromarray(np.uint8([[0], [255]]).repeat(15, 0).repeat(50, 1)).save(path)
    server = make()
    with pytest.raises(DatasetError, match="hold only 0 and 255"):
        server.start({**config(), "data": str(root)})
    for path in (root / "SegmentationClass").iterdir():
        Image.fromarray(np.full((30, 50), 255, np.uint8)).save(path)
    with pytest.raises(DatasetError, match="has a labelled pixel, so there is nothing to learn from"):
        server.start({**config(), "data": str(root)})
    assert server.list() == []


def test_photos_and_queue_are_limited(make, config):
    with pytest.raises(PolicyError, match="up to 1 photos here"):
        make(limits={"max_images": 1}).start(config())
    server = make(limits={"max_queue": 1})
    for n in (1, 2):
        server.start(config(epochs=n, **SLOW))
    with pytest.raises(PolicyError, match="1 run is waiting already"):
        server.start(config(epochs=3))


def test_those_who_may_not_train_change_nothing(make, config):
    server = make(limits={"training": "token", "token": "secret"})
    run_id = server.start(config(), token="secret").run_id
    until(server, run_id, "done")
    for call in (
        lambda **who: server.start(config(epochs=2), **who),
        lambda **who: server.cancel(run_id, **who),
        lambda **who: server.resume(run_id, **who),
        lambda **who: server.rename(run_id, "x", **who),
        lambda **who: server.delete(run_id, **who),
    ):
        for who in ({}, {"token": "wrong", "user": "ann"}):
            with pytest.raises(PolicyError, match="token"):
                call(**who)
    assert server.follow(run_id).state == "done"  # looking is free


def test_where_training_is_not_installed_none_is_begun(make, config, monkeypatch):
    monkeypatch.setattr(queue, "training_installed", lambda: False)
    run_id = make().start(config()).run_id  # with a trainer of its own
    server = Runs(policy=Policy())
    for call in (server.start, server.estimate):
        with pytest.raises(PolicyError, match=r"^Training is not installed here: install what .*\.$"):
            call(config(epochs=2))
    with pytest.raises(PolicyError, match="not installed"):
        server.resume(run_id)
    until(server, run_id, "done")
    server.delete(run_id)  # what is there can be cleared away
    assert server.list() == []


@pytest.mark.parametrize("missing", ["segdemo.training", "tensorflow", "keras"])
def test_training_is_installed_if_its_code_and_packages_are(monkeypatch, missing):
    assert training_installed()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    assert not training_installed.__wrapped__()


@pytest.mark.parametrize(
    ("environment", "token", "user", "refused"),
    [
        ({}, "", "", ""),
        ({"SPACE_ID": "x/y"}, "", "ann", "Training is switched off here"),
        ({"SPACE_ID": "x/y", "SEGDEMO_TRAINING": "on"}, "", "", ""),
        ({"SEGDEMO_TRAINING": "off"}, "t", "ann", "Training is switched off here"),
        ({"SEGDEMO_TRAINING": "users"}, "", "", "Sign in first"),
        ({"SEGDEMO_TRAINING": "users"}, "", "ann", ""),
        ({"SEGDEMO_TRAINING": "token", "SEGDEMO_TRAINING_TOKEN": "ü"}, "ü", "", ""),
        ({"SEGDEMO_TRAINING": "token", "SEGDEMO_TRAINING_TOKEN": "ü"}, "", "ann", "Give the training token"),
    ],
)
def test_the_policy_comes_from_the_environment(monkeypatch, environment, token, user, refused):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.delenv("SEGDEMO_TRAINING", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    policy = Policy.from_env()
    if not refused:
        policy.permit(token, user)
    else:
        with pytest.raises(PolicyError, match=refused):
            policy.permit(token, user)


def test_limits_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SEGDEMO_MAX_RUN_HOURS", "1.5")
    monkeypatch.setenv("SEGDEMO_MAX_RUN_MEMORY_GB", "4")
    policy = Policy.from_env()
    assert policy.max_hours == 1.5
    assert policy.memory_bytes == 4e9
    assert Policy().memory_bytes > 1e8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEGDEMO_TRAINING", "maybe"),
        ("SEGDEMO_TRAINING", "token"),
        ("SEGDEMO_MAX_EPOCHS", "-1"),
        ("SEGDEMO_MAX_RUN_HOURS", "nan"),
        ("SEGDEMO_MAX_QUEUE", "many"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(monkeypatch, name, value):
    monkeypatch.delenv("SEGDEMO_TRAINING_TOKEN", raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=name):
        Policy.from_env()


def test_the_hash_of_a_dataset_changes_with_its_masks_and_lists(home):
    from segdemo.data.sources import open_dataset

    first = dataset_hash(open_dataset("annotations", home / "data"))
    assert dataset_hash(open_dataset("annotations", home / "data")) == first
    mask = home / "data" / "SegmentationClass" / "a.png"
    mask.write_bytes(mask.read_bytes() + b" ")
    second = dataset_hash(open_dataset("annotations", home / "data"))
    mask.unlink()
    assert len({first, second, dataset_hash(open_dataset("annotations", home / "data"))}) == 3


def test_the_web_process_needs_no_keras():
    code = "import sys, segdemo.runs.queue; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, check=False).returncode == 0
