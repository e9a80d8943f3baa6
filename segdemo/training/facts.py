"""Facts about the architectures: parameters, multiply-adds, and a diagram drawn from the layer graph.

``python -m segdemo.training.facts`` writes ``architectures.json``, which the page and ``segdemo models`` read without
Keras (``zoo.architecture_facts``).

Convention. A multiply-add is one multiplication and the addition that goes with it; a FLOP is one of the two, so
there are two to a multiply-add. Counted are the layers that hold nearly all of the work: convolutions,
transposed convolutions and dense layers, from the shapes of their kernels and feature maps. Left out, as in the
papers that report such numbers, are biases, BatchNorm, activations, pooling, padding and resizing. An atrous
kernel counts the weights it has, not its holes; a transposed convolution applies its kernel once to every pixel
of its input.
"""

import json
import math
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import keras

from segdemo import zoo
from segdemo.core.files import write_atomic
from segdemo.training import architectures
from segdemo.training.architectures.encoders import encoder_spec
from segdemo.training.architectures.upsampling import Reassemble
from segdemo.training.layers import CropLike, ResizeLike


@dataclass(frozen=True)
class Step:
    """One layer at work: the tensors it takes and gives, with their shapes.

    Attributes:
        layer: the Keras layer.
        group: name of the encoder it is part of, or "".
        inputs, outputs: tensor ids; equal ids are the same tensor.
        input_shape, output_shape: (B, H, W, C) of the first tensor in and out.
    """

    layer: keras.layers.Layer
    group: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def trace(model: keras.Model, height: int, width: int) -> list[Step]:
    """Every layer of a model at one input size, in the order they run; no number is computed.

    Args:
        model: a functional ``keras.Model`` from (B, H, W, 3), whose size may be unknown. Models inside it are
            entered.
        height, width: of the input, pixels.

    Returns:
        A list of Step.
    """
    steps, kept = [], []  # tensors are kept alive, so that no id is given to two of them

    def follow(part, images, group, into):
        def call(layer, *args, **kwargs):
            tensors = [t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)]
            kept.extend(tensors)
            inputs = tuple(into.get(id(t), id(t)) for t in tensors)
            result = layer(*args, **kwargs)
            results = keras.tree.flatten(result)
            kept.extend(results)
            if isinstance(layer, keras.Model):
                inner = keras.Input(batch_shape=tensors[0].shape)
                kept.append(inner)
                ends = follow(layer, inner, layer.name, {**into, id(inner): inputs[0]})
                # From here on, the tensors that the whole gives are those that its parts give.
                into.update({id(outside): inside for outside, inside in zip(results, ends, strict=True)})
            else:
                outputs = tuple(map(id, results))
                steps.append(Step(layer, group, inputs, outputs, tensors[0].shape, results[0].shape))
            return result

        copy = keras.models.clone_model(
            part, input_tensors=images, clone_function=lambda layer: layer, call_function=call
        )
        ends = keras.tree.flatten(copy.output)
        kept.extend(ends)
        return [into.get(id(tensor), id(tensor)) for tensor in ends]

    images = keras.Input(batch_shape=(1, height, width, 3))
    follow(model, images, "", {id(images): id(images)})
    return steps


def multiply_adds(step: Step) -> int:
    """Multiply-adds of one Step for one image, see the module's convention."""
    layer = step.layer
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return math.prod(step.input_shape[1:3]) * math.prod(layer.kernel.shape)
    # The kernels, (h, w, in / groups, out) or (h, w, in, multiplier), hold each product of a pixel once.
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
        return math.prod(step.output_shape[1:3]) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return math.prod(step.output_shape[1:3]) * kernels
    return 0


def facts(model: keras.Model, size: int) -> dict[str, Any]:
    """What ``architectures.json`` says of a model at a square input of ``size`` pixels.

    Returns:
        A dictionary: ``parameters`` (Keras's count, BatchNorm statistics included), ``input`` [H, W],
        ``multiply_adds``, ``flops`` (twice that) and ``diagram`` (see ``diagram``).
    """
    steps = trace(model, size, size)
    work = sum(map(multiply_adds, steps))
    return {
        "parameters": model.count_params(),
        "input": [size, size],
        "multiply_adds": work,
        "flops": 2 * work,
        "diagram": diagram(steps, model.name),
    }


# --- blocks ----------------------------------------------------------------------------------------------

# Layer names, matched from their beginning, to (key of the block, its label); of the layers outside encoders.
_BLOCKS = (
    (r"preprocess|pad$", "image", "in"),
    (r"aspp_1x1", "aspp_1x1", "1x1"),
    (r"aspp_rate(\d+)", r"aspp_rate\1", r"r \1"),
    (r"aspp_pool", "aspp_pool", "pool"),
    (r"aspp_(?:concat|project|dropout)", "aspp_project", "proj"),
    (r"block(\d+)_", r"block\1", r"enc\1"),
    (r"decoder(\d+)_", r"decoder\1", r"dec\1"),
    (r"down(\d+)_", r"down\1", r"enc\1"),
    (r"up(\d+)_", r"up\1", r"up\1"),
    (r"bottleneck", "bottleneck", "mid"),
    (r"(fc\d)", r"\1", r"\1"),
    (r"(?:upsample_to|score|fuse)_(c\d)", r"fuse_\1", r"+\1"),
    (r"score$", "score", "cls"),
    (r"logits", "logits", "cls"),
    (r"guided_|fine_logits", "guided", "up"),
)


@dataclass
class Block:
    """Layers drawn as one box.

    Attributes:
        label: at most five characters.
        shape: (H, W, C) of what it gives.
        encoder: whether it is part of the way down.
        layers: kinds of layers in it, each once.
        sources: (key, height of the tensor) of the blocks it takes from.
    """

    label: str
    shape: tuple[int, ...]
    encoder: bool
    layers: list[str] = field(default_factory=list)
    sources: list[tuple[str, int]] = field(default_factory=list)


def blocks(steps: list[Step]) -> dict[str, Block]:
    """The Steps of a network, gathered into Blocks: key to Block, in the order they run.

    Encoder layers belong to the stage c1..c5 whose feature map they lead to, others to what their names say.
    A layer whose name says nothing is a block of its own; one that only crops joins the block before it.
    """
    found: dict[str, Block] = {}
    home = {steps[0].inputs[0]: ("image", steps[0].input_shape[1])}
    stages = _stages(steps)
    for step in steps:
        stage = stages.get(id(step))
        if isinstance(step.layer, CropLike):
            home[step.outputs[0]] = home[step.inputs[0]]
            continue
        key, label = (stage, stage) if stage else _block_of(step.layer.name)
        shape = step.output_shape[1:]
        encoder = bool(stage) or re.match("image|block|down", key) is not None
        block = found.setdefault(key, Block(label, shape, encoder))
        # An encoder stage is known by its feature map, another block by its finest one: before it pools,
        # after it upsamples. What joins it from elsewhere is not of its making.
        joins = isinstance(step.layer, keras.layers.Concatenate)
        # Guided upsampling takes finer maps than it gives, and some that were made since it began.
        reassembles = isinstance(step.layer, Reassemble)
        if reassembles:
            found[key] = found.pop(key)
        if len(shape) == 3 and (stage or reassembles or (shape[0] >= block.shape[0] and not joins)):
            block.shape = shape
        kind = type(step.layer).__name__
        if kind not in block.layers:
            block.layers.append(kind)
        # The second tensor of a resize tells its size only.
        used = step.inputs[:1] if isinstance(step.layer, ResizeLike) else step.inputs
        for tensor in used:
            source = home.get(tensor)
            if source and source[0] != key and source[0] not in dict(block.sources):
                block.sources.append(source)
        for tensor in step.outputs:
            home[tensor] = (key, step.output_shape[1])
    last = list(found)[-1]
    found[last].label = "out"
    return found


def _stages(steps):
    """id of each encoder Step to "c1".."c5": the first feature map at or after it that the decoder may use."""
    inside = [step for step in steps if step.group]
    if not inside:
        return {}
    taps = dict(zip(encoder_spec(inside[0].group).taps, ("c1", "c2", "c3", "c4", "c5"), strict=True))
    names, stage = {}, "c5"  # layers behind the last tap, if any, end the last stage
    for step in reversed(inside):
        stage = taps.get(step.layer.name, stage)
        names[id(step)] = stage
    return names


def _block_of(name):
    for pattern, key, label in _BLOCKS:
        if match := re.match(pattern, name):
            return match.expand(key), match.expand(label)
    return name, name[:5]


# --- drawing ---------------------------------------------------------------------------------------------

BOX, GAP, TALL, ROW, LEFT, TOP = 29, 9, 25, 40, 27, 14  # pixels: box width and height, distances, margins


def diagram(steps: list[Step], name: str) -> str:
    """An inline SVG of the network: one box a block, left to right as they run, lower where resolution is lower.

    Each box holds the block's label and its channels; the scale on the left gives its height and width as a
    fraction of the input's. Dashed lines are skip connections. Only ``currentColor`` and one accent (the CSS
    variable ``--diagram-accent``) are used, so it fits light and dark pages; a box tells its shape and layers
    in its ``<title>``.
    """
    graph = blocks(steps)
    height = steps[0].input_shape[1]
    columns: dict[str, int] = {}
    for key, block in graph.items():
        columns[key] = 1 + max((columns[source] for source, _ in block.sources), default=-1)
    level = {key: round(math.log2(height / block.shape[0])) for key, block in graph.items()}
    depth = max(*level.values(), *(_level(height, tall) for b in graph.values() for _, tall in b.sources))
    places = _places(graph, columns, level)

    lowest = max(y for _, y in places.values()) + TALL / 2
    full_width = LEFT + (max(columns.values()) + 1) * (BOX + GAP)
    full_height = max(lowest, TOP + depth * ROW + TALL / 2) + 3
    parts = [_scale(row, full_width) for row in range(depth + 1)]
    for key, block in graph.items():
        for source, tall in block.sources:
            y = TOP + _level(height, tall) * ROW
            climbs = level[key] != level[source]
            skip = columns[key] - columns[source] > 1
            parts.append(_line(places[source], places[key], y, climbs, skip))
    parts += [_box(places[key], block, height) for key, block in graph.items()]
    return (
        f'<svg class="diagram" viewBox="0 0 {full_width:g} {full_height:g}" width="{full_width:g}" '
        f'role="img" aria-label="Diagram of {escape(name)}" font-family="inherit" font-size="10" '
        f'text-anchor="middle" fill="currentColor">{"".join(parts)}</svg>'
    )


def _level(height, tall):
    return round(math.log2(height / max(1, tall)))


def _places(graph, columns, level):
    """Centre (x, y) of each block; those with the same column and level stand above each other."""
    stacks = {}
    for key in graph:
        stacks.setdefault((columns[key], level[key]), []).append(key)
    taken = {source: None for block in graph.values() for source, _ in block.sources}
    order = {key: i for i, key in enumerate([*taken, *(graph.keys() - taken.keys())])}
    places = {}
    for (column, row), keys in stacks.items():
        keys.sort(key=order.get)  # parallel branches in the order in which they are concatenated
        for i, key in enumerate(keys):
            y = TOP + row * ROW + (i - (len(keys) - 1) / 2) * (TALL + 4)
            places[key] = (LEFT + column * (BOX + GAP) + BOX / 2, y)
    return places


def _scale(row, width):
    text = "1" if row == 0 else f"1/{2**row}"
    y = TOP + row * ROW
    return (
        f'<path d="M{LEFT - 4} {y}H{width:g}" stroke="currentColor" stroke-opacity=".13"/>'
        f'<text x="{LEFT - 7}" y="{y + 3}" font-size="9" text-anchor="end" opacity=".7">{text}</text>'
    )


def _line(start, end, y, climbs, skip):
    """From one box to another, whose levels differ if it climbs; the tensor lives at the height y."""
    (x1, y1), (x2, y2) = start, end
    if y > max(y1, y2) + TALL:  # pooled, then unpooled: a way through a level that has no box
        path = f"M{x1:g} {y1 + TALL / 2:g}V{y:g}H{x2:g}V{y2 + TALL / 2:g}"
    elif climbs and not skip:
        edge = TALL / 2 if y2 > y1 else -TALL / 2
        path = f"M{x1:g} {y1 + edge:g}V{y2:g}H{x2 - BOX / 2:g}"
    else:
        path = f"M{x1 + BOX / 2:g} {y1:g}H{x2 - BOX / 2 - GAP / 2:g}V{y2:g}H{x2 - BOX / 2:g}"
    dashes = ' stroke-dasharray="3 3"' if skip else ""
    return f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity=".65"{dashes}/>'


def _box(place, block, height):
    x, y = place
    tall, wide, channels = block.shape
    color = "currentColor" if block.encoder else "var(--diagram-accent, currentColor)"
    opacity = ".1" if block.encoder else ".22"
    rate = height / tall
    size = "H x W" if rate == 1 else f"H/{rate:g} x W/{rate:g}"
    title = f"{block.label}: {size} x {channels} ({tall} x {wide} here). {', '.join(block.layers)}"
    shape = f'x="{x - BOX / 2:g}" y="{y - TALL / 2:g}" width="{BOX}" height="{TALL}" rx="4"'
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect {shape} fill="var(--diagram-ground, Canvas)"/>'
        f'<rect {shape} fill="{color}" fill-opacity="{opacity}" stroke="{color}" stroke-opacity=".8"/>'
        f'<text x="{x:g}" y="{y - 1.5:g}" font-weight="600">{escape(block.label)}</text>'
        f'<text x="{x:g}" y="{y + 9:g}" font-size="9" opacity=".8">{channels}</text></g>'
    )


def write(path: Path = zoo.ARCHITECTURES) -> None:
    """Build every architecture of ``zoo.SPECS`` and write what there is to know of them to a JSON file."""
    found = {}
    for spec in zoo.SPECS.values():
        keras.utils.clear_session()
        encoder = encoder_spec(spec.encoder).application if spec.encoder else None
        found[spec.name] = {"encoder": encoder, **facts(architectures.build(spec.name), spec.size)}
    write_atomic(path, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    write()
