"""What has to be known and done about processes: locks they inherit, their priority, memory and lifetime."""

import contextlib
import itertools
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
    """End a program at once; of one that ``start`` started also all that it started itself, if it has ended or not."""
    if pid <= 1:  # these numbers stand for many
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if _leads(pid):
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def _leads(pid: int) -> bool:
    """Whether a process has a session of its own, or had one: its group keeps its number from being given away."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return True


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


def let_go(handle: int) -> None:
    """Give a lock of ``hold`` back, whoever else has its handle."""
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def was_given(path: Path) -> bool:
    """Whether this process was started with the handle of a lock that ``hold`` took, as ``start`` starts programs."""
    try:
        wanted = path.stat()
    except OSError:
        return False
    for path_of_handle in Path("/dev/fd").iterdir() if CAN_LOCK else ():
        handle = int(path_of_handle.name)
        with contextlib.suppress(OSError):  # that of the folder just listed is closed by now
            if os.get_inheritable(handle) and os.path.samestat(os.fstat(handle), wanted):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which it is already
                return True
    return False


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


def age(pid: int) -> float | None:
    """Seconds since a process began, by a clock that nobody sets; None if they are not known."""
    try:
        since = float(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - since / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def has_open(pid: int, path: Path) -> bool:
    """Whether a living process has a file open, as whoever holds a lock of ``hold`` has."""
    with contextlib.suppress(psutil.Error, ValueError, OverflowError, OSError):
        wanted = path.stat()
        return any(
            os.path.samestat(Path(file.path).stat(), wanted) for file in psutil.Process(pid).open_files()
        )
    return False


def was_told(pid: int, option: str, folder: Path, until: float) -> bool:
    """Whether a living process was started with an option that names a folder.

    Args:
        pid: of the process.
        option: such as ``--out``.
        folder: the whole of the next argument, or of what follows ``=``; it may be named from where the process works.
        until: when the process was there for certain, in seconds since 1970: one that began later does not count.
    """
    with contextlib.suppress(psutil.Error, ValueError, OverflowError, OSError):
        process = psutil.Process(pid)
        words = process.cmdline()
        named = [after for word, after in itertools.pairwise(words) if word == option]
        named += [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
        if not named or process.create_time() > until + 2:
            return False
        place, wanted = Path(process.cwd()), folder.resolve()
        return any((place / name).resolve() == wanted for name in named)
    return False


def machine_memory() -> int:
    """Bytes of memory of this machine or container."""
    limits: list[int] = [psutil.virtual_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    return min(limits)
