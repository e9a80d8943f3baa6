"""What a collection learns from its strokes, and drafts of the rest made in the background."""

import threading
import time

import numpy as np
import pytest
from drawn import scene, strokes_on
from tiny import write_features

from segdemo import zoo
from segdemo.annotations import drafts, strokes
from segdemo.annotations.store import AnnotationStore
from segdemo.core.arrays import digest_of
from segdemo.core.files import NotFoundError, StoreError
from segdemo.core.labels import VOID, LabelSet
from segdemo.core.photos import Limits
from segdemo.inference import teach
from segdemo.inference.features import Features
from segdemo.ui.tabs.annotate import lessons, prelabel
from segdemo.ui.tabs.annotate.prelabel import Prelabelling
from segdemo.zoo import served
from segdemo.zoo.taught import versions

DISC = LabelSet("disc", "Disc", ("ground", "disc", "other"), ((0, 0, 0), (200, 90, 0), (0, 160, 60)))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The store of collections, with features that are colours."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    write_features(tmp_path / "weights")
    return AnnotationStore()


def with_discs(collection, count):
    """Photos with a disc in a collection: {id: truth}."""
    truths = {}
    for seed in range(count):
        photo, truth = scene(seed, (120, 80), foreground=1, background=0)
        truths[collection.add_photo(np.asarray(photo), f"p{seed}")] = truth
    return truths


@pytest.fixture
def discs(store):
    """A collection of five photos with a disc, the first of them painted on: the collection, and {id: truth}."""
    collection = store.create("Discs", DISC)
    truths = with_discs(collection, 5)
    first = next(iter(truths))
    strokes.save(collection, first, strokes_on(truths[first], 1), "")
    return collection, truths


@pytest.fixture
def work(store):
    return Prelabelling(lambda: store, Limits())


# ------------------------------------------------------------------------------------------------ lessons


def test_what_is_learned_is_what_the_strokes_teach(discs):
    collection, truths = discs
    features = Features()
    entry = lessons.learn(collection, features)
    assert lessons.taught_model(collection) == entry == zoo.served_model("taught:discs")
    assert entry.label_set.classes == DISC.classes
    first = next(iter(truths))
    photo = collection.image(first)
    wanted = teach.learn([teach.Strokes(features.of(photo), strokes_on(truths[first], 1))], features.steps)
    kept = teach.Taught.read(entry.path)
    assert (kept.classes, kept.features) == ((0, 1), features.entry.onnx_sha256)
    np.testing.assert_array_equal(kept.weights, wanted.weights)
    assert collection.photo(first).sha256 == digest_of(photo)  # by which features are kept


def test_versions_are_numbered_few_and_new_only_with_new_strokes(discs, monkeypatch):
    collection, truths = discs
    monkeypatch.setattr(lessons, "KEPT", 2)
    for _ in range(2):
        lessons.learn(collection, Features())
    assert [path.name for path in versions(collection.folder)] == ["000001.json"]
    for id_, truth in list(truths.items())[1:4]:
        strokes.save(collection, id_, strokes_on(truth, 1), "")
        lessons.learn(collection, Features())
    assert [path.name for path in versions(collection.folder)] == ["000004.json", "000003.json"]
    versions(collection.folder)[0].write_text("[")  # what is damaged is learned again
    assert lessons.learn(collection, Features()).onnx == "000005.json"


def test_only_those_painted_on_last_are_learned_from(discs, monkeypatch):
    collection, truths = discs
    ids = list(truths)
    monkeypatch.setattr(lessons, "MOST_PHOTOS", 1)
    strokes.save(
        collection, ids[1], np.where(strokes_on(truths[ids[1]], 1) == 1, 2, strokes_on(truths[ids[1]], 1)), ""
    )
    monkeypatch.setattr(strokes, "when", lambda _, id_: ids.index(id_))
    assert teach.Taught.read(lessons.learn(collection, Features()).path).classes == (0, 2)


def test_finished_masks_teach_and_those_that_are_not_or_measure_do_not(store):
    collection = store.create("Masks", DISC)
    truths = with_discs(collection, 4)
    first, measured, begun, other = truths
    collection.save(begun, truths[begun], 0, sitting="now", auto=True)  # by the page, while somebody paints
    with pytest.raises(teach.TeachError, match="Nothing is painted"):
        lessons.learn(collection, Features())
    collection.save(first, truths[first], 0)
    collection.save(measured, np.full_like(truths[measured], 2), 0)
    for id_, split in ((first, "train"), (begun, "train"), (measured, "val")):
        collection.set_split(id_, split)
    assert [photo.id for photo in lessons.finished(collection)] == [first]
    features = Features()
    kept = teach.Taught.read(lessons.learn(collection, features).path)
    assert kept.classes == (0, 1)
    photo = collection.image(other)
    found = teach.label_map(kept, teach.probabilities(kept, features.of(photo), features.steps), photo)
    assert (found == truths[other]).mean() > 0.95
    draft = drafts.put(collection, other, found, "taught:masks", "", 0.9, 0.1) and drafts.find(
        collection, other
    )
    drafts.take_over(collection, other, draft)
    collection.set_split(other, "train")
    assert [photo.id for photo in lessons.finished(collection)] == [first]


def test_too_little_is_said(store, discs):
    empty = store.create("Empty", DISC)
    with pytest.raises(teach.TeachError, match="Nothing is painted: paint at least two classes"):
        lessons.learn(empty, Features())
    id_ = empty.add_photo(np.full((40, 40, 3), 90, np.uint8), "grey")
    strokes.save(empty, id_, np.ones((40, 40), np.uint8), "")
    with pytest.raises(teach.TeachError, match="Only class 1 is painted"):
        lessons.learn(empty, Features())
    assert lessons.taught_model(empty) is None


# ---------------------------------------------------------------------------------------- label the rest


def test_all_photos_without_a_mask_get_a_draft(discs, work):
    collection, truths = discs
    ids = list(truths)
    own = truths[ids[2]].copy()
    own[:8] = VOID
    collection.save(ids[2], own, 0)
    work.start(collection.name).join()
    job = work.job(collection.name)
    assert (job.state, job.done, job.total, job.failed) == ("done", 4, 4, ())
    assert job.sentence() == "Done: 4 of 4 photos have a draft."
    made = drafts.found(collection)
    assert made.keys() == set(ids) - {ids[2]}
    for id_, draft in made.items():
        assert (drafts.load(collection, id_, draft) == truths[id_]).mean() > 0.95
        assert draft.model == "taught:discs" and 0.5 < draft.sure <= 1 and 0 <= draft.unsure < 0.5
    np.testing.assert_array_equal(collection.load(ids[2]), own)
    with pytest.raises(StoreError, match="there is nothing left"):
        work.start(collection.name)


def test_strokes_hold_in_the_draft(discs, work):
    collection, truths = discs
    id_ = list(truths)[1]
    stroke = np.full(truths[id_].shape, VOID, np.uint8)
    stroke[-12:, -40:] = 2
    strokes.save(collection, id_, stroke, "")
    work.start(collection.name).join()
    found = drafts.load(collection, id_, drafts.find(collection, id_))
    assert (found[-8:, -32:] == 2).all()


def test_it_is_cancelled_and_goes_on_where_it_was_after_a_restart(discs, work, store, monkeypatch):
    collection, _ = discs
    made, draft, third = [], prelabel.draft, threading.Event()

    def slow(collection_, photo, *rest):
        made.append(photo.id)
        if len(made) == 2:
            with pytest.raises(StoreError, match="This collection is being labelled"):
                work.start(collection.name)
            with pytest.raises(StoreError, match="Another collection is being labelled"):
                work.start(other.name)
            work.cancel("nobody's")
            work.cancel(collection.name)
            third.set()
        return draft(collection_, photo, *rest)

    other = store.create("Other", DISC)
    monkeypatch.setattr(prelabel, "draft", slow)
    work.start(collection.name).join()
    job = work.job(collection.name)
    assert third.is_set() and (job.state, job.done) == ("cancelled", 2)
    assert "2 of 5 photos have a draft; Label the rest goes on" in job.sentence()
    again = Prelabelling(AnnotationStore, Limits())  # another process
    assert again.job(collection.name) is None
    again.start(collection.name).join()
    assert (again.job(collection.name).total, len(made), len(set(made))) == (3, 5, 5)
    assert len(drafts.found(collection)) == 5


def test_new_strokes_renew_drafts(discs, work):
    collection, truths = discs
    work.start(collection.name).join()
    before = drafts.found(collection)
    id_ = list(truths)[3]
    strokes.save(collection, id_, strokes_on(truths[id_], 1), "")
    work.start(collection.name).join()
    after = drafts.found(collection)
    assert all(after[i].made_by != before[i].made_by for i in before)


def test_a_damaged_photo_does_not_stop_the_others(discs, work):
    collection, truths = discs
    collection.image_path(list(truths)[4]).write_bytes(b"nothing")
    work.start(collection.name).join()
    job = work.job(collection.name)
    assert (job.state, job.done, job.failed) == ("done", 5, ("p4",))
    assert job.sentence() == "Done: 4 of 5 photos have a draft. 1 could not be labelled (p4)."


@pytest.mark.parametrize(
    ("error", "says"),
    [(OSError("gone"), "The disk could not be used"), (RuntimeError("secret"), "Something unexpected")],
)
def test_what_stops_it_is_said_and_another_can_begin(discs, work, monkeypatch, error, says):
    collection, _ = discs

    def refuse(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(prelabel, "draft", refuse)
        work.start(collection.name).join()
    job = work.job(collection.name)
    assert job.state == "failed" and job.sentence().startswith(says)
    work.start(collection.name).join()
    assert work.job(collection.name).state == "done"


def test_what_cannot_begin_is_said_and_blocks_nothing(store, work, discs):
    with pytest.raises(NotFoundError):
        work.start("nobody")
    with pytest.raises(teach.TeachError, match="Nothing is painted"):
        work.start(store.create("Empty", DISC).name)
    work.start(discs[0].name).join()
    assert work.job("discs").state == "done"


def test_a_collection_that_is_called_like_a_deleted_one_has_no_job_of_it(store, work, discs, monkeypatch):
    collection, truths = discs
    name = collection.name
    begun, goes_on = threading.Event(), threading.Event()

    def wait(*arguments):
        begun.set()
        assert goes_on.wait(60)
        raise NotFoundError("The photo is gone.")

    monkeypatch.setattr(prelabel, "draft", wait)
    thread = work.start(name)
    assert begun.wait(60)
    store.delete(name)
    assert work.job(name) is None
    time.sleep(0.002)  # the clock of collections has milliseconds
    another = store.create("Discs", DISC)
    assert another.name == name and work.job(name) is None
    first = next(iter(with_discs(another, 2)))
    strokes.save(another, first, strokes_on(next(iter(truths.values())), 1), "")
    with pytest.raises(StoreError, match="Another collection is being labelled"):
        work.start(name)
    work.cancel(name)  # which is none of its own
    goes_on.set()
    thread.join(60)
    assert work.job(name) is None
    monkeypatch.undo()


def test_only_the_last_jobs_are_remembered(store, monkeypatch):
    monkeypatch.setattr(prelabel, "MOST_JOBS", 2)
    work = Prelabelling(lambda: store, Limits())
    names = []
    for title in ("One", "Two", "Three"):
        collection = store.create(title, DISC)
        truths = with_discs(collection, 1)
        (id_,) = truths
        strokes.save(collection, id_, strokes_on(truths[id_], 1), "")
        work.start(collection.name).join(60)
        names.append(collection.name)
    assert [work.job(name) is not None for name in names] == [False, True, True]
