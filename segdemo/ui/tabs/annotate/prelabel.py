"""Label the rest: drafts of all photos of a collection without a mask, made in the background by what it was taught.

What is done is on disk, so a job that was cancelled, or whose server ended, goes on where it was when it is asked for
again: photos whose draft is by the same classifier are passed over.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from segdemo import zoo
from segdemo.annotations import drafts, strokes
from segdemo.annotations.collection import Collection
from segdemo.annotations.records import Photo
from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import NotFoundError, StoreError
from segdemo.core.frugal import step_back
from segdemo.core.photos import Limits, read_photo
from segdemo.errors import UserError
from segdemo.inference.features import Features
from segdemo.inference.predictors import TaughtPredictor
from segdemo.ui.tabs.annotate import lessons

_log = logging.getLogger(__name__)
MOST_PAUSE = 0.5  # seconds after each photo that belong to those who wait for an answer
NAMED = 3  # photos that could not be labelled, by name in the sentence
MOST_JOBS = 1000  # remembered


@dataclass(frozen=True)
class Job:
    """How far a job is.

    Attributes:
        state: ``"running"``, ``"done"``, ``"cancelled"`` or ``"failed"``.
        done, total: photos.
        failed: names of photos that could not be labelled.
        why: one sentence on why the job failed, or "".
    """

    state: str
    done: int = 0
    total: int = 0
    failed: tuple[str, ...] = ()
    why: str = ""

    def sentence(self) -> str:
        """What a person is told."""
        rest = (
            f"{len(self.failed)} could not be labelled ({', '.join(self.failed[:NAMED])})."
            if self.failed
            else ""
        )
        if self.state == "failed":
            return self.why
        made = f"{self.done - len(self.failed)} of {self.total} photos"
        if self.state == "running":
            return f"Labelling the rest: {self.done} of {self.total} photos."
        if self.state == "cancelled":
            return f"Cancelled: {made} have a draft; Label the rest goes on from there. {rest}".strip()
        return f"Done: {made} have a draft. {rest}".strip()


class Prelabelling:
    """One for each process; safe to call from several threads. One collection is labelled at a time.

    Args:
        stores: gives the collections of whoever is being answered.
        limits: of photos.
    """

    def __init__(self, stores: Callable[[], AnnotationStore], limits: Limits) -> None:
        self._stores, self._limits = stores, limits
        # The last one of each collection, by its ``made``.
        self._jobs: LRUCache[tuple[Path, str], Job] = LRUCache(MOST_JOBS)
        self._running: tuple[Path, str] | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @cached_property
    def features(self) -> Features:
        """The frozen encoder."""
        return Features()

    def job(self, name: str) -> Job | None:
        """The last job of a collection since the server began, or None."""
        made = self._made(name)
        with self._lock:
            return self._jobs.get(made) if made else None

    def _made(self, name: str) -> tuple[Path, str] | None:
        """Which collection is called so now; None if there is none."""
        try:
            return self._stores().open(name).made
        except NotFoundError:
            return None

    def _note(self, made: tuple[Path, str], job: Job) -> Job:
        with self._lock:
            self._jobs[made] = job
        return job

    def start(self, name: str) -> threading.Thread:
        """Learn from a collection's strokes and masks, and make drafts of its photos without a mask in the background.

        Returns:
            The thread.

        Raises:
            TeachError: there are fewer than two classes. NotFoundError: no such collection.
            StoreError: a collection is being labelled already, or this one has nothing left to label.
        """
        collection = self._stores().open(name)
        made = collection.made
        with self._lock:
            if self._running == made:
                raise StoreError("This collection is being labelled: wait until that is done, or cancel it.")
            if self._running is not None:
                raise StoreError("Another collection is being labelled: wait until that is done.")
            self._running = made
            self._stop.clear()
        try:
            entry = lessons.learn(collection, self.features)
            waiting = waiting_for(collection, entry)
            if not waiting:
                raise StoreError(
                    "Every photo has a mask or a draft by what is known now: there is nothing left."
                )
            job = self._note(made, Job("running", total=len(waiting)))
            run = copy_context().run  # in the workspace of who asks
            thread = threading.Thread(
                target=run,
                args=(self._run, collection, entry, waiting, made, job),
                name="prelabel",
                daemon=True,
            )
            thread.start()
        except BaseException:
            self._running = None
            raise
        return thread

    def cancel(self, name: str) -> None:
        """Stop the job of a collection after the photo it is at. Without one nothing happens."""
        if self._running is not None and self._running == self._made(name):
            self._stop.set()

    def _run(
        self,
        collection: Collection,
        entry: zoo.ModelEntry,
        waiting: list[Photo],
        made: tuple[Path, str],
        job: Job,
    ) -> None:
        try:
            step_back()
            predictor = TaughtPredictor(entry)
            for photo in waiting:
                if self._stop.is_set():
                    break
                began, failed = time.monotonic(), job.failed
                try:
                    draft(collection, photo, predictor, self._limits)
                except UserError as error:  # a photo is damaged or was deleted meanwhile
                    if isinstance(error, OSError):  # the disk is full: it is so for the others, too
                        raise
                    _log.warning("No draft of %s: %s", photo.id, error)
                    failed = (*failed, photo.source)
                job = self._note(made, replace(job, done=job.done + 1, failed=failed))
                self._stop.wait(min(MOST_PAUSE, time.monotonic() - began))
            self._note(made, replace(job, state="done" if job.done == job.total else "cancelled"))
        except (UserError, OSError) as error:
            why = str(error) if isinstance(error, UserError) else "The disk could not be used: try again."
            self._note(made, replace(job, state="failed", why=why))
        except Exception:
            _log.exception("Labelling the rest failed")
            why = "Something unexpected went wrong; it is in the server's log."
            self._note(made, replace(job, state="failed", why=why))
        finally:
            self._running = None


def waiting_for(collection: Collection, entry: zoo.ModelEntry) -> list[Photo]:
    """The photos that have neither a mask nor a draft by this very model, as they stand in the list by name."""
    known = drafts.found(collection)
    photos = collection.photos(annotated=False, sort="source", per_page=1_000_000).photos
    return [p for p in photos if p.id not in known or known[p.id].made_by != entry.onnx_sha256]


def draft(collection: Collection, photo: Photo, predictor: TaughtPredictor, limits: Limits) -> bool:
    """Make the draft of a photo, in which the strokes on it hold; whether it is kept. Raises UserError."""
    image = read_photo(collection.image_path(photo.id), limits)
    prediction = predictor.on(image, strokes.load(collection, photo.id))
    entry = predictor.entry
    sure = float(prediction.probabilities.max(-1).mean())
    unsure = float(np.mean(prediction.uncertainty)) / 255
    return drafts.put(collection, photo.id, prediction.label_map, entry.name, entry.onnx_sha256, sure, unsure)
