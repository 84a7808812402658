"""The processes of kernels: their settings before Mathics is imported and before a kernel runs, their link, their end;
and the warm parent, which has the engine loaded and forks a kernel for each request of its server.

The parent has one thread and no links, because a forked child has only the thread that called fork. It lives as long
as its socket: when the server ends, for whatever reason, the parent kills its kernels and exits.

The messages between a server and its warm parent are one JSON object per datagram, on an inherited socket:

server -> parent   {"launch": N, "arguments": [...], "directory": path or null,
                    "environment": {name: value, or null to take it away} or null}
with one descriptor: the standard output and error of the kernel
parent -> server   {"event": "ready"}, {"event": "failed", "reason": ...}
{"event": "launched", "launch": N, "pid": P}
{"event": "not-launched", "launch": N, "reason": ...}
{"event": "exited", "pid": P, "status": as of os.waitpid}
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from wstpserver.client.connecting import open_link
from wstpserver.client.errors import LinkError
from wstpserver.client.link import Link
from wstpserver.wire.errors import WSTPError

# Exit codes of `wstpkernel`; the names are those of sysexits.h.

#: The session ended: the link closed, or `Quit[]`.
EXIT_OK = 0
#: The command line is not that of a kernel.
EXIT_USAGE = 64
#: A package the kernel needs is not installed, or the link could not be opened.
EXIT_UNAVAILABLE = 69
#: The kernel itself failed.
EXIT_SOFTWARE = 70
#: The peer sent something that is not WSTP.
EXIT_PROTOCOL = 76

#: Seconds within which the link must be established.
LINK_TIMEOUT = 60.0

#: Variables that the named libraries read once, at import. One thread each: the warm parent forks, and a fork of a
#: process with several threads is not safe; a kernel is also only one of many on its machine.
IMPORT_ENVIRONMENT: Mapping[str, str] = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    # With UTF-8, InputForm writes arrows and other characters that the parser does not read back.
    "MATHICS_CHARACTER_ENCODING": "ASCII",
}

#: Bytes of stack for deep recursion: $RecursionLimit can be raised to 512, which Mathics counts as 15,560 Python calls.
#: Linux keeps at least 128 MiB of address space free below the stack, whatever the limit was at process start.
STACK_SIZE = 96 * 1024 * 1024

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
#: The process name of a kernel, on systems that show one (15 characters at most).
PROCESS_NAME = b"wstpkernel"
#: Largest request, in bytes.
LARGEST_REQUEST = 1 << 20


def prepare_environment() -> None:
    """Set the variables that must be set before the first import of NumPy or Mathics.

    Values of the user are kept, except for the encoding: another one would break InputForm.
    """
    for name, value in IMPORT_ENVIRONMENT.items():
        if name not in os.environ or name == "MATHICS_CHARACTER_ENCODING":
            os.environ[name] = value


def prepare_limits() -> None:
    """Allow deep recursion and long integers. Call after the import of Mathics, which sets limits of its own."""
    from mathics.core.evaluation import MAX_RECURSION_DEPTH, set_python_recursion_limit

    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    set_python_recursion_limit(MAX_RECURSION_DEPTH)
    try:
        import resource
    except ImportError:  # Windows: the executable fixes the stack size
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK_SIZE if hard == resource.RLIM_INFINITY else min(STACK_SIZE, hard)
    # On Linux the stack of the main thread grows on demand up to the current limit.
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


def detach_input() -> None:
    """Connect descriptor 0 to the null device: a kernel and the programs it runs have no standard input."""
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


def open_kernel_link(link_options: Sequence[str]) -> Link:
    """Open the link a command line names; on failure, report the reason on stderr and end the process.

    With -linkmode listen, the link's name is printed on stdout.

    Args:
        link_options: The words of the command line, link options and others.

    Returns:
        The link, connected and greeted.
    """
    detach_input()
    try:
        return open_link(link_options, LINK_TIMEOUT, on_listening=lambda name: print(name, flush=True))
    except (LinkError, WSTPError) as error:
        print(f"wstpkernel: {error}", file=sys.stderr)
        end_process(EXIT_UNAVAILABLE)


def end_process(code: int) -> NoReturn:
    """Flush the standard streams and end the process at once, without interpreter shutdown.

    Shutdown takes a noticeable time with Mathics loaded, and in a forked kernel the atexit handlers belong to the
    parent.

    Args:
        code: Exit code; its low 8 bits count.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader is gone, or the stream is closed
            continue
    os._exit(code & 0xFF)


class PreforkParent:
    """The loop of the parent."""

    def __init__(self, prefork_socket: PreforkSocket, children: PreforkChildren) -> None:
        self._socket = prefork_socket
        self._children = children
        self._wake_receive, self._wake_send = os.pipe()
        for end in (self._wake_receive, self._wake_send):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Serve requests until the server is gone; returns the exit code."""
        # Each signal writes a byte into the pipe, so that the end of a child between two calls of select is noticed.
        signal.set_wakeup_fd(self._wake_send, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        try:
            while True:
                requests = self._socket.socket.fileno()
                readable, _, _ = select.select([requests, self._wake_receive], [], [])
                if self._wake_receive in readable:
                    self._empty_wake_pipe()
                    self._report_ended()
                if requests in readable:
                    self._launch()
        except ServerGone:
            return EXIT_OK
        finally:
            self._children.kill_all()

    def _launch(self) -> None:
        try:
            request = self._socket.receive()
        except BadForkRequest as error:
            print(f"wstpkernel: {error}", file=sys.stderr)
            if error.launch is not None:
                self._socket.send(event="not-launched", launch=error.launch, reason=str(error))
            return
        try:
            pid = self._fork(request)
        except OSError as error:
            self._socket.send(event="not-launched", launch=request.launch, reason=str(error))
            return
        self._socket.send(event="launched", launch=request.launch, pid=pid)

    def _fork(self, request: ForkRequest) -> int:
        try:
            parent_only = (self._socket.socket.fileno(), self._wake_receive, self._wake_send)
            return self._children.launch(request, parent_only)
        finally:
            os.close(request.output)

    def _report_ended(self) -> None:
        while (ended := self._children.next_ended()) is not None:
            pid, status = ended
            self._socket.send(event="exited", pid=pid, status=status)

    def _empty_wake_pipe(self) -> None:
        try:
            while os.read(self._wake_receive, 4096):
                pass
        except BlockingIOError:
            return


class PreforkChildren:
    """The kernels of a warm parent: forked, reaped, killed.

    `run_kernel` is called in each child with the kernel's command line and returns the exit code.
    """

    def __init__(self, run_kernel: Callable[[Sequence[str]], int]) -> None:
        self._run_kernel = run_kernel
        self._pids: set[int] = set()
        # Loaded before the first fork.
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def launch(self, request: ForkRequest, parent_only: Sequence[int]) -> int:
        """Fork a kernel.

        Args:
            request: What to start.
            parent_only: Descriptors that the kernel must not inherit.

        Returns:
            The process id.

        Raises:
            OSError: The directory does not exist, or the system allows no more processes.
        """
        if request.directory is not None:
            os.scandir(request.directory).close()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # SIGCHLD of another child must not run the parent's handler in the new one.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            pid = os.fork()
            if pid == 0:
                self._become_kernel(request, parent_only, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        self._pids.add(pid)
        return pid

    def next_ended(self) -> tuple[int, int] | None:
        """Reap a kernel that has ended, and kill the processes left in its process group.

        Returns:
            Process id and status as of os.waitpid; None if no kernel has ended.
        """
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if ended is None:
            return None
        # As long as the child is a zombie, its process group cannot belong to another process.
        _kill_group(ended.si_pid)
        self._pids.discard(ended.si_pid)
        return os.waitpid(ended.si_pid, 0)

    def kill_all(self) -> None:
        """Kill every kernel with the processes it started, and reap them."""
        for pid in self._pids:
            _kill_group(pid)
        for pid in self._pids:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue
        self._pids.clear()

    def _become_kernel(self, request: ForkRequest, parent_only: Sequence[int], parent: int) -> NoReturn:
        """In the child: become a process of its own and serve the link. Never returns into the parent's code."""
        code = EXIT_SOFTWARE
        try:
            self._leave_parent(parent_only, parent)
            _take_on(request)
            code = self._run_kernel(request.arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else EXIT_SOFTWARE
        except BaseException:
            traceback.print_exc()
        finally:
            end_process(code)

    def _leave_parent(self, parent_only: Sequence[int], parent: int) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for descriptor in parent_only:
            os.close(descriptor)
        if self._libc is None:
            return
        self._libc.prctl(PR_SET_NAME, PROCESS_NAME)
        self._libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() != parent:  # the parent ended before the signal was asked for
            os._exit(EXIT_SOFTWARE)


def _take_on(request: ForkRequest) -> None:
    """Set output, environment, directory and command line as requested."""
    os.dup2(request.output, 1)
    os.dup2(request.output, 2)
    if request.output > 2:
        os.close(request.output)
    for name, value in request.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    time.tzset()
    if request.directory is not None:
        os.chdir(request.directory)
    sys.argv[:] = [sys.argv[0], *request.arguments]


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # the child has no group of its own yet, or is gone
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class ServerGone(Exception):
    """The server closed its end of the socket."""


class BadForkRequest(Exception):
    """A datagram that is no launch request. `launch` is its number if that could be read, else None."""

    def __init__(self, reason: str, launch: Any = None) -> None:
        super().__init__(reason)
        self.launch = launch


@dataclass(frozen=True)
class ForkRequest:
    """A kernel to start.

    Attributes:
        launch: The server's number for this request.
        arguments: The kernel's command line, without the program's name.
        directory: The kernel's working directory; None for that of the parent.
        environment: Variables to set in addition to those of the parent; None takes one away.
        output: A descriptor for standard output and error; it belongs to the receiver of the request.
    """

    launch: int
    arguments: tuple[str, ...]
    directory: str | None
    environment: dict[str, str | None]
    output: int


class PreforkSocket:
    """The parent's end of the socket. Descriptors that come with a bad request are closed here."""

    def __init__(self, descriptor: int) -> None:
        """Take over `descriptor`.

        Raises:
            OSError: It is no socket.
        """
        self.socket = socket.socket(fileno=descriptor)
        self.socket.settimeout(None)  # whatever the server set

    def send(self, **event: Any) -> None:
        """Send an event to the server.

        Raises:
            ServerGone: The server closed its end.
        """
        try:
            self.socket.send(json.dumps(event).encode())
        except OSError as error:
            raise ServerGone from error

    def receive(self) -> ForkRequest:
        """Wait for the next request.

        Raises:
            ServerGone: The server closed its end.
            BadForkRequest: The datagram is no launch request.
        """
        try:
            data, descriptors, flags, _ = socket.recv_fds(self.socket, LARGEST_REQUEST, 4)
        except OSError as error:
            raise ServerGone from error
        if not data:
            raise ServerGone
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise BadForkRequest("the request is too long")
            return _parsed(data, descriptors)
        except BadForkRequest:
            for descriptor in descriptors:
                os.close(descriptor)
            raise


def _parsed(data: bytes, descriptors: list[int]) -> ForkRequest:
    try:
        request = json.loads(data)
    except ValueError as error:
        raise BadForkRequest(f"the request is not JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("launch"), int):
        raise BadForkRequest("the request has no launch number")
    launch = request["launch"]
    arguments: Any = request.get("arguments")
    directory, environment = request.get("directory"), request.get("environment")
    if not _are_strings(arguments):
        raise BadForkRequest("arguments must be a list of strings", launch)
    if not (directory is None or isinstance(directory, str)):
        raise BadForkRequest("directory must be a string or null", launch)
    environment = {} if environment is None else environment
    if not isinstance(environment, dict) or not _are_strings(
        [value for value in environment.values() if value is not None]
    ):
        raise BadForkRequest("environment must be an object of strings and nulls, or null", launch)
    if len(descriptors) != 1:
        raise BadForkRequest(f"one descriptor must come along, not {len(descriptors)}", launch)
    return ForkRequest(launch, tuple(arguments), directory, environment, descriptors[0])


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def report_failure(descriptor: int, reason: str) -> None:
    """Tell the server on `descriptor` that no kernel can be started; without a server nothing happens."""
    try:
        PreforkSocket(descriptor).send(event="failed", reason=reason)
    except (OSError, ServerGone):
        return
