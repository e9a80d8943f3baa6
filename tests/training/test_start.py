"""What settings about an encoder act on, and what is refused because they would act on nothing."""

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from running import TINY, tiny_config
from tiny import bright, write_model

from segdemo import zoo
from segdemo.cli import main
from segdemo.core.files import read_json, write_json
from segdemo.core.labels import PETS
from segdemo.runs import recipes
from segdemo.runs.config import TrainConfig, TrainingError
from segdemo.training import architectures, start, trainer
from segdemo.training.export.exporter import export_run
from segdemo.ui.tabs.train.form import Start

SMALL = {
    "unet_plain": TINY,
    "segnet": {"width": 0.05},
    "bayesian_segnet": {"width": 0.05},
    "unet": {"decoder_filters": [4, 4, 4, 4]},
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    monkeypatch.delenv("SEGDEMO_PRETRAINED", raising=False)
    return tmp_path


def config(model, **settings):
    options = SMALL[model] | settings.pop("options", {})
    return TrainConfig(
        **{
            "model": model,
            "dataset": "pets",
            "data": "-",
            "encoder_weights": "none",
            "options": options,
            **settings,
        }
    )


@pytest.mark.parametrize("model", ["unet_plain", "segnet", "bayesian_segnet"])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"frozen": "c5"}, "'' for frozen"),
        ({"frozen": "c1", "freeze_batch_norm": True}, "'' for frozen"),
        ({"freeze_batch_norm": True}, "false for freeze_batch_norm"),
    ],
)
def test_an_encoder_that_is_no_layer_cannot_be_kept(model, settings, name):
    with pytest.raises(
        TrainingError, match=rf"has no encoder apart from its other layers .*: choose {name}, or"
    ):
        start.build_model(config(model, **settings), 3)
    # A run that has begun goes on, and is exported, as it began.
    assert start.build_model(config(model, **settings), 3, pretrained=False).trainable_variables


def test_weights_for_an_encoder_that_there_is_not_are_refused():
    for weights in ("/no/such.weights.h5", "imagenet"):
        with pytest.raises(
            TrainingError, match="Plain U-Net has no encoder to begin with weights of its own"
        ):
            start.build_model(config("unet_plain", encoder_weights=weights), 3)
    for weights in ("auto", "none"):
        start.build_model(config("unet_plain", encoder_weights=weights), 3)


@pytest.mark.parametrize("model", ["segnet", "bayesian_segnet"])
def test_segnet_begins_with_the_weights_that_are_asked_for(model, tmp_path):
    wanted = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    wanted.save_weights(path := tmp_path / "vgg16.weights.h5")
    whole = config(model, options={"width": 1.0}, encoder_weights=str(path))
    built = start.build_model(whole, 3)
    for name in ("block1_conv1", "block5_conv3"):
        for got, expected in zip(
            built.get_layer(name).get_weights(), wanted.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
    with pytest.raises(FileNotFoundError, match="no weights file"):
        start.build_model(replace(whole, encoder_weights="/no/such.weights.h5"), 3)
    with pytest.raises(ValueError, match="Pretrained weights fit SegNet at width 1 only"):
        start.build_model(config(model, encoder_weights=str(path)), 3)
    assert start.build_model(config(model, encoder_weights="auto"), 3)  # at this width there are none


def test_the_encoder_an_architecture_takes_by_itself():
    assert architectures.own_encoder("unet") == "mobilenet_v2"
    assert architectures.own_encoder("segnet") == "vgg16"
    assert architectures.own_encoder("unet_plain") is None
    named = {"encoder": "vgg19"}
    assert zoo.spec("unet").encoder_with({}) == "mobilenet_v2"
    assert zoo.spec("unet").encoder_with(named) == "vgg19"
    assert (
        zoo.spec("segnet").encoder_with(named) is None
    )  # it is part of the network, so the page freezes none of it
    assert Start("mine", zoo.spec("segnet"), SimpleNamespace(options=named)).encoder is None


@pytest.mark.usefixtures("shared_encoders")
def test_the_option_to_freeze_an_encoder_does_not_contradict_the_setting(tmp_path):
    for frozen in ("", "c2"):
        with pytest.raises(
            TrainingError, match="the setting frozen says what freeze_encoder does: choose 'c5'"
        ):
            start.build_model(config("unet", options={"freeze_encoder": True}, frozen=frozen), 3)
    both = start.build_model(config("unet", options={"freeze_encoder": True}, frozen="c5"), 3)
    assert not both.get_layer("mobilenet_v2").trainable_variables
    for options in ({}, {"freeze_encoder": False}):
        learns = start.build_model(config("unet", options=options), 3)
        assert len(learns.get_layer("mobilenet_v2").trainable_variables) > 100
    # What a model has been trained with says nothing of how it is trained further.
    options = {**SMALL["unet"], "freeze_encoder": True}
    entry = write_model(tmp_path / "models" / "mine", "mine", PETS, *bright(3, 0, 1), options=options)
    trained = architectures.build("unet", 3, **options)
    trained.save_weights(entry.folder / "mine.weights.h5")
    manifest = read_json(entry.folder / "manifest.json")
    manifest["models"]["mine"]["weights"] = "mine.weights.h5"
    write_json(entry.folder / "manifest.json", manifest)
    further = start.with_its_options(TrainConfig(model="unet", dataset="pets", data="-", start_from="mine"))
    assert further.options["freeze_encoder"]
    start._require_an_encoder(further)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_ask_for_nothing_that_is_refused(name):
    start._require_an_encoder(TrainConfig.from_json({**recipes.settings(name), "data": "-"}))


@pytest.mark.usefixtures("eager")
def test_a_run_of_before_goes_on_and_is_exported_with_what_is_refused_by_now(tmp_path):
    run = tmp_path / "run"
    plain = replace(tiny_config(tmp_path / "data"), epochs=1, batch=7)
    trainer.train(plain, run, verbose=False)
    refused = {
        "weight_decay": 0.01,
        "scale": [0.0, 1.0],
        "freeze_batch_norm": True,
        "encoder_weights": "/no/such",
    }
    stored = {**read_json(run / "config.json"), **refused}
    write_json(run / "config.json", stored)
    assert export_run(run)["architecture"] == "unet_plain"
    assert main(["train", "--resume", "--out", str(run), "--epochs", "2", "--no-export"]) == 0
    assert TrainConfig.from_json(read_json(run / "config.json")) == replace(plain, epochs=2)
    # A new one, or what is asked for anew, is refused.
    assert main(["train", "--resume", "--out", str(run), "--set", "weight_decay=0.1", "--no-export"]) == 2
    write_json(tmp_path / "other" / "config.json", {**stored, "encoder_weights": "auto"})
    assert main(["train", "--resume", "--out", str(tmp_path / "other"), "--no-export"]) == 2
