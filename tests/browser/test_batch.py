"""The Batch tab of the real page in headless Chromium."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from skimage import data

from browser.patience import expect, wait_for
from segdemo.core import label_maps
from segdemo.core.labels import PETS

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
SECONDS = 60_000  # how long anything may take on a busy machine, in milliseconds


@pytest.fixture
def archive(tmp_path):
    """A ZIP of six photos and two files that are none."""
    path = tmp_path / "holiday.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for number in range(6):
            out = io.BytesIO()
            Image.fromarray(data.chelsea()[:, number : number + 400]).save(out, "PNG")
            opened.writestr(f"cats/{number}.png", out.getvalue())
        opened.writestr("bad.jpg", b"words")
        opened.writestr("readme.txt", b"words")
    return path


def enter(page):
    page.set_default_timeout(SECONDS)
    page.get_by_role("tab", name="Batch").click()
    wait_for(page.locator("#batch-begin"))
    return page


def begin(page, path):
    page.locator("#batch-files input[type=file]").set_input_files(path)
    expect(page.locator("#batch-files")).to_contain_text(path.stem, timeout=SECONDS)
    page.locator("#batch-model input").click()
    page.get_by_role("option", name="Colours").click()
    page.get_by_label("Class shares (CSV)").check()
    page.locator("#batch-begin").click()


def test_a_zip_becomes_a_zip_that_only_its_owner_finds_after_a_reload(plain_app, open_page, archive, phone):
    page = enter(open_page(plain_app))
    expect(page.locator("#batch-hint")).to_be_visible()
    begin(page, archive)
    expect(page.locator("#batch-head")).to_contain_text("7 photos with Colours", timeout=SECONDS)
    page.reload()
    enter(page)
    expect(page.locator("#batch-download")).to_be_visible(timeout=SECONDS)
    expect(page.locator("#batch-head")).to_contain_text(re.compile("Done.*6 of 7", re.S))
    expect(page.locator("#batch-previews img")).to_have_count(6)
    page.get_by_text("Photos that could not be used").click()
    expect(page.locator("#batch-failed")).to_contain_text("bad.jpg")
    with page.expect_download() as download:
        page.locator("#batch-download").click()
    with zipfile.ZipFile(download.value.path()) as results:
        assert len(results.read("classes.csv").splitlines()) == 7
        label_map = label_maps.decode_png(results.read("label_maps/3.png"), PETS)
        assert label_map.shape == (300, 400)
        assert set(np.unique(label_map)) <= {0, 1, 2}
        assert "overlays/0.png" in results.namelist()
    stranger = enter(open_page(plain_app, **phone))
    expect(stranger.locator("#batch-hint")).to_be_visible()
    expect(stranger.locator("#batch-job")).to_be_hidden()
    assert stranger.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#batch-delete").click()
    expect(page.locator("#batch-hint")).to_be_visible(timeout=SECONDS)


def test_what_cannot_be_used_is_said(plain_app, open_page, tmp_path):
    page = enter(open_page(plain_app))
    page.locator("#batch-begin").click()
    expect(page.locator("#batch-notice")).to_contain_text("There are no photos: choose some", timeout=SECONDS)
    (tmp_path / "no.zip").write_bytes(b"words")
    begin(page, tmp_path / "no.zip")
    expect(page.locator("#batch-notice")).to_contain_text("is not a ZIP file", timeout=SECONDS)
    expect(page.locator("#batch-job")).to_be_hidden()


def test_photos_that_come_while_others_are_sent_stay(plain_app, open_page, tmp_path):
    page = enter(open_page(plain_app))
    for name in ("first", "second"):
        Image.fromarray(data.chelsea()).save(tmp_path / f"{name}.png")
    held = []
    page.route("**/queue/join*", lambda route: held.append(route) if not held else route.continue_())
    begin(page, tmp_path / "first.png")
    page.locator("#batch-files input[type=file]").first.set_input_files(tmp_path / "second.png")
    expect(page.locator("#batch-files")).to_contain_text("second", timeout=SECONDS)
    held[0].continue_()
    expect(page.locator("#batch-head")).to_contain_text("1 photo with Colours", timeout=SECONDS)
    expect(page.locator("#batch-files")).not_to_contain_text("first", timeout=SECONDS)
    expect(page.locator("#batch-files")).to_contain_text("second")
