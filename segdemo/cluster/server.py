"""The job server of a Ray cluster: jobs handed over, asked about and ended.

It is asked over HTTP, which it documents, and always within seconds: nothing here imports Ray, and the page needs none.
"""

import contextlib
import http.client
import json
import math
import os
import re
import shlex
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from segdemo.core import settings
from segdemo.errors import UserError
from segdemo.runs.failures import own_line
from segdemo.runs.record import last_words

SECONDS = 5.0  # that the job server may take to answer
TAKING = 12.0  # seconds that it may take to take a job: for 10 it looks for a node that takes jobs, and then says so
PAUSE = 10.0  # seconds until one with which something is wrong is asked again: others wait for the lock of the runs
PATIENCE = 120.0  # seconds without an answer until a job that shows no sign of life counts as lost
LAST_WORDS = (
    30.0  # seconds until what a job wrote before it ended is seen here, where disks are shared over a network
)
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
LOST = "LOST"  # the cluster does not know the job
ALREADY = "already exists"  # it has a job of that id
# What a job needs to know; no more, since whoever sees the cluster sees it.
HANDED_ON = ("SEGDEMO_DATA", "SEGDEMO_PRETRAINED", settings.OWN_MODELS)
HANDED_ON_BEGINNINGS = (
    *("SEGDEMO_BATCH", "SEGDEMO_MAX_ASPECT", "SEGDEMO_MAX_BATCH_", "SEGDEMO_MAX_BYTES"),
    *("SEGDEMO_MAX_PHOTO", "SEGDEMO_MAX_PIXELS", "SEGDEMO_MAX_SIDE", "TF_"),
)


# What Ray says of a job that was lost with the node it worked on, and of one whose watching process was ended.
_NODE_LOST = re.compile(r"\bnode (has died|died|was (lost|terminated|removed))|\bnode is dead", re.IGNORECASE)
_WATCH_LOST = re.compile(r"supervisor actor died|failed to get job supervisor", re.IGNORECASE)


class JobServerError(UserError):
    """The job server does not answer, or refuses; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the job server, a clause; how to mend it, another; and when that was seen (monotonic)."""

    what: str
    mend: str
    seen: float = -math.inf


@dataclass(frozen=True)
class Room:
    """What a job takes of the cluster: CPUs, GPUs, and bytes of memory (0: what it needs)."""

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

    @property
    def over(self) -> bool:
        return self.status in (*ENDED, LOST)


class JobServer:
    """A job server, and what it last said of each job.

    Args:
        address: of it, such as ``http://head:8265``.
        python: of the nodes; "" for the path of this one.
        what: is handed over, for its messages.
    """

    def __init__(self, address: str, python: str = "", what: str = "the run") -> None:
        self.address, self.python, self._what = address.rstrip("/"), python or sys.executable, what
        self._jobs: dict[str, Job] = {}
        self._signs: dict[str, tuple[Any, float]] = {}  # job -> (its sign of life, when that changed)
        self._trouble = self._silence = Trouble(
            f"The cluster at {self.address} does not answer", "see that it works"
        )
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def start(
        self,
        job: str,
        command: Sequence[str],
        room: Room,
        environment: Mapping[str, str],
        metadata: Mapping[str, str],
        redirected: str = "",
    ) -> None:
        """Hand a job over, unless the cluster has it already.

        Args:
            job: its id.
            command: all of it; this Python becomes that of the nodes.
            room: what it takes.
            environment: variables, of which it gets those that it needs to know.
            metadata: what the cluster shows of it.
            redirected: where its output goes, as a shell wants it.

        Raises:
            JobServerError.
        """
        parts = [self.python if part == sys.executable else part for part in command]
        asked = {
            "submission_id": job,
            "entrypoint": " ".join(filter(None, (shlex.join(parts), redirected))),
            "runtime_env": {"env_vars": _handed_on(environment, room)},
            "metadata": dict(metadata),
            "entrypoint_num_cpus": room.cpus,
            **({"entrypoint_num_gpus": room.gpus} if room.gpus else {}),
            **({"entrypoint_memory": room.memory} if room.memory else {}),
        }
        try:
            self._request("POST", "", asked, TAKING)
        except JobServerError as error:
            if ALREADY not in str(error):
                raise
        self._jobs[job] = Job("PENDING", answered=time.monotonic())

    def known(self, job: str) -> Job:
        """What is known of a job, without asking."""
        return self._jobs.get(job) or Job("UNKNOWN")

    def look(self, job: str) -> Job:
        """Ask how a job is doing, unless it is over; what is known stays where there is no answer."""
        known = self._jobs.setdefault(job, Job("UNKNOWN", answered=time.monotonic()))
        if known.over:
            return known
        try:
            said = self._request("GET", job)
        except JobServerError:
            return known
        status = str(said.get("status") or LOST)
        self._jobs[job] = Job(status, str(said.get("message") or known.message), time.monotonic())
        return self._jobs[job]

    def alive(self, job: str, sign: Callable[[], Any]) -> bool:
        """Whether a job may still be at work, by what is known of it.

        Args:
            job: its id.
            sign: gives anything that changes while it works, None before: what counts besides the job server's answers.
        """
        known = self.known(job) if job in self._jobs else self.look(job)
        if known.over:
            return False
        before, since = self._signs.get(job, (None, -math.inf))
        if (now := sign()) != before:
            since = time.monotonic()
            self._signs[job] = now, since
        return time.monotonic() - max(known.answered, since) < PATIENCE

    def lately(self, job: str) -> bool:
        """Whether a job has done its work so lately that what it wrote may not be seen here yet."""
        known = self.known(job)
        return known.status == "SUCCEEDED" and time.monotonic() - known.answered < LAST_WORDS

    def stop(self, job: str) -> bool:
        """Have a job ended; whether the job server has taken that down."""
        try:
            self._request("POST", f"{job}/stop")
        except JobServerError:
            return False
        return True

    def cause(self, job: str, host: str = "") -> str:
        """What ended a job that did not say so itself, a clause to which what to do can be added; "" if it may have.

        Args:
            job: its id.
            host: of the node it worked on, if that is known.
        """
        known = self.known(job)
        if known.status == LOST:
            return "The cluster was restarted and has lost it"
        if not known.over:
            return self._trouble.what
        if known.status == "STOPPED":
            return "It was stopped on the cluster"
        if _NODE_LOST.search(known.message):
            return f"The node it worked on{f', {host},' if host else ''} was lost"
        if _WATCH_LOST.search(known.message):
            return f"The process that watched it on {host or 'the cluster'} was ended"
        return ""

    def mend(self) -> str:
        """What to do about a job server that does not say how a job is doing, a clause."""
        return self._trouble.mend

    def last_words(self, job: str) -> str:
        """The sentence of this package that a job ended with; "" without one."""
        return last_words(self.known(job).message)

    def refusal(self, job: str) -> str:
        """Why a job that shows no sign of having begun has ended, one sentence."""
        message = self.known(job).message
        if said := self.last_words(job):
            return said
        said = own_line(message).rstrip(".")
        if (code := re.search(r"exit code \d+", message)) and code[0] not in said:
            said = f"{code[0]}: {said}"
        return f"The cluster could not start it ({said}): see that SegDemo and its folders lie there at the same paths."

    def _request(self, method: str, what: str, data: Any = None, seconds: float = 0) -> dict[str, Any]:
        """What the job server answers; {} if there is no such job. Raises JobServerError."""
        if time.monotonic() - self._trouble.seen < PAUSE:
            raise self._error(self._trouble)
        headers = {"Content-Type": "application/json"}
        if token := _token():
            headers["Authorization"] = f"Bearer {token}"
        body = json.dumps(data).encode() if data is not None else None
        request = urllib.request.Request(f"{self.address}/api/jobs/{what}", body, headers, method=method)
        try:
            with self._open(request, timeout=seconds or SECONDS) as answer:
                said = json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND and what:  # there is no such job
                return {}
            trouble = self._refused(error)
        except OSError:
            trouble = self._silence
        except (ValueError, http.client.HTTPException):
            trouble = Trouble(f"What answers at {self.address} is no job server", "correct RAY_ADDRESS")
        else:
            return said if isinstance(said, dict) else {}
        if ALREADY not in trouble.what:
            self._trouble = replace(trouble, seen=time.monotonic())
        raise self._error(trouble)

    def _refused(self, error: urllib.error.HTTPError) -> Trouble:
        at = f"The cluster at {self.address}"
        if error.code == HTTPStatus.UNAUTHORIZED:
            return Trouble(f"{at} asks for its token", "set RAY_AUTH_TOKEN")
        if error.code == HTTPStatus.FORBIDDEN:
            return Trouble(f"{at} refuses this token", "set RAY_AUTH_TOKEN to its own")
        told = ""
        with contextlib.suppress(OSError, http.client.HTTPException):
            told = own_line(error.read(100_000).decode("utf-8", "replace")).rstrip(".")
        return Trouble(
            f"{at} answers with error {error.code}{f' ({told})' if told else ''}", "see ray status"
        )

    def _error(self, trouble: Trouble) -> JobServerError:
        return JobServerError(f"{trouble.what}: {trouble.mend}, {self._what} waits for that.")


def _token() -> str:
    """The token that Ray would use here; "" without one."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return ""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if not token:
        path = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
        with contextlib.suppress(OSError, RuntimeError, UnicodeDecodeError):
            token = Path(path).expanduser().read_text("utf-8")
    token = token.strip()
    return token if token.isascii() and token.isprintable() else ""


def chosen() -> str | None:
    """Address of the job server that the environment names, or None where ``SEGDEMO_EXECUTOR`` is this machine.

    Raises:
        SettingError. JobServerError: no usable RAY_ADDRESS.
    """
    if settings.read("SEGDEMO_EXECUTOR") == "local":
        return None
    address = os.environ.get("RAY_ADDRESS", "").strip()
    with contextlib.suppress(ValueError):  # of brackets and ports
        parts = urllib.parse.urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return address
    raise JobServerError(
        "SEGDEMO_EXECUTOR=ray needs RAY_ADDRESS, the job server's, such as http://head:8265."
    )


def _handed_on(environment: Mapping[str, str], room: Room) -> dict[str, str]:
    threads = str(max(1, int(room.cpus)))
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    package = str(settings.PACKAGE.parent)
    return {
        **{
            name: value
            for name, value in environment.items()
            if name in HANDED_ON or name.startswith(HANDED_ON_BEGINNINGS)
        },
        "SEGDEMO_HOME": str(settings.home().resolve()),
        "PYTHONPATH": os.pathsep.join([package, *(part for part in path if part and part != package)]),
        "PYTHONSAFEPATH": "1",  # the package of the page, not one that lies where a node was started
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
    }
