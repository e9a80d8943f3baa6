"""Work in a process of its own: what it yields comes back, and however it ends is said."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest
from waiting import once

from segdemo.cluster.connection import EndedError
from segdemo.cluster.driver import driven
from segdemo.core import settings
from segdemo.errors import UserError


def done(function, *arguments):
    return list(driven(partial(function, *arguments), "work", "begin again"))


def test_what_it_yields_comes_back():
    assert done(map, str, range(3)) == ["0", "1", "2"]
    assert done(map, print, ["what Ray says"]) == [None]


def test_one_that_is_ended_from_outside_is_lost():
    with pytest.raises(EndedError, match="lost in the middle of the work: see ray status, then begin again"):
        done(map, os._exit, [1])


def test_its_errors_are_told(monkeypatch):
    monkeypatch.setenv("SEGDEMO_EXECUTOR", "slurm")
    with pytest.raises(UserError, match="local or ray"):
        done(settings.read, "SEGDEMO_EXECUTOR")
    with pytest.raises(RuntimeError, match="ValueError: invalid literal for int"):
        done(map, int, ["one"])


ASKING = """
import multiprocessing, time
from functools import partial
from segdemo.cluster.driver import driven

work = driven(partial(map, time.sleep, [0, 600]), "work", "begin again")
next(work)
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
next(work)
"""


def test_it_ends_with_whoever_asked():
    work = driven(partial(map, time.sleep, [0, 600]), "work", "begin again")
    next(work)
    (process,) = multiprocessing.active_children()
    work.close()
    assert process.exitcode == -signal.SIGKILL

    with subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE, text=True) as asking:
        process = psutil.Process(int(asking.stdout.readline()))
        asking.kill()
    once(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
