"""Photos on a cluster, without one: the work goes through the same worker, as the data that would travel."""

import json
import os
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from calling import call
from drawn import SHAPES, draw_annotations
from PIL import Image
from tiny import bright, write_model
from without_ray import in_one_worker

from segdemo.cluster import connection, photos, reach
from segdemo.cluster.connection import EndedError, connect
from segdemo.cluster.reach import Place
from segdemo.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(photos, "spread", in_one_worker)
    return write_model(tmp_path / "home" / "models" / "colours", "colours", SHAPES, *bright(3, 0, 1))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{number}.jpg")
    (folder / "bad.jpg").write_bytes(b"words")
    return folder


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_predict_writes_what_it_writes_here(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # nodes work in folders of their own
    common = ["predict", "--model", "colours", "--formats", "label_map,overlay,coco,csv", "photos"]
    here = call(capsys, *common, "--out", "here")
    there = call(capsys, *common, "--out", "there", "--on", "ray")
    assert here == there
    assert here[0] == 2 and "bad.jpg" in here[2]
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert not (tmp_path / "there" / ".handed").exists()

    # A node with a folder of its own at that path would keep what it writes there to itself.
    monkeypatch.setattr(Place, "leave", lambda place: None)
    monkeypatch.setattr(reach, "SECONDS", 0.1)
    code, _, err = call(capsys, *common, "--out", "elsewhere", "--on", "ray")
    assert (code, err.count("\n")) == (2, 1)
    assert (
        f"does not share {tmp_path / 'elsewhere'} with the others" in err
        and "let --out name one folder" in err
    )


def test_what_is_there_already_is_not_done_again(capsys, folder, tmp_path):
    common = ["predict", "--model", "colours", "--formats", "label_map,csv", "--out", tmp_path / "out"]
    call(capsys, *common, folder)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    Image.new("RGB", (9, 9)).save(folder / "bad.jpg")
    assert call(capsys, *common, folder, "--on", "ray", "--resume") == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list((tmp_path / "out").glob("*.png"))) == 6
    assert len((tmp_path / "out" / "classes.csv").read_text().splitlines()) == 7


def test_a_model_that_is_another_one_ends_it_in_a_sentence(capsys, folder, tmp_path, home):
    model = photos.Model.of(home, (1.0,), False)
    with pytest.raises(UserError, match=r"colours\.onnx is damaged"):
        list(in_one_worker(photos.partial(photos._measuring, photos.replace(model, data=b"x"), SHAPES), [{}]))
    home.path.unlink()
    with pytest.raises(UserError, match=r"colours\.onnx is missing"):
        photos.Model.of(home, (1.0,), False)


def test_evaluate_counts_what_it_counts_here_and_lists_what_cannot_be_measured(
    capsys, tmp_path, home, monkeypatch
):
    root = draw_annotations(tmp_path / "data", ["a", "b", "c", "d"])
    common = ["evaluate", "--model", "colours", "--dataset", "annotations", "--data", root, "--json"]
    common += ["--subset", "all"]
    code, here, _ = call(capsys, *common)
    assert code == 0
    code, there, err = call(capsys, *common, "--on", "ray")
    assert (code, err) == (0, "")
    here, there = json.loads(here), json.loads(there)
    for report in (here, there):
        del report["seconds"], report["milliseconds"]
    assert here == there

    (root / "JPEGImages" / "b.png").write_bytes(b"words")
    code, there, err = call(capsys, *common, "--on", "ray")
    assert code == 2
    assert err.count("\n") == 1 and "b.png" in err
    assert json.loads(there)["images"] == 3

    def lost(load, things, workers=0, share=1.0, then="go on with --resume"):
        raise EndedError(f"The cluster was lost: {then}.")

    monkeypatch.setattr(photos, "spread", lost)
    said = "segdemo: The cluster was lost: give the same command again.\n"  # it has no --resume
    assert call(capsys, *common, "--on", "ray") == (2, "", said)


def test_what_does_not_go_together_is_said_in_a_line(capsys, tmp_path):
    root = draw_annotations(tmp_path / "data", ["a", "b", "c"])
    common = ["evaluate", "--model", "colours", "--dataset", "annotations", "--data", root]
    assert "Leave out --squashed" in call(capsys, *common, "--on", "ray", "--squashed")[2]
    assert "Leave out --workers" in call(capsys, *common, "--workers", "2")[2]
    with pytest.raises(SystemExit) as refused:
        call(capsys, *common, "--on", "mars")
    assert refused.value.code == 2


def test_without_ray_or_with_an_address_for_jobs_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    with pytest.raises(UserError, match="takes jobs only"):
        connect()
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UserError, match="is for Ray's client only"):
        connect()
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"requirements-cluster\.txt"):
        connect()


class Refused(KeyError):
    """As Ray's ``AuthenticationError``, one of its ``RayError``."""


def test_an_address_of_nobody_another_version_and_a_wrong_token_are_said_within_seconds(monkeypatch):
    wrong = [
        RuntimeError("Version mismatch: The cluster was started with: Ray: 1.0"),
        ConnectionError("Failed to connect to Ray cluster"),
        Refused("Token authentication is enabled but no authentication token was found"),
    ]

    def init(address, **options):
        raise wrong.pop(0)

    services = SimpleNamespace(canonicalize_bootstrap_address=lambda address: address)
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=init,
        exceptions=SimpleNamespace(RayError=KeyError, AuthenticationError=Refused),
        _private=SimpleNamespace(services=services),
    )
    monkeypatch.setattr(connection, "imported", lambda: ray)
    with socket.create_server(("127.0.0.1", 0)) as head:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{head.getsockname()[1]}")
        with pytest.raises(UserError, match="has another version of Ray or of Python"):
            connect()
        while wrong:
            with pytest.raises(
                UserError, match="does not let this in: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
            ):
                connect()
    for address in (os.environ["RAY_ADDRESS"], "127.0.0.1:99999", "[head:1"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match="There is no Ray cluster at"):
            connect()
