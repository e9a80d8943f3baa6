"""Starts applications that need not import Gradio anew, which takes longer than most tests of them.

Reads a JSON object a line from stdin: ``script``, ``environment`` and ``log``. For each it forks a process that runs
the script as ``python script`` would, with that environment and with its output in that file, and prints its process
id. All of them end with it.
"""

import contextlib
import gc
import json
import os
import runpy
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gradio import http_server

import segdemo.ui.page  # noqa: F401


def run(script, environment, log):
    """In the new process: what a person would have typed. Returns when the script ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # it may have children of its own
    os.environ.clear()
    os.environ.update(environment)
    # Gradio has read these two when it was imported.
    http_server.INITIAL_PORT_VALUE = int(environment["GRADIO_SERVER_PORT"])
    http_server.LOCALHOST_NAME = environment["GRADIO_SERVER_NAME"]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = [script]
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


def forget(*_):
    """Take note of those that have ended, which the system keeps until somebody does."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main():
    gc.freeze()  # to look through all that was imported costs each of them more than to be without it
    signal.signal(signal.SIGCHLD, forget)
    for line in sys.stdin:
        wish = json.loads(line)
        pid = os.fork()
        if not pid:
            return run(**wish)
        print(pid, flush=True)
    return None


if __name__ == "__main__":
    main()
