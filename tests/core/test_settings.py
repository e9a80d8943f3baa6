import os
import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from segdemo.core import settings
from segdemo.core.photos import Limits, read_photo


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


@pytest.mark.parametrize("name", [name for name, v in settings.VARIABLES.items() if v.kind == "whole"])
def test_what_is_counted_is_a_whole_number_and_may_be_0(name, monkeypatch):
    for text in ("0.5", "-1", "1e3", "nan", "two"):
        monkeypatch.setenv(name, text)
        with pytest.raises(settings.SettingError, match=f"{name} is a whole number, 0 or more, not"):
            settings.read(name)
    for text in ("0", "7"):
        monkeypatch.setenv(name, text)
        assert settings.read(name) == int(text) and isinstance(settings.read(name), int)


def test_runs_and_threads_are_counted():
    counted = {name for name, variable in settings.VARIABLES.items() if variable.kind == "whole"}
    assert counted >= {"SEGDEMO_KEEP_RUNS", "SEGDEMO_RUN_THREADS", "SEGDEMO_MAX_BATCH_PHOTOS"}


def test_where_readme_says_that_0_is_no_limit_it_may_be_given(monkeypatch):
    names = list(settings.VARIABLES)
    below = names[names.index("SEGDEMO_MAX_COLLECTIONS") :]
    numeric = [name for name in below if settings.VARIABLES[name].kind in ("count", "whole", "number")]
    assert len(numeric) > 15
    for name in numeric:
        monkeypatch.setenv(name, "0")
        assert settings.read(name) == 0
    monkeypatch.setenv("SEGDEMO_MAX_BATCH_GB", "0.5")
    assert settings.read("SEGDEMO_MAX_BATCH_GB") == 0.5


@pytest.mark.parametrize("text", ["99999999999999999999", "9" * 5000, "1" + "0" * 400])
def test_numbers_have_an_end(text, monkeypatch):
    numeric = [v for v in settings.VARIABLES.values() if v.kind in ("count", "whole", "number")]
    for variable in numeric:
        monkeypatch.setenv(variable.name, text)
        with pytest.raises(settings.SettingError, match=r"is [\d,]+ at most, not .{,50}\.$"):
            variable.read()
        monkeypatch.setenv(variable.name, str(variable.most))
        assert variable.read() == variable.most
        assert (variable.default or 0) < variable.most
    monkeypatch.setenv("SEGDEMO_MAX_TEMP_GB", "inf")
    with pytest.raises(settings.SettingError, match="at most"):
        settings.read("SEGDEMO_MAX_TEMP_GB")
    monkeypatch.setenv("SEGDEMO_MAX_TEMP_GB", "nan")
    with pytest.raises(settings.SettingError, match="a number, 0 or more"):
        settings.read("SEGDEMO_MAX_TEMP_GB")


def test_the_largest_numbers_still_let_a_photo_be_decoded_apart(monkeypatch):
    for name in ("SEGDEMO_MAX_PHOTO_SECONDS", "SEGDEMO_MAX_PHOTO_MB"):
        monkeypatch.setenv(name, str(settings.VARIABLES[name].most))
    file = BytesIO()
    Image.new("RGB", (5, 4), (200, 90, 30)).save(file, "TIFF")
    assert read_photo(file.getvalue(), Limits.from_env()).shape == (4, 5, 3)


def test_a_folder_of_somebody_unknown_is_refused_with_a_sentence(monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", "~nobody-of-that-name/x")
    with pytest.raises(
        settings.SettingError, match=r"SEGDEMO_HOME is a folder whose ~ nobody knows here: .*\.$"
    ):
        settings.home()
    assert settings.expanded("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
    assert settings.expanded("~/x") == Path.home() / "x"


def test_who_has_no_home_is_told_to_set_one(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("SEGDEMO_HOME")
    monkeypatch.setattr(settings.platformdirs, "user_data_dir", refuse)
    with pytest.raises(settings.SettingError, match=r"^Set SEGDEMO_HOME to a folder .*\.$"):
        settings.home()


def test_users_have_a_name_and_a_password_each(monkeypatch):
    monkeypatch.setenv("SEGDEMO_USERS", " ")
    assert settings.users() == []
    assert not settings.hosted()
    monkeypatch.setenv("SEGDEMO_USERS", " ann: secret , bob :a:b c,")
    assert settings.users() == [("ann", "secret"), ("bob", "a:b c")]
    for text in ("ann", "ann:", ":secret", "ann:x,bob", ",", " , ", "ann: ", " :secret"):
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
