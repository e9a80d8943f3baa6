"""Training in the background: start, follow, cancel and resume runs, one at a time, each in its own process.

A run is a folder. The trainer writes what ``training.trainer`` describes; this module adds ``run.json`` (who wanted
what, when), ``train.log`` (what the trainer printed) and ``alive``, a lock file the trainer inherits open and
locked. The system lets go of that lock when the trainer ends, however it ends, so whether a run lives never has
to be guessed, by any server, before or after a restart.

Nothing here imports Keras. A trainer that runs out of memory or crashes takes no page down with it.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from segdemo import zoo
from segdemo.core import plain
from segdemo.core import settings as places
from segdemo.core.conventions import clean_title, now, slug
from segdemo.core.files import (
    DISK_FULL,
    DiskError,
    NotFoundError,
    StoreError,
    disk_error,
    locked,
    remove_folder,
    sweep,
    write_json,
)
from segdemo.core.settings import PACKAGE
from segdemo.data import learnable
from segdemo.data.sources import open_dataset
from segdemo.runs import processes
from segdemo.runs.estimates import Estimates
from segdemo.runs.policy import Policy, PolicyError, RunError
from segdemo.runs.record import (
    Run,
    dataset_hash,
    disk_usage,
    events_since,
    json_or,
    last_words,
    log_tail,
    source_hash,
    trainer_pid,
)
from segdemo.zoo.versions import ModelStore

MIN_PHOTOS = 3  # one to learn from, one to choose by, one to report on
CANCEL_SECONDS = 60  # for a trainer to end by itself once it is asked to
FREE_BYTES = 300_000_000  # a run is not started, and is stopped, when less than this is left on the disk
LAUNCHED = "=== trainer started"  # begins a line of the log
ENDED = ("done", "failed", "cancelled")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ticket:
    """What ``start`` answers: the run, and whether it is a new one or one that was asked for before."""

    run_id: str
    new: bool


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        id, title: of the run. name: of the model it will become a version of.
        state: ``"queued"``, ``"running"``, ``"done"``, ``"failed"`` or ``"cancelled"``.
        message: one sentence on how it is doing.
        position: 1 for the next to start; 0 if it does not wait.
        epoch, epochs: finished and wanted. step, steps: of this epoch.
        images_per_second, eta_seconds, rss_mb: while it runs, if known.
        best: best mean IoU on the validation photos so far, 0..1, or None.
        created, user: when and by whom it was started.
        settings: its configuration.
        cancelling: it has been asked to stop.
        can_resume: whether ``resume`` would be accepted.
        model: the version it was installed as, such as ``"cats@2"``; "" before.
        lineage: parent, data set hash, settings and code version, once it has begun.
        report: scores before and after, once measured; else None.
        samples: paths of the pictures after each epoch, oldest first.
        events: what happened since the cursor given to ``follow``.
        cursor: what to give next time.
        log: the last lines the trainer printed.
        folder: the run directory.
    """

    id: str
    title: str
    name: str
    state: str
    message: str
    position: int
    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_second: float | None
    eta_seconds: float | None
    rss_mb: float | None
    best: float | None
    created: str
    user: str
    settings: dict
    cancelling: bool
    can_resume: bool
    model: str
    lineage: dict
    report: dict | None
    samples: tuple[Path, ...]
    events: tuple[dict, ...]
    cursor: int
    log: str
    folder: Path

    @property
    def ended(self):
        """Whether it will not change by itself any more."""
        return self.state in ENDED


class Runs:
    """The runs of this installation: the one interface between a page and whatever executes a training.

    Any number of server processes may have one over the same folder. Methods that take a run's id raise
    NotFoundError; those that change something raise PolicyError for people who may not train, and DiskError.

    Args:
        root: folder of the runs; by default ``runs`` in the state root.
        policy: a ``Policy``; None reads it from the environment.
        command: what to execute, followed by ``--out RUN_DIR --resume --json``; by default
            ``python -m segdemo train``.
        models: the ``ModelStore`` that finished runs become versions in.
        cancel_seconds: how long a trainer may take to end when asked to, before it is killed.
    """

    def __init__(self, root=None, policy=None, command=None, models=None, cancel_seconds=CANCEL_SECONDS):
        self.root = (Path(root) if root is not None else places.home() / "runs").resolve()
        self.policy = policy or Policy.from_env()
        self.models = models or ModelStore()
        self.cancel_seconds = cancel_seconds
        self._command = command or [sys.executable, "-m", "segdemo", "train"]
        self._settled = {}  # run id -> stamp of a status.json that needs no more attention
        self._signs = {}  # run id -> (heartbeat, CPU seconds, when these last changed)
        self._disk = (0.0, 0)  # when it was last measured, bytes
        self._stop = threading.Event()
        self._estimates = Estimates(self.root / ".estimates", self._command)

    # --- the interface: start, follow, cancel, resume ---

    def start(self, settings, title="", name="", request="", user="", token=""):
        """Queue a run, and start it if none is running.

        The same request, or the same settings while such a run waits or runs, give the run there is: double
        clicks, a second tab and a second person start nothing twice.

        Args:
            settings: fields of ``config.TrainConfig``; model, dataset and data at least.
            title: what a person calls the run.
            name: of the model it becomes a version of; by default made from the title.
            request: any text the page made up once for this request, or "".
            user, token: who asks, see ``Policy``.

        Returns:
            A Ticket.

        Raises:
            RunError: settings that cannot work. datasets.DatasetError, zoo.UnknownModelError: the same.
        """
        self.policy.permit(token, user)
        settings, dataset = self._checked(settings)
        held_back = settings.get("validation", "val"), settings.get("held_out", "test")
        learnable.require_learnable(dataset, settings.get("subset") or dataset.learning_subset, *held_back)
        title = clean_title(title or f"{zoo.spec(settings['model']).title} on {dataset.label_set.title}")
        name = slug(name or title, "model")
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        with self._lock():
            waiting = 0
            for run in self._runs():
                state = self._state(run)["state"]
                if request and request == run.record.get("request"):
                    return Ticket(run.id, new=False)
                if state not in ENDED and run.record.get("key") == key:
                    return Ticket(run.id, new=False)
                waiting += state == "queued"
            self._check_room(waiting)
            run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
            record = {
                "title": title,
                "name": name,
                "created": now(),
                "user": user,
                "request": request,
                "key": key,
            }
            record |= {"queued": time.time(), "launches": []}
            build = self.root / f".{run_id}.new"
            try:
                build.mkdir(parents=True)
                write_json(build / "config.json", settings)
                write_json(build / "run.json", record)
                write_json(build / "status.json", {"state": "queued", "message": "Waiting for its turn."})
                build.rename(self.root / run_id)
            except OSError as error:
                shutil.rmtree(build, ignore_errors=True)
                raise error if isinstance(error, DiskError) else disk_error(error, build) from error
        self._try_to_start()
        return Ticket(run_id, new=True)

    def follow(self, run_id, since=0):
        """How a run is doing. Changes nothing, waits for nothing, and reads only what is new.

        Args:
            run_id: the run.
            since: the ``cursor`` of the last Snapshot; 0 for all events from the beginning.

        Returns:
            A Snapshot.
        """
        run = self._run(run_id)
        events, cursor = events_since(run.folder / "events.jsonl", since)
        log = log_tail(run.folder / "train.log")
        queue = self._queue() if run.status().get("state") == "queued" else []
        return self._snapshot(run, queue, events=events, cursor=cursor, log=log)

    def cancel(self, run_id, user="", token=""):
        """Take a run out of the queue, or stop it within a step; its checkpoints are kept. Twice does no harm."""
        self.policy.permit(token, user)
        with self._lock():
            run = self._run(run_id)
            state = self._state(run)["state"]
            if state == "queued":
                self._write_status(run, state="cancelled", message="Cancelled before it began.")
            elif state == "running":
                self._ask_to_stop(run)

    def resume(self, run_id, user="", token=""):
        """Queue a run that failed or was cancelled again, to go on from its last checkpoint.

        Raises:
            RunError: it is done, or there is no room.
        """
        self.policy.permit(token, user)
        with self._lock():
            run = self._run(run_id)
            state = self._state(run)["state"]
            if state == "done":
                raise RunError(f"{run.title} is done: start a new run with its settings.")
            if state in ENDED:
                self._check_room(len(self._queue()))
                (run.folder / "cancel").unlink(missing_ok=True)
                write_json(run.folder / "run.json", {**run.record, "queued": time.time(), "stopped": None})
                self._write_status(run, state="queued", message="Waiting for its turn.", eta_seconds=None)
        self._try_to_start()

    def estimate(self, settings, user="", token="", begin=True):
        """How long a run with these settings would take here; measured in the background, so ask again.

        Args:
            settings, user, token: as of ``start``.
            begin: False to say only what is known already.

        Returns:
            An ``estimates.Estimate``.

        Raises:
            As ``start``.
        """
        self.policy.permit(token, user)
        settings, _ = self._checked(settings)
        with self._lock():
            busy = any(self._state(run)["state"] in ("queued", "running") for run in self._runs())
            reason = "How long it takes is measured when no run is in progress." if busy else None
            return self._estimates.ask(settings, self._environment(), reason if begin or busy else "")

    # --- looking after them ---

    def list(self):
        """A Snapshot of every run, newest first, without events and log."""
        queue = self._queue()
        return [self._snapshot(run, queue) for run in reversed(self._runs())]

    def settings_of(self, run_id):
        """A copy of a run's settings, to start another one with."""
        run = self._run(run_id)
        settings = json_or(run.folder / "config.json", None)
        if not isinstance(settings, dict):
            raise RunError(f"The settings of {run.title} are damaged: start a new run instead.")
        return settings

    def rename(self, run_id, title, user="", token=""):
        """Call a run something else. Raises StoreError without a title."""
        self.policy.permit(token, user)
        title = clean_title(title)
        with self._lock():
            run = self._run(run_id)
            write_json(run.folder / "run.json", {**run.record, "title": title})

    def delete(self, run_id, user="", token=""):
        """Remove a run that does not run, with its checkpoints; an installed model stays. Raises RunError."""
        self.policy.permit(token, user)
        with self._lock():
            run = self._run(run_id)
            if self._alive(run):
                raise RunError(f"{run.title} is running: cancel it first.")
            remove_folder(run.folder)

    def tidy(self):
        """Remove runs that ended too long ago or are too many, see ``Policy``, and what killed servers left."""
        with self._lock():
            ended = [
                run for run in self._runs() if self._state(run)["state"] in ENDED and not self._alive(run)
            ]
            limit = time.time() - self.policy.keep_days * 86400
            too_many = len(ended) - int(self.policy.keep_runs) if self.policy.keep_runs else 0
            for number, run in enumerate(ended):
                age = (run.folder / "status.json").stat().st_mtime
                if number < too_many or (self.policy.keep_days and age < limit):
                    remove_folder(run.folder)
            sweep(self.root, days=0)
            self._estimates.tidy()

    def watch(self, seconds=1.0):
        """Keep the queue going from a thread of its own, until ``close``."""

        def loop():
            while not self._stop.wait(seconds):
                try:
                    self.tick()
                except Exception:  # whatever it is, the next runs must be looked after
                    _log.exception("The runs could not be looked after.")

        threading.Thread(target=loop, name="runs", daemon=True).start()

    def close(self):
        """End the thread of ``watch``. Runs go on."""
        self._stop.set()

    def tick(self):
        """Look after every run once: end what must be ended, record what has ended, start what is next."""
        processes.fetch_exit_codes()
        if not self.root.is_dir():
            return
        with self._lock():
            self._estimates.look_after(self.policy.memory_bytes)
            busy, queued = False, []
            for run in self._runs():
                try:
                    if self._settled.get(run.id) == run.stamp():
                        continue
                    state = self._state(run)
                    if self._alive(run):
                        busy = True
                        self._guard(run, state)
                    elif state["state"] == "queued":
                        queued.append(run)
                    else:
                        self._settle(run, state)
                except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    # One bad run must not stop the others.
                    _log.warning("%s: %s", run.id, error)
            if queued and not busy:
                self._launch(min(queued, key=lambda run: run.record.get("queued", 0)))

    def _try_to_start(self):
        try:
            self.tick()
        except StoreError as error:  # the run is in the queue; ``watch`` will start it
            _log.warning("%s", error)

    # --- the process ---

    def _launch(self, run):
        lineage = self._lineage(run)
        self._estimates.stop()
        handle = processes.hold(run.folder / "alive")
        if handle is None:
            return
        try:
            (run.folder / "cancel").unlink(missing_ok=True)
            self._write_status(run, state="running", message="Starting.", pid=None, heartbeat=time.time())
            with (run.folder / "train.log").open("ab") as log:
                with contextlib.suppress(OSError):
                    log.write(f"{LAUNCHED} {now()}\n".encode())
                    log.flush()
                process = subprocess.Popen(
                    [*self._command, "--out", str(run.folder), "--resume", "--json"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment(),
                    start_new_session=True,  # it outlives this server and its terminal
                    pass_fds=(handle,),
                )
        except OSError as error:
            if isinstance(error, DiskError):
                raise
            self._write_status(
                run, state="failed", message=f"The trainer cannot be started ({error.strerror})."
            )
            return
        finally:
            os.close(handle)
        processes.children[process.pid] = process
        processes.step_back(process.pid)
        launch = {"pid": process.pid, "started": processes.start_ticks(process.pid), "time": time.time()}
        launches = [*run.record.get("launches", []), launch]
        write_json(run.folder / "run.json", {**run.record, "launches": launches, "lineage": lineage})

    def _environment(self):
        threads = str(int(self.policy.threads) or places.cores())
        package = str(PACKAGE.parent)
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        return {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        }

    def _lineage(self, run):
        """Where the model will come from. The data may have changed since the run was queued: it is read now."""
        from segdemo import __version__

        config = plain.fitting(json_or(run.folder / "config.json", {}), {})
        try:
            dataset = open_dataset(config["dataset"], config["data"])
            digest = dataset_hash(dataset)
        except (ValueError, OSError, KeyError, TypeError):
            digest = None  # the trainer will say what is wrong with it
        parent = config.get("start_from") or None
        earlier = (run.record.get("lineage") or {}).get("dataset_hash")
        return {
            "run": run.id,
            "parent": parent,
            "dataset_hash": digest,
            "dataset_changed": earlier is not None and earlier != digest,
            "settings": config,
            "code": f"{__version__}+{source_hash()[:8]}",
        }

    def _alive(self, run):
        """Whether a trainer works on a run."""
        if processes.is_held(run.folder / "alive"):
            return True
        return trainer_pid(run) is not None

    def _guard(self, run, state):
        """End a run that asks too much of the machine or does not do what it is told."""
        pid = trainer_pid(run)
        cancel = run.folder / "cancel"
        exporting = run.status().get("state") == "done"  # which nothing interrupts, and nothing is lost by
        if cancel.exists() and (exporting or time.time() - cancel.stat().st_mtime > self.cancel_seconds):
            self._kill(run, pid)
            return
        launches = run.record.get("launches")
        hours = (time.time() - launches[-1]["time"]) / 3600 if launches else 0
        if (rss := processes.rss(pid)) > self.policy.memory_bytes > 0:
            why = f"It needed {rss / 1e9:.1f} GB of memory and may have {self.policy.memory_bytes / 1e9:.1f}"
            self._note(run, "failed", f"{why}: choose a smaller batch or crop.")
            self._kill(run, pid)
        elif self._hangs(run, state, pid):
            minutes = self.policy.hang_minutes
            self._note(
                run, "failed", f"It showed no sign of life for {minutes:g} minutes and was ended; resume it."
            )
            self._kill(run, pid)
        elif cancel.exists():
            return
        elif self.policy.max_hours and hours > self.policy.max_hours:
            self._note(run, "cancelled", f"Stopped at the limit of {self.policy.max_hours:g} hours.")
            self._ask_to_stop(run)
        elif (lack := self._lack_of_disk()) is not None:
            self._note(run, "cancelled", f"Stopped because {lack}, then resume it.")
            self._ask_to_stop(run)

    def _hangs(self, run, state, pid):
        if pid is None:
            return False  # nobody can tell here
        cpu = processes.cpu_seconds(pid)
        beat, worked, since = self._signs.get(run.id, (None, 0.0, 0.0))
        if beat != state.get("heartbeat") or cpu - worked >= 0.5:
            self._signs[run.id] = state.get("heartbeat"), cpu, time.monotonic()
            return False
        return bool(self.policy.hang_minutes) and time.monotonic() - since > 60 * self.policy.hang_minutes

    def _note(self, run, state, message):
        """Keep why a run is being ended, for when it has."""
        write_json(run.folder / "run.json", {**run.record, "stopped": {"state": state, "message": message}})

    def _ask_to_stop(self, run):
        try:
            (run.folder / "cancel").touch(exist_ok=True)
        except OSError as error:
            raise disk_error(error, run.folder / "cancel") from error

    def _kill(self, run, pid):
        if pid is None and run.record.get("launches"):
            pid = run.record["launches"][-1]["pid"]  # it has ended, but something it started holds on
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    # --- what a run's files say ---

    def _state(self, run):
        """``status.json`` as it should be: with the state of a trainer that could not write its own end."""
        status = run.status()
        state = status.get("state", "failed")
        if state == "queued":
            return status
        alive = self._alive(run)
        if not alive:
            status = run.status()  # it may have written its end between the two looks
            state = status.get("state", "failed")
        if state == "cancelled" and run.record.get("stopped"):  # the trainer does not know why it had to stop
            return {**status, **run.record["stopped"]}
        if alive and state == "done":
            return {**status, "state": "running", "message": "Exporting and measuring the model."}
        measured = (run.folder / "report.json").is_file()
        if alive or state in ("queued", "failed", "cancelled") or (state == "done" and measured):
            return status
        state, message = self._epitaph(run, state)
        return {**status, "state": state, "message": message}

    def _epitaph(self, run, state):
        """(state, message) of a trainer that ended without a word."""
        if stopped := run.record.get("stopped"):
            return stopped["state"], stopped["message"]
        if (run.folder / "cancel").exists():
            return "cancelled", "Cancelled; the last checkpoint is kept."
        log = log_tail(run.folder / "train.log")
        if said := last_words(log):
            return "failed", said
        last = log.rpartition(LAUNCHED)[2]
        if _free(self.root) < FREE_BYTES / 10 or any(os.strerror(e) in last for e in DISK_FULL):
            return "failed", "The disk is full: free some space, then resume the run."
        processes.fetch_exit_codes()
        pids = [launch["pid"] for launch in run.record.get("launches", [])[-1:]]
        code = next((processes.exit_codes[pid] for pid in pids if pid in processes.exit_codes), 0)
        if cause := processes.killed_by(code):
            return "failed", f"{cause}: resume it, or start again with a smaller batch or crop."
        if state == "done":
            return "failed", "It learned to the end, but the model was not exported: resume it to try again."
        return (
            "failed",
            "It stopped unexpectedly; resume it to go on from its last checkpoint.",
        )

    def _settle(self, run, state):
        """Write down how a run ended, and install what it made."""
        written = run.status()
        if written != state:
            write_json(run.folder / "status.json", state)
        if state["state"] == "done" and not run.record.get("model"):
            try:
                now_ = self._lineage(run)  # the data may have changed while it ran
                lineage = {**now_, **(run.record.get("lineage") or {})}
                lineage["dataset_changed"] |= lineage["dataset_hash"] != now_["dataset_hash"]
                version = self.models.install(run.folder, run.name, run.title, lineage)
                installed = {"model": version.served_as, "lineage": lineage}
                write_json(run.folder / "run.json", {**run.record, **installed})
            except DiskError:
                raise  # tried again at the next look
            except StoreError as error:
                write_json(
                    run.folder / "status.json", {**state, "message": f"Finished, but not installed: {error}"}
                )
        self._settled[run.id] = run.stamp()
        self._signs.pop(run.id, None)

    def _write_status(self, run, **changes):
        write_json(run.folder / "status.json", {**run.status(), **changes})

    def _snapshot(self, run, queue, events=(), cursor=0, log=""):
        state = self._state(run)
        config = plain.fitting(json_or(run.folder / "config.json", {}), {"epochs": int})
        return Snapshot(
            id=run.id,
            title=run.title,
            name=run.name,
            state=state["state"],
            message=state.get("message", ""),
            position=queue.index(run.id) + 1 if run.id in queue else 0,
            epoch=state.get("epoch") or 0,
            epochs=state.get("epochs") or config.get("epochs") or 0,
            step=state.get("step") or 0,
            steps=state.get("steps") or 0,
            images_per_second=state.get("images_per_second"),
            eta_seconds=state.get("eta_seconds"),
            rss_mb=state.get("rss_mb"),
            best=state.get("best"),
            created=run.record.get("created", ""),
            user=run.record.get("user", ""),
            settings=config,
            cancelling=state["state"] == "running" and (run.folder / "cancel").exists(),
            can_resume=state["state"] in ("failed", "cancelled"),
            model=run.record.get("model", ""),
            lineage=run.record.get("lineage") or {},
            report=plain.fitting(json_or(run.folder / "report.json", None), {}) or None,
            samples=tuple(sorted((run.folder / "samples").glob("epoch_*.png"))),
            events=tuple(events),
            cursor=cursor,
            log=log,
            folder=run.folder,
        )

    def _runs(self):
        """Every run, oldest first."""
        if not self.root.is_dir():
            return []
        folders = [p for p in self.root.iterdir() if p.name[0] != "." and (p / "status.json").is_file()]
        return sorted((Run.read(p) for p in folders), key=lambda run: (run.record.get("created", ""), run.id))

    def _run(self, run_id):
        folder = self.root / str(run_id)
        if str(run_id).startswith(".") or folder.name != run_id or not (folder / "status.json").is_file():
            raise NotFoundError(f"There is no run {run_id!r}: look it up in the list.")
        return Run.read(folder)

    def _queue(self):
        """Ids of the runs that wait, the next one first."""
        waiting = [run for run in self._runs() if run.status().get("state") == "queued"]
        return [run.id for run in sorted(waiting, key=lambda run: run.record.get("queued", 0))]

    def _lock(self):
        return locked(self.root / ".lock")

    # --- limits ---

    def _checked(self, settings):
        """(settings as plain data, dataset). Raises RunError, DatasetError, UnknownModelError."""
        try:
            settings = json.loads(json.dumps(settings, allow_nan=False))
        except (TypeError, ValueError):
            settings = None
        if not isinstance(settings, dict):
            raise RunError("The settings of a run are a dictionary of plain texts and numbers.")
        for key in ("model", "dataset", "data"):
            if not settings.get(key):
                raise RunError(f"Say which {key} first.")
        zoo.spec(settings["model"])
        settings["data"] = str(Path(str(settings["data"])).expanduser().resolve())
        if start := zoo.served_models().get(settings.get("start_from")):
            # What a promoted name stands for may change until the run is measured against its start.
            settings["start_from"] = start.data.get("alias_of", start.name)
        dataset = open_dataset(settings["dataset"], settings["data"])
        epochs = settings.get("epochs", 1)
        if not isinstance(epochs, int) or epochs < 1:
            raise RunError(f"A run has 1 epoch or more, not {epochs!r}.")
        if self.policy.max_epochs and epochs > self.policy.max_epochs:
            raise PolicyError(f"A run may have up to {self.policy.max_epochs:g} epochs here, not {epochs}.")
        if dataset.kind == "annotations" and len(dataset.splits["all"]) < MIN_PHOTOS:
            raise RunError(
                f"Annotate at least {MIN_PHOTOS} photos first (there are {len(dataset.splits['all'])}): one to learn "
                "from, one to choose the best model by, and one to measure it on."
            )
        subset = settings.get("subset") or dataset.learning_subset
        images = len(dataset.samples(subset))
        for other in (settings.get("validation", "val"), settings.get("held_out", "test")):
            dataset.samples(other)
        if self.policy.max_images and images > self.policy.max_images:
            raise PolicyError(
                f"A run may learn from up to {self.policy.max_images:g} photos here, and {subset!r} has {images}."
            )
        return settings, dataset

    def _check_room(self, waiting):
        if self.policy.max_queue and waiting >= self.policy.max_queue:
            raise PolicyError(f"{waiting} runs are waiting already: try again when one of them has started.")
        self._disk = (0.0, 0)
        if (lack := self._lack_of_disk()) is not None:
            raise PolicyError(f"No run can start, because {lack}.")

    def _lack_of_disk(self):
        """What is wrong with the disk and what to do, or None."""
        if _free(self.root) < FREE_BYTES:
            return "the disk is nearly full: free some space"
        if not self.policy.max_disk_gb:
            return None
        if time.monotonic() - self._disk[0] > 30 or not self._disk[0]:
            self._disk = time.monotonic(), disk_usage(self.root)
        if self._disk[1] > self.policy.max_disk_gb * 1e9:
            return f"the runs fill the {self.policy.max_disk_gb:g} GB they may have: delete old ones"
        return None


def _free(folder):
    return shutil.disk_usage(folder).free
