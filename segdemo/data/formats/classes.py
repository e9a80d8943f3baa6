"""The classes of an archive, from all of its files that name some, as one label set."""

import csv
import json
import re
from collections.abc import Iterable
from typing import Any

from segdemo.core import names
from segdemo.core.labels import MAX_CLASSES, VOID, VOID_COLOR, LabelSet, voc_color
from segdemo.data.formats.annotation import ExchangeError, refusing

Colors = dict[str, tuple[int, int, int]]  # RGB, 0..255, by ``names.key`` of the name of a class
ClassNames = tuple[list[str], Colors]
_IGNORED = {"__ignore__", "ignore", "ignored", "void", "unlabeled", "unlabelled"}
_COLOURED = re.compile(r"(.*)[:\s]\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(?::.*)?")
_COMMENT = re.compile(r"#(?:\s.*|#.*|label:.*)?")  # "#1 pipe" is the name of a class
_COLOUR_FIRST = re.compile(r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*)")
_NUMBERED = re.compile(r"(\d{1,3})\s*[:,;\s]\s*(\S.*)")


class Classes:
    """What is known of the classes while formats are found, and the label set that comes of it.

    Args:
        target: the ``LabelSet`` to read into, or None to make one.
    """

    label_set: LabelSet  # once it is settled

    def __init__(self, target: LabelSet | None = None):
        self.target = target
        self.missing: list[str] = []  # classes of the archive that the target does not have
        self.fits = True  # whether it has any of them, the background aside
        self._sets: list[LabelSet] = []
        self._names: dict[
            str, tuple[str, tuple[int, int, int] | None]
        ] = {}  # by their key, with their colours
        self._sources: dict[str, None] = {}

    def add(self, found: Iterable[str], source: str, colors: dict | None = None) -> None:
        """Names of classes, in order, and where they are from; ``colors`` maps some of them to RGB triples."""
        for name in map(names.clean_class, found):
            self._names.setdefault(names.key(name), (name, (colors or {}).get(name)))
        self._sources[source] = None

    def take(self, label_set: LabelSet, source: str) -> None:
        """A whole label set, and where it is from."""
        if label_set not in self._sets:
            self._sets.append(label_set)
        self._sources[source] = None

    @property
    def source(self) -> str:
        """How the classes were found, as a phrase."""
        return "; ".join(self._sources)

    def settle(self, title: str) -> None:
        """Make the label set, once everything is found. Raises ExchangeError: names that no classes can have."""
        everything = [name for found in self._sets for name in found.classes]
        everything += [name for name, _ in self._names.values()]
        if self.target is not None:
            self.label_set = self.target
            grounds = {s.classes[s.background] for s in self._sets if s.background is not None}
            things = [n for n in dict.fromkeys(everything) if n not in grounds and not names.is_background(n)]
            self.missing = [n for n in things if names.class_id(n, self.target.classes) is None]
            self.fits = not things or len(self.missing) < len(things)
            return
        if len(self._sets) == 1 and not self._names:
            self.label_set = self._sets[0]
            return
        colors = {names.key(n): c for s in self._sets for n, c in zip(s.classes, s.colors, strict=True)}
        colors |= {folded: color for folded, (_, color) in self._names.items() if color is not None}
        merged: dict[str, str] = {}
        for name in everything:
            merged.setdefault(names.key(name), name)
        background = next((s.classes[s.background] for s in self._sets if s.background is not None), None)
        self.label_set = make_label_set(list(merged.values()), title, colors, background)

    def id_of(self, name: str) -> int | None:
        """Class id of a name in the label set, or None. The background by any of its names is the background."""
        found = names.class_id(name, self.label_set.classes)
        if found is None and names.is_background(name):
            return self.label_set.background
        return found


def make_label_set(
    classes: Iterable[str],
    title: str,
    colors: Colors | None = None,
    background: str | None = None,
    add_background: bool = True,
) -> LabelSet:
    """A label set of names.

    Args:
        classes: names, in order.
        title: of the label set.
        colors: RGB triples by ``names.key`` of a name; where there is none, or it cannot be used, VOC's.
        background: the one of them that is the background; None takes one that is called so.
        add_background: whether to begin with a background if there is none.

    Raises:
        ExchangeError: they cannot be names of classes.
    """
    classes = list(classes)
    if background is None:
        background = next((other for other in classes if names.is_background(other)), None)
    if background is None and add_background:
        classes.insert(0, "background")
        background = "background"
    if len(classes) > MAX_CLASSES:
        raise ExchangeError(
            f"Its class names cannot be used: there are {len(classes)}, and a label map holds {MAX_CLASSES} at most."
        )
    taken, chosen = {VOID_COLOR}, []
    wanted = [(colors or {}).get(names.key(other)) for other in classes]
    reserved = {color for color in wanted if color is not None}
    for number, color in enumerate(wanted):
        if color is None or color in taken:
            spare = (voc_color((number + i) % 255) for i in range(255))
            color = next(c for c in spare if c not in taken and c not in reserved)
        taken.add(color)
        chosen.append(color)
    place = classes.index(background) if background is not None else None
    try:
        return LabelSet("imported", title, tuple(classes), tuple(chosen), place)
    except ValueError as error:
        raise ExchangeError(f"Its class names cannot be used: {error}") from error


def parse_names(text: str) -> ClassNames:
    """Names of classes, in the order of their ids, from a list with one a line.

    Lines may be names, ``name:r,g,b:parts:actions`` as in CVAT's ``labelmap.txt``, ``r g b name`` as in CamVid's
    ``label_colors.txt``, or a number and a name. A class to be ignored, such as labelme's ``__ignore__`` or one in the
    colour of void, is left out.

    Returns:
        (names, colours): the colours by ``names.key`` of the name, RGB in 0..255, as far as there are any.

    Raises:
        ExchangeError: no name in it, or one twice.
    """
    lines = [line for line in names.lines(text) if _COLOURED.fullmatch(line) or not _COMMENT.fullmatch(line)]
    if lines and all(map(_COLOUR_FIRST.fullmatch, lines)):
        lines = [_COLOUR_FIRST.sub(r"\4:\1,\2,\3", line) for line in lines]
    numbered = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    ids = [int(match[1]) for match in numbered]
    first = ids[0] if ids else None
    if first in (0, 1) and ids == list(range(first, first + len(lines))):
        lines = [match[2] for match in numbered]
        if first == 1 and not any(map(names.is_background, lines)):
            lines.insert(0, "background")
    found: list[str] = []
    colors: Colors = {}
    for line in lines:
        match = _COLOURED.fullmatch(line)
        color = (int(match[2]), int(match[3]), int(match[4])) if match else None
        name = names.clean_class(re.sub(r"\s*:+$", "", match[1] if match else line))
        if name.casefold() == "__ignore__" or (color == VOID_COLOR and name.casefold() in _IGNORED):
            continue
        if color is not None and max(color) <= 255:
            colors[names.key(name)] = color
        found.append(name)
    repeated = next((n for i, n in enumerate(found) if names.key(n) in map(names.key, found[:i])), None)
    if not found or "" in found or repeated:
        raise ExchangeError(f"names the class {repeated!r} twice" if repeated else "names no class")
    return found, colors


def parse_document(text: str) -> ClassNames:
    """Names of classes from the ``dataset.json`` of nnU-Net, {"labels": {name: id}}, or MONAI, {"labels": {id: name}}.

    Where nnU-Net has regions, {"labels": {"tumor": [1, 2], "core": 2}}, an id is called like the smallest of those
    that it is in and that is not called like another id already.

    Raises:
        ExchangeError: it names none.
    """
    with refusing("names no class", AttributeError, KeyError, TypeError, ValueError, RecursionError):
        pairs = json.loads(text)["labels"].items()
        if any(isinstance(ids, list) for _, ids in pairs):
            pairs = _of_regions({name: ids if isinstance(ids, list) else [ids] for name, ids in pairs})
        found = {int(k): str(v) for k, v in pairs if str(k).isdecimal()} or {int(v): k for k, v in pairs}
        if not all(0 <= id_ < VOID for id_ in found):
            raise ValueError
    return _in_order({id_: names.clean_class(name) for id_, name in found.items()}), {}


def _of_regions(regions: dict[str, list[int]]) -> list[tuple[str, int]]:
    named: dict[int, str] = {}
    for name in sorted(regions, key=lambda name: len(regions[name])):
        if free := [id_ for id_ in regions[name] if id_ not in named]:
            named[min(free)] = name
    return [(name, id_) for id_, name in named.items()]


def parse_table(text: str) -> ClassNames:
    """Names of classes from a table: ``class_dict.csv`` (name,r,g,b), ``_classes.csv`` of Roboflow (value, class).

    Columns are known by their titles. Without a column of ids the order counts; ids that no line names are called
    ``unnamed 3``, and 0 the background, as in ADE20K's ``objectInfo150.txt``, whose columns have tabs between.

    Returns:
        (names, colours) as ``parse_names``; a text without such titles is read by that.

    Raises:
        ExchangeError: as ``parse_names``, or a line that does not fit the titles.
    """
    lines = names.lines(text)
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    titles = [names.key(cell) for cell in rows[0]] if rows else []

    def column(*called):
        return next((titles.index(title) for title in called if title in titles), None)

    name = column("name", "class name", "class_name", "classname", "class", "label", "category")
    if name is None or len(rows) < 2:
        return parse_names(text)
    id_ = column(
        "pixel value", "id", "idx", "value", "index", "class_id", "label_id", "class id", "pixel_value"
    )
    rgb: list[Any] = [column(*called) for called in (("r", "red"), ("g", "green"), ("b", "blue"))]
    found: dict[int, str] = {}
    colors: Colors = {}
    with refusing("has a line that does not fit its titles", IndexError, ValueError):
        for number, row in enumerate(rows[1:]):
            clean, place = names.clean_class(row[name]), number if id_ is None else int(row[id_])
            if not clean or place in found or not 0 <= place < VOID:
                raise ExchangeError(f"names no class, or an id that is repeated or not one of 0..{VOID - 1}")
            color = None if None in rgb else (int(row[rgb[0]]), int(row[rgb[1]]), int(row[rgb[2]]))
            if color == VOID_COLOR and names.key(clean) in _IGNORED:
                continue
            if color is not None and all(0 <= value <= 255 for value in color):
                colors[names.key(clean)] = color
            found[place] = clean
    return _in_order(found), colors


def _in_order(found: dict[int, str]) -> list[str]:
    """Names by their ids, 0 and on. Raises ExchangeError."""
    if found and 0 not in found and not any(map(names.is_background, found.values())):
        found[0] = "background"
    every = [found.get(i, f"unnamed {i}") for i in range(max(found, default=-1) + 1)]
    if not every or len({*map(names.key, every)}) < len(every):
        raise ExchangeError("names a class twice" if every else "names no class")
    return every
