"""Label Studio: JSON and JSON-MIN, a list of tasks with regions in percent of the photo, later ones on top.

Brush strokes, bitmasks, polygons, rectangles and ellipses cover pixels and are painted; key points, choices, texts and
others are named and left out. Of several annotations of a task the one marked as ground truth is read, else the newest;
the others, and predictions, are named. A task that nobody has annotated is a photo without a mask. One with several
photos becomes as many, as far as it tells which region is on which.

Format: https://labelstud.io/guide/export and https://labelstud.io/guide/task_format; brush strokes are packed as by
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError, refusing
from segdemo.data.formats.reader import Found, Reader
from segdemo.data.formats.shapes import Patch, box, ellipse, ring
from segdemo.data.formats.values import data_url_mask

_KINDS = ("brush", "bitmask", "polygon", "rectangle", "ellipse")
_UPLOADED = re.compile(r".*upload/(?:.*/)?[0-9a-f]{8}-([^/]+)")
_PHOTO_KEYS = ("image", "img", "photo", "picture", "url")  # of a task's data, the likeliest first
_ALPHA = 4  # brush strokes are packed as RGBA; the last byte of each pixel says whether it is covered


@dataclass
class _Task:
    """A task, or what of it is on one of its photos: what to call it, names the photo may have, regions to read, (what,
    why) of those not to, and whether somebody has annotated it."""

    what: str
    wanted: list
    regions: list
    others: list
    annotated: bool = True


def find(reader: Reader) -> Found | None:
    """The Label Studio exports of an archive, or None."""
    items, labels, documents = [], [], reader.documents_like(is_label_studio)
    for name, data in documents.items():
        tasks = [task for number, entry in enumerate(data, 1) for task in _tasks(entry, number)]
        labels += [label for task in tasks for _, region in task.regions for label in _labels(region)]
        items += [_item(reader, name, task) for task in tasks]
    if not documents:
        return None
    source = f"the labels of {' and '.join(documents)}"
    reader.add_classes(next(iter(documents)), sorted(dict.fromkeys(labels), key=names.key), source)
    return Found(items, "Imported from Label Studio")


def is_label_studio(data: Any) -> bool:
    """Whether plain data is a list of Label Studio's tasks."""
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        return False
    full = [e for e in data if isinstance(e.get("data"), dict) and isinstance(e.get("annotations"), list)]
    return bool(full) or any(_minimal(entry) for entry in data)


def _minimal(entry):
    """The regions of a task in JSON-MIN, which keeps them as lists beside its data."""
    listed = [region for value in entry.values() if isinstance(value, list) for region in value]
    return [region for region in listed if isinstance(region, dict) and "original_width" in region]


def _tasks(entry, number):
    """The task of an entry, or one for each of its photos."""
    what = f"task {entry.get('id', f'number {number}')}"
    if not isinstance(entry.get("data"), dict):
        regions = [(f"region {i}", {**r, "value": r}) for i, r in enumerate(_minimal(entry), 1)]
        return [_Task(what, _photo_names(entry), regions, [])]
    live, others = [], []
    listed = entry.get("annotations")
    for annotation in listed if isinstance(listed, list) else []:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            others.append(("annotation", "has no result"))
        elif annotation.get("was_cancelled"):
            others += _named(annotation, "was cancelled by whoever made it")
        else:
            live.append(annotation)
    live.sort(key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""))
    live.sort(key=lambda a: bool(a.get("ground_truth")))
    for annotation in live[:-1]:
        others += _named(annotation, "is of another annotation of the same task: the newest one is read")
    if not live:
        why = "is predicted and not annotated: submit it in Label Studio first"
        for prediction in entry.get("predictions") or []:
            if isinstance(prediction, dict) and isinstance(prediction.get("result"), list):
                others += _named(prediction, why)
    regions = _regions(live[-1]) if live else []
    parts = _by_photo(entry["data"], regions)
    if parts is None:
        keys = [key for _, region in regions for key in _keys_of(region)]
        wanted = _photo_names({**entry, **entry["data"]}, keys)
        return [_Task(what, wanted, regions, others, bool(live))]
    told, unclear = parts
    tasks = [_Task(what, wanted, mine, [], bool(mine)) for wanted, mine in told]
    tasks[0].others += others + unclear
    return tasks


def _keys_of(region):
    """What a region says of the photo it is on: keys of the task's data, if it is known by them."""
    source = region.get("source")
    found = [source.removeprefix("$")] if isinstance(source, str) else []
    return found + [to for to in [region.get("to_name")] if isinstance(to, str)]


def _by_photo(values, regions):
    """([(names of a photo, its regions)], (what, why) of regions that may be on any), of a task with several photos."""
    lists = [
        v for v in values.values() if isinstance(v, list) and v and all(_photo_names({"": one}) for one in v)
    ]
    keys = {key: _photo_names({key: v}) for key, v in values.items() if isinstance(v, str)}
    keys = {key: found for key, found in keys.items() if found}
    targets = {str(region.get("to_name")) for _, region in regions}
    if len(lists) == 1 and not keys:
        pages = lists[0]
        told = [(_photo_names({"": page}), []) for page in pages]
        for what, region in regions:
            at = region.get("item_index", 0)
            told[at if isinstance(at, int) and 0 <= at < len(pages) else 0][1].append((what, region))
        return told, []
    if len(keys) < 2 or len(targets) < 2:
        return None
    told, unclear = {key: (found, []) for key, found in keys.items()}, []
    for what, region in regions:
        key = next((key for key in _keys_of(region) if key in told), None)
        if key is None:
            why = f"is on {region.get('to_name')!r}, and nothing tells which of the task's photos that is"
            unclear.append((what, why))
        else:
            told[key][1].append((what, region))
    return list(told.values()), unclear


def _named(annotation, why):
    return [(what, why) for what, _ in _regions(annotation)]


def _regions(annotation):
    """(what, region) of an annotation; labels given apart from their region, by its id, are put into it."""
    regions, labels = {}, {}
    for number, region in enumerate(annotation["result"], 1):
        if not isinstance(region, dict) or not isinstance(region.get("value"), dict):
            regions[number] = {"type": "entry that is no region", "value": {}}
            continue
        id_ = region["id"] if isinstance(region.get("id"), (str, int)) and region["id"] != "" else number
        labels.setdefault(id_, []).extend(_labels(region))
        if id_ not in regions or _kind(regions[id_], regions[id_]["value"]) not in _KINDS:
            regions[id_] = region
    unique = {id_: list(dict.fromkeys(labels.get(id_, []))) for id_ in regions}
    return [(f"region {id_}", {**region, "labels": unique[id_]}) for id_, region in regions.items()]


def _labels(region):
    """The labels of a region, whichever tool they were given with."""
    value = region.get("value")
    found = list(region.get("labels") or []) if isinstance(region.get("labels"), list) else []
    for key, listed in (value if isinstance(value, dict) else {}).items():
        if isinstance(key, str) and key.endswith("labels") and isinstance(listed, list):
            found += [names.clean_class(label) for label in listed if isinstance(label, (str, int, float))]
    return list(dict.fromkeys(label for label in found if label))


def _photo_names(values, keys=()):
    """Names that a task's photo may have in an archive, the likeliest first; ``keys`` come before others."""
    found = []
    order = [*keys, *_PHOTO_KEYS, *values]
    for key in dict.fromkeys(key for key in order if key in values):
        value = values[key]
        if not isinstance(value, str):
            continue
        parts = urlsplit(value) if "?" in value or "://" in value else None
        if parts:
            value = (parse_qs(parts.query).get("d") or [parts.path])[0]
        for form in (value, unquote(value)):
            if names.is_photo(names.tidy(form)) and form not in found:
                found.append(form)
        if found and key in (*keys, *_PHOTO_KEYS):
            break  # what else there is, such as a small picture, is not what was labelled
    return found


def _without_mark(name):
    """A name without the mark of its upload, which may look like a date where Label Studio has made it."""
    match = _UPLOADED.fullmatch(names.tidy(name))
    return match[1] if match else names.without_upload_mark(name)


def _item(reader, document, task):
    photo, why = None, "names no photo"
    subset = reader.subset_of(document)
    for wanted in dict.fromkeys([*task.wanted, *map(_without_mark, task.wanted)]):
        photo, why = reader.photos.find(wanted, document, subset)
        if photo or "missing" not in why:
            break
    title = task.wanted[0] if task.wanted else task.what
    for what, reason in task.others:
        reader.account.leave_out(document, what, reason, title)

    def full_name(what, region):
        labels = _labels(region)
        return f"{what} ({labels[0]})" if labels else what

    def read(region, size):
        labels = _labels(region)
        if len(labels) != 1:
            raise ExchangeError(f"has several labels: {', '.join(labels)}" if labels else "has no label")
        form = _form(region, *size, reader.limits.max_pixels)
        return reader.class_value(labels[0]), form

    # A photo of which annotations are left out is not taken for one without anything on it.
    annotated = bool(task.others) or not task.annotated
    options = {"full_name": full_name, "annotated": annotated, "title": title, "subset": subset}
    return reader.item_of_shapes(document, photo, why, lambda: task.regions, read, **options)


def _form(region, height, width, max_pixels):
    value = region["value"]
    if region.get("image_rotation"):
        raise ExchangeError("was drawn on the photo turned, which cannot be read")
    stated = region.get("original_height"), region.get("original_width")
    kind = _kind(region, value)
    if kind == "brush":
        return Patch(0, 0, _brush(value, stated, height, width))
    if kind == "bitmask":
        return Patch(0, 0, _bitmask(value, height, width, max_pixels))
    with refusing(f"has no {kind} that can be read"):
        if None not in stated and abs(float(stated[1]) * height - float(stated[0]) * width) > height + width:
            raise ExchangeError(_of_another_size(stated, height, width))

        def part(name, of):
            return float(value[name]) * of / 100

        degrees = float(value.get("rotation") or 0)
        if kind == "polygon":
            return ring(value["points"], (width / 100, height / 100))
        if kind == "rectangle":
            left, top = part("x", width), part("y", height)
            right, bottom = left + part("width", width), top + part("height", height)
            return box(left, top, right, bottom, degrees, (left, top))
        if kind == "ellipse":
            radii = part("radiusX", width), part("radiusY", height)
            return ellipse(part("x", width), part("y", height), *radii, degrees)
    raise ExchangeError(f"is a {kind}, which covers no pixels that can be read")


def _of_another_size(stated, height, width):
    return f"is drawn on {stated[1]}x{stated[0]} pixels, but the photo measures {width}x{height}"


def _kind(region, value):
    """What a region is, by its type, or by what it has where the type is missing or ``labels``."""
    kind = str(region.get("type") or "").removesuffix("labels")
    if kind in _KINDS:
        return kind
    marks = {
        "rle": "brush",
        "imageDataURL": "bitmask",
        "points": "polygon",
        "radiusX": "ellipse",
        "width": "rectangle",
    }
    if kind in ("", "label", "magicwand") and (mark := next((key for key in marks if key in value), None)):
        return marks[mark]
    return kind or "region of an unknown kind"


def _brush(value, stated, height, width):
    """A brush stroke: bool (height, width). Raises ExchangeError."""
    with refusing("has a brush stroke that cannot be read"):
        if [int(side) for side in stated] != [height, width]:
            raise ExchangeError(_of_another_size(stated, height, width))
        data = np.array(value.get("rle"), np.int64)
        if data.ndim != 1 or (data < 0).any() or (data > 255).any():
            raise ValueError
        values = unpack(data.astype(np.uint8).tobytes(), _ALPHA * height * width)
    return values.reshape(height, width, _ALPHA)[..., -1] > 0


def _bitmask(value, height, width, max_pixels):
    """A bitmask, a PNG in a data URL, opaque where it covers: bool (height, width). Raises ExchangeError."""
    packed = value.get("imageDataURL")
    inside = data_url_mask(packed, max_pixels)
    if inside.shape != (height, width):
        raise ExchangeError(_of_another_size(inside.shape, height, width))
    return inside


def unpack(data: bytes, expected: int) -> np.ndarray:
    """Values that rle-pack packed, which is how Label Studio keeps brush strokes.

    A stream of bits: 32 for how many values follow, 5 for the bits of a value less one, four times 4 for the bits
    of a length less one; then chunks of a bit (1: one value repeated, 0: as many values), two bits for which of the
    four lengths, the length less one, and the value or values.

    Args:
        data: the bytes.
        expected: how many values there have to be.

    Returns:
        uint8 (expected,).

    Raises:
        ValueError: damaged, or another number of values.
    """
    bits = _Bits(data)
    if bits.read(32) != expected:
        raise ValueError("another number of values")
    word = bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    if word > 8:
        raise ValueError("values of more than a byte")
    out = np.zeros(expected, np.uint8)
    at = 0
    while at < expected:
        repeated = bits.read(1)
        end = min(at + 1 + bits.read(lengths[bits.read(2)]), expected)
        out[at:end] = bits.read(word) if repeated else bits.read_many(word, end - at)
        at = end
    return out


class _Bits:
    """Bytes as a stream of bits, the highest of each first."""

    def __init__(self, data):
        self._data, self._at = data, 0

    def read(self, count):
        """A number of ``count`` bits."""
        first, last = self._at // 8, (self._at + count + 7) // 8
        if last > len(self._data):
            raise ValueError("it ends too early")
        self._at += count
        return int.from_bytes(self._data[first:last], "big") >> (8 * last - self._at) & ((1 << count) - 1)

    def read_many(self, width, count):
        """``count`` numbers of ``width`` bits each, uint8."""
        first, last = self._at // 8, (self._at + width * count + 7) // 8
        if last > len(self._data):
            raise ValueError("it ends too early")
        bits = np.unpackbits(np.frombuffer(self._data[first:last], np.uint8))
        skip = self._at - 8 * first
        self._at += width * count
        grid = bits[skip : skip + width * count].reshape(count, width)
        return grid @ (1 << np.arange(width - 1, -1, -1)).astype(np.uint8)
