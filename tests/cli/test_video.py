import json

import numpy as np
import pytest
from PIL import Image
from tiny import bright, write_model
from video_files import colours, draw_clip, read_clip

from segdemo.cli import main
from segdemo.core.labels import PETS


@pytest.fixture
def clip(tmp_path):
    return draw_clip(tmp_path / "clip.mp4", colours(*[(200, 90, 90)] * 6))


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))


def test_a_clip_is_segmented(tmp_path, clip, capsys):
    out = tmp_path / "new" / "over.mp4"
    assert (
        main(["video", str(clip), "--model", "colours", "--overlay", str(out), "--json", "--progress"]) == 0
    )
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["frames"], report["flicker"], report["cut"]) == (6, 0.0, False)
    assert report["classes"] == {"pet": 1.0}
    assert json.loads(said.err.splitlines()[-1]) == {"done": 6, "total": 6}
    assert len(read_clip(out)) == 6


def test_frames_are_written_to_be_labelled(tmp_path, clip, capsys):
    assert main(["video", str(clip), "--frames", str(tmp_path / "frames"), "--rate", "5"]) == 0
    assert "frames         3" in capsys.readouterr().out
    paths = sorted((tmp_path / "frames").iterdir())
    assert [p.name for p in paths] == ["clip_00001.jpg", "clip_00002.jpg", "clip_00003.jpg"]
    with Image.open(paths[0]) as picture:
        assert np.asarray(picture).mean((0, 1)) == pytest.approx([200, 90, 90], abs=6)


def test_frames_of_another_clip_of_the_name_stay(tmp_path, clip, capsys):
    out = tmp_path / "frames"
    assert main(["video", str(clip), "--frames", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "other").mkdir()
    other = draw_clip(tmp_path / "other" / "CLIP.mp4", colours(*[(20, 90, 90)] * 6))
    capsys.readouterr()
    assert main(["video", str(other), "--frames", str(out)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "is there already: choose another --frames, or move it." in err
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    longer = draw_clip(tmp_path / "other" / "clip_1.mp4", colours(*[(20, 90, 90)] * 6))
    assert main(["video", str(longer), "--frames", str(out)]) == 0  # called otherwise
    assert len(list(out.iterdir())) == 12


def test_frames_and_masks_are_not_asked_for_at_once(tmp_path, clip, capsys):
    for name in ("--overlay", "--labels"):
        assert main(["video", str(clip), "--frames", str(tmp_path / "f"), name, str(tmp_path / "x")]) == 2
        assert "Give either --frames" in capsys.readouterr().err
    assert not (tmp_path / "f").exists() and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "wrong", [["--rate", "nan"], ["--smoothing", "3"], ["--side", "1"], ["--rate", "inf"]]
)
def test_what_cannot_be_is_a_line_and_the_files_stay(tmp_path, clip, capsys, wrong):
    (tmp_path / "labels.zip").write_bytes(b"of yesterday")
    command = ["video", str(clip), "--model", "colours", "--labels", str(tmp_path / "labels.zip"), *wrong]
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "labels.zip").read_bytes() == b"of yesterday"


def test_a_clip_that_cannot_be_read_leaves_no_folder(tmp_path, capsys):
    out = tmp_path / "new" / "over.mp4"
    assert main(["video", str(tmp_path / "gone.mp4"), "--model", "colours", "--overlay", str(out)]) == 2
    assert not out.parent.exists()


def test_without_anything_to_write_it_says_what_can_be(clip, capsys):
    assert main(["video", str(clip)]) == 2
    assert capsys.readouterr().err == (
        "segdemo: Say what to write: --overlay FILE.mp4, --labels FILE.zip or --frames DIR.\n"
    )
