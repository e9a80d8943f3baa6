"""Clips, worked on by ``segdemo video`` in a process of its own.

What FFmpeg makes of a stranger's file cannot take the page along, and cancelling is ending it. One clip at a time;
others wait in Gradio's queue, see ``GROUP``.
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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from cachetools import LRUCache
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
MOST_EXPECTED = 1000  # pages whose work is waited for
CANCELLED = "The clip was given up: it was cancelled."
TOO_MUCH = "The clip was given up: it needs more time or memory than it may have. Cut it, or take fewer frames of it."
WRITTEN = {"overlay": "segmented.mp4", "label_maps": "label_maps.zip"}  # what can be written, as which file


class ClipError(UserError):
    """A clip that nothing can be made of."""


@dataclass(eq=False)
class _Work:
    """What is done, or soon to be done, for a page."""

    process: subprocess.Popen[bytes] | None = None
    cancelled: bool = False


class Clips:
    """The clips that are worked on; safe to use from several threads."""

    def __init__(self) -> None:
        self._working: dict[str, _Work] = {}  # by the page that asked
        self._expected: LRUCache[str, _Work] = LRUCache(MOST_EXPECTED)
        self._lock = threading.Lock()

    def expect(self, page: str) -> None:
        """Say that work for a page comes, as soon as it is its turn, so that it can be cancelled before it begins."""
        with self._lock:
            self._expected[page] = _Work()

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
        folder = Path(get_upload_folder()).resolve() / f"video-{secrets.token_hex(16)}"
        folder.mkdir(parents=True)
        paths = {what: folder / name for what, name in WRITTEN.items() if what in wanted}
        options = {"--model": model, "--rate": rate, "--smoothing": smoothing}
        options |= {{"overlay": "--overlay", "label_maps": "--labels"}[what]: paths[what] for what in paths}
        try:
            report = self.run(
                page, [str(clip), *(str(x) for pair in options.items() for x in pair)], progress
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return paths, report

    def run(
        self,
        page: str,
        arguments: Sequence[str],
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> dict[str, Any]:
        """The report of ``segdemo video``.

        Raises:
            ClipError: the clip is bad, with the sentence that it ended with.
            UserError: it was given up, or something else went wrong.
        """
        command = [sys.executable, "-m", "segdemo", "video", *arguments, "--json", "--progress"]
        models = settings.own_models_dir()  # where visitors have workspaces
        own = {settings.OWN_MODELS: str(models)} if models else {}
        with self._lock:
            work = self._working[page] = self._expected.pop(page, _Work())
        said = ""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            with process:  # closes its pipes, too
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
        finally:
            with self._lock:
                self._working.pop(page, None)
        if code == 0:
            report: dict[str, Any] = json.loads(out)
            return report
        if code < 0:
            raise UserError(CANCELLED if work.cancelled else TOO_MUCH)
        bad = ClipError if code == _BAD_INPUT else UserError
        raise bad(
            last_words(said) or "The clip could not be segmented: save it as MP4 (H.264) and try again."
        )

    def _begun(self, work: "_Work", process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            work.process = process
            if work.cancelled:
                process.kill()

    def cancel(self, page: str) -> bool:
        """End the work on the clip of a page, also before it has begun; whether there was one."""
        with self._lock:
            works = [w for w in (self._working.get(page), self._expected.get(page)) if w]
            for work in works:
                work.cancelled = True
                if work.process is not None:
                    work.process.kill()
        return bool(works)


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
