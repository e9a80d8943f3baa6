"""The Train tab of the real page in headless Chromium: the whole loop on drawn photos, and every button."""

import contextlib
import json
import os
import re
import signal
import time

import numpy as np
import pytest
from drawn import scene
from serving import served_app

from browser import test_annotate
from browser.models import pick_model
from browser.patience import expect, wait_for
from segdemo.annotations.store import AnnotationStore
from segdemo.core.labels import PETS
from segdemo.runs import processes

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system"),
]

SECONDS = 30_000  # how long anything may take on a busy machine, in milliseconds
MINUTES = 300_000  # a real training of a few steps, and its export
SIDE = 96  # pixels, of the drawn photos


def photos(folder, count):
    """Drawn discs: a list of (path of a photo, label map with the disc as 2 and the ground as 1).

    A disc is what the shipped model takes for a pet, so that there is something to learn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for i in range(count):
        photo, mask = scene(i, (SIDE, SIDE), foreground=2, background=1)
        photo.save(folder / f"photo{i:02d}.png")
        found.append((folder / f"photo{i:02d}.png", mask.astype(np.uint8)))
    return found


def annotate(home, folder, count, title="My pets"):
    """A collection of labelled photos, through the store."""
    collection = AnnotationStore(home / "annotations").create(title, PETS)
    for path, mask in photos(folder, count):
        collection.save(collection.add_photo(path, path.name), mask, 0)
    return collection


class Tab:
    """The Train tab, and how a person and a test reach into it."""

    def __init__(self, page):
        self.page = page
        page.set_default_timeout(SECONDS)
        page.get_by_role("tab", name="Train").click()
        expect(self.field("title")).not_to_have_value("", timeout=SECONDS)
        self.head = page.locator(".tr-head")
        self.rows = page.locator(".tr-row")
        self.notice = page.locator("#train-notice")

    def click(self, name):
        self.page.locator(f"#train-{name}").click()

    def choose(self, menu, text):
        self.page.locator(f"#train-{menu} input").click()
        self.page.get_by_role("option", name=re.compile(text)).first.click()

    def field(self, name):
        return self.page.locator(f"#train-{name}").locator("input, textarea").first

    def fill(self, **fields):
        for name, value in fields.items():
            box = self.field(name)
            if not box.is_visible():
                self.open_more()
            box.fill(str(value))
            box.press("Tab")

    def open_more(self):
        """Settings are not on the page before."""
        self.page.locator("#train-more button").first.click()

    def wait(self, state, milliseconds=SECONDS):
        expect(self.head).to_have_attribute("data-state", state, timeout=milliseconds)

    def run_id(self):
        return self.head.get_attribute("data-run")


# --- the whole loop, with the real trainer ------------------------------------------------------------------


def test_from_labelled_photos_to_a_promoted_model_that_segments_a_new_one(tmp_path, open_page, serve):
    home = tmp_path / "home"
    annotate(home, tmp_path / "photos", 20)
    new_photo, truth = photos(tmp_path / "new", 25)[24]
    with serve(tmp_path, script="tests/prompt_app.py") as (url, _):
        page = open_page(url)
        tab = Tab(page)
        expect(page.locator("#train-hint")).to_be_visible()
        expect(page.locator("#train-source input")).to_have_value("My pets · 20 labelled")
        tab.choose("start", r"^U-Net · Oxford")
        expect(tab.field("title")).to_have_value("U-Net on Oxford-IIIT Pet")
        expect(page.locator("#train-summary")).to_contain_text(re.compile(r"Learns from 1\d photos"))
        expect(page.get_by_role("radio", name="Good")).to_be_checked()
        tab.open_more()
        suggested = int(tab.field("epochs").input_value())
        page.get_by_role("radio", name="Quick").check()
        expect(tab.field("epochs")).to_have_value(str(round(suggested / 3)))
        tab.fill(epochs=2, size=64, rate=0.002, steps=8, title="Drawn pets")
        expect(page.locator("#train-preset :checked")).to_have_count(0)  # none of the presets
        tab.fill(watched=4)
        tab.click("begin")
        tab.wait("running")
        expect(tab.head).to_contain_text("Drawn pets")
        expect(page.locator(".tr-chart")).to_have_count(2, timeout=MINUTES)
        expect(page.locator("#train-samples img")).to_be_visible(timeout=MINUTES)
        first = page.locator("#train-samples .ts").get_attribute("data-epoch")
        assert first.isdigit()

        # Another browser that opens the page sees the same run at once.
        other = open_page(url)
        other_tab = Tab(other)
        expect(other_tab.head).to_have_attribute("data-run", tab.run_id())
        other.close()

        tab.wait("done", MINUTES)
        result = page.locator("#train-result")
        expect(result).to_contain_text("Mean IoU", timeout=SECONDS)
        expect(result).to_contain_text("background")
        expect(result).to_contain_text("Before is unet")
        expect(page.locator("#train-samples .ts")).to_have_attribute("data-epoch", "2")
        page.get_by_role("button", name="Epoch before").click()
        expect(page.locator("#train-samples output")).to_contain_text("after epoch 1")
        expect(tab.rows.first).to_contain_text("drawn-pets@1")
        # An image has no width while it loads.
        page.wait_for_function(
            "document.querySelector('#train-samples img').naturalWidth > 300", timeout=SECONDS
        )
        page.locator("#train-origin-box button").first.click()
        expect(page.locator(".tr-origin")).to_contain_text("learning rate")
        expect(page.locator(".tr-origin")).to_contain_text("unet")

        tab.click("promote")
        expect(tab.notice).to_contain_text("drawn-pets stands for version 1 now")
        # Every menu has it, without a restart.
        page.get_by_role("tab", name="Segment").click()
        pick_model(page, "Drawn pets")
        page.locator("#photo-input input[type=file]").first.set_input_files(str(new_photo))
        stage = '#stage .sc[data-ready*="photo24.png:drawn-pets"]'
        wait_for(page.locator(stage).first)
        width, height, flat = page.locator("#stage .sc").evaluate(
            "({ maskCanvas: { state } }) => [state.width, state.height, [...state.maps.prediction]]"
        )
        predicted = np.array(flat, np.uint8).reshape(height, width)
        assert predicted.shape == truth.shape
        disc, found = truth == 2, predicted == 2
        assert (disc & found).sum() / (disc | found).sum() > 0.5

        page.get_by_role("tab", name="Train").click()
        tab.click("rollback")
        told = "stands for no version trained here again"
        expect(tab.notice).to_contain_text(told)
        # The answer to opening the tab, which may be the later one, takes nothing away.
        page.get_by_role("tab", name="Segment").click()
        page.get_by_role("tab", name="Train").click()
        page.wait_for_timeout(1000)
        expect(tab.notice).to_contain_text(told)
        served = json.loads((home / "models" / "drawn-pets" / "manifest.json").read_text())
        assert list(served["models"]) == ["drawn-pets@1"]
        lineage = served["models"]["drawn-pets@1"]["lineage"]
        assert lineage["parent"] == "unet"
        assert len(lineage["dataset_hash"]) == 64


# --- every button, with a trainer that only pretends -----------------------------------------------------------


@contextlib.contextmanager
def pretending(folder, serve=served_app, **environment):
    """The application with the trainer of tests, and a collection of five labelled photos."""
    if not (folder / "home" / "annotations").exists():
        annotate(folder / "home", folder / "photos", 5)
    try:
        with serve(folder, script="tests/fake_app.py", **environment) as served:
            yield served
    finally:
        for path in (folder / "home" / "runs").glob("*/run.json"):
            for launch in json.loads(path.read_text()).get("launches", []):
                if processes.lives(launch["pid"], launch["started"]):
                    os.killpg(launch["pid"], signal.SIGKILL)


SLOW = {"FAKE_STEPS": "2000", "FAKE_DELAY": "0.05"}


@pytest.fixture(scope="module")
def long_runs(tmp_path_factory):
    """(folder, url, process) of an application whose runs last for minutes."""
    folder = tmp_path_factory.mktemp("long")
    with pretending(folder, **SLOW) as (url, process):
        yield folder, url, process


@pytest.fixture(scope="module")
def lasting(long_runs, lasting_page):
    return lasting_page(long_runs[1])


@pytest.fixture
def long_tab(lasting):
    """The Train tab of that application, on a page that tests share."""
    page, errors = lasting
    yield Tab(page)
    assert errors == []


def test_runs_queue_and_are_cancelled_resumed_renamed_cloned_and_deleted(long_runs, long_tab, open_page):
    folder, url, _ = long_runs
    tab, page = long_tab, long_tab.page
    expect(page.locator("#train-estimate")).to_contain_text("About", timeout=SECONDS)
    tab.fill(title="First", epochs=3)
    page.locator("#train-begin").dblclick()
    tab.wait("running")
    first = tab.run_id()
    expect(tab.head).to_contain_text("Photos a second")
    expect(page.locator("#train-estimate")).to_contain_text("About")  # known already

    # The same wish in another tab is the same run; another wish has to wait.
    other = open_page(url, context=page.context)
    second = Tab(other)
    expect(second.rows).to_have_count(1)
    second.fill(title="First", epochs=3)
    second.click("begin")
    expect(second.notice).to_contain_text("in progress already")
    expect(second.rows).to_have_count(1)
    second.fill(title="Second", epochs=5)
    second.click("begin")
    second.wait("queued")
    expect(second.head).to_contain_text("1st in the queue")
    expect(tab.rows).to_have_count(2, timeout=SECONDS)  # the first tab shows it by itself
    other.close()

    tab.click("cancel")
    tab.wait("cancelled")
    expect(page.locator("#train-cancel")).to_be_hidden()
    expect(tab.rows.first.locator(".tr-badge")).to_have_text("running", timeout=SECONDS)
    tab.click("resume")
    tab.wait("queued")

    tab.click("rename")
    expect(tab.field("new-title")).to_have_value("First")
    tab.fill(**{"new-title": "Renamed <b>"})
    tab.click("save-title")
    expect(tab.head.locator("h2")).to_have_text("Renamed <b>")
    expect(page.locator("#train-new-title")).to_be_hidden()

    tab.click("clone")
    if not tab.field("epochs").is_visible():
        tab.open_more()
    expect(tab.field("epochs")).to_have_value("3")
    expect(tab.field("title")).to_have_value("Renamed <b>")

    tab.click("delete")
    tab.click("keep")
    expect(page.locator("#train-really")).to_be_hidden()
    tab.click("delete")
    tab.click("really")
    expect(tab.notice).to_contain_text("is deleted")
    expect(tab.rows).to_have_count(1)
    assert not (folder / "home" / "runs" / first).exists()


def test_a_run_and_its_page_outlive_the_server(long_runs, long_tab, open_page, serve):
    folder, _, server = long_runs
    tab = long_tab
    if tab.rows.count():  # the second of the test before
        tab.rows.first.click()
    else:
        tab.click("begin")
    tab.wait("running")
    run_id = tab.run_id()
    server.send_signal(signal.SIGKILL)
    server.wait()
    tab.page.close()
    trainer = json.loads((folder / "home" / "runs" / run_id / "run.json").read_text())["launches"][-1]
    assert processes.lives(trainer["pid"], trainer["started"])
    with serve(folder, script="tests/fake_app.py", **SLOW) as (again, _):
        tab = Tab(open_page(again))
        tab.wait("running")
        assert tab.run_id() == run_id
        os.kill(trainer["pid"], signal.SIGKILL)
        tab.wait("failed")
        expect(tab.head.get_by_role("alert")).to_contain_text("resume it")
        tab.click("resume")
        tab.wait("running")
        os.killpg(trainer_of(folder, run_id), signal.SIGKILL)


def trainer_of(folder, run_id):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        launches = json.loads((folder / "home" / "runs" / run_id / "run.json").read_text())["launches"]
        if processes.lives(launches[-1]["pid"], launches[-1]["started"]):
            return launches[-1]["pid"]
        time.sleep(0.05)
    raise AssertionError("no trainer")


@pytest.fixture(scope="module")
def short_runs(tmp_path_factory):
    """The address of an application whose runs are done at once, with worse models, and two collections."""
    folder = tmp_path_factory.mktemp("short")
    annotate(folder / "home", folder / "few", 2, "Few")
    annotate(folder / "home", folder / "photos", 5)
    with pretending(folder, FAKE_SCORE="0.5") as (url, _):
        yield url


@pytest.fixture(scope="module")
def lasting_short(short_runs, lasting_page):
    return lasting_page(short_runs)


@pytest.fixture
def short_tab(lasting_short):
    """The Train tab of that application, on a page that tests share."""
    page, errors = lasting_short
    yield Tab(page)
    assert errors == []


def test_too_few_labelled_photos_are_explained_and_wrong_numbers_named(short_tab):
    tab, page = short_tab, short_tab.page
    tab.choose("source", "^Few")
    expect(page.locator("#train-summary")).to_contain_text(
        "Label at least 3 photos first (2 labelled so far)"
    )
    expect(page.locator("#train-begin")).to_be_disabled()
    expect(page.locator("#train-hint li.now")).to_contain_text("1. Label a few photos")
    expect(page.locator("#train-estimate")).to_have_text("")  # which would say the same
    page.locator("#train-source input").focus()
    for _ in range(3):  # opens the menu, stands at "Few", goes on to "My pets"
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#train-begin")).to_be_enabled()
    expect(page.locator("#train-source input")).to_have_value("My pets · 5 labelled")
    tab.fill(size=100)
    tab.click("begin")
    expect(tab.notice.get_by_role("alert")).to_have_text("Crop is a multiple of 32 pixels, not 100.")
    tab.fill(size=64, epochs=0)
    tab.click("begin")
    expect(tab.notice.get_by_role("alert")).to_contain_text("Epochs is a number from 1")
    expect(tab.rows).to_have_count(0)


def test_a_worse_model_is_promoted_only_by_force_and_taken_back_with_one_click(short_tab):
    tab, page = short_tab, short_tab.page
    expect(page.locator("#train-source input")).to_have_value("My pets · 5 labelled")
    tab.fill(size=64, epochs=2, title="Worse")
    tab.click("begin")
    tab.wait("done")
    expect(page.locator(".tr-objection")).to_contain_text("worse than the 60.0")
    tab.click("promote")
    expect(tab.notice.get_by_role("alert")).to_contain_text("Not promoted: Version 1 of worse scores 50.0")
    tab.click("force")
    expect(tab.notice).to_contain_text("worse stands for version 1 now")
    expect(page.locator(".tr-versions")).to_contain_text("in use")
    tab.choose("start", "^Worse · ")
    expect(tab.field("title")).to_have_value("Worse")
    tab.click("rollback")
    expect(tab.notice).to_contain_text("no version trained here again")
    expect(page.locator("#train-rollback")).to_be_hidden()


def test_a_shared_page_says_so_and_where_training_is_not_allowed_nothing_starts(tmp_path, open_page, serve):
    shared = {"SPACE_ID": "someone/segdemo", "SEGDEMO_WORKSPACES": "shared"}
    with pretending(tmp_path, serve, **shared) as (url, _):
        page = open_page(url)
        tab = Tab(page)
        expect(page.locator("#train-policy")).to_contain_text("Training is switched off here")
        tab.click("begin")
        expect(tab.notice.get_by_role("alert")).to_contain_text("Training is switched off here")
        expect(tab.rows).to_have_count(0)
        assert not (tmp_path / "home" / "runs" / ".estimates").exists()
        page.get_by_role("tab", name="Annotate").click()
        expect(page.get_by_text(test_annotate.SHARED)).to_be_visible(timeout=SECONDS)


def test_a_token_opens_training_and_the_page_fits_a_phone(tmp_path, open_page, phone, serve):
    environment = {"SEGDEMO_TRAINING": "token", "SEGDEMO_TRAINING_TOKEN": "sesame"}
    with pretending(tmp_path, serve, **environment, **SLOW) as (url, _):
        page = open_page(url, **phone)
        tab = Tab(page)
        tab.fill(token="wrong")
        tab.click("begin")
        expect(tab.notice.get_by_role("alert")).to_contain_text("Give the training token")
        tab.fill(token="sesame")
        expect(page.locator("#train-policy")).to_be_hidden()
        tab.click("begin")
        tab.wait("running")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        tab.click("cancel")
        tab.wait("cancelled")
