"""What has to be known and done about processes: locks they inherit, their priority, memory and lifetime."""

import contextlib
import logging
import os
import signal
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_log = logging.getLogger(__name__)
children = {}  # pid -> Popen of what was started here and not waited for
exit_codes = {}  # pid -> exit code of those that have ended


def fetch_exit_codes():
    """Look which of ``children`` have ended. Until somebody does, the system keeps them as zombies."""
    for pid, process in list(children.items()):
        if (code := process.poll()) is not None:
            exit_codes[pid] = code
            children.pop(pid, None)


def killed_by(code):
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


def hold(path, patience=1.0):
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


def is_held(path):
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


def step_back(pid):
    """Let everything else on the machine go before a process, but let it go first when memory runs out."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, 10)
        # Where the scheduler groups sessions, niceness counts within a session only, unless the group is nice.
        for name, value in (("autogroup", "10"), ("oom_score_adj", "500")):
            path = Path(f"/proc/{pid}/{name}")
            if path.exists():
                path.write_text(value)
    except OSError as error:
        _log.info("process %s keeps its priority: %s", pid, error)


def _stat(pid):
    """Fields of /proc/PID/stat after the command's name, or None; zombies have ended."""
    try:
        fields_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields_[0] in ("Z", "X") else fields_


def start_ticks(pid):
    """When a process started, in clock ticks since the machine did; None if it has ended."""
    found = _stat(pid)
    return int(found[19]) if found else None


def cpu_seconds(pid):
    """Processor time a process has used; 0 if it is not known."""
    found = _stat(pid) if pid else None
    return (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK") if found else 0.0


def rss(pid):
    """Memory of a process in bytes; 0 if it is not known."""
    found = _stat(pid) if pid else None
    return int(found[21]) * os.sysconf("SC_PAGE_SIZE") if found else 0


def command_line(pid):
    """What a process was started with, separated by zero characters; "" if it is not known."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def machine_memory():
    """Bytes of memory of this machine or container; 0 if it is not known."""
    limits = []
    with contextlib.suppress(ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits, default=0)
