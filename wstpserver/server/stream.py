"""One TCP connection of a link: non-blocking calls on a plain socket, gevent only for waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable

from gevent import get_hub, getcurrent

from wstpserver._native import ffi

#: Errors of a receive or a send that mean "not now".
_NOT_NOW = (BlockingIOError, InterruptedError)

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class StreamClosed(Exception):
    """The connection is gone, or was ended on this side while somebody waited on it."""


class Stream:
    """A connected socket with cooperative waiting.

    One greenlet may receive and one may send at the same time. `end` wakes both from any other greenlet;
    `close` gives the descriptor back and is called once both have left.
    """

    __slots__ = ("_reader", "_writer", "ended", "handle", "on_close", "socket")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connected
        #: What C code knows of it: the descriptor, -1 when it is closed or if calls on it must not be made there.
        self.handle = ffi.new("struct wstpend *", (connected.fileno(), 0))
        #: Called when the stream is closed.
        self.on_close: Callable[[], None] | None = None
        self._reader = None
        self._writer = None
        self.ended = False
        self.acknowledge()

    def acknowledge(self) -> None:
        """Tell the peer at once that everything has arrived."""
        # The vendor's library writes one frame in several small writes with Nagle's algorithm on: without an
        # immediate acknowledgement each frame waits 40 ms. Linux clears the option, so it is set again.
        if _QUICKACK is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def try_receive(self, view: memoryview) -> int | None:
        """Receive into *view*; the number of bytes, 0 at the end of the stream, None if nothing is there yet."""
        try:
            size = self.socket.recv_into(view)
            if size:
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
        # hub.wait() in short. Whoever switches here too soon does no harm: the next receive finds nothing.
        watcher.start(getcurrent().switch)
        try:
            hub.switch()
        finally:
            watcher.stop()

    def receive(self, view: memoryview) -> int:
        """Receive into *view*, waiting for it; 0 at the end of the stream."""
        while True:
            size = self.try_receive(view)
            if size is not None:
                return size
            self.wait_readable()

    def receive_bytes(self, limit: int = 4096) -> bytes:
        """Receive at most *limit* bytes as an object of their own; b"" at the end of the stream."""
        buffer = bytearray(limit)
        size = self.receive(memoryview(buffer))
        return bytes(buffer[:size])

    def try_send(self, data: bytes) -> int:
        """Send what can be sent at once of *data*; how many bytes that were. Raises `StreamClosed`."""
        return self._send_some(data)

    def _send_some(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self.socket.send(data)
        except _NOT_NOW:
            return 0
        except OSError as error:
            raise StreamClosed(str(error)) from None

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*. Raises `StreamClosed`."""
        sent = self._send_some(data)
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, view: memoryview) -> None:
        hub = get_hub()
        if self._writer is None:
            self._writer = hub.loop.io(self.socket.fileno(), 2)
        while len(view):
            if self.ended:
                raise StreamClosed("the connection was ended")
            hub.wait(self._writer)
            try:
                view = view[self.socket.send(view) :]
            except _NOT_NOW:
                continue
            except OSError as error:
                raise StreamClosed(str(error)) from None

    def finish_sending(self) -> None:
        """Tell the peer that nothing more comes; what was sent still reaches it."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended = True

    def end(self) -> None:
        """End the connection: whoever waits on it wakes and finds it closed."""
        self.ended = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was faster

    def close(self) -> None:
        """Give the descriptor back. Whoever still waits on the connection gets `StreamClosed`: `end` alone wakes them
        only when the hub polls next, and a watcher that is closed before that would leave them waiting for ever."""
        self.ended = True
        if self.on_close is not None:
            self.on_close()
        self.handle.descriptor = -1
        watchers = (self._reader, self._writer)
        self._reader = self._writer = None
        get_hub().cancel_waits_close_and_then(watchers, StreamClosed("the connection was closed"), self.socket.close)

    def detach(self) -> socket.socket:
        """Give the socket to somebody else; this stream is of no use any more, and nobody may wait on it."""
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = None
        self.handle.descriptor = -1
        return self.socket


def peer_name(connected: socket.socket) -> str:
    """The other end's address as text for the log."""
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
