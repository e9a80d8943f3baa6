"""Decoding in processes of their own: what comes back, what ends them, and that the next picture gets another one."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from waiting import once

from segdemo.core import apart, settings

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not apart.AVAILABLE, reason="needs Linux")


def run(name, data=b"abcd", seconds=5, megabytes=200, **arguments):
    return apart.run(f"tests.decoders:{name}", data, seconds, megabytes, **arguments)


def pid():
    return int.from_bytes(run("pid").tobytes(), "little")


def test_arrays_come_back_to_be_written_to():
    result = run("add", more=1)
    assert result.tolist() == [[98, 99], [100, 101]] and result.dtype == np.uint8
    assert result.flags.writeable and result.flags.c_contiguous
    result[:] = 0
    assert run("add", more=1).max() == 101
    large = np.random.default_rng(0).integers(0, 256, 5_000_000, np.uint8)
    assert np.array_equal(run("add", large.tobytes(), more=0).ravel(), large)


def test_one_process_serves_picture_after_picture_and_refusals_leave_it_alive():
    first = pid()
    with pytest.raises(apart.ApartError, match=r"^It is refused: try another\.$"):
        run("refuse")
    with pytest.raises(apart.CostError):
        run("fail")
    # A request that failed inside does not say whether memory is whole, so that process is let go.
    assert pid() != os.getpid() and first != os.getpid()


@pytest.mark.parametrize("name", ["crash", "spin", "hoard"])
def test_what_takes_too_much_or_crashes_costs_one_process(name):
    before, start = pid(), time.monotonic()
    cpu = time.process_time()
    with pytest.raises(apart.CostError):
        run(name, seconds=1)
    assert time.process_time() - cpu < 1 and time.monotonic() - start < 60
    assert run("add", more=0).shape == (2, 2)
    assert pid() != before


def test_memory_is_counted_anew_for_each_picture():
    for _ in range(3):
        assert run("hoard", megabytes=500).nbytes == 400_000_000


def test_there_are_no_more_processes_than_cores():
    apart.close()
    with ThreadPoolExecutor(8) as pool:
        pids = set(pool.map(lambda _: pid(), range(24)))
    assert 1 <= len(pids) <= settings.cores() and len(apart._idle) == len(pids)


def test_processes_end_with_the_one_that_started_them():
    code = (
        "import os, signal, sys; from segdemo.core import apart\n"
        "if __name__ == '__main__':\n"
        "    print(int.from_bytes(apart.run('tests.decoders:pid', b'1', 5, 200).tobytes(), 'little'), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    helper = Path(f"/proc/{int(done.stdout)}/stat")
    # It is gone, or a zombie where nobody collects those of parents that died.
    once(lambda: not helper.exists() or helper.read_text().split()[2] == "Z", seconds=20)


def test_a_child_of_fork_starts_its_own():
    first = pid()
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.write(writer, str(pid()).encode())
        apart.close()
        os._exit(0)
    os.waitpid(child, 0)
    other = int(os.read(reader, 100))
    os.close(reader)
    os.close(writer)
    assert other != first and pid() == first
