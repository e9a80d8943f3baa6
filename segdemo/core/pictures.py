"""Pictures for people: photos and label maps side by side, curves of a training; in a run, a notebook or a script."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segdemo.core import label_maps
from segdemo.core.arrays import AnyArray, UInt8
from segdemo.core.labels import LabelSet
from segdemo.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP = 8  # pixels between pictures
TITLE = 24  # pixels of the line that titles stand in
TITLES = ("Input", "Truth", "Prediction")
PANELS = {"loss": "Loss", "mean_iou": "Mean IoU"}
History = str | Path | Mapping[str, Sequence[float]] | Iterable[Mapping[str, Any]]


def create_mask(scores: AnyArray) -> UInt8:
    """The label map of logits or probabilities: the likeliest class of each pixel.

    Args:
        scores: (..., H, W, K) of up to 255 classes, such as ``model.predict(images)`` or one image of it.

    Returns:
        uint8 (..., H, W).
    """
    mask: UInt8 = np.asarray(scores).argmax(-1).astype(np.uint8)
    return mask


def display(pictures: Sequence[AnyArray], titles: Sequence[str] | None = None) -> Image.Image:
    """Pictures in a row, each under its title.

    Args:
        pictures: uint8 (H, W, 3) of one height, one or more; floats in 0..255 are rounded.
        titles: one for each picture, or None for no titles.

    Returns:
        A Pillow image in RGBA with transparent gaps, which notebooks show as it is.

    Raises:
        UserError: not as many titles as pictures, or pictures of several heights.
    """
    if titles is not None and len(titles) != len(pictures):
        raise UserError(f"There are {len(pictures)} pictures and {len(titles)} titles: give one for each.")
    heights = {np.shape(picture)[0] for picture in pictures}
    if len(heights) != 1:
        raise UserError("Pictures in a row have one height: give one picture or more, resized to be equal.")
    top = 0 if titles is None else TITLE
    width = sum(np.shape(picture)[1] for picture in pictures) + GAP * (len(pictures) - 1)
    row = Image.new("RGBA", (width, heights.pop() + top))
    draw, left = ImageDraw.Draw(row), 0
    for number, picture in enumerate(pictures):
        pixels = np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)
        row.paste(Image.fromarray(pixels), (left, top))
        if titles is not None:
            # Grey is legible on light and on dark.
            draw.text((left, 2), titles[number], (128, 128, 128, 255), ImageFont.load_default(14))
        left += pixels.shape[1] + GAP
    return row


def triptych(
    image: AnyArray,
    truth: UInt8,
    prediction: UInt8,
    label_set: LabelSet,
    titles: Sequence[str] | None = TITLES,
) -> Image.Image:
    """A photo, its truth and what a model predicts, side by side, the label maps as overlays.

    Args:
        image: (H, W, 3), RGB, 0..255.
        truth, prediction: label maps uint8 (H, W), 255 = void.
        label_set: what they mean.
        titles: three, or None for no titles.

    Returns:
        As ``display``.

    Raises:
        MaskError: not a label map of this label set, or another size than the photo.
    """
    photo = np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
    maps = (label_maps.overlay(photo, label_map, label_set) for label_map in (truth, prediction))
    return display([photo, *maps], titles)


def triptychs(
    images: Iterable[AnyArray],
    truths: Iterable[AnyArray],
    predictions: Iterable[AnyArray] | None,
    label_set: LabelSet,
    titles: Sequence[str] = TITLES,
    most: int = 4,
) -> Image.Image:
    """A ``triptych`` of each photo of a batch, one below the other.

    Args:
        images, truths, predictions: as for ``triptych``, batches (B, ...) or lists; photos may differ in size. Without
            predictions their column is left away.
        label_set: what the label maps mean.
        titles: of the columns.
        most: photos that are shown; the first of the batch.

    Returns:
        As ``display``.

    Raises:
        UserError: not as many label maps as photos, or none. MaskError: as ``triptych``.
    """
    columns = [list(column) for column in (images, truths, predictions) if column is not None]
    if len(set(map(len, columns))) != 1:
        raise UserError(f"Photos and label maps come in equal numbers, not {list(map(len, columns))}.")
    rows = []
    for image, *maps in zip(*(column[:most] for column in columns), strict=True):
        photo = np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
        overlays = (
            label_maps.overlay(photo, np.asarray(label_map, np.uint8), label_set) for label_map in maps
        )
        rows.append(display([photo, *overlays], list(titles)[: len(columns)]))
    return stack(rows)


def stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows of ``display`` one below the other, with transparent gaps. Raises UserError if there is none."""
    if not rows:
        raise UserError("There are no pictures to show: give one or more.")
    height = sum(row.height for row in rows) + GAP * (len(rows) - 1)
    page, top = Image.new("RGBA", (max(row.width for row in rows), height)), 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height + GAP
    return page


def curves(history: History, panels: Mapping[str, str] = PANELS) -> "Figure":
    """Curves of a training, one panel for each score, with its values in training and in validation.

    Args:
        history: what ``fit`` returns as ``history.history``, a run's folder or its ``log.csv``, or rows such as
            ``{"epoch": 1, "loss": 0.7, "val_loss": 0.8}``.
        panels: name of a score to the title of its panel.

    Returns:
        A Matplotlib figure, which notebooks show as it is; ``figure.savefig(path)`` writes it.
    """
    from segdemo.core.figures import ShownFigure  # Matplotlib takes a while to import

    rows = _rows(history)
    figure = ShownFigure(figsize=(4.5 * len(panels), 3.5), layout="constrained")
    row_of_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (key, title) in zip(row_of_axes, panels.items(), strict=True):
        for prefix, label in (("", "training"), ("val_", "validation")):
            points = [(row["epoch"], row[prefix + key]) for row in rows if row.get(prefix + key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    return figure


def _rows(history: History) -> list[Mapping[str, Any]]:
    """Rows with the epochs counted from 1. Raises UserError."""
    if isinstance(history, str | Path):
        path = Path(history)
        path = path / "log.csv" if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"There is no log {path}: give the path of a run's log.csv.")
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            # Keras writes NA for what an epoch does not have.
            read = [{name: float(v) for name, v in row.items() if v and v != "NA"} for row in rows]
        return [{**row, "epoch": row["epoch"] + 1} for row in read]  # Keras counts from 0
    if isinstance(history, Mapping):
        count = max((len(values) for values in history.values()), default=0)
        return [
            {"epoch": n + 1, **{name: values[n] for name, values in history.items() if n < len(values)}}
            for n in range(count)
        ]
    return list(history)
