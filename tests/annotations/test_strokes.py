"""Strokes kept with a collection: whole, per photo, and gone with it."""

import numpy as np
import pytest

from segdemo.annotations import strokes
from segdemo.annotations.records import STROKES
from segdemo.annotations.store import AnnotationStore
from segdemo.core.files import NotFoundError, StoreError
from segdemo.core.label_maps import MaskError
from segdemo.core.labels import VOID, LabelSet

LEAVES = LabelSet("leaves", "Leaves", ("ground", "oak", "maple"), ((0, 0, 0), (200, 90, 0), (0, 160, 60)))


@pytest.fixture
def collection(tmp_path):
    return AnnotationStore(tmp_path / "annotations").create("Leaves", LEAVES)


def add(collection, value=90):
    return collection.add_photo(np.full((6, 8, 3), value, np.uint8), f"photo {value}")


def painted(class_id=1, rows=2):
    found = np.full((6, 8), VOID, np.uint8)
    found[:rows, 2:5] = class_id
    return found


def test_strokes_are_kept_replaced_and_cleared(collection):
    id_ = add(collection)
    assert strokes.load(collection, id_) is None and strokes.painted(collection) == []
    first = strokes.save(collection, id_, painted(), "")
    again = AnnotationStore(collection.store.root).open(collection.name)  # as another process has it
    np.testing.assert_array_equal(strokes.load(again, id_), painted())
    assert strokes.painted(again) == [id_]
    assert strokes.version(strokes.png(again, id_)) == first
    assert strokes.save(collection, id_, painted(), "") == first  # sent again: an answer was lost
    second = strokes.save(collection, id_, painted(2), first)
    assert second not in ("", first)
    assert strokes.save(collection, id_, np.full((6, 8), VOID, np.uint8), second) == ""
    assert strokes.png(collection, id_) is None and strokes.painted(collection) == []


def test_strokes_painted_elsewhere_are_not_replaced(collection):
    id_ = add(collection)
    strokes.save(collection, id_, painted(1), "")
    with pytest.raises(strokes.StaleStrokesError, match="were saved elsewhere in the meantime"):
        strokes.save(collection, id_, painted(2), "")
    np.testing.assert_array_equal(strokes.load(collection, id_), painted(1))


def test_what_does_not_fit_is_refused(collection):
    id_ = add(collection)
    with pytest.raises(StoreError, match="size of their photo, 8 x 6 pixels"):
        strokes.save(collection, id_, painted()[:5], "")
    with pytest.raises(MaskError, match="class id 3"):
        strokes.save(collection, id_, painted(3), "")
    for id_ in ("none-1", "../leaves", None):
        with pytest.raises(NotFoundError):
            strokes.save(collection, id_, painted(), "")
        with pytest.raises(NotFoundError):
            strokes.png(collection, id_)
    assert not (collection.folder / STROKES).exists()


def test_a_class_that_is_gone_is_not_painted_any_more(collection):
    id_ = add(collection)
    both = painted(1)
    both[4:] = 2
    strokes.save(collection, id_, both, "")
    collection.change_label_set(LabelSet("leaves", "Leaves", LEAVES.classes[:2], LEAVES.colors[:2]))
    np.testing.assert_array_equal(strokes.load(collection, id_), painted(1))


def test_strokes_share_the_fate_of_their_photo(collection):
    id_, other = add(collection), add(collection, 120)
    for one in (id_, other):
        strokes.save(collection, one, painted(), "")
    collection.delete(id_)
    assert strokes.painted(collection) == [other]
    with pytest.raises(StoreError, match="in the trash"):
        strokes.save(collection, id_, painted(2), strokes.version(strokes.png(collection, id_)))
    collection.undelete(id_)
    np.testing.assert_array_equal(strokes.load(collection, id_), painted())
    collection.delete(id_)
    collection.purge(days=-1)
    assert [path.stem for path in (collection.folder / STROKES).iterdir()] == [other]


def test_a_damaged_file_is_said(collection):
    id_ = add(collection)
    strokes.save(collection, id_, painted(), "")
    (collection.folder / STROKES / f"{id_}.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(MaskError, match="damaged"):
        strokes.load(collection, id_)
