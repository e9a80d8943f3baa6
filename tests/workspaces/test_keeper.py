"""Workspaces: what each may keep, who clears them away when, and how one becomes part of another."""

import itertools
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import bright, write_model
from waiting import once

from segdemo import zoo
from segdemo.annotations import drafts, strokes
from segdemo.core.files import NotFoundError, StoreError, read_json, remove_folder, write_json
from segdemo.core.labels import PETS, VOC
from segdemo.core.workspace import WorkspaceError, entered
from segdemo.runs import processes
from segdemo.runs.policy import Policy, PolicyError, RunError
from segdemo.runs.queue import Runs, in_turn
from segdemo.runs.record import Launch, Record, Run, Status, find_run
from segdemo.workspaces import moving, quota
from segdemo.workspaces.keeper import NOBODY, Keeper
from segdemo.zoo.versions import ModelStore

TRAINER = [sys.executable, str(Path(__file__).parent.parent / "fake_trainer.py")]


@pytest.fixture
def keeper(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "fsync", lambda _: None)
    keeper = Keeper()
    keeper.runs = Runs(policy=Policy(), command=TRAINER, models_of=keeper.models_of)
    return keeper


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, (12, 20, 3), np.uint8)


def collection(keeper, id_, title="Leaves", photos=(1,)):
    """A collection with a photo for each seed in a workspace."""
    with entered(keeper.workspace(id_)):
        made = keeper.room().store.create(title, VOC)
        for seed in photos:
            made.save(made.add_photo(photo(seed), f"{seed}.png"), np.zeros((12, 20), np.uint8), 0)
        return made


def run_of(keeper, id_, name, state="failed", queued=0.0, launches=(), **settings):
    """A run of a workspace, as its files say."""
    folder = keeper.runs.root / name
    folder.mkdir(parents=True)
    record = Record.of(
        title=name, name="leaves", created=name, workspace=id_, queued=queued, launches=list(launches)
    )
    write_json(folder / "run.json", record.to_json())
    write_json(folder / "status.json", Status.of(state=state, message="So it is.").to_json())
    write_json(folder / "config.json", {"model": "unet", "dataset": "annotations", **settings})
    return Run.read(folder)


def version_of(keeper, id_, name="leaves"):
    """A model with one promoted version in a workspace."""
    folder = keeper.root.parent / "made" / f"{id_}-{name}"
    write_model(folder, name, PETS, *bright(3, 0, 1))
    store = ModelStore(keeper.workspace(id_).models)
    store.promote(name, store.install(folder, name).number, force=True)


def idle(keeper, id_, hours):
    """Nobody has touched a workspace for so long."""
    then = time.time() - hours * 3600
    workspace = keeper.workspace(id_)
    (workspace.folder / "touched").touch()
    for path in (workspace.folder / "touched", workspace.folder / "annotations", workspace.folder):
        if path.exists():
            os.utime(path, (then, then))


# --- each for itself ---


def test_each_has_collections_models_and_runs_of_their_own(keeper):
    collection(keeper, "visit-a", "Of a")
    version_of(keeper, "visit-a", "amodel")
    run_of(keeper, "visit-a", "20260101-000000-aaaaaa")
    with entered(keeper.workspace("visit-a")):
        assert [c.title for c in keeper.room().store.collections()] == ["Of a"]
        assert keeper.room().versions.names() == ["amodel"]
        assert [run.title for run in keeper.room().runs.list()] == ["20260101-000000-aaaaaa"]
        assert {"amodel", "amodel@1"} <= zoo.served_models().keys()
    with entered(keeper.workspace("visit-b")):
        room = keeper.room()
        assert not room.store.collections()
        assert not room.versions.names()
        assert not room.runs.list()
        assert not {"amodel", "amodel@1"} & zoo.served_models().keys()
        for ask in (
            room.runs.follow,
            room.runs.cancel,
            room.runs.resume,
            room.runs.settings_of,
            room.runs.delete,
            lambda id_: room.runs.rename(id_, "mine now"),
        ):
            with pytest.raises(NotFoundError, match="There is no run"):
                ask("20260101-000000-aaaaaa")
    assert "amodel" not in zoo.served_models()
    assert find_run(keeper.runs.root, "20260101-000000-aaaaaa").title == "20260101-000000-aaaaaa"


def test_outside_a_workspace_there_is_no_room(keeper):
    with pytest.raises(WorkspaceError, match="open the page again"):
        keeper.room()
    for wrong in ("..", "a/b", "", "A", "x" * 81, ".trash"):
        with pytest.raises(WorkspaceError):
            keeper.workspace(wrong)


def test_nobody_keeps_nothing(keeper):
    with entered(keeper.workspace(NOBODY)), pytest.raises(WorkspaceError, match="open the page again"):
        keeper.room().store.create("Whose?", VOC)


def test_a_run_learns_from_what_is_ones_own_alone(keeper, tmp_path):
    theirs = collection(keeper, "visit-a", photos=range(4))
    mine = collection(keeper, "visit-b", photos=range(4))
    settings = {"model": "unet", "dataset": "annotations", "epochs": 1}
    with entered(keeper.workspace("visit-b")):
        runs = keeper.room().runs
        for wrong in (
            {"data": str(theirs.folder)},
            {"data": f"{mine.folder}/../../../visit-a/annotations/leaves"},
            {"data": str(mine.folder), "start_from": "leaves@1"},
            {"data": str(mine.folder), "encoder_weights": str(tmp_path / "x.h5")},
            {"data": str(mine.folder), "options": {"teacher": ["../x"]}},
        ):
            with pytest.raises(RunError, match=r"Choose|name no files"):
                runs.estimate({**settings, **wrong}, begin=False)
        assert runs.estimate({**settings, "data": str(mine.folder)}, begin=False)


@pytest.mark.skipif(not processes.CAN_LOCK, reason="runs need a POSIX system")
def test_a_run_ends_in_a_model_of_its_workspace(keeper):
    mine = collection(keeper, "visit-a", photos=range(5))
    settings = {"model": "unet", "dataset": "annotations", "data": str(mine.folder), "epochs": 1}
    with entered(keeper.workspace("visit-a")):
        ticket = keeper.room().runs.start({**settings, "options": {"delay": 0}}, "Leaves", "leaves")
    once(lambda: keeper.runs.tick() or keeper.runs.follow(ticket.run_id).state == "done", seconds=120)
    keeper.runs.tick()
    assert keeper.models_of("visit-a").names() == ["leaves"]
    assert ModelStore().names() == []
    environment = keeper.runs._supervisor.environment("visit-a")
    assert environment["SEGDEMO_OWN_MODELS"] == str(keeper.workspace("visit-a").models)
    assert "SEGDEMO_OWN_MODELS" not in keeper.runs._supervisor.environment()


def test_a_trainer_is_told_whose_models_it_may_start_from(keeper, monkeypatch):
    version_of(keeper, "visit-a", "amodel")
    assert "amodel" not in zoo.served_models()
    monkeypatch.setenv("SEGDEMO_OWN_MODELS", str(keeper.workspace("visit-a").models))
    assert "amodel@1" in zoo.served_models()


# --- the queue ---


def test_workspaces_take_turns_and_are_told_how_many_wait(keeper):
    started = [Launch(pid=1, time=50.0)]
    served = run_of(keeper, "visit-a", "20260101-000000-000001", "done", launches=started)
    waiting = [
        run_of(keeper, id_, f"20260101-00000{queued}-00000{queued}", "queued", queued)
        for queued, id_ in enumerate(("visit-a", "visit-a", "visit-b", "visit-c", "visit-b"), 1)
    ]
    assert [run.record.queued for run in in_turn(waiting, [served, *waiting])] == [3, 4, 1, 5, 2]
    with entered(keeper.workspace("visit-c")):
        [run] = keeper.room().runs.list()
        assert run.position == 2  # a was served already
        assert "visit" not in run.message


def test_without_workspaces_who_came_first_goes_first(keeper):
    launches = [Launch(pid=1, time=50.0)]
    waiting = [run_of(keeper, "", f"r{n}", "queued", n, launches if n == 1 else ()) for n in (3, 1, 2)]
    assert [run.record.queued for run in in_turn(waiting, waiting)] == [1, 2, 3]


def test_one_visitor_does_not_fill_the_queue(keeper):
    mine = collection(keeper, "visit-a", photos=range(4))
    for number in range(2):
        run_of(keeper, "visit-a", f"a{number}", "queued", number)
    settings = {"model": "unet", "dataset": "annotations", "data": str(mine.folder), "epochs": 1}
    with entered(keeper.workspace("visit-a")), pytest.raises(PolicyError, match="Up to 2 of your runs"):
        keeper.room().runs.start(settings)


# --- quotas ---


def test_photos_and_bytes_are_limited(keeper, monkeypatch):
    monkeypatch.setenv("SEGDEMO_WORKSPACE_PHOTOS", "2")
    made = collection(keeper, "visit-a", photos=(1, 2))
    with pytest.raises(StoreError, match="the 2 photos that each visitor may have"):
        made.add_photo(photo(3), "3.png")
    first = made.add_photo(photo(1), "again.png")  # which is there
    made.delete(first)
    made.add_photo(photo(6), "6.png")
    other = collection(keeper, "visit-b", photos=(3,))
    with entered(keeper.workspace("visit-a")):
        keeper.room().store.delete(made.name)
    again = collection(keeper, "visit-a", photos=(4,))
    monkeypatch.setenv("SEGDEMO_WORKSPACE_MB", "0.001")
    with pytest.raises(StoreError, match="MB that each visitor may have"):
        again.add_photo(photo(5), "5.png")
    id_ = again.photos().photos[0].id
    with pytest.raises(StoreError, match="MB that each visitor may have"):
        again.save(id_, np.ones((12, 20), np.uint8), 1)
    assert len(other.photos().photos) == 1


def test_deleted_collections_make_room(keeper, monkeypatch):
    made = collection(keeper, "visit-a", photos=range(8))
    with entered(keeper.workspace("visit-a")):
        store = keeper.room().store
        store.delete(made.name)
        used = sum(p.stat().st_size for p in keeper.workspace("visit-a").folder.rglob("*") if p.is_file())
        monkeypatch.setenv("SEGDEMO_WORKSPACE_MB", str(used / 1e6))
        store.create("Another", VOC).add_photo(photo(9), "9.png")
        assert not list((store.root / ".trash").iterdir())


def test_whoever_has_all_photos_they_may_have_can_still_paint_on_them(keeper, monkeypatch):
    monkeypatch.setenv("SEGDEMO_WORKSPACE_PHOTOS", "2")
    made = collection(keeper, "visit-a", photos=(1,))
    painted = np.full((12, 20), 3, np.uint8)
    with entered(keeper.workspace("visit-a")):
        id_ = made.add_photo(photo(2), "2.png")
        version = strokes.save(made, id_, painted, strokes.version(None))
        assert strokes.version(strokes.png(made, id_)) == version
        assert drafts.put(made, id_, painted, "m", "0", 0.5, 0.5)
        with pytest.raises(StoreError, match="the 2 photos"):
            made.add_photo(photo(3), "3.png")


def test_what_comes_out_of_the_trash_counts_again(keeper, monkeypatch):
    monkeypatch.setenv("SEGDEMO_WORKSPACE_PHOTOS", "3")
    keys = []
    for number in range(3):
        made = collection(keeper, "visit-a", f"No. {number}", range(3 * number, 3 * number + 3))
        with entered(keeper.workspace("visit-a")):
            store = keeper.room().store
            keys.append(store.delete(made.name))
    assert store.undelete(keys[0]).photos().total == 3  # as Undo does
    for key in keys[1:]:
        with pytest.raises(StoreError, match="the 3 photos that each visitor may have"):
            store.undelete(key)
    (back,) = store.collections()
    ids = [photo.id for photo in back.photos().photos]
    back.delete(ids[0])
    back.add_photo(photo(100), "100.png")
    with pytest.raises(StoreError, match="the 3 photos"):
        back.undelete(ids[0])
    with pytest.raises(StoreError, match="the 3 photos"):
        back.add_photo(back.image(ids[0]), "again.png")
    back.delete(ids[1])
    back.undelete(ids[0])
    assert back.photos().total == 3
    monkeypatch.setenv("SEGDEMO_WORKSPACE_PHOTOS", "100")
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS", "2")
    store.undelete(keys[1])
    with pytest.raises(StoreError, match="There may be 2 collections here"):
        store.undelete(keys[2])


def test_an_undo_empties_no_trash(keeper, monkeypatch):
    made = collection(keeper, "visit-a", photos=range(8))
    with entered(keeper.workspace("visit-a")):
        store = keeper.room().store
        key = store.delete(made.name)
        monkeypatch.setenv("SEGDEMO_WORKSPACE_MB", "0.000001")
        assert store.undelete(key).photos().total == 8  # it takes no more of the disk than before


def test_photos_that_come_at_the_same_time_are_limited(keeper, monkeypatch):
    monkeypatch.setenv("SEGDEMO_WORKSPACE_PHOTOS", "10")
    made = [collection(keeper, "visit-a", f"No. {number}", ()) for number in range(12)]
    start, refused = threading.Barrier(len(made)), []

    def add(number):
        start.wait()
        for seed in range(6):
            try:
                made[number].add_photo(photo(100 * number + seed), "p.png")
            except StoreError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.photos().total for one in made) == 10
    assert len(refused) == 62
    assert all("the 10 photos that each visitor may have" in one for one in refused)


def test_a_collection_that_goes_while_all_are_counted_counts_nothing(keeper, monkeypatch):
    made, other = (collection(keeper, "visit-a", title, range(3)) for title in ("Going", "Staying"))
    iterdir = Path.iterdir

    def going(path):
        if path == made.folder / "JPEGImages" and path.is_dir():
            remove_folder(made.folder)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", going)
    assert quota.usage(keeper.workspace("visit-a").folder)[1] == 3
    assert other.photos().total == 3


def test_all_visitors_together_are_limited(keeper, monkeypatch):
    collection(keeper, "visit-a")
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS_GB", "0.000001")
    with pytest.raises(StoreError, match="try again in an hour"):
        collection(keeper, "visit-b")


# --- clearing ---


def test_what_nobody_touched_for_a_day_is_cleared_away_with_its_runs(keeper):
    for id_, hours in (("visit-old", 25), ("visit-new", 23), ("user-ann-1", 200), ("visit-busy", 30)):
        collection(keeper, id_)
        idle(keeper, id_, hours)
    run_of(keeper, "visit-old", "old")
    run_of(keeper, "visit-busy", "busy", "queued")
    assert keeper.clear_untouched() == ["visit-old"]
    assert sorted(path.name for path in keeper.root.glob("[!.]*")) == [
        "user-ann-1",
        "visit-busy",
        "visit-new",
    ]
    assert not (keeper.runs.root / "old").exists()
    assert (keeper.runs.root / "busy").is_dir()


def test_whoever_comes_keeps_a_workspace_alive(keeper):
    collection(keeper, "visit-a")
    idle(keeper, "visit-a", 30)
    keeper.touch(keeper.workspace("visit-a"))
    assert keeper.clear_untouched() == []
    keeper.touch(keeper.workspace("visit-who-looks"))
    assert not keeper.workspace("visit-who-looks").folder.exists()


def test_whoever_comes_while_others_are_cleared_keeps_it(keeper, monkeypatch):
    for id_, hours in (("visit-a", 40), ("visit-b", 30)):
        collection(keeper, id_)
        idle(keeper, id_, hours)
    clear = keeper.clear

    def slowly(id_):
        clear(id_)
        keeper.touch(keeper.workspace("visit-b"))

    monkeypatch.setattr(keeper, "clear", slowly)
    assert keeper.clear_untouched() == ["visit-a"]
    assert keeper.workspace("visit-b").folder.is_dir()


@pytest.mark.parametrize("hours", [25, -1000])
def test_a_clock_that_is_set_clears_nothing_in_use(keeper, monkeypatch, hours):
    for id_, ago in (("visit-now", 0), ("visit-today", 20), ("visit-old", 30)):
        collection(keeper, id_)
        idle(keeper, id_, ago)
    keeper.touch(keeper.workspace("visit-now"))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    keeper.touch(keeper.workspace("visit-now"))  # which is not noted again within a minute
    gone = (
        ["visit-old"] if hours > 0 else []
    )  # how long that was left nobody knows when the clock is set back
    assert keeper.clear_untouched() == gone
    assert keeper.clear_untouched() == []
    assert {"visit-now", "visit-today"} <= {path.name for path in keeper.root.glob("[!.]*")}
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * (hours + 5))
    keeper._clocks = time.time(), time.monotonic()  # five hours later
    assert ("visit-today" in keeper.clear_untouched()) == (hours > 0)
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * (hours + 30))
    keeper._clocks = time.time(), time.monotonic()
    keeper._touched.clear()
    assert "visit-now" in keeper.clear_untouched()


def test_a_clock_that_is_set_while_others_are_cleared_clears_nothing_in_use(keeper, monkeypatch):
    for id_, ago in (("visit-old", 40), ("visit-now", 0)):
        collection(keeper, id_)
        idle(keeper, id_, ago)
    keeper.touch(keeper.workspace("visit-now"))
    clear, now = keeper.clear, time.time

    def slowly(id_):
        clear(id_)
        monkeypatch.setattr(time, "time", lambda: now() + 3600 * 25)

    monkeypatch.setattr(keeper, "clear", slowly)
    assert keeper.clear_untouched() == ["visit-old"]


@pytest.mark.parametrize("owner", ["../../etc", "A", "x" * 81, " "])
def test_a_run_that_names_no_workspace_stops_nobody_from_seeing_and_clearing_the_others(keeper, owner):
    for id_ in ("visit-a", "visit-b"):
        collection(keeper, id_)
    idle(keeper, "visit-b", 30)
    run = run_of(keeper, owner, "damaged")
    assert {one.id for one in keeper.facts()} == {"visit-a", "visit-b"}
    assert keeper.clear_untouched() == ["visit-b"]
    keeper.tidy()
    assert run.folder.is_dir()


def test_what_is_being_saved_is_waited_for_and_nothing_is_saved_where_nothing_is(keeper, monkeypatch):
    made = collection(keeper, "visit-a")
    (saved,) = made.photos().photos
    inside, go_on, answers = threading.Event(), threading.Event(), []
    arrange = made._arrange

    def slowly(id_):
        inside.set()
        assert go_on.wait(30)
        arrange(id_)

    monkeypatch.setattr(made, "_arrange", slowly)

    def save(value):
        try:
            answers.append(made.save(saved.id, np.full((12, 20), value, np.uint8), 1))
        except StoreError as error:
            answers.append(error)

    threads = [
        threading.Thread(target=save, args=(1,)),
        threading.Thread(target=keeper.clear, args=("visit-a",)),
    ]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    threads.append(threading.Thread(target=save, args=(2,)))
    threads[2].start()
    time.sleep(0.3)
    assert keeper.workspace("visit-a").folder.is_dir()  # it is not cleared while somebody saves
    go_on.set()
    for thread in threads:
        thread.join(60)
    left = [path for path in keeper.workspace("visit-a").folder.rglob("*") if path.is_file()]
    assert not [path for path in left if path.parent.name != ".locks"]
    assert answers[0] == 2
    assert answers[1] in (3, 2) or isinstance(answers[1], StoreError)


def test_it_can_be_kept_for_ever(keeper, monkeypatch):
    monkeypatch.setenv("SEGDEMO_WORKSPACE_HOURS", "0")
    collection(keeper, "visit-a")
    idle(keeper, "visit-a", 10_000)
    assert keeper.clear_untouched() == []


def test_a_full_disk_clears_those_who_are_signed_in_last(keeper, monkeypatch):
    for id_, hours in (("user-ann-1", 24 * 40), ("user-bob-1", 24 * 20), ("visit-a", 2), ("visit-b", 0)):
        collection(keeper, id_)
        idle(keeper, id_, hours)
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS_GB", "0.000001")
    keeper._total = (float("-inf"), 0)
    assert keeper.clear_untouched() == ["visit-a", "user-ann-1"]


def test_an_owner_clears_one_but_not_while_it_trains(keeper):
    collection(keeper, "visit-a")
    collection(keeper, "visit-b")
    facts = keeper.facts()
    assert {one.id: (one.photos, one.collections, one.signed_in) for one in facts} == {
        "visit-a": (1, 1, False),
        "visit-b": (1, 1, False),
    }
    keeper.clear("visit-a")
    assert [one.id for one in keeper.facts()] == ["visit-b"]
    with pytest.raises(NotFoundError):
        keeper.clear("visit-a")
    run = run_of(keeper, "visit-b", "busy", "running")
    handle = processes.hold(run.folder / "alive")
    try:
        with pytest.raises(StoreError, match="is running"):
            keeper.clear("visit-b")
    finally:
        os.close(handle)
    assert [one.id for one in keeper.facts()] == ["visit-b"]


# --- signing in ---


def hand_over(keeper, old="visit-a", new="user-ann-1"):
    keeper.hand_over(keeper.workspace(old), keeper.workspace(new))


def test_signing_in_takes_everything_along_and_overwrites_nothing(keeper):
    old = collection(keeper, "visit-a", "Leaves", (1, 2))
    collection(keeper, "user-ann-1", "Leaves", (3,))
    version_of(keeper, "visit-a")
    version_of(keeper, "user-ann-1")
    run = run_of(keeper, "visit-a", "a1", data=str(old.folder.resolve()), start_from="leaves@1")
    run.note(model="leaves@1")
    hand_over(keeper)
    assert not keeper.workspace("visit-a").folder.exists()
    with entered(keeper.workspace("user-ann-1")):
        room = keeper.room()
        assert {c.name: c.photos().total for c in room.store.collections()} == {"leaves": 1, "leaves-2": 2}
        assert room.versions.names() == ["leaves", "leaves-2"]
        assert room.versions.current("leaves-2").number == 1
        assert zoo.served_model("leaves-2").path.is_file()
        [run] = room.runs.list()
        assert run.model == "leaves-2@1"
        assert run.settings["data"] == str((room.store.root / "leaves-2").resolve())
        assert run.settings["start_from"] == "leaves-2@1"
        [moved] = [c for c in room.store.collections() if c.name == "leaves-2"]
        assert moved.image(moved.photos().photos[0].id).shape == (12, 20, 3)
    hand_over(keeper)  # there is nothing any more
    with entered(keeper.workspace("visit-a")):
        assert not keeper.room().store.collections()
        assert not keeper.room().runs.list()


def test_a_deleted_collection_can_still_be_taken_out_of_the_trash(keeper):
    made = collection(keeper, "visit-a")
    with entered(keeper.workspace("visit-a")):
        key = keeper.room().store.delete(made.name)
    hand_over(keeper)
    with entered(keeper.workspace("user-ann-1")):
        assert keeper.room().store.undelete(key).photos().total == 1


def test_what_a_run_is_reading_follows_when_it_has_ended(keeper):
    read, other = (collection(keeper, "visit-a", title) for title in ("Read", "Other"))
    version_of(keeper, "visit-a")
    run = run_of(keeper, "visit-a", "a1", "running", data=str(read.folder.resolve()))
    handle = processes.hold(run.folder / "alive")
    try:
        for _ in range(2):
            hand_over(keeper)
            assert read.folder.is_dir()
            assert not other.folder.is_dir()
            assert keeper.models_of("visit-a").names() == ["leaves"]
            with entered(keeper.workspace("user-ann-1")):
                assert [run.title for run in keeper.room().runs.list()] == ["a1"]
    finally:
        os.close(handle)
    run.tell(state="cancelled")
    hand_over(keeper)
    assert not keeper.workspace("visit-a").folder.exists()
    with entered(keeper.workspace("user-ann-1")):
        assert {c.title for c in keeper.room().store.collections()} == {"Read", "Other"}
        assert keeper.room().versions.names() == ["leaves"]
    assert read_json(run.folder / "config.json")["data"] == str(
        (keeper.workspace("user-ann-1").folder / "annotations" / "read").resolve()
    )


def test_signing_in_moves_what_there_is_room_for_and_the_rest_later(keeper, monkeypatch):
    monkeypatch.setenv("SEGDEMO_WORKSPACE_PHOTOS", "5")
    named = keeper.workspace("user-ann-1")
    for number in range(4):
        collection(keeper, f"visit-{number}", f"No. {number}", range(10 * number, 10 * number + 2))
        hand_over(keeper, f"visit-{number}")
    with entered(named):
        store = keeper.room().store
        assert [c.title for c in store.collections()] == ["No. 0", "No. 1"]
    for number in (2, 3):  # to be cleared away if nobody makes room
        with entered(keeper.workspace(f"visit-{number}")):
            assert [c.photos().total for c in keeper.room().store.collections()] == [2]
        idle(keeper, f"visit-{number}", 25)
        hand_over(keeper, f"visit-{number}")  # which makes it no younger
    store.delete("no-0")
    keeper._left.clear()  # a minute later
    hand_over(keeper, "visit-2")
    assert sorted(c.title for c in store.collections()) == ["No. 1", "No. 2"]
    assert not keeper.workspace("visit-2").folder.exists()
    assert keeper.clear_untouched() == ["visit-3"]


def test_signing_in_passes_no_limit_of_bytes_and_collections(keeper, monkeypatch):
    collection(keeper, "user-ann-1", "Mine", ())
    for title in ("A", "B", "C"):
        collection(keeper, "visit-a", title, range(3))
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS", "3")
    hand_over(keeper)
    with entered(keeper.workspace("user-ann-1")):
        store = keeper.room().store
        assert [c.title for c in store.collections()] == ["A", "B", "Mine"]
    monkeypatch.setenv("SEGDEMO_MAX_COLLECTIONS", "0")
    with entered(keeper.workspace("visit-a")):
        key = keeper.room().store.delete("c")
    collection(keeper, "visit-a", "D", range(3))
    used = quota.usage(keeper.workspace("user-ann-1").folder)[0]
    monkeypatch.setenv("SEGDEMO_WORKSPACE_MB", str(used / 1e6 + 1e-5))
    keeper._left.clear()
    hand_over(keeper)
    assert [c.title for c in store.collections()] == ["A", "B", "Mine"]
    assert not (store.root / ".trash").exists()
    monkeypatch.delenv("SEGDEMO_WORKSPACE_MB")
    keeper._left.clear()
    hand_over(keeper)
    assert [c.title for c in store.collections()] == ["A", "B", "D", "Mine"]
    assert store.undelete(key).photos().total == 3


def test_names_that_are_free_for_one_are_not_given_to_two(keeper):
    for title in ("Leaves", "Leaves 2"):
        collection(keeper, "visit-a", title, (1,))
    version_of(keeper, "visit-a")
    version_of(keeper, "visit-a", "leaves-2")
    collection(keeper, "user-ann-1", "Leaves", (3,))
    version_of(keeper, "user-ann-1")
    first = run_of(keeper, "visit-a", "a1", start_from="leaves@1")
    second = run_of(keeper, "visit-a", "a2", start_from="leaves-2@1")
    hand_over(keeper)
    with entered(keeper.workspace("user-ann-1")):
        assert {c.name for c in keeper.room().store.collections()} == {"leaves", "leaves-2", "leaves-3"}
        assert keeper.room().versions.names() == ["leaves", "leaves-2", "leaves-3"]
    assert [run.settings()["start_from"] for run in (first, second)] == ["leaves-3@1", "leaves-2@1"]


def test_a_model_whose_manifest_is_damaged_goes_along(keeper):
    version_of(keeper, "visit-a")
    version_of(keeper, "visit-a", "broken")
    version_of(keeper, "user-ann-1", "broken")
    manifest = keeper.workspace("visit-a").models / "broken" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:100])
    hand_over(keeper)
    models = keeper.models_of("user-ann-1")
    assert models.names() == ["broken", "leaves"]
    (models.root / "broken-2" / "manifest.json").write_bytes(whole)  # from a copy
    assert models.version("broken-2", 1).folder.is_dir()
    assert not keeper.workspace("visit-a").folder.exists()


def test_what_cannot_be_moved_is_not_deleted(keeper, monkeypatch):
    version_of(keeper, "visit-a")
    monkeypatch.setattr(moving, "_move_models", lambda *_: None)
    hand_over(keeper)
    assert keeper.models_of("visit-a").names() == ["leaves"]


def _dies_at(number, work):
    """Do something in a process that is killed at its n-th change of a name on the disk; whether it was."""
    child = os.fork()
    if child == 0:
        left = [number]

        def dying(real):
            def call(*args, **kwargs):
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return real(*args, **kwargs)

            return call

        for step in ("rename", "replace", "unlink"):
            setattr(os, step, dying(getattr(os, step)))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
@pytest.mark.parametrize("who", ["same", "other", "nobody"])
def test_a_server_killed_at_any_step_of_signing_in_loses_nothing(tmp_path, monkeypatch, who):
    """Whether the same visitor comes again, or another one with that browser, or nobody until the next round."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for number in itertools.count(1):
        monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / f"home{number}"))
        keeper = Keeper()
        old = collection(keeper, "visit-a", "Leaves", (1, 2))
        collection(keeper, "visit-a", "Other", (4,))
        collection(keeper, "user-ann-1", "Leaves", (3,))
        version_of(keeper, "visit-a")
        version_of(keeper, "user-ann-1")
        for name in ("a1", "a2"):
            run = run_of(keeper, "visit-a", name, data=str(old.folder.resolve()), start_from="leaves@1")
            run.note(model="leaves@1")
        killed = _dies_at(number, lambda: hand_over(Keeper()))
        fresh = Keeper()
        if who == "same":
            hand_over(fresh)
        elif who == "other":
            hand_over(fresh, new="user-bob-2")
        fresh.tidy()
        kept = {id_: fresh.workspace(id_) for id_ in ("visit-a", "user-ann-1", "user-bob-2")}
        photos, models, places = 0, 0, []
        for workspace in kept.values():
            with entered(workspace):
                room = fresh.room()
                photos += sum(c.photos().total for c in room.store.collections())
                models += sum(len(room.versions.versions(name)) for name in room.versions.names())
                for run in room.runs.list():
                    places.append(Path(run.settings["data"]))
                    assert len([c for c in room.store.collections() if c.photos().total == 2]) == 1
                    assert places[-1].is_dir(), (number, who)
                    assert places[-1].is_relative_to(workspace.folder)
                    assert len(list(places[-1].glob("JPEGImages/*.png"))) == 2
                    name, _, version = run.settings["start_from"].partition("@")
                    assert run.model == run.settings["start_from"]
                    assert room.versions.version(name, int(version)).folder.is_dir()
        assert (photos, models, len(places)) == (4, 2, 2), (number, who)
        assert not list(fresh.root.glob("*/moving.json"))
        if who == "same":
            assert not kept["visit-a"].folder.exists()
        if not killed:
            assert number > 8
            return
