"""The photos of an archive, and which of them a document means by a name."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from segdemo.core import names

# Pictures in these folders are masks, or masks painted for people to look at.
_MASK_FOLDERS = re.compile(r"segmentation(class|object).*|overlays|panoptic.*|trimaps")
_NOTHING_SAID = {"", "instances", "coco", "data", "json", "result"}
_NOTHING_SAID |= {"annotation", "annotations", "label", "labels"}
# What folders are called that hold masks, and photos.
_MASK_WORDS = {
    *("mask", "masks", "trainmasks", "label", "labels", "labelled", "labelmap", "labelmaps", "gt", "gtfine"),
    *("annotation", "annotations", "annot", "annots", "ann", "anns", "trainannot", "valannot", "testannot"),
    *("segmentation", "segmentations", "seg", "segs", "target", "targets", "groundtruth", "truth", "truths"),
    *("semantic", "semantics"),  # KITTI
    *("gtcoarse", "manual", "labelstr", "labelsts", "stuffthingmaps", "labeledapproved"),
}
_PHOTO_WORDS = {"leftimg8bit", "jpegimages", "rgb", "imagestr", "imagests"}
_PHOTO_WORDS |= {f"{word}{s}" for word in ("image", "img", "photo", "input") for s in ("", "s")}
# How words end that are put together: PedMasks, PNGImages.
_MASK_ENDS, _PHOTO_ENDS = ("mask", "masks", "labels"), ("image", "images")
UNCLEAR = "so it is not clear which one is meant"
MISSING = "the photo is missing, add it"


def some(found: list[str]) -> str:
    """The first of several names, for a sentence."""
    return ", ".join(found[:5]) + (" and more" if len(found) > 5 else "")


@lru_cache(10_000)  # the same few folders again and again
def kind_of(folder: str) -> str:
    """What a folder says that is in it: ``"masks"``, ``"photos"`` or ``""``."""
    words = set(re.split(r"[-_. \d]+", names.key(folder)))
    if words & _MASK_WORDS or any(word.endswith(_MASK_ENDS) for word in words):
        return "masks"
    return "photos" if words & _PHOTO_WORDS or any(word.endswith(_PHOTO_ENDS) for word in words) else ""


class Photos:
    """The photos among the files of an archive.

    Args:
        files: names of all files.
        same: function from two names to whether the files hold the same bytes.
    """

    def __init__(self, files: Iterable[str], same: Callable[[str, str], bool]):
        self._same = same
        self.files = [name for name in files if names.is_photo(name) and not _of_masks(name)]
        self._tails, self._stems = (
            names.Index(),
            names.Index(),
        )  # of every end of a name, from its last part on
        for name in self.files:
            for index, whole in ((self._tails, name), (self._stems, names.without_ending(name))):
                for tail in _tails(whole):
                    index.add(tail, name)

    def find(self, wanted: str, document: str = "", subset: str | None = None) -> tuple[str | None, str]:
        """The photo that a document means.

        One beside the document wins, then the one that agrees with most of the name, then one near the
        document, then one in a folder called like the document or its subset. Nothing is guessed beyond that.

        Args:
            wanted: what it calls the photo: a file name, with or without folders and ending, or a web address.
            document: name of the document in the archive.
            subset: ``"train"``, ``"val"`` or ``"test"`` if the document is about that one only.

        Returns:
            (name or None, why not): the reason is "" with a name.
        """
        if len(wanted) > names.LONGEST:
            return None, MISSING
        found, told = [], wanted
        address = names.of_address(told)
        others = (address, names.without_upload_mark(address), *names.misread(told))
        for called in dict.fromkeys((told, *others)):
            wanted = names.tidy(called).lstrip("/")
            path = names.tidy(names.folder(document) + wanted)
            found = _best(self._tails, path, wanted, document)
            if not found and not names.is_photo(wanted):
                found = _best(self._stems, path, wanted, document)
            if found:
                break
        else:
            wanted = names.tidy(address).lstrip("/")
        if not found and (alike := self._stems.all(names.base(names.without_photo_ending(wanted)))):
            shown = f"{alike[0]} has" if len(alike) == 1 else f"{len(alike)} have"
            return None, f"{MISSING} ({shown} another ending)"
        return self._choose(found, wanted, document, subset)

    def find_stem(self, wanted: str, below: str = "", document: str = "") -> tuple[str | None, str]:
        """As ``find``, for a name without ending: ``"cam1/a"``; ``below`` is what the photo's name begins with."""
        if len(wanted) > names.LONGEST:
            return None, MISSING
        start = names.key(below)
        found = [name for name in self._stems.all(below + wanted) if _same_length(name, below + wanted)]
        for tail in [] if found else _tails(wanted):
            found = [name for name in self._stems.all(tail) if names.key(name).startswith(start)]
            if found:
                break
        if not found and (uploaded := names.without_upload_mark(wanted)) != wanted:
            return self.find_stem(uploaded, below, document)
        return self._choose(found, wanted, document, None)

    def _choose(self, found, wanted, document, subset):
        if len(found) > 1:
            near = names.folder(document).split("/")[:-1]
            found = _longest(found, lambda name: _common(names.folder(name).split("/")[:-1], near))
        if len(found) > 1:
            found = [name for name in found if _is_called(name, document, subset)] or found
        if len(found) > 1:  # masks are often called as their photos are
            found = [name for name in found if not _among_masks(name)] or found
        if len(found) > 1 and all(self._same(found[0], name) for name in found[1:]):
            found = found[:1]
        if not found:
            return None, MISSING
        if len(found) > 1:
            return None, f"several photos fit ({some(found)}), {UNCLEAR}"
        told = names.subset_of_folders(wanted) or subset
        other = names.subset_of_folders(found[0])
        if told and other and told != other and _agreement(found[0], wanted) < 2:
            return None, f"{MISSING} ({found[0]} is of another subset)"
        return found[0], ""


def _of_masks(name):
    """Whether the innermost folder that tells says that a picture is a mask, or painted for people to look at."""
    for part in reversed(name.split("/")[:-1]):
        if _MASK_FOLDERS.fullmatch(names.key(part)):
            # Panoptic masks are PNGs; and a folder may be called after what the whole archive is for.
            return not (names.key(part).startswith("panoptic") and name.lower().endswith((".jpg", ".jpeg")))
        if kind_of(part) == "photos":
            return False
    return False


def _among_masks(name):
    return any(kind_of(part) == "masks" for part in name.split("/")[:-1])


def _tails(name):
    """The name, and what is left of it without its first part, without its first two, and so on."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _same_length(name, other):
    return name.count("/") == other.count("/")


def _best(index, path, wanted, document):
    """What lies exactly at ``path``, else what agrees with most of ``wanted``."""
    beside = [name for name in index.all(path) if _same_length(name, path)] if document else []
    return beside or next((found for tail in _tails(wanted) if tail and (found := index.all(tail))), [])


def place_of(name: str) -> tuple[str, ...]:
    """What the folders of a file say, less what they say of the kind of picture, case aside."""
    return tuple(part for part in map(names.key, name.split("/")[:-1]) if not kind_of(part))


def lies_like(name: str, other: str) -> bool:
    """Whether two files may belong together by their folders: ``cam1/a.jpg`` and ``cam2/labels/a.txt`` do not.

    Of the folders of one, those that say of the kind of picture and of the subset aside, all must be among those of
    the other.
    """
    one, two = (
        {part for part in place_of(n) if names.subset(part) is None and not _MASK_FOLDERS.fullmatch(part)}
        for n in (name, other)
    )
    return one <= two or two <= one


def likeness(photo: str, wanted: str, document: str) -> tuple[int, bool]:
    """How well a photo is the one that a document means; what is greater is better.

    Args:
        photo: name of the file.
        wanted: what the document calls it; "" if it has no name for it.
        document: name of the document.
    """
    return _agreement(photo, names.tidy(wanted)) if wanted else 0, lies_like(photo, document)


def _agreement(name, wanted):
    if not names.is_photo(wanted):
        name = names.without_ending(name)
    return names.agreement(name, wanted)


def _longest(found, measure):
    best = max(map(measure, found), default=0)
    return [name for name in found if measure(name) == best]


def _common(one, other):
    count = 0
    for a, b in zip(one, other, strict=False):
        if names.key(a) != names.key(b):
            break
        count += 1
    return count


def _is_called(name, document, subset):
    """Whether a folder of a photo is called like the document's subset, or like the document."""
    if subset and names.subset_of_folders(name) == subset:
        return True
    stem = names.key(names.stem(document))
    words = {stem, re.sub(r"^(instances|annotations|labels)[-_ ]+", "", stem), stem.split("_")[-1]}
    return any(names.key(part) in words - _NOTHING_SAID for part in name.split("/")[:-1])
