"""What is known of processes, and what is not taken for one."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import once

from segdemo.runs import processes

pytestmark = pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint('.', flush=True); input()"


@pytest.fixture
def program():
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_living_process(program):
    since = processes.started(program.pid)
    assert abs(time.time() - since) < 60
    assert processes.lives(program.pid, since)
    assert not processes.lives(program.pid, since - 100)  # another one had that number then
    assert not processes.lives(program.pid, None)
    assert processes.cpu_seconds(program.pid) > 0.2
    assert 1e6 < processes.rss(program.pid) < processes.machine_memory()
    assert 0 < processes.age(program.pid) < 60
    assert processes.age(os.getpid()) > processes.age(program.pid)


@pytest.mark.parametrize("pid", [2**22 + 5, -1, 2**70])
def test_none_of_that_number(pid):
    assert (processes.started(pid), processes.age(pid)) == (None, None)
    assert not processes.lives(pid, time.time())
    assert not processes.was_told(pid, "--out", Path("/"), time.time())
    assert not processes.has_open(pid, Path(__file__))


def test_the_folder_that_a_process_was_told_is_a_whole_argument(tmp_path):
    for place in ("cats", "cat"):
        (tmp_path / place).mkdir()

    def told(*words, folder="cats", until=0.0):
        command = [sys.executable, "-c", "print(flush=True); input()", *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=tmp_path / "cats", **pipes) as process:
            try:
                process.stdout.readline()  # before, the system may not know its words
                return processes.was_told(process.pid, "--out", tmp_path / folder, time.time() + until)
            finally:
                process.kill()

    assert told("train", "--out", str(tmp_path / "cats"))
    assert told("train", f"--out={tmp_path / 'cats'}")
    assert told("train", "--out", ".")
    assert told("train", "--out", "../cats")
    assert not told("train", "--out", str(tmp_path / "cats"), folder="cat")
    assert not told("train", "--data", str(tmp_path / "cats"))
    assert not told(str(tmp_path / "cats"))
    assert not told("train", "--out", ".", until=-60)  # it began after the trainer was last heard of


def test_who_has_a_lock_open_is_told_from_others(tmp_path, program):
    assert not processes.has_open(os.getpid(), tmp_path / "alive")
    handle = processes.hold(tmp_path / "alive")
    try:
        assert processes.has_open(os.getpid(), tmp_path / "alive")
        assert not processes.has_open(program.pid, tmp_path / "alive")
    finally:
        processes.let_go(handle)
    assert not processes.has_open(os.getpid(), tmp_path / "alive")


def test_a_program_that_shares_its_group_is_ended_alone(program):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        processes.kill(program.pid)  # it is in the group of this very process
        assert program.wait(30) == -9
        assert other.poll() is None
        for many in (0, 1, -1):
            processes.kill(many)
    finally:
        other.kill()
        other.communicate()


def test_one_that_nobody_has_waited_for_has_ended(program):
    since = processes.started(program.pid)
    program.kill()
    once(lambda: not processes.lives(program.pid, since), seconds=10)
    assert (processes.cpu_seconds(2**22 + 5), processes.rss(2**22 + 5), processes.rss(None)) == (0.0, 0, 0)


def test_a_lock_is_held_by_whoever_inherits_it(tmp_path):
    path = tmp_path / "alive"
    assert not processes.is_held(path)
    handle = processes.hold(path)
    assert processes.is_held(path)
    assert processes.hold(path, patience=0) is None
    with (tmp_path / "out").open("wb") as out:
        pid = processes.start(
            [sys.executable, "-c", "input()"],
            out=out,
            log=subprocess.STDOUT,
            environment=os.environ,
            lock=handle,
        )
    os.close(handle)
    processes.children.pop(pid).wait()  # there is nothing to read for it
    assert not processes.is_held(path)


def test_the_exit_code_of_one_that_is_on_its_way_out(tmp_path, monkeypatch):
    with (tmp_path / "out").open("wb") as out:
        handle = processes.hold(tmp_path / "alive")
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        pid = processes.start(
            command, out=out, log=subprocess.STDOUT, environment=dict(os.environ), lock=handle
        )
        os.close(handle)
    assert processes.exit_code(pid, patience=0.01) is None
    processes.kill(pid)
    assert processes.exit_code(pid, patience=10) == -9
    assert pid not in processes.children
    assert processes.exit_code(2**22 + 5) is None
