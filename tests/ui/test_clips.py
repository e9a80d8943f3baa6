"""What is asked of a clip before a process works on it, and how that ends."""

import subprocess
import sys
import threading

import pytest
from video_files import colours, draw_clip
from waiting import once

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


@pytest.fixture
def processes(monkeypatch):
    """Those that are begun, which do nothing until they are ended."""
    begun, begin = [], subprocess.Popen

    def beginning(command, **options):
        begun.append(begin([sys.executable, "-c", "import time; time.sleep(100)"], **options))
        return begun[-1]

    monkeypatch.setattr(clips.subprocess, "Popen", beginning)
    yield begun
    for process in begun:
        process.kill()


def working(works, page):
    """A thread that works for a page, and the sentences that it ends with."""
    ended = []

    def work():
        try:
            with works.working(page) as mine:
                works.run(mine, ["clip.mp4"])
        except UserError as error:
            ended.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ended


def test_one_process_at_a_time_whatever_becomes_of_the_line(processes):
    works = clips.Clips()
    first, second, third = (working(works, page) for page in ("one", "two", "three"))
    once(lambda: processes)
    once(lambda: len(works._working) == 3)
    running = next(w.page for w in works._working if w.process)
    waits, goes_on = [page for page in ("one", "two", "three") if page != running]
    assert works.cancel(waits)
    ended = dict(zip(("one", "two", "three"), (first, second, third), strict=True))
    ended[waits][0].join(30)
    assert ended[waits][1] == [clips.CANCELLED] and len(processes) == 1  # it did not wait for its turn
    assert works.cancel(running)
    ended[running][0].join(30)
    once(lambda: len(processes) == 2)
    assert [process.poll() is None for process in processes] == [False, True]
    assert works.cancel(goes_on)
    ended[goes_on][0].join(30)
    assert not works._working and not works.cancel(goes_on)


def test_the_end_of_one_work_of_a_page_is_not_that_of_the_next(processes):
    works = clips.Clips()
    first, _ = working(works, "page")
    once(lambda: [w for w in works._working if w.process])
    assert works.cancel("page")
    works.expect("page")
    second, ended = working(works, "page")
    first.join(30)
    once(lambda: [w for w in works._working if w.process])
    assert works.cancel("page")
    second.join(30)
    assert ended == [clips.CANCELLED]


def test_an_event_in_line_can_be_cancelled_and_given_up(processes, monkeypatch):
    works = clips.Clips()
    monkeypatch.setattr(clips, "LocalContext", CONTEXT)
    works.joined("page", "a")
    works.joined("other", "b")
    works.joined("third", "c")
    assert works.cancel("page") and not works.cancel("page")  # which it was told already
    works.abandoned("b")
    for event, page in (("a", "page"), ("b", "other")):
        CONTEXT.event = event
        thread, ended = working(works, page)
        thread.join(30)
        assert ended == [clips.CANCELLED] and not processes
    works.left("c")
    assert not works.cancel("third")  # it has ended for another reason
    works.joined("page", "d")  # what was cancelled before is forgotten
    CONTEXT.event = "d"
    thread, ended = working(works, "page")
    once(lambda: [w for w in works._working if w.process])
    works.abandoned("d")
    thread.join(30)
    assert ended == [clips.CANCELLED] and processes[0].poll() is not None


class CONTEXT:
    """Which event a function answers, as Gradio tells it."""

    event = None

    class event_id:
        @staticmethod
        def get(default):
            return CONTEXT.event
