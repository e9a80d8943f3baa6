"""Where things are kept and how much of the machine to use, from the environment.

``SEGDEMO_HOME``        annotations, runs and model versions (default: the platform's user-data folder)
``SEGDEMO_DATA``        datasets to browse and train on: a folder that holds VOC trees or Pets folders
``SEGDEMO_PRETRAINED``  ImageNet encoder weights
``SEGDEMO_THREADS``     threads of one prediction (default: all cores)
"""

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # where the program itself lies


def home():
    """The state root. It is created by whoever first writes to it."""
    if chosen := os.environ.get("SEGDEMO_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "segdemo"


def models_dir():
    """Where models trained on this machine are kept, one folder each."""
    return home() / "models"


def data_dir():
    """The folder of datasets, or None if none is set."""
    chosen = os.environ.get("SEGDEMO_DATA")
    return Path(chosen).expanduser() if chosen else None


def threads():
    """Threads of one prediction. Raises ValueError if ``SEGDEMO_THREADS`` is not a positive number."""
    chosen = os.environ.get("SEGDEMO_THREADS", "")
    if not chosen:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not chosen.isdigit() or int(chosen) < 1:
        raise ValueError(f"SEGDEMO_THREADS is a positive whole number, not {chosen!r}.")
    return int(chosen)
