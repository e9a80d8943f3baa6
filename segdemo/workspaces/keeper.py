"""The workspaces of an installation on which each visitor has one: opened, measured, handed over and cleared away.

A workspace is a folder ``workspaces/<id>`` in the state root with ``annotations``, ``models`` and ``touched``, a file
that says when it was used last; it is made when something is first kept in it. Its runs are in the one queue of the
machine.
"""

import contextlib
import logging
import math
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cachetools import LRUCache

from segdemo.cluster.jobs import executor
from segdemo.core import settings
from segdemo.core.conventions import TRASH_DAYS
from segdemo.core.files import (
    DiskError,
    NotFoundError,
    StoreError,
    disk_errors,
    disk_usage,
    locked,
    remove_folder,
    sweep,
)
from segdemo.core.workspace import Workspace, WorkspaceError, required
from segdemo.runs.queue import Runs
from segdemo.runs.snapshot import ENDED
from segdemo.workspaces import moving
from segdemo.workspaces.moving import Moving
from segdemo.workspaces.quota import QuotaStore, usage
from segdemo.zoo.versions import ModelStore

NOBODY = "nobody"  # id of a workspace that stays empty, for a page that nobody looks at yet
SIGNED_IN = ("user-", "hub-")  # how ids of workspaces begin whose visitors have a name
TOUCH_SECONDS = 60  # between two notes that a workspace is in use
MEASURE_SECONDS = 60  # how long a measurement of all of them holds
CLEAR_SECONDS = 600  # between two looks for what nobody touched
IN_USE_SECONDS = 3600  # what was touched since then is not cleared to make room
MOST_ROOMS = 500  # workspaces whose stores are kept in memory
MOST_WORKSPACES = 10_000  # on the disk
CLOCK_SECONDS = 60  # by which a clock that goes by itself is never wrong between two looks
_ID = re.compile(r"[a-z0-9-]{1,80}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Room:
    """What there is of one workspace: its collections, its models, and its runs."""

    store: QuotaStore
    versions: ModelStore
    runs: Runs


@dataclass(frozen=True)
class Facts:
    """What an owner may know of a workspace: numbers.

    Attributes:
        id: of it. signed_in: whether its visitor has a name.
        bytes: of collections and models. run_bytes: of its runs. photos: in its collections.
        collections, models: how many. runs: how many, by state.
        idle: seconds since it was touched.
    """

    id: str
    signed_in: bool
    bytes: int
    run_bytes: int
    photos: int
    collections: int
    models: int
    runs: Mapping[str, int]
    idle: float


class Keeper:
    """One for each process; safe to use from several threads."""

    def __init__(self) -> None:
        self.root = settings.workspaces_dir()
        self.models = ModelStore()  # those of the installation, which everybody has
        self.runs = Runs(models=self.models, models_of=self.models_of, executor=executor())
        self._rooms: LRUCache[str, Room] = LRUCache(MOST_ROOMS)
        self._touched: LRUCache[str, float] = LRUCache(MOST_ROOMS)
        self._left: LRUCache[tuple[str, str], float] = LRUCache(MOST_ROOMS)  # for lack of room, when
        self._clocks = time.time(), time.monotonic()  # at the last look for what nobody touched
        self._total = (-math.inf, 0)  # when it was measured; bytes of all workspaces
        self._lock, self._measuring = threading.Lock(), threading.Lock()
        self._stop = threading.Event()

    # --- one workspace ---

    def workspace(self, id_: str) -> Workspace:
        """The Workspace with this id. Raises WorkspaceError for what is none."""
        if not _ID.fullmatch(id_):
            raise WorkspaceError("This is no workspace: open the page again.")
        return Workspace(id_, self.root / id_)

    def room(self) -> Room:
        """What the visitor has who is being answered. Raises WorkspaceError outside a workspace."""
        return self._room(required())

    def _room(self, workspace: Workspace) -> Room:
        with self._lock:
            room = self._rooms.get(workspace.id)
            if room is None:
                store = QuotaStore(workspace.folder, lambda size: self._require_room(workspace, size))
                models = ModelStore(workspace.models)
                seen = self.runs.of(workspace.id, models, lambda size: _begin(workspace, store, size))
                room = self._rooms[workspace.id] = Room(store, models, seen)
            return room

    def models_of(self, id_: str) -> ModelStore:
        """The models of a workspace, in which its runs end."""
        return ModelStore(self.workspace(id_).models)

    def touch(self, workspace: Workspace) -> None:
        """Note that a workspace is in use, if there is anything in it; now and then."""
        now = time.monotonic()
        with self._lock:
            if now - self._touched.get(workspace.id, -math.inf) < TOUCH_SECONDS:
                return
            if workspace.folder.is_dir():
                self._touched[workspace.id] = now
        with contextlib.suppress(OSError):
            if workspace.folder.is_dir():
                (workspace.folder / "touched").touch()

    def _require_room(self, workspace: Workspace, size: int) -> None:
        """Raise StoreError if nothing more may be kept of all visitors together."""
        if workspace.id == NOBODY:
            raise WorkspaceError("Nobody knows whose this is to be: open the page again.")
        if not workspace.folder.is_dir() and len(self._ids()) >= MOST_WORKSPACES:
            raise StoreError("Too many visitors keep something here already: try again tomorrow.")
        most = settings.read("SEGDEMO_MAX_COLLECTIONS_GB")
        if most and self._bytes() + size > most * 1e9:
            raise StoreError(
                "The visitors of this page fill the room it has: try again in an hour, when some may have gone."
            )
        with self._measuring:
            self._total = (self._total[0], self._total[1] + size)

    # --- all of them ---

    def _ids(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return [path.name for path in self.root.iterdir() if _ID.fullmatch(path.name) and path.is_dir()]

    def _bytes(self) -> int:
        """Bytes of all workspaces, without their runs, measured now and then."""
        with self._measuring:  # which may take long, so nobody else waits for it
            measured, total = self._total
            if time.monotonic() - measured > MEASURE_SECONDS:
                total = disk_usage(self.root)
                self._total = time.monotonic(), total
            return total

    def totals(self) -> tuple[int, int]:
        """(how many workspaces there are, bytes of all without their runs); cheap."""
        return len(self._ids()), self._bytes()

    def facts(self) -> list[Facts]:
        """What there is of each workspace, the largest first."""
        counts = self.runs.counts()
        found = []
        for id_ in self._everyone(counts):
            workspace = self.workspace(id_)
            room, (size, photos) = self._room(workspace), usage(workspace.folder)
            found.append(
                Facts(
                    id=id_,
                    signed_in=id_.startswith(SIGNED_IN),
                    bytes=size,
                    run_bytes=self.runs.bytes_of(id_),
                    photos=photos,
                    collections=len(room.store.collections()),
                    models=len(room.versions.names()),
                    runs=counts.get(id_, {}),
                    idle=time.time() - _last_use(workspace),
                )
            )
        return sorted(found, key=lambda facts: -facts.bytes - facts.run_bytes)

    def _everyone(self, owners: Iterable[str]) -> set[str]:
        """Ids of the workspaces there are, and of those that only runs are of; a damaged run may name anything."""
        return {*self._ids(), *filter(_ID.fullmatch, owners)}

    # --- clearing ---

    def clear(self, id_: str) -> None:
        """Remove a workspace with all that is in it, its runs too. What is being saved there is waited for.

        Raises:
            NotFoundError: there is none. StoreError: one of its runs is running. DiskError.
        """
        workspace = self.workspace(id_)
        with self.runs.standing_still(id_) as runs:
            if not runs and not workspace.folder.is_dir():
                raise NotFoundError(f"There is no workspace {id_}: look at the list again.")
            if any(self.runs.is_running(run) for run in runs):
                raise StoreError("One of its runs is running: clear it when that has ended.")
            with contextlib.ExitStack() as held:
                if workspace.folder.is_dir():
                    store = self._room(workspace).store
                    for name in (".store", *(path.name for path in moving.folders(store.root))):
                        with contextlib.suppress(DiskError):  # a full disk may have no room for the lock
                            held.enter_context(store.lock(name))
                for run in runs:
                    remove_folder(run.folder)
                remove_folder(workspace.folder)
        with self._lock:
            self._rooms.pop(id_, None)
            self._touched.pop(id_, None)
        with self._measuring:
            self._total = (-math.inf, 0)

    def clear_untouched(self) -> list[str]:
        """Clear away what nobody touched for ``SEGDEMO_WORKSPACE_HOURS``, and more if the disk is full.

        Those of visitors who are not signed in go by age, and then, if all have no room, by who was here longest ago.
        Those of people who are signed in go last: for lack of room alone, and after ``TRASH_DAYS`` only. Setting the
        clock makes nobody idle.

        Returns:
            Ids of those that were cleared.
        """
        sweep(self.root, days=TRASH_DAYS)
        self._end_moves()
        hours, cleared = settings.read("SEGDEMO_WORKSPACE_HOURS"), []
        counts = self.runs.counts()
        everyone = self._everyone(counts)
        self._allow_for_the_clock(everyone)
        idle = {id_: self._idle(self.workspace(id_)) for id_ in everyone}
        working = {id_ for id_, states in counts.items() if any(state not in ENDED for state in states)}
        free = sorted(idle.keys() - working, key=lambda id_: (id_.startswith(SIGNED_IN), -idle[id_]))
        for id_ in free:
            named = id_.startswith(SIGNED_IN)
            # Clearing many takes a while, in which some of their visitors may have come back.
            since = self._idle(self.workspace(id_))
            old = bool(hours) and not named and since > hours * 3600
            least = TRASH_DAYS * 86400 if named else IN_USE_SECONDS
            if old or (since > least and self._full()):
                try:
                    self.clear(id_)
                    cleared.append(id_)
                except StoreError as error:
                    _log.warning("The workspace %s was not cleared: %s", id_, error)
        return cleared

    def _idle(self, workspace: Workspace) -> float:
        """Seconds since it was used, as far as is known, by whichever clock says less."""
        with self._lock:
            touched = self._touched.get(workspace.id, -math.inf)
        return min(time.time() - _last_use(workspace), time.monotonic() - touched)

    def _allow_for_the_clock(self, ids: Iterable[str]) -> None:
        """If the clock was set since the last look, move the times at which workspaces were used along with it."""
        now = time.time(), time.monotonic()
        with self._lock:
            before, self._clocks = self._clocks, now
        jump = (now[0] - before[0]) - (now[1] - before[1])
        if abs(jump) < CLOCK_SECONDS:
            jump = 0.0
        else:
            _log.warning("The clock was set by %+.0f seconds: no workspace is older by that.", jump)
        for path in (path for id_ in ids for path in _notes(self.workspace(id_))):
            with contextlib.suppress(OSError):
                status = path.stat()
                used = min(now[0], status.st_mtime + max(0.0, jump))
                if abs(used - status.st_mtime) >= CLOCK_SECONDS:
                    os.utime(path, (status.st_atime, used))

    def _full(self) -> bool:
        most = settings.read("SEGDEMO_MAX_COLLECTIONS_GB")
        return bool(most) and self._bytes() > 0.9 * most * 1e9

    def tidy(self) -> None:
        """``clear_untouched``, and the trash of every workspace that is left."""
        self.clear_untouched()
        for id_ in self._ids():
            room = self._room(self.workspace(id_))
            room.store.tidy()
            room.versions.tidy()

    def watch(self, seconds: float = CLEAR_SECONDS) -> threading.Thread:
        """``clear_untouched`` now and then, from a thread of its own, until ``close``."""

        def loop() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.clear_untouched()
                except Exception:  # whatever it is, the next ones must go
                    _log.exception("The workspaces could not be cleared.")

        thread = threading.Thread(target=loop, name="workspaces", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """End the thread of ``watch``."""
        self._stop.set()

    # --- handing over ---

    def hand_over(self, old: Workspace, new: Workspace) -> None:
        """Move all that is in one workspace into another, when a visitor has signed in; nothing is overwritten.

        A collection or model whose name is taken gets another one. While a run of the old workspace is running, its
        models and the collection it learns from stay; they follow when this is called after it has ended. So do
        collections for which the new workspace has no room, when it has some.

        Raises:
            DiskError.
        """
        if not old.folder.is_dir() or old.id == new.id:
            return
        with self._lock:
            if time.monotonic() - self._left.get((old.id, new.id), -math.inf) < MEASURE_SECONDS:
                return
        with locked(self.root / ".locks" / f"{old.id}.lock"):
            begun = moving.begun(old)  # by a server that was killed
            if begun is not None and begun.to != new.id and _ID.fullmatch(begun.to):
                self._move(old, self.workspace(begun.to), begun)
                begun = None
            running = self._move(old, new, begun)
        with self._lock:
            self._rooms.pop(old.id, None)
            for id_ in (old.id, new.id):
                self._touched.pop(id_, None)
            if not running and old.folder.is_dir():
                self._left[old.id, new.id] = time.monotonic()

    def _move(self, old: Workspace, new: Workspace, begun: Moving | None) -> bool:
        """Move what can be moved; whether a run goes on, so that more will follow."""
        with self.runs.standing_still(old.id, new.id) as runs:
            # Those that were handed over before go on reading where they began.
            running = [run for run in runs if self.runs.is_running(run)]
            moving.move(old, self._room(old).store, new, self._room(new).store, runs, running, begun)
            if not running and moving.is_empty(old):
                remove_folder(old.folder)
        return bool(running)

    def _end_moves(self) -> None:
        """Hand over what a server that was killed had begun to: whoever it is of may not come again."""
        for id_ in self._ids():
            old = self.workspace(id_)
            if (begun := moving.begun(old)) is not None and _ID.fullmatch(begun.to):
                try:
                    self.hand_over(old, self.workspace(begun.to))
                except StoreError as error:
                    _log.warning("The workspace %s was not handed over: %s", id_, error)


def _begin(workspace: Workspace, store: QuotaStore, size: int) -> None:
    """Before a run begins: is there room, and a place that tells when its owner was here last."""
    store.require_room(others=size)
    with disk_errors(workspace.folder):
        workspace.folder.mkdir(parents=True, exist_ok=True)


def _last_use(workspace: Workspace) -> float:
    """When it was touched last, as seconds of the epoch; of one without a folder, long ago."""
    times = [0.0]
    for path in _notes(workspace):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _notes(workspace: Workspace) -> tuple[Path, ...]:
    """What is newer whenever a workspace was used."""
    return workspace.folder / "touched", workspace.folder, workspace.folder / "annotations"
