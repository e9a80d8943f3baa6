"""Drafts beside the masks of a collection: never in place of a person's mask, and gone when there is one."""

import json

import numpy as np
import pytest

from segdemo.annotations import drafts
from segdemo.annotations.collection import ConflictError
from segdemo.annotations.records import DRAFTS
from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import NotFoundError, StoreError
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import VOID, LabelSet

LEAVES = LabelSet("leaves", "Leaves", ("ground", "oak", "maple"), ((0, 0, 0), (200, 90, 0), (0, 160, 60)))
MAP = np.zeros((6, 8), np.uint8)
MAP[2:, 3:] = 2
OTHER = np.ones((6, 8), np.uint8)


@pytest.fixture
def collection(tmp_path):
    return AnnotationStore(tmp_path / "annotations").create("Leaves", LEAVES)


def add(collection, value=90):
    return collection.add_photo(np.full((6, 8, 3), value, np.uint8), f"photo {value}")


def put(collection, id_, label_map=MAP, sure=0.9):
    return drafts.put(collection, id_, label_map, "taught:leaves", "ab12", sure, 0.25)


def files(collection):
    return sorted(path.name for path in (collection.folder / DRAFTS).iterdir())


def test_a_draft_is_kept_beside_the_masks(collection):
    id_ = add(collection)
    assert drafts.found(collection) == {} and drafts.find(collection, id_) is None
    assert put(collection, id_)
    again = AnnotationStore(collection.store.root).open(collection.name)
    draft = drafts.found(again)[id_]
    assert drafts.find(again, id_) == draft
    assert (draft.model, draft.made_by, draft.sure, draft.unsure) == ("taught:leaves", "ab12", 0.9, 0.25)
    assert draft.classes == [0, 2]
    np.testing.assert_array_equal(drafts.load(again, id_, draft), MAP)
    # It is nobody's mask: lists, exports and training do not know it.
    assert again.photo(id_).revision == 0 and list(again.annotations()) == []
    assert again.dataset().splits["all"] == ()
    assert put(collection, id_, OTHER)
    np.testing.assert_array_equal(drafts.load(again, id_, drafts.find(again, id_)), OTHER)
    with pytest.raises(NotFoundError, match="made anew"):
        drafts.load(again, id_, draft)


def test_a_mask_is_never_replaced_and_ends_the_draft(collection):
    id_ = add(collection)
    put(collection, id_)
    draft = drafts.find(collection, id_)
    collection.save(id_, OTHER, 0)
    assert drafts.found(collection) == {} and drafts.find(collection, id_) is None
    assert files(collection) == []
    assert not put(collection, id_)
    with pytest.raises(NotFoundError):
        drafts.take_over(collection, id_, draft)
    np.testing.assert_array_equal(collection.load(id_), OTHER)


def test_taking_over_makes_it_the_mask_and_says_so(collection):
    id_ = add(collection)
    put(collection, id_, sure=0.8125)
    assert drafts.take_over(collection, id_, drafts.find(collection, id_), author="ann") == 1
    np.testing.assert_array_equal(collection.load(id_), MAP)
    photo = collection.photo(id_)
    assert photo.current.meta == {"model": "taught:leaves", "draft": 0.8125}
    assert (photo.current.author, photo.model, bool(photo.split)) == ("ann", "taught:leaves", True)
    assert files(collection) == []


def test_a_mask_that_comes_in_between_stays(collection, monkeypatch):
    id_ = add(collection)
    put(collection, id_)
    draft, load = drafts.find(collection, id_), drafts.load

    def meanwhile(*arguments):
        found = load(*arguments)
        collection.save(id_, OTHER, 0)
        return found

    monkeypatch.setattr(drafts, "load", meanwhile)
    with pytest.raises(ConflictError):
        drafts.take_over(collection, id_, draft)
    np.testing.assert_array_equal(collection.load(id_), OTHER)


def test_what_does_not_fit_is_refused(collection):
    id_ = add(collection)
    with pytest.raises(MaskError, match="8 x 6 pixels"):
        put(collection, id_, MAP[:4])
    with pytest.raises(MaskError, match="class id 3"):
        put(collection, id_, np.full((6, 8), 3, np.uint8))
    for wrong in ("nobody-1", "../x", None):
        with pytest.raises(NotFoundError):
            put(collection, wrong)
    collection.delete(id_)
    with pytest.raises(StoreError, match="in the trash"):
        put(collection, id_)


def test_drafts_share_the_fate_of_their_photo_and_can_be_discarded(collection):
    first, second = add(collection), add(collection, 120)
    put(collection, first)
    put(collection, second)
    collection.delete(first)
    assert list(drafts.found(collection)) == [second] and drafts.find(collection, first) is None
    collection.purge(days=-1)
    assert files(collection) == [f"{second}.json", f"{second}.png"]
    drafts.discard(collection, [second])
    assert drafts.found(collection) == {} and files(collection) == []


def test_one_that_is_damaged_or_half_written_is_none(collection):
    id_ = add(collection)
    put(collection, id_)
    draft = drafts.find(collection, id_)
    (collection.folder / DRAFTS / f"{id_}.png").write_bytes(b"another")  # killed between the two files
    with pytest.raises(NotFoundError, match="open the photo again"):
        drafts.load(collection, id_, draft)
    for text in ("[", "{}", json.dumps({"model": 3})):
        (collection.folder / DRAFTS / f"{id_}.json").write_text(text)
        assert drafts.found(collection) == {}


def test_the_thumbnail_shows_the_draft(collection):
    id_ = add(collection)
    plain = collection.thumbnail(id_).read_bytes()
    put(collection, id_)
    draft = drafts.find(collection, id_)
    shown = collection.thumbnail(id_, draft=(draft.png[:8], lambda: drafts.load(collection, id_, draft)))
    assert shown.read_bytes() != plain
    collection.save(id_, np.full((6, 8), VOID, np.uint8), 0)
    assert "r1" in collection.thumbnail(id_, draft=(draft.png[:8], lambda: None)).name
