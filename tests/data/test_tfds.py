"""What is known of a dataset of TensorFlow Datasets before anybody has read it."""

import json

import pytest

from segdemo.data import sources, tfds
from segdemo.data.datasets import DatasetError

PETS = "tfds:oxford_iiit_pet"


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder that says what TensorFlow Datasets has prepared, of 3,680 and 3,669 photos."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGDEMO_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "oxford_iiit_pet" / "4.0.0"
    folder.mkdir(parents=True)
    splits = [{"name": "train", "shardLengths": ["1840", "1840"]}, {"name": "test", "shardLengths": ["3669"]}]
    (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    return folder


def test_it_is_offered_and_outlined_by_its_own_counts(prepared):
    assert list(tfds.offered()) == [PETS]
    dataset = sources.outline("pets", PETS)
    assert (len(dataset.splits["trainval"]), len(dataset.splits["test"])) == (3680, 3669)
    assert len(dataset.samples("train")) == 3312
    assert tfds.address(dataset.root) == PETS
    assert not dataset.root.exists()


@pytest.mark.parametrize("below", ["", "oxford_iiit_pet", "oxford_iiit_pet/4.0.0", ".."])
def test_it_is_found_from_any_of_its_folders(prepared, below, monkeypatch):
    monkeypatch.setenv("SEGDEMO_DATA", str((prepared.parents[1] / below).resolve()))
    assert list(tfds.offered()) == [PETS]


def test_the_newest_version_counts(prepared):
    for version in ("3.2.0", "10.0.0"):
        (prepared.parent / version).mkdir()
        (prepared.parent / version / "dataset_info.json").write_text("{}")
    assert tfds.find("oxford_iiit_pet", prepared.parents[1]).name == "10.0.0"


def test_a_folder_it_is_prepared_in_is_outlined_too(prepared, tmp_path, monkeypatch):
    monkeypatch.delenv("SEGDEMO_DATA")
    for folder in (prepared.parents[1], prepared.parent, prepared):
        assert sources.prepared_at("pets", folder) == prepared.resolve()
        assert sources.prepared_at("voc", folder) is None
        assert len(sources.outline("pets", folder).splits["trainval"]) == 3680
        with pytest.raises(DatasetError, match="has not been written as a folder yet: train or evaluate"):
            sources.open_dataset("pets", folder)
    assert sources.prepared_at("pets", PETS) is None
    (tmp_path / "home").mkdir()
    with pytest.raises(DatasetError, match="There is no Oxford-IIIT Pet in"):
        sources.open_dataset("pets", tmp_path / "home")


@pytest.mark.parametrize("text", ["{}", "[", '{"splits": [{"name": "train"}]}', '{"splits": 3}'])
def test_a_damaged_description_is_told(prepared, text):
    (prepared / "dataset_info.json").write_text(text)
    with pytest.raises(DatasetError, match=r"dataset_info\.json in .* is damaged: prepare"):
        sources.outline("pets", PETS)


@pytest.mark.parametrize(
    ("kind", "data"), [("voc", PETS), ("pets", "tfds:mnist"), ("pets", "tfds:../../etc"), ("pets", "tfds:")]
)
def test_what_is_not_known_is_refused(prepared, kind, data):
    with pytest.raises(DatasetError, match="use tfds:oxford_iiit_pet with the kind pets, or give a folder"):
        sources.open_dataset(kind, data)


def test_what_has_not_been_written_is_not_opened(prepared):
    with pytest.raises(DatasetError, match="has not been written as a folder yet"):
        sources.open_dataset("pets", PETS)
