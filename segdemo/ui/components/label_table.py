"""The table in which a visitor writes a label set: names, colours, which class is the background."""

import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from segdemo.core.files import StoreError
from segdemo.core.labels import MAX_CLASSES, VOID_COLOR, LabelSet
from segdemo.ui.components.bundle import component_script

_HTML = '<section class="sl" aria-label="Classes"></section>'
_LEVELS = 12  # of each of red, green and blue among the automatic colours
_LIGHTNESS = (0.5, 0.88)  # darker ones look like the background, lighter ones like void
_CHROMA = 0.06  # greys are for the photo


def label_table(value: Any = None, **kwargs: Any) -> gr.HTML:
    """The component; as an input or output of events it is what ``to_table`` returns."""
    here = Path(__file__)
    colors = [_hex(color) for color in distinct_colors()]
    return gr.HTML(
        value,
        html_template=_HTML,
        css_template=here.with_suffix(".css").read_text("utf-8"),
        js_on_load=component_script(here.with_suffix(".js"), colors=colors, most=MAX_CLASSES),
        apply_default_css=False,
        **kwargs,
    )


def first_table() -> dict[str, Any]:
    """What a visitor starts from: a background, and two classes to be named."""
    red, green = distinct_colors()[:2]
    return {
        "rows": [
            {"name": "background", "color": _hex((0, 0, 0))},
            {"name": "", "color": _hex(red)},
            {"name": "", "color": _hex(green)},
        ],
        "background": 0,
        "fixed": 0,
    }


def to_table(label_set: LabelSet) -> dict[str, Any]:
    """A label set as the table's value; its classes can be renamed and recoloured but not taken away.

    It says which label set it is of, so that one that another visitor has changed meanwhile is told from it.
    """
    rows = [
        {"name": name, "color": _hex(color)}
        for name, color in zip(label_set.classes, label_set.colors, strict=True)
    ]
    table: dict[str, Any] = {"rows": rows, "background": label_set.background, "fixed": len(label_set)}
    return {**table, "of": _digest(table)}


def is_changed(table: Any) -> bool:
    """Whether somebody has written into a table that ``to_table`` made; True for what is none."""
    try:
        return bool(table["of"] != _digest(table))
    except (KeyError, TypeError, ValueError):
        return True


def _digest(table: dict[str, Any]) -> str:
    told = {key: table[key] for key in ("rows", "background", "fixed")}
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def from_table(table: Any, name: str, title: str) -> LabelSet:
    """The LabelSet somebody wrote. New rows without a name count for nothing, as soon as two classes have one.

    Args:
        table: the component's value; it comes from a browser, so it may be anything.
        name, title: of the label set.

    Raises:
        StoreError: what is wrong with it, in a sentence.
    """
    try:
        rows = [(" ".join(str(row["name"]).split()), str(row["color"])) for row in table["rows"]]
        background, fixed = table["background"], table.get("fixed", 0)
        if background is not None and not isinstance(background, int):
            raise TypeError
        used = [i for i, (text, _) in enumerate(rows) if text or i < fixed or i == background]
        if len(used) > 1:
            background = used.index(background) if background in used else background
            rows = [rows[i] for i in used]
        colors: tuple[Any, ...] = tuple(tuple(bytes.fromhex(color.removeprefix("#"))) for _, color in rows)
    except (KeyError, TypeError, ValueError):
        raise StoreError("The classes arrived damaged: reload the page and write them again.") from None
    try:
        return LabelSet(name, title, tuple(name for name, _ in rows), colors, background)
    except ValueError as error:
        raise StoreError(str(error)) from error


@cache
def distinct_colors(count: int = MAX_CLASSES) -> tuple[tuple[int, ...], ...]:
    """Colours for classes: each as far as possible from black, white, void and all before it.

    Distances are measured in Oklab (Ottosson 2020, https://bottosson.github.io/posts/oklab/), in which
    equal steps look about equally large.

    Args:
        count: how many, at most 255.

    Returns:
        Tuple of RGB triples in 0..255, all different.
    """
    levels = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (lab[:, 0] > _LIGHTNESS[0]) & (lab[:, 0] < _LIGHTNESS[1]) & (chroma > _CHROMA)
    candidates, lab = candidates[usable], lab[usable]
    taken = _oklab(np.array([(0, 0, 0), (255, 255, 255), VOID_COLOR]))
    distance = np.linalg.norm(lab[:, None] - taken, axis=-1).min(1)
    chosen = []
    for _ in range(count):
        best = int(distance.argmax())
        chosen.append(tuple(candidates[best].tolist()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[best], axis=-1))
    return tuple(chosen)


def _oklab(colors: np.ndarray) -> np.ndarray:
    """uint8 (N, 3) sRGB to float (N, 3) Oklab."""
    c = np.asarray(colors) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    lms = linear @ [
        [0.4122214708, 0.2119034982, 0.0883024619],
        [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005],
    ]
    lab: np.ndarray = np.cbrt(lms) @ [
        [0.2104542553, 1.9779984951, 0.0259040371],
        [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660],
    ]
    return lab


def _hex(color: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
