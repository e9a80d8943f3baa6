"""A few steps of a run timed on a cluster, by a short job that takes the room of a run: see ``runs.bench``."""

import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from segdemo.cluster.server import JobServer, JobServerError, Room
from segdemo.runs.bench import Current


class ClusterBench:
    """A ``Bench``, see there.

    Args:
        server: that takes jobs.
        room: what a run takes.
    """

    place = "on the cluster"
    patience = 60.0  # a run may want the room, and nobody sees that it is taken

    def __init__(self, server: JobServer, room: Room) -> None:
        self._server, self._room = server, room
        self._began: dict[str, float] = {}  # job -> when it was first seen at work (monotonic)

    def look(self, current: Current) -> None:
        if current.job and self._server.look(current.job).status == "RUNNING":
            self._began.setdefault(current.job, time.monotonic())

    def busy(self, folder: Path, current: Current | None) -> bool:
        if current is None or not current.job:
            return False
        if self._server.alive(current.job, lambda: None):
            return True
        out = folder / "out"
        return self._server.lately(current.job) and not (out.is_file() and out.stat().st_size)

    def start(
        self, folder: Path, key: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> Current | str:
        job = f"estimate-{key}-{secrets.token_hex(4)}"
        for name in ("out", "log"):
            (folder / name).write_bytes(b"")
        redirected = " ".join(
            f"{sign}{shlex.quote(str(folder / name))}" for sign, name in ((">", "out"), ("2>", "log"))
        )
        self._began.clear()
        try:
            self._server.start(job, command, self._room, environment, {"segdemo_estimate": key}, redirected)
        except JobServerError as error:
            return str(error)
        return Current(key=key, time=time.time(), job=job)

    def doing(self, current: Current) -> str:
        if self._server.known(current.job).status == "RUNNING":
            return f"Timing a few steps {self.place}…"
        return f"Waiting for room on the cluster to time a few steps: {self._room}."

    def seconds(self, current: Current) -> float:
        """As ``Bench``: waiting for room does not count."""
        return time.monotonic() - self._began.get(current.job, time.monotonic())

    def rss(self, current: Current) -> int:
        """As ``Bench``: nobody here can tell."""
        return 0

    def kill(self, current: Current) -> None:
        """As ``Bench``; where the job server does not answer, it ends by itself after its few steps."""
        self._server.stop(current.job)

    def cause(self, current: Current) -> str:
        why = self._server.cause(current.job)
        if why:
            return f"{why}: start the run and see."
        return self._server.refusal(current.job) if self._server.known(current.job).status == "FAILED" else ""
