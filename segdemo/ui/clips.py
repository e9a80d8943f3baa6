"""Clips, worked on by ``segdemo video`` in a process of its own.

What FFmpeg makes of a stranger's file cannot take the page along, and cancelling is ending it. One clip at a time;
others wait in Gradio's queue, see ``GROUP``, which says here who is in line and who has gone (``queueing.Worker``).
"""

import contextlib
import json
import math
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from cachetools import LRUCache
from gradio.context import LocalContext
from gradio.utils import get_upload_folder

from segdemo import zoo
from segdemo.core import settings
from segdemo.errors import UserError
from segdemo.inference.video import MOST_RATE, SMOOTHING_MOST
from segdemo.runs.record import last_words

GROUP = "video"  # `concurrency_id` of the events that work on a clip, of which one runs at a time
CLIP_BYTES = 500_000_000
ENDINGS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
_BAD_INPUT = 2  # exit code of the command line
MOST_CPU_SECONDS, MOST_MEMORY = 1800, 6 * 2**30  # of the process that works on a clip
MOST_EXPECTED = 1000  # pages, and events in line, whose work is waited for
LOOK_SECONDS = 0.2  # between two looks of what waits for its turn whether it was cancelled
FOLDER = "video-"  # how names of the folders begin that results are in
CANCELLED = "The clip was given up: it was cancelled."
TOO_MUCH = "The clip was given up: it needs more time or memory than it may have. Cut it, or take fewer frames of it."
WRITTEN = {"overlay": "segmented.mp4", "label_maps": "label_maps.zip"}  # what can be written, as which file


class ClipError(UserError):
    """A clip that nothing can be made of."""


@dataclass(eq=False)
class Work:
    """What is done, or soon to be done, for a page.

    Attributes:
        page: whose it is.
        event: id of its event, or "" while that is not in line yet.
        process: that is at work, if one is.
        cancelled: whether nobody wants it any more.
        told: whether somebody was told that it is cancelled.
    """

    page: str
    event: str = ""
    process: subprocess.Popen[bytes] | None = None
    cancelled: bool = False
    told: bool = False

    def check(self) -> None:
        """Raise UserError if it was cancelled."""
        if self.cancelled:
            raise UserError(CANCELLED)


class Clips:
    """The clips that are worked on; safe to use from several threads."""

    def __init__(self) -> None:
        self._expected: LRUCache[str, Work] = LRUCache(MOST_EXPECTED)  # by the page that asked
        self._in_line: LRUCache[str, Work] = LRUCache(MOST_EXPECTED)  # by the event that will do it
        self._working: set[Work] = set()
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def expect(self, page: str) -> None:
        """Say that work for a page comes, as soon as it is its turn, so that it can be cancelled before it begins."""
        with self._lock:
            self._expected[page] = Work(page)

    def joined(self, page: str, event: str) -> None:
        """An event that works for a page is in line; what was expected of the page is that."""
        with self._lock:
            work = self._in_line[event] = self._expected.pop(page, Work(page))
            work.event = event

    def left(self, event: str) -> None:
        """An event is over, whether or not there was work for it."""
        with self._lock:
            if event in self._in_line:
                del self._in_line[event]

    def abandoned(self, event: str) -> None:
        """Nobody waits for the answer of an event any more: its work ends, or does not begin."""
        with self._lock:
            for work in self._every():
                if work.event == event:
                    _end(work)

    @contextlib.contextmanager
    def working(self, page: str) -> Iterator[Work]:
        """For a ``with`` statement: in it work goes on for a page, which can be cancelled until it is left."""
        event = LocalContext.event_id.get(None) or ""
        with self._lock:
            expected = self._in_line if event in self._in_line else self._expected
            work = expected.pop(event if event in self._in_line else page, Work(page, event))
            self._working.add(work)
        try:
            yield work
        finally:
            with self._lock:
                self._working.discard(work)

    def segment(
        self,
        page: str,
        clip: Path,
        model: str,
        rate: Any,
        smoothing: Any,
        wanted: Collection[str] = tuple(WRITTEN),
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> tuple[dict[str, Path], dict[str, Any]]:
        """Segment a clip.

        Args:
            page: who asks, see ``cancel``.
            clip: what ``checked`` gave.
            model: name of a served model.
            rate: frames a second, 1 to 30. smoothing: see ``inference.video``. Whatever a page may have sent.
            wanted: keys of ``WRITTEN``.
            progress: called with frames that are done and about how many there are.

        Returns:
            (what was written, in a folder that nobody guesses and Gradio serves from; the report of ``segdemo video``).

        Raises:
            UserError: with a sentence for the visitor.
        """
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in (rate, smoothing)):
            raise UserError("Frames a second and Hold still (rate and smoothing) are numbers: choose some.")
        if not 1 <= rate <= MOST_RATE or not 0 <= smoothing <= SMOOTHING_MOST:
            raise UserError(
                f"Choose 1 to {MOST_RATE:g} frames a second and 0 to {SMOOTHING_MOST:g} to hold still by, "
                f"not {rate:g} and {smoothing:g}."
            )
        zoo.served_model(model)  # raises what there is to say
        folder = Path(get_upload_folder()).resolve() / f"{FOLDER}{secrets.token_hex(16)}"
        folder.mkdir(parents=True)
        paths = {what: folder / name for what, name in WRITTEN.items() if what in wanted}
        options = {"--model": model, "--rate": rate, "--smoothing": smoothing}
        options |= {{"overlay": "--overlay", "label_maps": "--labels"}[what]: paths[what] for what in paths}
        try:
            with self.working(page) as work:
                report = self.run(
                    work, [str(clip), *(str(x) for pair in options.items() for x in pair)], progress
                )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return paths, report

    def run(
        self,
        work: Work,
        arguments: Sequence[str],
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> dict[str, Any]:
        """The report of ``segdemo video``, which runs once at a time.

        Raises:
            ClipError: the clip is bad, with the sentence that it ended with.
            UserError: it was given up, or something else went wrong.
        """
        command = [sys.executable, "-m", "segdemo", "video", *arguments, "--json", "--progress"]
        models = settings.own_models_dir()  # where visitors have workspaces
        own = {settings.OWN_MODELS: str(models)} if models else {}
        said = ""
        with (
            self._in_turn(work),
            subprocess.Popen(  # closes its pipes, too
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            ) as process,
        ):
            try:
                _limit(process.pid)
                self._begun(work, process)
                assert process.stderr is not None and process.stdout is not None
                for line in process.stderr:
                    try:
                        at = json.loads(line)
                        progress(at["done"], at["total"])
                    except (ValueError, KeyError, TypeError):
                        said = line.decode("utf-8", "replace").strip() or said
                out = process.stdout.read()
                code = process.wait()
            finally:
                process.kill()
        if code == 0:
            report: dict[str, Any] = json.loads(out)
            return report
        if code < 0:
            raise UserError(CANCELLED if work.cancelled else TOO_MUCH)
        bad = ClipError if code == _BAD_INPUT else UserError
        raise bad(
            last_words(said) or "The clip could not be segmented: save it as MP4 (H.264) and try again."
        )

    @contextlib.contextmanager
    def _in_turn(self, work: Work) -> Iterator[None]:
        """One process at a time, whatever becomes of the line. Raises UserError: it was cancelled meanwhile."""
        while not self._turn.acquire(timeout=LOOK_SECONDS):
            work.check()
        try:
            work.check()
            yield
        finally:
            self._turn.release()

    def _begun(self, work: Work, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            work.process = process
            if work.cancelled:
                process.kill()

    def cancel(self, page: str) -> bool:
        """End the work on the clip of a page, also before it has begun; whether there was one."""
        with self._lock:
            works = [work for work in self._every() if work.page == page and not work.told]
            for work in works:
                _end(work)
                work.told = True
        return bool(works)

    def _every(self) -> list[Work]:
        return [*self._expected.values(), *self._in_line.values(), *self._working]


def _end(work: Work) -> None:
    work.cancelled = True
    if work.process is not None:
        work.process.kill()


def checked(clip: Any) -> Path:
    """The path of a clip that was uploaded. Raises UserError: there is none; ClipError: it is too large."""
    if not clip:
        raise UserError("Choose a clip first: drop it on the field, or click there.")
    path = Path(str(clip))
    size = path.stat().st_size
    if size > CLIP_BYTES:
        raise ClipError(
            f"The clip has {size / 1e6:.0f} MB and may have {CLIP_BYTES / 1e6:.0f}: cut it, or save it smaller."
        )
    return path


def _limit(pid: int) -> None:
    """Keep a process behind others and within what it may have."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        process.nice(5)
        if hasattr(process, "rlimit"):  # Linux
            process.rlimit(psutil.RLIMIT_CPU, (MOST_CPU_SECONDS, MOST_CPU_SECONDS))
            process.rlimit(psutil.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
