"""What ``predict`` does for many photos; what it does for each is in ``test_command_line``."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from calling import call
from PIL import Image
from tiny import bright, write_model

from segdemo import zoo
from segdemo.core.labels import PETS
from segdemo.core.photos import read_photo
from segdemo.inference.predict import Predictor

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{number}.jpg")
    return folder


def predict(capsys, out, *arguments):
    """Exit code, stdout and stderr."""
    return call(capsys, "predict", "--model", "colours", "--out", out, *arguments)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_formats(capsys, photos, tmp_path):
    out = tmp_path / "out"
    (photos / "bad.jpg").write_bytes(b"words")
    code, _, err = predict(capsys, out, "--formats", "overlay,cutout,coco,csv", photos)
    assert code == 2
    assert err.count("\n") == err.count("bad.jpg") == 1
    each = [f"{number}_{kind}.png" for number in range(6) for kind in ("overlay", "cutout")]
    assert names(out) == sorted([*each, "coco.json", "classes.csv"])
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 6
    code, told, err = predict(
        capsys, out, "--formats", "overlay,cutout,coco,csv", "--resume", "--json", photos
    )
    assert code == 2  # the bad one is tried again
    assert "label_map" not in json.loads(told)[0]
    assert sum(row["share"] for row in json.loads(told)[0]["classes"]) == pytest.approx(1)


def test_uncertainty(capsys, photos, tmp_path):
    out = tmp_path / "out"
    assert predict(capsys, out, "--uncertainty", photos / "0.jpg") == (0, "", "")
    assert names(out) == ["0.png", "0_uncertainty.png"]
    photo = read_photo(photos / "0.jpg")
    expected = Predictor(zoo.served_model("colours"))(photo).uncertainty
    with Image.open(out / "0_uncertainty.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (30, 20))
        resized = Image.fromarray(expected).resize((30, 20), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(resized))
        assert np.ptp(np.asarray(picture)) > 20


def test_whether_a_photo_shows_what_the_model_knows(capsys, photos, tmp_path):
    folder = tmp_path / "home" / "models" / "colours"
    Image.new("RGB", (30, 20)).save(photos / "dark.png")  # background and nothing else
    Image.new("RGB", (30, 20), (255, 255, 255)).save(photos / "light.png")
    (folder / "manifest.json").unlink()
    write_model(folder, "colours", PETS, *bright(3, 0, 1), domain={"threshold": 0.5})
    code, told, _ = predict(capsys, tmp_path / "out", "--json", photos / "dark.png", photos / "light.png")
    assert code == 0
    assert [row["out_of_domain"] for row in json.loads(told)] == [True, False]


def test_shards_are_all_photos_together(capsys, photos, tmp_path):
    out = tmp_path / "out"
    for number in (1, 2, 3, 4):
        assert predict(capsys, out, "--shard", f"{number}/4", "--formats", "label_map,csv", photos) == (
            0,
            "",
            "",
        )
    csvs = [f"classes-{number}-of-4.csv" for number in (1, 2, 3, 4)]
    assert names(out) == sorted([*(f"{number}.png" for number in range(6)), *csvs])
    lines = [len((out / name).read_text().splitlines()) - 1 for name in csvs]
    assert lines == [2, 2, 1, 1]


@pytest.mark.parametrize("formats", ["overlay", "cutout,csv", "coco"])
def test_shards_without_label_maps_share_a_folder(capsys, photos, tmp_path, formats):
    out = tmp_path / "out"
    for number in (1, 2, 1):  # and the first once more
        assert predict(capsys, out, "--formats", formats, "--shard", f"{number}/2", photos) == (0, "", "")


def test_a_shard_looks_for_its_own_results(capsys, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "5_overlay.png").write_bytes(b"mine")
    assert predict(capsys, out, "--formats", "overlay", "--shard", "1/6", photos) == (0, "", "")
    code, _, err = predict(capsys, out, "--formats", "overlay", "--shard", "6/6", photos)
    assert code == 2 and "5_overlay.png is there already" in err
    assert (out / "5_overlay.png").read_bytes() == b"mine"


def test_photos_of_one_name_are_refused_in_every_shard(capsys, photos, tmp_path):
    Image.new("RGB", (30, 20)).save(photos / "5.png")
    for number in (1, 2, 3):
        code, _, err = predict(capsys, tmp_path / "out", "--shard", f"{number}/3", photos)
        assert code == 2 and "5.png" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shard", [["--shard", "8/9"], []])
def test_where_no_photo_was_done_the_same_can_be_said_again(capsys, photos, tmp_path, shard):
    if not shard:
        for path in photos.iterdir():
            path.write_bytes(b"words")
    for again in ([], ["--resume"], []):
        code, _, err = predict(capsys, tmp_path / "out", "--formats", "csv,overlay", *shard, *again, photos)
        assert code == (0 if shard else 2)
        assert "is there already" not in err
    [table] = (tmp_path / "out").glob("*.csv")
    assert table.read_text().count("\n") == 1 and table.read_text().startswith("photo,width")


@pytest.fixture
def other(tmp_path):
    """A folder with a photo called as one of ``photos``, all white."""
    (tmp_path / "other" / "photos").mkdir(parents=True)
    Image.new("RGB", (30, 20), (255, 255, 255)).save(tmp_path / "other" / "photos" / "0.jpg")
    return tmp_path / "other"


def label_map(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_photo_of_another_folder_is_not_taken_for_done(capsys, photos, other, tmp_path, monkeypatch):
    out = tmp_path / "out"
    command = [out, "--formats", "label_map", "--resume", "--json", "photos"]
    monkeypatch.chdir(photos.parent)
    code, told, _ = predict(capsys, *command)
    assert code == 0 and json.loads(told)[0]["image"] == "photos/0.jpg"
    first = label_map(out / "0.png")
    monkeypatch.chdir(other)
    code, told, _ = predict(capsys, *command)
    assert code == 0 and [row["image"] for row in json.loads(told)] == ["photos/0.jpg"]
    assert np.ptp(first) and not np.ptp(label_map(out / "0.png"))
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    monkeypatch.chdir(photos.parent)
    assert predict(capsys, *command)[0] == 0  # its result was written over: that one alone is made again
    np.testing.assert_array_equal(label_map(out / "0.png"), first)
    assert [path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp] == ["0.png"]


def test_a_photo_that_has_changed_is_done_again(capsys, photos, tmp_path):
    out = tmp_path / "out"
    command = [out, "--formats", "label_map,csv", "--resume", photos]
    assert predict(capsys, *command)[0] == 0
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    Image.new("RGB", (31, 20), (255, 255, 255)).save(photos / "3.jpg")
    for changed in (["3.png"], []):
        assert predict(capsys, *command)[0] == 0
        assert [p.name for p, stamp in sorted(stamps.items()) if p.stat().st_mtime_ns != stamp] == changed
        assert not np.ptp(label_map(out / "3.png"))
        assert "3.jpg,31,20" in (out / "classes.csv").read_text()
        stamps = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}


def test_notes_of_earlier_versions_are_gone_on_with(capsys, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    command = [out, "--formats", "label_map", "--resume", "photos"]
    assert predict(capsys, *command)[0] == 0
    header, *lines = (out / ".batch.jsonl").read_text().splitlines()
    old = [{"key": f"photos/{n}.jpg", "row": json.loads(line)["row"]} for n, line in enumerate(lines[:4])]
    (out / ".batch.jsonl").write_text("".join(f"{line}\n" for line in (header, *map(json.dumps, old))))
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    for again in (2, 0):
        assert predict(capsys, *command)[0] == 0
        assert sum(path.stat().st_mtime_ns != stamp for path, stamp in before.items()) == again
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}


def test_more_shards_than_photos_leave_some_with_nothing_to_do(capsys, photos, tmp_path):
    assert predict(capsys, tmp_path / "out", "--shard", "7/9", photos) == (0, "", "")


def test_resume_after_kill_9(photos, tmp_path):
    for number in range(6, 400):
        (photos / f"{number}.jpg").write_bytes((photos / f"{number % 6}.jpg").read_bytes())
    out = tmp_path / "out"
    command = [sys.executable, "-m", "segdemo", "predict", "--model", "colours"]
    command += ["--out", out, "--formats", "label_map"]
    killed = subprocess.Popen([*command, photos])
    while not out.is_dir() or len(names(out)) < 20:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert 20 <= len(kept) < 400
    done = subprocess.run([*command, "--resume", photos], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(names(out)) == 400
    again = [path.stat().st_mtime_ns == stamp for path, stamp in kept.items()]
    assert again.count(False) <= 3  # written, and not yet noted


@pytest.mark.parametrize(
    "wrong",
    [
        ["--shard", "0/2"],
        ["--shard", "3/2"],
        ["--shard", "half"],
        ["--workers", "0"],
        ["--workers", "-1"],
        ["--workers", "many"],
    ],
)
def test_numbers_that_are_none_are_refused(photos, tmp_path, wrong, capsys):
    with pytest.raises(SystemExit) as refused:
        predict(capsys, tmp_path / "out", *wrong, photos)
    assert refused.value.code == 2
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_done_is_said_in_a_line(capsys, photos, tmp_path):
    out = tmp_path / "out"

    def refused(*arguments):
        code, told, err = predict(capsys, out, *arguments, photos)
        assert (code, told) == (2, "")
        assert err.count("\n") == 1
        return err

    assert "There is no format 'jpeg'" in refused("--formats", "label_map,jpeg")
    assert not out.exists()
    out.mkdir()
    (out / "coco.json").write_text("{}")
    assert "no earlier run" in refused("--formats", "coco")
    (out / "coco.json").unlink()
    (out / "1_cutout.png").write_bytes(b"mine")
    assert "no earlier run" in refused("--formats", "cutout")
    assert (out / "1_cutout.png").read_bytes() == b"mine"
    (out / "1_cutout.png").unlink()
    assert predict(capsys, out, "--formats", "coco", photos)[0] == 0
    assert "without resuming" in refused("--formats", "csv", "--resume")
