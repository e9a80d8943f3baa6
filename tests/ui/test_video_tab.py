"""What the Video tab makes of what comes from a browser."""

import base64
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import ImageData
from PIL import Image
from tiny import bright, write_model
from video_files import colours, draw_clip

from segdemo.core.labels import PETS
from segdemo.core.photos import encode_jpeg
from segdemo.inference.video import length
from segdemo.ui import sample_clip
from segdemo.ui.services import Services
from segdemo.ui.tabs import video
from segdemo.ui.tabs.annotate.desk import Desk

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
        services = Services.start()
        tab = video.build(services, of_page, Desk(services))
    # What the clicks on "Segment the clip" and "Add the frames" lead to.
    (tab.work,) = (f.fn for f in demo.fns.values() if f.show_progress_on == [tab.begin])
    (tab.ours,) = (f.fn for f in demo.fns.values() if f.show_progress_on == [tab.sample])
    (tab.frames,) = (f.fn for f in demo.fns.values() if f.show_progress_on == [tab.take])
    return tab


def asked(tab, work, **given):
    """The updates of a press on a button with these values in the form."""
    values = {
        "clip": None,
        "model": "colours",
        "rate": 10,
        "smoothing": 0.7,
        "collection": "",
        "every": 1,
        **given,
    }
    return work({getattr(tab, name): value for name, value in values.items()}, None, PAGE, gr.Progress())


PAGE = SimpleNamespace(session_hash="page")


def test_a_frame_of_the_webcam_gets_its_mask(tab, tmp_path):
    path = tmp_path / "frame.png"
    Image.fromarray(np.full((48, 64, 3), 220, np.uint8)).save(path)
    told = tab._frame(str(path), "colours", PAGE)
    assert told.startswith('<img src="data:image/jpeg;base64,')
    assert "pet ·" in told
    assert path.exists()  # it may be somebody else's


def test_a_frame_from_a_browser_is_not_kept_on_the_disk(tab, tmp_path):
    files = {path for path in (tmp_path / "gradio").rglob("*") if path.is_file()}
    jpeg = encode_jpeg(np.full((48, 64, 3), 220, np.uint8), 90)
    sent = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    frame = tab.webcam.preprocess(ImageData(url=sent))
    assert frame == jpeg
    assert "pet ·" in tab._frame(frame, "colours", PAGE)
    assert {path for path in (tmp_path / "gradio").rglob("*") if path.is_file()} == files
    with pytest.raises(gr.Error, match="came damaged"):
        tab.webcam.preprocess(ImageData(url="data:image/jpeg;base64,A"))
    with pytest.raises(gr.Error, match="not uploaded here"):
        tab.webcam.preprocess(ImageData(path="/etc/hosts"))
    assert tab.webcam.preprocess(None) is None


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [("colours", b"no photo", "photo"), ("<script>", None, "There is no"), ("nobody", None, "There is no")],
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
    updates = asked(tab, tab.work, **values)
    assert says in updates[tab.notice]["value"]
    assert updates[tab.begin]["interactive"]


def test_whoever_has_no_clip_sees_one_of_ours(tab):
    updates = asked(tab, tab.ours, rate=2)
    assert not tab.notice.visible and "alert" not in str(updates[tab.notice])
    count, seconds = length(updates[tab.shown])
    assert (count, round(seconds)) == (18, 9)
    assert updates[tab.sample]["interactive"]
    kept = sample_clip.sample_clip()
    assert kept.is_file() and sample_clip.sample_clip() == kept  # made once, and not used up


def test_our_clip_goes_with_the_process_that_made_it():
    code = "from segdemo.ui.sample_clip import sample_clip; path = sample_clip(); assert path.is_file(); print(path)"
    path = Path(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    assert path.name == "sample.mp4" and not path.parent.exists()


def test_the_camera_of_our_clip_never_looks_beyond_a_photo(tmp_path):
    for size in ((741, 500), (451, 300), (300, 900)):
        for _, *looks in sample_clip.SHOTS:
            for look in looks:
                left, top, right, bottom = sample_clip._box(size, *look)
                assert 0 <= left < right <= size[0] + 1e-6 and 0 <= top < bottom <= size[1] + 1e-6
                assert (right - left) / (bottom - top) == pytest.approx(1.5)


def test_frames_of_a_clip_become_photos_of_a_collection(tab, tmp_path):
    reds = [(value, 20, 20) for value in np.linspace(0, 250, 20)]
    clip = str(draw_clip(tmp_path / "walk.mp4", colours(*reds), rate=10))
    updates = asked(tab, tab.frames, clip=clip, every=0.5)
    assert '<p role="status">4 frames are in walk: open it in Annotate.</p>' in updates[tab.notice]["value"]
    ((title, name),) = tab.desk.collections()
    assert title == "walk" and updates[tab.collection]["value"] == name
    collection = tab.desk.store.open(name)
    assert collection.label_set.classes == PETS.classes
    names = [photo.source for photo in collection.photos().photos]
    assert sorted(names) == [f"walk_{n:05d}.jpg" for n in range(1, 5)]
    # Again, into the one that is there now: each photo is there once.
    updates = asked(tab, tab.frames, clip=clip, every=0.5, collection=name)
    assert "There already" in updates[tab.notice]["value"]
    assert len(collection.photos().photos) == 4


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "Choose a clip first"),
        ({"clip": "clip.mp4", "every": "1; rm"}, "move the slider"),
        ({"clip": "clip.mp4", "every": 0}, "move the slider"),
        ({"clip": "clip.mp4", "collection": "../other"}, "collection"),
        ({"clip": "clip.mp4", "collection": ["a"]}, "collection"),
        ({"clip": "clip.mp4", "model": "nobody"}, "There is no"),
        ({"clip": "clip.mp4"}, "cannot be read as a video"),
    ],
)
def test_frames_that_cannot_be_taken_are_a_sentence_and_leave_nothing(
    tab, tmp_path, monkeypatch, values, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"x")
    updates = asked(tab, tab.frames, **values)
    assert says in updates[tab.notice]["value"]
    assert updates[tab.take]["interactive"]
    assert (tab.clip in updates and updates[tab.clip] is None) == (
        "read as a video" in says
    )  # its field is free
    assert not tab.desk.collections()


def test_the_last_frames_of_so_many_pages_are_remembered(tab, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "MOST_LIVE", 2)
    path = tmp_path / "frame.png"
    Image.fromarray(np.full((48, 64, 3), 220, np.uint8)).save(path)
    for page in ("one", "two", "one", "three"):
        tab._frame(str(path), "colours", SimpleNamespace(session_hash=page))
    assert list(tab._live) == ["one", "three"]


def test_frames_that_are_out_can_still_be_given_up(tab, tmp_path, monkeypatch):
    """The process has ended, and each frame is still to be decoded and kept."""
    reds = [(value, 20, 20) for value in np.linspace(0, 250, 20)]
    clip = str(draw_clip(tmp_path / "walk.mp4", colours(*reds), rate=10))
    cancelled = []
    add = tab.desk.add_photos

    def adding(name, paths, stop):
        def stopping():
            if len(tab.desk.store.open(name).photos().photos) == 2:
                cancelled.append(tab.services.clips.cancel("page"))
            return stop()

        return add(name, paths, stopping)

    monkeypatch.setattr(tab.desk, "add_photos", adding)
    updates = asked(tab, tab.frames, clip=clip, every=0.5)
    assert cancelled == [True]
    told = updates[tab.notice]["value"]
    assert "2 frames are in walk" in told and "The clip was given up: it was cancelled." in told
    assert not tab.services.clips.cancel("page")  # it is over
