import threading
import time

import pytest
from waiting import once

from segdemo.core.line import BusyError, Line


def test_who_came_first_goes_first_and_one_at_a_time():
    line, order, inside = Line(50), [], []

    def ask(n):
        with line.turn(10):
            inside.append(n)
            order.append((n, len(inside)))
            time.sleep(0.001)
            inside.remove(n)

    threads = []
    with line.turn(0):
        for n in range(20):
            threads.append(threading.Thread(target=ask, args=(n,)))
            threads[-1].start()
            once(lambda n=n: len(line._line) == n + 2)  # it stands in line
    for thread in threads:
        thread.join()
    assert order == [(n, 1) for n in range(20)]


def test_it_is_not_waited_for_longer_than_asked_and_the_line_goes_on():
    line, errors = Line(50), []

    def ask(seconds):
        try:
            with line.turn(seconds):
                pass
        except BusyError as error:
            errors.append(str(error))

    with line.turn(0):
        ask_now = time.monotonic()
        ask(0)
        assert time.monotonic() - ask_now < 1
        patient = threading.Thread(target=ask, args=(10,))
        patient.start()
        once(lambda: len(line._line) == 2)
        ask(0.01)
    patient.join()
    assert errors == ["Busy with what others asked for: try again in some seconds."] * 2
    with line.turn(0):
        pass


def test_no_more_wait_than_may():
    line = Line(0)
    with line.turn(0), pytest.raises(BusyError, match="0 others wait already"), line.turn(10):
        pass


def test_an_error_inside_ends_one_s_turn():
    line = Line(5)
    with pytest.raises(KeyError), line.turn(0):
        raise KeyError
    with line.turn(0):
        pass
