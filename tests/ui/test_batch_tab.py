"""What the Batch tab says of a batch, without a browser."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from segdemo.inference.jobs import Job, Progress, Wish
from segdemo.ui.photos import built_in_paths
from segdemo.ui.tabs import batch
from segdemo.ui.tabs.batch import BatchTab, head, state_in_words

JOB = Job(
    "0" * 32,
    Path("nowhere"),
    Wish(owner="ann", model="deeplabv3", formats=["csv"], created=0, photos=2),
    Progress(state="queued"),
)


def test_what_a_batch_does_is_said_in_words():
    assert state_in_words(JOB) == "begins in a moment"
    assert state_in_words(replace(JOB, before=2)) == "waits: 2 batches are before it"
    assert state_in_words(replace(JOB, progress=Progress(state="running", waits=True))) == (
        "waits until the cluster has room"
    )
    assert state_in_words(replace(JOB, progress=Progress(state="running"))) == "at work"


def test_why_it_waits_is_an_alert_and_escaped():
    told = head(replace(JOB, progress=Progress(state="queued", message="The cluster <b> does not answer.")))
    assert 'role="alert">The cluster &lt;b&gt; does not answer.' in told


@pytest.mark.parametrize(
    ("model", "shows"), [("deeplabv3", {"four", "cat", "motorcycle", "admiral"}), ("unet", {"cat"})]
)
def test_whoever_has_no_photos_takes_ours_that_suit_the_model(monkeypatch, model, shows):
    asked = []
    monkeypatch.setattr(batch, "_owner", lambda event: "ann")
    monkeypatch.setattr(batch, "asker", lambda request: "ann")
    tab = SimpleNamespace(
        model="model", formats="formats", shown="shown", _look=lambda event, job: {"job": job}
    )
    tab.services = SimpleNamespace(jobs=SimpleNamespace(submit=lambda *wish: asked.append(wish) or "a job"))
    tab._submit = lambda *arguments: BatchTab._submit(tab, *arguments)
    event = type("Event", (), {"__getitem__": lambda _, name: {"model": model, "formats": ["csv"]}[name]})()
    event.form, event.request = {}, SimpleNamespace(request=None)
    assert BatchTab._try(tab, event) == {"job": "a job"}
    ((owner, files, *wish),) = asked
    assert (owner, wish) == ("ann", [model, ["csv"], "ann"])
    assert {photo.name for photo, path in built_in_paths().items() if path in files} == shows
