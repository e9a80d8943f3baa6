"""Settings: stated once, beside each other in files, and of a class of their own where they need a teacher."""

from dataclasses import replace

import pytest

from segdemo.cli import main
from segdemo.core.files import write_json
from segdemo.runs import config
from segdemo.runs.config import Distillation, TrainConfig, TrainingError, of_before
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs

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
        (
            {"weight_decay": 0.01},
            "The optimizer 'adam' has no weight_decay: choose 'adamw' or 'sgd', or leave it at 0",
        ),
        ({"weight_decay": -1.0, "optimizer": "sgd"}, r"weight_decay is 0 or more, not -1\.0"),
        (
            {"loss_stride": 64, "size": 32},
            "A crop of 32 pixels leaves nothing at a loss_stride of 64: choose one of 32",
        ),
        (
            {"loss_stride": 257},
            "A crop of 256 pixels leaves nothing at a loss_stride of 257",
        ),  # U-Net's own size
        ({"scale": [0, 1.0]}, "both above 0, not 0 and 1: choose others"),
        ({"scale": [-1.0, 1.0]}, "both above 0, not -1 and 1: choose others"),
        (
            {"scale": [2.0, 0.5]},
            "scale is the least and the largest magnification, both above 0, not 2 and 0.5",
        ),
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


def test_settings_at_their_bounds_are_taken():
    TrainConfig.from_json({**PLAIN, "loss_stride": 32, "size": 32, "scale": [0.5, 0.5]})
    for optimizer in ("adamw", "sgd"):
        TrainConfig.from_json({**PLAIN, "weight_decay": 0.01, "optimizer": optimizer})


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"optimizer": "adam", "weight_decay": 0.01}, {"weight_decay": 0.0}),
        ({"weight_decay": 0.01}, {"weight_decay": 0.0}),  # Adam is what is taken if none is named
        ({"optimizer": "sgd", "weight_decay": -1.0}, {"weight_decay": 0.0}),
        ({"optimizer": "adamw", "weight_decay": 0.01}, {"weight_decay": 0.01}),
        ({"augment": "strong", "scale": [2.0, 0.5]}, {"scale": (0.5, 2.0)}),
        ({"augment": "flip", "scale": [0.0, 1.0]}, {"scale": (0.5, 2.0)}),
        (
            {"model": "segnet", "frozen": "c5", "freeze_batch_norm": True},
            {"frozen": "", "freeze_batch_norm": False},
        ),
        ({"model": "unet_plain", "encoder_weights": "/no/such"}, {"encoder_weights": "auto"}),
        ({"model": "segnet", "encoder_weights": "none"}, {"encoder_weights": "none"}),
        (
            {"model": "segnet", "encoder_weights": "/a", "options": {"encoder": "vgg19", "width": 1.0}},
            {"encoder_weights": "/a", "options": {"encoder": "vgg19", "width": 1.0}},
        ),
        ({"frozen": "c5", "freeze_batch_norm": True}, {"frozen": "c5", "freeze_batch_norm": True}),
        ({"options": {"freeze_encoder": True, "refine": True}}, {"options": {"refine": True}}),
        (
            {"frozen": "c5", "options": {"freeze_encoder": True}},
            {"frozen": "c5", "options": {"freeze_encoder": True}},
        ),
        ({"frozen": "c2", "options": {"freeze_encoder": False}}, {"options": {"freeze_encoder": False}}),
    ],
)
def test_what_a_run_of_before_had_to_no_effect_is_left_out(before, now):
    stored = {**PLAIN, **before}
    kept = TrainConfig.from_json(of_before(stored)).to_json()
    assert now.items() <= kept.items()
    assert stored == {**PLAIN, **before}
    assert {name: value for name, value in kept.items() if name not in {*before, *now}} == {
        name: value
        for name, value in TrainConfig(**{**PLAIN, "model": kept["model"]}).to_json().items()
        if name not in {*before, *now}
    }


def test_what_never_worked_is_refused_of_a_run_of_before_too():
    assert of_before({"scale": "x", "options": 3, "model": ["y"], "weight_decay": None, "optimizer": "sgd"})
    for never in ({"loss_stride": 64, "size": 32}, {"augment": "strong", "scale": [-1, 1]}, {"epochs": 0}):
        with pytest.raises(TrainingError):
            TrainConfig.from_json(of_before({**PLAIN, **never}))


def test_a_run_of_before_is_cloned_without_what_is_refused_by_now(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path))
    stored = {**PLAIN, "optimizer": "adam", "weight_decay": 0.01, "epochs": 3}
    write_json(tmp_path / "runs" / "old" / "config.json", stored)
    write_json(tmp_path / "runs" / "old" / "status.json", {"state": "done"})
    settings = Runs(policy=Policy()).settings_of("old")
    assert settings == {**PLAIN, "optimizer": "adam", "epochs": 3}
    TrainConfig.from_json(settings)
