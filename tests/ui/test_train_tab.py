"""What the Train tab offers and shows, apart from the browser."""

import json
import re
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import SHAPES, draw_annotations, draw_pets, draw_voc, scene
from tiny import bright, write_model

from segdemo import zoo
from segdemo.annotations import drafts
from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import StoreError
from segdemo.core.labels import PETS, VOC
from segdemo.core.photos import Limits
from segdemo.data.datasets import DatasetError
from segdemo.data.sources import open_dataset
from segdemo.runs.config import TrainConfig
from segdemo.runs.policy import Policy, PolicyError, RunError
from segdemo.runs.queue import Runs
from segdemo.runs.snapshot import Snapshot
from segdemo.ui.components.run_chart import chart
from segdemo.ui.photos import PhotoCache
from segdemo.ui.services import Services
from segdemo.ui.tabs.segment import SegmentTab
from segdemo.ui.tabs.train import form as train_form
from segdemo.ui.tabs.train import view as train_view
from segdemo.ui.tabs.train.tab import Twins, user_of
from segdemo.zoo.scores import Lineage, Report, Scores
from segdemo.zoo.versions import ModelStore, Version

TFDS = "tfds:oxford_iiit_pet"


@pytest.fixture
def services(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGDEMO_DATA", str(tmp_path / "data"))
    draw_pets(tmp_path / "data" / "pets", {"pug": 12})
    return Services(Limits(), PhotoCache(Limits()))


def collection(services, title, count, label_set=PETS):
    made = services.store.create(title, label_set)
    for i in range(count):
        photo, mask = scene(i, (40, 40), foreground=0, background=1)
        path = services.store.root / f"{i}.png"
        photo.save(path)
        made.save(made.add_photo(path, path.name), mask, 0)
    return made


def test_the_second_of_two_events_of_one_choice_is_known(monkeypatch):
    now = 0.0
    monkeypatch.setattr("segdemo.ui.tabs.train.tab.time.monotonic", lambda: now)
    twins = Twins()
    assert not twins.second("one browser", ["unet", "mine", 256])
    now = 0.1
    assert twins.second("one browser", ["unet", "mine", 256])
    assert not twins.second("one browser", ["unet", "mine", 100])
    assert not twins.second("another", ["unet", "mine", 100])
    now = 60.0
    assert not twins.second("another", ["unet", "mine", 100])


# --- what is offered ---------------------------------------------------------------------------------------


def test_the_menus_hold_models_with_weights_all_architectures_and_all_datasets(services, tmp_path):
    write_model(tmp_path / "home" / "models" / "bare", "bare", PETS, *bright(3, 0, 1))
    collection(services, "Mine", 4)
    values = [value for _, value in train_form.starts(services)]
    manifest = zoo.read_manifest(zoo.WEIGHTS / "manifest.json")
    shipped = [name for name, entry in manifest.items() if entry.weights]  # nor has "bare" any to train on
    assert values == [*shipped, *(f"untrained:{name}" for name in zoo.SPECS)]
    assert train_form.sources(services) == [
        ("Mine · 4 labelled", "collection:mine"),
        (f"{PETS.title} (pets)", f"dataset:{PETS.title} (pets)"),
    ]
    assert train_form.first_source(services, "unet") == "collection:mine"
    assert train_form.first_source(services, "deeplabv3") == "collection:mine"  # nothing fits: the first
    for value in ("collection:none", "dataset:none", "", None, "x"):
        with pytest.raises(ValueError, match=r"\."):
            train_form.open_source(services, value)


def test_drafts_are_learned_from_only_if_they_are_chosen(services):
    mine = collection(services, "Mine", 4)
    assert train_form.first_start(services, "collection:mine") == "unet"  # it has the same classes
    assert train_form.first_start(services, "collection:none") == train_form.starts(services)[0][1]
    with pytest.raises(StoreError, match="Mine has no drafts: label the rest first"):
        train_form.open_source(services, "drafts:mine")
    id_ = mine.add_photo(np.full((40, 40, 3), 77, np.uint8), "fresh")
    drafts.put(mine, id_, np.ones((40, 40), np.uint8), "taught:mine", "ab", 0.9, 0.1)
    assert train_form.sources(services)[:2] == [
        ("Mine · 4 labelled", "collection:mine"),
        ("Mine · 4 labelled + 1 draft", "drafts:mine"),
    ]
    assert train_form.first_source(services, "unet") == "collection:mine"
    assert id_ not in train_form.open_source(services, "collection:mine").splits["all"]
    assert id_ in train_form.open_source(services, "drafts:mine").splits["train"]
    values = train_form.suggest(train_form.Start.of("unet"), train_form.open_source(services, "drafts:mine"))
    settings, _, _ = train_form.wish(services, "unet", "drafts:mine", "", values)
    assert train_form.source_of(services, settings) == "drafts:mine"
    # As the trainer does, in its own process
    splits = open_dataset(settings["dataset"], settings["data"]).splits
    assert id_ in splits["train"] and len(splits["all"]) == 5
    for wrong in ("drafts:none", "drafts:../mine", "drafts:"):
        with pytest.raises(ValueError, match=r"There is no collection"):
            train_form.open_source(services, wrong)


@pytest.mark.parametrize(
    ("environment", "hosted"),
    [
        ({}, False),
        ({"SPACE_ID": "a/b"}, True),
        ({"SEGDEMO_WORKSPACES": "visitors"}, True),
        ({"SEGDEMO_USERS": "ann:secret"}, True),
    ],
)
def test_what_is_for_those_who_run_the_page_is_not_told_to_visitors(
    services, monkeypatch, environment, hosted
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEGDEMO_TRAINING", "off")
    with pytest.raises(DatasetError) as nothing:
        train_form.open_source(services, None)
    with pytest.raises(PolicyError) as off:
        Policy.from_env().permit()
    for told in (str(nothing.value), str(off.value)):
        assert ("SEGDEMO_" in told) is not hosted


def test_what_tensorflow_datasets_has_prepared_is_learned_from_by_its_name(services, tmp_path):
    folder = tmp_path / "data" / "oxford_iiit_pet" / "4.0.0"
    folder.mkdir(parents=True)
    splits = [{"name": name, "shardLengths": ["50", "50"]} for name in ("train", "test")]
    (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    assert ("oxford_iiit_pet · TensorFlow Datasets", TFDS) in train_form.sources(services)
    dataset = train_form.open_source(services, TFDS)
    start = train_form.Start.of("unet")
    assert "Learns from <b>90</b> photos, keeps the epoch that is best on" in train_form.summary(
        start, dataset
    )
    few = train_form.summary(start, dataset, 3)
    assert "Learns from <b>90</b> photos to the last epoch, is watched on <b>3</b> more" in few
    assert "the epoch that is best on <b>3</b> others" in train_form.summary(start, dataset, 3, "constant")
    assert "keeps the epoch that is best on <b>5</b> others" in train_form.summary(start, dataset, 5)
    values = train_form.suggest(start, dataset)
    settings, _, _ = train_form.wish(services, "unet", TFDS, "", values)
    assert (settings["dataset"], settings["data"]) == ("pets", TFDS)
    assert train_form.source_of(services, settings) == TFDS
    (folder / "dataset_info.json").write_text("{}")
    assert train_form.source_of(services, settings) is None
    with pytest.raises(DatasetError, match="is damaged"):
        train_form.open_source(services, TFDS)


def test_a_promoted_version_goes_by_its_models_name_only(services, tmp_path):
    models = tmp_path / "home" / "models"
    write_model(models / "cats", "cats@1", PETS, *bright(3, 0, 1))
    write_model(models / "cats", "cats@2", PETS, *bright(3, 0, 1))
    assert {"cats@1", "cats@2"} <= services.models().keys()
    write_model(models / "cats", "cats", PETS, *bright(3, 0, 1), alias_of="cats@2")
    assert [name for name in services.models() if name.startswith("cats")] == ["cats@1", "cats"]
    # Whoever had chosen the version has chosen the model now.
    assert train_form.start_menu(services, "cats@2")["value"] == "cats"
    assert "value" not in train_form.start_menu(services, "cats@1")
    assert train_form.start_of(services, {"model": "unet", "start_from": "cats@2"}) == "cats"
    segment = SegmentTab(*"abcd")
    menus = segment.menus(services, "cats@2", "gone")
    assert menus["b"]["value"] == "cats"
    assert menus["c"]["value"] == "none"
    assert "value" not in segment.menus(services, "unet", "none")["b"]


@pytest.mark.parametrize("start", ["deeplabv3", "unet", *(f"untrained:{name}" for name in zoo.SPECS)])
def test_the_suggested_settings_of_every_start_are_a_configuration(services, start):
    dataset = train_form.open_source(services, f"dataset:{PETS.title} (pets)")
    chosen = train_form.Start.of(start)
    values = train_form.suggest(chosen, dataset, max_epochs=50)
    assert tuple(values) == train_form.FIELDS
    assert values == train_form.checked(values)
    settings = train_form.settings(chosen, dataset, values)
    config = TrainConfig.from_json(settings)
    assert (config.model, config.dataset, config.epochs) == (chosen.spec.name, "pets", values["epochs"])
    assert config.start_from == ("" if start.startswith("untrained:") else start)
    assert config.epochs <= 50
    if start == "unet":
        assert (config.frozen, config.freeze_batch_norm, config.learning_rate) == ("c5", True, 1e-3)
    if start == "untrained:segnet":
        assert (config.frozen, config.freeze_batch_norm, config.learning_rate) == ("", False, 1e-3)


def test_more_photos_need_fewer_epochs_and_no_more_than_are_allowed(tmp_path):
    start = train_form.Start.of("unet")

    def epochs(count, limit=0):
        dataset = SimpleNamespace(splits={"train": range(count)}, learning_subset="train")
        return train_form.suggest(start, dataset, limit)["epochs"]

    assert [epochs(n) for n in (14, 60, 400, 6000)] == [10, 40, 10, 3]
    assert epochs(14, limit=5) == 5


def test_presets_are_shorter_and_longer_runs_of_the_same_settings():
    start = train_form.Start.of("unet")
    dataset = SimpleNamespace(splits={"train": range(14)}, learning_subset="train")
    by_preset = {p: train_form.suggest(start, dataset, preset=p) for p in train_form.PRESETS}
    assert [values["epochs"] for values in by_preset.values()] == [3, 10, 30]
    assert len({str({**values, "epochs": 0}) for values in by_preset.values()}) == 1
    for preset, values in by_preset.items():
        assert train_form.preset_of(start, dataset, values) == preset
    assert train_form.preset_of(start, dataset, {**by_preset["good"], "seed": 1}) is None
    assert train_form.suggest(start, dataset, 12, "best")["epochs"] == 12  # no more than is allowed


@pytest.mark.parametrize(
    ("start", "frozen", "rate"), [("deeplabv3", "c5", 1e-3), ("untrained:unet_plain", "", 3e-4)]
)
def test_few_photos_are_learned_from_by_steps_and_the_head_first(start, frozen, rate):
    dataset = SimpleNamespace(splits={"train": range(6)}, learning_subset="train")
    values = train_form.suggest(train_form.Start.of(start), dataset)
    assert values["steps_per_epoch"] * values["epochs"] >= 300
    assert (values["frozen"], values["learning_rate"], values["batch"]) == (frozen, rate, 6)


def test_a_version_trained_here_gets_a_further_version_only_for_the_same_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    write_model(tmp_path / "models" / "cats", "cats@1", PETS, *bright(3, 0, 1), model="cats")
    start = train_form.Start.of("cats@1")
    pets = SimpleNamespace(label_set=PETS)
    assert train_form.name_of(start, pets) == ("Cats@1", "cats")
    assert train_form.name_of(start, SimpleNamespace(label_set=SHAPES)) == ("Cats@1 on Shapes", "")
    assert train_form.name_of(train_form.Start.of("untrained:unet"), pets)[0] == f"U-Net on {PETS.title}"


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (0, "Label at least 3 photos first</b> (no photo is labelled)"),
        (2, "Label at least 3 photos first</b> (2 labelled so far)"),
        (4, "With fewer than 20 labelled photos the scores jump"),
    ],
)
def test_how_many_photos_are_needed_is_explained(services, count, says):
    made = collection(services, "Mine", count)
    text = train_form.summary(train_form.Start.of("unet"), made.dataset())
    assert says in text
    assert train_form.too_few(made.dataset()) == (count < 3)


def test_the_summary_says_where_it_begins_and_escapes_names(tmp_path):
    draw_voc(tmp_path, VOC)
    draw_annotations(tmp_path / "own", ["a", "b", "c", "d"])
    voc = open_dataset("voc", tmp_path)
    own = open_dataset("annotations", tmp_path / "own")
    told = train_form.summary(train_form.Start.of("deeplabv3"), voc)
    assert "Learns from <b>5</b> photos to the last epoch, is watched on <b>" in told
    assert "and 15 more" in train_form.summary(train_form.Start.of("deeplabv3"), voc)
    assert "its last layer is learned anew" in train_form.summary(train_form.Start.of("deeplabv3"), own)
    assert "an encoder trained on ImageNet" in train_form.summary(train_form.Start.of("untrained:unet"), voc)
    assert "random weights" in train_form.summary(train_form.Start.of("untrained:segnet"), voc)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("epochs", 0, "Epochs is a number from 1 to 10,000, not 0."),
        ("epochs", None, "Epochs is a number from 1 to 10,000, not empty."),
        ("learning_rate", 1, "Learning rate is a number from 1e-08 to 0.999, not 1."),
        ("size", 100, "Crop is a multiple of 32 pixels, not 100."),
        ("batch", "many", "Photos a step is a number from 1 to 256, not 'many'."),
        ("loss", "hinge", "Choose one of the offered values of loss."),
    ],
)
def test_a_wrong_field_is_named(field, value, says):
    dataset = SimpleNamespace(splits={"train": range(9)}, learning_subset="train")
    values = train_form.suggest(train_form.Start.of("unet"), dataset)
    with pytest.raises(RunError) as caught:
        train_form.checked({**values, field: value})
    assert str(caught.value) == says


def test_a_clone_keeps_what_the_form_does_not_show(services):
    source = f"dataset:{PETS.title} (pets)"
    dataset = train_form.open_source(services, source)
    settings = {"model": "unet", "dataset": "pets", "data": str(dataset.root.resolve()), "epochs": 7}
    settings |= {"start_from": "unet", "copy_paste": 0.3, "early_stopping": 0}
    assert train_form.start_of(services, settings) == "unet"
    assert train_form.source_of(services, settings) == source
    assert train_form.source_of(services, {**settings, "data": "/nowhere"}) is None
    assert train_form.start_of(services, {**settings, "start_from": "gone@3"}) is None
    assert train_form.start_of(services, {**settings, "start_from": ""}) == "untrained:unet"
    values = train_form.of_run(settings, zoo.spec("unet"))
    assert (values["epochs"], values["early_stopping"], values["size"]) == (7, 0, 256)
    base = train_form.Original(settings, "Mine", "mine-2")
    found, title, name = train_form.wish(services, "unet", source, "", {**values, "epochs": 9}, base)
    assert (found["copy_paste"], found["epochs"], title, name) == (0.3, 9, "Mine", "mine-2")
    assert train_form.wish(services, "unet", source, "Other", values, base)[2] == ""
    TrainConfig.from_json(found)


# --- what is shown -------------------------------------------------------------------------------------------


def snapshot(**changes):
    known = {
        **{"id": "r1", "title": "<i>cats</i>", "name": "cats", "state": "running", "message": "Training."},
        **{"position": 0, "epoch": 1, "epochs": 4, "step": 5, "steps": 10, "images_per_second": 8.04},
        **{"eta_seconds": 130, "rss_mb": 1234, "best": 0.613, "created": "2026-01-02T03:04:05.000Z"},
        **{"user": "", "settings": {"model": "unet"}, "cancelling": False, "can_resume": False, "model": ""},
        **{"lineage": Lineage(), "report": None, "samples": (), "events": (), "cursor": 0, "log": "<b>"},
        "folder": Path("/runs/r1"),
    }
    return Snapshot(**{**known, **changes})


def test_a_run_is_being_installed_until_its_model_is_there_or_cannot_be():
    assert snapshot(state="done", message="Finished.").installing
    assert not snapshot(state="done", message="Finished.", model="cats@1").installing
    assert not snapshot(state="done", message="Finished, but not installed: the disk is full.").installing
    assert not snapshot().installing


def test_the_head_of_a_run_tells_how_far_it_is():
    text = train_view.head(snapshot())
    assert "&lt;i&gt;cats&lt;/i&gt;" in text
    assert 'aria-valuenow="38"' in text  # (1 + 5 / 10) / 4
    shown = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    assert shown == [
        ("Epoch", "2 of 4"),
        ("Step", "5 of 10"),
        ("Photos a second", "8.0"),
        ("Time left", "2 min"),
        ("Memory", "1.2 GB"),
        ("Best mean IoU", "61.3"),
    ]
    assert "2nd in the queue" in train_view.head(snapshot(state="queued", position=2))
    assert 'role="alert"' in train_view.head(snapshot(state="failed"))
    assert "after the step in progress" in train_view.head(snapshot(cancelling=True))
    begins = train_view.head(snapshot(epoch=0, step=0, message="Starting."))
    assert "Starting. Other work on this machine goes first" in begins
    assert 'aria-valuenow="100"' in train_view.head(snapshot(state="done"))
    assert "None" not in train_view.head(
        snapshot(images_per_second=None, eta_seconds=None, rss_mb=None, best=None)
    )


def test_the_list_marks_the_chosen_run_and_escapes_titles():
    runs = [
        snapshot(),
        snapshot(id="r2", state="queued", position=11),
        snapshot(id="r3", model="cats@1", state="done"),
    ]
    root = ET.fromstring(train_view.listing(runs, "r2"))
    assert [row.get("data-id") for row in root] == ["r1", "r2", "r3"]
    assert [row.get("aria-pressed") for row in root] == ["false", "true", "false"]
    assert "11th in the queue" in "".join(root[1].itertext())
    assert "cats@1" in "".join(root[2].itertext())


@pytest.mark.parametrize(
    ("number", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (12, "12th"), (22, "22nd")]
)
def test_places_in_the_queue(number, word):
    assert train_view.ordinal(number) == word


def test_curves_hold_every_epoch_once_even_after_a_resumption():
    history = train_view.History()
    events = [
        {"kind": "progress", "epoch": 0, "step": 5, "steps": 10, "loss": 2.0, "mean_iou": 0.1},
        {"kind": "epoch", "epoch": 1, "loss": 1.5, "val_loss": 1.4, "mean_iou": 0.2, "val_mean_iou": 0.3},
        {"kind": "progress", "epoch": 1, "step": 5, "steps": 10, "loss": 1.0, "mean_iou": 0.3},
        {"kind": "progress", "epoch": 1, "step": 5, "steps": 10, "loss": 0.9, "mean_iou": 0.3},
        {
            "kind": "epoch",
            "epoch": 2,
            "loss": 0.8,
            "val_loss": float("nan"),
            "mean_iou": 0.4,
            "val_mean_iou": 0.5,
        },
        {"kind": "other"},
        {"kind": "progress"},
    ]
    history.add(events)
    assert history.points("loss") == [(0.5, 2.0), (1.5, 0.9)]
    assert history.epochs("val_loss") == [(1, 1.4)]  # what is no number has no place in a chart
    assert history.epochs("val_mean_iou") == [(1, 0.3), (2, 0.5)]
    text = train_view.curves(snapshot(), history)
    assert text.count("<svg") == 2
    assert "epoch 2, validation: 50.0" in text
    root = ET.fromstring(text)
    assert len(root) == 2
    assert train_view.curves(snapshot(), train_view.History()) == ""


def test_a_chart_stays_inside_its_frame_whatever_the_values():
    steps = [(i / 50, 1e6 if i == 0 else 1 / (i + 1)) for i in range(200)]
    for training, validation in ([(1, 0.5)], []), ([], [(1, 3.0), (2, 3.0)]), ([(3, -1.0)], [(90, 2.0)]):
        text = chart("Loss", steps, training, validation, epochs=4)
        root = ET.fromstring(text)
        for circle in root.iter("circle"):
            assert 0 <= float(circle.get("cx")) <= 420
            assert 0 <= float(circle.get("cy")) <= 230
        numbers = [float(n) for path in root.iter("path") for n in re.findall(r"[\d.]+", path.get("d"))]
        assert all(0 <= n <= 420 for n in numbers)
    assert chart("Loss", [], [], [], 4) == ""
    assert "<circle" in chart("Loss", [], [(1, 0.0)], [], 4)  # one point, and zero


def test_the_result_compares_class_by_class():
    report = {
        "before": {"model": "unet", "mean_iou": 0.5, "class_iou": {"pet": 0.6, "border": None}},
        "after": {"images": 8, "mean_iou": 0.625, "class_iou": {"pet": 0.5, "border": 0.2}},
    }
    versions = [version(2, 0.625, 0.5, False), version(1, 0.5, None, True)]
    text = train_view.result(snapshot(report=Report.from_json(report)), versions[0], versions)
    rows = [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr.*?</tr>", text)]
    cells = [[cell for cell in row.split("|") if cell] for row in rows]
    assert ["Mean IoU", "50.0", "62.5", "+12.5"] in cells
    assert ["pet", "60.0", "50.0", "-10.0"] in cells
    assert ["border", "\N{EN DASH}", "20.0"] in cells
    assert "Before is unet" in text
    assert "stands for version 1" in text
    assert "tr-objection" not in text
    assert "painting" not in text
    for mean, says in ((0.6, "It beats"), (0.7, "It does not beat")):
        report["taught"] = {"model": "taught:mine", "mean_iou": mean}
        told = train_view.result(snapshot(report=Report.from_json(report)), None, [])
        assert f"{says} what was taught by painting, which has {100 * mean:.1f} there." in told
    worse = [version(2, 0.4, 0.5, False)]
    assert "worse than the 50.0" in train_view.result(
        snapshot(report=Report.from_json(report)), worse[0], worse
    )
    assert train_view.result(snapshot(), None, []) == ""
    absent = {"after": {"mean_iou": 0.5, "class_iou": {"pet": 0.5, "<b>": None}}}
    text = train_view.result(snapshot(report=Report.from_json(absent)), None, [])
    assert "1 of the 2 classes are not in these photos" in text
    assert "<b>" not in text.partition("pet")[2]
    many = {"after": {"mean_iou": 0.5, "class_iou": {f"c{i}": 0.5 for i in range(21)}}}
    assert train_view.result(snapshot(report=Report.from_json(many)), None, []).count("<table") == 2


def version(number, after, before, current):
    return Version(
        name="cats",
        number=number,
        entry={},
        installed="2026-01-02T03:04:05Z",
        before=Scores(mean_iou=before) if before else None,
        after=Scores(mean_iou=after),
        current=current,
        folder=Path("/"),
    )


def test_the_origin_of_a_run_is_told_and_escaped():
    lineage = {
        "parent": "cats@1",
        "dataset_hash": "ab" * 32,
        "dataset_changed": True,
        "code": "0.1.0+12345678",
        "settings": {
            "model": "unet",
            "start_from": "cats@1",
            "dataset": "pets",
            "data": "/d/<x>",
            "epochs": 3,
        },
    }
    text = train_view.origin(snapshot(lineage=Lineage.from_json(lineage), user="ann"))
    for part in (
        "cats@1",
        "hash abababababab",
        "it changed while",
        "0.1.0+12345678",
        "/d/&lt;x&gt;",
        "by ann",
        "epochs",
    ):
        assert part in text
    assert "none: untrained" in train_view.origin(snapshot())
    assert "&lt;b&gt;" in train_view.log(snapshot())
    assert "Nothing was printed yet" in train_view.log(snapshot(log=""))


def test_pictures_are_served_with_the_scores_of_their_epochs(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    photo, _ = scene(1)
    for number in (1, 2, 10):
        photo.save(tmp_path / f"epoch_{number:02d}.png")
    (tmp_path / "epoch_11.png").touch()  # not written yet
    history = train_view.History()
    history.add([{"kind": "epoch", "epoch": 2, "val_mean_iou": 0.5}])
    run = snapshot(samples=tuple(sorted(tmp_path.glob("epoch_*.png"))))
    value = train_view.samples(run, history)
    assert [(p["epoch"], p["score"]) for p in value["pictures"]] == [(1, ""), (2, "50.0"), (10, "")]
    first = Path(value["pictures"][0]["file"]["path"])
    assert first.read_bytes() == (tmp_path / "epoch_01.png").read_bytes()
    assert train_view.samples(run, history) == value
    first.unlink()  # Gradio cleans its cache
    assert Path(train_view.samples(run, history)["pictures"][0]["file"]["path"]).is_file()


# --- who asks, and what is looked after --------------------------------------------------------------------------


def test_who_is_signed_in():
    def request(username=None, **scope):
        return SimpleNamespace(username=username, request=SimpleNamespace(scope=scope))

    assert user_of(request()) == ""
    assert user_of(None) == ""
    assert user_of(request("ann")) == "ann"
    session = {"oauth_info": {"userinfo": {"preferred_username": "bob"}}}
    assert user_of(request(session=session)) == "bob"
    assert user_of(request(session={})) == ""
    session["oauth_info"]["expires_at"] = time.time() - 1
    assert user_of(request(session=session)) == ""


def test_a_server_clears_away_what_is_old_and_keeps_the_queue_going(services, monkeypatch):
    done = []
    for kind in (Runs, ModelStore, AnnotationStore):
        monkeypatch.setattr(kind, "tidy", lambda self, *_: done.append(type(self).__name__))
    monkeypatch.setattr(Runs, "watch", lambda self: done.append("watch"))
    services.look_after().join(30)
    assert sorted(done) == ["AnnotationStore", "ModelStore", "Runs", "watch"]


def test_a_disk_that_cannot_be_tidied_does_not_keep_the_page_away(services, monkeypatch, caplog):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ModelStore, "tidy", full)
    monkeypatch.setattr(Runs, "watch", lambda self: None)
    services.look_after().join(30)
    assert "Not tidied up" in caplog.text
