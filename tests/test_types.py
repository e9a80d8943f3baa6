"""Types hold: what ``[tool.mypy]`` of pyproject.toml asks for."""

from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_mypy_finds_nothing(monkeypatch):
    monkeypatch.chdir(ROOT)
    said, _, code = api.run([])  # what it knows from last time is in .mypy_cache
    assert code == 0, said
