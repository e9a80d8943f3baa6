"""Clips by the HTTP API of the running application."""

import json
import urllib.request
import zipfile
from io import BytesIO

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import served_app
from tiny import bright, write_model
from video_files import colours, draw_clip, read_clip
from waiting import once

from segdemo.core.labels import PETS

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of gradio_client's own making
BRIGHT, DARK = (220, 90, 90), (20, 90, 90)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_model(folder / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    with served_app(folder, SEGDEMO_MAX_VIDEO_SECONDS="1") as (url, _):
        client = Client(url, verbose=False, download_files=folder / "downloads")
        client.folder = folder / "gradio"
        yield client
        client.close()


def ask(client, clip, *arguments, **named):
    return client.predict(clip and handle_file(clip), *arguments, **named, api_name="/video")


def test_a_clip_becomes_an_mp4_and_label_maps(client, tmp_path):
    clip = draw_clip(tmp_path / "clip.mp4", colours(*[BRIGHT] * 5, *[DARK] * 5))
    mp4, archive, report = ask(client, clip, "colours", 10, smoothing=0)
    assert (report["frames"], report["width"], report["height"], report["cut"]) == (10, 96, 64, False)
    assert set(report["classes"]) == {"pet", "background"}
    assert read_clip(mp4).shape == (10, 64, 96, 3)
    with zipfile.ZipFile(archive) as found:
        assert found.namelist() == [f"{n:06d}.png" for n in range(1, 11)]
        first, last = (
            np.asarray(Image.open(BytesIO(found.read(name)))) for name in ("000001.png", "000010.png")
        )
    assert (first == 0).all()
    assert (last == 1).all()


def test_what_is_not_wanted_is_not_written(client, tmp_path):
    clip = draw_clip(tmp_path / "clip.mp4", colours(*[BRIGHT] * 4))
    mp4, archive, report = ask(client, clip, "colours", formats="label_maps", rate=5)
    assert mp4 is None
    assert report["frames"] == 2
    assert zipfile.is_zipfile(archive)
    mp4, archive, _ = ask(client, clip, "colours", formats=" overlay ")
    assert archive is None
    assert len(read_clip(mp4)) == 4


def test_a_long_clip_is_cut(client, tmp_path):
    clip = draw_clip(tmp_path / "long.mp4", colours(*[BRIGHT] * 20))
    _, _, report = ask(client, clip, "colours", formats="label_maps")
    assert report["cut"]
    assert report["frames"] == 10


def test_clips_that_cannot_be(client, tmp_path):
    def refused(clip, *arguments, **named):
        with pytest.raises(AppError) as caught:
            ask(client, clip, *arguments, **named)
        assert "Traceback" not in str(caught.value)
        return str(caught.value)

    picture = tmp_path / "picture.mp4"
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(picture, "PNG")
    words = tmp_path / "words.mp4"
    words.write_text("no clip")
    clip = draw_clip(tmp_path / "clip.mp4", colours(BRIGHT))
    assert "There is no clip: send one" in refused(None, "colours")
    for path in (picture, words):
        assert "cannot be read as a video: save it as MP4" in refused(path, "colours")
    assert "no trained model" in refused(clip, "colors")
    assert "There is no format 'exe'" in refused(clip, "colours", formats="overlay,exe")
    assert "Nothing is to be written" in refused(clip, "colours", formats=" , ")
    assert "Choose 1 to 30 frames" in refused(clip, "colours", 31)
    assert "0 to 0.95 to hold still" in refused(clip, "colours", smoothing=-1)


def test_a_clip_is_given_up(client, tmp_path):
    assert not client.predict(api_name="/video_cancel")["cancelled"]
    clip = draw_clip(tmp_path / "long.mp4", colours(*[BRIGHT] * 30, height=720, width=1280), rate=30)
    job = client.submit(handle_file(clip), "colours", 30, api_name="/video")
    assert once(lambda: client.predict(api_name="/video_cancel")["cancelled"])
    with pytest.raises(AppError, match="was cancelled"):
        job.result(60)


@pytest.fixture
def other(client, tmp_path):
    """Another client of the same page."""
    other = Client(client.src, verbose=False, download_files=tmp_path / "downloads")
    yield other
    other.close()


def long(tmp_path, frames=30):
    return draw_clip(tmp_path / "long.mp4", colours(*[BRIGHT] * frames, height=720, width=1280), rate=30)


def test_a_clip_that_waits_is_given_up(client, other, tmp_path):
    clip = handle_file(long(tmp_path))
    first = client.submit(clip, "colours", 30, api_name="/video")
    once(lambda: list(client.folder.glob("video-*")))
    second = other.submit(clip, "colours", 30, api_name="/video")
    assert once(lambda: other.predict(api_name="/video_cancel")["cancelled"])
    assert client.predict(api_name="/video_cancel")["cancelled"]
    for job in (first, second):
        with pytest.raises(AppError, match="was cancelled"):
            job.result(60)


def test_who_gives_an_answer_up_ends_the_clip_and_others_still_wait_for_their_turn(client, tmp_path):
    """Gradio's way of giving up makes room for the next one at once, and leaves the process at work."""
    before = set(client.folder.glob("video-*"))
    uploaded = client.predict(handle_file(long(tmp_path, 2)), "colours", api_name="/video")  # warm
    assert uploaded
    before |= set(client.folder.glob("video-*"))
    [number] = [d["id"] for d in client.config["dependencies"] if d["api_name"] == "video"]
    job = client.submit(handle_file(long(tmp_path, 900)), "colours", 30, api_name="/video")
    once(lambda: set(client.folder.glob("video-*")) - before)
    asked = {"session_hash": client.session_hash, "fn_index": number, "event_id": "any"}
    request = urllib.request.Request(
        f"{client.src}gradio_api/cancel", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer) == {"success": True}
    once(lambda: not set(client.folder.glob("video-*")) - before)  # the process has ended, and left nothing
    assert not client.predict(api_name="/video_cancel")["cancelled"]
    job.cancel()
