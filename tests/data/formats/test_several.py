"""Archives with several of everything: formats, datasets, lists of classes, and photos of one name."""

import json

import numpy as np
import pytest
from archive_files import (
    BARE,
    HEIGHT,
    SQUARE,
    WIDTH,
    YOLO_SQUARE,
    annotation,
    annotations_of,
    coco,
    encoded,
    exported,
    image,
    make_folder,
    picture,
    png,
    read,
    same,
    square,
)

from formats.test_labelme import labelme, shape
from segdemo.core.labels import VOC, VOID
from segdemo.data.formats import export_zip, import_folder, import_zip
from segdemo.data.formats.reader import Reader

# --------------------------------------------------------------------------------- formats of one export


def below(root, files):
    return {f"{root}/{name}": data for name, data in files.items()}


def export(tmp_path, formats, **label_maps):
    return exported(tmp_path, annotations_of(label_maps or {"m": square()}, VOC), formats)


def test_every_export_of_an_archive_is_read_in_what_it_has(tmp_path):
    one = below("a", export(tmp_path, ["voc"]))
    other = below("b", export(tmp_path, ["coco", "yolo"], m=square(3)))
    photos, imported = read(tmp_path, {**one, **other})
    found = {name.split("/")[0]: photo for name, photo in photos.items()}
    assert same(found["a"], square()) and same(found["b"], square(3))
    assert not imported.account.ignored and not imported.account.duplicates


def test_photos_of_an_export_may_be_called_like_masks(tmp_path):
    photos, imported = read(
        tmp_path, export(tmp_path, ["yolo"], x=square(), x_mask=square(2), x_label=square(3))
    )
    assert sorted(photo.label_map.max() for photo in photos.values()) == [1, 2, 3]
    assert not imported.account.left_out and not imported.account.ignored


def test_what_lies_beside_an_export_is_read_too(tmp_path):
    files = below("a", export(tmp_path, ["voc", "labelme", "yolo", "coco", "panoptic"]))
    document = coco([image(file_name="z.png")], [annotation(segmentation=(SQUARE,))])
    photos, imported = read(tmp_path, {**files, "other/c.json": document, "other/z.png": picture(5)})
    assert len(photos) == 2 and same(photos["other/z.png"], square(VOC.classes.index("cat")))
    assert not imported.account.ignored and not imported.account.duplicates and not imported.account.left_out


def test_work_on_one_format_of_an_export_is_not_passed_over_in_silence(tmp_path):
    files = export(tmp_path, ["voc", "labelme"])
    [name] = [name for name in files if name.startswith("labelme") and name.endswith(".json")]
    document = json.loads(files[name])
    document["shapes"][0]["label"] = "dog"
    new = {
        "labelme/train/new.png": picture(7),
        "labelme/train/new.json": labelme(shape(), imagePath="new.png"),
    }
    imported = import_folder(make_folder(tmp_path / "out", {**files, name: json.dumps(document), **new}))
    photos = {photo.file: photo for photo in imported.photos}
    assert same(photos["labelme/train/new.png"], square(VOC.classes.index("cat")))
    assert sum(same(photo, square()) for photo in photos.values()) == 1
    [other] = imported.account.duplicates
    assert other.file == name and other.why.startswith("says something else than SegmentationClass/")


def test_an_export_as_it_was_written_is_read_once(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(Reader, "look", lambda *given: looked.append(given))
    path = export_zip(annotations_of({"m": square()}, VOC), tmp_path / "out.zip")
    imported = import_zip(path)
    assert [photo.label_map.max() for photo in imported.photos] == [1] and imported.formats[:2] == [
        "voc",
        "coco",
    ]
    assert not looked and not imported.account.duplicates


def test_a_photo_that_is_only_listed_leaves_its_labels_to_others(tmp_path):
    files = {"c.json": coco([image()], []), "a.json": labelme(shape(), imagePath="a.png"), "a.png": picture()}
    photos, imported = read(tmp_path, files)
    assert same(photos["a.png"], square()) and imported.account.painted == 1
    assert not imported.account.duplicates and not imported.account.notes
    photos, imported = read(tmp_path, {**files, "a.json": labelme(imagePath="a.png")})
    assert same(photos["a.png"], square() * 0)


# --------------------------------------------------------------------------------- lists of classes


def yolo(root, name, seed):
    return {f"{root}/images/{name}.png": picture(seed), f"{root}/labels/{name}.txt": YOLO_SQUARE}


@pytest.mark.parametrize(
    "settings",
    [
        {
            "a.yaml": "path: a\ntrain: images\nnames: [cat]",
            "b.yaml": "path: ./b\ntrain: images\nnames: [boat]",
        },
        {
            "cfg/a/data.yaml": "path: ../a\ntrain: images\nnames: [cat]",
            "cfg/b/data.yaml": "path: ../b\ntrain: images\nnames: [boat]",
        },
        {
            "a.yaml": "path: /home/me/datasets/a\nval: images\nnames: [cat]",
            "b.yaml": "path: /home/me/datasets/b\ntrain: [images]\nnames: [boat]",
        },
        {
            "cfg/a/data.yaml": "path: ../a\nnames: [cat]",
            "cfg/b/data.yaml": "path: ../b\nnames: [boat]",
        },
        {"a/data.yaml": "train: ../images\nnames: [cat]", "b/data.yaml": "names: [boat]"},
    ],
)
def test_labels_have_the_names_of_the_dataset_that_names_their_photos(tmp_path, settings):
    photos, imported = read(tmp_path, {**yolo("a", "1", 1), **yolo("b", "2", 2), **settings})
    ids = {name: imported.label_set.classes.index(name) for name in ("cat", "boat")}
    assert same(photos["a/images/1.png"], square(ids["cat"]))
    assert same(photos["b/images/2.png"], square(ids["boat"]))
    assert not imported.account.left_out


def test_labels_that_may_be_of_several_lists_are_refused_by_name(tmp_path):
    settings = {"x/data.yaml": "names: [cat]", "y/data.yaml": "names: [boat]"}
    with_own = yolo("x", "1", 1)
    photos, imported = read(tmp_path, {**with_own, **yolo("b", "2", 2), **settings})
    assert same(photos["x/images/1.png"], square()) and "b/images/2.png" not in photos
    [entry] = imported.account.left_out
    assert (
        entry.file == "b/labels/2.txt"
        and "which of the lists of classes is its own is not clear" in entry.why
    )
    assert "x/data.yaml" in entry.why and "y/data.yaml" in entry.why


def ids_and_fewer(folder):
    train, val = square(2), square()
    train[0, 0] = 1
    return {
        **{f"train/{folder[0]}/a.png": picture(1), f"train/{folder[1]}/a.png": encoded(train)},
        **{f"val/{folder[0]}/b.png": picture(2), f"val/{folder[1]}/b.png": encoded(val)},
    }, (train, val)


@pytest.mark.parametrize("folder", [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_one_list_of_classes_is_counted_alike_in_every_subset(tmp_path, folder):
    files, (train, val) = ids_and_fewer(folder)
    photos, imported = read(tmp_path, {**files, "classes.txt": "cat\ndog\n"})
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert same(photos[f"train/{folder[0]}/a.png"], train) and same(photos[f"val/{folder[0]}/b.png"], val)


@pytest.mark.parametrize("names", [{}, {"classes.txt": "background\ncat\ndog\n"}])
def test_void_is_void_also_in_a_subset_that_holds_nothing_else(tmp_path, names):
    files, (train, _) = ids_and_fewer(("images", "masks"))
    files["val/masks/b.png"] = encoded(square(VOID))
    photos, imported = read(tmp_path, {**files, **names})
    assert len(imported.label_set) == 3
    assert same(photos["train/images/a.png"], train) and same(photos["val/images/b.png"], square(VOID))


# --------------------------------------------------------------------------------- photos of one name


def cvat(*names):
    points = "2.0,1.0;6.0,1.0;6.0,5.0;2.0,5.0"
    images = (
        f'<image id="{n}" name="{name}" width="{WIDTH}" height="{HEIGHT}">'
        f'<polygon label="{label}" points="{points}" occluded="0" z_order="0"/></image>'
        for n, (name, label) in enumerate(zip(names, ("cat", "dog"), strict=True))
    )
    return f"<annotations><version>1.1</version>{''.join(images)}</annotations>"


def in_folders(form):
    """Labels of cam1/1 as a cat and of cam2/1 as a dog, in a format."""
    each = (("cam1", 0, "cat"), ("cam2", 1, "dog"))
    if form == "cvat":
        return {"annotations.xml": cvat("cam1/1.png", "cam2/1.png")}
    if form == "coco":
        images = [image(1, "cam1/1.png"), image(2, "cam2/1.png")]
        return {"c.json": coco(images, [annotation(1, 1, 1), annotation(2, 2, 2)])}
    if form == "two coco":
        return {
            f"{cam}/annotations/instances_default.json": coco([image(1, "1.png")], [annotation(1, 1, n + 1)])
            for cam, n, _ in each
        }
    if form == "yolo":
        lines = {f"{cam}/labels/1.txt": YOLO_SQUARE.replace("0", str(n), 1) for cam, n, _ in each}
        return {**lines, "data.yaml": "names: [cat, dog]"}
    if form == "labelme":
        return {f"{cam}/json/1.json": labelme(shape(label), imagePath="1.png") for cam, _, label in each}
    return {
        **{f"{cam}/SegmentationClass/1.png": png(square(n + 1)) for cam, n, _ in each},
        **{f"{cam}/labelmap.txt": "background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n" for cam, _, _ in each},
    }


@pytest.mark.parametrize("form", ["cvat", "coco", "two coco", "yolo", "labelme", "voc"])
def test_labels_of_a_photo_that_is_missing_are_not_put_on_its_namesake(tmp_path, form):
    folder = "JPEGImages/" if form == "voc" else "images/" if form in ("yolo", "two coco") else ""
    photo = f"cam2/{folder}1.png"
    photos, imported = read(tmp_path, {**in_folders(form), photo: picture(2)})
    dog = imported.label_set.classes.index("dog")
    assert list(photos) == [photo] and same(photos[photo], square(dog))
    assert imported.account.painted == 1 and not imported.account.duplicates
    [entry] = imported.account.left_out
    assert "photo" in entry.why and "add" in entry.why
    both = {**in_folders(form), photo: picture(2), f"cam1/{folder}1.png": picture(1)}
    photos, imported = read(tmp_path, both)
    cat = imported.label_set.classes.index("cat")
    assert same(photos[f"cam1/{folder}1.png"], square(cat)) and same(photos[photo], square(dog))
    assert not imported.account.left_out


def test_documents_in_other_folders_are_merged_where_the_photos_lie_in_neither(tmp_path):
    one = coco([image()], [annotation(segmentation=([0, 0, 2, 0, 2, 2, 0, 2],))])
    files = {"alice/c.json": one, "bob/c.json": coco([image()], [annotation(category_id=2)])}
    photos, imported = read(tmp_path, {**files, "raw/a.png": picture()})
    expected = square(2)
    expected[0:2, 0:2] = 1
    assert same(photos["raw/a.png"], expected) and not imported.account.left_out


def test_masks_of_255_classes_and_lists_without_a_background_count_alike_in_an_export(tmp_path):
    photos, imported = read(tmp_path, exported(tmp_path, annotations_of({"m": square(2)}, BARE)))
    assert imported.label_set.classes == BARE.classes
    assert all(np.array_equal(photo.label_map, square(2)) for photo in photos.values())
