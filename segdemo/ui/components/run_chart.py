"""One chart of a run as SVG: a quantity while it learns and after each epoch, training and validation."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

CSS = Path(__file__).with_suffix(".css").read_text("utf-8")
WIDTH, HEIGHT = 420, 230  # of the drawing's own units; it is scaled to the page
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 8, 24
TICKS = 5
Points = Sequence[tuple[float, float]]  # (epochs, value)


def chart(
    title: str, steps: Points, training: Points, validation: Points, epochs: int, factor: float = 1
) -> str:
    """HTML of a chart with its legend.

    Args:
        title: what is shown.
        steps: (epochs, value) pairs while training.
        training, validation: the same after each epoch.
        epochs: of the whole run, the right end of the axis.
        factor: what values are multiplied by.

    Returns:
        "" if there is no point.
    """
    lines = {
        "steps": [(x, y * factor) for x, y in steps],
        "training": [(x, y * factor) for x, y in training],
        "validation": [(x, y * factor) for x, y in validation],
    }
    values = [y for points in lines.values() for _, y in points]
    if not values:
        return ""
    low, high, ticks = _axis(values)
    last = max([epochs, 1, *(x for points in lines.values() for x, _ in points)])

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / last
        up = (min(max(y, low), high) - low) / (high - low)
        return round(across, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up, 1)

    drawn = []
    for y in ticks:
        x, level = place(0, y)
        drawn.append(
            f'<path class="grid" d="M{x} {level}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{level + 4}" text-anchor="end">{y:.6g}</text>'
        )
    for x in _epoch_ticks(last):
        across, _ = place(x, low)
        drawn.append(f'<text x="{across}" y="{HEIGHT - 6}" text-anchor="middle">{x:g}</text>')
    for name, points in lines.items():
        if len(points) > 1 or (points and name == "steps"):
            path = "L".join(f"{x} {y}" for x, y in (place(*point) for point in points))
            drawn.append(f'<path class="line {name}" d="M{path}"/>')
    radius = 3 if len(validation) <= 60 else 1.6
    for name in ("training", "validation"):
        for x, y in lines[name]:
            across, level = place(x, y)
            drawn.append(
                f'<circle class="{name}" cx="{across}" cy="{level}" r="{radius}">'
                f"<title>epoch {x:g}, {name}: {_short(y)}</title></circle>"
            )
    now = {"training": (lines["training"] or lines["steps"])[-1:], "validation": lines["validation"][-1:]}
    legend = "".join(
        f'<span class="{name}">{name} <b>{_short(points[0][1])}</b></span>'
        for name, points in now.items()
        if points
    )
    return (
        f'<figure class="tr-chart"><figcaption><b>{title}</b>{legend}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title} by epoch">{"".join(drawn)}</svg></figure>'
    )


def _axis(values: Iterable[float]) -> tuple[float, float, list[float]]:
    """(lowest, highest, ticks) of an axis. A few very high values, as in the first steps, are cut off."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, math.ceil(0.98 * len(ordered)))]
    if high <= low:
        margin = abs(low) * 0.1 or 0.1
        low, high = low - margin, high + margin
    step = (high - low) / (TICKS - 1)
    power = 10 ** math.floor(math.log10(step))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= step * 0.999)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    count = round((high - low) / step)
    return low, high, [round(low + i * step, 10) for i in range(count + 1)]


def _epoch_ticks(last: float) -> list[float]:
    step = next((n for n in (1, 2, 5, 10, 20, 25, 50, 100, 200) if last / n <= 8), 500)
    return [step * i for i in range(int(last // step) + 1)]


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
