"""The packages that are installed are those that were tried."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pins(path):
    """Name to version of what a requirements file pins."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", (ROOT / path).read_text("utf-8"), re.M)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_every_requirement_is_pinned():
    for path in (
        "requirements.txt",
        "requirements-serve.txt",
        "requirements-cluster.txt",
        "tests/requirements.txt",
    ):
        lines = [
            line for line in (ROOT / path).read_text("utf-8").splitlines() if line and line[0] not in "#-"
        ]
        assert len(pins(path)) == len(lines), path


def test_what_serving_needs_is_pinned_as_in_a_whole_installation():
    assert pins("requirements-serve.txt").items() < pins("requirements.txt").items()


def test_the_lock_file_holds_what_is_required_with_hashes():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert pins("requirements.txt").items() <= pins("requirements.lock").items()
    entries = re.split(r"\n(?=[\w.-]+==)", lock)
    for entry in entries:
        if re.match(r"[\w.-]+==", entry):
            assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in lock  # whoever installs chooses where from
