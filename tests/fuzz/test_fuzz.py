"""The short campaign: what was found once, and a few new cases of every kind."""

import random

import pytest

from tests.fuzz import campaign, mutating, readers

COUNTS = {"photos": 30, "masks": 10, "archives": 30, "json": 10, "runs": 30, "manifests": 20, "weights": 20}


@pytest.fixture(scope="module")
def worker():
    with campaign.Worker() as worker:
        yield worker


@pytest.mark.parametrize("kind", readers.KINDS)
def test_damaged_files_end_in_a_result_or_in_a_sentence(worker, kind):
    seeds = campaign.seeds(kind)
    done = campaign.run(kind, [*seeds, *range(COUNTS[kind])], worker)
    assert done.tried == len(seeds) + COUNTS[kind] and done.refused
    assert not done.faults, "\n".join(done.lines())


def test_a_case_is_known_by_its_number():
    for kind in readers.KINDS:
        first, again, other = (readers.made(kind, random.Random(f"{kind} {n}")) for n in (3, 3, 4))
        assert first == again != other


def test_what_a_campaign_calls_a_fault(tmp_path, monkeypatch):
    """A worker that dies, hangs or says so."""
    for code, hang, words in (
        ("import os; os._exit(3)", 10, "the process died with 3"),
        ("import time; time.sleep(60)", 0.3, "more than 0.3 seconds"),
        ("", 10, "KeyError at"),
    ):
        answer = '{"fault": "KeyError at x.py:3", "seconds": 1, "megabytes": 2, "refusals": 0}'
        script = tmp_path / "worker.py"
        script.write_text(
            f"for _ in range(3):\n input(); print('{{}}', flush=True)\n {code or f'print({answer!r})'}\n"
        )
        monkeypatch.setattr(campaign, "WORKER", script)
        monkeypatch.setattr(campaign, "HANG_SECONDS", hang)
        with campaign.Worker() as worker:
            done = campaign.run("photos", [7], worker)
        ((what, case),) = done.faults
        assert what.startswith(words) and case == 7


def test_damage_is_damage():
    rng = random.Random(0)
    data = bytes(range(256)) * 4
    assert sum(mutating.damaged(rng, data, [data]) != data for _ in range(100)) > 90
