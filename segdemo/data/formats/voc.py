"""PASCAL VOC: a palettized PNG for each photo, lists of the photos in each subset, and names of the classes.

    JPEGImages/[...]ID.jpg              the photos
    SegmentationClass/[...]ID.png       label maps, 255 = void
    ImageSets/Segmentation/*.txt        train, val, trainval (and test): one ID a line; written without white space,
                                        since many tools read the lists word by word
    labelmap.txt, class_names.txt, labels.txt    names of the classes: CVAT's (with colours), labelme's, others'

An archive may hold several such trees, with folders written in any case. Oxford-IIIT Pet's layout, ``images`` and
``annotations/trimaps``, is read alike; its masks hold class id + 1. Where no file names the classes, VOC's own are
assumed, and that is said; unless the masks are black and white, which are no class ids at all: then white is one
object.

Format: Everingham et al., VOC2012 development kit
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from segdemo.core import label_maps, names
from segdemo.core.labels import LABEL_SETS, VOID, LabelSet
from segdemo.data.formats import pictures, sidecars
from segdemo.data.formats.annotation import SUBSETS, ExchangeError
from segdemo.data.formats.classes import make_label_set, parse_document, parse_names, parse_table
from segdemo.data.formats.format import File, Writer
from segdemo.data.formats.outgoing import Outgoing
from segdemo.data.formats.reader import Found, Item, Reader
from segdemo.data.formats.shapes import ground_of

_FAR, _FEW = 30, 8  # ids above, of which there are so few, may be greys
OBJECT = "object"  # what white is called where nothing names it
_MASKS = ("segmentationclass", "segmentationclasspng", "segmentationclassaug")
_NAMES = (
    *("labelmap.txt", "label_map.txt", "class_names.txt", "labels.txt", "label_names.txt", "classes.txt"),
    *("class_dict.csv", "_classes.csv", "classes.csv", "codes.txt"),
    *("label_colors.txt", "objectInfo150.txt", "dataset.json"),
)

_MOST_DOCUMENT = 1_000_000  # bytes of a JSON file that may name classes


@dataclass
class Tree:
    """Masks that belong together: what their files' names begin with, and the masks by what lists call them."""

    root: str
    masks: dict[str, str] = field(default_factory=dict)
    label_set: LabelSet | None = None
    object_id: int | None = None  # of the class that white is, in a black and white tree
    refusal: str = ""
    by_id: bool = False  # class ids are those of the label set read into
    trimaps: bool = False  # the masks hold class id + 1
    by_color: bool = False  # its classes have colours that are told, so that no grey is an id
    by_grey: bool = False  # what its masks hold are greys among these colours
    unread: str = ""  # a list of names that cannot be read
    voc: bool = True  # the classes are VOC's where nothing names them; else they are called after their ids

    def take(self, reader: Reader, label_set: LabelSet, source: str) -> None:
        """Settle on a label set, and say where it is from."""
        self.label_set = label_set
        reader.classes.take(label_set, source)


class VocWriter(Writer):
    """Writes masks, lists of subsets, and the names of the classes with their colours, as CVAT and Datumaro do."""

    folders = ("SegmentationClass", "ImageSets", "labelmap.txt")

    def __init__(self, label_set: LabelSet):
        super().__init__(label_set)
        self._stems: dict[str, list[str]] = {subset: [] for subset in SUBSETS}

    def add(self, item: Outgoing) -> Iterable[File]:
        self._stems[item.subset].append(item.stem)
        yield f"SegmentationClass/{item.stem}.png", label_maps.encode_png(item.label_map, self.label_set)

    def finish(self) -> Iterable[File]:
        lists = {**self._stems, "trainval": self._stems["train"] + self._stems["val"]}
        for name, stems in lists.items():
            if stems or name != "test":
                yield f"ImageSets/Segmentation/{name}.txt", "".join(f"{stem}\n" for stem in sorted(stems))
        named = zip(self.label_set.classes, self.label_set.colors, strict=True)
        lines = [f"{' '.join(name.split())}:{red},{green},{blue}::" for name, (red, green, blue) in named]
        text = "\n".join(["# label:color_rgb:parts:actions", *lines, ""])
        yield "labelmap.txt", text.encode("utf-8", "replace")


def find(reader: Reader) -> Found | None:
    """The VOC trees of an archive. Raises ExchangeError."""
    trees: dict[tuple[str, bool], Tree] = {}
    for name in reader.names:
        if (place := _place(name)) is None:
            continue
        root, id_, trimaps = place
        tree = trees.setdefault((root, trimaps), Tree(root, trimaps=trimaps))
        if id_ not in tree.masks or not tree.masks[id_].lower().endswith(".png"):
            tree.masks[id_] = name
    if not trees:
        return None
    photos = _below(reader.photos.files, "jpegimages")
    lists = _below([name for name in reader.names if name.lower().endswith(".txt")], "imagesets")
    items = []
    decide(reader, trees.values())
    for tree in trees.values():
        root = names.key(tree.root)
        photo_folder = f"{tree.root}JPEGImages/" if root in photos and not tree.trimaps else tree.root
        items += _items(reader, tree, photo_folder, lists.get(root, []))
    return Found(items, "Imported from VOC")


def _place(name):
    """(what its tree's names begin with, what lists call it, whether it is a trimap) of a mask; None for others."""
    if not name.lower().endswith(names.MASK_ENDINGS):
        return None
    parts = name.split("/")
    for at, part in enumerate(map(names.key, parts[:-1])):
        trimaps = part == "trimaps" and at > 0 and names.key(parts[at - 1]) == "annotations"
        if part in _MASKS or trimaps:
            root = "".join(f"{above}/" for above in parts[: at - trimaps])
            return root, names.without_ending("/".join(parts[at + 1 :])), trimaps
    return None


def _below(files, folder):
    """Files by what their names begin with before the first folder called so, both case aside."""
    found = {}
    for name in files:
        parts = names.key(name).split("/")
        if folder in parts[:-1]:
            found.setdefault("".join(f"{part}/" for part in parts[: parts.index(folder)]), []).append(name)
    return found


# --- classes ----------------------------------------------------------------------------------------------


def decide(reader: Reader, trees: Iterable[Tree]) -> None:
    """Find out what the masks of ``Tree``s hold, and what their classes are called; put it into both.

    Trees that share a list of names, or have none and differ in their subset alone, are read alike.
    """
    alike: dict[tuple, tuple[tuple, list[Tree]]] = {}
    for tree in trees:
        own = reader.own.get(tree.root)
        if own is not None:
            tree.take(reader, own, f"{tree.root}{sidecars.LABEL_SET}")
            continue
        found = ([], {}, "", "") if tree.trimaps else _class_names(reader, tree.root)
        place = tuple(part for part in tree.root.split("/") if names.subset(part) is None)
        alike.setdefault((found[2] or place, tree.trimaps, tree.voc), (found, []))[1].append(tree)
    for (*found, unread), several in alike.values():
        first = several[0]
        masks = {f"{tree.root}{id_}": mask for tree in several for id_, mask in tree.masks.items()}
        whole = Tree(first.root, masks, trimaps=first.trimaps, voc=first.voc and not unread, unread=unread)
        _decide(reader, whole, *found)
        for tree in several:
            tree.label_set, tree.object_id, tree.refusal = whole.label_set, whole.object_id, whole.refusal
            tree.by_id, tree.by_color, tree.by_grey = whole.by_id, whole.by_color, whole.by_grey


def _decide(reader, tree, found, colors, source):
    has_background = any(map(names.is_background, found))
    tree.by_color = bool(colors)
    told = {*colors.values()} | ({(0, 0, 0)} if not has_background else set())

    def are_colors(greys):
        return bool(greys - {0}) and {(v, v, v) for v in greys} <= told

    def enough(look):
        if are_colors(look.greys):
            return False
        if not found and not tree.voc:
            return look.colored or look.smeared  # else the highest id is wanted
        return not found or has_background or look.highest >= len(found)

    look = pictures.look(reader, list(tree.masks.values()), enough)
    tree.by_grey = are_colors(look.greys)
    in_table = tree.by_grey or (not look.greys and (255, 255, 255) in colors.values())
    if look.black_and_white and not in_table:
        _decide_white(reader, tree, found, colors, source)
    elif tree.trimaps:
        tree.take(reader, LABEL_SETS["pets"], "Oxford-IIIT Pet's, as the masks are called trimaps")
    elif found:
        black = (
            colors and (look.black or (tree.by_grey and 0 in look.greys)) and (0, 0, 0) not in colors.values()
        )
        add = not has_background and (black or (look.highest >= len(found) and not tree.by_grey))
        counted = "" if has_background or add or colors else ", whose first name is class id 0"
        label_set = make_label_set(found, f"Classes of {source}", colors, add_background=add)
        tree.take(reader, label_set, f"{source}{counted}")
    elif reader.classes.target is not None:
        tree.by_id = True
        reader.classes.take(reader.classes.target, "no file names them: the class ids are taken as they are")
    elif not tree.voc:
        _decide_by_ids(reader, tree, look)
    else:
        said = "assumed to be PASCAL VOC's 21, since no file in the archive names them"
        tree.take(reader, LABEL_SETS["voc"], said)


def _decide_by_ids(reader, tree, look):
    """Classes that nothing names are called after their ids."""
    if look.smeared:
        tree.refusal = (
            "is black and white with greys between, as scaling and JPEG leave them, and these are no class ids: save "
            "all masks in black and white alone"
        )
        found, said = [OBJECT], "the masks are black and white with greys between, not class ids"
    else:
        found = ["background", *(f"class {i}" for i in range(1, look.highest + 1))]
        if look.highest > _FAR and len(look.values) <= _FEW:
            values = ", ".join(map(str, sorted(look.values)))
            reader.account.notes.append(
                f"The masks in {tree.root or reader.source.title} hold {values} alone, which were read as class ids, "
                "and 255 as void: if they are greys, number them 0, 1, 2 and so on first."
            )
        why = f"{tree.unread} cannot be used" if tree.unread else "no file names them"
        said = f"{why}: they are called after their ids, and 0 was read as the background"
    if look.colored and not look.smeared:
        tree.refusal = (
            "is coloured, and no file says which colour is which class: add a class_dict.csv with the columns name, "
            "r, g and b"
        )
    tree.take(reader, make_label_set(found, "Imported masks"), said)


def _decide_white(reader, tree, found, colors, source):
    """White is an object: which class it is, if that can be known."""
    things = [name for name in found if not names.is_background(name)]
    target = reader.classes.target
    said = "the masks are black and white (0 and 255), not class ids: white (255) was read as the class"
    if len(things) == 1:
        thing, source = things[0], f"; named by {source}"
    elif target is not None and not things:
        others = [name for i, name in enumerate(target.classes) if i != target.background]
        object_id = names.class_id(OBJECT, target.classes)
        if len(others) == 1 or object_id is not None:
            thing, source = others[0] if len(others) == 1 else target.classes[object_id], ""
        else:
            tree.refusal = (
                "is black and white (0 and 255), and holds no class ids: import it into a collection with one class "
                "besides the background, or with a class called 'object', and white (255) is read as that"
            )
            tree.take(reader, target, "the masks are black and white (0 and 255), not class ids")
            return
    else:
        thing, source = OBJECT, f"; the others are named by {source}" if things else ""
    classes = found if thing in found else [*found, thing]
    label_set = make_label_set(classes, "Imported black and white masks", colors)
    tree.object_id = label_set.classes.index(thing)
    tree.take(reader, label_set, f"{said} {thing!r}{source}")


def _class_names(reader, root):
    """(names, colours, source, a list that cannot be read) of a tree's classes, given or from its files; else ""."""
    if reader.class_names is not None:
        found, colors = reader.class_names
        return list(found), colors, "the list that was given", ""
    folder, unread = root, ""
    while True:
        for file in _NAMES:
            name = reader.by_name.one(folder + file)
            document = file.endswith(".json")  # which may be of something else
            if name is None or (document and reader.source.sizes[name] > _MOST_DOCUMENT):
                continue
            if not document:
                reader.use(name)
            try:
                found, colors = _parser(name)(reader.text(name))
                make_label_set(found, "", colors)  # whether they can be classes at all
            except ExchangeError as error:
                if not document:
                    unread = unread or (name if reader.lines(name) else "")
                    reader.leave_out_file(name, "the list of classes", error)
                continue
            reader.use(name)
            return found, colors, name, ""
        if not folder:
            return [], {}, "", unread
        folder = names.above(folder)


def _parser(name):
    """What reads a file of names."""
    if name.lower().endswith(".json"):
        return parse_document
    return parse_table if name.lower().endswith((".csv", "objectinfo150.txt")) else parse_names


# --- photos, masks and subsets ----------------------------------------------------------------------------


def _items(reader, tree, photo_folder, lists):
    subsets = _lists(reader, tree, lists)
    items = []
    for id_, name in tree.masks.items():
        photo, why = reader.photos.find_stem(id_, photo_folder)
        if photo is None and "missing" in why:
            photo, why = reader.photos.find_stem(id_, tree.root)
        if photo is None and "missing" in why:
            why = f"it has no photo, add JPEGImages/{id_}.jpg"
        if subsets.get(id_):
            subset = reader.one_subset(subsets[id_], name, f"{tree.root}ImageSets")
        else:
            subset = reader.subset_of("", name)
        items.append(item(reader, tree, name, photo, why, subset=subset, by_photo=False))
    return items


def item(reader: Reader, tree: Tree, name: str, photo: str | None, why: str, **options) -> Item:
    """The ``Item`` of a mask of a ``Tree``; ``photo``, ``why`` and ``options`` as for ``Reader.item``."""
    reader.use(name)
    load = partial(_load, reader, tree, name)
    return reader.item(name, photo, why, lambda: [(name, "mask")], load, **{"called": name, **options})


def _lists(reader, tree, files):
    """Subsets of a tree's masks by what they are called: those that the lists in ImageSets tell, in any case."""
    ids = names.Index((id_, id_) for id_ in tree.masks)
    for id_ in tree.masks:
        if "/" in id_:
            ids.add(names.base(id_), id_)
    told, lost = {}, 0
    segmentation = [n for n in files if "segmentation" in names.key(n[len(tree.root) :]).split("/")]
    for name in segmentation or files:
        subset = names.subset(names.stem(name))
        if subset is None:
            reader.use(name)
            continue
        for line in reader.lines(name):
            if (id_ := names.listed(line, ids)) is not None:
                told.setdefault(id_, set()).add(subset)
            else:
                lost += 1
    if told or lost:
        missing = f", {lost} of whose lines fit no mask, or several" if lost else ""
        reader.say_split(f"the lists in ImageSets{missing}")
    return told


def _load(reader, tree, name, height, width):
    if tree.refusal:
        raise ExchangeError(f"it {tree.refusal}")
    if tree.object_id is not None:
        white = pictures.read_white(reader, name, (height, width))
        label_map = np.where(white, np.uint8(tree.object_id), np.uint8(ground_of(tree.label_set)))
    else:
        data = pictures.as_png(reader, name)
        if tree.by_color:
            data = pictures.in_colors(data, tree.label_set, reader.limits, tree.by_grey) or data
        own = reader.label_set if tree.by_id else tree.label_set
        known, size = None if tree.trimaps else own, (height, width)
        try:
            label_map = label_maps.decode_png(data, known, size, reader.limits)
        except label_maps.MaskError:  # the colours of no class, which may be ids written three times
            grey = None if tree.by_color else pictures.as_grey(data, reader.limits)
            if grey is None:
                raise
            label_map = label_maps.decode_png(grey, known, size, reader.limits)
        if tree.trimaps:
            named = (label_map >= 1) & (label_map <= len(own))
            label_map = np.where(named, label_map - np.uint8(1), np.uint8(VOID))
    if not tree.by_id and tree.label_set != reader.label_set:
        label_map = _renumbered(reader, tree.label_set, name, label_map)
    return label_map, [(name, "mask")]


def _renumbered(reader, own, name, label_map):
    """A label map in the classes that are read into; what has no place there becomes background, and is named."""
    target = reader.label_set
    placed = {i: reader.classes.id_of(name) for i, name in enumerate(own.classes)}
    if own.background is not None and placed[own.background] is None:
        placed[own.background] = target.background
    counts = np.bincount(label_map.ravel(), minlength=256)
    things = [i for i in placed if counts[i] and i != own.background]
    lost = [i for i in things if placed[i] is None]
    if lost and len(lost) == len(things):
        lacking = f"{target.title} has no class called {own.classes[lost[0]]!r}"
        raise ExchangeError(f"it holds class id {lost[0]}, but {lacking}.")
    ids = np.full(256, VOID, np.uint8)
    for i, id_ in placed.items():
        ids[i] = ground_of(target) if id_ is None else id_
    for i in lost:
        why = f"has no place: there is no class {own.classes[i]!r} in {target.title}"
        reader.account.leave_out(name, f"the class {own.classes[i]!r}", why)
    return ids[label_map]
