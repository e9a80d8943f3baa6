"""What the files of an export are called: as the photo was, where every file system and every list takes that.

A photo that came as ``IMG_0001.JPG`` goes out as ``IMG_0001`` in every format. What differs, and what the photo
was called, is said in COCO's image entries (``original_file_name``) and in the side-cars:

* white space becomes ``_``, since lists of photos are read word by word by many tools;
* characters that Windows, macOS or Linux refuse become ``_``, and so do control characters and those that turn
  the direction of writing around;
* dots at the beginning (hidden files) and at the end go; a name that Windows keeps for a device gets a ``_`` in
  front; what is longer than ``MAX_CHARACTERS`` or ``MAX_BYTES`` is cut;
* letters are composed (NFC), and of names that are equal then, or but for their case, all but the first get a
  number: ``IMG_0001-2``.
"""

import re
import unicodedata

from segdemo.core import names

MAX_CHARACTERS = 150  # Windows allows 260 for the whole path
MAX_BYTES = 200  # of UTF-8; Linux allows 255, endings included
# Endings that are no part of a name; a dot elsewhere is, as in "v1.2".
ENDINGS = frozenset(names.PHOTO_ENDINGS)
KEPT_ENDINGS = {".jpg": (".jpg", ".jpeg", ".JPG", ".JPEG"), ".png": (".png", ".PNG")}
FALLBACK = "photo"
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: with any ending, too
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.I)
_REFUSED = frozenset('<>:"/\\|?*')
_TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


class Names:
    """The names of one export, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def take(self, wanted: str) -> str:
        """A name for the files of a photo, without ending, that no other photo of the export has.

        Args:
            wanted: what it should be called, without ending; any text.

        Returns:
            ``usable_stem(wanted)``, with a number where that is taken.
        """
        base = usable_stem(wanted)
        stem, number = base, self._last.get(names.key(base), 1)
        while names.key(stem) in self._taken:
            number += 1
            tail = f"-{number}"
            stem = _cut(base, MAX_CHARACTERS - len(tail), MAX_BYTES - len(tail)) + tail
        self._last[names.key(base)] = number
        self._taken.add(names.key(stem))
        return stem


def split_name(source: str) -> tuple[str, str]:
    """(stem, ending) of the name a photo came with, which may have folders in front; the ending may be ""."""
    name = re.split(r"[/\\]", source)[-1]
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if dot and f".{ending.lower()}" in ENDINGS else (name, "")


def usable_stem(text: str) -> str:
    """``text`` as a name every file system and every list of photos takes; unchanged if it is one."""
    text = re.sub(r"^[\s.]+|[\s.]+$", "", unicodedata.normalize("NFC", text))
    text = re.sub(r"\s+", "_", text)
    text = "".join("_" if _is_refused(c) else c for c in text)
    if _DEVICES.fullmatch(text):
        text = f"_{text}"
    return _cut(text, MAX_CHARACTERS, MAX_BYTES) or FALLBACK


def _is_refused(character):
    return (
        character in _REFUSED
        or character in _TURNING
        or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")  # control, half of a pair, separators
    )


def _cut(text, characters, size):
    text = text[:characters]
    # A letter cut through is left out.
    return text.encode("utf-8")[:size].decode("utf-8", "ignore").rstrip(".")
