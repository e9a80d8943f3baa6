"""Teach in headless Chromium, with features that are a cell's mean colour: strokes, what they teach, Apply and undo."""

import re

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from serving import free_port
from tiny import write_features

from browser.canvas_driver import CanvasDriver
from browser.patience import expect, wait_for
from browser.standing import add_button, standing_page
from segdemo.core.labels import VOC
from segdemo.core.photos import Limits
from segdemo.errors import UserError
from segdemo.ui.components.canvas import mask_canvas, payload
from segdemo.ui.photos import PhotoCache
from segdemo.ui.teaching import Teaching
from segdemo.zoo import served

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

HEIGHT, WIDTH = 240, 320
BICYCLE, CAT = 2, 8
TRUTH = np.zeros((HEIGHT, WIDTH), np.uint8)
TRUTH[60:180, 40:170] = BICYCLE
COLOURS = np.array([(40, 90, 160), (0, 0, 0), (210, 160, 40)], np.uint8)
NOISE = np.random.default_rng(0).integers(-8, 9, (HEIGHT, WIDTH, 1))
PHOTO = (COLOURS[TRUTH] + NOISE).clip(0, 255).astype(np.uint8)
MASK = np.zeros_like(TRUTH)
MASK[:30] = CAT


@pytest.fixture(scope="module")
def app(tmp_path_factory, event_loops_collected):
    """The address of a page with a canvas that teaches, one that does not, and a box for the key of the photo."""
    folder = tmp_path_factory.mktemp("teach")
    Image.fromarray(PHOTO).save(folder / "photo.png")

    def photo_of(key):
        if key == "gone":
            raise UserError("There is no such photo: choose another.")
        return folder / "photo.png"

    def show(key):
        return payload(key, PHOTO, VOC, yours=MASK, mode="edit")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        patch.setenv("SEGDEMO_HOME", str(folder / "home"))
        patch.setattr(served, "WEIGHTS", folder / "weights")
        write_features(folder / "weights", long_side=256)
        with gr.Blocks() as demo:
            which = gr.Textbox(label="case", elem_id="case")
            on_features = Teaching(PhotoCache(Limits())).answering(photo_of)
            with gr.Column() as place:
                canvas = mask_canvas(on_features=on_features, elem_id="canvas")
            mask_canvas(show("plain"), elem_id="plain")
            which.submit(show, which, canvas, show_progress="hidden")
            add_button(place, canvas, which)
        _, url, _ = demo.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True)
        yield url
        demo.close()


class Canvas(CanvasDriver):
    def __init__(self, page):
        super().__init__(page, page.locator("#canvas .sc"))

    def show(self, key):
        self.page.locator("#case textarea, #case input").fill(key)
        self.page.locator("#case textarea, #case input").press("Enter")
        wait_for(self.root.and_(self.page.locator(f'[data-ready="{key}"]')))
        return self

    def take_up(self):
        self.press("g")
        self.wait("canvas.editor.teach.session()?.strokes")
        return self.settled()

    def settled(self):
        """Wait until what is painted is learned."""
        self.wait("!canvas.editor.teach.session().learning && canvas.editor.teach.session().strokes")
        return self

    def paint(self, class_id, *points, **options):
        self.js("canvas.editor.choose(argument)", class_id)
        self.drag(*points, **options)
        return self.settled()

    def taught(self):
        """The label map that is shown, or None."""
        answer = "canvas.editor.teach.session().answer"
        return self.map(f"{answer}.data") if self.js(f"Boolean({answer})") else None

    def strokes(self):
        return self.map("canvas.editor.teach.session().strokes.map")

    def hint(self):
        return self.root.locator(".sc-settings .sc-hint")

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)


@pytest.fixture(scope="module")
def standing(app, browser):
    with standing_page(browser, app) as standing:
        yield standing


@pytest.fixture
def canvas(standing):
    with standing.renewed() as page:
        yield Canvas(page)


def right(label_map):
    return (label_map == TRUTH).mean()


def test_two_classes_are_taught_applied_undone_and_kept(canvas):
    canvas.show("photo").take_up()
    expect(canvas.hint()).to_contain_text("Paint a little of each class")
    canvas.paint(BICYCLE, (80, 100), (120, 130))
    expect(canvas.hint()).to_contain_text("Only bicycle is painted: paint a second class")
    assert canvas.taught() is None
    expect(canvas.button("Apply: write what was taught into the mask")).to_be_disabled()
    canvas.paint(0, (230, 60), (260, 200))
    assert right(canvas.taught()) > 0.99
    np.testing.assert_array_equal(canvas.labels(), MASK)  # until it is applied
    assert canvas.js("canvas.describe(60, 80).entry.id") == BICYCLE
    both = canvas.strokes()
    assert set(np.unique(both)) == {0, BICYCLE, 255}

    # Strokes have an undo of their own, and the eraser and the right button take them away.
    canvas.press("Control+z")
    canvas.settled()
    assert canvas.taught() is None
    canvas.press("Control+Shift+Z")
    canvas.settled()
    np.testing.assert_array_equal(canvas.strokes(), both)
    canvas.press("e")
    expect(canvas.button("Eraser")).to_have_attribute("aria-pressed", "true")
    canvas.drag((230, 60), (260, 200))
    canvas.settled()
    assert set(np.unique(canvas.strokes())) == {BICYCLE, 255}
    canvas.press("Control+z", "g")
    canvas.settled()

    canvas.button("Apply: write what was taught into the mask").click()
    canvas.wait("canvas.editor.e.tool === 'brush'")
    assert right(canvas.labels()) > 0.99
    assert canvas.js("canvas.editor.e.history.steps()") == 1
    canvas.press("Control+z")
    np.testing.assert_array_equal(canvas.labels(), MASK)

    wait_for(canvas.root.and_(canvas.page.locator("[data-strokes]")))
    canvas.page.reload()
    canvas.show("photo").take_up()
    np.testing.assert_array_equal(canvas.strokes(), both)
    assert right(canvas.taught()) > 0.99
    canvas.button("Clear strokes").click()
    canvas.settled()
    assert (canvas.strokes() == 255).all()
    canvas.press("Control+z", "Escape")
    assert canvas.js("canvas.editor.e.tool") == "brush"


def test_apply_over_background_only_where_it_is_sure_and_the_next_place(canvas):
    canvas.show("photo").take_up()
    canvas.paint(BICYCLE, (80, 100), (120, 130)).paint(0, (230, 60), (260, 200))
    canvas.press("u")
    scale = canvas.js("canvas.view.scale / canvas.view.fitScale()")
    assert scale == pytest.approx(2)
    x, y = canvas.js("canvas.editor.teach.session().answer.next")
    middle = canvas.js("canvas.view.toImage(canvas.view.width / 2, canvas.view.height / 2)")
    assert middle == pytest.approx([x * WIDTH, y * HEIGHT], abs=1)
    expect(canvas.root.locator(".sc-cross")).to_be_visible()
    whole = canvas.taught()
    canvas.root.get_by_label("Surer than").fill("95")
    canvas.wait("canvas.editor.teach.session().answer.data.includes(255)")
    surer = canvas.taught()
    assert ((surer == 255) | (surer == whole)).all()
    canvas.button("Only over background").click()
    canvas.button("Apply: write what was taught into the mask").click()
    canvas.wait("canvas.editor.e.tool === 'brush'")
    np.testing.assert_array_equal(canvas.labels(), np.where((surer == 255) | (MASK == CAT), MASK, surer))


def test_another_photo_begins_with_what_was_painted_before(canvas):
    canvas.show("mine/1").take_up()
    canvas.paint(BICYCLE, (80, 100), (120, 130)).paint(0, (230, 60), (260, 200))
    canvas.show("mine/2")
    canvas.wait("canvas.editor.teach.session()?.answer")
    assert (canvas.strokes() == 255).all()
    assert right(canvas.taught()) > 0.98
    canvas.show("other/1")
    canvas.wait("canvas.editor.teach.session()?.strokes")
    canvas.settled()
    assert canvas.taught() is None


def test_what_cannot_be_taught_is_said(canvas):
    canvas.show("gone").press("g")
    expect(canvas.root.locator(".sc-banner")).to_contain_text("There is no such photo: choose another.")
    expect(canvas.hint()).to_contain_text("There is no such photo")
    canvas.show("photo").take_up()
    canvas.press("x")
    canvas.drag((80, 100), (120, 130))
    expect(canvas.root.locator(".sc-banner")).to_contain_text("Void cannot be taught: choose a class.")
    assert (canvas.strokes() == 255).all()
    plain = CanvasDriver(canvas.page, canvas.page.locator("#plain .sc"))
    plain.press("g")
    assert plain.js("canvas.editor.e.tool") == "brush"
    expect(plain.root.get_by_role("button", name="Teach", exact=True)).to_have_count(0)


def test_a_server_that_is_away_is_asked_again_with_the_next_stroke(canvas):
    canvas.show("photo")
    canvas.page.route(re.compile("component_server"), lambda route: route.abort())
    canvas.press("g")
    expect(canvas.hint()).to_contain_text("The server does not answer: your strokes are kept")
    canvas.paint(BICYCLE, (80, 100), (120, 130))
    wait_for(canvas.root.and_(canvas.page.locator("[data-strokes]")))
    canvas.page.unroute(re.compile("component_server"))
    canvas.paint(0, (230, 60), (260, 200))
    assert right(canvas.taught()) > 0.99


def test_on_a_phone_the_settings_fit(app, open_page, phone):
    canvas = Canvas(open_page(app, **phone)).show("photo")
    canvas.button("Teach").tap()
    canvas.settled()
    canvas.js("canvas.editor.choose(argument)", BICYCLE)
    canvas.page.touchscreen.tap(*canvas.at(100, 120))
    canvas.settled()
    assert set(np.unique(canvas.strokes())) == {BICYCLE, 255}
    assert canvas.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    toolbar, settings = canvas.root.locator(".sc-toolbar"), canvas.root.locator(".sc-teach")
    outer, inner = toolbar.bounding_box(), settings.bounding_box()
    assert inner["x"] + inner["width"] <= outer["x"] + outer["width"]
    assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
