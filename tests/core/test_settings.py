import os
from pathlib import Path

import pytest

from segdemo.core import settings


def test_home_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "state"))
    assert settings.home() == tmp_path / "state"
    assert settings.models_dir() == tmp_path / "state" / "models"
    assert not (tmp_path / "state").exists()  # asking creates nothing


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        ("linux", "XDG_DATA_HOME", "segdemo"),
        ("win32", "LOCALAPPDATA", "segdemo"),
    ],
)
def test_home_defaults_to_the_platforms_data_folder(platform, variable, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("SEGDEMO_HOME", raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert settings.home() == tmp_path / folder


def test_home_without_any_variable_lies_in_the_users_folder(monkeypatch):
    for variable in ("SEGDEMO_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert settings.home() == Path.home() / ".local" / "share" / "segdemo"
    monkeypatch.setattr("sys.platform", "darwin")
    assert settings.home() == Path.home() / "Library" / "Application Support" / "segdemo"


def test_a_tilde_is_the_users_folder(monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", "~/state")
    monkeypatch.setenv("SEGDEMO_DATA", "~/data")
    assert settings.home() == Path.home() / "state"
    assert settings.data_dir() == Path.home() / "data"


def test_no_data_folder_is_none(monkeypatch):
    monkeypatch.delenv("SEGDEMO_DATA", raising=False)
    assert settings.data_dir() is None


def test_threads(monkeypatch):
    monkeypatch.delenv("SEGDEMO_THREADS", raising=False)
    assert 1 <= settings.threads() <= os.cpu_count()
    monkeypatch.setenv("SEGDEMO_THREADS", "3")
    assert settings.threads() == 3


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " "])
def test_a_wrong_number_of_threads_is_refused(value, monkeypatch):
    monkeypatch.setenv("SEGDEMO_THREADS", value)
    with pytest.raises(ValueError, match=r"SEGDEMO_THREADS is a positive whole number, not"):
        settings.threads()
