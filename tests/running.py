"""Training runs in tests: settings of a tiny one, and following one until it is as wanted."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

from drawn import draw_pets

from segdemo.runs.config import TrainConfig

TINY = {"filters": [4], "bottleneck": 6}  # options of the plain U-Net
BREEDS = {"pug": 10, "birman": 10}  # 14 photos to learn from, 2 to watch, 4 to report on


def tiny_config(data):
    """The ``TrainConfig`` of a run of seconds on pets, which are drawn into the folder ``data``."""
    draw_pets(data, BREEDS)
    return TrainConfig(
        model="unet_plain",
        dataset="pets",
        data=str(data),
        options=TINY,
        epochs=2,
        batch=2,
        size=32,
        learning_rate=1e-3,
    )


def run_apart(coroutine):
    """As ``asyncio.run``, in a thread of its own: Playwright has a loop in the one that tests run in."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def until(server, run_id, condition, seconds=180):
    """Look after the runs until a Snapshot is as wanted; conditions are states or functions.

    A run that has ended is settled when this returns: its ``status.json`` says so too.
    """
    end = time.monotonic() + seconds
    wanted = condition if callable(condition) else lambda snapshot: snapshot.state == condition
    while time.monotonic() < end:
        server.tick()
        snapshot = server.follow(run_id)
        if wanted(snapshot):
            if snapshot.ended:
                server.tick()  # it may have ended since the last look: now that is written down
            return snapshot
        time.sleep(0.03)
    raise AssertionError(f"not in time: {snapshot}")


def pid_of(snapshot):
    """Process id of a run's trainer, as its last launch recorded it."""
    return json.loads((snapshot.folder / "run.json").read_text())["launches"][-1]["pid"]
