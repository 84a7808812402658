"""Starts the processes of kernels.

Where the system can do it, a start costs the same however large the server is (cext/wstpspawn.h): a server with
thousands of clients has page tables and descriptors that take longer to copy than all the rest. Elsewhere, and for a
process that gets descriptors, the server is forked.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gevent import get_hub

from wstpserver._native import ffi, lib
from wstpserver.server.process import KernelProcess
from wstpserver.server.spawn_forked import spawn_forked

#: What a service manager says to the server alone (sd_notify(3)).
NOT_INHERITED = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})

#: Whether programs are started without forking. False once the system has refused to.
without_fork: bool = bool(lib.wstpspawn_available())


def _low_null() -> int:
    """/dev/null at a low number above those of the standard streams: a start copies what is below it."""
    opened = os.open(os.devnull, os.O_RDWR)
    try:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(opened)


_null, _spare = _low_null(), _low_null()


def spawn(
    arguments: Sequence[str],
    log_line: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    pass_descriptors: Sequence[int] = (),
) -> KernelProcess:
    """Start a program in a session of its own. Raises OSError if it cannot be started."""
    inherited = os.environ if environment is None else environment
    environment = {name: value for name, value in inherited.items() if name not in NOT_INHERITED}
    reading, writing = os.pipe()
    try:
        try:
            process = None
            if without_fork and not pass_descriptors:
                process = _spawn_without_fork(arguments, environment, writing)
            if process is None:
                process = spawn_forked(arguments, environment, writing, pass_descriptors)
        except ValueError as error:  # a text that no program can be given, with a null character in it
            raise OSError(errno.EINVAL, str(error)) from None
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    process.drain(reading, log_line)
    return process


def _spawn_without_fork(
    arguments: Sequence[str], environment: Mapping[str, str], output: int
) -> KernelProcess | None:
    """None if the system does not allow it."""
    global without_fork
    kept: list[Any] = []  # cffi frees what nobody holds
    start = ffi.new("struct wstpspawn *")
    start.programs = _texts(_candidates(arguments[0], environment), kept)
    start.arguments = _texts(arguments, kept)
    start.environment = _texts([f"{name}={value}" for name, value in environment.items()], kept)
    start.output, start.null, start.spare = output, _null, _spare
    get_hub().loop.install_sigchld()
    pid = lib.wstpspawn_start(start)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid), arguments[0])
    if pid == 0:
        without_fork = False
        return None
    process = KernelProcess(pid)
    watcher = get_hub().loop.child(pid)
    watcher.start(_ended, watcher, process)
    return process


def _ended(watcher: Any, process: KernelProcess) -> None:
    watcher.stop()
    status = watcher.rstatus
    watcher.close()
    process.exited.set(status)


def _candidates(program: str, environment: Mapping[str, str]) -> list[str]:
    """The paths that a program may have: a name without a folder is looked for along PATH."""
    if os.path.dirname(program):
        return [program]
    return [os.path.join(folder, program) for folder in os.get_exec_path(environment)]


def _texts(texts: Sequence[str], kept: list[Any]) -> Any:
    """A null-terminated array of them. Raises ValueError for a text with a null character."""
    encoded = [os.fsencode(text) for text in texts]
    if any(b"\0" in text for text in encoded):
        raise ValueError("embedded null character")
    pointers = [ffi.new("char[]", text) for text in encoded]
    array = ffi.new("char *[]", [*pointers, ffi.NULL])
    kept += (pointers, array)
    return array
