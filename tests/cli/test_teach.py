import json

import numpy as np
import pytest
from calling import call
from drawn import save_mask, save_photo, scene, strokes_on
from PIL import Image
from tiny import write_features

from segdemo.core.label_maps import decode_png
from segdemo.core.labels import VOC, VOID
from segdemo.zoo import served


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Two photos with a disc that are painted on, three others, and features that are colours."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_features(tmp_path / "weights")
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    for seed in range(5):
        photo, mask = scene(seed, (120, 80), foreground=4, background=1)
        save_photo(tmp_path / ("photos" if seed < 2 else "apply") / f"p{seed}.png", photo)
        if seed < 2:
            save_mask(tmp_path / "strokes" / f"p{seed}.png", strokes_on(mask, 4), VOC if seed else None)
        else:
            save_mask(tmp_path / "truth" / f"p{seed}.png", mask)
    return tmp_path


def teach(capsys, folder, **changes):
    """Exit code, stdout and stderr of the command, with arguments changed or, if None, left out."""
    given = {name: folder / name for name in ("photos", "strokes", "apply", "out")} | changes
    arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return call(capsys, "teach", "--json", *arguments)


def refused(capsys, folder, **changes):
    code, out, err = teach(capsys, folder, **changes)
    assert (code, out) == (2, "")
    assert err.startswith("segdemo: ")
    assert err.count("\n") == 1
    assert not (folder / "out").exists()
    return err


def test_what_is_painted_is_found_on_other_photos(capsys, folders):
    code, out, err = teach(capsys, folders)
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [row["image"] for row in rows] == [str(folders / "apply" / f"p{n}.png") for n in (2, 3, 4)]
    for row in rows:
        with Image.open(row["label_map"]) as picture:
            assert (picture.mode, picture.size) == ("P", (120, 80))
        found = decode_png(row["label_map"])
        truth = decode_png(folders / "truth" / f"{row['label_map'][-6:]}")
        assert np.mean(found == truth) > 0.97
        assert {c["id"] for c in row["classes"]} == {1, 4}
        assert 0.5 < row["confidence"] <= 1


def test_a_kept_classifier_finds_the_same(capsys, folders):
    assert teach(capsys, folders, save=folders / "disc.json")[0] == 0
    kept = {"photos": None, "strokes": None, "classifier": folders / "disc.json", "out": folders / "again"}
    assert teach(capsys, folders, **kept)[0] == 0
    for n in (2, 3, 4):
        first, second = (decode_png(folders / out / f"p{n}.png") for out in ("out", "again"))
        np.testing.assert_array_equal(first, second)


def test_strokes_hold_on_the_photo_itself(capsys, folders):
    assert teach(capsys, folders, apply=folders / "photos")[0] == 0
    for n in (0, 1):
        strokes = decode_png(folders / "strokes" / f"p{n}.png")
        found = decode_png(folders / "out" / f"p{n}.png")
        assert np.mean(found[strokes != VOID] == strokes[strokes != VOID]) > 0.97


def test_a_bad_photo_does_not_stop_the_others(capsys, folders):
    (folders / "apply" / "bad.jpg").write_bytes(b"these are words")
    code, out, err = teach(capsys, folders)
    assert code == 2
    assert len(json.loads(out)) == 3
    assert err.count("\n") == 1
    assert "bad.jpg" in err


def without(folder, name):
    (folder / name).unlink()


def grey(folder, value=None, size=(120, 80), name="p0"):
    values = np.full(size[::-1], VOID, np.uint8)
    if value is not None:
        values[:9, :9] = value
    save_mask(folder / "strokes" / f"{name}.png", values)


def alone(folder, value):
    grey(folder, value)
    grey(folder, value, name="p1")


WRONG = {
    "has no strokes": lambda f: without(f, "strokes/p1.png"),
    "has no photo": lambda f: without(f, "photos/p1.png"),
    "measures 60x40 pixels, but its photo": lambda f: grey(f, 1, (60, 40)),
    "Nothing is painted": lambda f: alone(f, None),
    "Only class 3 is painted": lambda f: alone(f, 3),
    "is not a PNG": lambda f: (f / "strokes" / "p0.png").write_bytes(b"words"),
    "holds colours": lambda f: Image.new("RGB", (120, 80)).save(f / "strokes" / "p0.png"),
    "There are no strokes": lambda f: [p.unlink() for p in (f / "strokes").iterdir()],
    "There is no photo in": lambda f: [p.unlink() for p in (f / "apply").iterdir()],
    "Two photos in": lambda f: (f / "photos" / "p0.jpg").write_bytes((f / "photos" / "p0.png").read_bytes()),
    "is there twice": lambda f: (f / "photos" / "p1.png").write_bytes((f / "photos" / "p0.png").read_bytes()),
}


@pytest.mark.parametrize("says", WRONG)
def test_wrong_files_are_a_sentence(capsys, folders, says):
    WRONG[says](folders)
    assert says in refused(capsys, folders)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strokes": None}, "Give --photos and --strokes"),
        ({"photos": "nowhere"}, "There is no folder nowhere"),
        ({"strokes": "nowhere"}, "There is no folder nowhere"),
        ({"classifier": "some.json"}, "Give either"),
        ({"photos": None, "strokes": None, "classifier": "nowhere.json"}, "nowhere.json"),
    ],
)
def test_wrong_arguments_are_a_sentence(capsys, folders, changes, says):
    assert says in refused(capsys, folders, **changes)


def test_a_classifier_of_other_features_is_refused(capsys, folders):
    assert teach(capsys, folders, save=folders / "disc.json", out=folders / "first")[0] == 0
    kept = json.loads((folders / "disc.json").read_text())
    (folders / "disc.json").write_text(json.dumps(kept | {"features": "0" * 64}))
    changes = {"photos": None, "strokes": None, "classifier": folders / "disc.json"}
    assert "knows other features" in refused(capsys, folders, **changes)


def test_what_is_kept_replaces_no_photo_and_no_label_map(capsys, folders):
    for save in ("apply/p3.png", "photos/p0.png", "strokes/p0.png"):
        before = (folders / save).read_bytes()
        assert "would be replaced" in refused(capsys, folders, save=folders / save)
        assert (folders / save).read_bytes() == before
    for save in ("out/p2.png", "out/P2.png", "apply/../out/p4.png"):
        assert "would be one file" in refused(capsys, folders, save=folders / save)
    assert "is no file that can be written over" in refused(capsys, folders, save=folders / "apply")


def test_nor_is_what_was_kept_replaced_by_a_label_map(capsys, folders):
    assert teach(capsys, folders, save=folders / "kept" / "p2.png", out=folders / "first")[0] == 0
    before = (folders / "kept" / "p2.png").read_bytes()
    changes = {"photos": None, "strokes": None, "classifier": folders / "kept" / "p2.png"}
    code, _, err = teach(capsys, folders, out=folders / "kept", **changes)
    assert code == 2 and "would be replaced" in err
    assert (folders / "kept" / "p2.png").read_bytes() == before


def test_a_home_that_cannot_be_written_keeps_no_features(capsys, folders, monkeypatch):
    (folders / "file").write_text("no folder")
    monkeypatch.setenv("SEGDEMO_HOME", str(folders / "file"))
    code, out, err = teach(capsys, folders)
    assert (code, err, len(json.loads(out))) == (0, "", 3)


@pytest.mark.parametrize("out", ["apply", "strokes"])
def test_nothing_that_is_read_is_written_over(capsys, folders, out):
    changes = {"apply": folders / "photos"} if out == "strokes" else {}
    before = {path: path.read_bytes() for path in (folders / out).iterdir()}
    assert "choose another --out" in refused(capsys, folders, out=folders / out, **changes)
    assert {path: path.read_bytes() for path in (folders / out).iterdir()} == before
