"""The message connection of a link: interrupts, aborts and the notice that the link closes."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from wstpserver.server.connection import TURN, Connection, ConnectionClosed, yield_to_loop
from wstpserver.wire.messages import MessageCode, MessageReader, encode_message


def run_messages(connection: Connection, take: Callable[[int, int], None], leftover: bytes = b"") -> bool:
    """Give every message to *take* (code, argument) until the connection ends. Runs in a greenlet of its own.

    Every code is passed on but 9 (link closing), which concerns this link only (docs/wire-protocol.md, section 4).

    Args:
        connection: the message connection.
        take: called with each message; may wait.
        leftover: what was received of it before.

    Returns:
        True if the peer announced that it closes the link.
    """
    reader = MessageReader()
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
