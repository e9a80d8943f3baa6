"""Weights on disk while a model learns: the last ones to go on from and the best ones to keep, never half written."""

import errno
import math
import os
import shutil
from pathlib import Path
from typing import Any

import keras

from segdemo.core.files import read_json, write_json


class Checkpoints:
    """The last and the best weights of a run; ``state.json`` names the last complete one."""

    def __init__(self, folder: Path | str, classes: int | None = None):
        self.folder, self.classes = Path(folder), classes
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_over in self.folder.glob("partial-*.weights.h5"):  # by one that was killed while it wrote
            left_over.unlink()

    def state(self) -> dict[str, Any] | None:
        """What the last checkpoint is, or None: ``{"file", "epoch", "step", "best", "classes", "patience"}``."""
        try:
            state = read_json(self.folder / "state.json")
        except FileNotFoundError:
            return None
        return state if (self.folder / state["file"]).is_file() else None

    @property
    def last(self) -> Path:
        """Path of the weights to go on from, if there is a ``state``."""
        return self.folder / read_json(self.folder / "state.json")["file"]

    @property
    def best(self) -> Path:
        """Path of the weights that scored best on the validation photos."""
        return self.folder / "best.weights.h5"

    def save(
        self, model: keras.Model, epoch: int, step: int, best: float, patience: dict[str, dict] | None = None
    ) -> None:
        """Keep everything needed to go on: weights, optimizer state, how far it had come, and for how many
        epochs the loss has not fallen."""
        name = f"last-{epoch:04d}-{step:06d}.weights.h5"
        save_weights(model, self.folder / name)
        state = {"file": name, "epoch": epoch, "step": step, "best": best}
        state |= {"classes": self.classes, "patience": patience or {}}
        write_json(self.folder / "state.json", state, default=float)
        for old in self.folder.glob("last-*.weights.h5"):
            if old.name != name:
                old.unlink()


def save_weights(model: keras.Model, path: Path | str) -> None:
    """Write weights so that the file is either whole or not there. Raises OSError if there is no room for it."""
    path = Path(path)
    partial_path = path.with_name(f"partial-{os.getpid()}.weights.h5")
    variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", ())]
    needed = sum(math.prod(v.shape) * 4 + 4096 for v in variables) + 2**16
    try:
        _make_room(partial_path, needed)  # HDF5 ends the process, no exception, when the disk is full
        model.save_weights(partial_path, overwrite=True)
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)


def _make_room(path, size):
    """Raise OSError unless a file of ``size`` bytes can be written now."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
