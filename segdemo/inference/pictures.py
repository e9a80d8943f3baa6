"""Pictures for reports and notebooks: rows of photos and masks under titles, and the curves of a training.

Each function gives a Pillow image, which a notebook shows as it is and ``save`` writes. They are drawn by Matplotlib
without ``pyplot``, so nothing has to be set up or closed, and several threads may draw.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.arrays import AnyArray, UInt8
from segdemo.core.labels import MAX_CLASSES, LabelSet
from segdemo.errors import UserError

TITLES = ("Input", "Truth", "Prediction")
SHOWN = 4  # rows of a batch, unless more are asked for
DPI = 110
METRICS = {
    "loss": "Loss",
    "mean_iou": "Mean IoU",
    "mean_accuracy": "Mean accuracy",
    "pixel_accuracy": "Pixel accuracy",
}

Log = str | PathLike[str] | Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]]


def create_mask(scores: Any) -> UInt8:
    """Label maps from what a network gives: at each pixel the class with the highest score.

    Args:
        scores: (..., H, W, K) logits or probabilities, an array or a tensor.

    Returns:
        uint8 (..., H, W), class ids.

    Raises:
        UserError: not at least three dimensions, or more classes than a label map can hold.
    """
    values: AnyArray = np.asarray(scores)
    if values.ndim < 3 or not 1 <= values.shape[-1] <= MAX_CLASSES:
        raise UserError(
            f"Scores are (height, width, classes) with 1 to {MAX_CLASSES} classes, or a batch of that, not "
            f"{values.shape}: give the logits."
        )
    label_map: UInt8 = values.argmax(-1).astype(np.uint8)
    return label_map


def display(rows: Sequence[Sequence[Any]], titles: Sequence[str] = (), width: float = 3.0) -> Image.Image:
    """Pictures in rows and columns.

    Args:
        rows: of pictures (H, W, 3) RGB 0..255 or (H, W) greys, arrays or tensors; their sizes may differ.
        titles: one a column, above the first row; none leaves them away.
        width: of a column, inches at 110 pixels.

    Returns:
        A Pillow image.

    Raises:
        UserError: no picture, rows of different length, or not one title for each column.
    """
    columns = len(rows[0]) if len(rows) else 0
    if not columns or any(len(row) != columns for row in rows):
        raise UserError("Pictures to display come in rows of one length, one picture or more in each.")
    if len(titles) not in (0, columns):
        raise UserError(f"{columns} columns need as many titles, not {len(titles)}.")
    pictures = [[np.clip(np.asarray(picture), 0, 255).astype(np.uint8) for picture in row] for row in rows]
    heights = [max(width * picture.shape[0] / picture.shape[1] for picture in row) for row in pictures]
    size = (width * columns, sum(heights) + 0.3 * bool(titles) + 0.1)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes, row in zip(grid, pictures, strict=True):
        for place, picture in zip(axes, row, strict=True):
            place.imshow(picture, cmap="gray", vmin=0, vmax=255)
            place.axis("off")
    for place, title in zip(grid[0], titles, strict=False):
        place.set_title(title)
    return _drawn(figure)


def triptychs(
    photos: Any,
    truths: Any,
    predictions: Any | None,
    label_set: LabelSet,
    titles: Sequence[str] = TITLES,
    most: int = SHOWN,
) -> Image.Image:
    """Input, truth and prediction side by side, a row for each photo.

    Masks are drawn in their label set's colours, void in pale yellow.

    Args:
        photos: (B, H, W, 3) RGB 0..255, or a list of such photos of any sizes.
        truths: label maps (B, H, W), or a list.
        predictions: label maps as well; None leaves their column away.
        label_set: what the ids mean.
        titles: of the columns.
        most: rows that are drawn; the first of the batch.

    Returns:
        A Pillow image.

    Raises:
        UserError: nothing to draw, or not as many label maps as photos. MaskError: ids not in the label set.
    """
    given = [photos, truths] if predictions is None else [photos, truths, predictions]
    if len({len(column) for column in given}) != 1:
        raise UserError(f"Photos and label maps come in equal numbers, not {[len(c) for c in given]}.")
    rows = []
    for photo, *maps in zip(*(column[:most] for column in given), strict=True):
        masks = (np.asarray(label_map).astype(np.uint8) for label_map in maps)
        rows.append([photo, *(label_maps.colourise(mask, label_set) for mask in masks)])
    return display(rows, list(titles)[: len(given)])


def curves(log: Log, metrics: Sequence[str] = ("loss", "mean_iou")) -> Image.Image:
    """Training and validation curves, a diagram for each metric.

    Args:
        log: a run's folder or its ``log.csv``; or ``History.history`` of Keras; or one mapping for each epoch, with
            its number, from 1, as ``epoch``.
        metrics: names of columns; of each there may be one of the same name behind ``val_``.

    Returns:
        A Pillow image. A metric that the log does not have gets an empty diagram.

    Raises:
        UserError: there is no such log.
    """
    rows = _epochs(log)
    figure = Figure(figsize=(4.5 * len(metrics), 3.5), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        for prefix, label in (("", "training"), ("val_", "validation")):
            points = [(row["epoch"], row[prefix + key]) for row in rows if prefix + key in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set(title=METRICS.get(key, key), xlabel="epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    return _drawn(figure)


def _epochs(log: Log) -> list[Mapping[str, float]]:
    if isinstance(log, Mapping):
        count = max(map(len, log.values()), default=0)
        return [
            {"epoch": n + 1, **{name: column[n] for name, column in log.items() if n < len(column)}}
            for n in range(count)
        ]
    if isinstance(log, str | PathLike):
        path = Path(log)
        path = path / "log.csv" if path.is_dir() else path
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [_numbers(row) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError):
            raise UserError(
                f"There is no log of a training in {path}: give a run's folder or its log.csv."
            ) from None
    return list(log)


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    # Keras counts epochs from 0, and writes NA for what an epoch does not have.
    found = {name: float(value) for name, value in row.items() if value not in ("", "NA", None)}
    return found | {"epoch": found["epoch"] + 1}


def _drawn(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    picture = Image.open(buffer)
    picture.load()
    return picture
