"""A trainer for tests: honours the contract of a run directory, learns nothing, and fails in the ways it is told to.

``config.json`` may hold ``options``: ``steps``, ``delay`` (seconds per step), ``export`` (seconds) and ``fault``:
"hang", "memory", "raise", "exit" (each in the middle, the first time), "deaf" (ignore the request to stop),
"bad settings" or "no export". FAKE_STEPS and FAKE_DELAY are the defaults of two of them, and
FAKE_SCORE is the mean IoU in the end.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(sys.argv[0]).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def write_json(path, data):
    """As ``segdemo.core.files``, whose imports take longer than all else here, and without waiting for the disk."""
    part = path.with_name(f".{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(data), "utf-8")
    part.replace(path)


def main():
    if "--estimate" in sys.argv:
        return estimate()
    folder = Path(sys.argv[sys.argv.index("--out") + 1])
    assert "--resume" in sys.argv
    config = json.loads((folder / "config.json").read_text())
    options = config.get("options", {})
    steps, fault = options.get("steps", int(os.environ.get("FAKE_STEPS", "4"))), options.get("fault")
    if fault == "bad settings":
        print("segdemo: There is no setting 'x': choose another.", file=sys.stderr)
        return 2
    state_file = folder / "checkpoints" / "state.json"
    done = json.loads(state_file.read_text())["step"] if state_file.exists() else 0
    status = {"pid": os.getpid(), "epochs": config.get("epochs", 1), "steps": steps}

    def tell(**changes):
        status.update(changes, heartbeat=time.time())
        write_json(folder / "status.json", status)

    print(f"threads {os.environ['OMP_NUM_THREADS']}", flush=True)
    print("  1/9 ...\r  9/9 done", flush=True)
    tell(state="running", message="Training.", step=done)
    for step in range(done, steps):
        time.sleep(options.get("delay", float(os.environ.get("FAKE_DELAY", "0.02"))))
        tell(step=step + 1, epoch=0, images_per_second=8.0, eta_seconds=steps - step, rss_mb=20, best=0.5)
        with (folder / "events.jsonl").open("a") as file:
            file.write(json.dumps({"time": time.time(), "kind": "progress", "step": step + 1}) + "\n")
        write_json(state_file, {"step": step + 1})
        if fault and step == steps // 2 and done == 0:
            misbehave(fault)
        if (folder / "cancel").exists() and fault != "deaf":
            tell(state="cancelled", message="Cancelled; the best checkpoint is kept.")
            return 0
    tell(state="done", message="Finished.")
    if fault == "no export" and done == 0:
        os._exit(1)
    export(folder, options)
    return 0


def estimate():
    """What ``train --estimate --json`` says, after as long as the option ``export`` wants."""
    options = next((json.loads(a.partition("=")[2]) for a in sys.argv if a.startswith("options=")), {})
    if options.get("fault") == "bad settings":
        print("segdemo: There is no setting 'x': choose another.", file=sys.stderr)
        return 2
    if options.get("fault") == "memory":
        misbehave("memory")
    time.sleep(options.get("export", 0))
    seconds = {"seconds_per_step": 0.5, "seconds_to_start": 10, "seconds_per_validation": 2}
    measured = {"steps": 7, "images_per_second": 8.0, "seconds_to_finish": 20, "rss_mb": 1200, **seconds}
    print(json.dumps(measured))
    return 0


def misbehave(fault):
    if fault == "hang":
        time.sleep(600)
    if fault == "memory":
        hog = bytearray(300_000_000)
        hog[::4096] = b"x" * len(hog[::4096])
        time.sleep(600)
    if fault == "raise":
        raise RuntimeError("boom")
    if fault == "exit":
        os._exit(3)


def export(folder, options):
    from segdemo.core.labels import PETS

    (folder / "samples").mkdir(exist_ok=True)
    (folder / "samples" / "epoch_01.png").touch()
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "model.weights.h5").write_bytes(b"weights")
    entry = {
        "title": "U-Net",
        "architecture": "unet",
        "label_set": PETS.to_json(),
        "onnx": "model.onnx",
        "onnx_sha256": hashlib.sha256(b"graph").hexdigest(),
        "weights": "model.weights.h5",
        "weights_sha256": hashlib.sha256(b"weights").hexdigest(),
        "long_side": 320,
        "temperature": 1.0,
        "metrics": {"mean_iou": 0.7},
    }
    write_json(folder / "manifest.json", {"models": {folder.name: entry}})
    time.sleep(options.get("export", 0))
    after = float(os.environ.get("FAKE_SCORE", "0.7"))
    write_json(folder / "report.json", {"before": {"mean_iou": 0.6}, "after": {"mean_iou": after}})


if __name__ == "__main__":
    sys.exit(main())
