"""Label Studio: JSON and JSON-MIN, a list of tasks with regions in percent of the photo, later ones on top.

Brush strokes, polygons, rectangles and ellipses cover pixels and are painted; key points, choices, texts and others
are named and left out. Of several annotations of a task the one marked as ground truth is read, else the newest;
the others, and predictions, are named.

Format: https://labelstud.io/guide/export and https://labelstud.io/guide/task_format; brush strokes are packed as by
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

import re
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from segdemo.core import names
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.shapes import Patch, Shape, box, ellipse, ring

_KINDS = {"brush": "brush", "polygon": "polygon", "rectangle": "rectangle", "ellipse": "ellipse"}
_UPLOADED = re.compile(r"[0-9a-f]{4,8}-(.+)")  # what Label Studio puts before the name of an uploaded file
_ALPHA = 4  # brush strokes are packed as RGBA; the last byte of each pixel says whether it is covered


@dataclass
class _Task:
    """A task: what to call it, names its photo may have, regions to read, (what, why) of those not to."""

    what: str
    wanted: list
    regions: list
    others: list


def find(reader):
    """The Label Studio exports of an archive, or None."""
    items, classes, used = [], {}, []
    for name, data in reader.documents.items():
        tasks = (
            [_task(entry, number) for number, entry in enumerate(data, 1)] if is_label_studio(data) else []
        )
        if not tasks:
            continue
        used.append(name)
        for task in tasks:
            for _, region in task.regions:
                for label in _labels(region):
                    classes.setdefault(names.key(label), label)
        items += [_item(reader, name, task) for task in tasks]
    if not used:
        return None
    reader.use(*used)
    source = f"the labels of {' and '.join(used)}"
    reader.add_classes(used[0], sorted(classes.values(), key=names.key), source)
    return Found(items, "Imported from Label Studio")


def is_label_studio(data):
    """Whether plain data is a list of Label Studio's tasks."""
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        return False
    full = [
        isinstance(entry.get("data"), dict) and isinstance(entry.get("annotations"), list) for entry in data
    ]
    return all(full) or any(_minimal(entry) for entry in data)


def _minimal(entry):
    """The regions of a task in JSON-MIN, which keeps them as lists beside its data."""
    return [
        region
        for value in entry.values()
        if isinstance(value, list)
        for region in value
        if isinstance(region, dict) and "original_width" in region
    ]


def _task(entry, number):
    what = f"task {entry.get('id', f'number {number}')}"
    if not isinstance(entry.get("data"), dict):
        regions = [
            (f"region {i}", {**region, "value": region}) for i, region in enumerate(_minimal(entry), 1)
        ]
        return _Task(what, _photo_names(entry), regions, [])
    live, others = [], []
    for annotation in entry["annotations"]:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            others.append(("annotation", "has no result"))
        elif annotation.get("was_cancelled"):
            others += _named(annotation, "was cancelled by whoever made it")
        else:
            live.append(annotation)
    live.sort(
        key=lambda a: (bool(a.get("ground_truth")), str(a.get("updated_at") or a.get("created_at") or ""))
    )
    for annotation in live[:-1]:
        others += _named(annotation, "is of another annotation of the same task: the newest one is read")
    if not live:
        for prediction in entry.get("predictions") or []:
            if isinstance(prediction, dict) and isinstance(prediction.get("result"), list):
                others += _named(
                    prediction, "is predicted and not annotated: submit it in Label Studio first"
                )
    return _Task(what, _photo_names({**entry, **entry["data"]}), _regions(live[-1]) if live else [], others)


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
        if id_ not in regions or regions[id_].get("type") == "labels":
            regions[id_] = region
    return [
        (f"region {id_}", {**region, "labels": list(dict.fromkeys(labels.get(id_, [])))})
        for id_, region in regions.items()
    ]


def _labels(region):
    """The labels of a region, whichever tool they were given with."""
    value = region.get("value")
    found = list(region.get("labels") or []) if isinstance(region.get("labels"), list) else []
    for key, listed in (value if isinstance(value, dict) else {}).items():
        if isinstance(key, str) and key.endswith("labels") and isinstance(listed, list):
            found += [names.clean_class(label) for label in listed if isinstance(label, (str, int, float))]
    return list(dict.fromkeys(label for label in found if label))


def _photo_names(values):
    """Names that a task's photo may have in an archive, the likeliest first."""
    found = []
    for value in values.values():
        if not isinstance(value, str):
            continue
        parts = urlsplit(value) if "?" in value or "://" in value else None
        if parts:
            value = (parse_qs(parts.query).get("d") or [parts.path])[0]
        for form in (value, unquote(value)):
            if names.is_photo(names.tidy(form)) and form not in found:
                found.append(form)
    return found


def _item(reader, document, task):
    photo, why = None, "names no photo"
    forms = list(task.wanted)
    for wanted in task.wanted:
        if match := _UPLOADED.fullmatch(names.base(names.tidy(wanted))):
            forms.append(match.group(1))
    subset = reader.subset_of(document)
    for wanted in forms:
        photo, why = reader.photos.find(wanted, document, subset)
        if photo or "missing" not in why:
            break
    if photo:
        reader.use(photo)
    title = task.wanted[0] if task.wanted else task.what
    for what, reason in task.others:
        reader.account.leave_out(document, what, reason, title)
    if photo and not task.regions and task.others:
        task.regions.append(("", None))  # so that the photo is not taken for one without anything on it
    return Item(
        stem=names.base(names.without_ending(photo or names.tidy(title))),
        where=document,
        photo=photo,
        parts=lambda: [(document, what) for what, region in task.regions if region],
        load=partial(_load, reader, document, task, title),
        subset=subset or (reader.subset_of("", photo) if photo else None),
        title=title,
        why_not="" if photo else why,
    )


def _load(reader, document, task, title, height, width):
    shapes = []
    for what, region in task.regions:
        if region is None:
            continue
        labels = _labels(region)
        if labels:
            what = f"{what} ({labels[0]})"
        try:
            if len(labels) != 1:
                raise ExchangeError(
                    "has no label" if not labels else f"has several labels: {', '.join(labels)}"
                )
            form = _form(region, height, width)
            shapes.append(Shape(what, document, reader.class_value(labels[0]), (form,)))
        except ExchangeError as error:
            reader.account.leave_out(document, what, str(error), title)
    label_map, parts = reader.painted(shapes, title, height, width, smallest_on_top=False)
    if task.regions and not parts:
        return None, []  # all background would be a label that nobody gave
    return label_map, parts


def _form(region, height, width):
    value = region["value"]
    if region.get("image_rotation"):
        raise ExchangeError("was drawn on the photo turned, which cannot be read")
    stated = region.get("original_height"), region.get("original_width")
    kind = _kind(region, value)
    if kind == "brush":
        return Patch(0, 0, _brush(value, stated, height, width))
    try:
        if None not in stated and abs(float(stated[1]) * height - float(stated[0]) * width) > height + width:
            raise ExchangeError(
                f"is drawn on {stated[1]}x{stated[0]} pixels, but the photo measures {width}x{height}"
            )

        def part(name, of):
            return float(value[name]) * of / 100

        degrees = float(value.get("rotation") or 0)
        if kind == "polygon":
            return ring(value["points"], (width / 100, height / 100))
        if kind == "rectangle":
            left, top = part("x", width), part("y", height)
            return box(
                left, top, left + part("width", width), top + part("height", height), degrees, (left, top)
            )
        if kind == "ellipse":
            radii = part("radiusX", width), part("radiusY", height)
            return ellipse(part("x", width), part("y", height), *radii, degrees)
    except ExchangeError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ExchangeError(f"has no {kind} that can be read") from error
    raise ExchangeError(f"is a {kind}, which covers no pixels that can be read")


def _kind(region, value):
    """What a region is, by its type, or by what it has where the type is missing or ``labels``."""
    kind = str(region.get("type") or "").removesuffix("labels")
    if kind in _KINDS:
        return kind
    for key, told in (
        ("rle", "brush"),
        ("points", "polygon"),
        ("radiusX", "ellipse"),
        ("width", "rectangle"),
    ):
        if key in value and kind in ("", "label"):
            return told
    return kind or "region of an unknown kind"


def _brush(value, stated, height, width):
    """A brush stroke: bool (height, width). Raises ExchangeError."""
    numbers = value.get("rle")
    try:
        if [int(side) for side in stated] != [height, width]:
            raise ExchangeError(
                f"is drawn on {stated[1]}x{stated[0]} pixels, but the photo measures {width}x{height}"
            )
        data = np.array(numbers, np.int64)
        if data.ndim != 1 or (data < 0).any() or (data > 255).any():
            raise ValueError
        values = unpack(data.astype(np.uint8).tobytes(), _ALPHA * height * width)
    except ExchangeError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise ExchangeError("has a brush stroke that cannot be read") from error
    return values.reshape(height, width, _ALPHA)[..., -1] > 0


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
