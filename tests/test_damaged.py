"""One damaged file of the state root keeps neither the page nor a list from the rest."""

import json

import numpy as np
import pytest
from drawn import draw_annotations
from tiny import bright, write_model

from segdemo import zoo
from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import StoreError
from segdemo.core.labels import PETS
from segdemo.runs import processes
from segdemo.runs.estimates import Estimates
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs
from segdemo.zoo.versions import ModelStore

DAMAGE = {
    "empty": lambda whole: b"",
    "a list": lambda whole: b"[1, 2]",
    "a text": lambda whole: b'"versions"',
    "a number": lambda whole: b"3",
    "not UTF-8": lambda whole: b"\xff\xfe{}",
    "cut short": lambda whole: whole[: len(whole) // 2],
    "of other types": lambda whole: json.dumps(
        {key: [[n]] for n, key in enumerate(json.loads(whole))}
    ).encode(),
    "of deep other types": lambda whole: json.dumps(
        {
            key: dict.fromkeys(value, 5) if isinstance(value, dict) else 7
            for key, value in json.loads(whole).items()
        }
    ).encode(),
}
damaged = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def spoil(path, damage):
    path.write_bytes(damage(path.read_bytes()))


def lines(caplog, path):
    return [record for record in caplog.records if str(path) in record.getMessage()]


@damaged
def test_a_manifest_is_left_out(home, damage, caplog):
    for name in ("good", "bad"):
        write_model(home / "models" / name, name, PETS, *bright(3, 0, 1))
    path = home / "models" / "bad" / "manifest.json"
    spoil(path, damage)
    for _ in range(3):
        served = zoo.served_models()
    assert "good" in served and "bad" not in served
    assert len(lines(caplog, path)) == 1
    assert len(json.dumps([entry.to_json() for entry in served.values()])) > 100


@damaged
def test_versions_of_other_models_are_listed(home, damage, tmp_path, caplog):
    store = ModelStore()
    for name in ("good", "bad"):
        entry = write_model(tmp_path / name, name, PETS, *bright(3, 0, 1))
        store.install(entry.folder, name)
    path = home / "models" / "bad" / "manifest.json"
    spoil(path, damage)
    for _ in range(2):
        assert store.names() == ["good"]
        store.tidy()
    assert [version.served_as for version in store.versions("good")] == ["good@1"]
    with pytest.raises(StoreError, match="damaged"):
        store.versions("bad")
    assert len(lines(caplog, path)) == 1


@damaged
@pytest.mark.parametrize("name", ["collection.json", "labels.json"])
def test_other_collections_are_listed(home, damage, name, caplog):
    store = AnnotationStore()
    good, bad = store.create("good", PETS), store.create("bad", PETS)
    spoil(bad.folder / name, damage)
    for _ in range(3):
        assert [collection.name for collection in store.collections()] == [good.name]
    assert len(lines(caplog, bad.folder / name)) == 1
    store.tidy()
    good.add_photo(np.zeros((4, 5, 3), np.uint8), "photo.png")


@damaged
def test_other_photos_are_listed(home, damage, caplog):
    collection = AnnotationStore().create("photos", PETS)
    good, bad = (collection.add_photo(np.full((4, 5, 3), n, np.uint8), f"{n}.png") for n in (1, 2))
    path = collection.folder / "Annotations" / f"{bad}.json"
    spoil(path, damage)
    for _ in range(2):
        assert [photo.id for photo in collection.photos().photos] == [good]
    assert len(lines(caplog, path)) == 1


@damaged
@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
@pytest.mark.parametrize("name", ["run.json", "status.json", "config.json", "report.json", "events.jsonl"])
def test_other_runs_are_listed_and_started(home, damage, name, tmp_path):
    draw_annotations(tmp_path / "data", ["a", "b", "c", "d", "e"])
    settings = {"model": "unet", "dataset": "annotations", "data": str(tmp_path / "data")}
    runs = Runs(policy=Policy(), command=["/nowhere/python"])
    first = runs.start(settings)
    folder = runs.root / first.run_id
    for file in ("report.json", "events.jsonl"):
        (folder / file).write_text('{"before": {"mean_iou": 0.5}, "after": {"mean_iou": 0.6}}')
    spoil(folder / name, damage)
    second = runs.start({**settings, "epochs": 2})
    runs.tick()
    assert {snapshot.id for snapshot in runs.list()} == {first.run_id, second.run_id}
    assert runs.follow(first.run_id).state in ("failed", "running")
    assert runs.follow(second.run_id).state == "failed"  # there is nothing to start
    runs.tidy()
    runs.delete(first.run_id)


@damaged
@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
def test_estimates_are_measured_anew(home, damage):
    home.mkdir()
    estimates = Estimates(home, ["/nowhere/python"])
    settings = {"model": "unet", "dataset": "annotations", "data": "x"}
    (home / "current.json").write_bytes(damage(b'{"key": "a", "pid": 5, "started": 1, "time": 2}'))
    estimates.look_after(1e9)
    assert estimates.ask(settings, {}).message.startswith("The measurement cannot be started")
    estimates.stop()
    estimates.tidy()
