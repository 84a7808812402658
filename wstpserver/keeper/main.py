"""The keeper's program: two processes, the keeper and its guard.

The keeper starts what its server asks for, waits for it, and holds descriptors and records for the server. When the
server ends without a goodbye, what it had given to the keeper stays for a while, and the next server gets it. Whatever
a process leaves comes back to the keeper and is ended with it.

The guard is the parent of the keeper and does nothing but wait for its end. Whatever the keeper leaves, however it
ends, comes back to the guard and is killed.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from wstpserver.keeper import processes, protocol
from wstpserver.keeper.processes import Starter, kill_group
from wstpserver.keeper.protocol import MARK, READ, VERSION, Peer

TYPE_CHECKING = False  # typing itself is not loaded, see wstpserver/__init__.py
if TYPE_CHECKING:
    from typing import Any

#: Seconds that what a process has left has to end by itself.
CHILDREN_GRACE = 0.5

#: Seconds that everything may take to be gone after SIGKILL.
LONGEST_END = 5.0

#: Seconds that a server that connects has to say hello.
HELLO_TIME = 5.0

#: Connections of servers that wait to be accepted.
_BACKLOG = 16

#: Process names, as ps shows them.
_NAME, _GUARD_NAME = "wstpkeeper", "wstpkeeperguard"


class Process:
    """A process that the keeper has started.

    Attributes:
        mark: Says whose process it is; whatever it starts inherits that.
        output: The reading end of what it prints.
        executed: Whether it is known that its program was executed.
        status: How it ended, as of os.waitpid; None while it runs.
    """

    __slots__ = ("executed", "mark", "output", "status")

    def __init__(self, mark: str, output: int) -> None:
        self.mark = mark
        self.output = output
        self.executed = False
        self.status: int | None = None


class Held:
    """What the server has given to the keeper under one name."""

    __slots__ = ("descriptors", "record")

    def __init__(self, record: dict[str, Any], descriptors: list[int]) -> None:
        self.record = record
        self.descriptors = descriptors


class Poller:
    """Waits for descriptors and for points in time."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: dict[int, Callable[[int], object]] = {}
        self._timers: dict[object, tuple[float, Callable[[], object]]] = {}

    def watch(self, descriptor: int, ready: Callable[[int], object], events: int = READ) -> None:
        """Call *ready* with the events whenever the descriptor has one of them, until `forget`."""
        self._ready[descriptor] = ready
        self._poll.register(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch the descriptor no longer, before it is closed."""
        if self._ready.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, key: object, due: Callable[[], object]) -> None:
        """Call *due* once, in so many seconds, unless *key* is used again or cancelled before."""
        self._timers[key] = (time.monotonic() + seconds, due)

    def cancel(self, key: object) -> None:
        """Forget the timer with this key."""
        self._timers.pop(key, None)

    def turn(self) -> None:
        """Wait until something is ready or due, and call what is."""
        timeout = None
        if self._timers:
            first = min(when for when, _ in self._timers.values())
            timeout = max(0.0, first - time.monotonic()) * 1000 + 1
        for descriptor, events in self._poll.poll(timeout):
            ready = self._ready.get(descriptor)
            if ready is not None:
                ready(events)
        now = time.monotonic()
        for key, (when, due) in tuple(self._timers.items()):
            if when <= now and self._timers.get(key) == (when, due):
                del self._timers[key]
                due()


class Keeper:
    """The keeper.

    Args:
        listener: Where further servers come.
        path: Its path, removed at the end.
    """

    def __init__(self, listener: socket.socket, path: str) -> None:
        self._poller = Poller()
        self._starter = Starter()
        self._listener = listener
        self._path = path
        self._server: Peer | None = None
        self._environment: dict[str, str] = {}
        self._directory = "/"
        self._outlive = 0.0
        self._processes: dict[int, Process] = {}
        #: The marks of processes whose children may live; of those that were started elsewhere as well.
        self._marks: set[str] = set()
        #: What tells its own marks from others': their beginning.
        self._own = ""
        self._held: dict[str, Held] = {}
        #: True while it keeps things and waits for a server.
        self._waiting = False
        self._ending = False
        self._handlers: dict[str, Callable[[Peer, dict[str, Any], list[int]], object]] = {
            "hello": self._hello,
            "start": self._start,
            "known": lambda _, message, __: self._marks.add(message["known"]),
            "forgotten": self._forgotten,
            "hold": self._hold,
            "release": lambda _, message, __: self._release(message["release"]),
            "outlive": self._set_outlive,
            "goodbye": self._goodbye,
        }

    def run(self, first: socket.socket) -> None:
        """Serve the first server and those that come, until there is nothing to keep for anybody."""
        self._wait_for_children()
        self._listener.setblocking(False)
        self._poller.watch(self._listener.fileno(), self._accept)
        self._connected(first)
        try:
            while not self._ending:
                self._poller.turn()
        finally:
            self._end()

    def _end(self) -> None:
        try:
            os.unlink(self._path)
        except OSError:
            pass
        processes.end_all(LONGEST_END)

    # -- servers -------------------------------------------------------------------------------------------------

    def _accept(self, _events: int) -> None:
        connection = protocol.accept(self._listener)
        if connection is not None:
            self._connected(connection)

    def _connected(self, connection: socket.socket) -> None:
        peer = Peer(connection, self._poller, self._take, self._gone)
        self._poller.after(HELLO_TIME, peer, lambda: self._too_late(peer))

    def _too_late(self, peer: Peer) -> None:
        peer.close()
        self._gone(peer)

    def _gone(self, peer: Peer) -> None:
        """A server has ended: what it has given to the keeper is kept, and nothing else."""
        self._poller.cancel(peer)
        if self._server is peer:
            self._server = None
            kept = {pid for held in self._held.values() for pid in held.record.get("processes", ())}
            for pid, process in self._processes.items():
                if pid not in kept and process.status is None:
                    kill_group(pid)
            if self._outlive > 0 and kept:
                self._waiting = True
                self._poller.after(self._outlive, "outlive", self._stop)
        if self._server is None and not self._waiting:
            self._stop()

    def _stop(self) -> None:
        self._ending = True

    def _take(self, peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        try:
            for word, handle in self._handlers.items():
                if word in message and (peer is self._server or word == "hello"):
                    handle(peer, message, descriptors)
                    return
            protocol.close(descriptors)
            peer.send({"trouble": f"the keeper does not know the message {sorted(message)}"})
        except Exception:  # noqa: BLE001 - a keeper that ends takes all kernels with it
            import traceback  # which needs as much memory as all of this

            peer.send({"trouble": f"the keeper failed:\n{traceback.format_exc()}"})

    def _hello(self, peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        protocol.close(descriptors)
        self._poller.cancel(peer)
        if self._server is not None:
            peer.send({"busy": self._server.pid})
            return
        peer.send({"welcome": VERSION, "pid": os.getpid()})
        if message["hello"] != VERSION:
            return  # it cannot use this keeper, and leaves
        self._poller.cancel("outlive")
        self._server, self._waiting = peer, False
        self._environment, self._directory = message["environment"], message["directory"]
        self._outlive, self._own = message["outlive"], self._own or message["own"]
        for pid, process in tuple(self._processes.items()):
            peer.send({"process": pid, "mark": process.mark}, [process.output])
            if process.status is not None:
                peer.send({"exited": pid, "status": process.status})
                self._forget(pid)
        for name, held in self._held.items():
            peer.send({"held": name, "record": held.record}, held.descriptors)
        peer.send({"all": True, "own": self._own})

    def _set_outlive(self, _peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        protocol.close(descriptors)
        self._outlive = message["outlive"]

    def _goodbye(self, peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        protocol.close(descriptors)
        self._outlive = message["goodbye"]
        if self._outlive > 0:
            peer.close()
            self._gone(peer)
        else:
            self._stop()  # the end of the connection says that nothing is left

    # -- what it holds -------------------------------------------------------------------------------------------

    def _hold(self, _peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        self._release(message["hold"])
        self._held[message["hold"]] = Held(message["record"], descriptors)

    def _release(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            protocol.close(held.descriptors)

    # -- processes -----------------------------------------------------------------------------------------------

    def _start(self, peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        number, mark = message["start"], message["mark"]
        writing, reading, *passed = descriptors
        try:
            pid, report = self._starter.start(
                message["programs"],
                message["arguments"],
                {**(message["environment"] or self._environment), MARK: mark},
                message.get("directory") or self._directory,
                writing,
                dict(zip(message["numbers"], passed, strict=True)),
            )
        except (OSError, ValueError) as error:
            protocol.close(descriptors)
            peer.send({"failed": number, "errno": getattr(error, "errno", None) or errno.EINVAL})
            return
        protocol.close([writing, *passed])
        self._marks.add(mark)
        self._processes[pid] = Process(mark, reading)
        self._poller.watch(report, lambda _: self._executed(peer, number, pid, report))

    def _executed(self, peer: Peer, number: int, pid: int, report: int) -> None:
        """The program was executed, or could not be."""
        told = os.read(report, 16)
        self._poller.forget(report)
        os.close(report)
        process = self._processes[pid]
        if told:
            self._forget(pid)
            self._marks.discard(process.mark)
            peer.send({"failed": number, "errno": int(told)})
            return
        process.executed = True
        peer.send({"started": number, "pid": pid})
        if process.status is not None:  # it has ended meanwhile
            self._tell_exit(pid, process)

    def _wait_for_children(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: self._signalled(number))
        self._poller.watch(reading, lambda _: self._woken(reading))

    def _signalled(self, number: int) -> None:
        if number == signal.SIGTERM:  # of the others a terminal sends some to everybody
            self._ending = True

    def _woken(self, reading: int) -> None:
        try:
            while os.read(reading, 4096):
                pass
        except BlockingIOError:
            pass
        self._reap()

    def _reap(self) -> None:
        """Note what has ended, and what that has left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            process = self._processes.get(pid)
            if process is not None:
                process.status = status
                if process.executed:
                    self._tell_exit(pid, process)

    def _tell_exit(self, pid: int, process: Process) -> None:
        self._poller.after(CHILDREN_GRACE, process.mark, lambda: self._end_family(pid, process.mark))
        if self._server is not None:
            self._server.send({"exited": pid, "status": process.status})
            self._forget(pid)

    def _forget(self, pid: int) -> None:
        process = self._processes.pop(pid, None)
        if process is not None:
            os.close(process.output)

    def _forgotten(self, _peer: Peer, message: dict[str, Any], descriptors: list[int]) -> None:
        protocol.close(descriptors)
        mark = message["forgotten"]
        self._poller.after(CHILDREN_GRACE, mark, lambda: self._end_family(0, mark))

    def _end_family(self, group: int, mark: str) -> None:
        """A process has ended: so does whatever it has left. *group* is its group, 0 if it is not known."""
        if group and group not in self._processes:
            try:
                os.killpg(group, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        self._marks.discard(mark)
        for pid in processes.children():
            if pid not in self._processes:
                found = processes.variable(pid, MARK)
                if found.startswith(self._own) and found not in self._marks:
                    kill_group(pid)


def main(words: Sequence[str]) -> int:
    """Run the keeper until it has nothing to keep; in the guard, until nothing is left of it.

    Args:
        words: The descriptor of the socket of the first server, and the path for those that follow.
    """
    descriptor, path = int(words[0]), words[1]
    os.set_inheritable(descriptor, False)  # the only one that it has beside the standard ones
    os.setsid()
    processes.become_subreaper()
    guard = os.getpid()
    keeper = os.fork()
    if keeper:
        return _guard(keeper)
    processes.set_name(_NAME)
    processes.die_with_parent(guard)
    processes.become_subreaper()
    first = socket.socket(fileno=descriptor)
    try:
        listener = _listen(path)
    except OSError as error:
        protocol.send(first, {"trouble": f'the keeper cannot listen at "{path}": {error.strerror}'})
        return 1
    Keeper(listener, path).run(first)
    return 0


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.chdir(os.path.dirname(path))  # a path in the address may be short of room
        listener.bind(os.path.basename(path))
        listener.listen(_BACKLOG)
    finally:
        os.close(before)
        os.chdir("/")
    return listener


def _guard(keeper: int) -> int:
    """Wait for the end of the keeper, and end what it has left."""
    processes.set_name(_GUARD_NAME)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pid, _ = os.waitpid(-1, 0)
        if pid == keeper:
            break
    processes.end_all(LONGEST_END)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
