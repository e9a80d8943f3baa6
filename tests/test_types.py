"""Types hold: what ``[tool.mypy]`` of pyproject.toml asks for."""

from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_mypy_finds_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    said, _, code = api.run(["--cache-dir", str(tmp_path)])
    assert code == 0, said
