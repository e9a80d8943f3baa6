"""Label sets as data: class names, colours and the void id.

A label map is a uint8 array (H, W) of class ids of one label set; ``VOID`` marks pixels without a label.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from segdemo.errors import UserError

VOID = 255
VOID_COLOR = (224, 224, 192)  # what the PASCAL VOC devkit paints boundaries with
MAX_CLASSES = 255


@dataclass(frozen=True)
class LabelSet:
    """Names and colours of the classes 0..K-1.

    Attributes:
        name: short identifier, such as ``"voc"``.
        title: what a person calls it.
        classes: K class names.
        colors: K RGB triples in 0..255, all different and different from ``VOID_COLOR``.
        background: the id that means "nothing of interest", or None.

    Raises:
        ValueError: no class, more than 255, repeated or empty names, repeated colours.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    background: int | None = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise UserError(f"A label set has 1 to {MAX_CLASSES} classes, not {len(self.classes)}.")
        if len(self.colors) != len(self.classes):
            raise UserError(f"{len(self.classes)} classes need as many colours, not {len(self.colors)}.")
        if "" in (name.strip() for name in self.classes):
            raise UserError("Every class needs a name.")
        if repeated := _repeated(name.strip().lower() for name in self.classes):
            raise UserError(f"Two classes are called {repeated!r}: give each its own name.")
        if any(len(c) != 3 or not all(0 <= v <= 255 for v in c) for c in self.colors):
            raise UserError("A colour is three numbers from 0 to 255.")
        if repeated := _repeated([*self.colors, VOID_COLOR]):
            raise UserError(f"Two classes (or a class and void) share the colour {repeated}: change one.")
        if self.background is not None and not 0 <= self.background < len(self.classes):
            raise UserError(f"The background is one of the classes 0..{len(self.classes) - 1}.")

    def __len__(self) -> int:
        return len(self.classes)

    def palette(self) -> list[int]:
        """The 768 numbers of a PNG palette: class colours, VOC's own for unused ids, ``VOID_COLOR`` at 255."""
        colors = [*self.colors, *(voc_color(i) for i in range(len(self), VOID)), VOID_COLOR]
        return [value for color in colors for value in color]

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` reads back."""
        return {
            "name": self.name,
            "title": self.title,
            "background": self.background,
            "classes": [
                {"id": i, "name": n, "color": list(c)}
                for i, (n, c) in enumerate(zip(self.classes, self.colors, strict=True))
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The label set ``to_json`` described. Raises UserError, a ValueError, if it is none."""
        try:
            classes = sorted(data["classes"], key=lambda entry: entry["id"])
            name, title, background = data["name"], data["title"], data.get("background", 0)
            if not isinstance(name, str) or not isinstance(title, str):
                raise TypeError("its name is not text")
            if isinstance(background, bool) or not isinstance(background, int | None):
                raise TypeError("its background is no number")
            names = tuple(str(entry["name"]) for entry in classes)
            colors = tuple(_color(entry["color"]) for entry in classes)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(
                f"A label set has a name, a title and classes with id, name and color ({error})."
            ) from error
        return cls(name, title, names, colors, background)


def _color(values: Iterable[Any]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def _repeated(values: Iterable[Any]) -> Any:
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


@cache
def voc_color(index: int) -> tuple[int, int, int]:
    """Colour ``index`` (0..255) of the PASCAL VOC devkit's colour map (VOClabelcolormap.m): bits dealt to R, G, B."""
    r = g = b = 0
    for bit in range(8):
        r |= (index >> (3 * bit) & 1) << (7 - bit)
        g |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        b |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return r, g, b


_VOC_CLASSES = (
    "background,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,dining table,dog,horse,motorbike,"
    "person,potted plant,sheep,sofa,train,tv/monitor"
)

VOC = LabelSet(
    "voc", "PASCAL VOC 2012", tuple(_VOC_CLASSES.split(",")), tuple(voc_color(i) for i in range(21))
)
# Oxford-IIIT Pet trimaps hold 1 foreground, 2 background, 3 border; class id = trimap value - 1.
PETS = LabelSet(
    "pets",
    "Oxford-IIIT Pet",
    ("pet", "background", "border"),
    ((230, 97, 0), (0, 0, 0), (26, 133, 255)),
    background=1,
)
LABEL_SETS = {label_set.name: label_set for label_set in (VOC, PETS)}
