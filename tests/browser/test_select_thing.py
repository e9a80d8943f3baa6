"""Select thing in headless Chromium, with a server that answers disks: what is asked, painted and undone."""

import base64
import io
import threading
import time

import gradio as gr
import numpy as np
import pytest
import skimage.data
from PIL import Image
from serving import free_port

from browser.canvas_driver import CanvasDriver
from browser.patience import expect, wait_for
from browser.standing import add_button, standing_page
from segdemo.core.labels import VOC
from segdemo.ui.components.canvas import mask_canvas, payload

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PHOTO = skimage.data.chelsea()  # (300, 451, 3)
HEIGHT, WIDTH = PHOTO.shape[:2]
BICYCLE, CAT, PERSON = 2, 8, 15
RADIUS = 40
PREDICTION = np.zeros((HEIGHT, WIDTH), np.uint8)
PREDICTION[100:200, 300:400] = CAT
EMPTY = np.zeros_like(PREDICTION)


def disk(x, y):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(columns - x, rows - y) < RADIUS


def png64(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


class Selector:
    """Stands for the model on the server: a positive click adds a disk, a negative one takes one away."""

    def __init__(self):
        self.asked, self.previews, self.prepared = [], [], []
        self.previewing = self.most_previews = 0  # at a time
        self.answer_instead = None  # given to all but previews
        self.gate = threading.Event()  # closed: answers wait
        self.gate.set()
        self.saved = None

    def select(self, data):
        if data["prepare"]:
            self.prepared.append(data["key"])
            return self.answer_instead or {"ready": True}
        (self.previews if data["preview"] else self.asked).append(data)
        if data["preview"]:
            self.previewing += 1
            self.most_previews = max(self.most_previews, self.previewing)
            time.sleep(0.03)
            self.previewing -= 1
        else:
            self.gate.wait(20)
        if self.answer_instead:
            return self.answer_instead
        start = time.perf_counter()
        inside = np.zeros((HEIGHT, WIDTH), bool)
        if data["mask"]:
            with Image.open(io.BytesIO(base64.b64decode(data["mask"]))) as mask:
                assert (mask.mode, mask.size) == ("L", (WIDTH, HEIGHT))
                inside = np.asarray(mask) > 127
        box = data["box"]
        if box and not data["mask"]:
            inside[box[1] : box[3], box[0] : box[2]] = True
        points = [(x, y) for x, y, _ in data["clicks"]] + ([box[:2], box[2:]] if box else [])
        for x, y, positive in data["clicks"]:
            inside = inside | disk(x, y) if positive else inside & ~disk(x, y)
        (x0, y0), (x1, y1) = np.min(points, 0) - RADIUS, np.max(points, 0) + RADIUS
        x0, y0, x1, y1 = max(0, int(x0)), max(0, int(y0)), min(WIDTH, int(x1)), min(HEIGHT, int(y1))
        part = np.where(inside[y0:y1, x0:x1], np.uint8(255), np.uint8(0))
        return {
            "box": [x0, y0, x1, y1],
            "probabilities": png64(part),
            "changed": png64(np.full_like(part, 255)),
            "milliseconds": (time.perf_counter() - start) * 1000,
        }

    def save(self, key, png, base_revision):
        with Image.open(io.BytesIO(png)) as image:
            self.saved = np.asarray(image)
        return {"revision": 1}


def show(name):
    prediction = None if name == "empty" else PREDICTION
    return payload(name, PHOTO, VOC, prediction=prediction, mode="edit")


@pytest.fixture(scope="module")
def app(tmp_path_factory, event_loops_collected):
    """(url, selector) of a page with a canvas that has a model, one that has none, and a box for the name of a case."""
    selector = Selector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("cache")))
        with gr.Blocks() as demo:
            which = gr.Textbox(label="case", elem_id="case")
            with gr.Column() as place:
                canvas = mask_canvas(on_save=selector.save, on_select=selector.select, elem_id="canvas")
            mask_canvas(payload("alike", PHOTO, VOC, mode="edit"), elem_id="alike")
            which.submit(show, which, canvas, show_progress="hidden")
            add_button(place, canvas, which)
        _, url, _ = demo.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True)
        yield url, selector
        demo.close()


class Canvas(CanvasDriver):
    def __init__(self, page, selector):
        super().__init__(page, page.locator("#canvas .sc"))
        self.selector = selector

    def show(self, case):
        self.page.locator("#case textarea, #case input").fill(case)
        self.page.locator("#case textarea, #case input").press("Enter")
        wait_for(self.root.and_(self.page.locator(f'[data-ready="{case}"]')))
        self.stage.scroll_into_view_if_needed()
        return self

    def take_up(self, number=BICYCLE):
        self.press(*str(number))
        self.press("s")
        self.wait("canvas.editor.e.tool === 'thing' && canvas.editor.thing.isLearned()")
        return self

    def settled(self, answers):
        """Wait until so many requests are answered and their masks painted."""
        self.wait("!argument || canvas.editor.thing.isOpen()", answers)
        deadline = time.monotonic() + 20
        while len(self.selector.asked) < answers and time.monotonic() < deadline:
            self.page.wait_for_timeout(10)
        self.wait("!canvas.editor.thing.selecting.isAsking()")
        assert len(self.selector.asked) == answers
        return self

    def same(self, wanted):
        np.testing.assert_array_equal(self.labels(), wanted)

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)


@pytest.fixture(scope="module")
def standing(app, browser):
    with standing_page(browser, app[0]) as standing:
        yield standing


@pytest.fixture
def canvas(app, standing):
    with standing.renewed() as page:
        app[1].__init__()
        yield Canvas(page, app[1])


def painted(base, inside, class_id):
    return np.where(inside, np.uint8(class_id), base)


def test_a_thing_is_selected_corrected_accepted_and_undone_as_one_step(canvas):
    canvas.show("photo").take_up()
    canvas.click(100, 100)
    canvas.settled(1).same(painted(PREDICTION, disk(100, 100), BICYCLE))
    canvas.click(150, 100)
    both = disk(100, 100) | disk(150, 100)
    canvas.settled(2).same(painted(PREDICTION, both, BICYCLE))
    canvas.click(100, 130, button="right")
    less = both & ~disk(100, 130)
    canvas.settled(3).same(painted(PREDICTION, less, BICYCLE))
    canvas.page.keyboard.down("Alt")
    canvas.click(180, 100)
    canvas.page.keyboard.up("Alt")
    less &= ~disk(180, 100)
    canvas.settled(4).same(painted(PREDICTION, less, BICYCLE))
    expect(canvas.root.locator(".sc-click-plus")).to_have_count(2)
    expect(canvas.root.locator(".sc-click-minus")).to_have_count(2)
    assert [r["clicks"] for r in canvas.selector.asked][-1] == [
        [100, 100, 1],
        [150, 100, 1],
        [100, 130, 0],
        [180, 100, 0],
    ]
    assert [r["mask"] is None for r in canvas.selector.asked] == [True, False, False, False]
    assert canvas.js("canvas.editor.e.history.steps()") == 0
    canvas.press("Enter")
    assert canvas.js("canvas.editor.e.history.steps()") == 1
    expect(canvas.root.locator(".sc-click-plus")).to_have_count(0)
    canvas.press("Control+z")
    canvas.same(PREDICTION)
    canvas.press("Control+Shift+Z")
    canvas.same(painted(PREDICTION, less, BICYCLE))


def test_undo_and_redo_take_an_open_selection_as_one_step(canvas):
    canvas.show("empty").take_up()
    canvas.click(100, 100)
    canvas.click(150, 100)
    canvas.wait("!canvas.editor.thing.selecting.isAsking()")
    wanted = painted(EMPTY, disk(100, 100) | disk(150, 100), BICYCLE)
    canvas.same(wanted)
    canvas.press("Control+z")
    canvas.same(EMPTY)
    canvas.press("Control+Shift+Z")
    canvas.same(wanted)


def test_backspace_takes_the_last_click_back_and_escape_all(canvas):
    canvas.show("photo").take_up()
    canvas.click(60, 60)
    first = painted(PREDICTION, disk(60, 60), BICYCLE)
    canvas.settled(1).same(first)
    canvas.click(330, 120)  # over the cat
    canvas.settled(2).same(painted(first, disk(330, 120), BICYCLE))
    canvas.press("Backspace")
    canvas.same(first)
    expect(canvas.root.locator(".sc-click-plus")).to_have_count(1)
    canvas.click(330, 120)
    canvas.settled(3)
    assert canvas.selector.asked[-1]["clicks"] == [[60, 60, 1], [330, 120, 1]]
    canvas.press("Escape")
    canvas.same(PREDICTION)
    assert canvas.js("canvas.editor.e.history.steps()") == 0
    canvas.click(60, 60)
    canvas.settled(4)
    canvas.press("Backspace")
    canvas.same(PREDICTION)
    assert not canvas.js("canvas.editor.thing.isOpen()")


def test_the_class_of_a_thing_can_change_while_it_is_selected(canvas):
    canvas.show("photo").take_up()
    canvas.click(310, 110)
    canvas.settled(1)
    canvas.press("1", "5")
    canvas.same(painted(PREDICTION, disk(310, 110), PERSON))
    canvas.press("b")  # another tool takes it
    assert canvas.js("canvas.editor.e.history.steps()") == 1
    canvas.press("7")
    canvas.same(painted(PREDICTION, disk(310, 110), PERSON))


def test_an_existing_region_of_the_class_is_corrected(canvas):
    canvas.show("photo").take_up(CAT)
    canvas.click(298, 150)  # beside it
    inside = (PREDICTION == CAT) | disk(298, 150)
    canvas.settled(1).same(painted(PREDICTION, inside, CAT))
    with Image.open(io.BytesIO(base64.b64decode(canvas.selector.asked[0]["mask"]))) as mask:
        np.testing.assert_array_equal(np.asarray(mask) > 127, PREDICTION == CAT)
    canvas.click(390, 190, button="right")
    inside &= ~disk(390, 190)
    canvas.settled(2).same(painted(EMPTY, inside, CAT))
    canvas.press("9")
    canvas.same(painted(EMPTY, inside, 9))
    canvas.press("Escape")
    canvas.same(PREDICTION)


def test_only_over_background_keeps_other_classes(canvas):
    canvas.show("photo").take_up()
    canvas.button("Only over background").click()
    canvas.click(300, 100)
    canvas.settled(1).same(painted(PREDICTION, disk(300, 100) & (PREDICTION == 0), BICYCLE))


def test_a_box_and_a_scribble(canvas):
    canvas.show("empty").take_up()
    canvas.drag((50, 60), (90, 80), (150, 140))
    wanted = np.zeros_like(EMPTY, bool)
    wanted[60:141, 50:151] = True
    canvas.settled(1).same(painted(EMPTY, wanted, BICYCLE))
    request = canvas.selector.asked[0]
    assert (request["clicks"], request["box"], request["mask"]) == ([], [50, 60, 151, 141], None)
    canvas.press("Enter")
    canvas.page.keyboard.down("Shift")
    canvas.drag((250, 100), (300, 100), (350, 100))
    canvas.page.keyboard.up("Shift")
    canvas.settled(2)
    clicks = canvas.selector.asked[1]["clicks"]
    assert [x for x, _, _ in clicks] == pytest.approx([250, 275, 300, 325, 350], abs=2)
    assert {sign for *_, sign in clicks} == {1}
    assert canvas.selector.asked[1]["box"] is None
    canvas.drag((200, 200), (201, 201))  # too short for a box
    canvas.settled(3)
    assert canvas.selector.asked[2]["clicks"][5:] == [[200, 200, 1]]


def test_saving_accepts_first(canvas):
    canvas.show("photo").take_up()
    canvas.click(100, 100)
    canvas.settled(1)
    canvas.press("Control+s")
    wait_for(canvas.root.and_(canvas.page.locator("[data-saved]")))
    np.testing.assert_array_equal(canvas.selector.saved, painted(PREDICTION, disk(100, 100), BICYCLE))


def test_a_slow_server_loses_no_click_and_paints_in_order(canvas):
    canvas.show("empty").take_up()
    canvas.selector.gate.clear()
    for x in (60, 120, 180):
        canvas.click(x, 100)
    canvas.click(60, 200)
    canvas.press("Backspace")  # one that was not even sent
    canvas.page.wait_for_timeout(100)
    assert len(canvas.selector.asked) == 1
    canvas.same(EMPTY)
    canvas.selector.gate.set()
    three = disk(60, 100) | disk(120, 100) | disk(180, 100)
    canvas.settled(2).same(painted(EMPTY, three, BICYCLE))
    assert [len(r["clicks"]) for r in canvas.selector.asked] == [1, 3]
    canvas.selector.gate.clear()
    canvas.click(300, 100)
    canvas.press("Enter")  # accepted when the answer is there, and the next thing comes after it
    canvas.press("3")
    canvas.click(300, 250)
    canvas.selector.gate.set()
    canvas.wait("canvas.editor.e.history.steps() === 1 && canvas.editor.thing.isOpen()")
    canvas.settled(4)
    wanted = painted(painted(EMPTY, three | disk(300, 100), 3), disk(300, 250), 3)
    canvas.same(wanted)


def test_an_answer_for_another_photo_is_dropped(canvas):
    canvas.show("photo").take_up()
    canvas.selector.gate.clear()
    canvas.click(100, 100)
    canvas.show("empty")
    canvas.selector.gate.set()
    canvas.wait("!canvas.editor.thing.selecting.isAsking()")
    canvas.same(EMPTY)
    canvas.show("photo").same(PREDICTION)


def test_leaving_the_photo_keeps_what_is_selected(canvas):
    canvas.show("photo").take_up()
    canvas.click(100, 100)
    canvas.settled(1)
    canvas.show("empty").show("photo")
    canvas.same(painted(PREDICTION, disk(100, 100), BICYCLE))
    assert not canvas.js("canvas.editor.thing.isOpen()")


def test_the_thing_under_the_pointer_is_previewed(canvas):
    canvas.show("photo").take_up()
    lit = """(() => {
      const glow = node.querySelectorAll("canvas.sc-layer")[2];
      const { data } = glow.getContext("2d").getImageData(0, 0, glow.width, glow.height);
      return data.filter((value, i) => i % 4 === 3 && value).length;
    })()"""
    canvas.page.mouse.move(*canvas.at(100, 100))
    canvas.wait(f"{lit} > 1000")
    assert canvas.selector.prepared == ["photo"]  # asked before the preview, which has been answered
    canvas.page.mouse.move(*canvas.at(156, 100), steps=20)
    canvas.page.wait_for_timeout(400)
    assert canvas.selector.previews[-1]["clicks"] == [[156, 100, 1]]  # the latest wins
    assert canvas.selector.most_previews == 1
    canvas.same(PREDICTION)
    canvas.click(156, 100)
    canvas.settled(1)
    count = len(canvas.selector.previews)
    canvas.page.mouse.move(*canvas.at(200, 200))
    canvas.page.wait_for_timeout(200)
    assert len(canvas.selector.previews) == count  # none while something is being selected
    canvas.press("Escape")
    canvas.wait(f"{lit} === 0")


@pytest.mark.parametrize("failing", ["from the start", "later"])
def test_a_server_that_fails_is_said_once_and_colours_decide(canvas, failing):
    canvas.show("empty")
    banner = canvas.root.locator(".sc-banner")
    if failing == "later":
        canvas.take_up()
    canvas.selector.answer_instead = {"error": "The model is being replaced."}
    if failing == "from the start":
        canvas.press("2", "s")
        expect(banner).to_contain_text("The model is being replaced.")
    canvas.click(140, 100)
    expect(banner).to_contain_text("Areas of like colour are selected instead.")
    canvas.wait("canvas.editor.e.history.steps() === 1")
    assert (canvas.labels() == BICYCLE).any()
    expect(canvas.root.get_by_label("Reach")).to_be_visible()
    canvas.button("Dismiss this message").click()
    canvas.click(300, 200)
    canvas.wait("canvas.editor.e.history.steps() === 2")
    expect(banner).to_be_hidden()
    canvas.selector.answer_instead = None
    canvas.press("b", "s")  # taken up anew, the server is asked anew
    canvas.wait("canvas.editor.thing.isLearned()")
    expect(canvas.root.get_by_label("Reach")).to_be_hidden()


def test_a_failure_amid_a_selection_costs_only_the_last_click(canvas):
    canvas.show("empty").take_up()
    canvas.click(100, 100)
    canvas.settled(1)
    canvas.selector.answer_instead = {"error": "There are 101 clicks: 100 are the most."}
    canvas.click(200, 100)
    expect(canvas.root.locator(".sc-banner")).to_contain_text(
        "100 are the most. The last click was left out."
    )
    canvas.same(painted(EMPTY, disk(100, 100), BICYCLE))
    canvas.selector.answer_instead = None
    canvas.click(200, 100)
    canvas.settled(3).same(painted(EMPTY, disk(100, 100) | disk(200, 100), BICYCLE))


def test_without_a_model_colours_decide_and_the_page_says_so(app, open_page):
    canvas = CanvasDriver(page := open_page(app[0]), page.locator("#alike .sc"))
    wait_for(canvas.root.and_(page.locator("[data-ready]")))
    canvas.press("2", "s")
    expect(canvas.root.locator(".sc-banner")).to_contain_text("There is no model here that selects things.")
    canvas.click(140, 100)
    canvas.wait("canvas.editor.e.history.steps() === 1")


def test_select_thing_by_the_keyboard_alone(canvas):
    canvas.show("empty").take_up()
    canvas.press("ArrowRight", "Enter")
    canvas.settled(1)
    (x, y, sign), *_ = canvas.selector.asked[0]["clicks"]
    canvas.same(painted(EMPTY, disk(x, y), BICYCLE))
    canvas.press("x")
    expect(canvas.button("Clicks take away")).to_have_attribute("aria-pressed", "true")
    canvas.press("Shift+ArrowRight", "Enter")
    canvas.settled(2)
    assert canvas.selector.asked[1]["clicks"] == [[x, y, sign], [x + 10, y, 0]]
    canvas.press("Enter")  # twice at one place
    assert canvas.js("canvas.editor.e.history.steps()") == 1
    expect(canvas.button("Clicks add")).to_have_attribute("aria-pressed", "true")


def test_a_finger_taps_and_the_switch_takes_away(app, open_page, phone):
    url, selector = app
    selector.__init__()
    canvas = Canvas(open_page(url, **phone), selector).show("photo")
    canvas.button("Select thing").tap()
    canvas.js("canvas.editor.choose(argument)", BICYCLE)
    canvas.page.touchscreen.tap(*canvas.at(100, 100))
    canvas.settled(1).same(painted(PREDICTION, disk(100, 100), BICYCLE))
    canvas.js("canvas.editor.down([20, 20], {}) || canvas.editor.cancel()")  # as when a second finger comes
    canvas.settled(1).same(painted(PREDICTION, disk(100, 100), BICYCLE))
    minus = canvas.button("Clicks take away")
    box = minus.bounding_box()
    assert min(box["width"], box["height"]) >= 44
    minus.tap()
    expect(minus).to_have_attribute("aria-pressed", "true")
    canvas.page.touchscreen.tap(*canvas.at(130, 100))
    left = disk(100, 100) & ~disk(130, 100)
    canvas.settled(2).same(painted(PREDICTION, left, BICYCLE))
    assert not selector.previews
    canvas.button("Take the selected thing").tap()
    assert canvas.js("canvas.editor.e.history.steps()") == 1
    assert canvas.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
