"""Runs as jobs of a Ray cluster, through its job server: several at once, as the cluster has room.

The folder of the runs, the data and this package lie at the same paths on every node.
"""

import time
from collections.abc import Mapping, Sequence

from segdemo.cluster.bench import ClusterBench
from segdemo.cluster.reach import Place
from segdemo.cluster.server import JobServer, JobServerError, Room, chosen
from segdemo.cluster.worker import Seen
from segdemo.core import settings
from segdemo.runs.bench import Bench
from segdemo.runs.executor import Executor, Here, Signs, begin, died
from segdemo.runs.policy import Policy
from segdemo.runs.record import Launch, Run

RESUME = "resume it to go on from its last checkpoint"


class Jobs:
    """An ``Executor``, see there: each run is a job.

    Args:
        address: of the job server, such as ``http://head:8265``.
        room: what a run takes.
        python: of the nodes.
    """

    several = True

    def __init__(self, address: str, room: Room, python: str = "") -> None:
        self.server, self.room = JobServer(address, python), room
        self.address = self.server.address
        self.bench: Bench = ClusterBench(JobServer(address, python, "timing a few steps"), room)
        self._here = Here()  # looks after runs of before

    def look(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if job := _job_of(run):
                self.server.look(job)

    def alive(self, run: Run) -> bool:
        job = _job_of(run)
        if not job:
            return self._here.alive(run)
        if self.server.alive(job, lambda: (seen := _seen(run, job)) and seen.time):
            return True
        return self.server.lately(job) and ((seen := _seen(run, job)) is None or seen.exit_code is None)

    def waits(self, run: Run) -> bool:
        return self.server.known(_job_of(run)).status == "PENDING"

    def unplaced(self, run: Run) -> str:
        known = self.server.known(_job_of(run))
        if known.status == "FAILED" and "failed to start within" in known.message:
            return f"It waits until the cluster has room for {self.room}."
        return ""

    def start(self, run: Run, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        job = f"{run.id}-{len(run.record.launches) + 1}"  # the same again where nobody knows whether it was taken
        python = self.server.python
        parts = [python, "-m", "segdemo.cluster.worker", job, str(run.folder), *command]
        Place(run.folder, job).leave()
        try:
            self.server.start(job, parts, self.room, environment, {"segdemo_run": run.id})
        except JobServerError as error:
            if run.status().message != str(error):
                run.tell(message=str(error))
            return False
        begin(run, f"Waiting for room on the cluster: {self.room}.")
        run.note(launches=[*run.record.launches, Launch(time=time.time(), job=job)])
        return True

    def signs(self, run: Run) -> Signs:
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
        self.server.stop(job)

    def cause(self, run: Run) -> str:
        job = _job_of(run)
        if not job:
            return self._here.cause(run)
        seen, known = _seen(run, job), self.server.known(job)
        if seen and seen.exit_code is not None:
            return died(seen.exit_code)
        why = self.server.cause(job, seen.host if seen else "")
        if not known.over:
            return f"{why}: {self.server.mend()}, then resume the run."
        if seen and not why:  # the trainer is watched to its end
            why = f"The process that watched it on {seen.host} was ended"
        return f"{why}: {RESUME if seen else 'resume it'}." if why else self.server.refusal(job)


def executor() -> Executor:
    """Who executes runs here, by ``SEGDEMO_EXECUTOR``. Raises SettingError, JobServerError: no usable RAY_ADDRESS."""
    address = chosen()
    return Jobs(address, room(), settings.read("SEGDEMO_RAY_PYTHON")) if address else Here()


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
