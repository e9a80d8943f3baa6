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
