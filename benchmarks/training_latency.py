"""How much longer segmenting a photo takes while a training run goes on: the page must stay responsive.

    python benchmarks/training_latency.py [--model deeplabv3] [--requests 40] [--seconds 600]

Starts the page as it is, and asks its HTTP API for the same photo again and again, one request after the other: first
idle, then while a real run, started through ``runs.queue``, is in the middle of its steps, then idle again.
Prints medians and 95th percentiles of the whole request and of the prediction in it, and the ratio of the medians. The
goal is at most 2. Nothing else should run on the machine.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from drawn import draw_pets  # noqa: E402
from serving import served_app  # noqa: E402

from segdemo.runs.policy import Policy  # noqa: E402
from segdemo.runs.queue import Runs  # noqa: E402

# What the page suggests for a fine-tuning of U-Net: the full load of a training on two cores.
SETTINGS = {
    "model": "unet",
    "dataset": "pets",
    "start_from": "unet",
    "epochs": 100,
    "batch": 16,
    "size": 256,
    "optimizer": "adamw",
    "learning_rate": 2e-4,
    "augment": "strong",
    "frozen": "c2",
    "freeze_batch_norm": True,
    "early_stopping": 0,
    "reduce_lr": 0,
    "steps_per_epoch": 1000,
}


def measure(client, photo, model, requests):
    """Milliseconds of each request, and of the prediction in it."""
    client.predict(handle_file(photo), model, api_name="/segment")  # to warm up
    whole, inside = [], []
    for _ in range(requests):
        start = time.perf_counter()
        _, facts = client.predict(handle_file(photo), model, api_name="/segment")
        whole.append((time.perf_counter() - start) * 1000)
        inside.append(facts["milliseconds"])
    return {"request": whole, "prediction": inside}


def summary(times):
    """Median and 95th percentile."""
    return {
        "median": round(statistics.median(times), 1),
        "p95": round(float(np.percentile(times, 95)), 1),
    }


def until_it_learns(runs, run_id, seconds):
    """Wait until a run has made some steps, so that building the model is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        snapshot = runs.follow(run_id)
        if snapshot.ended:
            raise SystemExit(f"The run ended: {snapshot.message}")
        if snapshot.step >= 3:
            return snapshot
        time.sleep(0.5)
    raise SystemExit(f"The run did not begin to learn within {seconds} seconds.")


@contextlib.contextmanager
def training(folder, seconds):
    """A run that goes on meanwhile; the page's own process looks after it."""
    os.environ["SEGDEMO_HOME"] = str(folder / "home")
    pets = draw_pets(folder / "pets", {"pug": 40, "birman": 40}, size=(320, 240))
    runs = Runs(policy=Policy())
    run_id = runs.start({**SETTINGS, "data": str(pets)}, "load").run_id
    try:
        yield until_it_learns(runs, run_id, seconds)
        if (last := runs.follow(run_id)).state != "running":
            raise SystemExit(f"The run ended before the measurement: {last.message}")
    finally:
        for launch in json.loads((runs.root / run_id / "run.json").read_text())["launches"]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launch["pid"], signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="deeplabv3")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=600, help="to wait for the run to begin")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        photo = folder / "photo.jpg"
        Image.fromarray(data.chelsea()).save(photo, quality=90)
        with served_app(folder) as (url, _):
            client = Client(url, verbose=False, download_files=folder / "answers")
            try:
                found = {"idle": measure(client, photo, options.model, options.requests)}
                with training(folder, options.seconds) as run:
                    load = run.images_per_second
                    found["training"] = measure(client, photo, options.model, options.requests)
                time.sleep(2)
                found["idle again"] = measure(client, photo, options.model, options.requests)
            finally:
                client.close()
    result = {name: {part: summary(times) for part, times in parts.items()} for name, parts in found.items()}
    idle = min(result[name]["request"]["median"] for name in ("idle", "idle again"))
    result["ratio"] = round(result["training"]["request"]["median"] / idle, 2)
    result["training photos a second"] = load
    print(json.dumps(result, indent=1))
    for name in ("idle", "training", "idle again"):
        times = result[name]
        print(
            f"{name:10}  request {times['request']['median']:6.1f} ms (95 % under {times['request']['p95']:.1f}), "
            f"prediction {times['prediction']['median']:6.1f} ms",
            file=sys.stderr,
        )
    print(f"segmenting during training takes {result['ratio']} x its idle time", file=sys.stderr)


if __name__ == "__main__":
    main()
