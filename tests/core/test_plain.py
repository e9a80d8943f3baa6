"""Plain data that fits, and plain data that does not."""

import pytest

from segdemo.core import plain


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        *((1, int, True), (1, plain.NUMBER, True), (1.5, plain.NUMBER, True), (1.5, int, False)),
        *((True, int, False), (True, bool, True), (1, bool, False), (None, str, False), ("", str, True)),
        *(
            (float("nan"), plain.NUMBER, False),
            (float("inf"), float, False),
            ([], list, True),
            ({}, list, False),
        ),
    ],
)
def test_fits(value, kind, fits):
    assert plain.fits(value, kind) is fits


def test_what_does_not_fit_is_left_out():
    kinds = {"epoch": int, "title": str}
    assert plain.fitting({"epoch": "3", "title": "a", "more": [1]}, kinds) == {"title": "a", "more": [1]}
    for wrong in (None, [], [1], "x", 3):
        assert plain.fitting(wrong, kinds) == {}


def test_what_is_required():
    plain.require({"a": 1, "b": None}, {"a": int})
    for wrong in ({}, {"a": "1"}, {"a": True}, [], None):
        with pytest.raises(ValueError):
            plain.require(wrong, {"a": int})
