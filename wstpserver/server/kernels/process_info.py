"""What the system says about processes: start time, process group, environment, descendants, memory.

psutil answers all of it except two things, which are read from /proc on Linux. The start time of psutil is a wall clock
time that changes when the clock is set, so it cannot identify a process for long; the number of clock ticks since the
computer started does. A pid by itself identifies nothing for long, because pids are used again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import gevent
import psutil

_LINUX = sys.platform.startswith("linux")

#: Bytes of a page of memory.
_PAGE = os.sysconf("SC_PAGE_SIZE") if _LINUX else 0

#: Processes of one kernel that are looked at, at most.
_LARGEST_FAMILY = 32

#: Processes looked at before other greenlets have their turn.
_ROUND = 100

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class MemoryUnknown(Exception):
    """This system does not say how much memory its processes use; the text says why."""


def is_available() -> bool:
    """Whether the system says anything about processes. On Linux it does not where /proc is not mounted."""
    return not _LINUX or os.path.exists("/proc/self/stat")


def boot() -> str:
    """A word that is different after each start of the computer; "-" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "-"


def started(pid: int) -> str | None:
    """When the process started, as a word that is only good for comparing; None if there is no such process."""
    try:
        if _LINUX:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            return stat.rpartition(")")[2].split()[19]
        return f"{psutil.Process(pid).create_time():.6f}"
    except (OSError, psutil.Error):
        return None


def has_ended(pid: int) -> bool:
    """Whether the process is gone or a zombie. False also where the system does not say."""
    try:
        return psutil.Process(pid).status() in _ENDED
    except psutil.NoSuchProcess:
        return not _exists(pid)
    except (OSError, psutil.Error):
        return False


def _exists(pid: int) -> bool:
    """Whether there is such a process, asked without /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def describe_state(pid: int) -> str:
    """The state of a process in a word, such as "disk-sleep" (state D) or "stopped"; "unknown" if nobody says."""
    try:
        return str(psutil.Process(pid).status())
    except (OSError, psutil.Error):
        return "unknown"


def group_members(group: int) -> list[int]:
    """The pids of a process group, without zombies."""
    return [pid for pid in pids() if _group(pid) == group and not has_ended(pid)]


def marked(variable: str, value: str) -> list[int]:
    """The pids of all processes that were started with this environment variable, without zombies and this process."""
    found = []
    for pid in pids():
        try:
            process = psutil.Process(pid)
            if process.environ().get(variable) == value and process.status() not in _ENDED and pid != os.getpid():
                found.append(pid)
        except (OSError, psutil.Error):
            continue
    return found


def family(pid: int) -> Iterator[int]:
    """The process and its descendants. The descendants are looked up only when they are asked for."""
    yield pid
    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except (OSError, psutil.Error):
        return
    for process in descendants:
        yield process.pid


def children(pid: int) -> list[int]:
    """The children of a process, without zombies; empty where the system does not say."""
    try:
        return [child.pid for child in psutil.Process(pid).children() if child.status() not in _ENDED]
    except (OSError, psutil.Error):
        return []


def resident_memory(pids: Collection[int]) -> dict[int, int]:
    """The resident memory of kernels.

    The process that was started for a kernel may be a wrapper around the real kernel, and a kernel may have started
    other processes: the largest process of a family counts. A sum would count shared pages twice, and all of them while
    a kernel forks.

    Args:
        pids: the process that was started for each kernel.

    Returns:
        Bytes for each of the pids. A process that is gone is missing. Other greenlets run meanwhile.

    Raises:
        MemoryUnknown: the system does not say.
    """
    roots = {pid: pid for pid in pids}
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    try:
        for number, process in enumerate(psutil.process_iter(["ppid"]), 1):
            parents[process.pid] = process.info["ppid"]
            if number % _ROUND == 0:
                gevent.sleep(0)
    except OSError as error:
        raise MemoryUnknown(f"the processes cannot be listed: {error.strerror or error}") from None
    for number, pid in enumerate(parents, 1):
        root = _root(pid, parents, roots)
        if root:
            sizes[root] = max(sizes.get(root, 0), _resident(pid))
        if number % _ROUND == 0:
            gevent.sleep(0)
    return {pid: size for pid, size in sizes.items() if size}


def family_resident(pid: int) -> int:
    """The resident memory of one kernel, as `resident_memory` has it, without a look at all processes of the computer.

    On Linux, children that a process has started from its first thread are looked at as well, which is how a wrapper
    starts the real kernel; elsewhere only the process itself.

    Args:
        pid: the process that was started for the kernel.

    Returns:
        Bytes; 0 where the system does not say.
    """
    if not _LINUX:
        return _resident(pid)
    largest, waiting = 0, [pid]
    for _ in range(_LARGEST_FAMILY):
        if not waiting:
            break
        one = waiting.pop()
        try:
            with open(f"/proc/{one}/statm", "rb") as file:
                largest = max(largest, int(file.read().split()[1]) * _PAGE)
            with open(f"/proc/{one}/task/{one}/children", "rb") as file:
                waiting += map(int, file.read().split())
        except (OSError, IndexError):  # gone, or a system that does not list children
            continue
    return largest


def _root(pid: int, parents: dict[int, int], roots: dict[int, int]) -> int:
    """Which kernel a process belongs to, 0 for none; *roots* remembers the answers."""
    path = []
    while pid not in roots:
        path.append(pid)
        roots[pid] = 0  # for the case of a cycle, which a list that changes while it is read may show
        pid = parents.get(pid, 0)
        if not pid:
            break
    root = roots.get(pid, 0)
    for each in path:
        roots[each] = root
    return root


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (OSError, psutil.Error):
        return 0


def pids() -> list[int]:
    """All pids, lowest first; empty where the system does not say."""
    try:
        return psutil.pids()
    except OSError:
        return []


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
