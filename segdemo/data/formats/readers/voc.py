"""PASCAL VOC trees, as many as an archive holds: a mask for each photo, lists of subsets, and names of the classes.

    JPEGImages/[...]ID.jpg              the photos
    SegmentationClass/[...]ID.png       the masks
    ImageSets/Segmentation/*.txt        train, val, test, or others that tell no subset
    labelmap.txt, class_names.txt, labels.txt    names of the classes: CVAT's (with colours), labelme's, others'

Oxford-IIIT Pet's layout, ``images`` and ``annotations/trimaps``, is read alike; its masks hold class id + 1.

Folders may be written in any case. Where no file names the classes, VOC's own are assumed, and that is said; unless
the masks are black and white, which are no class ids at all: then white is one object.
"""

from dataclasses import dataclass, field

import numpy as np

from segdemo.core import label_maps, names
from segdemo.core.labels import LABEL_SETS, VOID, LabelSet
from segdemo.data.formats import sidecars
from segdemo.data.formats.annotation import ExchangeError
from segdemo.data.formats.classes import make_label_set, parse_names, parse_table
from segdemo.data.formats.reader import Found, Item
from segdemo.data.formats.readers import pictures

OBJECT = "object"  # what white is called where nothing names it
_MASKS = ("segmentationclass", "segmentationclasspng", "segmentationclassaug")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
_NAMES = (
    *("labelmap.txt", "label_map.txt", "class_names.txt", "labels.txt", "label_names.txt", "classes.txt"),
    *("class_dict.csv", "_classes.csv", "classes.csv", "codes.txt"),
)


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
    voc: bool = True  # the classes are VOC's where nothing names them; else they are called after their ids


def find(reader):
    """The VOC trees of an archive. Raises ExchangeError."""
    trees = {}
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
    for tree in trees.values():
        decide(reader, tree)
        root = names.key(tree.root)
        photo_folder = f"{tree.root}JPEGImages/" if root in photos and not tree.trimaps else tree.root
        items += _items(reader, tree, photo_folder, lists.get(root, []))
    return Found(items, "Imported from VOC")


def _place(name):
    """(what its tree's names begin with, what lists call it, whether it is a trimap) of a mask; None for others."""
    if not name.lower().endswith(_PICTURES):
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


def decide(reader, tree):
    """Find out what the masks of a ``Tree`` hold, and what their classes are called; put it into both."""
    own = reader.own.get(tree.root)
    if own is not None:
        tree.label_set = own
        reader.classes.take(own, f"{tree.root}{sidecars.LABEL_SET}")
        return
    found, colors, source = ([], {}, "") if tree.trimaps else _class_names(reader, tree.root)
    has_background = any(map(names.is_background, found))

    def enough(look):
        if not found and not tree.voc:
            return look.colored or look.smeared  # else the highest id is wanted
        return not found or has_background or look.highest >= len(found)

    look = pictures.look(reader, list(tree.masks.values()), enough)
    if look.black_and_white:
        _decide_white(reader, tree, found, colors, source)
    elif tree.trimaps:
        tree.label_set = LABEL_SETS["pets"]
        reader.classes.take(tree.label_set, "Oxford-IIIT Pet's, as the masks are called trimaps")
    elif found:
        add = not has_background and (
            look.highest >= len(found) or (colors and look.black and (0, 0, 0) not in colors.values())
        )
        tree.label_set = make_label_set(
            found, f"Classes of {source}", colors, add_background=add, name="imported"
        )
        counted = "" if has_background or add or colors else ", whose first name is class id 0"
        reader.classes.take(tree.label_set, f"{source}{counted}")
    elif reader.classes.target is not None:
        tree.by_id = True
        reader.classes.take(reader.classes.target, "no file names them: the class ids are taken as they are")
    elif not tree.voc:
        _decide_by_ids(reader, tree, look)
    else:
        tree.label_set = LABEL_SETS["voc"]
        reader.classes.take(
            tree.label_set, "assumed to be PASCAL VOC's 21, since no file in the archive names them"
        )


def _decide_by_ids(reader, tree, look):
    """Classes that nothing names are called after their ids."""
    if look.smeared:
        tree.refusal = (
            "is black and white with greys between, as scaling and JPEG leave them, and these are no class ids: save "
            "all masks in black and white alone"
        )
        tree.label_set = make_label_set([OBJECT], "Imported masks")
        reader.classes.take(tree.label_set, "the masks are black and white with greys between, not class ids")
        return
    found = ["background", *(f"class {i}" for i in range(1, look.highest + 1))]
    tree.label_set = make_label_set(found, "Imported masks")
    said = "no file names them: they are called after their ids, and 0 was read as the background"
    if look.colored:
        tree.refusal = (
            "is coloured, and no file says which colour is which class: add a class_dict.csv with the columns name, "
            "r, g and b"
        )
    reader.classes.take(tree.label_set, said)


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
            thing = others[0] if len(others) == 1 else target.classes[object_id]
            source = ""
        else:
            tree.refusal = (
                "is black and white (0 and 255), and holds no class ids: import it into a collection with one class "
                "besides the background, or with a class called 'object', and white (255) is read as that"
            )
            tree.label_set = target
            reader.classes.take(target, "the masks are black and white (0 and 255), not class ids")
            return
    else:
        thing, source = OBJECT, f"; the others are named by {source}" if things else ""
    classes = found if thing in found else [*found, thing]
    tree.label_set = make_label_set(classes, "Imported black and white masks", colors)
    tree.object_id = tree.label_set.classes.index(thing)
    reader.classes.take(tree.label_set, f"{said} {thing!r}{source}")


def _class_names(reader, root):
    """(names, colours, source) of a tree's classes, given or from its files; ([], {}, "") without any."""
    if reader.class_names is not None:
        found, colors = reader.class_names
        return list(found), colors, "the list that was given"
    folder = root
    while True:
        for file in _NAMES:
            name = reader.by_name.one(folder + file)
            if name is None:
                continue
            reader.use(name)
            try:
                parse = parse_table if name.lower().endswith(".csv") else parse_names
                found, colors = parse(reader.text(name))
                make_label_set(found, "", colors)  # whether they can be classes at all
            except ExchangeError as error:
                why = str(error).removeprefix(f"{name} ")
                reader.account.leave_out(name, "the list of classes", why)
                continue
            return found, colors, name
        if not folder:
            return [], {}, ""
        folder = names.folder(folder.rstrip("/"))


# --- photos, masks and subsets ----------------------------------------------------------------------------


def _items(reader, tree, photo_folder, lists):
    subsets = _lists(reader, tree, lists)
    items = []
    for id_, name in tree.masks.items():
        photo, why = reader.photos.find_stem(id_, photo_folder)
        if photo is None and "missing" in why:
            photo, why = reader.photos.find_stem(id_, tree.root)
        if photo is not None:
            reader.use(photo)
        elif "missing" in why:
            why = f"it has no photo, add JPEGImages/{id_}.jpg"
        reader.use(name)
        if subsets.get(id_):
            subset = reader.one_subset(subsets[id_], name, f"{tree.root}ImageSets")
        else:
            subset = reader.subset_of("", name)
        items.append(
            Item(
                stem=names.base(id_),
                where=name,
                photo=photo,
                parts=lambda name=name: [(name, "mask")],
                load=lambda height, width, name=name: load(reader, tree, name, height, width),
                subset=subset,
                why_not="" if photo else why,
            )
        )
    return items


def _lists(reader, tree, files):
    """Subsets of a tree's masks by what they are called: those that the lists in ImageSets tell, in any case."""
    ids = names.Index()
    for id_ in tree.masks:
        ids.add(id_, id_)
    for id_ in tree.masks:
        if "/" in id_:
            ids.add(names.base(id_), id_)
    told, lost = {}, 0
    segmentation = [n for n in files if "segmentation" in names.key(n[len(tree.root) :]).split("/")]
    for name in segmentation or files:
        reader.use(name)
        subset = names.subset(names.base(names.without_ending(name)))
        if subset is None:
            continue
        try:
            lines = names.lines(reader.text(name))
        except ExchangeError as error:
            reader.account.leave_out(name, "the list", str(error).removeprefix(f"{name} "))
            continue
        for line in lines:
            if (id_ := names.listed(line, ids)) is not None:
                told.setdefault(id_, set()).add(subset)
            else:
                lost += 1
    if told or lost:
        missing = f", {lost} of whose lines fit no mask, or several" if lost else ""
        reader.say_split(f"the lists in ImageSets{missing}")
    return told


def load(reader, tree, name, height, width):
    parts = [(name, "mask")]
    if tree.refusal:
        raise ExchangeError(f"it {tree.refusal}")
    if tree.object_id is not None:
        white = pictures.read_white(reader, name, (height, width))
        ground = tree.label_set.background
        label_map = np.where(white, np.uint8(tree.object_id), np.uint8(VOID if ground is None else ground))
    else:
        data = pictures.as_png(reader, name)
        own = reader.label_set if tree.by_id else tree.label_set
        label_map = label_maps.decode_png(data, None if tree.trimaps else own, (height, width), reader.limits)
        if tree.trimaps:
            known = (label_map >= 1) & (label_map <= len(own))
            label_map = np.where(known, label_map - np.uint8(1), np.uint8(VOID))
    if not tree.by_id and tree.label_set != reader.label_set:
        label_map = _renumbered(reader, tree.label_set, name, label_map)
    return label_map, parts


def _renumbered(reader, own, name, label_map):
    """A label map in the classes that are read into; what has no place there becomes background, and is named."""
    present = [i for i in np.flatnonzero(np.bincount(label_map.ravel(), minlength=256)).tolist() if i != VOID]
    target = reader.label_set
    ground = VOID if target.background is None else target.background
    ids = np.full(256, VOID, np.uint8)
    placed = {i: reader.classes.id_of(own.classes[i]) for i in range(len(own))}
    if own.background is not None and placed[own.background] is None:
        placed[own.background] = target.background
    things = [i for i in present if i != own.background]
    lost = [i for i in things if placed[i] is None]
    if lost and len(lost) == len(things):
        raise ExchangeError(
            f"it holds class id {lost[0]}, but {target.title} has no class called {own.classes[lost[0]]!r}."
        )
    for i in range(len(own)):
        ids[i] = ground if placed[i] is None else placed[i]
    for i in lost:
        why = f"has no place: there is no class {own.classes[i]!r} in {target.title}"
        reader.account.leave_out(name, f"the class {own.classes[i]!r}", why)
    return ids[label_map]
