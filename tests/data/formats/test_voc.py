"""VOC trees of other tools: layouts, names of the classes, lists of subsets, and masks that are black and white."""

import numpy as np
import pytest
from archive_files import (
    BARE,
    HEIGHT,
    WIDTH,
    encoded,
    examples,
    exported,
    make_folder,
    picture,
    png,
    read,
    same,
    square,
)
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC, VOID, LabelSet
from segdemo.data.formats import import_folder

BW = square(255)
PALETTIZED = png(square())


def tree(root="", mask=PALETTIZED, **more):
    return {f"{root}JPEGImages/a.png": picture(), f"{root}SegmentationClass/a.png": mask, **more}


def colours(mapping, label_map=None):
    """An RGB mask in the colours of a mapping from class id."""
    label_map = square() if label_map is None else label_map
    rgb = np.zeros((*label_map.shape, 3), np.uint8)
    for id_, color in mapping.items():
        rgb[label_map == id_] = color
    return encoded(rgb)


# --------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("JPEGImages/a.png", "SegmentationClass/a.png"),
        ("jpegimages/a.png", "segmentationclass/a.png"),
        ("JPEGIMAGES/A.PNG", "SEGMENTATIONCLASS/a.PNG"),
        ("JPEGImages/cam1/a.png", "SegmentationClass/cam1/a.png"),
        ("x/y/z/JPEGImages/a/b/c.png", "x/y/z/SegmentationClass/a/b/c.png"),
        ("images/a.png", "SegmentationClass/a.png"),
        ("JPEGImages/a.png", "SegmentationClassPNG/a.png"),
        ("JPEGImages/a.png", "SegmentationClass/cam1/a.png"),
    ],
)
def test_trees_are_read_at_any_depth_and_in_any_case(tmp_path, photo, mask):
    photos, imported = read(tmp_path, {photo: picture(), mask: PALETTIZED})
    assert list(photos) == [photo] and same(photos[photo], square())
    assert imported.account.left_out == imported.account.ignored == []


def test_every_tree_of_an_archive_is_read(tmp_path):
    files = {}
    for number, root in enumerate(("train/", "val/", "more/deep/")):
        files[f"{root}JPEGImages/a.png"] = picture(number)
        files[f"{root}SegmentationClass/a.png"] = png(square(number + 1))
    photos, imported = read(tmp_path, files)
    assert [photo.label_map.max() for photo in photos.values()] == [3, 1, 2]
    assert imported.account.labelled == 3 and imported.account.ignored == []
    assert [photo.meta.get("subset") for photo in photos.values()] == [None, "train", "val"]


def test_trees_with_other_names_become_one_label_set(tmp_path):
    files = {
        **tree("one/", **{"one/class_names.txt": "background\ncat\n"}),
        **tree("two/", **{"two/class_names.txt": "background\ndog\nCat\n"}),
    }
    photos, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert same(photos["one/JPEGImages/a.png"], square(1)) and same(photos["two/JPEGImages/a.png"], square(2))


def test_the_layout_of_pets_is_read_too(tmp_path):
    files = {"p/annotations/trimaps/a.png": encoded(square(1, ground=2))}
    files["p/images/a.jpg"] = picture(format="JPEG")
    photos, imported = read(tmp_path, files)
    assert imported.label_set == PETS and same(photos["p/images/a.jpg"], square(0, ground=1))
    files["p/annotations/trimaps/a.png"] = encoded(square(255))
    photos, imported = read(tmp_path, files)
    assert imported.label_set.classes == ("background", "object") and same(photos["p/images/a.jpg"], square())
    assert "black and white" in imported.account.classes_source


def test_photos_that_fit_equally_well_are_refused_by_name(tmp_path):
    files = {**tree(), "JPEGImages/a.jpg": picture(format="JPEG")}
    photos, imported = read(tmp_path, files)
    assert photos == {}
    [entry] = imported.account.left_out
    assert "JPEGImages/a.jpg, JPEGImages/a.png" in entry.why


# ----------------------------------------------------------------------------------- names of the classes


@pytest.mark.parametrize(
    ("file", "text", "classes"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n", None),
        ("labelmap.txt", "cat:250,50,83::\r\nbackground:0,0,0::\r\n", ("cat", "background")),
        ("labelmap.txt", "cat:250,50,83::\n", None),
        ("labelmap.txt", "background:0,0,0\ncat: 250, 50, 83\n", None),
    ],
)
def test_colours_come_from_labelmap(tmp_path, file, text, classes):
    files = tree(mask=colours({1: (250, 50, 83)}), **{file: "\ufeff" + text})
    photos, imported = read(tmp_path, files)
    classes = classes or ("background", "cat")
    cat, ground = classes.index("cat"), classes.index("background")
    assert imported.label_set.classes == classes and imported.label_set.background == ground
    assert same(photos["JPEGImages/a.png"], square(cat, ground))
    assert imported.account.classes_source.startswith("labelmap.txt")
    assert imported.label_set.colors[cat] == (250, 50, 83)


@pytest.mark.parametrize(
    ("file", "text", "classes"),
    [
        ("class_names.txt", "_background_\nroad\ncar\n", ("_background_", "road", "car")),
        ("labels.txt", "\ufeff__ignore__\r\n_background_\r\nroad\r\n", ("_background_", "road")),
        ("Class_Names.TXT", "background\nroad\n", ("background", "road")),
        ("labels.txt", "0 background\n1 road\n2 car\n", ("background", "road", "car")),
        ("labels.txt", "1: road\n2: car\n", ("background", "road", "car")),
        ("labels.txt", "ground\nroad\n", ("ground", "road")),  # ids count from the first
    ],
)
@pytest.mark.parametrize("place", ["", "set/"])
def test_names_come_from_lists(tmp_path, file, text, classes, place):
    photos, imported = read(tmp_path, {**tree("set/"), place + file: text})
    assert imported.label_set.classes == classes
    assert imported.account.classes_source.startswith(place + file)
    assert same(photos["set/JPEGImages/a.png"], square()) and imported.account.ignored == []


def test_a_list_without_background_is_counted_from_one_where_the_ids_say_so(tmp_path):
    photos, imported = read(tmp_path, {**tree(mask=png(square(2))), "class_names.txt": "road\ncar\n"})
    assert imported.label_set.classes == ("background", "road", "car")
    assert same(photos["JPEGImages/a.png"], square(2))


@pytest.mark.parametrize(
    "files", [{}, {"readme.txt": "hello"}, {"x/labels.txt": "a\nb\n"}, {"labels.txt": ""}]
)
def test_without_names_vocs_are_assumed_and_that_is_said(tmp_path, files):
    photos, imported = read(tmp_path, {**tree(), **files})
    assert imported.label_set == VOC and same(photos["JPEGImages/a.png"], square())
    assert "assumed" in imported.account.classes_source and "VOC" in imported.account.classes_source
    named = [*imported.account.ignored, *(entry.file for entry in imported.account.left_out)]
    assert named == list(files)


def test_names_that_are_given_count(tmp_path):
    given = (["background", "road"], {})
    photos, imported = read(tmp_path, {**tree(), "class_names.txt": "background\ncat\n"}, class_names=given)
    assert imported.label_set.classes == ("background", "road") and same(photos["JPEGImages/a.png"], square())


def test_named_classes_go_into_a_label_set_by_name(tmp_path):
    mask = square(1)
    mask[0, 0] = 2
    target = LabelSet("t", "Target", ("car", "nothing", "road"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), 1)
    files = {**tree(mask=png(mask)), "class_names.txt": "_background_\nroad\ntree\n"}
    photos, imported = read(tmp_path, files, label_set=target)
    assert same(photos["JPEGImages/a.png"], square(2, ground=1))
    [entry] = imported.account.left_out
    assert entry.what == "the class 'tree'" and "no class 'tree' in Target" in entry.why
    assert imported.missing == ["tree"]


def test_a_mask_with_ids_beyond_the_names_is_left_out_and_the_others_kept(tmp_path):
    files = {**tree(), "class_names.txt": "background\ncat\n"}
    files |= {"JPEGImages/b.png": picture(1), "SegmentationClass/b.png": png(square(7))}
    photos, imported = read(tmp_path, files)
    assert same(photos["JPEGImages/a.png"], square()) and same(photos["JPEGImages/b.png"], None)
    assert "class id 7" in imported.refused[0]


# --------------------------------------------------------------------------------------- black and white


@pytest.mark.parametrize(
    "mask",
    [*(encoded(BW, mode=mode) for mode in (None, "1", "RGB", "RGBA")), encoded(np.stack([BW] * 3, -1))],
)
def test_black_and_white_masks_are_called_what_they_are(tmp_path, mask):
    photos, imported = read(tmp_path, tree(mask=mask))
    assert imported.label_set.classes == ("background", "object")
    assert same(photos["JPEGImages/a.png"], square())
    source = imported.account.classes_source
    assert "black and white" in source and "255" in source and "'object'" in source


def test_a_palette_of_black_and_white_is_that_too(tmp_path):
    image = Image.frombytes("P", (WIDTH, HEIGHT), square().tobytes())
    image.putpalette([0, 0, 0, 255, 255, 255] + [9] * 762)
    image.save(tmp_path / "m.png")
    photos, imported = read(tmp_path, tree(mask=(tmp_path / "m.png").read_bytes()))
    assert imported.label_set.classes == ("background", "object")
    assert same(photos["JPEGImages/a.png"], square())


@pytest.mark.parametrize(
    ("names", "expected"), [("background\ncat\n", ("background", "cat")), ("cat\n", ("background", "cat"))]
)
def test_the_one_class_that_is_named_is_white(tmp_path, names, expected):
    photos, imported = read(tmp_path, tree(mask=encoded(BW), **{"class_names.txt": names}))
    assert imported.label_set.classes == expected and same(photos["JPEGImages/a.png"], square())
    assert "'cat'" in imported.account.classes_source


def test_white_goes_into_the_one_class_of_a_label_set(tmp_path):
    target = LabelSet("t", "Target", ("leaf", "ground"), ((1, 1, 1), (2, 2, 2)), 1)
    photos, _ = read(tmp_path, tree(mask=encoded(BW)), label_set=target)
    assert same(photos["JPEGImages/a.png"], square(0, ground=1))


def test_white_without_a_class_is_left_out_with_an_offer(tmp_path):
    photos, imported = read(tmp_path, tree(mask=encoded(BW)), label_set=PETS)
    assert same(photos["JPEGImages/a.png"], None)
    assert "black and white" in imported.refused[0] and "with one class besides" in imported.refused[0]


def test_one_mask_with_class_ids_makes_255_void(tmp_path):
    files = tree(mask=encoded(BW))
    files |= {"JPEGImages/b.png": picture(1), "SegmentationClass/b.png": png(square(3))}
    photos, imported = read(tmp_path, files)
    assert imported.label_set == VOC
    assert same(photos["JPEGImages/a.png"], square(VOID)) and same(photos["JPEGImages/b.png"], square(3))


def test_void_in_its_own_colour_is_void(tmp_path):
    photos, imported = read(tmp_path, tree(mask=png(square(VOID))))
    assert imported.label_set == VOC and same(photos["JPEGImages/a.png"], square(VOID))


def test_a_mask_of_another_size_is_left_out(tmp_path):
    files = {"JPEGImages/b.png": picture(1), "SegmentationClass/b.png": encoded(BW[:3])}
    photos, imported = read(tmp_path, tree(mask=encoded(BW)) | files)
    assert same(photos["JPEGImages/a.png"], square()) and same(photos["JPEGImages/b.png"], None)
    assert "8x3 pixels" in imported.refused[0]


# ----------------------------------------------------------------------------------------------- subsets


@pytest.mark.parametrize(
    ("list_", "line"),
    [
        ("ImageSets/Segmentation/val.txt", "\ufeffmy photo 1\r\n"),
        ("imagesets/segmentation/Validation.txt", "my photo 1.png\n"),
        ("ImageSets/Segmentation/valid.txt", "JPEGImages/my photo 1.png\n"),
        ("ImageSets/val.txt", "MY PHOTO 1\n"),
        ("ImageSets/Main/val.txt", "my photo 1\n"),
    ],
)
def test_lists_are_read_as_windows_writes_them(tmp_path, list_, line):
    files = {"JPEGImages/my photo 1.png": picture(), "SegmentationClass/my photo 1.png": PALETTIZED}
    photos, imported = read(tmp_path, {**files, list_: line})
    assert photos["JPEGImages/my photo 1.png"].meta == {"subset": "val"}
    assert imported.account.splits["val"] == 1 and "ImageSets" in imported.account.splits_source
    assert imported.account.ignored == []


def test_cvats_lists_with_folders(tmp_path):
    files = {"JPEGImages/cam1/a.png": picture(), "SegmentationClass/cam1/a.png": PALETTIZED}
    files |= {"JPEGImages/cam2/a.png": picture(1), "SegmentationClass/cam2/a.png": PALETTIZED}
    files |= {"ImageSets/Segmentation/Train.txt": "cam1/a\n", "ImageSets/Segmentation/test.txt": "cam2/a\n"}
    photos, _ = read(tmp_path, files)
    assert [photo.meta["subset"] for photo in photos.values()] == ["train", "test"]


def test_lines_of_lists_that_fit_nothing_are_counted(tmp_path):
    _, imported = read(tmp_path, tree(**{"ImageSets/Segmentation/train.txt": "a\nb\nc\n"}))
    source = "the lists in ImageSets, 2 of whose lines fit no mask, or several"
    assert imported.account.splits_source == source


def test_lists_that_tell_no_subset_draw_none(tmp_path):
    photos, imported = read(tmp_path, tree(**{"ImageSets/Segmentation/default.txt": "a\n"}))
    assert photos["JPEGImages/a.png"].meta == {} and imported.account.splits_source == ""


def test_an_id_in_two_lists_is_held_out_and_named(tmp_path):
    lists = {f"ImageSets/Segmentation/{name}.txt": "a\n" for name in ("train", "val", "trainval")}
    photos, imported = read(tmp_path, tree(**lists))
    assert photos["JPEGImages/a.png"].meta == {"subset": "val"}
    assert "train and val" in imported.account.duplicates[0].why


def test_folders_are_read_like_archives(tmp_path):
    folder = make_folder(tmp_path / "set", tree("x/", **{"x/labels.txt": "background\ncat\n"}))
    imported = import_folder(folder)
    [found] = imported.annotations
    assert same(found, square()) and imported.label_set.classes == ("background", "cat")
    assert label_maps.decode_png(folder / "x/SegmentationClass/a.png").max() == 1


# ---------------------------------------------------------------------------------------------- exports


@pytest.mark.parametrize("label_set", [VOC, PETS, BARE], ids=lambda label_set: label_set.name)
def test_the_label_map_of_an_export_names_the_classes_for_other_tools(tmp_path, label_set):
    given = examples(label_set)
    files = exported(tmp_path, given, ["voc"])
    first, *lines = files["labelmap.txt"].decode().splitlines()
    assert first == "# label:color_rgb:parts:actions" and len(lines) == len(label_set)
    red, green, blue = label_set.colors[1]
    assert lines[1] == f"{label_set.classes[1]}:{red},{green},{blue}::"
    # As another tool's, which has neither label set nor side-cars.
    files = {name: files[name] for name in files if not name.startswith(("labels.json", "meta/"))}
    photos, imported = read(tmp_path, files)
    found = imported.label_set
    assert (found.classes, found.colors) == (label_set.classes, label_set.colors)
    assert found.background == label_set.background and not imported.account.ignored
    assert imported.account.classes_source.startswith("labelmap.txt")
    assert [photo.name for photo in photos.values()] == [f"{a.id}.jpg" for a in given]
    assert all(same(photo, a.label_map) for photo, a in zip(photos.values(), given, strict=True))


@pytest.mark.parametrize("format", ["voc", "coco"])
def test_the_label_map_of_an_export_is_understood_whatever_is_read(tmp_path, format):
    files = exported(tmp_path, examples(VOC), ["voc", "coco"])
    _, imported = read(tmp_path, files, format=format)
    assert imported.label_set == VOC and imported.account.ignored == []


def test_a_class_may_begin_with_a_number_sign(tmp_path):
    for file, text in {
        "classes.txt": "# which is which\n#1 pipe\n#2 pipe\n",
        "labelmap.txt": "# label:color_rgb:parts:actions\n#1 pipe:128,0,0::\n# 2 pipe:0,128,0::\n",
    }.items():
        photos, imported = read(tmp_path, tree(mask=png(square(2)), **{file: text}))
        assert imported.label_set.classes[1].startswith("#1 pipe") and len(imported.label_set) == 3
        assert same(photos["JPEGImages/a.png"], square(2))


def test_colours_in_the_name_of_a_class_are_not_its_own(tmp_path):
    _, imported = read(tmp_path, tree(**{"labelmap.txt": "background:0,0,0::\nc:1,2,3:128,0,0::\n"}))
    assert imported.label_set.classes == ("background", "c:1,2,3") and imported.label_set.colors[1] == (
        128,
        0,
        0,
    )


def test_colours_that_are_told_count_more_than_the_numbers_of_a_palette(tmp_path):
    table = "background:0,0,0::\ncat:0,128,0::\ndog:128,0,0::\n"
    photos, imported = read(tmp_path, tree(mask=png(square(1)), **{"labelmap.txt": table}))
    assert same(photos["JPEGImages/a.png"], square(imported.label_set.classes.index("dog")))
    cat, person = VOC.classes.index("cat"), VOC.classes.index("person")
    both = square(cat)
    both[0, 0] = person
    told = ((name, VOC.colors[VOC.classes.index(name)]) for name in ("cat", "person"))
    table = "".join(f"{name}:{','.join(map(str, color))}::\n" for name, color in told)
    photos, imported = read(tmp_path, tree(mask=png(both), **{"labelmap.txt": table}))
    expected = square(imported.label_set.classes.index("cat"))
    expected[0, 0] = imported.label_set.classes.index("person")
    assert same(photos["JPEGImages/a.png"], expected) and not imported.account.left_out


def test_a_list_that_cannot_be_used_is_no_reason_to_take_vocs(tmp_path):
    photos, imported = read(
        tmp_path, tree(**{"labelmap.txt": "background:0,0,0::\nCat:1,0,0::\ncat:2,0,0::\n"})
    )
    assert imported.label_set.classes == ("background", "class 1") and same(
        photos["JPEGImages/a.png"], square()
    )
    assert imported.account.classes_source.startswith(
        "labelmap.txt cannot be used: they are called after their ids"
    )
    assert "twice" in imported.account.left_out[0].why


def test_trimaps_beside_masks_do_not_take_their_names_away(tmp_path):
    files = tree(mask=png(square(2)), **{"labelmap.txt": "background:0,0,0::\ncat:1,0,0::\ndog:2,0,0::\n"})
    files |= {"images/b.png": picture(3), "annotations/trimaps/b.png": encoded(square(1, 2))}
    photos, imported = read(tmp_path, files)
    assert same(photos["JPEGImages/a.png"], square(imported.label_set.classes.index("dog")))
    assert not imported.account.left_out
