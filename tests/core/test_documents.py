"""JSON objects as dataclasses: what is known is typed, and nothing that a file says is lost."""

import json
from dataclasses import dataclass, field, replace

import pytest

from segdemo.core.documents import DamagedError, Document
from segdemo.core.labels import PETS, LabelSet


@dataclass(frozen=True, kw_only=True)
class Point(Document):
    x: int
    y: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Figure(Document):
    name: str
    closed: bool = False
    labels: LabelSet | None = None
    corners: list[Point] = field(default_factory=list)
    weights: dict[str, float | None] = field(default_factory=dict)


WHOLE = {
    "mystery": [1, {"a": None}],
    "corners": [{"y": 2, "x": 1, "colour": "red"}, {"x": 3}],
    "name": "kite",
    "weights": {"a": 1, "b": None},
    "closed": False,
    "labels": PETS.to_json(),
}


def test_what_is_read_is_typed_and_goes_back_as_it_was():
    figure = Figure.from_json(WHOLE)
    assert (figure.name, figure.corners[0].x, figure.corners[1].y, figure.labels) == ("kite", 1, 0.0, PETS)
    assert figure.extra == {"mystery": [1, {"a": None}]}
    assert json.dumps(figure.to_json()) == json.dumps(WHOLE)  # in the same order, and no default put in


def test_what_is_changed_goes_out_too():
    figure = Figure.from_json({"name": "kite"})
    assert figure.to_json() == {"name": "kite"}
    assert replace(figure, closed=True).to_json() == {"name": "kite", "closed": True}
    assert figure.with_more(closed=False).to_json() == {"name": "kite", "closed": False}
    assert Figure.of(name="kite", labels=None).to_json() == {"name": "kite", "labels": None}


def test_null_stands_for_a_default_and_a_whole_float_for_a_number():
    assert Figure.from_json({"name": "kite", "closed": None, "corners": [{"x": 4.0}]}).corners[0].x == 4
    assert Figure.from_json({"name": "kite", "labels": None, "corners": None}).corners == []


@pytest.mark.parametrize(
    "data",
    [
        *([], "kite", None, 3),
        *({}, {"name": None}, {"name": 5}, {"name": "a", "closed": 1}, {"name": "a", "corners": {}}),
        *({"name": "a", "corners": [{}]}, {"name": "a", "corners": [{"x": True}]}),
        *({"name": "a", "corners": [{"x": 1.5}]}, {"name": "a", "weights": {"b": "c"}}),
        *({"name": "a", "labels": {"classes": 3}}, {"name": "a", "labels": []}),
    ],
)
def test_other_types_are_refused(data):
    with pytest.raises(ValueError, match=r"."):
        Figure.from_json(data)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"name": 5}', b"\xff\xfe", b'{"name": '])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "figure.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"figure\.json is damaged \(.*\): restore it from a copy\."):
        Figure.read(path)
    with pytest.raises(FileNotFoundError):
        Figure.read(tmp_path / "none.json")
