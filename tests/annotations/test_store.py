"""The store keeps every mask, whatever happens to the process, the disk, or the person in the other tab."""

import errno
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded
from PIL import Image
from skimage import data as photos

from segdemo.annotations import drafts
from segdemo.annotations.collection import ConflictError
from segdemo.annotations.store import AnnotationStore
from segdemo.core import label_maps
from segdemo.core.arrays import digest_of
from segdemo.core.conventions import now
from segdemo.core.files import DiskError, NotFoundError, StoreError
from segdemo.core.labels import PETS, VOC, VOID, LabelSet, voc_color
from segdemo.core.photos import read_photo
from segdemo.data import formats
from segdemo.data.check import check
from segdemo.data.datasets import read_image, read_label_map
from segdemo.data.formats import SUBSETS
from segdemo.data.sources import open_dataset

TESTS = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Only a power cut needs it, which no test can make, and most of the time would go into it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def collection(tmp_path):
    return AnnotationStore(tmp_path / "annotations").create("My cats", PETS)


def photo(seed=0, size=(12, 9)):
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def mask(value, size=(12, 9)):
    return np.full(size[::-1], value, np.uint8)


def picture(data):
    return Image.open(io.BytesIO(data))


def assert_consistent(collection):
    """Files agree with side-cars, and every revision can be read."""
    collection.recover()
    assert not collection._pending()
    lists = {
        split: (collection.folder / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        if (collection.folder / "ImageSets" / "Segmentation" / f"{split}.txt").exists()
        else []
        for split in SUBSETS
    }
    living = collection.photos(per_page=1000).photos
    for found in [*living, *collection.photos(deleted=True, per_page=1000).photos]:
        assert collection.image(found.id).shape == (found.height, found.width, 3)
        for revision in found.revisions:
            assert digest_of(collection.load(found.id, revision.number)) == revision.sha256
        published = collection.folder / "SegmentationClass" / f"{found.id}.png"
        assert published.is_file() == (found.revision > 0 and not found.deleted)
        if published.is_file():
            assert np.array_equal(np.array(picture(published.read_bytes())), collection.load(found.id))
            assert found.id in lists[found.split]
    names = {path.name for path in (collection.folder / "JPEGImages").iterdir() if path.name[0] != "."}
    assert names == {found.file for found in living}
    assert sum(map(len, lists.values())) == sum(bool(found.revision) for found in living)


# --- collections ---


def test_collections_are_made_listed_renamed_and_deleted_with_a_way_back(tmp_path):
    shelf = AnnotationStore(tmp_path)
    assert shelf.collections() == []
    own = LabelSet("own", "Katzen", ("rest", "Kätzchen"), ((0, 0, 0), (250, 0, 0)))
    first, second = shelf.create("Zoë's  cats", own), shelf.create("zoe s cats", VOC)
    assert (first.name, second.name) == ("zoe-s-cats", "zoe-s-cats-2")
    assert first.label_set == own
    first.rename("Another title")
    assert [c.title for c in AnnotationStore(tmp_path).collections()] == ["Another title", "zoe s cats"]
    id_ = first.add_photo(photo(), "a.png")
    key = shelf.delete(first.name)
    assert [c.name for c in shelf.collections()] == [second.name]
    with pytest.raises(NotFoundError):
        first.add_photo(photo(1), "b.png")
    assert [path.name for path in (shelf.root / ".trash").iterdir()] == [key]
    assert shelf.undelete(key).photo(id_).source == "a.png"
    with pytest.raises(NotFoundError):
        shelf.undelete(key)
    assert shelf.create("漢字", VOC).name == "collection"


def test_the_number_of_collections_holds_for_those_out_of_the_trash_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS", "2")
    shelf = AnnotationStore(tmp_path)
    first, _ = shelf.create("a", VOC), shelf.create("b", VOC)
    key = shelf.delete(first.name)
    third = shelf.create("c", VOC)
    with pytest.raises(StoreError, match="There may be 2 collections here: delete one"):
        shelf.undelete(key)
    shelf.delete(third.name)
    assert shelf.undelete(key).name == "a"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".trash", None, "missing"])
def test_only_collections_can_be_opened(tmp_path, name):
    with pytest.raises(NotFoundError, match="There is no collection"):
        AnnotationStore(tmp_path).open(name)


@pytest.mark.parametrize("key", ["", "..", "../x.1-abcdef", "x.1-abcdef"])
def test_only_what_is_in_the_trash_comes_out_of_it(tmp_path, key):
    AnnotationStore(tmp_path).create("x", VOC)
    with pytest.raises(NotFoundError):
        AnnotationStore(tmp_path).undelete(key)
    assert (tmp_path / "x").is_dir()


def test_a_collection_needs_a_title(tmp_path):
    with pytest.raises(StoreError, match="name"):
        AnnotationStore(tmp_path).create("  ", VOC)


def test_a_full_disk_leaves_no_half_collection(tmp_path, monkeypatch):
    shelf = AnnotationStore(tmp_path)
    shelf.create("one", VOC)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(DiskError):
        shelf.create("two", VOC)
    assert {p.name for p in tmp_path.iterdir()} == {"one", ".locks"}


def test_classes_can_be_added_and_recoloured_but_not_taken_from_a_mask(collection):
    id_ = collection.add_photo(photo(), "a.png")
    collection.save(id_, mask(2), 0)
    fewer = LabelSet("pets", "Pets", PETS.classes[:2], PETS.colors[:2])
    with pytest.raises(StoreError, match=r"'border' is used in a\.png"):
        collection.change_label_set(fewer)
    swapped = LabelSet("pets", "Pets", PETS.classes, PETS.colors[::-1], background=1)
    collection.change_label_set(swapped)
    assert (collection.load(id_) == 2).all()
    published = picture((collection.folder / "SegmentationClass" / f"{id_}.png").read_bytes())
    assert tuple(published.convert("RGB").getpixel((0, 0))) == PETS.colors[0]
    assert_consistent(collection)


def test_a_label_set_is_changed_only_as_it_was_seen(collection):
    seen = collection.label_set
    collection.change_label_set(
        LabelSet("pets", "Pets", PETS.classes, PETS.colors[::-1], background=1), of=seen
    )
    with pytest.raises(StoreError, match="were changed meanwhile"):
        collection.change_label_set(seen, of=seen)


def test_drafts_go_where_their_classes_may_be_gone(collection):
    id_ = collection.add_photo(photo(), "a.png")
    drafts.put(collection, id_, mask(2), "m", "0", 0.5, 0.5)
    collection.change_label_set(LabelSet("pets", "Pets", PETS.classes, PETS.colors[::-1], background=1))
    assert [*drafts.found(collection)] == [id_]
    collection.change_label_set(LabelSet("pets", "Pets", PETS.classes[:2], PETS.colors[:2]))
    assert not drafts.found(collection)


# --- photos ---


def test_an_ordinary_jpeg_is_kept_byte_for_byte(collection):
    data = encoded(photos.chelsea(), "JPEG", quality=90)
    id_ = collection.add_photo(data, "C:\\Chelsea the Cat.jpeg")
    assert collection.image_path(id_).suffix == ".jpg"
    assert collection.image_path(id_).read_bytes() == data
    assert np.array_equal(collection.image(id_), np.array(picture(data)))


def test_what_programs_show_differently_is_kept_upright_and_lossless(collection):
    turned = Image.Exif()
    turned[0x0112] = 6
    transparent = Image.fromarray(photo(1)).convert("RGBA")
    transparent.putalpha(100)
    for data, name in (
        (encoded(photo(size=(12, 9)), "JPEG", exif=turned.tobytes()), "turned"),
        (encoded(transparent), "transparent"),
        (encoded(photo(2), "WEBP", lossless=True), "webp"),
    ):
        id_ = collection.add_photo(data, name)
        path = collection.image_path(id_)
        assert path.suffix == ".png"
        assert np.array_equal(np.array(picture(path.read_bytes())), read_photo(data))
    assert (collection.photo(collection.add_photo(photo(3, (5, 8)), "x")).height) == 8


def test_the_same_photo_is_kept_once_however_it_comes(collection):
    first = collection.add_photo(photo(), "one.png")
    assert collection.add_photo(encoded(photo(), "PNG"), "two.png") == first
    assert collection.add_photo(encoded(photo(), "BMP"), "three.bmp") == first
    assert collection.photos().total == 1


@pytest.mark.parametrize("source", [photo().astype(float), photo()[..., 0], b"no photo", b""])
def test_what_is_not_a_photo_is_refused_in_a_sentence(collection, source):
    with pytest.raises(ValueError, match=r"^[^\n]+[.]$"):
        collection.add_photo(source, "x.png")
    assert collection.photos().total == 0


@pytest.mark.parametrize("id_", ["", "..", "../../x", "a.b", "missing", None, 3])
def test_only_photos_that_are_there_are_found(collection, id_):
    with pytest.raises(NotFoundError):
        collection.photo(id_)


def test_photos_are_found_by_name_class_and_date(collection):
    ids = [collection.add_photo(photo(i), f"Photo {i}.png") for i in range(5)]
    for i, id_ in enumerate(ids[:3]):
        collection.save(id_, mask(i), 0)
        time.sleep(0.002)
    assert [p.id for p in collection.photos().photos][:2] in ([ids[2], ids[1]], [ids[2], ids[4]])
    assert [p.id for p in collection.photos(search="PHOTO 1").photos] == [ids[1]]
    assert [p.id for p in collection.photos(class_id=2).photos] == [ids[2]]
    assert {p.id for p in collection.photos(annotated=False).photos} == set(ids[3:])
    assert [p.source for p in collection.photos(sort="source").photos] == [f"Photo {i}.png" for i in range(5)]
    today = now()[:10]
    assert collection.photos(since=today, until=today).total == 5
    assert collection.photos(until="2001").total == collection.photos(since="3000").total == 0
    pages = [collection.photos(sort="source", page=n, per_page=2) for n in (1, 2, 3, 9)]
    assert [len(p.photos) for p in pages] == [2, 2, 1, 1]
    assert (pages[3].page, pages[3].pages, pages[3].total) == (3, 3, 5)
    with pytest.raises(StoreError):
        collection.photos(sort="size")


def test_deleted_photos_come_back_until_they_are_purged(collection):
    id_ = collection.add_photo(photo(), "a.png")
    collection.save(id_, mask(1), 0)
    collection.thumbnail(id_)
    collection.delete(id_)
    assert collection.photos().total == 0
    assert collection.photos(deleted=True).total == 1
    assert_consistent(collection)
    with pytest.raises(StoreError, match="trash"):
        collection.save(id_, mask(2), 1)
    collection.undelete(id_)
    assert (collection.load(id_) == 1).all()
    assert_consistent(collection)
    collection.delete(id_)
    assert collection.add_photo(photo(), "again.png") == id_
    assert not collection.photo(id_).deleted
    collection.delete(id_)
    assert collection.purge(days=1) == 0
    assert collection.purge(days=-1) == 1
    with pytest.raises(NotFoundError):
        collection.undelete(id_)
    left = {p.name for p in collection.folder.rglob("*") if id_ in p.name and p.is_file()}
    assert left == set()
    assert_consistent(collection)


def test_a_thumbnail_shows_the_newest_mask_and_is_made_once(collection):
    id_ = collection.add_photo(np.full((300, 600, 3), 128, np.uint8), "grey.png")
    bare = collection.thumbnail(id_)
    assert picture(bare.read_bytes()).size == (256, 128)
    stamp = bare.stat().st_mtime_ns
    assert collection.thumbnail(id_) == bare
    assert bare.stat().st_mtime_ns == stamp
    collection.save(id_, mask(0, (600, 300)), 0)
    painted = collection.thumbnail(id_)
    assert not bare.exists()
    red, green, _ = picture(painted.read_bytes()).getpixel((128, 64))
    assert red > green + 40  # "pet" is shown in pink
    tiny = collection.add_photo(photo(0, (1, 1)), "dot.png")
    assert picture(collection.thumbnail(tiny).read_bytes()).size == (1, 1)


# --- masks ---


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 1), (37, 23)])
def test_a_label_map_comes_back_as_it_was(tmp_path, size):
    wide = LabelSet(
        "wide", "Wide", tuple(f"c{i}" for i in range(255)), tuple(voc_color(i) for i in range(255))
    )
    collection = AnnotationStore(tmp_path).create("wide", wide)
    id_ = collection.add_photo(photo(0, size), "x.png")
    assert collection.load(id_) is None
    assert collection.mask_png(id_) is None
    label_map = np.resize(np.random.default_rng(0).permutation(256).astype(np.uint8), size[::-1])
    assert collection.save(id_, label_map, 0, {"model": "unet"}) == 1
    for got in (
        collection.load(id_),
        label_maps.decode_png(collection.mask_png(id_)),
        collection.load(id_, 1),
    ):
        assert got.dtype == np.uint8
        assert np.array_equal(got, label_map)
    found = collection.photo(id_)
    assert found.classes == {int(i): int((label_map == i).sum()) for i in np.unique(label_map)}
    assert (found.model, found.width, found.height, found.label_set) == ("unet", *size, "wide")


@pytest.mark.parametrize(
    ("label_map", "says"),
    [
        (mask(0, (9, 12)), r"9 x 12 pixels and the photo 12 x 9"),
        (mask(3), "class id 3"),
        (mask(0).astype(int), "uint8"),
        (mask(0)[None], "uint8"),
        ("mask", "uint8"),
    ],
)
def test_a_bad_mask_is_refused_and_changes_nothing(collection, label_map, says):
    id_ = collection.add_photo(photo(), "a.png")
    collection.save(id_, mask(VOID), 0)
    before = collection.photo(id_)
    with pytest.raises(ValueError, match=says):
        collection.save(id_, label_map, 1)
    assert collection.photo(id_) == before
    assert_consistent(collection)


@pytest.mark.parametrize(
    ("base", "meta"), [(None, {}), (True, {}), ("1", {}), (0, {"x": object()}), (0, [1])]
)
def test_a_malformed_save_is_refused(collection, base, meta):
    id_ = collection.add_photo(photo(), "a.png")
    with pytest.raises(StoreError):
        collection.save(id_, mask(0), base, meta)
    assert collection.photo(id_).revision == 0


def test_a_stale_save_is_refused_and_kept(collection):
    id_ = collection.add_photo(photo(), "a.png")
    collection.save(id_, mask(0), 0)
    assert collection.save(id_, mask(1), 1) == 2
    with pytest.raises(
        ConflictError, match=r"^a\.png was saved elsewhere.*revision 2.*kept as revision 3"
    ) as error:
        collection.save(id_, mask(2), 1)
    assert (error.value.current, error.value.kept) == (2, 3)
    assert (collection.load(id_) == 1).all()
    assert (collection.load(id_, 3) == 2).all()
    with pytest.raises(ConflictError) as again:  # the answer got lost and the page sends it again
        collection.save(id_, mask(2), 1)
    assert again.value.kept == 3
    assert [r.kind for r in collection.revisions(id_)] == ["refused", "saved", "saved"]
    assert collection.restore(id_, 3) == 4
    assert (collection.load(id_) == 2).all()
    assert_consistent(collection)


def test_a_save_can_be_sent_again(collection):
    id_ = collection.add_photo(photo(), "a.png")
    assert [collection.save(id_, mask(1), 0) for _ in range(3)] == [1, 1, 1]
    assert len(collection.revisions(id_)) == 1


def row(number):
    labels = mask(0)
    labels[number] = 1
    return labels


def numbers(collection, id_):
    return [(r.number, r.auto) for r in collection.revisions(id_)][::-1]


def test_a_page_that_saves_by_itself_makes_one_revision_of_a_sitting(collection):
    id_ = collection.add_photo(photo(), "a.png")
    made = [collection.save(id_, row(1), 0, {"model": "unet"}, "ann", "morning", True)]
    for value in (2, 3, 4):
        made.append(collection.save(id_, row(value), made[-1], None, "ann", "morning", True))
    assert made == [1, 2, 3, 4]
    assert numbers(collection, id_) == [(4, True)]
    assert collection.revisions(id_)[0].base == 0
    assert collection.revisions(id_)[0].meta == {"model": "unet"}
    assert len(list((collection.folder / ".revisions" / id_).iterdir())) == 1
    # On purpose: it takes that place, and stays
    assert collection.save(id_, row(5), 4, None, "ann", "morning") == 5
    assert collection.save(id_, row(6), 5, None, "ann", "morning", True) == 6
    assert collection.save(id_, row(7), 6, None, "ann", "noon", True) == 7  # another sitting
    assert collection.save(id_, row(8), 7, None, "bob", "noon", True) == 8  # and another person
    assert numbers(collection, id_) == [(5, False), (6, True), (7, True), (8, True)]
    assert (collection.load(id_) == row(8)).all()
    assert_consistent(collection)


def test_saving_on_purpose_what_the_page_saved_by_itself_keeps_it(collection):
    id_ = collection.add_photo(photo(), "a.png")
    collection.save(id_, row(1), 0, None, "ann", "morning", True)
    assert collection.save(id_, row(1), 1, None, "ann", "morning") == 1
    assert collection.save(id_, row(2), 1, None, "ann", "morning", True) == 2
    assert numbers(collection, id_) == [(1, False), (2, True)]
    assert (collection.load(id_, 1) == row(1)).all()


def test_what_was_exported_is_not_replaced_by_the_next_save_of_its_page(collection):
    id_ = collection.add_photo(photo(), "a.png")
    collection.save(id_, row(1), 0, None, "ann", "morning", True)
    collection.keep("exported")
    collection.save(id_, row(2), 1, None, "ann", "morning", True)
    assert numbers(collection, id_) == [(1, True), (2, True)]
    assert (collection.load(id_, 1) == row(1)).all()


def test_a_page_is_not_in_conflict_with_itself_when_an_answer_was_lost(collection):
    id_ = collection.add_photo(photo(), "a.png")
    for auto in (True, False):
        base = collection.photo(id_).revision
        collection.save(id_, row(1), base, None, "ann", "morning", auto)  # the page does not hear of it
        assert (
            collection.save(id_, row(2), base, None, "ann", "morning", True) == collection.photo(id_).revision
        )
        assert (collection.load(id_) == row(2)).all()
    for author, sitting in (("ann", "noon"), ("bob", "morning"), ("ann", "")):
        with pytest.raises(ConflictError):
            collection.save(id_, row(3), base, None, author, sitting, True)
    assert (collection.load(id_) == row(2)).all()
    assert_consistent(collection)


def test_a_save_that_stands_alone_or_says_nonsense_replaces_nothing(collection):
    id_ = collection.add_photo(photo(), "a.png")
    for number, (sitting, auto) in enumerate([("", True), ("x" * 99, "yes"), ("", True), ("", False)]):
        collection.save(id_, row(number), number, None, "ann", sitting, auto)
    assert numbers(collection, id_) == [(1, False), (2, False), (3, False), (4, False)]
    assert max(len(r.sitting) for r in collection.revisions(id_)) == 40


def test_the_newest_revisions_and_the_first_are_kept(tmp_path):
    collection = AnnotationStore(tmp_path, keep_revisions=3).create("x", VOC)
    id_ = collection.add_photo(photo(), "a.png")
    for i in range(6):
        collection.save(id_, mask(i), i)
    for i in range(7, 17):
        with pytest.raises(ConflictError):
            collection.save(id_, mask(i), 2)
    saved = [r.number for r in collection.revisions(id_) if r.kind == "saved"]
    refused = [r.number for r in collection.revisions(id_) if r.kind == "refused"]
    assert saved == [6, 5, 4, 1]
    assert refused == [16, 15, 14]
    files = (collection.folder / ".revisions" / id_).iterdir()
    assert sorted(int(p.stem) for p in files) == sorted(saved + refused)
    with pytest.raises(NotFoundError):
        collection.load(id_, 2)
    assert collection.restore(id_, 1) == 17
    assert_consistent(collection)


# --- as a dataset ---


def test_saves_of_others_push_out_no_newest_mask_of_an_author_and_none_that_was_exported(tmp_path):
    collection = AnnotationStore(tmp_path, keep_revisions=3).create("x", VOC)
    id_ = collection.add_photo(np.zeros((4, 4, 3), np.uint8), "photo.png")

    def save(value, author):
        photo = collection.photo(id_)
        return collection.save(id_, np.full((4, 4), value, np.uint8), photo.revision, author=author)

    first, exported = save(1, "owner"), save(2, "owner")
    collection.keep("exported")
    newest = [save(3, "owner"), save(4, "owner")][-1]
    for turn in range(20):
        save(turn % 2, "stranger")
    kept = {revision.number: revision for revision in collection.photo(id_).revisions}
    assert set(kept) == {first, exported, newest, 22, 23, 24}
    assert kept[exported].kept == "exported"
    for number, value in ((first, 1), (exported, 2), (newest, 4)):
        assert (collection.load(id_, number) == value).all()


def test_one_mask_of_each_day_stays(tmp_path, monkeypatch):
    collection = AnnotationStore(tmp_path, keep_revisions=1).create("x", VOC)
    id_ = collection.add_photo(np.zeros((4, 4, 3), np.uint8), "photo.png")
    for number in range(8):
        day = f"2026-01-0{1 + number // 2}T00:00:0{number}.000Z"
        monkeypatch.setattr("segdemo.annotations.collection.now", lambda day=day: day)
        collection.save(id_, np.full((4, 4), number, np.uint8), number)
    assert [revision.number for revision in collection.photo(id_).revisions] == [1, 2, 4, 6, 8]


def test_a_photo_with_too_many_masks_takes_no_more_and_loses_none(tmp_path, monkeypatch):
    monkeypatch.setattr("segdemo.annotations.records.MOST_REVISIONS", 3)
    collection = AnnotationStore(tmp_path, keep_revisions=1).create("x", VOC)
    id_ = collection.add_photo(np.zeros((4, 4, 3), np.uint8), "photo.png")
    for number in range(3):
        collection.save(id_, np.full((4, 4), number, np.uint8), number, author=f"visitor {number}")
    with pytest.raises(StoreError, match=r"3 masks by different people .* collection of your own\.$"):
        collection.save(id_, np.full((4, 4), 9, np.uint8), 3, author="one more")
    assert [revision.number for revision in collection.photo(id_).revisions] == [1, 2, 3]
    assert collection.save(id_, np.full((4, 4), 9, np.uint8), 3, author="visitor 2") == 4  # their own newest


def test_a_collection_is_a_dataset_with_stable_subsets(collection):
    ids = [collection.add_photo(photo(i), f"{i}.png") for i in range(30)]
    for i, id_ in enumerate(ids[:-1]):
        collection.save(id_, mask(i % 3), 0)
    dataset = open_dataset("annotations", collection.folder)
    assert dataset.label_set == PETS
    assert check(dataset).ok, list(check(dataset).lines())
    assert set(dataset.splits["all"]) == set(ids[:-1])
    assert dataset.splits["unlabelled"] == (ids[-1],)
    assert ids[0] in dataset.splits["train"]
    assert ids[1] in dataset.splits["val"]
    assert ids[2] in dataset.splits["test"]
    sample = dataset.sample(ids[4])
    assert np.array_equal(read_image(sample), photo(4))
    assert np.array_equal(read_label_map(sample, PETS), mask(1))
    collection.save(ids[-1], mask(1), 0)
    collection.set_split(ids[0], "test")
    collection.delete(ids[5])
    later = collection.dataset().splits
    for split in SUBSETS:
        moved = {ids[0], ids[5], ids[-1]}
        assert set(later[split]) - moved == set(dataset.splits[split]) - moved
    assert ids[0] in later["test"]
    assert ids[5] not in later["all"]
    with pytest.raises(StoreError):
        collection.set_split(ids[0], "all")


def test_the_fingerprint_changes_with_what_training_sees_and_only_then(collection):
    ids = [collection.add_photo(photo(i), f"{i}.png") for i in range(2)]
    seen = [collection.fingerprint()]
    collection.save(ids[0], mask(0), 0)
    seen.append(collection.fingerprint())
    collection.save(ids[0], mask(1), 1)
    seen.append(collection.fingerprint())
    collection.set_split(ids[0], "val")
    seen.append(collection.fingerprint())
    collection.delete(ids[0])
    seen.append(collection.fingerprint())
    assert len(set(seen)) == 4  # without annotated photos it is as at first
    assert seen[0] == seen[4]
    collection.undelete(ids[0])
    collection.rename("Other")
    collection.add_photo(photo(9), "new.png")
    assert collection.fingerprint() == seen[3]


def test_a_collection_goes_out_and_comes_in_unchanged(collection, tmp_path):
    for i in range(4):
        id_ = collection.add_photo(encoded(photo(i), "JPEG"), f"{i}.jpg")
        collection.save(id_, mask(i % 3), 0, {"model": "unet"})
    archive = formats.export_zip(collection.annotations(), tmp_path / "out.zip")
    other = AnnotationStore(tmp_path / "other").create("copy", PETS)
    for annotation in formats.import_zip(archive).annotations:
        other.take(annotation)
    assert other.fingerprint() == collection.fingerprint()
    assert {p.model for p in other.photos().photos} == {"unet"}
    with pytest.raises(StoreError, match="classes"):
        AnnotationStore(tmp_path / "voc").create("voc", VOC).take(next(iter(collection.annotations())))


# --- faults ---


def _saver(root, name, id_, value, times):
    """Save a mask ``times`` times, as a page that reloads after each conflict."""
    collection = AnnotationStore(root).open(name)
    for i in range(times):
        label_map = mask(0)
        label_map[0, 0], label_map[0, 1] = value, i
        while True:
            try:
                collection.save(id_, label_map, collection.photo(id_).revision)
                break
            except ConflictError:
                continue


def _run(call):
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import annotations.test_store as t; t.{call}"
    return subprocess.Popen([sys.executable, "-c", code], cwd=TESTS.parent, stdout=subprocess.PIPE)


def test_two_processes_saving_at_once_lose_no_mask(tmp_path):
    collection = AnnotationStore(tmp_path, keep_revisions=1000).create("x", VOC)
    id_ = collection.add_photo(photo(), "a.png")
    workers = [_run(f"_saver({str(tmp_path)!r}, 'x', {id_!r}, {value}, 8)") for value in (1, 2)]
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    kept = {tuple(collection.load(id_, r.number)[0, :2].tolist()) for r in collection.revisions(id_)}
    assert kept == set(itertools.product((1, 2), range(8)))
    assert_consistent(collection)


def _endless(root, name, id_):
    collection = AnnotationStore(root, keep_revisions=5).open(name)
    revision = collection.photo(id_).revision
    while True:
        revision = collection.save(id_, mask(revision % 20), revision)
        print(revision, flush=True)


def test_kill_9_while_saving_loses_nothing_that_was_acknowledged(tmp_path):
    collection = AnnotationStore(tmp_path).create("x", VOC)
    id_ = collection.add_photo(photo(), "a.png")
    for round_ in range(3):
        worker = _run(f"_endless({str(tmp_path)!r}, 'x', {id_!r})")
        seen = int(worker.stdout.readline())
        time.sleep(0.05 + 0.037 * round_)
        worker.send_signal(signal.SIGKILL)
        seen = int([seen, *worker.stdout.read().split()][-1])
        worker.stdout.close()
        worker.wait(10)
        collection = AnnotationStore(tmp_path).open("x")
        assert collection.photo(id_).revision in (seen, seen + 1)
        assert (collection.load(id_) == (collection.photo(id_).revision - 1) % 20).all()
        assert_consistent(collection)


def _refused(collection, id_):
    with pytest.raises(ConflictError):
        collection.save(id_, mask(0), 99)


STEPS = ("replace", "rename", "unlink", "fsync", "mkdir")
ACTIONS = {
    "save": lambda c, a, b: c.save(a, mask(2), c.photo(a).revision),
    "refused": lambda c, a, b: _refused(c, a),
    "first": lambda c, a, b: c.save(b, mask(2), 0),
    "add": lambda c, a, b: c.add_photo(photo(5), "c.png"),
    "delete": lambda c, a, b: c.delete(a),
    "undelete": lambda c, a, b: c.undelete(sorted(p.id for p in c.photos(deleted=True).photos)[0]),
    "restore": lambda c, a, b: c.restore(a, 1),
    "purge": lambda c, a, b: c.purge(-1),
    "split": lambda c, a, b: c.set_split(a, "test"),
    "recolour": lambda c, a, b: c.change_label_set(LabelSet("p", "P", PETS.classes, PETS.colors[::-1])),
}


def _prepared(root):
    collection = AnnotationStore(root).create("x", PETS)
    ids = [collection.add_photo(photo(i), f"{i}.png") for i in range(3)]
    collection.save(ids[0], mask(0), 0)
    collection.save(ids[0], mask(1), 1)
    collection.save(ids[2], mask(1), 0)
    collection.delete(ids[2])


def _copied(source, target):
    shutil.copytree(source, target)
    collection = AnnotationStore(target).open("x")
    return collection, [p.id for p in sorted(collection._records(), key=lambda p: p.source)]


def _state(collection):
    return (
        [(p.id, p.deleted != "", p.split, p.revision, p.last) for p in collection._records()],
        collection.label_set,
        [digest_of(collection.load(p.id)) for p in collection._records() if p.revision],
    )


def _break_at(patch, number, fault):
    """Call ``fault`` instead of the ``number``-th step that changes the disk."""
    left = [number]
    for step in STEPS:
        real = getattr(os, step)

        def call(*args, _real=real, **options):
            left[0] -= 1
            if left[0] == 0:
                fault()
            return _real(*args, **options)

        patch.setattr(os, step, call)
    return left


@pytest.mark.parametrize("action", ACTIONS)
def test_a_disk_that_fills_up_at_any_step_leaves_the_old_state_or_the_new(tmp_path, action):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    reached = False
    _prepared(tmp_path / "0")
    for number in itertools.count(1):
        collection, ids = _copied(tmp_path / "0", tmp_path / str(number))
        before = _state(collection)
        with pytest.MonkeyPatch.context() as patch:
            left = _break_at(patch, number, full)
            try:
                ACTIONS[action](collection, *ids[:2])
                failed = False
            except DiskError as error:
                failed = True
                assert str(error).startswith("The disk is full")
        collection = AnnotationStore(tmp_path / str(number)).open("x")
        assert_consistent(collection)
        assert not failed or _state(collection) == before, number
        ACTIONS["first"](collection, *ids[:2])  # it still works
        reached |= failed
        if left[0] > 0:
            break
    assert reached
    assert number > 4


def _crash_everywhere(root, action):
    """Die at each step of an action in turn, in a child process, and check what is left."""
    os.fsync = lambda _: None
    _prepared(Path(root) / action)
    for number in itertools.count(1):
        collection, ids = _copied(Path(root) / action, Path(root) / f"{action}{number}")
        before = _state(collection)
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                left = _break_at(patch, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
                ACTIONS[action](collection, *ids[:2])
                os._exit(0 if left[0] > 0 else 1)
        _, status = os.waitpid(child, 0)
        collection = AnnotationStore(Path(root) / f"{action}{number}").open("x")
        assert_consistent(collection)
        after = _state(collection)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            assert number > 4
            assert after != before
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        if after == before:
            ACTIONS[action](collection, *ids[:2])  # what was not done can be done now
            assert_consistent(collection)
    print(number)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_at_any_step_leaves_the_old_state_or_the_new(tmp_path):
    calls = "; ".join(f"t._crash_everywhere({str(tmp_path)!r}, {action!r})" for action in ACTIONS)
    worker = _run(calls.removeprefix("t."))
    out, _ = worker.communicate(timeout=240)
    assert worker.returncode == 0
    assert len(out.split()) == len(ACTIONS)


def test_a_damaged_side_car_is_named_and_hides_only_its_photo(collection, caplog):
    ids = [collection.add_photo(photo(i), f"{i}.png") for i in range(2)]
    path = collection.folder / "Annotations" / f"{ids[0]}.json"
    path.write_text("{")
    assert [p.id for p in collection.photos().photos] == [ids[1]]
    assert "is damaged" in caplog.text
    with pytest.raises(StoreError, match="is damaged"):
        collection.photo(ids[0])
    collection.save(ids[1], mask(1), 0)


def test_tidy_empties_the_trash_and_sweeps_up_after_the_killed(tmp_path):
    shelf = AnnotationStore(tmp_path)
    collection = shelf.create("x", VOC)
    old = time.time() - 90 * 86400
    for path in (collection.folder / "JPEGImages" / ".a.png.123.part", tmp_path / ".y.12.new"):
        path.write_bytes(b"")
        os.utime(path, (old, old))
    key = shelf.delete(shelf.create("y", VOC).name)
    os.utime(tmp_path / ".trash" / key, (old, old))
    kept = shelf.delete(shelf.create("z", VOC).name)
    shelf.tidy()
    assert [path.name for path in (shelf.root / ".trash").iterdir()] == [kept]
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.glob(".*.new"))


def test_the_side_car_is_plain_json_a_person_can_read(collection):
    id_ = collection.add_photo(photo(), "Mäuse.png")
    collection.save(id_, mask(1), 0, {"model": "unet", "seconds": 12})
    side_car = json.loads((collection.folder / "Annotations" / f"{id_}.json").read_text("utf-8"))
    assert side_car["source"] == "Mäuse.png"
    assert (side_car["width"], side_car["height"], side_car["revision"]) == (12, 9, 1)
    assert side_car["revisions"][0]["classes"] == {"1": 108}
    assert side_car["revisions"][0]["meta"] == {"model": "unet", "seconds": 12}


def test_collections_have_a_number_and_a_size_they_may_not_pass(tmp_path, monkeypatch):
    store = AnnotationStore(tmp_path)
    collection = store.create("one", VOC)
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS", "1")
    with pytest.raises(StoreError, match="There may be 1 collection here: delete one"):
        store.create("two", VOC)
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS", "0")
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS_GB", "0.00001")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    with pytest.raises(StoreError, match="fill the 1e-05 GB they may have: delete photos"):
        collection.add_photo(noise, "photo.png")
    assert collection.photos().photos == ()
    with pytest.raises(StoreError, match="fill the"):
        store.create("two", VOC)
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS_GB", "0")
    collection.save(collection.add_photo(noise, "photo.png"), np.zeros((60, 60), np.uint8), 0)
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS_GB", "0.00001")
    (photo,) = collection.photos().photos
    # What is being labelled can be saved
    assert collection.save(photo.id, np.ones((60, 60), np.uint8), 1) == 2


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{}", b'{"title": 3}', b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("file", ["collection.json", "labels.json"])
def test_a_damaged_collection_is_left_out_and_the_others_listed(collection, caplog, file, text):
    other = collection.store.create("Dogs", PETS)
    (collection.folder / file).write_bytes(text)
    assert [found.title for found in collection.store.collections()] == ["Dogs"]
    assert len(caplog.records) == 1 and f"{file} is damaged" in caplog.text
    with pytest.raises(StoreError, match=f"{file} is damaged"):
        _ = collection.title, collection.label_set
    assert collection.store.open(other.name).title == "Dogs"


@pytest.mark.parametrize(
    "change", [{"revision": 9}, {"file": "../../x.png"}, {"width": 0}, {"created": None}, {"split": "all"}]
)
def test_side_cars_that_nobody_here_wrote_are_damaged(collection, change, caplog):
    id_ = collection.add_photo(np.zeros((4, 5, 3), np.uint8), "a.png")
    path = collection._sidecar(id_)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert collection.photos().total == 0 and "is damaged" in caplog.text
    with pytest.raises(StoreError, match="is damaged: restore it from a copy"):
        collection.photo(id_)


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n")]
)
def test_a_damaged_mask_is_said_to_be(collection, damage):
    id_ = collection.add_photo(np.zeros((4, 5, 3), np.uint8), "a.png")
    number = collection.save(id_, np.zeros((4, 5), np.uint8), 0)
    damage(collection._revision_path(id_, number))
    with pytest.raises(StoreError, match="restore an"):
        collection.load(id_)


def test_a_proposal_counts_once_it_is_restored(tmp_path):
    collection = AnnotationStore(tmp_path).create("Pets", PETS)
    id_ = collection.add_photo(np.zeros((4, 6, 3), np.uint8), "photo.png")
    draft, other = np.ones((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    assert collection.propose(id_, draft, "agent", {"model": "x"}) == 1
    assert collection.propose(id_, draft) == 1
    photo = collection.photo(id_)
    assert (photo.revision, photo.split, collection.load(id_)) == (0, "", None)
    assert photo.revisions[0].meta == {"model": "x", "proposed": True}
    assert collection.save(id_, other, 0) == 2
    np.testing.assert_array_equal(collection.load(id_), other)
    assert collection.restore(id_, 1) == 3
    np.testing.assert_array_equal(collection.load(id_), draft)
    with pytest.raises(StoreError, match="must be the same"):
        collection.propose(id_, np.ones((6, 4), np.uint8))
    with pytest.raises(label_maps.MaskError):
        collection.propose(id_, np.full((4, 6), 77, np.uint8))


def test_half_a_character_in_a_name_does_not_keep_pages_from_being_sent(tmp_path):
    store = AnnotationStore(tmp_path)
    collection = store.create("Le\ud800aves", PETS)
    id_ = collection.add_photo(np.zeros((4, 6, 3), np.uint8), "pho\udc00to.png")
    assert (collection.title, collection.photo(id_).source) == ("Le?aves", "pho?to.png")
    collection.rename("\ud800")
    assert collection.title == "?"
