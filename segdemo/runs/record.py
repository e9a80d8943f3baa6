"""What the files of a run say: who wanted it, how it is doing, and which process works on it."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from segdemo.annotations.store import AnnotationStore
from segdemo.core import plain
from segdemo.core.conventions import slug
from segdemo.core.files import read_json
from segdemo.core.settings import PACKAGE
from segdemo.runs import processes

# What the files of a run may say; damaged ones, and those of other programs, say less.
_RECORD = dict.fromkeys(("title", "name", "created", "user", "request", "key", "model"), str)
_RECORD |= {"queued": plain.NUMBER, "launches": list, "lineage": dict, "stopped": dict}
_LAUNCH = {"pid": int, "started": int, "time": plain.NUMBER}
_STATUS = {"state": str, "message": str, "pid": int, "heartbeat": plain.NUMBER}
_STATUS |= dict.fromkeys(("epoch", "epochs", "step", "steps"), int)
_STATUS |= dict.fromkeys(("images_per_second", "eta_seconds", "rss_mb", "best"), plain.NUMBER)
STATES = ("queued", "running", "done", "failed", "cancelled")

LOG_TAIL = 8000  # characters


@dataclass(frozen=True)
class Run:
    """A run directory and its ``run.json``, which only ``runs`` writes; the command line makes runs without."""

    folder: Path
    record: dict

    @classmethod
    def read(cls, folder):
        """The run in ``folder``, which has to exist."""
        record = plain.fitting(json_or(folder / "run.json", {}), _RECORD)
        if "launches" in record:
            whole = (plain.fitting(launch, _LAUNCH) for launch in record["launches"])
            record["launches"] = [launch for launch in whole if launch.keys() >= _LAUNCH.keys()]
        if not plain.fitting(record.get("stopped"), _STATUS).keys() >= {"state", "message"}:
            record.pop("stopped", None)
        return cls(folder, record)

    @property
    def id(self):
        return self.folder.name

    @property
    def title(self):
        return self.record.get("title") or self.id

    @property
    def name(self):
        return self.record.get("name") or slug(self.id, "model")

    def status(self):
        """``status.json``; a damaged one reads as that of a run that stopped."""
        status = plain.fitting(json_or(self.folder / "status.json", {}), _STATUS)
        return status if status.get("state") in STATES else {**status, "state": "running"}

    def stamp(self):
        """Changes whenever ``status.json`` does."""
        status = (self.folder / "status.json").stat()
        return status.st_ino, status.st_mtime_ns


def trainer_pid(run):
    """Process id of the trainer that works on a run, or None; another process with that number does not count."""
    for launch in run.record.get("launches", [])[-1:]:
        if launch["started"] and processes.start_ticks(launch["pid"]) == launch["started"]:
            return launch["pid"]
    # A server killed right after starting it, or the command line: the trainer itself has written its number.
    pid = run.status().get("pid")
    if isinstance(pid, int) and processes.start_ticks(pid) and run.id in processes.command_line(pid):
        return pid
    return None


def events_since(path, since):
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
        except (ValueError, RecursionError):
            continue  # cut short when a trainer was killed
        if isinstance(event, dict):
            events.append(event)
    return events, start + len(whole)


def log_tail(path):
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


def last_words(log):
    """The sentence that a command of this package ended with, from the end of its log; "" if it ended without one."""
    said = log.strip().splitlines()[-1:] or [""]
    return said[0].removeprefix("segdemo: ") if said[0].startswith("segdemo: ") else ""


def disk_usage(folder):
    """Bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - walks many files
            except OSError:
                continue
    return total


def json_or(path, default):
    """What a JSON file says, or ``default`` if it is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return default


def dataset_hash(dataset):
    """Hexadecimal SHA-256 of what training sees of a dataset: its classes, its subsets, and its masks.

    Collections of the annotation store are hashed by content; of other datasets the masks count by size only,
    which a hundred thousand files can afford.
    """
    if (dataset.root / "collection.json").is_file():
        return AnnotationStore(dataset.root.parent).open(dataset.root.name).fingerprint()
    digest = hashlib.sha256(json.dumps(dataset.label_set.to_json(), sort_keys=True).encode())
    digest.update(json.dumps(dataset.splits, sort_keys=True).encode())
    for id_ in sorted({id_ for ids in dataset.splits.values() for id_ in ids}):
        mask = dataset.sample(id_).mask_path
        size = mask.stat().st_size if mask is not None and mask.is_file() else None
        digest.update(f"{id_} {size}\n".encode())
    return digest.hexdigest()


@cache
def source_hash():
    """Hexadecimal SHA-256 of this program's Python files: which code it was, also between two versions."""
    package = PACKAGE
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()
