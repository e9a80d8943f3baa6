"""The way to Ray: imported here and nowhere else, and only when somebody asks for a cluster."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from segdemo.core import settings
from segdemo.errors import UserError

IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # a variable that Ray sets where it executes a job
SECONDS = 5.0  # that a head may take to answer; Ray itself tries twenty times, 41 seconds each


class ClusterError(UserError):
    """A cluster cannot do what it is asked for; the message is one sentence that says what to do."""


class EndedError(ClusterError):
    """It was lost, or gave up, while something was done."""


def connect() -> Any:
    """The module ``ray``, connected to the cluster that RAY_ADDRESS names, else to the one on this machine.

    Raises:
        ClusterError: Ray is not installed, or there is no such cluster.
    """
    address = os.environ.get("RAY_ADDRESS", "").strip() or "auto"
    if "://" in address:
        what = "takes jobs only" if address.startswith("http") else "is for Ray's client only"
        raise ClusterError(
            f"RAY_ADDRESS={address} {what}: on a machine of the cluster set it to HOST:6379, or leave it out."
        )
    ray = imported()
    if ray.is_initialized():
        return ray
    # Nodes import this package from where it lies here, unless it is installed there; a job has been told already.
    path = os.pathsep.join(filter(None, (str(settings.PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    told = {} if IN_A_JOB in os.environ else {"runtime_env": {"env_vars": {"PYTHONPATH": path}}}
    answers = False
    try:
        answers = _require_answer(ray, address)
        ray.init(address, **told, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        where = "on this machine" if address == "auto" else f"at {address}"
        if answers and isinstance(error, (ConnectionError, ray.exceptions.AuthenticationError)):
            raise ClusterError(
                f"The cluster {where} does not let this in: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to its own, if "
                "it has one, or correct RAY_ADDRESS."
            ) from error
        if "Version mismatch" in str(error):
            raise ClusterError(
                f"The cluster {where} has another version of Ray or of Python: use here what it runs there."
            ) from error
        raise ClusterError(
            f"There is no Ray cluster {where}: start one with ray start --head, or correct RAY_ADDRESS."
        ) from error
    return ray


def _require_answer(ray: Any, address: str) -> bool:
    """Whether an address as Ray takes it is somebody's, who listens there. Raises ConnectionError, ValueError."""
    found = ray._private.services.canonicalize_bootstrap_address(address)
    if found:  # else it begins a cluster here
        place = urlsplit(f"//{found}")
        try:
            socket.create_connection((place.hostname, place.port), SECONDS).close()
        except OSError as error:
            raise ConnectionError(f"Nobody listens at {found}.") from error
    return bool(found)


@contextlib.contextmanager
def connected(what: str, then: str) -> Iterator[Any]:
    """The module ``ray`` for a ``with`` statement: connected as by ``connect``, let go of at its end.

    Args:
        what: is done in it, for the error. then: what to do where the cluster ends it, a clause.

    Raises:
        ClusterError: as ``connect``. EndedError: the cluster ended what was done.
    """
    ray = connect()
    try:
        yield ray
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        why = f" ({type(cause).__name__}: {cause})" if cause is not None else f" ({type(error).__name__})"
        raise EndedError(f"The cluster ended the {what}{why}: see ray status, then {then}.") from error
    finally:
        with contextlib.suppress(Exception):  # what went wrong first is what counts
            ray.shutdown()


def imported() -> Any:
    """The module ``ray``, with ``ray.data`` and ``ray.tune``. Raises ClusterError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What listens and is no head is asked once.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    try:
        import ray
        import ray.data
        import ray.tune
    except ImportError:
        raise ClusterError(
            "Ray is not installed here: install what requirements-cluster.txt lists, or segdemo[cluster]."
        ) from None
    for name in ("ray.data", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray
