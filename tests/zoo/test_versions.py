"""Model versions: what is installed is served, what is worse is not promoted, and there is always a way back."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import time

import pytest

from segdemo import zoo
from segdemo.core.files import DiskError, NotFoundError, StoreError, sha256
from segdemo.core.labels import PETS
from segdemo.zoo.scores import Lineage
from segdemo.zoo.versions import ModelStore


def trained(folder, after=0.7, before=0.6, content=b"graph", scores=None, **changes):
    """What a finished run leaves behind."""
    folder.mkdir(parents=True)
    entry = {
        "title": "U-Net: cats",
        "architecture": "unet",
        "label_set": PETS.to_json(),
        "long_side": 320,
        "temperature": 1.0,
        "metrics": {"mean_iou": after},
    }
    for key, file in (("onnx", "model.onnx"), ("weights", "model.weights.h5")):
        data = content + key.encode()
        (folder / file).write_bytes(data)
        entry |= {key: file, f"{key}_sha256": hashlib.sha256(data).hexdigest()}
    entry |= changes
    (folder / "manifest.json").write_text(json.dumps({"models": {folder.name: entry}}))
    report = {"before": before and {"mean_iou": before}, "after": {"mean_iou": after, **(scores or {})}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    return ModelStore()


def test_an_installed_version_is_served_before_and_after_promotion(models, tmp_path):
    lineage = Lineage.from_json({"parent": "unet", "dataset": "abc", "settings": {"epochs": 3}})
    version = models.install(trained(tmp_path / "run1"), "cats", title="My cats", lineage=lineage)
    assert (version.number, version.current, version.served_as) == (1, False, "cats@1")
    assert (version.before.mean_iou, version.after.mean_iou) == (0.6, 0.7)
    assert models.names() == ["cats"]
    entry = zoo.served_model("cats@1")
    assert entry.title == "My cats (version 1)"
    assert entry.lineage == version.lineage == lineage
    assert entry.path.read_bytes() == b"graphonnx"
    assert sha256(entry.folder / entry.weights) == entry.weights_sha256
    assert "cats" not in zoo.served_models()
    models.promote("cats", 1)
    assert zoo.served_model("cats").alias_of == "cats@1"
    assert zoo.served_model("cats").path == entry.path
    assert models.current("cats").number == 1
    card = (version.folder / "README.md").read_text()
    assert "My cats" in card
    assert "70.0 %" in card
    assert "60.0 %" in card


def test_what_scores_worse_than_its_parent_is_promoted_only_by_force(models, tmp_path):
    models.install(trained(tmp_path / "a", after=0.5, before=0.6), "cats")
    with pytest.raises(
        StoreError, match=r"^Version 1 of cats scores 50\.0 mean IoU, worse than the 60\.0 of"
    ):
        models.promote("cats", 1)
    assert models.current("cats") is None
    assert models.promote("cats", 1, force=True).current


@pytest.mark.parametrize("after", [None, float("nan")])
def test_what_was_not_measured_is_promoted_only_by_force(models, tmp_path, after):
    version = models.install(trained(tmp_path / "a", after=after), "cats")
    assert "not measured" in version.objection()
    with pytest.raises(StoreError, match="not measured"):
        models.promote("cats", 1)


def test_what_does_not_find_a_class_is_promoted_only_by_force(models, tmp_path):
    """A class that the photos do not hold is not missed, whatever was taken for it."""
    ious = {"sky": 0.9, "cat": 0.0, "dog": 0.004, "cow": 0.0, "owl": None}
    confusion = [[9, 0, 0, 0, 0], [5, 0, 0, 0, 0], [5, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    missed = {"class_iou": ious, "confusion": confusion}
    version = models.install(trained(tmp_path / "a", scores=missed), "cats")
    assert version.objection() == (
        "Version 1 of cats hardly finds cat and dog: label more photos with it, or train longer."
    )
    with pytest.raises(StoreError, match="hardly finds cat"):
        models.promote("cats", 1)
    assert models.promote("cats", 1, force=True).current
    many = {"class_iou": dict.fromkeys("abcde", 0.0)}
    version = models.install(trained(tmp_path / "b", scores=many), "cats")
    assert "hardly finds a and b and c and 2 more:" in version.objection()


def test_a_first_model_and_an_equal_one_are_promoted(models, tmp_path):
    models.install(trained(tmp_path / "a", before=None), "cats")
    models.install(trained(tmp_path / "b", after=0.6, before=0.6), "cats")
    assert models.promote("cats", 1).current
    assert models.promote("cats", 2).current


def test_rolling_back_goes_through_the_promotions_in_reverse(models, tmp_path):
    for name in ("a", "b", "c"):
        models.install(trained(tmp_path / name, content=name.encode()), "unet")
    shipped = zoo.served_models().get("unet")
    for number in (1, 3, 2):
        models.promote("unet", number)
        models.promote("unet", number)  # once more changes nothing
    assert zoo.served_model("unet").path.read_bytes() == b"bonnx"
    assert [models.rollback("unet").number for _ in range(2)] == [3, 1]
    assert models.rollback("unet") is None
    now = zoo.served_models().get("unet")
    assert (now and now.path) == (shipped and shipped.path)
    with pytest.raises(StoreError, match="nothing to take back"):
        models.rollback("unet")


def test_deleting_and_renaming(models, tmp_path):
    for name in ("a", "b"):
        models.install(trained(tmp_path / name), "cats")
    models.promote("cats", 1)
    models.promote("cats", 2)
    with pytest.raises(StoreError, match="roll back"):
        models.delete("cats", 2)
    models.delete("cats", 1)
    assert [v.number for v in models.versions("cats")] == [2]
    assert models.rollback("cats") is None  # version 1 is gone
    models.promote("cats", 2)
    models.rename("cats", "kittens")
    assert set(zoo.served_models()) >= {"kittens", "kittens@2"}
    assert "cats" not in zoo.served_models()
    assert zoo.served_model("kittens").path.is_file()
    models.install(trained(tmp_path / "c"), "dogs")
    with pytest.raises(StoreError, match="already a model 'dogs'"):
        models.rename("kittens", "dogs")
    models.delete("kittens")
    assert models.names() == ["dogs"]
    models.delete("dogs", 1)
    assert models.names() == []
    for call in (
        lambda: models.delete("dogs"),
        lambda: models.rename("dogs", "x"),
        lambda: models.promote("dogs", 1),
    ):
        with pytest.raises(NotFoundError):
            call()


@pytest.mark.parametrize("name", ["", "..", "a/b", "Cats", "a@1", None, "x" * 61])
def test_a_name_that_cannot_be_a_folder_is_refused(models, tmp_path, name):
    with pytest.raises(StoreError, match="name"):
        models.install(trained(tmp_path / "a"), name)


def test_a_version_number_is_not_used_again(models, tmp_path):
    for name in ("a", "b"):
        models.install(trained(tmp_path / name), "cats")
    (models.root / "cats" / "v7").mkdir()  # left behind by a killed process
    assert models.install(trained(tmp_path / "c"), "cats").number == 8
    models.tidy()
    assert not (models.root / "cats" / "v7").exists()
    assert len(models.versions("cats")) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "model.onnx").write_bytes(b"other"),
        lambda f: (f / "model.weights.h5").unlink(),
        lambda f: (f / "manifest.json").unlink(),
        lambda f: (f / "manifest.json").write_text("{"),
        lambda f: (f / "manifest.json").write_text('{"models": {}}'),
        lambda f: (f / "manifest.json").write_text('{"models": {"x": {"onnx": "../../etc/passwd"}}}'),
    ],
)
def test_files_that_are_not_what_they_should_be_are_not_installed(models, tmp_path, damage):
    folder = trained(tmp_path / "a")
    damage(folder)
    with pytest.raises(StoreError, match=r"export the run.*\.$"):
        models.install(folder, "cats")
    assert models.names() == []


def test_a_model_put_there_by_hand_is_left_alone(models, tmp_path):
    trained(models.root / "mine")
    models.install(trained(tmp_path / "a"), "cats")
    assert models.names() == ["cats"]
    assert "mine" in zoo.served_models()
    with pytest.raises(StoreError, match="by hand"):
        models.install(tmp_path / "a", "mine")
    models.tidy()


def test_a_damaged_manifest_is_named_and_does_not_hide_the_others(models, tmp_path):
    models.install(trained(tmp_path / "a"), "cats")
    models.install(trained(tmp_path / "b"), "dogs")
    path = models.root / "cats" / "manifest.json"
    whole = json.loads(path.read_text())
    changes = ({"current": 7}, {"versions": {"x": {}}}, {"versions": []}, {"models": 3}, {"history": ["1"]})
    for text in (
        "{",
        "[]",
        "null",
        "",
        "[" * 100_000,
        *(json.dumps({**whole, **change}) for change in changes),
    ):
        path.write_text(text)
        assert models.names() == ["dogs"]
        with pytest.raises(StoreError, match="damaged"):
            models.versions("cats")


def _fill_disk_at(patch, number):
    """Let the disk be full at the ``number``-th step that changes it."""
    left = [number]
    for step in ("replace", "rename", "fsync", "mkdir"):
        real = getattr(os, step)

        def call(*args, _real=real, **options):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return _real(*args, **options)

        patch.setattr(os, step, call)
    return left


def test_a_full_disk_at_any_step_of_an_installation_leaves_what_was_there(models, tmp_path, monkeypatch):
    models.install(trained(tmp_path / "a"), "cats")
    models.promote("cats", 1)
    folder = trained(tmp_path / "b")
    before = (models.root / "cats" / "manifest.json").read_bytes()
    for number in itertools.count(1):
        with monkeypatch.context() as patch:
            left = _fill_disk_at(patch, number)
            try:
                models.install(folder, "cats")
            except DiskError as error:
                assert str(error).startswith("The disk is full")
                assert (models.root / "cats" / "manifest.json").read_bytes() == before
                assert {p.name for p in (models.root / "cats").iterdir()} == {"v1", "manifest.json"}
        if left[0] > 0:
            break
        if len(models.versions("cats")) == 2:  # a folder that could not be synchronised is no failure
            models.delete("cats", models.versions("cats")[0].number)
    assert number > 4
    assert len(models.versions("cats")) == 2


def test_tidy_empties_the_trash(models, tmp_path):
    models.install(trained(tmp_path / "a"), "cats")
    models.delete("cats")
    (thrown,) = (models.root / ".trash").iterdir()
    models.tidy()
    assert thrown.exists()
    old = time.time() - 90 * 86400
    os.utime(thrown, (old, old))
    models.tidy()
    assert not thrown.exists()


@pytest.mark.parametrize("key", ["versions", "models", "history", "name"])
def test_a_manifest_of_nulls_costs_no_version_its_files(models, tmp_path, key):
    models.install(trained(tmp_path / "run"), "cats")
    manifest = models.root / "cats" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), key: None}))
    with pytest.raises(StoreError, match="The manifest of cats is damaged: restore it from a copy"):
        models.versions("cats")
    with contextlib.suppress(StoreError):
        models.tidy(days=0)
    assert (models.root / "cats" / "v1").is_dir()
