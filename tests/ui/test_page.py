"""The page as it is launched, and what its events make of what is on it, without a browser."""

import threading
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from drawn import draw_voc
from PIL import Image

from segdemo.annotations.store import AnnotationStore
from segdemo.core.labels import VOC, LabelSet
from segdemo.ui import page as segdemo_page
from segdemo.ui.page import launch_options
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.desk import Desk
from segdemo.ui.tabs.train.tab import FAST, SLOW

pytestmark = [
    pytest.mark.usefixtures("event_loops_collected"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
SECONDS = 30  # how long anything may take on a busy machine
CATS = LabelSet("cats", "Cats", ("background", "cat"), ((0, 0, 0), (0, 200, 0)))


def test_a_page_is_served_by_the_guard_and_however_busy_the_machine_is(monkeypatch):
    """Not by Node, whatever the environment asks for; and though Gradio's look at its own page comes to nothing."""
    monkeypatch.setenv("GRADIO_SSR_MODE", "True")
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    with gr.Blocks() as demo:
        gr.Markdown("Squares")
    _, url, _ = demo.launch(**launch_options(), prevent_thread_lock=True, quiet=True)
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=30) as answer:
            assert answer.read() == b"ok"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "Squares" in answer.read().decode()
            assert answer.headers["Content-Security-Policy"]
        assert not demo.ssr_mode
    finally:
        demo.close()


# --- the events of a page ----------------------------------------------------------------------------------


class Visit:
    """A page that is open somewhere: the values of its components, and what an event of one of them does to them."""

    def __init__(self, demo, name="page"):
        self.demo = demo
        self.request = SimpleNamespace(session_hash=name, username=None, request=None)
        self.parts = {part.elem_id: part for part in demo.blocks.values() if getattr(part, "elem_id", None)}
        self.values = {}

    def __getitem__(self, part):
        part = self.parts.get(part, part)
        return self.values.get(part, getattr(part, "value", None))

    def __setitem__(self, part, value):
        self.values[self.parts.get(part, part)] = value

    def event(self, part, name):
        """The function that an event of a component leads to, with what Gradio knows of it."""
        target = (self.parts.get(part, part)._id, name)
        (found,) = (
            fn for fn in self.demo.fns.values() if target in fn.targets and fn.api_visibility == "private"
        )
        return found

    def after_drop(self, field):
        """That which works on what was dropped into a field, and was taken out of it."""
        taken = self.event(field, "upload")
        (found,) = (fn for fn in self.demo.fns.values() if fn.trigger_after == taken._id)
        return taken, found

    def run(self, fn, **data):
        """The updates by an event, after which the page shows them."""
        form = {part: self[part] for part in fn.inputs}
        updates = fn.fn(form, SimpleNamespace(**data), self.request, gr.Progress())
        for part, update in updates.items():
            if isinstance(update, dict) and update.get("__type__") == "update":
                if "value" in update:
                    self.values[part] = update["value"]
            else:
                self.values[part] = update
        return updates

    def fire(self, part, name, **data):
        return self.run(self.event(part, name), **data)

    @contextmanager
    def meanwhile(self, gate, part, name, **data):
        """Inside, an event is at work, until ``gate`` opens behind; its updates are the last of what is yielded."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.fire(part, name, **data)), daemon=True)
        thread.start()
        assert gate.reached.wait(SECONDS)
        try:
            yield answers
        finally:
            gate.open.set()
            thread.join(SECONDS)
        assert answers


class Gate:
    """Keeps whoever comes first waiting until it is opened."""

    def __init__(self):
        self.reached, self.open = threading.Event(), threading.Event()

    def pass_through(self):
        if not self.reached.is_set():
            self.reached.set()
            assert self.open.wait(SECONDS)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole page, with photos of VOC, whose models see nothing at once."""
    folder = tmp_path_factory.mktemp("page")
    draw_voc(folder / "data", VOC, size=(60, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGDEMO_HOME", str(folder / "home"))
        patch.setenv("SEGDEMO_DATA", str(folder / "data"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        patch.setattr(Services, "look_after", lambda self: None)
        patch.setattr(Services, "predict", lambda self, model, photo, passes="once": sees_nothing(photo))
        yield segdemo_page.build()


def sees_nothing(photo):
    nothing = np.zeros(photo.shape[:2], np.uint8)
    return SimpleNamespace(
        label_map=nothing,
        confidence=nothing,
        uncertainty=nothing,
        variance=None,
        out_of_domain=False,
        milliseconds=1,
    )


@pytest.fixture
def visit(demo, request):
    return Visit(demo, request.node.name)


@pytest.fixture
def slow(monkeypatch):
    """A Gate that the first prediction comes to."""
    gate = Gate()

    def predict(self, model, photo, passes="once"):
        gate.pass_through()
        return sees_nothing(photo)

    monkeypatch.setattr(Services, "predict", predict)
    return gate


def text(update):
    return str(update["value"])


# --- Segment -----------------------------------------------------------------------------------------------


@pytest.fixture
def segment(visit):
    """The Segment tab, with its states by name: what is looked at, and the row of thumbnails."""
    step = visit.event("stage", "next")
    visit.choice = next(part for part in step.outputs if isinstance(part, gr.State))
    (visit.row,) = (
        part for part in step.inputs if isinstance(part, gr.State) and isinstance(part.value, tuple)
    )
    visit["model"], visit["compare"] = "deeplabv3", "none"
    assert visit[visit.choice] == visit[visit.row][0]
    return visit


def test_next_and_back_lead_back_however_quickly(segment, slow):
    first, second = segment[segment.row][:2]
    with segment.meanwhile(slow, "stage", "next") as answers:
        segment.fire("stage", "previous")
        assert segment[segment.choice] == first
    assert segment.choice not in answers[0]  # the page has gone on
    assert segment.parts["stage"] not in answers[0]
    assert segment[segment.choice] == first
    segment.fire("stage", "next")
    assert segment[segment.choice] == second
    assert segment["stage"]["key"].startswith(second.path)


def test_the_photo_after_one_that_is_on_its_way_is_the_next(segment, slow):
    segment["photos"] = 1
    with segment.meanwhile(slow, "photos", "click") as answers:
        segment.fire("stage", "next")
    assert segment.choice not in answers[0]
    assert segment[segment.choice] == segment[segment.row][2]


def test_pages_do_not_lead_each_other(demo, segment, slow):
    other = Visit(demo, "another page")
    other["model"], other["compare"] = "deeplabv3", "none"
    with segment.meanwhile(slow, "stage", "next"):
        other.fire("stage", "next")
        assert other[segment.choice] == segment[segment.row][1]
    assert segment[segment.choice] == segment[segment.row][1]


def test_a_photo_that_cannot_be_shown_leads_nowhere(segment, monkeypatch):
    first, second = segment[segment.row][:2]
    with monkeypatch.context() as patch:
        patch.setattr(Services, "predict", lambda *arguments: 1 / 0)
        updates = segment.fire("stage", "next")
    assert "Something unexpected" in text(updates[segment.parts["notice"]])
    assert segment[segment.choice] == first
    segment.fire("stage", "next")
    assert segment[segment.choice] == second


def test_a_thumbnail_is_the_photo_that_was_shown_whatever_model_is_chosen_by_then(segment):
    row = segment[segment.row]
    segment["model"], segment["photos"] = "unet", len(row) - 1  # the model suits fewer photos
    segment.fire("photos", "click")
    assert segment[segment.choice] == row[-1]
    (fn,) = (
        fn
        for fn in segment.demo.fns.values()
        if (segment.parts["model"]._id, "change") in fn.targets and segment.row in fn.outputs
    )
    segment.run(fn)
    assert len(segment[segment.row]) < len(row)
    updates = segment.fire("photos", "click")
    assert "choose one of them again" in text(updates[segment.parts["notice"]])
    for index in (None, -1, "0"):
        segment["photos"] = index
        updates = segment.fire("photos", "click")
        assert "choose one of them again" in text(updates[segment.parts["notice"]])
    assert segment[segment.choice] == row[-1]


def test_a_photo_of_a_dataset_is_the_one_that_was_shown(segment):
    segment.fire("dataset-class", "input")
    segment["dataset-class"] = VOC.classes[1]  # which is chosen, and whose photos are not there yet
    (shown,) = segment.event("dataset-photos", "select").inputs
    assert len(segment[shown]) > 1
    segment.fire("dataset-photos", "select", index=1)
    assert segment[segment.choice] == segment[shown][1]
    updates = segment.fire("dataset-photos", "select", index=len(segment[shown]))
    assert "choose one of them again" in text(updates[segment.parts["notice"]])


# --- Annotate ----------------------------------------------------------------------------------------------


@pytest.fixture
def annotate(visit, demo, monkeypatch):
    """The Annotate tab at a collection of three photos, none of them open; and another, empty collection."""
    services = Services.start()
    store = AnnotationStore(services.store.root)
    for collection in store.collections():
        store.delete(collection.name)
    visit.collection, visit.other = store.create("Mine", CATS), store.create("Other", CATS)
    visit.ids = [
        visit.collection.add_photo(np.full((40, 60, 3), 60 * n, np.uint8), f"{name}.png")
        for n, name in enumerate("abc")
    ]
    visit.store = store
    opened = visit.event("photo-list", "pick").outputs
    states = [part for part in opened if isinstance(part, gr.State)]
    (visit.seen,) = (part for part in states if part.value == ())
    visit["collection"] = visit.collection.name
    visit["start-model"], visit["photo-search"] = "deeplabv3", ""
    visit[next(part for part in opened if isinstance(part, gr.BrowserState))] = {
        "collection": None,
        "photo": None,
    }
    return visit


def shown(visit):
    """Ids of the collection and the photo in the canvas."""
    value = visit["annotate-canvas"]
    return value and value["key"].split("/")[1]


def test_the_photo_that_was_picked_last_is_opened_however_late_others_come(annotate, slow):
    a, b, _ = annotate.ids
    with annotate.meanwhile(slow, "photo-list", "pick", id=a) as answers:
        annotate.fire("photo-list", "pick", id=b)
        assert shown(annotate) == b
    assert annotate.parts["annotate-canvas"] not in answers[0]
    assert shown(annotate) == b
    annotate.fire("photo-list", "pick", id=a)
    assert shown(annotate) == a


def test_whoever_goes_back_to_the_open_photo_stays_there(annotate, monkeypatch):
    a, b, _ = annotate.ids
    annotate.fire("photo-list", "pick", id=a)
    assert annotate.parts["annotate-canvas"] not in annotate.fire("photo-list", "pick", id=a)
    gate = Gate()
    load = Desk.payload
    monkeypatch.setattr(Desk, "payload", lambda *arguments: (gate.pass_through(), load(*arguments))[1])
    with annotate.meanwhile(gate, "photo-list", "pick", id=b) as answers:
        annotate.fire("photo-list", "pick", id=a)
    assert annotate.parts["annotate-canvas"] not in answers[0]
    assert shown(annotate) == a


def test_a_photo_that_cannot_be_opened_does_not_keep_next_from_the_one_that_is(annotate, monkeypatch):
    a, b, _ = annotate.ids
    annotate.fire("photo-list", "pick", id=a)
    with monkeypatch.context() as patch:
        patch.setattr(Desk, "payload", lambda *arguments: 1 / 0)
        annotate.fire("photo-list", "pick", id=b)
    assert shown(annotate) == a
    annotate.fire("annotate-canvas", "next", key=f"{annotate.collection.name}/{a}", shown=None, saving=False)
    assert shown(annotate) != a


def test_another_model_is_for_the_photo_that_was_picked_last(annotate, slow):
    a, b, _ = annotate.ids
    annotate.fire("start-model", "input")  # no photo is open
    assert shown(annotate) is None
    with annotate.meanwhile(slow, "photo-list", "pick", id=a) as answers:
        annotate.fire("photo-list", "pick", id=b)
    annotate["start-model"] = "none"
    annotate.fire("start-model", "input")
    assert shown(annotate) == b
    assert annotate.parts["annotate-canvas"] not in answers[0]


def test_a_late_photo_of_a_collection_that_was_left_is_not_shown(annotate, slow):
    with annotate.meanwhile(slow, "photo-list", "pick", id=annotate.ids[0]) as answers:
        annotate["collection"] = annotate.other.name
        updates = annotate.fire("collection", "input")
        # The menu stays where it is: by now the visitor may be choosing another.
        assert "value" not in updates[annotate.parts["collection"]]
    assert annotate.parts["annotate-canvas"] not in answers[0]


def test_only_the_revision_that_is_shown_is_restored(annotate):
    collection, id_ = annotate.collection, annotate.ids[0]
    for rows in (0, 10, 20):
        mask = np.zeros((40, 60), np.uint8)
        mask[:rows] = 1
        collection.save(id_, mask, collection.photo(id_).revision)
    annotate.fire("photo-list", "pick", id=id_)
    annotate["revisions"] = 2
    annotate.fire("revisions", "input")
    annotate["revisions"] = 1  # chosen, and its mask is not there yet
    updates = annotate.fire("revision-restore", "click")
    assert "Revision 1 is not shown yet" in text(updates[annotate.parts["annotate-notice"]])
    assert collection.photo(id_).revision == 3
    annotate.fire("revisions", "input")
    annotate.fire("revision-restore", "click")
    assert collection.photo(id_).revision == 4
    assert (collection.load(id_) == 0).all()
    updates = annotate.fire("revision-restore", "click")  # the newest is shown
    assert "is not shown yet" in text(updates[annotate.parts["annotate-notice"]])
    # While the newest is opened the visitor may choose another.
    annotate["revisions"] = 4
    assert "value" not in annotate.fire("revisions", "input")[annotate.parts["revisions"]]


def test_an_older_mask_that_comes_late_does_not_take_the_place_of_another_photo(annotate, monkeypatch):
    collection, (a, b, _) = annotate.collection, annotate.ids
    for value in (0, 1):
        collection.save(a, np.full((40, 60), value, np.uint8), collection.photo(a).revision)
    annotate.fire("photo-list", "pick", id=a)
    annotate["revisions"] = 1
    gate = Gate()
    load = Desk.payload

    def payload(self, *arguments, **options):
        gate.pass_through()
        return load(self, *arguments, **options)

    monkeypatch.setattr(Desk, "payload", payload)
    with annotate.meanwhile(gate, "revisions", "input") as answers:
        annotate.fire("photo-list", "pick", id=b)
    assert annotate.parts["annotate-canvas"] not in answers[0]
    assert shown(annotate) == b


@pytest.mark.parametrize("another", [True, False])
def test_a_collection_that_was_deleted_elsewhere_is_closed_when_the_tab_is_entered(annotate, another):
    annotate.fire("photo-list", "pick", id=annotate.ids[0])
    select = next(
        fn
        for fn in annotate.demo.fns.values()
        if annotate.parts["annotate-canvas"] in fn.outputs and [name for _, name in fn.targets] == ["select"]
    )
    opened = next(
        part
        for part in annotate.event("photo-list", "pick").outputs
        if isinstance(part, gr.State) and annotate[part] == annotate.ids[0]
    )
    updates = annotate.run(select)  # nothing was deleted: what is open stays
    assert annotate.parts["annotate-canvas"] not in updates
    assert annotate[opened] == annotate.ids[0]
    annotate.store.delete(annotate.collection.name)
    if not another:
        annotate.store.delete(annotate.other.name)
    updates = annotate.run(select)
    assert "was deleted elsewhere" in text(updates[annotate.parts["annotate-notice"]])
    assert annotate["collection"] == (annotate.other.name if another else None)
    assert annotate[opened] is None
    annotate.run(select)
    assert annotate["collection"] == (annotate.other.name if another else None)


@pytest.fixture
def drops(tmp_path):
    """Two files to drop at once, and one more."""
    paths = []
    for name, shade in (("x", 10), ("y", 20), ("z", 30)):
        paths.append(str(tmp_path / f"{name}.png"))
        Image.fromarray(np.full((40, 60, 3), shade, np.uint8)).save(paths[-1])
    return paths[:2], paths[2:]


def adding(annotate, files):
    """What adding these photos does, after they were taken out of the field."""
    _, add = annotate.after_drop("add-photos")
    annotate["being-added"] = files
    return lambda: annotate.run(add)


def test_photos_that_are_dropped_while_others_are_added_are_added_too(annotate, drops, monkeypatch):
    gate, add_photos = Gate(), Desk.add_photos

    def slow(self, name, paths, *arguments):
        added = add_photos(self, name, paths, *arguments)
        gate.pass_through()
        return added

    monkeypatch.setattr(Desk, "add_photos", slow)
    first, answers = adding(annotate, drops[0]), []
    thread = threading.Thread(target=lambda: answers.append(first()), daemon=True)
    thread.start()
    assert gate.reached.wait(SECONDS)
    adding(annotate, drops[1])()
    z = annotate.collection.photos(search="z.png").photos[0].id
    assert shown(annotate) == z
    gate.open.set()
    thread.join(SECONDS)
    assert {photo.source for photo in annotate.collection.photos().photos} >= {"x.png", "y.png", "z.png"}
    # The one that is open by then stays open; the answer is about its own drop, and leaves the field alone.
    (late,) = answers
    assert shown(annotate) == z and annotate.parts["annotate-canvas"] not in late
    assert "2 photos are in the collection." in text(late[annotate.parts["annotate-notice"]])
    assert not {annotate.parts["add-photos"], annotate.parts["being-added"]} & late.keys()


def test_photos_that_are_added_after_the_collection_was_left_are_told_with_its_name(
    annotate, drops, monkeypatch
):
    add_photos = Desk.add_photos

    def elsewhere(self, name, paths, *arguments):
        annotate["collection"] = annotate.other.name
        annotate.fire("collection", "input")
        return add_photos(self, name, paths, *arguments)

    monkeypatch.setattr(Desk, "add_photos", elsewhere)
    updates = adding(annotate, drops[1])()
    assert "1 photo is in Mine." in text(updates[annotate.parts["annotate-notice"]])
    assert annotate["photo-list"]["photos"] == []
    assert annotate.parts["photo-list"] not in updates
    assert annotate.collection.photos(search="z.png").total == 1


def test_what_is_dropped_leaves_the_field_at_once(annotate):
    """So that the next drop is a batch of its own, whatever is being added."""
    for field, hand in (("add-photos", "being-added"), ("import-archive", "being-imported")):
        taken, work = annotate.after_drop(field)
        assert taken.js == "(files) => [null, files]"
        assert taken.inputs == [annotate.parts[field]]
        assert taken.outputs == [annotate.parts[field], annotate.parts[hand]]
        assert taken.trigger_mode == work.trigger_mode == "multiple"
        assert annotate.parts[hand] in work.inputs and annotate.parts[field] not in work.inputs


def test_an_archive_leaves_the_field_alone_in_which_the_next_one_may_be(annotate):
    annotate.collection.save(annotate.ids[0], np.ones((40, 60), np.uint8), 0)
    annotate["being-imported"] = text(annotate.fire("export", "click")[annotate.parts["export-download"]])
    _, work = annotate.after_drop("import-archive")
    annotate["collection"] = annotate.other.name
    updates = annotate.run(work)
    assert "1 labelled photo was imported." in text(updates[annotate.parts["annotate-notice"]])
    assert annotate.other.photos(annotated=True).total == len(annotate["photo-list"]["photos"]) == 1
    assert not {annotate.parts["import-archive"], annotate.parts["being-imported"]} & updates.keys()


def test_who_opens_a_tab_or_a_photo_does_not_wait_for_what_takes_long(annotate):
    events = [annotate.after_drop(field)[1] for field in ("add-photos", "import-archive")]
    long = ("annotate-sample", "export", "review-start", "rest-start", "rest-take")
    events += [annotate.event(part, "click") for part in long]
    assert {fn.concurrency_id for fn in events} == {"annotate-long"}
    assert len([fn for fn in annotate.demo.fns.values() if fn.concurrency_id == "annotate-long"]) == len(
        events
    )
    quick = [
        ("photo-list", "pick"),
        ("photo-search", "change"),
        ("annotate-canvas", "next"),
        ("add-shown", "click"),
    ]
    assert {annotate.event(*one).concurrency_id for one in quick} == {"annotate"}


def test_no_choice_is_lost_that_is_made_while_the_one_before_is_answered(annotate):
    """The last one in a menu, which is read when it is sent; each of those that come with what was chosen."""
    menus = [
        "collection",
        "start-model",
        "revisions",
        "photo-which",
        "photo-class",
        "photo-sort",
        "dataset-class",
    ]
    menus += ["train-start", "train-source", "train-preset"]
    events = [annotate.event(menu, "input") for menu in menus]
    events += [annotate.event("dataset", "change"), annotate.event("new-labels", "change")]
    assert {fn.trigger_mode for fn in events} == {"always_last"}
    told = [
        ("photo-list", "pick"),
        ("review-card", "decide"),
        ("dataset-photos", "select"),
        ("train-runs", "pick"),
    ]
    assert {annotate.event(*one).trigger_mode for one in told} == {"multiple"}


# --- Train -------------------------------------------------------------------------------------------------


@pytest.fixture
def train(visit, demo):
    """The Train tab; and its timer, and the events of its own and of all tabs."""
    tick = next(fn for fn in demo.fns.values() if visit.parts["train-log"] in fn.outputs and ticks(fn))
    (visit.timer,) = (part for part in tick.outputs if isinstance(part, gr.Timer))
    select = [fn for fn in demo.fns.values() if [name for _, name in fn.targets] == ["select"]]
    (visit.see_tab,) = (fn for fn in select if not fn.inputs and visit.timer in fn.outputs)
    (visit.enter,) = (fn for fn in select if visit.parts["train-log"] in fn.outputs)
    visit.tick = tick
    remembered = next(part for part in tick.inputs if isinstance(part, gr.BrowserState))
    visit[remembered] = {"run": None}
    return visit


def ticks(fn):
    return [name for _, name in fn.targets] == ["tick"]


def test_a_tab_that_was_left_does_not_look_on(train):
    def active(updates):
        return updates[train.timer]["active"]

    train.run(train.see_tab, value="Train")
    assert active(train.run(train.enter)) is True
    assert active(train.run(train.see_tab, value="Zoo")) is False
    assert train.see_tab.trigger_mode == "multiple"
    # Answers that were on their way when the tab was left.
    assert active(train.run(train.enter)) is False
    assert active(train.run(train.tick)) is False
    assert active(train.fire("train-epochs", "input")) is False
    train.run(train.see_tab, value="Train")
    updates = train.run(train.enter)
    assert active(updates) is True
    assert updates[train.timer]["value"] in (FAST, SLOW)


def test_other_tabs_lead_to_one_that_looks(train):
    """They open it without a click on its name, of which nobody is told."""
    train.run(train.see_tab, value="Zoo")
    (cards,) = (part for part in train.demo.blocks.values() if getattr(part, "elem_id", "") == "zoo-cards")
    updates = train.fire(cards, "start", architecture="unet")
    assert updates[train.timer]["active"] is True
    train.run(train.see_tab, value="Zoo")
    train["collection"] = "none"
    updates = train.fire("rest-train", "click")
    assert updates[train.timer]["active"] is True
