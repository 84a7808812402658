"""Kernel processes: starting one, what it prints, its end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence

import gevent
from gevent import subprocess
from gevent.event import AsyncResult
from gevent.fileobject import FileObjectPosix

#: Seconds a kernel has to end by itself after its link was closed, and then after SIGTERM.
LINK_GRACE = 2.0
TERMINATE_GRACE = 3.0

#: How much of what a kernel printed last is kept for the log and for its client.
LAST_LINES = 10

#: What a service manager says to the server alone (sd_notify(3)).
NOT_INHERITED = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

_CLOSE_RANGE_CLOEXEC = 4
_ALL = ctypes.c_uint(0xFFFFFFFF)


def _can_mark_descriptors() -> bool:
    """Whether `_mark_descriptors` works here: Linux 5.11 with the C library of that time."""
    return hasattr(_libc, "close_range") and _libc.close_range(_ALL, _ALL, _CLOSE_RANGE_CLOEXEC) == 0  # type: ignore


CAN_MARK_DESCRIPTORS = _can_mark_descriptors()


def _mark_descriptors() -> None:
    """Let all descriptors but the first three be closed when another program is executed."""
    _libc.close_range(ctypes.c_uint(3), _ALL, _CLOSE_RANGE_CLOEXEC)  # type: ignore[union-attr]


class KernelProcess:
    """A process of its own process group that runs a kernel.

    *exited* becomes the wait status (as of ``os.waitpid``) when the process is gone.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: AsyncResult = AsyncResult()
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        #: Called when the process and whatever it started are gone.
        self.on_stopped: Callable[[], None] | None = None
        self._drain: gevent.Greenlet | None = None

    def drain(self, descriptor: int, log_line: Callable[[str], None]) -> None:
        """Read what the kernel prints from *descriptor* until its end, so that it never blocks on a full pipe."""
        self._drain = gevent.spawn(self._read_lines, descriptor, log_line)

    def _read_lines(self, descriptor: int, log_line: Callable[[str], None]) -> None:
        with FileObjectPosix(descriptor, "rb", bufsize=0) as pipe:
            rest = b""
            while chunk := pipe.read(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[-4096:]
                for line in lines:
                    self._take_line(line, log_line)
            if rest:
                self._take_line(rest, log_line)

    def _take_line(self, line: bytes, log_line: Callable[[str], None]) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:1000]
        if text:
            self.last_lines.append(text)
            log_line(text)

    def last_words(self) -> str:
        """What the kernel printed last, or an empty text. Waits a moment for the pipe's end once it has exited."""
        if self.exited.ready() and self._drain is not None:
            self._drain.join(0.5)
        return "\n".join(self.last_lines)

    def kill_group(self, number: int) -> None:
        """Send a signal to the kernel and all its children."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # macOS: a group whose members are all zombies
            pass

    def stop(self, grace: float = LINK_GRACE) -> None:
        """End the process in stages; its link has been closed already. Returns when it is gone.

        Whatever it started is killed with it, also when it ends by itself.
        """
        if self.exited.wait(grace) is None and not self.exited.ready():
            self.kill_group(signal.SIGTERM)
            self.exited.wait(TERMINATE_GRACE)
        self.kill_group(signal.SIGKILL)
        self.exited.wait()
        if self.on_stopped is not None:
            self.on_stopped()
        if self._drain is not None:
            self._drain.join(0.5)
            self._drain.kill()


def describe_status(status: int) -> str:
    """A wait status in words: ``exit status 3`` or ``signal 9 (SIGKILL)``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {number} ({signal.Signals(number).name})"
        except ValueError:
            return f"signal {number}"
    return f"exit status {os.WEXITSTATUS(status)}"


def die_with_parent(parent: int) -> None:
    """In a child just forked: ask the system to kill it when its parent dies, where the system can do that."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)


def _prepare_child(parent: int, mark_descriptors: bool) -> None:
    die_with_parent(parent)
    if mark_descriptors:
        _mark_descriptors()


def spawn(
    arguments: Sequence[str],
    log_line: Callable[[str], None],
    environment: dict[str, str] | None = None,
    pass_descriptors: Sequence[int] = (),
) -> KernelProcess:
    """Start a program in a session of its own. Raises OSError if it cannot be started."""
    parent = os.getpid()
    inherited = os.environ if environment is None else environment
    # One call instead of one for each descriptor: a server with thousands of clients would need longer for them than
    # for all the rest of the start.
    marked = CAN_MARK_DESCRIPTORS and not pass_descriptors
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            close_fds=not marked,
            pass_fds=tuple(pass_descriptors),
            start_new_session=True,
            env={name: value for name, value in inherited.items() if name not in NOT_INHERITED},
            preexec_fn=lambda: _prepare_child(parent, marked),
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    process = KernelProcess(child.pid)
    process.drain(reading, log_line)
    child.rawlink(lambda ended: process.exited.set(_wait_status(ended.returncode)))
    return process


def _wait_status(return_code: int) -> int:
    return -return_code if return_code < 0 else return_code << 8
