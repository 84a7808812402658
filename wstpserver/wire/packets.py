"""What the two connections of a link carry: packets, and out-of-band messages.

A packet is named by the head of a top-level expression (docs/wire-protocol.md, section 6); a message is a code and a
number on the message connection (section 4). The codes of packets are this package's own: the wire carries names. They
are shared with the C scanner: cext/wstpscan.c holds the same table in the same order, and a test compares the two.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.values import Expression, Function, Symbol


class PacketHead(IntEnum):
    """What kind of packet a frame is. `OTHER` is every head that is not in the table, and every atom.

    Codes run from 0 without a gap and stay below 64: the scanner keeps sets of them as bits of one 64-bit word.
    """

    # The enum's own hash is a function in Python, and these are keys on the hot path.
    __hash__ = int.__hash__

    OTHER = 0
    WSCommandPacket = 1
    EvaluatePacket = 2
    EnterTextPacket = 3
    EnterExpressionPacket = 4
    ReturnPacket = 5
    ReturnTextPacket = 6
    ReturnExpressionPacket = 7
    InputNamePacket = 8
    OutputNamePacket = 9
    TextPacket = 10
    MessagePacket = 11
    SyntaxPacket = 12
    MenuPacket = 13
    InputPacket = 14
    InputStringPacket = 15
    DisplayPacket = 16
    DisplayEndPacket = 17
    SuspendPacket = 18
    ResumePacket = 19
    BeginDialogPacket = 20
    EndDialogPacket = 21
    CallPacket = 22
    ExpressionPacket = 23


def packet(name: str, *arguments: Expression) -> Function:
    """A packet by the name of its head."""
    return Function(Symbol(name), arguments)


def evaluate_packet(expression: Expression) -> Function:
    """Evaluate; the answer is a ReturnPacket."""
    return packet("EvaluatePacket", expression)


def enter_text_packet(text: str) -> Function:
    """A line of input as text; the answers end with the next InputNamePacket."""
    return packet("EnterTextPacket", text)


def enter_expression_packet(expression: Expression) -> Function:
    """A line of input as expression."""
    return packet("EnterExpressionPacket", expression)


def command_packet(command: str, *arguments: Expression) -> Function:
    """A command to the server itself, `WSCommandPacket[command[arguments...]]`."""
    return packet("WSCommandPacket", packet(command, *arguments))


def return_packet(expression: Expression) -> Function:
    """The result of an EvaluatePacket, a CallPacket or a command."""
    return packet("ReturnPacket", expression)


def text_packet(text: str) -> Function:
    """Printed output, the text of a message, or the client's answer to an input packet."""
    return packet("TextPacket", text)

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
