"""What becomes of the home: a disk that is full at every write, one that is read-only, gone, shared or damaged, and a
clock that is set back.

Every action ends in one sentence or is done, and what was there before is there afterwards.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import time
from pathlib import Path

import fake_trainer
import numpy as np
import pytest
from drawn import draw_annotations
from faults.servers import check_whole, mask, photo
from faults.trainers import check_models, check_sentence
from running import until

from segdemo import zoo
from segdemo.annotations.store import AnnotationStore
from segdemo.annotations.transfer import import_annotations
from segdemo.core.files import StoreError
from segdemo.core.labels import PETS
from segdemo.data.formats import export_zip
from segdemo.errors import UserError
from segdemo.runs.policy import Policy
from segdemo.runs.queue import Runs
from segdemo.ui.served import cached
from segdemo.ui.tabs.annotate.desk import Entropies
from segdemo.zoo.versions import ModelStore

DAY = 86400


class Home:
    """An installation with a collection, a model of two versions and a run that has ended.

    ``actions`` are all that a person's click writes: name to a function without arguments.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.data, self.trained = self.folder.with_name("data"), self.folder.with_name("trained")
        self.store = AnnotationStore(self.folder / "annotations")
        self.models = ModelStore(self.folder / "models")
        self.runs = Runs(self.folder / "runs", Policy(), ["true"], self.models)
        self.actions = {
            "save": lambda: self.collection.save(
                self.ids[0], mask(5), self.collection.photo(self.ids[0]).revision
            ),
            "first save": lambda: self.collection.save(self.ids[1], mask(2), 0),
            "add a photo": lambda: self.collection.add_photo(photo(9), "new.png"),
            "restore": lambda: self.collection.restore(self.ids[0], 1),
            "delete a photo": lambda: self.collection.delete(self.ids[0]),
            "rename": lambda: self.collection.rename("Other"),
            "thumbnail": lambda: self.collection.thumbnail(self.ids[0]),
            "create": lambda: self.store.create("Second", PETS),
            "delete a collection": lambda: self.store.delete("kept"),
            "import": lambda: import_annotations(self.store, self.folder.with_name("archive.zip")),
            "export": lambda: export_zip(
                self.collection.annotations(), self.folder / "cache" / "out.zip", ["voc"]
            ),
            "install": lambda: self.models.install(self.trained, "cats"),
            "promote": lambda: self.models.promote("cats", 2, force=True),
            "roll back": lambda: self.models.rollback("cats"),
            "delete a version": lambda: self.models.delete("cats", 2),
            "rename a model": lambda: self.models.rename("cats", "dogs"),
            "start a run": lambda: self.runs.start(self.settings, "New", request=str(time.monotonic_ns())),
            "cancel": lambda: self.runs.cancel(self.waiting),
            "rename a run": lambda: self.runs.rename(self.waiting, "Renamed"),
            "delete a run": lambda: self.runs.delete(self.ended),
            "look after runs": self.runs.tick,
            "tidy": lambda: [kept.tidy() for kept in (self.store, self.models, self.runs)],
            "serve a label map": lambda: cached(b"label map", "label_map.png"),
            "remember uncertainties": lambda: Entropies(self.folder / "cache").write(
                next(iter(self.entries))
            ),
        }

    @property
    def entries(self):
        return list(zoo.served_models().values())

    @property
    def collection(self):
        return self.store.open("kept")

    @property
    def ids(self):
        return sorted(p.id for p in self.collection.photos(deleted=False).photos)

    @property
    def settings(self):
        data = str(self.data)
        return {
            "model": "unet",
            "dataset": "annotations",
            "data": data,
            "options": {"x": time.monotonic_ns()},
        }

    @property
    def waiting(self):
        return next(s.id for s in self.runs.list() if s.title == "Waiting")

    @property
    def ended(self):
        return next(s.id for s in self.runs.list() if s.title == "Ended")

    def fill(self):
        """Make it, once."""
        collection = self.store.create("Kept", PETS)
        ids = [collection.add_photo(photo(n), f"{n}.png") for n in range(3)]
        for number in range(3):
            collection.save(min(ids), mask(number), number)
        collection.save(max(ids), mask(7), 0)
        export_zip(collection.annotations(), self.folder.with_name("archive.zip"), ["voc"])
        self.trained.mkdir()
        fake_trainer.export(self.trained, {})
        self.models.install(self.trained, "cats")
        self.models.install(self.trained, "cats")
        self.models.promote("cats", 1, force=True)
        draw_annotations(self.data, ["a", "b", "c", "d", "e"])
        self.runs.start(self.settings, "Ended")
        until(self.runs, self.ended, lambda s: s.ended)
        self.runs._command = ["sleep", "0"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.runs, "_try_to_start", lambda: None)
            self.runs.start(self.settings, "Waiting")

    def contents(self):
        """All that was made or saved and has to be there: what a person would miss."""
        found = {}
        for collection in self.store.collections():
            opened = self.store.open(collection.name)
            for record in (*opened.photos(per_page=1000).photos, *opened.photos(deleted=True).photos):
                found[opened.name, record.source] = np.array(opened.label_set.classes).tolist()
                for revision in record.revisions:
                    found[opened.name, record.source, revision.number] = revision.sha256
        for name in self.models.names():
            found |= {
                ("model", name, version.number): version.entry["title"]
                for version in self.models.versions(name)
            }
        found |= {("run", snapshot.id): snapshot.settings for snapshot in self.runs.list()}
        return found

    def check(self):
        """Everything that is left is whole. Raises otherwise."""
        check_whole(self.store)
        check_models(self.models)
        for snapshot in self.runs.list():
            check_sentence(snapshot.message)


@contextlib.contextmanager
def home_at(folder):
    """A ``Home`` as the environment's, filled."""
    folder = Path(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGDEMO_HOME", str(folder / "home"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "home" / "cache"))
        patch.setattr(os, "fsync", lambda _: None)  # only a power cut needs it, and it is slow
        home = Home(folder / "home")
        home.fill()
        yield home


def attempt(action):
    """Do something; the sentence that it ends with, or None if it is done. Raises what is not meant for people."""
    try:
        action()
    except UserError as error:
        check_sentence(str(error))
        return str(error)
    return None


class _Disk:
    """The calls that write, of which the n-th fails as on a full disk, and after it all that need more room."""

    def __init__(self, number):
        self.left, self.failed = number, 0

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        for name in ("replace", "rename", "mkdir", "fsync"):
            self._patch.setattr(os, name, self._filling(getattr(os, name)))
        self._patch.setattr(shutil, "copyfile", self._filling(shutil.copyfile))
        for name in ("write_bytes", "write_text", "touch"):
            self._patch.setattr(Path, name, self._filling(getattr(Path, name)))
        return self

    def __exit__(self, *_):
        self._patch.undo()

    def _filling(self, real):
        def call(*args, **kwargs):
            self.left -= 1
            if self.left == 0 or (self.left < 0 and real.__name__ not in ("rename", "replace")):
                self.failed += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
            return real(*args, **kwargs)

        return call


def full_disk(folder, every=1, most=40):
    """Fill the disk at the first, second, ... write of every action, and look what is left.

    Args:
        folder: for the state.
        every: 2 leaves out every other write, and so on.
        most: writes of one action that are tried.

    Returns:
        Figures: actions, writes that failed, sentences. Raises AssertionError: something is lost or half there, or
        a failure is no sentence.
    """
    figures = {"actions": 0, "failed_writes": 0, "sentences": 0, "lost": 0}
    folder = Path(folder)
    with home_at(folder / "0") as first:
        names = list(first.actions)
    for name in names:
        figures["actions"] += 1
        for number in range(1, most + 1, every):
            place = folder / "now"
            shutil.copytree(folder / "0", place)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SEGDEMO_HOME", str(place / "home"))
                patch.setenv("GRADIO_TEMP_DIR", str(place / "home" / "cache"))
                patch.setattr(os, "fsync", lambda _: None)
                home = Home(place / "home")
                before = home.contents()
                with _Disk(number) as disk:
                    said = attempt(home.actions[name])
                home = Home(place / "home")
                after = home.contents()
                home.check()
                figures["failed_writes"] += bool(disk.failed)
                figures["sentences"] += said is not None
                if said is not None:
                    lost = before.keys() - after.keys()
                    assert not lost, (name, number, said, lost)
                    attempt(home.actions[name])  # there is room again: it can be done or says why not
                    home.check()
            shutil.rmtree(place)
            if not disk.failed:
                break
    return figures


def unwritable(folder):
    """Every action on a home that may only be read, or that was deleted while the page runs.

    Returns:
        Figures. Raises AssertionError: an action neither works nor ends in a sentence, or reading does not work.
    """
    figures = {"actions": 0, "sentences": 0, "lost": 0}
    folder = Path(folder)
    with home_at(folder / "read") as home:
        before, denied = home.contents(), _ReadOnly(home.folder)
        for name, action in home.actions.items():
            with denied:
                said = attempt(action)
                assert home.contents() == before, name
            figures["actions"] += 1
            figures["sentences"] += said is not None
        home.check()
    with home_at(folder / "gone") as home:
        for name, action in home.actions.items():
            shutil.rmtree(home.folder, ignore_errors=True)
            figures["actions"] += 1
            with contextlib.suppress(
                StopIteration
            ):  # it looks up a run or photo that is gone, as no page can
                figures["sentences"] += attempt(action) is not None
            assert isinstance(home.store.collections(), list), name
            assert isinstance(home.runs.list(), list), name
            assert zoo.served_models(), name
        shutil.rmtree(home.folder, ignore_errors=True)
        home.store.create("Kept", PETS)  # and it goes on
        home.check()
    return figures


class _ReadOnly:
    """Whatever would write below a folder is refused, as on a file system mounted for reading; also for root."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        for name in ("replace", "rename", "mkdir", "unlink", "utime", "rmdir"):
            self._patch.setattr(os, name, self._refusing(getattr(os, name)))
        real_open, real_io = os.open, Path.open

        def low(path, flags, *args, **kwargs):
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._check(path)
            return real_open(path, flags, *args, **kwargs)

        def high(path, mode="r", *args, **kwargs):
            if set(mode) & set("wax+"):
                self._check(path)
            return real_io(path, mode, *args, **kwargs)

        self._patch.setattr(os, "open", low)
        self._patch.setattr(Path, "open", high)
        self._patch.setattr(Path, "touch", self._refusing(Path.touch))
        return self

    def __exit__(self, *_):
        self._patch.undo()

    def _refusing(self, real):
        def call(path, *args, **kwargs):
            self._check(path)
            return real(path, *args, **kwargs)

        return call

    def _check(self, path):
        if str(path).startswith(self.folder):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def clock_set_back(folder):
    """Every action after the clock was set back by a day and forward by ten years; nothing that was kept goes.

    Returns:
        Figures. Raises AssertionError: something is lost or in disorder.
    """
    figures = {"actions": 0, "lost": 0}
    real = time.time
    for shift in (-DAY, -40 * 365 * DAY):
        with home_at(Path(folder) / f"{-shift}") as home, pytest.MonkeyPatch.context() as patch:
            newest = home.collection.photo(home.ids[0]).revision
            patch.setattr(time, "time", lambda shift=shift: real() + shift)
            before = home.contents()
            names = ("tidy", "save", "first save", "restore", "install", "promote", "start a run")
            for name in (*names, "look after runs"):
                attempt(home.actions[name])
                figures["actions"] += 1
                assert not before.keys() - home.contents().keys(), name
            assert home.collection.photo(home.ids[0]).revision == newest + 2  # a save and a restore
            home.check()
    return figures


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "no text": lambda data: b"\xff\xfe\x00" + data[3:],
    "a list": lambda data: b"[]",
    "a number": lambda data: b"1",
    "null": lambda data: b"null",
    "an empty object": lambda data: b"{}",
    "other types": lambda data: data.replace(b'"', b"'", 1),
    "nulls": lambda data: json.dumps(dict.fromkeys(json.loads(data))).encode(),
    "numbers": lambda data: json.dumps(dict.fromkeys(json.loads(data), 7)).encode(),
    "lists": lambda data: json.dumps({key: [[]] for key in json.loads(data)}).encode(),
    "deep": lambda data: b"[" * 100_000,
}


def damaged(folder, caplog=None):
    """Damage every JSON file of a home in every way of ``DAMAGE``, one at a time, and use the rest.

    Returns:
        Figures: files, damages, and how many left a line in the log. Raises AssertionError: an action ends in
        something else than a sentence, or others' things cannot be seen any more.
    """
    figures = {"files": 0, "damages": 0, "lines": 0, "lost": 0}
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("segdemo").addHandler(handler)
    try:
        with home_at(folder) as home:
            home.store.create("Other", PETS)
            files = sorted(p for p in home.folder.rglob("*.json") if ".locks" not in p.parts)
            for path in files:
                figures["files"] += 1
                whole = path.read_bytes()
                for name, damage in DAMAGE.items():
                    path.write_bytes(damage(whole))
                    lines.clear()
                    home.store.cache.clear()
                    home.runs._supervisor._settled.clear()
                    _use(home, path, name)
                    figures["damages"] += 1
                    figures["lines"] += bool(lines)
                    assert all("\n" not in line for line in lines), lines
                    path.write_bytes(whole)
            home.store.cache.clear()
            home.check()
    finally:
        logging.getLogger("segdemo").removeHandler(handler)
    return figures


def _use(home, path, name):
    """All that a page shows when it is opened, and what looks after the home."""
    titles = [collection.name for collection in home.store.collections()]
    assert "other" in titles or path.parent.name == "other", (path, name)
    for title in titles:
        attempt(lambda title=title: home.store.open(title).photos())
        attempt(lambda title=title: home.store.open(title).label_set)
    assert zoo.served_models()["deeplabv3"], (path, name)
    for model in (*home.models.names(), "cats"):
        attempt(lambda model=model: home.models.versions(model))
    for snapshot in home.runs.list():
        assert isinstance(snapshot.message, str)
    home.runs._command = ["true"]
    home.runs.tick()
    for kept in (home.store, home.models, home.runs):
        with contextlib.suppress(StoreError):
            kept.tidy()
