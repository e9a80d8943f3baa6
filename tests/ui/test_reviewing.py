"""The review of a collection: regions to decide about, splits that are repaired, and the balance of classes."""

import json
import time

import numpy as np
import pytest
from drawn import scene
from tiny import write_features

from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import NotFoundError, StoreError
from segdemo.core.labels import VOID, LabelSet
from segdemo.inference.review import Duplicate
from segdemo.ui.tabs.annotate import reviewing
from segdemo.ui.tabs.annotate.reviewing import FILE, Reviewing, balance, repaired
from segdemo.zoo import served

DISC = LabelSet("disc", "Disc", ("ground", "disc", "other"), ((0, 0, 0), (200, 90, 0), (0, 160, 60)))
SIZE = (120, 80)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The store of collections, with features that are colours."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    write_features(tmp_path / "weights", long_side=128)
    return AnnotationStore()


@pytest.fixture
def planted(store):
    """Six photos of a disc; the mask of the fourth lacks it. The collection, the wrong one's id, and {id: truth}."""
    collection = store.create("Discs", DISC)
    truths, wrong = {}, ""
    for seed in range(6):
        photo, truth = scene(seed, SIZE, foreground=1, background=0)
        id_ = collection.add_photo(np.asarray(photo), f"p{seed}")
        truths[id_] = truth
        mask = truth
        if seed == 3:
            wrong, mask = id_, np.zeros_like(truth)
        collection.save(id_, mask, 0)
    return collection, wrong, truths


@pytest.fixture
def work(store):
    return Reviewing(lambda: store)


def test_the_missing_disc_is_the_worst_region(work, planted):
    collection, wrong, truths = planted
    seen = []
    report = work.look(collection.name, lambda *count: seen.append(count))
    worst = report.findings[0]
    assert (worst.photo, worst.saved, worst.suggested, worst.revision) == (wrong, 0, 1, 1)
    y, x = np.nonzero(truths[wrong])
    left, top, right, bottom = worst.box
    assert abs(left - x.min()) <= 8 and abs(right - x.max()) <= 8
    assert abs(top - y.min()) <= 8 and abs(bottom - y.max()) <= 8
    assert report == work.report(collection.name)
    assert (report.reviewed, report.said, seen[-1]) == (6, "", (6, 6))


def test_what_is_suggested_is_taken_with_the_photos_outlines(work, planted):
    collection, wrong, truths = planted
    worst = work.look(collection.name).findings[0]
    assert work.take(collection.name, worst.number, "ann") == 2
    mask = collection.load(wrong)
    assert (mask == truths[wrong]).mean() > 0.97
    current = collection.photo(wrong).current
    assert (current.author, current.meta, current.base) == ("ann", {"review": "taken"}, 1)
    assert worst.number not in [f.number for f in work.report(collection.name).findings]
    with pytest.raises(StoreError, match="decided already: look for mistakes again"):
        work.take(collection.name, worst.number)
    assert all(f.photo != wrong or f.revision == 2 for f in work.report(collection.name).findings)


def test_a_mask_that_is_kept_is_not_asked_about_again(work, planted, store):
    collection, wrong, _ = planted
    worst = work.look(collection.name).findings[0]
    work.keep(collection.name, worst.number)
    assert (collection.load(wrong) == 0).all()
    again = Reviewing(AnnotationStore)  # after a restart
    assert all(f.photo != wrong for f in again.look(collection.name).findings)
    (collection.folder / FILE).write_text("[")  # what cannot be read is asked about again
    assert again.look(collection.name).findings[0].photo == wrong
    damaged = [7, {"photo": wrong, "box": "x"}, {"box": [0, 0, 9, 9]}]
    (collection.folder / FILE).write_text(json.dumps({"kept": damaged}))
    assert again.look(collection.name).findings[0].photo == wrong


def test_a_mask_that_changed_meanwhile_is_not_touched(work, planted):
    collection, wrong, _ = planted
    worst = work.look(collection.name).findings[0]
    mine = np.full(SIZE[::-1], 2, np.uint8)
    collection.save(wrong, mine, 1)
    with pytest.raises(StoreError, match="changed meanwhile"):
        work.take(collection.name, worst.number)
    np.testing.assert_array_equal(collection.load(wrong), mine)


@pytest.mark.parametrize("number", [0, 99, None, "1", [1], {"x": 1}, 1.5])
def test_numbers_no_page_would_send(work, planted, number):
    with pytest.raises(StoreError, match="decided already"):
        work.keep("discs", number)
    work.look("discs")
    with pytest.raises(StoreError, match="decided already"):
        work.take("discs", number)


def test_a_large_mask_is_judged_in_small_and_found_at_its_own_size(work, planted, monkeypatch):
    collection, wrong, _ = planted
    boxes = work.look(collection.name).findings[0].box
    monkeypatch.setattr(reviewing, "LONGEST", 60)
    small = work.look(collection.name).findings[0]
    assert small.photo == wrong
    assert np.abs(np.subtract(small.box, boxes)).max() <= 8


def test_a_damaged_photo_does_not_end_the_review(work, planted):
    collection, wrong, _ = planted
    other = next(p.id for p in collection.photos().photos if p.id != wrong)
    collection.image_path(other).write_bytes(b"nothing")
    report = work.look(collection.name)
    assert report.reviewed == 5 and report.findings[0].photo == wrong


def test_too_little_is_said_and_one_review_goes_on_at_a_time(work, store, planted):
    few = store.create("Few", DISC)
    assert "label at least two photos" in work.look(few.name).said
    id_ = few.add_photo(np.full((40, 40, 3), 90, np.uint8), "p")
    few.save(id_, np.full((40, 40), VOID, np.uint8), 0)
    assert "label at least two photos" in work.look(few.name).said
    with pytest.raises(NotFoundError):
        work.look("nobody")
    with pytest.raises(StoreError, match="Look for mistakes first"):
        work.repair(planted[0].name)

    def again(*_):
        with pytest.raises(StoreError, match="Another review is going on"):
            work.look(few.name)

    assert work.look(planted[0].name, again).findings


def test_near_duplicates_are_put_into_one_subset(work, planted):
    collection, _, truths = planted
    photo = next(p for p in collection.photos(sort="source").photos if p.split == "train")
    twin = collection.image(photo.id).copy()
    twin[0, 0] ^= 1
    id_ = collection.add_photo(twin, "twin")
    collection.save(id_, truths[photo.id], 0)
    collection.set_split(id_, "val")
    report = work.look(collection.name)
    first = report.duplicates[0]
    assert {first.first, first.second} == {photo.id, id_} and first.across and first.similarity > 0.99
    moved = work.repair(collection.name)
    assert collection.photo(id_).split == collection.photo(photo.id).split
    assert set(moved) <= {photo.id, id_} and len(moved) == 1
    assert not any(pair.across for pair in work.report(collection.name).duplicates)
    assert work.repair(collection.name) == {}


def pair(first, second):
    return Duplicate(first, second, 0.95, True)


def test_a_repair_by_hand():
    splits = {"a": "train", "b": "train", "c": "test", "d": "val", "e": "test"}
    assert repaired([pair("a", "c")], splits) == {"c": "train"}  # as many of each: train first
    assert repaired([pair("a", "c"), pair("c", "e")], splits) == {"a": "test"}  # all of test are linked
    assert repaired([pair("a", "d")], splits) == {"a": "val"}  # or val would be empty
    assert repaired([pair("a", "b"), pair("gone", "a")], splits) == {}
    few = {"a": "train", "b": "val", "c": "test"}
    assert repaired([pair("a", "b")], few) == {}  # one of the two would be empty either way
    chain = {"a": "train", "b": "train", "c": "val", "d": "test", "e": "val", "f": "test"}
    assert repaired([pair("a", "c"), pair("b", "c"), pair("b", "d")], chain) == {"c": "train", "d": "train"}


def test_the_balance_of_classes_by_hand(store):
    collection = store.create("Few", DISC)
    masks = [np.zeros((2, 4), np.uint8), np.array([[0, 1, 1, VOID], [0, 1, 1, VOID]], np.uint8)]
    for i, mask in enumerate(masks):
        collection.save(collection.add_photo(np.full((2, 4, 3), 9 * i, np.uint8), f"p{i}"), mask, 0)
    collection.add_photo(np.full((2, 4, 3), 99, np.uint8), "without a mask")
    amounts, without = balance(collection.photos().photos, DISC)
    assert [(a.name, a.photos) for a in amounts] == [("ground", 2), ("disc", 1), ("other", 0)]
    assert [a.share for a in amounts] == pytest.approx([10 / 14, 4 / 14, 0])
    assert [photo.source for photo in without] == ["p0"]
    assert balance([], DISC)[0][0].share == 0


def test_a_collection_that_is_called_like_a_deleted_one_has_no_report_of_it(
    work, planted, store, monkeypatch
):
    collection, *_ = planted
    name = collection.name
    number = work.look(name).findings[0].number
    key = store.delete(name)
    assert work.report(name) is None
    time.sleep(0.002)  # the clock of collections has milliseconds
    assert store.create("Discs", DISC).name == name
    assert work.report(name) is None
    with pytest.raises(StoreError, match="look for mistakes again"):
        work.keep(name, number)
    with pytest.raises(StoreError, match="Look for mistakes first"):
        work.repair(name)
    store.delete(name)
    assert store.undelete(key).name == name
    assert work.report(name).findings[0].number == number


def test_only_the_last_reports_are_remembered(store, planted, monkeypatch):
    monkeypatch.setattr(reviewing, "MOST_REPORTS", 2)
    work = Reviewing(lambda: store)
    names = [planted[0].name, *(store.create(title, DISC).name for title in ("One", "Two"))]
    for name in names:
        work.look(name)
    assert [work.report(name) is not None for name in names] == [False, True, True]
