import json

import pytest
from tiny import bright, write_click_model, write_model

from segdemo import zoo
from segdemo.core.documents import DamagedError
from segdemo.core.labels import VOC
from segdemo.zoo import UnknownModelError, served
from segdemo.zoo.clicks import click_model, click_models, read_click_models


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "home"


def test_a_manifest_says_what_there_is(tmp_path):
    model = write_click_model(tmp_path / "weights")
    assert click_models() == {"click": model}
    assert click_model() == model
    assert (model.name, model.folder, model.long_side) == ("click", tmp_path / "weights", 128)
    assert model.path == tmp_path / "weights" / "click.onnx"
    assert (model.weights, model.card, model.metrics) == ("", "", {})


def test_what_a_newer_version_says_is_kept(tmp_path):
    write_click_model(tmp_path / "weights")
    manifest = tmp_path / "weights" / "manifest.json"
    data = json.loads(manifest.read_text())
    data["clicks"]["click"] |= {"metrics": {"grabcut": {"noc": {"90": 2.1}}}, "later": 7}
    manifest.write_text(json.dumps(data))
    model = click_model()
    assert model.metrics["grabcut"]["noc"]["90"] == 2.1
    assert model.extra == {"later": 7}


def test_one_of_this_machine_counts_more_than_the_shipped_one(tmp_path, home):
    write_click_model(tmp_path / "weights")
    own = write_click_model(home / "models" / "own")
    assert click_model() == own


def test_a_run_s_folder_is_a_name_too(tmp_path):
    run = write_click_model(tmp_path / "run", name="mine")
    assert click_model(str(tmp_path / "run")) == run


def test_no_model_gives_a_sentence(tmp_path):
    assert click_models() == {}
    with pytest.raises(UnknownModelError, match="There is no click model here yet: put one"):
        click_model()
    with pytest.raises(
        UnknownModelError, match="There is no click model 'mine': choose one of none yet, or give a"
    ):
        click_model("mine")
    write_click_model(tmp_path / "weights")
    with pytest.raises(UnknownModelError, match="There is no click model 'other': choose one of click"):
        click_model("other")


def test_models_of_classes_stay_as_they_are(tmp_path, home):
    write_model(home / "models" / "scenes", "scenes", VOC, *bright(21, 8, 0))
    before = zoo.served_models()
    write_click_model(home / "models" / "own")
    assert zoo.served_models() == before
    assert "clicks" not in json.dumps([entry.to_json() for entry in before.values()])
    assert read_click_models(home / "models" / "scenes" / "manifest.json") == {}
    assert read_click_models(home / "nowhere.json") == {}


@pytest.mark.parametrize(
    "clicks", [7, [], {"click": 7}, {"click": {}}, {"click": {"title": 1}}, {"click": None}, "\ud800"]
)
def test_a_damaged_manifest_is_a_sentence_and_takes_no_other_along(tmp_path, home, clicks, caplog):
    model = write_click_model(tmp_path / "weights")
    (home / "models" / "own").mkdir(parents=True)
    manifest = home / "models" / "own" / "manifest.json"
    manifest.write_text(json.dumps({"models": {}, "clicks": clicks}))
    with pytest.raises(DamagedError, match="is damaged"):
        read_click_models(manifest)
    assert click_models() == {"click": model}
