"""Starts processes of kernels, by the keeper if there is one; for kernels on other machines those that stand for them.

Without a keeper: on Linux 5.9 and later a start costs the same however large the server is (cext/wstpspawn.h): a
server with thousands of clients has page tables and descriptors that take longer to copy than everything else.
Elsewhere, where the system refuses what that takes (a seccomp filter), and for a process that gets descriptors, the
server is forked.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import _cffi_backend
from gevent import get_hub, subprocess

from wstpserver._native import ffi, lib
from wstpserver.keeper.connector import ENVIRONMENT
from wstpserver.server import systemd
from wstpserver.server.kernels.keeper_client import KeeperClient
from wstpserver.server.kernels.process import KernelProcess
from wstpserver.settings import PoolSettings, ServerSettings, discovery
from wstpserver.settings.resolve import AUTOMATIC_PATH


class Surroundings(NamedTuple):
    """What a process is given beside its arguments.

    Attributes:
        directory: The folder that it begins in; "" for that of the server.
        variables: What is different in its environment from that of the server: `NAME=value` for a variable that is
            set, `NAME` alone for one that is taken away.
    """

    directory: str = ""
    variables: tuple[str, ...] = ()

    def changes(self) -> dict[str, str | None]:
        """The variables by name; None for one that is taken away."""
        parts = [variable.partition("=") for variable in self.variables]
        return {name: text if equals else None for name, equals, text in parts}

    def environment(self) -> dict[str, str]:
        """The whole environment."""
        given: dict[str, str | None] = {**os.environ, **self.changes()}
        return {name: text for name, text in given.items() if text is not None}

    def check(self) -> None:
        """Raise OSError, with a text for people, if nothing can be started in its folder."""
        if self.directory and not os.path.isdir(self.directory):
            raise NotADirectoryError(errno.ENOTDIR, f'its KernelDirectory "{self.directory}" is not a folder')
        if self.directory and not os.access(self.directory, os.X_OK):
            raise PermissionError(errno.EACCES, f'its KernelDirectory "{self.directory}" cannot be entered')


#: Those of the server.
INHERITED = Surroundings()

#: Bytes of a script's first line that the system reads.
_SHEBANG_SIZE = 256

_PR_SET_PDEATHSIG = 1
_CLOSE_RANGE_CLOEXEC = 4
_ALL = ctypes.c_uint(0xFFFFFFFF)
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def _can_mark_descriptors() -> bool:
    """Whether `_mark_descriptors` works here: Linux 5.11 with a C library of that time."""
    return hasattr(_libc, "close_range") and _libc.close_range(_ALL, _ALL, _CLOSE_RANGE_CLOEXEC) == 0  # type: ignore


#: Whether programs are started without forking. False once the system has refused.
without_fork: bool = bool(lib.wstpspawn_available())

#: Whether a forked child can have all its descriptors closed by one call.
can_mark_descriptors: bool = _can_mark_descriptors()


def _low_null() -> int:
    """/dev/null at a low number above those of the standard streams: a start copies the descriptors below it."""
    opened = os.open(os.devnull, os.O_RDWR)
    try:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(opened)


_null, _spare = _low_null(), _low_null()


def spawn(
    arguments: Sequence[str],
    log_line: Callable[[str], object],
    surroundings: Surroundings = INHERITED,
    pass_descriptors: Sequence[int] = (),
    keeper: KeeperClient | None = None,
) -> KernelProcess:
    """Start a program in a session of its own. The system kills it when its parent dies, where it can.

    Args:
        arguments: the program and its arguments. A program without a folder is looked for along PATH.
        log_line: called with each line that it prints (see `KernelProcess.drain`).
        surroundings: the folder that it begins in, and its environment.
        pass_descriptors: descriptors that it gets, under the same numbers.
        keeper: starts it; without one it is a child of the server. With one this function waits.

    Raises:
        OSError: it cannot be started; the text says why.
    """
    surroundings.check()
    environment = {name: text for name, text in surroundings.environment().items() if name not in systemd.VARIABLES}
    directory = surroundings.directory or None
    reading, writing = os.pipe()
    try:
        process = None
        if keeper is not None:
            programs = _candidates(arguments[0], environment)
            own = environment if surroundings.variables else None
            process = keeper.start(programs, arguments, own, (reading, writing), pass_descriptors, directory)
        elif without_fork and not pass_descriptors:
            process = _spawn_without_fork(arguments, environment, writing, directory)
        if process is None:
            process = _spawn_forked(arguments, environment, writing, pass_descriptors, directory)
    except ValueError as error:  # a text with a null character
        os.close(reading)
        raise OSError(errno.EINVAL, str(error)) from None
    except OSError as error:
        os.close(reading)
        raise _explained(error, arguments[0], environment) from None
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    process.drain(reading, log_line)
    return process


def _explained(error: OSError, program: str, environment: Mapping[str, str]) -> OSError:
    """The same error, with the interpreter of a script where that is what is missing."""
    if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ELOOP):
        return error
    path = shutil.which(program, path=environment.get("PATH"))
    if path is None:
        return error
    try:
        with open(path, "rb") as file:
            first = file.read(_SHEBANG_SIZE).partition(b"\n")[0]
    except OSError:
        return error
    reason = os.strerror(error.errno)
    if first.startswith(b"#!"):
        words = os.fsdecode(first[2:]).split(None, 1)
        interpreter = words[0].rstrip("\r") if words else ""
        what = f'its interpreter "{interpreter}", named in its first line, cannot be executed ({reason})'
        if first.endswith(b"\r"):
            what += "; the line ends with a carriage return, as lines of Windows files do"
    elif error.errno == errno.ENOENT:
        what = "the loader that it needs is missing, perhaps because it was built for another system"
    else:
        return error
    return type(error)(error.errno, what, program)


def _spawn_without_fork(
    arguments: Sequence[str], environment: Mapping[str, str], output: int, directory: str | None
) -> KernelProcess | None:
    """None if the system does not allow it."""
    global without_fork
    kept: list[Any] = []  # cffi frees what has no owner
    start = ffi.new("struct wstpspawn *")
    start.programs = _texts(_candidates(arguments[0], environment), kept)
    start.arguments = _texts(arguments, kept)
    start.environment = _texts([f"{name}={value}" for name, value in environment.items()], kept)
    start.output, start.null, start.spare = output, _null, _spare
    if directory is not None:
        kept.append(path := ffi.new("char[]", os.fsencode(directory)))
        start.directory = path
    get_hub().loop.install_sigchld()
    pid = lib.wstpspawn_start(start)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid), arguments[0])
    if pid == 0:
        without_fork = False
        return None
    return watch_child(pid)


def watch_child(pid: int) -> KernelProcess:
    """A child of this process that was not started here, or before this program was executed in the process."""
    get_hub().loop.install_sigchld()
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


def _spawn_forked(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    output: int,
    pass_descriptors: Sequence[int],
    directory: str | None,
) -> KernelProcess:
    """Start a program by forking the server. Raises OSError or ValueError."""
    parent = os.getpid()
    # One call instead of one for each descriptor: a server with thousands of clients would need longer for them than
    # for everything else.
    marks = can_mark_descriptors and not pass_descriptors
    child = subprocess.Popen(
        list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        close_fds=not marks,
        pass_fds=tuple(pass_descriptors),
        start_new_session=True,
        env=dict(environment),
        cwd=directory,
        preexec_fn=lambda: _prepare_child(parent, marks=marks),
    )
    process = KernelProcess(child.pid)
    child.rawlink(lambda ended: process.exited.set(_wait_status(ended.returncode)))
    return process


def _prepare_child(parent: int, *, marks: bool) -> None:
    """In a child just forked: have it killed when its parent dies, and its descriptors closed when it executes."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
    if marks:
        _libc.close_range(ctypes.c_uint(3), _ALL, _CLOSE_RANGE_CLOEXEC)  # type: ignore[union-attr]


def _wait_status(return_code: int) -> int:
    return -return_code if return_code < 0 else return_code << 8


# Kernels on other machines

#: Runs the connector without looking for the packages that are installed for this Python. It needs what the C module is
#: built upon.
_RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.path.append(sys.argv.pop(1));"
    " from wstpserver.keeper.connector import main; main(sys.argv[1:])"
)
_FLAGS = ("-S", "-E", "-s")
_PACKAGES = (os.fspath(Path(__file__).parents[3]), os.path.dirname(_cffi_backend.__file__))


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How a kernel is started on another machine.

    Attributes:
        launcher: The words of KernelLauncher with everything filled in.
        agent: The words of KernelAgent.
        interface: Where the agent connects to the server; "" to carry the link through the launcher.
        directory: The folder that the kernel begins in, "" for that of the agent.
        environment: What is different in its environment; None takes a variable away.
    """

    launcher: tuple[str, ...]
    agent: tuple[str, ...]
    interface: str = ""
    directory: str = ""
    environment: Mapping[str, str | None] = field(default_factory=dict)

    def command(self, path: str, options: list[str], server: tuple[str, int] | None) -> list[str]:
        """The command line of the connector, without the link arguments.

        Args:
            path: The kernel's program.
            options: The kernel's options.
            server: The host and port for connections of the agent, None if it makes none.
        """
        order: dict[str, Any] = {
            "launcher": self.launcher,
            "agent": self.agent,
            "path": None if path == AUTOMATIC_PATH else path,
            "options": options,
            "directory": self.directory,
            "discovery": discovery.__file__,
            "server": None if server is None else {"host": server[0], "port": server[1]},
        }
        return [sys.executable, *_FLAGS, "-c", _RUN, *_PACKAGES, json.dumps(order)]

    def variables(self) -> tuple[str, ...]:
        """What the connector needs in its environment, as `NAME=value`."""
        return (f"{ENVIRONMENT}={json.dumps(dict(self.environment))}",)


def fill_in(launcher: tuple[str, ...], pool: str, kernel: str) -> tuple[str, ...]:
    """The words of KernelLauncher for one kernel.

    Args:
        launcher: The words with `{pool}`, `{id}` and `{server}`.
        pool: The name of the pool.
        kernel: The ID of the kernel.
    """
    values = {"{pool}": pool, "{id}": kernel, "{server}": socket.gethostname()}
    filled = []
    for word in launcher:
        for placeholder, value in values.items():
            word = word.replace(placeholder, value)
        filled.append(word)
    return tuple(filled)


def elsewhere_of(
    settings: ServerSettings, pool: PoolSettings, kernel: str, directory: str, environment: Mapping[str, str | None]
) -> Elsewhere | None:
    """How a kernel with the settings of a pool is started on another machine; None for this machine."""
    if not pool.kernel_launcher:
        return None
    interface = settings.kernel_transport_interface if pool.kernel_transport == "tcp" else ""
    launcher = fill_in(pool.kernel_launcher, pool.name, kernel)
    return Elsewhere(launcher, pool.kernel_agent, interface, directory, environment)
