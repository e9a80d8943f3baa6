"""Batches of photos that people leave with this installation: a folder each, gone after a day.

One is at work at a time, here or, several at once, elsewhere.

All that counts is on disk, so a batch goes on after the server was started again, and its owner finds it again after
the page was loaded anew. A job's folder holds:

    job.json, status.json   what is wanted, and how far it is
    in                      the photos and ZIP files as they came, until it is done
    out                     results and notes, see ``batch``, until they are in the ZIP
    preview                 small pictures of the first photos, with their masks
    result.zip              all results, once it is done

and what ``cluster.batches`` notes where it is done on a cluster.
"""

import contextlib
import logging
import os
import secrets
import shutil
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from segdemo import zoo
from segdemo.core import settings
from segdemo.core.arrays import UInt8
from segdemo.core.documents import DamagedError, Document
from segdemo.core.files import (
    NotFoundError,
    disk_errors,
    disk_usage,
    hidden_build,
    link_or_copy,
    locked,
    remove_folder,
    sweep,
    write_atomic,
    write_json,
)
from segdemo.core.frugal import step_back
from segdemo.core.photos import Limits
from segdemo.core.workspace import Workspace, current, entered
from segdemo.data.formats.archives import add_file, to_json
from segdemo.data.formats.naming import usable_stem
from segdemo.errors import UserError
from segdemo.inference.batch import Batch, BatchError, Item, Outcome, Tally
from segdemo.inference.batch_formats import chosen
from segdemo.inference.batch_photos import Photos, most_bytes
from segdemo.inference.predictors import open_predictor
from segdemo.inference.previews import Previews

KEEP_SECONDS = 86_400
MOST_WAITING = 20  # jobs of all people; who has none yet finds as many places again
NAMED = 200  # photos that failed whose reasons are in the status; all are in the ZIP
TELL_SECONDS = 0.5  # between two writings of the status
ENDED = ("done", "cancelled", "failed")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wish(Document):
    """What is wanted of a job.

    Attributes:
        owner: who may see it; "" for whoever knows its id.
        workspace: id of the one whose models are meant, where visitors have their own; else "".
        asker: who shares the places with others: a name or a network address.
        model: name of a served model. formats: names of ``batch_formats.FORMATS``.
        created: seconds since 1970.
        photos: how many. left_out: files that are no photos.
    """

    owner: str
    model: str
    formats: list[str]
    created: float
    photos: int
    left_out: int = 0
    workspace: str = ""
    asker: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress(Document):
    """How far a job is.

    Attributes:
        state: ``"queued"``, ``"running"`` or one of ``ENDED``.
        message: what went wrong, if it failed.
        done: photos with results. failed: those without.
        why: [name, reason] of the first of those.
        seconds_left: None where nobody knows yet.
        waits: whether it has begun elsewhere and there is no room for its photos yet.
    """

    state: str
    message: str = ""
    done: int = 0
    failed: int = 0
    why: list[list[str]] | None = None
    seconds_left: float | None = None
    waits: bool = False


@dataclass(frozen=True)
class Job:
    """A job as it is now. ``before`` is the number of jobs whose turn comes first."""

    id: str
    folder: Path
    wish: Wish
    progress: Progress
    before: int = 0

    @property
    def ended(self) -> bool:
        return self.progress.state in ENDED

    @property
    def result(self) -> Path | None:
        """The ZIP of its results, once it is done."""
        path = self.folder / "result.zip"
        return path if self.progress.state == "done" and path.is_file() else None

    def previews(self) -> list[Path]:
        """Small JPEGs of the photos that were done first."""
        return sorted((self.folder / "preview").glob("*.jpg"))


# (model, names of formats, what to call with each photo and its label map, photos) -> what becomes of each of them
Spread = Callable[
    [zoo.ModelEntry, Sequence[str], Callable[[UInt8, UInt8], object], Sequence[Item]], Iterable[Outcome]
]


class Elsewhere(Protocol):
    """Who works on jobs somewhere else, several at once: see ``cluster.batches``."""

    def look_after(self, jobs: "Jobs") -> None:
        """Hand over what is next, end what is cancelled, and write down what has ended. Takes seconds at most.

        It is called every few seconds, by one process at a time.
        """


class Jobs:
    """The jobs of this installation; any number of server processes may have one over the same folder.

    Methods that take an id and an owner raise NotFoundError where there is no such job of this owner's.

    Args:
        root: folder of the jobs; by default ``batches`` in the state root.
        limits: of photos; None reads them from the environment.
        elsewhere: who works on them; None for this process.
    """

    def __init__(
        self, root: Path | None = None, limits: Limits | None = None, elsewhere: Elsewhere | None = None
    ) -> None:
        self.root = root or settings.home() / "batches"
        self._limits = limits or Limits.from_env()
        self._elsewhere = elsewhere
        self._stop, self._wake = threading.Event(), threading.Event()

    def submit(
        self, owner: str, files: Sequence[str | Path], model: str, formats: Sequence[str], asker: str = ""
    ) -> Job:
        """Put a job in line. Whoever was served longest ago comes first, however many jobs others have there.

        Args:
            owner: who asks, see ``Wish``. One who has a job already that has not ended gets no second one.
            files: photos and ZIP files of photos; they may go afterwards.
            model: name of a served model.
            formats: names of ``batch_formats.FORMATS``.
            asker: see ``Wish``; "" for the owner.

        Raises:
            BatchError: no photos, too many, or too large ones; or there is no room. ExchangeError: a ZIP that cannot
            be read. FormatError, UnknownModelError, DiskError.
        """
        formats = [format.name for format in chosen(formats)]
        zoo.served_model(model)
        if not files:
            raise BatchError("There are no photos: choose some, or a ZIP of them.")
        with self._lock():
            jobs = self.every()
            _require_no_other(jobs, owner)
            _require_place(jobs, asker or owner)
            self._require_disk(jobs, asker or owner)
            id_ = secrets.token_hex(16)
            with hidden_build(self.root / id_) as build:
                (build / "in").mkdir()
                for number, file in enumerate(files):
                    _take(Path(file), build / "in" / f"{number:05}-{_short(Path(file))}")
                with Photos(build / "in", self._limits) as sources:
                    wish = Wish.of(
                        owner=owner,
                        model=model,
                        formats=formats,
                        created=time.time(),
                        photos=len(sources.items(build / "out", formats)),
                        left_out=sources.left_out,
                        workspace=getattr(current(), "id", ""),
                        asker=asker or owner,
                    )
                write_json(build / "job.json", wish.to_json())
                write_json(build / "status.json", Progress.of(state="queued").to_json())
        self._wake.set()
        return self.get(id_, owner)

    def get(self, id_: str, owner: str) -> Job:
        """A job."""
        job = self._job(id_) if isinstance(id_, str) and id_.isalnum() and len(id_) == 32 else None
        if job is None or job.wish.owner != owner:
            raise NotFoundError("There is no such batch: it may have been cleared away.")
        if job.progress.state == "queued":
            first = list(takewhile(lambda other: other.id != id_, self.line(self.every())))
            if self._elsewhere is not None:  # where those at work are in nobody's way
                first = [other for other in first if other.progress.state == "queued" or other.progress.waits]
            return replace(job, before=len(first))
        return job

    def of(self, owner: str) -> Job | None:
        """The newest job of an owner; None without, or for the owner ""."""
        mine = [job for job in self.every() if owner and job.wish.owner == owner]
        return self.get(mine[-1].id, owner) if mine else None

    def cancel(self, id_: str, owner: str) -> None:
        """End a job before its time; what is done is kept, see ``resume``. Twice does no harm."""
        with self._lock():
            job = self.get(id_, owner)
            if not job.ended:
                write_atomic(job.folder / "cancel", b"", durable=False)
            if job.progress.state == "queued":  # if it has just begun it is told by the flag
                self._tell(job, replace(job.progress, state="cancelled"))

    def resume(self, id_: str, owner: str) -> None:
        """Put a job that was cancelled or failed in line again; photos that are done are not done again.

        Raises:
            BatchError: another one of theirs has not ended, or too many are waiting.
        """
        with self._lock():
            job = self.get(id_, owner)
            if job.progress.state in ("cancelled", "failed"):
                jobs = self.every()
                _require_no_other(jobs, owner)
                _require_place(jobs, job.wish.asker)
                (job.folder / "cancel").unlink(missing_ok=True)
                self._tell(job, replace(job.progress, state="queued", message="", seconds_left=None))
        self._wake.set()

    def delete(self, id_: str, owner: str) -> None:
        """Remove a job that has ended. Raises BatchError: it has not."""
        with self._lock():
            job = self.get(id_, owner)
            if not job.ended:
                raise BatchError("This batch is at work: cancel it first.")
            remove_folder(job.folder)

    # --- looking after them ---

    def tidy(self) -> None:
        """Remove jobs that ended a day ago, and what killed processes left."""
        if not self.root.is_dir():
            return
        with self._lock():
            for folder in self.root.glob("[!.]*"):
                job = self._job(folder.name)
                with contextlib.suppress(FileNotFoundError):
                    path = folder / "status.json" if job else folder
                    old = time.time() - path.stat().st_mtime > KEEP_SECONDS
                    if old and (job is None or job.ended):
                        remove_folder(folder)
            sweep(self.root, days=0)

    def watch(self, seconds: float = 2) -> threading.Thread:
        """Work on the jobs in a thread of its own, for as long as the process lives or until ``close``."""

        def loop() -> None:
            tidied = time.monotonic()
            while not self._stop.is_set():
                try:
                    while self.work():
                        pass
                    if time.monotonic() - tidied > KEEP_SECONDS / 48:
                        self.tidy()
                        tidied = time.monotonic()
                except Exception:  # whatever it is, the next jobs must be looked after
                    _log.exception("The batches could not be looked after.")
                self._wake.wait(seconds)
                self._wake.clear()

        thread = threading.Thread(target=loop, name="batches", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """End the thread of ``watch`` after the photos at hand; the job goes on when somebody watches again."""
        self._stop.set()
        self._wake.set()

    def work(self) -> bool:
        """Do the job whose turn it is, unless another process is at one. Returns whether there was one.

        Where somebody else works on them, have that looked after.
        """
        if not self.root.is_dir():
            return False
        waiting = self.line(self.every())
        if not waiting and self._elsewhere is None:
            return False
        try:
            with FileLock(self.root / ".turn.lock", timeout=0):
                if self._elsewhere is not None:
                    self._elsewhere.look_after(self)
                    return False
                return self.do(waiting[0].id) and not self._stop.is_set()
        except Timeout:
            return False

    def do(self, id_: str, spread: Spread | None = None) -> bool:
        """Do a job, unless it has ended or somebody is at it; whether nobody was.

        Args:
            id_: of the job.
            spread: who segments its photos; None for this process.
        """
        with contextlib.suppress(Timeout), FileLock(self.root / id_ / ".work.lock", timeout=0):
            job = self._job(id_)  # it may have ended, or been cancelled, since somebody looked
            if job is not None and not job.ended:
                self._do(job, spread)
            return True
        return False

    def every(self) -> list[Job]:
        """Every job there is, the oldest first."""
        found = (self._job(folder.name) for folder in self.root.glob("[!.]*") if folder.is_dir())
        return sorted((job for job in found if job is not None), key=lambda job: job.wish.created)

    @staticmethod
    def line(jobs: Sequence[Job]) -> list[Job]:
        """Those of all jobs that have not ended, in their turn.

        What is at work goes on. Of the others one of each asker comes before anybody's second, and of these first that
        of whoever was served longest ago.
        """
        served: dict[str, float] = {}
        for job in jobs:
            if job.progress.state != "queued":
                with contextlib.suppress(OSError):
                    changed = (job.folder / "status.json").stat().st_mtime
                    served[job.wish.asker] = max(changed, served.get(job.wish.asker, 0))
        turns, earlier = [], Counter[str]()
        for job in sorted(jobs, key=lambda job: job.wish.created):
            asker = job.wish.asker
            if not job.ended:
                place = (
                    job.progress.state != "running",
                    earlier[asker],
                    served.get(asker, 0),
                    job.wish.created,
                )
                turns.append((place, job))
                earlier[asker] += 1
        return [job for _, job in sorted(turns, key=lambda turn: turn[0])]

    def end(self, id_: str, state: str, message: str = "") -> None:
        """Write down how a job ended that could not do so itself; nothing if it has, or is gone."""
        with self._lock():
            job = self._job(id_)
            if job is not None and not job.ended:
                self._tell(
                    job, replace(job.progress, state=state, message=message, seconds_left=None, waits=False)
                )

    def say(self, id_: str, message: str) -> None:
        """Write down what people should know of a job that waits; nothing if it does not."""
        with self._lock():
            job = self._job(id_)
            if job is not None and job.progress.state == "queued" and job.progress.message != message:
                self._tell(job, replace(job.progress, message=message))

    def _do(self, job: Job, spread: Spread | None) -> None:
        try:
            with entered(_workspace(job.wish)):
                state = self._segment(job, spread)
            progress, message = self._progress(job), ""
        except UserError as error:
            state, message, progress = "failed", str(error), self._progress(job)
        except Exception:
            _log.exception("A batch failed.")
            state, progress = "failed", self._progress(job)
            message = "Something unexpected went wrong; it is in the server's log."
        if state in ENDED:
            self._tell(job, replace(progress, state=state, message=message, seconds_left=None, waits=False))
        if state == "done":  # not before that is on disk: who is killed meanwhile does it once more
            shutil.rmtree(job.folder / "out", ignore_errors=True)
            shutil.rmtree(job.folder / "in", ignore_errors=True)

    def _segment(self, job: Job, spread: Spread | None) -> str:
        """Do it; the state it is in then."""
        entry, out = zoo.served_model(job.wish.model), job.folder / "out"
        flag, began = job.folder / "cancel", time.monotonic()
        told = [0.0]

        def stop() -> bool:
            return self._stop.is_set() or flag.exists()

        with Photos(job.folder / "in", self._limits) as sources:
            items = sources.items(out, job.wish.formats)
            known = {item.key: item.name for item in items}

            def progress(tally: Tally) -> None:
                now = time.monotonic()
                if now - told[0] < TELL_SECONDS and tally.left:
                    return
                told[0], fresh = now, tally.done - tally.before + len(tally.failed)
                why = [[known[key], reason] for key, reason in [*tally.failed.items()][:NAMED]]
                left = (now - began) / fresh * tally.left if fresh > 1 else None
                self._tell(
                    job,
                    Progress.of(
                        state="running",
                        done=tally.done,
                        failed=len(tally.failed),
                        why=why,
                        seconds_left=left,
                        waits=spread is not None and not fresh,
                    ),
                )

            previews = Previews(job.folder / "preview", entry.label_set)
            batch = Batch(
                open_predictor(entry, threads=1),
                items,
                out,
                job.wish.formats,
                limits=self._limits,
                look=previews,
            )
            progress(Tally(len(items)))
            most = most_bytes()
            if spread is None:
                tally = batch.run(settings.threads(), True, stop, progress, most, prepare=step_back)
            else:
                by = partial(spread, entry, job.wish.formats, previews)
                tally = batch.run_by(by, True, progress, stop, most)
            told[0] = 0
            progress(tally)
            if tally.left:
                return "running" if self._stop.is_set() and not flag.exists() else "cancelled"
            if not tally.done:
                first = next(iter(tally.failed.values()))
                raise BatchError(f"None of the photos could be used: {first}")
            failed = [(item.name, tally.failed[item.key]) for item in items if item.key in tally.failed]
        with disk_errors(job.folder):
            _pack(job, entry, failed)
        return "done"

    def _tell(self, job: Job, progress: Progress) -> None:
        if job.folder.is_dir():
            write_atomic(job.folder / "status.json", to_json(progress.to_json()).encode(), durable=False)

    def _progress(self, job: Job) -> Progress:
        found = self._job(job.id)
        return found.progress if found else job.progress

    def _job(self, id_: str) -> Job | None:
        folder = self.root / id_
        try:
            return Job(id_, folder, Wish.read(folder / "job.json"), Progress.read(folder / "status.json"))
        except (OSError, DamagedError):  # it was cleared away, or somebody else wrote there
            return None

    def _require_disk(self, jobs: Sequence[Job], asker: str) -> None:
        """Raise BatchError if the jobs of an asker take more than is left: so one of them never fills the disk."""
        most = settings.read("SEGDEMO_MAX_BATCHES_GB")
        free = most * 1e9 - disk_usage(self.root)
        own = sum(disk_usage(job.folder) for job in jobs if job.wish.asker == asker)
        if most and own > max(free, 0):
            raise BatchError(
                f"Batches of yours, or of your network's address, take {own / 1e9:.2g} GB, more than is left for all: "
                "delete one, or try again when it is cleared away."
            )
        if most and free <= 0:
            raise BatchError(
                f"The batches fill the {most:g} GB they may have: try again when older ones are cleared away."
            )

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.root / ".jobs.lock")


def _require_no_other(jobs: Sequence[Job], owner: str) -> None:
    """Raise BatchError if an owner has a job that has not ended."""
    if owner and any(job.wish.owner == owner and not job.ended for job in jobs):
        raise BatchError("Your last batch has not ended yet: wait for it, or cancel it first.")


def _require_place(jobs: Sequence[Job], asker: str) -> None:
    """Raise BatchError if one more job of an asker would be too many."""
    waiting = [job.wish.asker for job in jobs if not job.ended]
    if len(waiting) >= MOST_WAITING * (1 if asker in waiting else 2):
        raise BatchError(f"{len(waiting)} batches are waiting already: try again later.")


def _workspace(wish: Wish) -> Workspace | None:
    """Whose models are meant; the id was not given by a browser."""
    return Workspace(wish.workspace, settings.workspaces_dir() / wish.workspace) if wish.workspace else None


def _take(source: Path, target: Path) -> None:
    """Have a file that may go where it is. Raises BatchError, DiskError."""
    if not source.is_file():
        raise BatchError(f"{source.name} is not there any more: choose it again.")
    with disk_errors(target):
        link_or_copy(source, target)


def _short(path: Path) -> str:
    """A file's name, as long as there may be something before it."""
    if len(os.fsencode(path.name)) <= 200:
        return path.name
    return usable_stem(path.stem)[:40] + path.suffix[:9]


def _pack(job: Job, entry: zoo.ModelEntry, failed: Sequence[tuple[str, str]]) -> None:
    """All results as one ZIP, which is there whole or not at all."""
    out, part = job.folder / "out", job.folder / f".result.{secrets.token_hex(4)}.part"
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for path in sorted(out.rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    add_file(archive, path.relative_to(out).as_posix(), path.read_bytes())
            add_file(archive, "labels.json", to_json(entry.label_set.to_json()))
            if failed:
                add_file(archive, "not_segmented.txt", "".join(f"{name}: {why}\n" for name, why in failed))
        part.replace(job.folder / "result.zip")
    finally:
        part.unlink(missing_ok=True)
