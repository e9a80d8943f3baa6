import stat

import pytest

from segdemo.core.settings import SettingError
from segdemo.core.signing import Signer


def test_what_was_signed_here_is_verified_and_nothing_else():
    signer = Signer(b"a secret")
    signed = signer.sign("visit", "somebody")
    assert signer.verified("visit", signed) == "somebody"
    text, _, signature = signed.partition(".")
    other = Signer(b"another secret").sign("visit", "somebody")
    for wrong in (
        None,
        "",
        ".",
        text,
        f"{text}.",
        f"{text}.{signature[:-1]}",
        f"{text}.{signature}0",
        f"{text}.{signature.upper()}",
        f"somebody-else.{signature}",
        f".{signature}",
        f"{text}.{'0' * 64}",
        f"{text}.ä\ud800",
        other,
        signer.sign("another purpose", "somebody"),
        signed * 100,
    ):
        assert signer.verified("visit", wrong) is None, wrong


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    signed = Signer.of_installation().sign("visit", "somebody")
    secret = tmp_path / "home" / "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]
    secret.chmod(0o644)
    assert Signer.of_installation().verified("visit", signed) == "somebody"  # after a restart
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.unlink()
    assert Signer.of_installation().verified("visit", signed) is None


def test_an_empty_secret_signs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    (tmp_path / "secret").write_text("")
    with pytest.raises(SettingError, match="delete it"):
        Signer.of_installation()


def test_a_secret_may_be_chosen_and_then_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    monkeypatch.setenv("SEGDEMO_SECRET", "sixteen or more!")
    signed = Signer.of_installation().sign("visit", "somebody")
    assert Signer.of_installation().verified("visit", signed) == "somebody"
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("SEGDEMO_SECRET", "short")
    with pytest.raises(SettingError, match="16 characters or more"):
        Signer.of_installation()


def test_the_secret_is_kept_on_a_disk_without_links_and_owners(tmp_path, monkeypatch):
    """As that of a bucket which a Space sees as a folder."""

    def refuse(*_):
        raise PermissionError

    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    monkeypatch.setattr("os.link", refuse)
    signed = Signer.of_installation().sign("visit", "somebody")
    (tmp_path / "secret").chmod(0o644)
    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    assert Signer.of_installation().verified("visit", signed) == "somebody"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
