"""The message connection of a link: interrupts, aborts and the notice that the link closes."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import gevent
from gevent import get_hub
from gevent.event import Event

from wstpserver.server.connection import TURN, Connection, ConnectionClosed, yield_to_loop
from wstpserver.wire.packets import MessageCode, MessageReader, encode_message

#: All first messages are received here, one connection at a time.
_buffer = memoryview(bytearray(1024))


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
