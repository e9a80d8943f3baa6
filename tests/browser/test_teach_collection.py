"""From strokes on three photos to a promoted model, on the real page in Chromium, with the shipped features."""

import re

import numpy as np
import pytest
from drawn import scene

from browser import test_annotate, test_train
from browser.models import pick_model
from browser.patience import expect, wait_for
from segdemo.annotations import drafts, strokes
from segdemo.annotations.store import AnnotationStore
from segdemo.core.labels import VOID
from segdemo.runs import processes

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system"),
]

MINUTES = 600_000  # how long a training may take on a busy machine, in milliseconds
SIZE = (160, 120)
COUNT = 10


class Tab(test_annotate.Tab):
    """The Annotate tab, in which classes are taught."""

    def paint(self, class_id, *points):
        self.js("canvas.editor.choose(argument)", class_id)
        self.drag(*points)
        self.wait("!canvas.editor.teach.session().learning")

    def teach(self, truth):
        """Take up Teach, and paint a stroke on the disc of a photo and one on the ground."""
        self.take_up()
        y, x = (int(np.median(where)) for where in np.nonzero(truth == 1))
        self.paint(1, (x - 8, y), (x + 8, y))
        self.paint(0, (4, 116), (150, 116))
        name, _, id_ = self.canvas.get_attribute("data-ready").partition("/")
        kept = lambda: strokes.load(self.store.open(name), id_)  # noqa: E731
        test_annotate.until(self, lambda: np.array_equal(kept(), self.strokes()))

    def take_up(self):
        self.press("g")
        self.wait("canvas.editor.teach.session()?.strokes")
        return self

    def strokes(self):
        return self.map("canvas.editor.teach.session().strokes.map")

    def click(self, selector):
        self.page.locator(selector).click()

    def listed(self, name):
        return self.page.locator("#photo-list").get_by_role("button", name=name)


@pytest.fixture
def discs(tmp_path):
    """Drawn photos with a disc: name -> (path, truth)."""
    found = {}
    for seed in range(COUNT + 1):
        photo, truth = scene(seed, SIZE, foreground=1, background=0)
        path = tmp_path / "photos" / f"p{seed:02d}.png"
        path.parent.mkdir(exist_ok=True)
        photo.save(path)
        found[path.name] = path, truth
    return found


def right(label_map, truth):
    return (label_map == truth).mean()


def test_from_strokes_to_a_promoted_model(tmp_path, open_page, serve, discs):
    store = AnnotationStore(tmp_path / "home" / "annotations")
    names = list(discs)[:COUNT]
    with serve(tmp_path) as (url, process):
        tab = Tab(open_page(url), store)
        collection = tab.create("Discs", "disc", "edge")
        tab.add(*(discs[name][0] for name in names))
        tab.wait_for_photo(names[0])
        ids = {photo.source: photo.id for photo in collection.photos().photos}

        # Strokes are with the collection: in another browser, and after the server was killed.
        for name in names[:3]:
            tab.pick(name)
            tab.teach(discs[name][1])
        kept = strokes.load(collection, ids[names[2]])
        assert set(np.unique(kept)) == {0, 1, VOID}
        np.testing.assert_array_equal(kept, tab.strokes())
        other = Tab(open_page(url), store)
        other.pick(names[2])
        np.testing.assert_array_equal(other.take_up().strokes(), kept)
        process.kill()
    with serve(tmp_path, script="tests/prompt_app.py") as (url, _):
        page = open_page(url)
        tab = Tab(page, store)
        tab.pick(names[2])
        np.testing.assert_array_equal(tab.take_up().strokes(), kept)
        tab.press("Escape")

        # Label the rest: drafts, which nobody's mask is.
        tab.open_section("Label the rest")
        expect(page.locator("#rest-about")).to_contain_text(
            "Learns from the strokes of Teach (G) on 3 photos and from 0 finished masks. 10 photos without a mask"
        )
        tab.click("#rest-start")
        expect(tab.notice).to_contain_text(f"Done: {COUNT} of {COUNT} photos have a draft.", timeout=MINUTES)
        expect(page.locator("#photo-list")).to_contain_text(re.compile(r"draft \d+ %"))
        made = drafts.found(collection)
        assert made.keys() == set(ids.values())
        for name, id_ in ids.items():
            assert right(drafts.load(collection, id_, made[id_]), discs[name][1]) > 0.9
            assert collection.photo(id_).revision == 0
        expect(page.locator("#start-model input")).to_have_value("Taught: Discs")

        # One is looked at, corrected and taken by saving it; the others at once.
        tab.pick(names[3])
        expect(tab.title).to_contain_text("draft, ")
        np.testing.assert_array_equal(
            tab.labels(), drafts.load(collection, ids[names[3]], made[ids[names[3]]])
        )
        tab.rectangle(1, (2, 2), (20, 12))
        tab.save(1)
        assert (collection.load(ids[names[3]])[4:10, 4:18] == 1).all()
        expect(tab.listed(f"{names[3]}, labelled")).to_be_visible()
        page.locator("#rest-least input[type=number]").fill("20")
        page.locator("#rest-least input[type=number]").press("Tab")
        tab.click("#rest-take")
        expect(tab.notice).to_contain_text(f"{COUNT - 1} drafts are masks now.")
        assert collection.photos(annotated=True).total == COUNT
        assert collection.photo(ids[names[0]]).model == "taught:discs"

        # A wrong mask is found, and put right by a key.
        wrong = ids[names[5]]
        collection.save(wrong, np.zeros(SIZE[::-1], np.uint8), 1)
        tab.open_section("Review")
        tab.click("#review-start")
        card = page.locator("#review-card .rc")
        expect(card).to_contain_text(f"{names[5]}: is this background, or disc?")
        expect(page.locator("#review-balance")).to_contain_text("disc")
        card.press("o")
        tab.wait_for_photo(names[5])
        tab.wait("canvas.view.scale > 1.2 * canvas.view.fitScale()")
        card.press("t")
        expect(card).not_to_contain_text(f"{names[5]}: is this background, or disc?")
        assert right(collection.load(wrong), discs[names[5]][1]) > 0.9

        # Fine-tune from here, promote, and segment a photo that nobody has seen.
        tab.click("#rest-train")
        train = test_train.Tab(page)
        expect(page.locator("#train-source input")).to_have_value(f"Discs · {COUNT} labelled")
        train.choose("start", r"^Plain U-Net · Oxford")  # the quickest to trace
        expect(train.field("title")).to_have_value(re.compile("^Plain U-Net"))  # what it suggests is there
        train.fill(epochs=1, size=64, title="Discs", steps=4, watched=2)
        train.click("begin")
        train.wait("done", MINUTES)
        # What was painted is the model to beat; after four steps nothing is.
        expect(page.locator(".tr-result")).to_contain_text("does not beat what was taught by painting")
        train.click("promote")
        expect(train.notice).to_contain_text(re.compile("stands for version 1 now|Not promoted"))
        if "Not promoted" in train.notice.inner_text():  # after four steps it may know little
            train.click("force")
        expect(train.notice).to_contain_text("stands for version 1 now")
        page.get_by_role("tab", name="Segment").click()
        pick_model(page, "Discs")
        fresh = list(discs)[COUNT]
        page.locator("#photo-input input[type=file]").first.set_input_files(str(discs[fresh][0]))
        wait_for(page.locator(f'#stage .sc[data-ready*="{fresh}"]').first)
        # So does the taught classifier, by the same menu.
        pick_model(page, "Taught: Discs")
        wait_for(page.locator(f'#stage .sc[data-ready*="{fresh}:taught:discs"]').first)
        width, height, flat = page.locator("#stage .sc").evaluate(
            "({ maskCanvas: { state } }) => [state.width, state.height, [...state.maps.prediction]]"
        )
        assert right(np.array(flat, np.uint8).reshape(height, width), discs[fresh][1]) > 0.9
