"""How well clicks select things: the usual protocol of interactive segmentation, with a simulated person.

Each click goes into the middle of the largest error, at most 20 of them (Sofiiuk et al., RITM, arXiv:2102.06583,
section 4). NoC@85 is the mean number of clicks to an IoU of 85 %, 20 where that is not reached. With ``noise``, clicks
are off as people's are: half of them anywhere in the inner half of the error, all of them by some pixels.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segdemo.core.arrays import Bools, UInt8
from segdemo.core.clicks import IGNORED, Click, next_click
from segdemo.core.photos import read_photo
from segdemo.errors import UserError
from segdemo.inference.clicks import Clicker, Levels

MOST = 20
GOALS = (0.80, 0.85, 0.90)
AFTER = (1, 2, 3, 5)  # clicks, of which the mean IoU is told
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
OFF = 0.01  # standard deviation of a noisy click, in the photo's longer sides


@dataclass(frozen=True)
class Case:
    """A thing to select.

    Attributes:
        name: of its photo.
        photo: uint8 (H, W, 3).
        truth: bool (H, W). counts: bool (H, W), pixels that count.
        start: bool (H, W), a mask to correct, or None.
    """

    name: str
    photo: UInt8
    truth: Bools
    counts: Bools
    start: Bools | None = None


def cases(images: Path, masks: Path) -> Iterator[Case]:
    """The things of a folder of photos and one of masks called alike, 255 in the thing, 0 outside, 128 ignored.

    Raises:
        UserError: a folder is not there or nothing in it fits.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}: give one of photos and one of masks that are called alike."
            )
    found = {p.stem: p for p in sorted(masks.iterdir()) if p.suffix.lower() in (".png", ".bmp")}
    pairs = [
        (photo, found[photo.stem])
        for photo in sorted(images.iterdir())
        if photo.suffix.lower() in PHOTO_ENDINGS and photo.stem in found
    ]
    if not pairs:
        raise UserError(f"No photo in {images} has a mask of its name in {masks}: call them alike.")
    return (_case(*pair) for pair in pairs)


def _case(path: Path, mask: Path) -> Case:
    photo = read_photo(path)
    try:
        with Image.open(mask) as picture:
            values = np.array(picture.convert("L"))
    except Exception as error:  # decoders of damaged files raise anything
        raise UserError(f"{mask} cannot be read as a picture: save or download it again.") from error
    if values.shape != photo.shape[:2]:
        raise UserError(f"{mask} and its photo differ in size: make them equal.")
    if not (values > IGNORED).any():
        raise UserError(
            f"{mask} holds no pixel of a thing: masks are 255 in it, 0 outside, 128 where it does not count."
        )
    return Case(path.stem, photo, values > IGNORED, values != IGNORED)


@dataclass(frozen=True)
class ClickReport:
    """What the protocol measured.

    Attributes:
        model: name of the click model.
        things: how many things. noise: whether clicks were off.
        noc: mean number of clicks, by goal in percent. failures: how many things needed more than 20, likewise.
        iou: mean IoU after 1, 2, 3 and 5 clicks, 0..1; a thing keeps its best one once it has no error.
        seconds: median seconds of a click.
        each: for each thing its name and the IoU after each click.
    """

    model: str
    things: int
    noise: bool
    noc: dict[str, float]
    failures: dict[str, int]
    iou: dict[str, float]
    seconds: float
    each: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


def measure(
    clicker: Clicker,
    things: Iterable[Case],
    noise: bool = False,
    seed: int = 0,
    wrap: Callable[[Iterable[Case]], Iterable[Case]] = iter,
) -> ClickReport:
    """Run the protocol.

    Args:
        clicker: the model.
        things: to select.
        noise: click as people do.
        seed: of the noise.
        wrap: around the iteration, for a progress bar.
    """
    rng = np.random.default_rng(seed)
    each: list[dict[str, Any]] = []
    seconds: list[float] = []
    for case in wrap(things):
        ious, taken = click_through(clicker, case, rng if noise else None)
        each.append({"name": case.name, "iou": [round(i, 4) for i in ious]})
        seconds += taken
    needed = {f"{100 * goal:.0f}": [_clicks_to(goal, thing["iou"]) for thing in each] for goal in GOALS}
    return ClickReport(
        model=clicker.model.name,
        things=len(each),
        noise=noise,
        noc={goal: round(float(np.mean(n)), 3) for goal, n in needed.items()},
        failures={
            f"{100 * goal:.0f}": sum(max(thing["iou"], default=0) < goal for thing in each) for goal in GOALS
        },
        iou={
            str(n): round(float(np.mean([thing["iou"][min(n, len(thing["iou"])) - 1] for thing in each])), 4)
            for n in AFTER
        },
        seconds=round(float(np.median(seconds)), 4),
        each=each,
    )


def click_through(
    clicker: Clicker, case: Case, rng: np.random.Generator | None = None, most: int = MOST
) -> tuple[list[float], list[float]]:
    """Click until the best goal is reached or ``most`` clicks are made: IoU after each, and its seconds."""
    levels = Levels(case.photo)
    mask = np.zeros(case.truth.shape, bool) if case.start is None else case.start
    clicks: list[Click] = []
    ious: list[float] = []
    seconds: list[float] = []
    while len(clicks) < most:
        click = next_click(case.truth, mask, case.counts, clicks, rng if rng and rng.random() < 0.5 else None)
        if click is None:
            break
        clicks.append(click if rng is None else _off(rng, click, case.truth.shape))
        start = time.perf_counter()
        mask = clicker.select(levels, clicks, mask).mask
        seconds.append(time.perf_counter() - start)
        ious.append(iou(case.truth, mask, case.counts))
        if ious[-1] >= max(GOALS) and len(ious) >= max(AFTER):
            break
    return ious, seconds


def iou(truth: Bools, mask: Bools, counts: Bools) -> float:
    """Intersection over union of two masks where they count, 0..1."""
    either = ((truth | mask) & counts).sum()
    return float((truth & mask & counts).sum() / either) if either else 1.0


def _clicks_to(goal: float, ious: Sequence[float]) -> int:
    return next((n for n, value in enumerate(ious, 1) if value >= goal), MOST)


def _off(rng: np.random.Generator, click: Click, shape: tuple[int, int]) -> Click:
    height, width = shape
    x, y = rng.normal((click.x, click.y), OFF * max(shape))
    return click._replace(x=int(np.clip(x, 0, width - 1)), y=int(np.clip(y, 0, height - 1)))
