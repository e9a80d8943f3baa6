"""What the Video tab makes of what comes from a browser."""

from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from tiny import bright, write_model

from segdemo.core.labels import PETS
from segdemo.ui.services import Services
from segdemo.ui.tabs import video

pytestmark = [
    pytest.mark.usefixtures("event_loops_collected"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture
def tab(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    with gr.Blocks() as demo, gr.Tab() as of_page:
        tab = video.build(Services.start(), of_page)
    # What the click on "Segment the clip" leads to.
    (tab.work,) = (f.fn for f in demo.fns.values() if f.show_progress_on == [tab.begin])
    return tab


PAGE = SimpleNamespace(session_hash="page")


def test_a_frame_of_the_webcam_gets_its_mask(tab, tmp_path):
    path = tmp_path / "frame.png"
    Image.fromarray(np.full((48, 64, 3), 220, np.uint8)).save(path)
    told = tab._frame(str(path), "colours", PAGE)
    assert told.startswith('<img src="data:image/jpeg;base64,')
    assert "pet ·" in told
    assert path.exists()  # it may be somebody else's


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        ("colours", b"no photo", "photo"),
        ("<script>", None, "There is no"),
        ("nobody", None, "There is no"),
    ],
)
def test_what_is_no_frame_or_no_model_is_a_sentence(tab, tmp_path, model, data, says):
    path = tmp_path / "frame.png"
    Image.fromarray(np.full((48, 64, 3), 220, np.uint8)).save(path)
    if data:
        path.write_bytes(data)
    told = tab._frame(str(path), model, PAGE)
    assert says in told
    assert "<script>" not in told
    assert tab._frame(None, model, PAGE) == ""


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "Choose a clip first"),
        ({"clip": "clip.mp4", "rate": "10; rm"}, "are numbers"),
        ({"clip": "clip.mp4", "model": "--help"}, "There is no"),
    ],
)
def test_a_wrong_wish_is_a_sentence(tab, tmp_path, monkeypatch, values, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"x")
    given = {"clip": None, "model": "colours", "rate": 10, "smoothing": 0.7, **values}
    form = {getattr(tab, name): value for name, value in given.items()}
    updates = tab.work(form, None, PAGE, gr.Progress())
    assert says in updates[tab.notice]["value"]
    assert updates[tab.begin]["interactive"]
