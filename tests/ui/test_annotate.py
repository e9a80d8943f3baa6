"""What the Annotate tab does apart from its looks: label tables, collections, help by models, archives."""

import time
import zipfile
from dataclasses import replace
from functools import partial
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import SHAPES, encoded, save_mask, save_photo, scene
from PIL import Image
from tiny import bright, write_model

from segdemo import zoo
from segdemo.annotations import drafts
from segdemo.core.files import NotFoundError, StoreError
from segdemo.core.label_maps import MaskError, colourise, decode_png, encode_png
from segdemo.core.labels import PETS, VOC, VOID, VOID_COLOR, LabelSet
from segdemo.core.photos import Limits
from segdemo.data import formats
from segdemo.data.formats import ExchangeError
from segdemo.ui.components import photo_list
from segdemo.ui.components.label_table import distinct_colors, first_table, from_table, to_table
from segdemo.ui.latest import Latest
from segdemo.ui.photos import PhotoCache
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate import desk as annotate_desk
from segdemo.ui.tabs.annotate.desk import Desk, Entropies, knows, lookup, some
from segdemo.ui.tabs.annotate.tab import AnnotateTab
from segdemo.zoo import served

SHADES = LabelSet("shades", "Shades", ("nothing", "Light"), ((0, 0, 0), (250, 200, 0)))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A Desk with one served model, "light", that calls a pixel light if its red is over 140."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(served, "WEIGHTS", tmp_path / "weights")
    labels = LabelSet("light", "Light", ("dark", "light", "other"), ((0, 0, 0), (9, 9, 9), (8, 8, 8)))
    write_model(tmp_path / "weights", "light", labels, *bright(3, 1, 0))
    return Desk(Services(Limits(), PhotoCache(Limits())))


def photo_file(folder, name, pixels):
    path = folder / name
    Image.fromarray(pixels).save(path)
    return path


def grey(value, size=(40, 60)):
    return np.full((*size, 3), value, np.uint8)


def png(label_map, label_set):
    return encode_png(label_map, label_set)


# ------------------------------------------------------------------------------------------- label tables


def test_automatic_colours_are_all_usable_and_the_first_ones_differ_clearly():
    colors = distinct_colors()
    LabelSet("all", "All", tuple(map(str, range(255))), colors)  # refuses repeated colours and void's
    first = np.array([(0, 0, 0), (255, 255, 255), VOID_COLOR, *colors[:12]], int)
    distances = np.abs(first[:, None] - first[None]).sum(-1)[np.triu_indices(len(first), 1)]
    assert distances[3:].min() > 60


@pytest.mark.parametrize("label_set", [VOC, PETS, SHAPES], ids=lambda label_set: label_set.name)
def test_a_label_set_survives_the_table(label_set):
    assert from_table(to_table(label_set), label_set.name, label_set.title) == label_set


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: None, "Every class needs a name."),
        (lambda t: [row.update(name="cat") for row in t["rows"][1:]], "Two classes are called 'cat'"),
        (lambda t: t.update(rows=[]), "A label set has 1 to 255 classes, not 0."),
        (lambda t: [row.update(name=f"{i}", color="#102030") for i, row in enumerate(t["rows"])], "colour"),
        (lambda t: t["rows"][1].update(name="a", color="red"), "arrived damaged"),
        (lambda t: t.update(background="first"), "arrived damaged"),
        (lambda t: [t.update(background=7), t["rows"][1].update(name="a"), t["rows"].pop()], "0..1"),
        (lambda t: t.update(rows=[{"name": str(i), "color": "#000000"} for i in range(256)]), "not 256"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(change, sentence):
    table = first_table()
    change(table)
    with pytest.raises(StoreError, match=sentence):
        from_table(table, "own", "Own")


def test_rows_left_empty_are_no_classes():
    table = first_table()
    table["rows"][2]["name"] = "leaf"
    label_set = from_table(table, "own", "Own")
    assert label_set.classes == ("background", "leaf")
    assert label_set.colors[1] == tuple(bytes.fromhex(table["rows"][2]["color"][1:]))
    table["background"] = 2  # the one named after the empty one
    assert from_table(table, "own", "Own").background == 1
    table["background"] = 1  # the empty one, which was chosen
    with pytest.raises(StoreError, match="needs a name"):
        from_table(table, "own", "Own")
    changed = to_table(SHAPES)
    changed["rows"][1]["name"] = ""  # a class that photos may show
    with pytest.raises(StoreError, match="needs a name"):
        from_table(changed, "own", "Own")


@pytest.mark.parametrize("nonsense", [None, "x", {}, {"rows": 3, "background": 0}, {"rows": [1]}])
def test_tables_no_page_would_send(nonsense):
    with pytest.raises(StoreError, match="arrived damaged"):
        from_table(nonsense, "own", "Own")


def test_classes_are_matched_by_name():
    own = LabelSet("own", "Own", ("TV monitor", "nothing", "Cat"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), 1)
    ids = lookup(VOC, own)
    assert ids[VOC.classes.index("tv/monitor")] == 0
    assert ids[VOC.classes.index("cat")] == 2
    assert ids[VOC.classes.index("background")] == 1
    assert ids[VOC.classes.index("dog")] == 1  # what the others do not have is nothing of interest
    assert ids[VOID] == VOID
    without = LabelSet("own", "Own", ("cat",), ((1, 1, 1),), None)
    assert lookup(VOC, without)[VOC.classes.index("dog")] == VOID
    assert lookup(VOC, LabelSet("own", "Own", ("background", "leaf"), ((0, 0, 0), (1, 1, 1)))) is None
    np.testing.assert_array_equal(lookup(VOC, VOC)[:21], np.arange(21))


# ------------------------------------------------------------------------------------------- collections


def test_create_and_change_a_collection(desk):
    with pytest.raises(StoreError, match="Give it a name first"):
        desk.create("  ", "voc")
    assert desk.store.open(desk.create("Streets", "voc")).label_set == VOC
    table = first_table()
    table["rows"][1]["name"], table["rows"][2]["name"] = "leaf", "stone"
    name = desk.create("My things", None, table)
    assert desk.store.open(name).label_set.classes == ("background", "leaf", "stone")
    table = to_table(desk.store.open(name).label_set)
    table["rows"][1]["name"] = "twig"
    table["rows"].append({"name": "soil", "color": "#123456"})
    desk.change(name, "Other things", table)
    assert desk.store.open(name).label_set.classes == ("background", "twig", "stone", "soil")
    assert desk.collections() == [("Other things", name), ("Streets", "streets")]


def test_classes_that_two_people_change_at_once_do_not_become_each_other(desk):
    table = first_table()
    table["rows"][1]["name"] = "leaf"
    name = desk.create("My things", None, table)
    mine, hers = (to_table(desk.store.open(name).label_set) for _ in range(2))
    hers["rows"].append({"name": "stone", "color": "#123456"})
    desk.change(name, "My things", hers)
    desk.change(name, "Our things", mine)  # in which no class was touched
    assert desk.collections() == [("Our things", name)]
    mine["rows"].append({"name": "soil", "color": "#654321"})
    with pytest.raises(StoreError, match="Somebody else has changed the classes meanwhile"):
        desk.change(name, "My things", mine)
    assert desk.store.open(name).label_set.classes == ("background", "leaf", "stone")


def test_photos_are_taken_in_and_the_others_named(desk, tmp_path):
    name = desk.create("Shades", "voc")
    good = photo_file(tmp_path, "good.png", grey(10))
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0nothing")
    ids, sentences = desk.add_photos(name, [bad, good])
    assert [desk.store.open(name).photo(id_).source for id_ in ids] == ["good.png"]
    assert len(sentences) == 1
    assert sentences[0].startswith("bad.jpg") and sentences[0].count("bad.jpg") == 1


def test_photos_for_which_there_is_room_are_taken_in_and_that_there_is_none_for_others_is_said(
    desk, tmp_path, monkeypatch
):
    name = desk.create("Shades", "voc")
    paths = [photo_file(tmp_path, f"{n}.png", grey(10 * n)) for n in range(4)]

    def require_room(size=0, photos=None):
        if desk.store.open(name).photos().total == 2:
            raise StoreError("There is no room.")

    monkeypatch.setattr(desk.store, "require_room", require_room)
    ids, sentences = desk.add_photos(name, paths)
    assert [desk.store.open(name).photo(id_).source for id_ in ids] == ["0.png", "1.png"]
    assert sentences == ["There is no room."]


def test_photos_that_come_together_are_listed_by_name_and_those_that_come_later_before_them(desk, tmp_path):
    name = desk.create("Shades", "voc")
    collection = desk.store.open(name)
    drops = ["photo 10.png", "Photo 2.png", "photo 1.png"], ["b.png", "a.png"]
    for n, drop in enumerate(drops):
        paths = [photo_file(tmp_path, file, grey(10 * n + i)) for i, file in enumerate(drop)]
        ids, _ = desk.add_photos(name, paths)
        by_name = ["photo 1.png", "Photo 2.png", "photo 10.png"] if n == 0 else ["a.png", "b.png"]
        assert [collection.photo(id_).source for id_ in ids] == by_name
        time.sleep(0.002)  # the clock of the collection has milliseconds
    listed = ["a.png", "b.png", "photo 1.png", "Photo 2.png", "photo 10.png"]
    for order in ("created", "source"):
        assert [photo.source for photo in desk.photos(collection, order).photos] == listed
    ids = [photo.id for photo in desk.photos(collection, "created").photos]
    assert [desk.next_photo(name, None, (), id_) for id_ in ids[:-1]] == ids[1:]


def test_a_collection_starts_with_what_it_was_taught_or_with_what_knows_its_classes(desk, monkeypatch):
    name = desk.store.create("Shades", SHADES).name
    assert desk.first_model(name) == "light"
    offered = [("Taught: other", "taught:other"), ("Part", "part"), ("Light", "light")]
    monkeypatch.setattr(desk, "models", lambda name: offered)
    served = zoo.served_model
    part = replace(
        served("light"), label_set=LabelSet("part", "Part", ("dark", "light"), ((0, 0, 0), (9, 9, 9)))
    )
    monkeypatch.setattr(zoo, "served_model", lambda name: part if name == "part" else served(name))
    three = LabelSet("three", "Three", ("dark", "light", "other"), ((0, 0, 0), (9, 9, 9), (8, 8, 8)))
    assert desk.first_model(desk.store.create("Three", three).name) == "light"
    offered[2:] = []
    assert desk.first_model(name) == "part"
    offered[1:] = []
    assert desk.first_model(name) is None
    offered.append(("Taught: Shades", f"taught:{name}"))
    assert desk.first_model(name) == f"taught:{name}"


def test_a_photo_added_three_times_is_one_photo_and_that_is_said(desk, tmp_path):
    name = desk.create("Shades", "voc")
    frames = [photo_file(tmp_path, f"frame-{i}.png", grey(10)) for i in range(3)]
    ids, sentences = desk.add_photos(name, frames)
    assert len(ids) == 1 and desk.store.open(name).photos().total == 1
    assert sentences == ["There already, and not added again: frame-1.png, frame-2.png."]
    assert desk.add_photos(name, frames) == (
        ids,
        [f"There already, and not added again: {some([p.name for p in frames])}."],
    )


def test_a_collection_for_corrections_is_found_or_made(desk):
    first = desk.collection_for("light")
    assert desk.store.open(first).label_set.classes == ("dark", "light", "other")
    assert desk.collection_for("light") == first
    second = desk.store.create("More of it", desk.store.open(first).label_set).name
    assert desk.collection_for("light", second) == second
    for other in (desk.create("Streets", "voc"), desk.store.create("Shades", SHADES).name, "gone"):
        assert desk.collection_for("light", other) in (first, second)  # with all classes of the model


def test_the_list_shows_a_page_and_survives_a_damaged_photo(desk, tmp_path):
    collection = desk.store.create("Shades", SHADES)
    paths = [photo_file(tmp_path, f"{i:02}.png", grey(i)) for i in range(3)]
    ids, _ = desk.add_photos(collection.name, paths)
    collection.save(ids[0], np.zeros((40, 60), np.uint8), 0)
    collection.image_path(ids[1]).write_bytes(b"nothing")
    found = collection.photos(sort="source")
    value = photo_list.listing(collection, found, ids[2])
    assert [photo["name"] for photo in value["photos"]] == ["00.png", "01.png", "02.png"]
    assert [photo["labelled"] for photo in value["photos"]] == [True, False, False]
    assert [photo["thumbnail"] is None for photo in value["photos"]] == [False, True, False]
    assert value["current"] == ids[2]
    assert photo_list.summary(found) == "3 photos"
    assert photo_list.summary(collection.photos(per_page=2, page=2)) == "3 photos · page 2 of 2"


# ------------------------------------------------------------------------------------------- the canvas


@pytest.fixture
def shades(desk, tmp_path):
    """A collection of SHADES with one photo, its right half light; and the photo's id."""
    collection = desk.store.create("Shades", SHADES)
    pixels = grey(20, (32, 64))
    pixels[:, 32:] = 250
    return collection, desk.add_photo(collection.name, photo_file(tmp_path, "half.png", pixels), "half.png")


def shown(payload, layer):
    file = payload["layers"][layer]
    return None if file is None else decode_png(file["path"])


def test_a_photo_starts_from_a_prediction_in_the_collection_s_classes(desk, shades):
    collection, id_ = shades
    assert desk.models(collection.name) == [("Light", "light")]
    assert desk.models(desk.create("Streets", "voc")) == []
    payload = desk.payload(collection.name, id_, "light")
    assert payload["mode"] == "edit"
    assert payload["revision"] is None
    assert payload["uncertainty"]
    assert shown(payload, "yours") is None
    prediction = shown(payload, "prediction")
    assert prediction.shape == (32, 64)
    assert (prediction[:, :24] == 0).all()
    assert (prediction[:, 40:] == 1).all()
    with pytest.raises(StoreError, match="Light knows none of the classes of Streets"):
        desk.payload("streets", desk.add_photo("streets", collection.image_path(id_), "x"), "light")


def test_save_reopen_and_look_at_an_older_one(desk, shades):
    collection, id_ = shades
    key = f"{collection.name}/{id_}"
    one, two = np.zeros((2, 32, 64), np.uint8)
    one[3:9, 4:50], two[:, 5] = 1, VOID
    desk.payload(collection.name, id_, "light")
    assert desk.save(key, png(one, SHADES), None)["revision"] == 1
    assert collection.photo(id_).model == "light"
    assert desk.save(key, png(two, SHADES), 1)["revision"] == 2
    payload = desk.payload(collection.name, id_)
    assert payload["revision"] == 2
    np.testing.assert_array_equal(shown(payload, "yours"), two)
    older = desk.payload(collection.name, id_, revision=1)
    assert older["mode"] == "view"
    assert older["key"] != key  # or its draft would be taken for the newest one's
    np.testing.assert_array_equal(shown(older, "yours"), one)


def test_two_pages_saving_the_same_photo(desk, shades):
    collection, id_ = shades
    key = f"{collection.name}/{id_}"
    mine, theirs = np.zeros((2, 32, 64), np.uint8)
    mine[0], theirs[1] = 1, 1
    desk.save(key, png(theirs, SHADES), None)
    answer = desk.save(key, png(mine, SHADES), None)
    assert answer["revision"] == 1
    assert "saved elsewhere" in answer["conflict"]
    np.testing.assert_array_equal(collection.load(id_), theirs)
    np.testing.assert_array_equal(collection.load(id_, 2), mine)  # the refused one is kept
    assert desk.save(key, png(mine, SHADES), answer["revision"])["revision"] == 3
    np.testing.assert_array_equal(collection.load(id_), mine)


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("shades/nobody", NotFoundError),
        ("../x/y", NotFoundError),
        ("", NotFoundError),
        ("shades", NotFoundError),
        ("shades/../shades", NotFoundError),
        ("shades//etc/passwd", NotFoundError),
        ("\0/\ud800", NotFoundError),
    ],
)
def test_keys_no_page_would_send(desk, shades, key, error):
    with pytest.raises(error):
        desk.save(key, png(np.zeros((2, 2), np.uint8), SHADES), None)
    with pytest.raises(error):
        desk.photo_of(key)


def test_clicks_are_on_the_photo_of_a_key_and_no_other(desk, shades):
    collection, id_ = shades
    key = desk.payload(collection.name, id_)["key"]
    assert desk.photo_of(key) == collection.image_path(id_)
    with pytest.raises(NotFoundError):
        desk.photo_of(f"{key}/1")  # an older mask, only to look at


def test_masks_that_do_not_fit_are_refused(desk, shades):
    collection, id_ = shades
    key = f"{collection.name}/{id_}"
    with pytest.raises(MaskError, match="exactly the size"):
        desk.save(key, png(np.zeros((3, 4), np.uint8), SHADES), None)
    with pytest.raises(MaskError, match="class id 7"):
        desk.save(key, png(np.full((32, 64), 7, np.uint8), VOC), None)
    with pytest.raises(StoreError, match="is a number"):
        desk.save(key, png(np.zeros((32, 64), np.uint8), SHADES), "first")
    assert collection.photo(id_).revision == 0


def test_mask_files_are_read_in_the_collection_s_classes(desk, shades):
    collection, id_ = shades
    key = f"{collection.name}/{id_}"
    wanted = np.zeros((32, 64), np.uint8)
    wanted[:, 7:30] = 1
    found = desk.read_mask(key, encoded(colourise(wanted, SHADES)), 64, 32, {"classes": "whatever"})
    np.testing.assert_array_equal(decode_png(found), wanted)
    with pytest.raises(MaskError, match="not a PNG"):
        desk.read_mask(key, b"\xff\xd8\xff", 64, 32, {})


# ------------------------------------------------------------------------------------------- next photo


@pytest.fixture
def three(desk, tmp_path):
    """Name of a collection of SHADES, and name to id of three photos; the list has them in the other order."""
    collection = desk.store.create("Shades", SHADES)
    values = {"sure.png": 20, "unsure.png": 139, "rather.png": 150}
    paths = [photo_file(tmp_path, name, grey(value)) for name, value in values.items()]
    desk.add_photos(collection.name, paths)
    return collection.name, {photo.source: photo.id for photo in collection.photos().photos}


def test_the_least_certain_photo_is_next(desk, three, monkeypatch):
    name, ids = three
    monkeypatch.setattr(time, "sleep", lambda _: None)
    desk.rank(name, "light").join()
    assert desk.next_photo(name, "light") == ids["unsure.png"]
    seen = (ids["unsure.png"],)
    assert desk.next_photo(name, "light", seen) == ids["rather.png"]
    seen = (ids["sure.png"], ids["rather.png"], ids["unsure.png"])
    # Not the one that is open
    assert desk.next_photo(name, "light", seen, ids["unsure.png"]) == ids["rather.png"]
    collection = desk.store.open(name)
    collection.save(ids["unsure.png"], np.zeros((40, 60), np.uint8), 0)
    assert desk.next_photo(name, "light") == ids["rather.png"]
    # Another process knows the order without looking again.
    again = Desk(desk.services)
    monkeypatch.setattr(Services, "predict", lambda *_: pytest.fail("looked again"))
    assert again.rank(name, "light") is None
    assert again.next_photo(name, "light") == ids["rather.png"]
    collection.save(ids["sure.png"], np.zeros((40, 60), np.uint8), 0)
    assert again.next_photo(name, "light", (), ids["rather.png"]) is None
    collection.save(ids["rather.png"], np.zeros((40, 60), np.uint8), 0)
    assert again.next_photo(name, "light") is None


def test_the_first_answer_waits_for_no_model_and_photos_come_as_they_are_listed(desk, three, monkeypatch):
    name, ids = three
    monkeypatch.setattr(Services, "predict", lambda *_: pytest.fail("looked"))
    for model in (None, "light"):
        assert desk.next_photo(name, model, (), ids["sure.png"], "source") == ids["unsure.png"]
        assert desk.next_photo(name, model, (), ids["rather.png"], "source") == ids["sure.png"]
    assert desk.previous_photo(name, ids["sure.png"], "source") == ids["rather.png"]
    assert desk.previous_photo(name, ids["rather.png"], "source") is None
    assert desk.previous_photo(name, "nobody", "source") is None


def test_a_model_that_lacks_a_class_of_the_collection_does_not_rank(desk, tmp_path):
    table = LabelSet("own", "Own", ("nothing", "light", "leaf"), ((0, 0, 0), (9, 9, 9), (8, 8, 8)))
    name = desk.store.create("Leaves", table).name
    for value in (20, 139):
        desk.add_photo(name, photo_file(tmp_path, f"{value}.png", grey(value)), f"{value}.png")
    assert desk.models(name) == [("Light", "light")]
    assert desk.rank(name, "light") is None
    assert not knows(zoo.served_model("light"), table)
    assert knows(zoo.served_model("light"), SHADES)


def test_ranking_takes_a_while_at_most_and_one_collection_at_a_time(desk, three, monkeypatch):
    name, _ = three
    monkeypatch.setattr(annotate_desk, "RANKING_SECONDS", -1)
    looked, go = [], Event()
    predict = Services.predict
    monkeypatch.setattr(Services, "predict", lambda *a: (go.wait(20) and looked.append(1)) or predict(*a))
    first = desk.rank(name, "light")
    assert desk.rank(name, "light") is None
    go.set()
    first.join()
    assert len(looked) == 1
    for count in (2, 3):
        desk.rank(name, "light").join()
        assert len(looked) == count
    assert desk.rank(name, "light") is None


def test_a_damaged_photo_ends_a_ranking_and_not_those_after_it(desk, three, caplog):
    name, ids = three
    path = desk.store.open(name).image_path(ids["sure.png"])
    data = path.read_bytes()
    path.write_bytes(b"nothing")
    desk.rank(name, "light").join()
    assert "Not ranked" in caplog.text
    path.write_bytes(data)
    desk.rank(name, "light").join()
    assert desk.rank(name, "light") is None


def test_the_photo_that_was_looked_at_ahead_is_opened_without_the_model(desk, three, monkeypatch):
    name, ids = three
    id_ = ids["unsure.png"]
    ahead = desk.look_ahead(name, id_, "light")
    assert ahead["autosave"] and ahead["next_photo"]
    with monkeypatch.context() as patch:
        patch.setattr(Services, "predict", lambda *_: pytest.fail("looked again"))
        assert desk.look_ahead(name, id_, "light") == ahead
        assert desk.payload(name, id_, "light") == ahead
    assert desk.payload(name, id_, "light")["key"] == ahead["key"]  # made anew
    mask = np.zeros((40, 60), np.uint8)
    desk.look_ahead(name, id_, "light")
    desk.save(ahead["key"], png(mask, SHADES), None)
    assert desk.store.open(name).photo(id_).model == "light"
    # Not what was there before
    np.testing.assert_array_equal(shown(desk.payload(name, id_, "light"), "yours"), mask)
    for number in range(20):
        desk.look_ahead(name, list(ids.values())[number % 3], ("light", None)[number % 2])
    assert len(desk._ahead) <= annotate_desk.AHEAD
    monkeypatch.setattr(annotate_desk, "AHEAD_SECONDS", -1)  # its files may be gone
    assert desk.payload(name, id_, "light") is not None


def test_what_a_photo_was_shown_with_is_known_until_it_has_a_mask(desk, three, monkeypatch):
    monkeypatch.setattr(annotate_desk, "BEGUN", 2)
    desk = Desk(desk.services)
    name, ids = three
    for id_ in ids.values():
        desk.payload(name, id_, "light")
    mask = png(np.zeros((40, 60), np.uint8), SHADES)
    models = []
    for id_ in ids.values():
        desk.save(f"{name}/{id_}", mask, None)
        models.append(desk.store.open(name).photo(id_).model)
    assert models == ["", "light", "light"]  # the one opened longest ago is forgotten
    assert not desk._begun


def test_a_page_that_saves_by_itself(desk, shades):
    collection, id_ = shades
    key = f"{collection.name}/{id_}"
    for number in range(3):
        mask = np.zeros((32, 64), np.uint8)
        mask[number] = 1
        answer = desk.save(key, png(mask, SHADES), number or None, "sitting", True)
        assert answer == {"revision": number + 1, "message": "Saved"}
    assert [r.number for r in collection.photo(id_).revisions] == [3]


def test_the_progress_of_a_collection(desk, three):
    name, ids = three
    collection = desk.store.open(name)
    told = photo_list.progress(collection)
    assert "<b>0 of 3</b> labelled" in told
    assert 'Light</span><meter value="0" max="1"></meter><b>0</b>' in told
    collection.save(ids["sure.png"], np.ones((40, 60), np.uint8), 0)
    assert "<b>1 of 3</b> labelled" in photo_list.progress(collection)
    told = photo_list.progress(collection)
    assert "</i>Light 1</span>" in told  # beside the progress, and among all classes
    assert 'Light</span><meter value="1" max="1"></meter><b>1</b>' in told
    assert photo_list.progress(desk.store.create("Empty", SHADES)) == ""


def test_a_damaged_memory_of_entropies_is_begun_anew(desk, tmp_path):
    entry = zoo.served_model("light")
    memory = Entropies(tmp_path / "entropy")
    (tmp_path / "entropy").mkdir()
    (tmp_path / "entropy" / f"{entry.onnx_sha256[:16]}.json").write_text("{")
    collection = desk.store.create("Shades", SHADES)
    photo = collection.photo(desk.add_photo(collection.name, photo_file(tmp_path, "a.png", grey(139)), "a"))
    assert memory.get(entry, photo) is None
    memory.add(entry, photo, desk.services.predict("light", grey(139)))
    memory.write(entry)
    assert 0.3 < Entropies(tmp_path / "entropy").get(entry, photo) <= 1


# ------------------------------------------------------------------------------------------- archives


@pytest.fixture
def labelled(desk, tmp_path):
    """A collection of SHAPES with three labelled photos: its name, and photo name to label map."""
    collection = desk.store.create("Shapes", SHAPES)
    wanted = {}
    for i in range(3):
        photo, mask = scene(i, foreground=1 + i % 2, border=VOID)
        path = tmp_path / f"{i}.png"
        photo.save(path)
        collection.save(desk.add_photo(collection.name, path, path.name), mask, 0)
        wanted[path.name] = mask
    return collection.name, wanted


def label_maps(desk, name):
    collection = desk.store.open(name)
    return {photo.source: collection.load(photo.id) for photo in collection.photos().photos}


def check(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_export_and_import_give_back_the_same_masks(desk, labelled):
    name, wanted = labelled
    progress = []
    path = desk.export(name, formats.EXPORT_FORMATS, progress.append)
    assert path.name == "shapes.zip"
    assert progress == [1, 2, 3]
    account = desk.import_archive(path)
    fresh = account.collection
    assert fresh != name
    assert (account.labelled, account.rows()) == (3, [])
    assert desk.store.open(fresh).label_set.classes == SHAPES.classes
    check(label_maps(desk, fresh), wanted)
    again = desk.import_archive(path, name)  # they are there already
    assert (again.labelled, again.sentences(), len(again.duplicates)) == (3, [], 3)
    check(label_maps(desk, name), wanted)
    with pytest.raises(ExchangeError, match="annotate a photo first"):
        desk.export(desk.create("Empty", "voc"), formats.EXPORT_FORMATS)


def test_an_archive_goes_into_a_collection_with_other_ids_by_class_name(desk, labelled):
    name, wanted = labelled
    path = desk.export(name, ("voc",))
    turned = LabelSet("turned", "Turned", ("box", "extra", "Disc", "nothing"), distinct_colors(4), 3)
    into = desk.store.create("Turned", turned).name
    account = desk.import_archive(path, into)
    assert (account.labelled, account.rows()) == (3, [])
    ids = np.full(256, VOID, np.uint8)
    ids[:3] = 3, 2, 0
    check(label_maps(desk, into), {source: ids[mask] for source, mask in wanted.items()})
    lacking = desk.store.create("Shades", SHADES).name
    with pytest.raises(StoreError, match=r"Shades lacks classes of the archive \(disc, box\)"):
        desk.import_archive(path, lacking)
    assert label_maps(desk, lacking) == {}


def test_a_plain_voc_archive_is_read_by_id_and_what_is_left_out_is_said(desk, tmp_path):
    path = tmp_path / "plain.zip"
    photo, mask = scene(1, foreground=2)
    save_photo(tmp_path / "JPEGImages" / "a.jpg", photo)
    save_mask(tmp_path / "SegmentationClass" / "a.png", mask)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("JPEGImages/a.jpg", "SegmentationClass/a.png"):
            archive.write(tmp_path / name, name)
        archive.writestr("SegmentationClass/b.png", b"no mask")
        archive.writestr("read.me", b"hello")
    into = desk.store.create("Shapes", SHAPES).name
    account = desk.import_archive(path, into)
    assert account.labelled == 1
    [sentence] = account.sentences()
    assert sentence.startswith("SegmentationClass/b.png: it has no photo")
    assert account.ignored == ["read.me"]
    np.testing.assert_array_equal(label_maps(desk, into)["a.jpg"], mask)
    table = desk.account_file(account).read_text("utf-8-sig")
    assert 'SegmentationClass/b.png,mask,"it has no photo' in table
    assert "nobody's,read.me,file" in table


def test_nothing_is_made_of_an_archive_without_anything_usable(desk, tmp_path):
    path = tmp_path / "useless.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SegmentationClass/b.png", b"no mask")
    with pytest.raises(StoreError, match=r"Nothing in the archive .* it has no photo"):
        desk.import_archive(path)
    assert desk.collections() == []
    path.write_bytes(b"no archive")
    for name in (None, desk.create("Streets", "voc")):
        with pytest.raises(ExchangeError, match="not a ZIP file"):
            desk.import_archive(path, name)


# ------------------------------------------------------------------------------------- strokes and drafts


def test_strokes_come_and_go_with_a_key(desk, shades):
    collection, id_ = shades
    key = f"{collection.name}/{id_}"
    assert desk.strokes(key, None, "") == {"version": "", "png": None}
    mine, theirs = np.full((2, 32, 64), VOID, np.uint8)
    mine[3:9, 4:50], theirs[:, 5] = 1, 0
    kept = desk.strokes(key, png(mine, SHADES), "")["version"]
    assert desk.strokes(key, None, "")["version"] == kept
    np.testing.assert_array_equal(decode_png(desk.strokes(key, None, "")["png"]), mine)
    answer = desk.strokes(key, png(theirs, SHADES), "")
    assert (answer["conflict"], answer["version"]) == (True, kept)
    np.testing.assert_array_equal(decode_png(answer["png"]), mine)
    assert desk.strokes(key, png(theirs, SHADES), kept)["version"] != kept
    with pytest.raises(MaskError, match="exactly the size"):
        desk.strokes(key, png(np.zeros((3, 4), np.uint8), SHADES), "")
    with pytest.raises(MaskError, match="class id 7"):
        desk.strokes(key, png(np.full((32, 64), 7, np.uint8), VOC), "")
    for wrong in ("shades/nobody", "../x/y", f"{key}/1", "\0/"):
        with pytest.raises(NotFoundError):
            desk.strokes(wrong, None, "")


@pytest.fixture
def drafted(desk, three):
    """The collection of ``three`` with a draft by "light" of each photo but the first, and their ids."""
    name, by_name = three
    collection, ids = desk.store.open(name), list(by_name.values())
    for id_, sure, unsure in zip(ids[1:], (0.7, 0.95), (0.3, 0.05), strict=True):
        photo = collection.photo(id_)
        label_map = np.ones((photo.height, photo.width), np.uint8)
        drafts.put(collection, id_, label_map, "light", "ab", sure, unsure)
    return collection, ids


def test_a_photo_is_opened_with_its_draft(desk, drafted, monkeypatch):
    collection, ids = drafted
    monkeypatch.setattr(desk, "_suggest", lambda *_: pytest.fail("the draft is there"))
    payload = desk.payload(collection.name, ids[1], "light")
    assert (shown(payload, "prediction") == 1).all() and shown(payload, "yours") is None
    assert desk.look_ahead(collection.name, ids[2], "light")["layers"]["prediction"]
    assert desk.payload(collection.name, ids[1])["layers"]["prediction"] is None  # from no model
    key = f"{collection.name}/{ids[1]}"
    desk.payload(collection.name, ids[1], "light")
    size = collection.photo(ids[1])
    desk.save(key, png(np.zeros((size.height, size.width), np.uint8), collection.label_set), None)
    assert collection.photo(ids[1]).model == "light"
    assert drafts.find(collection, ids[1]) is None


def test_drafts_are_taken_over_by_how_sure_they_are(desk, drafted):
    collection, ids = drafted
    assert desk.take_over(collection.name, 0.99) == (0, [])
    (collection.folder / ".drafts" / f"{ids[1]}.png").write_bytes(b"damaged")
    assert desk.take_over(collection.name, 0.5, "ann") == (1, [collection.photo(ids[1]).source])
    assert collection.photo(ids[2]).revision == 1 and collection.photo(ids[1]).revision == 0
    assert collection.photo(ids[2]).current.author == "ann"


def test_the_list_marks_drafts_and_is_ordered_by_doubt(desk, drafted):
    collection, ids = drafted
    made = drafts.found(collection)
    page = desk.photos(collection, "unsure")
    assert [photo.id for photo in page.photos] == [ids[1], ids[2], ids[0]]
    listed = photo_list.listing(collection, page, made=made)["photos"]
    assert [entry["draft"] for entry in listed] == ["70 %", "95 %", None]
    assert not any(entry["labelled"] for entry in listed)
    assert (
        listed[0]["thumbnail"]["path"]
        != photo_list.listing(collection, page)["photos"][0]["thumbnail"]["path"]
    )
    assert {photo.id for photo in desk.photos(collection, "source", among=made).photos} == set(ids[1:])
    assert desk.next_photo(collection.name, None, (), ids[0], "unsure") == ids[1]
    assert desk.next_photo(collection.name, "light", (), ids[0], "created") == ids[1]
    assert desk.previous_photo(collection.name, ids[2], "unsure") == ids[1]


def test_drafts_are_exported_only_if_asked_for(desk, labelled):
    collection = desk.store.open(labelled[0])
    id_ = collection.add_photo(np.full((40, 60, 3), 77, np.uint8), "fresh")
    drafts.put(collection, id_, np.ones((40, 60), np.uint8), "light", "ab", 0.9, 0.1)
    with zipfile.ZipFile(desk.export(collection.name, ["voc"])) as archive:
        plain = archive.namelist()
    with zipfile.ZipFile(desk.export(collection.name, ["voc"], with_drafts=True)) as archive:
        both = archive.namelist()
    assert {name for name in both if name not in plain} >= {
        "JPEGImages/fresh.png",
        "SegmentationClass/fresh.png",
    }
    assert not any("fresh" in name for name in plain)


def test_the_title_stays_that_of_the_photo_which_was_opened_last():
    """The answer to "saved" may come after that to "next", which was asked later."""
    photo = SimpleNamespace(photo=lambda id_: id_)
    tab = SimpleNamespace(
        collection="collection",
        _latest=Latest(),
        desk=SimpleNamespace(store=SimpleNamespace(open=lambda name: photo)),
        _about=lambda name, photo: {"title": photo},
        _listing=lambda event, name, current: {"list": current},
    )

    def saved(key, shown, page="p"):
        data = SimpleNamespace(key=f"mine/{key}", open=f"mine/{shown}")
        event = SimpleNamespace(data=data, request=SimpleNamespace(session_hash=page))
        event = type("Event", (), {"__getitem__": lambda _, component: "mine", **vars(event)})()
        return AnnotateTab._saved(tab, event)

    assert saved("cat", "cat") == {"title": "cat", "list": "cat"}
    tab._latest.note("p", "cat")
    assert saved("cat", "cat") == {"title": "cat", "list": "cat"}
    assert saved("cat", "dog") == {"list": "dog"}  # which the canvas shows before the server knows
    tab._latest.note("p", "dog")
    assert saved("cat", "cat") == {"list": "dog"}
    assert saved("cat", "cat", page="another") == {"title": "cat", "list": "cat"}

    def slow_listing(event, name, current):
        tab._latest.note("p", "dog")  # while the list is made
        return {"list": current}

    tab._latest.note("p", "cat")
    tab._listing = slow_listing
    assert saved("cat", "cat") == {"list": "dog"}


def test_whoever_has_no_photos_labels_ours(desk):
    name = desk.create("Pets", "pets", None)
    tab = SimpleNamespace(
        desk=desk,
        collection="collection",
        notice="notice",
        _show_collection=lambda event, name, id_: {"opened": id_},
        _where=lambda event: (None, None),
    )
    for method in ("_add", "_arrived"):
        setattr(tab, method, partial(getattr(AnnotateTab, method), tab))
    updates = AnnotateTab._add_ours(tab, {"collection": name})
    (photo,) = desk.store.open(name).photos().photos
    assert (photo.source, updates) == ("chelsea.png", {"opened": photo.id})


@pytest.mark.parametrize(
    ("visible", "done", "offered"), [(False, 1, True), (False, 0, False), (False, 2, False), (True, 2, False)]
)
def test_ours_are_offered_where_a_collection_has_none(visible, done, offered):
    tab = SimpleNamespace(desktop="desktop", hint="hint", sampling="sampling", undo_bar="bar")
    assert AnnotateTab._desktop(tab, visible, done)["sampling"]["visible"] is offered


class _NextTab:
    """The Annotate tab with photos a, b, c and so on, without components."""

    canvas, opened, seen, notice, collection = "canvas", "opened", "seen", "notice", "collection"
    _next, _shown = AnnotateTab._next, AnnotateTab._shown

    def __init__(self):
        record = SimpleNamespace(deleted=False, revision=0)
        self.desk = SimpleNamespace(
            store=SimpleNamespace(open=lambda name: SimpleNamespace(photo=lambda _: record))
        )
        self._latest, self.meanwhile = Latest(), lambda: None

    def _after(self, event, name, current):
        return chr(ord(current) + 1)

    def _open(self, event, name, id_):
        self._latest.note(event.request.session_hash, id_)
        self.meanwhile()
        return {"canvas": {}, "opened": id_, "seen": (*event["seen"], id_)}

    def next(self, current, shown=None, seen=("a",)):
        class Event:
            data = SimpleNamespace(
                key=f"mine/{current}",
                shown=shown and {"key": f"mine/{shown}", "revision": None},
                saving=False,
            )
            request, form = SimpleNamespace(session_hash="p"), {"seen": seen}

            def __getitem__(self, name):
                return self.form[name]

        return self._next(Event())


def test_two_quick_nexts_end_in_what_the_canvas_shows():
    tab = _NextTab()
    assert tab.next("a")["opened"] == "b"
    # The canvas has gone on by itself, and the answer to that comes after the next one is asked for.
    tab.meanwhile = lambda: tab._latest.note("p", "d")
    assert "opened" not in tab.next("b", shown="c")
    tab.meanwhile = lambda: None
    updates = tab.next("c", shown="d")
    assert (updates["opened"], "canvas" in updates) == ("d", False)
    assert updates["seen"] == ("a", "c", "d")  # so that Previous leads to c, of which the answer was left out


def test_a_second_next_of_a_photo_that_was_left_changes_nothing():
    tab = _NextTab()
    assert tab.next("a")["opened"] == "b"
    assert tab.next("a") == {}
    assert tab.next("b")["opened"] == "c"


def test_pages_that_nobody_has_used_for_long_are_forgotten(monkeypatch):
    monkeypatch.setattr(Latest, "MOST", 2)
    latest = Latest()
    for page in ("a", "b", "a", "c"):
        latest.note(page, f"photo of {page}")
    assert [latest.of(page) for page in "abc"] == ["photo of a", None, "photo of c"]


def test_what_a_page_asks_for_is_forgotten_where_it_fails_unless_it_asks_for_more():
    latest = Latest()
    with latest.asking("page", "a"):
        assert (latest.of("page"), latest.overtaken("page", "a"), latest.overtaken("page", "b")) == (
            "a",
            False,
            True,
        )
    assert latest.of("page") == "a"
    with pytest.raises(StoreError), latest.asking("page", "b"):
        raise StoreError("It is gone.")
    assert latest.of("page") is None and not latest.overtaken("page", "a")
    with pytest.raises(StoreError), latest.asking("page", "b"):
        latest.note("page", "c")
        raise StoreError("It is gone.")
    assert latest.of("page") == "c"
    for nobody in (None, ""):  # a plain HTTP call: another one's must not count
        latest.note(nobody, "a")
        assert latest.of(nobody) is None and not latest.overtaken(nobody, "b")
