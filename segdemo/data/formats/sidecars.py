"""SegDemo's own files in an archive: the label set, and a side-car for each annotation.

    labels.json     names, colours and ids of the classes
    meta/STEM.json  file names, size, label set and the annotation's own data

Both are known by what is in them: other tools have files of these names, too. An archive of another tool has
neither; then names and subsets come from its own files.
"""

from typing import TYPE_CHECKING, Any

from segdemo.core import names
from segdemo.core.labels import LabelSet
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.archives import to_json

if TYPE_CHECKING:
    from segdemo.data.formats.outgoing import Outgoing
    from segdemo.data.formats.reader import Reader

LABEL_SET = "labels.json"
FOLDER = "meta"
_KEYS = {"id", "label_set", "width", "height", "meta"}


def of_label_set(label_set: LabelSet) -> tuple[str, str]:
    """(name, text) of the file of the label set."""
    return LABEL_SET, to_json(label_set.to_json())


def of_photo(item: "Outgoing") -> tuple[str, str]:
    """(name, text) of the side-car of a photo. Raises ExchangeError if its ``meta`` is no plain data.

    ``original_file_name`` is there if the photo's file could not be called that.
    """
    height, width = item.label_map.shape
    original = {"original_file_name": item.original_name} if item.original_name else {}
    side = {"id": item.annotation.id, "file_name": item.file_name, **original}
    size = {"width": width, "height": height}
    try:
        text = to_json({**side, "label_set": item.label_set.name, **size, "meta": item.annotation.meta})
    except (TypeError, ValueError) as error:
        raise ExchangeError(f"The data of {side['id']} cannot be written as JSON: {error}.") from error
    return f"{FOLDER}/{item.stem}.json", text


def find_label_sets(reader: "Reader") -> dict[str, LabelSet]:
    """The label sets of the SegDemo exports in an archive: what their names begin with, to ``LabelSet``.

    Raises:
        ExchangeError: one is damaged, so that nobody knows any more what the class ids mean.
    """
    found = {}
    for name in reader.names:
        if names.base(name) != LABEL_SET:
            continue
        root = names.folder(name)
        try:
            found[root] = parse_label_set(reader.json(name))
        except (ExchangeError, ValueError) as error:
            if _has_sidecars(reader, root):
                raise ExchangeError(f"{name} does not describe a label set: {error}.") from error
    return found


def parse_label_set(data: Any) -> LabelSet:
    """The ``LabelSet`` that plain data describes, as ``LabelSet.to_json`` writes it. Raises ValueError."""
    try:
        label_set = LabelSet.from_json(data)
        if not isinstance(label_set.name, str) or not isinstance(label_set.title, str):
            raise ValueError("its name is not text")
        if sorted(entry["id"] for entry in data["classes"]) != list(range(len(label_set))):
            raise ValueError("its ids do not count from 0")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(error) from error
    return label_set


def _has_sidecars(reader, root):
    """Whether the first side-car that can be read is SegDemo's: another tool's ``labels.json`` has none beside it."""
    for name in reader.names:
        if names.folder(name) == f"{root}{FOLDER}/" and name.endswith(".json"):
            try:
                data = reader.json(name)
            except ExchangeError:
                continue
            return isinstance(data, dict) and data.keys() >= _KEYS
    return False


def read(reader: "Reader", root: str, stem: str) -> dict | None:
    """The ``meta`` of the annotation called ``stem`` in the export at ``root``, or None. Raises ExchangeError."""
    name = f"{root}{FOLDER}/{stem}.json"
    if name not in reader.source.sizes:
        return None
    data = reader.json(name)
    meta = data.get("meta") if isinstance(data, dict) else None
    if not isinstance(meta, dict):
        raise ExchangeError(f"its side-car {name} has no meta.")
    return meta
