"""Any served model, loaded: networks once each, and classifiers that were taught by painting."""

import json
import threading
import time

import numpy as np
import pytest
from PIL import Image
from tiny import bright, write_features, write_model

from segdemo import zoo
from segdemo.annotations.store import AnnotationStore
from segdemo.cli import main
from segdemo.core.files import sha256
from segdemo.core.label_maps import decode_png
from segdemo.core.labels import PETS, VOID, LabelSet
from segdemo.inference import predictors
from segdemo.inference.features import Features
from segdemo.inference.predict import DamagedModelError, Predictor
from segdemo.inference.predictors import PredictorCache, open_predictor
from segdemo.inference.teach import Strokes, Taught, learn
from segdemo.zoo import served
from segdemo.zoo.taught import FOLDER

LEAVES = LabelSet("leaves", "Leaves", ("ground", "oak", "maple"), ((0, 0, 0), (200, 90, 0), (0, 160, 60)))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cache(home, monkeypatch):
    """A cache over one model of this machine, and the list of what it loads."""
    loaded = []

    class Slow(Predictor):
        def __init__(self, entry, *passes):
            loaded.append(entry.onnx_sha256)
            time.sleep(0.05)
            super().__init__(entry, *passes)

    write_model(home / "models" / "mine", "mine", PETS, *bright(3, 0, 1))
    monkeypatch.setattr(predictors, "Predictor", Slow)
    return PredictorCache(), loaded


def test_the_cache_loads_a_model_once_however_many_threads_ask(cache):
    cache, loaded = cache
    barrier, got = threading.Barrier(8), []

    def ask():
        barrier.wait()
        predictor = cache.get("mine")
        got.append((predictor, predictor(np.full((40, 40, 3), 255, np.uint8)).label_map.max()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 1
    assert len({id(predictor) for predictor, _ in got}) == 1
    assert [label for _, label in got] == [0] * 8


def test_the_cache_notices_a_model_that_was_replaced(cache, home):
    cache, loaded = cache
    white = np.full((40, 40, 3), 255, np.uint8)
    assert cache.get("mine")(white).label_map.max() == 0
    write_model(home / "models" / "mine", "mine", PETS, *bright(3, 2, 1))
    assert cache.get("mine")(white).label_map.min() == 2
    assert len(set(loaded)) == 2


def test_the_cache_refuses_an_unknown_model(cache):
    with pytest.raises(zoo.UnknownModelError, match="mine"):
        cache[0].get("nobody")


# ------------------------------------------------------------------------------------- taught classifiers


def scene():
    """A dark photo with a bright half, and strokes in both."""
    photo = np.full((64, 96, 3), 30, np.uint8)
    photo[:, 48:] = 210
    painted = np.full((64, 96), VOID, np.uint8)
    painted[8:16, 4:40], painted[8:16, 60:90] = 0, 2
    return photo, painted


@pytest.fixture
def taught(home, tmp_path, monkeypatch):
    """The entry of a collection's classifier, which knows ground and maple, and its collection."""
    write_features(tmp_path / "weights")
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    collection = AnnotationStore().create("Leaves", LEAVES)
    photo, painted = scene()
    features = Features()
    known = learn([Strokes(features.of(photo), painted)], features.steps, features.entry.onnx_sha256)
    known.save(collection.folder / FOLDER / "000001.json")
    return zoo.served_model("taught:leaves"), collection


def test_a_taught_classifier_is_a_model_with_the_classes_of_its_collection(taught):
    entry, _ = taught
    assert (entry.title, entry.label_set) == ("Taught: Leaves", LEAVES)
    assert json.loads(json.dumps(entry.to_json()))["classes"] == list(LEAVES.classes)
    photo, painted = scene()
    prediction = PredictorCache().get("taught:leaves").seeing(flip=True)(photo)
    np.testing.assert_array_equal(prediction.label_map, np.repeat([[0, 2]], 48, 1).repeat(64, 0))
    assert prediction.probabilities.shape[2] == 3
    assert not prediction.probabilities[..., 1].any()  # oak was not taught
    assert prediction.confidence.min() > 128
    held = np.full_like(painted, VOID)
    held[20:44, 4:40] = 2
    assert (open_predictor(entry).on(photo, held).label_map[24:40, 8:36] == 2).all()


def test_the_command_line_predicts_with_it(taught, tmp_path, capsys):
    Image.fromarray(scene()[0]).save(tmp_path / "new.png")
    out = tmp_path / "out"
    assert (
        main(["predict", "--model", "taught:leaves", "--out", str(out), "--json", str(tmp_path / "new.png")])
        == 0
    )
    assert json.loads(capsys.readouterr().out)[0]["model"] == "taught:leaves"
    assert set(np.unique(decode_png(out / "new.png"))) == {0, 2}


def test_one_that_changes_or_is_for_other_features_is_not_used(taught, tmp_path):
    entry, collection = taught
    cache = PredictorCache()
    first = cache.get("taught:leaves")
    newer = Taught.read(entry.path)
    Taught((0, 1), newer.weights, newer.features).save(collection.folder / FOLDER / "000002.json")
    assert zoo.served_model("taught:leaves").onnx == "000002.json"
    assert cache.get("taught:leaves") is not first
    assert cache.get("taught:leaves")(scene()[0]).label_map.max() == 1
    entry.path.unlink()
    with pytest.raises(DamagedModelError, match="Taught: Leaves has changed or is gone"):
        open_predictor(entry)
    manifest = json.loads((tmp_path / "weights" / "manifest.json").read_text())
    manifest["features"]["onnx_sha256"] = sha256(tmp_path / "weights" / "manifest.json")
    (tmp_path / "weights" / "manifest.json").write_text(json.dumps(manifest))
    assert "taught:leaves" not in zoo.served_models()
