"""``/metrics``: how the server is doing, in numbers, as Prometheus reads them; of no visitor and no content.

The format is https://prometheus.io/docs/instrumenting/exposition_formats/, written here since it is a few lines.
"""

import hmac
import os
import time
from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any

import gradio as gr
from starlette.datastructures import Headers

from segdemo.core import settings
from segdemo.core.files import disk_usage
from segdemo.runs import processes
from segdemo.ui.histogram import Histogram
from segdemo.ui.queueing import PREDICT
from segdemo.ui.services import Services

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MEASURE_SECONDS = 60  # how long a measurement of the disk holds
STATES = ("queued", "running", "done", "failed", "cancelled")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_PROXIED = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")


class Metrics:
    """One for each process, at ``demo.metrics`` of the Blocks. Safe to use from several threads.

    Args:
        services: whose numbers they are.
        demo: whose queue it is.
    """

    def __init__(self, services: Services, demo: gr.Blocks) -> None:
        self._services, self._demo = services, demo
        self._seconds = Histogram()
        self._requests: Counter[int] = Counter()
        self._lock = Lock()
        self._bytes = (float("-inf"), 0)  # when they were measured, and how many

    def request(self, status: int, seconds: float) -> None:
        """Count a request, answered with a status after so many seconds; how long the answer went on does not count."""
        self._seconds.observe(seconds)
        with self._lock:
            self._requests[status] += 1

    def text(self) -> str:
        """All of them. Reads the disk, so call it from a thread."""
        with self._lock:
            requests = {f'status="{status}"': count for status, count in sorted(self._requests.items())}
        workspaces, used = self._disk()
        waiting = self._waiting()
        lines = [
            *_lines("segdemo_requests_total", "counter", "Requests by status.", requests),
            *self._seconds.lines("segdemo_request_seconds", "Time until an answer began."),
            *self._services.predicted.lines("segdemo_prediction_seconds", "Time that a prediction took."),
            *_lines("segdemo_queue_length", "gauge", "Events that wait for their turn.", waiting),
            *_lines(
                "segdemo_resident_bytes", "gauge", "Memory of the server.", {"": processes.rss(os.getpid())}
            ),
            *_lines("segdemo_runs", "gauge", "Runs by state.", self._runs()),
            *_lines("segdemo_workspaces", "gauge", "Workspaces of visitors.", {"": workspaces}),
            *_lines("segdemo_kept_bytes", "gauge", "Disk of all collections and workspaces.", {"": used}),
        ]
        return "\n".join(lines) + "\n"

    def _waiting(self) -> dict[str, int]:
        found = {"predict": 0, "other": 0}
        for group, queue in list(self._demo._queue.event_queue_per_concurrency_id.items()):
            found["predict" if group == PREDICT else "other"] += len(queue.queue)
        return {f'group="{group}"': count for group, count in found.items()}

    def _runs(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for states in self._services.all_runs.counts().values():
            total.update(states)
        return {f'state="{state}"': total[state] for state in STATES}

    def _disk(self) -> tuple[int, int]:
        if keeper := self._services.keeper:
            return keeper.totals()
        with self._lock:
            measured, used = self._bytes
            if time.monotonic() - measured > MEASURE_SECONDS:
                used = disk_usage(self._services.store.root)
                self._bytes = time.monotonic(), used
            return 0, used


def may_read(scope: Mapping[str, Any]) -> bool:
    """Whether a request for the metrics is answered: with the token, or from this very machine past no proxy."""
    headers, token = Headers(scope=dict(scope)), settings.read("SEGDEMO_METRICS_TOKEN")
    given = headers.get("authorization", "")
    if token and hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {token}".encode()):
        return True
    # A proxy on this machine makes everybody look local, but it says so, or is asked for another host.
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    near = (scope.get("client") or ("",))[0] in ("127.0.0.1", "::1")
    return near and host in _LOCAL_HOSTS and not any(name in headers for name in _PROXIED)


def _lines(name: str, kind: str, meaning: str, values: Mapping[str, float]) -> list[str]:
    told = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    return told + [f"{name}{f'{{{labels}}}' if labels else ''} {value}" for labels, value in values.items()]
