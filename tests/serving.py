"""The real application in a process of its own, for tests that talk to it over HTTP."""

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


_free_again = []  # ports of servers that have ended


def _port():
    """That of a server that has ended, if there is one: a browser keeps the scripts that it has fetched there."""
    while _free_again:
        port = _free_again.pop()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(("127.0.0.1", port))
            return port
    return free_port()


class _Forked:
    """What tests need of ``subprocess.Popen`` for a process that somebody else has started."""

    def __init__(self, pid):
        self.pid = pid
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._handle = None

    def _ended(self, seconds):
        if self._handle is not None and select.select([self._handle], [], [], seconds)[0]:
            os.close(self._handle)
            self._handle = None
        return self._handle is None

    def poll(self):
        return 1 if self._ended(0) else None

    def wait(self, timeout=None):
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)

    def send_signal(self, number):
        if not self._ended(0):
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


@functools.cache
def _warm():
    """A process that has imported what applications need, for all tests of this one; it ends with it."""
    command = [sys.executable, str(ROOT / "tests" / "warm_app.py")]
    warm = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(warm.communicate)  # which closes its input and waits
    return warm


def _start(script, environment, log, fresh, cwd, python):
    if fresh or not hasattr(os, "pidfd_open"):  # not Linux
        with log.open("wb") as output:
            return subprocess.Popen(
                [python, script], cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
    warm = _warm()
    warm.stdin.write(json.dumps({"script": script, "environment": environment, "log": str(log)}) + "\n")
    warm.stdin.flush()
    return _Forked(int(warm.stdout.readline()))


@contextlib.contextmanager
def served_app(
    folder, seconds=120, script="app.py", fresh=False, cwd=ROOT, python=sys.executable, **environment
):
    """Run ``python app.py`` with its state and its temporary files below ``folder``: yields (url, process).

    ``fresh`` starts it as people do, with nothing imported before it, which takes seconds more: to measure it, or to
    start it in another folder, ``cwd``, or with another ``python``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, log = int(environment.get("GRADIO_SERVER_PORT") or _port()), folder / "app.log"
    variables = {
        **os.environ,
        "SEGDEMO_HOME": str(folder / "home"),
        "SEGDEMO_DATA": "",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        **environment,
    }
    url = f"http://127.0.0.1:{port}/"
    process = _start(script, variables, log, fresh, cwd, python)
    try:
        end = time.monotonic() + seconds
        while not _answers(url, max(1, end - time.monotonic())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.03)
        yield url, process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _free_again.append(port)


def last_message(url, session, timeout=120):
    """What the queue of the page at ``url`` tells a session in the end of its event; None if it hangs up before."""
    with urllib.request.urlopen(
        f"{url}gradio_api/queue/data?session_hash={session}", timeout=timeout
    ) as stream:
        for line in stream:
            message = json.loads(line[5:]) if line.startswith(b"data:") else {}
            if message.get("msg") == "process_completed":
                return message
    return None


def _answers(url, seconds):
    try:
        with urllib.request.urlopen(url, timeout=seconds) as response:
            return response.status == 200
    except OSError:
        return False
