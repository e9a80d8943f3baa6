"""Names in archives and folders: system files, separators, letters, what is unsafe, what comes twice."""

import warnings
import zipfile

import pytest
from archive_files import (
    YOLO_SQUARE,
    annotation,
    coco,
    image,
    make_folder,
    make_zip,
    picture,
    png,
    read,
    same,
    square,
)

from segdemo.data.formats import ExchangeError, import_folder, import_zip

VOC_TREE = {"JPEGImages/a.png": picture(), "SegmentationClass/a.png": png(square())}


def under(prefix, files=VOC_TREE):
    return {prefix + name: content for name, content in files.items()}


@pytest.mark.parametrize(
    "junk",
    [
        {"__MACOSX/set/JPEGImages/._a.png": b"x", "__MACOSX/set/SegmentationClass/._a.png": b"x"},
        {"set/.DS_Store": b"x", "set/JPEGImages/.DS_Store": b"x"},
        {"Icon\r": b"", "set/SegmentationClass/Icon\r": b""},
        {"set/JPEGImages/Thumbs.db": b"x", "set/SegmentationClass/desktop.ini": b"x"},
        {"set/SegmentationClass/._a.png": b"x", "set/SegmentationClass/._b.png": b"x"},
        {".git/SegmentationClass/b.png": b"x", "$RECYCLE.BIN/SegmentationClass/c.png": b"x"},
    ],
)
def test_what_systems_leave_in_archives_and_folders_is_nobodys(tmp_path, junk):
    files = {**junk, **under("set/")}
    photos, imported = read(tmp_path, files)
    assert list(photos) == ["set/JPEGImages/a.png"] and same(photos["set/JPEGImages/a.png"], square())
    assert imported.account.left_out == [] and sorted(imported.account.ignored) == sorted(junk)
    imported = import_folder(make_folder(tmp_path / "folder", files))
    assert [a.file for a in imported.annotations] == ["set/JPEGImages/a.png"] and imported.refused == []


@pytest.mark.parametrize(
    "files",
    [
        {name.replace("/", "\\"): content for name, content in VOC_TREE.items()},
        {f"set\\{name}": content for name, content in VOC_TREE.items()},
        {f"./{name}": content for name, content in VOC_TREE.items()},
        {"data.yaml": "names: [cat]", "images\\train\\a.png": picture(), "labels\\train\\a.txt": YOLO_SQUARE},
        {"i.json": coco([image(file_name="images\\a.png")]), "images\\a.png": picture()},
        {"i.json": coco([image(file_name="C:\\data\\images\\a.png")]), "images/a.png": picture()},
        {"i.json": coco([image(file_name=".\\images/a.png")]), "images/a.png": picture()},
    ],
)
def test_separators_are_read_alike(tmp_path, files):
    photos, imported = read(tmp_path, files)
    [photo] = photos.values()
    assert same(photo, square()) and imported.account.left_out == []


EVIL = ("../e.png", "..\\e.png", "/etc/evil", "C:\\e.png", "x/../../evil", "a\nb.png", "\\\\host\\x.png")


@pytest.mark.parametrize("evil", EVIL)
def test_one_hostile_name_is_left_out_and_named_while_the_rest_goes_on(tmp_path, evil):
    photos, imported = read(tmp_path, {evil: picture(), **VOC_TREE})
    assert list(photos) == ["JPEGImages/a.png"]
    [entry] = imported.account.left_out
    assert entry.file == evil and "unsafe name" in entry.why


def test_hostile_names_alone_are_refused_by_name(tmp_path):
    path = make_zip(tmp_path / "bad.zip", {"../SegmentationClass/a.png": b"", "/JPEGImages/a.png": b""})
    with pytest.raises(ExchangeError, match=r"'\.\./SegmentationClass/a\.png' has an unsafe name"):
        import_zip(path)


def test_odd_names_that_lead_nowhere_are_read(tmp_path):
    name = "Screenshot 12:30:01.png"
    photos, imported = read(tmp_path, {"i.json": coco([image(file_name=name)]), name: picture()})
    assert same(photos[name], square()) and imported.account.left_out == []
    assert photos[name].name == name and ":" not in photos[name].id


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("M\u00fcller.png", "Mu\u0308ller.png"),
        ("Mu\u0308ller.png", "M\u00fcller.png"),
        ("\u1e69.png", "s\u0307\u0323.png"),
        ("\uac00.png", "\u1100\u1161.png"),
    ],
)
def test_letters_are_compared_composed(tmp_path, stored, told):
    photos, _ = read(tmp_path, {"i.json": coco([image(file_name=told)]), f"images/{stored}": picture()})
    [photo] = photos.values()
    assert same(photo, square())
    files = {f"JPEGImages/{stored}": picture(), f"SegmentationClass/{told}": png(square())}
    files["ImageSets/Segmentation/val.txt"] = told.removesuffix(".png")
    photos, _ = read(tmp_path, files)
    [photo] = photos.values()
    assert same(photo, square()) and photo.meta == {"subset": "val"}


def test_names_in_utf8_without_the_flag_that_says_so(tmp_path):
    """As the Archive Utility of macOS writes them."""
    files = {"i.json": coco([image(file_name="Müller.png")]), "XXXXXXX.png": picture()}
    path = make_zip(tmp_path / "mac.zip", files)
    path.write_bytes(path.read_bytes().replace(b"XXXXXXX", "Müller".encode()))
    with zipfile.ZipFile(path) as archive:
        assert "Müller.png" not in archive.namelist()
    [found] = import_zip(path).annotations
    assert found.name == "Müller.png" and same(found, square())


def test_names_that_become_alike_are_named(tmp_path):
    photos, imported = read(tmp_path, {**VOC_TREE, "JPEGImages\\a.png": picture(1)})
    assert list(photos) == ["JPEGImages/a.png"]
    [entry] = imported.account.left_out
    assert entry.file == "JPEGImages\\a.png" and "called like another file" in entry.why


def test_links_to_folders_are_not_followed(tmp_path):
    folder = make_folder(tmp_path / "set", VOC_TREE)
    more = {"SegmentationClass/b.png": png(square()), "JPEGImages/b.png": b""}
    (folder / "linked").symlink_to(make_folder(tmp_path / "outside", more))
    imported = import_folder(folder)
    assert [a.file for a in imported.annotations] == ["JPEGImages/a.png"]
    assert imported.skipped == ["linked"]


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "jpe", "jfif", "JFIF"])
def test_every_ending_of_a_photo_is_known(tmp_path, ending):
    data = picture(format="JPEG", size=(6, 8))
    layouts = [
        {"i.json": coco([image(file_name=f"a.{ending}")]), f"images/a.{ending}": data},
        {f"JPEGImages/a.{ending}": data, "SegmentationClass/a.png": png(square())},
        {"data.yaml": "names: [cat]", f"images/a.{ending}": data, "labels/a.txt": YOLO_SQUARE},
    ]
    for files in layouts:
        photos, _ = read(tmp_path, files)
        assert [photo.name for photo in photos.values()] == [f"a.{ending}"]
        assert all(same(photo, square()) for photo in photos.values())


def test_a_document_that_is_cut_short_is_named_with_the_reason(tmp_path):
    whole = coco()
    path = make_zip(tmp_path / "cut.zip", {"sub/instances.json": whole[:-40], "a.png": picture()})
    with pytest.raises(ExchangeError, match=r"sub/instances\.json is not JSON: it is cut short"):
        import_zip(path)
    photos, imported = read(tmp_path, {"cut.json": whole[:-40], "good.json": whole, "a.png": picture()})
    assert same(photos["a.png"], square())
    assert [(entry.file, entry.what) for entry in imported.account.left_out] == [("cut.json", "document")]
    photos, imported = read(tmp_path, {"x.json": "{", "good.json": whole, "a.png": picture()})
    assert imported.account.left_out == [] and imported.account.ignored == ["x.json"]


def test_an_annotation_of_a_damaged_photo_is_named(tmp_path):
    files = {"i.json": coco(annotations=[annotation(1), annotation(2)]), "a.png": picture()[:60]}
    photos, imported = read(tmp_path, files)
    assert photos == {}
    assert [entry.what for entry in imported.account.left_out] == ["annotation 1", "annotation 2"]
    [sentence] = imported.refused
    assert "the photo a.png cannot be used" in sentence


def test_what_is_no_archive_of_annotations_is_told_so(tmp_path):
    for name, words in (("i.json", "give the folder it is in"), ("x.zip", "download it again")):
        (tmp_path / name).write_text(coco())
        with pytest.raises(ExchangeError, match=f"{name} is not a ZIP file.*{words}"):
            import_zip(tmp_path / name)
    path = make_zip(tmp_path / "outer.zip", {"inner.zip": b"PK", "readme.txt": "x"})
    with pytest.raises(ExchangeError, match=r"other archives \(inner\.zip\): unpack these first"):
        import_zip(path)


def test_a_part_that_cannot_be_read_beside_one_that_can_is_named(tmp_path):
    files = {**VOC_TREE, "images/b.png": picture(1), "labels/b.txt": YOLO_SQUARE}
    photos, imported = read(tmp_path, files)
    assert list(photos) == ["JPEGImages/a.png"]
    assert "nothing names the classes of its YOLO labels" in imported.refused[0]


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive and no ZIP"),
        (b"Rar!\x1a\x07\x01\x00", "is a RAR archive and no ZIP"),
        (b"\x1f\x8b\x08", "is a gzip or tar.gz archive and no ZIP"),
        (b"photo.jpg".ljust(257, b"\0") + b"ustar", "is a tar archive and no ZIP"),
        (b"<!DOCTYPE html><html>", "is a web page and not a ZIP"),
        (b"PK\x03\x04", "does not end, so download it again"),
        (b"", "it is empty, so download it again"),
    ],
)
def test_another_file_that_is_called_zip_is_called_what_it_is(tmp_path, start, said):
    (tmp_path / "x.zip").write_bytes(start + bytes(300) if start else b"")
    with pytest.raises(ExchangeError, match=said):
        import_zip(tmp_path / "x.zip")


def _with_header(path, name, offset, value):
    """Change two bytes in both headers of a file in a ZIP; ``offset`` counts from its flags."""
    data, raw = bytearray(path.read_bytes()), name.encode()
    for mark, length, flags in ((b"PK\x03\x04", 30, 6), (b"PK\x01\x02", 46, 8)):
        marked = (i for i in range(len(data)) if data[i : i + 4] == mark)
        at = next(i for i in marked if data[i + length :].startswith(raw))
        data[at + flags + offset : at + flags + offset + 2] = value.to_bytes(2, "little")
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("offset", "value", "said"), [(0, 1, "is encrypted"), (2, 9, "Deflate64"), (2, 93, "Zstandard")]
)
def test_a_file_that_cannot_be_unpacked_is_named_and_the_rest_goes_on(tmp_path, offset, value, said):
    files = {"c.json": coco(), "a.png": picture(), "notes.docx": b"x"}
    path = make_zip(tmp_path / "c.zip", files)
    _with_header(path, "notes.docx", offset, value)
    imported = import_zip(path)
    assert len(list(imported.annotations)) == 1
    assert [e.file for e in imported.account.left_out] == ["notes.docx"] and said in imported.refused[0]
    path = make_zip(tmp_path / "d.zip", files)
    _with_header(path, "a.png", offset, value)
    imported = import_zip(path)
    assert list(imported.annotations) == [] and "a.png" in [e.file for e in imported.account.left_out]


def test_the_same_file_twice_in_an_archive_is_one_file(tmp_path):
    path = make_zip(tmp_path / "c.zip", {"c.json": coco(), "a.png": picture()})
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("a.png", picture())
    imported = import_zip(path)
    assert len(list(imported.annotations)) == 1 and not imported.account.left_out


@pytest.mark.parametrize(
    ("name", "code_page"), [("照片.png", "gbk"), ("写真.png", "shift_jis"), ("übung.png", "cp1252")]
)
def test_names_in_a_code_page_that_the_archive_does_not_tell(tmp_path, name, code_page):
    raw = name.encode(code_page)
    held = "x" * len(raw)
    path = make_zip(tmp_path / "x.zip", {"c.json": coco([image(file_name=name)]), held: picture()})
    path.write_bytes(path.read_bytes().replace(held.encode(), raw))
    imported = import_zip(path)
    [photo] = imported.photos
    assert same(photo, square()) and imported.account.left_out == []
