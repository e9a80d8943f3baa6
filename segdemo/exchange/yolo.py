"""YOLO-seg: a text file for each photo, one polygon per line, and the class names in YAML.

    yolo/data.yaml              class names, and the folder of each subset
    yolo/images/SUBSET/STEM.jpg the photo
    yolo/labels/SUBSET/STEM.txt its outlines
    yolo/void/SUBSET/STEM.txt   outlines of void in the same format: YOLO has none, and trainers do not look here

Format: https://docs.ultralytics.com/datasets/segment/
"""

from pathlib import PurePosixPath

import numpy as np

from segdemo import masks
from segdemo.exchange.annotation import SUBSETS, ExchangeError
from segdemo.exchange.archives import add_file
from segdemo.exchange.reader import PHOTO_SUFFIXES
from segdemo.exchange.shapes import outlined_classes, paint, polygon
from segdemo.labels import VOID


def write_one(archive, item):
    """Put the photo of an ``Outgoing`` and its outlines into an open ``ZipFile``."""
    add_file(archive, f"yolo/images/{item.subset}/{item.file_name}", item.photo)
    add_file(
        archive, f"yolo/labels/{item.subset}/{item.stem}.txt", _lines(item, outlined_classes(item.label_set))
    )
    if void := _lines(item, [VOID]):
        add_file(archive, f"yolo/void/{item.subset}/{item.stem}.txt", void)


def write_settings(archive, label_set, subsets):
    """Put ``data.yaml`` into an open ``ZipFile``; ``subsets`` has the stems of each of ``SUBSETS``."""
    import yaml  # only where YOLO is written or read

    class Dumper(yaml.SafeDumper):
        """Text always in quotes: readers differ in which of yes, null, 1e3 or 0o7 they take for text."""

    Dumper.add_representer(
        _Name, lambda dumper, name: dumper.represent_scalar("tag:yaml.org,2002:str", name, '"')
    )

    data = {
        "train": "images/train",
        "val": "images/val" if subsets["val"] else "images/train",  # trainers insist on an entry
        **({"test": "images/test"} if subsets["test"] else {}),
        "names": {i: _Name(name) for i, name in enumerate(label_set.classes)},
    }
    text = yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    add_file(archive, "yolo/data.yaml", text)


class _Name(str):
    """A class name, which is text whatever it looks like."""


def _lines(item, class_ids):
    """Text of a label file: the outlines of some classes of one photo; void is numbered 0."""
    scale = np.array(item.label_map.shape[::-1], np.float64)
    lines = []
    for i in class_ids:
        for region in item.regions(i):
            numbers = " ".join(f"{v:.8g}" for v in (masks.keyhole(region) / scale).ravel())
            lines.append(f"{0 if i == VOID else i} {numbers}\n")
    return "".join(lines)


def find(reader):
    """Iterator of the ``Annotation``s of the YOLO labels in an archive, or None without. Raises ExchangeError."""
    labels = [n for n in reader.names if n.endswith(".txt") and "labels" in PurePosixPath(n).parts[:-1]]
    if not labels:
        return None
    names = _names(reader)
    if names is None:
        return None
    reader.named_label_set(list(names.values()), "Imported from YOLO")
    jobs = []
    for name in labels:
        photo = _sibling(reader, name, "images", PHOTO_SUFFIXES)
        void = _sibling(reader, name, "void", (".txt",))
        reader.use(name, *(n for n in (photo, void) if n))
        jobs.append((name, photo, void))
    return _read(reader, jobs, names)


def _names(reader):
    """{index: class name} of the first data.yaml, or None."""
    import yaml  # only where YOLO is written or read

    for name in sorted((n for n in reader.names if n.lower().endswith((".yaml", ".yml"))), key=len):
        try:
            names = yaml.safe_load(reader.text(name)).get("names")
            names = dict(enumerate(names)) if isinstance(names, list) else names
            names = {int(i): str(text).strip() for i, text in sorted(names.items())}
        except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError):
            continue
        reader.use(name)
        return names
    return None


def _sibling(reader, name, folder, suffixes):
    """The file that lies under ``folder`` as ``name`` lies under labels, or None."""
    parts = list(PurePosixPath(name).with_suffix("").parts)
    at = len(parts) - 1 - parts[::-1].index("labels")
    # The stem may itself be "labels"; the folder is the last such part before it.
    if at == len(parts) - 1:
        at = len(parts) - 2 - parts[-2::-1].index("labels")
    parts[at] = folder
    stem = "/".join(parts)
    names = (stem + suffix for base in suffixes for suffix in (base, base.upper()))
    return next((name for name in names if name in reader.source.sizes), None)


def _read(reader, jobs, names):
    for name, photo, void in jobs:
        path = PurePosixPath(name)
        if photo is None:
            reader.refused.append(f"{name}: it has no photo, add it to images.")
            continue

        def label_map(height, width, name=name, void=void):
            shapes = _shapes(reader, name, names, (width, height))
            if void:
                shapes += _shapes(reader, void, None, (width, height))
            return paint(reader.label_set, shapes, height, width)

        subset = path.parent.name if path.parent.name in SUBSETS else None
        if annotation := reader.annotation(path.stem, name, photo, subset, label_map):
            yield annotation


def _shapes(reader, file, names, scale):
    """Shapes of a label file; with ``names`` None all of them are void and the class column is not read."""
    class_ids = reader.class_ids()
    shapes = []
    for number, line in enumerate(reader.text(file).splitlines(), 1):
        what = f"line {number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise ExchangeError(f"{what} is not numbers.") from error
        if not values:
            continue
        index, *numbers = values
        if len(numbers) == 4:
            raise ExchangeError(f"{what} is a box, not an outline: only YOLO-seg labels can be imported.")
        if not all(-1e-3 <= v <= 1 + 1e-3 for v in numbers):
            raise ExchangeError(f"{what} has a coordinate outside 0..1.")
        value = VOID
        if names is not None:
            name = names.get(index)  # 3.0 finds 3
            if name is None:
                raise ExchangeError(f"{what} has the class {index:g}, which data.yaml does not name.")
            if name.lower() not in class_ids:
                raise ExchangeError(f"there is no class {name!r} in {reader.label_set.title}.")
            value = class_ids[name.lower()]
        shapes.append(polygon(what, value, numbers, scale))
    return shapes
