"""Settings of a training found by trying: Ray Tune with ASHA, each trial an ordinary run in a folder of its own.

ASHA: Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934 (2018). After some epochs
only the best trials go on; the others are cancelled, and can be resumed like any run.
"""

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segdemo.cluster.connection import connected
from segdemo.cluster.driver import driven
from segdemo.cluster.reach import Place, UnreachableError
from segdemo.cluster.server import Room
from segdemo.core.conventions import now, slug
from segdemo.core.files import write_json
from segdemo.errors import UserError
from segdemo.runs.config import TrainConfig, TrainingError, setting
from segdemo.runs.executor import begin
from segdemo.runs.failures import own_line
from segdemo.runs.record import Record, Run, Status, events_since

SECONDS = 0.5  # between two looks at a trial
PATIENCE = 60.0  # seconds that a trial may take to end when it is asked to
FIRST_SHARE = 4  # a trial is judged first after this part of its epochs
AGAIN = "give the same command again"
DEFAULT_SEARCH = ("learning_rate=1e-5..1e-2", "loss=cross_entropy,dice,cross_entropy_dice")


@dataclass(frozen=True)
class Range:
    """Values of a setting to draw from, in equal shares of their logarithms."""

    low: float
    high: float


Search = dict[str, Range | list[Any]]


def search_of(texts: Sequence[str]) -> Search:
    """What is to be tried, from texts such as ``learning_rate=1e-5..1e-2`` and ``size=96,128``.

    ``encoder`` is an option of the architecture, all others are settings of ``TrainConfig``.

    Raises:
        TrainingError: a text is not of that form, or names no setting.
    """
    found: Search = {}
    for text in texts:
        name, separator, values = text.partition("=")
        if not separator or not values:
            raise TrainingError(f"--search takes NAME=LOW..HIGH or NAME=VALUE,VALUE, not {text!r}.")
        if name != "encoder":
            try:
                setting(name)
            except KeyError:
                raise TrainingError(f"There is no setting {name!r} to search: see train --set.") from None
        found[name] = _range(name, values) if ".." in values else [_value(v) for v in values.split(",")]
    return found


def _range(name: str, text: str) -> Range:
    ends = re.fullmatch(r"([^.]\S*?)\.\.(\S+)", text)
    try:
        low, high = (float(end) for end in ends.groups()) if ends else (0.0, 0.0)
    except ValueError:
        low = high = 0.0
    if not 0 < low < high < float("inf"):
        raise TrainingError(f"A range of {name} is like 1e-5..1e-2, two positive numbers, not {text!r}.")
    return Range(low, high)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def settings_of(settings: Mapping[str, Any], tried: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial. Raises TrainingError: they cannot work."""
    own = {name: value for name, value in tried.items() if name != "encoder"}
    together = {**settings, **own}
    if "encoder" in tried:
        together["options"] = {**settings.get("options", {}), "encoder": tried["encoder"]}
    return TrainConfig.from_json(together).to_json()


class TrialRun:
    """The run of a trial, on a node: the trainer, followed epoch by epoch.

    Args:
        folder: the run directory; one that is there is gone on with.
        settings: of the trial, as ``config.json`` has them.
        title: what a person calls it.
        command: of the trainer, followed by ``--out RUN_DIR --resume --json``.

    Raises:
        DiskError.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], title: str, command: Sequence[str]) -> None:
        self.folder, self._epochs = folder, int(settings["epochs"])
        if not (folder / "status.json").is_file():
            write_json(folder / "config.json", dict(settings))
            record = Record(title=title, name=slug(title, "model"), created=now())
            write_json(folder / "run.json", record.to_json())
            write_json(folder / "status.json", Status(state="queued").to_json())
        begin(Run.read(folder), "Starting.")
        Place(folder, folder.name).leave()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "segdemo.cluster.worker", folder.name, str(folder)),
                *(*command, "--out", str(folder), "--resume", "--json"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._cursor, self._epoch, self._last = 0, 0, 0.0
        self._waiting: list[float] = []  # mean IoU of epochs that nobody has asked for yet

    def step(self) -> dict[str, Any]:
        """Wait for the next epoch: its mean IoU on the validation photos, and whether it was the last one.

        After the last one the model is exported, which is waited for.
        """
        while not self._waiting:
            ended = self._process.poll() is not None
            self._read()
            if ended and not self._waiting:
                return {"mean_iou": self._last, "done": True}
            time.sleep(0 if self._waiting else SECONDS)
        self._last, self._epoch = self._waiting.pop(0), self._epoch + 1
        if self._epoch >= self._epochs:
            self._process.wait()
        return {"mean_iou": self._last, "done": self._epoch >= self._epochs}

    def end(self) -> None:
        """Cancel the run if it still works: its last state is kept."""
        if self._process.poll() is None:
            (self.folder / "cancel").touch()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
                return
            self._process.terminate()
            self._process.wait()

    def _read(self) -> None:
        events, self._cursor = events_since(self.folder / "events.jsonl", self._cursor)
        epochs = [event for event in events if event.get("kind") == "epoch"]
        self._waiting += [float(event.get("val_mean_iou", 0.0)) for event in epochs]


def tune(
    settings: Mapping[str, Any], search: Search, out: Path, trials: int, room: Room, python: str = ""
) -> tuple[list[Run], list[str]]:
    """Try settings on a cluster.

    Args:
        settings: fields of ``TrainConfig`` that all trials share; ``epochs`` is what the best of them get.
        search: what is tried, see ``search_of``.
        out: folder of the run directories, at the same path on every node; it may hold others.
        trials: how many.
        room: what each takes of the cluster.
        python: of the nodes; "" for this one.

    Returns:
        (the runs, the best first; a sentence on each trial that did not begin, or was lost)

    Raises:
        ClusterError: there is no cluster. TrainingError: the settings cannot work. UserError: a node lacks ``out``.
    """
    first = {name: v[0] if isinstance(v, list) else v.low for name, v in search.items()}
    epochs = int(settings_of(settings, first)["epochs"])
    name = f"tune-{time.strftime('%Y%m%d-%H%M%S')}"
    command = [python or sys.executable, "-m", "segdemo", "train"]
    common = {"settings": dict(settings), "folder": str(out / name), "command": command}
    place = _place(out / name)
    tuner = partial(
        _tuner,
        search=search,
        common=common,
        epochs=epochs,
        trials=trials,
        room=room,
        storage=out / ".tune",
        name=name,
    )
    with place.left():
        wrong = list(driven(partial(_fit, tuner, place), "search", AGAIN))
    runs = [Run.read(folder) for folder in sorted(out.glob(f"{name}-*"))]
    return sorted(runs, key=lambda run: -(run.status().best or 0)), wrong


def _place(folder: Path) -> Place:
    """Where the runs of a search are; names of their folders begin with that of ``folder``."""
    return Place(folder.parent, folder.name, "--out or SEGDEMO_HOME", f".{folder.name}")


def _fit(tuner: Callable[[Any], Any], place: Place) -> Iterator[str]:
    """The search, in the process that uses Ray: what went wrong. What comes of it is in the folders of the runs."""
    with connected("search", AGAIN) as ray:
        _require_everywhere(ray, place)
        for error in tuner(ray).fit().errors:
            yield re.sub(r"^[\w.]+(Error|Exception): ", "", own_line(str(error)))


def _require_everywhere(ray: Any, place: Place) -> None:
    """Find a place on all nodes that work: each trial would take its time to miss it. Raises UserError."""
    at = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    missing = ray.remote(num_cpus=0)(_missing)
    asked = [missing.options(scheduling_strategy=at(node, soft=False)).remote(place) for node in nodes]
    if why := next(filter(None, ray.get(asked)), ""):
        raise UserError(why)


def _missing(place: Place) -> str:
    try:
        place.require()
    except UnreachableError as error:
        return str(error)
    return ""


def _tuner(
    ray: Any,
    search: Search,
    common: Mapping[str, Any],
    epochs: int,
    trials: int,
    room: Room,
    storage: Path,
    name: str,
) -> Any:
    space = {
        key: ray.tune.choice(v) if isinstance(v, list) else ray.tune.loguniform(v.low, v.high)
        for key, v in search.items()
    }
    resources = {"CPU": room.cpus, **({"GPU": room.gpus} if room.gpus else {})}
    return ray.tune.Tuner(
        ray.tune.with_resources(_trainable(ray.tune.Trainable), ray.tune.PlacementGroupFactory([resources])),
        param_space={"tried": space, **common},
        tune_config=ray.tune.TuneConfig(
            metric="mean_iou",
            mode="max",
            num_samples=trials,
            scheduler=ray.tune.schedulers.ASHAScheduler(
                max_t=epochs, grace_period=max(1, epochs // FIRST_SHARE), reduction_factor=3
            ),
        ),
        run_config=ray.tune.RunConfig(
            name=name,
            storage_path=str(storage),
            checkpoint_config=ray.tune.CheckpointConfig(checkpoint_at_end=False),  # runs have their own
            failure_config=ray.tune.FailureConfig(max_failures=2),  # of nodes: a run that fails has ended
            verbose=0,
        ),
    )


def _trainable(base: Any) -> Any:
    class Trial(base):  # type: ignore[misc]
        """What Ray Tune calls on a node."""

        def setup(self, config: dict[str, Any]) -> None:
            tried = config["tried"]
            title = ", ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in tried.items()
            )
            _place(Path(config["folder"])).require()
            folder = Path(f"{config['folder']}-{self.trial_id}")
            self._run = TrialRun(folder, settings_of(config["settings"], tried), title, config["command"])

        def step(self) -> dict[str, Any]:
            return self._run.step()

        def cleanup(self) -> None:
            self._run.end()

    return Trial
