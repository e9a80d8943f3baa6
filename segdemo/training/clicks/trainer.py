"""Training of the click model: ``python -m segdemo.training.clicks.trainer --data DIR --out RUN``.

Iterative training as in RITM (Sofiiuk, Petrov, Konushin, arXiv:2102.06583, section 3.4): a share of the batches is
shown to the network first, and a person's next clicks on its own mistakes are added, with its own mask as the
previous one. A run that was stopped goes on from its last checkpoint with ``--resume``.
"""

import argparse
import json
import math
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from segdemo.core.files import read_json
from segdemo.core.labels import VOID
from segdemo.data.sources import open_dataset
from segdemo.training import architectures
from segdemo.training.architectures.click import click_network
from segdemo.training.callbacks import RunFolder
from segdemo.training.checkpoints import Checkpoints, save_weights
from segdemo.training.clicks import simulation, things
from segdemo.training.learning import cosine
from segdemo.training.losses import NormalizedFocal

ITERATIONS = 0.35, 0.3, 0.2, 0.15  # shares of batches with 0, 1, 2 and 3 clicks on the network's own mistakes
CHECKPOINT_SECONDS = 300
WATCHED = 160  # crops
PREFETCH = 3  # batches


@dataclass(frozen=True)
class ClickConfig:
    """Settings of a run.

    Attributes:
        data: the folder that holds VOC and, if ``pets`` is more than 0, Pets.
        encoder: of ``click_network``.
        size: side of the crops in pixels.
        batch: crops a step. steps: of the run. watch_every: steps from one look at held-out things to the next.
        learning_rate: highest, after ``warmup_steps``; it falls along a cosine. weight_decay: of AdamW.
        ema: momentum of the average of the weights, which is what is watched and kept.
        official: share of crops from VOC's own masks. pets: from those of Pets. The rest is from ``train_aug``.
        seed: of everything random.
        start: weights of ``click_network`` to begin with, as of a run with smaller crops; else ImageNet's.
        predictions: a folder of label maps to correct, see ``things.crops``; else none.
    """

    data: str
    encoder: str = "efficientnet_lite0"
    size: int = 256
    batch: int = 24
    steps: int = 12000
    watch_every: int = 500
    learning_rate: float = 6e-4
    warmup_steps: int = 300
    weight_decay: float = 0.01
    ema: float = 0.998
    official: float = 0.35
    pets: float = 0.12
    seed: int = 0
    start: str = ""
    predictions: str = ""


Batch = tuple[np.ndarray, np.ndarray]  # images uint8 (B, S, S, 6), masks uint8 (B, S, S)


class Crops:
    """Batches from threads of their own, so that the network need not wait.

    Args:
        config: of the run.
        done: after how many steps a run goes on.
    """

    def __init__(self, config: ClickConfig, done: int = 0):
        self._config = config
        self._queue: queue.Queue[Any] = queue.Queue(PREFETCH)
        voc = open_dataset("voc", config.data)
        official = set(voc.splits["train"]) if "train" in voc.splits else set()
        found = things.things_of(voc, voc.learning_subset)
        own = [t for t in found if t[0].sample.id in official]
        self._photos, self._shares = [found, own], [1 - config.official - config.pets, config.official]
        if config.pets:
            pets = open_dataset("pets", config.data)
            self._photos.append(things.things_of(pets, "train", classes=[0]))
            self._shares.append(config.pets)
        threading.Thread(target=self._fill, args=(config.seed + 7919 * done,), daemon=True).start()

    def __iter__(self) -> Iterator[tuple[Batch, list[simulation.Start]]]:
        while True:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def _fill(self, seed):
        try:
            rng = np.random.default_rng(seed)
            config = self._config
            predictions = Path(config.predictions) if config.predictions else None
            drawn = things.crops(self._photos, self._shares, config.size, seed, predictions)
            while True:
                self._queue.put(assembled(rng, drawn, config.batch))
        except BaseException as error:  # handed over to who asks for the next batch
            self._queue.put(error)


def assembled(rng, drawn, count: int) -> tuple[Batch, list[simulation.Start]]:
    """``count`` crops with what they begin with."""
    images, masks, starts = [], [], []
    for _ in range(count):
        crop = next(drawn)
        begun = simulation.start(rng, crop.mask, crop.others, crop.predicted)
        images.append(np.concatenate([crop.image, simulation.guide(begun)], -1))
        masks.append(crop.mask)
        starts.append(begun)
    return (np.stack(images), np.stack(masks)), starts


def continued(
    rng: np.random.Generator, model: keras.Model, batch: Batch, starts: list[simulation.Start]
) -> Batch:
    """The batch after one more click on what ``model`` got wrong; changes the batch's images and ``starts``."""
    images, masks = batch
    found, truths = _answered(model, batch)
    factor = masks.shape[1] // found.shape[1]
    for n, (begun, small) in enumerate(zip(starts, truths, strict=True)):
        before = [c._replace(x=c.x // factor, y=c.y // factor) for c in begun.clicks]
        clicks = simulation.clicked(rng, small == 1, found[n], small != VOID, before)
        new = [c._replace(x=c.x * factor, y=c.y * factor) for c in clicks[len(before) :]]
        large = np.repeat(np.repeat(found[n], factor, 0), factor, 1)
        starts[n] = simulation.Start(large, [*begun.clicks, *new])
        images[n, ..., 3:] = simulation.guide(starts[n])
    return images, masks


def _answered(model: keras.Model, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """What ``model`` takes for inside, bool (B, h, w), and the masks in the same cells, uint8 (B, h, w)."""
    images, masks = batch
    found = np.asarray(model.predict_on_batch(images))[..., 0] > 0
    factor = masks.shape[1] // found.shape[1]
    return found, masks[:, factor // 2 :: factor, factor // 2 :: factor]


def train(config: ClickConfig, out: Path, resume: bool = False) -> None:
    """Learn to the end, or on from the last checkpoint of ``out``; the best weights are ``checkpoints/best``."""
    keras.utils.set_random_seed(config.seed)
    run, checkpoints = RunFolder(out), Checkpoints(out / "checkpoints")
    state = checkpoints.state() if resume else None
    run.write("config.json", asdict(config))
    begun = state or config.start
    weights = None if begun else architectures.encoder_weights(config.encoder)
    model = click_network(config.encoder, weights)
    if config.start and not state:
        model.load_weights(config.start)
    compiled(model, config)
    done, best = 0, -1.0
    if state:
        model.load_weights(checkpoints.last)
        done, best = state["step"], state["best"]
    watched = held_out(config)
    averages = keras.callbacks.SwapEMAWeights()
    averages.set_model(model)
    rng = np.random.default_rng(config.seed + done)
    saved = since = time.monotonic()
    losses: list[float] = []
    for step, (batch, starts) in enumerate(Crops(config, done), done + 1):
        for _ in range(rng.choice(len(ITERATIONS), p=ITERATIONS)):
            batch = continued(rng, model, batch, starts)
        losses.append(float(model.train_on_batch(*batch)))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"The loss became {losses[-1]} in step {step}.")
        if step % 20 == 0:
            now = time.monotonic()
            speed, since = 20 * config.batch / (now - since), now
            run.event("progress", step=step, loss=np.mean(losses[-200:]), crops_per_second=round(speed, 2))
        if step % config.watch_every == 0 or step == config.steps:
            averages.on_test_begin()
            score = watch(model, watched)
            if score["iou"][1] > best:
                best = score["iou"][1]
                save_weights(keras.Model(model.input, model.output), checkpoints.best)
            averages.on_test_end()
            run.event("watched", step=step, loss=np.mean(losses), **score)
            losses.clear()
            since = time.monotonic()
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step >= config.steps:
            checkpoints.save(model, 0, step, best)
            saved = time.monotonic()
        if step >= config.steps:
            return


def compiled(model: keras.Model, config: ClickConfig) -> None:
    """Give a network its loss and optimizer."""
    rate = cosine(config.learning_rate, config.steps, config.warmup_steps)
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=config.weight_decay, global_clipnorm=5.0, use_ema=True, ema_momentum=config.ema
    )
    model.compile(optimizer, NormalizedFocal(), jit_compile=False)
    optimizer.build(model.trainable_variables)


def held_out(config: ClickConfig) -> list[tuple[Batch, list[simulation.Start]]]:
    """Crops of VOC's val half to watch: the same ones every time."""
    voc = open_dataset("voc", config.data)
    rng = np.random.default_rng(1)
    drawn = things.crops([things.things_of(voc, "val")], [1], config.size, 1)
    return [assembled(rng, drawn, config.batch) for _ in range(max(1, WATCHED // config.batch))]


def watch(model: keras.Model, batches: list[tuple[Batch, list[simulation.Start]]]) -> dict[str, Any]:
    """Mean IoU with what there is at the start and after one and two clicks more."""
    ious: list[list[float]] = [[], [], []]
    for (images, masks), starts in batches:
        batch, starts = (images.copy(), masks), list(starts)
        rng = np.random.default_rng(2)
        for n in range(len(ious)):
            if n:
                batch = continued(rng, model, batch, starts)
            found, small = _answered(model, batch)
            inside, counts = small == 1, small != VOID
            both = (found & inside).sum((1, 2))
            either = ((found | inside) & counts).sum((1, 2))
            ious[n] += list(both / np.maximum(either, 1))
    return {"iou": [round(float(np.mean(x)), 4) for x in ious]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    values = dict(item.split("=", 1) for item in options.set)
    if options.resume and (options.out / "config.json").is_file():
        config = ClickConfig(**{**read_json(options.out / "config.json"), **_typed(values)})
    else:
        config = ClickConfig(options.data, **_typed(values))
    train(config, options.out, options.resume)


def _typed(values: dict[str, str]) -> dict[str, Any]:
    fields = ClickConfig.__dataclass_fields__
    return {k: v if fields[k].type is str else json.loads(v) for k, v in values.items()}


if __name__ == "__main__":
    main()
