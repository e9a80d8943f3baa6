"""What is asked of a clip before a process works on it."""

import pytest
from video_files import colours, draw_clip

from segdemo.errors import UserError
from segdemo.ui import clips


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


def test_a_clip_that_is_too_large_is_not_taken(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"")
    assert clips.checked(str(path)) == path
    with path.open("wb") as file:
        file.truncate(clips.CLIP_BYTES + 1_000_000)  # of holes
    with pytest.raises(UserError, match="has 501 MB and may have 500: cut it"):
        clips.checked(str(path))
    with pytest.raises(UserError, match="Choose a clip first"):
        clips.checked(None)


@pytest.mark.parametrize(
    ("model", "rate", "smoothing", "says"),
    [
        ("deeplabv3", "10", 0.7, "are numbers"),
        ("deeplabv3", None, 0.7, "are numbers"),
        ("deeplabv3", 10, float("nan"), "are numbers"),
        ("deeplabv3", 0, 0.7, "Choose 1 to 30 frames a second"),
        ("deeplabv3", 1e308, 0.7, "Choose 1 to 30 frames a second"),
        ("deeplabv3", 10, 1, "0 to 0.95 to hold still"),
        ("--help", 10, 0.7, "no trained model"),
    ],
)
def test_a_wrong_wish_is_a_sentence_and_leaves_nothing(tmp_path, model, rate, smoothing, says):
    with pytest.raises(UserError, match=says):
        clips.Clips().segment("page", tmp_path / "clip.mp4", model, rate, smoothing)
    assert not (tmp_path / "gradio").exists()


def test_what_is_no_clip_leaves_nothing(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be read as a video"):
        clips.Clips().segment("page", path, "deeplabv3", 10, 0.7)
    assert list((tmp_path / "gradio").iterdir()) == []


def test_nothing_is_cancelled_where_nothing_is_done():
    assert not clips.Clips().cancel("page")


def test_what_was_cancelled_before_its_turn_does_not_begin(tmp_path):
    """Cancel can be pressed as soon as the work is in line, and some of it is never taken up."""
    clip, works = draw_clip(tmp_path / "clip.mp4", colours((220, 90, 90))), clips.Clips()
    works.expect("page")
    works.expect("other")
    assert works.cancel("page")
    with pytest.raises(UserError, match=r"given up: it was cancelled\.$"):
        works.segment("page", clip, "deeplabv3", 10, 0.7)
    assert list((tmp_path / "gradio").iterdir()) == []
    for page in ("other", "page", "one that did not say so"):
        works.expect("page")  # what was cancelled before is forgotten
        assert works.segment(page, clip, "deeplabv3", 10, 0.7)[1]["frames"] == 1
        assert not works.cancel("other")


def test_what_takes_too_much_is_not_said_to_be_cancelled(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "MOST_CPU_SECONDS", 1)
    clip = draw_clip(tmp_path / "clip.mp4", colours(*[(220, 90, 90)] * 900))
    with pytest.raises(UserError, match="more time or memory than it may have"):
        clips.Clips().segment("page", clip, "deeplabv3", 30, 0.7)
