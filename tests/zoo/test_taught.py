"""Taught classifiers among the served models: named after their collection, with its classes, and only while usable."""

import json

import numpy as np
import pytest
from tiny import write_features

from segdemo import zoo
from segdemo.annotations.store import AnnotationStore
from segdemo.core.labels import LabelSet
from segdemo.inference.teach import Taught
from segdemo.zoo import served
from segdemo.zoo.features import served_features
from segdemo.zoo.taught import FOLDER, name_of, versions

LEAVES = LabelSet("leaves", "Leaves", ("ground", "oak", "maple"), ((0, 0, 0), (200, 90, 0), (0, 160, 60)))


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """A collection that was taught ground and maple."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    write_features(tmp_path / "weights")
    found = AnnotationStore().create("Leaves", LEAVES)
    taught((0, 2)).save(found.folder / FOLDER / "000001.json")
    return found


def taught(classes, graph=None):
    weights = np.zeros((4, len(classes)), np.float32)
    return Taught(classes, weights, graph or served_features().onnx_sha256)


def names():
    return [name for name in zoo.served_models() if name.startswith("taught:")]


def test_the_newest_is_served_with_what_the_collection_says_now(collection):
    entry = zoo.served_model(name_of(collection.name))
    assert (entry.title, entry.onnx, entry.long_side) == ("Taught: Leaves", "000001.json", 64)
    assert entry.knows == "taught by painting: ground, maple"
    assert entry.weights == "" and entry.options == {}  # nothing to fine-tune
    collection.rename("Autumn")
    collection.change_label_set(LabelSet("leaves", "Leaves", ("soil", "oak", "maple"), LEAVES.colors))
    taught((0, 1)).save(collection.folder / FOLDER / "000002.json")
    (collection.folder / FOLDER / "notes.json").write_text("{}")
    entry = zoo.served_model("taught:leaves")
    assert (entry.title, entry.onnx) == ("Taught: Autumn", "000002.json")
    assert entry.knows == "taught by painting: soil, oak"
    assert [path.name for path in versions(collection.folder)] == ["000002.json", "000001.json"]


def test_one_that_cannot_be_used_is_left_out_and_the_others_stay(collection, tmp_path):
    other = collection.store.create("Other", LEAVES)
    file = other.folder / FOLDER / "000001.json"
    taught((0, 1), graph="another graph").save(file)
    assert names() == ["taught:leaves"]
    file.write_text("[")
    assert names() == ["taught:leaves"]
    taught((0, 7)).save(file)  # a class that the collection does not have any more
    assert names() == ["taught:leaves"]
    taught((0, 1)).save(file)
    assert names() == ["taught:leaves", "taught:other"]
    collection.store.delete("other")
    assert names() == ["taught:leaves"]
    (tmp_path / "weights" / "manifest.json").write_text(json.dumps({"models": {}}))
    assert names() == []
