"""The best weights of a click run to a served model: ``python -m segdemo.training.clicks.export RUN``."""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from segdemo.core.files import read_json, sha256, write_json
from segdemo.inference.sessions import open_session
from segdemo.training.architectures.click import click_network
from segdemo.training.clicks.trainer import ClickConfig, Crops, continued
from segdemo.training.export.exporter import AGREEMENT, ExportError, save_float16, to_onnx
from segdemo.training.export.quantize import quantise

LONG_SIDE = 320  # chosen on things of VOC's val half
CALIBRATION_CROPS = 96
FLOAT_CONVOLUTIONS = 2  # the first of photo and guide stay in float


def export(run: Path, name: str = "click", int8: bool = True) -> None:
    """Write ``model.weights.h5`` (float16), ``model.onnx`` and a ``manifest.json`` with a key ``clicks``.

    Raises:
        ExportError: no best checkpoint yet, or the graph disagrees with Keras.
    """
    best = run / "checkpoints" / "best.weights.h5"
    if not best.is_file():
        raise ExportError(
            f"{run} has no best checkpoint yet: let it come to its first look at held-out things."
        )
    config = ClickConfig(**read_json(run / "config.json"))
    model = click_network(config.encoder)
    model.load_weights(best)
    weights, graph = run / "model.weights.h5", run / "model.onnx"
    save_float16(model, weights)
    model.load_weights(weights)
    to_onnx(model, graph, {"name": name})
    inputs = list(itertools.islice(_inputs(model, config), CALIBRATION_CROPS))
    _compare(model, graph, inputs[:4])
    if int8:
        candidate = run / "candidate.onnx"
        quantise(graph, candidate, inputs, FLOAT_CONVOLUTIONS)
        candidate.replace(graph)
    entry = {
        "title": "Select thing",
        "encoder": config.encoder,
        "onnx": graph.name,
        "onnx_sha256": sha256(graph),
        "weights": weights.name,
        "weights_sha256": sha256(weights),
        "long_side": LONG_SIDE,
    }
    write_json(run / "manifest.json", {"models": {}, "clicks": {name: entry}})


def _inputs(model: keras.Model, config: ClickConfig) -> Iterator[np.ndarray]:
    """What the network is shown, at the first click and at later ones: uint8 (1, S, S, 6)."""
    rng = np.random.default_rng(0)
    for batch, starts in Crops(config):
        for _ in range(int(rng.integers(0, 3))):
            batch = continued(rng, model, batch, starts)
        yield from (image[None] for image in batch[0])


def _compare(model, graph, inputs):
    session = open_session(graph, 1)
    for image in inputs:
        theirs = keras.ops.convert_to_numpy(model(image, training=False)) > 0
        agreement = ((session.run(None, {"image": image})[0] > 0) == theirs).mean()
        if agreement < AGREEMENT:
            raise ExportError(f"The graph agrees with Keras on {100 * agreement:.1f} % of the cells only.")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="click")
    parser.add_argument("--no-int8", action="store_true")
    options = parser.parse_args()
    export(options.run, options.name, not options.no_int8)


if __name__ == "__main__":
    main()
