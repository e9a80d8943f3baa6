"""Datumaro: a JSON for each subset, ``annotations/train.json``, with polygons and run lengths, by their ``z_order``.

Format: https://openvinotoolkit.github.io/datumaro/latest/docs/data-formats/formats/datumaro.html
"""

from functools import partial

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.shapes import Shape, ring


def find(reader):
    """The Datumaro documents of an archive, or None."""
    documents = {name: data for name, data in reader.documents.items() if is_datumaro(data)}
    if not documents:
        return None
    items = []
    for name, data in documents.items():
        reader.use(name)
        labels = _labels(data)
        reader.add_classes(name, [label for label in labels if label], f"the categories of {name}")
        for number, entry in enumerate(data["items"], 1):
            if isinstance(entry, dict) and isinstance(entry.get("id"), (str, int)):
                items.append(_item(reader, name, entry, labels))
            else:
                reader.account.leave_out(name, f"item number {number}", "has no id")
    return Found(items, "Imported from Datumaro")


def is_datumaro(data):
    """Whether plain data is a Datumaro document."""
    return (
        isinstance(data, dict)
        and isinstance(data.get("items"), list)
        and isinstance(data.get("categories"), dict)
        and isinstance(data["categories"].get("label", {}), dict)
    )


def _labels(data):
    """Names by class number; "" where there is none."""
    entries = data["categories"].get("label", {}).get("labels")
    entries = entries if isinstance(entries, list) else []
    return [
        names.clean_class(entry.get("name") or "") if isinstance(entry, dict) else "" for entry in entries
    ]


def _item(reader, document, entry, labels):
    subset = reader.subset_of(document)
    media = next((entry[key] for key in ("image", "media") if isinstance(entry.get(key), dict)), {})
    path = media.get("path") if isinstance(media.get("path"), str) and media["path"] else str(entry["id"])
    photo, why = reader.photos.find(path, document, subset)
    if photo is None and "missing" in why:
        photo, why = reader.photos.find(str(entry["id"]), document, subset)
    if photo:
        reader.use(photo)
    annotations = entry.get("annotations")
    annotations = annotations if isinstance(annotations, list) else []
    return Item(
        stem=names.base(names.without_ending(photo or names.tidy(path))),
        where=document,
        photo=photo,
        parts=lambda: [(document, _what(a, number)) for number, a in enumerate(annotations, 1)],
        load=partial(_load, reader, document, path, annotations, labels),
        subset=subset or (reader.subset_of("", photo) if photo else None),
        title=path,
        why_not="" if photo else why,
    )


def _what(annotation, number):
    kind = annotation.get("type") if isinstance(annotation, dict) else None
    return f"{kind or 'annotation'} {number}"


def _load(reader, document, title, annotations, labels, height, width):
    layered = []
    for number, annotation in enumerate(annotations, 1):
        what = _what(annotation, number)
        try:
            if not isinstance(annotation, dict):
                raise ExchangeError("is no annotation")
            label = annotation.get("label_id")
            if not isinstance(label, int) or not 0 <= label < len(labels) or not labels[label]:
                raise ExchangeError(f"has the label {label}, which the document does not have")
            form = _form(annotation, height, width)
            layer = annotation.get("z_order")
            shape = Shape(what, document, reader.class_value(labels[label]), (form,))
            layered.append((layer if isinstance(layer, (int, float)) else 0, shape))
        except ExchangeError as error:
            reader.account.leave_out(document, what, str(error), title)
    shapes = [shape for _, shape in sorted(layered, key=lambda entry: entry[0])]
    label_map, parts = reader.painted(shapes, title, height, width, smallest_on_top=False)
    if annotations and not parts:
        return None, []  # all background would be a label that nobody gave
    return label_map, parts


def _form(annotation, height, width):
    kind = annotation.get("type")
    if kind == "polygon":
        return ring(annotation.get("points"))
    if kind == "mask" and isinstance(annotation.get("rle"), dict):
        rle = annotation["rle"]
        if rle.get("size") != [height, width]:
            raise ExchangeError(
                f"has a mask of {rle.get('size')}, its photo {[height, width]} (height, width)"
            )
        if not isinstance(rle.get("counts"), (list, str)):
            raise ExchangeError("has a mask without run lengths")
        return {"size": [height, width], "counts": rle["counts"]}
    raise ExchangeError(f"is a {kind}, not an outline or mask")
