"""What the tabs share, each of which there is once."""

import pytest

from segdemo.annotations.store import AnnotationStore
from segdemo.runs.queue import Runs
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
