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


def test_without_anything_to_write_it_says_what_can_be(clip, capsys):
    assert main(["video", str(clip)]) == 2
    assert capsys.readouterr().err == (
        "segdemo: Say what to write: --overlay FILE.mp4, --labels FILE.zip or --frames DIR.\n"
    )
