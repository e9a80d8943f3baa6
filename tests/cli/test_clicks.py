"""``python -m segdemo clicks``: what it prints and what it exits with."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny import write_click_model

from segdemo.cli import main


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    for n in range(2):
        photo = np.full((90, 120, 3), 80, np.uint8)
        photo[20:60, 30 + n : 90] = (220, 30, 30)
        for folder, picture in (("images", photo), ("masks", (photo[..., 0] > 100) * np.uint8(255))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{n}.png")
    return ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]


def test_it_prints_a_report(folders, tmp_path, capsys):
    write_click_model(tmp_path / "home" / "models" / "own")
    assert main(["clicks", *folders]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "click, 2 things"
    assert "clicks to 90 %     1.00   not in 20: 0" in out
    assert "IoU after 1" in out and "a click takes" in out


def test_json_of_a_run_with_noise(folders, tmp_path, capsys):
    write_click_model(tmp_path / "run", name="mine")
    assert main(["clicks", *folders, "--model", str(tmp_path / "run"), "--noise", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() == {"model", "things", "noise", "noc", "failures", "iou", "seconds", "each"}
    assert (report["model"], report["things"], report["noise"]) == ("mine", 2, True)
    assert report["noc"].keys() == report["failures"].keys() == {"80", "85", "90"}
    assert report["iou"].keys() == {"1", "2", "3", "5"}
    assert [thing["name"] for thing in report["each"]] == ["0", "1"]


def test_bad_input_is_a_line_and_exit_code_2(folders, tmp_path, capsys):
    assert main(["clicks", *folders, "--model", "nonsense"]) == 2
    assert "There is no click model 'nonsense'" in capsys.readouterr().err
    write_click_model(tmp_path / "run")
    (tmp_path / "masks" / "0.png").write_bytes(b"")
    assert main(["clicks", *folders, "--model", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "0.png" in told and len(told.splitlines()) == 1 and "Traceback" not in told
    assert main(["clicks", "--images", "x", "--masks", "y", "--model", str(tmp_path / "run")]) == 2
    assert "There is no folder x" in capsys.readouterr().err
