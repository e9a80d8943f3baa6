"""Features of the page's photos: what a browser is answered."""

import base64
import threading
import zlib

import numpy as np
import pytest
from PIL import Image
from tiny import write_features

from segdemo.core.photos import Limits
from segdemo.errors import UserError
from segdemo.inference.features import Features
from segdemo.ui import teaching as page_teaching
from segdemo.ui.photos import PhotoCache
from segdemo.ui.teaching import Teaching
from segdemo.zoo import served


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    write_features(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def photo(tmp_path):
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[:, 64:] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def teaching():
    return Teaching(PhotoCache(Limits()))


@pytest.fixture
def ask(teaching, photo):
    def photo_of(key):
        if key != "mine":
            raise UserError("There is no such photo: choose another.")
        return photo

    return teaching.answering(photo_of)


def unpacked(text, *shape):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)


def test_features_and_colours_of_cells(ask):
    answer = ask({"key": "mine"})
    rows, columns, channels = (answer[name] for name in ("rows", "columns", "channels"))
    assert (rows, columns, channels) == (16, 16, 3)
    for name in ("data", "guide"):  # the graph's features are colours
        cells = unpacked(answer[name], rows, columns, 3)
        assert (cells[:, :7] == 0).all()
        assert (cells[:, 9:] == (200, 100, 50)).all()
    assert answer["steps"] == [1 / 40] * 3
    assert answer["features"] == Features().entry.onnx_sha256


def test_a_photo_is_looked_at_once(ask, monkeypatch):
    first = ask({"key": "mine"})
    monkeypatch.setattr(Features, "compute", lambda *_: pytest.fail("made again"))
    assert ask({"key": "mine"}) == first


@pytest.mark.parametrize("missing", ["features.onnx", "manifest.json"])
def test_without_a_graph_the_canvas_gets_no_function(teaching, weights, missing):
    (weights / missing).unlink()
    assert not teaching.at_hand
    assert teaching.answering(lambda key: key) is None


@pytest.mark.parametrize("data", [None, 7, [], "x", {}, {"key": 7}, {"key": None}])
def test_damaged_questions_give_a_sentence(ask, data):
    assert ask(data) == {"error": "The question arrived damaged: choose the photo again."}


def test_what_cannot_be_answered_gives_a_sentence(ask, teaching, photo, weights):
    assert ask({"key": "another"}) == {"error": "There is no such photo: choose another."}
    wrong = teaching.answering(lambda key: 1 / 0)
    assert wrong({"key": "x"}) == {"error": "Something unexpected went wrong; it is in the server's log."}
    photo.write_bytes(b"none")
    assert "photo" in ask({"key": "mine"})["error"]


def test_a_damaged_graph_gives_a_sentence(ask, weights):
    (weights / "features.onnx").write_bytes(b"damaged")
    assert "features.onnx is damaged" in ask({"key": "mine"})["error"]


def test_one_photo_at_a_time(ask, teaching, monkeypatch):
    monkeypatch.setattr(page_teaching, "WAIT_SECONDS", 0.01)
    answers = []
    with teaching._line.turn(0):
        assert "try again in some seconds" in ask({"key": "mine"})["error"]
        monkeypatch.setattr(page_teaching, "WAIT_SECONDS", 30)
        waiting = threading.Thread(target=lambda: answers.append(ask({"key": "mine"})))
        waiting.start()
    waiting.join()
    assert answers[0]["rows"] == 16
