"""The agent: starts a kernel on another machine and carries its link over standard input and output.

This file is all that the other machine needs beside Python 3.8 and a kernel. The connector (`connector.py`), which runs
on the server's machine, starts a launcher such as ssh or srun, sends this file through it, and speaks the protocol
below with it. Both ends use the loop, the stream and the channels of this file.

After the agent's first line (`HELLO`, a JSON object, a line feed) both directions of the stream consist of frames: the
length of the payload (4 bytes), the kind of frame (1 byte), a channel (1 byte), the payload, and a line feed, because
some engines pass on whole lines only.

    from both sides     DATA      bytes of a channel, at most as many as the receiver has given credit for
                        CREDIT    so many more bytes (4 bytes) may follow on a channel
                        END       no more bytes follow on a channel
                        BREAK     nobody takes the bytes of a channel any more
                        PING      a sign of life, which is answered by PONG
    from the connector  START     a JSON object that says which kernel is to be started, and how
                        STOP      the kernel is to be ended
    from the agent      STARTED   the kernel's process has been started (JSON: host, path, pid)
                        OPEN      the kernel has made the connection of a channel
                        MEMORY    bytes of resident memory (8 bytes)
                        EXITED    the kernel's wait status, and why the agent ended it (JSON: status, why)
                        FAILED    no kernel could be started; a text says why

Channels: DATA_CHANNEL and MESSAGE_CHANNEL are the two connections of the kernel's link, OUTPUT_CHANNEL is what the
kernel prints. Messages and all frames without a channel go before bytes of the other channels. No more than a quarter
of a second's worth of bytes is under way on a channel, so that what goes before them also arrives before them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import json
import math
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import types
from collections import deque
from functools import partial
from typing import Any, Callable, Iterator, NoReturn  # noqa: UP035 - Python 3.8

#: The version of the protocol.
VERSION = 1

#: What the agent's first line begins with. What comes before it is not from the agent.
HELLO = b"\x1eWSTPSERVER-AGENT "

DATA, CREDIT, END, BREAK, PING, PONG, START, STOP, STARTED, OPEN, MEMORY, EXITED, FAILED = range(13)
_HEADER = struct.Struct(">IBB")
_LINE_FEED = 10
_CREDIT = struct.Struct(">I")
_SIZE = struct.Struct(">Q")

DATA_CHANNEL, MESSAGE_CHANNEL, OUTPUT_CHANNEL = 1, 2, 3

#: Bytes that may be under way on a channel at most and at least, and the seconds' worth in between.
WINDOW = 4 << 20
_LEAST_UNDER_WAY = 256 << 10
_SECONDS_UNDER_WAY = 0.25
#: Seconds over which the rate of a channel is measured.
_MEASURED = 0.1
#: The receiver gives credit for so many bytes at a time.
_CREDIT_STEP = 64 << 10
#: Bytes of one DATA frame at most, and of any other frame.
CHUNK = 128 << 10
LARGEST_CONTROL = 512 << 10
#: Pipes are made as large as the system allows without privileges.
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031

#: Seconds between two signs of life, and of silence after which the other side counts as gone.
PING_INTERVAL = 5.0
SILENCE = 30.0

LOOPBACK = "127.0.0.1"

#: What the engine, the server or a child that has ended send.
ENDING_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
_NOT_NOW = (BlockingIOError, InterruptedError)


class StreamError(Exception):
    """The other side has left the protocol; the text says how."""


class Loop:
    """Calls back when descriptors are ready and when timers are due."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._wanted: dict[int, int] = {}
        self._handlers: dict[int, Callable[[int], object]] = {}
        self._timers: list[list[Any]] = []
        #: When the first of them is due.
        self._due: float = math.inf
        self._backwards = False
        #: Set to end `run`.
        self.finished = False

    def watch(self, descriptor: int, events: int, handler: Callable[[int], object]) -> None:
        """Have *handler* called with the events of a descriptor; events 0: not any more."""
        if events:
            if self._wanted.get(descriptor) != events:
                self._poll.register(descriptor, events)
                self._wanted[descriptor] = events
            self._handlers[descriptor] = handler
        elif self._wanted.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
            del self._handlers[descriptor]

    def call_later(self, seconds: float, callback: Callable[[], object]) -> list[Any]:
        """Call back once; `cancel` takes the value that is returned."""
        timer: list[Any] = [time.monotonic() + seconds, callback]
        self._timers.append(timer)
        self._due = min(self._due, timer[0])
        return timer

    def cancel(self, timer: list[Any] | None) -> None:
        """Forget a timer."""
        if timer in self._timers:
            self._timers.remove(timer)

    def catch_signals(self, handler: Callable[[int], object]) -> None:
        """Have *handler* called with the number of each signal that says that something ends."""
        reading, writing = os.pipe()
        for descriptor in (reading, writing):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(writing)
        for number in ENDING_SIGNALS:
            signal.signal(number, lambda *_: None)

        def read(_events: int) -> None:
            for number in sorted(set(os.read(reading, 1000))):
                handler(number)

        self.watch(reading, select.POLLIN, read)

    def run(self) -> None:
        """Run until `finished` is set."""
        poll, monotonic, handlers = self._poll.poll, time.monotonic, self._handlers
        while not self.finished:
            left = self._due - monotonic()
            if left <= 0.0:
                self._run_timers()
                continue
            ready = poll(left * 1000 + 0.5 if self._timers else None)
            if len(ready) > 1:  # nobody is always the first
                self._backwards = not self._backwards
                if self._backwards:
                    ready.reverse()
            for descriptor, events in ready:
                handler = handlers.get(descriptor)
                if handler is not None:
                    handler(events)

    def _run_timers(self) -> None:
        now = time.monotonic()
        for timer in [timer for timer in self._timers if timer[0] <= now]:
            if timer in self._timers:
                self._timers.remove(timer)
                timer[1]()
        self._due = math.inf
        for timer in self._timers:
            self._due = min(self._due, timer[0])


class Stream:
    """Frames over two descriptors, and the channels in them.

    Args:
        loop: the loop.
        incoming: what frames are read from.
        outgoing: what frames are written to.
        take: called with the kind, the channel and the payload of each frame that does not concern the channels.
        lost: called once when the stream has ended, with the reason.
    """

    def __init__(
        self,
        loop: Loop,
        incoming: int,
        outgoing: int,
        take: Callable[[int, int, bytes], object],
        lost: Callable[[str], object],
    ) -> None:
        self.loop = loop
        self.channels: dict[int, StreamChannel] = {}
        self.heard = time.monotonic()
        self._incoming, self._outgoing = incoming, outgoing
        self._take, self._lost = take, lost
        self._ended = False
        self._buffer = memoryview(bytearray(1 << 20))
        self._whole = [self._buffer]
        self._start = self._end = 0
        #: The channel whose bytes are being read, and how many of them are left.
        self._current: StreamChannel | None = None
        self._left = 0
        self._expects_end = False
        #: The rest of a frame that was written in part; what goes before the bytes of channels.
        self._rest = memoryview(b"")
        self._urgent = bytearray()
        #: Where channels read to; the header of the frame stands in front.
        self.scratch = memoryview(bytearray(_HEADER.size + CHUNK + 1))
        self.payload = [self.scratch[_HEADER.size : -1]]
        #: Whether nothing more can be written now.
        self.blocked = False
        for descriptor in (incoming, outgoing):
            os.set_blocking(descriptor, False)
            try:
                fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_SIZE)
            except OSError:  # not a pipe, or not on this system
                pass
        loop.watch(incoming, select.POLLIN, self._readable)

    def add(self, channel: StreamChannel) -> StreamChannel:
        """Add a channel."""
        self.channels[channel.number] = channel
        return channel

    def end(self, why: str) -> None:
        """Read and write no more."""
        if not self._ended:
            self._ended = self.blocked = True
            self.loop.watch(self._incoming, 0, self._readable)
            self.loop.watch(self._outgoing, 0, self._writable)
            self._lost(why)

    # -- writing -------------------------------------------------------------------------------------------------

    @property
    def flushed(self) -> bool:
        """Whether everything was written that ever will be."""
        return self._ended or not (self._rest or self._urgent)

    def wait_flushed(self) -> None:
        """Wait until some more can be written, and write it. For when the loop does not run any more."""
        poll = select.poll()
        poll.register(self._outgoing, select.POLLOUT)
        if poll.poll(SILENCE * 1000):
            self._writable(0)
        else:
            self._ended = True

    def send(self, kind: int, channel: int = 0, payload: bytes = b"") -> None:
        """Send a frame that goes before the bytes of channels."""
        self._urgent += _HEADER.pack(len(payload), kind, channel) + payload + b"\n"
        self._flush()

    def send_data(self, channel: int, size: int) -> None:
        """Send *size* bytes that stand in `scratch` behind the place for the header; only if not `blocked`."""
        _HEADER.pack_into(self.scratch, 0, size, DATA, channel)
        self.scratch[_HEADER.size + size] = _LINE_FEED
        frame = self.scratch[: _HEADER.size + size + 1]
        sent = self._write(frame)
        if sent < len(frame):
            self._rest = memoryview(bytes(frame[sent:]))
            self._wait_writable()

    def _flush(self) -> None:
        while not self._ended:
            if not self._rest:
                if not self._urgent:
                    return
                self._rest, self._urgent = memoryview(bytes(self._urgent)), bytearray()
            sent = self._write(self._rest)
            self._rest = self._rest[sent:]
            if self._rest:
                self._wait_writable()
                return

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._outgoing, data)
        except _NOT_NOW:
            return 0
        except OSError:  # most likely the reader is gone, and reading finds the end
            self.loop.call_later(0.0, lambda: self.end("it takes nothing any more"))
            return len(data)

    def _wait_writable(self) -> None:
        if not self._ended:
            self.blocked = True
            self.loop.watch(self._outgoing, select.POLLOUT, self._writable)
            for channel in self.channels.values():
                channel.arm()

    def _writable(self, _events: int) -> None:
        self._flush()
        if not self._rest:
            self.blocked = self._ended
            self.loop.watch(self._outgoing, 0, self._writable)
            for channel in self.channels.values():
                channel.arm()

    # -- reading -------------------------------------------------------------------------------------------------

    def _readable(self, _events: int) -> None:
        try:
            size = os.readv(self._incoming, [self._buffer[self._end :]] if self._end else self._whole)
        except _NOT_NOW:
            return
        except OSError as error:
            self.end(f"it cannot be read: {error.strerror}")
            return
        if not size:
            self.end("it has ended")
            return
        self.heard = time.monotonic()
        self._end += size
        try:
            self._consume()
        except StreamError as error:
            self.end(str(error))

    def feed(self, data: bytes) -> None:
        """Take bytes that were read already. Raises StreamError."""
        self._buffer[self._end : self._end + len(data)] = data
        self._end += len(data)
        self._consume()

    def _consume(self) -> None:
        """Take what is in the buffer. Raises StreamError."""
        buffer = self._buffer
        while self._start < self._end and not self._ended:
            available = self._end - self._start
            if self._left:
                size = min(self._left, available)
                assert self._current is not None
                self._left -= size
                self._current.deliver(buffer[self._start : self._start + size])
                self._start += size
                self._expects_end = not self._left
                continue
            if self._expects_end:
                self._expects_end = False
                self._start += 1
                if buffer[self._start - 1] != _LINE_FEED:
                    raise StreamError("what it sends is not in frames")
                continue
            if available < _HEADER.size:
                break
            length, kind, number = _HEADER.unpack_from(buffer, self._start)
            if kind == DATA:
                self._current = channel = self._channel(number)
                channel.expect(length)
                begin = self._start + _HEADER.size
                if begin + length < self._end and buffer[begin + length] == _LINE_FEED:  # it is here as a whole
                    self._start = begin + length + 1
                    channel.deliver(buffer[begin : begin + length])
                    continue
                self._left = length
                self._expects_end = not length
                self._start += _HEADER.size
                continue
            if length > LARGEST_CONTROL or kind > FAILED:
                raise StreamError("what it sends is not in frames")
            if available < _HEADER.size + length + 1:
                break
            payload = bytes(buffer[self._start + _HEADER.size : self._start + _HEADER.size + length])
            self._start += _HEADER.size + length
            self._expects_end = True
            self._dispatch(kind, number, payload)
        rest = self._end - self._start
        if self._start and rest:
            buffer[:rest] = bytes(buffer[self._start : self._end])
        self._start, self._end = 0, rest

    def _channel(self, number: int) -> StreamChannel:
        channel = self.channels.get(number)
        if channel is None:
            raise StreamError(f"it uses a channel {number} that is not open")
        return channel

    def _dispatch(self, kind: int, number: int, payload: bytes) -> None:
        if kind == CREDIT:
            if len(payload) != _CREDIT.size:
                raise StreamError("it sends a frame of the wrong length")
            self._channel(number).credited(_CREDIT.unpack(payload)[0])
        elif kind == END:
            self._channel(number).peer_ended()
        elif kind == BREAK:
            self._channel(number).peer_broke()
        elif kind == PING:
            self.send(PONG)
        elif kind != PONG:
            self._take(kind, number, payload)


class StreamChannel:
    """Bytes between a descriptor of this machine and the stream, in both directions.

    Args:
        stream: the stream.
        number: the number of the channel; all but MESSAGE_CHANNEL wait for their turn.
        ended: called each time a direction has ended.
    """

    #: Whether what is received is acknowledged at once. The vendor's library writes a frame in several parts, each of
    #: them when the one before was acknowledged.
    acknowledges = True

    def __init__(self, stream: Stream, number: int, ended: Callable[[], object] = lambda: None) -> None:
        self._stream = stream
        self.number = number
        self._ended = ended
        self._urgent = number == MESSAGE_CHANNEL
        self._descriptor = -1
        self._socket: socket.socket | None = None
        #: Whether our descriptor, and the peer, may still send bytes.
        self.reading = self.receiving = True
        #: How many bytes may be under way, how many are, and what was measured since when.
        self._limit = 4 * _LEAST_UNDER_WAY
        self._under_way = 0
        self._acknowledged = 0
        self._since = time.monotonic()
        #: What was received and not written yet; what the peer may send, and what it has no credit for yet.
        self._queue: deque[memoryview] = deque()
        self._credit = WINDOW
        self._written = 0
        self._broken = False
        #: Whether the peer takes no more bytes from our descriptor.
        self._useless = False

    def open(self, connected: socket.socket | None = None, descriptor: int = -1) -> None:
        """Begin to carry bytes from and to a socket, or from a descriptor that can only be read."""
        if connected is not None:
            connected.setblocking(False)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            descriptor = connected.fileno()
        else:
            os.set_blocking(descriptor, False)
        self._socket, self._descriptor = connected, descriptor
        self.arm()

    @property
    def done(self) -> bool:
        """Whether nothing more passes in either direction."""
        return self._descriptor < 0 or not (self.reading or self._queue or (self.receiving and self._socket))

    @property
    def waiting(self) -> bool:
        """Whether bytes wait that were received from the peer."""
        return bool(self._queue)

    def arm(self) -> None:
        """Watch for what makes sense now."""
        if self._descriptor < 0:
            return
        events = select.POLLOUT if self._queue else 0
        if self.reading and self._under_way < self._limit and (self._urgent or not self._stream.blocked):
            events |= select.POLLIN
        self._stream.loop.watch(self._descriptor, events, self._ready)

    def _ready(self, events: int) -> None:
        if events & select.POLLOUT:
            self._write_queue()
        if events & ~select.POLLOUT and self.reading:
            self._read()

    # -- from the descriptor to the stream -----------------------------------------------------------------------

    def _read(self) -> None:
        stream = self._stream
        if stream.blocked and not self._urgent:
            return
        allowed = self._limit - self._under_way
        if allowed <= 0:
            self.arm()
            return
        try:
            into = stream.payload if allowed >= CHUNK else [stream.payload[0][:allowed]]
            size = os.readv(self._descriptor, into)
        except _NOT_NOW:
            return
        except OSError:
            size = 0
        if not size:
            self.reading = False
            self.arm()
            stream.send(END, self.number)
            self._ended()
            return
        if self.acknowledges and _QUICKACK is not None and self._socket is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:
                pass
        self._under_way += size
        if self._urgent:
            stream.send(DATA, self.number, bytes(stream.scratch[_HEADER.size : _HEADER.size + size]))
        else:
            stream.send_data(self.number, size)
        if self._under_way >= self._limit:
            self.arm()

    def credited(self, size: int) -> None:
        """The peer has passed so many bytes on. Raises StreamError."""
        if size > self._under_way:
            raise StreamError("it acknowledges more than it was sent")
        full = self._under_way >= self._limit
        self._under_way -= size
        self._acknowledged += size
        now = time.monotonic()
        passed = now - self._since
        if passed > _MEASURED:
            rate = self._acknowledged / passed
            self._limit = int(min(max(rate * _SECONDS_UNDER_WAY, _LEAST_UNDER_WAY), WINDOW))
            self._since, self._acknowledged = now, 0
        if full:
            self.arm()

    def peer_broke(self) -> None:
        """Nobody takes the bytes any more."""
        self.reading = False
        self._useless = True
        self._finish_sending()
        self.arm()
        self._ended()

    # -- from the stream to the descriptor -----------------------------------------------------------------------

    def expect(self, size: int) -> None:
        """So many bytes follow. Raises StreamError if that is more than there is credit for."""
        if size > self._credit or not self.receiving or self._socket is None:
            raise StreamError("it sends more than it was given credit for")
        self._credit -= size

    def deliver(self, data: memoryview) -> None:
        """Write bytes, or keep what cannot be written now."""
        if not self._queue:
            sent = self._write(data)
            self._written += sent
            data = data[sent:]
        if data:
            self._queue.append(memoryview(bytes(data)))
            self.arm()
        self._give_credit()

    def _write(self, data: memoryview) -> int:
        if self._broken:
            return len(data)
        try:
            return os.write(self._descriptor, data)
        except _NOT_NOW:
            return 0
        except OSError:
            self._broken = True
            self._stream.send(BREAK, self.number)
            return len(data)

    def _write_queue(self) -> None:
        while self._queue:
            sent = self._write(self._queue[0])
            self._written += sent
            if sent < len(self._queue[0]):
                self._queue[0] = self._queue[0][sent:]
                break
            self._queue.popleft()
        self._give_credit()
        self.arm()
        if not self._queue:
            self._finish_sending()
            self._ended()

    def _give_credit(self) -> None:
        if self._written >= _CREDIT_STEP and self.receiving:
            self._credit += self._written
            self._stream.send(CREDIT, self.number, _CREDIT.pack(self._written))
            self._written = 0

    def peer_ended(self) -> None:
        """The peer sends no more bytes."""
        self.receiving = False
        if not self._queue:
            self._finish_sending()
            self._ended()

    def _finish_sending(self) -> None:
        """Pass the end on once everything before it was written. Whoever still writes what nobody takes hears that."""
        if self._socket is not None and not self.receiving and not self._queue:
            try:
                self._socket.shutdown(socket.SHUT_RDWR if self._useless else socket.SHUT_WR)
            except OSError:
                pass

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor >= 0:
            self._stream.loop.watch(self._descriptor, 0, self._ready)
            if self._socket is not None:
                self._socket.close()
            else:
                os.close(self._descriptor)
        self._descriptor = -1
        self.reading = self.receiving = False
        self._queue.clear()


class Coupling:
    """Copies bytes between two sockets in both directions: the kernel's connection and one to the server.

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
        self._sockets = (first, second)
        #: For each socket: whether it may still send, and what was read from it and not written to the other one.
        self._reading = [True, True]
        self._rests = [memoryview(b""), memoryview(b"")]
        self._buffer = memoryview(bytearray(1 << 20))
        for each in self._sockets:
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._arm()

    def _arm(self) -> None:
        for index, each in enumerate(self._sockets):
            events = select.POLLIN if self._reading[index] and not self._rests[index] else 0
            if self._rests[1 - index]:
                events |= select.POLLOUT
            self._loop.watch(each.fileno(), events, partial(self._ready, index))

    def _ready(self, index: int, events: int) -> None:
        try:
            if events & select.POLLOUT:
                self._rests[1 - index] = self._send(index, self._rests[1 - index])
                self._pass_end_on(1 - index)
            if events & ~select.POLLOUT and self._reading[index] and not self._rests[index]:
                self._copy(index)
        except OSError:
            self._reading, self._rests = [False, False], [memoryview(b"")] * 2
        if not any(self._reading) and not any(self._rests):
            for each in self._sockets:
                self._loop.watch(each.fileno(), 0, lambda _events: None)
                each.close()
            self._ended()
            return
        self._arm()

    @property
    def drained(self) -> bool:
        """Whether everything that the first socket sent was passed on."""
        return not self._reading[0] and not self._rests[0]

    def _copy(self, index: int) -> None:
        source = self._sockets[index]
        try:
            size = source.recv_into(self._buffer)
        except _NOT_NOW:
            return
        if not size:
            self._reading[index] = False
            self._pass_end_on(index)
            return
        if _QUICKACK is not None:
            source.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        rest = self._send(1 - index, self._buffer[:size])
        if rest:
            self._rests[index] = memoryview(bytes(rest))

    def _send(self, index: int, data: memoryview) -> memoryview:
        try:
            return data[self._sockets[index].send(data) :]
        except _NOT_NOW:
            return data

    def _pass_end_on(self, index: int) -> None:
        if not self._reading[index] and not self._rests[index]:
            self._sockets[1 - index].shutdown(socket.SHUT_WR)
            self._loop.call_later(0.0, self._ended)


# The agent


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
    """The kernel's process, in a session of its own, and a guard that kills its group if the agent dies."""

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
        self._guard = self._start_guard()
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=directory or None,
                env=environment,
            )
        except OSError as error:
            text = error.strerror
            raise CannotStart(f'the kernel "{arguments[0]}" could not be started on {host_name()}: {text}') from None
        assert self._process.stdout is not None
        self.output: int = os.dup(self._process.stdout.fileno())
        self._process.stdout.close()
        self.pid = self._process.pid
        os.write(self._guard, b"%d\n" % self.pid)

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
            told = b""
            while True:
                more = os.read(reading, 100)
                if not more:
                    break
                told += more
            lines = told.split()
            if len(lines) == 1:
                os.killpg(int(lines[0]), signal.SIGKILL)
        finally:
            os._exit(0)

    def status(self) -> int | None:
        """The wait status, None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return -code if code < 0 else code << 8

    def signal_group(self, number: int) -> None:
        """Send a signal to the kernel and its children."""
        try:
            os.killpg(self.pid, number)
        except OSError:
            pass

    def end(self) -> None:
        """Kill what is left of it. The guard is not needed any more."""
        self.signal_group(signal.SIGKILL)
        self._process.wait()
        os.write(self._guard, b"done\n")
        os.close(self._guard)

    def family(self) -> Iterator[int]:
        """The kernel's process and its descendants, as far as the system tells."""
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            try:
                with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
                    waiting.extend(int(word) for word in file.read().split())
            except OSError:
                pass

    def memory(self) -> int:
        """Resident bytes of the largest process of the family; 0 where the system does not tell."""
        largest = 0
        for pid in self.family():
            try:
                with open(f"/proc/{pid}/statm", "rb") as file:
                    largest = max(largest, int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            except OSError:
                pass
        return largest

    def holds(self, connected: socket.socket) -> bool:
        """Whether the kernel or a descendant made this connection; True where the system does not tell."""
        wanted = [_as_listed(address) for address in (connected.getpeername(), connected.getsockname())]
        try:
            with open("/proc/net/tcp", encoding="ascii") as table:
                inodes = [fields[9] for fields in (line.split() for line in table) if fields[1:3] == wanted]
        except OSError:
            return True
        return any(_has_open(pid, f"socket:[{inode}]") for inode in inodes for pid in self.family())


def _as_listed(address: tuple[Any, ...]) -> str:
    """An IPv4 address as /proc shows it."""
    return "{:08X}:{:04X}".format(struct.unpack("=I", socket.inet_aton(address[0]))[0], address[1])


def _has_open(pid: int, target: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") == target:
                return True
        except OSError:
            pass
    return False


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
        self._loop = Loop()
        self._kernel: KernelHere | None = None
        self._finished = False
        self._status: int | None = None
        self._why = ""
        self._silence = SILENCE
        self._memory = 0
        self._listeners: list[socket.socket] = []
        self._couplings: list[Coupling] = []
        self._server: dict[str, Any] | None = None
        self._exit_timer: list[Any] | None = None
        self._asked = False
        self._loop.catch_signals(self._signalled)
        hello = {"version": VERSION, "host": host_name(), "pid": os.getpid(), "python": sys.version.split()[0]}
        os.write(1, HELLO + json.dumps(hello).encode() + b"\n")
        self._stream = Stream(self._loop, 0, 1, self._take, self._lost)
        for number in (DATA_CHANNEL, MESSAGE_CHANNEL, OUTPUT_CHANNEL):
            self._stream.add(StreamChannel(self._stream, number, self._check_exit))
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
        elif self._kernel is not None and self._status is None:
            memory = self._kernel.memory()
            if abs(memory - self._memory) * 100 > self._memory:
                self._memory = memory
                self._stream.send(MEMORY, 0, _SIZE.pack(memory))

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
        if self._kernel is not None and self._status is None:
            self._status = self._kernel.status()
            if self._status is not None:
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
        if self._status is None or not all(couple.drained for couple in self._couplings):
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
        exited = {"status": self._status, "why": self._why}
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
