"""What /proc tells about processes: children, descriptors, threads, memory, processor time (Linux)."""
import contextlib
import functools
import os
import subprocess
import sys
import uuid

from tools.harness.waiting import wait_for

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")


def _read(pid, name):
    """The content of a file of /proc/<pid>, as bytes; OSError without such a process.

    Waits read thousands of these files, so they are read without the layers of `open`.
    """
    descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    try:
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def _all():
    """Process ids of all processes, as text."""
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid):
    """Fields of /proc/<pid>/stat after the name: [0] state, [1] parent ...; None without such a process."""
    try:
        return _read(pid, "stat").rpartition(b")")[2].decode().split()
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
    return [child for child, state in _all_children(pid) if state not in "ZX"]


def _all_children(pid):
    """(process id, state) of the children of `pid`, with those that it has not reaped."""
    stats = {int(child): _stat(child) for child in (_listed_children(pid) if _LISTED else _all())}
    return [(child, fields[0]) for child, fields in stats.items() if fields and int(fields[1]) == int(pid)]


#: Whether the system lists the children of processes.
_LISTED = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _listed_children(pid):
    """Process ids of the children of `pid`, as text.

    The system may leave a child out of its list while it is read, but only because one that it has listed before is
    reaped then. Two readings that agree are therefore complete.
    """
    found, before = _children_of_threads(pid), None
    while found != before:
        found, before = _children_of_threads(pid), found
    return [child.decode() for children in found.values() for child in children.split()]


def _children_of_threads(pid):
    """thread -> process ids of its children, as text with spaces; nothing without such a process."""
    found = {}
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found[thread] = _read(pid, f"task/{thread}/children")
    return found


def descendants(pid):
    """Process ids of the living children, their children, and so on."""
    found = children(pid)
    for child in list(found):
        found += descendants(child)
    return found


def zombies(pid):
    """Process ids of ended children that `pid` has not reaped."""
    return [child for child, state in _all_children(pid) if state == "Z"]


def marked(mark):
    """Living processes with `mark` in the environment they were started with, whoever is their parent now."""
    wanted, found = mark.encode(), []
    for pid in _all():
        with contextlib.suppress(OSError):
            if wanted in _read(pid, "environ") and alive(pid):
                found.append(int(pid))
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
    reading, writing = os.pipe()
    streams = {"stdin": reading, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    guard = subprocess.Popen(words, **streams, env={}, cwd="/", start_new_session=True)
    guard.returncode = 0  # nobody waits for it: it outlives this process
    os.close(reading)
    keep_descriptor(writing)
    return mark


def open_descriptors(pid):
    """descriptor -> what it is open on, for example "socket:[4711]"."""
    found = {}
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"{folder}/{name}")
    return found


def threads(pid):
    """Number of threads of the process."""
    return len(os.listdir(f"/proc/{pid}/task"))


def resident_bytes(pid):
    """Resident set size in bytes."""
    return int(_read(pid, "statm").split()[1]) * PAGE


def processor_seconds(pid):
    """User and system time of the process in seconds, its children not included; None if it is gone."""
    fields = _stat(pid)
    return None if fields is None else (int(fields[11]) + int(fields[12])) / TICKS


def exact_processor_seconds(pid):
    """The same of a process with one thread, to the nanosecond (proc(5): schedstat)."""
    return int(_read(pid, "schedstat").split()[0]) / 1e9


def command_line(pid):
    """The command line of a process for a message, "" if it is gone."""
    try:
        return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
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
