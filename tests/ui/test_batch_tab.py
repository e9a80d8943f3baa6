"""What the Batch tab says of a batch, without a browser."""

from dataclasses import replace
from pathlib import Path

from segdemo.inference.jobs import Job, Progress, Wish
from segdemo.ui.tabs.batch import head, state_in_words

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
