"""Batches of the page as jobs of a Ray cluster: several at once, as the cluster has room.

Each is handed to the job server; what works on it there is ``batch_job``, on the head, which takes no CPU of its own.
Photos, results and what is known of a batch stay in its folder, on a path that all nodes share, so the page shows it,
cancels it and goes on with it as if it worked here.
"""

import logging
import os
from dataclasses import dataclass

from segdemo.cluster.reach import Place
from segdemo.cluster.server import JobServer, JobServerError, Room, chosen
from segdemo.core import settings
from segdemo.core.documents import Document
from segdemo.core.files import write_json
from segdemo.errors import UserError
from segdemo.inference.jobs import Elsewhere, Job, Jobs

MOST_WAITING = 2  # batches that wait for room on the cluster; the others wait here in their turn
NO_ROOM = Room(0, 0, 0)  # the actors that segment photos ask for theirs
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Handed(Document):
    """``cluster.json`` in the folder of a batch: how it was handed over last.

    Attributes:
        number: how many times it was.
        state: ``"asked"`` (nobody knows whether the cluster has taken it), ``"taken"``, ``"stopped"`` (the cluster was
            told to end it) or ``"over"``.
    """

    number: int = 0
    state: str = "over"


class Batches:
    """An ``Elsewhere``, see there: each batch is a job.

    Args:
        address: of the job server, such as ``http://head:8265``.
        python: of the nodes.
    """

    def __init__(self, address: str, python: str = "") -> None:
        self.server = JobServer(address, python, "the batch")

    def look_after(self, jobs: Jobs) -> None:
        every = [(job, _handed(job)) for job in jobs.every()]
        at_cluster = [(job, handed) for job, handed in every if handed.state in ("taken", "stopped")]
        for job, handed in at_cluster:
            try:
                self._follow(jobs, job, handed)
            except (OSError, UserError) as error:  # one bad batch must not stop the others
                _log.warning("%s: %s", job.id, error)
        waiting = [job for job, _ in at_cluster if job.progress.state == "queued" or job.progress.waits]
        turn = {job.id: n for n, job in enumerate(jobs.line([job for job, _ in every]))}
        following = [pair for pair in every if not pair[0].ended and pair not in at_cluster]
        following.sort(key=lambda pair: turn[pair[0].id])
        for job, handed in following[: max(0, MOST_WAITING - len(waiting))]:
            self._hand_over(jobs, job, handed)

    def _hand_over(self, jobs: Jobs, job: Job, handed: Handed) -> None:
        if handed.state == "over":
            handed = Handed.of(number=handed.number + 1, state="asked")
            _note(job, handed)
        name = _name(job, handed)
        Place(job.folder, name).leave()
        root = str(jobs.root.resolve())
        command = [self.server.python, "-m", "segdemo.cluster.batch_job", root, job.id, name]
        try:
            self.server.start(name, command, NO_ROOM, os.environ, {"segdemo_batch": job.id})
        except JobServerError as error:
            jobs.say(job.id, str(error))
            return
        _note(job, handed.with_more(state="taken"))
        jobs.say(job.id, "")

    def _follow(self, jobs: Jobs, job: Job, handed: Handed) -> None:
        name, flag = _name(job, handed), job.folder / "cancel"
        known = self.server.look(name)
        if self.server.alive(name, lambda: (job.folder / "status.json").stat().st_mtime_ns):
            # One that is done is clearing away what it needs no more.
            unwanted = flag.exists() and job.progress.state != "done"
            if unwanted and handed.state == "taken" and self.server.stop(name):
                _note(job, handed.with_more(state="stopped"))
            return
        if flag.exists():
            jobs.end(job.id, "cancelled")
        elif handed.state == "stopped" or (known.status, job.progress.state) == ("SUCCEEDED", "queued"):
            pass  # it was cancelled and resumed meanwhile: it is in the queue again
        else:
            if self.server.lately(name) and not job.ended:
                return
            jobs.end(job.id, "failed", self._why(job, name))
        _note(job, handed.with_more(state="over"))

    def _why(self, job: Job, name: str) -> str:
        """What ended a batch that did not say so itself, and what to do, one sentence."""
        why = self.server.cause(name)
        if not self.server.known(name).over:
            return f"{why}: {self.server.mend()}, then resume the batch."
        if not why and (job.progress.state == "queued" or self.server.last_words(name)):
            return self.server.refusal(name)
        return f"{why or 'What worked on it was lost'}: resume it to go on with the photos left."


def batches() -> Elsewhere | None:
    """Who works on batches, by ``SEGDEMO_EXECUTOR``: None for the page. Raises SettingError, JobServerError."""
    address = chosen()
    return Batches(address, settings.read("SEGDEMO_RAY_PYTHON")) if address else None


def _name(job: Job, handed: Handed) -> str:
    return f"batch-{job.id}-{handed.number}"


def _handed(job: Job) -> Handed:
    try:
        return Handed.read(job.folder / "cluster.json")
    except (OSError, ValueError, UserError):
        return Handed()


def _note(job: Job, handed: Handed) -> None:
    if job.folder.is_dir():  # else it was deleted meanwhile
        write_json(job.folder / "cluster.json", handed.to_json())
