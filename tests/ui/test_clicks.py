"""Clicks on photos of the page: whose turn it is, what is kept, and what a browser is answered."""

import base64
import io
import threading

import numpy as np
import pytest
from drawn import encoded
from PIL import Image
from tiny import write_click_model

from segdemo.core.photos import Limits
from segdemo.errors import UserError
from segdemo.ui import clicks as page_clicks
from segdemo.ui.clicks import Clicks
from segdemo.ui.photos import PhotoCache
from segdemo.zoo import served

THING = (slice(40, 120), slice(30, 150))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    write_click_model(tmp_path / "home" / "models" / "click")
    return tmp_path / "home"


def draw(path, size=(160, 240), at=THING):
    photo = np.full((*size, 3), 90, np.uint8)
    photo[at] = (220, 30, 30)
    Image.fromarray(photo).save(path)
    return path


@pytest.fixture
def photo(tmp_path):
    return draw(tmp_path / "photo.png")


def made(capacity=None):
    return Clicks(PhotoCache(Limits(), 0), Limits(), capacity)


@pytest.fixture
def clicks():
    return made()


@pytest.fixture
def ask(clicks, photo):
    """What a canvas is answered."""

    def photo_of(key):
        if key != "mine":
            raise UserError("There is no such photo: choose another.")
        return photo

    on_select = clicks.answering(photo_of)
    return lambda **data: on_select(
        {
            "key": "mine",
            "clicks": [[60, 80, 1]],
            "box": None,
            "mask": None,
            "preview": False,
            "prepare": False,
        }
        | data
    )


def text_of(array):
    return base64.b64encode(encoded(array)).decode()


def grey_of(text):
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        return np.asarray(picture)


def test_without_a_model_the_canvas_gets_no_function(home, clicks):
    graph = home / "models" / "click" / "click.onnx"
    graph.rename(graph.with_suffix(".gone"))
    assert not clicks.at_hand
    assert clicks.answering(lambda key: key) is None


def test_a_click_is_answered_with_the_part_that_changes(ask):
    answer = ask()
    assert answer.keys() == {"box", "probabilities", "changed", "milliseconds"}
    x0, y0, x1, y1 = answer["box"]
    assert all(type(side) is int for side in answer["box"])
    probabilities, changed = grey_of(answer["probabilities"]), grey_of(answer["changed"])
    assert probabilities.shape == changed.shape
    assert set(np.unique(changed)) == {255}
    inside = Image.fromarray(probabilities).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
    mask = np.zeros((160, 240), bool)
    mask[y0:y1, x0:x1] = np.asarray(inside) > 127
    truth = np.zeros((160, 240), bool)
    truth[THING] = True
    assert (mask & truth).sum() / (mask | truth).sum() > 0.93
    assert answer["milliseconds"] > 0


def test_a_mask_is_corrected(ask):
    mask = np.zeros((80, 120), np.uint8)  # the photo's halves
    mask[20:60, 40:75] = 255
    answer = ask(clicks=[[40, 80, 1]], mask=text_of(mask))
    changed = grey_of(answer["changed"])
    assert set(np.unique(changed)) == {0, 255}


def test_a_box_stands_for_clicks(ask):
    assert (grey_of(ask(clicks=[], box=[28, 38, 152, 122])["probabilities"]) > 127).mean() > 0.2


def test_to_prepare_loads_photo_and_model(ask, clicks, photo):
    assert ask(prepare=True, clicks=None) == {"ready": True}
    assert clicks._clicker is not None
    photo.write_bytes(b"")  # it is at hand
    assert clicks._kept


def test_a_preview_does_not_wait_and_a_click_does(ask, clicks, monkeypatch):
    monkeypatch.setattr(page_clicks, "WAIT_SECONDS", 0.01)
    answers = []
    with clicks._line.turn(0):
        assert ask(preview=True) == {"busy": True}
        assert ask() == {"error": "Busy with what others asked for: try again in some seconds."}
        monkeypatch.setattr(page_clicks, "WAIT_SECONDS", 30)
        waiting = threading.Thread(target=lambda: answers.append(ask()))
        waiting.start()
    waiting.join()
    assert answers[0].keys() == {"box", "probabilities", "changed", "milliseconds"}
    assert "box" in ask(preview=True)


def test_a_preview_does_not_wait_for_a_photo_either(ask, clicks, monkeypatch):
    monkeypatch.setattr(page_clicks, "WAIT_SECONDS", 0.01)
    with clicks._loading.turn(0):
        assert ask(preview=True) == {"busy": True}
        assert "try again in some seconds" in ask()["error"]
    assert "box" in ask(preview=True)
    with clicks._loading.turn(0):
        assert "box" in ask(preview=True)  # it is at hand now


def test_all_who_click_at_once_are_answered_alike(ask):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = answers[0]
    assert len(answers) == 12
    assert all({**answer, "milliseconds": 0} == {**first, "milliseconds": 0} for answer in answers)


HOSTILE = [
    {"key": 7},
    {"key": "other's"},
    {"key": "../../etc/passwd"},
    {"clicks": None},
    {"clicks": [[1, 2, 1]] * 10_000},
    {"clicks": [[240, 80, 1]]},
    {"clicks": "nonsense"},
    {"clicks": [[float("nan"), 1, 1]]},
    {"clicks": [[10**400, 1, 1]]},
    {"clicks": [[{}, [], None]]},
    {"box": "x"},
    {"box": [3, 3, 3, 3], "clicks": []},
    {"box": [1e308, 0, float("inf"), 1]},
    {"mask": 7},
    {"mask": "no base64!"},
    {"mask": "é"},
    {"mask": base64.b64encode(b"no png").decode()},
    {"mask": text_of(np.zeros((160, 240), np.uint8))[:100]},
    {"mask": text_of(np.zeros((160, 300), np.uint8))},
    {"mask": text_of(np.zeros((1025, 1025), np.uint8))},
    {"mask": text_of(np.random.default_rng(0).integers(0, 256, (160, 240, 3), np.uint8))},
    {"mask": "A" * 3_000_000},
    {"clicks": [[1, 1, 1]], "mask": ["A"]},
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("preview", [True, False])
def test_what_cannot_be_answered_gives_a_sentence(ask, data, preview):
    answer = ask(**data, preview=preview)
    assert answer.keys() == {"error"}
    assert answer["error"][0].isupper() and answer["error"].endswith(".")
    assert "unexpected" not in answer["error"]
    assert "passwd" not in answer["error"]


@pytest.mark.parametrize("data", [None, 7, "x", [], {}, {"key": None}, [{"key": "mine"}]])
def test_what_is_no_request_gives_a_sentence(clicks, photo, data):
    assert clicks.answering(lambda key: photo)(data) == {"error": "The click arrived damaged: click again."}


def test_a_photo_that_is_gone_and_a_fault_of_the_program_are_sentences(clicks, tmp_path, monkeypatch):
    on_select = clicks.answering(lambda key: tmp_path / "gone.png")
    assert "not kept here any more" in on_select({"key": "x", "clicks": [[1, 1, 1]]})["error"]
    on_select = clicks.answering(lambda key: 1 / 0)
    assert on_select({"key": "x"}) == {"error": "Something unexpected went wrong; it is in the server's log."}


# --- what is kept -------------------------------------------------------------------------------------------


def test_photos_are_kept_up_to_a_number_of_bytes_the_last_used_ones(tmp_path):
    paths = [draw(tmp_path / f"{n}.png") for n in range(4)]
    clicks = made(capacity=3.5 * 160 * 240 * 4)
    kept = [clicks.levels(path) for path in paths[:3]]
    assert clicks.levels(paths[0]) is kept[0]
    clicks.levels(paths[3])  # the second was used longest ago
    assert clicks.levels(paths[0]) is kept[0]
    assert clicks.levels(paths[2]) is kept[2]
    assert clicks.levels(paths[1]) is not kept[1]
    assert sum(levels.bytes for levels in clicks._kept.values()) <= 3.5 * 160 * 240 * 4


def test_without_memory_for_photos_the_last_one_is_kept_alone(tmp_path):
    paths = [draw(tmp_path / f"{n}.png") for n in range(3)]
    clicks = made(capacity=0)
    kept = [clicks.levels(path) for path in paths]
    assert len(clicks._kept) == 1
    assert clicks.levels(paths[2]) is kept[2]
    assert clicks.levels(paths[0]) is not kept[0]


def test_a_photo_that_has_changed_is_read_again(clicks, photo):
    first = clicks.levels(photo)
    draw(photo, (100, 100), (slice(10, 20), slice(10, 20)))
    assert first.height == 160
    assert clicks.levels(photo).height == 100


def test_a_photo_of_more_than_all_bytes_is_kept_in_less_detail(tmp_path):
    clicks = made(capacity=4e6)
    levels = clicks.levels(draw(tmp_path / "large.png", (1400, 2100)))
    assert (levels.height, levels.width) == (1400, 2100)
    assert levels.bytes < 4e6
    assert clicks.levels(tmp_path / "large.png") is levels


def test_those_who_come_at_once_read_a_photo_once(clicks, photo, monkeypatch):
    reads = []
    read = clicks._photos.read
    monkeypatch.setattr(clicks._photos, "read", lambda path: reads.append(path) or read(path))
    threads = [threading.Thread(target=clicks.levels, args=(photo,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1


def test_another_model_is_loaded_without_a_restart(ask, clicks, home):
    ask()
    first = clicks._clicker
    ask()
    assert clicks._clicker is first
    write_click_model(home / "models" / "click", gain=0, bias=-9)
    assert not (grey_of(ask()["probabilities"]) > 127).any()
    assert clicks._clicker is not first


def test_a_damaged_model_is_a_sentence(ask, home):
    (home / "models" / "click" / "click.onnx").write_bytes(b"")
    assert ask() == {"error": "click.onnx is missing or damaged: fetch it again."}
