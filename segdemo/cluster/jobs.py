"""Runs as jobs of a Ray cluster, through its job server: several at once, as the cluster has room.

The folder of the runs, the data and this package lie at the same paths on every node. The job server is asked over
HTTP, which it documents, and always within seconds: nothing here imports Ray, and the page needs none.
"""

import json
import math
import os
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from segdemo.cluster.worker import Seen
from segdemo.core import settings
from segdemo.errors import UserError
from segdemo.runs.executor import Executor, Here, Signs, begin, died
from segdemo.runs.failures import own_line
from segdemo.runs.policy import Policy
from segdemo.runs.record import Launch, Run

SECONDS = 5.0  # that the job server may take to answer
PAUSE = 10.0  # seconds until one that did not is asked again: others wait for the lock of the runs
PATIENCE = 120.0  # seconds without an answer until a job that shows no sign of life counts as lost
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
LOST = "LOST"  # the cluster does not know the job
# What a trainer needs to know; no more, since whoever sees the cluster sees it.
HANDED_ON = ("SEGDEMO_DATA", "SEGDEMO_PRETRAINED", settings.OWN_MODELS)
HANDED_ON_BEGINNINGS = (
    "SEGDEMO_MAX_PHOTO",
    "SEGDEMO_MAX_PIXELS",
    "SEGDEMO_MAX_BYTES",
    "SEGDEMO_MAX_SIDE",
    "TF_",
)


class JobServerError(UserError):
    """The job server does not answer, or refuses; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Room:
    """What a run takes of the cluster: CPUs, GPUs, and bytes of memory (0: what it needs)."""

    cpus: float
    gpus: float
    memory: int

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"]
        parts += [f"{self.gpus:g} GPU{'s' * (self.gpus != 1)}"] * (self.gpus > 0)
        parts += [f"{self.memory / 1e9:g} GB"] * (self.memory > 0)
        return ", ".join(parts)


@dataclass
class Job:
    """What is known of a job: its status, what the job server says of it, and when it last answered (monotonic)."""

    status: str
    message: str = ""
    answered: float = 0.0


class Jobs:
    """An ``Executor``, see there: each run is a job.

    Args:
        address: of the job server, such as ``http://head:8265``.
        room: what a run takes.
        python: of the nodes.
    """

    several = True

    def __init__(self, address: str, room: Room, python: str = "") -> None:
        self.address, self.room, self.python = address.rstrip("/"), room, python or sys.executable
        self._here = Here()  # looks after runs of before
        self._jobs: dict[str, Job] = {}
        self._seen: dict[
            str, tuple[float, float]
        ] = {}  # job -> (when it was last written there, when that changed)
        self._silent = -math.inf  # when the job server last failed to answer
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def look(self, runs: Sequence[Run]) -> None:
        """As ``Executor``."""
        for run in runs:
            job = _job_of(run)
            if job and self._known(job).status not in (*ENDED, LOST):
                self._ask(job)

    def alive(self, run: Run) -> bool:
        """As ``Executor``."""
        job = _job_of(run)
        if not job:
            return self._here.alive(run)
        if job not in self._jobs:
            self._ask(job)
        known = self._known(job)
        if known.status in (*ENDED, LOST):
            return False
        return time.monotonic() - known.answered < PATIENCE or self._shows_life(run, job)

    def waits(self, run: Run) -> bool:
        """As ``Executor``."""
        return self._known(_job_of(run)).status == "PENDING"

    def unplaced(self, run: Run) -> str:
        """As ``Executor``."""
        known = self._known(_job_of(run))
        if known.status == "FAILED" and "failed to start within" in known.message:
            return f"It waits until the cluster has room for {self.room}."
        return ""

    def start(self, run: Run, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """As ``Executor``."""
        job = f"{run.id}-{len(run.record.launches) + 1}"  # the same again where nobody knows whether it was taken
        parts = [self.python if part == sys.executable else part for part in command]
        parts = [self.python, "-m", "segdemo.cluster.worker", job, str(run.folder), *parts]
        asked = {
            "submission_id": job,
            "entrypoint": shlex.join(parts),
            "runtime_env": {"env_vars": self._handed_on(environment)},
            "metadata": {"segdemo_run": run.id},
            "entrypoint_num_cpus": self.room.cpus,
            **({"entrypoint_num_gpus": self.room.gpus} if self.room.gpus else {}),
            **({"entrypoint_memory": self.room.memory} if self.room.memory else {}),
        }
        try:
            self._request("POST", "", asked)
        except JobServerError as error:
            if "already exists" not in str(error):
                if run.status().message != str(error):
                    run.tell(message=str(error))
                return False
        begin(run, f"Waiting for room on the cluster: {self.room}.")
        self._jobs[job] = Job("PENDING", answered=time.monotonic())
        run.note(launches=[*run.record.launches, Launch(time=time.time(), job=job)])
        return True

    def signs(self, run: Run) -> Signs:
        """As ``Executor``."""
        job = _job_of(run)
        if not job:
            return self._here.signs(run)
        seen = _seen(run, job)
        return Signs(seen.rss, seen.cpu_seconds, seen.since) if seen else Signs()

    def kill(self, run: Run) -> None:
        """As ``Executor``; where the job server does not answer, nothing happens."""
        job = _job_of(run)
        if not job:
            return self._here.kill(run)
        try:
            self._request("POST", f"{job}/stop")
        except JobServerError:
            return

    def cause(self, run: Run) -> str:
        """As ``Executor``."""
        job = _job_of(run)
        if not job:
            return self._here.cause(run)
        seen, known = _seen(run, job), self._known(job)
        if seen and seen.exit_code is not None:
            return died(seen.exit_code)
        if known.status == LOST:
            return "The cluster was restarted and has lost it: resume it to go on from its last checkpoint."
        if known.status not in ENDED:
            return f"The cluster at {self.address} does not answer: start it again, then resume the run."
        if seen:
            return (
                f"The node it worked on, {seen.host}, was lost: resume it to go on from its last checkpoint."
            )
        if known.status == "STOPPED":
            return "It was stopped on the cluster: resume it."
        said = own_line(known.message).rstrip(".")
        return f"The cluster could not start it ({said}): see that SegDemo and the runs lie there at the same paths."

    def _known(self, job: str) -> Job:
        return self._jobs.get(job) or Job("UNKNOWN")

    def _ask(self, job: str) -> None:
        """Find out how a job is doing; what is known stays where there is no answer."""
        known = self._jobs.setdefault(job, Job("UNKNOWN", answered=time.monotonic()))
        try:
            said = self._request("GET", job)
        except JobServerError:
            return
        status = str(said.get("status") or LOST)
        self._jobs[job] = Job(status, str(said.get("message") or known.message), time.monotonic())

    def _shows_life(self, run: Run, job: str) -> bool:
        seen = _seen(run, job)
        written = seen.time if seen else 0.0
        before, since = self._seen.get(job, (math.nan, 0.0))
        if written != before:
            self._seen[job] = written, time.monotonic()
            return seen is not None
        return time.monotonic() - since < PATIENCE

    def _handed_on(self, environment: Mapping[str, str]) -> dict[str, str]:
        threads = str(max(1, int(self.room.cpus)))
        chosen = {
            name: value
            for name, value in environment.items()
            if name in HANDED_ON or name.startswith(HANDED_ON_BEGINNINGS)
        }
        return {
            **chosen,
            "SEGDEMO_HOME": str(settings.home().resolve()),
            "PYTHONPATH": environment.get("PYTHONPATH", ""),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
        }

    def _request(self, method: str, what: str, data: Any = None) -> dict[str, Any]:
        """What the job server answers; {} if there is no such job. Raises JobServerError."""
        silence = f"The cluster at {self.address} does not answer: the run waits for it."
        if time.monotonic() - self._silent < PAUSE:
            raise JobServerError(silence)
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get("RAY_AUTH_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        body = json.dumps(data).encode() if data is not None else None
        request = urllib.request.Request(f"{self.address}/api/jobs/{what}", body, headers, method=method)
        try:
            with self._open(request, timeout=SECONDS) as answer:
                said = json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND and method == "GET":
                return {}
            told = own_line(error.read(100_000).decode("utf-8", "replace"))
            raise JobServerError(f"The cluster at {self.address} refuses the run: {told}") from error
        except (OSError, ValueError) as error:
            self._silent = time.monotonic()
            raise JobServerError(silence) from error
        return said if isinstance(said, dict) else {}


def executor() -> Executor:
    """Who executes runs here, by ``SEGDEMO_EXECUTOR``. Raises SettingError, JobServerError: no usable RAY_ADDRESS."""
    if settings.read("SEGDEMO_EXECUTOR") == "local":
        return Here()
    address = os.environ.get("RAY_ADDRESS", "").strip()
    if not address.startswith(("http://", "https://")):
        raise JobServerError(
            "SEGDEMO_EXECUTOR=ray needs RAY_ADDRESS, the job server's, such as http://head:8265."
        )
    return Jobs(address, room(), settings.read("SEGDEMO_RAY_PYTHON"))


def room() -> Room:
    """What a run takes of a cluster here. Raises SettingError, PolicyError."""
    policy = Policy.from_env()
    return Room(policy.threads or 1, settings.read("SEGDEMO_RUN_GPUS"), int(policy.max_memory_gb * 1e9))


def _job_of(run: Run) -> str:
    return run.record.launches[-1].job if run.record.launches else ""


def _seen(run: Run, job: str) -> Seen | None:
    """What the worker of a job last wrote, or None if it has not."""
    try:
        seen = Seen.read(run.folder / "worker.json")
    except (OSError, ValueError):
        return None
    return seen if seen.job == job else None
