"""The Annotate tab of the real page in headless Chromium: from an empty page to a dataset, and nothing is lost."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from serving import served_app
from skimage import data
from tiny import bright, write_model

from browser.canvas_driver import CanvasDriver
from browser.conftest import PHONE
from browser.models import pick_model
from browser.patience import expect, wait_for
from segdemo.annotations.store import AnnotationStore
from segdemo.core.labels import LabelSet

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SECONDS = 30_000  # how long anything may take on a busy machine, in milliseconds
SHARED = (
    "Everybody who visits this page sees and can change these collections"  # looked for by test_train, too
)
LIGHT = LabelSet("light", "Light", ("dark", "light"), ((0, 0, 0), (250, 200, 0)))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(url, AnnotationStore) of the application with one more model, which finds what is bright."""
    folder = tmp_path_factory.mktemp("annotate")
    write_model(folder / "home" / "models" / "light", "light", LIGHT, *bright(2, 1, 0))
    with served_app(folder, SPACE_ID="") as (url, _):
        yield url, AnnotationStore(folder / "home" / "annotations")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photo name to file: a dark one, a bright one, one in between, and one that is no photo."""
    folder = tmp_path_factory.mktemp("photos")
    cat = data.chelsea()[:120, :200]
    for name, picture in (("dark", cat // 4), ("bright", 200 + cat // 5), ("cat", cat)):
        Image.fromarray(picture).save(folder / f"{name}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing")
    return {path.stem: path for path in folder.iterdir()}


class Tab(CanvasDriver):
    """The Annotate tab with its canvas, and how a person and a test reach into it."""

    def __init__(self, page, store):
        super().__init__(page, page.locator("#annotate-canvas .sc"))
        self.canvas, self.store = self.root, store
        page.set_default_timeout(SECONDS)
        self.notice = page.locator("#annotate-notice")
        self.title = page.locator("#annotate-title")
        self.enter()

    def enter(self):
        self.page.get_by_role("tab", name="Annotate").click()
        self.page.wait_for_function(  # either what was open last, or the wish for a first collection
            "() => document.querySelector('#collection input')?.value || document.querySelector('#new-title')"
        )
        return self

    def create(self, title, *classes):
        """Make a collection with own classes (none: those of VOC); returns its Collection."""
        if not self.page.locator("#new-title").is_visible():
            self.page.locator("#collection-new").click()
        self.page.locator("#new-title").get_by_role("textbox").fill(title)
        if classes:
            self.page.locator("#new-labels").get_by_label("My own").check()
            for i, name in enumerate(classes, 1):
                self.page.locator("#new-table").get_by_label(f"Name of class {i}").fill(name)
        self.page.locator("#collection-create").click()
        wait_for(self.page.locator("#new-title"), state="hidden")
        # Photos go into it from now on, and no photo of another collection is open.
        expect(self.page.locator("#collection input")).to_have_value(title, timeout=SECONDS)
        wait_for(self.page.locator("#annotate-hint li.now"))
        return next(c for c in self.store.collections() if c.title == title)

    def add(self, *files):
        self.page.locator("#add-photos input[type=file]").set_input_files(list(files))

    def pick(self, name):
        self.page.locator("#photo-list").get_by_role("button", name=name).click()
        return self.wait_for_photo(name)

    def wait_for_photo(self, name):
        """Wait until a photo is open and drawn; returns its id."""
        expect(self.title).to_contain_text(name, timeout=SECONDS)
        ids = [
            p.id for c in self.store.collections() for p in c.photos(per_page=999).photos if p.source == name
        ]
        self.page.wait_for_function(
            "(ids) => { const sc = document.querySelector('#annotate-canvas .sc');"
            " return ids.includes(sc?.dataset.ready?.split('/')[1]) && !sc.hasAttribute('aria-busy'); }",
            arg=ids,
        )
        return self.canvas.get_attribute("data-ready").split("/")[1]

    def rectangle(self, class_id, corner, opposite):
        self.press("r", str(class_id))
        self.drag(corner, opposite)

    def save(self, revision):
        self.press("Control+s")
        expect(self.canvas).to_have_attribute("data-saved", str(revision), timeout=SECONDS)
        expect(self.title).to_contain_text(f"revision {revision}", timeout=SECONDS)

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def open_section(self, name):
        self.page.get_by_role("button", name=re.compile(name)).click()


@pytest.fixture(scope="module")
def lasting(served, lasting_page):
    return lasting_page(served[0])


@pytest.fixture
def tab(served, lasting):
    """The tab on a page that tests share: each makes a collection of its own."""
    page, errors = lasting
    yield Tab(page, served[1])
    assert errors == []


@pytest.fixture(scope="module")
def lasting_phone(served, lasting_page):
    return lasting_page(served[0], **PHONE)


@pytest.fixture
def phone_tab(served, lasting_phone):
    """As ``tab``, on a phone."""
    page, errors = lasting_phone
    yield Tab(page, served[1])
    assert errors == []


def test_from_nothing_to_a_dataset_and_back(tab, photos, tmp_path):
    collection = tab.create("Leaves", "leaf", "stone")
    assert collection.label_set.classes == ("background", "leaf", "stone")
    assert collection.label_set.background == 0
    tab.add(photos["cat"], photos["broken"], photos["dark"])
    id_ = tab.wait_for_photo("cat.png")
    expect(tab.notice).to_contain_text("2 photos are in the collection.")
    expect(tab.notice).to_contain_text("broken.jpg")
    tab.rectangle(1, (20, 30), (90, 80))
    painted = tab.labels()
    assert set(np.unique(painted)) == {0, 1}
    assert painted[50, 50] == 1
    tab.press("f", "2")  # fill what is around it
    tab.page.mouse.click(*tab.at(150, 10))
    filled = tab.labels()
    np.testing.assert_array_equal(filled, np.where(painted == 1, 1, 2))
    tab.press("Control+z")
    np.testing.assert_array_equal(tab.labels(), painted)
    tab.save(1)
    np.testing.assert_array_equal(collection.load(id_), painted)
    expect(tab.page.locator("#photo-list").get_by_role("button", name="cat.png, labelled")).to_be_visible()

    tab.page.reload()
    tab.enter()
    assert tab.wait_for_photo("cat.png") == id_
    expect(tab.notice).to_be_hidden()
    np.testing.assert_array_equal(tab.labels(), painted)

    tab.open_section("Export and import")
    tab.page.locator("#export").click()
    with tab.page.expect_download() as download:
        tab.page.locator("#export-download").click()
    path = tmp_path / "leaves.zip"
    download.value.save_as(path)
    assert download.value.suggested_filename == "leaves.zip"
    with zipfile.ZipFile(path) as archive:
        with Image.open(io.BytesIO(archive.read("SegmentationClass/cat.png"))) as mask:
            np.testing.assert_array_equal(np.array(mask), painted)
        assert json.loads(archive.read("labels.json"))["classes"][1]["name"] == "leaf"
        assert {"coco/instances_rle.json", "yolo/data.yaml", "overlays/cat.png"} <= set(archive.namelist())

    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("SegmentationClass/lost.png", b"no mask")
        archive.writestr("read.me", b"hello")
    tab.page.get_by_label("a new collection").check()
    tab.page.locator("#import-archive input[type=file]").set_input_files(path)
    expect(tab.notice).to_contain_text("1 labelled photo was imported.", timeout=SECONDS)
    account = tab.page.locator("#account")
    account.get_by_text("What the import left out (2)").click()
    expect(account.locator("tr")).to_have_count(3)
    expect(account).to_contain_text("it has no photo, add JPEGImages/lost.jpg")
    with tab.page.expect_download() as download:
        tab.page.locator("#account-csv").click()
    assert download.value.suggested_filename == "leaves-2-import.csv"
    fresh = next(c for c in tab.store.collections() if c.title == "leaves")
    assert fresh.name != collection.name
    (photo,) = fresh.photos().photos
    np.testing.assert_array_equal(fresh.load(photo.id), painted)
    expect(tab.page.locator("#collection input")).to_have_value("leaves")
    tab.pick("cat.png")
    np.testing.assert_array_equal(tab.labels(), painted)


def test_two_tabs_do_not_overwrite_each_other(served, tab, open_page, photos):
    collection = tab.create("Shared", "leaf", "stone")
    tab.add(photos["cat"])
    id_ = tab.wait_for_photo("cat.png")
    other = Tab(open_page(served[0]), served[1])
    choose(other, "#collection", "Shared")
    wait_for(other.page.locator(f"#photo-list [data-id='{id_}']"))  # until then it lists another collection's
    other.pick("cat.png")
    tab.rectangle(1, (20, 30), (90, 80))
    mine = tab.labels()
    tab.save(1)
    other.rectangle(2, (5, 5), (30, 30))
    theirs = other.labels()
    other.press("Control+s")
    banner = other.canvas.locator(".sc-banner")
    expect(banner).to_contain_text("was saved elsewhere in the meantime", timeout=SECONDS)
    np.testing.assert_array_equal(collection.load(id_), mine)
    np.testing.assert_array_equal(collection.load(id_, 2), theirs)  # the refused one is kept, too
    banner.get_by_role("button", name="Load the other one").evaluate(
        """(button) => {  // while a draft is on its way, which must not bring back what was given up
          document.querySelector("#annotate-canvas .sc").maskCanvas.editor.writeDraft();
          button.click();
        }"""
    )
    expect(other.title).to_contain_text("revision 1", timeout=SECONDS)
    other.page.wait_for_function(
        "() => document.querySelector('#annotate-canvas .sc').maskCanvas.state.revision === 1"
    )
    np.testing.assert_array_equal(other.labels(), mine)
    other.open_section("Earlier masks of this photo")
    other.page.locator("#revisions").get_by_text("kept beside").click()
    expect(other.notice).to_contain_text("This is revision 2", timeout=SECONDS)
    other.page.locator("#revision-restore").click()
    expect(other.notice).to_contain_text(
        "Revision 2 is the photo's mask again, as revision 3.", timeout=SECONDS
    )
    np.testing.assert_array_equal(collection.load(id_), theirs)


def test_delete_and_undo(tab, photos):
    collection = tab.create("Short lived", "leaf", "stone")
    tab.add(photos["cat"], photos["dark"])
    id_ = tab.wait_for_photo("cat.png")
    tab.rectangle(1, (20, 30), (90, 80))
    painted = tab.labels()
    tab.save(1)
    tab.page.locator("#photo-delete").click()
    expect(tab.page.locator("#undo-bar")).to_contain_text("cat.png is in the trash.")
    expect(tab.page.locator("#photo-count")).to_have_text("1 photo")
    assert collection.photo(id_).deleted
    tab.page.locator("#undo").click()
    assert tab.wait_for_photo("cat.png") == id_
    expect(tab.page.locator("#photo-count")).to_have_text("2 photos")
    np.testing.assert_array_equal(tab.labels(), painted)
    assert not collection.photo(id_).deleted

    tab.open_section("Name and classes")
    tab.page.locator("#collection-delete").click()
    expect(tab.page.locator("#undo-bar")).to_contain_text("The collection Short lived is in the trash.")
    assert "Short lived" not in [c.title for c in tab.store.collections()]
    tab.page.locator("#undo").click()
    expect(tab.page.locator("#collection input")).to_have_value("Short lived", timeout=SECONDS)
    tab.page.locator("#photo-list button").last.click()
    tab.wait_for_photo("dark.png")
    tab.page.locator("#photo-delete").click()
    expect(tab.page.locator("#undo-bar")).to_contain_text("dark.png is in the trash.")
    tab.page.locator("#undo-close").click()
    expect(tab.page.locator("#undo-bar")).to_be_hidden()
    np.testing.assert_array_equal(collection.load(id_), painted)


def test_search_filters_and_the_trash(tab, photos):
    collection = tab.create("Mixed", "leaf", "stone")
    tab.add(photos["cat"], photos["dark"], photos["bright"])
    tab.wait_for_photo("bright.png")  # the first by name
    tab.pick("cat.png")
    tab.rectangle(2, (20, 30), (90, 80))
    tab.save(1)
    names = tab.page.locator("#photo-list button")
    expect(names).to_have_count(3)
    tab.page.locator("#photo-search").get_by_role("textbox").fill("RK")
    expect(names).to_have_text(["dark.png"], timeout=SECONDS)
    tab.page.locator("#photo-search").get_by_role("textbox").fill("")
    expect(names).to_have_count(3, timeout=SECONDS)
    choose(tab, "#photo-which", "Still to label")
    expect(names).to_have_text(["bright.png", "dark.png"], timeout=SECONDS)
    choose(tab, "#photo-which", "All photos")
    choose(tab, "#photo-class", "stone")
    expect(names).to_have_count(1, timeout=SECONDS)
    choose(tab, "#photo-class", "leaf")
    expect(tab.page.locator("#photo-list")).to_have_text(
        "No photo fits: add some, or look for others.", timeout=SECONDS
    )
    choose(tab, "#photo-class", "any class")
    expect(names).to_have_count(3, timeout=SECONDS)
    collection.delete(next(p.id for p in collection.photos().photos if p.source == "dark.png"))
    choose(tab, "#photo-which", "In the trash")
    expect(names).to_have_text(["dark.png"], timeout=SECONDS)
    names.click()
    tab.page.get_by_role("button", name="Take it out").click()
    tab.wait_for_photo("dark.png")
    expect(names).to_have_count(3)


def choose(tab, selector, text):
    tab.page.locator(f"{selector} input").click()
    tab.page.locator("li").and_(tab.page.get_by_role("option", name=text, exact=True)).click()


def test_what_is_wrong_is_said_and_nothing_is_lost(served, open_page):
    tab = Tab(open_page(served[0]), served[1])  # whose form is as new
    before = len(tab.store.collections())
    tab.page.locator("#collection-new").click()
    expect(tab.page.locator("#new-title").get_by_role("textbox")).to_be_focused(timeout=SECONDS)
    tab.page.locator("#collection-create").click()
    expect(tab.notice).to_have_text("Give it a name first.")
    tab.page.locator("#new-title").get_by_role("textbox").fill("Wrong")
    tab.page.locator("#new-labels").get_by_label("My own").check()
    table = tab.page.locator("#new-table")
    tab.page.locator("#collection-create").click()
    expect(tab.notice).to_have_text("Every class needs a name.")
    table.get_by_label("Name of class 1").fill("leaf")
    table.get_by_label("Name of class 2").fill("Leaf")
    tab.page.locator("#collection-create").click()
    expect(tab.notice).to_have_text("Two classes are called 'leaf': give each its own name.")
    table.get_by_label("Remove class 2").click()
    table.get_by_role("button", name="Add a class").click()
    table.get_by_label("Name of class 2").fill("stone")
    table.get_by_label("Name of class 2").press("Enter")
    table.get_by_label("Name of class 3").fill("soil")
    table.get_by_label("Name of class 3").press("Enter")  # a row that stays empty is no class
    table.get_by_label("Background class").select_option("none")
    table.get_by_label("Colour of class 1").fill("#123456")
    assert len(tab.store.collections()) == before
    tab.page.locator("#collection-create").click()
    wait_for(table, state="hidden")
    made = next(c for c in tab.store.collections() if c.title == "Wrong").label_set
    assert made.classes == ("background", "leaf", "stone", "soil")
    assert made.background is None
    assert made.colors[1] == (0x12, 0x34, 0x56)


def test_correct_a_prediction_and_go_on_with_the_least_certain_photo(served, open_page, photos, tmp_path):
    url, store = served
    page = open_page(url)
    page.set_default_timeout(SECONDS)
    pick_model(page, "Light")
    page.locator("#photo-input input[type=file]").set_input_files(photos["cat"])
    wait_for(page.locator('#stage .sc[data-ready$="cat.png:light"]').first)
    predicted = page.evaluate(
        "() => [...document.querySelector('#stage .sc').maskCanvas.state.maps.prediction]"
    )
    page.locator("#correct").click()
    wait_for(page.locator("#annotate-canvas"))
    tab = Tab(page, store)
    id_ = tab.wait_for_photo("cat.png")
    collection = next(c for c in store.collections() if c.label_set.classes == LIGHT.classes)
    np.testing.assert_array_equal(tab.labels().ravel(), predicted)
    unsure = tmp_path / "unsure.png"
    Image.new("RGB", (200, 120), (139, 0, 0)).save(unsure)  # light and dark are told apart at 140
    tab.add(photos["dark"], photos["bright"], unsure)
    tab.wait_for_photo("bright.png")  # the first by name
    tab.pick("cat.png")
    tab.rectangle(1, (20, 30), (90, 80))
    tab.pick("cat.png")  # which is open
    tab.save(1)
    expect(tab.title).to_contain_text("revision 1")
    assert collection.photo(id_).model == "light"
    tab.press("n")
    tab.wait_for_photo("unsure.png")
    tab.press("n")
    tab.wait_for_photo("dark.png")
    tab.press("n")  # all had their turn
    tab.wait_for_photo("unsure.png")
    for name in ("bright.png", "dark.png", "unsure.png"):
        tab.pick(name)
        tab.save(1)
    tab.press("n")
    expect(tab.notice).to_have_text("Every photo of this collection has a mask.", timeout=SECONDS)


def saved(tab):
    expect(tab.canvas.locator(".sc-state")).to_have_text(re.compile("^Saved"), timeout=SECONDS)


def until(tab, condition):
    """Wait for what a page that is being left does on the server."""
    for _ in range(SECONDS // 100):
        if condition():
            return
        tab.page.wait_for_timeout(100)
    pytest.fail("It does not happen.")


def test_all_is_saved_by_itself(tab, photos):
    collection = tab.create("Careless", "leaf", "stone")
    tab.add(photos["dark"], photos["cat"], photos["bright"])
    tab.wait_for_photo("bright.png")
    dark = tab.pick("dark.png")
    numbers = lambda id_: [(r.number, r.auto) for r in collection.photo(id_).revisions]  # noqa: E731
    for number in (1, 2):  # nothing but painting
        tab.rectangle(number, (20, 30), (90 * number, 50 * number))
        until(tab, lambda number=number: collection.photo(dark).last == number)
        saved(tab)
        assert numbers(dark) == [(number, True)]
    expect(tab.title).to_contain_text("revision 2", timeout=SECONDS)
    expect(tab.page.locator("#collection-progress")).to_contain_text("1 of 3 labelled")
    tab.rectangle(1, (5, 5), (30, 30))
    painted = tab.labels()
    cat = tab.pick("cat.png")  # at once: leaving saves, on purpose
    until(tab, lambda: numbers(dark) == [(3, False)])
    np.testing.assert_array_equal(collection.load(dark), painted)
    tab.rectangle(2, (5, 5), (30, 30))
    tab.page.get_by_role("tab", name="Zoo").click()  # so does another tab
    until(tab, lambda: numbers(cat) == [(1, True)])
    tab.page.get_by_role("tab", name="Annotate").click()
    tab.rectangle(1, (40, 40), (60, 60))
    painted = tab.labels()
    tab.press("n")
    bright = tab.wait_for_photo("bright.png")
    until(tab, lambda: numbers(cat) == [(2, False)])
    np.testing.assert_array_equal(collection.load(cat), painted)
    assert numbers(bright) == []  # it was only looked at
    tab.press("Shift+Enter")
    tab.wait_for_photo("cat.png")
    assert numbers(bright) == []
    np.testing.assert_array_equal(tab.labels(), painted)
    tab.press("n")
    tab.wait_for_photo("bright.png")
    tab.press("Enter")  # it is right as it is
    expect(tab.notice).to_have_text("Every photo of this collection has a mask.", timeout=SECONDS)
    until(tab, lambda: numbers(bright) == [(1, False)])
    expect(tab.page.locator("#collection-progress")).to_contain_text("3 of 3 labelled", timeout=SECONDS)
    expect(tab.canvas.locator(".sc-banner")).to_be_hidden()


def test_the_next_photo_waits_for_nothing_and_keys_work_at_once(tab, photos):
    tab.create("Quick", "leaf", "stone")
    tab.add(photos["dark"], photos["cat"], photos["bright"])
    tab.wait_for_photo("bright.png")
    tab.pick("cat.png")
    tab.page.keyboard.press("r")
    expect(tab.stage).to_have_attribute("data-tool", "rectangle")
    tab.wait("canvas.ahead && canvas.ahead !== canvas.state.payload.key")
    held = []
    tab.page.route("**/queue/join*", lambda route: held.append(route))  # the server does not answer
    # In one step with the key: what was answered before may still bring another photo.
    following = tab.page.wait_for_function(
        """() => {
          const canvas = document.querySelector("#annotate-canvas .sc").maskCanvas, key = canvas.ahead;
          if (!key || key === canvas.state.payload.key) return null;
          const pressed = new KeyboardEvent("keydown", { key: "n", bubbles: true, cancelable: true });
          document.activeElement.dispatchEvent(pressed);
          return key;
        }"""
    ).json_value()
    expect(tab.canvas).to_have_attribute("data-ready", following)
    tab.page.keyboard.press("p")
    expect(tab.stage).to_have_attribute("data-tool", "polygon")
    for route in held:
        route.continue_()
    tab.page.unroute("**/queue/join*")
    expect(tab.title).not_to_contain_text("cat.png", timeout=SECONDS)
    tab.wait_for_photo(tab.title.locator("b").inner_text())
    assert tab.canvas.get_attribute("data-ready") == following
    expect(tab.page.locator(f"#photo-list [data-id='{following.split('/')[1]}']")).to_have_attribute(
        "aria-pressed", "true"
    )


def test_an_empty_collection_says_what_to_do_and_takes_photos_from_anywhere(tab, photos):
    steps = tab.page.locator("#annotate-hint li")
    tab.create("Fresh", "leaf", "stone")
    expect(steps).to_have_count(3)
    expect(steps.nth(1)).to_have_class(re.compile("now"))
    data = {name: list(photos[name].read_bytes()) for name in ("dark", "cat")}
    tab.page.evaluate(
        """(data) => {
          const dataTransfer = new DataTransfer();
          for (const [name, bytes] of Object.entries(data))
            dataTransfer.items.add(new File([new Uint8Array(bytes)], `${name}.png`, { type: "image/png" }));
          document.querySelector("#annotate-hint").dispatchEvent(
            new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        data,
    )
    tab.wait_for_photo("cat.png")
    expect(tab.page.locator("#collection-progress")).to_contain_text("0 of 2 labelled")
    expect(steps.first).to_be_hidden()


def test_photos_that_are_dropped_while_others_are_added_are_added_too(tab, photos):
    collection = tab.create("Busy", "leaf", "stone")
    held = []
    tab.page.route("**/queue/join*", lambda route: held.append(route))  # the server does not answer
    for n, names in enumerate((("dark", "cat"), ("bright",)), 1):
        tab.add(*(photos[name] for name in names))
        until(tab, lambda n=n: len(held) == n)
        expect(tab.page.locator("#add-photos input[type=file]")).to_have_count(1)  # which takes the next ones
    for route in held:
        route.continue_()
    tab.page.unroute("**/queue/join*")
    expect(tab.page.locator("#collection-progress")).to_contain_text("0 of 3 labelled", timeout=SECONDS)
    sources = [photo.source for photo in collection.photos(sort="source").photos]
    assert sources == ["bright.png", "cat.png", "dark.png"]
    expect(tab.page.locator("#add-photos input[type=file]")).to_have_count(1)


def test_a_collection_that_was_deleted_elsewhere_is_closed(tab, photos):
    collection = tab.create("Passing", "leaf", "stone")
    tab.add(photos["dark"])
    tab.wait_for_photo("dark.png")
    tab.page.get_by_role("tab", name="Segment").click()
    tab.store.delete(collection.name)
    tab.page.get_by_role("tab", name="Annotate").click()
    expect(tab.notice).to_contain_text(
        "The collection that was open here was deleted elsewhere", timeout=SECONDS
    )
    expect(tab.canvas).to_be_hidden()
    expect(tab.page.locator("#collection input")).not_to_have_value("Passing")


def test_the_canvas_fits_the_window_and_the_list_scrolls_by_itself(tab, photos):
    tab.create("Wide", "leaf", "stone")
    tab.add(photos["cat"], photos["dark"])
    tab.wait_for_photo("cat.png")
    bottom = "node.querySelector('.sc-zoombar').getBoundingClientRect().bottom"
    for width, height in ((1024, 768), (1920, 1080), (1440, 900)):
        tab.page.set_viewport_size({"width": width, "height": height})
        tab.wait(f"Math.abs({bottom} - innerHeight) < 24")
        box = tab.page.locator("#photo-list .sp").bounding_box()
        assert box["y"] + box["height"] <= height
        assert tab.page.evaluate("document.documentElement.scrollWidth") == width


def test_a_phone_shows_everything_without_sideways_scrolling(phone_tab, photos):
    tab = phone_tab
    tab.create("Pocket", "leaf", "stone")
    tab.add(photos["cat"])
    tab.wait_for_photo("cat.png")
    tab.pick("cat.png")  # the list is far below the canvas
    expect(tab.title).to_be_in_viewport()
    tab.open_section("Export and import")
    tab.open_section("Name and classes")
    tab.page.locator("#collection-new").click()
    tab.page.locator("#new-labels").get_by_label("My own").check()
    wait_for(tab.page.locator("#new-table").get_by_label("Name of class 1"))
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    for selector in (
        "#collection-new",
        "#new-table section",
        "#photo-list",
        "#collection-delete",
        "#photo-delete",
    ):
        box = tab.page.locator(selector).bounding_box()
        assert box["x"] >= 0, selector
        assert box["x"] + box["width"] <= 390, selector


def test_a_page_that_is_not_shared_does_not_say_so(tab):
    expect(tab.page.get_by_text(SHARED)).to_have_count(0)


def test_the_account_of_an_import_on_a_phone_and_after_one_that_is_refused(phone_tab, tmp_path):
    tab = phone_tab
    if not tab.page.locator("#collection input").is_visible() or not tab.store.collections():
        tab.create("Phone", "leaf")
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 10:20] = 1
    files = {
        "images/a.png": np.full((40, 40, 3), 99, np.uint8),
        "masks/a.png": mask,
        "masks/lost one.png": mask,
    }
    with zipfile.ZipFile(tmp_path / "phone.zip", "w") as archive:
        for name, pixels in files.items():
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "PNG")
            archive.writestr(name, out.getvalue())
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("read.me", "nothing")
    if not tab.page.get_by_label("a new collection").is_visible():
        tab.open_section("Export and import")
    tab.page.get_by_label("a new collection").check()
    tab.page.locator("#import-archive input[type=file]").set_input_files(tmp_path / "phone.zip")
    expect(tab.notice).to_contain_text("1 labelled photo was imported.", timeout=SECONDS)
    account = tab.page.locator("#account")
    account.get_by_text("What the import left out (1)").click()
    cells = account.locator("td")
    expect(cells.nth(1)).to_have_text("masks/lost one.png")
    assert all(cell.bounding_box()["width"] > 200 for cell in cells.all())
    expect(account.locator("th").first).to_be_hidden()
    assert not tab.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    tab.page.get_by_label("a new collection").check()
    tab.page.locator("#import-archive input[type=file]").set_input_files(tmp_path / "none.zip")
    expect(tab.notice).to_contain_text("none.zip holds no annotations", timeout=SECONDS)
    expect(account).to_be_hidden()
