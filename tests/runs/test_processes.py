"""What is known of processes, and what is not taken for one."""

import os
import subprocess
import sys
import time

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
    assert "time.process_time" in processes.command_line(program.pid)


@pytest.mark.parametrize("pid", [2**22 + 5, -1, 2**70])
def test_none_of_that_number(pid):
    assert (processes.started(pid), processes.command_line(pid)) == (None, "")
    assert not processes.lives(pid, time.time())


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
