"""What the documents say of the code is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_the_tests_that_are_named_exist(page):
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / page).read_text("utf-8")):
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.M), f"{path}::{name}"


def test_the_threat_model_names_a_test_in_every_row():
    rows = re.findall(
        r"^\| (.*) \|$", (ROOT / "docs" / "security.md").read_text("utf-8").split("## What holds")[1], re.M
    )
    assert len(rows) > 15
    for row in rows[1:]:
        assert row.startswith("---") or "tests/" in row.split(" | ")[2], row
