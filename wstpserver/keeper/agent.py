"""The agent: starts a kernel on another machine and carries its link over standard input and output.

The connector (`connector.py`), which runs on the server's machine, starts a launcher such as ssh or srun, sends this
module and those that it uses through it as one text, and speaks the protocol of `stream.py` with it. So the other
machine needs nothing but Python 3.8 and a kernel.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import time
import types
from functools import partial
from typing import Any, Callable, NoReturn  # noqa: UP035 - Python 3.8

from wstpserver.keeper.passing import PassingChannel, PassingLoop
from wstpserver.keeper.processes import (
    Starter,
    become_subreaper,
    end_all,
    family,
    guard_groups,
    has_open,
    resident_bytes,
)
from wstpserver.keeper.stream import (
    DATA_CHANNEL,
    EXITED,
    FAILED,
    HELLO,
    MEMORY,
    MESSAGE_CHANNEL,
    NOT_NOW,
    OPEN,
    OUTPUT_CHANNEL,
    PIPE_SIZE,
    QUICKACK,
    SILENCE,
    SIZE,
    START,
    STARTED,
    STOP,
    VERSION,
    Loop,
    Stream,
    StreamChannel,
    StreamError,
    widen,
)

LOOPBACK = "127.0.0.1"

#: Bytes received at once from which on more of them are expected.
_LONG = 64 << 10
_splice: Any = getattr(os, "splice", None) and partial(os.splice, flags=3)  # not waiting, pages moved where possible


class _Way:
    """One direction of a coupling: what was received from *source* and not sent to *sink*."""

    def __init__(self, source: socket.socket, sink: socket.socket, buffer: memoryview) -> None:
        self.source, self.sink = source, sink
        #: Whether the source may still send.
        self.reading = True
        self._buffer = buffer
        self._rest = memoryview(b"")
        #: Long data stays in the system where that has splice(2) and this Python too (3.10): a pipe, its content, and
        #: whether what comes now goes through it.
        self._pipe: tuple[int, int] | None = None
        self._held = 0
        self._long = False
        self._can_splice = _splice is not None

    @property
    def waiting(self) -> bool:
        """Whether something waits for the sink."""
        return bool(self._rest or self._held)

    def copy(self) -> None:
        """Receive and send. Raises OSError."""
        try:
            if self._long:
                assert self._pipe is not None
                size = self._held = _splice(self.source.fileno(), self._pipe[1], PIPE_SIZE)
                self._long = size >= _LONG
            else:
                size = self.source.recv_into(self._buffer)
                self._rest = self._buffer[:size]
                self._long = size >= _LONG and self._can_splice and self._make_pipe()
        except NOT_NOW:
            return
        except OSError:
            if not self._long:
                raise
            self._long = self._can_splice = False  # this system does not do it for sockets
            return
        if not size:
            self.reading = False
        self.send()
        if self._rest:
            self._rest = memoryview(bytes(self._rest))
        if QUICKACK is not None:
            self.source.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)

    def send(self) -> None:
        """Send what waits, and the end behind it. Raises OSError."""
        try:
            if self._rest:
                self._rest = self._rest[self.sink.send(self._rest) :]
            while self._held:
                assert self._pipe is not None
                self._held -= _splice(self._pipe[0], self.sink.fileno(), self._held)
        except NOT_NOW:
            return
        if not self.reading and not self.waiting:
            self.sink.shutdown(socket.SHUT_WR)

    def _make_pipe(self) -> bool:
        if self._pipe is None:
            self._pipe = os.pipe()
            widen(self._pipe[0])
        return True

    def close(self) -> None:
        """Pass nothing more."""
        self.reading, self._rest, self._held = False, memoryview(b""), 0
        self.source.close()
        for descriptor in self._pipe or ():
            os.close(descriptor)
        self._pipe = None


class Coupling:
    """Passes bytes between two sockets in both directions: the kernel's connection and one to the server.

    Args:
        loop: the loop.
        first: the socket of the kernel.
        second: the other socket.
        ended: called when a direction has ended; both sockets are closed when both have.
    """

    def __init__(
        self, loop: Loop, first: socket.socket, second: socket.socket, ended: Callable[[], object]
    ) -> None:
        self._loop, self._ended = loop, ended
        buffer = memoryview(bytearray(1 << 20))
        self._ways = (_Way(first, second, buffer), _Way(second, first, buffer))
        for each in (first, second):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arm()

    def _arm(self) -> None:
        for index, way in enumerate(self._ways):
            events = select.POLLIN if way.reading and not way.waiting else 0
            if self._ways[1 - index].waiting:
                events |= select.POLLOUT
            self._loop.watch(way.source.fileno(), events, partial(self._ready, index))

    def _ready(self, index: int, events: int) -> None:
        way, back = self._ways[index], self._ways[1 - index]
        try:
            if events & select.POLLOUT:
                back.send()
            if events & ~select.POLLOUT and way.reading and not way.waiting:
                way.copy()
                if way.reading and not way.waiting and events == select.POLLIN:
                    return  # as before
        except OSError:
            way.reading = back.reading = False
            self._close()
            return
        if not any(each.reading or each.waiting for each in self._ways):
            self._close()
            return
        if not (way.reading and back.reading):
            self._loop.call_later(0.0, self._ended)
        self._arm()

    def _close(self) -> None:
        for way in self._ways:
            self._loop.watch(way.source.fileno(), 0, lambda _events: None)
            way.close()
        self._ended()

    @property
    def drained(self) -> bool:
        """Whether everything that the first socket sent was passed on."""
        return not self._ways[0].reading and not self._ways[0].waiting


class CannotStart(Exception):
    """No kernel can be started here; the text says why."""


def host_name() -> str:
    """What this machine is called, by the engine that runs it if that says so."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def find_program(path: str | None, discovery: str) -> str:
    """The kernel's program.

    Args:
        path: what KernelPath says; None to look for a kernel.
        discovery: the source of the module that knows where kernels are.

    Raises:
        CannotStart: there is none.
    """
    if path is not None:
        expanded = os.path.expanduser(path)
        found = shutil.which(expanded)
        if found is None:
            what = "is not executable" if os.path.exists(expanded) else "does not exist"
            raise CannotStart(f'the kernel "{path}" {what} on {host_name()}')
        return found
    module = types.ModuleType("wstpserver_discovery")
    sys.modules[module.__name__] = module
    exec(compile(discovery, "discovery.py", "exec"), module.__dict__)
    discovered = module.find_kernel()
    found = discovered.path if discovered is not None else shutil.which("wstpkernel")
    if found is None:
        raise CannotStart(f"no kernel was found on {host_name()}, so KernelPath is required")
    return str(found)


class KernelHere:
    """The kernel's process, in a session of its own, and a guard that kills its group if the agent is killed."""

    #: Seconds that everything of it has to end after SIGKILL.
    LONGEST_END = 2.0

    def __init__(self, arguments: list[str], directory: str, changes: dict[str, str | None]) -> None:
        """Start it.

        Args:
            arguments: the program and its arguments.
            directory: the folder that it begins in, "" for that of the agent.
            changes: what is different in its environment; None takes a variable away.

        Raises:
            CannotStart: it cannot be started.
        """
        if directory and not os.path.isdir(directory):
            raise CannotStart(f'there is no folder "{directory}" on {host_name()} for the kernel to begin in')
        environment = {name: text for name, text in {**os.environ, **changes}.items() if text is not None}
        become_subreaper()
        self._guard = self._start_guard()
        #: What it prints.
        self.output, writing = os.pipe()
        #: The wait status, None while it runs.
        self.status: int | None = None
        try:
            program = arguments[0]
            begun = Starter().start([program], arguments, environment, directory or ".", writing, {})
            self.pid, report = begun
            with open(report, "rb") as file:
                failed = file.read()
        except OSError as error:
            raise CannotStart(f"no process can be started on {host_name()}: {error.strerror}") from None
        finally:
            os.close(writing)
        if failed:
            text = os.strerror(int(failed))
            raise CannotStart(f'the kernel "{program}" could not be started on {host_name()}: {text}')
        os.write(self._guard, b"kernel %d\n" % self.pid)

    @staticmethod
    def _start_guard() -> int:
        reading, writing = os.pipe()
        if os.fork():
            os.close(reading)
            return writing
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):  # the stream must end with the agent
                os.dup2(null, descriptor)
            os.close(writing)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            with open(reading, "rb") as lines:
                guard_groups(lines)
        finally:
            os._exit(0)

    def look(self) -> bool:
        """Whether it has ended; `status` says how. What it has left and what has ended since is waited for."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self.pid:
                    self.status = status
        except ChildProcessError:
            pass
        return self.status is not None

    def signal_group(self, number: int) -> None:
        """Send a signal to the kernel and its children."""
        try:
            os.killpg(self.pid, number)
        except OSError:
            pass

    def end(self) -> None:
        """Kill what is left of it, also what has left its group. The guard is not needed any more."""
        self.signal_group(signal.SIGKILL)
        os.write(self._guard, b"gone %d\n" % self.pid)
        os.close(self._guard)
        end_all(self.LONGEST_END)

    def memory(self) -> int:
        """Resident bytes of its largest process; 0 where the system does not tell."""
        return resident_bytes(family(self.pid))

    def holds(self, connected: socket.socket) -> bool:
        """Whether the kernel or a descendant made this connection; True where the system does not tell."""
        wanted = [_as_listed(address) for address in (connected.getpeername(), connected.getsockname())]
        try:
            with open("/proc/net/tcp", encoding="ascii") as table:
                inodes = [fields[9] for fields in (line.split() for line in table) if fields[1:3] == wanted]
        except OSError:
            return True
        return any(has_open(pid, inode) for inode in inodes for pid in family(self.pid))


def _as_listed(address: tuple[Any, ...]) -> str:
    """An IPv4 address as /proc shows it."""
    return "{:08X}:{:04X}".format(struct.unpack("=I", socket.inet_aton(address[0]))[0], address[1])


def proof(secret: bytes, *words: bytes) -> bytes:
    """What only a holder of the secret can make of these words."""
    return hmac.new(secret, b"|".join(words), hashlib.sha256).hexdigest().encode()


def connect_to_server(place: dict[str, Any], channel: int) -> socket.socket:
    """Connect to the server for a channel, and prove to each other who is there.

    Args:
        place: host, port, token and secret.
        channel: the channel.

    Raises:
        CannotStart: there is no such connection to be had.
    """
    where = "{} port {}".format(place["host"], place["port"])
    try:
        connected = socket.create_connection((place["host"], place["port"]), timeout=10.0)
        connected.settimeout(10.0)
        secret, token, number = bytes.fromhex(place["secret"]), place["token"].encode(), b"%d" % channel
        ours = os.urandom(16).hex().encode()
        connected.sendall(b"WSTPSERVER-AGENT %d %s %s %s\n" % (VERSION, token, number, ours))
        theirs, _, shown = _line(connected).partition(b" ")
        if not hmac.compare_digest(shown, proof(secret, b"server", token, number, ours, theirs)):
            raise CannotStart(f"what answers at {where} is not the server that wants this kernel")
        connected.sendall(proof(secret, b"agent", token, number, ours, theirs) + b"\n")
        if _line(connected) != b"welcome":
            raise CannotStart(f"the server at {where} refuses the connection")
        return connected
    except OSError as error:
        raise CannotStart(
            f"{host_name()} cannot connect to the server at {where} (KernelTransportInterface):"
            f" {error.strerror or error}"
        ) from None


def _line(connected: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = connected.recv(1)
        if not byte or len(line) > 200:
            raise CannotStart("the server has ended the connection (KernelTransportInterface)")
        line += byte
    return line[:-1]


class Agent:
    """One kernel of this machine and the stream to the connector."""

    #: Seconds that a kernel has to end after SIGTERM, and its link and output after its exit.
    TERMINATE_GRACE = 2.0
    EXIT_GRACE = 0.3

    def __init__(self) -> None:
        self._loop = PassingLoop()
        self._kernel: KernelHere | None = None
        self._finished = False
        self._why = ""
        self._silence = SILENCE
        self._memory = 0
        self._listeners: list[socket.socket] = []
        self._couplings: list[Coupling] = []
        self._server: dict[str, Any] | None = None
        self._exit_timer: list[Any] | None = None
        #: Whether the kernel was told to end, and whether it has.
        self._asked = self._ended = False
        self._loop.catch_signals(self._signalled)
        hello = {"version": VERSION, "host": host_name(), "pid": os.getpid(), "python": sys.version.split()[0]}
        os.write(1, HELLO + json.dumps(hello).encode() + b"\n")
        self._stream = Stream(self._loop, 0, 1, self._take, self._lost)
        for number in (DATA_CHANNEL, MESSAGE_CHANNEL, OUTPUT_CHANNEL):
            kind = PassingChannel if number == DATA_CHANNEL else StreamChannel
            self._stream.add(kind(self._stream, number, self._check_exit))
        self._loop.serve(self._stream)
        self._loop.call_later(1.0, self._tick)

    def run(self) -> None:
        """Until the kernel is gone and the connector knows."""
        try:
            self._loop.run()
            while not self._stream.flushed:
                self._stream.wait_flushed()
        finally:
            if self._kernel is not None:
                self._kernel.end()

    # -- what comes in -------------------------------------------------------------------------------------------

    def _take(self, kind: int, _channel: int, payload: bytes) -> None:
        if kind == START and self._kernel is None:
            try:
                self._start(json.loads(payload))
            except CannotStart as error:
                self._fail(str(error))
        elif kind == STOP:
            self._terminate("")
        else:
            raise StreamError(f"it sends a frame of kind {kind}")

    def _fail(self, why: str) -> None:
        self._stream.send(FAILED, 0, why.encode("utf-8", "replace"))
        self._finish()

    def _finish(self) -> None:
        """End once the connector knows."""
        self._finished = self._loop.finished = True

    def _lost(self, why: str) -> None:
        """The stream has ended: nobody is there who could use the kernel."""
        self._finish()

    def _signalled(self, number: int) -> None:
        if number != signal.SIGCHLD:
            self._terminate(f"its engine ended it with {signal.Signals(number).name}")
        self._look_at_kernel()

    def _terminate(self, why: str) -> None:
        if self._kernel is None:
            self._finish()
        elif not self._asked:
            self._asked, self._why = True, why
            self._kernel.signal_group(signal.SIGTERM)
            self._loop.call_later(self.TERMINATE_GRACE, partial(self._kernel.signal_group, signal.SIGKILL))

    def _tick(self) -> None:
        """Once a second."""
        self._loop.call_later(1.0, self._tick)
        if time.monotonic() - self._stream.heard > self._silence:
            self._stream.end("silence")
        elif self._kernel is not None and self._kernel.status is None:
            memory = self._kernel.memory()
            if abs(memory - self._memory) * 100 > self._memory:
                self._memory = memory
                self._stream.send(MEMORY, 0, SIZE.pack(memory))

    # -- the kernel ----------------------------------------------------------------------------------------------

    def _start(self, wanted: dict[str, Any]) -> None:
        self._silence = wanted.get("silence", SILENCE)
        self._server = wanted.get("server")
        program = find_program(wanted["path"], wanted.get("discovery", ""))
        self._listeners = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2)]
        for listener, channel in zip(self._listeners, (DATA_CHANNEL, MESSAGE_CHANNEL)):  # noqa: B905 - Python 3.8
            listener.bind((LOOPBACK, 0))
            listener.listen(4)
            listener.setblocking(False)
            self._loop.watch(
                listener.fileno(),
                select.POLLIN,
                partial(self._accept, listener, channel),
            )
        ports = ",".join(f"{listener.getsockname()[1]}@{LOOPBACK}" for listener in self._listeners)
        link = ["-linkprotocol", "TCPIP", "-linkconnect", "-linkname", ports]
        arguments = [program, *wanted["options"], *link]
        self._kernel = KernelHere(arguments, wanted.get("directory", ""), wanted.get("environment", {}))
        self._stream.channels[OUTPUT_CHANNEL].open(descriptor=self._kernel.output)
        started = {"host": host_name(), "path": program, "pid": self._kernel.pid}
        self._stream.send(STARTED, 0, json.dumps(started).encode())
        self._memory = 0

    def _accept(self, listener: socket.socket, number: int, _events: int) -> None:
        try:
            connected, _ = listener.accept()
        except OSError:
            return
        assert self._kernel is not None
        try:
            belongs = self._kernel.holds(connected)
        except OSError:  # gone already
            belongs = False
        if not belongs:
            print("Turned away a connection to the port of the kernel, which is not the kernel's", file=sys.stderr)
            connected.close()
            return
        self._loop.watch(listener.fileno(), 0, lambda _events: None)
        listener.close()
        if self._server is None:
            self._stream.send(OPEN, number)
            self._stream.channels[number].open(connected)
            return
        try:
            self._couplings.append(
                Coupling(self._loop, connected, connect_to_server(self._server, number), self._check_exit)
            )
        except CannotStart as error:
            self._fail(str(error))

    def _look_at_kernel(self) -> None:
        if self._kernel is not None and not self._ended and self._kernel.look():
            self._ended = True
            self._exit_timer = self._loop.call_later(self.EXIT_GRACE, self._end_rest)
            self._check_exit()

    def _end_rest(self) -> None:
        """What the kernel started goes with it, and with that the last holders of its link and output."""
        self._exit_timer = None
        if self._kernel is not None:
            self._kernel.signal_group(signal.SIGKILL)
        self._exit_timer = self._loop.call_later(self.EXIT_GRACE, self._report_exit)

    def _check_exit(self) -> None:
        """Report the exit once everything that the kernel has written is under way."""
        channels = self._stream.channels.values()
        if not self._ended or not all(couple.drained for couple in self._couplings):
            return
        if not any(channel.reading and not channel.done for channel in channels):
            self._loop.cancel(self._exit_timer)
            self._report_exit()

    def _report_exit(self) -> None:
        if self._finished:
            return
        channels = self._stream.channels.values()
        if any(channel.reading and not channel.done for channel in channels if channel.number != OUTPUT_CHANNEL) or any(
            not couple.drained for couple in self._couplings
        ):  # a client reads slowly what the kernel has written last
            return
        assert self._kernel is not None
        exited = {"status": self._kernel.status, "why": self._why}
        self._stream.send(EXITED, 0, json.dumps(exited).encode())
        self._finish()


def main() -> NoReturn:
    """The program that runs on the other machine."""
    code = 0
    try:
        if sys.argv[1:2] in (["--version"], ["-h"], ["--help"]):
            print(
                f"wstpserver-agent, protocol {VERSION}: started by a WSTPServer through the KernelLauncher of a pool",
                flush=True,
            )
        else:
            Agent().run()
    except BrokenPipeError:
        pass
    except OSError as error:
        code = 1 if error.errno != errno.EPIPE else 0
        print(f"wstpserver-agent: {error}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
