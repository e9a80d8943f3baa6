"""``python -m segdemo annotations``: what it prints, what it exits with, and what it leaves on disk."""

import json
import zipfile

import numpy as np
import pytest
from archive_files import coco, make_folder, make_zip, picture, png, square
from calling import call

from segdemo.annotations.store import AnnotationStore
from segdemo.data.formats import import_folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))


@pytest.fixture
def archive(tmp_path):
    files = {
        "JPEGImages/a.png": picture(),
        "SegmentationClass/a.png": png(square()),
        "Thumbs.db": "",
        "../x": "",
    }
    return make_zip(tmp_path / "made.zip", files)


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of a command."""
    return call(capsys, "annotations", *arguments)


def test_import_prints_the_account_and_list_shows_the_collection(archive, capsys):
    assert run(capsys, "list") == (
        0,
        "There is no collection yet: import one, or make one in the page.\n",
        "",
    )
    code, out, _ = run(capsys, "import", archive, "--into", "My photos", "--json")
    account = json.loads(out)
    assert code == 0 and list(account) == [
        *("collection", "photos", "labelled", "annotations", "left_out", "duplicates", "ignored"),
        *("label_set", "splits"),
    ]
    assert (account["collection"], account["labelled"], account["ignored"]) == ("my-photos", 1, ["Thumbs.db"])
    assert [entry["file"] for entry in account["left_out"]] == ["../x"]
    code, out, _ = run(capsys, "list", "--json")
    [listed] = json.loads(out)
    assert (listed["name"], listed["title"], listed["photos"], listed["labelled"]) == (
        "my-photos",
        "My photos",
        1,
        1,
    )
    code, out, _ = run(capsys, "list")
    assert "my-photos" in out


def test_import_says_in_words_what_it_says_in_json(archive, capsys):
    code, out, _ = run(capsys, "import", archive, "--into", "t")
    assert code == 0 and "1 labelled photo was imported." in out
    for words in (
        "assumed to be PASCAL VOC's",
        "../x: file has an unsafe name",
        "Thumbs.db",
        "drawn by SegDemo",
    ):
        assert words in out
    _, out, _ = run(capsys, "import", archive, "--into", "t")
    assert "JPEGImages/a.png: was in the collection already, with the same mask (a.png)." in out


def test_names_that_would_write_elsewhere_are_shown_as_text(tmp_path, capsys):
    files = {"i.json": coco(), "a.png": picture(), "evil\x1b[31m.txt": "", "\x07": ""}
    code, out, _ = run(capsys, "import", make_zip(tmp_path / "x.zip", files), "--into", "t")
    assert code == 0 and "\x1b" not in out and "\\x1b[31m" in out and "\x07" not in out


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"readme.txt": "x"}, "holds no annotations"),
        ({"i.json": coco()[:-9], "a.png": picture()}, "i.json is not JSON: it is cut short"),
        ({"../i.json": coco(), "/a.png": picture()}, "unsafe name"),
        (
            {"i.json": coco(), "x/a.png": picture(), "y/a.png": picture(1)},
            "several photos fit (x/a.png, y/a.png)",
        ),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_what_cannot_be_imported_is_one_line_and_exit_2(tmp_path, capsys, files, words, flags):
    code, out, err = run(capsys, "import", make_zip(tmp_path / "x.zip", files), "--into", "t", *flags)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1
    assert AnnotationStore().collections() == []


def test_folders_and_label_sets(tmp_path, capsys):
    folder = make_folder(
        tmp_path / "set", {"JPEGImages/a.png": picture(), "SegmentationClass/a.png": png(square())}
    )
    (tmp_path / "names.txt").write_text("background\nroad\n")
    code, out, _ = run(
        capsys, "import", folder, "--into", "t", "--label-set", tmp_path / "names.txt", "--json"
    )
    assert code == 0 and json.loads(out)["label_set"]["classes"] == ["background", "road"]
    code, _, err = run(capsys, "import", folder, "--into", "t", "--label-set", tmp_path / "none.txt")
    assert code == 2 and "There is no file" in err
    code, _, err = run(capsys, "import", tmp_path / "none.zip", "--into", "t")
    assert code == 2 and "There is no file" in err


def test_export_writes_a_zip_or_a_folder(archive, tmp_path, capsys):
    run(capsys, "import", archive, "--into", "My photos")
    code, out, _ = run(capsys, "export", "My photos", "--format", "coco", "--out", tmp_path / "out.zip")
    assert code == 0 and out.strip().endswith("out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as made:
        assert "coco/instances_rle.json" in made.namelist()
    code, _, _ = run(capsys, "export", "my-photos", "--format", "voc", "yolo", "--out", tmp_path / "out")
    [found] = import_folder(tmp_path / "out").annotations
    assert (
        code == 0
        and np.array_equal(found.label_map, square())
        and (tmp_path / "out/yolo/data.yaml").is_file()
    )
    before = sorted(tmp_path.rglob("*"))
    for arguments in (
        ("my-photos", "--format", "voc", "--out", tmp_path / "out"),  # would overwrite
        ("my-photos", "--format", "tfrecord", "--out", tmp_path / "new.zip"),
        ("none", "--format", "voc", "--out", tmp_path / "new.zip"),
    ):
        code, out, err = run(capsys, "export", *arguments)
        assert (code, out) == (2, "") and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_check_reports_like_data_check(archive, tmp_path, capsys):
    for number in range(2):
        files = {"JPEGImages/b.png": picture(5 + number), "SegmentationClass/b.png": png(square())}
        run(capsys, "import", make_zip(tmp_path / f"{number}.zip", files), "--into", "t")
    run(capsys, "import", archive, "--into", "t")
    code, out, _ = run(capsys, "check", "t", "--json")
    report = json.loads(out)
    assert (code, report["ok"], report["samples"]) == (0, True, 3)
    collection = AnnotationStore().open("t")
    collection.image_path(collection.photos().photos[0].id).write_bytes(b"damaged")
    code, out, _ = run(capsys, "check", "t")
    assert code == 2 and "3 photos looked at, 1 problem." in out
    code, _, err = run(capsys, "check", "none")
    assert code == 2 and "There is no collection 'none'" in err
