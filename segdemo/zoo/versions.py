"""Versions of the models trained on this machine: install, promote, roll back, with where each comes from."""

import contextlib
import json
import math
import os
import re
import secrets
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from segdemo import zoo
from segdemo.core import settings
from segdemo.core.conventions import TRASH_DAYS, clean_title, now
from segdemo.core.documents import DamagedError, Document, log_once
from segdemo.core.files import (
    DiskError,
    FileCache,
    NotFoundError,
    StoreError,
    disk_errors,
    hidden_build,
    locked,
    sha256,
    sweep,
    write_atomic,
    write_json,
)
from segdemo.zoo.scores import Lineage, Report, Scores

MISSED = 0.01  # IoU below which a class is as good as never found
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")


@dataclass(frozen=True, kw_only=True)
class Installed(Document):
    """What is kept of a trained version.

    Attributes:
        entry: what the manifest says of it, see ``zoo.ModelEntry``; files are named within its folder.
        installed: when it was added.
        lineage: where it comes from.
        before, after: scores of the parent and of itself on the same held-out photos, or None.
    """

    entry: dict[str, Any]
    installed: str = ""
    lineage: Lineage = field(default_factory=Lineage)
    before: Scores | None = None
    after: Scores | None = None


@dataclass(frozen=True, kw_only=True)
class Shelf(Document):
    """The manifest of a model: its versions by number, and those that ``name`` stands and stood for."""

    name: str = ""
    current: int | None = None
    history: list[int | None] = field(default_factory=list)
    versions: dict[str, Installed] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)  # what ``zoo.served_models`` reads

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """As of every ``Document``; but null is no list: ``tidy`` would take all versions for leftovers."""
        if isinstance(data, dict):
            for key in ("name", "history", "versions", "models"):
                if key in data and data[key] is None:
                    raise ValueError(f"its {key!r} is null")
        shelf = super().from_json(data)
        if not all(number.isdecimal() and len(number) < 10 for number in shelf.versions):
            raise ValueError("a version is no number")
        if shelf.ours and shelf.current is not None and str(shelf.current) not in shelf.versions:
            raise ValueError("its current version is missing")
        return shelf

    @property
    def ours(self) -> bool:
        """Whether it was written here: of a model put there by hand it lists no versions."""
        return "versions" in self.keys

    @property
    def numbers(self) -> list[int]:
        """The versions there are, the oldest first."""
        return sorted(map(int, self.versions))


@dataclass(frozen=True, kw_only=True)
class Version(Installed):
    """One trained version of a model.

    Attributes:
        name, number: the model and its version, from 1.
        current: whether it is what ``name`` stands for.
        folder: where its files lie.
    """

    name: str
    number: int
    current: bool
    folder: Path

    @property
    def served_as(self) -> str:
        """The name under which ``zoo.served_models`` always has it."""
        return f"{self.name}@{self.number}"

    def objection(self) -> str | None:
        """One sentence against promoting it, or None."""
        after, before = _mean_iou(self.after), _mean_iou(self.before)
        if after is None:
            return f"Version {self.number} of {self.name} was not measured, so nobody knows if it is better."
        if before is not None and after < before:
            return (
                f"Version {self.number} of {self.name} scores {100 * after:.1f} mean IoU, "
                f"worse than the {100 * before:.1f} of the model it started from."
            )
        if missed := _missed(self.after):
            return (
                f"Version {self.number} of {self.name} hardly finds {' and '.join(missed[:3])}"
                f"{f' and {len(missed) - 3} more' if len(missed) > 3 else ''}: "
                "label more photos with it, or train longer."
            )
        return None


class ModelStore:
    """Versions of models trained on this machine.

    A model is a folder ``<root>/<name>`` with a subfolder per version and one ``manifest.json``, which
    ``zoo.served_models`` reads. It serves every version as ``name@number``, and the promoted one also as
    ``name`` (with ``alias_of`` in its data). Replacing the manifest installs, promotes and rolls back.

    Args:
        root: by default ``settings.models_dir()``.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else settings.models_dir()

    def names(self) -> list[str]:
        """Names of the models there are, sorted."""
        found = [path for path in self.root.glob("*/manifest.json") if _NAME.fullmatch(path.parent.name)]
        return sorted(
            path.parent.name for path in found if (shelf := _shelf(path)) is not None and shelf.ours
        )

    def versions(self, name: str) -> list[Version]:
        """The Versions of a model, newest first; none if there is no such model."""
        shelf = self._read(name)
        return [self._version(name, shelf, number) for number in reversed(shelf.numbers)]

    def version(self, name: str, number: int) -> Version:
        """One Version. Raises NotFoundError."""
        shelf = self._read(name)
        if str(number) not in shelf.versions:
            known = ", ".join(shelf.versions) or "none"
            raise NotFoundError(f"{name} has no version {number}: there are these ({known}).")
        return self._version(name, shelf, number)

    def current(self, name: str) -> Version | None:
        """The promoted Version, or None."""
        return next((version for version in self.versions(name) if version.current), None)

    def install(
        self, folder: Path | str, name: str, title: str | None = None, lineage: Lineage | None = None
    ) -> Version:
        """Add a trained version of a model; it is served as ``name@number`` but not yet promoted.

        Args:
            folder: what ``export.export_run`` wrote: ``manifest.json`` with one entry, the files it names,
                and ``report.json``.
            name: of the model, new or not: a-z, 0-9, '-' and '_'.
            title: what a person calls it; by default the manifest's.
            lineage: where it comes from.

        Returns:
            The Version.

        Raises:
            StoreError: the name cannot be used, or a file is not as the manifest says. DiskError.
        """
        self._check_name(name)
        folder = Path(folder)
        entry, report = _trained(folder)
        if title is not None:
            entry["title"] = clean_title(title)
        with self._lock(name):
            shelf = self._read(name)
            number = 1 + max([0, *shelf.numbers, *self._folders(name)])
            target = self.root / name / f"v{number}"
            metrics = entry.get("metrics") or {}
            if metrics.get("command"):
                command = zoo.evaluate_command(f"{name}@{number}", Scores.from_json(metrics))
                entry = {**entry, "metrics": {**metrics, "command": command}}
            after = report.after or (Scores.from_json(entry["metrics"]) if metrics else None)
            record = Installed.of(
                entry=entry, installed=now(), lineage=lineage or Lineage(), before=report.before, after=after
            )
            with hidden_build(target) as build:
                for file in (entry["onnx"], entry.get("weights"), "report.json", "config.json", "README.md"):
                    if file and (folder / file).is_file():
                        shutil.copyfile(folder / file, build / file)
                if not (build / "README.md").is_file():
                    card = _card(name, number, record).encode("utf-8", "backslashreplace")
                    write_atomic(build / "README.md", card)
                for path in build.iterdir():
                    _sync_file(path)
            shelf = replace(shelf, versions={**shelf.versions, str(number): record})
            try:
                self._write(name, shelf)
            except StoreError:
                shutil.rmtree(target, ignore_errors=True)
                raise
        return self._version(name, shelf, number)

    def promote(self, name: str, number: int, force: bool = False) -> Version:
        """Make ``name`` stand for a version.

        Raises:
            NotFoundError: no such version. StoreError: it scores worse than its parent or was not measured,
            and ``force`` is not set.
        """
        with self._lock(name):
            version = self.version(name, number)
            if not force and (objection := version.objection()):
                raise StoreError(objection)
            shelf = self._read(name)
            if shelf.current != number:
                self._write(name, replace(shelf, history=[*shelf.history, shelf.current], current=number))
        return self.version(name, number)

    def rollback(self, name: str) -> Version | None:
        """Make ``name`` stand for what it stood for before the last promotion.

        Returns:
            The Version it stands for now; None if it is no version of this store, which leaves the name to a
            shipped model of that name.

        Raises:
            StoreError: there was no promotion to take back.
        """
        with self._lock(name):
            shelf = self._read(name)
            if shelf.current is None:
                raise StoreError(f"No version of {name} is promoted, so there is nothing to take back.")
            earlier = [n for n in shelf.history if n is None or str(n) in shelf.versions]
            current = earlier.pop() if earlier else None
            self._write(name, replace(shelf, current=current, history=earlier))
        return self.current(name)

    def delete(self, name: str, number: int | None = None) -> None:
        """Put a version, or the whole model, into the trash folder.

        Raises:
            NotFoundError: no such version. StoreError: it is the promoted one.
        """
        with self._lock(name):
            shelf = self._read(name)
            if not shelf.versions:
                raise NotFoundError(f"There is no model {name!r} that was trained here.")
            if number is None:
                self._discard(self.root / name)
                return
            version = self.version(name, number)
            if version.current:
                raise StoreError(
                    f"Version {number} is what {name} stands for: roll back or promote another first."
                )
            versions = {key: one for key, one in shelf.versions.items() if key != str(number)}
            if versions:
                history = [n for n in shelf.history if n != number]
                self._write(name, replace(shelf, versions=versions, history=history))
                with contextlib.suppress(DiskError):  # it is deleted; `tidy` puts its files into the trash
                    self._discard(version.folder)
            else:
                self._discard(self.root / name)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a model. Raises StoreError if that is taken, NotFoundError if there is no such model."""
        self._check_name(new_name)
        if name == new_name:
            return
        first, second = sorted((name, new_name))
        with self._lock(first), self._lock(second):
            if not self._read(name).versions:
                raise NotFoundError(f"There is no model {name!r} that was trained here.")
            if (self.root / new_name).exists():
                raise StoreError(f"There is already a model {new_name!r}: choose another name.")
            with disk_errors(self.root / new_name):
                (self.root / name).rename(self.root / new_name)
            try:
                self._write(new_name, self._read(new_name))
            except DiskError:
                with disk_errors(self.root / name):
                    (self.root / new_name).rename(self.root / name)
                raise

    def tidy(self, days: float = TRASH_DAYS) -> None:
        """Delete what has lain in the trash for ``days``, and what killed processes left behind."""
        sweep(self.root / ".trash", days)
        for name in self.names():
            sweep(self.root / name, days)
            with self._lock(name):
                shelf = self._read(name)
                if shelf.name != name:  # killed while renaming
                    self._write(name, shelf)
                for number in self._folders(name):
                    if str(number) not in shelf.versions:
                        self._discard(self.root / name / f"v{number}")

    def _lock(self, name: str) -> AbstractContextManager[None]:
        self._check_name(name)
        return locked(self.root / ".locks" / f"{name}.lock")

    def _check_name(self, name: Any) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise StoreError(
                f"A model's name has up to 60 letters a-z, digits, '-' and '_', unlike {name!r}."
            )

    def _read(self, name: str) -> Shelf:
        self._check_name(name)
        path = self.root / name / "manifest.json"
        if not path.is_file():
            return Shelf.of(models={}, name=name, current=None, history=[], versions={})
        shelf = _shelf(path)
        if shelf is None:
            raise StoreError(f"The manifest of {name} is damaged: restore it from a copy.")
        if not shelf.ours:
            raise StoreError(f"The model {name!r} was put there by hand: choose another name.")
        return shelf

    def _write(self, name: str, shelf: Shelf) -> None:
        served = {}
        for number in shelf.numbers:
            version = shelf.versions[str(number)]
            entry = dict(version.entry)
            for key in ("onnx", "weights"):
                if entry.get(key):
                    entry[key] = f"v{number}/{entry[key]}"
            entry |= {"model": name, "model_version": number, "lineage": version.lineage.to_json()}
            served[f"{name}@{number}"] = {**entry, "title": f"{entry['title']} (version {number})"}
            if number == shelf.current:
                served[name] = {**entry, "alias_of": f"{name}@{number}"}
        write_json(self.root / name / "manifest.json", {**shelf.to_json(), "models": served, "name": name})

    def _version(self, name: str, shelf: Shelf, number: int) -> Version:
        kept = shelf.versions[str(number)]
        return Version(
            name=name,
            number=int(number),
            current=shelf.current == int(number),
            folder=self.root / name / f"v{number}",
            entry=kept.entry,
            installed=kept.installed,
            lineage=kept.lineage,
            before=kept.before,
            after=kept.after,
        )

    def _folders(self, name: str) -> list[int]:
        """Numbers of the version folders there are, listed in the manifest or not."""
        found = (self.root / name).glob("v*")
        return [int(path.name[1:]) for path in found if path.name[1:].isdigit()]

    def _discard(self, folder: Path) -> None:
        target = self.root / ".trash" / f"{folder.parent.name}.{folder.name}.{secrets.token_hex(4)}"
        with disk_errors(folder):
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
            os.utime(target)


@FileCache
def _shelf(manifest: Path) -> Shelf | None:
    """What a manifest says, or None if it is damaged."""
    try:
        return Shelf.read(manifest)
    except (DamagedError, OSError) as error:
        log_once(str(error))
        return None


def _mean_iou(scores: Scores | None) -> float | None:
    """The score, if there is one and it is a number."""
    value = scores.mean_iou if scores else None
    return None if value is None or math.isnan(value) else value


def _missed(scores: Scores | None) -> list[str]:
    """Classes that the photos hold and that are as good as never found."""
    if scores is None:
        return []
    there = [sum(row) > 0 for row in scores.confusion] or [True] * len(scores.class_iou)
    found = zip(scores.class_iou.items(), there, strict=False)
    return [name for (name, iou), present in found if present and iou is not None and iou < MISSED]


def _trained(folder: Path) -> tuple[dict[str, Any], Report]:
    """(manifest entry, report) of a run directory, with the files checked. Raises StoreError."""
    try:
        (entry,) = zoo.Manifest.read(folder / "manifest.json").models.values()
        zoo.read_manifest(folder / "manifest.json")
        labels = entry["label_set"]
        if isinstance(labels, dict) and not all(
            isinstance(known["name"], str) for known in labels["classes"]
        ):
            raise ValueError("a class has a name that is no text")
        files = {entry["onnx"]: entry["onnx_sha256"]}
        if entry.get("weights"):
            files[entry["weights"]] = entry["weights_sha256"]
        path = folder / "report.json"
        report = Report.read(path) if path.is_file() else Report()
    except FileNotFoundError:
        raise StoreError(f"There is no trained model in {folder}: export the run first.") from None
    except (ValueError, KeyError) as error:
        raise StoreError(
            f"The manifest in {folder} cannot be read ({error}): export the run again."
        ) from None
    for file, wanted in files.items():
        if Path(file).name != file or not (folder / file).is_file() or sha256(folder / file) != wanted:
            raise StoreError(f"{file} in {folder} is not what its manifest says: export the run again.")
    return entry, report


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _card(name: str, number: int, record: Installed) -> str:
    """A short model card."""
    entry, lineage = record.entry, record.lineage.to_json()
    labels = entry["label_set"]
    classes = ", ".join(c["name"] for c in labels["classes"]) if isinstance(labels, dict) else labels

    def score(scores: Scores | None) -> str:
        value = _mean_iou(scores)
        return f"{100 * value:.1f} %" if value is not None else "not measured"

    return "\n".join(
        [
            f"# {entry['title']}",
            "",
            f"Version {number} of `{name}`, {entry['architecture']}, made {record.installed}.",
            "",
            f"- Classes: {classes}",
            f"- Mean IoU on held-out photos: {score(record.after)}, before: {score(record.before)}",
            *(f"- {key.replace('_', ' ').capitalize()}: `{json.dumps(v)}`" for key, v in lineage.items()),
            "",
        ]
    )
