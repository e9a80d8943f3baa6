"""How photos are divided into subsets, so that the same photos always give the same division."""

import hashlib
import random
from collections.abc import Callable, Iterable

SPLIT_SEED = 42  # shuffles VOC's val list and the Pets photos before they are divided


def stratified(
    ids: Iterable[str], part: float, stratum: Callable[[str], str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cut a part out of ``ids`` in which every stratum has its share; the same ids give the same part.

    Every stratum large enough to give at least one (n * part >= 1) is shuffled by ``random.Random(SPLIT_SEED)``
    and gives its first ``round(n * part)``; the smaller ones are pooled and divided in the same way.

    Args:
        ids: names, in any order.
        part: the share to cut out, in 0..1.
        stratum: function from an id to the stratum it belongs to.

    Returns:
        ``(rest, part)``, two sorted tuples.
    """
    ids = list(ids)
    groups: dict[str, list[str]] = {}
    for id_ in sorted(ids):
        groups.setdefault(stratum(id_), []).append(id_)
    large = [group for _, group in sorted(groups.items()) if len(group) * part >= 1]
    pooled = [id_ for _, group in sorted(groups.items()) if len(group) * part < 1 for id_ in group]
    cut = set()
    for group in [*large, pooled]:
        random.Random(SPLIT_SEED).shuffle(group)
        cut.update(group[: round(len(group) * part)])
    return tuple(id_ for id_ in sorted(ids) if id_ not in cut), tuple(sorted(cut))


def place(id_: str) -> float:
    """Where a photo stands between 0 and 1, by a hash of its name: it stays there while others come and go."""
    return int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big") / 2**64


def subset_of(id_: str) -> str:
    """The subset a photo falls into that no list names: 70 to 15 to 15 of a hundred."""
    at = place(id_)
    return "train" if at < 0.7 else "val" if at < 0.85 else "test"
