"""Masks in a folder beside that of their photos, or beside the photos, called alike: what most data sets are.

    images/[...]ID.jpg      masks/[...]ID.png, labels/ID_mask.png, annotations/..., train_labels/ID_L.png, gtFine/...
    ID.jpg                  ID_mask.png, ID_label.png and others in the same folder
    imagesTr/ID_0000.png    labelsTr/ID.png, as nnU-Net has them
    img.png                 label.png, as labelme_json_to_dataset writes them

A mask and a photo belong together if their names are the same, less what is only said of the kind of picture, and
if they lie in the same subset. Of the masks of a photo that Cityscapes has, the one of ids is read, and one for each
class are put together (``by_class``); otherwise several masks that fit a photo are left out and named. Names of classes
come from the same files as those of VOC trees, or from ``class_dict.csv`` and its like; where there is none, classes
are called after their ids.
"""

import re

from segdemo.core import names
from segdemo.data.formats import by_class, voc
from segdemo.data.formats.photos import UNCLEAR, kind_of, lies_like, place_of, some
from segdemo.data.formats.reader import Found, Reader

_NEITHER = ("segmentationobject", "overlays", "instances")  # folders of pictures that hold no class ids
_MASK_TAIL = re.compile(
    r"(.+?)[-_. ](?:(?:gtfine|gtcoarse)_labelids|masks?|labels?|labelids|gt|seg|segmentation|annotation|ground_?truth)"
)
# Only in a folder of masks: too short to tell by itself.
_INNER_TAIL = re.compile(r"(.+?)[-_. ](?:l|lab|manual\d?)")
_PHOTO_TAIL = re.compile(r"(.+?)[-_. ](?:leftimg8bit|sat|image|img|rgb|photo|training|test|0000)")
_BREAK, _NUMBER = re.compile(r"[-_. ]"), re.compile(r"[-_. ]?\d+$")
_OTHER_TAIL = re.compile(
    r"(.+?)[-_. ](?:gtfine|gtcoarse)_(?:instanceids|color|labeltrainids|instancetrainids)"
)
_TRAIN_IDS = re.compile(r"(.+?)[-_. ](?:gtfine|gtcoarse)_labeltrainids")
_OPEN_IMAGES = re.compile(r"([0-9a-f]{16})_m(0[0-9a-z_]+)_[0-9a-f]{8}")  # photo, label and box of a mask
_SHOWN = re.compile(
    r"(?:.*[-_ ])?(?:rgb|colou?rs?|vis|visuali[sz]ations?)"
)  # folders of masks painted to look at
_MOST_ALIKE = 200  # photos of one name that are told apart by their folders
_MOST_WORDS = 8  # of the name of a class behind that of a photo
_PHOTO_STEMS, _MASK_STEMS = ("img", "image", "photo"), ("label", "mask", "labels", "gt")


def find(reader: Reader) -> Found | None:
    """The pairs of photos and masks of an archive that no other format has told of, or None."""
    # Photos of a SegDemo export may be called like masks, and are none.
    own = tuple(f"{root}JPEGImages/" for root in reader.own)
    free = [name for name in reader.names if not reader.is_used(name) and not name.startswith(own)]
    masks = [name for name in free if _may_be_mask(name)]
    photos = _Photos(reader, masks)
    pairs, lost = _paired(masks, photos)
    ready = by_class.take_named(reader, _named(lost, photos, pairs, _descriptions(reader, lost)))
    lost = [(mask, why) for mask, why in lost if not reader.is_used(mask)]
    if not pairs and not ready:
        reader.unpaired = [mask for mask, _ in lost if _in_mask_folder(mask)]
        return None
    folders = {names.folder(mask) for found in pairs.values() for mask in found}
    ready += by_class.take(reader, pairs)
    trees: dict[str, voc.Tree] = {}
    items: list[tuple[str | None, str, str]] = []
    for photo, found in pairs.items():
        if reader.is_used(photo):
            reader.use(*found)
            for mask in found:
                why = "is a mask of a photo whose labels come from elsewhere"
                reader.account.add_duplicate(mask, photo, why)
            continue
        why, chosen = "", _chosen(found)
        if chosen is None:
            why = f"several masks fit the photo {photo} ({some(found)}), {UNCLEAR}: put one of all classes there"
        for mask in found:
            if chosen in (None, mask):
                tree = trees.setdefault(_root(mask), voc.Tree(_root(mask), voc=False))
                tree.masks[mask] = mask
                items.append((photo, mask, why))
            else:
                reader.use(mask)
                other = f"is another mask of a photo of which {chosen} is read"
                reader.account.leave_out(mask, "mask", other)
    if not items and not ready:
        return None
    items += [(None, mask, why) for mask, why in lost if names.folder(mask) in folders]
    voc.decide(reader, trees.values())
    ready += [_item(reader, trees, *entry) for entry in sorted(items, key=lambda entry: entry[1])]
    return Found(ready, "Imported masks")


# --- which is a mask, and of which photo ------------------------------------------------------------------


def _may_be_mask(name):
    if not name.lower().endswith(names.MASK_ENDINGS):
        return False
    stem = names.stem(name)
    return _in_mask_folder(name) or _plain(name) != names.key(stem) or stem.lower() in _MASK_STEMS


def _in_mask_folder(name):
    """Whether the innermost folder that tells what is in it tells that it is masks."""
    for part in reversed(name.split("/")[:-1]):
        if names.key(part) in _NEITHER or kind_of(part):
            return names.key(part) not in _NEITHER and kind_of(part) == "masks"
    return False


def _plain(name):
    """The stem of a mask, less what says that it is one."""
    stem = names.key(names.stem(name))
    for tail in (_OTHER_TAIL, _MASK_TAIL, *([_INNER_TAIL] if _in_mask_folder(name) else [])):
        if match := tail.fullmatch(stem):
            return match.group(1)
    return stem


class _Photos:
    """Photos by their stem, with and without what says that they are photos, and by their folders."""

    def __init__(self, reader, masks):
        taken = set(masks)
        self._by_stem, self._by_folder, self._by_place = {}, {}, {}
        for name in reader.photos.files:
            # What is called like a mask beside the photos is one only if there is a photo called so without its tail.
            if name in taken and _in_mask_folder(name):
                continue
            if any(names.key(part) in _NEITHER for part in name.split("/")[:-1]):
                continue
            stem = names.key(names.stem(name))
            match = _PHOTO_TAIL.fullmatch(stem)
            for called in (stem, match.group(1)) if match else (stem,):
                self._by_stem.setdefault(called, []).append(name)
                self._by_folder.setdefault((names.folder(name), called), []).append(name)
                self._by_place.setdefault((place_of(name), called), []).append(name)

    def in_folder(self, mask, called):
        """Those in the folder of a mask."""
        return [name for name in self._by_folder.get((names.folder(mask), called), []) if name != mask]

    def like(self, mask, called):
        """Those whose folders are those of a mask, less what they say of the kind; else any that are called so."""
        found = self._by_place.get((place_of(mask), called)) or self._by_stem.get(called, [])
        return [name for name in found if name != mask]


def _paired(masks, photos):
    """({photo: its masks}, [(mask, why)] of those without one)."""
    pairs, lost = {}, []
    for mask in masks:
        inside = _in_mask_folder(mask)
        stem, found = names.key(names.stem(mask)), []
        for called in dict.fromkeys([stem, _plain(mask)] if inside else [_plain(mask)]):
            found = found or (photos.like if inside else photos.in_folder)(mask, called)
        if not found and stem in _MASK_STEMS:
            found = [name for called in _PHOTO_STEMS for name in photos.in_folder(mask, called)]
        photo, why = _nearest(mask, found)
        if photo:
            pairs.setdefault(photo, []).append(mask)
        else:
            lost.append((mask, why))
    return pairs, lost


def _descriptions(reader, lost):
    """Names of Open Images' labels, by their ids, from its tables, if there are masks of it."""
    found = {}
    if not any(_OPEN_IMAGES.fullmatch(names.stem(mask)) for mask, _ in lost):
        return found
    for name in reader.names:
        if "class-descriptions" in names.key(names.base(name)) and name.lower().endswith(".csv"):
            pairs = (line.split(",", 1) for line in reader.lines(name) if "," in line)
            found |= {label: names.clean_class(called.strip('"')) for label, called in pairs}
    return found


def _named(lost, photos, pairs, described):
    """{photo: {mask: class}} of masks whose names are those of photos without a mask, with a class behind."""
    named = {}
    for mask, _ in lost:
        stem = names.stem(mask)
        if not _in_mask_folder(mask):
            continue
        if thing := _OPEN_IMAGES.fullmatch(stem):
            photo, _ = _nearest(mask, photos.like(mask, names.key(thing[1])))
            if photo and photo not in pairs:
                label = f"/m/{thing[2]}"
                named.setdefault(photo, {})[mask] = described.get(label, label)
            continue
        if tail := _MASK_TAIL.fullmatch(stem.lower()):
            stem = stem[: tail.end(1)]
        stem = _NUMBER.sub("", stem)  # of a thing
        for cut in [match.start() for match in _BREAK.finditer(stem)][: -_MOST_WORDS - 1 : -1]:
            photo, _ = _nearest(mask, photos.like(mask, names.key(stem[:cut])))
            called = names.clean_class(stem[cut + 1 :])
            if photo and photo not in pairs and any(map(str.isalpha, called)):
                named.setdefault(photo, {})[mask] = called
                break
    return named


def _nearest(mask, found):
    """(the photo that lies like a mask, or None, why not): of the same subset, and with most folders in common.

    A photo in ``cam2`` is none for a mask in ``cam1``: of the folders of one, all must be among those of the other.
    """
    if len(found) > _MOST_ALIKE:
        return None, f"{len(found)} photos are called like it, {UNCLEAR}"
    subset = names.subset_of_folders(mask)
    same, fitting = [], []
    for name in found:
        if None in (subset, names.subset_of_folders(name)) or names.subset_of_folders(name) == subset:
            same.append(name)
            if lies_like(name, mask):
                fitting.append(name)
    if not fitting:
        why = "lies in another folder" if same else "is of another subset"
        return None, f"it has no photo, add it{f' ({(same or found)[0]} {why})' if found else ''}"
    parts = {names.key(part) for part in mask.split("/")[:-1]}
    common = [len(parts & {names.key(part) for part in name.split("/")[:-1]}) for name in fitting]
    best = [name for name, count in zip(fitting, common, strict=True) if count == max(common)]
    if len(best) > 1:
        return None, f"several photos fit ({some(best)}), {UNCLEAR}"
    return best[0], ""


def _chosen(found):
    """The mask to read of those of a photo, or None."""
    ids = [mask for mask in found if not _OTHER_TAIL.fullmatch(names.key(names.stem(mask)))]
    ids = ids or [mask for mask in found if _TRAIN_IDS.fullmatch(names.key(names.stem(mask)))]
    plain = [
        m for m in ids if not any(_SHOWN.fullmatch(part) for part in names.key(names.folder(m)).split("/"))
    ]
    ids = plain if len(plain) == 1 else ids
    return ids[0] if len(ids) == 1 else None


# --- reading ----------------------------------------------------------------------------------------------


def _root(mask):
    """What stands before the folder of masks, where files that name the classes may lie."""
    parts = mask.split("/")[:-1]
    at = next((i for i, part in enumerate(parts) if _in_mask_folder(f"{part}/x")), len(parts))
    inner = "".join(f"{part}/" for part in parts)
    return inner if at == len(parts) else "".join(f"{part}/" for part in parts[: at + 1])


def _item(reader, trees, photo, mask, why):
    subset = reader.subset_of("", mask) or reader.subset_of("", photo)
    if photo:
        reader.use(photo)
    shown = None if why else photo
    return voc.item(reader, trees.get(_root(mask)), mask, shown, why, called=photo or mask, subset=subset)
