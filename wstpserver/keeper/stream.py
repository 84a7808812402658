"""One stream of frames between the agent and the connector of a kernel, and the channels in it; the loop of both.

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

import fcntl
import math
import os
import select
import signal
import socket
import struct
import time
from collections import deque
from typing import Any, Callable  # noqa: UP035 - Python 3.8

#: The version of the protocol.
VERSION = 1

#: What the agent's first line begins with. What comes before it is not from the agent.
HELLO = b"\x1eWSTPSERVER-AGENT "

DATA, CREDIT, END, BREAK, PING, PONG, START, STOP, STARTED, OPEN, MEMORY, EXITED, FAILED = range(13)
HEADER = struct.Struct(">IBB")
LINE_FEED = 10
#: Bytes of a frame beside its payload.
FRAME = HEADER.size + 1
_CREDIT = struct.Struct(">I")
SIZE = struct.Struct(">Q")

DATA_CHANNEL, MESSAGE_CHANNEL, OUTPUT_CHANNEL = 1, 2, 3

#: Bytes that may be under way on a channel at most and at least, and the seconds' worth in between.
WINDOW = 4 << 20
_LEAST_UNDER_WAY = 256 << 10
_SECONDS_UNDER_WAY = 0.25
#: Seconds over which the rate of a channel is measured.
_MEASURED = 0.1
#: The receiver gives credit for so many bytes at a time.
CREDIT_STEP = 64 << 10
#: Bytes of one DATA frame at most, and of any other frame.
CHUNK = 128 << 10
LARGEST_CONTROL = 512 << 10
#: Pipes are made as large as the system allows without privileges.
PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031

#: Seconds between two signs of life, and of silence after which the other side counts as gone.
PING_INTERVAL = 5.0
SILENCE = 30.0

#: What the engine, the server or a child that has ended send.
ENDING_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

QUICKACK = getattr(socket, "TCP_QUICKACK", None)
NOT_NOW = (BlockingIOError, InterruptedError)


class StreamError(Exception):
    """The other side has left the protocol; the text says how."""


def widen(descriptor: int) -> None:
    """Make a pipe as large as the system allows; nothing happens to what is no pipe."""
    try:
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:  # not a pipe, or not on this system
        pass


class Loop:
    """Calls back when descriptors are ready and when timers are due."""

    def __init__(self) -> None:
        # with an epoll object the system does not look at each descriptor each time
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
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
        before = self._wanted.get(descriptor, 0)
        if events:
            self._handlers[descriptor] = handler
            self._wanted[descriptor] = events
        elif before:
            del self._handlers[descriptor], self._wanted[descriptor]
        if events != before:
            self._change(descriptor, before, events)

    def _change(self, descriptor: int, before: int, events: int) -> None:
        """Wait for other events of a descriptor than before."""
        poller = self._epoll or self._poll
        if not events:
            poller.unregister(descriptor)
        elif before:
            poller.modify(descriptor, events)
        else:
            poller.register(descriptor, events)

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
        wait, monotonic, handlers = self._wait, time.monotonic, self._handlers
        while not self.finished:
            left = self._due - monotonic()
            if left <= 0.0:
                self._run_timers()
                continue
            ready = wait(left if self._timers else None)
            if len(ready) > 1:  # nobody is always the first
                self._backwards = not self._backwards
                if self._backwards:
                    ready.reverse()
            for descriptor, events in ready:
                handler = handlers.get(descriptor)
                if handler is not None:
                    handler(events)

    def _wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """The descriptors that are ready, each with its events; none after so many seconds."""
        if self._epoll is not None:
            return self._epoll.poll(seconds)  # which has the numbers of poll for its events
        return self._poll.poll(None if seconds is None else seconds * 1000 + 0.5)

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
        self.incoming, self.outgoing = incoming, outgoing
        self._take, self._lost = take, lost
        self._ended = False
        self.buffer = memoryview(bytearray(1 << 20))
        self._whole = [self.buffer]
        self._start = self._end = 0
        #: The channel whose bytes are being read, and how many of them are left.
        self._current: StreamChannel | None = None
        self._left = 0
        self._expects_end = False
        #: The rest of a frame that was written in part; what goes before the bytes of channels.
        self._rest = memoryview(b"")
        self._urgent = bytearray()
        #: Where channels read to; the header of the frame stands in front.
        self.scratch = memoryview(bytearray(HEADER.size + CHUNK + 1))
        self.payload = [self.scratch[HEADER.size : -1]]
        #: Whether nothing more can be written now.
        self.blocked = False
        for descriptor in (incoming, outgoing):
            os.set_blocking(descriptor, False)
            widen(descriptor)
        loop.watch(incoming, select.POLLIN, self._readable)

    def add(self, channel: StreamChannel) -> StreamChannel:
        """Add a channel."""
        self.channels[channel.number] = channel
        return channel

    def end(self, why: str) -> None:
        """Read and write no more."""
        if not self._ended:
            self._ended = self.blocked = True
            self.loop.watch(self.incoming, 0, self._readable)
            self.loop.watch(self.outgoing, 0, self._writable)
            self._lost(why)

    # -- writing -------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing waits in either direction."""
        return not (self.blocked or self._end or self._left or self._expects_end or self._rest or self._urgent)

    @property
    def flushed(self) -> bool:
        """Whether everything was written that ever will be."""
        return self._ended or not (self._rest or self._urgent)

    def wait_flushed(self) -> None:
        """Wait until some more can be written, and write it. For when the loop does not run any more."""
        poll = select.poll()
        poll.register(self.outgoing, select.POLLOUT)
        if poll.poll(SILENCE * 1000):
            self._writable(0)
        else:
            self._ended = True

    def send(self, kind: int, channel: int = 0, payload: bytes = b"") -> None:
        """Send a frame that goes before the bytes of channels."""
        self._urgent += HEADER.pack(len(payload), kind, channel) + payload + b"\n"
        self._flush()

    def send_data(self, channel: int, size: int) -> None:
        """Send *size* bytes that stand in `scratch` behind the place for the header; only if not `blocked`."""
        HEADER.pack_into(self.scratch, 0, size, DATA, channel)
        self.scratch[HEADER.size + size] = LINE_FEED
        frame = self.scratch[: HEADER.size + size + 1]
        sent = self._write(frame)
        if sent < len(frame):
            self.keep(frame[sent:])

    def keep(self, rest: memoryview) -> None:
        """Write the rest of a frame, which can not be written now, as soon as possible."""
        self._rest = memoryview(bytes(rest))
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
            return os.write(self.outgoing, data)
        except NOT_NOW:
            return 0
        except OSError:  # most likely the reader is gone, and reading finds the end
            self.loop.call_later(0.0, lambda: self.end("it takes nothing any more"))
            return len(data)

    def _wait_writable(self) -> None:
        if not self._ended:
            self.blocked = True
            self.loop.watch(self.outgoing, select.POLLOUT, self._writable)
            for channel in self.channels.values():
                channel.arm()

    def _writable(self, _events: int) -> None:
        self._flush()
        if not self._rest:
            self.blocked = self._ended
            self.loop.watch(self.outgoing, 0, self._writable)
            for channel in self.channels.values():
                channel.arm()

    # -- reading -------------------------------------------------------------------------------------------------

    def _readable(self, _events: int) -> None:
        try:
            size = os.readv(self.incoming, [self.buffer[self._end :]] if self._end else self._whole)
        except NOT_NOW:
            return
        except OSError as error:
            self.end(f"it cannot be read: {error.strerror}")
            return
        self.received(size)

    def received(self, size: int) -> None:
        """Take so many bytes, which were read behind those that the buffer had; none is the end."""
        if not size:
            self.end("it has ended")
            return
        self.heard = time.monotonic()
        self._end += size
        self._take_buffer()

    def _take_buffer(self) -> None:
        """Take what is in the buffer; the stream ends if that is not in order."""
        try:
            self._consume()
        except StreamError as error:
            self.end(str(error))

    def feed(self, data: bytes) -> None:
        """Take bytes that were read already. Raises StreamError."""
        self.buffer[self._end : self._end + len(data)] = data
        self._end += len(data)
        self._consume()

    def _consume(self) -> None:
        """Take what is in the buffer. Raises StreamError."""
        buffer = self.buffer
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
                if buffer[self._start - 1] != LINE_FEED:
                    raise StreamError("what it sends is not in frames")
                continue
            if available < HEADER.size:
                break
            length, kind, number = HEADER.unpack_from(buffer, self._start)
            if kind == DATA:
                self._current = channel = self._channel(number)
                channel.expect(length)
                begin = self._start + HEADER.size
                if begin + length < self._end and buffer[begin + length] == LINE_FEED:  # it is here as a whole
                    self._start = begin + length + 1
                    channel.deliver(buffer[begin : begin + length])
                    continue
                self._left = length
                self._expects_end = not length
                self._start += HEADER.size
                continue
            if length > LARGEST_CONTROL or kind > FAILED:
                raise StreamError("what it sends is not in frames")
            if available < HEADER.size + length + 1:
                break
            payload = bytes(buffer[self._start + HEADER.size : self._start + HEADER.size + length])
            self._start += HEADER.size + length
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
        except NOT_NOW:
            return
        except OSError:
            size = 0
        if not size:
            self.reading = False
            self.arm()
            stream.send(END, self.number)
            self._ended()
            return
        self._under_way += size
        if self._urgent:
            stream.send(DATA, self.number, bytes(stream.scratch[HEADER.size : HEADER.size + size]))
        else:
            stream.send_data(self.number, size)
        if self.acknowledges and QUICKACK is not None and self._socket is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
            except OSError:
                pass
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
        except NOT_NOW:
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

    def _give_credit(self, least: int = CREDIT_STEP) -> None:
        if self._written >= least and self.receiving:
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
