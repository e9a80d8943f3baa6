"""The Video tab in headless Chromium: a clip, what is wrong with one, cancelling, and a webcam it pretends to have."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from video_files import draw_clip

from browser.patience import expect

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SECONDS = 60_000  # how long anything may take on a busy machine, in milliseconds


@pytest.fixture(scope="module")
def lasting(plain_app, lasting_page):
    page, errors = lasting_page(plain_app, permissions=["camera"])
    page.set_default_timeout(SECONDS)
    page.get_by_role("tab", name="Video").click()
    page.locator("#video-model input").click()
    page.get_by_role("option", name="Colours").click()
    return page, errors


@pytest.fixture
def page(lasting):
    """The tab without a clip, on a page that these tests share."""
    page, errors = lasting
    page.get_by_role("tab", name="Video").click()
    clear = page.locator("#video-clip").get_by_role("button", name="Clear", exact=True)
    if clear.count():
        clear.click()
        expect(clear).to_have_count(0)
    yield page
    assert errors == []


def square(frames):
    """A bright square on a dark ground, that moves to the right."""
    drawn = np.full((frames, 96, 128, 3), (40, 60, 60), np.uint8)
    for n, frame in enumerate(drawn):
        frame[32:64, 2 * n : 2 * n + 32] = (200, 180, 180)
    return list(drawn)


LARGE = np.kron(square(1)[0], np.ones((8, 8, 1), np.uint8))  # takes long, so that Cancel is found in time


def give(page, path):
    page.locator("#video-clip input[type=file]").set_input_files(path)
    expect(page.locator("#video-clip")).to_contain_text(path.stem, timeout=SECONDS)
    page.locator("#video-begin").click()


def test_a_clip_is_segmented_shown_and_taken_along(page, tmp_path):
    give(page, draw_clip(tmp_path / "square.mp4", square(20)))
    expect(page.locator("#video-facts")).to_contain_text("20 of 128 x 96", timeout=SECONDS)
    expect(page.locator("#video-facts")).to_contain_text("pet 8.")  # 1,024 of 12,288 pixels
    expect(page.locator("#video-hint")).to_be_hidden()
    page.wait_for_function(
        "document.querySelector('#video-shown video')?.videoWidth === 128", timeout=SECONDS
    )
    with page.expect_download() as download:
        page.locator("#video-labels").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 20
        found = np.asarray(Image.open(io.BytesIO(archive.read("000001.png")))) == 0
    assert found[40:56, 4:28].all()
    assert not found[:24].any()


def test_what_is_no_clip_is_told_in_a_sentence(page, tmp_path):
    page.locator("#video-begin").click()
    notice = page.locator("#video-notice")
    expect(notice).to_have_text("Choose a clip first: drop it on the field, or click there.")
    path = tmp_path / "notes.mp4"
    path.write_text("no clip")
    give(page, path)
    expect(notice).to_contain_text("cannot be read as a video: save it as MP4", timeout=SECONDS)
    expect(page.locator("#video-begin")).to_be_enabled()
    expect(page.locator("#video-cancel")).to_be_hidden()
    expect(page.locator("#video-clip input[type=file]")).to_have_count(1)  # the field is free for another


def test_a_clip_is_given_up(page, tmp_path):
    give(page, draw_clip(tmp_path / "long.mp4", [LARGE] * 900, rate=30))
    page.locator("#video-cancel").click()
    expect(page.locator("#video-notice")).to_contain_text("was cancelled", timeout=SECONDS)
    expect(page.locator("#video-begin")).to_be_enabled()


def test_a_clip_that_waits_for_another_can_be_given_up_and_another_taken(
    page, plain_app, open_page, tmp_path
):
    """Who cancels in line need not wait for the turn of what was cancelled."""
    give(page, draw_clip(tmp_path / "long.mp4", [LARGE] * 900, rate=30))
    expect(page.locator("#video-begin")).to_be_disabled()
    other = open_page(plain_app)
    other.get_by_role("tab", name="Video").click()
    other.locator("#video-model input").click()
    other.get_by_role("option", name="Colours").click()
    give(other, draw_clip(tmp_path / "square.mp4", square(20)))
    other.wait_for_timeout(500)  # so that it is in line
    other.locator("#video-cancel").click()
    expect(other.locator("#video-notice")).to_have_text("The clip was given up: it was cancelled.")
    expect(other.locator("#video-cancel")).to_be_hidden()
    assert page.locator("#video-cancel").is_visible()  # that of the other goes on
    other.locator("#video-begin").click()
    page.locator("#video-cancel").click()
    expect(page.locator("#video-notice")).to_contain_text("was cancelled")
    expect(other.locator("#video-facts")).to_contain_text("20 of 128 x 96")


def test_frames_of_a_clip_go_into_a_collection_and_on_to_annotate(page, tmp_path):
    page.locator("#video-clip input[type=file]").set_input_files(
        draw_clip(tmp_path / "street.mp4", square(20))
    )
    expect(page.locator("#video-clip")).to_contain_text("street", timeout=SECONDS)
    page.locator("#video-frames button").first.click()
    page.locator("#video-take").click()
    expect(page.locator("#video-notice")).to_contain_text("2 frames are in street", timeout=SECONDS)
    expect(page.locator("#video-cancel")).to_be_hidden()
    page.get_by_role("tab", name="Annotate").click()
    expect(page.locator("#photo-list .pl-photo, #photo-list [data-id]").first).to_be_visible(timeout=SECONDS)


def test_the_webcam_is_segmented_live(page):  # at the end, for it goes on
    page.locator("#video-live button").first.click()
    page.get_by_role("button", name="Click to Access Webcam").click()
    page.locator("#video-webcam").get_by_role(
        "button", name="capture photo"
    ).click()  # Gradio's name for Record
    shown = page.locator("#video-live-mask img")
    expect(shown).to_be_visible(timeout=SECONDS)
    seen = {shown.get_attribute("src")}
    for _ in range(100):
        page.wait_for_timeout(50)
        seen.add(shown.get_attribute("src"))
        if len(seen) > 3:
            break
    assert len(seen) > 3
