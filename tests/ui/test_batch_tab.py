"""What the Batch tab says of a batch, without a browser."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
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


def looking(monkeypatch, job):
    """A tab that finds a job; nothing of it is on a page."""
    monkeypatch.setattr(batch, "_owner", lambda event: "ann")
    monkeypatch.setattr(batch, "asker", lambda request: "ann")
    jobs = SimpleNamespace(of=lambda owner: job, submit=lambda *wish: job)
    with gr.Blocks() as demo, gr.Tabs() as tabs, gr.Tab() as tab:
        built = BatchTab(SimpleNamespace(jobs=jobs, choices=lambda: [("A", "a")], models=lambda: {"a": None}))
        built.connect(tab, tabs)
    built.demo = demo
    event = SimpleNamespace(form=dict.fromkeys(built.inputs), request=SimpleNamespace(request=None))
    return built, type("Event", (SimpleNamespace,), {"__getitem__": lambda self, c: self.form[c]})(
        **vars(event)
    )


@pytest.mark.usefixtures("loops_closed")
@pytest.mark.parametrize(
    ("job", "pace"),
    [
        (JOB, batch.LOOK_SECONDS),
        (replace(JOB, progress=Progress(state="done")), batch.KEEP_SECONDS),
    ],
)
def test_a_job_is_looked_at_while_it_is_shown_so_that_its_zip_stays_and_a_late_look_wakes_nothing(
    monkeypatch, job, pace
):
    tab, event = looking(monkeypatch, job)
    shown = tab._look(event, job)[tab.timer]
    assert (shown.value, shown.active) == (pace, True)
    assert not tab._look(event, None)[tab.timer].active
    # The tab may have been left while this was answered.
    assert tab._tick(event)[tab.timer] == {"__type__": "update", "value": pace}


@pytest.mark.usefixtures("loops_closed")
def test_files_that_come_while_others_are_sent_are_not_taken_away(monkeypatch):
    tab, event = looking(monkeypatch, JOB)
    event.form[tab.files] = ["/cache/a.png", "/cache/b.png"]
    answer = tab._begin(event)
    assert tab.files not in answer and answer[tab.sent] == ["/cache/a.png", "/cache/b.png"]
    script = f"({batch._LEFT})([{{path: '/cache/b.png'}}, {{path: 'new'}}], ['/cache/b.png'])"
    script = f"console.log(JSON.stringify([{script}, ({batch._LEFT})([{{path: 'x'}}], ['x'])]))"
    if (node := shutil.which("node")) is None:
        pytest.skip("there is no Node")
    told = subprocess.run([node, "-e", script], check=True, capture_output=True, text=True).stdout
    assert json.loads(told) == [[[{"path": "new"}]], [None]]


@pytest.mark.usefixtures("loops_closed")
def test_taking_photos_in_keeps_no_look_waiting(monkeypatch):
    tab, _ = looking(monkeypatch, JOB)
    groups = {
        elem: {f.concurrency_id for f in tab.demo.fns.values() if f.fn and (elem._id, event) in f.targets}
        for elem, event in ((tab.begin, "click"), (tab.sample, "click"), (tab.timer, "tick"))
    }
    assert groups[tab.begin] == groups[tab.sample] != groups[tab.timer]
