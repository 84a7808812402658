"""The message connection of a link: interrupts, aborts and the notice that the link closes."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.server.turnstile import TURN, let_others_run
from wstpserver.wire.messages import MessageCode, MessageReader, encode_message

#: Messages that concern this link only and are never passed on to the other side of a bridge.
LINK_LOCAL = frozenset(
    {
        MessageCode.IM_DYING,
        MessageCode.LINK_CLOSING,
        MessageCode.AUTHENTICATION_FAILURE,
    }
)


def run_messages(stream: Stream, take: Callable[[int, int], None], leftover: bytes = b"") -> bool:
    """Give every message to *take* (code, argument) until the connection ends.

    Returns True if the peer said that it closes the link.
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
            let_others_run()
            turn_ends = monotonic() + TURN
        data = stream.receive_bytes(1024)
        if not data:
            return False


class MessageWriter:
    """The writing side of a message connection.

    Nobody waits for a peer that does not read its messages: when no more fit into the connection, further ones are
    dropped. A message that went out in part is completed by the next one that fits.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = b""

    def send(self, code: int, argument: int) -> None:
        """Send a message or drop it."""
        message = encode_message(code, argument)
        try:
            sent = self._stream.try_send(self._rest + message)
        except StreamClosed:
            return  # whoever reads the connection notices
        if sent < len(self._rest):
            self._rest = self._rest[sent:]
        else:
            sent -= len(self._rest)
            self._rest = message[sent:] if sent else b""
