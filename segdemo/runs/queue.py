"""Training in the background: start, follow, cancel and resume runs, one at a time, each in its own process.

A run is a folder: see ``record`` for its files and ``supervisor`` for its process.
"""

import contextlib
import copy
import hashlib
import json
import logging
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segdemo import zoo
from segdemo.core import settings as places
from segdemo.core.conventions import clean_title, now, slug, so_many_are
from segdemo.core.files import (
    NotFoundError,
    StoreError,
    disk_usage,
    hidden_build,
    locked,
    remove_folder,
    sweep,
    write_json,
)
from segdemo.data import learnable, tfds
from segdemo.data.datasets import Dataset
from segdemo.data.sources import outline
from segdemo.errors import UserError
from segdemo.runs import processes
from segdemo.runs.config import of_before
from segdemo.runs.estimates import Estimate, Estimates
from segdemo.runs.executor import Executor, Here
from segdemo.runs.policy import Policy, PolicyError, RunError, training_installed
from segdemo.runs.record import Record, Run, Status, events_since, every_run, find_run, log_tail
from segdemo.runs.snapshot import ENDED, NOT_INSTALLED, WAITING, Snapshot, snapshot_of
from segdemo.runs.supervisor import Supervisor
from segdemo.zoo.versions import ModelStore

MIN_PHOTOS = 3  # one to learn from, one to choose by, one to report on
CANCEL_SECONDS = 60  # for a trainer to end by itself once it is asked to

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ticket:
    """What ``start`` answers: the run, and whether it is a new one or one that was asked for before."""

    run_id: str
    new: bool


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
        models_of: the ``ModelStore`` of a workspace, for runs that belong to one, see ``of``.
        executor: who executes runs; by default this machine, one at a time.
    """

    # Whose runs are seen; "" for those of everybody, which only who looks after them should see
    _workspace = ""

    def __init__(
        self,
        root: Path | str | None = None,
        policy: Policy | None = None,
        command: Sequence[str] | None = None,
        models: ModelStore | None = None,
        cancel_seconds: float = CANCEL_SECONDS,
        models_of: Callable[[str], ModelStore] | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.root = (Path(root) if root is not None else places.home() / "runs").resolve()
        self.policy = policy or Policy.from_env()
        self.models = models or ModelStore()
        executor = executor or Here()
        self._executor = executor
        self._can_train = command is not None or executor.several or training_installed()
        command = command or [sys.executable, "-m", "segdemo", "train"]
        self._supervisor = Supervisor(
            self.root, self.policy, command, self.models, cancel_seconds, models_of, executor
        )
        self._estimates = Estimates(self.root / ".estimates", command, executor.bench)
        self._stop = threading.Event()
        self._require_room: Callable[[int], object] = lambda size: None

    def of(self, workspace: str, models: ModelStore, require_room: Callable[[int], object]) -> "Runs":
        """The same runs as one workspace sees them: its own, and of the others how many wait before its own.

        Args:
            workspace: its id, not "".
            models: that its runs end in.
            require_room: called with the bytes of its runs before one is started; raises StoreError if that is too
                much.
        """
        seen = copy.copy(self)
        seen._workspace, seen.models, seen._require_room = workspace, models, require_room
        return seen

    def _seen(self) -> Sequence[Run]:
        """The runs that may be seen, oldest first."""
        runs = every_run(self.root)
        return [run for run in runs if run.record.workspace == self._workspace] if self._workspace else runs

    def _find(self, run_id: str) -> Run:
        """The run called so; that of another workspace is not there. Raises NotFoundError."""
        run = find_run(self.root, run_id)
        if self._workspace and run.record.workspace != self._workspace:
            raise NotFoundError(f"There is no run {run_id!r}: look it up in the list.")
        return run

    # --- the interface: permit, start, follow, cancel, resume ---

    def permit(self, token: str = "", user: str = "") -> None:
        """Raise PolicyError unless this installation can train, and who asks may train, see ``Policy.permit``."""
        if not self._can_train:
            raise PolicyError("Training is not installed here: install what requirements.txt lists to train.")
        self.policy.permit(token, user)

    def start(
        self,
        settings: Mapping[str, Any],
        title: str = "",
        name: str = "",
        request: str = "",
        user: str = "",
        token: str = "",
    ) -> Ticket:
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
        self.permit(token, user)
        settings, dataset = self._checked(settings)
        held_back = settings.get("validation", "val"), settings.get("held_out", "test")
        if dataset.root.is_dir():  # else it is written by the run, which looks into it then
            learnable.require_learnable(
                dataset, settings.get("subset") or dataset.learning_subset, *held_back
            )
        title = clean_title(title or f"{zoo.spec(settings['model']).title} on {dataset.label_set.title}")
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        with self._lock():
            for run in self._seen():
                state = self._supervisor.state(run).state
                if (request and request == run.record.request) or (
                    state not in ENDED and key == run.record.key
                ):
                    return Ticket(run.id, new=False)
            self._check_room()
            run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
            record = Record.of(
                title=title,
                name=slug(name or title, "model"),
                created=now(),
                user=user,
                request=request,
                key=key,
                queued=time.time(),
                launches=[],
                **({"workspace": self._workspace} if self._workspace else {}),
            )
            with hidden_build(self.root / run_id) as build:
                write_json(build / "config.json", settings)
                write_json(build / "run.json", record.to_json())
                write_json(build / "status.json", Status(state="queued", message=WAITING).to_json())
        self._try_to_start()
        return Ticket(run_id, new=True)

    def follow(self, run_id: str, since: int = 0) -> Snapshot:
        """How a run is doing. Changes nothing, waits for nothing, and reads only what is new.

        Args:
            run_id: the run.
            since: the ``cursor`` of the last Snapshot; 0 for all events from the beginning.

        Returns:
            A Snapshot.
        """
        run = self._find(run_id)
        events, cursor = events_since(run.folder / "events.jsonl", since)
        log = log_tail(run.folder / "train.log")
        queue = self._queue() if run.status().state == "queued" else []
        return snapshot_of(run, self._supervisor.state(run), queue, events, cursor, log)

    def cancel(self, run_id: str, user: str = "", token: str = "") -> None:
        """Take a run out of the queue, or stop it within a step; its checkpoints are kept. Twice does no harm."""
        self.policy.permit(token, user)
        with self._lock():
            run = self._find(run_id)
            state = self._supervisor.state(run).state
            if state == "queued":
                run.tell(state="cancelled", message="Cancelled before it began.")
            elif state == "running":
                self._supervisor.ask_to_stop(run)

    def resume(self, run_id: str, user: str = "", token: str = "") -> None:
        """Queue a run that failed or was cancelled again, to go on from its last checkpoint.

        Raises:
            RunError: it is done, or there is no room.
        """
        self.permit(token, user)
        with self._lock():
            run = self._find(run_id)
            state = self._supervisor.state(run).state
            if state == "done":
                raise RunError(f"{run.title} is done: start a new run with its settings.")
            if state in ENDED:
                self._check_room()
                (run.folder / "cancel").unlink(missing_ok=True)
                run.note(queued=time.time(), stopped=None)
                run.tell(state="queued", message=WAITING, eta_seconds=None)
        self._try_to_start()

    def estimate(
        self, settings: Mapping[str, Any], user: str = "", token: str = "", begin: bool = True
    ) -> Estimate:
        """How long a run with these settings would take here; measured in the background, so ask again.

        Args:
            settings, user, token: as of ``start``.
            begin: False to say only what is known already.

        Returns:
            An ``estimates.Estimate``.

        Raises:
            As ``start``.
        """
        self.permit(token, user)
        settings, dataset = self._checked(settings)
        learning = settings.get("subset") or dataset.learning_subset
        subsets = (learning, settings.get("validation", "val"), settings.get("held_out", "test"))
        photos = [len(dataset.samples(subset)) for subset in subsets]
        with self._lock():
            busy = any(self._takes_room(run) for run in every_run(self.root))
            when = "no run waits for room" if self._executor.several else "no run is in progress"
            reason = f"How long it takes is measured when {when}." if busy else None
            environment = self._supervisor.environment(self._workspace)
            return self._estimates.ask(settings, environment, reason if begin or busy else "", photos)

    def _takes_room(self, run: Run) -> bool:
        """Whether a run works where a measurement would be in its way, or waits for that."""
        state = self._supervisor.state(run).state
        return state == "queued" or (
            state == "running" and (not self._executor.several or self._executor.waits(run))
        )

    # --- looking after them ---

    def list(self) -> Sequence[Snapshot]:
        """A Snapshot of every run, newest first, without events and log."""
        queue = self._queue()
        return [snapshot_of(r, self._supervisor.state(r), queue) for r in reversed(self._seen())]

    def settings_of(self, run_id: str) -> dict[str, Any]:
        """A copy of a run's settings, to start another one with."""
        run = self._find(run_id)
        if not (settings := run.settings()):
            raise RunError(f"The settings of {run.title} are damaged: start a new run instead.")
        return of_before(settings)

    def rename(self, run_id: str, title: str, user: str = "", token: str = "") -> None:
        """Call a run something else. Raises StoreError without a title."""
        self.policy.permit(token, user)
        title = clean_title(title)
        with self._lock():
            self._find(run_id).note(title=title)

    def delete(self, run_id: str, user: str = "", token: str = "") -> None:
        """Remove a run that does not run, with its checkpoints; an installed model stays. Raises RunError."""
        self.policy.permit(token, user)
        with self._lock():
            run = self._find(run_id)
            if self._executor.alive(run):
                raise RunError(f"{run.title} is running: cancel it first.")
            remove_folder(run.folder)

    def tidy(self) -> None:
        """Remove runs that ended too long ago or are too many, see ``Policy``, and what killed servers left.

        One whose model is still to be installed stays, such as one that ended while no server was there.
        """
        with self._lock():
            ended = [run for run in every_run(self.root) if self._is_over(run)]
            limit = time.time() - self.policy.keep_days * 86400
            too_many = len(ended) - int(self.policy.keep_runs) if self.policy.keep_runs else 0
            for number, run in enumerate(ended):
                age = (run.folder / "status.json").stat().st_mtime
                if number < too_many or (self.policy.keep_days and age < limit):
                    remove_folder(run.folder)
            sweep(self.root, days=0)
            self._estimates.tidy()

    def _is_over(self, run: Run) -> bool:
        """Whether a run has ended, and nothing has to be done for it any more."""
        status = self._supervisor.state(run)
        to_install = status.state == "done" and not (
            run.record.model or status.message.startswith(NOT_INSTALLED)
        )
        return status.state in ENDED and not to_install and not self._executor.alive(run)

    # --- workspaces ---

    def counts(self) -> dict[str, dict[str, int]]:
        """How many runs each workspace has, by state; those of nobody's are under ""."""
        found: dict[str, dict[str, int]] = {}
        for run in every_run(self.root):
            states, state = found.setdefault(run.record.workspace, {}), self._supervisor.state(run).state
            states[state] = states.get(state, 0) + 1
        return found

    def bytes_of(self, workspace: str) -> int:
        """Bytes of the runs of a workspace."""
        return sum(disk_usage(r.folder) for r in every_run(self.root) if r.record.workspace == workspace)

    @contextlib.contextmanager
    def standing_still(self, *workspaces: str) -> Iterator[Sequence[Run]]:
        """For a ``with`` statement: the runs of some workspaces, of which none is started or changed in it."""
        with self._lock():
            yield [run for run in every_run(self.root) if run.record.workspace in workspaces]

    def is_running(self, run: Run) -> bool:
        """Whether a trainer works on a run, or ended without anybody having looked since."""
        return self._supervisor.state(run).state == "running" or self._executor.alive(run)

    # --- the thread ---

    def watch(self, seconds: float = 1.0) -> None:
        """Keep the queue going from a thread of its own, until ``close``."""

        def loop() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.tick()
                except Exception:  # whatever it is, the next runs must be looked after
                    _log.exception("The runs could not be looked after.")

        threading.Thread(target=loop, name="runs", daemon=True).start()

    def close(self) -> None:
        """End the thread of ``watch``. Runs go on."""
        self._stop.set()

    def tick(self) -> None:
        """Look after every run once: end what must be ended, record what has ended, start what is next."""
        processes.fetch_exit_codes()
        if not self.root.is_dir():
            return
        self._executor.look(every_run(self.root))
        self._estimates.look()
        with self._lock():
            self._estimates.look_after(self.policy.memory_bytes)
            busy, queued = False, []
            for run in every_run(self.root):
                try:
                    found = self._supervisor.look_after(run)
                except (OSError, UserError) as error:  # one bad run must not stop the others
                    _log.warning("%s: %s", run.id, error)
                    continue
                busy = busy or found == "waits" or (found == "busy" and not self._executor.several)
                if found == "queued":
                    queued.append(run)
            if queued and not busy:
                self._estimates.stop()
                self._supervisor.launch(in_turn(queued, every_run(self.root))[0])

    def _try_to_start(self) -> None:
        try:
            self.tick()
        except StoreError as error:  # the run is in the queue; ``watch`` will start it
            _log.warning("%s", error)

    def _queue(self) -> Sequence[str]:
        """Ids of the runs that wait, the next one first."""
        runs = every_run(self.root)
        return [run.id for run in in_turn([run for run in runs if run.status().state == "queued"], runs)]

    def _lock(self) -> AbstractContextManager[None]:
        return locked(self.root / ".lock")

    # --- limits ---

    def _checked(self, settings: Mapping[str, Any]) -> tuple[dict[str, Any], Dataset]:
        """(settings as plain data, dataset). Raises RunError, DatasetError, UnknownModelError."""
        try:
            plain = json.loads(json.dumps(settings, allow_nan=False))
        except (TypeError, ValueError):
            plain = None
        if not isinstance(plain, dict):
            raise RunError("The settings of a run are a dictionary of plain texts and numbers.")
        for key in ("model", "dataset", "data"):
            if not plain.get(key):
                raise RunError(f"Say which {key} first.")
        zoo.spec(plain["model"])
        if not tfds.is_tfds(plain["data"]):
            plain["data"] = str(places.expanded(str(plain["data"])).resolve())
        if start := zoo.served_models().get(plain.get("start_from", "")):
            # What a promoted name stands for may change until the run is measured against its start.
            plain["start_from"] = start.alias_of or start.name
        if self._workspace:
            self._require_own(plain)
        dataset = outline(plain["dataset"], plain["data"])
        epochs = plain.get("epochs", 1)
        if not isinstance(epochs, int) or epochs < 1:
            raise RunError(f"A run has 1 epoch or more, not {epochs!r}.")
        if self.policy.max_epochs and epochs > self.policy.max_epochs:
            raise PolicyError(f"A run may have up to {self.policy.max_epochs:g} epochs here, not {epochs}.")
        if dataset.kind == "annotations" and len(dataset.splits["all"]) < MIN_PHOTOS:
            raise RunError(
                f"Annotate at least {MIN_PHOTOS} photos first (there are {len(dataset.splits['all'])}): one to learn "
                "from, one to watch the scores on, and one to measure the model on."
            )
        subset = plain.get("subset") or dataset.learning_subset
        images = len(dataset.samples(subset))
        for other in (plain.get("validation", "val"), plain.get("held_out", "test")):
            dataset.samples(other)
        if self.policy.max_images and images > self.policy.max_images:
            raise PolicyError(
                f"A run may learn from up to {self.policy.max_images:g} photos here, and {subset!r} has {images}."
            )
        return plain, dataset

    def _require_own(self, plain: Mapping[str, Any]) -> None:
        """Raise RunError for settings that name what neither everybody has nor this workspace."""
        own = self.models.root.parent
        known = [folder.resolve() for folder in (own, places.data_dir()) if folder]
        if not tfds.is_tfds(plain["data"]) and not any(
            Path(plain["data"]).is_relative_to(place) for place in known
        ):
            raise RunError("Choose what to learn from among your collections and the datasets there are.")
        start = plain.get("start_from")
        if start and start not in zoo.served_models():
            raise RunError("Choose a model to start from among those there are.")
        if any(
            "/" in text or "\\" in text
            for key, value in plain.items()
            if key != "data"
            for text in _texts(value)
        ):
            raise RunError("The settings of a run here name no files: choose among what is offered.")

    def _check_room(self) -> None:
        waiting = len(self._queue())
        if self._workspace:
            own, each = self._seen(), self.policy.max_queue_each
            if each and sum(run.status().state == "queued" for run in own) >= each:
                raise PolicyError(
                    f"Up to {each:g} of your runs may wait: try again when one of them has started."
                )
            self._require_room(sum(disk_usage(run.folder) for run in own))
        if self.policy.max_queue and waiting >= self.policy.max_queue:
            raise PolicyError(
                f"{so_many_are(waiting, 'run')} waiting already: try again when one of them has started."
            )
        if (lack := self._supervisor.lack_of_disk(afresh=True)) is not None:
            raise PolicyError(f"No run can start, because {lack}.")


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)


def in_turn(waiting: Sequence[Run], runs: Sequence[Run]) -> Sequence[Run]:
    """The runs that wait in the order in which they begin: first come first served, but workspaces take turns.

    Args:
        waiting: in any order.
        runs: every run there is, since whose turn was last counts.
    """
    last: dict[str, float] = {}  # workspace -> when a run of it was started last
    for run in runs:
        started = max((launch.time for launch in run.record.launches), default=0.0)
        last[run.record.workspace] = max(started, last.get(run.record.workspace, 0.0))
    left, order = list(waiting), []
    while left:
        following = min(left, key=lambda run: (last.get(run.record.workspace, 0.0), run.record.queued))
        left.remove(following)
        order.append(following)
        last[following.record.workspace] = time.time() + len(order)  # after all that were started so far
    return order
