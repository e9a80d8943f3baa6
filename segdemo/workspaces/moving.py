"""What a visitor has made before they signed in becomes part of their own workspace.

What moves is written down before, in ``moving.json`` of the workspace that it leaves, until the runs name it by its new
place: so a server that is killed meanwhile loses nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segdemo.annotations.store import count_photos
from segdemo.core.documents import Document, log_once
from segdemo.core.files import disk_errors, disk_usage, write_json
from segdemo.core.workspace import Workspace
from segdemo.runs.record import Run
from segdemo.workspaces.quota import QuotaStore
from segdemo.zoo.versions import ModelStore

MOVING = "moving.json"


@dataclass(frozen=True, kw_only=True)
class Moving(Document):
    """``moving.json``: the workspace that things move into, and the names they have there by those they had.

    Of those that are still in their place nothing has happened yet.
    """

    to: str
    collections: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)


def begun(old: Workspace) -> Moving | None:
    """What was begun to be moved out of a workspace, and not ended; None if nothing was."""
    try:
        return Moving.read(old.folder / MOVING)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log_once(str(error))
        return None


def is_empty(workspace: Workspace) -> bool:
    """Whether there is nothing left that somebody could want back: no collection, no model, no trash."""
    annotations = workspace.folder / "annotations"
    return not (folders(annotations) or folders(workspace.models) or [*annotations.glob(".trash/*")])


def folders(root: Path) -> list[Path]:
    """The folders in another one that are not hidden, by name."""
    return sorted(path for path in root.glob("[!.]*") if path.is_dir())


def move(
    old: Workspace,
    source: QuotaStore,
    new: Workspace,
    target: QuotaStore,
    runs: Iterable[Run],
    running: Sequence[Run],
    before: Moving | None = None,
) -> None:
    """Move what is in one workspace, and has room in another, into that.

    Args:
        old, source: the workspace that it leaves, and its collections.
        new, target: the other one.
        runs: those of both, which stand still.
        running: those that are running, of whose data and models nothing moves.
        before: what was begun to be moved there before.

    Raises:
        DiskError.
    """
    stay = {str(run.settings().get("data")) for run in running}
    with source.lock(".store"), target.lock(".store"):
        if before is not None:
            _move_renamed(old, new, before)
            _tell(old, new, before, runs)
            runs = [Run.read(run.folder) for run in runs]
        target.measure_again()
        fitting: list[Path] = []
        for path in (path.parent for path in sorted(source.root.glob("[!.]*/collection.json"))):
            free = not {str(path), str(path.resolve())} & stay
            if free and target.take(disk_usage(path), count_photos(path), len(fitting)):
                fitting.append(path)
        models = [] if running else folders(old.models)
        moving = Moving.of(
            to=new.id, collections=_places(fitting, target.root), models=_places(models, new.models)
        )
        if fitting or models:
            write_json(old.folder / MOVING, moving.to_json())
        for path in fitting:
            with source.lock(path.name):
                _rename(path, target.root / moving.collections[path.name])
        _move_models(old, new, moving.models)
        _tell(old, new, moving, runs)
        for path in (source.root / ".trash").glob("*"):
            there = target.root / ".trash" / path.name
            if not there.exists() and target.take(disk_usage(path)):
                _rename(path, there)


def _places(wanted: Iterable[Path], root: Path) -> dict[str, str]:
    """The name of each folder, and a free one in ``root``: the same, or with a number, that no other of them has."""
    names = [path.name for path in wanted]
    taken = {path.name for path in root.iterdir()} if root.is_dir() else set()
    places: dict[str, str] = {}
    for name in names:
        place, number = name, 1
        others = taken | set(places.values()) | (set(names) - {name})
        while place in others:
            number += 1
            place = f"{name[:50]}-{number}"
        places[name] = place
    return places


def _move_models(old: Workspace, new: Workspace, places: Mapping[str, str]) -> None:
    source = ModelStore(old.models)
    known = set(source.names())
    for name, place in places.items():
        here = old.models / name
        if name != place and name in known:
            source.rename(name, place)  # its manifest says how it is called
            here = old.models / place
        _rename(here, new.models / place)


def _move_renamed(old: Workspace, new: Workspace, moving: Moving) -> None:
    """Move the models that have their new names already, and are still in their place."""
    for name, place in moving.models.items():
        here, there = old.models / place, new.models / place
        if name != place and here.exists() and not (old.models / name).exists() and not there.exists():
            _rename(here, there)


def _tell(old: Workspace, new: Workspace, moving: Moving, runs: Iterable[Run]) -> None:
    """Make the runs of one workspace those of the other, with what has moved by its new place; then all is done."""
    here, there = (workspace.folder / "annotations" for workspace in (old, new))
    moved = {
        str((here / name).resolve()): str((there / place).resolve())
        for name, place in moving.collections.items()
        if not (here / name).exists()
    }
    renamed = {
        name: place
        for name, place in moving.models.items()
        if not (old.models / name).exists() and not (old.models / place).exists()
    }
    for run in runs:
        _hand_over(run, new.id, moved, renamed if run.record.workspace == old.id else {})
    if (old.folder / MOVING).exists():
        with disk_errors(old.folder / MOVING):
            (old.folder / MOVING).unlink()


def _hand_over(run: Run, workspace: str, moved: Mapping[str, str], renamed: Mapping[str, str]) -> None:
    """Make a run that of another workspace, with what it names by the new names."""
    told = run.settings()
    data, start = str(told.get("data") or ""), str(told.get("start_from") or "")
    changed = {"data": moved.get(data, data), "start_from": _renamed(start, renamed)}
    if told and changed != {"data": data, "start_from": start}:
        write_json(run.folder / "config.json", {**told, **changed})
    model = _renamed(run.record.model, renamed)
    if (workspace, model) != (run.record.workspace, run.record.model):
        run.note(workspace=workspace, model=model)


def _renamed(model: str, renamed: Mapping[str, str]) -> str:
    name, at, number = model.partition("@")
    return f"{renamed.get(name, name)}{at}{number}"


def _rename(source: Path, target: Path) -> None:
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
