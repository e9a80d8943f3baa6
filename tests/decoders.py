"""What tests let a process of ``core.apart`` do."""

import os
import signal
import threading

import numpy as np

from segdemo.errors import UserError


def add(data, more):
    """The numbers in ``data``, each with ``more`` added, in two rows."""
    return (np.frombuffer(data, np.uint8) + np.uint8(more)).reshape(2, -1)


def refuse(data):
    raise UserError("It is refused: try another.")


def fail(data):
    raise KeyError("a fault of the program")


def crash(data):
    os.kill(os.getpid(), signal.SIGSEGV)


def spin(data):
    while True:
        pass


def hoard(data):
    return np.ones(400_000_000, np.uint8)


def pid(data):
    threading.Event().wait(0.05)
    return np.frombuffer(os.getpid().to_bytes(8, "little"), np.uint8)
