"""Export: photos keep their names, splits are in every format, and each format keeps to its own rules."""

import io
import json
import re
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest
import yaml
from archive_files import BARE, SUBSETS, contents, encoded, examples, exif, exported, pixels
from label_maps import LABEL_MAPS
from PIL import Image
from pycocotools.coco import COCO

from segdemo.annotations.store import AnnotationStore
from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC, VOID, LabelSet, voc_color
from segdemo.core.names import clean_class
from segdemo.core.shapes import polygons
from segdemo.data.datasets import read_image, read_label_map
from segdemo.data.formats import (
    EXPORT_FORMATS,
    Annotation,
    ExchangeError,
    export_folder,
    export_zip,
    import_folder,
    import_zip,
    outgoing,
)
from segdemo.data.sources import open_dataset

THREE = LabelSet("three", "Three", ("background", "cat", "dog"), tuple(voc_color(i) for i in range(3)))
MIDDLE = LabelSet("middle", "Middle", ("cat", "ground", "dog"), THREE.colors, 1)
READABLE = ("voc", "coco", "yolo")  # formats that can be imported
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def annotation(id_, source=None, image=None, label_map=None, label_set=THREE, **meta):
    """An annotation of a drawn photo; the label map of a photo of other size must be given."""
    seed = sum(id_.encode())
    if image is None:
        image = encoded(pixels(seed), "JPEG")
    if label_map is None:
        label_map = np.random.default_rng(seed).choice(np.array([0, 1, 2, VOID], np.uint8), (6, 8))
    return Annotation(
        id_, image, label_map, label_set, meta if source is None else {"source": source, **meta}
    )


def stems(files, folder, depth=0):
    """Names without ending of the files in a folder of an archive, or of those ``depth`` folders below it."""
    paths = [PurePosixPath(n) for n in files if n.startswith(f"{folder}/")]
    return sorted(p.stem for p in paths if len(p.parts) == len(PurePosixPath(folder).parts) + 1 + depth)


# ------------------------------------------------------------------------------------- content, and refusals


def test_what_is_in_the_zip(tmp_path):
    annotations = examples(VOC)
    files = exported(tmp_path, annotations)
    for a, subset in zip(annotations, SUBSETS, strict=True):
        folders = ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", "meta/{}.json", "overlays/{}.png")
        assert {folder.format(a.id) for folder in folders} <= set(files)
        assert {f"yolo/images/{subset}/{a.id}.jpg", f"yolo/labels/{subset}/{a.id}.txt"} <= set(files)
    mask = Image.open(io.BytesIO(files["SegmentationClass/photo-0.png"]))
    assert mask.mode == "P" and mask.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    overlay = np.array(Image.open(io.BytesIO(files["overlays/photo-0.png"])))
    assert np.array_equal(overlay, label_maps.overlay(annotations[0].image, annotations[0].label_map, VOC))
    lists = {PurePosixPath(n).stem: text.decode() for n, text in files.items() if n.startswith("ImageSets/")}
    assert lists == {
        **{"train": "photo-0\n", "val": "photo-1\n", "test": "photo-2\n"},
        "trainval": "photo-0\nphoto-1\n",
    }
    assert json.loads(files["labels.json"]) == VOC.to_json()
    side = json.loads(files["meta/photo-0.json"])
    assert (side["width"], side["height"], side["label_set"]) == (53, 40, "voc")


def test_formats_are_chosen(tmp_path):
    files = exported(tmp_path, examples(VOC, 1), ())
    assert set(files) == {"labels.json", "JPEGImages/photo-0.jpg", "meta/photo-0.json"}
    with pytest.raises(ExchangeError, match="no export format 'tfrecord'"):
        export_zip(examples(VOC, 1), tmp_path / "out.zip", formats=["tfrecord"])


def test_an_upright_jpeg_keeps_its_bytes_and_a_turned_one_is_stored_upright(tmp_path):
    array = np.zeros((10, 20, 3), np.uint8)
    array[:, :10] = 255
    plain, turned = encoded(array, "JPEG"), encoded(array, "JPEG", exif=exif(6), quality=95)
    (tmp_path / "photo.jpg").write_bytes(plain)
    annotations = [
        Annotation("path", tmp_path / "photo.jpg", np.zeros((10, 20), np.uint8), VOC),
        Annotation("turned", turned, np.zeros((20, 10), np.uint8), VOC),
    ]
    files = exported(tmp_path, annotations)
    assert files["JPEGImages/path.jpg"] == plain
    upright = Image.open(io.BytesIO(files["JPEGImages/turned.jpg"]))
    assert upright.size == (10, 20) and upright.getexif().get(0x0112, 1) == 1
    assert np.array(upright)[0].min() > 240 and np.array(upright)[-1].max() < 15


def test_coco_ids_are_the_class_ids_of_voc(tmp_path):
    label_map = np.array([[0, 1, 20, 255]], np.uint8)
    files = exported(tmp_path, [Annotation("a", pixels(0, 1, 4), label_map, VOC)])
    data = json.loads(files["coco/instances_rle.json"])
    found = {a["category_id"]: a["bbox"] for a in data["annotations"]}
    assert found == {1: [1, 0, 1, 1], 20: [2, 0, 1, 1], 255: [3, 0, 1, 1]}
    assert {c["id"] for c in data["categories"]} == {*range(1, 21), 255}
    files = exported(tmp_path, examples(PETS))  # whose class 0 is not the background
    for document in (json.loads(files[f"coco/instances_{kind}.json"]) for kind in ("rle", "polygons")):
        assert {c["id"]: c["name"] for c in document["categories"]} == {1: "pet", 3: "border", 256: "void"}
        assert [i["file_name"] for i in document["images"]] == [f"photo-{i}.jpg" for i in range(3)]


def test_yolo_by_hand(tmp_path):
    label_map = np.zeros((4, 8), np.uint8)
    label_map[1:3, 2:6] = 7
    label_map[0, 0] = VOID
    files = exported(tmp_path, [Annotation("a", pixels(0, 4, 8), label_map, VOC)], ["yolo"])
    assert files["yolo/labels/train/a.txt"] == b"7 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"
    assert files["yolo/void/train/a.txt"] == b"0 0 0 0.125 0 0.125 0.25 0 0.25\n"
    settings = yaml.safe_load(files["yolo/data.yaml"])
    assert settings["names"] == dict(enumerate(VOC.classes))
    assert settings["train"] == settings["val"] == "images/train"


def test_export_streams_and_reports(tmp_path):
    alive, seen = [], []

    def stream():
        for annotation in examples(VOC):
            alive.append(annotation.id)
            yield annotation

    export_zip(stream(), tmp_path / "out.zip", progress=lambda n: seen.append((n, len(alive))))
    assert seen == [(1, 1), (2, 2), (3, 3)]


def test_a_failed_export_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.zip"
    path.write_bytes(b"old")

    def failing():
        yield examples(VOC)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_zip(failing(), path)
    with pytest.raises(ExchangeError, match="nothing to export"):
        export_zip([], path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_an_export_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExchangeError, match="cannot be written"):
        export_zip(examples(VOC, 1), tmp_path / "file" / "out.zip")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"id": id_}, "cannot name a file") for id_ in ("../evil", "", ".hidden", "two words", "x" * 151)),
        ({"id": "PHOTO-0"}, "Two annotations are called"),
        ({"label_set": PETS}, "export them apart"),
        ({"label_map": np.full((31, 17), 21, np.uint8)}, "b: .*class id 21"),
        ({"label_map": np.zeros((17, 31), np.uint8)}, "31x17 pixels and a photo of 17x31"),
        ({"image": b"nonsense"}, "photo of b cannot be exported: .*not a photo"),
        ({"image": np.zeros((31, 17), np.uint8)}, "photo of b cannot be exported"),
        ({"meta": {"when": object()}}, "data of b cannot be written as JSON"),
        ({"meta": {"score": float("nan")}}, "data of b cannot be written as JSON"),
    ],
)
def test_what_cannot_be_exported_is_named(tmp_path, changes, words):
    good = examples(VOC, 1)[0]
    bad = replace(Annotation("b", pixels(0, 31, 17), np.zeros((31, 17), np.uint8), VOC), **changes)
    with pytest.raises(ExchangeError, match=words):
        export_zip([good, bad], tmp_path / "out.zip")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------- names


def test_a_photo_is_called_in_every_format_what_it_came_as(tmp_path):
    data = encoded(pixels(1), "JPEG")
    files = exported(tmp_path, [annotation("img-0001-0123456789ab", "IMG_0001.JPG", data, subset="val")])
    assert not [name for name in files if "img-0001" in name]
    assert files["JPEGImages/IMG_0001.JPG"] == files["yolo/images/val/IMG_0001.JPG"] == data
    wanted = ("meta/{}.json", "SegmentationClass/{}.png", "yolo/labels/val/{}.txt", "yolo/void/val/{}.txt")
    wanted += ("labelme/val/{}.json", "panoptic/panoptic_val/{}.png", "overlays/{}.png")
    assert {name.format("IMG_0001") for name in wanted} <= set(files)
    assert files["ImageSets/Segmentation/val.txt"] == b"IMG_0001\n"
    for name in ("coco/instances_rle.json", "coco/instances_polygons.json", "panoptic/panoptic_val.json"):
        [image] = json.loads(files[name])["images"]
        assert image == {"id": 1, "file_name": "IMG_0001.JPG", "width": 8, "height": 6}
    labelme = json.loads(files["labelme/val/IMG_0001.json"])
    assert labelme["imagePath"] == "../../JPEGImages/IMG_0001.JPG"
    side = json.loads(files["meta/IMG_0001.json"])
    assert side["id"] == "img-0001-0123456789ab" and side["file_name"] == "IMG_0001.JPG"
    assert "original_file_name" not in side and side["meta"]["source"] == "IMG_0001.JPG"


@pytest.mark.parametrize(
    ("source", "format", "expected"),
    [
        ("a.jpg", "JPEG", "a.jpg"),
        ("a.JPG", "JPEG", "a.JPG"),
        ("a.jpeg", "JPEG", "a.jpeg"),
        ("a.Jpeg", "JPEG", "a.jpg"),
        ("a.jfif", "JPEG", "a.jpg"),
        ("a.png", "JPEG", "a.jpg"),  # the ending is wrong
        ("a", "JPEG", "a.jpg"),
        ("v1.2", "JPEG", "v1.2.jpg"),
        ("a.png", "PNG", "a.png"),
        ("a.PNG", "PNG", "a.PNG"),
        ("a.JPG", "PNG", "a.png"),
        ("a.webp", "PNG", "a.png"),  # as a collection keeps it
        ("a.webp", "WEBP", "a.jpg"),
        ("a.bmp", "BMP", "a.jpg"),
        ("a.TIF", "TIFF", "a.jpg"),
    ],
)
def test_the_ending_is_the_photos_own_or_that_of_what_is_written(tmp_path, source, format, expected):
    data = encoded(pixels(2), format)
    files = exported(tmp_path, [annotation("x", source, data)])
    [name] = (n for n in files if n.startswith("JPEGImages/"))
    assert name == f"JPEGImages/{expected}"
    assert (files[name] == data) == (format in ("JPEG", "PNG"))
    is_png = expected.lower().endswith("png")
    assert Image.open(io.BytesIO(files[name])).format == ("PNG" if is_png else "JPEG")
    told = {} if source == expected else {"original_file_name": source}
    for document in ("coco/instances_rle.json", "coco/instances_polygons.json"):
        [image] = json.loads(files[document])["images"]
        assert image == {"id": 1, "file_name": expected, "width": 8, "height": 6, **told}
    side = json.loads(files[f"meta/{PurePosixPath(expected).stem}.json"])
    assert {key: side[key] for key in told} == told and ("original_file_name" in side) == bool(told)


WHITE = np.full((6, 8, 3), 255, np.uint8)
SHOWN_DIFFERENTLY = {
    "turned": encoded(pixels(3, 8, 6), exif=exif(6)),
    "turned, but all alike": encoded(WHITE // 2, exif=exif(3)),
    "transparent": encoded(np.dstack([pixels(3), WHITE[..., 0]]) // 2),
    "keyed": encoded(pixels(3), transparency=tuple(pixels(3)[0, 0].tolist())),
    "white keyed": encoded(WHITE, transparency=(255, 255, 255)),
    "animated": encoded(pixels(3), save_all=True, append_images=[Image.fromarray(pixels(4))]),
    "deep": encoded(pixels(3)[..., 0].astype(np.uint16) * 257),
}


@pytest.mark.parametrize("kind", SHOWN_DIFFERENTLY)
def test_a_png_that_programs_show_differently_is_encoded_anew(tmp_path, kind):
    files = exported(tmp_path, [annotation("x", "a.png", SHOWN_DIFFERENTLY[kind])])
    image = Image.open(io.BytesIO(files["JPEGImages/a.jpg"]))
    assert image.format == "JPEG" and image.size == (8, 6) and image.getexif().get(0x0112, 1) == 1


ODD = {
    "case": ["IMG.jpg", "img.jpg", "Img.JPG"],
    "composition": [f"{COMPOSED}.jpg", f"{DECOMPOSED}.jpg", f"{DECOMPOSED.upper()}.jpg"],
    "spaces": ["my photo 1.jpg", "my  photo 1.jpg", "my_photo_1.jpg", "no\u00a0break.jpg"],
    "leading dots": [".hidden.jpg", "..twice.jpg", ".jpg", "._shadow.jpg"],
    "percent signs": ["100%.jpg", "a%20b.jpg", "%s%n.jpg"],
    "reserved": ["CON.jpg", "nul.png", "Com1.old.jpg", "lpt9"],
    "long": ["x" * 300 + ".jpg", "x" * 300 + "y.jpg", "日" * 300],
    "no ending": ["scan", "v1.2", "St. Moritz", "trailing."],
    "folders": ["day1/IMG_0001.jpg", "day2/IMG_0001.jpg", "C:\\day3\\IMG_0001.jpg"],
    "refused": ['a"b.jpg', "a?b.jpg", "a*b.jpg", "a:b.jpg", "<a|b>.jpg"],
    "control": ["bell\x07.jpg", "gpj\u202efdp.jpg", "new\nline.jpg"],
    "not UTF-8": ["\udcff.jpg", "caf\udce9.jpg"],
    "like SegDemo's own": [
        f"{name}.jpg" for name in ("labels", "meta", "SegmentationClass", "images", "panoptic_train")
    ],
    "quotes and commas": ["it's.jpg", "a,b;c.jpg", "#hash&.jpg", "-rf.jpg", "~home.jpg"],
}
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}


def unusable(name):
    """Why a path in an archive cannot be unpacked everywhere, or None; Windows, macOS and Linux together."""
    for part in PurePosixPath(name).parts:
        if re.search(r'[\x00-\x20\x7f<>:"\\|?*]', part) or part != part.strip(". "):
            return "characters"
        if part.split(".")[0].lower() in DEVICES:
            return "a device"
        if len(part.encode()) > 255 or len(part) > 200:
            return "too long"
        if unicodedata.normalize("NFC", part) != part:
            return "not composed"
    return None


@pytest.mark.parametrize("kind", ODD)
def test_odd_names_give_files_for_every_system_and_come_back(tmp_path, kind):
    sources = ODD[kind]
    given = [
        annotation(
            f"id-{i}", source, encoded(pixels(i), "JPEG"), subset=("train", "val", "test")[i % 3], revision=i
        )
        for i, source in enumerate(sources)
    ]
    path = export_zip(given, tmp_path / "out.zip")
    files = contents(path)
    assert {name: why for name in files if (why := unusable(name))} == {}
    folded = [unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold()) for name in files]
    assert len(set(folded)) == len(folded)
    # One name for each, in all formats; two photos never share one, not even with another ending.
    photos = stems(files, "JPEGImages")
    assert len({name.casefold() for name in photos}) == len(sources)
    for folder, depth in (
        ("meta", 0),
        ("SegmentationClass", 0),
        ("overlays", 0),
        ("yolo/images", 1),
        ("yolo/labels", 1),
        ("labelme", 1),
        ("panoptic", 1),
    ):
        assert stems(files, folder, depth) == photos
    lists = (data for name, data in files.items() if re.search("/(train|val|test)[.]txt$", name))
    assert sorted(b" ".join(lists).decode().split()) == photos  # word by word, as many tools read them
    for image in json.loads(files["coco/instances_rle.json"])["images"]:
        side = json.loads(files[f"meta/{PurePosixPath(image['file_name']).stem}.json"])
        original = image.get("original_file_name")
        assert (original or image["file_name"]) == side["meta"]["source"]
        assert side.get("original_file_name") == original
    for format in READABLE:
        imported = import_zip(path, format=format)
        back = {a.meta["source"]: a for a in imported.annotations}
        assert imported.refused == [] and imported.skipped == []
        assert back.keys() == set(sources)
        for a in given:
            assert np.array_equal(back[a.meta["source"]].label_map, a.label_map)
            assert back[a.meta["source"]].meta == a.meta and back[a.meta["source"]].image == a.image


def test_names_are_usable_without_a_source_too(tmp_path):
    files = exported(tmp_path, [annotation(id_) for id_ in ("CON", "end.", DECOMPOSED, "x" * 150)], ["voc"])
    assert stems(files, "JPEGImages") == sorted(["_CON", "end", COMPOSED, "x" * 150])
    for meta in ({"source": None}, {"source": 7}, {"source": ""}, {"source": "  "}, {"source": ["a.jpg"]}):
        given = annotation("kept")
        given.meta.update(meta)
        files = exported(tmp_path, [given], ["coco"])
        assert "JPEGImages/kept.jpg" in files
        assert "original_file_name" not in json.loads(files["coco/instances_rle.json"])["images"][0]


def test_a_name_without_a_source_gives_way_to_the_one_before_it(tmp_path):
    files = exported(tmp_path, [annotation("b", "A.jpg"), annotation("a"), annotation("c", "a.png")], ["voc"])
    assert stems(files, "JPEGImages") == ["A", "a-2", "a-3"]


def test_an_unpacked_export_is_a_dataset_whatever_its_photos_are_called(tmp_path):
    sources = ["IMG_0001.JPG", "img_0001.jpg", "my photo.jpeg", f"{DECOMPOSED}.jpg", "shot.PNG"]
    given = [
        annotation(f"id-{i}", source, encoded(pixels(i), "PNG" if "PNG" in source else "JPEG"), subset=subset)
        for i, (source, subset) in enumerate(
            zip(sources, ["train", "val", "test", "train", "val"], strict=True)
        )
    ]
    with zipfile.ZipFile(export_zip(given, tmp_path / "out.zip", ["voc"])) as archive:
        archive.extractall(tmp_path / "out")
    dataset = open_dataset("annotations", tmp_path / "out")
    assert dataset.splits["train"] == ("IMG_0001", COMPOSED)
    assert dataset.splits["val"] == ("img_0001-2", "shot") and dataset.splits["test"] == ("my_photo",)
    found = {sample.id: sample for sample in dataset.samples("all")}
    for id_, a in zip(("IMG_0001", "img_0001-2", "my_photo", COMPOSED, "shot"), given, strict=True):
        assert np.array_equal(read_label_map(found[id_], THREE), a.label_map)
        assert read_image(found[id_]).shape == (6, 8, 3)


# --------------------------------------------------------------------------------------------- collections


def test_a_collection_comes_back_with_names_splits_photos_and_history(tmp_path):
    store = AnnotationStore(tmp_path / "store")
    collection = store.create("first", THREE)
    sources = [
        "IMG_0001.JPG",
        "img_0001.jpg",
        "IMG_0001.JPG",
        "my photo.png",
        f"{DECOMPOSED}.webp",
        "noending",
    ]
    formats = ["JPEG", "JPEG", "JPEG", "PNG", "WEBP", "BMP"]
    for i, (source, format) in enumerate(zip(sources, formats, strict=True)):
        id_ = collection.add_photo(encoded(pixels(i), format), source)
        for revision in range(1 + i % 2):
            label_map = (
                np.random.default_rng(10 * i + revision).choice([0, 1, 2, VOID], (6, 8)).astype(np.uint8)
            )
            collection.save(id_, label_map, revision, {"model": "unet"})
        collection.set_split(id_, ("train", "val", "test")[i % 3])
    before = {photo.sha256: photo for photo in collection.photos().photos}
    path = export_zip(collection.annotations(), tmp_path / "out.zip")
    files = contents(path)
    assert stems(files, "JPEGImages") == sorted(
        ["IMG_0001", "img_0001-2", "IMG_0001-3", "my_photo", COMPOSED, "noending"]
    )
    for format in READABLE:
        other = store.create(format, THREE)
        for taken in import_zip(path, format=format).annotations:
            other.take(taken)
        after = {photo.sha256: photo for photo in other.photos().photos}
        assert after.keys() == before.keys()  # every pixel of every photo
        for key, photo in before.items():
            same = after[key]
            assert (same.source, same.split, same.model) == (photo.source, photo.split, photo.model)
            assert np.array_equal(other.load(same.id), collection.load(photo.id))
            history = {"created": photo.created, "updated": photo.updated, "revision": photo.revision}
            assert same.current.meta["exported"] == history
    # Into the collection it came from nothing is added: the photos and masks are there.
    for taken in import_zip(path).annotations:
        collection.take(taken)
    assert {photo.sha256: photo for photo in collection.photos().photos} == before


def test_history_that_is_none_is_left_out(tmp_path):
    collection = AnnotationStore(tmp_path).create("x", THREE)
    strange = {"created": "x" * 41, "updated": ["2024"], "revision": 10**30, "model": "unet"}
    id_ = collection.take(annotation("a", "a.jpg", **strange)).id
    assert collection.photo(id_).current.meta == {"imported": "a", "model": "unet"}


def test_photos_keep_their_numbers_in_the_next_export(tmp_path):
    collection = AnnotationStore(tmp_path / "store").create("x", THREE)

    def add(seed):
        id_ = collection.add_photo(encoded(pixels(seed), "PNG"), "frame.png")
        collection.save(id_, np.ones((6, 8), np.uint8), 0)

    known = {}
    for seed in range(6):  # their ids, which go by their pixels, are in no order
        add(seed)
        files = exported(tmp_path, collection.annotations(), ["voc"])
        names = {name: data for name, data in files.items() if name.startswith("JPEGImages/")}
        assert known.items() <= names.items() and len(names) == seed + 1
        known = names
    assert stems(known, "JPEGImages") == sorted(["frame", *(f"frame-{i}" for i in range(2, 7))])


# -------------------------------------------------------------------------------------------------- splits


def test_every_format_has_the_splits(tmp_path):
    subsets = {"a": "train", "b": "val", "c": "test", "d": "train", "e": "val"}
    files = exported(tmp_path, [annotation(id_, f"{id_}.jpg", subset=s) for id_, s in subsets.items()])
    for subset in ("train", "val", "test"):
        wanted = sorted(id_ for id_, s in subsets.items() if s == subset)
        document = json.loads(files[f"coco/annotations/instances_{subset}.json"])
        assert [PurePosixPath(i["file_name"]).stem for i in document["images"]] == wanted
        document = json.loads(files[f"panoptic/panoptic_{subset}.json"])
        assert [PurePosixPath(i["file_name"]).stem for i in document["annotations"]] == wanted
        assert files[f"ImageSets/Segmentation/{subset}.txt"].decode().split() == wanted
        assert stems(files, f"yolo/images/{subset}") == stems(files, f"yolo/labels/{subset}") == wanted
        assert stems(files, f"labelme/{subset}") == stems(files, f"panoptic/panoptic_{subset}") == wanted


def test_the_documents_of_the_subsets_are_the_polygons_in_parts(tmp_path):
    given = [annotation(id_, subset=s) for id_, s in (("a", "train"), ("b", "test"), ("c", "train"))]
    files = exported(tmp_path, given, ["coco"])
    whole = json.loads(files["coco/instances_polygons.json"])
    parts = [json.loads(files[f"coco/annotations/instances_{subset}.json"]) for subset in ("train", "test")]
    assert "coco/annotations/instances_val.json" not in files  # a document of no photo is of no use
    for key in ("images", "annotations"):
        together = sorted((entry for part in parts for entry in part[key]), key=lambda entry: entry["id"])
        assert together == whole[key]
    for part in parts:
        assert part["categories"] == whole["categories"]
        assert {e["image_id"] for e in part["annotations"]} == {i["id"] for i in part["images"]}
        assert part["info"]["repeats"] == whole["info"]["repeats"] == "coco/instances_rle.json"
    assert "repeats" not in json.loads(files["coco/instances_rle.json"])["info"]
    assert [name for name in files if name.startswith("JPEGImages/")] == [
        f"JPEGImages/{x}.jpg" for x in "abc"
    ]


@pytest.mark.parametrize("subset", [None, "valid", "trainval", 3])
def test_without_subsets_coco_has_no_documents_of_them(tmp_path, subset):
    files = exported(tmp_path, [annotation("a", **({} if subset is None else {"subset": subset}))])
    assert [n for n in files if n.startswith("coco/")] == [
        "coco/instances_rle.json",
        "coco/instances_polygons.json",
    ]
    assert files["ImageSets/Segmentation/train.txt"] == b"a\n" and "yolo/labels/train/a.txt" in files


# --------------------------------------------------------------------------------- each format's own rules


@pytest.mark.parametrize("label_set", [THREE, BARE, MIDDLE], ids=lambda s: s.name)
@pytest.mark.parametrize("format", READABLE)
def test_hard_label_maps_come_back(tmp_path, label_set, format):
    given = [
        annotation(f"m{i}", f"{name}.png", pixels(i, *label_map.shape), label_map, label_set)
        for i, (name, label_map) in enumerate(LABEL_MAPS.items())
    ]
    path = export_zip(given, tmp_path / "out.zip", [format])
    imported = import_zip(path)
    back = {a.meta["source"]: a.label_map for a in imported.annotations}
    assert imported.label_set == label_set and imported.refused == []
    for name, label_map in LABEL_MAPS.items():
        assert np.array_equal(back[f"{name}.png"], label_map), name


@pytest.mark.parametrize("label_set", [THREE, BARE, MIDDLE], ids=lambda s: s.name)
def test_pycocotools_reads_every_document(tmp_path, capsys, label_set):
    given = [
        annotation(f"m{i}", f"{name}.png", pixels(i, *m.shape), m, label_set, subset=("train", "val")[i % 2])
        for i, (name, m) in enumerate(LABEL_MAPS.items())
    ]
    files = exported(tmp_path, given, ["coco"])
    documents = [name for name in files if name.startswith("coco/")]
    assert len(documents) == 4
    by_file = dict(zip(stems_in_order(files), given, strict=True))
    for name in documents:
        (tmp_path / "document.json").write_bytes(files[name])
        api = COCO(str(tmp_path / "document.json"))
        capsys.readouterr()  # it prints
        classes = {c["id"]: c["name"] for c in api.loadCats(api.getCatIds())}
        assert len(set(classes)) == len(classes) and 0 not in classes
        for image in api.loadImgs(api.getImgIds()):
            label_map = by_file[image["file_name"]].label_map
            assert (image["height"], image["width"]) == label_map.shape
            entries = api.loadAnns(api.getAnnIds(imgIds=image["id"], iscrowd=None))
            found = {}
            for entry in entries:
                assert entry["category_id"] not in found  # one for each class
                name_ = classes[entry["category_id"]]
                value = VOID if name_ == "void" else label_set.classes.index(name_)
                found[entry["category_id"]] = value
                truth = label_map == value
                assert entry["area"] == truth.sum() and entry["iscrowd"] == (value == VOID)
                rows, columns = np.nonzero(truth)
                assert entry["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                found_mask = api.annToMask(entry).astype(bool)
                if "rle" in name or value == VOID:
                    assert isinstance(entry["segmentation"], dict) and np.array_equal(found_mask, truth)
                else:
                    assert all(len(ring) >= 6 and len(ring) % 2 == 0 for ring in entry["segmentation"])
                    # It rounds polygons in its own way, by up to a pixel of the outline.
                    assert not ((found_mask != truth) & ~label_maps.boundaries(truth)).any()
            present = set(np.unique(label_map).tolist()) - {label_set.background}
            assert set(found.values()) == present


def stems_in_order(files):
    return [i["file_name"] for i in json.loads(files["coco/instances_rle.json"])["images"]]


def ultralytics_complaints(files, root="yolo/"):
    """What Ultralytics would find wrong with a dataset: https://docs.ultralytics.com/datasets/segment/

    The rules of its loader: labels lie where the last ``/images/`` of a photo's path reads ``/labels/``, with the
    ending ``.txt``; a line is a class below the number of names and at least three pairs of coordinates in 0..1; a
    photo without lines is background; names are text, numbered from 0 without gaps.
    """
    found = []
    settings = yaml.safe_load(files[f"{root}data.yaml"])
    names = settings["names"]
    if list(names) != list(range(len(names))) or not all(isinstance(name, str) for name in names.values()):
        found.append("names")
    labels = {n for n in files if n.startswith(f"{root}labels/")}
    for subset in ("train", "val", "test"):
        folder = settings.get(subset)
        photos = [n for n in files if folder and n.startswith(f"{root}{folder}/")]
        if (folder and not photos) or (subset != "test" and not folder):
            found.append(f"{subset}: no photos")
        for photo in photos:
            if photo.rpartition(".")[2].lower() not in ("bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp"):
                found.append(f"{photo}: ending")
            before, after = photo.rsplit("/images/", 1)
            label = f"{before}/labels/{after}".rsplit(".", 1)[0] + ".txt"
            if label not in files:
                found.append(f"{photo}: no label file")
                continue
            labels.discard(label)
            for line in files[label].decode().splitlines():
                index, *numbers = line.split()
                numbers = [float(number) for number in numbers]
                if not index.isdecimal() or int(index) >= len(names):
                    found.append(f"{label}: class {index}")
                if len(numbers) < 6 or len(numbers) % 2 or not all(0 <= number <= 1 for number in numbers):
                    found.append(f"{label}: coordinates")
    return found + [f"{label}: no photo" for label in labels]


@pytest.mark.parametrize("label_set", [THREE, BARE, MIDDLE], ids=lambda s: s.name)
@pytest.mark.parametrize("subsets", [("train",), ("train", "val"), ("train", "val", "test")])
def test_yolo_keeps_to_the_rules_of_ultralytics(tmp_path, label_set, subsets):
    maps = {"images": LABEL_MAPS["noise"], "v1.2": LABEL_MAPS["a hole"], "labels": LABEL_MAPS["a row"]}
    maps |= LABEL_MAPS
    given = []
    for i, (name, m) in enumerate(maps.items()):
        photo, subset = encoded(pixels(i, *m.shape), "JPEG"), subsets[i % len(subsets)]
        given.append(annotation(f"m{i}", f"{name}.JPG", photo, m, label_set, subset=subset))
    files = exported(tmp_path, given, ["yolo"])
    assert ultralytics_complaints(files) == []
    assert len([name for name in files if name.startswith("yolo/images/")]) == len(maps)
    settings = yaml.safe_load(files["yolo/data.yaml"])
    assert ("test" in settings) == ("test" in subsets)


def test_the_checker_of_ultralytics_rules_notices_what_is_wrong(tmp_path):
    good = exported(tmp_path, [annotation("a")], ["yolo"])
    label = "yolo/labels/train/a.txt"
    for broken in (b"3 0 0 1 0 1 1\n", b"1 0 0 1 0\n", b"1 0 0 1 0 1 1.01\n", b"1.0 0 0 1 0 1 1\n"):
        assert ultralytics_complaints({**good, label: broken})
    assert ultralytics_complaints({name: data for name, data in good.items() if name != label})
    assert ultralytics_complaints({**good, "yolo/labels/train/b.txt": b""})
    assert ultralytics_complaints(
        {**good, "yolo/data.yaml": b"train: images/train\nval: images/train\nnames: {1: a}\n"}
    )


# --------------------------------------------------------------------------------------------- class names

NAMES = {
    "truth values": ("yes", "No", "on", "OFF", "true", "False", "y", "n"),
    "nothing": ("null", "~", "None", "nan", "-", "?"),
    "numbers": ("1", "0o7", "0x1F", "1e3", "1_000", ".5", "-3", "1:30", "+.inf"),
    "dates": ("2024-01-31", "12:30:45", "2001-12-14t21:59:43.10-05:00"),
    "quotes and commas": ('a "b": c', "it's", "a, b", "[a]", "{b: c}", "a # b", "a: b", "\\n"),
    "signs": ("&anchor", "*alias", "!tag", "%dir", "@at", "`tick", "|", ">", "=", "<<"),
    "other writing": ("straße", "日本語", "👩\u200d🌾", DECOMPOSED, "no\u00a0break"),
    "spaces inside": ("two words", "two  spaces", "a\ttab"),
    "long": ("x" * 300, "y " * 150 + "z"),
}


@pytest.mark.parametrize("background", [None, 0])
@pytest.mark.parametrize("kind", NAMES)
def test_class_names_come_back_whatever_they_look_like(tmp_path, kind, background):
    classes = NAMES[kind] if background is None else ("background", *NAMES[kind])
    label_set = LabelSet(
        "odd", "Odd", classes, tuple(voc_color(i + 1) for i in range(len(classes))), background
    )
    label_map = np.arange(48, dtype=np.uint8).reshape(6, 8) % len(classes)
    path = export_zip([annotation("a", label_map=label_map, label_set=label_set)], tmp_path / "out.zip")
    files = contents(path)
    assert yaml.safe_load(files["yolo/data.yaml"])["names"] == dict(enumerate(classes))
    assert ultralytics_complaints(files) == []
    lines = files["yolo/data.yaml"].decode().split("names:\n")[1].splitlines()
    assert len(lines) == len(classes)
    assert all(re.fullmatch(r'  \d+: ".*"', line) for line in lines)  # text for every reader of YAML
    named = {c["name"] for c in json.loads(files["coco/instances_rle.json"])["categories"]} - {"void"}
    assert named == {name for i, name in enumerate(classes) if i != background}
    for format in READABLE:
        [back] = import_zip(path, format=format).annotations
        assert back.label_set == label_set and np.array_equal(back.label_map, label_map)
    # Without SegDemo's own file, names come from YOLO's.
    with zipfile.ZipFile(tmp_path / "bare.zip", "w") as archive:
        for name, data in files.items():
            if name.startswith("yolo/"):
                archive.writestr(name, data)
    [back] = import_zip(tmp_path / "bare.zip").annotations
    assert {clean_class(name) for name in NAMES[kind]} <= set(back.label_set.classes)


def test_outlines_are_traced_once_for_all_formats(tmp_path, monkeypatch):
    traced = []
    monkeypatch.setattr(outgoing, "polygons", lambda mask: traced.append(mask) or polygons(mask))
    export_zip(
        [annotation("a", label_map=LABEL_MAPS["noise"], image=pixels(1, 23, 31))], tmp_path / "out.zip"
    )
    assert len(traced) == 3  # cat, dog and void


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_each_format_can_be_had_alone(tmp_path, format):
    files = exported(tmp_path, [annotation("a", subset="val"), annotation("b", subset="train")], [format])
    folders = {"voc": {"SegmentationClass", "ImageSets", "labelmap.txt"}, "overlay": {"overlays"}}.get(
        format, {format}
    )
    assert {name.split("/")[0] for name in files} == {"labels.json", "JPEGImages", "meta", *folders}


# -------------------------------------------------------------------------------------------------- folders


def in_folder(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_holds_what_the_zip_does(tmp_path, there, monkeypatch):
    given = [
        annotation(f"id-{i}", source) for i, source in enumerate(["IMG.JPG", "img.jpg", f"{DECOMPOSED}.webp"])
    ]
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / "out").mkdir()
    assert export_folder(given, "out").is_dir()  # from where one is, too
    assert in_folder(tmp_path / "out") == exported(tmp_path, given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.zip"]
    back = list(import_folder(tmp_path / "out").annotations)
    assert sorted(a.meta["source"] for a in back) == sorted(a.meta["source"] for a in given)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(
            ExchangeError, match=rf"something in .*{name} already: give a folder that is new or empty"
        ):
            export_folder([annotation("a")], tmp_path / name)
    with pytest.raises(ExchangeError, match="cannot be written"):
        export_folder([annotation("a")], tmp_path / "file" / "below")
    assert in_folder(tmp_path) == {"full/mine.txt": b"mine", "file": b"mine"}


def test_a_failed_export_leaves_no_folder(tmp_path):
    def failing():
        yield annotation("a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_folder(failing(), tmp_path / "out")
    with pytest.raises(ExchangeError, match="nothing to export"):
        export_folder([], tmp_path / "out")
    with pytest.raises(ExchangeError, match="no export format 'tfrecord'"):
        export_folder([annotation("a")], tmp_path / "out", ["tfrecord"])
    assert list(tmp_path.iterdir()) == []
