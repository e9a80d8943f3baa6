"""A state root that the version before wrote is opened, served, changed and gone on with.

``state/before.zip`` holds it, see ``state/README.md``; older forms of single files are written here.
"""

import hashlib
import json
import os
import zipfile
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import until

from segdemo import zoo
from segdemo.annotations.collection import ConflictError
from segdemo.annotations.store import AnnotationStore
from segdemo.annotations.transfer import import_annotations
from segdemo.cli import main
from segdemo.core.files import read_json, write_json
from segdemo.data import formats
from segdemo.data.formats import SUBSETS
from segdemo.inference.predict import Predictor
from segdemo.runs import processes
from segdemo.runs.config import TrainConfig
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs
from segdemo.ui.components import photo_list
from segdemo.ui.services import Services
from segdemo.ui.tabs import zoo as zoo_tab
from segdemo.ui.tabs.annotate.desk import Desk, Entropies
from segdemo.ui.tabs.train import form as train_form
from segdemo.ui.tabs.train import view as train_view
from segdemo.zoo.scores import Lineage
from segdemo.zoo.versions import ModelStore

ARCHIVE = Path(__file__).parent / "state" / "before.zip"
TITLES = ["Eingeführt", "Hühner & Äpfel – früh"]  # noqa: RUF001
MODELS = ["by-hand", "huehner@1", "huehner@2"]


@pytest.fixture
def before(tmp_path, monkeypatch):
    """The folder of the archive; ``home`` in it is the state root."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    home = tmp_path / "home"
    old = read_json(tmp_path / "expected.json")["home"]
    for path in home.rglob("*.json"):  # the runs' settings have the whole path of their collection
        path.write_bytes(path.read_bytes().replace(old.encode(), str(home).encode()))
    monkeypatch.setenv("SEGDEMO_HOME", str(home))
    monkeypatch.setenv("SEGDEMO_DATA", "")
    monkeypatch.setattr(os, "fsync", lambda _: None)  # only a power cut needs it, and it is slow
    return tmp_path


@pytest.fixture
def expected(before):
    """What the version before put in: digests of the masks by photo and revision, names and ids."""
    return read_json(before / "expected.json")


@pytest.fixture
def collection(expected):
    return AnnotationStore().open(expected["collection"])


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def run_called(title):
    return next(run for run in Runs(policy=Policy()).list() if run.title == title)


# --- annotations -----------------------------------------------------------------------------------------


def test_collections_photos_and_every_revision_of_their_masks_are_there(collection, expected):
    assert [found.title for found in AnnotationStore().collections()] == TITLES
    assert collection.label_set.classes == ("nothing", "Scheibe", "box", "Stern")
    photos = collection.photos(sort="source").photos
    assert [photo.source for photo in photos] == ["b.jpg", "c.png", "Möwe 1.png", "ohne Maske.png"]
    assert [photo.split for photo in photos] == ["test", "val", "train", ""]
    for id_, masks in expected["masks"].items():
        photo = collection.photo(id_)
        assert [digest(collection.load(id_, revision.number)) for revision in photo.revisions] == masks
        assert collection.image(id_).shape == (photo.height, photo.width, 3)
    first = photos[2]
    kinds = [(r.kind, r.base) for r in first.revisions]
    assert kinds == [("saved", 0), ("saved", 1), ("refused", 1), ("restored", 1)]
    assert (first.revision, first.model) == (4, "unet")
    assert set(collection.dataset().splits["all"]) == {p.id for p in photos if p.revision}


def test_what_training_sees_has_the_hash_that_is_kept_with_the_models(collection):
    versions = ModelStore().versions("huehner")
    assert {version.lineage.dataset_hash for version in versions} == {collection.fingerprint()}


def test_the_trash_gives_back_a_photo_and_a_collection(collection, expected):
    (gone,) = collection.photos(deleted=True).photos
    collection.undelete(gone.id)
    assert digest(collection.load(gone.id)) == expected["masks"][gone.id][0]
    assert (
        digest(np.array(Image.open(collection.folder / "SegmentationClass" / f"{gone.id}.png")))
        == (expected["masks"][gone.id][0])
    )
    store = AnnotationStore()
    assert [path.name for path in (store.root / ".trash").iterdir()] == [expected["discarded"]]
    (photo,) = store.undelete(expected["discarded"]).photos().photos
    assert photo.source == "d.png"
    assert [found.title for found in store.collections()] == [*TITLES, "Verworfen"]


def test_masks_are_saved_on_top_of_those_there_are(collection):
    photo = next(p for p in collection.photos().photos if p.source == "Möwe 1.png")
    stars = np.full((photo.height, photo.width), 3, np.uint8)
    with pytest.raises(ConflictError) as refused:
        collection.save(photo.id, stars, 2)
    assert (refused.value.current, refused.value.kept) == (4, 5)
    assert collection.save(photo.id, stars, 4) == 6
    assert collection.restore(photo.id, 2) == 7
    assert len(collection.revisions(photo.id)) == 7


def test_an_export_of_before_is_known_again_and_what_is_exported_now_comes_back(before, collection):
    store = AnnotationStore()
    account = import_annotations(store, before / "export.zip", "Eingeführt")
    assert (account.photos, len(account.duplicates)) == (3, 3)
    imported = store.open(account.collection)
    assert [photo.last for photo in imported.photos().photos] == [1, 1, 1]
    path = formats.export_zip(collection.annotations(), before / "again.zip")
    again = store.open(import_annotations(store, path, "Again").collection)
    for photo in again.photos().photos:
        assert np.array_equal(again.load(photo.id), collection.load(photo.id))
        assert photo.split == collection.photo(photo.id).split


# --- models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_models_predict_what_they_did(before, name):
    then = np.array(Image.open(before / f"{name}.png"))
    assert len(np.unique(then)) > 1
    label_map = Predictor(zoo.served_model(name))(np.array(Image.open(before / "photo.png"))).label_map
    assert (label_map == then).mean() > 0.995  # another processor rounds in another way


def test_versions_are_taken_back_and_promoted(before):
    models = ModelStore()
    assert models.names() == ["huehner"]
    second, first = models.versions("huehner")
    assert (first.current, second.current, second.lineage.parent) == (False, True, "huehner@1")
    assert first.before is None
    assert second.before.mean_iou == first.after.mean_iou
    assert zoo.served_model("huehner").alias_of == "huehner@2"
    assert models.rollback("huehner").number == 1
    assert zoo.served_model("huehner").path == zoo.served_model("huehner@1").path
    assert models.promote("huehner", 2, force=True).current
    run = run_called("erster")
    assert models.install(run.folder, "huehner").number == 3
    assert zoo.model_at(run.id).onnx_sha256 == zoo.served_model("huehner@3").onnx_sha256


def test_the_command_line_lists_models_and_collections(before, capsys):
    assert main(["models", "--json"]) == 0
    served = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert {*MODELS, "huehner"} <= served.keys()
    assert served["huehner@2"]["title"] == "zweiter (version 2)"
    assert main(["annotations", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(entry["title"], entry["labelled"]) for entry in listed] == list(zip(TITLES, (3, 3), strict=True))


# --- runs ------------------------------------------------------------------------------------------------


def test_runs_are_listed_as_they_were_left(before, expected):
    runs = Runs(policy=Policy())
    states = {"erster": "done", "zweiter": "done", "fälschlich": "failed", "halb": "cancelled"}
    assert {run.title: run.state for run in runs.list()} == {**states, "wartet": "queued"}
    assert {run.user for run in runs.list()} == {"Jürgen"}
    done = runs.follow(expected["runs"]["zweiter"])
    assert (done.model, done.epoch, done.epochs) == ("huehner@2", 1, 1)
    assert done.best > 0
    assert done.report.after.mean_iou > done.report.before.mean_iou
    assert [path.name for path in done.samples] == ["epoch_01.png"]
    assert "epoch" in {event["kind"] for event in done.events}
    assert '"state": "done"' in done.log
    assert "has no option 'colour'" in run_called("fälschlich").message
    assert run_called("wartet").position == 1
    for run_id in expected["runs"].values():
        config = TrainConfig.from_json(runs.settings_of(run_id))
        assert Path(config.data) == before / "home" / "annotations" / expected["collection"]


@pytest.mark.slow
@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
def test_a_cancelled_run_goes_on_to_a_further_version(expected, monkeypatch):
    monkeypatch.setattr(processes, "step_back", lambda pid: None)  # the test waits for the trainer
    runs, ids = Runs(policy=Policy()), expected["runs"]
    runs.cancel(ids["wartet"])
    runs.resume(ids["halb"])
    done = until(runs, ids["halb"], lambda run: run.model or run.state in ("failed", "cancelled"))
    assert (done.state, done.model, done.epoch) == ("done", "huehner@3", 2)
    assert [event["epoch"] for event in done.events if event["kind"] == "epoch"] == [1, 2]
    assert len(done.samples) == 2
    assert not done.lineage.dataset_changed
    assert runs.follow(ids["wartet"]).state == "cancelled"


# --- the page --------------------------------------------------------------------------------------------


def test_the_tabs_list_what_is_there(before, collection, expected):
    services = Services.start()
    desk = Desk(services)
    assert desk.collections() == list(zip(TITLES, (expected["imported"], collection.name), strict=True))
    listed = photo_list.listing(collection, collection.photos())["photos"]
    assert all(photo["thumbnail"] for photo in listed)
    assert ("zweiter", "huehner") in desk.models(collection.name)
    entry = zoo.served_model("huehner@1")
    (bare,) = collection.photos(annotated=False).photos
    assert 0 < Entropies(before / "home" / "cache" / "entropy").get(entry, bare) <= 1

    assert {"huehner", "huehner@1", "by-hand"} <= {value for _, value in train_form.starts(services)}
    titles = [title for title, _ in train_form.sources(services)]
    assert titles == [f"{title} · 3 labelled" for title in TITLES]
    assert "zweiter" in zoo_tab.cards(services)
    assert train_view.listing(services.runs.list(), None).count("<button") == 5
    for run_id in expected["runs"].values():
        run, history = train_view.Histories(services.runs).follow(run_id)
        assert run.title in train_view.head(run)
        assert str(run.folder) in train_view.origin(run)
        assert len(train_view.samples(run, history)["pictures"]) == len(run.samples)
        assert bool(train_view.curves(run, history)) == bool(run.samples)
        if run.model:
            versions = services.versions.versions("huehner")
            shown = train_view.result(run, versions[run.model == "huehner@1"], versions)
            assert "stands for version 2" in shown
        settings = services.runs.settings_of(run_id)
        assert train_form.source_of(services, settings) == f"collection:{collection.name}"


# --- older forms -----------------------------------------------------------------------------------------


SINCE = {  # settings that came after the first version
    *("repeat_threshold", "teacher", "teacher_weight", "truth_weight", "teacher_temperature", "precision"),
    *("block_steps", "block_learning_rate", "block_weight", "cutmix", "mixup"),
    *("dice_form", "weighting", "given_weights", "crop_share"),
}


@pytest.mark.slow
def test_a_run_of_the_first_version_goes_on(before, monkeypatch):
    import keras  # not before: all else here does without

    from segdemo.training import trainer

    folder = run_called("halb").folder
    config = {k: v for k, v in read_json(folder / "config.json").items() if k not in SINCE}
    write_json(folder / "config.json", {**config, "steps_per_epoch": 2})
    state = read_json(folder / "checkpoints" / "state.json")
    first = {key: state[key] for key in ("file", "epoch", "step", "best")}
    write_json(folder / "checkpoints" / "state.json", first)
    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    config = TrainConfig.from_json(read_json(folder / "config.json"))
    status = trainer.train(config, folder, resume=True, verbose=False)
    assert (status["state"], status["epoch"], status["steps"]) == ("done", 2, 2)
    assert read_json(folder / "checkpoints" / "state.json")["best"] >= state["best"]


@pytest.mark.parametrize("seen", ["photo", "crop"])
def test_what_a_teacher_sees_is_no_setting_any_more(before, seen):
    settings = read_json(run_called("halb").folder / "config.json")
    config = TrainConfig.from_json({**settings, "teacher_sees": seen})
    assert config == TrainConfig.from_json(settings)


def test_a_manifest_from_before_calibration_and_guided_upsampling_is_served(before):
    home, first = before / "home", ("title", "onnx", "onnx_sha256", "long_side", "temperature")
    (entry,) = read_json(home / "models" / "by-hand" / "manifest.json")["models"].values()
    old = {"architecture": "deeplabv3", "options": {}, "label_set": "pets"}
    old |= {key: entry[key] for key in first}
    write_json(home / "models" / "by-hand" / "manifest.json", {"models": {"old": old}})
    served = zoo.served_model("old")
    assert served.options == {"guided": False}
    assert served.label_set.name == "pets"
    assert Services.start().card("old").startswith("pet, background, border · ")
    shape = np.array(Image.open(before / "photo.png")).shape
    assert Predictor(served)(np.zeros(shape, np.uint8)).label_map.shape == shape[:2]


def test_runs_and_events_of_the_first_version_are_shown(before, expected):
    run_id = expected["runs"]["erster"]
    folder = before / "home" / "runs" / run_id
    record = read_json(folder / "run.json")
    record["lineage"] = {k: v for k, v in record["lineage"].items() if k != "dataset_changed"}
    write_json(folder / "run.json", {**record, "lineage": {**record["lineage"], "code": "0.1.0"}})
    with (folder / "events.jsonl").open("a") as file:  # progress did not say how many steps an epoch has
        file.write(json.dumps({"time": 0, "kind": "progress", "epoch": 0, "step": 20, "loss": 0.5}) + "\n")
    runs = Runs(policy=Policy())
    run, history = train_view.Histories(runs).follow(run_id)
    assert (0.5, 0.5) in history.points("loss")
    assert "<dd>0.1.0</dd>" in train_view.origin(run)


def test_a_run_of_the_command_line_has_no_record(before, expected):
    folder = before / "home" / "runs" / expected["runs"]["zweiter"]
    (folder / "run.json").unlink()
    run = Runs(policy=Policy()).follow(folder.name)
    assert (run.title, run.state, run.user, run.lineage) == (folder.name, "done", "", Lineage())


def test_a_label_set_without_a_background_entry_has_class_0_for_it(collection):
    labels = read_json(collection.folder / "labels.json")
    del labels["background"]
    write_json(collection.folder / "labels.json", labels)
    assert collection.label_set.background == 0
    assert set(collection.dataset().splits) >= set(SUBSETS)
