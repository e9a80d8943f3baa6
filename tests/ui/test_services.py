"""What the tabs share, each of which there is once."""

import re

import numpy as np
import pytest
from tiny import bright, write_model
from waiting import once

from segdemo.annotations.store import AnnotationStore
from segdemo.core.labels import PETS
from segdemo.runs.queue import Runs
from segdemo.ui import services as module
from segdemo.ui.components import model_menu
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.desk import Desk
from segdemo.zoo.versions import ModelStore


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Names of the classes that objects are made of, from now on."""
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    made = []
    for kind in (AnnotationStore, ModelStore, Runs):

        def note(self, *args, kind=kind, make=kind.__init__, **kwargs):
            made.append(kind.__name__)
            make(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", note)
    return made


def test_store_versions_and_runs_are_made_once_and_every_tab_has_the_same(made):
    services = Services.start()
    desk = Desk(services)
    assert desk.store is services.store
    assert services.runs.models is services.versions
    assert sorted(made) == ["AnnotationStore", "ModelStore", "Runs"]


def test_the_menu_of_models_tells_what_is_known_of_each_those_made_here_first(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    write_model(tmp_path / "home" / "models" / "colours", "colours", PETS, *bright(3, 0, 1))
    services = Services.start()
    own, *shipped = model_menu.cards(services)
    assert (own["name"], own["group"], own["score"], own["measured"]) == (
        *("colours", "Made here"),
        *(None, "not measured"),
    )
    assert own["speed"] is None
    assert own["colors"] == ["#ff5c9a", "#ffe14d"]  # as they are shown, without the background
    groups = [card["group"] for card in shipped]
    assert groups == sorted(groups, key=groups.index)  # those that know the same beside each other
    card = next(card for card in shipped if card["name"] == "unet")
    assert (card["score"], card["measured"]) == ("80.8", "mean IoU on held-out Pets")
    assert card["speed"].startswith("~")  # until it was used here
    services.predict("colours", np.zeros((32, 32, 3), np.uint8))
    assert re.fullmatch(r"\d+ ms", model_menu.cards(services)[0]["speed"])
    assert model_menu.cards(services, "mirrored")[0]["speed"] is None  # which takes another time


def test_what_is_old_is_cleared_away_as_long_as_the_server_runs(made, monkeypatch):
    monkeypatch.setattr(module, "GIVE_BACK_SECONDS", 0)
    monkeypatch.setattr(module, "TIDY_SECONDS", 0)
    monkeypatch.setattr(module, "give_back", lambda: None)
    done, rounds = [], []

    def tidy():
        rounds.append(len(rounds))
        if rounds[-1] == 1:
            raise RuntimeError("a fault of the program")
        if rounds[-1] == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        module._now_and_then(tidy)
    for kind in (Runs, ModelStore, AnnotationStore):
        monkeypatch.setattr(kind, "tidy", lambda self, *_: done.append(type(self).__name__))
    monkeypatch.setattr(Runs, "watch", lambda self: None)
    given = []
    monkeypatch.setattr(module, "_now_and_then", given.append)
    Services.start().look_after().join(30)
    assert len(done) == 3
    once(lambda: given)[0]()
    assert sorted(done) == sorted(2 * ["AnnotationStore", "ModelStore", "Runs"])
