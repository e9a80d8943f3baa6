import pytest

from segdemo import recipes, zoo
from segdemo.train import TrainConfig


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
    assert expected.items() <= settings.items()


def test_the_tutorial_s_training():
    settings = recipes.settings("tutorial-unet")
    expected = {"model": "unet", "dataset": "pets", "batch": 64, "size": 128, "augment": "flip", "frozen": "c5"}
    assert expected.items() <= settings.items()


def test_settings_are_a_copy():
    recipes.settings("unet-pets")["epochs"] = 1
    assert recipes.settings("unet-pets")["epochs"] > 1


def test_an_unknown_recipe_gives_the_list():
    with pytest.raises(ValueError, match="no recipe 'cake': choose one of book-deeplabv3-resnet50"):
        recipes.settings("cake")
