"""A collection with its drafts as something to learn from: drafts in train alone, masks where they were."""

import numpy as np
import pytest

from segdemo.annotations import drafts, with_drafts
from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import StoreError
from segdemo.core.label_maps import decode_png
from segdemo.core.labels import LabelSet
from segdemo.runs.lineage import dataset_hash

LEAVES = LabelSet("leaves", "Leaves", ("ground", "oak"), ((0, 0, 0), (200, 90, 0)))


@pytest.fixture
def collection(tmp_path):
    """Three photos with masks, one in each subset, two with drafts, and one with neither."""
    found = AnnotationStore(tmp_path / "annotations").create("Leaves", LEAVES)
    ids = [found.add_photo(np.full((6, 8, 3), 30 * i, np.uint8), f"p{i}") for i in range(6)]
    for id_ in ids[:3]:
        found.save(id_, np.zeros((6, 8), np.uint8), 0)
    for id_ in ids[3:5]:
        drafts.put(found, id_, np.ones((6, 8), np.uint8), "taught:leaves", "ab", 0.9, 0.1)
    return found


def test_drafts_are_learned_from_and_never_measured_on(collection):
    plain, both = collection.dataset(), with_drafts.dataset(collection)
    made = set(drafts.found(collection))
    assert set(both.splits["train"]) == {*plain.splits["train"], *made}
    assert [both.splits[part] for part in ("val", "test")] == [plain.splits[part] for part in ("val", "test")]
    assert both.kind == "annotations" and both.label_set == LEAVES and both.splits["unlabelled"] == ()
    for id_ in both.splits["all"]:
        sample = both.sample(id_)
        assert sample.image_path.read_bytes() == collection.image_path(id_).read_bytes()
        assert (decode_png(sample.mask_path) == (id_ in made)).all()
    assert dataset_hash(both) != dataset_hash(plain)


def test_what_a_run_learns_from_stays_as_it_was(collection, monkeypatch):
    first = with_drafts.dataset(collection)
    assert with_drafts.dataset(collection).root == first.root  # nothing has changed
    id_ = next(iter(drafts.found(collection)))
    collection.save(id_, np.zeros((6, 8), np.uint8), 0)
    second = with_drafts.dataset(collection)
    assert second.root != first.root
    assert (decode_png(first.sample(id_).mask_path) == 1).all()
    assert (decode_png(second.sample(id_).mask_path) == 0).all()
    monkeypatch.setattr(with_drafts, "KEPT", 2)
    rest = next(iter(drafts.found(collection)))
    drafts.put(collection, rest, np.zeros((6, 8), np.uint8), "taught:leaves", "ab", 0.9, 0.1)
    third = with_drafts.dataset(collection)
    assert not first.root.exists() and second.root.exists() and third.root.exists()


def test_a_disk_without_links_has_copies(collection, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    assert len(with_drafts.dataset(collection).splits["train"]) == 3


def test_what_is_missing_is_said(collection):
    store = collection.store
    empty = store.create("Empty", LEAVES)
    with pytest.raises(StoreError, match="Empty has no drafts: label the rest first"):
        with_drafts.dataset(empty)
    id_ = empty.add_photo(np.zeros((6, 8, 3), np.uint8), "p")
    drafts.put(empty, id_, np.ones((6, 8), np.uint8), "taught:empty", "ab", 0.9, 0.1)
    with pytest.raises(StoreError, match="at least one photo for each of train, val and test first"):
        with_drafts.dataset(empty)
