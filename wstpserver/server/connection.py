"""The TCP connections of a link: non-blocking calls on plain sockets, gevent only for waiting. One carries data, the
other messages: interrupts, aborts and the notice that the link closes.

The vendor's library writes one frame in several small writes with Nagle's algorithm on: the next write leaves when
the one before was acknowledged, and Linux delays an acknowledgement for 40 ms unless there is something to send
(docs/wire-protocol.md, section 7). So every connection acknowledges at once what it receives, except where the answer
carries the acknowledgement soon (`LateAcknowledgements`).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent import get_hub, getcurrent
from gevent.event import Event

from wstpserver._native import ffi, lib
from wstpserver.wire.packets import MessageCode, MessageReader, encode_message

#: Seconds after which a greenlet that always finds something to do yields to the loop. A frame may cost next to
#: nothing or, being a command, a tenth of a millisecond, so neither frames nor bytes are a measure.
TURN = 0.001

#: Bytes that are sent before others have their turn: the system takes several megabytes in one call, if the peer reads
#: fast, and needs a millisecond for two of them.
SEND_PORTION = 1 << 18

#: Seconds that an acknowledgement waits for an answer to go with; at most twice as many.
ACKNOWLEDGEMENT_DELAY = 0.004

#: Errors of a receive or a send that mean "not now".
_NOT_NOW = (BlockingIOError, InterruptedError)

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)

#: Of struct tcp_info (tcp(7)) on Linux: tcpi_last_data_recv, in milliseconds.
_LAST_RECEIVED = struct.Struct("=52xI")
_TELLS_TIMES = sys.platform.startswith("linux") and hasattr(socket, "TCP_INFO")

#: All first messages are received here, one connection at a time.
_buffer = memoryview(bytearray(1024))

#: A pipe that always has something to read: waiting for it takes one round of the loop.
_always_ready, _other_end = os.pipe()
os.write(_other_end, b".")


class ConnectionClosed(Exception):
    """The connection is gone, or was ended on this side while a greenlet waited on it."""


#: Whether what a listener accepts has the options of the listener.
INHERITS_OPTIONS = sys.platform.startswith("linux")


def set_options(connection: socket.socket) -> None:
    """Set the options that all connections have, on a connection or a listener."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def has_options(connection: socket.socket) -> bool:
    """Whether `set_options` was called for a connection or a listener."""
    return bool(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    )


class _KeepUnsent(Exception):
    """Wakes a greenlet that waits to send more."""


class Connection:
    """A connected socket with cooperative waiting.

    One greenlet may receive and one may send at the same time. `end` wakes both from any other greenlet; `close`
    closes the descriptor and is called once both have left.

    Args:
        connected: a connected TCP socket, owned by this object from now on.
        has_options: `set_options` was called for it, or for its listener where that is as good: it has just been
            accepted, and the system itself acknowledges the first bytes at once.
    """

    __slots__ = (
        "_closed", "_keeps_unsent", "_reader", "_writer", "ended", "handle", "on_close", "socket", "unsent"
    )  # fmt: skip

    def __init__(self, connected: socket.socket, *, has_options: bool = False) -> None:
        connected.setblocking(False)
        if not has_options:
            set_options(connected)
        self.socket = connected
        #: What C code knows of it: the descriptor, -1 when it is closed or if C must not use it.
        self.handle = ffi.new("struct wstpcopy_end *", (connected.fileno(), 0))
        #: Called when the connection is closed.
        self.on_close: Callable[[], None] | None = None
        self._reader: Any = None
        self._writer: Any = None
        self.ended = self._closed = False
        #: None; after `keep_unsent` what the system did not take.
        self.unsent: bytearray | None = None
        self._keeps_unsent = False
        if not has_options:
            self.acknowledge()

    def acknowledge(self) -> None:
        """Acknowledge at once everything that was received."""
        if _QUICKACK is not None:  # Linux clears the option, so it is set again each time
            self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def seconds_since_received(self) -> float | None:
        """For how long the peer has sent nothing; None where the system does not say (Linux does), or at the end."""
        if not _TELLS_TIMES:
            return None
        try:
            told = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_RECEIVED.size)
        except OSError:
            return None
        return _LAST_RECEIVED.unpack(told)[0] / 1000 if len(told) == _LAST_RECEIVED.size else None

    def try_receive(self, view: memoryview, *, answered: bool = False) -> int | None:
        """Receive into *view*.

        Args:
            view: Where to.
            answered: The caller acknowledges what comes, or answers it at once.

        Returns:
            The number of bytes, 0 at the end of the stream, None if nothing is there yet.
        """
        try:
            size = self.socket.recv_into(view)
            if size and not answered:
                self.acknowledge()
            return size
        except _NOT_NOW:
            return None
        except OSError:
            return 0

    def wait_readable(self) -> None:
        """Wait until a receive makes sense."""
        if self.ended:
            return
        hub = get_hub()
        watcher = self._reader
        if watcher is None:
            watcher = self._reader = hub.loop.io(self.socket.fileno(), 1)
        # hub.wait() in short. A switch that comes too soon does no harm: the next receive finds nothing.
        watcher.start(getcurrent().switch)
        try:
            hub.switch()
        finally:
            watcher.stop()

    def receive(self, view: memoryview) -> int:
        """Receive into *view*, waiting for it.

        Returns:
            The number of bytes, 0 at the end of the stream.
        """
        while True:
            size = self.try_receive(view)
            if size is not None:
                return size
            self.wait_readable()

    def receive_bytes(self, limit: int = 4096) -> bytes:
        """Receive at most *limit* bytes as an object of their own; ``b""`` at the end of the stream."""
        buffer = bytearray(limit)
        size = self.receive(memoryview(buffer))
        return bytes(buffer[:size])

    def try_send(self, data: bytes) -> int:
        """Send what the system takes at once of *data*.

        Returns:
            How many bytes that were.

        Raises:
            ConnectionClosed: the connection is gone.
        """
        return self._send_some(data)

    def _send_some(self, data: bytes | bytearray | memoryview) -> int:
        handle = self.handle
        if handle.lend and lib.wstpcopy_send_lent(handle, ffi.from_buffer(data), len(data)):
            return len(data)
        try:
            return self.socket.send(data)
        except _NOT_NOW:
            return 0
        except OSError as error:
            raise ConnectionClosed(str(error)) from None

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*, waiting while the peer does not read.

        Raises:
            ConnectionClosed: the connection is gone, or was ended meanwhile.
        """
        if len(data) > SEND_PORTION:
            self._send_rest(memoryview(data))
            return
        sent = 0 if self.unsent is not None else self._send_some(data)
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def keep_unsent(self) -> None:
        """From now on keep what the system does not take at once in `unsent`, and do not wait."""
        if not self._keeps_unsent:
            self._keeps_unsent = True
            self.unsent = self.unsent or bytearray()
            if self._writer is not None and self._writer.active:
                get_hub().cancel_wait(self._writer, _KeepUnsent())

    def stop_keeping(self) -> None:
        """The opposite of `keep_unsent`: what was kept goes out with the next `send`, before its data."""
        self._keeps_unsent = False
        self.unsent = self.unsent or None

    def take_unsent(self) -> bytes:
        """Return what was kept, and forget it."""
        unsent, self.unsent = self.unsent, None
        return bytes(unsent or b"")

    @property
    def is_waited_for(self) -> bool:
        """Whether a greenlet waits for something to receive."""
        return self._reader is not None and bool(self._reader.active)

    def _send_rest(self, view: memoryview) -> None:
        if self.unsent is not None:
            if self._keeps_unsent:
                self.unsent += view if self.unsent else view[self._send_some(view) :]
                return
            view = memoryview(self.take_unsent() + bytes(view))
        lib.wstpcopy_give_back(self.handle)
        hub = get_hub()
        if self._writer is None:
            self._writer = hub.loop.io(self.socket.fileno(), 2)
        while len(view):
            if self.ended:
                raise ConnectionClosed("the connection was ended")
            try:
                hub.wait(self._writer)
                view = view[self.socket.send(view[:SEND_PORTION]) :]
            except _NOT_NOW:
                continue
            except _KeepUnsent:
                assert self.unsent is not None
                self.unsent += view
                return
            except OSError as error:
                raise ConnectionClosed(str(error)) from None

    def finish_sending(self) -> None:
        """Tell the peer that nothing more is sent; what was sent before still reaches it. Where that is kept unsent,
        whoever sends it does this.
        """
        if self._keeps_unsent:
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended = True

    def end(self) -> None:
        """End the connection: greenlets that wait on it wake and find it closed."""
        self.ended = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was faster

    def close(self) -> None:
        """Close the descriptor. A greenlet that still waits on the connection gets `ConnectionClosed`: `end` alone
        wakes it only when the loop polls next, and a watcher that is closed before that would leave it waiting for
        ever.
        """
        if self._closed:
            return
        self._closed = self.ended = True
        if self.on_close is not None:
            self.on_close()
        self.handle.descriptor = -1
        if self._reader is None and self._writer is None:
            self.socket.close()
            return
        watchers = (self._reader, self._writer)
        self._reader = self._writer = None
        get_hub().cancel_waits_close_and_then(watchers, ConnectionClosed("the connection was closed"),
        self.socket.close)

    def detach(self) -> socket.socket:
        """Return the socket for another owner; this object must not be used any more, and no greenlet may wait on
        it.
        """
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        self.handle.descriptor = -1
        return self.socket


class Busy(Protocol):
    """The evaluations of a kernel."""

    #: True while one is open.
    busy: bool


class LateAcknowledgements:
    """The connections whose last bytes are perhaps not acknowledged yet, all served by one timer.

    What the vendor's library writes behind an evaluation packet, a command for example, leaves only when that packet is
    acknowledged. To acknowledge costs a packet; most evaluations are answered sooner than `ACKNOWLEDGEMENT_DELAY`,
    and the answer carries the acknowledgement.
    """

    def __init__(self) -> None:
        self._newer: dict[Connection, Busy] = {}
        self._older: dict[Connection, Busy] = {}
        self._timer: Any = None

    def add(self, connection: Connection, evaluation: Busy) -> None:
        """Acknowledge soon what *connection* has received, if *evaluation* is still busy by then."""
        if not self._newer and not self._older:
            self._start()
        self._newer[connection] = evaluation

    def _start(self) -> None:
        if self._timer is None:
            self._timer = get_hub().loop.timer(ACKNOWLEDGEMENT_DELAY, ACKNOWLEDGEMENT_DELAY)
        self._timer.start(self._tick, update=True)

    def _tick(self) -> None:
        for connection, evaluation in self._older.items():
            if evaluation.busy and not connection.ended:
                connection.acknowledge()
        self._older, self._newer = self._newer, {}
        if not self._older:
            self._timer.stop()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None


def yield_to_loop() -> None:
    """Return after the loop has polled once.

    ``gevent.sleep(0)`` is not enough: the loop runs up to fifty such callbacks before it polls again, so that one busy
    greenlet that takes a millisecond each time delays all sockets for fifty. A greenlet that waits here comes back
    after one poll, like those whose sockets have become ready.
    """
    hub = get_hub()
    watcher = hub.loop.io(_always_ready, 1)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()


def peer_name(connected: socket.socket) -> str:
    """The peer's address as text for the log."""
    try:
        return address_name(connected.getpeername())
    except OSError:
        return "(gone)"


def address_name(address: object) -> str:
    """An address as the system gives it, as text for the log: ``127.0.0.1:52044`` or ``[::1]:52044``."""
    if isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"{host}:{address[1]}"
    return str(address)


# the message connection


def run_messages(
    connection: Connection,
    take: Callable[[int, int], None],
    leftover: bytes = b"",
    reader: MessageReader | None = None,
) -> bool:
    """Give every message to *take* (code, argument) until the connection ends. Runs in a greenlet of its own.

    Every code is passed on but 9 (link closing), which concerns this link only (docs/wire-protocol.md, section 4).

    Args:
        connection: the message connection.
        take: called with each message; may wait.
        leftover: what was received of it before.
        reader: cuts it into messages; a caller that has its own knows what was received of the next one.

    Returns:
        True if the peer announced that it closes the link.
    """
    reader = MessageReader() if reader is None else reader
    data = leftover
    turn_ends = monotonic() + TURN
    while True:
        for code, argument in reader.feed(data) if data else ():
            if code == MessageCode.LINK_CLOSING:
                return True
            take(code, argument)
        if monotonic() > turn_ends:  # only a flood of messages comes here without having waited
            yield_to_loop()
            turn_ends = monotonic() + TURN
        data = connection.receive_bytes(1024)
        if not data:
            return False


class MessageWriter:
    """The writing side of a message connection.

    Sending never waits for a peer that does not read its messages: when no more fit into the connection, further ones
    are dropped. A message that was sent in part is completed by the next one that fits.

    Args:
        connection: the message connection.
    """

    __slots__ = ("_connection", "_rest")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = b""

    @property
    def unsent(self) -> bytes:
        """The rest of a message that was sent in part."""
        return self._rest

    def go_on(self, unsent: bytes) -> None:
        """Go on where the writer of another process has stopped: *unsent* goes out first."""
        self._rest = unsent

    def send(self, code: int, argument: int) -> None:
        """Send a message or drop it."""
        message = encode_message(code, argument)
        try:
            sent = self._connection.try_send(self._rest + message)
        except ConnectionClosed:
            return  # the greenlet that reads the connection notices
        if sent < len(self._rest):
            self._rest = self._rest[sent:]
        else:
            sent -= len(self._rest)
            self._rest = message[sent:] if sent else b""


class MessageWatch:
    """Waits for the messages of a peer without a greenlet: most clients never send one, and kernels one when they end.

    Args:
        connection: the message connection.
        leftover: what was received of it already.
        run: gets the first messages, in a greenlet in which it reads on until the connection ends.
        ended: called in the hub if the connection ends before any message was received.
    """

    __slots__ = ("_ended", "_finished", "_greenlet", "_happened", "_run", "_connection", "_watcher")

    def __init__(
        self, connection: Connection, leftover: bytes, run: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._run = run
        self._ended = ended
        self._greenlet: gevent.Greenlet | None = None
        self._finished = False
        #: Set when messages have come or the connection has ended; made only when somebody waits for it.
        self._happened: Event | None = None
        self._watcher = get_hub().loop.io(connection.socket.fileno(), 1)
        if leftover:
            self._begin(leftover)
        else:
            self._watcher.start(self._arrived)

    def _arrived(self) -> None:
        size = self._connection.try_receive(_buffer)
        if size:
            self._begin(bytes(_buffer[:size]))
        elif size == 0:
            self._watcher.stop()
            self._finished = True
            self._tell()
            self._ended()

    def _begin(self, data: bytes) -> None:
        self._watcher.stop()
        self._greenlet = gevent.spawn(self._run, data)
        self._tell()

    def _tell(self) -> None:
        if self._happened is not None:
            self._happened.set()

    def join(self, seconds: float) -> None:
        """Wait until all messages have been read, or for so many seconds."""
        with gevent.Timeout(seconds, exception=False):
            if self._greenlet is None and not self._finished:
                self._happened = self._happened or Event()
                self._happened.wait()
            if self._greenlet is not None:
                self._greenlet.join()

    def stop(self) -> None:
        """Stop waiting; returns when the messages are not read any more.

        To be called before the connection is closed. If messages are being read, somebody else must end the connection.
        """
        self._watcher.stop()
        self._watcher.close()
        if self._greenlet is not None:
            self._greenlet.join()

    @property
    def reading(self) -> bool:
        """Whether messages have come."""
        return self._greenlet is not None
