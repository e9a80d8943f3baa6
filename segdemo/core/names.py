"""Names of files, wherever they come from: archives, folders, lists of subsets, the command line.

Everything that looks a file up by its name does it through here, so that all of them agree on which files are
nobody's, on separators, on letters that can be written in two ways, and on what is a photo.

Names are paths with forward slashes, relative to the archive or folder they are in, as ``tidy`` gives them.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

PHOTO_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif"),
)
MASK_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")  # of masks
_NOBODYS = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    *("$recycle.bin", "@eadir", "__pycache__"),
    *("system volume information", "network trash folder", "temporary items", "lost+found"),
}
_SUBSETS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_BESIDE = r"(?:images?|imgs?|labels?|masks?|instances|annotations?|annots?|set|split|autosplit|data|photos?)"
_SUBSET_FOLDER = re.compile(
    rf"(?:{_BESIDE}[-_ ]?)?({'|'.join(sorted(_SUBSETS, key=len, reverse=True))})(?:[-_ ]?(?:{_BESIDE}|\d{{1,4}}))*"
)
# What systems write names of a ZIP in that do not say so; they are read as if it were cp437.
_CODE_PAGES = (
    "gbk",
    "shift_jis",
    "cp949",
    "big5",
    "cp1252",
    "cp1250",
    "cp1251",
    "cp866",
    "cp850",
    "cp852",
    "cp1253",
)
# What Label Studio puts before the name of an uploaded file; not a date.
_UPLOADED = re.compile(r"(?=\d*[a-f])[0-9a-f]{8}-(.+)")
_PARTING = re.compile(r"[\s_./\-\u2010-\u2015]+")  # words of the name of a class
LONGEST = 2000  # characters of a name; file systems stop at 255 a part


# --- what a name is ---------------------------------------------------------------------------------------


def tidy(name: str) -> str:
    """A name with forward slashes, without ``.`` parts, its letters composed (Unicode NFC).

    A leading slash, a drive and ``..`` stay, so that ``hazard`` finds them.
    """
    name = unicodedata.normalize("NFC", name.replace("\\", "/"))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def of_address(name: str) -> str:
    """A name as a web address means it: without what stands before the path and behind it, and ``%20`` as a space."""
    if "%" not in name and "://" not in name:
        return name
    with suppress(ValueError):  # brackets where there is no host
        name = urlsplit(name).path if "://" in name else name
    return unquote(name)


def without_upload_mark(name: str) -> str:
    """A name without the mark and the folders that Label Studio gives it when it is uploaded; others stay."""
    match = _UPLOADED.fullmatch(base(tidy(name)))
    return match.group(1) if match else name


def misread(name: str) -> Iterator[str]:
    """What a name looks like where a ZIP was packed in a code page of its own, by a system that does not say which."""
    for code_page in () if name.isascii() else _CODE_PAGES:
        with suppress(UnicodeError):
            yield name.encode(code_page).decode("cp437")


def hazard(name: str) -> str:
    """Why a tidied name is not read, to be put behind it in a sentence; "" if nothing is wrong with it."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
        return "has an unsafe name, which points outside of the archive"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "has an unsafe name, with characters that no name may hold"
    if not name or len(name) > LONGEST:
        return "has an unsafe name, which is empty or far too long"
    return ""


def is_system(name: str) -> bool:
    """Whether a file is nobody's data: left behind by an operating system, or hidden, or below such a folder."""
    parts = name.split("/")
    return any(
        part.casefold() in _NOBODYS or (part.startswith(".") and part.strip(".")) or part.startswith("~$")
        for part in parts
    )


def is_photo(name: str) -> bool:
    """Whether a file is called like a photo that ``photos`` may read, and is not a system's."""
    return name.lower().endswith(PHOTO_ENDINGS) and not is_system(str(name).replace("\\", "/"))


def key(name: str) -> str:
    """What names are compared by where case does not decide."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def counted(name: str) -> list[tuple[bool, int, str]]:
    """What names are ordered by as people count: photo 2 before photo 10, in any case of letters."""
    parts = filter(None, re.split(r"([0-9]+)", name.casefold()))
    # A number by its digits: of very long ones Python makes none.
    numbers = ((part.lstrip("0") if part.isdecimal() else None, part) for part in parts)
    return [(True, 0, part) if number is None else (False, len(number), number) for number, part in numbers]


def base(name: str) -> str:
    """The last part of a name."""
    return name.rsplit("/", 1)[-1]


def folder(name: str) -> str:
    """What stands before the last part, with its slash; "" at the top."""
    return name[: len(name) - len(base(name))]


def above(within: str) -> str:
    """The folder that a folder, named with its slash, is in; "" at the top."""
    return folder(within.rstrip("/"))


def without_ending(name: str) -> str:
    """A name without the ending of its last part: ``"a/IMG.1.jpg"`` gives ``"a/IMG.1"``."""
    return folder(name) + (PurePosixPath(base(name)).stem if base(name) else "")


def stem(name: str) -> str:
    """The last part of a name, without its ending."""
    return base(without_ending(name))


def without_photo_ending(name: str) -> str:
    """As ``without_ending``, if it ends like a photo; ids in lists may hold dots of their own."""
    return without_ending(name) if name.lower().endswith(PHOTO_ENDINGS) else name


def agreement(one: str, other: str) -> int:
    """How many parts of two names agree, counted from the end, case aside."""
    count = 0
    for a, b in zip(reversed(key(one).split("/")), reversed(key(other).split("/")), strict=False):
        if a != b:
            break
        count += 1
    return count


class Index:
    """Things by name: exactly, and where nothing is called so exactly, case aside.

    Args:
        pairs: (name, thing); several may share a name.
    """

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        self._exact: dict[str, list[Any]] = {}
        self._folded: dict[str, list[Any]] = {}
        for name, thing in pairs:
            self.add(name, thing)

    def add(self, name: str, thing: Any) -> None:
        """One more."""
        self._exact.setdefault(unicodedata.normalize("NFC", name), []).append(thing)
        self._folded.setdefault(key(name), []).append(thing)

    def all(self, name: str) -> list[Any]:
        """All things of that name."""
        return self._exact.get(unicodedata.normalize("NFC", name)) or self._folded.get(key(name)) or []

    def one(self, name: str) -> Any:
        """The only thing of that name; None if there is none or there are several."""
        found = self.all(name)
        return found[0] if len(found) == 1 else None


# --- classes ----------------------------------------------------------------------------------------------


def clean_class(name: object) -> str:
    """The name of a class as it is kept: composed letters, single spaces, nothing that no screen shows.

    Control characters and halves of letters (surrogates), which no file of text may hold, count as spaces.
    """
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in str(name))
    return unicodedata.normalize("NFC", " ".join(shown.split()))


def is_background(name: str) -> bool:
    """Whether a class is called background, also in the way of labelme, ``_background_``."""
    return _letters(name) == "background"


def class_id(name: str, classes: Iterable[str]) -> int | None:
    """Which of ``classes`` a name means: the same one, else case aside, else without what only parts its words.

    So "tv/monitor" and "TV monitor", "pottedplant" and "potted_plant" are the same; "C" and "C++", "age 1-5" and
    "age 15" are not.

    Returns:
        Its index; None if there is none, or if several are meant equally well.
    """
    classes = list(classes)
    for form in (clean_class, lambda text: key(clean_class(text)), _joined):
        wanted = form(name)
        found = [i for i, other in enumerate(classes) if wanted and form(other) == wanted]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _joined(name: str) -> str:
    words = _PARTING.sub(" ", key(name)).strip()
    return re.sub(r"(?<!\d) | (?!\d)", "", words)


def _letters(name: str) -> str:
    return "".join(character for character in key(name) if character.isalnum())


# --- subsets ----------------------------------------------------------------------------------------------


def subset(word: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` if a folder or list of that name holds such a subset, else None.

    ``"Training"``, ``"valid"``, ``"train2017"`` and ``"images_test"`` do; ``"trainval"`` does not.
    """
    match = _SUBSET_FOLDER.fullmatch(key(word))
    return _SUBSETS[match.group(1)] if match else None


def subset_of_folders(name: str) -> str | None:
    """The subset a file's folders tell, the innermost first."""
    return next((found for part in reversed(name.split("/")[:-1]) if (found := subset(part))), None)


def subset_of_document(name: str) -> str | None:
    """The subset the name of a document tells, such as ``instances_train2017.json``, else its folders."""
    words = re.findall(r"[a-z]+", key(without_ending(base(name))))
    told = {_SUBSETS[word] for word in words if word in _SUBSETS}
    if told == {"val", "test"} and "dev" in words:  # COCO's test-dev
        told = {"test"}
    return told.pop() if len(told) == 1 else subset_of_folders(name)


# --- texts and lists --------------------------------------------------------------------------------------


def text(data: bytes) -> str:
    """Bytes as text: UTF-8, with a byte-order mark or without, or UTF-16 with one, as Windows writes them.

    Raises:
        UnicodeDecodeError: neither.
    """
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") and len(data) > 2
    return data.decode("utf-16" if wide else "utf-8-sig")


def printable(text: str, keep: str = "") -> str:
    """A text with its control characters written out, as in ``\\x1b``; those in ``keep`` stay."""
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def lines(written: str) -> list[str]:
    """The lines of a list, stripped, without empty ones, whatever ends them."""
    return [line for line in (line.strip().strip("\ufeff").strip() for line in written.splitlines()) if line]


def listed(line: str, known: Index) -> Any:
    """What a line of a list means among the things known by their id; None if nothing.

    A line is an id, which may hold spaces, or a file name, or either with more behind it: numbers in VOC's and
    Pets' lists, the mask's path in others'.
    """
    for words in (line, line.split()[0]):
        words = tidy(words)
        for form in (words, without_photo_ending(words), base(words), base(without_photo_ending(words))):
            if (found := known.one(form)) is not None:
                return found
    return None


def unlisted(line: str) -> str:
    """The id on a line of a list that nothing known is called: the line, less numbers behind its first word."""
    first, *rest = line.split()
    numbers = all(re.fullmatch(r"[-+]?\d+(\.\d+)?", word) for word in rest)
    return first if numbers else line


# --- folders ----------------------------------------------------------------------------------------------


def files_in(folder: Path) -> list[Path]:
    """The files and folders directly in a folder, sorted, less those that are a system's; [] without it."""
    if not folder.is_dir():
        return []
    return [folder / name for name in sorted(path.name for path in folder.iterdir()) if not is_system(name)]


def photos_in(folder: Path) -> list[Path]:
    """The photos directly in a folder, sorted."""
    return [path for path in files_in(folder) if is_photo(path.name)]


def child(folder: Path, name: str) -> Path:
    """What is called ``name`` in a folder: exactly, or else case aside if only one thing is; it need not exist."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    found = [path.name for path in folder.iterdir() if key(path.name) == key(name)]
    return folder / found[0] if len(found) == 1 else exact
