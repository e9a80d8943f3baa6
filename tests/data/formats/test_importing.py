"""Import: what comes back from an export, and what is refused."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
from archive_files import coco, contents, encoded, examples, make_zip, picture, pixels, unpack
from PIL import Image

from segdemo.core import label_maps
from segdemo.core.labels import PETS, VOC, LabelSet
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

NOT_POLYGONS = ("coco/instances_rle.json", "coco/annotations")


def photo(height, width):
    """The file of a photo."""
    return picture(0, "JPEG", (height, width))


def read_all(imported):
    return {annotation.id: annotation for annotation in imported.annotations}


# ---------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("label_set", [VOC, PETS, NO_BACKGROUND])
@pytest.mark.parametrize(
    ("format", "without"), [("voc", ()), ("coco", ()), ("coco", NOT_POLYGONS), ("yolo", ())]
)
def test_every_format_gives_back_identical_label_maps(tmp_path, label_set, format, without):
    annotations = examples(label_set)
    files = contents(export_zip(annotations, tmp_path / "all.zip"))
    path = make_zip(tmp_path / "out.zip", {n: c for n, c in files.items() if not n.startswith(without)})
    folder = unpack(path, tmp_path / "out")
    for imported in (import_zip(path, format=format), import_folder(folder, format=format)):
        assert imported.format == format and imported.label_set == label_set
        result = read_all(imported)
        assert imported.refused == [] and imported.skipped == []
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


# -------------------------------------------------------------------------------------------- safe export


# ------------------------------------------------------------------------------------ files of other tools


def test_a_plain_voc_tree_is_read_as_voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    label_map = np.array([[0, 15, 255], [15, 15, 0]], np.uint8)
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
        (root / name).mkdir(parents=True)
    for name in ("2007_000032", "2007_000999"):
        (root / f"JPEGImages/{name}.jpg").write_bytes(photo(2, 3))
    (root / "SegmentationClass/2007_000032.png").write_bytes(label_maps.encode_png(label_map, VOC))
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000032\n")
    (root / "Annotations/2007_000032.xml").write_text("<annotation/>")
    imported = import_folder(tmp_path)
    [annotation] = imported.annotations
    assert annotation.id == "2007_000032" and annotation.meta == {"subset": "val"}
    assert np.array_equal(annotation.label_map, label_map) and annotation.label_set == VOC
    base = "VOCdevkit/VOC2012"
    assert imported.skipped == [f"{base}/Annotations/2007_000032.xml", f"{base}/JPEGImages/2007_000999.jpg"]


# -------------------------------------------------------------------------------------------- safe import


def broken_export(tmp_path, **changes):
    """An export of two photos with some of its files replaced (None: left out)."""
    good = Annotation("good", pixels(0, 4, 5), np.full((4, 5), 3, np.uint8), VOC)
    source = export_zip([*examples(VOC, 1), good], tmp_path / "whole.zip", ["voc"])
    files = contents(source) | changes
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
        ("JPEGImages/photo-0.jpg", photo(40, 53)[:2000], "cut short"),
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
    imported = import_zip(broken_export(tmp_path, **{"SegmentationClass/photo-0.png": encoded(rgb)}))
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
        archive.writestr("JPEGImages/a.jpg", photo(2, 2))
    assert path.stat().st_size < 10_000
    with pytest.raises(ExchangeError, match=r"more than 0\.001 GB"):
        import_zip(path, archive_limits=ArchiveLimits(max_bytes=1_000_000))
    with pytest.raises(ExchangeError, match="more than 1 files"):
        import_zip(path, archive_limits=ArchiveLimits(max_files=1))
    imported = import_zip(path, limits=Limits(max_bytes=1_000_000))
    assert list(imported.annotations) == []
    assert "SegmentationClass/a.png has 5.0 MB where 1 MB are allowed" in imported.refused[0]


def test_large_json_is_refused(tmp_path):
    path = make_zip(tmp_path / "c.zip", {"annotations/train.json": coco(), "a.png": picture()})
    with pytest.raises(ExchangeError, match="where 1e-05 MB"):
        import_zip(path, archive_limits=ArchiveLimits(max_json_bytes=10))


def test_what_is_no_zip_or_holds_nothing_is_told_so(tmp_path):
    for content in (b"", b"nonsense", b"PK\x03\x04 cut"):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(ExchangeError, match=r"x.zip is not a ZIP file, or damaged"):
            import_zip(tmp_path / "x.zip")
    with pytest.raises(ExchangeError, match="There is no file"):
        import_zip(tmp_path / "none.zip")
    with pytest.raises(ExchangeError, match="There is no folder"):
        import_folder(tmp_path / "none")
    path = make_zip(tmp_path / "x.zip", {"readme.txt": b"hello", "photo.jpg": photo(2, 2)})
    with pytest.raises(ExchangeError, match="holds no annotations: it needs masks in SegmentationClass"):
        import_zip(path)
    with pytest.raises(ExchangeError, match="holds no coco annotations"):
        import_zip(broken_export(tmp_path), format="coco")
    with pytest.raises(ExchangeError, match="no import format 'tfrecord'"):
        import_zip(path, format="tfrecord")


def test_ids_that_no_file_may_have_are_made_safe_and_different(tmp_path):
    label_map = np.zeros((2, 2), np.uint8)
    files = {}
    for stem in ("my cat", "my_cat", "MY*CAT"):
        files[f"JPEGImages/{stem}.jpg"] = photo(2, 2)
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
