"""Keras model to an ONNX graph that ONNX Runtime serves, uint8 RGB (1, H, W, 3) in, logits float32 out; and a
finished run to a served model.

The graph ends at the model's ``last_logits``, before its last bilinear upsampling: the predictor resizes those logits
straight to the photo's size, once.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper

from segdemo import __version__, zoo
from segdemo.core.files import read_json, sha256, write_json
from segdemo.core.photos import read_photo
from segdemo.data.datasets import Sample
from segdemo.errors import UserError
from segdemo.inference.calibrate import calibrate
from segdemo.inference.evaluate import evaluate_model
from segdemo.inference.predict import Predictor
from segdemo.training.export.transposed import attributes
from segdemo.training.layers import last_logits
from segdemo.training.tfds import open_data
from segdemo.zoo.scores import Report
from segdemo.zoo.taught import ARCHITECTURE

INPUT, OUTPUT = "image", "logits"
OPSET = 17
INT8_LOSS = 0.003  # of mean IoU in 0..1, at most, for the int8 graph to be served
INT8_GAIN = 1.1  # times faster, at least: less is within the noise of a measurement
FLOAT_CONVOLUTIONS = 0, 6  # how many of the first stay in float, the first number at which that loss is kept
CALIBRATION_PHOTOS = 64
AGREEMENT = 0.999  # least share of pixels on which the exported graph and Keras name the same class


class ExportError(UserError):
    """A run cannot be exported; the message is one sentence that says what to do."""


def serving_model(model: keras.Model) -> keras.Model:
    """The part of a segmentation model that is served: up to its ``last_logits``."""
    last = last_logits(model)
    return model if last is model.output else keras.Model(model.input, last)


def to_onnx(model: keras.Model, path: Path | str, metadata: dict[str, Any] | None = None) -> None:
    """Write the serving graph of a segmentation model.

    Args:
        model: a ``keras.Model`` from RGB 0..255 (B, H, W, 3) to logits (B, h, w, K).
        path: the ``.onnx`` file to write.
        metadata: strings kept in the file (``metadata_props``).

    The graph takes uint8 (1, H, W, 3) of any height and width. Names are ``"image"`` and ``"logits"``.
    """
    graph_of(serving_model(model), path, OUTPUT, metadata)


def graph_of(
    model: keras.Model, path: Path | str, output: str, metadata: dict[str, Any] | None = None
) -> None:
    """As ``to_onnx``, of a whole model, whatever it makes of photos, with ``output`` as the name of that."""
    import tf2onnx

    # Keras's own export does the same after it has traced the network three times over, for a SavedModel.
    serve = tf.function(lambda image: model(image, training=False), autograph=False)
    signature = [tf.TensorSpec((1, None, None, model.input.shape[-1]), tf.uint8, name=INPUT)]
    proto, _ = tf2onnx.convert.from_function(serve, signature, opset=OPSET)
    _rename(proto.graph, output)
    _fold_holes(proto.graph)
    _explicit_padding(proto.graph)
    del proto.graph.value_info[:]
    for key, value in (metadata or {}).items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def _rename(graph, output):
    old = {graph.input[0].name: INPUT, graph.output[0].name: output}
    for node in graph.node:
        node.input[:] = [old.get(name, name) for name in node.input]
        node.output[:] = [old.get(name, name) for name in node.output]
    graph.input[0].name, graph.output[0].name = INPUT, output
    for value, names in ((graph.input[0], ("height", "width")), (graph.output[0], ("rows", "columns"))):
        value.type.tensor_type.shape.dim[0].dim_value = 1
        for axis, name in zip((1, 2), names, strict=True):
            value.type.tensor_type.shape.dim[axis].dim_param = name


def _set_attributes(node, **values):
    kept = [a for a in node.attribute if a.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in values.items() if v is not None)])


def _fold_holes(graph):
    """Turn depthwise kernels whose rows and columns between the taps are all zero (``AtrousDepthwiseConv2D``) into
    atrous ones."""
    weights = {w.name: w for w in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv" or attributes(node).get("group", 1) == 1 or node.input[1] not in weights:
            continue
        kernel = numpy_helper.to_array(weights[node.input[1]])
        size = kernel.shape[-1]
        if kernel.shape[-2] != size or any(rate != 1 for rate in attributes(node).get("dilations", ())):
            continue
        rows, columns = (np.flatnonzero(np.any(kernel != 0, axis=(0, 1, axis))) for axis in (3, 2))
        taps = np.union1d(rows, columns)
        rates = [r for r in range(2, size) if (size - 1) % r == 0 and not np.any(taps % r)]
        if not rates:
            continue
        rate = max(rates)
        weights[node.input[1]].CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(kernel[:, :, ::rate, ::rate]), node.input[1])
        )
        size = (size - 1) // rate + 1
        _set_attributes(node, kernel_shape=[size, size], dilations=[rate, rate])


def _explicit_padding(graph):
    """Spell out "same" padding where the stride is 1: ONNX Runtime refuses it together with dilations."""
    for node in graph.node:
        told = attributes(node)
        if node.op_type != "Conv" or told.get("auto_pad") not in (b"SAME_UPPER", b"SAME_LOWER"):
            continue
        if any(s != 1 for s in told.get("strides", [1, 1])):
            continue
        sides = zip(told.get("dilations", [1, 1]), told["kernel_shape"], strict=True)
        reach = [d * (k - 1) for d, k in sides]
        before = [r // 2 for r in reach]
        after = [r - r // 2 for r in reach]
        _set_attributes(node, auto_pad=None, pads=[*before, *after])


def save_float16(model: keras.Model, path: Path | str) -> None:
    """Write a model's weights, without any optimizer state, as float16: half the size, and Keras reads them."""
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        full, half = Path(folder) / "full.weights.h5", Path(folder) / "half.weights.h5"
        keras.Model(model.inputs, model.outputs, name=model.name).save_weights(full)
        with h5py.File(full) as source, h5py.File(half, "w") as target:
            source.visititems(lambda name, node: _copy_float16(name, node, target))
            for name, value in source.attrs.items():
                target.attrs[name] = value
        half.replace(path)


def _copy_float16(name, node, target):
    if not isinstance(node, h5py.Dataset):
        copied = target.require_group(name)
    else:
        value = node[()]
        if node.dtype == np.float32:
            limit = np.finfo(np.float16).max  # a BatchNorm variance may lie beyond
            value = np.clip(value, -limit, limit).astype(np.float16)
        copied = target.create_dataset(name, data=value)
    for key, value in node.attrs.items():
        copied.attrs[key] = value


def export_run(run_dir: Path | str, name: str | None = None, int8: bool = False) -> dict[str, Any]:
    """Export the best checkpoint of a finished run, calibrate it and measure it.

    Writes ``model.onnx``, ``model.weights.h5`` (float16), ``report.json`` (scores of the start and of the result
    on the held-out subset) and ``manifest.json`` into the run directory.

    Args:
        run_dir: the run directory.
        name: of the model; by default the run directory's.
        int8: also try an int8 graph, and serve it if it is smaller, faster and costs at most ``INT8_LOSS`` mean IoU
            on the validation subset. Both are written into the manifest.

    Returns:
        The manifest entry as a dictionary.

    Raises:
        ExportError: no best checkpoint yet, or the exported graph disagrees with Keras.
    """
    from segdemo.runs.config import TrainConfig, of_before
    from segdemo.training.start import build_model

    run_dir = Path(run_dir)
    best = run_dir / "checkpoints" / "best.weights.h5"
    if not best.is_file():
        raise ExportError(f"{run_dir} has no best checkpoint yet: train at least one epoch first.")
    config = TrainConfig.from_json(of_before(read_json(run_dir / "config.json")))
    spec = zoo.spec(config.model)
    dataset = open_data(config.dataset, config.data)
    config = replace(config, precision="float32")  # what it is served in
    model = build_model(config, len(dataset.label_set), pretrained=False)
    model.load_weights(best)
    name = name or run_dir.resolve().name
    weights, graph = run_dir / "model.weights.h5", run_dir / "model.onnx"
    save_float16(model, weights)
    model.load_weights(weights)  # what is served is what can be fine-tuned from
    to_onnx(model, graph, {"name": name, "classes": list(dataset.label_set.classes)})
    entry = {
        "title": f"{spec.title}: {name}" if name != spec.name else spec.title,
        "architecture": spec.name,
        "options": {**zoo.spec(config.model).options, **config.options},
        "label_set": dataset.label_set.to_json(),
        "onnx": graph.name,
        "onnx_sha256": sha256(graph),
        "weights": weights.name,
        "weights_sha256": sha256(weights),
        "long_side": spec.long_side,
        "temperature": 1.0,
        **({"samples": spec.samples} if spec.samples > 1 else {}),
        "parameters": model.count_params(),
        "parent": config.start_from or None,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": __version__,
        "refinement": inherited_refinement(config.start_from),  # unless there are photos to choose one on
    }
    manifest = run_dir / "manifest.json"

    def described(**more):
        """What is served, with more said of it in the manifest."""
        entry.update(more)
        write_json(manifest, {"models": {name: entry}})
        return zoo.read_manifest(manifest)[name]

    served = described()
    predictor = Predictor(served)
    photos = [read_photo(s.image_path) for s in dataset.samples(config.validation)[:3]]
    if spec.samples > 1:
        _compare_without_dropout(config, model, served, photos)
    else:
        _compare(model, predictor, photos)
    if int8:
        tried = _try_int8(config, dataset, served, predictor)  # which may have changed the graph
        served = described(int8=tried, onnx_sha256=sha256(graph))
    served = described(**calibrate(served, dataset, config.validation, config.held_out).to_json())
    after = evaluate_model(served, dataset, config.held_out)
    report = Report.of(before=_before(config, dataset), after=after, taught=_taught(config, dataset))
    write_json(run_dir / "report.json", report.to_json())
    kept = ("dataset", "subset", "images", "mean_iou", "mean_accuracy", "pixel_accuracy", "class_iou")
    measured = {key: getattr(after, key) for key in kept}
    described(metrics={**measured, "command": zoo.evaluate_command(str(run_dir), after)})
    return entry


def inherited_refinement(name: str) -> dict[str, Any] | None:
    """The refinement of a served model for one that was trained from it, see ``calibrate.fit_refinement``, or None."""
    parent = zoo.served_models().get(name)
    refinement = parent.refinement if parent else None
    if not refinement:
        return None
    return {"radius": refinement.radius, "epsilon": refinement.epsilon, "chosen_for": name}


def to_calibrate_on(samples: Sequence[Sample]) -> list[Sample]:
    """``CALIBRATION_PHOTOS`` of some samples, evenly spread, or all where there are no more."""
    count = min(len(samples), CALIBRATION_PHOTOS)
    return [samples[n * len(samples) // count] for n in range(count)]


def _try_int8(config, dataset, served, predictor):
    """Quantise a served float graph; if that pays, it takes the graph's place. Returns what was measured.

    If rounding everything costs too much, the first convolutions stay in float.
    """
    from segdemo.core.settings import threads
    from segdemo.training.export.quantize import milliseconds, quantise

    samples = dataset.samples(config.subset or dataset.learning_subset)
    photos = [predictor.network_input(read_photo(s.image_path)) for s in to_calibrate_on(samples)]
    candidate = served.path.with_name("candidate.onnx")
    before = evaluate_model(served, dataset, config.validation).mean_iou
    for in_float in FLOAT_CONVOLUTIONS:
        quantise(served.path, candidate, photos, in_float)
        entry = replace(served, onnx=candidate.name, onnx_sha256=sha256(candidate))
        after = evaluate_model(entry, dataset, config.validation).mean_iou
        if before - after <= INT8_LOSS:
            break
    slow, fast = (milliseconds(path, photos[0], threads()) for path in (served.path, candidate))
    # Rounding adds nodes: few weights grow
    large, small = (path.stat().st_size for path in (served.path, candidate))
    pays = small < large and slow / fast >= INT8_GAIN and before - after <= INT8_LOSS
    result = {
        "served": pays,
        "subset": config.validation,
        "mean_iou_float": before,
        "mean_iou": after,
        "times_faster": round(slow / fast, 2),
        "bytes_float": large,
        "float_convolutions": in_float,
    }
    if pays:
        candidate.replace(served.path)
    else:
        candidate.unlink()
    return result


def _before(config, dataset):
    """Scores of the model the run started from, if it is a served one with the same classes."""
    parent = zoo.served_models().get(config.start_from)
    if parent is None or parent.label_set.classes != dataset.label_set.classes:
        return None
    return evaluate_model(parent, dataset, config.held_out)


def _taught(config, dataset):
    """Scores of the classifier that the collection in ``config.data`` was taught by painting, or None."""
    data = Path(config.data).resolve()
    for entry in zoo.served_models().values():
        of_data = data.is_relative_to(Path(entry.folder).resolve().parent)
        if (
            entry.architecture == ARCHITECTURE
            and of_data
            and entry.label_set.classes == dataset.label_set.classes
        ):
            return evaluate_model(entry, dataset, config.held_out)
    return None


def _compare(model, predictor, photos):
    """Raise ExportError if the exported graph and Keras name different classes for more than a few pixels."""
    for image in photos:
        inputs = predictor.network_input(image)
        ours = predictor.session.run(None, {INPUT: inputs})[0]
        theirs = keras.ops.convert_to_numpy(serving_model(model)(inputs, training=False))
        agreement = (ours.argmax(-1) == theirs.argmax(-1)).mean()
        if agreement < AGREEMENT:
            raise ExportError(
                f"The exported graph agrees with Keras on {100 * agreement:.1f} % of the pixels only: "
                "report this as a bug."
            )


def _compare_without_dropout(config, model, served, photos):
    """``_compare`` for a stochastic network, whose answers never agree: with the same weights and no dropout."""
    from segdemo.training.start import build_model

    config = replace(config, options={**config.options, "dropout": 0.0})
    twin = build_model(config, len(served.label_set), pretrained=False)
    twin.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory(dir=served.folder) as folder:
        graph = Path(folder) / "twin.onnx"
        to_onnx(twin, graph)
        entry = replace(served, folder=graph.parent, onnx=graph.name, onnx_sha256=sha256(graph))
        _compare(twin, Predictor(entry), photos)
