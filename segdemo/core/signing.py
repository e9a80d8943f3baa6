"""Texts that this installation has signed: what a browser hands back can then be nothing that it made up."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from segdemo.core import settings
from segdemo.core.files import disk_errors

SHORTEST = 16  # characters of a secret that somebody chose
_MOST = 400  # characters of a signed text that are looked at


class Signer:
    """Signs with HMAC-SHA-256.

    Args:
        secret: bytes that nobody else knows.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of_installation(cls) -> "Signer":
        """With ``SEGDEMO_SECRET``, or else the secret in the state root, which is made once. Raises DiskError."""
        chosen: str = settings.read("SEGDEMO_SECRET")
        if chosen:
            if len(chosen) < SHORTEST:
                raise settings.SettingError(
                    f"SEGDEMO_SECRET has {SHORTEST} characters or more: choose a longer one."
                )
            return cls(hashlib.sha256(chosen.encode()).digest())
        return cls(_kept(settings.home() / "secret"))

    def digest(self, purpose: str, text: str) -> str:
        """64 hexadecimal characters that stand for a text, and that nobody else can compute."""
        message = f"{purpose}\0{text}".encode("utf-8", "replace")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()

    def sign(self, purpose: str, text: str) -> str:
        """The text with its signature; ``text`` has no '.'."""
        return f"{text}.{self.digest(purpose, text)}"

    def verified(self, purpose: str, signed: str | None) -> str | None:
        """The text that ``sign`` was given for the same purpose; None for anything else."""
        text, dot, signature = (signed or "")[:_MOST].partition(".")
        right = hmac.compare_digest(signature.encode("utf-8", "replace"), self.digest(purpose, text).encode())
        return text if dot and right else None


def _kept(path: Path) -> bytes:
    """The secret in a file that its owner alone may read; made if there is none."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        if not path.is_file():
            try:
                with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(secrets.token_hex(32))
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(fresh, path)
                except FileExistsError:  # another server was quicker: its secret counts
                    pass
                except OSError:  # a disk without links, as the buckets of the Hub
                    if not path.is_file():
                        fresh.replace(path)
            finally:
                fresh.unlink(missing_ok=True)
        if path.stat().st_mode & 0o077:
            with contextlib.suppress(OSError):  # a disk that knows no owners
                path.chmod(0o600)
        text = path.read_text("utf-8").strip()
    if len(text) < SHORTEST:
        raise settings.SettingError(f"{path} holds no secret any more: delete it, and a new one is made.")
    return hashlib.sha256(text.encode()).digest()
