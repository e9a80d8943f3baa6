"""A Ray cluster of two nodes on this machine for tests: each its own process, as ``ray start`` makes them."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from serving import free_port

PATIENCE = 180  # seconds for a node to start


class Nodes:
    """``address`` is for those who join, ``jobs`` the job server's; each node has one CPU."""

    def __init__(self, folder):
        self._folder, self._nodes = folder, []
        port, dashboard = free_port(), free_port()
        self.address, self.jobs = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        head = ["--head", "--port", port, "--dashboard-port", dashboard, "--disable-usage-stats"]
        try:
            self._start(*head, "--temp-dir", folder / "ray")
            self._start("--address", self.address)
        except BaseException:
            self.close()
            raise

    def _start(self, *options):
        command = [Path(sys.executable).with_name("ray"), "start", "--block", "--num-cpus", 1]
        # Its own port is the same for all of Ray on a machine: without it the head takes no jobs.
        command += ["--dashboard-agent-listen-port", free_port()]
        command += ["--object-store-memory", 100_000_000, *options]
        environment = {**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        environment["RAY_raylet_start_wait_time_s"] = str(PATIENCE)  # its own 30 are few on a busy machine
        environment.pop("RAY_ADDRESS", None)
        for _attempt in range(2):
            log = self._folder / f"node{len(self._nodes)}.log"
            with log.open("wb") as out:
                node = psutil.Popen(
                    list(map(str, command)), env=environment, stdout=out, stderr=out, start_new_session=True
                )
            end = time.monotonic() + PATIENCE
            while node.poll() is None and time.monotonic() < end:
                if "Ray runtime started" in log.read_text():
                    self._nodes.append(node)
                    return
                time.sleep(0.2)
            _kill(node)
        raise AssertionError(log.read_text())

    def workers(self, name):
        """Processes of workers whose title has ``name``."""
        return [p for node in self._nodes for p in _children(node) if name in _title(p)]

    def kill(self, number):
        """End a node as if its plug were pulled."""
        _kill(self._nodes[number])

    def close(self):
        for node in reversed(self._nodes):
            _kill(node)


def _children(node):
    with suppress(psutil.NoSuchProcess):
        return node.children(recursive=True)
    return []


def _title(process):
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _kill(node):
    for process in [*_children(node), node]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(subprocess.TimeoutExpired):
        node.wait(30)
