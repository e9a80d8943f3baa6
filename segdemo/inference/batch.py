"""Many photos through one model: several at a time, each written before the next is read, to be resumed at any photo.

Each worker takes a photo from its file to its results, with a single thread of the network's: so decoding, resizing
and writing of one photo go on beside the network's work on another, and no thread waits for another within a photo.
What is held is what the workers hold, however many photos there are; what is known of those that are done is in a
file of notes, a line each.
"""

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from segdemo.core.arrays import UInt8
from segdemo.core.files import disk_errors, write_atomic
from segdemo.core.frugal import keep_freed
from segdemo.core.photos import IntakeError, Limits, Source, read_photo
from segdemo.data.formats import ExchangeError
from segdemo.errors import UserError
from segdemo.inference.batch_formats import Format, Row, chosen, row_of
from segdemo.inference.predictors import Segmenter

_OUT_OF_MEMORY = "needs more memory than there is: scale it down and try again"


class BatchError(UserError):
    """A batch that cannot be begun or gone on with; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Item:
    """A photo of a batch.

    Attributes:
        key: tells it from the others.
        name: what files that speak of all photos call it.
        source: what ``read_photo`` takes, or a function that gives it, which may raise ExchangeError.
        files: {name of a format: path}, of its own results.
        stamp: (bytes, nanoseconds since 1970) of its file, by which one that has become another is done again; () where
            that does not happen.
        formerly: its key in the notes of versions that noted no stamps; "" for the same.
    """

    key: str
    name: str
    source: Source | Callable[[], Source]
    files: Mapping[str, Path]
    stamp: tuple[int, ...] = ()
    formerly: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a photo: the row that is noted of it and the bytes of its files, or else why there are none."""

    key: str
    row: Row | None = None
    why: str = ""
    bytes: int = 0


@dataclass
class Tally:
    """How far a batch is.

    Attributes:
        total: photos. done: those with results, ``before`` of them from an earlier run.
        failed: {key: why} of those without.
        bytes: written in this run.
    """

    total: int
    done: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    bytes: int = 0

    @property
    def left(self) -> int:
        """Photos that are still to do."""
        return self.total - self.done - len(self.failed)


def segmented(
    item: Item,
    predictor: Segmenter,
    formats: Sequence[Format],
    limits: Limits,
    look: Callable[[UInt8, UInt8], object] = lambda photo, label_map: None,
) -> Outcome:
    """Take a photo from its file to its own results; arguments as of ``Batch``. Raises DiskError, DamagedModelError.

    A photo that takes more memory than there is, at whatever step, has none.
    """
    written: dict[Path, int] = {}
    try:
        source = item.source() if callable(item.source) else item.source
        photo = read_photo(source, limits, name=item.name)
        prediction = predictor(photo)
        label_set = predictor.entry.label_set
        for format in formats:
            if format.encode:
                data = format.encode(photo, prediction, label_set)
                path = item.files[format.name]
                write_atomic(path, data, durable=False)
                written[path] = len(data)
        look(photo, prediction.label_map)
        row = row_of(prediction.label_map, label_set, formats)
    except (IntakeError, ExchangeError, MemoryError) as error:
        for path in written:
            path.unlink(missing_ok=True)
        why = str(error) if isinstance(error, UserError) else f"{item.name} {_OUT_OF_MEMORY}."
        return Outcome(item.key, why=why)
    row["milliseconds"] = round(prediction.milliseconds, 1)
    row["out_of_domain"] = prediction.out_of_domain
    return Outcome(item.key, row, bytes=sum(written.values()))


class Batch:
    """Photos to be segmented into a folder.

    Args:
        predictor: the loaded model; with one thread, if there are several workers.
        items: the photos.
        out: folder of the results.
        formats: names of ``batch_formats.FORMATS``.
        part: what tells files of this batch from those of other shards in the same folder.
        limits: of photos; None reads them from the environment.
        look: called with each photo uint8 (H, W, 3) and its label map uint8 (H, W), in the worker.

    Raises:
        FormatError: a format is not known.
    """

    def __init__(
        self,
        predictor: Segmenter,
        items: Sequence[Item],
        out: Path,
        formats: Sequence[str] = ("label_map",),
        part: str = "",
        limits: Limits | None = None,
        look: Callable[[UInt8, UInt8], object] = lambda photo, label_map: None,
    ) -> None:
        self.predictor, self.items, self.out, self.part = predictor, items, out, part
        self.formats: list[Format] = chosen(formats)
        self.notes = notes_path(out, part)
        self._limits, self._look = limits or Limits.from_env(), look
        self._items = {item.key: item for item in items}
        self._places: dict[str, int] = {}  # key -> where its row begins in the notes
        self._lock = threading.Lock()

    def run(
        self,
        workers: int = 1,
        resume: bool = False,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[Tally], object] = lambda tally: None,
        most_bytes: float = math.inf,
        prepare: Callable[[], object] = lambda: None,
    ) -> Tally:
        """Segment the photos. A photo that cannot be used is passed over.

        Args:
            workers: photos at a time.
            resume: go on where an earlier run over the same folder ended.
            stop: asked before each photo whether to end early.
            progress: called after each photo with the ``Tally``; not from several threads at once.
            most_bytes: of all results.
            prepare: called once in each worker.

        Returns:
            The ``Tally``. Unless it was stopped early, the files that speak of all photos are written, too.

        Raises:
            BatchError: the earlier run was another one, or the results are too large. DiskError.
            DamagedModelError: the network cannot be run.
        """
        keep_freed()
        tally, left = self._begin(resume)
        waiting = iter(left)
        ended = threading.Event()

        def work() -> None:
            prepare()
            while not ended.is_set() and not stop():
                with self._lock:
                    item = next(waiting, None)
                if item is None:
                    return
                try:
                    self._one(item, tally, progress)
                    _require_room(tally, most_bytes)
                except BaseException:
                    ended.set()
                    raise

        self._in_threads(work, min(workers, max(1, tally.left)), ended)
        if not tally.left:
            self._finish()
        return tally

    def run_by(
        self,
        workers: Callable[[Sequence[Item]], Iterable[Outcome]],
        resume: bool = False,
        progress: Callable[[Tally], object] = lambda tally: None,
        stop: Callable[[], bool] = lambda: False,
        most_bytes: float = math.inf,
    ) -> Tally:
        """As ``run``, with the photos segmented elsewhere: only what is noted, and files of all photos, come from here.

        Args:
            workers: takes the photos that are left and gives the Outcome of each, in any order; see ``segmented``.
            resume, progress, most_bytes: as of ``run``.
            stop: asked after each photo whether to end early.

        Returns:
            The ``Tally``.

        Raises:
            As ``run``, and what ``workers`` raises.
        """
        tally, left = self._begin(resume)
        if left:
            for outcome in workers(left):
                self._take(outcome, tally, progress)
                _require_room(tally, most_bytes)
                if stop():
                    break
        if not tally.left:
            self._finish()
        return tally

    def _begin(self, resume: bool) -> tuple[Tally, list[Item]]:
        """(tally, photos that are left)."""
        tally = Tally(len(self.items))
        self._places = self._read_notes() if resume else {}
        tally.before = tally.done = sum(item.key in self._places for item in self.items)
        if not resume:
            self.forget()  # the notes of another batch
        return tally, [item for item in self.items if item.key not in self._places]

    def rows(self) -> Iterator[tuple[Item, Row]]:
        """(photo, row) of each photo that is done, in the photos' order; see ``batch_formats`` for rows."""
        if not self._places:
            return
        with disk_errors(self.notes), self.notes.open("rb") as notes:
            for item in self.items:
                if (place := self._places.get(item.key)) is not None:
                    notes.seek(place)
                    yield item, json.loads(notes.readline())["row"]

    def forget(self) -> None:
        """Remove the notes: nothing is to be resumed any more."""
        self.notes.unlink(missing_ok=True)

    def _in_threads(self, work: Callable[[], None], workers: int, ended: threading.Event) -> None:
        with ThreadPoolExecutor(workers, thread_name_prefix="batch") as pool:
            running = [pool.submit(work) for _ in range(workers)]
            try:
                for future in running:
                    future.result()
            finally:
                ended.set()  # also where somebody has pressed Ctrl+C: photos that are begun are ended

    def _one(self, item: Item, tally: Tally, progress: Callable[[Tally], object]) -> None:
        outcome = segmented(item, self.predictor, self.formats, self._limits, self._look)
        self._take(outcome, tally, progress)

    def _take(self, outcome: Outcome, tally: Tally, progress: Callable[[Tally], object]) -> None:
        line = _line(_noted(self._items[outcome.key], outcome.row))
        with self._lock:
            if outcome.row is None:
                tally.failed[outcome.key] = outcome.why
            else:
                self._note(outcome.key, line)
                tally.done += 1
                tally.bytes += outcome.bytes + len(line)
            progress(tally)

    def _note(self, key: str, line: bytes) -> None:
        with self._noting() as notes:
            self._places[key] = notes.tell()
            notes.write(line)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[BinaryIO]:
        """The notes, begun if there are none, to add to. Raises DiskError."""
        with disk_errors(self.notes):
            self.out.mkdir(parents=True, exist_ok=True)
            with self.notes.open("ab") as notes:
                if not notes.tell():
                    notes.write(_line(self._header()))
                yield notes

    def _finish(self) -> None:
        if any(format.finish for format in self.formats):
            with self._noting():
                pass  # by them what follows is known as of this batch, also where no photo could be used

        def rows() -> Iterator[tuple[str, Row]]:
            return ((item.name, row) for item, row in self.rows())

        for format in self.formats:
            if format.finish:
                format.finish(of_all(self.out, format, self.part), self.predictor.entry.label_set, rows)

    def _header(self) -> dict[str, Any]:
        entry = self.predictor.entry
        return {
            "model": entry.name,
            "onnx_sha256": entry.onnx_sha256,
            "passes": [list(one) for one in self.predictor.passes],
            "refined": entry.refinement is not None,
            "formats": [format.name for format in self.formats],
        }

    def _read_notes(self) -> dict[str, int]:
        """Where the rows of photos that are done begin. A line that was cut off is removed. Raises BatchError."""
        places: dict[str, int] = {}
        latest: dict[str, str] = {}  # name of a result -> key of the photo that it is of
        formerly = {item.formerly: item for item in self.items if item.formerly}
        with disk_errors(self.notes), contextlib.suppress(FileNotFoundError), self.notes.open("r+b") as notes:
            place = 0
            for number, line in enumerate(notes):
                noted = _parsed(line)
                if noted is None:
                    notes.truncate(place)
                    break
                if number == 0 and noted != self._header():
                    raise BatchError(
                        "What is there is a batch of another model or other settings: give the same again, or begin "
                        "anew without resuming."
                    )
                key = str(noted.get("key"))
                item = self._items.get(key) or (None if "stamp" in noted else formerly.get(key))
                places.pop(latest.get(str(noted.get("result")), ""), None)  # it was written over
                if item:
                    places.pop(item.key, None)
                if (
                    item
                    and noted.get("stamp", [*item.stamp]) == [*item.stamp]
                    and isinstance(noted.get("row"), dict)
                    and all(item.files[f.name].is_file() for f in self.formats if f.encode)
                ):
                    places[item.key] = place
                if "result" in noted:
                    latest[str(noted["result"])] = key
                place += len(line)
        return places


def _require_room(tally: Tally, most_bytes: float) -> None:
    """Raise BatchError if there are more results than may be."""
    if tally.bytes > most_bytes:
        raise BatchError(
            f"The results would take more than {most_bytes / 1e9:g} GB: choose fewer photos or fewer "
            "things to write."
        )


def notes_path(out: Path, part: str = "") -> Path:
    """Where a batch into a folder keeps its notes."""
    return out / f".batch{part}.jsonl"


def of_all(out: Path, format: Format, part: str = "") -> Path:
    """Path of the file in which a format speaks of all photos of a batch, or of a ``part`` of it."""
    stem, dot, ending = format.suffix.rpartition(".")
    return out / f"{stem}{part}{dot}{ending}"


def _noted(item: Item, row: Row | None) -> dict[str, Any]:
    """What is noted of a photo: its key and row, and for photos that may change, their stamp and a result's name."""
    noted: dict[str, Any] = {"key": item.key, "row": row}
    if item.stamp:
        noted["stamp"] = item.stamp
        if (result := next(iter(item.files.values()), None)) is not None:
            noted["result"] = result.name
    return noted


def _line(noted: dict[str, Any]) -> bytes:
    return json.dumps(noted).encode("ascii") + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        noted = json.loads(line)
    except ValueError:
        return None
    return noted if isinstance(noted, dict) else None
