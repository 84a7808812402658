"""Processes of this computer: what the system says about them, and the end of those that a server has left.

psutil answers all of it except two things, which are read from /proc on Linux. The start time of psutil is a wall clock
time that changes when the clock is set, so it cannot identify a process for long; the number of clock ticks since the
computer started does. A pid by itself identifies nothing for long, because pids are used again.

Where the system has a parent-death signal, kernels die with their server. Their children do not, and other systems have
no such signal. Each server therefore keeps a pid file in the runtime folder, and the next server that starts kills what
is left of those in the files of servers that are gone. A pid file consists of lines that are only ever added:

    server <pid> <started> <boot> <mark>
    kernel <pid> <started>
    gone <pid>

A kernel program may be a wrapper that starts the real kernel and waits for it. The parent-death signal then ends the
wrapper only. For such kernels the server starts a guard, a small process that notices the death of the server and kills
their groups at once.

*started* and *boot* are what `started` and `boot` return; *mark* is the value of the environment variable `MARK` in
every process that the server started, and in their children. A kernel's pid is also the ID of its process group.
"""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

import psutil

from wstpserver.keeper.processes import family as family_of
from wstpserver.keeper.processes import resident_bytes
from wstpserver.server.log import Log

_LINUX = sys.platform.startswith("linux")

#: Processes of one kernel that are looked at, at most.
_LARGEST_FAMILY = 32

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
    if _children_are_listed():
        yield from family_of(pid)
        return
    yield pid
    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except (OSError, psutil.Error):
        return
    for process in descendants:
        yield process.pid


@cache
def _children_are_listed() -> bool:
    """Whether the system lists the children of a process, so that one need not look at all processes for them."""
    pid = os.getpid()
    return _LINUX and os.path.exists(f"/proc/{pid}/task/{pid}/children")


def children(pid: int) -> list[int]:
    """The children of a process, without zombies; empty where the system does not say."""
    try:
        return [child.pid for child in psutil.Process(pid).children() if child.status() not in _ENDED]
    except (OSError, psutil.Error):
        return []


def resident_memory(pid: int) -> int:
    """The resident memory of one kernel in bytes, 0 if it is gone.

    The process that was started for a kernel may be a wrapper around the real kernel, and a kernel may have started
    other processes: the largest process of its family counts. A sum would count shared pages twice, and all of them
    while a kernel forks.

    Args:
        pid: the process that was started for the kernel.

    Raises:
        MemoryUnknown: the system does not say.
    """
    if not is_available():
        raise MemoryUnknown("/proc is not mounted")
    members = islice(family(pid), _LARGEST_FAMILY)
    return resident_bytes(members) if _LINUX else max(map(_resident, members))


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


# What a server has left

#: Environment variable that says which server a process belongs to.
MARK = "WSTPSERVER_INSTANCE"

#: Lines after which a pid file is written anew, if most of them are about kernels that are gone.
_LONG = 1000

#: How often the processes are looked at again, because they may fork while they are killed one by one.
_ROUNDS = 10


def runtime_folder(environ: Mapping[str, str]) -> Path:
    """The folder for pid files: in XDG_RUNTIME_DIR, else a folder of this user in the one for temporary files."""
    given = environ.get("XDG_RUNTIME_DIR")
    if given and os.path.isabs(given) and os.path.isdir(given):
        return Path(given) / "wstpserver"
    return Path(tempfile.gettempdir()) / f"wstpserver-{os.getuid()}"


def make_private(folder: Path) -> None:
    """Make the folder for this user alone.

    Raises:
        OSError: it cannot be made, or it exists and others could use it.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f'"{folder}" is not a folder that this user alone can use')


@dataclass
class PidRecord:
    """The content of a pid file: which server it belongs to, and the kernels (pid -> started) that may be left."""

    pid: int
    started: str
    boot: str
    mark: str
    kernels: dict[int, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> PidRecord | None:
        """Read the text of a file; None if it is not a pid file. An unfinished last line does not count."""
        found: PidRecord | None = None
        for line in text.split("\n")[:-1]:
            match line.split(" "):
                case ["server", pid, started, boot, mark] if found is None and pid.isdecimal():
                    found = cls(int(pid), started, boot, mark)
                case ["kernel", pid, started] if found is not None and pid.isdecimal():
                    found.kernels[int(pid)] = started
                case ["gone", pid] if found is not None and pid.isdecimal():
                    found.kernels.pop(int(pid), None)
        return found

    def __str__(self) -> str:
        lines = [f"server {self.pid} {self.started} {self.boot} {self.mark}"]
        lines += [f"kernel {pid} {started}" for pid, started in self.kernels.items()]
        return "".join(f"{line}\n" for line in lines)

    @property
    def orphaned(self) -> bool:
        """Whether the server is gone."""
        return self.boot != boot() or started(self.pid) != self.started


class PidFile:
    """The pid file of this server. Only the constructor raises OSError, whatever happens to the file."""

    def __init__(self, folder: Path, log: Log, handed_over: str = "") -> None:
        """Begin the file in a folder of `make_private`, and mark the environment of all later processes.

        Args:
            folder: the folder.
            log: is told if the file cannot be written later.
            handed_over: what `hand_over` returned before this process executed the program again.

        Raises:
            OSError: the file cannot be written.
        """
        self._log = log
        pid = os.getpid()
        self._record = PidRecord(pid, started(pid) or "-", boot(), secrets.token_hex(8))
        known = PidRecord.parse(handed_over)
        if known is not None and known.pid == pid:
            self._record.mark, self._record.kernels = known.mark, known.kernels
        self._path = folder / f"kernels-{pid}"
        self._lines = 0
        self._complained = False
        self._rewrite()
        os.environ[MARK] = self._record.mark

    def hand_over(self) -> str:
        """The content of the file, for the next program in this process."""
        return str(self._record)

    def add(self, pid: int) -> None:
        """Note a process that has been started for a kernel."""
        began = started(pid)
        if began is not None:
            self._record.kernels[pid] = began
            self._append(f"kernel {pid} {began}\n")

    def remove(self, pid: int) -> None:
        """Note that nothing is left of a process."""
        if self._record.kernels.pop(pid, None) is not None:
            self._append(f"gone {pid}\n")

    def close(self) -> None:
        """Remove the file, because the server ends in good order. It stays if a process is left."""
        if not self._record.kernels:
            self._path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        self._lines += 1
        try:
            if self._lines > _LONG and self._lines > 4 * len(self._record.kernels):
                self._rewrite()
                return
            with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), "w", encoding="ascii") as file:
                file.write(line)
        except FileNotFoundError:  # a program that tidies temporary files has removed it
            self._recover()
        except OSError as error:
            self._complain(error)

    def _recover(self) -> None:
        try:
            self._rewrite()
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            self._log.warning(f'The pid file "{self._path}" cannot be written: {error.strerror}')

    def _rewrite(self) -> None:
        fresh = self._path.with_name(f".{self._path.name}")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(str(self._record))
        fresh.replace(self._path)
        self._lines = 1 + len(self._record.kernels)


def open_pid_file(environ: Mapping[str, str], log: Log, handed_over: str = "") -> PidFile | None:
    """Reap what killed servers have left, and begin a pid file; None, with a warning, if that is not possible.

    Args:
        environ: names the folder.
        log: hears of what was reaped.
        handed_over: as for `PidFile`.
    """
    folder = runtime_folder(environ)
    try:
        make_private(folder)
        reap(folder, log)
        return PidFile(folder, log, handed_over)
    except OSError as error:
        log.warning(
            f"No pid file is kept ({error.strerror or error}): should this server be killed, the next one cannot end"
            " what is left of its kernels"
        )
        return None


def reap(folder: Path, log: Log) -> None:
    """Kill what is left of the kernels of servers that are gone, and remove their pid files."""
    if not is_available():  # every server would seem to be gone
        return
    for path in sorted(folder.glob("kernels-*")):
        try:
            left = PidRecord.parse(path.read_text(encoding="ascii", errors="replace"))
            if left is not None and not left.orphaned:
                continue
            path.unlink()  # of several servers that start now, the one that removes it does the work
        except OSError:
            continue
        if left is None or left.boot != boot():
            continue
        killed = _kill_left(left)
        if killed:
            listed = ", ".join(map(str, killed))
            log.warning(f"Ended what was left of the kernels of a killed server (process {left.pid}): {listed}")


def _kill_left(left: PidRecord) -> list[int]:
    """Kill the kernels of a server that is gone and everything they started; returns the pids."""
    killed: list[int] = []
    for kernel, began in left.kernels.items():
        if started(kernel) == began:  # the kernel itself: its group is its own
            killed += group_members(kernel)
            _signal(os.killpg, kernel)
    # Processes whose kernel is gone, or that have left its group, prove by their environment whose they are.
    for _ in range(_ROUNDS):
        found = [pid for pid in marked(MARK, left.mark) if pid not in killed]
        if not found:
            break
        for pid in found:
            _signal(os.kill, pid)
        killed += found
    return killed


def _signal(send: Callable[[int, int], None], target: int) -> None:
    try:
        send(target, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


#: The program of the guard. Its input is a pipe from the server that ends when the server does.
_GUARD = """
import sys
sys.path.insert(0, sys.argv[1])
from wstpserver.keeper.processes import guard_groups
guard_groups(sys.stdin.buffer)
"""
_PACKAGES = os.fspath(Path(__file__).parents[3])


class OrphanGuard:
    """A process that kills process groups when the server dies. It is started for the first group."""

    def __init__(self) -> None:
        #: Its input; None while there is none.
        self._input: IO[bytes] | None = None
        self._groups: set[int] = set()

    def hand_over(self) -> dict[str, Any]:
        """What another process needs to go on with it (`handover`); {} if there is none."""
        if self._input is None:
            return {}
        return {"descriptor": self._input.fileno(), "groups": sorted(self._groups)}

    def go_on(self, record: Mapping[str, Any]) -> None:
        """Go on with the guard that another process has started; *record* is what `hand_over` returned there."""
        if record:
            os.set_inheritable(record["descriptor"], False)
            self._input = os.fdopen(record["descriptor"], "wb")
            self._groups = set(record["groups"])

    def add(self, group: int) -> None:
        """Have a process group killed when the server dies.

        Raises:
            OSError: the guard could not be started.
        """
        if self._input is None:
            # The blocking one: the guard is never waited for while the server runs.
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD, _PACKAGES],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            assert process.stdin is not None
            self._input = process.stdin
        self._groups.add(group)
        self._tell(f"kernel {group}\n")

    def remove(self, group: int) -> None:
        """Nothing is left of a process group."""
        if group in self._groups:
            self._groups.discard(group)
            self._tell(f"gone {group}\n")

    def close(self) -> None:
        """End the guard; it kills what was not removed."""
        opened, self._input = self._input, None
        if opened is not None:
            try:
                opened.close()
            except OSError:
                pass

    def _tell(self, line: str) -> None:
        if self._input is not None:
            try:
                self._input.write(line.encode())
                self._input.flush()
            except OSError:  # it was killed; the reaper at the next start remains
                pass
