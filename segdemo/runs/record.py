"""What the files of a run say: who wanted it, how it is doing, and which process works on it."""

import json
import os
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from segdemo.core.conventions import slug
from segdemo.core.documents import Document, log_once
from segdemo.core.files import NotFoundError, read_json, write_json
from segdemo.runs import processes
from segdemo.zoo.scores import Lineage, Report

D = TypeVar("D", bound=Document)
E = TypeVar("E")
LOG_TAIL = 8000  # characters


@dataclass(frozen=True, kw_only=True)
class Status(Document):
    """``status.json``, which the trainer writes while it works, and ``runs`` before and after.

    Attributes:
        state: ``"queued"``, ``"running"``, ``"done"``, ``"failed"`` or ``"cancelled"``.
        message: one sentence on how it is doing.
        pid, heartbeat: of the trainer, and when it last wrote.
        epoch, epochs: finished and wanted. step, steps: of this epoch.
        images_per_second, eta_seconds, rss_mb: while it runs, if known.
        best: best mean IoU on the validation photos so far, 0..1.
    """

    state: str = "failed"
    message: str = ""
    pid: int | None = None
    heartbeat: float | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    rss_mb: float | None = None
    best: float | None = None


@dataclass(frozen=True, kw_only=True)
class Launch(Document):
    """A process that works, or worked, on a run: its id, when the system says it started, and when it was noted.

    One of another machine has no id but is the ``job`` of a cluster.
    """

    pid: int = 0
    started: float | None = None
    time: float = 0
    job: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopped(Document):
    """Why a run was ended from outside: the state it is to have then, and one sentence."""

    state: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Record(Document):
    """``run.json``, which only ``runs`` writes; runs of the command line have none.

    Attributes:
        title: what a person calls the run. name: of the model it becomes a version of.
        created, user: when and by whom it was asked for. queued: when it was put into the queue last.
        request: what the page calls the request. key: hash of the settings.
        launches: the processes that worked on it, oldest first.
        lineage: where its model comes from, once it has begun. model: the version it was installed as.
        stopped: why it was ended, if it was.
        workspace: whose it is, where each visitor has a workspace; else "".
    """

    title: str = ""
    name: str = ""
    created: str = ""
    user: str = ""
    request: str = ""
    key: str = ""
    queued: float = 0
    launches: list[Launch] = field(default_factory=list)
    lineage: Lineage | None = None
    model: str = ""
    stopped: Stopped | None = None
    workspace: str = ""


@dataclass(frozen=True)
class Run:
    """A run directory and its ``run.json``."""

    folder: Path
    record: Record

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run in ``folder``, which has to exist."""
        return cls(folder, _read(Record, folder / "run.json", Record()))

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def title(self) -> str:
        return self.record.title or self.id

    @property
    def name(self) -> str:
        return self.record.name or slug(self.id, "model")

    def status(self) -> Status:
        """``status.json``; a damaged one reads as that of a run that stopped."""
        return _read(Status, self.folder / "status.json", Status(state="running"))

    def settings(self) -> dict[str, Any]:
        """``config.json``; empty if it is damaged."""
        try:
            settings = read_json(self.folder / "config.json")
        except (OSError, ValueError):
            return {}
        return settings if isinstance(settings, dict) else {}

    def report(self) -> Report | None:
        """``report.json``, once there is one."""
        return _read(Report, self.folder / "report.json", None)

    def note(self, **changes: Any) -> None:
        """Change ``run.json``. Raises DiskError."""
        write_json(self.folder / "run.json", self.record.with_more(**changes).to_json())

    def tell(self, **changes: Any) -> None:
        """Change ``status.json``. Raises DiskError."""
        write_json(self.folder / "status.json", self.status().with_more(**changes).to_json())

    def stamp(self) -> tuple[int, int]:
        """Changes whenever ``status.json`` does."""
        status = (self.folder / "status.json").stat()
        return status.st_ino, status.st_mtime_ns

    def trainer_pid(self) -> int | None:
        """Process id of the trainer that works on it, or None; another process with that number does not count."""
        if (pid := self.proven_pid()) is not None:
            return pid
        status = self.status()  # a trainer of before each held the lock, or of a disk without locks
        if status.pid is None or status.heartbeat is None:
            return None
        return status.pid if processes.was_told(status.pid, "--out", self.folder, status.heartbeat) else None

    def proven_pid(self) -> int | None:
        """As ``trainer_pid``, of a trainer that was started here or has the lock of the run: it may be ended."""
        lock = self.folder / "alive"
        launched = self.record.launches[-1:]
        for launch in launched:
            if launch.pid and processes.lives(launch.pid, launch.started):
                return launch.pid
        if not processes.is_held(lock):
            return None
        # The clock was set since, a server was killed right after starting it, or it is one of the command line:
        # that has written its number itself.
        numbers = [*(launch.pid for launch in launched), self.status().pid]
        return next((pid for pid in numbers if pid and processes.has_open(pid, lock)), None)

    def alive(self) -> bool:
        """Whether a trainer works on it."""
        return processes.is_held(self.folder / "alive") or self.trainer_pid() is not None


def every_run(root: Path) -> list[Run]:
    """The runs in a folder, oldest first."""
    if not root.is_dir():
        return []
    found = [Run.read(p) for p in root.iterdir() if p.name[0] != "." and (p / "status.json").is_file()]
    return sorted(found, key=lambda run: (run.record.created, run.id))


def find_run(root: Path, run_id: str) -> Run:
    """The run called so, whatever a page says it is called. Raises NotFoundError."""
    folder = root / str(run_id)
    try:
        there = folder.name == run_id and run_id[0] != "." and (folder / "status.json").is_file()
    except OSError:  # no file can be called so
        there = False
    if not there:
        raise NotFoundError(f"There is no run {reprlib.repr(run_id)}: look it up in the list.")
    return Run.read(folder)


def _read(kind: type[D], path: Path, instead: E) -> D | E:
    """The document in a file, or what to take ``instead`` if it is missing or damaged."""
    try:
        return kind.read(path)
    except FileNotFoundError:
        return instead
    except (OSError, ValueError) as error:
        log_once(str(error))
        return instead


def events_since(path: Path, since: int) -> tuple[list[dict[str, Any]], int]:
    """(complete lines after byte ``since`` of an events file, where to go on)."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(since if 0 <= since <= size else 0)
            start = file.tell()
            data = file.read()
    except FileNotFoundError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]  # the rest is being written
    events = []
    for line in whole.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # cut short when a trainer was killed
        if isinstance(event, dict):
            events.append(event)
    return events, start + len(whole)


def log_tail(path: Path) -> str:
    """The end of a log, without what progress bars have overwritten."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    if size > LOG_TAIL:
        text = text.partition("\n")[2] or text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def last_words(log: str) -> str:
    """The sentence that a command of this package ended with, from the end of its log; "" if it ended without one."""
    said = log.strip().splitlines()[-1:] or [""]
    return said[0].removeprefix("segdemo: ") if said[0].startswith("segdemo: ") else ""
