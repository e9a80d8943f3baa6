"""What TensorFlow Datasets has prepared, written as a folder."""

import json
from functools import partialmethod

import keras
import numpy as np
import pytest
import tensorflow_datasets
from drawn import draw_pets
from PIL import Image
from tfds_files import write_pets

from segdemo.cli import main
from segdemo.data import tfds as prepared_datasets
from segdemo.data.datasets import DatasetError
from segdemo.data.sources import open_dataset
from segdemo.runs.config import TrainConfig
from segdemo.training import tfds
from segdemo.training.trainer import train

PETS = "tfds:oxford_iiit_pet"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """The folder of datasets; TensorFlow Datasets' own and the state root are others."""
    for name, folder in {"SEGDEMO_DATA": "data", "SEGDEMO_HOME": "home"}.items():
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr(tensorflow_datasets.core.constants, "DATA_DIR", str(tmp_path / "own"))
    return tmp_path / "data"


@pytest.mark.parametrize("version", ["3.2.0", "4.0.0"])
def test_a_prepared_dataset_becomes_a_folder_with_its_very_bytes(places, version):
    trimaps = write_pets(places, version)
    dataset = tfds.open_data("pets", PETS)
    assert {subset: len(ids) for subset, ids in dataset.splits.items()} == {
        "train": 18,
        "val": 2,
        "test": 5,
        "trainval": 20,
        "all": 25,
    }
    assert {id_ for id_ in trimaps if "_b" in id_} == set(dataset.splits["test"])  # the official lists
    for sample in dataset.samples("all"):
        with Image.open(sample.mask_path) as mask, Image.open(sample.image_path) as photo:
            np.testing.assert_array_equal(np.array(mask), trimaps[sample.id])
            assert photo.format == "JPEG"
            assert np.array(photo)[trimaps[sample.id] == 1].mean() > 200
    stored = {bytes(image) for image in _stored(places / "oxford_iiit_pet" / version, "image")}
    assert {sample.image_path.read_bytes() for sample in dataset.samples("all")} == stored


def _stored(folder, field):
    keep = {field: tensorflow_datasets.decode.SkipDecoding()}
    builder = tensorflow_datasets.builder_from_directory(folder)
    for example in builder.as_dataset("train+test", decoders=keep).as_numpy_iterator():
        yield example[field]


def test_it_is_written_once_and_again_if_it_is_prepared_anew(places, monkeypatch):
    write_pets(places)
    first = tfds.write("oxford_iiit_pet")
    with monkeypatch.context() as patch:
        patch.setattr(tfds, "_copy", lambda *_: pytest.fail("written again"))
        assert tfds.write("oxford_iiit_pet") == first
    assert open_dataset("pets", PETS).root == first
    assert prepared_datasets.address(first) == PETS
    info = places / "oxford_iiit_pet" / "4.0.0" / "dataset_info.json"
    info.write_text(info.read_text().rstrip() + "\n\n")
    assert tfds.write("oxford_iiit_pet") != first


def test_one_that_was_interrupted_leaves_nothing_half_written(places, tmp_path, monkeypatch):
    write_pets(places)
    copy = tfds._copy

    def interrupted(prepared, folder):
        copy(prepared, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(tfds, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tfds.write("oxford_iiit_pet")
    assert not list((tmp_path / "home" / "cache" / "tfds").iterdir())
    with pytest.raises(DatasetError, match="has not been written as a folder yet"):
        open_dataset("pets", PETS)


def test_the_newest_version_is_read_also_from_the_folder_of_tensorflow_datasets(places, tmp_path):
    for version in ("3.2.0", "4.0.0"):
        write_pets(tmp_path / "own", version, train=10, test=2)
    assert "-4.0.0-" in tfds.open_data("pets", PETS).root.name
    assert "-4.0.0-" in open_dataset("pets", PETS).root.name


def test_what_is_neither_there_nor_can_be_had_is_told(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(tensorflow_datasets, "builder", unreachable)
    with pytest.raises(DatasetError, match="could not be downloaded: prepare it where there is a network"):
        tfds.open_data("pets", PETS)


@pytest.mark.parametrize("name", ["../../evil", "a/b", ".hidden"])
def test_a_photo_with_the_name_of_another_place_is_refused(places, tmp_path, name):
    write_pets(places, train=2, test=1, names=(name, "Bengal"))
    with pytest.raises(DatasetError, match="it has a photo called"):
        tfds.open_data("pets", PETS)
    assert not list(tmp_path.rglob("evil*"))


def test_damaged_records_are_told(places):
    write_pets(places, train=6, test=2)
    shard = next((places / "oxford_iiit_pet" / "4.0.0").glob("*train*"))
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(DatasetError, match=r"cannot be read .*: prepare it anew"):
        tfds.open_data("pets", PETS)


@pytest.mark.parametrize("below", ["", "oxford_iiit_pet", "oxford_iiit_pet/4.0.0"])
def test_a_folder_it_is_prepared_in_may_be_given_itself(tmp_path, below):
    trimaps = write_pets(tmp_path / "elsewhere", train=10, test=2)
    dataset = tfds.open_data("pets", tmp_path / "elsewhere" / below)
    assert dataset.root.parent == tmp_path / "home" / "cache" / "tfds"
    assert set(dataset.splits["all"]) == set(trimaps)
    again = open_dataset("pets", tmp_path / "elsewhere" / below)
    assert (again.root, again.splits) == (dataset.root, dataset.splits)


def test_a_folder_in_its_own_layout_is_read_as_that(tmp_path):
    draw_pets(tmp_path / "both", {"pug": 10})
    write_pets(tmp_path / "both", train=4, test=1)
    assert tfds.open_data("pets", tmp_path / "both").root == tmp_path / "both"


@pytest.mark.usefixtures("eager")
def test_train_and_check_take_such_a_folder(tmp_path, capsys):
    data, run = tmp_path / "elsewhere", tmp_path / "run"
    write_pets(data, train=20, test=4)
    options = ["--dataset", "pets", "--data", str(data)]
    tiny = ['options={"filters": [4], "bottleneck": 4}', "steps_per_epoch=2"]
    settings = [word for setting in tiny for word in ("--set", setting)]
    settings += ["--epochs", "1", "--batch", "2", "--size", "32"]
    train = ["train", "--model", "unet_plain", *options, "--out", str(run), *settings, "--json"]
    assert main(train) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "done"
    assert told["model"]["metrics"]["images"] == 4
    assert main(["data", "check", str(data), "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["samples"], report["ok"]) == ("pets", 24, True)


def test_check_takes_the_name(places, tmp_path, capsys):
    write_pets(places, train=10, test=2)
    draw_pets(places / "drawn", {"pug": 10})
    assert main(["data", "check", PETS]) == 0
    assert "12 photos looked at, no problem" in capsys.readouterr().out
    assert main(["data", "check", str(places)]) == 0
    out = capsys.readouterr().out  # all there are, the one in its own layout too
    assert "10 photos looked at" in out
    assert "12 photos looked at" in out
    assert main(["data", "check", "tfds:mnist"]) == 2
    assert "There is no 'pets' dataset 'tfds:mnist'" in capsys.readouterr().err


def test_a_run_learns_from_it_and_goes_by_its_name(places, tmp_path, monkeypatch):
    write_pets(places, train=20, test=2)
    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    config = TrainConfig(
        model="unet_plain",
        dataset="pets",
        data=PETS,
        options={"filters": [4], "bottleneck": 4},
        epochs=1,
        steps_per_epoch=1,
        batch=2,
        size=32,
    )
    assert train(config, tmp_path / "run", verbose=False)["state"] == "done"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"] == PETS


def test_the_command_line_measures_on_it(places, capsys):
    write_pets(places, train=10, test=2)
    assert main(["evaluate", "--model", "unet", "--dataset", "pets", "--data", PETS, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2
    assert main(["evaluate", "--model", "unet", "--dataset", "voc", "--data", PETS]) == 2
    assert "There is no 'voc' dataset 'tfds:oxford_iiit_pet'" in capsys.readouterr().err
