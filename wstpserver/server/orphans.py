"""Kernels of servers that were killed: each server keeps a list of its kernels, and the next one reads what is left.

Where the system has a parent-death signal the kernels themselves die with their server. Their children do not, and
other systems have no such signal. The list is a file of the runtime folder, to which lines are added::

    server <pid> <began> <boot> <mark>
    kernel <pid> <began>
    gone <pid>

*began* and *boot* are words of `process_table`; *mark* is the value of the environment variable `MARK` in every process
that the server started and their children. A kernel's pid is its process group as well.
"""

from __future__ import annotations

import os
import secrets
import signal
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wstpserver.server import process_table
from wstpserver.server.log import Log

#: Environment variable that tells whose kernel, or child of a kernel, a process is.
MARK = "WSTPSERVER_INSTANCE"

#: Lines after which a list is written anew, if most of them speak of kernels that are gone.
_LONG = 1000

#: How often a group is looked at again, because its members may fork while they are killed one by one.
_ROUNDS = 10


def runtime_folder(environ: Mapping[str, str]) -> Path:
    """The folder for the lists: in XDG_RUNTIME_DIR, else a folder of this user's in the one for temporary files."""
    given = environ.get("XDG_RUNTIME_DIR")
    if given and os.path.isabs(given) and os.path.isdir(given):
        return Path(given) / "wstpserver"
    return Path(tempfile.gettempdir()) / f"wstpserver-{os.getuid()}"


def make_private(folder: Path) -> None:
    """Make the folder for this user alone. Raises OSError, also if it is there and somebody else could use it."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f'"{folder}" is not a folder that this user alone can use')


@dataclass
class KernelList:
    """What a list says: whose it is, and which kernels (pid -> began) that server has not seen the end of."""

    pid: int
    began: str
    boot: str
    mark: str
    kernels: dict[int, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> KernelList | None:
        """Read the file; None if it is none of ours. A last line that was not finished does not count."""
        found: KernelList | None = None
        for line in text.split("\n")[:-1]:
            match line.split(" "):
                case ["server", pid, began, boot, mark] if found is None and pid.isdecimal():
                    found = cls(int(pid), began, boot, mark)
                case ["kernel", pid, began] if found is not None and pid.isdecimal():
                    found.kernels[int(pid)] = began
                case ["gone", pid] if found is not None and pid.isdecimal():
                    found.kernels.pop(int(pid), None)
        return found

    def __str__(self) -> str:
        lines = [f"server {self.pid} {self.began} {self.boot} {self.mark}"]
        lines += [f"kernel {pid} {began}" for pid, began in self.kernels.items()]
        return "".join(f"{line}\n" for line in lines)

    @property
    def orphaned(self) -> bool:
        """Whether the server is gone."""
        return self.boot != process_table.boot() or process_table.began(self.pid) != self.began


class KernelRegistry:
    """The list of this server's kernels. Whatever happens to its file, nothing but the constructor raises OSError."""

    def __init__(self, folder: Path, log: Log) -> None:
        """Begins the list in a folder of `make_private`, and marks the environment of whatever is started from now on.
        """
        self._log = log
        pid = os.getpid()
        self._list = KernelList(pid, process_table.began(pid) or "-", process_table.boot(), secrets.token_hex(8))
        self._path = folder / f"kernels-{pid}"
        self._lines = 0
        self._complained = False
        self._rewrite()
        os.environ[MARK] = self._list.mark

    def add(self, pid: int) -> None:
        """A kernel has been started."""
        began = process_table.began(pid)
        if began is not None:
            self._list.kernels[pid] = began
            self._append(f"kernel {pid} {began}\n")

    def remove(self, pid: int) -> None:
        """Nothing is left of a kernel."""
        if self._list.kernels.pop(pid, None) is not None:
            self._append(f"gone {pid}\n")

    def close(self) -> None:
        """The server ends in good order: the list is not needed any more."""
        self._path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        self._lines += 1
        try:
            if self._lines > _LONG and self._lines > 4 * len(self._list.kernels):
                self._rewrite()
                return
            with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), "w", encoding="ascii") as file:
                file.write(line)
        except FileNotFoundError:  # somebody who tidies up was here
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
            self._log.warning(f'The list of kernels "{self._path}" cannot be written: {error.strerror}')

    def _rewrite(self) -> None:
        fresh = self._path.with_name(f".{self._path.name}")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(str(self._list))
        fresh.replace(self._path)
        self._lines = 1 + len(self._list.kernels)


def open_registry(environ: Mapping[str, str], log: Log) -> KernelRegistry | None:
    """Look after what killed servers have left, and begin a list of our own; None, with a warning, if there can be
    none."""
    folder = runtime_folder(environ)
    try:
        make_private(folder)
        reap(folder, log)
        return KernelRegistry(folder, log)
    except OSError as error:
        log.warning(
            f"No list of kernels is kept ({error.strerror or error}): should this server be killed, the next one"
            " cannot look after what is left of them"
        )
        return None


def reap(folder: Path, log: Log) -> None:
    """Kill what is left of the kernels of servers that are gone, and remove their lists."""
    for path in sorted(folder.glob("kernels-*")):
        try:
            left = KernelList.parse(path.read_text(encoding="ascii", errors="replace"))
            if left is not None and not left.orphaned:
                continue
            path.unlink()  # who removes it does the work
        except OSError:
            continue
        if left is None or left.boot != process_table.boot():
            continue
        killed = [pid for kernel, began in left.kernels.items() for pid in _kill(kernel, began, left.mark)]
        if killed:
            listed = ", ".join(map(str, killed))
            log.warning(f"Ended what was left of the kernels of a killed server (process {left.pid}): {listed}")


def _kill(kernel: int, began: str, mark: str) -> list[int]:
    """Kill one kernel's process group; returns which processes that were, [] if the group is not the kernel's."""
    now = process_table.began(kernel)
    if now == began:
        members = process_table.group_members(kernel)
        _signal(os.killpg, kernel)
        return members
    killed: list[int] = []
    if now is None:  # the kernel itself is gone, and who is in the group now has to prove that it is its child
        for _ in range(_ROUNDS):
            members = process_table.group_members(kernel)
            members = [pid for pid in members if process_table.has_in_environment(pid, MARK, mark)]
            if not members:
                break
            for pid in members:
                _signal(os.kill, pid)
            killed += [pid for pid in members if pid not in killed]
    return killed


def _signal(send: object, target: int) -> None:
    try:
        send(target, signal.SIGKILL)  # type: ignore[operator]
    except (ProcessLookupError, PermissionError):
        pass
