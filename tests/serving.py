"""The real application in a process of its own, for tests that talk to it over HTTP."""

import contextlib
import os
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


@contextlib.contextmanager
def served_app(folder, seconds=120, script="app.py", **environment):
    """Run ``python app.py`` with its state and its temporary files below ``folder``: yields (url, process)."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "app.log"
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
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, script], cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + seconds
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield url, process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False
