import os
import re
from pathlib import Path

import pytest

from segdemo.core import settings


def test_home_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "state"))
    assert settings.home() == tmp_path / "state"
    assert settings.models_dir() == tmp_path / "state" / "models"
    assert not (tmp_path / "state").exists()  # asking creates nothing


def test_home_defaults_to_the_platforms_data_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("SEGDEMO_HOME", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert settings.home() == tmp_path / "segdemo"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert settings.home() == Path.home() / ".local" / "share" / "segdemo"


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


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_a_wrong_number_of_threads_is_refused(value, monkeypatch):
    monkeypatch.setenv("SEGDEMO_THREADS", value)
    with pytest.raises(ValueError, match=r"SEGDEMO_THREADS is a positive whole number, not"):
        settings.threads()


def test_users_have_a_name_and_a_password_each(monkeypatch):
    monkeypatch.setenv("SEGDEMO_USERS", " , ")
    assert settings.users() == []
    assert not settings.hosted()
    monkeypatch.setenv("SEGDEMO_USERS", " ann:secret , bob:a:b,")
    assert settings.users() == [("ann", "secret"), ("bob", "a:b")]
    for text in ("ann", "ann:", ":secret", "ann:x,bob"):
        monkeypatch.setenv("SEGDEMO_USERS", text)
        with pytest.raises(settings.SettingError, match="SEGDEMO_USERS is a list such as"):
            settings.users()


def test_readme_has_the_table_of_the_settings():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert settings.table() in readme


def test_the_environment_is_read_in_one_place():
    read = re.compile(r"environ(\.get\(|\[)\"(SEGDEMO_|SPACE|OAUTH)|getenv")
    others = [
        p
        for p in settings.PACKAGE.rglob("*.py")
        if p.name != "settings.py" and read.search(p.read_text("utf-8"))
    ]
    assert not others
