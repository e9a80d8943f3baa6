"""The page on Python says what the docstrings say, and its examples run."""

import re
import sys
from functools import partialmethod
from pathlib import Path

import keras
import pytest
from drawn import draw_pets, scene
from PIL import Image
from running import BREEDS

import segdemo

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import reference  # noqa: E402 - the script that writes it

BY_HAND, _, WRITTEN = reference.PAGE.read_text("utf-8").partition(reference.MARK)
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", BY_HAND, re.M | re.S)


def test_the_reference_is_what_the_docstrings_say():
    assert WRITTEN.lstrip("\n") == reference.reference(), "run python docs/reference.py"


def test_all_that_is_public_has_its_place_and_is_described():
    named = [name for names in reference.GROUPS.values() for name in names]
    assert sorted(named) == sorted(segdemo.__all__)
    entries = dict(re.findall(r"^###+ `segdemo\.([\w.]+)`\n\n(.*?)(?=^##|\Z)", WRITTEN, re.M | re.S))
    assert entries.keys() >= set(named)
    for name, told in entries.items():
        text = re.sub(r"```.*?```", "", told, flags=re.S)
        assert len(text.split()) >= 3 or name in ("VOC", "PETS", "VOID"), name


def test_a_docstring_becomes_markdown():
    docstring = (
        "What ``it`` does::\n\n    a + b\n\nArgs:\n    x, y: of ``it``,\n        and more.\n    z: last.\n\n"
        "Returns:\n    A table:\n\n    === ===\n    a   b\n    === ===\n"
    )
    assert reference.prose(docstring) == (
        "What `it` does:\n\n```text\na + b\n```\n\n**Args**\n\n- `x`, `y`: of `it`,\n  and more.\n- `z`: last.\n\n"
        "**Returns**\n\nA table:\n\n```text\n=== ===\na   b\n=== ===\n```"
    )


@pytest.mark.slow
@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.split("segdemo.")[1].split("(")[0])
def test_an_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    # Tracing would take longer than a few steps do.
    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    draw_pets(tmp_path / "pets", BREEDS)
    scene(0)[0].save("photo.jpg")
    before = set(tmp_path.iterdir())
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})
    assert len([line for line in code.splitlines() if line]) <= 11
    made = [path for path in set(tmp_path.iterdir()) - before if path.suffix == ".png"]
    assert made
    for path in made:
        with Image.open(path) as picture:
            picture.load()
