"""The settings of an installation: environment variables, each with its meaning, read here and nowhere else.

README's table of settings is ``table()``.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from segdemo.core.workspace import current
from segdemo.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]  # where the program itself lies
# What the trainer of a visitor's run is told: the folder of that visitor's models. Nobody else sets it.
OWN_MODELS = "SEGDEMO_OWN_MODELS"


class SettingError(UserError):
    """An environment variable that cannot be read; the message says what it has to be."""


@dataclass(frozen=True)
class Variable:
    """A setting.

    Attributes:
        name: of the environment variable.
        meaning: for README.
        default: what it is where it is not set.
        kind: ``"text"``, ``"folder"``, ``"count"`` (a positive whole number), ``"whole"`` (a whole number, 0 or more)
            or ``"number"`` (0 or more).
        most: the largest number that it may be.
        choices: what a text may be; empty for anything.
        shown: the default in README, where its value does not say it.
    """

    name: str
    meaning: str
    default: Any = ""
    kind: str = "text"
    most: int = 10**9
    choices: Sequence[str] = ()
    shown: str = ""

    def read(self) -> Any:
        """Its value: str, Path, int or float by its kind, or the default. Raises SettingError."""
        text = os.environ.get(self.name, "").strip()
        if not text:
            return self.default
        if self.kind == "folder":
            try:
                return Path(text).expanduser()
            except RuntimeError:
                raise SettingError(
                    f"{self.name} is a folder whose ~ nobody knows here: give the whole path, not {_shown(text)}."
                ) from None
        if self.kind in _NUMBERS:
            return self._number(text)
        if self.choices and text not in self.choices:
            listed = f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
            raise SettingError(f"{self.name} is {listed}, not {text!r}.")
        return text

    def _number(self, text: str) -> int | float:
        least, what = _NUMBERS[self.kind]
        try:
            number = float(text) if self.kind == "number" or text.isdecimal() else -1.0
        except ValueError:
            number = -1.0
        if not least <= number:  # nor is what is no number
            raise SettingError(f"{self.name} is {what}, not {_shown(text)}.")
        if number > self.most:
            raise SettingError(f"{self.name} is {self.most:,} at most, not {_shown(text)}.")
        return number if self.kind == "number" else int(number)


def _shown(text: str) -> str:
    """A value in a sentence, cut where it is long."""
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


_NUMBERS = {
    "count": (1, "a positive whole number"),
    "whole": (0, "a whole number, 0 or more"),
    "number": (0, "a number, 0 or more"),
}
_WHOLE: dict[str, Any] = {"kind": "whole"}
_NUMBER: dict[str, Any] = {"kind": "number", "most": 10**6}  # megabytes, gigabytes, hours, days, CPUs
_THREADS = 1024  # at most: of a network, and of requests that are answered at a time
_BYTES = 10**12
VARIABLES = {
    variable.name: variable
    for variable in (
        Variable(
            "SEGDEMO_DATA",
            "folder with a VOC tree or a Pets folder, to browse with true masks and to train on",
            None,
            "folder",
            shown="none",
        ),
        Variable(
            "SEGDEMO_HOME",
            "annotations, runs and model versions",
            None,
            "folder",
            shown="the platform's user-data folder",
        ),
        Variable(
            "SEGDEMO_PRETRAINED",
            "folder of ImageNet encoder weights, under Keras's own names or as `ENCODER*.weights.h5`; without it Keras "
            "downloads them",
            None,
            "folder",
            shown="none",
        ),
        Variable("SEGDEMO_THREADS", "threads of one prediction", None, "count", _THREADS, shown="all cores"),
        Variable("SEGDEMO_MAX_BYTES", "largest photo accepted, bytes", 40_000_000, "count", _BYTES),
        Variable(
            "SEGDEMO_MAX_PIXELS", "largest photo accepted, width times height", 64_000_000, "count", _BYTES
        ),
        Variable("SEGDEMO_MAX_SIDE", "longest side of a photo accepted, pixels", 32_768, "count"),
        Variable("SEGDEMO_MAX_ASPECT", "a photo's longest side over its shortest", 1000, "count"),
        Variable("SEGDEMO_PREDICTIONS", "photos that are segmented at a time", 2, "count", _THREADS),
        Variable(
            "SEGDEMO_MAX_WAITING",
            "photos that may wait to be segmented; others are told when to come",
            100,
            "count",
        ),
        Variable("SEGDEMO_MAX_SESSIONS", "open pages that are remembered", 500, "count"),
        Variable("SEGDEMO_PHOTO_CACHE_MB", "memory for photos that were decoded last", 64, **_NUMBER),
        Variable("SEGDEMO_CLICK_CACHE_MB", "memory for photos that were clicked on last", 256, **_NUMBER),
        Variable(
            "SEGDEMO_MAX_TEMP_GB",
            "disk of uploads and downloads; those used longest ago go first",
            4,
            **_NUMBER,
        ),
        Variable(
            "SEGDEMO_MAX_PHOTO_SECONDS",
            "processor time that decoding one photo or mask may take",
            5,
            "count",
            86_400,
        ),
        Variable(
            "SEGDEMO_MAX_PHOTO_MB",
            "memory for decoding a TIFF, WebP or AVIF, which is done in a process of its own, MB",
            1024,
            "count",
            10**6,
        ),
        Variable("SEGDEMO_MAX_VIDEO_SECONDS", "of a clip that are segmented, from its start", 60, **_NUMBER),
        Variable(
            "SEGDEMO_USERS",
            "who may open the page: `ann:secret,bob:other`; spaces around a name or password are left out",
            "",
            shown="everybody",
        ),
        Variable(
            "SEGDEMO_ADMINS",
            "names of `SEGDEMO_USERS`, on a Space without these of accounts of the Hub, who see storage, runs and "
            "workspaces, without content: `ann,bob`",
            "",
            shown="nobody",
        ),
        Variable(
            "SEGDEMO_METRICS_TOKEN", "with it `/metrics` can be read from elsewhere too", "", shown="none"
        ),
        Variable(
            "SEGDEMO_WORKSPACES",
            "`shared`: collections, runs and models are everybody's; `visitors`: each visitor has their own",
            None,
            choices=("shared", "visitors"),
            shown="`shared`; on Spaces without `SEGDEMO_USERS` `visitors`",
        ),
        Variable(
            "SEGDEMO_SECRET",
            "what visitors' cookies are signed with, 16 characters or more",
            "",
            shown="made up and kept in `SEGDEMO_HOME`",
        ),
        Variable(
            "SEGDEMO_MAX_COLLECTIONS",
            "collections of annotations; 0 is no limit, here and below",
            500,
            **_WHOLE,
        ),
        Variable(
            "SEGDEMO_MAX_COLLECTIONS_GB", "disk of all collections together, with their trash", 20, **_NUMBER
        ),
        Variable("SEGDEMO_WORKSPACE_PHOTOS", "photos of one visitor", 300, **_WHOLE),
        Variable(
            "SEGDEMO_WORKSPACE_MB", "disk of one visitor's collections, models and runs", 1000, **_NUMBER
        ),
        Variable("SEGDEMO_WORKSPACE_QUEUE", "runs of one visitor that may wait", 2, **_WHOLE),
        Variable(
            "SEGDEMO_WORKSPACE_HOURS",
            "what a visitor who is not signed in has not touched for so long is cleared away",
            24,
            **_NUMBER,
        ),
        Variable("SEGDEMO_MAX_BATCH_PHOTOS", "photos of one batch on the page", 2000, **_WHOLE),
        Variable("SEGDEMO_MAX_BATCH_GB", "photos of one batch, and its results again", 4, **_NUMBER),
        Variable(
            "SEGDEMO_MAX_BATCHES_GB", "disk of all batches together; each is gone after a day", 20, **_NUMBER
        ),
        Variable(
            "SEGDEMO_TRAINING",
            "who may train from the page: `on`, `off`, `users` (those who are signed in), `token`",
            None,
            choices=("on", "off", "token", "users"),
            shown="`on`; on Spaces `off`",
        ),
        Variable("SEGDEMO_TRAINING_TOKEN", "what has to be given with `token`", "", shown="none"),
        Variable("SEGDEMO_MAX_EPOCHS", "epochs of one run", 200, **_WHOLE),
        Variable("SEGDEMO_MAX_IMAGES", "photos in the subset a run learns from", 0, **_WHOLE),
        Variable("SEGDEMO_MAX_RUN_HOURS", "of one run, from its start or last resumption", 24, **_NUMBER),
        Variable("SEGDEMO_MAX_RUN_MEMORY_GB", "memory of a run", 0, **_NUMBER, shown="3/4 of the machine's"),
        Variable(
            "SEGDEMO_RUN_THREADS",
            "threads of a run",
            0,
            "whole",
            _THREADS,
            shown="all cores; one CPU of a cluster",
        ),
        Variable(
            "SEGDEMO_EXECUTOR",
            "where runs and batches work: `local`, or `ray`, the [cluster](docs/cluster.md) whose job server "
            "RAY_ADDRESS names",
            "local",
            choices=("local", "ray"),
            shown="`local`",
        ),
        Variable("SEGDEMO_RUN_GPUS", "GPUs of a run on a cluster", 0, **_NUMBER),
        Variable(
            "SEGDEMO_RAY_PYTHON", "Python with SegDemo on the nodes of a cluster", "", shown="this one's path"
        ),
        Variable(
            "SEGDEMO_BATCH_CPUS", "CPUs of a batch on a cluster", 0, **_WHOLE, shown="half of the cluster's"
        ),
        Variable("SEGDEMO_MAX_QUEUE", "runs that may wait", 10, **_WHOLE),
        Variable("SEGDEMO_MAX_RUNS_GB", "disk of all runs together", 20, **_NUMBER),
        Variable(
            "SEGDEMO_MAX_HANG_MINUTES", "a run without a sign of life for so long is ended", 10, **_NUMBER
        ),
        Variable(
            "SEGDEMO_KEEP_RUNS", "older runs are cleared away; the models they ended in stay", 100, **_WHOLE
        ),
        Variable(
            "SEGDEMO_KEEP_RUN_DAYS",
            "runs that ended longer ago are cleared away",
            0,
            **_NUMBER,
            shown="for ever",
        ),
    )
}


def read(name: str) -> Any:
    """The value of a variable of ``VARIABLES``. Raises SettingError."""
    return VARIABLES[name].read()


def check_port() -> None:
    """Raise SettingError if Gradio, which reads the port as it is imported, would not know what to make of it."""
    text = os.environ.get("GRADIO_SERVER_PORT")
    if text is not None and not (text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise SettingError(f"GRADIO_SERVER_PORT is a number from 1 to 65535, not {_shown(text)}.")


def table() -> str:
    """README's table of the settings, as Markdown."""
    rows = (f"| `{v.name}` | {v.meaning} | {v.shown or f'{v.default:,}'} |" for v in VARIABLES.values())
    return "\n".join(("| variable | meaning | default |", "|---|---|---|", *rows))


def home() -> Path:
    """The state root. It is created by whoever first writes to it. Raises SettingError."""
    if (told := read("SEGDEMO_HOME")) is not None:
        return Path(told)
    try:
        return Path(platformdirs.user_data_dir("segdemo", appauthor=False))
    except RuntimeError:  # as in a container whose user is a mere number
        raise SettingError(
            "Set SEGDEMO_HOME to a folder for annotations, runs and models: this user has no home."
        ) from None


def expanded(path: Path | str) -> Path:
    """A path with a leading ``~`` expanded; where nobody knows whose folder it means, the path as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def models_dir() -> Path:
    """Where models trained on this machine are kept, one folder each."""
    return home() / "models"


def workspaces_dir() -> Path:
    """Where the workspaces of visitors are kept, one folder each."""
    return home() / "workspaces"


def own_models_dir() -> Path | None:
    """Where the models of the visitor who is being answered are kept besides; None where models are everybody's."""
    workspace = current()
    if workspace is not None:
        return workspace.models
    told = os.environ.get(OWN_MODELS)
    return Path(told) if told else None


def own_annotations_dir() -> Path | None:
    """Where the collections of the visitor who is being answered are kept, or everybody's; None for nobody's."""
    own = own_models_dir()
    if own is not None:
        return own.parent / "annotations"
    return None if for_visitors() else home() / "annotations"


def for_visitors() -> bool:
    """Whether each visitor has a workspace of their own. Raises SettingError."""
    chosen = read("SEGDEMO_WORKSPACES")
    return bool(chosen == "visitors" if chosen else on_spaces() and not users())


def users() -> list[tuple[str, str]]:
    """Who may open the page, (name, password) each, without spaces around them; none is everybody.

    Raises:
        SettingError: it is set and names nobody, or one lacks a name or a password.
    """
    told = read("SEGDEMO_USERS")
    parts = [part.partition(":") for part in told.split(",") if part.strip()]
    pairs = [(name.strip(), password.strip()) for name, _, password in parts]
    if (told and not pairs) or not all(name and password for name, password in pairs):
        raise SettingError(
            "SEGDEMO_USERS is a list such as ann:secret,bob:other, one name and password each."
        )
    return pairs


def admins() -> frozenset[str]:
    """Names of those who may see how the installation is doing. Raises SettingError."""
    names = frozenset(name.strip() for name in read("SEGDEMO_ADMINS").split(",") if name.strip())
    if on_spaces() and not users():  # they sign in with their accounts of the Hub
        return names
    known = {name for name, _ in users()}
    if names - known:
        unknown = ", ".join(sorted(names - known))
        raise SettingError(
            f"SEGDEMO_ADMINS are names of SEGDEMO_USERS: give {unknown} a password there first."
        )
    return names


def data_dir() -> Path | None:
    """The folder of datasets, or None if none is set."""
    folder: Path | None = read("SEGDEMO_DATA")
    return folder


def pretrained_dir() -> Path | None:
    """The folder of ImageNet weights and teachers, or None if none is set."""
    folder: Path | None = read("SEGDEMO_PRETRAINED")
    return folder


def threads() -> int:
    """Threads of one prediction. Raises SettingError."""
    return read("SEGDEMO_THREADS") or cores()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_spaces() -> bool:
    """Whether this is a Hugging Face Space, where anybody may come and the disk is lost when it sleeps."""
    return bool(os.environ.get("SPACE_ID"))


def hosted() -> bool:
    """Whether those who open the page are others than those who set it up. Raises SettingError."""
    return on_spaces() or for_visitors() or bool(users())


def spaces_sign_in() -> bool:
    """Whether a Space offers to sign in with an account of the Hub, and the package for that is there."""
    return bool(os.environ.get("OAUTH_CLIENT_ID")) and importlib.util.find_spec("authlib") is not None
