"""Out-of-band messages: what travels on the message connection (docs/wire-protocol.md, section 4)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from wstpserver.wire.errors import LocalProtocolError

_RECORD: Final = struct.Struct(">II")
_CODE: Final = struct.Struct(">I")


class MessageCode(IntEnum):
    """The codes with a meaning of their own; 128 to 255 are free for users."""

    TERMINATE = 1
    INTERRUPT = 2
    ABORT = 3
    END_PACKET = 4
    SYNCHRONIZE = 5
    IM_DYING = 6
    WAITING_FOR_ACKNOWLEDGMENT = 7
    MARK_TOP_LEVEL = 8
    LINK_CLOSING = 9
    AUTHENTICATION_FAILURE = 10
    FIRST_USER_MESSAGE = 128
    LAST_USER_MESSAGE = 255


#: What a peer writes before it closes both connections: a code without an argument (section 5). A peer that reads it
#: drops the data it has not read yet.
CLOSING: Final = _CODE.pack(MessageCode.LINK_CLOSING)

_KNOWN: Final = {int(code): code for code in MessageCode}


def encode_message(code: int, argument: int = 0) -> bytes:
    """The 8 bytes of one message.

    Args:
        code: A `MessageCode` or any other unsigned 32-bit number.
        argument: An unsigned 32-bit number.

    Raises:
        LocalProtocolError: One of them does not fit.
    """
    try:
        return _RECORD.pack(code, argument)
    except struct.error:
        raise LocalProtocolError(f"message ({code}, {argument}): both must fit 32 bits") from None


class MessageReader:
    """Cuts what comes in on a message connection into messages, however it is split.

    A code that is not in `MessageCode` is handed on as a plain int: a link may carry codes of its users.

    Attributes:
        closing: True once the peer said that it is closing the link; what follows is ignored.
    """

    __slots__ = ("_pending", "closing")

    def __init__(self) -> None:
        self._pending = b""
        self.closing = False

    def feed(self, data: bytes | bytearray | memoryview) -> list[tuple[int, int]]:
        """Takes bytes.

        Returns:
            The (code, argument) pairs they complete. LINK_CLOSING is reported as soon as its four bytes are there, with
            argument 0: no argument follows it.
        """
        if self.closing:
            return []
        pending = self._pending + bytes(data)
        messages: list[tuple[int, int]] = []
        start = 0
        while len(pending) - start >= _CODE.size:
            code = _CODE.unpack_from(pending, start)[0]
            if code == MessageCode.LINK_CLOSING:
                self.closing = True
                messages.append((MessageCode.LINK_CLOSING, 0))
                start = len(pending)
            elif len(pending) - start < _RECORD.size:
                break
            else:
                argument = _RECORD.unpack_from(pending, start)[1]
                messages.append((_KNOWN.get(code, code), argument))
                start += _RECORD.size
        self._pending = pending[start:]
        return messages

    @property
    def pending(self) -> bytes:
        """The beginning of a message, as far as it has come."""
        return self._pending

    @property
    def at_boundary(self) -> bool:
        """Whether no message is half read: an end of the connection here loses nothing."""
        return not self._pending
