"""The message connection of a link: interrupts, aborts and the notice that the link closes."""

from __future__ import annotations

from collections.abc import Callable

from wstpserver.server.stream import Stream
from wstpserver.wire.messages import MessageCode, MessageReader

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
    while True:
        for code, argument in reader.feed(data) if data else ():
            if code == MessageCode.LINK_CLOSING:
                return True
            take(code, argument)
        data = stream.receive_bytes(1024)
        if not data:
            return False
