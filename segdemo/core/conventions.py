"""How everything that is kept on disk is named and dated, and how long the trash is kept."""

import re
import unicodedata
from datetime import UTC, datetime

from segdemo.core.files import StoreError

TRASH_DAYS = 30


def now() -> str:
    """The time as kept in files: ISO 8601, UTC, milliseconds; such texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def slug(text: str, fallback: str) -> str:
    """``text`` as a name for files: at most 40 of a-z, 0-9 and '-'; ``fallback`` if nothing of it is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:40].strip("-") or fallback


def one_line(text: object) -> str:
    """A text in one line, without halves of characters, which no page can be sent with."""
    return " ".join(str(text).split()).encode("utf-8", "replace").decode()


def clean_title(text: object) -> str:
    """A title somebody typed. Raises StoreError if there is nothing in it."""
    text = one_line(text)
    if not text:
        raise StoreError("Give it a name first.")
    return text[:100]


def number_of(count: int, thing: str) -> str:
    """``"1 photo"``, ``"2 photos"``, ``"0 photos"``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def so_many_are(count: int, thing: str) -> str:
    """``"1 photo is"``, ``"2 photos are"``."""
    return f"{number_of(count, thing)} {'is' if count == 1 else 'are'}"
