"""Names of files: what is nobody's, what is a photo, what is safe, and what lists mean."""

import pytest

from segdemo.core import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("JPEGImages\\a.png", "JPEGImages/a.png"),
        ("./a//b.png", "a/b.png"),
        ("Mu\u0308ller.png", "M\u00fcller.png"),
        ("a\\..\\b", "a/../b"),
        ("\\\\server\\share\\a", "/server/share/a"),
        ("/etc/evil", "/etc/evil"),
    ],
)
def test_names_are_made_alike(name, expected):
    assert names.tidy(name) == expected


def test_names_are_counted_as_people_do():
    names_ = ["b", "photo 10", "Photo 9", "photo", "photo 010a", "7", "\u0664 x", "12 a", "x\u00b2"]
    assert sorted(names_, key=names.counted) == [
        *("7", "12 a", "b", "photo", "Photo 9", "photo 10", "photo 010a", "x\u00b2", "\u0664 x")
    ]
    assert sorted(["9" * 5000, "1" + "0" * 5000, "0", "00"], key=names.counted)[2:] == [
        "9" * 5000,
        "1" + "0" * 5000,
    ]


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/a", "C:/a", "c:a", "a\nb", "", "a" * 3000, "a/\x7f.png"]
)
def test_what_could_escape_is_a_hazard(name):
    assert "unsafe name" in names.hazard(names.tidy(name))


@pytest.mark.parametrize("name", ["a.png", "Screenshot 12:30:01.png", "a..b/c...png", "ä/ö ü.jpg", "ab:c/d"])
def test_odd_names_that_lead_nowhere_are_none(name):
    assert names.hazard(names.tidy(name)) == ""


@pytest.mark.parametrize(
    "name",
    [
        *("__MACOSX/x/._a.png", "x/.DS_Store", "Thumbs.db", "x/thumbs.DB"),
        *("desktop.ini", "Icon\r", "x/Icon\r"),
        *(".git/config", "a/._b.jpg", "$RECYCLE.BIN/a.png", "@eaDir/a.jpg", "~$list.txt"),
    ],
)
def test_what_systems_leave_behind_is_nobodys(name):
    assert names.is_system(name)
    assert not names.is_photo(name + ".jpg" if name.endswith("/") else name)


@pytest.mark.parametrize(
    "name", ["a.png", "icon.png", "x/Icons/a.jpg", "macosx/a.png", "thumbs/a.png", "..a/b"]
)
def test_what_only_looks_so_is_not(name):
    assert names.is_system(name) == (name == "..a/b")  # hidden


@pytest.mark.parametrize(
    "ending", [".JPG", ".jpeg", ".jfif", ".jpe", ".PNG", ".webp", ".TIF", ".bmp", ".heic"]
)
def test_photos_go_by_one_list_of_endings(ending):
    assert names.is_photo(f"x/a{ending}")
    assert not names.is_photo(f"x/a{ending}.txt")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("train", "train"), ("Training", "train"), ("train2017", "train"), ("train_set", "train")),
        *(("valid", "val"), ("validation", "val"), ("VAL", "val"), ("dev", "val"), ("images_val", "val")),
        *(("test", "test"), ("testing", "test"), ("test-images", "test")),
        *(
            ("trainval", None),
            ("trains", None),
            ("latest", None),
            ("contest", None),
            ("default", None),
            ("", None),
        ),
    ],
)
def test_folders_tell_subsets(word, expected):
    assert names.subset(word) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("annotations/instances_train.json", "train"),
        ("instances_val2017.json", "val"),
        ("train/_annotations.coco.json", "train"),
        ("image_info_test-dev2017.json", "test"),
        ("labels_my-project_validation.json", "val"),
        ("instances_trainval.json", None),
        ("train_and_test.json", None),
        ("result.json", None),
    ],
)
def test_documents_tell_subsets(name, expected):
    assert names.subset_of_document(name) == expected


def test_the_innermost_folder_tells():
    assert names.subset_of_folders("test/train/images/a.png") == "train"
    assert names.subset_of_folders("train.png") is None


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfa\r\nb\r\n", "a\r\nb".encode("utf-16"), b"a\nb\n", b"\n a \n\nb"]
)
def test_lists_are_read_as_windows_writes_them(data):
    assert names.lines(names.text(data)) == ["a", "b"]


def test_other_code_pages_are_not_guessed():
    with pytest.raises(UnicodeDecodeError):
        names.text(b"\xfc\xff")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("my photo 1", "my photo 1"),
        ("a 1 1 1", "a"),
        ("a.jpg", "a"),
        ("JPEGImages/a.jpg SegmentationClass/a.png", "a"),
        ("A", "a"),
        ("cam1/a", "a"),
        ("v1.5", "v1.5"),
        ("unknown", None),
    ],
)
def test_lines_of_lists_mean_ids(line, expected):
    known = names.Index((id_, id_) for id_ in ("my photo 1", "my", "a", "v1.5", "v1"))
    assert names.listed(line, known) == expected


def test_case_decides_only_where_it_has_to():
    index = names.Index([("A", 1), ("a", 2), ("B", 3)])
    assert [index.one(name) for name in ("A", "a", "b", "c")] == [1, 2, 3, None]
    both = names.Index([("A", 1), ("a", 2)])
    assert both.one("Ä") is None and names.Index([("Xy", 1), ("xY", 2)]).one("xy") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cat", 1),
        ("cat", 0),
        ("CAT", None),
        ("dining-table", 2),
        ("Ba\u0308r", 3),
        ("C", 4),
        ("", None),
        ("bear", None),
    ],
)
def test_classes_go_by_name(name, expected):
    assert names.class_id(name, ["cat", "Cat", "dining table", "b\u00e4r", "c", "c++"]) == expected


@pytest.mark.parametrize(
    ("name", "other", "alike"),
    [
        ("tv/monitor", "TV monitor", True),
        ("pottedplant", "potted-plant", True),
        ("Traffic_Light", "traffic light", True),
        ("Grade A", "Grade A+", False),
        ("C", "C#", False),
        ("age 1-5", "age 15", False),
        ("\u0915\u093f", "\u0915\u0940", False),  # vowel signs tell words apart
        ("100 %", "100", False),
    ],
)
def test_what_parts_words_is_all_that_is_passed_over(name, other, alike):
    assert names.class_id(name, ["other", other]) == (1 if alike else None)


def test_folders_list_photos_and_nothing_else(tmp_path):
    for name in ("b.JPG", "a.jfif", "._a.jfif", "Thumbs.db", "notes.txt", "Icon\r", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in names.photos_in(tmp_path)] == ["a.jfif", "b.JPG"]
    assert names.photos_in(tmp_path / "none") == []
    assert names.child(tmp_path, "B.jpg").name == "b.JPG"
    assert names.child(tmp_path, "c.jpg").name == "c.jpg"


@pytest.mark.parametrize(
    ("given", "kept"),
    [("c\x00at\x1b[1m", "c at [1m"), ("c\ud800t", "c t"), ("a\u0085b\x07", "a b"), ("\x00", ""), (7, "7")],
)
def test_names_of_classes_hold_nothing_that_no_screen_shows(given, kept):
    assert names.clean_class(given) == kept
    names.clean_class(given).encode()
