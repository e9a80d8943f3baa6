import importlib
import inspect
from pathlib import Path

import keras
import pytest
import tflite_files
from drawn import draw_pets, draw_voc

from segdemo import zoo
from segdemo.core.labels import PETS, VOC
from segdemo.runs import recipes
from segdemo.runs.config import TrainConfig
from segdemo.training.architectures.encoders import build_encoder
from segdemo.training.architectures.segnet import PAPER_DECODER_STAGES
from segdemo.training.trainer import train


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_is_a_valid_configuration(name):
    config = TrainConfig.from_json({**recipes.settings(name), "data": "somewhere"})
    assert config.recipe == name
    assert config.model in zoo.SPECS
    assert config.dataset == zoo.spec(config.model).label_set
    assert recipes.RECIPES[name].summary


def test_the_book_s_training():
    settings = recipes.settings("book-deeplabv3-resnet50")
    expected = {"model": "deeplabv3_resnet50", "batch": 16, "epochs": 25, "size": 384, "learning_rate": 1e-4}
    expected |= {"optimizer": "adam", "reduce_lr": 3, "early_stopping": 6, "augment": "voc"}
    expected |= {"loss": "cross_entropy_dice", "dice_form": "pixels", "dice_weight": 1.0}
    expected |= {"class_weights": True, "weighting": "image", "crop_share": 0.5}
    assert expected.items() <= TrainConfig.from_json({**settings, "data": "-"}).to_json().items()


def test_the_tutorial_s_training():
    settings = recipes.settings("tutorial-unet")
    expected = {
        "model": "unet",
        "dataset": "pets",
        "batch": 64,
        "size": 128,
        "augment": "flip",
        "frozen": "c5",
    }
    assert expected.items() <= settings.items()


def test_the_tutorial_s_class_weights_are_on_the_classes_it_means():
    settings = recipes.settings("tutorial-unet-weights")
    weights = dict(zip(PETS.classes, settings.pop("given_weights"), strict=True))
    assert weights == {"pet": 2 / 5, "border": 2 / 5, "background": 1 / 5}
    assert settings == {**recipes.settings("tutorial-unet"), "recipe": "tutorial-unet-weights"}


def test_settings_are_a_copy():
    recipes.settings("unet-pets")["epochs"] = 1
    assert recipes.settings("unet-pets")["epochs"] > 1


def test_an_unknown_recipe_gives_the_list():
    with pytest.raises(ValueError, match="no recipe 'cake': choose one of book-deeplabv3-resnet50"):
        recipes.settings("cake")


AMAZING = {
    "epochs": 100,
    "batch": 5,
    "size": 256,
    "learning_rate": 3e-4,
    "schedule": "cosine",
    "augment": "none",
}


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s", "segnet", "bayesian-segnet"])
def test_the_trainings_of_amazing_semantic_segmentation(name):
    settings = recipes.settings(name)
    expected = {**AMAZING, "optimizer": "adam", "loss": "cross_entropy", "encoder_weights": "none"}
    assert expected.items() <= settings.items()
    assert settings["early_stopping"] == settings["reduce_lr"] == 0
    if name.startswith("fcn"):
        assert settings["options"] == {"encoder": "vgg16", "fc_filters": 4096}
    else:
        decoder = settings["options"]["decoder_stages"]
        assert decoder == [list(stage) for stage in PAPER_DECODER_STAGES]
        widths = [width for stage in decoder for width in stage]
        assert widths == [512] * 5 + [256] * 3 + [128] * 2 + [64] * 2
        assert settings["options"]["width"] == 1.0
        assert settings["options"].get("before_unpooling", False) == (name == "bayesian-segnet")


def test_the_plain_u_net_s_training():
    settings = recipes.settings("plain-unet")
    expected = {"model": "unet_plain", "dataset": "pets", "batch": 64, "size": 128, "augment": "flip"}
    expected |= {"epochs": 5, "optimizer": "adam", "learning_rate": 1e-3}  # Adam's own
    assert expected.items() <= settings.items()
    # 64-128-256, bottleneck 512, dropout 0.5 are the builder's own
    assert settings["options"] == {"up_kernel": 3}


@pytest.mark.parametrize("name", [n for n, r in recipes.RECIPES.items() if "options" in r.settings])
def test_options_are_those_of_the_architecture(name):
    settings = recipes.RECIPES[name].settings
    module, function = zoo.spec(settings["model"]).builder.split(":")
    known = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert settings["options"].keys() <= known.keys()


def test_every_architecture_says_how_it_is_trained():
    for spec in zoo.SPECS.values():
        command, option, value, *rest = recipes.training_arguments(spec)
        assert command == "train"
        if option == "--recipe":
            assert recipes.settings(value)["model"] == spec.name
        else:
            assert (option, value, rest) == ("--model", spec.name, ["--dataset", spec.label_set])


@pytest.mark.parametrize("model", ["segnet", "unet_plain"])
def test_training_on_small_crops_fits_what_follows(model):
    name = model.replace("_", "-")
    first, then = (recipes.settings(f"{name}-{stage}") for stage in ("small-crops", "pets"))
    assert first["model"] == then["model"] == model
    assert first["size"] < then["size"] == zoo.spec(model).size
    assert first.get("options") == then.get("options")  # else the weights would not fit
    assert not then["freeze_batch_norm"]


def test_bayesian_segnet_starts_from_a_segnet_of_its_own_width():
    settings = recipes.settings("bayesian-segnet-pets")
    assert settings["start_from"] == "segnet"
    assert zoo.spec("bayesian_segnet").options == zoo.spec("segnet").options


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of small data by kind, and one with a teacher in it."""
    root = tmp_path_factory.mktemp("recipes")
    draw_voc(root / "voc", VOC, train=4, extra=2, val=4)
    draw_pets(root / "pets", {"pug": 10, "birman": 10})
    keras.utils.set_random_seed(0)
    teacher = tflite_files.mobilenet_deeplab(build_encoder("mobilenet_v2", output_stride=16), 65, len(VOC))
    (root / "teacher").mkdir()
    (root / "teacher" / "deeplabv3_mnv2_pascal_quant.tflite").write_bytes(teacher)
    return root


@pytest.mark.usefixtures("eager", "shared_encoders")
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_trains_with_what_is_installed(places, tmp_path, monkeypatch, name):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGDEMO_PRETRAINED", str(places / "teacher"))
    settings = recipes.settings(name)
    settings |= {"data": str(places / settings["dataset"]), "encoder_weights": "none"}
    settings |= {"epochs": 1, "steps_per_epoch": 2, "batch": 2, "validation_photos": 1, "size": 32}
    if settings.get("block_steps"):
        settings["block_steps"] = 1
    if settings.get("start_from") not in zoo.served_models():
        settings["start_from"] = ""  # the result of the recipe before
    narrow = {"fcn": {"fc_filters": 8}, "deeplab": {"aspp_filters": 8}}  # in full width some take gigabytes
    narrow |= {} if settings.get("start_from") else {"segnet": {"width": 0.1}}
    for family, options in narrow.items():
        if family in settings["model"]:
            settings["options"] = {**settings.get("options", {}), **options}
    # For two steps, writing weights down would take longer than computing.
    for module in ("callbacks", "checkpoints"):
        monkeypatch.setattr(f"segdemo.training.{module}.save_weights", lambda model, path: Path(path).touch())
    status = train(TrainConfig.from_json(settings), tmp_path / "run", verbose=False)
    assert (status["state"], status["epoch"]) == ("done", 1)
    assert (tmp_path / "run" / "checkpoints" / "best.weights.h5").is_file()
