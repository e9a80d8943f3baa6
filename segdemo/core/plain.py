"""Plain data from files that somebody may have damaged, or written with a will: what does not fit is left out."""

import math
from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)
Kinds = Mapping[str, type | tuple[type, ...]]


def fits(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a value is of a kind; True and False are no numbers, and neither are NaN and the infinities."""
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, kind)


def fitting(data: Any, kinds: Kinds) -> dict[str, Any]:
    """A dictionary less those of ``kinds`` that are of another kind; {} for what is no dictionary. Others stay."""
    if not isinstance(data, dict):
        return {}
    return {key: value for key, value in data.items() if key not in kinds or fits(value, kinds[key])}


def require(data: Any, kinds: Kinds) -> None:
    """Raise ValueError if data is no dictionary, or one of ``kinds`` is missing or of another kind."""
    if not isinstance(data, dict):
        raise ValueError("it is not an object")
    for key, kind in kinds.items():
        if key not in data or not fits(data[key], kind):
            raise ValueError(f"{key!r} is missing or not what it should be")
