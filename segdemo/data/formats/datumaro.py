"""Datumaro: a JSON for each subset, ``annotations/train.json``, with polygons and run lengths, by their ``z_order``.

Format: https://openvinotoolkit.github.io/datumaro/latest/docs/data-formats/formats/datumaro.html
"""

from functools import partial
from typing import Any

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import ring
from segdemo.data.formats.values import check_size, run_lengths


def find(reader: Reader) -> Found | None:
    """The Datumaro documents of an archive, or None."""
    items, documents = [], reader.documents_like(is_datumaro)
    for name, data in documents.items():
        labels = _labels(data)
        reader.add_classes(name, filter(None, labels), f"the categories of {name}")
        for number, entry in enumerate(data["items"], 1):
            if isinstance(entry, dict) and isinstance(entry.get("id"), (str, int)):
                items.append(_item(reader, name, entry, labels))
            else:
                reader.account.leave_out(name, f"item number {number}", "has no id")
    return Found(items, "Imported from Datumaro") if documents else None


def is_datumaro(data: Any) -> bool:
    """Whether plain data is a Datumaro document."""
    categories = (
        data.get("categories") if isinstance(data, dict) and isinstance(data.get("items"), list) else None
    )
    return isinstance(categories, dict) and isinstance(categories.get("label", {}), dict)


def _labels(data):
    """Names by class number; "" where there is none."""
    entries = data["categories"].get("label", {}).get("labels")
    entries = entries if isinstance(entries, list) else []
    return [names.clean_class(e.get("name") or "") if isinstance(e, dict) else "" for e in entries]


def _item(reader, document, entry, labels):
    subset = reader.subset_of(document)
    media = next((entry[key] for key in ("image", "media") if isinstance(entry.get(key), dict)), {})
    path = media.get("path") if isinstance(media.get("path"), str) and media["path"] else str(entry["id"])
    photo, why = reader.photos.find(path, document, subset)
    if photo is None and "missing" in why:
        photo, why = reader.photos.find(str(entry["id"]), document, subset)
    annotations = entry.get("annotations")
    annotations = annotations if isinstance(annotations, list) else []

    def entries():
        return [(_what(a, number), a) for number, a in enumerate(annotations, 1)]

    def read(annotation, size):
        if not isinstance(annotation, dict):
            raise ExchangeError("is no annotation")
        label, layer = annotation.get("label_id"), annotation.get("z_order")
        if not isinstance(label, int) or not 0 <= label < len(labels) or not labels[label]:
            raise ExchangeError(f"has the label {label}, which the document does not have")
        form = _form(annotation, size)
        return reader.class_value(labels[label]), form, layer if isinstance(layer, (int, float)) else 0

    height, width = _stated(media.get("size"))
    check = partial(check_size, width, height)
    return reader.item_of_shapes(document, photo, why, entries, read, title=path, subset=subset, check=check)


def _stated(size):
    """(height, width) of a photo as its item says, None for what it does not."""
    return size if isinstance(size, list) and len(size) == 2 else (None, None)


def _what(annotation, number):
    kind = annotation.get("type") if isinstance(annotation, dict) else None
    return f"{kind or 'annotation'} {number}"


def _form(annotation, size):
    kind = annotation.get("type")
    if kind == "polygon":
        return ring(annotation.get("points"))
    if kind == "mask" and isinstance(annotation.get("rle"), dict):
        return run_lengths(annotation["rle"], size)
    raise ExchangeError(f"is a {kind}, not an outline or mask")
