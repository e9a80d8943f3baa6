"""Dockerfile and compose.yaml, without Docker: their files are there, and their commands do what they are for."""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from serving import free_port, served_app

from segdemo.hosting.hub import PROXIES

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]["segdemo"]


def stages():
    """Name or number of each stage to its instructions, (word, what follows)."""
    told = {}
    for line in re.sub(r"\\\n\s*", "", TEXT).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            told[rest.partition(" AS ")[2] or len(told)] = []
        elif word.isupper() and told:
            next(reversed(told.values())).append((word, rest))
    return told


STAGES = stages()
IMAGE = STAGES[1]


def of(instructions, word):
    return [rest for one, rest in instructions if one == word]


def environment():
    """ENV of the image."""
    return dict(re.findall(r"(\w+)=(\S+)", of(IMAGE, "ENV")[0]))


def sent(path):
    """Whether .dockerignore lets a file reach Docker: the last line that fits decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").split():
        pattern = line.removeprefix("!")
        if any(fnmatch(part, pattern) for part in (path, *(str(p) for p in Path(path).parents))):
            kept = line.startswith("!")
    return kept


def copies(instructions):
    """Sources from this repository that COPY names."""
    lines = [line.split() for line in of(instructions, "COPY") if not line.startswith("--from")]
    return [source for *sources, _ in lines for source in sources]


def build(folder, train):
    """The first stage in a folder: what it copies, and the command it runs then."""
    folder.mkdir()
    for name in copies(STAGES["files"]):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder)
        else:
            ignored = shutil.ignore_patterns("__pycache__", "unshipped")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (command,) = of(STAGES["files"], "RUN")
    subprocess.run(["sh", "-ec", command], cwd=folder, env={**os.environ, "TRAIN": train}, check=True)


def test_what_is_copied_is_there_and_is_sent():
    names = copies(STAGES["files"]) + copies(IMAGE)
    assert {"app.py", "segdemo", "weights", "requirements.txt", "requirements-serve.txt"} <= set(names)
    for name in names:
        assert (ROOT / name).exists() and sent(name), name
    assert sent("segdemo/ui/page.css") and sent("weights/deeplabv3.onnx")
    for name in (
        ".git/config",
        "tests/conftest.py",
        ".venv/bin/python",
        "weights/unshipped/x.h5",
        "docs/x",
        ".env",
    ):
        assert not sent(name), name


def test_what_is_installed_follows_the_argument(tmp_path):
    """With a ``pip`` that only says what it was asked for."""
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "$@"\n')
    pip.chmod(0o755)
    (install,) = (run for run in of(IMAGE, "RUN") if "pip install" in run)
    for train, wanted in (("no", "requirements-serve.txt"), ("yes", "requirements.txt")):
        told = subprocess.run(
            ["sh", "-ec", install],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "TRAIN": train},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.split()[-1] == f"/tmp/{wanted}"


def test_it_runs_as_somebody_who_may_do_little():
    words = [word for word, _ in IMAGE]
    (user,) = of(IMAGE, "USER")
    assert any(f"useradd --create-home --uid 1000 {user}" in run for run in of(IMAGE, "RUN"))
    assert words.index("USER") > max(n for n, word in enumerate(words) if word in ("RUN", "COPY"))
    assert of(IMAGE, "VOLUME") == [environment()["SEGDEMO_HOME"]]
    assert of(IMAGE, "EXPOSE") == [environment()["GRADIO_SERVER_PORT"]] == ["7860"]
    assert COMPOSE["read_only"] and COMPOSE["cap_drop"] == ["ALL"]


def test_compose_sets_what_there_is():
    assert set(COMPOSE["build"]["args"]) == set(re.findall(r"^ARG (TRAIN)=no$", TEXT, re.M))
    # Whatever README lists may be set; Docker itself does not read that file for the image.
    assert COMPOSE["env_file"] == [{"path": ".env", "required": False}] and not sent(".env")
    assert environment()["FORWARDED_ALLOW_IPS"] == PROXIES
    assert [volume.partition(":")[2] or volume for volume in COMPOSE["volumes"]] == ["/state", "/tmp"]
    whole = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    assert list(whole["volumes"]) == [COMPOSE["volumes"][0].partition(":")[0]]
    (port,) = COMPOSE["ports"]
    # Nobody is let in from elsewhere by chance
    assert port.startswith("127.0.0.1:") and port.endswith(":7860")


def test_without_training_its_code_and_weights_are_left_out(tmp_path):
    build(tmp_path / "serving", "no")
    build(tmp_path / "training", "yes")

    def files(name):
        return {
            p.relative_to(tmp_path / name).as_posix() for p in (tmp_path / name).rglob("*") if p.is_file()
        }

    left_out = files("training") - files("serving")
    assert {"segdemo/training/trainer.py", "weights/deeplabv3.weights.h5"} <= left_out
    assert all(path.startswith("segdemo/training/") or path.endswith(".weights.h5") for path in left_out)


@pytest.mark.slow
def test_the_command_serves_and_the_health_check_tells_that_from_nothing(tmp_path):
    build(tmp_path / "app", "no")
    (command,), (health,) = of(IMAGE, "CMD"), of(IMAGE, "HEALTHCHECK")
    start, check = json.loads(command), json.loads(health.partition("CMD ")[2])
    assert start[0] == check[0] == "python"
    own = {**environment(), "MPLCONFIGDIR": str(tmp_path / "matplotlib"), "GRADIO_SERVER_NAME": "127.0.0.1"}
    for name in ("SEGDEMO_HOME", "GRADIO_SERVER_PORT"):
        del own[name]  # ``served_app`` has its own

    def healthy(port):
        code = check[2].replace(":7860/", f":{port}/")
        assert code != check[2]
        return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0

    assert not healthy(free_port())
    with served_app(tmp_path, script=start[1], fresh=True, cwd=tmp_path / "app", **own) as (url, _):
        assert healthy(url.rstrip("/").rpartition(":")[2])
