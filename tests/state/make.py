"""Writes ``before.zip``: what this version of the program leaves in its state root. Run by hand, see README.md.

    python tests/state/make.py OUT.zip

Everything is made by the functions and commands that a person's clicks call; nothing is written by hand.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

HOME = Path("/tmp/segdemo-before/home")  # the runs' settings name it; the test puts its own in its place
os.environ.update(SEGDEMO_HOME=str(HOME), SEGDEMO_DATA="", TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from segdemo import zoo  # noqa: E402
from segdemo.annotations.collection import ConflictError  # noqa: E402
from segdemo.annotations.store import AnnotationStore  # noqa: E402
from segdemo.annotations.transfer import import_annotations  # noqa: E402
from segdemo.cli import main  # noqa: E402
from segdemo.core.labels import VOID, LabelSet  # noqa: E402
from segdemo.data import formats  # noqa: E402
from segdemo.inference import predict  # noqa: E402
from segdemo.runs.policy import Policy  # noqa: E402
from segdemo.runs.queue import Runs  # noqa: E402
from segdemo.ui.services import Services  # noqa: E402
from segdemo.ui.tabs.annotate.desk import Desk  # noqa: E402

SHAPES = LabelSet("shapes", "Formen", ("nothing", "disc", "box"), ((0, 0, 0), (200, 30, 30), (30, 30, 200)))
TINY = {
    "model": "unet_plain",
    "dataset": "annotations",
    "options": {"filters": [4], "bottleneck": 6},
    "size": 32,
    "batch": 2,
    "learning_rate": 0.01,
    "steps_per_epoch": 40,
}


def drawing(seed):
    """A photo, uint8 (64, 96, 3), of a bright disc and a blue box, and its label map with a void outline."""
    rng = np.random.default_rng(seed)
    photo = np.kron(rng.integers(40, 90, (8, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    mask = np.zeros((64, 96), np.uint8)
    y, x = np.mgrid[:64, :96]
    distance = np.hypot(y - rng.integers(20, 40), x - rng.integers(20, 40))
    for where, color, value in (
        (distance < 17, None, VOID),
        (distance < 15, (220, 200, 60), 1),
        ((x > 64) & (x < 90) & (y > 12) & (y < 12 + rng.integers(20, 40)), (40, 60, 230), 2),
    ):
        mask[where] = value
        if color:
            photo[where] = color
    return photo, mask


def encoded(photo, kind):
    """A photo as the bytes of a file."""
    out = io.BytesIO()
    Image.fromarray(photo).save(out, kind)
    return out.getvalue()


def digest(array):
    """Hexadecimal SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def annotate(store, expected):
    """Three collections: one with all there is, one that was imported, and one in the trash."""
    collection = store.create("Hühner & Äpfel – früh", SHAPES)  # noqa: RUF001
    masks = {}  # photo id -> digest of the label map of each revision
    for seed, (name, kind) in enumerate((("Möwe 1.png", "PNG"), ("b.jpg", "JPEG"), ("c.png", "PNG"))):
        photo, mask = drawing(seed)
        id_ = collection.add_photo(encoded(photo, kind), name)
        rough = np.where(mask == VOID, 0, mask).astype(np.uint8)
        collection.save(id_, rough, 0, {"model": "unet"})
        collection.save(id_, mask, 1)
        masks[id_] = [digest(rough), digest(mask)]
    first, second, third = masks
    with contextlib.suppress(ConflictError):  # somebody else's page was older: kept as a refused revision
        collection.save(first, np.full((64, 96), 2, np.uint8), 1)
    collection.restore(first, 1)
    masks[first] += [digest(np.full((64, 96), 2, np.uint8)), masks[first][0]]
    formats.export_zip(collection.annotations(), HOME.parent / "export.zip", ["voc", "coco"])
    collection.set_split(second, "test")
    collection.set_split(third, "val")
    collection.change_label_set(
        LabelSet("shapes", "Formen", ("nothing", "Scheibe", "box", "Stern"), (*SHAPES.colors, (9, 200, 9)))
    )
    bare = collection.add_photo(drawing(3)[0], "ohne Maske.png")
    gone = collection.add_photo(encoded(drawing(4)[0], "PNG"), "weg.png")
    collection.save(gone, drawing(4)[1], 0)
    collection.delete(gone)
    masks |= {bare: [], gone: [digest(drawing(4)[1])]}
    for id_ in masks:
        collection.thumbnail(id_)

    account = import_annotations(store, HOME.parent / "export.zip", "Eingeführt")
    discarded = store.create("Verworfen", SHAPES)
    discarded.save(discarded.add_photo(drawing(5)[0], "d.png"), drawing(5)[1], 0)
    expected["collection"], expected["masks"] = collection.name, masks
    expected["imported"], expected["discarded"] = account.collection, store.delete(discarded.name)
    return collection


def wait(runs, run_id, condition):
    """Look after the runs until a Snapshot is as wanted: that Snapshot."""
    while not condition(runs.follow(run_id)):
        runs.tick()
        time.sleep(0.02)
    return runs.follow(run_id)


def train(collection, expected):
    """Runs in every state; two versions of one model, promoted one after the other; a model made in a terminal."""
    settings = {**TINY, "data": str(collection.folder)}
    runs = Runs(policy=Policy(threads=1))
    started = {}

    def start(title, **changes):
        started[title] = runs.start({**settings, **changes}, title, "huehner", user="Jürgen").run_id
        return started[title]

    print(wait(runs, start("erster", epochs=2), lambda run: run.model).message)
    runs.models.promote("huehner", 1)
    print(wait(runs, start("zweiter", epochs=1, start_from="huehner"), lambda run: run.model).message)
    runs.models.promote("huehner", 2, force=True)
    print(wait(runs, start("falsch", options={"colour": 1}), lambda run: run.state == "failed").message)
    runs.rename(started["falsch"], "fälschlich")

    command = [f"--{key}={settings[key]}" for key in ("model", "dataset", "data", "size", "batch")]
    chosen = {"options": json.dumps(TINY["options"]), "steps_per_epoch": 9}
    command += [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    assert main(["train", *command, "--epochs=1", f"--out={HOME / 'models' / 'by-hand'}", "--json"]) == 0

    photo = drawing(6)[0]
    Image.fromarray(photo).save(HOME.parent / "photo.png")
    for name in ("huehner@1", "huehner@2", "by-hand"):
        label_map = predict.Predictor(zoo.served_model(name))(photo).label_map
        Image.fromarray(label_map).save(HOME.parent / f"{name}.png")
    Desk(Services.start()).rank(collection.name, "huehner@1").join()

    # The server goes while a run waits and another one is about to be stopped.
    stopped = start("halb", epochs=2)
    start("wartet", epochs=4)
    wait(runs, stopped, lambda run: run.epoch == 1)
    runs.cancel(stopped)
    while runs.follow(stopped).state != "cancelled":
        time.sleep(0.02)
    time.sleep(2)  # until the trainer has gone
    assert json.loads((HOME / "runs" / stopped / "checkpoints" / "state.json").read_text())["epoch"] == 1
    expected["runs"] = started


def pack(out, expected):
    """One archive of the state root, an export, a photo with predictions, and what to expect.

    ``tensorboard`` and ``curves.png`` stay out: half of the size, and the program reads neither of them.
    """
    (HOME.parent / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False), "utf-8")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(HOME.parent.rglob("*")):
            if "tensorboard" in path.parts or path.name == "curves.png":
                continue
            archive.write(path, path.relative_to(HOME.parent))


if __name__ == "__main__":
    HOME.parent.mkdir()  # which must not be there: nobody's state is written over
    facts = {"home": str(HOME)}
    train(annotate(AnnotationStore(), facts), facts)
    pack(sys.argv[1], facts)
    shutil.rmtree(HOME.parent)
