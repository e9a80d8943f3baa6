"""What the program prints where stdout is closed, full or of few letters, and where names would move the cursor."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from archive_files import make_zip, picture, png, square
from calling import call
from drawn import draw_pets
from PIL import Image
from serving import free_port
from tiny import bright, write_model

from segdemo.core.labels import PETS

ROOT = Path(__file__).resolve().parents[2]
CLEAR = "\x1b[2J\n"  # clears a terminal, and ends the line


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))


def program(*arguments, stdout=subprocess.PIPE, **environment):
    """The program with these arguments and variables, done."""
    command = [sys.executable, "-m", "segdemo", *map(str, arguments)]
    variables = {**{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **environment}
    return subprocess.run(
        command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, env=variables, timeout=120
    )


@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("arguments", [["train", "--list-recipes"], ["models", "--json"]])
def test_it_ends_quietly_where_nobody_reads(arguments, variables):
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as closed:
        done = program(*arguments, stdout=closed, **variables)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is full")
@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("arguments", [["train", "--list-recipes"], ["models", "--json"]])
def test_it_says_that_a_full_device_takes_nothing(arguments, variables):
    with Path("/dev/full").open("wb") as full:
        done = program(*arguments, stdout=full, **variables)
    assert done.returncode == 2
    assert done.stderr == (
        "segdemo: What was to be printed cannot be written (No space left on device): send it elsewhere, or free some "
        "space.\n"
    )


def test_letters_that_a_terminal_lacks_are_written_out(tmp_path):
    files = {"JPEGImages/a.png": picture(), "SegmentationClass/a.png": png(square())}
    archive = make_zip(tmp_path / "a.zip", files)
    latin = {"PYTHONIOENCODING": "latin-1"}
    done = program("annotations", "import", archive, "--into", "猫", **latin)
    assert done.returncode == 0, done.stderr
    done = program("annotations", "list", **latin)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u732b" in done.stdout
    done = program("annotations", "export", "猫", "--format", "voc", "--out", tmp_path / "猫.zip", **latin)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u732b.zip" in done.stdout and (tmp_path / "猫.zip").is_file()


def test_names_of_photos_do_not_move_the_cursor(capsys, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / f"{CLEAR}bad.jpg").write_bytes(b"words")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "good.png")
    code, out, err = call(capsys, "predict", "--model", "colours", "--out", tmp_path / "out", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "\x1b" not in err and "\\x1b[2J\\nbad.jpg" in err
    code, out, err = call(
        capsys, "predict", "--model", "colours", "--out", tmp_path / "out", tmp_path / f"{CLEAR}gone.jpg"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "\x1b" not in err
    code, out, err = call(capsys, "data", "check", tmp_path / f"{CLEAR}data")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "\x1b" not in err


def test_nor_do_those_of_datasets(capsys, tmp_path):
    data = draw_pets(tmp_path / "data", {"pug": 10})
    mask = next(iter((data / "annotations" / "trimaps").glob("*.png")))
    mask.write_bytes(b"words")
    renamed = data / "images" / f"{mask.stem}.jpg"
    for path in (mask, renamed):
        path.rename(path.with_name(f"\x1b[2J{path.name}"))
    code, out, err = call(capsys, "data", "check", data)
    assert code == 2
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "--model", "colours", "--out", "", "photo.jpg"],
        ["predict", "--model", "colours", "--out", "out", " "],
        ["teach", "--apply", "photos", "--out", ""],
        ["video", "clip.mp4", "--overlay", ""],
        ["video", "clip.mp4", "--frames", ""],
        ["data", "binary", "data", "--out", ""],
        ["annotations", "export", "cats", "--format", "voc", "--out", ""],
        ["train", "--out", ""],
        ["export", ""],
        ["evaluate", "--model", "m", "--dataset", "voc", "--data", ""],
    ],
)
def test_an_empty_path_is_not_the_current_folder(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        call(capsys, *arguments)
    assert ended.value.code == 2
    assert "it is a path, and nothing was given" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["abc", "", "0", "70000", "²"])
def test_a_port_that_is_none_is_a_sentence(port):
    for script in (["-m", "segdemo", "app"], ["app.py"]):
        done = subprocess.run(
            [sys.executable, *script],
            cwd=ROOT,
            env={**os.environ, "GRADIO_SERVER_PORT": port},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"segdemo: GRADIO_SERVER_PORT is a number from 1 to 65535, not {port!r}.\n"


@pytest.mark.slow
@pytest.mark.parametrize("script", [["-m", "segdemo", "app"], ["app.py"]])
def test_the_address_of_the_page_is_seen_at_once_in_a_file(script, tmp_path):
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    variables |= {"GRADIO_SERVER_PORT": str(port := free_port()), "GRADIO_SERVER_NAME": "127.0.0.1"}
    out = tmp_path / "out"
    with out.open("wb") as file:
        page = subprocess.Popen(
            [sys.executable, *script], cwd=ROOT, env=variables, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + 120
        while f"http://127.0.0.1:{port}" not in out.read_text("utf-8"):
            assert page.poll() is None and time.monotonic() < end, out.read_text("utf-8")
            time.sleep(0.1)
    finally:
        page.kill()
        page.wait()


@pytest.mark.parametrize("variable", ["SEGDEMO_HOME", "model"])
def test_a_home_that_nobody_knows_is_a_sentence(variable, capsys, tmp_path, monkeypatch):
    model = "colours"
    if variable == "model":
        model = "~nobody-of-that-name"
    else:
        monkeypatch.setenv(variable, "~nobody-of-that-name/x")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.png")
    code, out, err = call(
        capsys, "predict", "--model", model, "--out", tmp_path / "out", tmp_path / "photo.png"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("segdemo: ")
    assert (
        call(capsys, "clicks", "--images", tmp_path, "--masks", tmp_path, "--model", "~nobody-of-that-name")[
            0
        ]
        == 2
    )
    data = ["--dataset", "pets", "--data", "~nobody-of-that-name"]
    assert call(capsys, "evaluate", "--model", "deeplabv3", *data)[0] == 2


def test_numbers_without_end_are_sentences(capsys, tmp_path, monkeypatch):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.tif")
    for name in ("SEGDEMO_MAX_PHOTO_SECONDS", "SEGDEMO_MAX_PHOTO_MB", "SEGDEMO_THREADS"):
        with monkeypatch.context() as set_:
            set_.setenv(name, "99999999999999999999")
            code, out, err = call(
                capsys, "predict", "--model", "colours", "--out", tmp_path / "out", tmp_path / "photo.tif"
            )
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"segdemo: {name} is ") and "at most" in err
