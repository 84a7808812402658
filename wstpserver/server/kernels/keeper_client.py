"""The server's side of its keeper (`wstpserver.keeper`): finds or starts it, has it start processes, hears of their
ends, and gives it what outlives the server.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gevent import get_hub, subprocess
from gevent.event import AsyncResult, Event

from wstpserver.keeper import protocol
from wstpserver.keeper.protocol import READ, VERSION, WRITE, Peer
from wstpserver.server import systemd
from wstpserver.server.kernels.process import KernelProcess
from wstpserver.server.kernels.process_info import make_private, reap, runtime_folder
from wstpserver.server.log import Log

#: Seconds that a keeper has to answer when it is started, or found.
WELCOME_TIME = 10.0

#: Seconds that it has to end with everything that is left in it.
GOODBYE_TIME = 10.0

#: If set, the server does without a keeper.
DISABLE_KEEPER = "WSTPSERVER_DISABLE_KEEPER"

_ROOT = Path(__file__).parents[3]
#: Both of its processes end without taking apart what Python has loaded, which would cost 10 ms of the processor each.
_PROGRAM = (
    f"import os, sys; sys.path.insert(0, {os.fspath(_ROOT)!r}); from wstpserver.keeper.main import main;"
    " os._exit(main(sys.argv[1:]))"
)


class KeeperUnavailable(Exception):
    """There is no keeper; the text says why."""


class _HubWatches:
    """Waits for descriptors in gevent's hub."""

    def __init__(self) -> None:
        self._watchers: dict[int, Any] = {}

    def watch(self, descriptor: int, ready: Callable[[int], object], events: int = READ) -> None:
        self.forget(descriptor)
        loop_events = (events & READ) | (2 if events & WRITE else 0)
        watcher = self._watchers[descriptor] = get_hub().loop.io(descriptor, loop_events)
        if events & WRITE:
            watcher.start(self._either, ready)
        else:
            watcher.start(ready, READ)

    @staticmethod
    def _either(ready: Callable[[int], object]) -> None:
        ready(READ | WRITE)

    def forget(self, descriptor: int) -> None:
        watcher = self._watchers.pop(descriptor, None)
        if watcher is not None:
            watcher.stop()
            watcher.close()


class KeeperClient:
    """The conversation with one keeper. Methods return at once unless they say otherwise.

    Args:
        connection: The socket.
        report: Gets what the keeper has to say to the log.
        own: The beginning of the marks of processes that are this keeper's, "" if it has them already.
        guard: The process that was started, if this server has started the keeper.

    Attributes:
        welcomed: Set when the keeper has answered, or is lost.
        lost: Set when it is gone, and everything that it had started with it.
        kept: What it has held for an earlier server, by name: record and descriptors.
    """

    def __init__(
        self, connection: socket.socket, report: Callable[[str], None], own: str, guard: Any = None
    ) -> None:
        self.welcomed = Event()
        self.lost = Event()
        self.own = own
        self.pid = 0
        self.version = 0
        self.refused = ""
        self.processes: dict[int, KernelProcess] = {}
        self._outputs: dict[int, int] = {}
        #: How processes have ended that were another server's.
        self._ended: dict[int, int] = {}
        self.kept: dict[str, tuple[dict[str, Any], list[int]]] = {}
        self._report = report
        self._numbers = itertools.count(1)
        self._starts: dict[int, AsyncResult] = {}
        self._guard = guard
        self._peer = Peer(connection, _HubWatches(), self._take, self._gone)

    # -- from one process to the next ----------------------------------------------------------------------------

    def hand_over(self) -> dict[str, Any]:
        """What the next program in this process needs to go on with it (`handover`)."""
        self._peer.flush()
        guard = self._guard.pid if self._guard is not None else 0
        return {"descriptor": self._peer.connection.fileno(), "own": self.own, "pid": self.pid, "guard": guard}

    @classmethod
    def of_record(cls, record: Mapping[str, Any], report: Callable[[str], None]) -> KeeperClient:
        """Go on with the keeper of the program before this one; *record* is what `hand_over` returned there.

        Raises:
            OSError: Its socket does not exist any more.
        """
        connection = socket.socket(fileno=record["descriptor"])
        connection.set_inheritable(False)
        client = cls(connection, report, record["own"])
        client.pid = record["pid"]
        client.welcomed.set()
        if record.get("guard"):
            get_hub().loop.install_sigchld()
            watcher = get_hub().loop.child(record["guard"])  # or it would stay a zombie
            watcher.start(watcher.stop)
        return client

    def watch(self, pid: int) -> KernelProcess:
        """A process that the keeper has started for the program before this one."""
        process = self.processes.get(pid)
        if process is None:
            process = self.processes[pid] = KernelProcess(pid)
            if pid in self._ended:
                del self.processes[pid]
                process.exited.set(self._ended.pop(pid))
        return process

    def take_output(self, pid: int) -> int:
        """The reading end of what a process of another server prints, which belongs to the caller; -1 without one."""
        return self._outputs.pop(pid, -1)

    # -- the conversation ----------------------------------------------------------------------------------------

    def say_hello(self, environment: Mapping[str, str], outlive: float) -> None:
        """Begin the conversation; `welcomed` follows.

        Args:
            environment: That of all processes.
            outlive: Seconds that what the keeper holds outlives the server.
        """
        inherited = {name: value for name, value in environment.items() if name not in systemd.VARIABLES}
        try:
            directory = os.getcwd()
        except OSError:  # it was removed
            directory = "/"
        self._peer.send(
            {"hello": VERSION, "environment": inherited, "directory": directory, "outlive": outlive, "own": self.own}
        )

    @property
    def usable(self) -> bool:
        """Whether the keeper is there, as far as is known."""
        return not self.lost.is_set()

    def set_outlive(self, seconds: float) -> None:
        """Change how long what the keeper holds outlives the server, if that ends without `goodbye`."""
        self._peer.send({"outlive": seconds})

    def goodbye(self, seconds: float = 0.0) -> None:
        """Leave. Returns when the keeper has ended everything; if that is to stay for so many *seconds*, at once."""
        self._peer.send({"goodbye": seconds})
        if not seconds:
            self.lost.wait(GOODBYE_TIME)
        if self._guard is not None and not seconds:
            self._guard.wait(1.0)
        self._peer.close()

    def abandon(self) -> None:
        """Close the conversation with a keeper that cannot be used."""
        self._peer.close()

    def leave_at_once(self) -> None:
        """Have the keeper kill everything, without waiting for it."""
        self._peer.send({"goodbye": 0})

    def _take(self, _peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        match message:
            case {"started": number, "pid": pid}:
                process = self.watch(pid)
                if number in self._starts:
                    self._settle(number, process)
                else:  # the program before this one has asked for it
                    process.kill_group(signal.SIGKILL)
            case {"failed": number, "errno": error}:
                self._settle(number, OSError(error, os.strerror(error)))
            case {"exited": pid, "status": status}:
                if not self.welcomed.is_set():  # it has ended before this server was there
                    self._ended[pid] = status
                if pid in self.processes:
                    self.processes.pop(pid).exited.set(status)
            case {"welcome": version, "pid": pid}:
                self.version, self.pid = version, pid
                if version != VERSION:
                    self.refused = f"it speaks version {version} of the conversation, and this server version {VERSION}"
                    self.welcomed.set()
            case {"process": pid}:
                self.watch(pid)
                self._outputs[pid] = descriptors.pop()
            case {"held": name, "record": record}:
                self.kept[name] = (record, list(descriptors))
                descriptors.clear()
            case {"all": _, "own": own}:
                self.own = own
                self.welcomed.set()
            case {"busy": pid}:
                self.refused = f"it is the keeper of another server (process {pid})"
                self.welcomed.set()
            case {"trouble": text}:
                self._report(str(text))
        protocol.close(descriptors)

    def _settle(self, number: int, outcome: KernelProcess | OSError) -> None:
        result = self._starts.pop(number, None)
        if result is None:
            return
        if isinstance(outcome, OSError):
            result.set_exception(outcome)
        else:
            result.set(outcome)

    def _gone(self, _peer: Peer) -> None:
        """The keeper has ended, and the system has killed its processes."""
        self.lost.set()
        self.welcomed.set()
        for result in tuple(self._starts.values()):
            result.set_exception(OSError(errno.ESRCH, "the keeper has ended"))
        self._starts.clear()
        for process in tuple(self.processes.values()):
            process.exited.set(int(signal.SIGKILL))
        self.processes.clear()

    # -- processes -----------------------------------------------------------------------------------------------

    def new_mark(self) -> str:
        """What tells one kernel's processes from those of others."""
        return f"{self.own}.{secrets.token_hex(4)}"

    def start(
        self,
        programs: Sequence[str],
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
        output: tuple[int, int],
        passed: Sequence[int] = (),
        directory: str | None = None,
    ) -> KernelProcess:
        """Start a program; returns when it is executed.

        Args:
            programs: Paths that it may have.
            arguments: Its name and its arguments.
            environment: Its environment; None is that of the server.
            output: The reading and the writing end of the pipe for what it prints.
            passed: Descriptors that it gets, under the same numbers.
            directory: The folder that it begins in; None for that of the server.

        Raises:
            OSError: It cannot be started, or the keeper is gone.
        """
        if any("\0" in text for text in (*programs, *arguments, *(environment or ()))):
            raise ValueError("embedded null character")
        number = next(self._numbers)
        result = self._starts[number] = AsyncResult()
        reading, writing = output
        message = {"start": number, "programs": programs, "arguments": arguments, "environment": environment}
        message["directory"] = directory
        self._peer.send(
            {**message, "numbers": list(passed), "mark": self.new_mark()}, [writing, reading, *passed]
        )
        if self.lost.is_set():
            self._starts.pop(number, None)
            raise OSError(errno.ESRCH, "the keeper has ended")
        process: KernelProcess = result.get()
        return process

    def know(self, mark: str) -> None:
        """A process with this mark was started elsewhere, by a prefork parent."""
        self._peer.send({"known": mark})

    def forget(self, mark: str) -> None:
        """That process is gone; the keeper ends what it has left."""
        self._peer.send({"forgotten": mark})

    # -- what outlives the server --------------------------------------------------------------------------------

    def hold(self, name: str, record: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Have the keeper hold a record and descriptors until `release`, in place of what it held under this name."""
        self._peer.send({"hold": name, "record": dict(record)}, descriptors)

    def release(self, name: str) -> None:
        """The keeper need not hold this any longer."""
        self._peer.send({"release": name})


def start_keeper(folder: Path, port: int, report: Callable[[str], None]) -> KeeperClient:
    """Start a keeper. Raises OSError if it cannot be started; `KeeperClient.lost` follows if it ends at once."""
    own = secrets.token_hex(6)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = folder / f"keeper-{port}-{own}"
    try:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(theirs.fileno()), os.fspath(path), "wstpserver-keeper"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd="/",
            env={name: value for name, value in os.environ.items() if name not in systemd.VARIABLES},
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return KeeperClient(ours, report, own, guard)


def find_keepers(folder: Path, port: int, report: Callable[[str], None]) -> list[KeeperClient]:
    """Connect to the keepers of earlier servers with this port. What is no keeper any more is removed."""
    found = []
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in sorted(folder.glob(f"keeper-{port}-*")):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(f"/proc/self/fd/{directory}/{path.name}")  # short, whatever the folder is called
                if protocol.peer(connection)[1] != os.getuid():
                    raise PermissionError
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
                connection.close()
            except OSError:
                connection.close()
            else:
                found.append(KeeperClient(connection, report, ""))
    finally:
        os.close(directory)
    return found


def open_keeper(environ: Mapping[str, str], port: int, outlive: float, log: Log) -> KeeperClient | None:
    """Find the keeper of an earlier server with this port, or start one. Waits until it has answered.

    Args:
        environ: The environment, which says where the folder of its socket is.
        port: The port that the server listens on.
        outlive: Seconds that what the keeper holds outlives the server.
        log: Gets what the keeper has to say.

    Returns:
        None where there is to be none: on other systems than Linux, and if the environment says so.

    Raises:
        KeeperUnavailable: It can be neither found nor started.
    """
    if not sys.platform.startswith("linux") or environ.get(DISABLE_KEEPER):
        return None
    folder = runtime_folder(environ)
    try:
        make_private(folder)
        reap(folder, log)  # what servers without a keeper have left
        for client in find_keepers(folder, port, log.warning):
            client.say_hello(environ, outlive)
            client.welcomed.wait(WELCOME_TIME)
            if client.welcomed.is_set() and client.usable and not client.refused:
                return client
            client.abandon()
        client = start_keeper(folder, port, log.warning)
        client.say_hello(environ, outlive)
    except OSError as error:
        raise KeeperUnavailable(f"it cannot be started: {error}") from None
    client.welcomed.wait(WELCOME_TIME)
    if not client.welcomed.is_set() or not client.usable:
        client.abandon()
        raise KeeperUnavailable("it does not answer")
    return client
