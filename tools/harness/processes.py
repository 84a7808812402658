"""What /proc tells about processes: children, descriptors, threads, memory, processor time (Linux)."""
import contextlib
import functools
import gc
import os
import subprocess
import sys
import uuid
from pathlib import Path

from tools.harness.waiting import wait_for

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")


def _stat(pid):
    """Fields of /proc/<pid>/stat after the name: [0] state, [1] parent ...; None without such a process."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid):
    """Whether the process runs (a zombie does not)."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX"


#: What a descriptor is open on that holds the output of a kernel for its next client (docs/persistence.md): one for
#: each kernel that has written without a client, until that is fetched or the kernel is closed. It is no leak.
KEPT_OUTPUT = "/memfd:wstpserver-output"

#: What the command line of a keeper and its guard ends with.
KEEPER = "wstpserver-keeper"


def parent(pid):
    """Process id of the parent; None without such a process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def children(pid):
    """Process ids of the living children of `pid`; of a server also those of its keeper, which is not among them."""
    found = []
    for child in _children(pid):
        if command_line(child).endswith(KEEPER):
            found += children(child)
        else:
            found.append(child)
    return found


def keepers(mark):
    """Process ids of the living keepers with their guards that have `mark` in their environment."""
    return [pid for pid in marked(mark) if command_line(pid).endswith(KEEPER)]


def _children(pid):
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(entry.name)
            if fields and int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def descendants(pid):
    """Process ids of the living children, their children, and so on."""
    found = children(pid)
    for child in list(found):
        found += descendants(child)
    return found


def zombies(pid):
    """Process ids of ended children that `pid` has not reaped."""
    stats = {int(entry.name): _stat(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()}
    return [child for child, fields in stats.items() if fields and fields[0] == "Z" and int(fields[1]) == pid]


def marked(mark):
    """Living processes with `mark` in the environment they were started with, whoever is their parent now."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes() and alive(entry.name):
                    found.append(int(entry.name))
    return found


#: Ends all that has a mark in its environment once standard input ends, which is when the process that holds it does.
_GUARD = """
import os, sys, time
sys.stdin.read()
mark, quiet = sys.argv[1].encode(), 0
while quiet < 3:
    quiet += 1
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and mark in open(f"/proc/{name}/environ", "rb").read():
                os.kill(int(name), 9)
                quiet = 0
        except OSError:
            pass
    time.sleep(0.05)
"""


@functools.cache
def lasting_mark(pid):
    """A mark for what must not outlive the process `pid`, which is this one, however that ends.

    Whatever has the mark in its environment is ended then: a run of tests that is interrupted kills its workers.
    """
    mark = f"WSTP_HARNESS_{pid}_{uuid.uuid4().hex}"
    words = [sys.executable, "-S", "-E", "-c", _GUARD, mark]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    guard = subprocess.Popen(words, **streams, env={}, cwd="/", start_new_session=True)
    _guards.append(guard)
    keep_descriptor(guard.stdin.fileno())
    return mark


#: Each holds the pipe of a guard open.
_guards = []


def open_descriptors(pid):
    """descriptor -> what it is open on, for example "socket:[4711]"."""
    found = {}
    folder = PROC / str(pid) / "fd"
    for entry in list(folder.iterdir()):
        with contextlib.suppress(OSError):
            found[int(entry.name)] = os.readlink(entry)
    return found


def threads(pid):
    """Number of threads of the process."""
    return len(list((PROC / str(pid) / "task").iterdir()))


def resident_bytes(pid):
    """Resident set size in bytes."""
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE


def processor_seconds(pid):
    """User and system time of the process in seconds, its children not included; None if it is gone."""
    fields = _stat(pid)
    return None if fields is None else (int(fields[11]) + int(fields[12])) / TICKS


def exact_processor_seconds(pid):
    """The same of a process with one thread, to the nanosecond (proc(5): schedstat)."""
    return int((PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9


def command_line(pid):
    """The command line of a process for a message, "" if it is gone."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        return b" ".join(words).decode(errors="replace").strip()
    except OSError:
        return ""


class Footprint:
    """What a process holds at one moment."""

    def __init__(self, pid):
        self.sockets = self.other = 0
        for target in open_descriptors(pid).values():
            if target.startswith("socket:"):
                self.sockets += 1
            elif not target.startswith(KEPT_OUTPUT):
                self.other += 1
        self.threads = threads(pid)
        self.children = len(children(pid))
        self.zombies = len(zombies(pid))

    def fits_in(self, other):
        """Whether there is no more of anything than in `other`."""
        return all(count <= vars(other)[key] for key, count in vars(self).items())

    def __repr__(self):
        return "Footprint(" + ", ".join(f"{key}={value}" for key, value in vars(self).items()) + ")"


def assert_returns_to(before, pid, deadline=60.0):
    """The process comes back to the footprint `before`, or a smaller one, within `deadline` seconds."""
    wait_for(lambda: Footprint(pid).fits_in(before), deadline, lambda: f"{Footprint(pid)} to become {before}")


#: Those that the harness opens with the first server of this process, and keeps.
_kept_descriptors = set()


def keep_descriptor(number):
    """Say that the harness keeps this descriptor to the end: no test has left it open."""
    _kept_descriptors.add(number)


def own_descriptors():
    """Open descriptors of this process, without those that the harness keeps and the one that this look needs."""
    return {number: target for number, target in open_descriptors(os.getpid()).items()
            if number not in _kept_descriptors and not target.endswith("/fd")}  # fmt: skip


def living_greenlets():
    """Greenlets of this process that have begun and not ended."""
    import greenlet

    gc.collect()
    return [item for item in gc.get_objects() if isinstance(item, greenlet.greenlet) and item]
