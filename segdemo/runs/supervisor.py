"""The process of a run: started, watched, ended where it asks too much, and what it made installed.

The trainer writes what ``segdemo.training.trainer`` describes; here come ``train.log`` (what the trainer printed) and
``alive``, a lock file the trainer inherits open and locked; one of the command line locks it itself, see ``claim``. The
system lets go of that lock when the trainer ends, however it ends, so whether a run lives never has to be guessed, by
any server, before or after a restart.

Nothing here imports Keras. A trainer that runs out of memory or crashes takes no page down with it.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from segdemo.core import settings
from segdemo.core.files import DISK_FULL, DiskError, StoreError, disk_error, disk_usage, write_json
from segdemo.core.workspace import WorkspaceError
from segdemo.runs.executor import LAUNCHED, Executor, Here
from segdemo.runs.lineage import lineage_of
from segdemo.runs.policy import Policy
from segdemo.runs.record import Run, Status, Stopped, last_words, log_tail
from segdemo.runs.snapshot import NOT_INSTALLED, WAITING
from segdemo.zoo.scores import Lineage
from segdemo.zoo.versions import ModelStore

FREE_BYTES = 300_000_000  # a run is not started, and is stopped, when less than this is left on the disk


class Supervisor:
    """Looks after the process of each run. Whoever changes a run through it holds the lock of the runs.

    Args:
        root: folder of the runs.
        policy: what a run may take.
        command: what to execute, followed by ``--out RUN_DIR --resume --json``.
        models: the ``ModelStore`` that finished runs become versions in.
        cancel_seconds: how long a trainer may take to end when asked to, before it is killed.
        models_of: the ModelStore of a workspace, for runs that belong to one.
        executor: who executes runs; by default ``Here``.
    """

    def __init__(
        self,
        root: Path,
        policy: Policy,
        command: Sequence[str],
        models: ModelStore,
        cancel_seconds: float,
        models_of: Callable[[str], ModelStore] | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.executor: Executor = executor or Here()
        self.root, self.policy, self.models, self._models_of = root, policy, models, models_of
        self.cancel_seconds = cancel_seconds
        self._command = command
        # Run -> stamp of a status.json that needs no more attention
        self._settled: dict[str, tuple[int, int]] = {}
        # Run -> (heartbeat, CPU seconds, when these last changed).
        self._signs: dict[str, tuple[float | None, float, float]] = {}
        # Run -> (number of its launch, monotonic time at which that began)
        self._begun: dict[str, tuple[int, float]] = {}
        self._disk = (0.0, 0)  # when it was last measured, bytes

    # --- what a run is doing ---

    def state(self, run: Run) -> Status:
        """``status.json`` as it should be: with the state of a trainer that could not write its own end."""
        status = run.status()
        if status.state == "queued":
            return status
        alive = self.executor.alive(run)
        if not alive:
            status = run.status()  # it may have written its end between the two looks
        stopped = run.record.stopped
        if status.state == "cancelled" and stopped:  # the trainer does not know why it had to stop
            return replace(status, state=stopped.state, message=stopped.message)
        if alive and status.state == "done":
            return replace(status, state="running", message="Exporting and measuring the model.")
        measured = (run.folder / "report.json").is_file()
        if (
            alive
            or status.state in ("queued", "failed", "cancelled")
            or (status.state == "done" and measured)
        ):
            return status
        if not stopped and not (run.folder / "cancel").exists():
            why = self.executor.unplaced(run) or (WAITING if _never_began(run, status) else "")
            if why:
                return replace(status, state="queued", message=why)
        state, message = self._epitaph(run, status.state)
        return replace(status, state=state, message=message)

    def look_after(self, run: Run) -> str:
        """End a run that must be ended, write down how one ended, and install what it made.

        Returns:
            ``"busy"`` if a trainer works on it, ``"waits"`` if one is about to, ``"queued"`` if it is in the queue,
            else "".
        """
        if self._settled.get(run.id) == run.stamp():
            return ""
        status = self.state(run)
        if self.executor.alive(run):
            self._guard(run, status)
            return "waits" if self.executor.waits(run) else "busy"
        if status.state == "running":  # it ended between the two looks: the next one says how
            return "busy"
        if status.state == "queued":
            if run.status().state != "queued":  # there was no room for it
                run.tell(state="queued", message=status.message)
            return "queued"
        self._settle(run, status)
        return ""

    # --- the process ---

    def launch(self, run: Run) -> None:
        """Start the trainer of a run; one that cannot be started has failed. Raises DiskError."""
        lineage = lineage_of(run)
        command = [*self._command, "--out", str(run.folder), "--resume", "--json"]
        try:
            if not self.executor.start(run, command, self.environment(run.record.workspace)):
                return
        except DiskError:
            raise
        except WorkspaceError as error:  # the next run must not wait for it
            run.tell(state="failed", message=str(error))
            return
        except OSError as error:
            run.tell(state="failed", message=f"The trainer cannot be started ({error.strerror}).")
            return
        Run.read(run.folder).note(lineage=lineage)

    def _models(self, workspace: str) -> ModelStore:
        return self._models_of(workspace) if workspace and self._models_of else self.models

    def environment(self, workspace: str = "") -> dict[str, str]:
        """Variables of a trainer; of one that works for a workspace, that workspace's models are among them."""
        own = {settings.OWN_MODELS: str(self._models(workspace).root)} if workspace else {}
        threads = str(int(self.policy.threads) or settings.cores())
        path = os.pathsep.join(filter(None, (str(settings.PACKAGE.parent), os.environ.get("PYTHONPATH"))))
        return {
            **os.environ,
            **own,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        }

    def ask_to_stop(self, run: Run) -> None:
        """Let the trainer end by itself, within a step. Raises DiskError."""
        try:
            (run.folder / "cancel").touch(exist_ok=True)
        except OSError as error:
            raise disk_error(error, run.folder / "cancel") from error

    def _guard(self, run: Run, status: Status) -> None:
        """End a run that asks too much of the machine or does not do what it is told."""
        signs, policy, kill = self.executor.signs(run), self.policy, self.executor.kill
        cancel = run.folder / "cancel"
        # Nothing interrupts the export, and nothing is lost by ending it; what has not begun cannot see the request.
        deaf = run.status().state == "done" or self.executor.waits(run)
        if cancel.exists() and (deaf or time.time() - cancel.stat().st_mtime > self.cancel_seconds):
            kill(run)
            return
        # Of another machine nobody knows here how much it has.
        most = policy.max_memory_gb * 1e9 if self.executor.several else policy.memory_bytes
        if signs.rss > most > 0:
            why = f"It needed {signs.rss / 1e9:.1f} GB of memory and may have {most / 1e9:.1f}"
            _stop_as(run, "failed", f"{why}: choose a smaller batch or crop.")
            kill(run)
        elif self._hangs(run, status, signs.cpu_seconds):
            minutes = f"{policy.hang_minutes:g} minutes"
            _stop_as(run, "failed", f"It showed no sign of life for {minutes} and was ended; resume it.")
            kill(run)
        elif cancel.exists():
            return
        elif policy.max_hours and self._seconds(run, signs.since) > 3600 * policy.max_hours:
            _stop_as(run, "cancelled", f"Stopped at the limit of {policy.max_hours:g} hours.")
            self.ask_to_stop(run)
        elif (lack := self.lack_of_disk()) is not None:
            _stop_as(run, "cancelled", f"Stopped because {lack}, then resume it.")
            self.ask_to_stop(run)

    def _seconds(self, run: Run, since: float | None) -> float:
        """How long a trainer has worked, whatever the clock is set to once it was seen here."""
        if since is None:
            return 0.0
        launch, begun = len(run.record.launches), self._begun.get(run.id)
        if begun is None or begun[0] != launch:
            begun = self._begun[run.id] = launch, time.monotonic() - max(0.0, time.time() - since)
        return time.monotonic() - begun[1]

    def _hangs(self, run: Run, status: Status, cpu: float | None) -> bool:
        if cpu is None:
            return False  # nobody can tell here
        beat, worked, since = self._signs.get(run.id, (None, 0.0, 0.0))
        if beat != status.heartbeat or cpu - worked >= 0.5:
            self._signs[run.id] = status.heartbeat, cpu, time.monotonic()
            return False
        return bool(self.policy.hang_minutes) and time.monotonic() - since > 60 * self.policy.hang_minutes

    # --- the end ---

    def _epitaph(self, run: Run, state: str) -> tuple[str, str]:
        """(state, message) of a trainer that ended without a word."""
        if stopped := run.record.stopped:
            return stopped.state, stopped.message
        if (run.folder / "cancel").exists():
            return "cancelled", "Cancelled; the last checkpoint is kept."
        log = log_tail(run.folder / "train.log")
        if said := last_words(log):
            return "failed", said
        last = log.rpartition(LAUNCHED)[2]
        if _free(self.root) < FREE_BYTES / 10 or any(os.strerror(e) in last for e in DISK_FULL):
            return "failed", "The disk is full: free some space, then resume the run."
        if cause := self.executor.cause(run):
            return "failed", cause
        if state == "done":
            return "failed", "It learned to the end, but the model was not exported: resume it to try again."
        return "failed", "It stopped unexpectedly; resume it to go on from its last checkpoint."

    def _settle(self, run: Run, status: Status) -> None:
        """Write down how a run ended, and install what it made."""
        if run.status() != status:
            write_json(run.folder / "status.json", status.to_json())
        if status.state == "done" and not run.record.model:
            try:
                current = lineage_of(run)  # the data may have changed while it ran
                begun = run.record.lineage or current
                changed = begun.dataset_changed or begun.dataset_hash not in (None, current.dataset_hash)
                known = {**current.to_json(), **begun.to_json(), "dataset_changed": changed}
                # The run may have written it
                known["dataset_hash"] = begun.dataset_hash or current.dataset_hash
                lineage = Lineage.from_json(known)
                version = self._models(run.record.workspace).install(run.folder, run.name, run.title, lineage)
                run.note(model=version.served_as, lineage=lineage)
            except DiskError:
                raise  # tried again at the next look
            except StoreError as error:
                run.tell(message=f"{NOT_INSTALLED}: {error}")
        self._settled[run.id] = run.stamp()
        self._signs.pop(run.id, None)
        self._begun.pop(run.id, None)

    # --- the disk ---

    def lack_of_disk(self, afresh: bool = False) -> str | None:
        """What is wrong with the disk and what to do, or None; usage is measured now and then, or ``afresh``."""
        if _free(self.root) < FREE_BYTES:
            return "the disk is nearly full: free some space"
        if not self.policy.max_disk_gb:
            return None
        if afresh or time.monotonic() - self._disk[0] > 30 or not self._disk[0]:
            self._disk = time.monotonic(), disk_usage(self.root)
        if self._disk[1] > self.policy.max_disk_gb * 1e9:
            return f"the runs fill the {self.policy.max_disk_gb:g} GB they may have: delete old ones"
        return None


def _never_began(run: Run, status: Status) -> bool:
    """Whether the server was killed when it was about to start a trainer, which nothing was heard of."""
    queued = run.record.queued
    waited = all(launch.time < queued for launch in run.record.launches)
    return status.state == "running" and status.pid is None and queued > 0 and waited


def _stop_as(run: Run, state: str, message: str) -> None:
    """Keep why a run is being ended, for when it has."""
    run.note(stopped=Stopped(state=state, message=message))


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
