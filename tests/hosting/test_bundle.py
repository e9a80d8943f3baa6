"""What a Space gets of a repository, and what it does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from repositories import SERVING, TRAINING, write_repository

from segdemo.hosting import bundle as module
from segdemo.hosting import front_matter
from segdemo.hosting.bundle import bundle
from segdemo.hosting.front_matter import HostingError

ROOT = Path(__file__).resolve().parents[2]


def test_a_space_that_serves_gets_what_serving_needs(tmp_path):
    made = bundle(root=write_repository(tmp_path))
    assert made.files.keys() == SERVING
    assert made.sizes()["weights/squares.onnx"] == 5
    assert list(made.sizes()) == sorted(SERVING)


def test_one_that_trains_gets_code_and_weights_besides(tmp_path):
    made = bundle(train=True, root=write_repository(tmp_path / "repository"))
    assert made.files.keys() == TRAINING
    made.write_to(tmp_path / "space")
    assert "keras==" in (tmp_path / "space/requirements.txt").read_text()
    front = front_matter.read(tmp_path / "space/README.md")
    assert (front["hf_oauth"], front["hf_oauth_expiration_minutes"]) == (True, 20_160)


def test_what_is_written_is_what_is_told(tmp_path):
    made = bundle(root=write_repository(tmp_path / "repository"))
    space = tmp_path / "space"
    made.write_to(space)
    written = {p.relative_to(space).as_posix(): p.stat().st_size for p in space.rglob("*") if p.is_file()}
    assert written == made.sizes()
    assert (space / "requirements.txt").read_text() == "gradio==6.1.0\n"
    assert (
        front_matter.read(space / "README.md").items() >= {"sdk_version": "6.1.0", "title": "Squares"}.items()
    )
    assert "at length" not in (space / "README.md").read_text("utf-8")  # whose links would lead nowhere


@pytest.mark.parametrize("name", ["app.py", "README.md", "LICENSE", "requirements-serve.txt"])
def test_an_installed_package_is_no_repository(tmp_path, name):
    write_repository(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(HostingError, match=f"Run deploy from the repository, .* there is no {name}"):
        bundle(root=tmp_path)


def test_what_is_not_right_is_refused_before_anything_is_sent(tmp_path, monkeypatch):
    with pytest.raises(HostingError, match="sdk_version"):
        bundle(root=write_repository(tmp_path / "old", sdk_version="5.0.0"))
    root = write_repository(tmp_path / "lacking")
    (root / "weights/squares.onnx").unlink()
    with pytest.raises(HostingError, match=r"Put squares\.onnx into"):
        bundle(root=root)
    root = write_repository(tmp_path / "unpinned")
    (root / "requirements-serve.txt").write_text("gradio>=6\n")
    with pytest.raises(HostingError, match=r"Pin Gradio in requirements-serve\.txt"):
        bundle(root=root)
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with pytest.raises(HostingError, match="A Space holds up to"):
        bundle(root=write_repository(tmp_path / "large"))


def test_a_manifest_that_leads_elsewhere_is_refused(tmp_path):
    root = write_repository(tmp_path)
    text = (root / "weights/manifest.json").read_text()
    (root / "weights/manifest.json").write_text(text.replace('"click.onnx"', '"../app.py"'))
    with pytest.raises(HostingError, match=r"Put \.\./app\.py into"):
        bundle(root=root)


def test_links_are_not_followed(tmp_path):
    root, elsewhere = write_repository(tmp_path / "repository"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.md").write_text("mine")
    (elsewhere / "mine.py").write_text("mine")
    (root / "weights/linked.md").symlink_to(elsewhere / "mine.md")
    (root / "segdemo/linked.py").symlink_to(elsewhere / "mine.py")
    (root / "segdemo/linked").symlink_to(elsewhere)
    assert bundle(root=root).files.keys() == SERVING
    (root / "weights/squares.onnx").unlink()
    (root / "weights/squares.onnx").symlink_to(elsewhere / "mine.py")
    with pytest.raises(HostingError, match=r"Put squares\.onnx into .* a link\.$"):
        bundle(root=root)


def test_of_package_and_weights_a_space_lacks_nothing_but_what_training_needs():
    told = subprocess.run(["git", "ls-files", "segdemo", "weights"], cwd=ROOT, capture_output=True, text=True)
    if told.returncode:
        pytest.skip("this is no clone")
    known = set(told.stdout.splitlines())
    lacking = known - bundle().files.keys()
    assert all(path.startswith("segdemo/training/") or path.endswith(".weights.h5") for path in lacking)
    assert known <= bundle(train=True).files.keys()


FROM_THE_FILES_ALONE = """
import json, pathlib, sys
import numpy as np
import segdemo
from segdemo import zoo
from segdemo.inference.features import Features
from segdemo.inference.predict import open_graph
from segdemo.ui import page, photos
from segdemo.zoo.clicks import click_models

opened = [*zoo.served_models().values(), *click_models().values()]
for entry in opened:
    open_graph(entry.path, entry.onnx_sha256, "fetch it again")
features = Features()
features.compute(np.zeros((64, 64, 3), np.uint8))
print(json.dumps({
    "graphs": [entry.onnx for entry in (*opened, features.entry)],
    "folders": sorted({str(entry.path.parent) for entry in (*opened, features.entry)}),
    "package": str(pathlib.Path(segdemo.__file__).parent),
    "photos": sorted(map(str, photos.built_in_paths().values())),
}))
"""


def test_what_the_manifest_names_is_opened_from_the_files_of_a_space_alone(tmp_path):
    space, home, elsewhere = (tmp_path / name for name in ("space", "home", "elsewhere"))
    elsewhere.mkdir()
    bundle().write_to(space)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SEGDEMO_")}
    environment = {**variables, "PYTHONPATH": str(space), "SEGDEMO_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", FROM_THE_FILES_ALONE],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    manifest = json.loads((ROOT / "weights/manifest.json").read_text("utf-8"))
    named = [entry["onnx"] for key in ("models", "clicks") for entry in manifest[key].values()]
    assert sorted(told["graphs"]) == sorted([*named, manifest["features"]["onnx"]])
    assert (told["folders"], told["package"]) == ([str(space / "weights")], str(space / "segdemo"))
    assert all(Path(path).is_file() for path in told["photos"])


def test_of_this_repository_a_space_gets_files_of_the_repository_alone():
    told = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if told.returncode:
        pytest.skip("this is no clone")
    known = set(told.stdout.splitlines())
    serving, training = bundle().files.keys(), bundle(train=True).files.keys()
    assert serving < training <= known
    left_out = [path for path in training - serving if not path.endswith(".weights.h5")]
    assert left_out and all(path.startswith("segdemo/training/") for path in left_out)
    assert {path.split("/")[0] for path in training} == {
        *("README.md", "LICENSE", "app.py", "requirements.txt", "segdemo", "weights")
    }
