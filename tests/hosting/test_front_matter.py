"""What the Hub is told of a Space: it is refused here if the Hub would refuse it, or if it is not so."""

from pathlib import Path

import pytest
from repositories import FRONT as GOOD

from segdemo.hosting import front_matter
from segdemo.hosting.front_matter import HostingError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "app.py").touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.11,<3.14"\n')
    return tmp_path


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(front_matter.written(GOOD) + "\n# Squares\n", "utf-8")
    assert front_matter.read(path) == GOOD
    assert "🟦" in path.read_text("utf-8")


@pytest.mark.parametrize(
    "text", ["", "# Squares\n", "---\n- a list\n---\n", "---\na: [\n---\n", "---\ntitle: x\n"]
)
def test_a_readme_without_front_matter_is_refused(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(HostingError, match=r"Begin README\.md with front matter"):
        front_matter.read(path)


def test_good_front_matter_passes(root):
    front_matter.check(GOOD, root, "6.1.0")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"title": " "}, "a text as title"),
        ({"license": None}, "a text as license"),
        ({"python_version": 3.1}, "a text as python_version, in quotes"),
        ({"python_version": "3.10"}, "python_version"),
        ({"python_version": "3.14"}, "python_version"),
        ({"python_version": "three"}, "python_version"),
        ({"sdk": "docker"}, "sdk in README's front matter gradio"),
        ({"sdk_version": "6.0.0"}, r"sdk_version in README's front matter 6\.1\.0"),
        ({"app_file": "main.py"}, "there is no main.py"),
        ({"colorFrom": "mauve"}, "colorFrom in README's front matter one of red"),
        ({"colorTo": None}, "colorTo"),
        ({"emoji": ":)"}, "emoji"),
        ({"short_description": "x" * 61}, "60 characters"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(root, wrong, told):
    with pytest.raises(HostingError, match=told) as refused:
        front_matter.check({**GOOD, **wrong}, root, "6.1.0")
    assert str(refused.value).endswith(".")


def test_that_of_this_repository_would_be_taken():
    pins = (ROOT / "requirements.txt").read_text("utf-8").split()
    (gradio,) = (pin.removeprefix("gradio==") for pin in pins if pin.startswith("gradio=="))
    front_matter.check(front_matter.read(ROOT / "README.md"), ROOT, gradio)
