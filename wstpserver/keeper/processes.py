"""Starts processes, and ends everything that they have started.

A process that is started here is the leader of a session and a process group of its own, and dies with the process that
started it. Whatever it leaves comes back to that process, which is a child subreaper, also what has left the group by
`setsid`. Where the system has neither (it is not Linux), a guard ends the groups.

The agent of kernels on other machines (`agent.py`) starts its kernel with this module too, so it is Python 3.8.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

TYPE_CHECKING = False  # typing itself is not loaded, see wstpserver/__init__.py
if TYPE_CHECKING:
    from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

#: Signals that Python ignores, and programs expect at their default.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

#: Seconds between two rounds of killing.
_ROUND = 0.01

try:
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
except ImportError:  # a Python without the library that it needs
    _libc = None


def become_subreaper() -> None:
    """Become the parent of whatever a child leaves when it ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when its parent dies; end it if *parent* has died before."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_name(name: str) -> None:
    """Set what tools like ps show, 15 characters at most."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _prctl(option: int, value: int) -> None:
    if _libc is not None and _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Starter:
    """Starts programs by forking this process, which had better be small.

    Descriptors of this process are not inherited, as those that Python opens are not.
    """

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        #: The limit of descriptors that programs get; this process may raise its own.
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._files[1], self._files[1]))
        except (OSError, ValueError):
            pass

    def start(
        self,
        programs: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        output: int,
        passed: Mapping[int, int],
    ) -> tuple[int, int]:
        """Start a program.

        Args:
            programs: Paths that it may have; the first that can be executed is.
            arguments: Its arguments, the first of which is its name.
            environment: Its environment.
            directory: Its working directory.
            output: Becomes its standard output and standard error.
            passed: Descriptors by the numbers that they have in it.

        Returns:
            Its process ID, and a descriptor from which one number can be read if it could not be executed, and nothing
            if it was.

        Raises:
            OSError: The system allows no more processes or descriptors.
        """
        reading, writing = os.pipe()
        parent = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                self._become(programs, arguments, environment, directory, output, passed, writing, parent)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return pid, reading

    def _become(
        self,
        programs: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: str,
        output: int,
        passed: Mapping[int, int],
        report: int,
        parent: int,
    ) -> NoReturn:
        """In the child: become the program, or report the error. Never returns."""
        try:
            signal.set_wakeup_fd(-1)
            os.setsid()
            die_with_parent(parent)
            if passed:
                above = max(passed) + 1
                report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, above)
                moved = {number: fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, above) for number, one in passed.items()}
                output = fcntl.fcntl(output, fcntl.F_DUPFD_CLOEXEC, above)
                for number, one in moved.items():
                    os.dup2(one, number)
            os.dup2(self._null, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
            for number in _IGNORED_BY_PYTHON:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            try:
                os.chdir(directory)
            except OSError:  # it was removed; the server is still in it
                pass
            os.write(report, str(_execute(programs, arguments, environment)).encode())
        except OSError as error:
            os.write(report, str(error.errno).encode())
        except BaseException:
            os.write(report, str(errno.EINVAL).encode())
        os._exit(127)


def _execute(programs: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Execute the first program that can be; the error that says most if none can."""
    found = 0
    for program in programs:
        try:
            os.execve(program, [*arguments], environment)
        except OSError as error:
            if found in (0, errno.ENOENT, errno.ENOTDIR):
                found = error.errno or errno.EINVAL
    return found


def children() -> list[int]:
    """The children of this process, also those that it has not started, without zombies that were waited for."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return _children_in_proc(me)


def _children_in_proc(me: int) -> list[int]:
    """The same where the system does not list them."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == me:
                        found.append(int(name))
            except OSError:
                continue
    return found


def family(pid: int) -> Iterator[int]:
    """The process and its descendants, as far as the system lists them: those that a thread has started under it."""
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        try:
            threads = os.listdir(f"/proc/{one}/task")
        except OSError:  # gone, or a system that lists none
            continue
        for thread in threads:
            try:
                with open(f"/proc/{one}/task/{thread}/children", "rb") as file:
                    waiting += [int(word) for word in file.read().split()]
            except OSError:  # that thread has ended meanwhile; its children belong to another one
                pass


def has_open(pid: int, inode: int | str) -> bool:
    """Whether the process has the socket with this inode open; False also where that is hidden from this user."""
    wanted = f"socket:[{inode}]"
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") == wanted:
                return True
        except OSError:
            pass
    return False


def resident_bytes(pids: Iterable[int]) -> int:
    """The resident memory of the largest of these processes; 0 where the system does not tell.

    A sum would count shared pages twice.
    """
    largest = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                largest = max(largest, int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        except (OSError, IndexError):
            pass
    return largest


def variable(pid: int, name: str) -> str:
    """The value of a variable in the environment that a process was started with, "" if it has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            content = file.read()
    except OSError:
        return ""
    beginning = name.encode() + b"="
    for entry in content.split(b"\0"):
        if entry.startswith(beginning):
            return os.fsdecode(entry[len(beginning) :])
    return ""


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process group, or to the process alone if there is no such group."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, number)
            return
        except (ProcessLookupError, PermissionError):
            continue


def end_all(seconds: float) -> bool:
    """Kill all children and whatever they leave, again and again until none is left.

    Args:
        seconds: How long that may take; a process in an uninterruptible state does not end.

    Returns:
        Whether none is left.
    """
    deadline = time.monotonic() + seconds
    while True:
        for pid in children():
            kill_group(pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_ROUND)


def guard_groups(lines: Iterable[bytes]) -> None:
    """Kill process groups at the end of *lines*, which is that of the process that writes them.

    Args:
        lines: `kernel N` for a group that is to be killed, `gone N` for one that needs it no more.
    """
    groups: set[int] = set()
    for line in lines:
        word, group = line.split()
        (groups.add if word == b"kernel" else groups.discard)(int(group))
    for left in groups:
        kill_group(left)


def describe_status(status: int) -> str:
    """A wait status in words: `exit status 3` or `signal 9 (SIGKILL)`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {number} ({signal.Signals(number).name})"
        except ValueError:
            return f"signal {number}"
    return f"exit status {os.WEXITSTATUS(status)}"
