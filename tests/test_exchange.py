"""Export and import: what is in the ZIP, what comes back from it, and what is refused."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC, VOID, LabelSet
from segdemo.core.photos import Limits
from segdemo.data.formats import (
    Annotation,
    ArchiveLimits,
    ExchangeError,
    export_zip,
    import_folder,
    import_zip,
)

NO_BACKGROUND = LabelSet(
    "mine", "Mine", ("straße", 'a "b": c', "void"), ((9, 0, 0), (0, 9, 0), (0, 0, 9)), background=None
)
POLYGONS = "coco/instances_polygons.json"


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def blobs(label_set, height, width, seed=0):
    """Smooth regions of every class and void, with holes and touching corners."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.random((height, width)), 2) for _ in range(len(label_set) + 1)]
    label_map = np.argmax(fields, axis=0).astype(np.uint8)
    label_map[label_map == len(label_set)] = VOID
    label_map[rng.random((height, width)) < 0.02] = rng.integers(0, len(label_set))
    return label_map


def examples(label_set, count=3):
    sizes = [(40, 53), (1, 1), (31, 17), (64, 5)]
    return [
        Annotation(
            f"photo-{i}",
            photo(*sizes[i], i),
            blobs(label_set, *sizes[i], i),
            label_set,
            {"subset": ("train", "val", "test")[i % 3], "note": "ä", "revision": i},
        )
        for i in range(count)
    ]


def jpeg(array, **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", **options)
    return out.getvalue()


def read_all(imported):
    return {annotation.id: annotation for annotation in imported.annotations}


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpack(path, folder):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


# ---------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("label_set", [VOC, PETS, NO_BACKGROUND])
@pytest.mark.parametrize(
    ("format", "member"), [("voc", None), ("coco", None), ("coco", POLYGONS), ("yolo", None)]
)
def test_every_format_gives_back_identical_label_maps(tmp_path, label_set, format, member):
    annotations = examples(label_set)
    path = export_zip(annotations, tmp_path / "out.zip")
    for imported in (
        import_zip(path, format=format, member=member),
        import_folder(unpack(path, tmp_path / "out"), format=format, member=member),
    ):
        assert imported.format == format and imported.label_set == label_set
        result = read_all(imported)
        assert imported.refused == [] and set(imported.skipped) <= {"coco/instances_rle.json"}
        assert sorted(result) == [a.id for a in annotations]
        for annotation in annotations:
            back = result[annotation.id]
            assert back.label_map.dtype == np.uint8
            assert np.array_equal(back.label_map, annotation.label_map)
            assert back.meta == annotation.meta and back.label_set == label_set
            assert Image.open(io.BytesIO(back.image)).size == annotation.label_map.shape[::-1]


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_a_format_alone_is_enough(tmp_path, format):
    annotations = examples(VOC)
    path = export_zip(annotations, tmp_path / "out.zip", formats=[format])
    imported = import_zip(path)
    assert imported.format == format
    result = read_all(imported)
    assert all(np.array_equal(result[a.id].label_map, a.label_map) for a in annotations)
    assert imported.skipped == [] and imported.refused == []


def test_exporting_an_import_gives_the_same_bytes(tmp_path):
    # Without overlays, whose photo went through JPEG in between.
    first = export_zip(examples(PETS), tmp_path / "a.zip", ["voc", "coco", "yolo"])
    second = export_zip(import_zip(first).annotations, tmp_path / "b.zip", ["voc", "coco", "yolo"])
    assert first.read_bytes() == second.read_bytes()


# ------------------------------------------------------------------------------------------------- content


def test_what_is_in_the_zip(tmp_path):
    annotations = examples(VOC)
    with zipfile.ZipFile(export_zip(annotations, tmp_path / "out.zip")) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
        for a, subset in zip(annotations, ("train", "val", "test"), strict=True):
            assert {
                f"JPEGImages/{a.id}.jpg",
                f"SegmentationClass/{a.id}.png",
                f"meta/{a.id}.json",
                f"overlays/{a.id}.png",
                f"yolo/images/{subset}/{a.id}.jpg",
                f"yolo/labels/{subset}/{a.id}.txt",
            } <= names
        mask = Image.open(io.BytesIO(archive.read("SegmentationClass/photo-0.png")))
        assert mask.mode == "P" and mask.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        overlay = np.array(Image.open(io.BytesIO(archive.read("overlays/photo-0.png"))))
        rgb = annotations[0].image
        assert np.array_equal(overlay, label_maps.overlay(rgb, annotations[0].label_map, VOC))
        lists = {
            n: archive.read(f"ImageSets/Segmentation/{n}.txt").decode()
            for n in ("train", "val", "test", "trainval")
        }
        assert lists == {
            "train": "photo-0\n",
            "val": "photo-1\n",
            "test": "photo-2\n",
            "trainval": "photo-0\nphoto-1\n",
        }
        assert json.loads(archive.read("labels.json")) == VOC.to_json()
        side = json.loads(archive.read("meta/photo-0.json"))
        assert (side["width"], side["height"], side["label_set"]) == (53, 40, "voc")


def test_formats_are_chosen(tmp_path):
    with zipfile.ZipFile(export_zip(examples(VOC, 1), tmp_path / "out.zip", formats=())) as archive:
        assert set(archive.namelist()) == {"labels.json", "JPEGImages/photo-0.jpg", "meta/photo-0.json"}
    with pytest.raises(ExchangeError, match="no export format 'tfrecord'"):
        export_zip(examples(VOC, 1), tmp_path / "out.zip", formats=["tfrecord"])


def test_an_upright_jpeg_keeps_its_bytes_and_a_turned_one_is_stored_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = 255
    plain, turned = jpeg(pixels), jpeg(pixels, exif=exif, quality=95)
    (tmp_path / "photo.jpg").write_bytes(plain)
    annotations = [
        Annotation("path", tmp_path / "photo.jpg", np.zeros((10, 20), np.uint8), VOC),
        Annotation("turned", turned, np.zeros((20, 10), np.uint8), VOC),
    ]
    with zipfile.ZipFile(export_zip(annotations, tmp_path / "out.zip")) as archive:
        assert archive.read("JPEGImages/path.jpg") == plain
        upright = Image.open(io.BytesIO(archive.read("JPEGImages/turned.jpg")))
    assert upright.size == (10, 20) and upright.getexif().get(0x0112, 1) == 1
    assert np.array(upright)[0].min() > 240 and np.array(upright)[-1].max() < 15


def test_pycocotools_reads_both_coco_files(tmp_path, capsys):
    annotations = examples(PETS)
    folder = unpack(export_zip(annotations, tmp_path / "out.zip"), tmp_path / "out")
    for kind in ("rle", "polygons"):
        api = COCO(str(folder / f"coco/instances_{kind}.json"))
        capsys.readouterr()  # it prints
        for coco_entry in api.loadAnns(api.getAnnIds(iscrowd=None)):
            lossless = kind == "rle" or coco_entry["category_id"] == 256
            assert isinstance(coco_entry["segmentation"], dict if lossless else list)
        categories = {c["id"]: c["name"] for c in api.loadCats(api.getCatIds())}
        assert categories == {1: "pet", 3: "border", 256: "void"}
        assert [i["file_name"] for i in api.loadImgs(api.getImgIds())] == [f"{a.id}.jpg" for a in annotations]
        for image_id, a in enumerate(annotations, 1):
            rebuilt = np.full(a.label_map.shape, PETS.background, np.uint8)
            strays = np.zeros(a.label_map.shape, bool)
            for entry in api.loadAnns(api.getAnnIds(imgIds=image_id, iscrowd=None)):
                value = VOID if entry["category_id"] == 256 else entry["category_id"] - 1
                mask, truth = api.annToMask(entry).astype(bool), a.label_map == value
                rebuilt[mask] = value
                strays |= (mask != truth) & ~label_maps.boundaries(truth)
                y, x = np.nonzero(truth)
                assert entry["area"] == truth.sum() and entry["iscrowd"] == (value == VOID)
                left, top = x.min(), y.min()
                assert entry["bbox"] == [left, top, x.max() + 1 - left, y.max() + 1 - top]
            # pycocotools rounds polygons in its own way, by up to a pixel of the outline.
            assert np.array_equal(rebuilt, a.label_map) if kind == "rle" else not strays.any()


def test_coco_ids_are_the_class_ids_of_voc(tmp_path):
    label_map = np.array([[0, 1, 20, 255]], np.uint8)
    path = export_zip([Annotation("a", photo(1, 4), label_map, VOC)], tmp_path / "out.zip")
    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("coco/instances_rle.json"))
    assert [(a["category_id"], a["bbox"]) for a in data["annotations"]] == [
        (1, [1, 0, 1, 1]),
        (20, [2, 0, 1, 1]),
        (255, [3, 0, 1, 1]),
    ]
    assert {c["id"] for c in data["categories"]} == {*range(1, 21), 255}


def test_yolo_by_hand(tmp_path):
    label_map = np.zeros((4, 8), np.uint8)
    label_map[1:3, 2:6] = 7
    label_map[0, 0] = VOID
    path = export_zip([Annotation("a", photo(4, 8), label_map, VOC)], tmp_path / "out.zip", ["yolo"])
    with zipfile.ZipFile(path) as archive:
        assert archive.read("yolo/labels/train/a.txt") == b"7 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"
        assert archive.read("yolo/void/train/a.txt") == b"0 0 0 0.125 0 0.125 0.25 0 0.25\n"
        settings = yaml.safe_load(archive.read("yolo/data.yaml"))
    assert settings["names"] == dict(enumerate(VOC.classes))
    assert settings["train"] == settings["val"] == "images/train"


# -------------------------------------------------------------------------------------------- safe export


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
        ({"id": "../evil"}, "cannot name a file"),
        ({"id": ""}, "cannot name a file"),
        ({"id": ".hidden"}, "cannot name a file"),
        ({"id": "two words"}, "cannot name a file"),
        ({"id": "x" * 151}, "cannot name a file"),
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
    fields = {
        "id": "b",
        "image": photo(31, 17),
        "label_map": np.zeros((31, 17), np.uint8),
        "label_set": VOC,
        "meta": {},
    }
    with pytest.raises(ExchangeError, match=words):
        export_zip([good, Annotation(**{**fields, **changes})], tmp_path / "out.zip")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------ files of other tools


def test_a_plain_voc_tree_is_read_as_voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    label_map = np.array([[0, 15, 255], [15, 15, 0]], np.uint8)
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
        (root / name).mkdir(parents=True)
    (root / "JPEGImages/2007_000032.jpg").write_bytes(jpeg(photo(2, 3)))
    (root / "JPEGImages/2007_000999.jpg").write_bytes(jpeg(photo(2, 3)))
    (root / "SegmentationClass/2007_000032.png").write_bytes(label_maps.encode_png(label_map, VOC))
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000032\n")
    (root / "Annotations/2007_000032.xml").write_text("<annotation/>")
    imported = import_folder(tmp_path)
    [annotation] = imported.annotations
    assert annotation.id == "2007_000032" and annotation.meta == {"subset": "val"}
    assert np.array_equal(annotation.label_map, label_map) and annotation.label_set == VOC
    base = "VOCdevkit/VOC2012"
    assert imported.skipped == [f"{base}/Annotations/2007_000032.xml", f"{base}/JPEGImages/2007_000999.jpg"]


def foreign_coco(**changes):
    data = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 6, "height": 4}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "Cat"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 3,
                "area": 4,
                "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]],
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 18,
                "area": 16,
                "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4], [5, 0, 6, 0, 6, 1, 5, 1]],
            },
        ],
    }
    return {**data, **changes}


def coco_zip(path, data, **files):
    files = {"images/a.jpg": jpeg(photo(4, 6)), "annotations/train.json": json.dumps(data), **files}
    return make_zip(path, files)


# The cat lies on the larger dog, though it comes first in the file.
DOG_AND_CAT = [[2, 2, 2, 2, 0, 2], [2, 1, 1, 2, 0, 0], [2, 1, 1, 2, 0, 0], [2, 2, 2, 2, 0, 0]]


def test_foreign_coco_by_hand(tmp_path):
    imported = import_zip(
        coco_zip(tmp_path / "c.zip", foreign_coco(), **{"notes.md": "hello", "x.json": "{"})
    )
    [annotation] = imported.annotations
    assert imported.label_set.classes == ("background", "Cat", "dog")
    assert annotation.id == "a" and annotation.label_map.tolist() == DOG_AND_CAT
    assert imported.skipped == ["notes.md", "x.json"]


def test_foreign_coco_into_a_known_label_set_goes_by_name(tmp_path):
    imported = import_zip(coco_zip(tmp_path / "c.zip", foreign_coco()), label_set=VOC)
    [annotation] = imported.annotations
    expected = np.array([0, 8, 12], np.uint8)[np.array(DOG_AND_CAT)]
    assert np.array_equal(annotation.label_map, expected) and annotation.label_set == VOC


def test_uncompressed_run_lengths_are_read(tmp_path):
    data = foreign_coco()
    data["annotations"] = [
        {**data["annotations"][0], "segmentation": {"size": [4, 6], "counts": [4, 2, 18]}, "iscrowd": 1}
    ]
    [annotation] = import_zip(coco_zip(tmp_path / "c.zip", data)).annotations
    expected = np.zeros((4, 6), np.uint8)
    expected[:2, 1] = 1
    assert np.array_equal(annotation.label_map, expected)


def entry(**changes):
    return [{**foreign_coco()["annotations"][0], **changes}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": [{"id": 7, "file_name": "b.jpg"}]}, "photo is missing"),
        ({"images": [{"id": 7, "file_name": "a.jpg", "width": 4, "height": 6}]}, "says 4x6 .* measures 6x4"),
        ({"annotations": entry(segmentation=[[1, 1, 2, 2]])}, "annotation 1 .*at least three pairs"),
        ({"annotations": entry(segmentation=[[1, 1, 2, 2, "x", 3]])}, "at least three pairs"),
        ({"annotations": entry(segmentation=[])}, "no segmentation"),
        ({"annotations": entry(segmentation=None)}, "no segmentation"),
        ({"annotations": entry(segmentation={"size": [99999, 99999], "counts": [1]})}, "99999"),
        ({"annotations": entry(segmentation={"size": [4, 6], "counts": [1]})}, "annotation 1: .*add up to 1"),
        ({"annotations": entry(segmentation={"counts": [1]})}, "mask of None"),
    ],
)
def test_bad_coco_images_are_refused_with_a_reason(tmp_path, changes, words):
    imported = import_zip(coco_zip(tmp_path / "c.zip", foreign_coco(**changes)))
    assert list(imported.annotations) == []
    [sentence] = imported.refused
    assert sentence.startswith("annotations/train.json, ") and sentence.endswith(".")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(sentence)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": entry(category_id=99)}, "annotation 1 has the category 99"),
        ({"annotations": entry(category_id=[1])}, "annotation 1 has the category None"),
        ({"annotations": [5]}, "annotation number 1 is no annotation"),
        ({"images": [{"id": 7}]}, "image 7 has no id or no file_name"),
        ({"categories": ["dog"]}, "category dog has no id or no name"),
    ],
)
def test_what_is_incomplete_in_coco_is_left_out_and_named(tmp_path, changes, words):
    imported = import_zip(coco_zip(tmp_path / "c.zip", foreign_coco(**changes)))
    assert list(imported.annotations) == []
    assert words in " ".join(imported.refused)


def test_a_class_the_label_set_lacks_is_named(tmp_path):
    imported = import_zip(coco_zip(tmp_path / "c.zip", foreign_coco()), label_set=PETS)
    assert list(imported.annotations) == [] and "no class 'Cat' in Oxford-IIIT Pet" in imported.refused[0]


YOLO = "names: [cat, dog]\n"


def yolo_zip(path, labels, settings=YOLO):
    return make_zip(
        path,
        {
            "set/data.yaml": settings,
            "set/images/val/a.jpg": jpeg(photo(4, 8)),
            "set/labels/val/a.txt": labels,
            "set/README.txt": "",
        },
    )


def test_foreign_yolo_by_hand(tmp_path):
    # The cat lies on the larger dog, though it comes first in the file.
    labels = "0 .125 .25 .25 .25 .25 .5 .125 .5\n\n1 0 0 0.5 0 0.5 1 0 1\n"
    imported = import_zip(yolo_zip(tmp_path / "y.zip", labels))
    [annotation] = imported.annotations
    expected = np.zeros((4, 8), np.uint8)
    expected[:, :4] = 2
    expected[1, 1] = 1
    assert np.array_equal(annotation.label_map, expected)
    assert imported.label_set.classes == ("background", "cat", "dog")
    assert annotation.meta == {"subset": "val"} and imported.skipped == ["set/README.txt"]


def test_yolo_files_may_be_called_labels(tmp_path):
    files = {"data.yaml": YOLO, "labels/images/labels/labels.txt": "0 0 0 1 0 1 1 0 1"}
    files["labels/images/images/labels.jpg"] = jpeg(photo(2, 2))
    [annotation] = import_zip(make_zip(tmp_path / "y.zip", files)).annotations
    assert annotation.id == "labels" and annotation.label_map.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2 0.2", "line 1 is a box, not an outline"),
        ("0 0 0 1 0 1 1.5", "line 1 has a coordinate outside 0..1"),
        ("0 0 0 1 0 1 nan", "line 1 has a coordinate outside 0..1"),
        ("0 0 0 1 0 1", "line 1 has a polygon that is not at least three pairs"),
        ("2 0 0 1 0 1 1", "line 1 has the class 2, which data.yaml does not name"),
        ("0.5 0 0 1 0 1 1", "line 1 has the class 0.5"),
        ("nan 0 0 1 0 1 1", "line 1 has the class nan"),
        ("cat 0 0 1 0 1 1", "line 1 is not numbers"),
    ],
)
def test_bad_yolo_lines_are_refused(tmp_path, line, words):
    imported = import_zip(yolo_zip(tmp_path / "y.zip", line))
    assert list(imported.annotations) == []
    [sentence] = imported.refused
    assert sentence.startswith("set/labels/val/a.txt: ") and words in sentence


def test_unsafe_yaml_is_not_executed(tmp_path):
    settings = f"names: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n"
    with pytest.raises(ExchangeError, match="no annotations"):
        import_zip(yolo_zip(tmp_path / "y.zip", "0 0 0 1 0 1 1", settings))
    assert not (tmp_path / "made").exists()


# -------------------------------------------------------------------------------------------- safe import


def broken_export(tmp_path, **changes):
    """An export of two photos with some of its files replaced (None: left out)."""
    good = Annotation("good", photo(4, 5), np.full((4, 5), 3, np.uint8), VOC)
    source = export_zip([*examples(VOC, 1), good], tmp_path / "whole.zip", ["voc"])
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files.update(changes)
    return make_zip(tmp_path / "broken.zip", {n: c for n, c in files.items() if c is not None})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("SegmentationClass/photo-0.png", b"nonsense", "is not a PNG"),
        (
            "SegmentationClass/photo-0.png",
            label_maps.encode_png(np.zeros((4, 5), np.uint8), VOC),
            "5x4 .* 53x40",
        ),
        ("JPEGImages/photo-0.jpg", None, "has no photo, add JPEGImages/photo-0.jpg"),
        ("JPEGImages/photo-0.jpg", b"nonsense", "photo JPEGImages/photo-0.jpg cannot be used: .*not a photo"),
        ("JPEGImages/photo-0.jpg", jpeg(photo(40, 53))[:2000], "cut short"),
        ("meta/photo-0.json", b"[1]", "meta/photo-0.json has no meta"),
        ("meta/photo-0.json", b"{", "meta/photo-0.json is not JSON"),
        ("meta/photo-0.json", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_one_bad_file_costs_one_annotation_and_is_named(tmp_path, name, content, words):
    imported = import_zip(broken_export(tmp_path, **{name: content}))
    assert [a.id for a in imported.annotations] == ["good"]
    [sentence] = imported.refused
    assert sentence.startswith("SegmentationClass/photo-0.png: ") and sentence.endswith(".")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(sentence)


def test_a_mask_with_a_stray_colour_says_which_and_where(tmp_path):
    rgb = label_maps.colourise(np.zeros((40, 53), np.uint8), VOC)
    rgb[7, 9] = (1, 2, 3)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    imported = import_zip(broken_export(tmp_path, **{"SegmentationClass/photo-0.png": out.getvalue()}))
    assert len(list(imported.annotations)) == 1
    assert "x=9, y=7 has the colour (1, 2, 3)" in imported.refused[0]


def test_a_flipped_bit_in_the_zip_is_noticed(tmp_path):
    path = export_zip(examples(VOC, 1), tmp_path / "out.zip", ["voc"])
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 1
    path.write_bytes(data)
    imported = import_zip(path)
    assert list(imported.annotations) == []
    assert "SegmentationClass/photo-0.png is damaged in out.zip" in imported.refused[0]


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"name": "x"}', b'{"name": 1, "title": "t", "classes": []}']
)
def test_a_broken_label_set_is_refused(tmp_path, content):
    with pytest.raises(ExchangeError, match=r"labels.json does not describe a label set"):
        import_zip(broken_export(tmp_path, **{"labels.json": content}))


def test_a_label_set_with_gaps_is_refused(tmp_path):
    data = PETS.to_json()
    data["classes"][2]["id"] = 5
    with pytest.raises(ExchangeError, match="ids do not count from 0"):
        import_zip(broken_export(tmp_path, **{"labels.json": json.dumps(data)}))


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil", "a/../../b", "C:/evil", "a\\..\\b", "a\nb"])
def test_unsafe_names_are_refused(tmp_path, name):
    path = make_zip(tmp_path / "bad.zip", {"ok.txt": b"", "x" * len(name): b""})
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name.encode()))
    with pytest.raises(ExchangeError, match="unsafe name"):
        import_zip(path)


def test_links_are_skipped(tmp_path):
    path = broken_export(tmp_path)
    link = zipfile.ZipInfo("SegmentationClass/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    imported = import_zip(path)
    assert imported.skipped == ["SegmentationClass/link.png"] and len(list(imported.annotations)) == 2
    folder = unpack(broken_export(tmp_path), tmp_path / "folder")
    (folder / "SegmentationClass/link.png").symlink_to(folder / "SegmentationClass/good.png")
    imported = import_folder(folder)
    assert imported.skipped == ["SegmentationClass/link.png"] and len(list(imported.annotations)) == 2


def test_a_name_that_comes_twice_is_refused(tmp_path):
    path = broken_export(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("SegmentationClass/good.png", b"other")
    with pytest.raises(ExchangeError, match=r"holds SegmentationClass/good.png twice"):
        import_zip(path)


def test_encrypted_zips_are_refused(tmp_path):
    path = make_zip(tmp_path / "secret.zip", {"a.txt": b"hello"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ExchangeError, match="encrypted"):
        import_zip(path)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SegmentationClass/a.png", bytes(5_000_000))
        archive.writestr("JPEGImages/a.jpg", jpeg(photo(2, 2)))
    assert path.stat().st_size < 10_000
    with pytest.raises(ExchangeError, match=r"more than 0\.001 GB"):
        import_zip(path, archive_limits=ArchiveLimits(max_bytes=1_000_000))
    with pytest.raises(ExchangeError, match="more than 1 files"):
        import_zip(path, archive_limits=ArchiveLimits(max_files=1))
    imported = import_zip(path, limits=Limits(max_bytes=1_000_000))
    assert list(imported.annotations) == []
    assert "SegmentationClass/a.png has 5.0 MB where 1 MB are allowed" in imported.refused[0]


def test_large_json_is_refused(tmp_path):
    path = coco_zip(tmp_path / "c.zip", foreign_coco())
    with pytest.raises(ExchangeError, match="where 1e-05 MB"):
        import_zip(path, member="annotations/train.json", archive_limits=ArchiveLimits(max_json_bytes=10))


def test_what_is_no_zip_or_holds_nothing_is_told_so(tmp_path):
    for content in (b"", b"nonsense", b"PK\x03\x04 cut"):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(ExchangeError, match=r"x.zip is not a ZIP file, or damaged"):
            import_zip(tmp_path / "x.zip")
    with pytest.raises(ExchangeError, match="There is no file"):
        import_zip(tmp_path / "none.zip")
    with pytest.raises(ExchangeError, match="There is no folder"):
        import_folder(tmp_path / "none")
    path = make_zip(tmp_path / "x.zip", {"readme.txt": b"hello", "photo.jpg": jpeg(photo(2, 2))})
    with pytest.raises(ExchangeError, match="holds no annotations: it needs masks in SegmentationClass"):
        import_zip(path)
    with pytest.raises(ExchangeError, match="holds no coco annotations"):
        import_zip(broken_export(tmp_path), format="coco")
    with pytest.raises(ExchangeError, match="no import format 'tfrecord'"):
        import_zip(path, format="tfrecord")
    with pytest.raises(ExchangeError, match=r"no nothing.json"):
        import_zip(path, member="nothing.json")


def test_ids_that_no_file_may_have_are_made_safe_and_different(tmp_path):
    label_map = np.zeros((2, 2), np.uint8)
    files = {}
    for stem in ("my cat", "my_cat", "MY*CAT"):
        files[f"JPEGImages/{stem}.jpg"] = jpeg(photo(2, 2))
        files[f"SegmentationClass/{stem}.png"] = label_maps.encode_png(label_map, VOC)
    result = list(import_zip(make_zip(tmp_path / "a.zip", files)).annotations)
    assert [a.id for a in result] == ["MY_CAT", "my_cat-2", "my_cat-3"]
    export_zip(result, tmp_path / "b.zip")


def test_a_given_label_set_wins_and_masks_must_fit_it(tmp_path):
    imported = import_zip(broken_export(tmp_path), label_set=PETS)
    assert list(imported.annotations) == [] and len(imported.refused) == 2
    assert "class id 3, but Oxford-IIIT Pet" in " ".join(imported.refused)


def test_reading_is_lazy(tmp_path, monkeypatch):
    path = export_zip(examples(VOC), tmp_path / "out.zip", ["voc"])
    read = []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name: read.append(name) or original(self, name))
    imported = import_zip(path)
    assert not [n for n in read if n.endswith((".png", ".jpg"))]
    next(imported.annotations)
    assert [n for n in read if n.endswith(".png")] == ["SegmentationClass/photo-0.png"]
    imported.annotations.close()


def test_many_polygons_of_a_large_photo_are_painted_quickly(tmp_path):
    # 2000 polygons of 20 pixels each on 12 megapixels: only their own windows may be touched.
    lines = []
    for i in range(2000):
        x, y = (i % 50) / 50, (i // 50) / 40
        lines.append(f"0 {x} {y} {x + 0.001} {y} {x + 0.001} {y + 0.002} {x} {y + 0.002}")
    gray = io.BytesIO()
    Image.new("L", (4000, 3000)).save(gray, "JPEG")
    path = make_zip(
        tmp_path / "y.zip",
        {"data.yaml": YOLO, "images/a.jpg": gray.getvalue(), "labels/a.txt": "\n".join(lines)},
    )
    [annotation] = import_zip(path).annotations
    assert annotation.label_map.shape == (3000, 4000)
    assert (annotation.label_map == 1).sum() == 2000 * 4 * 6
