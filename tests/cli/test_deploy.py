"""``python -m segdemo deploy``: what it prints and what it exits with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import served_hub
from repositories import write_repository
from serving import free_port

from segdemo.cli import main
from segdemo.hosting import bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Where the command finds what to send, instead of this repository; and no token."""
    for name in (*(name for name in os.environ if name.startswith("SEGDEMO_")), "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    root = write_repository(tmp_path)
    monkeypatch.setattr(bundle, "ROOT", root)
    return root


def test_a_dry_run_lists_files_and_their_total(repository, capsys):
    assert main(["deploy", "ann/squares", "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "           5  weights/squares.onnx" in out
    sizes = [int(line.split()[0].replace(",", "")) for line in out[:11]]
    assert out[11].strip() == f"{sum(sizes):,}  bytes in 11 files, for ann/squares"
    assert "SEGDEMO_TRAINING=off" in out


def test_a_dry_run_of_this_repository_needs_neither_token_nor_network(tmp_path):
    """In a fresh process, where the Hub is a port that nobody listens at."""
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": str(tmp_path)}
    environment.pop("HF_TOKEN", None)
    command = [sys.executable, "-m", "segdemo", "deploy", "ann/x", "--dry-run"]
    command += ["--json", "--train", "--storage"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report.keys() == {
        *("space", "private", "hardware", "bucket", "variables", "secrets", "files", "bytes")
    }
    assert (report["space"], report["bucket"], report["secrets"]) == (
        "ann/x",
        "ann/x-state",
        ["SEGDEMO_ADMINS", "SEGDEMO_TRAINING_TOKEN"],
    )
    sizes = {file["path"]: file["bytes"] for file in report["files"]}
    assert sum(sizes.values()) == report["bytes"] < 200e6
    assert sizes["weights/deeplabv3.onnx"] == (ROOT / "weights/deeplabv3.onnx").stat().st_size
    assert "weights/deeplabv3.weights.h5" in sizes and "segdemo/training/trainer.py" in sizes


def test_a_space_is_made_of_what_the_environment_names(repository, tmp_path):
    code = (
        "import sys; from pathlib import Path; from segdemo.hosting import bundle; from segdemo.cli import main\n"
        f"bundle.ROOT = Path({str(repository)!r}); sys.exit(main(sys.argv[1:]))"
    )

    def deploy(*arguments):
        command = [sys.executable, "-c", code, "deploy", "ann/squares", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    with served_hub() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": "write",
            "HF_HOME": str(tmp_path / "hf"),
        }
        done = deploy("--json", "--train")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["new"] and report["url"] == f"{hub.url}/spaces/ann/squares"
        assert hub.settings["ann/squares"]["secrets"] == {**report["made_up"], "SEGDEMO_ADMINS": "ann"}
        done = deploy()
        assert done.stdout == f"{report['url']} is renewed; it opens when the Hub has built it.\n"
        environment["HF_TOKEN"] = "wrong"
        done = deploy()
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "segdemo: Run hf auth login, or set HF_TOKEN to another token"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["squares"], "Give the Space as USER/NAME"),
        (["ann/squares", "--hardware", "t4-small"], "Choose the hardware among cpu-basic, cpu-upgrade"),
    ],
)
def test_bad_input_is_a_line_and_exit_code_2(repository, capsys, arguments, told):
    assert main(["deploy", *arguments, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert told in said and len(said.splitlines()) == 1
