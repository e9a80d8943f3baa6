"""A line of threads in front of something that one of them may use at a time: who came first goes first."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from segdemo.errors import UserError


class BusyError(UserError):
    """It is not one's turn in time; the message is one sentence that says what to do."""


class Line:
    """The line; ``threading.Lock`` lets in anybody.

    Args:
        most: how many may wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._line: deque[object] = deque()  # the first one's turn it is
        self._moved = Condition()

    @contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """For a ``with`` statement: what is in it happens when it is one's turn.

        Args:
            seconds: how long to wait for it; 0 only if nobody else is there.

        Raises:
            BusyError: it takes longer, or too many wait already.
        """
        me = object()
        with self._moved:
            if len(self._line) > self._most:
                raise BusyError(f"Busy: {self._most} others wait already. Try again in some seconds.")
            self._line.append(me)
            if not self._moved.wait_for(lambda: self._line[0] is me, seconds):
                self._line.remove(me)
                raise BusyError("Busy with what others asked for: try again in some seconds.")
        try:
            yield
        finally:
            with self._moved:
                self._line.popleft()
                self._moved.notify_all()
