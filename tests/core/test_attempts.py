from segdemo.core import attempts
from segdemo.core.attempts import Attempts


def test_each_wrong_guess_after_the_free_ones_costs_twice_as_long(monkeypatch):
    now = [0.0]
    guesses = Attempts(free=3, wait=10, longest=60, clock=lambda: now[0])
    for _ in range(2):
        guesses.wrong("ann")
        assert guesses.seconds_left("ann") == 0
    waits = []
    for _ in range(5):
        guesses.wrong("ann")
        waits.append(guesses.seconds_left("ann"))
        now[0] += waits[-1]
        assert guesses.seconds_left("ann") == 0
    assert waits == [10, 20, 40, 60, 60]
    assert guesses.seconds_left("bob") == 0  # others are not meant


def test_a_right_guess_and_time_make_it_forgotten():
    now = [0.0]
    guesses = Attempts(free=1, wait=10, longest=60, clock=lambda: now[0])
    guesses.wrong("ann")
    guesses.right("ann")
    assert guesses.seconds_left("ann") == 0
    guesses.wrong("ann")
    now[0] += 61
    guesses.wrong("ann")
    assert guesses.seconds_left("ann") == 10


def test_it_remembers_only_so_many(monkeypatch):
    monkeypatch.setattr(attempts, "MOST_KEYS", 3)
    guesses = Attempts(free=1)
    for name in "abcd":
        guesses.wrong(name)
    assert guesses.seconds_left("a") == 0
    assert guesses.seconds_left("d") > 0
