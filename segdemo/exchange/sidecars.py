"""SegDemo's own files in an archive: the label set, and a side-car for each annotation.

    labels.json     names, colours and ids of the classes
    meta/STEM.json  file names, size, label set and the annotation's own data

An archive of another tool has neither: then names and subsets come from its own files.
"""

from segdemo.exchange.annotation import ExchangeError
from segdemo.exchange.archives import add_file, to_json
from segdemo.labels import LabelSet

LABEL_SET = "labels.json"
FOLDER = "meta"


def write_label_set(archive, label_set):
    """Put the label set into an open ``ZipFile``."""
    add_file(archive, LABEL_SET, to_json(label_set.to_json()))


def write_one(archive, item):
    """Put the side-car of an ``Outgoing`` into an open ``ZipFile``. Raises ExchangeError if it is no plain data.

    ``original_file_name`` is there if the photo's file could not be called that.
    """
    annotation = item.annotation
    height, width = annotation.label_map.shape
    original = {"original_file_name": item.original_name} if item.original_name else {}
    try:
        text = to_json(
            {
                "id": annotation.id,
                "file_name": item.file_name,
                **original,
                "label_set": annotation.label_set.name,
                "width": width,
                "height": height,
                "meta": annotation.meta,
            }
        )
    except (TypeError, ValueError) as error:
        raise ExchangeError(f"The data of {annotation.id} cannot be written as JSON: {error}.") from error
    add_file(archive, f"{FOLDER}/{item.stem}.json", text)


def read_label_set(reader, name):
    """The ``LabelSet`` in the file ``name``. Raises ExchangeError if it does not describe one."""
    try:
        data = reader.json(name)
        label_set = LabelSet.from_json(data)
        if not isinstance(label_set.name, str) or not isinstance(label_set.title, str):
            raise ValueError("its name is not text")
        if sorted(entry["id"] for entry in data["classes"]) != list(range(len(label_set))):
            raise ValueError("its ids do not count from 0")
        return label_set
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExchangeError(f"{name} does not describe a label set: {error}.") from error


def read(reader, stem):
    """The ``meta`` of the annotation called ``stem``, or None without a side-car. Raises ExchangeError."""
    name = f"{reader.root}{FOLDER}/{stem}.json"
    if name not in reader.source.sizes:
        return None
    data = reader.json(name)
    meta = data.get("meta") if isinstance(data, dict) else None
    if not isinstance(meta, dict):
        raise ExchangeError(f"its side-car {name} has no meta.")
    return meta
