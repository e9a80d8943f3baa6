"""The campaign of ``python -m tests.faults``, in short."""

import pytest
from faults import homes, servers, trainers

from segdemo.runs import processes

posix = pytest.mark.skipif(processes.fcntl is None, reason="needs a POSIX system")


@posix
def test_a_server_that_is_killed_loses_nothing_it_acknowledged(tmp_path):
    figures = servers.run(tmp_path, 3, longest=1.5)
    assert figures["kills"] == 3
    assert figures["saves"] > 0


@posix
def test_two_servers_on_one_home_lose_no_save(tmp_path):
    assert servers.two_servers(tmp_path, 3)["saves"] > 0


@posix
def test_a_save_on_a_full_disk_is_refused_in_a_sentence_and_the_page_goes_on(tmp_path):
    said = servers.full_disk(tmp_path)
    assert said.startswith("The disk is full, so ")
    assert said.endswith("was not saved: free some space and try again.")


@posix
def test_a_trainer_that_is_killed_goes_on_and_ends_in_one_model(tmp_path):
    assert trainers.kill_fakes(tmp_path, 3)["models"] >= 1


@posix
def test_a_server_killed_at_any_step_of_an_installation_leaves_no_half_model(tmp_path):
    assert trainers.kill_installation(tmp_path)["steps"] > 4


def test_a_full_disk_loses_nothing_whatever_is_done(tmp_path):
    figures = homes.full_disk(tmp_path, every=4)
    assert figures["failed_writes"] > 40
    assert figures["sentences"] > 30


def test_a_home_that_cannot_be_written_ends_in_sentences(tmp_path):
    assert homes.unwritable(tmp_path)["sentences"] > 20


def test_a_clock_that_is_set_back_loses_nothing(tmp_path):
    assert homes.clock_set_back(tmp_path)["actions"] > 10


def test_damaged_files_take_nothing_else_along(tmp_path):
    figures = homes.damaged(tmp_path)
    assert figures["damages"] > 100
    assert figures["lines"] > 40  # each sentence is told once, and some damages do no harm
