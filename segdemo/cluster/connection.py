"""The way to Ray: imported here and nowhere else, and only when somebody asks for a cluster."""

import logging
import os
from typing import Any

from segdemo.core import settings
from segdemo.errors import UserError


class ClusterError(UserError):
    """A cluster cannot do what it is asked for; the message is one sentence that says what to do."""


def connect() -> Any:
    """The module ``ray``, connected to the cluster that RAY_ADDRESS names, else to the one on this machine.

    Raises:
        ClusterError: Ray is not installed, or there is no such cluster.
    """
    address = os.environ.get("RAY_ADDRESS", "").strip() or "auto"
    if address.startswith(("http://", "https://")):
        raise ClusterError(
            f"RAY_ADDRESS={address} takes jobs only: on a machine of the cluster set it to HOST:6379, or leave it out."
        )
    ray = imported()
    if ray.is_initialized():
        return ray
    # Nodes import this package from where it lies here, unless it is installed there.
    path = os.pathsep.join(filter(None, (str(settings.PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    try:
        ray.init(
            address,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"There is no Ray cluster at {address}: start one with ray start --head, or correct RAY_ADDRESS."
        ) from error
    return ray


def imported() -> Any:
    """The module ``ray``, with ``ray.data`` and ``ray.tune``. Raises ClusterError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
