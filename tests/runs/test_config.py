"""Settings: stated once, beside each other in files, and of a class of their own where they need a teacher."""

from dataclasses import replace

import pytest

from segdemo.cli import main
from segdemo.runs import config
from segdemo.runs.config import Distillation, TrainConfig, TrainingError

PLAIN = {"model": "unet", "dataset": "pets", "data": "somewhere"}
TAUGHT = {**PLAIN, "augment": "strong", "teacher": "t.tflite", "mixup": 0.2, "block_steps": 5}


def test_settings_of_a_teacher_are_a_class_of_their_own_and_flat_in_files():
    made = TrainConfig.from_json(TAUGHT)
    assert made.distillation == Distillation(teacher="t.tflite", mixup=0.2, block_steps=5)
    assert made == TrainConfig(
        **PLAIN, augment="strong", distillation=Distillation(teacher="t.tflite", mixup=0.2, block_steps=5)
    )
    assert TAUGHT.items() <= made.to_json().items()
    assert TrainConfig.from_json(made.to_json()) == made


def test_every_setting_has_a_meaning_and_a_default_but_three():
    fields = config._all_fields()
    assert all(field.description for field in fields.values())
    assert {name for name, field in fields.items() if field.is_required()} == {"model", "dataset", "data"}


def test_bounds_and_choices_are_those_that_are_checked():
    assert config.choices("loss") == ("cross_entropy", "dice", "cross_entropy_dice")
    for name in ("epochs", "seed", "size", "batch"):
        low, high = config.bounds(name)
        for value in (low, high):
            assert getattr(TrainConfig(**PLAIN, **{name: value}), name) == value
        for value in (low - 1, high + 1):
            with pytest.raises(TrainingError, match=f"^{name} is "):
                TrainConfig(**PLAIN, **{name: value})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learning_rate": float("nan")}, "learning_rate is a number, not nan"),
        ({"epochs": True}, "epochs is a whole number, not True"),
        ({"seed": 2**40}, "seed is 4,294,967,295 or less, not 1099511627776"),
        ({"mixup": 2.0, "teacher": "t"}, r"mixup lies between 0 and 1, not at 2\.0"),
        ({"scale": ["a", 1]}, r"scale is two numbers, not \('a', 1\)"),
        ({"given_weights": ["a"]}, r"given_weights is a list of numbers, not \('a',\)"),
        ({"given_weights": [1, -1]}, "given_weights are 0 or more, and not all of them 0"),
        ({"given_weights": [0, 0.0]}, "given_weights are 0 or more, and not all of them 0"),
        ({"weighting": "batch"}, "weighting is one of 'set', 'image', not 'batch'"),
        ({"crop_share": 2.0}, r"crop_share lies between 0 and 1, not at 2\.0"),
        ({"distillation": {}}, "There is no setting 'distillation'"),
        ({"mixup": 0.5}, "mixup needs a teacher"),
    ],
)
def test_a_setting_that_cannot_be_is_told_by_its_name(changes, sentence):
    with pytest.raises(TrainingError, match=sentence):
        TrainConfig.from_json({**PLAIN, **changes})


def test_a_changed_copy_is_checked_too():
    with pytest.raises(TrainingError, match="epochs is 1 or more"):
        replace(TrainConfig(**PLAIN), epochs=0)
    with pytest.raises(AttributeError):
        TrainConfig(**PLAIN).epochs = 3


def test_a_retired_setting_on_the_command_line_is_told(capsys):
    arguments = ["train", "--model", "unet", "--dataset", "pets", "--data", "nowhere", "--estimate"]
    assert main([*arguments, "--set", "teacher_sees=photo"]) == 2
    told = capsys.readouterr().err
    assert (
        "teacher_sees is no setting any more, since a teacher always sees the crop: it is left out." in told
    )
    assert "There is no folder" in told
