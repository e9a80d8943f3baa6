"""What ``pip install .`` installs: which packages, which files, and that it works from any folder."""

import ast
import json
import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from serving import free_port

import segdemo
from segdemo import zoo
from segdemo.ui.photos import built_in_paths

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FILES = ("*.py", "*.js", "*.css", "*.json", "*.onnx", "py.typed", "*.jpg", "*.html")


def ranges(requirements):
    """Name to Requirement, without the package's own extras."""
    parsed = map(Requirement, requirements)
    return {canonicalize_name(one.name): one for one in parsed if one.name != PROJECT["name"]}


def pins(path):
    """Name to version of a file of requirements, each of which has to be pinned."""
    lines = map(Requirement, path.read_text("utf-8").split())
    return {canonicalize_name(line.name): next(iter(line.specifier)).version for line in lines}


@pytest.mark.parametrize(
    ("path", "requirements"),
    [
        ("requirements.txt", PROJECT["dependencies"] + EXTRAS["train"]),
        ("requirements-serve.txt", PROJECT["dependencies"]),
        ("requirements-cluster.txt", EXTRAS["cluster"]),
        ("tests/requirements.txt", EXTRAS["test"]),
    ],
)
def test_the_ranges_of_pyproject_and_the_pinned_lists_agree(path, requirements):
    pinned, wanted = pins(ROOT / path), ranges(requirements)
    assert pinned.keys() == wanted.keys()
    for name, requirement in wanted.items():
        assert requirement.specifier.contains(pinned[name]), requirement
        least = next(iter(requirement.specifier)).version.removesuffix(".0")
        assert pinned[name].startswith(least), f"{requirement}: {pinned[name]} is what is tested"


def imported(path):
    """Names of the top packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name.partition(".")[0] for name in names)


def test_without_training_the_base_packages_are_enough():
    distributions = packages_distributions()
    base = ranges(PROJECT["dependencies"]).keys() | ranges(requires("gradio")).keys()  # which come with it
    others = {}
    for path in (ROOT / "segdemo").rglob("*.py"):
        if "training" in path.relative_to(ROOT).parts:
            continue
        known = {"segdemo", *(["ray"] if path.parent.name == "cluster" else [])}  # an extra, too
        for name in set(imported(path)) - sys.stdlib_module_names - known:
            if not {canonicalize_name(one) for one in distributions.get(name, [name])} & base:
                others.setdefault(name, []).append(path.name)
    assert not others


def test_the_example_of_readme_runs(tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    example = re.search(r"^## From Python\n+```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[1]
    assert len(list(filter(None, example.splitlines()))) <= 10
    photos = {photo.name: path for photo, path in built_in_paths().items()}
    with Image.open(photos["cat"]) as cat:
        cat.convert("RGB").save(tmp_path / "photo.jpg", quality=95)
        size = cat.size
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'cat'" in done.stdout
    with Image.open(tmp_path / "overlay.png") as overlay, Image.open(tmp_path / "photo.jpg") as photo:
        assert overlay.size == size
        assert overlay.tobytes() != photo.tobytes()


def test_readme_names_the_folders_and_files_that_there_are():
    readme = (ROOT / "README.md").read_text("utf-8")
    folders = {path.name for path in (ROOT / "segdemo").iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^  (\w+)/ ", readme, re.MULTILINE)) == folders
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (ROOT / target).exists(), target
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", readme)
    assert (ROOT / picture).stat().st_size < 300_000


def test_the_version_is_that_of_the_changelog():
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest[1] == segdemo.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_the_models(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        scripts = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert wheel.name == f"segdemo-{segdemo.__version__}-py3-none-any.whl"
    assert "segdemo = segdemo.cli:main" in scripts
    inside = {name for name in names if not name.startswith(("segdemo/weights/", "segdemo-"))}
    assert inside == {
        path.relative_to(ROOT).as_posix()
        for pattern in FILES
        for path in (ROOT / "segdemo").rglob(pattern)
        if "weights" not in path.parts
    }
    models = {name.removeprefix("segdemo/weights/") for name in names if name.startswith("segdemo/weights/")}
    assert models == {path.name for path in (ROOT / "weights").iterdir() if path.is_file()}


@pytest.mark.slow
def test_what_a_wheel_installs_finds_its_models_from_any_folder(wheel, tmp_path):
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    photo = next(iter(built_in_paths().values()))

    def segdemo_(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "segdemo", *arguments],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(installed), "SEGDEMO_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    shipped = zoo.read_manifest(zoo.WEIGHTS / "manifest.json")
    assert [model["name"] for model in segdemo_("models", "--json")["models"]] == list(shipped)
    (row,) = segdemo_("predict", "--model", "deeplabv3", "--out", "out", "--json", str(photo))
    with Image.open(elsewhere / row["label_map"]) as label_map, Image.open(photo) as picture:
        assert label_map.size == picture.size
    where = [sys.executable, "-c", "import segdemo; print(segdemo.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    told = subprocess.run(where, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()).is_relative_to(installed)  # and not from the repository


@pytest.mark.slow
def test_what_a_wheel_installs_opens_the_page(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    port = str(free_port())
    own = {"PYTHONPATH": str(tmp_path / "installed"), "SEGDEMO_HOME": str(tmp_path / "home")}
    where = {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": port,
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    log = (tmp_path / "log").open("wb")
    command = [sys.executable, "-m", "segdemo", "app"]
    app = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **own, **where}, stdout=log, stderr=log)
    try:
        page, end = "", time.monotonic() + 90
        while not page and app.poll() is None and time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=30) as answer:
                    page = answer.read().decode()
            except OSError:
                time.sleep(0.2)
    finally:
        app.terminate()
        app.wait(30)
        log.close()
    assert "Correct this mask" in page and "DeepLabv3" in page, (tmp_path / "log").read_text()
