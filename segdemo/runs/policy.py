"""Who may train on this installation, and how much."""

import functools
import hmac
import importlib.util
import math
from dataclasses import dataclass, replace
from typing import Self

from segdemo.core import settings
from segdemo.core.attempts import Attempts
from segdemo.errors import UserError
from segdemo.runs import processes


class RunError(UserError):
    """Something cannot be done with a run. The message is one sentence meant for the person who asked."""


class PolicyError(RunError):
    """The settings of this installation do not allow it."""


_tokens = Attempts(free=20, longest=60)  # in this process; everybody waits, so not for long
_VARIABLES = {
    "training": "SEGDEMO_TRAINING",
    "token": "SEGDEMO_TRAINING_TOKEN",
    "max_hours": "SEGDEMO_MAX_RUN_HOURS",
    "max_epochs": "SEGDEMO_MAX_EPOCHS",
    "max_images": "SEGDEMO_MAX_IMAGES",
    "max_queue": "SEGDEMO_MAX_QUEUE",
    "max_queue_each": "SEGDEMO_WORKSPACE_QUEUE",
    "max_disk_gb": "SEGDEMO_MAX_RUNS_GB",
    "max_memory_gb": "SEGDEMO_MAX_RUN_MEMORY_GB",
    "threads": "SEGDEMO_RUN_THREADS",
    "hang_minutes": "SEGDEMO_MAX_HANG_MINUTES",
    "keep_days": "SEGDEMO_KEEP_RUN_DAYS",
    "keep_runs": "SEGDEMO_KEEP_RUNS",
}


@functools.cache
def training_installed() -> bool:
    """Whether this installation can train: one that only serves lacks TensorFlow. Imports nothing."""
    if importlib.util.find_spec("segdemo.training") is None:
        return False
    return all(importlib.util.find_spec(name) for name in ("tensorflow", "keras", "tf2onnx"))


@dataclass(frozen=True)
class Policy:
    """Who may train here, and how much. Zero means no limit, if nothing else is said.

    Each is read from the environment variable in brackets.

    Attributes:
        training: ``"on"``, ``"off"``, ``"token"`` or ``"users"``, those who are signed in [SEGDEMO_TRAINING;
            by default on, but off on Hugging Face Spaces, where anybody may come].
        token: what has to be given with ``"token"`` [SEGDEMO_TRAINING_TOKEN].
        max_hours: of one run, from its start or last resumption [SEGDEMO_MAX_RUN_HOURS].
        max_epochs: of one run [SEGDEMO_MAX_EPOCHS].
        max_images: photos in the subset a run learns from [SEGDEMO_MAX_IMAGES].
        max_queue: runs that may wait [SEGDEMO_MAX_QUEUE].
        max_queue_each: of one visitor, where each has a workspace [SEGDEMO_WORKSPACE_QUEUE].
        max_disk_gb: of all runs together [SEGDEMO_MAX_RUNS_GB].
        max_memory_gb: of a run; 0 for three quarters of the machine's [SEGDEMO_MAX_RUN_MEMORY_GB].
        threads: of a run; 0 for all cores [SEGDEMO_RUN_THREADS].
        hang_minutes: a run that shows no sign of life for so long is ended [SEGDEMO_MAX_HANG_MINUTES].
        keep_days, keep_runs: runs that ended longer ago, or are more than so many, are removed by ``tidy``
            [SEGDEMO_KEEP_RUN_DAYS, SEGDEMO_KEEP_RUNS].
    """

    training: str = "on"
    token: str = ""
    max_hours: float = 24
    max_epochs: float = 200
    max_images: float = 0
    max_queue: float = 10
    max_queue_each: float = 2
    max_disk_gb: float = 20
    max_memory_gb: float = 0
    threads: float = 0
    hang_minutes: float = 10
    keep_days: float = 0
    keep_runs: float = 100

    @classmethod
    def from_env(cls) -> Self:
        """The policy of this installation. Raises SettingError, PolicyError."""
        policy = cls(**{field: settings.read(variable) for field, variable in _VARIABLES.items()})
        if policy.training is None:
            policy = replace(policy, training="off" if settings.on_spaces() else "on")
        if policy.training == "token" and not policy.token:
            raise PolicyError("SEGDEMO_TRAINING=token needs SEGDEMO_TRAINING_TOKEN to be set.")
        return policy

    def permit(self, token: str = "", user: str = "") -> None:
        """Raise PolicyError unless somebody with this token, signed in as ``user`` (or ""), may train."""
        if not processes.CAN_LOCK:
            raise PolicyError("Training from the page needs Linux or macOS: use the command line here.")
        if self.training == "off":
            todo = "start SegDemo on a machine of your own" if settings.hosted() else "set SEGDEMO_TRAINING"
            raise PolicyError(f"Training is switched off here: {todo} to train.")
        if self.training == "users" and not user:
            raise PolicyError("Sign in first: only those who are signed in may train here.")
        if self.training == "token":
            if left := _tokens.seconds_left("token"):
                raise PolicyError(
                    f"Too many wrong tokens were given: try again in {math.ceil(left)} seconds."
                )
            if not hmac.compare_digest(str(token).encode("utf-8", "replace"), self.token.encode()):
                if token:
                    _tokens.wrong("token")
                raise PolicyError(
                    "Give the training token of this installation first: without it nobody may train."
                )

    @property
    def memory_bytes(self) -> float:
        """What a run may use."""
        return self.max_memory_gb * 1e9 or 0.75 * processes.machine_memory()
