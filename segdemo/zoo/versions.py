"""Versions of the models trained on this machine: install, promote, roll back, with where each comes from."""

import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from segdemo import zoo
from segdemo.core import plain, settings
from segdemo.core.conventions import TRASH_DAYS, clean_title, now
from segdemo.core.files import (
    DiskError,
    NotFoundError,
    StoreError,
    disk_error,
    locked,
    read_json,
    sha256,
    sweep,
    write_atomic,
    write_json,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")


@dataclass(frozen=True)
class Version:
    """One trained version of a model.

    Attributes:
        name, number: the model and its version, from 1.
        entry: what the manifest says of it, see ``zoo.ModelEntry``.
        installed: when it was added.
        lineage: where it comes from: parent, data set hash, settings, code version.
        before, after: scores of the parent and of itself on the same held-out photos, or None.
        current: whether it is what ``name`` stands for.
        folder: where its files lie.
    """

    name: str
    number: int
    entry: dict
    installed: str
    lineage: dict
    before: dict | None
    after: dict | None
    current: bool
    folder: Path

    @property
    def served_as(self):
        """The name under which ``zoo.served_models`` always has it."""
        return f"{self.name}@{self.number}"

    def objection(self):
        """One sentence against promoting it, or None."""
        after, before = ((scores or {}).get("mean_iou") for scores in (self.after, self.before))
        if not _is_number(after):
            return f"Version {self.number} of {self.name} was not measured, so nobody knows if it is better."
        if _is_number(before) and after < before:
            return (
                f"Version {self.number} of {self.name} scores {100 * after:.1f} mean IoU, "
                f"worse than the {100 * before:.1f} of the model it started from."
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

    def __init__(self, root=None):
        self.root = Path(root) if root is not None else settings.models_dir()

    def names(self):
        """Names of the models there are, sorted."""
        return sorted(path.parent.name for path in self.root.glob("*/manifest.json") if _is_ours(path))

    def versions(self, name):
        """The Versions of a model, newest first; none if there is no such model."""
        data = self._read(name)
        return [
            self._version(name, data, number) for number in sorted(map(int, data["versions"]), reverse=True)
        ]

    def version(self, name, number):
        """One Version. Raises NotFoundError."""
        data = self._read(name)
        if str(number) not in data["versions"]:
            known = ", ".join(data["versions"]) or "none"
            raise NotFoundError(f"{name} has no version {number}: there are these ({known}).")
        return self._version(name, data, number)

    def current(self, name):
        """The promoted Version, or None."""
        return next((version for version in self.versions(name) if version.current), None)

    def install(self, folder, name, title=None, lineage=None):
        """Add a trained version of a model; it is served as ``name@number`` but not yet promoted.

        Args:
            folder: what ``export.export_run`` wrote: ``manifest.json`` with one entry, the files it names,
                and ``report.json``.
            name: of the model, new or not: a-z, 0-9, '-' and '_'.
            title: what a person calls it; by default the manifest's.
            lineage: plain data that tells where it comes from.

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
            data = self._read(name)
            number = 1 + max([0, *map(int, data["versions"]), *self._folders(name)])
            target = self.root / name / f"v{number}"
            build = target.with_name(f".v{number}.{secrets.token_hex(4)}.new")
            if (metrics := entry.get("metrics") or {}).get("command"):
                metrics = {**metrics, "command": zoo.evaluate_command(f"{name}@{number}", metrics)}
                entry = {**entry, "metrics": metrics}
            record = {
                "entry": entry,
                "installed": now(),
                "lineage": lineage or {},
                "before": report.get("before"),
                "after": report.get("after") or entry.get("metrics"),
            }
            try:
                build.mkdir(parents=True)
                for file in (entry["onnx"], entry.get("weights"), "report.json", "config.json", "README.md"):
                    if file and (folder / file).is_file():
                        shutil.copyfile(folder / file, build / file)
                if not (build / "README.md").is_file():
                    write_atomic(build / "README.md", _card(name, number, record).encode())
                for file in build.iterdir():
                    _sync_file(file)
                build.rename(target)
                data["versions"][str(number)] = record
                self._write(name, data)
            except OSError as error:
                shutil.rmtree(build, ignore_errors=True)
                shutil.rmtree(target, ignore_errors=True)
                raise error if isinstance(error, DiskError) else disk_error(error, target) from error
        return self._version(name, data, number)

    def promote(self, name, number, force=False):
        """Make ``name`` stand for a version.

        Raises:
            NotFoundError: no such version. StoreError: it scores worse than its parent or was not measured,
            and ``force`` is not set.
        """
        with self._lock(name):
            version = self.version(name, number)
            if not force and (objection := version.objection()):
                raise StoreError(objection)
            data = self._read(name)
            if data["current"] != number:
                data["history"].append(data["current"])
                data["current"] = number
                self._write(name, data)
        return self.version(name, number)

    def rollback(self, name):
        """Make ``name`` stand for what it stood for before the last promotion.

        Returns:
            The Version it stands for now; None if it is no version of this store, which leaves the name to a
            shipped model of that name.

        Raises:
            StoreError: there was no promotion to take back.
        """
        with self._lock(name):
            data = self._read(name)
            if data["current"] is None:
                raise StoreError(f"No version of {name} is promoted, so there is nothing to take back.")
            earlier = [n for n in data["history"] if n is None or str(n) in data["versions"]]
            data["current"] = earlier.pop() if earlier else None
            data["history"] = earlier
            self._write(name, data)
        return self.current(name)

    def delete(self, name, number=None):
        """Put a version, or the whole model, into the trash folder.

        Raises:
            NotFoundError: no such version. StoreError: it is the promoted one.
        """
        with self._lock(name):
            data = self._read(name)
            if not data["versions"]:
                raise NotFoundError(f"There is no model {name!r} that was trained here.")
            if number is None:
                self._discard(self.root / name)
                return
            version = self.version(name, number)
            if version.current:
                raise StoreError(
                    f"Version {number} is what {name} stands for: roll back or promote another first."
                )
            del data["versions"][str(number)]
            data["history"] = [n for n in data["history"] if n != number]
            if data["versions"]:
                self._write(name, data)
                self._discard(version.folder)
            else:
                self._discard(self.root / name)

    def rename(self, name, new_name):
        """Rename a model. Raises StoreError if that is taken, NotFoundError if there is no such model."""
        self._check_name(new_name)
        if name == new_name:
            return
        first, second = sorted((name, new_name))
        with self._lock(first), self._lock(second):
            if not self._read(name)["versions"]:
                raise NotFoundError(f"There is no model {name!r} that was trained here.")
            if (self.root / new_name).exists():
                raise StoreError(f"There is already a model {new_name!r}: choose another name.")
            (self.root / name).rename(self.root / new_name)
            self._write(new_name, self._read(new_name))

    def tidy(self, days=TRASH_DAYS):
        """Delete what has lain in the trash for ``days``, and what killed processes left behind."""
        sweep(self.root / ".trash", days)
        for name in self.names():
            sweep(self.root / name, days)
            with self._lock(name):
                data = self._read(name)
                if data["name"] != name:  # killed while renaming
                    self._write(name, data)
                for number in self._folders(name):
                    if str(number) not in data["versions"]:
                        self._discard(self.root / name / f"v{number}")

    def _lock(self, name):
        self._check_name(name)
        return locked(self.root / ".locks" / f"{name}.lock")

    def _check_name(self, name):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise StoreError(
                f"A model's name has up to 60 letters a-z, digits, '-' and '_', unlike {name!r}."
            )

    def _read(self, name):
        self._check_name(name)
        try:
            data = read_json(self.root / name / "manifest.json")
            if isinstance(data, dict) and "versions" not in data:
                raise StoreError(f"The model {name!r} was put there by hand: choose another name.")
            _check_manifest(data)
            return data
        except FileNotFoundError:
            return {"models": {}, "name": name, "current": None, "history": [], "versions": {}}
        except StoreError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"The manifest of {name} is damaged: restore it from a copy.") from None

    def _write(self, name, data):
        served = {}
        for number in sorted(map(int, data["versions"])):
            entry = dict(data["versions"][str(number)]["entry"])
            for key in ("onnx", "weights"):
                if entry.get(key):
                    entry[key] = f"v{number}/{entry[key]}"
            lineage = data["versions"][str(number)]["lineage"]
            entry |= {"model": name, "model_version": number, "lineage": lineage}
            served[f"{name}@{number}"] = {**entry, "title": f"{entry['title']} (version {number})"}
            if number == data["current"]:
                served[name] = {**entry, "alias_of": f"{name}@{number}"}
        write_json(self.root / name / "manifest.json", {**data, "models": served, "name": name})

    def _version(self, name, data, number):
        record = data["versions"][str(number)]
        return Version(
            name=name,
            number=int(number),
            current=data["current"] == int(number),
            folder=self.root / name / f"v{number}",
            **{key: record[key] for key in ("entry", "installed", "lineage", "before", "after")},
        )

    def _folders(self, name):
        """Numbers of the version folders there are, listed in the manifest or not."""
        found = (self.root / name).glob("v*")
        return [int(path.name[1:]) for path in found if path.name[1:].isdigit()]

    def _discard(self, folder):
        target = self.root / ".trash" / f"{folder.parent.name}.{folder.name}.{secrets.token_hex(4)}"
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
        os.utime(target)


def _is_ours(manifest):
    """Whether a manifest was written here, and is whole."""
    try:
        data = read_json(manifest)
        if not _NAME.fullmatch(manifest.parent.name) or "versions" not in data:
            return False
        _check_manifest(data)
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_manifest(data):
    """Raise ValueError if the manifest of a model is not as this module writes it."""
    plain.require(data, {"name": str, "history": list, "versions": dict, "models": dict})
    numbers = [data["current"], *data["history"]]
    if not all(number is None or plain.fits(number, int) for number in numbers):
        raise ValueError("its versions are no numbers")
    if data["current"] is not None and str(data["current"]) not in data["versions"]:
        raise ValueError("its current version is missing")
    for number, record in data["versions"].items():
        if not number.isdecimal() or len(number) > 9:
            raise ValueError("a version is no number")
        plain.require(record, {"entry": dict, "installed": str, "lineage": dict})
        plain.require(
            record["entry"], {"title": str, "architecture": str, "onnx": str, "label_set": (str, dict)}
        )
        for key in ("before", "after"):
            if record[key] is not None and not isinstance(record[key], dict):
                raise ValueError("its scores are none")


def _is_number(value):
    return plain.fits(value, plain.NUMBER)


def _trained(folder):
    """(manifest entry, report) of a run directory, with the files checked. Raises StoreError."""
    try:
        models = read_json(folder / "manifest.json")["models"]
        (entry,) = models.values()
        zoo.read_manifest(folder / "manifest.json")
        files = {entry["onnx"]: entry["onnx_sha256"]}
        if entry.get("weights"):
            files[entry["weights"]] = entry["weights_sha256"]
        path = folder / "report.json"
        report = read_json(path) if path.is_file() else {}
        scores = [report.get("before"), report.get("after"), entry.get("metrics")]
        if not all(score is None or isinstance(score, dict) for score in scores):
            raise ValueError("its scores are none")
    except FileNotFoundError:
        raise StoreError(f"There is no trained model in {folder}: export the run first.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"The manifest in {folder} cannot be read ({error}): export the run again."
        ) from None
    for file, wanted in files.items():
        if Path(file).name != file or not (folder / file).is_file() or sha256(folder / file) != wanted:
            raise StoreError(f"{file} in {folder} is not what its manifest says: export the run again.")
    return entry, report


def _sync_file(path):
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _card(name, number, record):
    """A short model card."""
    entry, lineage = record["entry"], record["lineage"]
    labels = entry["label_set"]
    classes = ", ".join(str(c["name"]) for c in labels["classes"]) if isinstance(labels, dict) else labels

    def score(scores):
        value = (scores or {}).get("mean_iou")
        return f"{100 * value:.1f} %" if _is_number(value) else "not measured"

    return "\n".join(
        [
            f"# {entry['title']}",
            "",
            f"Version {number} of `{name}`, {entry['architecture']}, made {record['installed']}.",
            "",
            f"- Classes: {classes}",
            f"- Mean IoU on held-out photos: {score(record['after'])}, before: {score(record['before'])}",
            *(f"- {key.replace('_', ' ').capitalize()}: `{json.dumps(v)}`" for key, v in lineage.items()),
            "",
        ]
    )
