"""YOLO-seg: a text file for each photo, one polygon a line, and the names of the classes in a file beside.

An export holds

    yolo/data.yaml              class names, and the folder of each subset
    yolo/images/SUBSET/STEM.jpg the photo
    yolo/labels/SUBSET/STEM.txt its outlines
    yolo/void/SUBSET/STEM.txt   outlines of void in the same format: YOLO has none, and trainers do not look here

Where others are read, names come from ``data.yaml`` (Ultralytics, Roboflow), ``classes.txt``, ``obj.names`` (CVAT) or
``notes.json`` (Label Studio), whichever lies nearest above the labels. These lie in a folder ``labels`` as their photos
lie in ``images``, or beside their photos. Subsets come from ``data.yaml``, lists of photos, or the folders.

Format: https://docs.ultralytics.com/datasets/segment/
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segdemo.core import names
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.shapes import keyhole
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.classes import parse_names
from segdemo.data.formats.format import File, Writer
from segdemo.data.formats.outgoing import Outgoing
from segdemo.data.formats.photos import some
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import Shape, outlined_classes, ring

_MOST_YAML_BYTES = 1_000_000  # it is read slowly, and names of classes are short
_SLACK = 1e-3  # outside of 0..1, for outlines that other tools rounded


class _Text(str):
    """A class name, which is text whatever it looks like."""


class YoloWriter(Writer):
    """Writes outlines in fractions of the photo, photos beside them, and ``data.yaml``."""

    folders = ("yolo",)

    def __init__(self, label_set: LabelSet):
        super().__init__(label_set)
        self._subsets: set[str] = set()

    def add(self, item: Outgoing) -> Iterable[File]:
        self._subsets.add(item.subset)
        yield f"yolo/images/{item.subset}/{item.file_name}", item.photo
        outlines = self._outlines(item, outlined_classes(self.label_set))
        yield f"yolo/labels/{item.subset}/{item.stem}.txt", outlines
        if void := self._outlines(item, [VOID]):
            yield f"yolo/void/{item.subset}/{item.stem}.txt", void

    def _outlines(self, item, class_ids):
        """Text of a label file: the outlines of some classes of one photo; void is numbered 0."""
        scale = np.array(item.label_map.shape[::-1], np.float64)
        lines = []
        for i in class_ids:
            for region in item.regions(i):
                numbers = " ".join(f"{v:.8g}" for v in (keyhole(region) / scale).ravel())
                lines.append(f"{0 if i == VOID else i} {numbers}\n")
        return "".join(lines)

    def finish(self) -> Iterable[File]:
        import yaml  # only where YOLO is written or read

        class Dumper(yaml.SafeDumper):
            """Text always in quotes: readers differ in which of yes, null, 1e3 or 0o7 they take for text."""

        tag = "tag:yaml.org,2002:str"
        Dumper.add_representer(_Text, lambda dumper, name: dumper.represent_scalar(tag, name, '"'))
        val = "images/val" if "val" in self._subsets else "images/train"  # trainers insist on an entry
        data: dict[str, Any] = {"train": "images/train", "val": val}
        if "test" in self._subsets:
            data["test"] = "images/test"
        data["names"] = {i: _Text(name) for i, name in enumerate(self.label_set.classes)}
        text = yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
        yield "yolo/data.yaml", text


@dataclass
class _Set:
    """A dataset in the archive: its folder, class names by index, and subsets of photos that its files tell."""

    root: str
    names: dict[int, str]
    source: str
    settings: dict = field(default_factory=dict)
    told: dict[str, set] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)  # photos in the folders and lists that the settings name

    def numbers_of_key_points(self) -> int | None:
        """How many numbers a line has behind its class where lines are boxes with key points, as YOLO-pose's are."""
        try:
            points, each = map(int, self.settings["kpt_shape"])
        except (KeyError, TypeError, ValueError):
            return None
        return 4 + points * each


def find(reader: Reader) -> Found | None:
    """The YOLO labels of an archive, or None. Raises ExchangeError: there are some, but nothing names their classes."""
    sets = _sets(reader)
    labels = _labels(reader, sets)
    if not labels:
        return None
    if not sets:
        if not any(_looks_like_labels(reader, name) for name in labels[:20]):
            return None
        raise ExchangeError(
            f"{reader.source.title} holds no annotations that can be read: nothing names the classes of its YOLO "
            "labels, so add a data.yaml, classes.txt or notes.json."
        )
    places = {name: _photo(reader, name) for name in labels}
    chosen = {name: _set_of(sets, name, photo) for name, (photo, _) in places.items()}
    for one in {id(s): s for s in chosen.values() if s is not None}.values():
        reader.use(one.source)
        reader.add_classes(one.source, [one.names[i] for i in sorted(one.names)], one.source)
        reader.note_merged(one.source, one.names.values())
        _read_subsets(reader, one)
    return Found(
        [_item(reader, name, places[name], chosen[name], sets) for name in labels], "Imported from YOLO"
    )


# --- names of the classes ---------------------------------------------------------------------------------


def _sets(reader):
    """The datasets by their folder, those that lie deepest first."""
    if reader.class_names is not None:
        found, _ = reader.class_names
        settings = next((data for name in reader.names if (data := _yaml(reader, name)) is not None), {})
        return [_Set("", dict(enumerate(found)), "the list that was given", settings)]
    by_folder = {}
    for name in reader.names:
        if (rank := _rank(name)) is not None:
            by_folder.setdefault(_root(name), []).append((rank, name))
    sets = []
    for root, files in by_folder.items():
        here = []
        for _, name in sorted(files):
            found, settings = _names(reader, name)
            if found is None:
                continue
            reader.use(name)
            one = _Set(root, found, name, settings)
            one.claimed = {p for place in _places(reader, one) for p in _photos_at(reader, place)}
            if not here or (one.claimed and not any(one.claimed & other.claimed for other in here)):
                here.append(one)  # the first, or one that says of which photos it speaks
            elif any(here[0].names[i] != found[i] for i in here[0].names.keys() & found.keys()):
                why = f"differs from {here[0].source}, whose names of classes are used"
                reader.account.leave_out(name, "the list of classes", why)
        sets += here
    return sorted(sets, key=lambda one: -len(one.root))


def _rank(name):
    file = names.key(names.base(name))
    if file.endswith((".yaml", ".yml")):
        return 0 if file.startswith(("data", "dataset")) else 1
    return {"classes.txt": 2, "notes.json": 4}.get(file, 3 if file.endswith(".names") else None)


def _root(name):
    """The folder a file of names speaks for; labelImg writes it into the folder of the labels."""
    folder = names.folder(name)
    return names.above(folder) if names.key(names.base(folder[:-1])) == "labels" else folder


def _names(reader, name):
    """({index: class name} or None, all settings) of a file that may name classes."""
    try:
        if _rank(name) < 2:
            settings = _yaml(reader, name)
            return _numbered((settings or {}).get("names")), settings or {}
        if names.key(name).endswith(".json"):
            data = reader.json(name)
            entries = data.get("categories") if isinstance(data, dict) and "images" not in data else None
            return _numbered({entry["id"]: entry["name"] for entry in entries or []} or None), {}
        return dict(enumerate(parse_names(reader.text(name))[0])), {}
    except (ExchangeError, KeyError, TypeError, ValueError):
        return None, {}


def _numbered(found):
    """Names as {index: name}, in the order of the indices; None if they are none."""
    found = dict(enumerate(found)) if isinstance(found, list) else found
    if not isinstance(found, dict) or not all(isinstance(v, (str, int, float)) for v in found.values()):
        return None
    found = {int(index): names.clean_class(name) for index, name in found.items()}
    return dict(sorted(found.items())) if found and all(found.values()) else None


def _yaml(reader, name):
    """The mapping in a YAML file, every plain value as text, or None.

    YAML 1.1 takes ``yes``, ``no``, ``on`` and ``off`` for booleans, and they are names of classes.
    """
    import yaml  # only where YOLO is read

    if not name.lower().endswith((".yaml", ".yml")) or reader.source.sizes[name] > _MOST_YAML_BYTES:
        return None

    class Texts(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012, PyYAML's own attribute

    try:
        data = yaml.load(reader.text(name), Loader=Texts)
    except (yaml.YAMLError, ExchangeError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _set_of(sets, name, photo):
    """The dataset of a label file: that which names its photo, else the nearest above it; None if several may be."""
    fitting = [one for one in sets if photo in one.claimed]
    if not fitting:
        above = [one for one in sets if name.startswith(one.root)]
        fitting = [one for one in above if one.root == above[0].root] or sets
    return fitting[0] if all(one.names == fitting[0].names for one in fitting) else None


# --- labels and photos ------------------------------------------------------------------------------------


def _labels(reader, sets):
    """Names of the label files: those below a folder ``labels``, and those beside photos if classes are named."""
    stems = {names.key(names.without_ending(name)) for name in reader.photos.files}
    naming = {one.source for one in sets}
    found = []
    for name in reader.names:
        if not name.lower().endswith(".txt") or name in naming or _rank(name) is not None:
            continue
        below = "labels" in map(names.key, name.split("/")[:-1])
        if below or (sets and names.key(names.without_ending(name)) in stems):
            found.append(name)
    return found


def _looks_like_labels(reader, name):
    try:
        lines = names.lines(reader.text(name))
        return bool(lines) and len([float(word) for word in lines[0].split()]) > 4
    except (ExchangeError, ValueError):
        return False


def _item(reader, name, place, one, sets):
    photo, why = place
    reader.use(name)
    if one is None:
        photo, why = (
            None,
            f"which of the lists of classes is its own is not clear: {some([s.source for s in sets])}",
        )
        one = _Set("", {}, "")
    told = one.told.get(photo)
    subset = reader.one_subset(told, photo, one.source) if told else reader.subset_of("", name)
    void = _moved(name, "void")  # SegDemo's outlines of void, which YOLO has no place for
    has_void = void in reader.source.sizes and reader.own_root(name) is not None

    def load(height, width):
        reader.text(name)  # damage is a reason for the photo as a whole
        lines = _lines(reader, name)
        shapes = _shapes(reader, name, lines, one, (width, height))
        if has_void:
            shapes += _shapes(reader, void, _lines(reader, void), None, (width, height))
        return reader.painted(shapes, "", height, width, bool(lines))

    def parts():
        return [(name, f"line {number}") for number, _ in _lines(reader, name)]

    return reader.item(name, photo, why, parts, load, called=name, subset=subset)


def _photo(reader, name):
    stem = names.without_ending(name)
    moved = _moved(stem, "images")
    places = [(names.base(wanted), names.folder(wanted)) for wanted in (moved, stem) if wanted]
    for place in [*places, (moved or stem, "", name)]:
        found, why = reader.photos.find_stem(*place)
        if found or "missing" not in why:
            return found, why
    return None, "it has no photo, add it to images"


def _moved(name, folder):
    """What a name is if its last folder ``labels`` is another; None without such a folder."""
    parts = name.split("/")
    at = next((i for i in range(len(parts) - 2, -1, -1) if names.key(parts[i]) == "labels"), None)
    return None if at is None else "/".join([*parts[:at], folder, *parts[at + 1 :]])


def _lines(reader, name):
    """(number, words) of the lines that are not empty."""
    try:
        text = reader.text(name)
    except ExchangeError:
        return []
    return [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _shapes(reader, file, lines, one, scale):
    """``Shape``s of a label file; without a dataset all are void and the class column is not read."""
    shapes = []
    for number, words in lines:
        what = f"line {number}"
        try:
            value, numbers = _outline(words)
            if one is not None and len(numbers) == one.numbers_of_key_points():
                raise ExchangeError(
                    "is a box with key points, not an outline: only YOLO-seg labels can be imported"
                )
            if one is None:
                value = VOID
            elif value not in one.names:  # 3.0 finds 3
                raise ExchangeError(f"has the class {value:g}, which {names.base(one.source)} does not name")
            else:
                value = reader.class_value(one.names[value])
            shapes.append(Shape(what, file, value, (ring(numbers, scale),)))
        except ExchangeError as error:
            reader.account.leave_out(file, what, str(error))
    return shapes


def _outline(words):
    """(class, coordinates) of a line. Raises ExchangeError."""
    with refusing("is not numbers"):
        index, *numbers = map(float, words)
    if len(numbers) == 4:
        raise ExchangeError("is a box, not an outline: only YOLO-seg labels can be imported")
    if len(numbers) > 6 and len(numbers) % 2:
        raise ExchangeError(
            "has an odd number of coordinates: if the last says how sure a model was, save it without"
        )
    if not all(-_SLACK <= v <= 1 + _SLACK for v in numbers):
        raise ExchangeError("has a coordinate outside 0..1")
    return index, numbers


# --- subsets ----------------------------------------------------------------------------------------------


def _read_subsets(reader, one):
    """What the settings, and lists of photos beside them, tell of subsets."""
    places = _places(reader, one)
    for name in reader.names:
        stem = names.stem(name)
        if names.folder(name) == one.root and name.lower().endswith(".txt") and names.subset(stem):
            places.setdefault(name, set()).add(names.subset(stem))
    for place, subsets in places.items():
        if len(subsets) != 1:  # trainers insist on a val, so some name one folder twice
            continue
        for photo in _photos_at(reader, place):
            one.told.setdefault(photo, set()).update(subsets)
    if one.told:
        lists = " and its lists" if any(p.endswith(".txt") for p in places) else ""
        reader.say_split(f"{one.source}{lists}")


def _places(reader, one):
    """{folder or list in the archive: the subsets it is named for} of the settings."""
    places = {}
    for word, value in one.settings.items():
        subset = names.subset(word) if isinstance(word, str) else None
        for path in value if isinstance(value, list) else [value]:
            if subset and isinstance(path, str) and (place := _place(reader, one, path)):
                places.setdefault(place, set()).add(subset)
    if not places and (place := _place(reader, one, "")):
        places[place] = set()
    return places


def _place(reader, one, path):
    """The folder, or list, in the archive that an entry of the settings means; None if there is none such.

    Paths are told from the folder of the settings, from one above it, or from wherever somebody else has the data.
    """
    prefix = one.settings.get("path") if isinstance(one.settings.get("path"), str) else ""
    parts = [p for p in names.tidy(f"{prefix}/{path}").split("/") if p not in ("", "..")]
    for start in range(len(parts)):
        above = one.root
        while True:
            place = above + "/".join(parts[start:])
            if place.lower().endswith(".txt") and place in reader.source.sizes:
                return place
            if any(names.key(name).startswith(names.key(place) + "/") for name in reader.photos.files):
                return f"{place}/"
            if not above:
                break
            above = names.above(above)
    return None


def _photos_at(reader, place):
    """The photos of a folder, or those that a list names."""
    if place.endswith("/"):
        return [name for name in reader.photos.files if names.key(name).startswith(names.key(place))]
    found = (reader.photos.find(line, place)[0] for line in reader.lines(place))
    return [photo for photo in found if photo]
