"""Decoders that work in one call, and so cannot be stopped, run in processes of their own that can.

TIFF, WebP and AVIF are decoded there. JPEG and PNG, nearly all photos, are not, see ``decoding``. A process is started
when it is first needed, takes about 50 MB and waits for the next picture. It may use so much processor time and memory
for one; if it ends because of that, or crashes, the picture is refused and the next one gets a new process. Where the
system cannot hand over memory between processes (it needs Linux), or a process cannot be started, pictures are decoded
right here.

A request is one message of plain data with the memory that holds the picture's bytes, and so is its answer.
"""

import atexit
import json
import mmap
import os
import socket
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from segdemo.core import settings
from segdemo.core.arrays import AnyArray
from segdemo.errors import UserError

AVAILABLE = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")
_MESSAGE = 65536  # bytes, at most
_WAIT = 60  # seconds of real time for each second of processor time; a machine may be busy
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_START = "import sys; sys.path.insert(0, {0!r}); from segdemo.core import apart; apart.serve({1})"


class ApartError(UserError):
    """A picture that is refused. The message is the sentence of whoever refused it."""


class CostError(Exception):
    """A picture that took more time or memory than it may, or on which its decoder crashed."""


def wanted(data: bytes) -> bool:
    """Whether bytes look like a picture whose decoder cannot be stopped."""
    if not AVAILABLE or _Helper.serving:
        return False
    return data.startswith(_TIFF) or data[4:8] == b"ftyp" or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def run(function: str, data: bytes, seconds: int, megabytes: int, **arguments: Any) -> np.ndarray:
    """What a function makes of a picture, in another process.

    Args:
        function: ``"package.module:function"``; it takes the bytes and then ``arguments``, and returns a uint8 array.
        data: bytes of the picture.
        seconds: processor time it may take.
        megabytes: memory it may take on top of what the process has.
        arguments: plain data.

    Raises:
        ApartError: the function raised a UserError, and this is its sentence.
        CostError: it took too much, or crashed.
        OSError: a process cannot be started.
    """
    request = {"function": function, "seconds": seconds, "megabytes": megabytes, "arguments": arguments}
    with _places():
        helper = _take()
        try:
            result = helper.ask(json.dumps(request).encode(), data, seconds * _WAIT)
        except BaseException:
            helper.close()
            raise
        with _lock:
            _idle.append(helper)
    if isinstance(result, str):
        raise ApartError(result)
    return result


class _Helper:
    """A process that decodes."""

    serving = False  # whether this is one

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            code = _START.format(str(settings.PACKAGE.parent), number)
            # One thread and one arena, since each reserves memory that it does not use.
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    pass_fds=[number],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl+C is for the server, which then closes the socket
                )
            except BaseException:
                self._socket.close()
                raise

    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, data: bytes, timeout: float) -> "AnyArray | str":
        """The array it made, or the sentence it refuses with."""
        self._socket.settimeout(timeout)
        try:
            _send(self._socket, request, data)
            text, descriptors, _, _ = socket.recv_fds(self._socket, _MESSAGE, 1)
        except OSError as error:
            raise CostError from error
        answer = json.loads(text or b"{}")
        if descriptors:
            try:
                memory = mmap.mmap(descriptors[0], 0)
            finally:
                os.close(descriptors[0])
            return np.frombuffer(memory, np.uint8).reshape(answer["shape"])
        if "refusal" not in answer:
            raise CostError
        return str(answer["refusal"])

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()


_lock = threading.Lock()
_idle: list[_Helper] = []
_limit: threading.BoundedSemaphore | None = None


def _places() -> threading.BoundedSemaphore:
    """As many at once as there are cores."""
    global _limit
    with _lock:
        _limit = _limit or threading.BoundedSemaphore(settings.cores())
        return _limit


def _take() -> _Helper:
    while True:
        with _lock:
            helper = _idle.pop() if _idle else None
        if helper is None:
            return _Helper()
        if helper.alive():
            return helper
        helper.close()


@atexit.register
def close() -> None:
    """End the processes that wait."""
    with _lock:
        while _idle:
            _idle.pop().close()


def _forget() -> None:
    """In a child of ``os.fork``: the processes are the parent's."""
    global _lock, _limit
    _lock, _limit = threading.Lock(), None
    for helper in _idle:
        helper._socket.close()
        helper._process.returncode = 0  # so that nobody waits for what is no child
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


# ------------------------------------------------------------------------------------------- the other process


def serve(number: int) -> None:
    """Answer requests from the socket with file descriptor ``number`` until its other end is closed."""
    import resource
    import signal

    _Helper.serving = True
    with socket.socket(fileno=number) as connection:
        while True:
            request, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE, 1)
            if not descriptors:
                return
            with open(descriptors[0], "rb") as file:  # noqa: PTH123 - it has no name
                file.seek(0)
                data = file.read()
            wish = json.loads(request)
            size = Path("/proc/self/statm").read_text().split()[0]
            most = int(size) * mmap.PAGESIZE + wish["megabytes"] * 10**6
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
            # Its signal ends the process, wherever it is
            signal.setitimer(signal.ITIMER_PROF, wish["seconds"])
            answer, array = _answer(wish["function"], data, wish["arguments"])
            signal.setitimer(signal.ITIMER_PROF, 0)
            del data
            _send(connection, json.dumps(answer).encode(), array)
            del array


def _answer(function: str, data: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], AnyArray | None]:
    """(plain data, array or None)."""
    module, _, name = function.partition(":")
    try:
        array = getattr(import_module(module), name)(data, **arguments)
        return {"shape": array.shape}, np.ascontiguousarray(array)
    except UserError as error:
        return {"refusal": str(error)}, None
    except Exception:  # memory ran out, or an error of the program: the caller has a sentence for it
        return {}, None


def _send(connection: socket.socket, message: bytes, data: bytes | AnyArray | None) -> None:
    """Send a message, with memory that holds ``data`` unless that is None."""
    if data is None:
        connection.sendall(message)
        return
    descriptor = os.memfd_create("picture")
    try:
        rest = memoryview(data).cast("B")  # type: ignore[arg-type]
        while rest:
            rest = rest[os.write(descriptor, rest) :]  # faster than through a mapping, page by page
        socket.send_fds(connection, [message], [descriptor])
    finally:
        os.close(descriptor)
