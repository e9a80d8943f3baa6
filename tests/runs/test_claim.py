"""No two trainers work on one run, and none ends by a request that was meant for one before it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from segdemo.cli import main
from segdemo.core.files import read_json, write_json
from segdemo.runs import claim, processes
from segdemo.runs.claim import claimed
from segdemo.runs.config import TrainingError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not processes.CAN_LOCK, reason="locks need a POSIX system")
TRAINER = """
import sys
from segdemo.runs.claim import claimed
with claimed(sys.argv[1]):
    print("working", flush=True)
    input()
"""


@pytest.fixture
def trainer(tmp_path):
    """A program that works on the run in ``tmp_path / "run"``."""
    command = [sys.executable, "-c", TRAINER, str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"working\n"
        yield process
        process.kill()


def test_a_second_trainer_is_refused_until_the_first_has_ended(trainer, tmp_path):
    run = tmp_path / "run"
    assert processes.is_held(run / "alive")
    with (
        pytest.raises(TrainingError, match="Another trainer works on this run: wait until it has ended"),
        claimed(run),
    ):
        pass
    trainer.kill()  # by which it is let go, too
    trainer.wait()
    with claimed(run):
        assert processes.is_held(run / "alive")
    assert not processes.is_held(run / "alive")


def test_the_command_line_says_so_and_changes_nothing(trainer, tmp_path, capsys):
    run = tmp_path / "run"
    config = {"model": "unet_plain", "dataset": "pets", "data": str(tmp_path)}
    write_json(run / "config.json", config)
    write_json(run / "status.json", {"state": "running", "pid": trainer.pid})
    loaded = "tensorflow" in sys.modules
    assert main(["train", "--resume", "--out", str(run)]) == 2
    assert capsys.readouterr().err == "segdemo: Another trainer works on this run: wait until it has ended.\n"
    assert read_json(run / "status.json") == {"state": "running", "pid": trainer.pid}
    assert read_json(run / "config.json") == config
    assert ("tensorflow" in sys.modules) == loaded  # it is said before that is loaded, which takes long


def test_it_is_held_once_within_one_another_and_refused_to_other_threads(tmp_path):
    refused = []

    def elsewhere():
        try:
            with claimed(tmp_path):
                pass
        except TrainingError as error:
            refused.append(error)

    with claimed(tmp_path), claimed(tmp_path / "x" / ".."):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert refused
    with claimed(tmp_path):
        pass


def test_a_trainer_that_was_given_the_lock_works_and_one_beside_it_does_not(tmp_path):
    handle = processes.hold(tmp_path / "alive")
    command = [sys.executable, "-c", TRAINER, str(tmp_path)]
    options = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        given = subprocess.Popen(command, pass_fds=(handle,), **options)
        beside = subprocess.run(command, check=False, **{**options, "stdin": subprocess.DEVNULL})
    finally:
        os.close(handle)
    assert b"Another trainer works on this run" in beside.stderr
    assert given.stdout.readline() == b"working\n"
    assert processes.is_held(tmp_path / "alive")
    given.communicate(b"\n", timeout=60)
    assert given.returncode == 0
    assert not processes.is_held(tmp_path / "alive")


def test_where_the_disk_has_no_locks_a_trainer_works_without(tmp_path, monkeypatch):
    def without(path, patience=1.0):
        raise OSError(claim.WITHOUT_LOCKS[0], "No locks available")

    monkeypatch.setattr(processes, "hold", without)
    with claimed(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_request_that_a_killed_trainer_left_ends_no_later_one(tmp_path):
    cancel = tmp_path / "cancel"
    cancel.touch()
    with claimed(tmp_path):  # it was made since this process began
        assert cancel.exists()
    long_ago = time.time() - 7 * 86400
    os.utime(cancel, (long_ago, long_ago))
    handle = processes.hold(tmp_path / "alive")
    os.set_inheritable(handle, True)  # as that of a trainer of the page is, which removes it before
    with claimed(tmp_path):
        assert cancel.exists()
    os.close(handle)
    with claimed(tmp_path):
        assert not cancel.exists()
