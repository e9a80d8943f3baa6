"""What has to be known and done about processes: locks they inherit, their priority, memory and lifetime."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None
_log = logging.getLogger(__name__)
children: dict[int, "subprocess.Popen[bytes]"] = {}  # by pid: what was started here and not waited for
exit_codes: dict[int, int] = {}  # by pid: of those that have ended


def start(
    command: Sequence[str], *, out: IO[bytes], log: IO[bytes] | int, environment: Mapping[str, str], lock: int
) -> int:
    """Start a program that outlives this one and its terminal and steps back behind everything else; its pid.

    Args:
        command: what to execute.
        out, log: where its output and its errors go.
        environment: all of its variables.
        lock: a file descriptor of ``hold`` that it inherits.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=log,
        env=environment,
        start_new_session=True,
        pass_fds=(lock,),
    )
    children[process.pid] = process
    exit_codes.pop(process.pid, None)  # of an earlier one that had this number
    step_back(process.pid)
    return process.pid


def kill(pid: int) -> None:
    """End a program that ``start`` started, and all that it started, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def fetch_exit_codes() -> None:
    """Look which of ``children`` have ended. Until somebody does, the system keeps them as zombies."""
    for pid, process in list(children.items()):
        if (code := process.poll()) is not None:
            exit_codes[pid] = code
            children.pop(pid, None)


def exit_code(pid: int, patience: float = 1.0) -> int | None:
    """Exit code of one of ``children`` that has let go of its lock, or None: it may still be on its way out.

    Args:
        pid: of the child.
        patience: seconds to wait for its end.
    """
    if process := children.get(pid):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    fetch_exit_codes()
    return exit_codes.get(pid)


def killed_by(code: int | None) -> str:
    """What ended a process with an exit code as ``subprocess`` gives it, one clause; "" if it ended by itself."""
    if code is None or code >= 0:
        return ""
    if code == -signal.SIGKILL:
        return "The system killed it, most likely for lack of memory"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"It was ended by {name}"


def hold(path: Path, patience: float = 1.0) -> int | None:
    """Lock a file so that whoever inherits the handle holds the lock as long as it lives.

    Args:
        path: the file; it is made.
        patience: seconds to wait for those who are just looking whether it is held.

    Returns:
        The file descriptor, or None if somebody holds the lock.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(handle)
                return None
            time.sleep(0.01)


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock that ``hold`` took."""
    if fcntl is None:
        return False
    try:
        handle = os.open(path, os.O_RDONLY)  # which a home that may only be read allows
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def step_back(pid: int) -> None:
    """Let everything else on the machine go before a process, but let it go first when memory runs out."""
    try:
        psutil.Process(pid).nice(10)
        # Linux groups sessions: niceness counts within a session only, unless the group is nice.
        for name, value in (("autogroup", "10"), ("oom_score_adj", "500")):
            path = Path(f"/proc/{pid}/{name}")
            if path.exists():
                path.write_text(value)
    except (OSError, psutil.Error) as error:
        _log.info("process %s keeps its priority: %s", pid, error)


def started(pid: int) -> float | None:
    """When a process started, in seconds since 1970; None if it has ended, also if nobody has waited for it yet."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.Error, ValueError, OverflowError):
        return None


def lives(pid: int, since: float | None) -> bool:
    """Whether a process that ``started`` at a time goes on: another one of that number does not count."""
    now = started(pid)
    return now is not None and since is not None and abs(now - since) < 2  # the clock may have been set


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used; 0 if it is not known."""
    with contextlib.suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def rss(pid: int | None) -> int:
    """Memory of a process in bytes; 0 if it is not known."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss) if pid is not None else 0
    return 0


def command_line(pid: int) -> str:
    """What a living process was started with; "" if it is not known."""
    with contextlib.suppress(psutil.Error, ValueError, OverflowError):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def machine_memory() -> int:
    """Bytes of memory of this machine or container."""
    limits: list[int] = [psutil.virtual_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    return min(limits)
